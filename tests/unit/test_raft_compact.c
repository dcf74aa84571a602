/* The floor of key compaction: what may be taken away since no replica has, or can have, an older
 * record. Only the file itself is real; what it calls stands here. */
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
    SENT_MAX = 300,
};

static struct {
    struct sp_raft_context context;
    struct sp_raft_group group;
    struct raft_server servers[8];
    uint64_t leader; /* whom this replica follows */
    struct sp_peer_compacted sent[SENT_MAX];
    uint32_t sent_to[SENT_MAX];
    unsigned sent_count;
    bool others; /* the cluster's metadata know a replica that is no member */
} world;

/* ---- what the file calls --------------------------------------------------------------------- */

/* A replica's node has its number, but this one's. */
uint32_t sp_raft_node_of(const struct sp_raft_group *group, uint64_t replica_id)
{
    const struct raft_configuration *members = &group->guard.raft.configuration;

    for (unsigned i = 0; i < members->n; i++) {
        if (members->servers[i].id == replica_id) {
            return replica_id == SELF ? NODE : (uint32_t)replica_id;
        }
    }
    return 0;
}

uint64_t sp_raft_leader_replica(const struct sp_raft_group *group)
{
    (void)group;
    return world.leader;
}

uint32_t sp_raft_leader_node(const struct sp_raft_group *group)
{
    return sp_raft_node_of(group, world.leader);
}

int sp_transport_send(struct sp_transport *transport,
                      uint32_t node_id,
                      const struct sp_peer_message *message,
                      const struct sp_slice *pieces,
                      unsigned count)
{
    (void)transport;
    (void)pieces;
    assert_int_equal(count, 0);
    assert_int_equal(message->kind, SP_PEER_COMPACTED);
    assert_true(world.sent_count < SENT_MAX);
    world.sent[world.sent_count] = message->u.compacted;
    world.sent_to[world.sent_count] = node_id;
    world.sent_count += 1;
    return 0;
}

static bool has_others(void *arg, const struct sp_raft_group *group)
{
    assert_ptr_equal(arg, &world);
    assert_ptr_equal(group, &world.group);
    return world.others;
}

/* ---- fixture --------------------------------------------------------------------------------- */

/* Replica SELF of so many voters, in TERM. */
static void begin(unsigned voters, unsigned short state)
{
    memset(&world, 0, sizeof world);
    world.context.node_id = NODE;
    world.context.has_others = has_others;
    world.context.has_others_arg = &world;
    world.group.context = &world.context;
    world.group.group_id = 5;
    world.group.replica_id = SELF;
    world.group.guard.raft.state = state;
    world.group.guard.raft.current_term = TERM;
    world.group.guard.raft.configuration.servers = world.servers;
    world.group.guard.raft.configuration.n = voters;
    for (unsigned i = 0; i < voters; i++) {
        world.servers[i] = (struct raft_server){ .id = SELF + i, .role = RAFT_VOTER };
    }
    world.leader = state == RAFT_LEADER ? SELF : SELF + 1;
}

/* A message of `replica_id` from its node. */
static void hear(uint64_t replica_id, uint64_t term, int64_t offset, int64_t floor)
{
    const struct sp_peer_compacted message = {
        .group_id = 5, .replica_id = replica_id, .term = term, .offset = offset, .floor = floor
    };

    sp_raft_group_hear_compacted(&world.group, (uint32_t)replica_id, &message);
}

static int64_t floor_now(void)
{
    return sp_raft_group_compaction_floor(&world.group);
}

/* ---- the leader ------------------------------------------------------------------------------ */

static void test_raft_compact_floor_is_the_least_of_all_members(void **state)
{
    (void)state;
    begin(3, RAFT_LEADER);
    sp_raft_group_compacted(&world.group, 100);
    assert_int_equal(floor_now(), 0);
    hear(SELF + 1, TERM, 80, 0);
    assert_int_equal(floor_now(), 0); /* one is missing: it may be away, with old records */
    hear(SELF + 2, TERM, 90, 0);
    assert_int_equal(floor_now(), 80);
    hear(SELF + 1, TERM, 95, 0);
    assert_int_equal(floor_now(), 90);
    hear(SELF + 2, TERM, 200, 0);
    hear(SELF + 1, TERM, 200, 0);
    assert_int_equal(floor_now(), 100); /* its own */
}

