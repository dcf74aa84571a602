#include "cli/health_text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/attr.h"
#include "cli/value.h"

struct words {
    char *text;
    size_t size;
    int64_t now_ms; /* of the node that answered */
    bool timeless;
};

/* ---- writing --------------------------------------------------------------------------------- */

/* Adds to a text that is cut at its size. */
static void SP_PRINTF(2, 3) add(struct words *words, const char *format, ...);

static void add(struct words *words, const char *format, ...)
{
    size_t used = strlen(words->text);
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(words->text + used, words->size - used, format, arguments);
    va_end(arguments);
}

void health_duration(int64_t duration_ms, char *text, size_t size)
{
    int64_t seconds = duration_ms < 0 ? 0 : duration_ms / 1000;
    int64_t minutes = seconds / 60;
    int64_t hours = minutes / 60;

    if (minutes == 0) {
        (void)snprintf(text, size, "%" PRId64 " s", seconds);
    } else if (hours == 0) {
        (void)snprintf(text, size, "%" PRId64 " min %" PRId64 " s", minutes, seconds % 60);
    } else if (hours < 24) {
        (void)snprintf(text, size, "%" PRId64 " h %" PRId64 " min", hours, minutes % 60);
    } else {
        (void)snprintf(text, size, "%" PRId64 " d %" PRId64 " h", hours / 24, hours % 24);
    }
}

/* ", since 2026-01-31T12:00:00Z (4 min 48 s)", if it is known. */
static void add_since(struct words *words, const json_t *row, const char *key)
{
    int64_t since_ms = value_number(row, key);
    time_t seconds = (time_t)(since_ms / 1000);
    char date[32] = "";
    char age[32];
    struct tm parts;

    if (words->timeless || since_ms <= 0 || gmtime_r(&seconds, &parts) == NULL) {
        return;
    }
    (void)strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &parts);
    health_duration(words->now_ms - since_ms, age, sizeof age);
    add(words, ", since %s (%s)", date, age);
}

static void end_line(struct words *words, const json_t *row)
{
    add_since(words, row, "since_ms");
    add(words, "\n");
}

/* "1,2,3" */
static void add_nodes(struct words *words, const json_t *nodes)
{
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        add(words,
            "%s%" JSON_INTEGER_FORMAT,
            i == 0 ? "" : ",",
            json_integer_value(json_array_get(nodes, i)));
    }
}

static void add_place(struct words *words, const json_t *row)
{
    add(words, "%s/%" PRId64, value_text(row, "topic"), value_number(row, "partition"));
}

/* What heals a problem by itself, and what a person types if it does not. */
static void advise(struct words *words, bool wanted, const char *advice)
{
    if (wanted) {
        add(words, "  %s\n", advice);
    }
}

static void add_rest(struct words *words, const char *title, const json_t *rows)
{
    if (json_array_size(rows) > HEALTH_NAMED_MAX) {
        add(words, "%s: and %zu more\n", title, json_array_size(rows) - HEALTH_NAMED_MAX);
    }
}

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
static void add_rebuild(struct words *words, const json_t *row)
{
    const char *rebuild = value_text(row, "rebuild");
    int64_t node = value_number(row, "node");
    int64_t replicas = value_number(row, "replicas");
    char rest[48] = "";

    if (!words->timeless) {
        health_duration(value_number(row, "rebuild_in_ms"), rest, sizeof rest);
    }
    if (strcmp(rebuild, "waiting") == 0) {
        add(words,
            "in %s its %" PRId64 " replicas are made anew on other nodes; gone for good: spate "
            "cluster drain %" PRId64 " does that now, then spate cluster remove %" PRId64,
            rest,
            replicas,
            node,
            node);
    } else if (strcmp(rebuild, "due") == 0) {
        add(words,
            "its %" PRId64 " replicas are being made anew on other nodes: spate cluster moves -w; "
            "after that, if it is gone for good: spate cluster remove %" PRId64,
            replicas,
            node);
    } else if (strcmp(rebuild, "off") == 0) {
        add(words,
            "its %" PRId64 " replicas wait for it, as node.replace.after.ms is 0; gone for good: "
            "spate cluster drain %" PRId64 ", then spate cluster remove %" PRId64,
            replicas,
            node,
            node);
    } else if (strcmp(rebuild, "no_controller") == 0) {
        add(words, "its %" PRId64 " replicas wait until the controller has a leader", replicas);
    } else {
        add(words, "its %" PRId64 " replicas wait for it at this feature level", replicas);
    }
}

