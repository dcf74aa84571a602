#include "cli/health_words.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/value.h"

/* ---- writing --------------------------------------------------------------------------------- */

void health_add(struct health_words *words, const char *format, ...)
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
void health_add_since(struct health_words *words, const json_t *row, const char *key)
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
    health_add(words, ", since %s (%s)", date, age);
}

void health_end_line(struct health_words *words, const json_t *row)
{
    health_add_since(words, row, "since_ms");
    health_add(words, "\n");
}

/* "1,2,3" */
void health_add_nodes(struct health_words *words, const json_t *nodes)
{
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        health_add(words,
                   "%s%" JSON_INTEGER_FORMAT,
                   i == 0 ? "" : ",",
                   json_integer_value(json_array_get(nodes, i)));
    }
}

void health_add_place(struct health_words *words, const json_t *row)
{
    health_add(words, "%s/%" PRId64, value_text(row, "topic"), value_number(row, "partition"));
}

/* What heals a problem by itself, and what a person types if it does not. */
void health_advise(struct health_words *words, bool wanted, const char *advice)
{
    if (wanted) {
        health_add(words, "  %s\n", advice);
    }
}

void health_add_rest(struct health_words *words, const char *title, const json_t *rows)
{
    if (json_array_size(rows) > HEALTH_NAMED_MAX) {
        health_add(words, "%s: and %zu more\n", title, json_array_size(rows) - HEALTH_NAMED_MAX);
    }
}

static void add_voters(struct health_words *words, const json_t *voters)
{
    const json_t *down = json_object_get(voters, "down");
    int64_t count = (int64_t)json_array_size(json_object_get(voters, "nodes"));
    int64_t down_count = (int64_t)json_array_size(down);

    if (down_count > 0) {
        health_add(words,
                   "controller: %" PRId64 " of %" PRId64 " voters run, down: node ",
                   count - down_count,
                   count);
        health_add_nodes(words, down);
        health_end_line(words, voters);
        health_add(words,
                   "  it works while %" PRId64 " of them run: start the node%s\n",
                   count / 2 + 1,
                   count - down_count > count / 2
                       ? "; if it is away for node.replace.after.ms another node takes its place, "
                         "if there is one"
                       : "s; gone for good: forced membership (docs/operations.md, Forced "
                         "membership)");
    } else if (count > 0 && count < value_number(voters, "wanted")) {
        health_add(words,
                   "controller: voters: %" PRId64 " of %" PRId64 " that there could be",
                   count,
                   value_number(voters, "wanted"));
        health_end_line(words, voters);
        health_advise(
            words, true, "gets further ones by itself while the nodes run: spate cluster nodes");
    }
}

/* ---- what is no fault ------------------------------------------------------------------------ */

void health_add_waiting(struct health_words *words, int64_t waiting)
{
    if (waiting > 0) {
        health_add(words,
                   "; %" PRId64 " of them wait until their partition has a leader, see leaderless",
                   waiting);
    }
}

/* Those that wait for a leader are told above, with what brings one back. */
static void
add_still_to_move(struct health_words *words, const json_t *result, int64_t node, const json_t *row)
{
    int64_t bound = value_number(row, "without_place");
    int64_t waiting = health_waiting_on(result, node);
    bool all = bound == value_number(row, "replicas");

    health_add(words, all ? "  " : "  goes on by itself: spate cluster moves -w");
    health_add_waiting(words, all ? 0 : waiting);
    if (bound > 0) {
        health_add(words,
                   "%s%" PRId64 " of them no other node can take: start a further node, or spate "
                   "cluster undrain %" PRId64,
                   all ? "" : "; ",
                   bound,
                   node);
    }
    health_add(words, "\n");
}

