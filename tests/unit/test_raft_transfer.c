/* When a leader gives up leading for a follower that has lost the end of its log. Only the file
 * itself is real; what it calls stands here. */
#include "cluster/raft_group_internal.h"
#include "cluster/raft_guard_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "spate/error.h"

enum {
    SELF = 11,
    SHORT = 12, /* acknowledged all, and has less now */
    OTHER = 13,
    VOTERS = 3,
    NOW_MS = 100000,
    ELECTION_MS = 1000,
    COMMITTED = 50,
    LAST = 60, /* a stream goes on: nobody has all of it */
};

static struct {
    struct sp_raft_context context;
    struct sp_raft_group group;
    struct raft_server servers[VOTERS];
    uint64_t match;       /* of OTHER */
    uint64_t answered_ms; /* the same */
    uint64_t handed_to;
    unsigned stepped_down;
} world;

/* ---- what the file calls --------------------------------------------------------------------- */

uint64_t sp_raft_now_ms(const struct sp_raft_group *group)
{
    (void)group;
    return NOW_MS;
}

uint32_t sp_raft_node_of(const struct sp_raft_group *group, uint64_t replica_id)
{
    (void)group;
    return (uint32_t)replica_id;
}

void sp_raft_wake(struct sp_raft_group *group, uint32_t told_by_node)
{
    (void)group;
    (void)told_by_node;
}

void sp_raft_advance(struct sp_raft_group *group)
{
    (void)group;
}

enum sp_link_state sp_transport_link(const struct sp_transport *transport, uint32_t node_id)
{
    (void)transport;
    (void)node_id;
    return SP_LINK_UP;
}

uint64_t sp_raft_support_last_index(const struct raft_trail *trail)
{
    (void)trail;
    return LAST;
}

int raft_match_index(const struct raft *raft, raft_id id, raft_index *index)
{
    (void)raft;
    *index = id == OTHER ? world.match : LAST;
    return 0;
}

uint64_t sp_raft_guard_committed(const struct sp_raft_guard *guard)
{
    (void)guard;
    return COMMITTED;
}

bool sp_raft_guard_answered_since(const struct sp_raft_guard *guard, uint64_t server, uint64_t ms)
{
    (void)guard;
    return (server == OTHER ? world.answered_ms : NOW_MS) >= ms; /* rejections are answers */
}

uint64_t sp_raft_guard_short(const struct sp_raft_guard *guard, uint64_t now_ms)
{
    (void)guard;
    (void)now_ms;
    return SHORT;
}

int sp_raft_guard_transfer(struct sp_raft_guard *guard, uint64_t now_ms, uint64_t to)
{
    (void)guard;
    (void)now_ms;
    world.handed_to = to;
    return 0;
}

int sp_raft_guard_step_down(struct sp_raft_guard *guard, uint64_t now_ms, uint64_t server)
{
    (void)guard;
    (void)now_ms;
    assert_int_equal(server, SHORT);
    world.stepped_down += 1;
    return 0;
}

int sp_raft_guard_failed(const struct sp_raft_guard *guard)
{
    (void)guard;
    return 0;
}

/* ---- fixture --------------------------------------------------------------------------------- */

static void look(uint64_t match, uint64_t answered_ms)
{
    memset(&world, 0, sizeof world);
    world.match = match;
    world.answered_ms = answered_ms;
    world.group.context = &world.context;
    world.group.replica_id = SELF;
    world.group.guard.started = true;
    world.group.guard.raft.state = RAFT_LEADER;
    world.group.guard.raft.election_timeout = ELECTION_MS;
    world.group.guard.raft.configuration.servers = world.servers;
    world.group.guard.raft.configuration.n = VOTERS;
    for (unsigned i = 0; i < VOTERS; i++) {
        world.servers[i] = (struct raft_server){ .id = SELF + i, .role = RAFT_VOTER };
    }
    sp_raft_hand_over_short(&world.group);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_raft_transfer_for_a_short_follower_goes_to_who_has_all(void **state)
{
    (void)state;
    look(LAST, NOW_MS);
    assert_int_equal(world.handed_to, OTHER);
    assert_int_equal(world.stepped_down, 0);
}

/* It and the short one would be a majority, and neither has what was acknowledged. */
static void test_raft_transfer_keeps_leading_while_another_voter_is_filled(void **state)
{
    (void)state;
    look(COMMITTED - 1, NOW_MS);
    assert_int_equal(world.stepped_down, 0);
    look(COMMITTED - 1, NOW_MS - 2 * ELECTION_MS); /* slow, as its disk may be */
    assert_int_equal(world.stepped_down, 0);
    assert_int_equal(world.handed_to, 0);
    look(COMMITTED, NOW_MS); /* votes for nobody who lacks anything */
    assert_int_equal(world.stepped_down, 1);
}

static void test_raft_transfer_waits_for_no_voter_that_is_gone(void **state)
{
    (void)state;
    look(0, NOW_MS - 10 * ELECTION_MS);
    assert_int_equal(world.stepped_down, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raft_transfer_for_a_short_follower_goes_to_who_has_all),
        cmocka_unit_test(test_raft_transfer_keeps_leading_while_another_voter_is_filled),
        cmocka_unit_test(test_raft_transfer_waits_for_no_voter_that_is_gone),
    };
    return cmocka_run_group_tests_name("cluster/raft_transfer", tests, NULL, NULL);
}