static void advise_down(struct words *words, const json_t *row)
{
    int64_t node = value_number(row, "node");
    int64_t replicas = value_number(row, "replicas");
    int64_t bound = value_number(row, "without_place");

    add(words, "  start it: it catches up by itself; ");
    if (replicas == 0) {
        add(words, "gone for good: spate cluster remove %" PRId64 "\n", node);
        return;
    }
    if (bound == replicas) {
        add(words,
            "no other node can take its %" PRId64 " replicas: if it is gone for good, start a "
            "further node, then spate cluster drain %" PRId64 "\n",
            replicas,
            node);
        return;
    }
    add_rebuild(words, row);
    if (bound > 0) {
        add(words, "; %" PRId64 " of them no other node can take: start a further node", bound);
    }
    add(words, "\n");
}

static void add_down(struct words *words, const json_t *result)
{
    const json_t *nodes = json_object_get(result, "nodes_down");

    for (size_t i = 0; i < json_array_size(nodes); i++) {
        int64_t node = json_integer_value(json_array_get(nodes, i));
        const json_t *row = find_node(json_object_get(result, "down"), node);
        add(words, "node down: %" PRId64, node);
        end_line(words, row);
        if (row != NULL) {
            advise_down(words, row);
        }
    }
}

/* ---- partitions ------------------------------------------------------------------------------ */

static void add_partitions(struct words *words, const char *title, const json_t *partitions)
{
    size_t count = json_array_size(partitions);

    for (size_t i = 0; i < count && i < HEALTH_NAMED_MAX; i++) {
        const json_t *row = json_array_get(partitions, i);
        const json_t *missing = json_object_get(row, "missing");
        add(words, "%s: ", title);
        add_place(words, row);
        if (json_array_size(missing) > 0) {
            add(words, " missing on node ");
            add_nodes(words, missing);
        }
        end_line(words, row);
    }
    add_rest(words, title, partitions);
}

static void add_refilling(struct words *words, const json_t *refilling)
{
    for (size_t i = 0; i < json_array_size(refilling) && i < HEALTH_NAMED_MAX; i++) {
        const json_t *row = json_array_get(refilling, i);
        int64_t node = value_number(row, "node");
        if (!value_has_text(row, "topic")) {
            add(words, "refilling: the controller gets a voter on node %" PRId64, node);
        } else {
            add(words, "refilling: ");
            add_place(words, row);
            add(words, " on node %" PRId64 ", whose replica was damaged or lost", node);
        }
        end_line(words, row);
    }
    add_rest(words, "refilling", refilling);
    advise(words, json_array_size(refilling) > 0, "ends by itself: spate cluster moves -w");
}

static void add_damaged(struct words *words, const json_t *damaged)
{
    for (size_t i = 0; i < json_array_size(damaged) && i < HEALTH_NAMED_MAX; i++) {
        const json_t *row = json_array_get(damaged, i);
        add(words, "damaged on the asked node: ");
        if (!value_has_text(row, "topic")) {
            add(words, "its replica of the controller: ");
        } else {
            add_place(words, row);
            add(words, ", replica %" PRId64 ": ", value_number(row, "replica"));
        }
        add(words, "%s", value_text(row, "reason"));
        end_line(words, row);
    }
    add_rest(words, "damaged on the asked node", damaged);
}

/* ---- the controller and the node that was asked ---------------------------------------------- */

static void describe_node(struct words *words, const json_t *result)
{
    int64_t opening = value_number(result, "replicas_opening");

    if (json_is_false(json_object_get(result, "controller"))) {
        add(words, "controller: it has no leader, or the asked node has not caught up with it");
        add_since(words, result, "controller_since_ms");
        add(words,
            "\n  elects by itself when a majority of its voters runs: start their nodes; who they "
            "are: spate cluster nodes\n");
    }
    if (opening > 0) {
        add(words, "replicas still opening on the asked node: %" PRId64, opening);
        add_since(words, result, "opening_since_ms");
        add(words, "\n");
    }
    if (json_is_false(json_object_get(result, "groups"))) {
        add(words, "consumer groups: not ready, their topic is made once all seeds run\n");
    }
}

