/* The words for partitions and their replicas. */
#include <inttypes.h>
#include <string.h>

#include "cli/health_words.h"
#include "cli/value.h"

#define ADVICE_SIZE 1024      /* of one partition: the ids of some nodes */
#define HEALTH_LINE_SIZE 1024 /* a topic's name and the same */

#define GUIDE_DAMAGE "docs/operations.md, Mending by hand"
#define GUIDE_FORCE "docs/operations.md, Forced membership"

/* ---- rows ------------------------------------------------------------------------------------ */

static bool is_same_place(const json_t *left, const json_t *right)
{
    return json_equal(json_object_get(left, "topic"), json_object_get(right, "topic")) &&
           json_equal(json_object_get(left, "partition"), json_object_get(right, "partition"));
}

/* The leaderless row of the partition of `row`, or NULL. */
static const json_t *find_leaderless(const json_t *result, const json_t *row)
{
    const json_t *leaderless = json_object_get(result, "leaderless");

    for (size_t i = 0; i < json_array_size(leaderless); i++) {
        if (is_same_place(json_array_get(leaderless, i), row)) {
            return json_array_get(leaderless, i);
        }
    }
    return NULL;
}

static bool has_no_leader(const json_t *result, const json_t *row)
{
    return find_leaderless(result, row) != NULL;
}

static bool has_number(const json_t *numbers, json_int_t number)
{
    for (size_t i = 0; i < json_array_size(numbers); i++) {
        if (json_integer_value(json_array_get(numbers, i)) == number) {
            return true;
        }
    }
    return false;
}

/* How many rows of the section are of that node; those without a topic do not count. */
static int64_t count_of_node(const json_t *rows, int64_t node)
{
    int64_t count = 0;

    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        count += value_has_text(row, "topic") && value_number(row, "node") == node ? 1 : 0;
    }
    return count;
}

/* ---- leaderless ------------------------------------------------------------------------------ */

/* The replicas of a partition without a leader, by what keeps each from voting. */
struct voters {
    json_t *down;    /* ids of nodes, as are the others */
    json_t *damaged; /* and their node runs */
    json_t *lost;
    json_t *anew; /* another one takes its place, and is no voter yet */
    int64_t count;
    int64_t whole;
};

/* True if one of the rows is of this node's replica of the partition of `place`. */
static bool is_named(const json_t *rows, const json_t *place, int64_t node)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        if (is_same_place(row, place) && value_number(row, "node") == node) {
            return true;
        }
    }
    return false;
}

/* Keeps the ids in rising order, so that what helps several partitions reads the same. */
static void insert(json_t *nodes, json_int_t node)
{
    size_t place = json_array_size(nodes);

    while (place > 0 && json_integer_value(json_array_get(nodes, place - 1)) > node) {
        place -= 1;
    }
    (void)json_array_insert_new(nodes, place, json_integer(node));
}

static struct voters find_voters(const json_t *result, const json_t *row)
{
    const json_t *replicas = json_object_get(row, "replicas");
    struct voters voters = { .down = json_array(),
                             .damaged = json_array(),
                             .lost = json_array(),
                             .anew = json_array(),
                             .count = (int64_t)json_array_size(replicas) };

    for (size_t i = 0; i < json_array_size(replicas); i++) {
        json_int_t node = json_integer_value(json_array_get(replicas, i));
        json_t *list = NULL;
        if (is_named(json_object_get(result, "refilling"), row, node)) {
            list = voters.anew;
        } else if (has_number(json_object_get(row, "lost"), node)) {
            list = voters.lost;
        } else if (has_number(json_object_get(row, "down"), node)) {
            list = voters.down;
        } else if (is_named(json_object_get(result, "damaged"), row, node)) {
            list = voters.damaged;
        }
        if (list == NULL) {
            voters.whole += 1;
        } else {
            insert(list, node);
        }
    }
    return voters;
}

static void free_voters(struct voters *voters)
{
    json_decref(voters->down);
    json_decref(voters->damaged);
    json_decref(voters->lost);
    json_decref(voters->anew);
}

static bool may_elect(const struct voters *voters)
{
    int64_t down = (int64_t)json_array_size(voters->down);
    int64_t damaged = (int64_t)json_array_size(voters->damaged);

    return voters->count == 0 || voters->whole + down + damaged > voters->count / 2;
}

enum health_lead health_lead_of(const json_t *result, const json_t *row)
{
    const json_t *leaderless = find_leaderless(result, row);

