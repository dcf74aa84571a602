/* spate context: create, list, use, show, edit, rm. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/contexts.h"
#include "cli/output.h"
#include "cli/several.h"

/* Loads the file for a change to one name behind the options. An exit code. */
static int begin_named(struct cli *cli, struct contexts *contexts, int argc)
{
    if (optind + 1 != argc) {
        return usage_error(cli, "one name is needed");
    }
    return contexts_load_to_change(contexts);
}

/* The environment goes before any context: who is about to rely on one is told. */
static void note_overridden(struct cli *cli)
{
    static const size_t places[] = { SETTING_CONTEXT, SETTING_SERVERS };

    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const char *name = settings[places[i]].environment;

        if (getenv(name) != NULL) {
            note(cli, "%s is set and goes before it", name);
        }
    }
}

static json_t *values_json(const struct context *context)
{
    json_t *object = json_object();

    for (size_t i = 0; i < SETTING_COUNT; i++) {
        if (context->values[i] != NULL) {
            (void)json_object_set_new(object, settings[i].key, json_string(context->values[i]));
        }
    }
    return object;
}

/* ---- create ---------------------------------------------------------------------------------- */

/* Options that say how to print concern this command; all others and -X become values. */
static bool is_for_context(const struct cli *cli, size_t place)
{
    const struct setting_value *value = &cli->settings[place];
    bool own = place == SETTING_JSON || place == SETTING_QUIET || place == SETTING_VERBOSE;

    return place != SETTING_CONTEXT && value->text != NULL && value->origin == SETTING_FROM_FLAG &&
           (!own || value->by_key);
}

static int create(struct cli *cli, struct contexts *contexts, const char *name, bool replace)
{
    struct context *old = contexts_find(contexts, name);

    if (!context_name_valid(name)) {
        return usage_error(cli, "%s: a name of letters, digits, - _ and .", name);
    }
    if (old != NULL && !replace) {
        tell("context %s exists already: --replace", name);
        return EXIT_FAILED;
    }
    bool current = contexts->current == NULL || contexts_dangling(contexts) ||
                   strcmp(contexts->current, name) == 0;
    if (old != NULL) {
        contexts_remove(contexts, old);
    }
    struct context *context = contexts_add(contexts, name);
    if (context == NULL) {
        return EXIT_FAILED;
    }
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        context->values[i] = is_for_context(cli, i) ? strdup(cli->settings[i].text) : NULL;
    }
    if (current) {
        free(contexts->current);
        contexts->current = strdup(name);
    }
    int code = contexts_save(contexts);
    if (code == 0) {
        note(cli, "context %s written to %s%s", name, contexts->path, current ? ", in use" : "");
    }
    if (code == 0 && current) {
        note_overridden(cli);
    }
    if (code == 0 && cli->json) {
        out_json(json_pack("{sssbso}",
                           "name",
                           name,
                           "current",
                           current ? 1 : 0,
                           "settings",
                           values_json(context)));
    }
    return code;
}

int command_context_create(struct cli *cli, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    struct contexts contexts = { 0 };
    bool replace = false;
    int option;

    while ((option = next_option(cli, &parser, argc, argv)) != -1) {
        if (!option_is(cli, option, "replace")) {
            return EXIT_USAGE;
        }
        replace = true;
    }
    int code = begin_named(cli, &contexts, argc);
    if (code == 0) {
        code = create(cli, &contexts, argv[optind], replace);
    }
    contexts_free(&contexts);
    return code;
}

/* ---- list ------------------------------------------------------------------------------------ */

static bool is_current(const struct contexts *contexts, const struct context *context)
{
    return contexts->current != NULL && strcmp(contexts->current, context->name) == 0;
}

static void print_list(struct cli *cli, const struct contexts *contexts)
{
    struct table table = { .columns = 3, .headings = { "NAME", "CURRENT", "SERVERS" } };
    json_t *list = json_array();

    for (size_t i = 0; i < contexts->count; i++) {
        const struct context *context = &contexts->list[i];
        const char *servers = context->values[SETTING_SERVERS];
        bool current = is_current(contexts, context);
        table_text(&table, context->name);
        table_text(&table, current ? "yes" : "no");
        table_text(&table, servers != NULL ? servers : "-");
        (void)json_array_append_new(list,
                                    json_pack("{sssbso}",
                                              "name",
                                              context->name,
                                              "current",
                                              current ? 1 : 0,
                                              "settings",
                                              values_json(context)));
    }
    if (cli->json) {
        out_json(json_pack("{sssO}", "file", contexts->path, "contexts", list));
        table_free(&table);
    } else {
        table_print(&table);
    }
    json_decref(list);
}