static void test_raft_compact_one_replica_is_all_there_is(void **state)
{
    (void)state;
    begin(1, RAFT_LEADER);
    sp_raft_group_compacted(&world.group, 100);
    assert_int_equal(floor_now(), 100);
    assert_int_equal(world.sent_count, 0);
}

static void test_raft_compact_standby_counts(void **state)
{
    (void)state;
    begin(2, RAFT_LEADER);
    world.servers[1].role = RAFT_STANDBY;
    sp_raft_group_compacted(&world.group, 100);
    assert_int_equal(floor_now(), 0);
    hear(SELF + 1, TERM, 100, 0);
    assert_int_equal(floor_now(), 100);
}

static void test_raft_compact_member_that_is_new_holds_the_floor_where_it_is(void **state)
{
    (void)state;
    begin(2, RAFT_LEADER);
    sp_raft_group_compacted(&world.group, 100);
    hear(SELF + 1, TERM, 100, 0);
    assert_int_equal(floor_now(), 100);
    world.servers[2] = (struct raft_server){ .id = SELF + 2, .role = RAFT_STANDBY };
    world.group.guard.raft.configuration.n = 3;
    sp_raft_group_compacted(&world.group, 200);
    hear(SELF + 1, TERM, 200, 0);
    assert_int_equal(floor_now(), 100); /* what was true stays, it does not rise */
    hear(SELF + 2, TERM, 150, 0);
    assert_int_equal(floor_now(), 150);
}

static void test_raft_compact_reports_of_another_term_do_not_count(void **state)
{
    (void)state;
    begin(2, RAFT_LEADER);
    sp_raft_group_compacted(&world.group, 100);
    hear(SELF + 1, TERM - 1, 100, 0);
    hear(SELF + 1, TERM + 1, 100, 0);
    assert_int_equal(floor_now(), 0);
    hear(SELF + 1, TERM, 50, 0);
    assert_int_equal(floor_now(), 50);
    /* elected anew: the member may have been taken out and in again meanwhile */
    world.group.guard.raft.current_term = TERM + 2;
    sp_raft_group_compacted(&world.group, 120);
    assert_int_equal(floor_now(), 50);
    hear(SELF + 1, TERM, 120, 0);
    assert_int_equal(floor_now(), 50);
    hear(SELF + 1, TERM + 2, 110, 0);
    assert_int_equal(floor_now(), 110);
}

static void test_raft_compact_reports_of_strangers_do_not_count(void **state)
{
    const struct sp_peer_compacted liar = { .replica_id = SELF + 1, .term = TERM, .offset = 100 };

    (void)state;
    begin(2, RAFT_LEADER);
    sp_raft_group_compacted(&world.group, 100);
    sp_raft_group_hear_compacted(&world.group, SELF + 2, &liar); /* from another node */
    hear(99, TERM, 100, 0);                                      /* no member */
    assert_int_equal(floor_now(), 0);
    assert_int_equal(world.sent_count, 0);
}

static void test_raft_compact_report_never_falls(void **state)
{
    (void)state;
    begin(2, RAFT_LEADER);
    sp_raft_group_compacted(&world.group, 100);
    hear(SELF + 1, TERM, 90, 0);
    hear(SELF + 1, TERM, 10, 0); /* overtaken on its way */
    sp_raft_group_compacted(&world.group, 70);
    assert_int_equal(floor_now(), 90);
}

/* Members come and go in one term: beyond the bound nothing is counted that was not heard. */
static void test_raft_compact_too_many_members_in_a_term(void **state)
{
    (void)state;
    begin(2, RAFT_LEADER);
    sp_raft_group_compacted(&world.group, 100);
    for (unsigned i = 0; i < 2 * SP_RAFT_GUARD_SERVERS_MAX; i++) {
        world.servers[1].id = SELF + 1 + i;
        hear(SELF + 1 + i, TERM, i < SP_RAFT_GUARD_SERVERS_MAX ? 50 : 100, 0);
    }
    assert_int_equal(floor_now(), 50);
}

static void test_raft_compact_stopped_replica_says_nothing(void **state)
{
    (void)state;
    begin(2, RAFT_LEADER);
    world.group.stopped = true;
    sp_raft_group_compacted(&world.group, 100);
    hear(SELF + 1, TERM, 100, 0);
    assert_int_equal(floor_now(), 0);
    assert_int_equal(world.sent_count, 0);
}

/* A third member was down for long, and is being taken out: the entry is not committed. When it is
 * lost with this leader, that member is one again. */
