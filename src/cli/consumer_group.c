/* spate group: list, delete. */
#include <stdlib.h>
#include <string.h>

#include "cli/believed.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/several.h"
#include "cli/value.h"

enum {
    INFO_MS = 2000, /* of each node that says who the others are, when the first is not believed */
};

/* ---- list ------------------------------------------------------------------------------------ */

/* An emptied node, or one that never joined, is not to be taken for a cluster without groups. */
static bool knows_nothing(const json_t *result)
{
    return !believed_follows(result) && json_array_size(json_object_get(result, "groups")) == 0 &&
           json_array_size(json_object_get(result, "missing")) == 0;
}

static bool holds(const json_t *numbers, int64_t number)
{
    for (size_t i = 0; i < json_array_size(numbers); i++) {
        if (json_integer_value(json_array_get(numbers, i)) == number) {
            return true;
        }
    }
    return false;
}

/* Adds what another node's answer knows of the coordinators that are missing so far. Of one that
 * may not know that they are there it means nothing that it lacks none. */
static void merge(json_t *result, const json_t *answer)
{
    if (!believed_follows(answer)) {
        return;
    }
    const json_t *missing = json_object_get(result, "missing");
    const json_t *missing_there = json_object_get(answer, "missing");
    const json_t *groups = json_object_get(answer, "groups");
    json_t *still = json_array();

    for (size_t i = 0; i < json_array_size(groups); i++) {
        json_t *entry = json_array_get(groups, i);
        if (holds(missing, value_number(entry, "coordinator"))) {
            (void)json_array_append(json_object_get(result, "groups"), entry);
        }
    }
    for (size_t i = 0; i < json_array_size(missing); i++) {
        json_t *number = json_array_get(missing, i);
        if (holds(missing_there, json_integer_value(number))) {
            (void)json_array_append(still, number);
        }
    }
    (void)json_object_set_new(result, "missing", still);
}

/* Asks the other nodes for the groups of coordinators that the first one has no replica of. */
static void ask_others(struct cli *cli, json_t *result)
{
    struct believed info;

    if (json_array_size(json_object_get(result, "missing")) == 0 ||
        believed_ask(cli, "cluster.info", INFO_MS, &info) != 0) {
        return;
    }
    const json_t *nodes = json_object_get(info.result, "nodes");
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);
        const char *address = json_string_value(json_object_get(node, "address"));
        json_t *answer = NULL;
        if (json_array_size(json_object_get(result, "missing")) > 0 && address != NULL &&
            !json_is_false(json_object_get(node, "alive")) &&
            call_node(cli, address, "group.list", &answer) == 0) {
            merge(result, answer);
            json_decref(answer);
        }
    }
    json_decref(info.doubted);
    json_decref(info.result);
}

static int by_name(const void *left, const void *right)
{
    return strcmp(value_text(*(json_t *const *)left, "group"),
                  value_text(*(json_t *const *)right, "group"));
}

/* The groups in order of their names, whichever nodes they came from. */
static json_t *sorted(const json_t *groups)
{
    size_t count = json_array_size(groups);
    json_t **entries = calloc(count + 1, sizeof(json_t *));
    json_t *result = json_array();

    for (size_t i = 0; entries != NULL && i < count; i++) {
        entries[i] = json_array_get(groups, i);
    }
    if (entries != NULL) {
        qsort(entries, count, sizeof(json_t *), by_name);
    }
    for (size_t i = 0; entries != NULL && i < count; i++) {
        (void)json_array_append(result, entries[i]);
    }
    free(entries);
    return result;
}

static void print_groups(const json_t *groups)
{
    struct table table = {
        .columns = 5, .headings = { "GROUP", "STATE", "MEMBERS", "GENERATION", "COORDINATOR" }
    };

    for (size_t i = 0; i < json_array_size(groups); i++) {
        const json_t *entry = json_array_get(groups, i);
        table_text(&table, value_text(entry, "group"));
        table_text(&table, value_text(entry, "state"));
        table_number(&table, value_number(entry, "members"));
        table_number(&table, value_number(entry, "generation"));
        table_number(&table, value_number(entry, "coordinator"));
    }
    table_print(&table);
}

int command_group_list(struct cli *cli, int argc, char **argv)
{
    json_t *result = NULL;
    int code = ask_method(cli, argc, argv, "group.list", &result);

    if (code != 0) {
        return code;
    }
    if (knows_nothing(result)) {
        json_decref(result);
        tell("whether there are groups is not known");
        return EXIT_FAILED;
    }
    ask_others(cli, result);
    size_t missing = json_array_size(json_object_get(result, "missing"));
    (void)json_object_set_new(result, "groups", sorted(json_object_get(result, "groups")));
    if (cli->json) {
        out_json(json_incref(result));
    } else {
        print_groups(json_object_get(result, "groups"));
    }
    json_decref(result);
    if (missing > 0) {
        tell("%zu coordinator%s could not be asked: groups of %s are not listed",
             missing,
             plural((int64_t)missing),
             missing == 1 ? "it" : "these");
    }
    return missing > 0 ? EXIT_PARTIAL : EXIT_OK;
}

/* ---- delete ---------------------------------------------------------------------------------- */

int command_group_delete(struct cli *cli, int argc, char **argv)
{
    struct tally tally = { 0 };
    int code = begin_deletion(cli, argc, argv, "all committed offsets");

    if (code != 0) {
        return code;
    }
    for (int i = optind; i < argc; i++) {
        int rv = call_seen(cli, "group.delete", json_pack("{ss}", "group", argv[i]), "deleted");
        if (rv == 0) {
            note(cli, "group %s deleted", argv[i]);
        }
        tally_add(cli, &tally, argv[i], rv);
    }
    return tally_end(cli, &tally, "groups");
}