int command_context_list(struct cli *cli, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    struct contexts contexts = { 0 };

    if (next_option(cli, &parser, argc, argv) != -1) {
        return EXIT_USAGE;
    }
    if (optind != argc) {
        return usage_error(cli, "no arguments are needed");
    }
    int code = contexts_load(&contexts);
    if (code == 0) {
        print_list(cli, &contexts);
        code = contexts_dangling(&contexts) ? contexts_tell_dangling(&contexts) : 0;
    }
    contexts_free(&contexts);
    return code;
}

/* ---- use, rm --------------------------------------------------------------------------------- */

int command_context_use(struct cli *cli, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    struct contexts contexts = { 0 };

    if (next_option(cli, &parser, argc, argv) != -1) {
        return EXIT_USAGE;
    }
    int code = begin_named(cli, &contexts, argc);
    if (code == 0 && contexts_find(&contexts, argv[optind]) == NULL) {
        code = contexts_unknown(&contexts, argv[optind]);
    }
    if (code == 0) {
        free(contexts.current);
        contexts.current = strdup(argv[optind]);
        code = contexts_save(&contexts);
    }
    if (code == 0) {
        note(cli, "context %s is in use", argv[optind]);
        note_overridden(cli);
        if (cli->json) {
            out_json(json_pack("{ss}", "current", argv[optind]));
        }
    }
    contexts_free(&contexts);
    return code;
}

/* Tells of each name what has become of it, once the file is written. */
static void tell_removed(struct cli *cli, const struct tally *tally, const char *current)
{
    for (size_t i = 0; i < json_array_size(tally->results); i++) {
        const json_t *entry = json_array_get(tally->results, i);
        const char *name = json_string_value(json_object_get(entry, "name"));
        if (json_object_get(entry, "error") == NULL) {
            bool used = current != NULL && strcmp(name, current) == 0;
            note(cli,
                 "context %s deleted%s",
                 name,
                 used ? ", which was in use: none is now (spate context use NAME)" : "");
        }
    }
}

int command_context_remove(struct cli *cli, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    struct contexts contexts = { 0 };
    struct tally tally = { 0 };

    if (next_option(cli, &parser, argc, argv) != -1) {
        return EXIT_USAGE;
    }
    if (optind == argc) {
        return usage_error(cli, "a name is needed");
    }
    int code = contexts_load_to_change(&contexts);
    char *current = contexts.current != NULL ? strdup(contexts.current) : NULL;
    for (int i = optind; code == 0 && i < argc; i++) {
        struct context *context = contexts_find(&contexts, argv[i]);
        if (context != NULL) {
            contexts_remove(&contexts, context);
        } else {
            (void)contexts_unknown(&contexts, argv[i]);
        }
        tally_add_told(&tally, argv[i], context != NULL ? 0 : SPATE_ERR_NOT_FOUND);
    }
    if (code == 0 && tally.done > 0) {
        code = contexts_save(&contexts); /* all of them, or none */
    }
    if (code == 0) {
        tell_removed(cli, &tally, current);
        code = tally_end(cli, &tally, "contexts");
    }
    json_decref(tally.results);
    contexts_free(&contexts);
    free(current);
    return code;
}

/* ---- show ------------------------------------------------------------------------------------ */

/* Where a value comes from, for people. */
static const char *origin_text(const struct cli *cli, size_t place, char *room, size_t size)
{
    const struct setting_value *value = &cli->settings[place];

    switch (value->text == NULL ? SETTING_FROM_DEFAULT : value->origin) {
    case SETTING_FROM_FLAG:
        return "flag";
    case SETTING_FROM_ENVIRONMENT:
        (void)snprintf(room, size, "environment %s", value->source);
        return room;
    case SETTING_FROM_CONTEXT:
        (void)snprintf(room,
                       size,
                       place == SETTING_CONTEXT ? "current in the file" : "context %s",
                       setting_text(cli, SETTING_CONTEXT));
        return room;
    case SETTING_FROM_DEFAULT:
        break;
    }
    return "default";
}

