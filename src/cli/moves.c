/* spate cluster moves, rebalance; spate topic alter --replicas. */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/health_words.h"
#include "cli/output.h"
#include "cli/several.h"
#include "cli/topic_config.h"
#include "cli/value.h"
#include "cli/when.h"

enum {
    LOOK_EVERY_MS = 250,
    REPLICAS_MAX = 7,
};

/* ---- cluster moves --------------------------------------------------------------------------- */

static void nodes_text(const json_t *nodes, char *text, size_t size)
{
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < json_array_size(nodes) && used < size; i++) {
        used += (size_t)snprintf(text + used,
                                 size - used,
                                 "%s%" JSON_INTEGER_FORMAT,
                                 i == 0 ? "" : ",",
                                 json_integer_value(json_array_get(nodes, i)));
    }
}

/* The same move in the answer of another node, which leads its group. */
static const json_t *find_move(const json_t *result, const json_t *wanted)
{
    const json_t *moves = json_object_get(result, "moves");

    for (size_t i = 0; i < json_array_size(moves); i++) {
        const json_t *move = json_array_get(moves, i);
        if (json_equal(json_object_get(move, "topic"), json_object_get(wanted, "topic")) &&
            json_equal(json_object_get(move, "partition"), json_object_get(wanted, "partition"))) {
            return move;
        }
    }
    return NULL;
}

static const char *address_of(const json_t *nodes, json_int_t node_id)
{
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);
        if (value_number(node, "id") == node_id) {
            return value_text(node, "address");
        }
    }
    return NULL;
}

/* Of the moves that the asked node does not know more about, what their leader says. */
static void take_moves(json_t *moves, const json_t *theirs)
{

    for (size_t i = 0; i < json_array_size(moves); i++) {
        json_t *move = json_array_get(moves, i);
        const json_t *same = find_move(theirs, move);
        if (same != NULL && !json_is_null(json_object_get(same, "step"))) {
            (void)json_object_update(move, (json_t *)(uintptr_t)same); /* only read */
        }
    }
}

/* Only the leader of each partition knows how far its move is: each node that leads one of `moves`
 * whose step is not known is asked once. One that does not answer is left out. */
static void ask_move_leaders(struct cli *cli, json_t *moves)
{
    json_t *info = NULL;
    bool asked[1024] = { false };

    if (json_array_size(moves) == 0 || call_json(cli, "cluster.info", NULL, &info) != 0) {
        return;
    }
    for (size_t i = 0; i < json_array_size(moves); i++) {
        json_int_t leader = value_number(json_array_get(moves, i), "leader");
        bool known = !json_is_null(json_object_get(json_array_get(moves, i), "step"));
        const char *address = address_of(json_object_get(info, "nodes"), leader);
        json_t *theirs = NULL;
        if (known || leader < 1 || leader > 1023 || asked[leader] || address == NULL) {
            continue;
        }
        asked[leader] = true;
        if (call_node(cli, address, "cluster.moves", &theirs) == 0) {
            take_moves(moves, theirs);
            json_decref(theirs);
        }
    }
    json_decref(info);
}

static void add_progress(struct table *table, const json_t *move)
{
    const char *step = json_string_value(json_object_get(move, "step"));
    json_int_t goal = value_number(move, "goal");
    json_int_t stored = value_number(move, "stored");
    json_int_t node = value_number(move, "node");
    char text[96];

    if (step == NULL) {
        (void)snprintf(text, sizeof text, "-");
    } else if (strcmp(step, "filling") == 0 && goal > 0) {
        /* No share: what is produced meanwhile moves the goal, so that it would fall. */
        (void)snprintf(text,
                       sizeof text,
                       "filling node %" JSON_INTEGER_FORMAT ": %" JSON_INTEGER_FORMAT
                       " of %" JSON_INTEGER_FORMAT " entries",
                       node,
                       stored,
                       goal);
    } else if (node > 0) {
        (void)snprintf(text, sizeof text, "%s node %" JSON_INTEGER_FORMAT, step, node);
    } else {
        (void)snprintf(text, sizeof text, "%s", step);
    }
    table_text(table, text);
}

/* Which replicas go where. */
static void add_places(struct table *table, const json_t *move)
{
    char from[64];
    char to[64];

    nodes_text(json_object_get(move, "from"), from, sizeof from);
    nodes_text(json_object_get(move, "to"), to, sizeof to);
    table_text(table, value_text(move, "topic"));
    table_number(table, value_number(move, "partition"));
    table_text(table, from);
    table_text(table, to);
}

static void print_moves(const json_t *result)
{
    const json_t *moves = json_object_get(result, "moves");
    struct table table = { .columns = 5,
                           .headings = { "TOPIC", "PARTITION", "FROM", "TO", "STEP" } };

    if (json_array_size(moves) == 0) {
        return; /* the caller says so, or looks again */
    }
    for (size_t i = 0; i < json_array_size(moves); i++) {
        const json_t *move = json_array_get(moves, i);
        add_places(&table, move);
        add_progress(&table, move);
    }
    table_print(&table);
}