static void add_draining(struct health_words *words, const json_t *result)
{
    const json_t *draining = json_object_get(result, "draining");

    for (size_t i = 0; i < json_array_size(draining); i++) {
        const json_t *row = json_array_get(draining, i);
        int64_t node = value_number(row, "node");
        int64_t replicas = value_number(row, "replicas");
        if (json_is_true(json_object_get(row, "removing"))) {
            health_add(words, "removing: node %" PRId64 " leaves the cluster", node);
            health_end_line(words, row);
        } else if (replicas == 0) {
            health_add(words, "drained: node %" PRId64 ", replicas still to move: none", node);
            health_end_line(words, row);
            health_add(words,
                       "  it may go now: spate cluster remove %" PRId64
                       ", then stop it; to keep it: "
                       "spate cluster undrain %" PRId64 "\n",
                       node,
                       node);
        } else {
            health_add(words,
                       "draining: node %" PRId64 ", replicas still to move: %" PRId64,
                       node,
                       replicas);
            health_end_line(words, row);
            add_still_to_move(words, result, node, row);
        }
    }
}

/* `leads`: bit (1 << enum health_lead) for each kind of move without progress. */
static void advise_stuck(struct health_words *words, unsigned leads)
{
    health_advise(
        words,
        (leads & 1U << HEALTH_LED) != 0,
        "goes on by itself when the cause is gone; to other nodes: spate partition move TOPIC "
        "PARTITION NODE,...");
    health_advise(words,
                  (leads & 1U << HEALTH_MAY_ELECT) != 0,
                  "without a leader it goes on once there is one, not sooner to other nodes: see "
                  "leaderless");
    health_advise(words,
                  (leads & 1U << HEALTH_CANNOT_ELECT) != 0,
                  "where too few replicas are left to elect it does not go on by itself, nor to "
                  "other nodes: do what leaderless says");
}

static void add_moves(struct health_words *words, const json_t *result)
{
    const json_t *stuck = json_object_get(result, "stuck");
    int64_t moves = value_number(result, "moves");
    unsigned leads = 0;

    if (moves > 0) {
        health_add(words, "moves under way: %" PRId64 ", see spate cluster moves -w\n", moves);
    }
    for (size_t i = 0; i < json_array_size(stuck) && i < HEALTH_NAMED_MAX; i++) {
        const json_t *row = json_array_get(stuck, i);
        int64_t node = value_number(row, "node");
        health_add(words, "move without progress: ");
        health_add_place(words, row);
        if (value_has_text(row, "step") && node > 0) {
            health_add(words, ", %s node %" PRId64, value_text(row, "step"), node);
        }
        health_add(words, ": %s", value_text(row, "reason"));
        health_end_line(words, row);
        leads |= 1U << health_lead_of(result, row);
    }
    health_add_rest(words, "move without progress", stuck);
    advise_stuck(words, leads);
}

static void add_misplaced(struct health_words *words, const json_t *misplaced)
{
    for (size_t i = 0; i < json_array_size(misplaced) && i < HEALTH_NAMED_MAX; i++) {
        const json_t *row = json_array_get(misplaced, i);
        health_add(words, "leaders unbalanced: ");
        health_add_place(words, row);
        health_add(words,
                   " is led by node %" PRId64 " instead of node %" PRId64,
                   value_number(row, "leader"),
                   value_number(row, "should_lead"));
        health_end_line(words, row);
    }
    health_add_rest(words, "leaders unbalanced", misplaced);
    health_advise(
        words,
        json_array_size(misplaced) > 0,
        "handed over by itself once the other node has all of the log: look at the load and the "
        "disk of both");
}

static void add_conditions(struct health_words *words, const json_t *conditions)
{
    for (size_t i = 0; i < json_array_size(conditions); i++) {
        const json_t *row = json_array_get(conditions, i);
        const char *condition = value_text(row, "condition");
        int64_t node = value_number(row, "node");
        if (strcmp(condition, "slow") == 0) {
            health_add(words, "slow: node %" PRId64 " is connected and says nothing", node);
            health_end_line(words, row);
            health_advise(words, true, "gets no leaders meanwhile: look at its load and its disk");
            continue;
        }
        health_add(words,
                   strcmp(condition, "no_records") == 0 ? "no space: the disk of node %" PRId64
                                                          " is all but full, it stores no records"
                                                        : "no space: the disk of node %" PRId64
                                                          " is below its reserve, it leads nothing",
                   node);
        health_end_line(words, row);
        health_advise(
            words, true, "goes on by itself when there is space: free some, or delete topics");
    }
}

