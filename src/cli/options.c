/* Options by getopt_long: those of the command and the global ones, in any order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"
#include "cli/cli.h"

enum {
    GLOBAL_TIMEOUT = 512,
    GLOBAL_NO_COLOR,
    GLOBAL_CONTEXT,
};

/* Of the global option with that letter, by its long name, also where a command has the letter. */
#define GLOBAL_LONG(letter) (1024 + (letter))

static const struct option global_longs[] = {
    { "servers", required_argument, NULL, GLOBAL_LONG('s') },
    { "timeout", required_argument, NULL, GLOBAL_TIMEOUT },
    { "context", required_argument, NULL, GLOBAL_CONTEXT },
    { "set", required_argument, NULL, GLOBAL_LONG('X') },
    { "json", no_argument, NULL, GLOBAL_LONG('J') },
    { "quiet", no_argument, NULL, GLOBAL_LONG('q') },
    { "verbose", no_argument, NULL, GLOBAL_LONG('v') },
    { "no-color", no_argument, NULL, GLOBAL_NO_COLOR },
    { "help", no_argument, NULL, GLOBAL_LONG('h') },
};

#define GLOBAL_COUNT (sizeof global_longs / sizeof global_longs[0])
#define GLOBAL_LETTERS "s:X:Jqvh"

const struct command_option global_table[] = {
    { 's', "servers", "LIST", "host:port,... to ask first (SPATE_SERVERS; 127.0.0.1:7700)" },
    { 0, "timeout", "TIME", "30s, 500ms, 2m: how long a call may take (SPATE_TIMEOUT; 30s)" },
    { 0, "context", "CONTEXT", "values kept under this name (SPATE_CONTEXT)" },
    { 'X', "set", "KEY=VALUE", "a setting, as linger.ms=0 (SPATE_LINGER_MS)" },
    { 'J', "json", NULL, "results as JSON (SPATE_JSON=yes)" },
    { 'q', "quiet", NULL, "no notes on stderr (SPATE_QUIET=yes)" },
    { 'v', "verbose", NULL, "what the library does, on stderr (SPATE_VERBOSE=yes)" },
    { 0, "no-color", NULL, "plain text on a terminal too (SPATE_COLOR=never, NO_COLOR)" },
    { 'h', "help", NULL, "this help" },
    { 0 },
};

/* ---- parsing --------------------------------------------------------------------------------- */

/* True when the option was a global one; *out_failed after a message. */
static bool take_global(struct cli *cli, int option, bool *out_failed)
{
    static const struct {
        int option;
        enum setting_place place;
        const char *text; /* NULL: the argument */
        const char *name;
    } globals[] = {
        { 's', SETTING_SERVERS, NULL, "--servers" },
        { GLOBAL_TIMEOUT, SETTING_TIMEOUT, NULL, "--timeout" },
        { GLOBAL_CONTEXT, SETTING_CONTEXT, NULL, "--context" },
        { 'J', SETTING_JSON, "yes", "--json" },
        { 'q', SETTING_QUIET, "yes", "--quiet" },
        { 'v', SETTING_VERBOSE, "yes", "--verbose" },
        { GLOBAL_NO_COLOR, SETTING_COLOR, "never", "--no-color" },
    };

    option -= option >= GLOBAL_LONG(0) ? GLOBAL_LONG(0) : 0;
    if (option == 'h') {
        print_help(cli);
        (void)fflush(stdout); /* a reader that has enough is none of our concern */
        exit(EXIT_OK);
    }
    if (option == 'X') {
        *out_failed = setting_set_pair(cli, optarg) != 0;
        return true;
    }
    for (size_t i = 0; i < sizeof globals / sizeof globals[0]; i++) {
        if (globals[i].option == option) {
            const char *text = globals[i].text != NULL ? globals[i].text : optarg;
            *out_failed =
                setting_set(cli, globals[i].place, text, SETTING_FROM_FLAG, globals[i].name) != 0;
            return true;
        }
    }
    return false;
}

bool command_has_letter(const struct command *command, int letter)
{
    for (const struct command_option *o = command->options; o != NULL && o->name != NULL; o++) {
        if (letter != 0 && o->letter == letter) {
            return true;
        }
    }
    return false;
}