static void test_raft_compact_floor_rests_while_a_membership_is_not_committed(void **state)
{
    (void)state;
    begin(2, RAFT_LEADER);
    world.group.guard.raft.configuration_uncommitted_index = 900;
    sp_raft_group_compacted(&world.group, 100);
    hear(SELF + 1, TERM, 100, 0);
    assert_int_equal(floor_now(), 0);
    world.group.guard.raft.configuration_uncommitted_index = 0;
    hear(SELF + 1, TERM, 100, 0);
    assert_int_equal(floor_now(), 100);
}

/* One that left during a move that is not done comes back with its log if it is wanted again. */
static void test_raft_compact_floor_rests_while_a_replica_may_come_back(void **state)
{
    (void)state;
    begin(2, RAFT_LEADER);
    sp_raft_group_compacted(&world.group, 200);
    hear(SELF + 1, TERM, 100, 0);
    assert_int_equal(floor_now(), 100);
    world.others = true;
    hear(SELF + 1, TERM, 200, 0);
    assert_int_equal(floor_now(), 100);
    world.others = false;
    hear(SELF + 1, TERM, 200, 0);
    assert_int_equal(floor_now(), 200);
}

/* ---- a follower ------------------------------------------------------------------------------ */

static void test_raft_compact_follower_tells_until_the_floor_has_come(void **state)
{
    (void)state;
    begin(3, RAFT_FOLLOWER);
    sp_raft_group_report_compacted(&world.group);
    assert_int_equal(world.sent_count, 0); /* nothing to tell */
    sp_raft_group_compacted(&world.group, 100);
    assert_int_equal(world.sent_count, 1);
    assert_int_equal(world.sent_to[0], SELF + 1);
    assert_int_equal(world.sent[0].replica_id, SELF);
    assert_int_equal(world.sent[0].term, TERM);
    assert_int_equal(world.sent[0].offset, 100);
    assert_int_equal(world.sent[0].floor, 0);
    sp_raft_group_report_compacted(&world.group); /* the answer may have got lost */
    assert_int_equal(world.sent_count, 2);
    hear(SELF + 1, TERM, 100, 60);
    assert_int_equal(floor_now(), 60);
    hear(SELF + 1, TERM, 100, 100);
    sp_raft_group_report_compacted(&world.group);
    assert_int_equal(world.sent_count, 2);
}

static void test_raft_compact_follower_believes_its_leader_alone(void **state)
{
    (void)state;
    begin(3, RAFT_FOLLOWER);
    sp_raft_group_compacted(&world.group, 100);
    hear(SELF + 2, TERM, 100, 90);
    hear(SELF + 1, TERM - 1, 100, 90);
    assert_int_equal(floor_now(), 0);
    hear(SELF + 1, TERM, 100, 90);
    hear(SELF + 1, TERM, 100, 40);
    assert_int_equal(floor_now(), 90); /* what was true once stays true */
}

static void test_raft_compact_leader_answers_with_the_floor(void **state)
{
    (void)state;
    begin(2, RAFT_LEADER);
    sp_raft_group_compacted(&world.group, 100);
    hear(SELF + 1, TERM, 80, 0);
    assert_int_equal(world.sent_count, 1);
    assert_int_equal(world.sent_to[0], SELF + 1);
    assert_int_equal(world.sent[0].floor, 80);
    assert_int_equal(world.sent[0].term, TERM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raft_compact_floor_is_the_least_of_all_members),
        cmocka_unit_test(test_raft_compact_one_replica_is_all_there_is),
        cmocka_unit_test(test_raft_compact_standby_counts),
        cmocka_unit_test(test_raft_compact_member_that_is_new_holds_the_floor_where_it_is),
        cmocka_unit_test(test_raft_compact_reports_of_another_term_do_not_count),
        cmocka_unit_test(test_raft_compact_reports_of_strangers_do_not_count),
        cmocka_unit_test(test_raft_compact_report_never_falls),
        cmocka_unit_test(test_raft_compact_too_many_members_in_a_term),
        cmocka_unit_test(test_raft_compact_stopped_replica_says_nothing),
        cmocka_unit_test(test_raft_compact_floor_rests_while_a_membership_is_not_committed),
        cmocka_unit_test(test_raft_compact_floor_rests_while_a_replica_may_come_back),
        cmocka_unit_test(test_raft_compact_follower_tells_until_the_floor_has_come),
        cmocka_unit_test(test_raft_compact_follower_believes_its_leader_alone),
        cmocka_unit_test(test_raft_compact_leader_answers_with_the_floor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
