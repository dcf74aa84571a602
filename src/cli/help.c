/* Help: of everything, of one command, as text or as JSON for programs; and complaints that show
 * the usage. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/help.h"
#include "cli/output.h"
#include "cluster/topic_config.h"

const struct exit_meaning exit_meanings[] = {
    { EXIT_OK, "done" },
    { EXIT_FAILED, "refused, or failed; log verify: something is damaged" },
    { EXIT_USAGE, "wrong usage or configuration, also one that names no context" },
    { EXIT_NOT_FOUND, "no such topic, partition, group, context or log" },
    { EXIT_UNREACHABLE, "no server reached" },
    { EXIT_UNHEALTHY, "cluster health: not healthy" },
    { EXIT_TIMEOUT, "timeout, or no leader in time" },
    { EXIT_PARTIAL, "some of several names or records failed" },
    { EXIT_INTERRUPTED, "interrupted" },
};

const size_t exit_meaning_count = sizeof exit_meanings / sizeof exit_meanings[0];

void command_name(const struct command *command, char *room, size_t size)
{
    (void)snprintf(room,
                   size,
                   "%s%s%s",
                   command->noun != NULL ? command->noun : "",
                   command->noun != NULL ? " " : "",
                   command->verb);
}

/* ---- text ------------------------------------------------------------------------------------ */

/* `hiding` (NULL: none) has options of its own, whose letters and long names these do not have. */
static void print_options(const struct command_option *options, const struct command *hiding)
{
    for (const struct command_option *option = options; option->name != NULL; option++) {
        char left[64];
        bool hidden = hiding != NULL && command_has_long(hiding, option->name);
        char letter =
            hiding != NULL && command_has_letter(hiding, option->letter) ? '\0' : option->letter;
        bool both = letter != '\0' && !hidden;
        (void)snprintf(left,
                       sizeof left,
                       "%c%c%s%s%s%s%s",
                       letter != '\0' ? '-' : ' ',
                       letter != '\0' ? letter : ' ',
                       both     ? ", "
                       : hidden ? ""
                                : "  ",
                       hidden ? "" : "--",
                       hidden ? "" : option->name,
                       option->value != NULL ? " " : "",
                       option->value != NULL ? option->value : "");
        printf("  %-28s %s\n", left, option->help);
    }
}

bool takes_topic_settings(const struct command *command)
{
    return command->run == command_topic_create || command->run == command_topic_alter;
}

static void print_topic_settings(void)
{
    struct sp_topic_key_text text;

    printf("\nSettings of topics, what they take (and their defaults):\n");
    for (unsigned i = 0; i < SP_TOPIC_KEY_COUNT; i++) {
        sp_topic_key_explain((enum sp_topic_key)i, &text);
        printf("  %-28s %s (%s)\n",
               sp_topic_key_name((enum sp_topic_key)i),
               text.allowed,
               text.initial);
    }
}

static void print_exit_codes(void)
{
    printf("\nExit codes:\n");
    for (size_t i = 0; i < exit_meaning_count; i++) {
        printf("  %3d  %s\n", exit_meanings[i].code, exit_meanings[i].meaning);
    }
}

static void print_command_help(const struct command *command)
{
    char name[COMMAND_NAME_SIZE];

    command_name(command, name, sizeof name);
    printf("Usage: spate %s %s\n\n%s\n", name, command->arguments, command->summary);
    if (command->alias != NULL) {
        printf("Short: spate %s %s\n", command->noun != NULL ? command->noun : "", command->alias);
    }
    if (command->options != NULL) {
        printf("\nOptions:\n");
        print_options(command->options, NULL);
    }
    if (takes_topic_settings(command)) {
        print_topic_settings();
    }
    if (command->examples != NULL) {
        printf("\nExamples:\n%s", command->examples);
    }
    printf("\nOptions of every command:\n");
    print_options(global_table, command);
    print_exit_codes();
}

static void print_overview(void)
{
    printf("Usage: spate COMMAND [OPTIONS]\n\nThe command line of Spate, a replicated log.\n\n"
           "Commands:\n");
    for (size_t i = 0; i < command_count; i++) {
        char name[COMMAND_NAME_SIZE];
        command_name(&commands[i], name, sizeof name);
        printf(
            "  %-20s %.*s\n", name, (int)strcspn(commands[i].summary, "\n"), commands[i].summary);
    }
    printf("\nOptions of every command:\n");
    print_options(global_table, NULL);
    print_exit_codes();
    printf("\nspate help COMMAND shows options and examples of a command.\n");
}

void print_help(const struct cli *cli)
{
    if (cli->command == NULL) {
        print_overview();
    } else {
        print_command_help(cli->command);
    }
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static json_t *options_json(const struct command_option *options)
{
    json_t *list = json_array();

    for (const struct command_option *o = options; o != NULL && o->name != NULL; o++) {
        char letter[2] = { o->letter, '\0' };
        (void)json_array_append_new(list,
                                    json_pack("{ssssssss}",
                                              "name",
                                              o->name,
                                              "letter",
                                              letter,
                                              "value",
                                              o->value != NULL ? o->value : "",
                                              "help",
                                              o->help));
    }
    return list;
}

static json_t *topic_settings_json(void)
{
    json_t *list = json_array();
    struct sp_topic_key_text text;

    for (unsigned i = 0; i < SP_TOPIC_KEY_COUNT; i++) {
        sp_topic_key_explain((enum sp_topic_key)i, &text);
        (void)json_array_append_new(list,
                                    json_pack("{ssssss}",
                                              "name",
                                              sp_topic_key_name((enum sp_topic_key)i),
                                              "takes",
                                              text.allowed,
                                              "default",
                                              text.initial));
    }
    return list;
}

static json_t *command_json(const struct command *command)
{
    char name[COMMAND_NAME_SIZE];

    command_name(command, name, sizeof name);
    json_t *object = json_pack("{ss ss* ss ss so}",
                               "name",
                               name,
                               "alias",
                               command->alias,
                               "arguments",
                               command->arguments,
                               "summary",
                               command->summary,
                               "options",
                               options_json(command->options));
    if (takes_topic_settings(command)) {
        (void)json_object_set_new(object, "settings", topic_settings_json());
    }
    return object;
}

json_t *help_json(const struct command *only)
{
    json_t *list = json_array();
    json_t *codes = json_array();

    for (size_t i = 0; i < command_count; i++) {
        if (only == NULL || only == &commands[i]) {
            (void)json_array_append_new(list, command_json(&commands[i]));
        }
    }
    for (size_t i = 0; i < exit_meaning_count; i++) {
        (void)json_array_append_new(
            codes,
            json_pack(
                "{siss}", "code", exit_meanings[i].code, "meaning", exit_meanings[i].meaning));
    }
    return json_pack("{so so so}",
                     "commands",
                     list,
                     "global_options",
                     options_json(global_table),
                     "exit_codes",
                     codes);
}

/* ---- complaints ------------------------------------------------------------------------------ */

int usage_error(const struct cli *cli, const char *format, ...)
{
    va_list arguments;

    fprintf(stderr, "spate: ");
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\n");
    if (cli->command != NULL) {
        char name[COMMAND_NAME_SIZE];
        command_name(cli->command, name, sizeof name);
        fprintf(stderr, "usage: spate %s %s   (-h for more)\n", name, cli->command->arguments);
    }
    return EXIT_USAGE;
}
