/* Options by getopt_long: those of the command and the global ones, in any order. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/when.h"

enum {
    GLOBAL_TIMEOUT = 512,
    GLOBAL_NO_COLOR,
};

static const struct option global_longs[] = {
    { "servers", required_argument, NULL, 's' },
    { "timeout", required_argument, NULL, GLOBAL_TIMEOUT },
    { "json", no_argument, NULL, 'J' },
    { "quiet", no_argument, NULL, 'q' },
    { "verbose", no_argument, NULL, 'v' },
    { "no-color", no_argument, NULL, GLOBAL_NO_COLOR },
    { "help", no_argument, NULL, 'h' },
};

#define GLOBAL_COUNT (sizeof global_longs / sizeof global_longs[0])
#define GLOBAL_LETTERS "s:Jqvh"

static const char global_help[] =
    "Options of every command:\n"
    "  -s, --servers LIST     host:port,... to ask first (SPATE_SERVERS; 127.0.0.1:7700)\n"
    "      --timeout TIME     30s, 500ms, 2m: how long a call may take (SPATE_TIMEOUT; 30s)\n"
    "  -J, --json             results as JSON\n"
    "  -q, --quiet            no notes on stderr\n"
    "  -v, --verbose          what the library does, on stderr\n"
    "      --no-color         plain text on a terminal too (NO_COLOR)\n"
    "  -h, --help             this help\n";

/* ---- help ------------------------------------------------------------------------------------ */

static void print_command_name(const struct command *command)
{
    printf("spate %s%s%s",
           command->noun != NULL ? command->noun : "",
           command->noun != NULL ? " " : "",
           command->verb);
}

static void print_option(const struct command_option *option)
{
    char left[64];

    (void)snprintf(left,
                   sizeof left,
                   "%c%c%s --%s%s%s",
                   option->letter != 0 ? '-' : ' ',
                   option->letter != 0 ? option->letter : ' ',
                   option->letter != 0 ? "," : " ",
                   option->name,
                   option->value != NULL ? " " : "",
                   option->value != NULL ? option->value : "");
    printf("  %-28s %s\n", left, option->help);
}

static void print_command_help(const struct command *command)
{
    printf("Usage: ");
    print_command_name(command);
    printf(" %s\n\n%s\n", command->arguments, command->summary);
    if (command->alias != NULL) {
        printf("Short: spate %s %s\n", command->noun != NULL ? command->noun : "", command->alias);
    }
    if (command->options != NULL) {
        printf("\nOptions:\n");
        for (const struct command_option *o = command->options; o->name != NULL; o++) {
            print_option(o);
        }
    }
    if (command->examples != NULL) {
        printf("\nExamples:\n%s", command->examples);
    }
    printf("\n%s", global_help);
}

static void print_overview(void)
{
    printf("Usage: spate COMMAND [OPTIONS]\n\nThe command line of Spate, a replicated log.\n\n"
           "Commands:\n");
    for (size_t i = 0; i < command_count; i++) {
        char name[40];
        (void)snprintf(name,
                       sizeof name,
                       "%s%s%s",
                       commands[i].noun != NULL ? commands[i].noun : "",
                       commands[i].noun != NULL ? " " : "",
                       commands[i].verb);
        printf(
            "  %-18s %.*s\n", name, (int)strcspn(commands[i].summary, "\n"), commands[i].summary);
    }
    printf("\n%s\n"
           "Exit codes: 0 done, 1 refused, 2 wrong usage, 3 not found, 4 no server reached,\n"
           "            5 cluster unhealthy, 6 timeout, 7 partly failed, 130 interrupted\n\n"
           "spate help COMMAND shows options and examples of a command.\n",
           global_help);
}

void print_help(const struct cli *cli)
{
    if (cli->command == NULL) {
        print_overview();
    } else {
        print_command_help(cli->command);
    }
}

