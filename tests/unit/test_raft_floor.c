/* The floor of key compaction and replicas that are no members now, but were or may be: they have
 * old records, and must not miss the tombstones. Only the file itself is real; what it calls stands
 * here. */
#include "cluster/raft_group_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum {
    SELF = 11,
    TERM = 7,
    NODE = 1,
};

static struct {
    struct sp_raft_context context;
    struct sp_raft_group group;
    struct raft_server servers[3];
    bool others; /* the cluster's metadata know one more replica */
} world;

uint32_t sp_raft_node_of(const struct sp_raft_group *group, uint64_t replica_id)
{
    (void)group;
    return replica_id == SELF ? NODE : (uint32_t)replica_id;
}

uint64_t sp_raft_leader_replica(const struct sp_raft_group *group)
{
    (void)group;
    return SELF;
}

uint32_t sp_raft_leader_node(const struct sp_raft_group *group)
{
    (void)group;
    return NODE;
}

int sp_transport_send(struct sp_transport *transport,
                      uint32_t node_id,
                      const struct sp_peer_message *message,
                      const struct sp_slice *pieces,
                      unsigned count)
{
    (void)transport;
    (void)node_id;
    (void)message;
    (void)pieces;
    (void)count;
    return 0;
}

static bool has_others(void *arg, const struct sp_raft_group *group)
{
    assert_ptr_equal(arg, &world);
    assert_ptr_equal(group, &world.group);
    return world.others;
}

/* The leader of two members, in TERM. */
static void begin(void)
{
    memset(&world, 0, sizeof world);
    world.context.node_id = NODE;
    world.context.has_others = has_others;
    world.context.has_others_arg = &world;
    world.group.context = &world.context;
    world.group.group_id = 5;
    world.group.replica_id = SELF;
    world.group.guard.raft.state = RAFT_LEADER;
    world.group.guard.raft.current_term = TERM;
    world.group.guard.raft.configuration.servers = world.servers;
    world.group.guard.raft.configuration.n = 2;
    for (unsigned i = 0; i < 2; i++) {
        world.servers[i] = (struct raft_server){ .id = SELF + i, .role = RAFT_VOTER };
    }
}

static int64_t floor_after_reports(int64_t offset)
{
    const struct sp_peer_compacted message = {
        .group_id = 5, .replica_id = SELF + 1, .term = TERM, .offset = offset
    };

    sp_raft_group_compacted(&world.group, offset);
    sp_raft_group_hear_compacted(&world.group, SELF + 1, &message);
    return sp_raft_group_compaction_floor(&world.group);
}

/* A third member was down for long, and is being taken out: the entry is not committed. When it is
 * lost with this leader, that member is one again. */
static void test_raft_floor_rests_while_a_membership_is_not_committed(void **state)
{
    (void)state;
    begin();
    world.group.guard.raft.configuration_uncommitted_index = 900;
    assert_int_equal(floor_after_reports(100), 0);
    world.group.guard.raft.configuration_uncommitted_index = 0;
    assert_int_equal(floor_after_reports(100), 100);
}

/* One that left during a move that is not done comes back with its log if it is wanted again. */
static void test_raft_floor_rests_while_a_replica_may_come_back(void **state)
{
    (void)state;
    begin();
    assert_int_equal(floor_after_reports(100), 100);
    world.others = true;
    assert_int_equal(floor_after_reports(200), 100);
    world.others = false;
    assert_int_equal(floor_after_reports(200), 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raft_floor_rests_while_a_membership_is_not_committed),
        cmocka_unit_test(test_raft_floor_rests_while_a_replica_may_come_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