static void add_voters(struct words *words, const json_t *voters)
{
    const json_t *down = json_object_get(voters, "down");
    int64_t count = (int64_t)json_array_size(json_object_get(voters, "nodes"));
    int64_t down_count = (int64_t)json_array_size(down);

    if (down_count > 0) {
        add(words,
            "controller: %" PRId64 " of %" PRId64 " voters run, down: node ",
            count - down_count,
            count);
        add_nodes(words, down);
        end_line(words, voters);
        add(words,
            "  it works while %" PRId64 " of them run: start the node; if it is away for "
            "node.replace.after.ms another node takes its place, if there is one\n",
            count / 2 + 1);
    } else if (count > 0 && count < value_number(voters, "wanted")) {
        add(words,
            "controller: voters: %" PRId64 " of %" PRId64 " that there could be",
            count,
            value_number(voters, "wanted"));
        end_line(words, voters);
        advise(words, true, "gets further ones by itself while the nodes run: spate cluster nodes");
    }
}

/* ---- what is no fault ------------------------------------------------------------------------ */

static void add_draining(struct words *words, const json_t *draining)
{
    for (size_t i = 0; i < json_array_size(draining); i++) {
        const json_t *row = json_array_get(draining, i);
        int64_t node = value_number(row, "node");
        int64_t replicas = value_number(row, "replicas");
        int64_t bound = value_number(row, "without_place");
        if (json_is_true(json_object_get(row, "removing"))) {
            add(words, "removing: node %" PRId64 " leaves the cluster", node);
            end_line(words, row);
        } else if (replicas == 0) {
            add(words, "drained: node %" PRId64 ", replicas still to move: none", node);
            end_line(words, row);
            add(words,
                "  it may go now: spate cluster remove %" PRId64 ", then stop it; to keep it: "
                "spate cluster undrain %" PRId64 "\n",
                node,
                node);
        } else {
            add(words,
                "draining: node %" PRId64 ", replicas still to move: %" PRId64,
                node,
                replicas);
            end_line(words, row);
            add(words, "  goes on by itself: spate cluster moves -w");
            if (bound > 0) {
                add(words,
                    "; %" PRId64 " of them no other node can take: start a further node, or spate "
                    "cluster undrain %" PRId64,
                    bound,
                    node);
            }
            add(words, "\n");
        }
    }
}

static void add_moves(struct words *words, const json_t *result)
{
    const json_t *stuck = json_object_get(result, "stuck");
    int64_t moves = value_number(result, "moves");

    if (moves > 0) {
        add(words, "moves under way: %" PRId64 ", see spate cluster moves -w\n", moves);
    }
    for (size_t i = 0; i < json_array_size(stuck) && i < HEALTH_NAMED_MAX; i++) {
        const json_t *row = json_array_get(stuck, i);
        int64_t node = value_number(row, "node");
        add(words, "move without progress: ");
        add_place(words, row);
        if (value_has_text(row, "step") && node > 0) {
            add(words, ", %s node %" PRId64, value_text(row, "step"), node);
        }
        add(words, ": %s", value_text(row, "reason"));
        end_line(words, row);
    }
    add_rest(words, "move without progress", stuck);
    advise(words,
           json_array_size(stuck) > 0,
           "goes on by itself when the cause is gone; to other nodes: spate partition move TOPIC "
           "PARTITION NODE,...");
}

static void add_misplaced(struct words *words, const json_t *misplaced)
{
    for (size_t i = 0; i < json_array_size(misplaced) && i < HEALTH_NAMED_MAX; i++) {
        const json_t *row = json_array_get(misplaced, i);
        add(words, "leaders unbalanced: ");
        add_place(words, row);
        add(words,
            " is led by node %" PRId64 " instead of node %" PRId64,
            value_number(row, "leader"),
            value_number(row, "should_lead"));
        end_line(words, row);
    }
    add_rest(words, "leaders unbalanced", misplaced);
    advise(words,
           json_array_size(misplaced) > 0,
           "handed over by itself once the other node has all of the log: look at the load and the "
           "disk of both");
}

