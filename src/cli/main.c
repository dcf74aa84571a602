/* spate: the command line. Takes the global options, runs the command, returns its exit code. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/when.h"

static int set_up(struct cli *cli)
{
    const char *timeout = getenv("SPATE_TIMEOUT");

    (void)signal(SIGPIPE, SIG_IGN); /* fails only for numbers that are no signals */
    cli->timeout_ms = -1;
    cli->color = isatty(STDERR_FILENO) == 1 && getenv("NO_COLOR") == NULL;
    if (timeout != NULL && *timeout != '\0' && !parse_duration(timeout, &cli->timeout_ms)) {
        return usage_error(cli, "SPATE_TIMEOUT=%s: say for instance 30s, 500ms or 2m", timeout);
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct cli cli = { 0 };

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
    if (fflush(stdout) != 0) {
        return code == EXIT_OK ? EXIT_OK : code; /* the reader had enough */
    }
    return code;
}
