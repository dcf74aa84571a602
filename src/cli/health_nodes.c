/* What the health text says of nodes that are down, and of the node that answered. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/health_words.h"
#include "cli/value.h"

/* ---- nodes that are down --------------------------------------------------------------------- */

static const json_t *find_node(const json_t *rows, int64_t node_id)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        if (value_number(json_array_get(rows, i), "node") == node_id) {
            return json_array_get(rows, i);
        }
    }
    return NULL;
}

/* What becomes of the replicas of a node that is down, and what a person can do. */
static void add_rebuild(struct health_words *words, const json_t *row)
{
    const char *rebuild = value_text(row, "rebuild");
    int64_t node = value_number(row, "node");
    int64_t replicas = value_number(row, "replicas");
    char rest[48] = "";

    if (!words->timeless) {
        health_duration(value_number(row, "rebuild_in_ms"), rest, sizeof rest);
    }
    if (strcmp(rebuild, "waiting") == 0) {
        health_add(words,
                   "in %s its %" PRId64
                   " replicas are made anew on other nodes; gone for good: spate "
                   "cluster drain %" PRId64 " does that now, then spate cluster remove %" PRId64,
                   rest,
                   replicas,
                   node,
                   node);
    } else if (strcmp(rebuild, "due") == 0) {
        health_add(words,
                   "its %" PRId64
                   " replicas are being made anew on other nodes: spate cluster moves -w; "
                   "after that, if it is gone for good: spate cluster remove %" PRId64,
                   replicas,
                   node);
    } else if (strcmp(rebuild, "off") == 0) {
        health_add(words,
                   "its %" PRId64
                   " replicas wait for it, as node.replace.after.ms is 0; gone for good: "
                   "spate cluster drain %" PRId64 ", then spate cluster remove %" PRId64,
                   replicas,
                   node,
                   node);
    } else if (strcmp(rebuild, "no_controller") == 0) {
        health_add(
            words, "its %" PRId64 " replicas wait until the controller has a leader", replicas);
    } else {
        health_add(words, "its %" PRId64 " replicas wait for it at this feature level", replicas);
    }
}

/* It runs, and one of both does not talk to the other. */
static void add_refusal(struct health_words *words, const json_t *row)
{
    int64_t node = value_number(row, "node");
    int64_t by = value_number(row, "refused_by");

    if (by == node) {
        health_add(words, "  it runs and refuses the node that was asked: ");
    } else {
        health_add(words, "  it runs and is refused by node %" PRId64 ": ", by);
    }
    health_add(words, "%s\n  ", value_text(row, "refused"));
}

static void advise_down(struct health_words *words, const json_t *result, const json_t *row)
{
    int64_t node = value_number(row, "node");
    int64_t replicas = value_number(row, "replicas");
    int64_t bound = value_number(row, "without_place");
    int64_t waiting = health_waiting_on(result, node);

    if (value_has_text(row, "refused")) {
        add_refusal(words, row);
    } else if (value_has_text(row, "not_found_at")) {
        health_add(words,
                   "  it runs and reaches the node that was asked, but is not found at %s: correct "
                   "its advertise.peer, or cluster.seeds on the other nodes, and restart; ",
                   value_text(row, "not_found_at"));
    } else {
        health_add(words, "  start it: it catches up by itself; ");
    }
    if (replicas == 0) {
        health_add(words, "gone for good: spate cluster remove %" PRId64 "\n", node);
        return;
    }
    if (bound == replicas) {
        health_add(words,
                   "no other node can take its %" PRId64
                   " replicas: if it is gone for good, start a "
                   "further node, then spate cluster drain %" PRId64 "\n",
                   replicas,
                   node);
        return;
    }
    add_rebuild(words, row);
    health_add_waiting(words, waiting);
    if (bound > 0) {
        health_add(
            words, "; %" PRId64 " of them no other node can take: start a further node", bound);
    }
    health_add(words, "\n");
}

void health_add_down(struct health_words *words, const json_t *result)
{
    const json_t *nodes = json_object_get(result, "nodes_down");

    for (size_t i = 0; i < json_array_size(nodes); i++) {
        int64_t node = json_integer_value(json_array_get(nodes, i));
        const json_t *row = find_node(json_object_get(result, "down"), node);
        health_add(words, "node down: %" PRId64, node);
        health_end_line(words, row);
        if (row != NULL) {
            advise_down(words, result, row);
        }
    }
}

/* ---- the controller and the node that was asked ---------------------------------------------- */

static void add_refusals(struct health_words *words, const json_t *refusals)
{
    for (size_t i = 0; i < json_array_size(refusals); i++) {
        const json_t *row = json_array_get(refusals, i);
        health_add(words,
                   "refused: node %" PRId64 " does not talk to the node that was asked: %s\n",
                   value_number(row, "node"),
                   value_text(row, "reason"));
    }
}

static void add_doubles(struct health_words *words, const json_t *doubles)
{
    for (size_t i = 0; i < json_array_size(doubles); i++) {
        const json_t *row = json_array_get(doubles, i);
        health_add(words,
                   "two processes: a second one wants to be node %" PRId64
                   " and is not let in: %s\n",
                   value_number(row, "node"),
                   value_text(row, "reason"));
    }
}

void health_add_node(struct health_words *words, const json_t *result)
{
    add_refusals(words, json_object_get(result, "refusals"));
    add_doubles(words, json_object_get(result, "doubles"));
    if (value_has_text(result, "joining")) {
        health_add(words,
                   "joining: node %" PRId64
                   " is no member yet: %s\n  tried again by itself: correct "
                   "cluster.join there if the address is wrong\n",
                   value_number(result, "node"),
                   value_text(result, "joining"));
    } else if (json_is_false(json_object_get(result, "controller"))) {
        health_add(words,
                   "controller: it has no leader, or the asked node has not caught up with it");
        health_add_since(words, result, "controller_since_ms");
        health_add(words,
                   "\n  %s\n",
                   json_array_size(json_object_get(result, "refusals")) > 0
                       ? "the others may have one: why they refuse this node stands above"
                       : "elects by itself when a majority of its voters runs: start their nodes; "
                         "who they are: spate cluster nodes");
    } else if (json_is_false(json_object_get(result, "current"))) {
        health_add(words,
                   "outdated: node %" PRId64 " does not follow the controller, what it says of "
                   "others may be old\n  it was removed, is cut off or catches up: ask the other "
                   "nodes too, spate -s HOST:PORT,...\n",
                   value_number(result, "node"));
    }
    health_add_opening(words, result);
    if (json_is_false(json_object_get(result, "groups"))) {
        health_add(words, "consumer groups: not ready, their topic is made once all seeds run\n");
    }
}
