/* spate cluster nodes, drain, undrain, remove. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/believed.h"
#include "cli/cli.h"
#include "cli/health_words.h"
#include "cli/output.h"
#include "cli/several.h"
#include "cli/value.h"
#include "cli/when.h"

enum {
    ADDRESS_SIZE = 300,
};

/* ---- cluster nodes --------------------------------------------------------------------------- */

/* For clients; of a node of which that is not known, the address for nodes. */
static const char *address_text(const json_t *node, char text[ADDRESS_SIZE])
{
    if (value_has_text(node, "address")) {
        return value_text(node, "address");
    }
    if (!value_has_text(node, "peer_address")) {
        return "-";
    }
    (void)snprintf(text, ADDRESS_SIZE, "peer %s", value_text(node, "peer_address"));
    return text;
}

static void print_nodes(const json_t *result)
{
    const json_t *nodes = json_object_get(result, "nodes");
    struct table table = {
        .columns = 7,
        .headings = { "NODE", "ADDRESS", "RACK", "STATE", "REPLICAS", "LEADERS", "CONTROLLER" },
    };

    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);
        const char *rack = value_text(node, "rack");
        bool alive = json_is_true(json_object_get(node, "alive"));
        char address[ADDRESS_SIZE];
        bool draining = json_is_true(json_object_get(node, "draining"));
        table_number(&table, value_number(node, "id"));
        table_text(&table, address_text(node, address));
        table_text(&table, *rack != '\0' ? rack : "-");
        table_text(&table, !alive ? "down" : draining ? "draining" : "up");
        table_number(&table, value_number(node, "replicas"));
        table_number(&table, value_number(node, "leaders"));
        table_text(&table, value_text(node, "controller"));
    }
    table_print(&table);
}

int command_cluster_nodes(struct cli *cli, int argc, char **argv)
{
    json_t *result = NULL;
    int code = ask_nodes(cli, argc, argv, "cluster.nodes", &result);

    if (code != 0 || result == NULL) {
        return code;
    }
    print_nodes(result);
    json_decref(result);
    return EXIT_OK;
}

/* ---- cluster drain, undrain, remove ---------------------------------------------------------- */

/* Of replicas that a node which drains has left, so many will not go by themselves: no other node
 * can take them, or nobody leads. */
static void
find_stuck(struct cli *cli, int64_t id, int64_t *out_without_place, int64_t *out_leaderless)
{
    json_t *result = NULL;

    *out_without_place = 0;
    *out_leaderless = 0;
    if (call_json(cli, "cluster.health", NULL, &result) != 0) {
        return;
    }
    const json_t *rows = json_object_get(result, "draining");
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        if (value_number(row, "node") == id) {
            *out_without_place = value_number(row, "without_place");
            *out_leaderless = health_waiting_on(result, id);
        }
    }
    json_decref(result);
}

/* A wait for moves would be over at once where nothing will move. */
static void tell_left(struct cli *cli, int64_t id, int64_t replicas)
{
    int64_t without_place = 0;
    int64_t leaderless = 0;

    find_stuck(cli, id, &without_place, &leaderless);
    if (replicas > (without_place > leaderless ? without_place : leaderless)) { /* may be both */
        tell("%" PRId64 ": BUSY: node %" PRId64 " drains and has %" PRId64
             " replicas left: remove it when they are moved, `spate cluster moves -w`",
             id,
             id,
             replicas);
    } else {
        tell("%" PRId64 ": BUSY: node %" PRId64 " drains and has %" PRId64
             " replicas left, of which none will move by itself: no other node can take %" PRId64
             " (start a further node), %" PRId64
             " wait until their partition has a leader, see `spate cluster health`",
             id,
             id,
             replicas,
             without_place,
             leaderless);
    }
}

/* Tells of a node that has replicas. The node's own refusal, BUSY, would be tried again until the
 * timeout. */
static bool tell_replicas(struct cli *cli, int64_t id)
{
    json_t *result = NULL;
    int64_t replicas = 0;
    bool draining = false;

    if (call_json(cli, "cluster.nodes", NULL, &result) != 0) {
        return false; /* what is wrong is told by the call itself */
    }
    const json_t *nodes = json_object_get(result, "nodes");
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);
        if (value_number(node, "id") == id) {
            replicas = value_number(node, "replicas");
            draining = json_is_true(json_object_get(node, "draining"));
        }
    }
    json_decref(result);
    if (replicas > 0 && draining) {
        tell_left(cli, id, replicas);
    } else if (replicas > 0) {
        tell("%" PRId64 ": BUSY: node %" PRId64 " has %" PRId64
             " replicas: drain it first with `spate cluster drain %" PRId64 "`",
             id,
             id,
             replicas,
             id);
    }
    return replicas > 0;
}

/* Calls `method` for each node that is named. */
static int for_nodes(
    struct cli *cli, int argc, char **argv, const char *method, const char *done, int draining)
{
    struct option_parser parser = { 0 };
    struct tally tally = { 0 };

    if (next_option(cli, &parser, argc, argv) != -1) {
        return EXIT_USAGE;
    }
    if (optind == argc) {
        return usage_error(cli, "the id of a node is needed");
    }
    int code = connect_client(cli);
    if (code != 0) {
        return code;
    }
    for (int i = optind; i < argc; i++) {
        json_t *result = NULL;
        int64_t id = 0;
        if (!parse_number(argv[i], 1, 1023, &id)) {
            return usage_error(cli, "%s is no node id", argv[i]);
        }
        if (draining < 0 && tell_replicas(cli, id)) {
            tally_add_told(&tally, argv[i], SPATE_ERR_BUSY);
            continue;
        }
        json_t *params = json_pack("{sI}", "node", (json_int_t)id);
        if (draining >= 0) {
            (void)json_object_set_new(params, "draining", json_boolean(draining));
        }
        int rv = call_json(cli, method, params, &result);
        if (rv == 0) {
            json_decref(result);
            note(cli, "node %s %s", argv[i], done);
        }
        tally_add(cli, &tally, argv[i], rv);
    }
    return tally_end(cli, &tally, "nodes");
}

int command_cluster_drain(struct cli *cli, int argc, char **argv)
{
    return for_nodes(cli, argc, argv, "node.drain", "is draining", 1);
}

int command_cluster_undrain(struct cli *cli, int argc, char **argv)
{
    return for_nodes(cli, argc, argv, "node.drain", "may have replicas again", 0);
}

int command_cluster_remove(struct cli *cli, int argc, char **argv)
{
    return for_nodes(cli, argc, argv, "node.remove", "is removed", -1);
}