    if (leaderless == NULL) {
        return HEALTH_LED;
    }
    struct voters voters = find_voters(result, leaderless);
    enum health_lead lead = may_elect(&voters) ? HEALTH_MAY_ELECT : HEALTH_CANNOT_ELECT;
    free_voters(&voters);
    return lead;
}

int64_t health_waiting_on(const json_t *result, int64_t node)
{
    const json_t *rows = json_object_get(result, "leaderless");
    int64_t count = 0;

    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        struct voters voters = find_voters(result, row);
        bool waits = voters.whole <= voters.count / 2; /* else it elects by itself */
        count += waits && has_number(json_object_get(row, "replicas"), node) ? 1 : 0;
        free_voters(&voters);
    }
    return count;
}

static void add_some(struct health_words *words, const char *before, const json_t *nodes)
{
    if (json_array_size(nodes) > 0) {
        health_add(words, "%s", before);
        health_add_nodes(words, nodes);
    }
}

/* When nothing that is damaged can be mended. Nobody is left to go on without an only replica: it
 * begins anew once its node has another disk, which takes what else is only there. */
static void add_last_resort(struct health_words *words, const struct voters *voters, bool own)
{
    if (voters->count > 1) {
        health_add(words, "; if nothing helps: forced membership (" GUIDE_FORCE ")\n");
        return;
    }
    health_add(words, "; if nothing helps: ");
    if (!own) {
        health_add(words,
                   "read what can be read (spate log dump), delete the topic, make it anew, and "
                   "produce the records again; or ");
    }
    health_add(words, "give up what only this replica has: spate cluster drain ");
    health_add_nodes(words, voters->damaged);
    health_add(words,
               ", and when nothing else is left there start that node with an empty data "
               "directory: it begins anew, empty\n");
}

/* When the nodes that are down do not come back. Forced membership is for a group of which somebody
 * is left: where all are down nobody has the records. */
static void add_when_gone(struct health_words *words, const struct voters *voters, bool own)
{
    if (voters->count > (int64_t)json_array_size(voters->down)) {
        health_add(words, "; gone for good: forced membership (" GUIDE_FORCE ")\n");
        return;
    }
    health_add(words, "; gone for good: no other node has its records; start node ");
    health_add_nodes(words, voters->down);
    health_add(words,
               " with an empty data directory, and it begins anew, empty, unless it was being "
               "moved%s\n",
               own ? "" : "; or give all of the topic up: spate topic delete TOPIC");
}

/* When all are lost. What was being moved may be left, in part, where it was moving to. */
static void add_all_lost(struct health_words *words, const struct voters *voters, bool own)
{
    health_add(words,
               "  %s: it begins anew by itself within seconds, empty",
               voters->count == 1 ? "its only replica is lost" : "all its replicas are lost");
    if (!own) {
        health_add(words,
                   "; if it does not, since it was being moved: read the topic's other "
                   "partitions, spate topic delete TOPIC, and make it anew; what else may be "
                   "left, and how it is read: " GUIDE_DAMAGE "\n");
        return;
    }
    if (voters->count > 1) {
        health_add(words, "; if it does not: forced membership (" GUIDE_FORCE ")\n");
        return;
    }
    const json_t *node = json_array_size(voters->lost) > 0 ? voters->lost : voters->anew;
    health_add(words,
               "; if it does not, since it was being moved: forced membership without node ");
    health_add_nodes(words, node);
    health_add(words, " begins it anew (" GUIDE_FORCE "); before, spate cluster drain ");
    health_add_nodes(words, node);
    health_add(words, " moves away what else is there\n");
}

/* When no replica is left that could be started or mended. */
static void add_too_few(struct health_words *words, const struct voters *voters, bool own)
{
    int64_t lost = (int64_t)json_array_size(voters->lost);

    if (lost + (int64_t)json_array_size(voters->anew) == voters->count) {
        add_all_lost(words, voters, own);
    } else {
        health_add(words,
                   "  too few are left to elect, a person has to decide: forced membership "
                   "(" GUIDE_FORCE ")%s\n",
                   own ? "" : ", or delete the topic and make it anew");
    }
}

