/* The commands that act: worlds, nodes, disks, links, time and clients. */
#include <string.h>

#include "script.h"
#include "spate/error.h"

#define FIRST_MS 10000 /* so that every timer can be said to have begun in the past */
#define ELECTION_ROUNDS 10
#define SETTLE_MS_MAX 5000
#define STAGGER_MS 30 /* as cluster/raft_survive.c does it */

static void act_say_result(struct script *script, const struct node *node, int rv)
{
    if (rv != 0) {
        script_say(script, "%u refuses: %s", node->number + 1, spate_error_name(rv));
    }
}

/* --- the world --- */

void script_end_world(struct script *script)
{
    if (script->world == NULL) {
        return;
    }
    if (world_failed(script->world) && !script->complaint_expected) {
        script->failed = true;
    }
    script->complained = false;
    script->complaint_expected = false;
    script->world->observe = NULL;
    world_free(script->world);
    script->world = NULL;
    while (script->held != NULL) {
        struct letter *letter = script->held;

        script->held = letter->next;
        net_free(letter);
    }
    memset(script->holds, 0, sizeof script->holds);
    memset(script->counts, 0, sizeof script->counts);
}

static void start_all(struct script *script)
{
    struct world *world = script->world;

    world->now_ms = FIRST_MS;
    world->net_ms = 1;
    for (unsigned i = 0; i < world->node_count; i++) {
        world->nodes[i].disk_ms = 1;
        node_start(&world->nodes[i]);
        script_view(script, &world->nodes[i]);
    }
    world->observe = script_observe;
    world->observe_arg = script;
    world->filter = script_filter;
    world->filter_arg = script;
    script->began_ms = FIRST_MS;
}

static void act_nodes(struct words *words)
{
    struct script *script = words->script;
    struct world_options options = { .seed = 1, .stopped = true };

    options.nodes = (unsigned)words_number(words);
    options.voters = options.nodes;
    while (words_more(words)) {
        if (words_take_if(words, "voters")) {
            options.voters = (unsigned)words_number(words);
        } else if (words_take_if(words, "seed")) {
            options.seed = words_number(words);
        } else if (words_take_if(words, "window")) {
            options.window = (unsigned)words_number(words);
        } else if (words_take_if(words, "no-pre-vote")) {
            options.no_pre_vote = true;
        } else {
            words_refuse(words, "'%s' is no option", words_take(words));
        }
    }
    if (options.nodes == 0 || options.nodes > NODES_MAX || options.voters > options.nodes) {
        words_refuse(words, "there are 1 to %u nodes", NODES_MAX);
    }
    script_end_world(script);
    script->world = world_new(&options);
    start_all(script);
}

static void act_guards(struct words *words)
{
    static const char *const names[] = { "G1", "G2",  "G3",  "G4",   "G5",  "G6",      "G7",
                                         "G8", "G9",  "G10", "G10v", "G11", "barrier", "policy",
                                         "N1", "G12", "G13", "G14",  NULL };
    struct world *world = words->script->world;

    if (words_take_if(words, "on")) {
        world->disabled = 0;
    } else if (words_take_if(words, "off")) {
        world->disabled |= 1U << words_choice(words, names);
    }
    for (unsigned i = 0; i < world->node_count; i++) {
        world->nodes[i].guard.disabled = world->disabled;
    }
}

static void act_network(struct words *words)
{
    struct world *world = words->script->world;

    world->net_ms = (unsigned)words_number(words);
    world->net_least_ms = world->net_ms;
}

/* --- what is shown --- */

static unsigned next_classes(struct words *words)
{
    static const char *const names[] = { "role", "commit",    "log",  "append", "vote",
                                         "lost", "heartbeat", "disk", "leads",  NULL };
    unsigned classes = 0;

    while (words_more(words)) {
        classes |= 1U << words_choice(words, names);
    }
    return classes;
}

static void act_show(struct words *words)
{
    words->script->shown |= next_classes(words);
}

static void act_hide(struct words *words)
{
    words->script->shown &= ~next_classes(words);
}