bool command_has_long(const struct command *command, const char *name)
{
    for (const struct command_option *o = command->options; o != NULL && o->name != NULL; o++) {
        if (strcmp(o->name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- wrong options --------------------------------------------------------------------------- */

/* The command of the same noun that has a long option of this name, or NULL. */
static const struct command *sibling_with(const struct command *command, const char *name)
{
    for (size_t i = 0; command != NULL && command->noun != NULL && i < command_count; i++) {
        if (commands[i].noun != NULL && strcmp(commands[i].noun, command->noun) == 0 &&
            command_has_long(&commands[i], name)) {
            return &commands[i];
        }
    }
    return NULL;
}

/* Says what is wrong with the long option `word`, without its dashes: it is none, or several
 * begin with it. */
static void tell_long(const struct command *command, const struct option *longs, const char *word)
{
    const char *names[64];
    const char *first = NULL;
    size_t count = 0;
    char name[64];
    size_t size = strcspn(word, "=");

    (void)snprintf(name, sizeof name, "%.*s", (int)size, word);
    for (; longs->name != NULL && count < sizeof names / sizeof names[0]; longs++) {
        names[count++] = longs->name;
        if (size > 0 && strncmp(longs->name, name, size) == 0) {
            if (first != NULL) {
                tell("--%s may mean --%s or --%s", name, first, longs->name);
                return;
            }
            first = longs->name;
        }
    }
    const struct command *sibling = sibling_with(command, name);
    const char *near = sp_nearest(name, names, count);
    if (sibling != NULL) {
        tell("no option '--%s' here: spate %s %s has it", name, sibling->noun, sibling->verb);
    } else if (near != NULL) {
        tell("no option '--%s': did you mean '--%s'?", name, near);
    } else {
        tell("no option '--%s'", name);
    }
}

static bool takes_no_value(const struct option *longs, int option)
{
    for (; option != 0 && longs->name != NULL; longs++) {
        if (longs->val == option) {
            return longs->has_arg == no_argument;
        }
    }
    return false;
}

/* After '?' or ':' of getopt_long. */
static void
tell_option(const struct command *command, const struct option *longs, int result, char **argv)
{
    const char *word = argv[optind - 1];
    bool is_long = strncmp(word, "--", 2) == 0;

    if (result == ':' && is_long) {
        tell("%s needs a value", word);
    } else if (result == ':') {
        tell("-%c needs a value", optopt);
    } else if (is_long && takes_no_value(longs, optopt)) {
        tell("%.*s takes no value", (int)strcspn(word, "="), word);
    } else if (optopt != 0) {
        tell("no option '-%c'", optopt);
    } else {
        tell_long(command, longs, word + 2);
    }
    fprintf(stderr, "spate: -h shows the options of this command\n");
}

int global_options(struct cli *cli, int argc, char **argv)
{
    int option;
    bool failed = false;
    struct option longs[GLOBAL_COUNT + 1] = { 0 };

    opterr = 0;
    memcpy(longs, global_longs, sizeof global_longs);
    while ((option = getopt_long(argc, argv, "+:" GLOBAL_LETTERS, longs, NULL)) != -1) {
        if (option == '?' || option == ':') {
            tell_option(NULL, longs, option, argv);
            return -1;
        }
        if (!take_global(cli, option, &failed) || failed) {
            return -1;
        }
    }
    return 0;
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

    *letter++ = ':'; /* a missing argument is told from a wrong option */
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
        if (*global == ':' || command_has_letter(cli->command, *global)) {
            continue;
        }
        *letter++ = *global;
        if (global[1] == ':') {
            *letter++ = ':';
        }
    }
}

/* Commands that must work whatever the file of contexts holds. */
static bool does_without_context(const struct command *command)
{
    const char *word = command->noun != NULL ? command->noun : command->verb;

    return strcmp(word, "context") == 0 || strcmp(word, "help") == 0 ||
           strcmp(word, "version") == 0 || strcmp(word, "generate") == 0;
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
        if (option == '?' || option == ':') {
            tell_option(cli->command, parser->longs, option, argv);
            return '?';
        }
        if (option == -1) {
            return settings_resolve(cli, !does_without_context(cli->command)) == 0 ? -1 : '?';
        }
        if (command_has_letter(cli->command, option) || !take_global(cli, option, &failed)) {
            return option;
        }
        if (failed) {
            return '?';
        }
    }
}

int begin_with_switch(struct cli *cli, int argc, char **argv, int letter, bool *out_given)
{
    struct option_parser parser = { 0 };
    int option;

    while ((option = next_option(cli, &parser, argc, argv)) != -1) {
        if (option != letter) {
            return EXIT_USAGE;
        }
        *out_given = true;
    }
    if (optind != argc) {
        return usage_error(cli, "no arguments are needed");
    }
    return connect_client(cli);
}