static int show_moves(struct cli *cli, size_t *out_count)
{
    json_t *result = NULL;
    int rv = call_json(cli, "cluster.moves", NULL, &result);

    if (rv != 0) {
        return rv;
    }
    ask_move_leaders(cli, json_object_get(result, "moves"));
    *out_count = json_array_size(json_object_get(result, "moves"));
    if (cli->json) {
        out_json_line(result);
    } else {
        print_moves(result);
        json_decref(result);
    }
    out_flush();
    return 0;
}

/* What nodes that drain still have, though nothing moves at the moment. */
struct undrained {
    int64_t replicas;
    int64_t without_place; /* of them: no other node can take them */
    int64_t leaderless;    /* their partition has no leader, who would make the move */
};

static struct undrained find_undrained(struct cli *cli)
{
    struct undrained undrained = { 0 };
    json_t *result = NULL;

    if (call_json(cli, "cluster.health", NULL, &result) != 0) {
        return undrained;
    }
    const json_t *rows = json_object_get(result, "draining");
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        undrained.replicas += value_number(row, "replicas");
        undrained.without_place += value_number(row, "without_place");
        undrained.leaderless += health_waiting_on(result, value_number(row, "node"));
    }
    json_decref(result);
    return undrained;
}

/* Nothing moves. True if something is about to: what drains has no move yet. */
static bool tell_unmoved(struct cli *cli, bool told)
{
    struct undrained undrained = find_undrained(cli);
    int64_t bound = undrained.without_place;
    bool more = undrained.replicas > bound && undrained.replicas > bound + undrained.leaderless;

    if (more && !told) {
        note(cli,
             "no partition is moving yet: nodes that drain still have %" PRId64 " replicas",
             undrained.replicas);
    } else if (!more && undrained.replicas > bound) {
        note(cli,
             "no partition is moving: of nodes that drain %" PRId64
             " replicas wait until their partition has a leader, and %" PRId64
             " no other node can take, see `spate cluster health`",
             undrained.replicas - bound,
             bound);
    } else if (!more && bound > 0) {
        note(cli,
             "no partition is moving: %" PRId64
             " replicas of nodes that drain no other node can take, see `spate cluster health`",
             bound);
    } else if (!more) {
        note(cli, "no partition is moving");
    }
    return more;
}

int command_cluster_moves(struct cli *cli, int argc, char **argv)
{
    bool watch = false;
    bool more = false;
    size_t count = 0;
    int code = begin_with_switch(cli, argc, argv, 'w', &watch);

    if (code != 0) {
        return code;
    }
    catch_interrupt();
    do {
        int rv = show_moves(cli, &count);
        if (rv != 0) {
            return tell_failure(cli, rv, NULL);
        }
        more = count > 0 || tell_unmoved(cli, more);
        if (watch && more) {
            (void)poll(NULL, 0, LOOK_EVERY_MS); /* a sleep that ^C ends */
        }
    } while (watch && more && !interrupted());
    return interrupted() ? EXIT_INTERRUPTED : EXIT_OK;
}

/* ---- cluster rebalance, topic alter ---------------------------------------------------------- */

static void print_plan(struct cli *cli, json_t *result)
{
    const json_t *moves = json_object_get(result, "moves");
    struct table table = { .columns = 4, .headings = { "TOPIC", "PARTITION", "FROM", "TO" } };

    if (cli->json) {
        out_json(result);
        return;
    }
    if (json_array_size(moves) == 0) {
        note(
            cli,
            "nothing is to be moved: replicas and leaders are as even as racks and replicas allow");
    }
    for (size_t i = 0; i < json_array_size(moves); i++) {
        const json_t *move = json_array_get(moves, i);
        add_places(&table, move);
    }
    table_print(&table);
    json_decref(result);
}

int command_cluster_rebalance(struct cli *cli, int argc, char **argv)
{
    json_t *result = NULL;
    bool dry_run = false;
    int code = begin_with_switch(cli, argc, argv, 'n', &dry_run);

    if (code != 0) {
        return code;
    }
    int rv = call_json(cli, "cluster.rebalance", json_pack("{sb}", "dry_run", dry_run), &result);
    if (rv != 0) {
        return tell_failure(cli, rv, NULL);
    }
    print_plan(cli, result);
    return EXIT_OK;
}

int alter_replicas(struct cli *cli, const char *replicas, int argc, char **argv)
{
    struct tally tally = { 0 };
    int64_t count = 0;

    if (!parse_number(replicas, 1, REPLICAS_MAX, &count)) {
        return usage_error(cli, "-r %s: 1 to 7 replicas", replicas);
    }
    int code = connect_client(cli);
    if (code != 0) {
        return code;
    }
    for (int i = optind; i < argc; i++) {
        json_t *result = NULL;
        json_t *params = json_pack("{sssI}", "name", argv[i], "replicas", (json_int_t)count);
        int rv = call_json(cli, "topic.replicas", params, &result);
        if (rv == 0) {
            json_decref(result);
            note(cli, "topic %s will have %lld replicas", argv[i], (long long)count);
        }
        tally_add(cli, &tally, argv[i], rv);
    }
    return tally_end(cli, &tally, "topics");
}