static void act_quiet(struct words *words)
{
    struct script *script = words->script;
    unsigned shown = script->shown;

    script->shown &= SHOW_QUIET;
    script_command(words);
    script->shown = shown;
}

/* --- time --- */

static void act_run(struct words *words)
{
    (void)world_run(words->script->world, words_number(words));
}

static bool is_settled(const struct world *world)
{
    for (unsigned i = 0; i < world->node_count; i++) {
        const struct node *node = &world->nodes[i];

        if (node->up && !node->paused && node->flush_at_ms != 0) {
            return false;
        }
    }
    for (unsigned i = 0; i < world->letter_count; i++) {
        if (!world->nodes[world->letters[i]->to].paused) {
            return false;
        }
    }
    return true;
}

static void act_settle(struct words *words)
{
    struct world *world = words->script->world;
    uint64_t end_ms = world->now_ms + SETTLE_MS_MAX;

    while (world_run(world, 1) && !is_settled(world)) {
        if (world->now_ms >= end_ms) {
            script_say(words->script, "FAILED: it does not settle");
            words->script->failed = true;
            return;
        }
    }
}

/* --- elections --- */

/* Makes the timer of a follower or candidate expire now. */
static void expire(struct node *node)
{
    struct raft *raft = &node->guard.raft;
    uint64_t now_ms = node->world->now_ms;

    if (raft_state(raft) != RAFT_LEADER && raft_timeout(raft) > now_ms) {
        raft->election_timer_start -= raft_timeout(raft) - now_ms;
    }
}

static void act_timeout(struct words *words)
{
    struct node *node = words_node_up(words);

    expire(node);
    (void)world_run_until(node->world, node->world->now_ms);
}

static uint64_t leader_of(const struct node *node)
{
    const struct raft *raft = &node->guard.raft;

    return node->up && raft->state == RAFT_FOLLOWER ? raft->follower_state.current_leader.id : 0;
}

/* Everybody in the same part forgets a leader that is down or cut off, as if told that it is dead;
 * then this node's timer expires until it leads. */
static void act_elect(struct words *words)
{
    struct script *script = words->script;
    struct node *node = words_node_up(words);
    struct world *world = script->world;
    uint64_t round_ms = 20 + 8 * (uint64_t)world->net_ms;
    uint64_t start_ms = world->now_ms;

    for (unsigned i = 0; i < world->node_count; i++) {
        uint64_t leader = leader_of(&world->nodes[i]);

        if (leader != 0 && (!world->nodes[leader - 1].up || world->cut[leader - 1][i])) {
            (void)sp_raft_guard_forget_leader(
                &world->nodes[i].guard, world->now_ms, leader, world->election_ms);
        }
    }
    while (raft_state(&node->guard.raft) != RAFT_LEADER) {
        if ((world->now_ms - start_ms) % round_ms == 0) {
            expire(node); /* it may have to learn of a term first */
        }
        if (world->now_ms - start_ms >= ELECTION_ROUNDS * round_ms || !world_run(world, 1)) {
            script_say(script, "FAILED: %u is not elected", node->number + 1);
            script->failed = true;
            return;
        }
    }
}

/* Survivors hear that a node is dead. They stand one after the other. */
static void act_forget(struct words *words)
{
    struct script *script = words->script;
    struct node *dead = words_node(words);
    struct world *world = script->world;
    unsigned rank = 0;

    for (unsigned i = 0; i < world->node_count; i++) {
        struct node *node = &world->nodes[i];

        if (node->up && node != dead &&
            sp_raft_guard_forget_leader(
                &node->guard, world->now_ms, dead->number + 1, STAGGER_MS * rank)) {
            script_say(
                script, "%u forgets %u, stagger %u ms", i + 1, dead->number + 1, STAGGER_MS * rank);
            script_view(script, node);
            rank += 1;
        }
    }
}

/* --- clients and the owner of a replica --- */

static void act_submit(struct words *words)
{
    struct node *node = words_node_up(words);
    uint64_t count = words_number_or(words, 1);

    if (count == 0 || count > SUBMIT_MAX) {
        words_refuse(words, "1 to %u entries at once", SUBMIT_MAX);
    }
    if (node->asleep) {
        node->asleep = false;
        script_say(words->script, "%u wakes", node->number + 1);
    }
    act_say_result(words->script, node, node_submit(node, (unsigned)count));
}

