/* spate generate man: the manual page in roff (man macros), from the same tables as the help. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/help.h"
#include "cli/output.h"
#include "cluster/topic_config.h"

/* Text in which roff sees nothing of its own. `at_line` is true when it begins a line. */
static void put(const char *text, bool at_line)
{
    for (; *text != '\0'; text++) {
        if (at_line && (*text == '.' || *text == '\'')) {
            out_text("\\&");
        }
        at_line = *text == '\n';
        switch (*text) {
        case '\\':
            out_text("\\e");
            break;
        case '-':
            out_text("\\-");
            break;
        case '\'':
            out_text("\\(aq");
            break;
        case '^':
            out_text("\\(ha");
            break;
        case '~':
            out_text("\\(ti");
            break;
        default:
            out_write(text, 1);
        }
    }
}

static void line(const char *text)
{
    put(text, true);
    out_text("\n");
}

static void section(const char *name)
{
    out_text(".SH ");
    out_text(name);
    out_text("\n");
}

/* A term in bold, what follows it in italics, and its meaning. */
static void term(const char *bold, const char *italic, const char *meaning)
{
    out_text(".TP\n\\fB");
    put(bold, false);
    out_text("\\fR");
    if (italic[0] != '\0') {
        out_text(" \\fI");
        put(italic, false);
        out_text("\\fR");
    }
    out_text("\n");
    line(meaning);
}

static void put_options(const struct command_option *options)
{
    char text[80];

    for (const struct command_option *o = options; o != NULL && o->name != NULL; o++) {
        if (o->letter != 0) {
            (void)snprintf(text, sizeof text, "-%c, --%s", o->letter, o->name);
        } else {
            (void)snprintf(text, sizeof text, "--%s", o->name);
        }
        term(text, o->value != NULL ? o->value : "", o->help);
    }
}

/* Lines as they are. */
static void example(const char *text)
{
    out_text(".PP\n.nf\n");
    while (*text != '\0') {
        char one[300];
        size_t size = strcspn(text, "\n");
        (void)snprintf(one, sizeof one, "%.*s", (int)size, text);
        line(one);
        text += size + (text[size] == '\n' ? 1 : 0);
    }
    out_text(".fi\n");
}

/* Paragraphs are separated by empty lines, which roff does not like. */
static void paragraphs(const char *text)
{
    out_text(".PP\n");
    while (*text != '\0') {
        char one[300];
        size_t size = strcspn(text, "\n");
        if (size == 0) {
            out_text(".PP\n");
        } else {
            (void)snprintf(one, sizeof one, "%.*s", (int)size, text);
            line(one);
        }
        text += size + (text[size] == '\n' ? 1 : 0);
    }
}

static void put_topic_settings(void)
{
    struct sp_topic_key_text text;
    char meaning[200];

    out_text(".PP\nSettings of topics, what they take, and their defaults:\n");
    for (unsigned i = 0; i < SP_TOPIC_KEY_COUNT; i++) {
        sp_topic_key_explain((enum sp_topic_key)i, &text);
        (void)snprintf(meaning, sizeof meaning, "%s (%s)", text.allowed, text.initial);
        term(sp_topic_key_name((enum sp_topic_key)i), "", meaning);
    }
}

static void put_command(const struct command *command)
{
    char name[COMMAND_NAME_SIZE + 8];

    command_name(command, name, sizeof name);
    out_text(".SS spate ");
    put(name, false);
    out_text("\n\\fBspate ");
    put(name, false);
    out_text("\\fR ");
    line(command->arguments[0] != '\0' ? command->arguments : "[options]");
    paragraphs(command->summary);
    if (command->alias != NULL) {
        out_text(".PP\nShort: \\fBspate ");
        put(command->noun != NULL ? command->noun : "", false);
        out_text(" ");
        put(command->alias, false);
        out_text("\\fR\n");
    }
    put_options(command->options);
    if (takes_topic_settings(command)) {
        put_topic_settings();
    }
    if (command->examples != NULL) {
        example(command->examples);
    }
}

static void put_environment(void)
{
    char text[200];

    section("ENVIRONMENT");
    out_text("Each setting has a variable. An option is stronger, a context is weaker.\n");
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        (void)snprintf(text,
                       sizeof text,
                       "%s: %s (%s)",
                       settings[i].key,
                       settings[i].help,
                       settings[i].initial);
        term(settings[i].environment, "", text);
    }
    term("NO_COLOR", "", "not empty: plain text, as SPATE_COLOR=never");
    term("SPATE_CONFIG", "", "the file of contexts, instead of the one below");
    section("FILES");
    term("$XDG_CONFIG_HOME/spate/config.yaml", "", "contexts; without the variable:");
    term("~/.config/spate/config.yaml", "", "the same");
}

static void put_page(void)
{
    char code[16];

    out_text(".TH SPATE 1 \"\" \"spate ");
    out_text(spate_version());
    out_text("\" \"Spate\"\n");
    section("NAME");
    out_text("spate \\- the command line of Spate, a replicated log\n");
    section("SYNOPSIS");
    out_text("\\fBspate\\fR [options] \\fIcommand\\fR [options] [arguments]\n");
    section("DESCRIPTION");
    out_text("Sends and reads records, looks after topics, consumer groups and the cluster.\n"
             "Data goes to standard output, everything else to standard error.\n");
    section("COMMANDS");
    for (size_t i = 0; i < command_count; i++) {
        put_command(&commands[i]);
    }
    section("OPTIONS OF EVERY COMMAND");
    put_options(global_table);
    section("EXIT STATUS");
    for (size_t i = 0; i < exit_meaning_count; i++) {
        (void)snprintf(code, sizeof code, "%d", exit_meanings[i].code);
        term(code, "", exit_meanings[i].meaning);
    }
    put_environment();
}

int command_generate_man(struct cli *cli, int argc, char **argv)
{
    struct option_parser parser = { 0 };

    if (next_option(cli, &parser, argc, argv) != -1) {
        return EXIT_USAGE;
    }
    if (optind != argc) {
        return usage_error(cli, "no arguments are needed");
    }
    put_page();
    out_flush();
    return EXIT_OK;
}