/* What brings a leader back: as little as makes a majority. */
static void
advise_leaderless(struct health_words *words, const json_t *row, const struct voters *voters)
{
    bool own = strncmp(value_text(row, "topic"), "__", 2) == 0; /* the cluster's, which stays */
    int64_t needed = voters->count / 2 + 1;
    int64_t down = (int64_t)json_array_size(voters->down);

    if (voters->whole >= needed) {
        health_add(words,
                   "  elects by itself within seconds, a majority of its replicas runs; for "
                   "longer: the traces of their nodes\n");
    } else if (voters->whole + down >= needed) {
        health_add(words,
                   "  elects by itself when %" PRId64 " of its replicas %s: start node ",
                   needed,
                   needed == 1 ? "runs" : "run");
        health_add_nodes(words, voters->down);
        add_when_gone(words, voters, own);
    } else if (may_elect(voters)) {
        health_add(words,
                   "  elects by itself when %" PRId64 " of its replicas %s: mend by hand what is "
                   "damaged on node ",
                   needed,
                   needed == 1 ? "is whole and runs" : "are whole and run");
        health_add_nodes(words, voters->damaged);
        health_add(words, " (" GUIDE_DAMAGE ")");
        add_some(words, ", start node ", voters->down);
        add_last_resort(words, voters, own);
    } else {
        add_too_few(words, voters, own);
    }
}

/* The line of one partition, and its advice into `advice`. */
static void add_leaderless_row(struct health_words *words,
                               struct health_words *advice,
                               const json_t *result,
                               const json_t *row)
{
    struct voters voters = find_voters(result, row);

    health_add(words, "leaderless: ");
    health_add_place(words, row);
    add_some(words, ", replicas on node ", json_object_get(row, "replicas"));
    add_some(words, ", down: node ", voters.down);
    add_some(words, ", damaged: node ", voters.damaged);
    add_some(words, ", lost with the disk: node ", voters.lost);
    add_some(words, ", being made anew: node ", voters.anew);
    health_end_line(words, row);
    if (voters.count == 0) { /* an older node does not tell of the replicas */
        health_advise(advice,
                      true,
                      "elects by itself when a majority of its replicas runs: start their nodes; "
                      "which: spate topic describe TOPIC");
    } else {
        advise_leaderless(advice, row, &voters);
    }
    free_voters(&voters);
}

/* What helps is told once below those that it helps. */
static void add_leaderless(struct health_words *words, const json_t *result)
{
    const json_t *rows = json_object_get(result, "leaderless");
    char texts[2][ADVICE_SIZE] = { "", "" };
    char line[HEALTH_LINE_SIZE];
    size_t count =
        json_array_size(rows) < HEALTH_NAMED_MAX ? json_array_size(rows) : HEALTH_NAMED_MAX;

    for (size_t i = 0; i < count; i++) {
        char *text = texts[i % 2];
        const char *before = texts[(i + 1) % 2];
        struct health_words row = *words;
        struct health_words advice = *words;
        row.text = line;
        row.size = sizeof line;
        line[0] = '\0';
        advice.text = text;
        advice.size = ADVICE_SIZE;
        text[0] = '\0';
        add_leaderless_row(&row, &advice, result, json_array_get(rows, i));
        health_add(words, "%s%s", strcmp(before, text) == 0 ? "" : before, line);
    }
    health_add(words, "%s", texts[(count + 1) % 2]);
    health_add_rest(words, "leaderless", rows);
}

/* ---- lacking, lost, refused ------------------------------------------------------------------ */

static void add_under_replicated(struct health_words *words, const json_t *result)
{
    const json_t *rows = json_object_get(result, "under_replicated");
    bool led = false;

    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        if (i < HEALTH_NAMED_MAX) {
            health_add(words, "under-replicated: ");
            health_add_place(words, row);
            add_some(words, " missing on node ", json_object_get(row, "missing"));
            health_end_line(words, row);
            led = led || !has_no_leader(result, row);
        }
    }
    health_add_rest(words, "under-replicated", rows);
    health_advise(words,
                  led,
                  "catches up by itself while those nodes run; for longer: their disk and trace, "
                  "and spate cluster moves");
}

static void add_lost(struct health_words *words, const json_t *rows)
{
    for (size_t i = 0; i < json_array_size(rows) && i < HEALTH_NAMED_MAX; i++) {
        const json_t *row = json_array_get(rows, i);
        health_add(words, "lost on node %" PRId64 ": ", value_number(row, "node"));
        health_add_place(words, row);
        health_add(words,
                   ", replica %" PRId64 ": %s\n",
                   value_number(row, "replica"),
                   value_text(row, "reason"));
    }
    health_add_rest(words, "lost", rows);
}