/* load NODE COUNT MS: so many entries in each of so many milliseconds. */
static void act_load(struct words *words)
{
    struct script *script = words->script;
    struct node *node = words_node_up(words);
    unsigned count = (unsigned)words_number(words);
    uint64_t span_ms = words_number(words);
    uint64_t committed = sp_raft_guard_committed(&node->guard);
    uint64_t first = committed;
    uint64_t taken = 0;
    uint64_t last_ms = script->world->now_ms;
    uint64_t gap_ms = 0;

    for (uint64_t i = 0; i < span_ms; i++) {
        taken += node_submit(node, count) == 0 ? count : 0;
        if (!world_run(script->world, 1)) {
            break;
        }
        uint64_t waited_ms = script->world->now_ms - last_ms;
        gap_ms = waited_ms > gap_ms ? waited_ms : gap_ms;
        if (sp_raft_guard_committed(&node->guard) > committed) {
            committed = sp_raft_guard_committed(&node->guard);
            last_ms = script->world->now_ms;
        }
    }
    script_say(script,
               "%u has taken %lu entries and committed %lu, never more than %lu ms apart",
               node->number + 1,
               (unsigned long)taken,
               (unsigned long)(committed - first),
               (unsigned long)gap_ms);
}

static void act_change(struct words *words)
{
    static const char *const names[] = { "remove", "promote", "add", NULL };
    static const unsigned roles[] = { ROLE_NONE, ROLE_VOTER, ROLE_STANDBY };
    struct node *node = words_node_up(words);
    unsigned role = roles[words_choice(words, names)];
    mask next = mask_with(node_configuration(node), words_node(words)->number, role);

    act_say_result(words->script, node, node_change(node, next));
}

/* snapshot NODE INDEX [TRAILING] */
static void act_snapshot(struct words *words)
{
    struct node *node = words_node_up(words);
    uint64_t index = words_number(words);
    unsigned trailing = (unsigned)words_number_or(words, 0);

    act_say_result(words->script, node, node_snapshot(node, index, trailing));
}

static void act_transfer(struct words *words)
{
    struct node *node = words_node_up(words);
    const struct node *to = words_take_if(words, "any") ? NULL : words_node(words);

    act_say_result(words->script, node, node_transfer(node, to));
}

/* --- the table --- */

void script_command(struct words *words)
{
    static const struct {
        const char *name;
        void (*run)(struct words *words);
    } commands[] = {
        { "guards", act_guards },      { "network", act_network },   { "show", act_show },
        { "hide", act_hide },          { "quiet", act_quiet },       { "run", act_run },
        { "settle", act_settle },      { "elect", act_elect },       { "timeout", act_timeout },
        { "forget", act_forget },      { "submit", act_submit },     { "load", act_load },
        { "change", act_change },      { "snapshot", act_snapshot }, { "transfer", act_transfer },
        { "isolate", script_isolate }, { "join", script_join },      { "cut", script_cut },
        { "heal", script_heal },       { "crash", script_crash },    { "restart", script_restart },
        { "pause", script_pause },     { "resume", script_resume },  { "disk", script_disk },
        { "persist", script_persist }, { "sleep", script_sleep },    { "wake", script_wake },
        { "hold", script_hold },       { "open", script_open },      { "release", script_release },
        { "deliver", script_deliver }, { "copy", script_copy },      { "drop", script_drop },
        { "count", script_count },     { "status", script_status },  { "log", script_log },
        { "expect", script_expect },   { "await", script_await },
    };
    const char *name = words_take(words);

    if (strcmp(name, "nodes") == 0) {
        act_nodes(words);
    } else if (words->script->world == NULL) {
        words_refuse(words, "the first command is nodes");
    }
    for (unsigned i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            commands[i].run(words);
            name = "nodes";
        }
    }
    if (strcmp(name, "nodes") != 0) {
        words_refuse(words, "there is no such command");
    }
    if (words_more(words)) {
        words_refuse(words, "'%s' is too much", words_take(words));
    }
}