int usage_error(const struct cli *cli, const char *format, ...)
{
    va_list arguments;

    fprintf(stderr, "spate: ");
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\n");
    if (cli->command != NULL) {
        fprintf(stderr,
                "usage: spate %s%s%s %s   (-h for more)\n",
                cli->command->noun != NULL ? cli->command->noun : "",
                cli->command->noun != NULL ? " " : "",
                cli->command->verb,
                cli->command->arguments);
    }
    return EXIT_USAGE;
}

/* ---- parsing --------------------------------------------------------------------------------- */

/* True when the option was a global one; *out_failed after a message. */
static bool take_global(struct cli *cli, int option, bool *out_failed)
{
    switch (option) {
    case 's':
        cli->servers = optarg;
        return true;
    case GLOBAL_TIMEOUT:
        if (!parse_duration(optarg, &cli->timeout_ms)) {
            (void)usage_error(cli, "--timeout %s: say for instance 30s, 500ms or 2m", optarg);
            *out_failed = true;
        }
        return true;
    case 'J':
        cli->json = true;
        return true;
    case 'q':
        cli->quiet = true;
        return true;
    case 'v':
        cli->verbose = true;
        return true;
    case GLOBAL_NO_COLOR:
        cli->color = false;
        return true;
    case 'h':
        print_help(cli);
        (void)fflush(stdout);
        exit(EXIT_OK);
    default:
        return false;
    }
}

int global_options(struct cli *cli, int argc, char **argv)
{
    int option;
    bool failed = false;
    struct option longs[GLOBAL_COUNT + 1] = { 0 };

    memcpy(longs, global_longs, sizeof global_longs);
    while ((option = getopt_long(argc, argv, "+" GLOBAL_LETTERS, longs, NULL)) != -1) {
        if (!take_global(cli, option, &failed) || failed) {
            return -1;
        }
    }
    return 0;
}

static bool command_has(const struct command *command, int letter)
{
    for (const struct command_option *o = command->options; o != NULL && o->name != NULL; o++) {
        if (o->letter == letter) {
            return true;
        }
    }
    return false;
}

bool option_is(const struct cli *cli, int option, const char *name)
{
    const struct command_option *options = cli->command->options;

    for (int i = 0; options != NULL && options[i].name != NULL; i++) {
        if (strcmp(options[i].name, name) == 0) {
            return option == (options[i].letter != 0 ? options[i].letter : OPTION_LONG(i));
        }
    }
    return false;
}

/* A letter of the command hides the global one, as -p or -n may mean something else somewhere. */
static void build_options(const struct cli *cli, struct option_parser *parser)
{
    const struct command_option *options = cli->command->options;
    size_t count = 0;
    char *letter = parser->letters;

    for (int i = 0; options != NULL && options[i].name != NULL; i++) {
        bool has_value = options[i].value != NULL;
        parser->longs[count++] = (struct option){
            .name = options[i].name,
            .has_arg = has_value ? required_argument : no_argument,
            .val = options[i].letter != 0 ? options[i].letter : OPTION_LONG(i),
        };
        if (options[i].letter != 0) {
            *letter++ = options[i].letter;
            if (has_value) {
                *letter++ = ':';
            }
        }
    }
    memcpy(&parser->longs[count], global_longs, sizeof global_longs);
    for (const char *global = GLOBAL_LETTERS; *global != '\0'; global++) {
        if (*global == ':' || command_has(cli->command, *global)) {
            continue;
        }
        *letter++ = *global;
        if (global[1] == ':') {
            *letter++ = ':';
        }
    }
}

int next_option(struct cli *cli, struct option_parser *parser, int argc, char **argv)
{
    bool failed = false;

    if (!parser->started) {
        parser->started = true;
        build_options(cli, parser);
        optind = 0; /* glibc: begin anew with these arguments */
    }
    for (;;) {
        int option = getopt_long(argc, argv, parser->letters, parser->longs, NULL);
        if (option == '?') {
            fprintf(stderr, "spate: -h shows the options of this command\n");
            return '?';
        }
        if (option == -1 || command_has(cli->command, option) ||
            !take_global(cli, option, &failed)) {
            return option;
        }
        if (failed) {
            return '?';
        }
    }
}