static int show_resolved(struct cli *cli)
{
    struct table table = { .columns = 3, .headings = { "KEY", "VALUE", "ORIGIN" } };
    json_t *list = json_array();
    char room[160];
    int code = settings_resolve(cli, true);

    for (size_t i = 0; code == 0 && i < SETTING_COUNT; i++) {
        const char *origin = origin_text(cli, i, room, sizeof room);
        table_text(&table, settings[i].key);
        table_text(&table, setting_text(cli, i));
        table_text(&table, origin);
        (void)json_array_append_new(list,
                                    json_pack("{ssssss}",
                                              "key",
                                              settings[i].key,
                                              "value",
                                              setting_text(cli, i),
                                              "origin",
                                              origin));
    }
    if (code == 0 && cli->json) {
        out_json(json_pack("{sO}", "settings", list));
    } else if (code == 0) {
        table_print(&table);
    }
    table_free(&table);
    json_decref(list);
    return code;
}

static int show_one(struct cli *cli, const struct contexts *contexts, const char *name)
{
    struct table table = { .columns = 2, .headings = { "KEY", "VALUE" } };
    const struct context *context = name == NULL ? NULL : contexts_find(contexts, name);

    if (name == NULL) {
        tell("no context is in use: name one, or spate context use NAME");
        return EXIT_NOT_FOUND;
    }
    if (context == NULL && contexts->current == name) {
        return contexts_tell_dangling(contexts);
    }
    if (context == NULL) {
        return contexts_unknown(contexts, name);
    }
    if (cli->json) {
        out_json(json_pack("{sssbso}",
                           "name",
                           name,
                           "current",
                           is_current(contexts, context) ? 1 : 0,
                           "settings",
                           values_json(context)));
        return EXIT_OK;
    }
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        if (context->values[i] != NULL) {
            table_text(&table, settings[i].key);
            table_text(&table, context->values[i]);
        }
    }
    table_print(&table);
    return EXIT_OK;
}

int command_context_show(struct cli *cli, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    struct contexts contexts = { 0 };
    bool resolved = false;
    int option;

    while ((option = next_option(cli, &parser, argc, argv)) != -1) {
        if (!option_is(cli, option, "resolved")) {
            return EXIT_USAGE;
        }
        resolved = true;
    }
    if (optind + (resolved ? 0 : 1) < argc) {
        return usage_error(cli, resolved ? "no name: see --context" : "one name, or none");
    }
    if (resolved) {
        return show_resolved(cli);
    }
    int code = contexts_load(&contexts);
    if (code == 0) {
        const char *wanted = cli->settings[SETTING_CONTEXT].text;
        const char *name = optind < argc    ? argv[optind]
                           : wanted != NULL ? wanted
                                            : contexts.current;
        code = show_one(cli, &contexts, name);
    }
    contexts_free(&contexts);
    return code;
}

/* ---- edit ------------------------------------------------------------------------------------ */

/* Runs the user's editor on the file. */
static int run_editor(const char *path)
{
    const char *visual = getenv("VISUAL");
    const char *editor = visual != NULL && *visual != '\0' ? visual : getenv("EDITOR");
    char command[512];
    int status = 0;

    (void)snprintf(
        command, sizeof command, "%s \"$1\"", editor != NULL && *editor != '\0' ? editor : "vi");
    pid_t child = fork();
    if (child == 0) {
        (void)execl("/bin/sh", "sh", "-c", command, "sh", path, (char *)NULL);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0 || !WIFEXITED(status) ||
        WEXITSTATUS(status) != 0) {
        tell("the editor failed (VISUAL, EDITOR)");
        return EXIT_FAILED;
    }
    return 0;
}

int command_context_edit(struct cli *cli, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    struct contexts before = { 0 };
    struct contexts after = { 0 };

    if (next_option(cli, &parser, argc, argv) != -1) {
        return EXIT_USAGE;
    }
    if (optind != argc) {
        return usage_error(cli, "no arguments are needed");
    }
    int code = contexts_load_to_change(&before);
    if (code == EXIT_USAGE) { /* what is wrong is told, and is what the editor is for */
        code = 0;
    }
    if (code == 0 && access(before.path, F_OK) != 0) {
        code = contexts_save(&before);
    }
    contexts_free(&before); /* what an editor does is locked by nobody */
    if (code == 0) {
        code = run_editor(before.path);
    }
    if (code == 0) {
        code = contexts_load(&after);
    }
    if (code == 0 && contexts_dangling(&after)) {
        code = contexts_tell_dangling(&after);
    }
    if (code == 0 && cli->json) {
        out_json(json_pack("{sssi}", "file", after.path, "contexts", (int)after.count));
    }
    contexts_free(&after);
    return code;
}
