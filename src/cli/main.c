/* spate: the command line. Takes the global options, runs the command, returns its exit code. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "io/standard.h"

static int set_up(struct cli *cli)
{
    (void)signal(SIGPIPE, SIG_IGN); /* fails only for numbers that are no signals */
    cli->timeout_ms = -1;
    return settings_from_environment(cli);
}

int main(int argc, char **argv)
{
    static char version[] = "version";
    struct cli cli = { 0 };

    sp_standard_open(true); /* first of all: what is opened next would take their places */
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        argv[1] = version; /* what everybody tries first */
    }
    if (set_up(&cli) != 0 || global_options(&cli, argc, argv) != 0) {
        return EXIT_USAGE;
    }
    if (optind == argc) {
        print_help(&cli);
        return EXIT_USAGE;
    }
    int code = run_command(&cli, argc - optind, argv + optind);
    spate_client_free(cli.client);
    spate_config_free(cli.config);
    settings_free(&cli);
    if (fflush(stdout) != 0 && errno != EPIPE) { /* EPIPE: the reader had enough */
        tell("cannot write to standard output: %s", strerror(errno));
        return code == EXIT_OK ? EXIT_FAILED : code;
    }
    return code;
}
