/* From words to commands: finding them, helping with them, guessing what was meant. */
#include <stdio.h>
#include <string.h>

#include "base/nearest.h"
#include "cli/cli.h"
#include "cli/help.h"
#include "cli/output.h"

static bool is_command(const struct command *command, const char *noun, const char *verb)
{
    if (noun == NULL || command->noun == NULL) {
        return noun == NULL && command->noun == NULL && strcmp(command->verb, verb) == 0;
    }
    return strcmp(command->noun, noun) == 0 &&
           (strcmp(command->verb, verb) == 0 ||
            (command->alias != NULL && strcmp(command->alias, verb) == 0));
}

const struct command *find_command(const char *noun, const char *verb)
{
    for (size_t i = 0; i < command_count; i++) {
        if (is_command(&commands[i], noun, verb)) {
            return &commands[i];
        }
    }
    return NULL;
}

bool is_noun(const char *word)
{
    for (size_t i = 0; i < command_count; i++) {
        if (commands[i].noun != NULL && strcmp(commands[i].noun, word) == 0) {
            return true;
        }
    }
    return false;
}

/* Says what was not understood: `word`, behind `noun` when that is not NULL. */
static int unknown_command(const char *noun, const char *word)
{
    const char *words[64];
    size_t count = 0;

    for (size_t i = 0; i < command_count && count + 1 < sizeof words / sizeof words[0]; i++) {
        const struct command *command = &commands[i];
        if (noun == NULL) {
            words[count++] = command->noun != NULL ? command->noun : command->verb;
        } else if (command->noun != NULL && strcmp(command->noun, noun) == 0) {
            words[count++] = command->verb;
        }
    }
    const char *near = word == NULL ? NULL : sp_nearest(word, words, count);
    if (word == NULL) {
        fprintf(stderr, "spate: %s what?", noun);
        for (size_t i = 0; i < count; i++) {
            fprintf(stderr, "%s %s", i == 0 ? "" : ",", words[i]);
        }
    } else {
        fprintf(stderr, "spate: no command '%s%s%s'", noun ? noun : "", noun ? " " : "", word);
        if (near != NULL) {
            fprintf(stderr, ": did you mean '%s%s%s'?", noun ? noun : "", noun ? " " : "", near);
        }
    }
    if (word == NULL) {
        fprintf(stderr, "\nspate help %s tells what they do\n", noun);
    } else {
        fprintf(stderr, "\nspate help lists the commands\n");
    }
    return EXIT_USAGE;
}

static bool wants_help(const char *word)
{
    return strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0;
}

/* `spate topic -h`: the commands of that noun. */
static int help_for_noun(const char *noun)
{
    for (size_t i = 0; i < command_count; i++) {
        if (commands[i].noun != NULL && strcmp(commands[i].noun, noun) == 0) {
            printf("spate %s %s %s\n    %.*s\n",
                   noun,
                   commands[i].verb,
                   commands[i].arguments,
                   (int)strcspn(commands[i].summary, "\n"),
                   commands[i].summary);
        }
    }
    return EXIT_OK;
}

int run_command(struct cli *cli, int argc, char **argv)
{
    const char *noun = is_noun(argv[0]) ? argv[0] : NULL;

    if (noun != NULL && argc > 1 && wants_help(argv[1])) {
        return help_for_noun(noun);
    }
    if (noun != NULL && (argc < 2 || argv[1][0] == '-')) {
        return unknown_command(noun, NULL);
    }
    const char *verb = noun != NULL ? argv[1] : argv[0];
    cli->command = find_command(noun, verb);
    if (cli->command == NULL) {
        return unknown_command(noun, verb);
    }
    int words = noun != NULL ? 1 : 0;
    /* getopt names the program by argv[0] in its messages. */
    argv[words] = (char[]){ "spate" };
    return cli->command->run(cli, argc - words, argv + words);
}

int command_help(struct cli *cli, int argc, char **argv)
{
    struct option_parser parser = { 0 };

    if (next_option(cli, &parser, argc, argv) != -1) {
        return EXIT_USAGE;
    }
    cli->command = NULL;
    if (optind == argc && cli->json) {
        out_json(help_json(NULL));
        return EXIT_OK;
    }
    if (optind == argc) {
        print_help(cli);
        return EXIT_OK;
    }
    const char *first = argv[optind];
    bool two = is_noun(first);
    if (two && optind + 1 == argc) {
        return help_for_noun(first);
    }
    cli->command = find_command(two ? first : NULL, two ? argv[optind + 1] : first);
    if (cli->command == NULL) {
        return unknown_command(two ? first : NULL, two ? argv[optind + 1] : first);
    }
    if (cli->json) {
        out_json(help_json(cli->command));
    } else {
        print_help(cli);
    }
    return EXIT_OK;
}