static void add_features(struct health_words *words, const json_t *features)
{
    const json_t *behind = json_object_get(features, "behind");
    int64_t level = value_number(features, "level");
    int64_t newest = value_number(features, "newest");
    bool held = json_is_true(json_object_get(features, "held"));

    if (newest <= level) {
        return;
    }
    health_add(words, "feature level: %" PRId64 " of %" PRId64, level, newest);
    if (json_array_size(behind) > 0) {
        health_add(words, ", the build of these nodes is older: ");
        health_add_nodes(words, behind);
    } else if (held) {
        health_add(words, ", it is held");
    }
    health_end_line(words, features);
    if (json_array_size(behind) > 0) {
        health_add(words,
                   "  install the newer build there%s: spate cluster features\n",
                   held ? ", then spate cluster features release" : "; then it rises by itself");
    } else if (held) {
        health_advise(
            words, true, "every node knows more: spate cluster features release lets it rise");
    } else {
        health_advise(words, true, "rises by itself");
    }
}

static void add_stalled(struct health_words *words, const json_t *stalled)
{
    for (size_t i = 0; i < json_array_size(stalled) && i < HEALTH_NAMED_MAX; i++) {
        const json_t *row = json_array_get(stalled, i);
        health_add(words,
                   "consumer group does not progress: %s, %" PRId64 " partitions\n",
                   value_text(row, "group"),
                   value_number(row, "partitions"));
    }
    health_add_rest(words, "consumer group does not progress", stalled);
    health_advise(
        words, json_array_size(stalled) > 0, "which member: spate group describe GROUP --lag");
}

/* ---- who was asked --------------------------------------------------------------------------- */

static void add_asked(struct health_words *words, const json_t *result)
{
    const json_t *silent = json_object_get(result, "silent");
    const json_t *elsewhere = json_object_get(result, "unhealthy_on");
    const json_t *doubted = json_object_get(result, "not_believed");

    for (size_t i = 0; i < json_array_size(doubted); i++) {
        health_add(words,
                   "not believed: node %" PRId64 " does not follow the controller, what it says of "
                   "others is left out\n  catches up by itself, if it was not removed: then stop "
                   "it, and take it out of the servers\n",
                   (int64_t)json_integer_value(json_array_get(doubted, i)));
    }

    for (size_t i = 0; i < json_array_size(elsewhere); i++) {
        int64_t node = json_integer_value(json_array_get(elsewhere, i));
        health_add(words,
                   "unhealthy as node %" PRId64 " sees it: spate cluster health --node %" PRId64
                   "\n",
                   node,
                   node);
    }
    for (size_t i = 0; i < json_array_size(silent); i++) {
        const json_t *row = json_array_get(silent, i);
        health_add(words,
                   "not asked: node %" PRId64 " did not answer at %s, what it alone knows is not "
                   "told here\n",
                   value_number(row, "node"),
                   value_text(row, "address"));
    }
}

/* ---- all ------------------------------------------------------------------------------------- */

void health_text(const json_t *result, bool timeless, char *text, size_t size)
{
    struct health_words words = {
        .text = text, .size = size, .now_ms = value_number(result, "now_ms"), .timeless = timeless
    };

    text[0] = '\0';
    health_add(
        &words, "%s\n", json_is_true(json_object_get(result, "healthy")) ? "healthy" : "unhealthy");
    health_add_down(&words, result);
    health_add_replicas(&words, result);
    add_asked(&words, result);
    health_add_node(&words, result);
    add_voters(&words, json_object_get(result, "voters"));
    add_draining(&words, result);
    add_moves(&words, result);
    add_misplaced(&words, json_object_get(result, "misplaced"));
    add_conditions(&words, json_object_get(result, "conditions"));
    add_features(&words, json_object_get(result, "features"));
    add_stalled(&words, json_object_get(result, "stalled"));
}