static void add_conditions(struct words *words, const json_t *conditions)
{
    for (size_t i = 0; i < json_array_size(conditions); i++) {
        const json_t *row = json_array_get(conditions, i);
        const char *condition = value_text(row, "condition");
        int64_t node = value_number(row, "node");
        if (strcmp(condition, "slow") == 0) {
            add(words, "slow: node %" PRId64 " is connected and says nothing", node);
            end_line(words, row);
            advise(words, true, "gets no leaders meanwhile: look at its load and its disk");
            continue;
        }
        add(words,
            strcmp(condition, "no_records") == 0
                ? "no space: the disk of node %" PRId64 " is all but full, it stores no records"
                : "no space: the disk of node %" PRId64 " is below its reserve, it leads nothing",
            node);
        end_line(words, row);
        advise(words, true, "goes on by itself when there is space: free some, or delete topics");
    }
}

static void add_features(struct words *words, const json_t *features)
{
    const json_t *behind = json_object_get(features, "behind");
    int64_t level = value_number(features, "level");
    int64_t newest = value_number(features, "newest");
    bool held = json_is_true(json_object_get(features, "held"));

    if (newest <= level) {
        return;
    }
    add(words, "feature level: %" PRId64 " of %" PRId64, level, newest);
    if (json_array_size(behind) > 0) {
        add(words, ", the build of these nodes is older: ");
        add_nodes(words, behind);
    } else if (held) {
        add(words, ", it is held");
    }
    end_line(words, features);
    if (json_array_size(behind) > 0) {
        add(words,
            "  install the newer build there%s: spate cluster features\n",
            held ? ", then spate cluster features release" : "; then it rises by itself");
    } else if (held) {
        advise(words, true, "every node knows more: spate cluster features release lets it rise");
    } else {
        advise(words, true, "rises by itself");
    }
}

static void add_stalled(struct words *words, const json_t *stalled)
{
    for (size_t i = 0; i < json_array_size(stalled) && i < HEALTH_NAMED_MAX; i++) {
        const json_t *row = json_array_get(stalled, i);
        add(words,
            "consumer group does not progress: %s, %" PRId64 " partitions\n",
            value_text(row, "group"),
            value_number(row, "partitions"));
    }
    add_rest(words, "consumer group does not progress", stalled);
    advise(words, json_array_size(stalled) > 0, "which member: spate group describe GROUP --lag");
}

/* ---- all ------------------------------------------------------------------------------------- */

void health_text(const json_t *result, bool timeless, char *text, size_t size)
{
    struct words words = {
        .text = text, .size = size, .now_ms = value_number(result, "now_ms"), .timeless = timeless
    };
    const json_t *leaderless = json_object_get(result, "leaderless");
    const json_t *lacking = json_object_get(result, "under_replicated");

    text[0] = '\0';
    add(&words, "%s\n", json_is_true(json_object_get(result, "healthy")) ? "healthy" : "unhealthy");
    add_down(&words, result);
    add_partitions(&words, "leaderless", leaderless);
    advise(&words,
           json_array_size(leaderless) > 0,
           "elects by itself when a majority of its replicas runs: start their nodes; which: spate "
           "topic describe TOPIC");
    add_partitions(&words, "under-replicated", lacking);
    advise(
        &words,
        json_array_size(lacking) > 0,
        "catches up by itself while those nodes run; for longer: their disk and trace, and spate "
        "cluster moves");
    add_refilling(&words, json_object_get(result, "refilling"));
    add_damaged(&words, json_object_get(result, "damaged"));
    describe_node(&words, result);
    add_voters(&words, json_object_get(result, "voters"));
    add_draining(&words, json_object_get(result, "draining"));
    add_moves(&words, result);
    add_misplaced(&words, json_object_get(result, "misplaced"));
    add_conditions(&words, json_object_get(result, "conditions"));
    add_features(&words, json_object_get(result, "features"));
    add_stalled(&words, json_object_get(result, "stalled"));
}
