#include "raft_expect.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define STALL_SECONDS 10

void expect_right(scenario run)
{
    assert_true(run(0));
}

/* The complaints of a scenario that is meant to fail are nobody's business. */
static void silence(void)
{
    int null = open("/dev/null", O_WRONLY);

    if (null >= 0) {
        (void)dup2(null, STDOUT_FILENO);
        (void)dup2(null, STDERR_FILENO);
    }
}

void expect_wrong(scenario run, unsigned guard)
{
    int status = 0;

    (void)fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        silence();
        (void)alarm(STALL_SECONDS);
        _exit(run(guard) ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

void expect_needed(scenario run, unsigned guard)
{
    expect_right(run);
    expect_wrong(run, guard);
}

bool finish(struct world *world, bool right)
{
    bool good = right && !world_failed(world);

    if (world_failed(world)) {
        print_error("at %lu ms: %s\n", (unsigned long)world->now_ms, world->failure);
    }
    world_free(world);
    return good;
}

struct letter make_append(uint64_t term,
                          uint64_t prev_index,
                          uint64_t prev_term,
                          struct entry *entries,
                          unsigned count,
                          uint64_t commit)
{
    struct letter letter = { .entries = entries };

    letter.message.type = RAFT_APPEND_ENTRIES;
    letter.message.append_entries.term = term;
    letter.message.append_entries.prev_log_index = prev_index;
    letter.message.append_entries.prev_log_term = prev_term;
    letter.message.append_entries.n_entries = count;
    letter.message.append_entries.leader_commit = commit;
    return letter;
}

struct letter make_result(uint64_t term, uint64_t rejected, uint64_t last_index)
{
    struct letter letter = { .stamp = { term, 0 } };

    letter.message.type = RAFT_APPEND_ENTRIES_RESULT;
    letter.message.append_entries_result.term = term;
    letter.message.append_entries_result.rejected = rejected;
    letter.message.append_entries_result.last_log_index = last_index;
    return letter;
}

struct node *third(struct world *world, const struct node *a, const struct node *b)
{
    return &world->nodes[3 - a->number - b->number];
}

struct node *next_node(struct world *world, const struct node *node)
{
    return &world->nodes[(node->number + 1) % world->node_count];
}

struct world *make_three(unsigned disabled, uint64_t seed)
{
    struct world_options options = { .seed = seed, .nodes = 3, .voters = 3, .disabled = disabled };
    struct world *world = world_new(&options);

    world->net_ms = 1;
    return world;
}

struct world *make_sole_and_standby(unsigned disabled, uint64_t seed)
{
    struct world_options options = { .seed = seed, .nodes = 2, .voters = 1, .disabled = disabled };
    struct world *world = world_new(&options);

    world->net_ms = 1;
    (void)world_run(world, 200);
    (void)node_change(&world->nodes[0], 0x21);
    (void)world_run(world, 500);
    return world;
}

struct node *settled_leader(struct world *world)
{
    struct node *leader = world_await_leader(world, 5000, NULL);

    assert_non_null(leader);
    assert_true(world_run(world, 500));
    return leader;
}
