/* Who votes in group 0 when nodes are shards of a few processes. */
#include "driven_controller.h"

#include "cluster/state_nodes.h"

static void apply_node(uint32_t node_id, const char *rack, bool joins)
{
    struct sp_state_node node = make_node(node_id);
    struct sp_buf buf;

    (void)snprintf(node.rack, sizeof node.rack, "%s", rack);
    sp_buf_init(&buf, 4096);
    assert_int_equal(joins ? sp_state_command_join_node(&node, &buf)
                           : sp_state_command_register_node(&node, &buf),
                     0);
    apply_buf(&buf);
}

static void apply_drain(uint32_t node_id, bool draining)
{
    struct sp_buf buf;

    sp_buf_init(&buf, 64);
    assert_int_equal(sp_state_command_drain_node(node_id, draining, &buf), 0);
    apply_buf(&buf);
}

/* This node leads; nodes 1 to 3 vote, 101 to 103 are shards of the same processes. */
static void begin_with_shards(void)
{
    struct sp_buf buf;

    level_most = SP_FEATURE_LEVEL_MAX;
    memset(&fake_members, 0, sizeof fake_members);
    begin();
    sp_buf_init(&buf, 64);
    assert_int_equal(sp_state_command_feature_level(SP_FEATURE_LEVEL_MAX, &buf), 0);
    apply_buf(&buf);
    for (uint32_t i = 1; i <= 3; i++) {
        char rack[16];
        (void)snprintf(rack, sizeof rack, "row#%u", i);
        apply_node(i, rack, false);
        apply_node(100 + i, rack, true);
    }
    fake_members.standby_from = 4; /* founders have their node's id */
    change_role(SP_ROLE_LEADER, true, SELF);
}

static const struct sp_raft_member_wish *wish_of(uint32_t node_id)
{
    for (unsigned i = 0; i < fake_members.wish_count; i++) {
        if (fake_members.wishes[i].place.node_id == node_id) {
            return &fake_members.wishes[i];
        }
    }
    fail();
    return NULL;
}

static void look_again(void)
{
    fake_wait(1000);
}

static void end_with_shards(void)
{
    end();
    memset(&fake_members, 0, sizeof fake_members);
    level_most = 0;
}

static void test_controller_gives_a_machine_one_vote(void **unused)
{
    (void)unused;
    begin_with_shards();
    look_again();
    assert_int_equal(fake_members.wish_count, 6);
    assert_int_equal(fake_members.voters_wanted, 3);
    for (uint32_t i = 1; i <= 3; i++) {
        assert_true(wish_of(i)->may_vote);
        assert_true(wish_of(i)->stays);
        assert_false(wish_of(100 + i)->may_vote);
    }
    assert_int_equal(sp_controller_lacks_voter(fake.controller), 0);
    end_with_shards();
}

static void test_controller_lets_another_shard_vote_for_one_that_drains(void **unused)
{
    (void)unused;
    begin_with_shards();
    apply_drain(2, true);
    look_again();
    assert_int_equal(fake_members.voters_wanted, 3);
    assert_false(wish_of(2)->stays);
    assert_true(wish_of(102)->may_vote);
    assert_false(wish_of(101)->may_vote);
    assert_false(wish_of(103)->may_vote);
    assert_int_equal(sp_controller_lacks_voter(fake.controller), 102);
    apply_drain(102, true);
    look_again();
    assert_int_equal(fake_members.voters_wanted, 1); /* of two machines */
    assert_int_equal(sp_controller_lacks_voter(fake.controller), 0);
    end_with_shards();
}

/* An older build takes machines for racks, and lets two nodes of one vote. */
static void test_controller_takes_the_second_vote_of_a_machine_back(void **unused)
{
    (void)unused;
    begin_with_shards();
    fake_members.standby_from = 0;
    look_again();
    for (uint32_t i = 1; i <= 3; i++) {
        assert_true(wish_of(i)->stays);
        assert_true(wish_of(100 + i)->may_vote); /* it is up and counts, while it has its vote */
        assert_false(wish_of(100 + i)->stays);
    }
    end_with_shards();
}

static void test_controller_wants_five_voters_of_five_machines(void **unused)
{
    (void)unused;
    begin_with_shards();
    apply_node(4, "row", true);
    look_again();
    assert_int_equal(fake_members.voters_wanted, 3);
    apply_node(5, "row", true);
    look_again();
    assert_int_equal(fake_members.voters_wanted, 5);
    assert_true(wish_of(4)->may_vote);
    assert_false(wish_of(101)->may_vote);
    assert_int_equal(sp_controller_lacks_voter(fake.controller), 4);
    end_with_shards();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_controller_gives_a_machine_one_vote),
        cmocka_unit_test(test_controller_lets_another_shard_vote_for_one_that_drains),
        cmocka_unit_test(test_controller_takes_the_second_vote_of_a_machine_back),
        cmocka_unit_test(test_controller_wants_five_voters_of_five_machines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
