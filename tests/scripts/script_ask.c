/* The commands that ask: what a node holds, and whether something is so. */
#include <string.h>

#include "script.h"

#define AWAIT_MS_MAX 10000

static const char *role_name(const struct node *node)
{
    if (!node->up) {
        return "down";
    }
    return node->guard.raft.state == RAFT_LEADER      ? "leader"
           : node->guard.raft.state == RAFT_CANDIDATE ? "candidate"
                                                      : "follower";
}

/* --- status and log --- */

static void print_status(FILE *out, const struct node *node)
{
    const struct log *log = node->up ? &node->memory : &node->disk;

    (void)fprintf(out,
                  "%u %-9s term %lu vote %lu log %lu..%lu^%lu disk %lu",
                  node->number + 1,
                  role_name(node),
                  (unsigned long)log->term,
                  (unsigned long)log->vote,
                  (unsigned long)log->start,
                  (unsigned long)log->last,
                  (unsigned long)log_term_at(log, log->last),
                  (unsigned long)node->disk.last);
    if (node->up) {
        (void)fprintf(out, " commit %lu ", (unsigned long)sp_raft_guard_committed(&node->guard));
        script_print_configuration(out, node_configuration(node));
    }
    (void)fprintf(out, "%s%s\n", node->paused ? ", paused" : "", node->asleep ? ", asleep" : "");
}

void script_status(struct words *words)
{
    const struct world *world = words->script->world;

    for (unsigned i = 0; i < world->node_count; i++) {
        print_status(words->script->out, &world->nodes[i]);
    }
}

static void print_log(FILE *out, const char *name, const struct log *log)
{
    (void)fprintf(out, "%s: ", name);
    if (log->snapshot.index > 0) {
        (void)fprintf(out,
                      "snapshot %lu^%lu ",
                      (unsigned long)log->snapshot.index,
                      (unsigned long)log->snapshot.term);
        script_print_configuration(out, log->snapshot.configuration);
        (void)fprintf(out, "%s", log->last >= log->start ? ", " : "");
    }
    if (log->last >= log->start) {
        script_print_entries(
            out, log->start, &log->entries[log->start], log->last + 1 - log->start);
    }
    (void)fprintf(out, "\n");
}

void script_log(struct words *words)
{
    const struct node *node = words_node(words);

    if (node->up) {
        print_log(words->script->out, "memory", &node->memory);
    }
    print_log(words->script->out, "disk", &node->disk);
}

/* --- conditions --- */

static uint64_t field_of(const struct node *node, unsigned field)
{
    const uint64_t fields[] = {
        node->up ? sp_raft_guard_committed(&node->guard) : 0,
        node->applied,
        node->memory.last,
        node->disk.last,
        node->memory.term,
        node->disk.term,
        node->disk.vote,
        node->memory.start,
    };

    return fields[field];
}

/* FIELD NODE COMPARISON NUMBER */
static bool field_is(struct words *words)
{
    static const char *const fields[] = { "commit",    "applied",   "last",  "disk", "term",
                                          "disk-term", "disk-vote", "start", NULL };
    static const char *const comparisons[] = { "==", ">=", "<=", "!=", NULL };
    unsigned field = words_choice(words, fields);
    uint64_t value = field_of(words_node(words), field);
    unsigned comparison = words_choice(words, comparisons);
    uint64_t number = words_number(words);
    const bool answers[] = { value == number, value >= number, value <= number, value != number };

    return answers[comparison];
}

static bool same_log(const struct log *a, const struct log *b)
{
    uint64_t first = a->start > b->start ? a->start : b->start;

    for (uint64_t i = first; i <= a->last && i <= b->last; i++) {
        if (a->entries[i].term != b->entries[i].term ||
            a->entries[i].value != b->entries[i].value) {
            return false;
        }
    }
    return a->last == b->last;
}

/* There is a leader, and all its members that are up have its log on disk and in memory, and have
 * committed all of it. */
static bool logs_are_same(struct world *world)
{
    const struct node *leader = world_leader(world);

    for (unsigned i = 0; i < world->node_count; i++) {
        const struct node *node = &world->nodes[i];

        if (leader == NULL) {
            return false;
        }
        if (!node->up || mask_role(node_configuration(leader), i) == ROLE_NONE) {
            continue;
        }
        if (!same_log(&node->memory, &leader->memory) || !same_log(&node->memory, &node->disk) ||
            sp_raft_guard_committed(&node->guard) != node->memory.last) {
            return false;
        }
    }
    return true;
}

static bool is_so(struct words *words)
{
    struct world *world = words->script->world;

    if (words_take_if(words, "leader")) {
        return world_leader(world) == words_node(words);
    }
    if (words_take_if(words, "no-leader")) {
        return world_leader(world) == NULL;
    }
    if (words_take_if(words, "serving")) {
        return sp_raft_guard_leads(&words_node_up(words)->guard);
    }
    if (words_take_if(words, "installing")) {
        return sp_raft_guard_installing(&words_node_up(words)->guard);
    }
    if (words_take_if(words, "sleepy")) {
        return world_leader(world) != NULL && sp_raft_guard_may_sleep(&world_leader(world)->guard);
    }
    if (words_take_if(words, "config")) {
        const struct node *node = words_node_up(words);
        return node_configuration(node) == words_configuration(words);
    }
    if (words_take_if(words, "same-logs")) {
        return logs_are_same(world);
    }
    if (words_take_if(words, "complaint")) {
        words->script->complaint_expected = true;
        return world_failed(world);
    }
    return field_is(words);
}

static void fail(struct words *words)
{
    struct script *script = words->script;

    script->failed = true;
    (void)fprintf(script->out, "FAILED:");
    for (unsigned i = 0; i < words->count; i++) {
        (void)fprintf(script->out, " %s", words->word[i]);
    }
    (void)fprintf(script->out, "\n");
}

void script_expect(struct words *words)
{
    bool negated = words_take_if(words, "not");

    if (is_so(words) == negated) {
        fail(words);
    }
}

/* Runs until it is so. */
void script_await(struct words *words)
{
    struct world *world = words->script->world;
    uint64_t start_ms = world->now_ms;
    bool negated = words_take_if(words, "not");
    unsigned first = words->next;

    while (is_so(words) == negated) {
        words->next = first;
        if (world->now_ms - start_ms >= AWAIT_MS_MAX || !world_run(world, 1)) {
            fail(words);
            words->next = words->count;
            return;
        }
    }
    (void)fprintf(words->script->out, "after %lu ms\n", (unsigned long)(world->now_ms - start_ms));
}