static void add_refusing(struct health_words *words, const json_t *rows)
{
    for (size_t i = 0; i < json_array_size(rows) && i < HEALTH_NAMED_MAX; i++) {
        const json_t *row = json_array_get(rows, i);
        const json_t *full = json_object_get(row, "full");
        int64_t leader = value_number(row, "leader");
        health_add(words, "refuses records: ");
        health_add_place(words, row);
        health_add(words, ", led by node %" PRId64, leader);
        if (has_number(full, leader)) {
            health_add(words, " whose disk is below its reserve");
        } else {
            add_some(words, ", too few disks have room: all but full is that of node ", full);
        }
        health_end_line(words, row);
    }
    health_add_rest(words, "refuses records", rows);
    health_advise(words,
                  json_array_size(rows) > 0,
                  "goes on by itself when there is space: free some on that disk, spate topic "
                  "truncate, a shorter retention (spate topic alter TOPIC --set retention.ms=...), "
                  "or delete topics");
}

/* ---- refilling, damaged, opening ------------------------------------------------------------- */

static void add_refilling(struct health_words *words, const json_t *result)
{
    const json_t *rows = json_object_get(result, "refilling");
    bool ends = json_array_size(rows) > HEALTH_NAMED_MAX;
    bool voter = false; /* which is no move */

    for (size_t i = 0; i < json_array_size(rows) && i < HEALTH_NAMED_MAX; i++) {
        const json_t *row = json_array_get(rows, i);
        int64_t node = value_number(row, "node");
        bool waits = has_no_leader(result, row);
        if (!value_has_text(row, "topic")) {
            health_add(words, "refilling: the controller gets a voter on node %" PRId64, node);
            voter = true;
        } else {
            health_add(words, "refilling: ");
            health_add_place(words, row);
            health_add(words, " on node %" PRId64 ", whose replica was damaged or lost", node);
        }
        health_add(words, "%s", waits ? ", waits for a leader of the partition" : "");
        health_end_line(words, row);
        ends = ends || (!waits && value_has_text(row, "topic"));
    }
    health_add_rest(words, "refilling", rows);
    health_advise(words, ends, "ends by itself: spate cluster moves -w");
    health_advise(words, voter && !ends, "ends by itself: spate cluster nodes");
}

static void add_damaged(struct health_words *words, const json_t *rows)
{
    for (size_t i = 0; i < json_array_size(rows) && i < HEALTH_NAMED_MAX; i++) {
        const json_t *row = json_array_get(rows, i);
        int64_t node = value_number(row, "node");
        if (node > 0) {
            health_add(words, "damaged on node %" PRId64 ": ", node);
        } else {
            health_add(words, "damaged on the asked node: ");
        }
        if (!value_has_text(row, "topic")) {
            health_add(words, "its replica of the controller");
        } else {
            health_add_place(words, row);
            health_add(words, ", replica %" PRId64, value_number(row, "replica"));
        }
        if (value_has_text(row, "directory")) {
            health_add(words, " (%s)", value_text(row, "directory"));
        }
        health_add(words, ": %s", value_text(row, "reason"));
        health_end_line(words, row);
    }
    health_add_rest(words, "damaged", rows);
}

/* Of each node those that are not told otherwise. */
void health_add_opening(struct health_words *words, const json_t *result)
{
    const json_t *rows = json_object_get(result, "opening");
    int64_t asked = value_number(result, "replicas_opening");

    if (rows == NULL && asked > 0) { /* one node alone was asked */
        health_add(words, "replicas still opening on the asked node: %" PRId64, asked);
        health_add_since(words, result, "opening_since_ms");
        health_add(words, "\n");
    }
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        int64_t node = value_number(row, "node");
        int64_t count = value_number(row, "replicas") -
                        count_of_node(json_object_get(result, "damaged"), node) -
                        count_of_node(json_object_get(result, "lost"), node);
        if (count > 0) {
            health_add(words, "replicas still opening on node %" PRId64 ": %" PRId64, node, count);
            health_end_line(words, row);
        }
    }
}

void health_add_replicas(struct health_words *words, const json_t *result)
{
    add_leaderless(words, result);
    add_under_replicated(words, result);
    add_refusing(words, json_object_get(result, "refusing"));
    add_refilling(words, result);
    add_damaged(words, json_object_get(result, "damaged"));
    add_lost(words, json_object_get(result, "lost"));
}
