#include "cluster/controller_parts.h"
#include "driven_controller.h"

static void test_controller_knows_replicas_that_are_no_members(void **unused)
{
    (void)unused;
    begin();
    apply_create("t", SELF);
    const struct sp_state_topic *topic = sp_state_topic(sp_controller_state(fake.controller), "t");
    fake_members.group_id = topic->partitions[0].group_id;
    fake_members.stranger = 0;
    assert_false(sp_controller_has_others(fake.controller, NULL));
    fake_members.stranger = topic->partitions[0].replicas[0].replica_id;
    assert_true(sp_controller_has_others(fake.controller, NULL));
    fake_members.stranger = 0;
    fake_members.group_id = topic->partitions[0].group_id + 100; /* made or deleted meanwhile */
    assert_true(sp_controller_has_others(fake.controller, NULL));
    end();
}

/* Cut off from the others, a node cannot know whether a topic that it lacks was created. */
static void test_controller_is_current_only_while_it_follows_a_leader(void **unused)
{
    (void)unused;
    begin();
    fake.status.leader_node = 2;
    assert_false(sp_controller_is_current(fake.controller)); /* not confirmed yet */
    fake.status.confirmed = true;
    fake_wait(60);
    assert_true(sp_controller_is_current(fake.controller));
    fake.status.leader_node = 0;
    assert_true(sp_controller_is_confirmed(fake.controller));
    assert_false(sp_controller_is_current(fake.controller));
    end();
}

/* A node that was removed keeps the last leader in mind, who does not talk to it any more. */
static void test_controller_is_followed_only_by_a_member_with_a_link_to_the_leader(void **unused)
{
    (void)unused;
    begin();
    fake.status.leader_node = 2;
    fake.leader = 2;
    fake.link = SP_LINK_UP;
    assert_false(sp_controller_follows(fake.controller)); /* not confirmed yet */
    fake.status.confirmed = true;
    fake_wait(60);
    assert_true(sp_controller_follows(fake.controller));
    fake.link = SP_LINK_DEAD;
    assert_false(sp_controller_follows(fake.controller));
    fake.link = SP_LINK_UP;
    fake_members.stranger = FAKE_MEMBERS_SELF;
    assert_false(sp_controller_follows(fake.controller));
    fake_members.stranger = 0;
    fake.leader = 0;
    assert_false(sp_controller_follows(fake.controller));
    fake.leader = SELF;
    fake.link = SP_LINK_DEAD;
    assert_true(sp_controller_follows(fake.controller));
    end();
}

static enum sp_rebuild rebuild(uint32_t node_id, uint64_t down_ms, uint64_t *out_rest_ms)
{
    return sp_controller_rebuild(fake.controller, node_id, down_ms, out_rest_ms);
}

static void raise_level(void)
{
    struct sp_buf buf;

    sp_buf_init(&buf, 64);
    assert_int_equal(sp_state_command_feature_level(SP_FEATURE_LEVEL_MAX, &buf), 0);
    apply_buf(&buf);
}

/* The leader counts from when it has seen the node down; others reckon from when they know it. */
static void test_controller_tells_when_a_gone_node_is_replaced(void **unused)
{
    uint64_t rest_ms = 9;

    (void)unused;
    begin();
    assert_int_equal(rebuild(3, 0, &rest_ms), SP_REBUILD_OFF);
    assert_int_equal(rest_ms, 0);
    end();
    node_replace_ms = 60000;
    level_most = SP_FEATURE_LEVEL_MAX;
    begin();
    assert_int_equal(rebuild(3, 0, &rest_ms), SP_REBUILD_UNSUPPORTED);
    raise_level();
    assert_int_equal(rebuild(3, 0, &rest_ms), SP_REBUILD_NO_CONTROLLER);
    fake_wait(20000);
    fake.leader = 2; /* it was elected a second before it was known here */
    fake.leader_ms = fake_loop.now_ms - 1000;
    assert_int_equal(rebuild(3, fake_loop.now_ms - 15000, &rest_ms), SP_REBUILD_WAITING);
    assert_int_equal(rest_ms, 59000);
    assert_int_equal(rebuild(3, fake_loop.now_ms - 200, &rest_ms), SP_REBUILD_WAITING);
    assert_int_equal(rest_ms, 59800);

    fake.link = SP_LINK_DEAD;
    change_role(SP_ROLE_LEADER, true, SELF);
    fake_wait(1000);
    assert_int_equal(rebuild(3, 1, &rest_ms), SP_REBUILD_WAITING);
    assert_in_range(rest_ms, 58000, 60000); /* it leads since then, and looks now and then */
    assert_false(sp_controller_is_gone(fake.controller, 3));
    fake_wait((unsigned)rest_ms - 1);
    assert_int_equal(rebuild(3, 1, &rest_ms), SP_REBUILD_WAITING);
    assert_int_equal(rest_ms, 1);
    fake_wait(1);
    assert_int_equal(rebuild(3, 1, &rest_ms), SP_REBUILD_DUE);
    assert_true(sp_controller_is_gone(fake.controller, 3)); /* the same moment */
    end();
    node_replace_ms = 0;
    level_most = 0;
}

/* Topics go to nodes that are there or have only just gone, and neither slow nor short of space. */
static void test_controller_places_topics_on_nodes_that_are_fit(void **unused)
{
    (void)unused;
    level_most = SP_FEATURE_LEVEL_MAX;
    begin();
    raise_level();
    change_role(SP_ROLE_LEADER, true, SELF);
    fake.link = SP_LINK_UP;
    fake_wait(1000);
    assert_int_equal(sp_controller_placing_health(fake.controller, 3), SP_PLANNER_UP);
    fake.unfit = 3;
    assert_int_equal(sp_controller_placing_health(fake.controller, 3), SP_PLANNER_DOWN);
    assert_int_equal(sp_controller_placing_health(fake.controller, 2), SP_PLANNER_UP);
    fake.unfit = 0;
    fake.link = SP_LINK_DEAD;
    fake.link_ms = fake_loop.now_ms;
    assert_int_equal(sp_controller_placing_health(fake.controller, 3), SP_PLANNER_UP);
    fake_wait(900);
    assert_int_equal(sp_controller_placing_health(fake.controller, 3), SP_PLANNER_UP);
    fake_wait(1000);
    assert_int_equal(sp_controller_placing_health(fake.controller, 3), SP_PLANNER_DOWN);
    assert_int_equal(sp_controller_placing_health(fake.controller, SELF), SP_PLANNER_UP);
    fake.link = SP_LINK_UP;
    assert_int_equal(sp_controller_placing_health(fake.controller, 3), SP_PLANNER_UP);
    end();
    level_most = 0;
}

/* The node that is to become a voter of group 0 is named, if it is there. */
static void test_controller_tells_which_node_it_lacks_as_a_voter(void **unused)
{
    (void)unused;
    level_most = SP_FEATURE_LEVEL_MAX;
    begin();
    fake_members.stranger = 3;
    assert_int_equal(sp_controller_lacks_voter(fake.controller), 0); /* no change before */
    raise_level();
    assert_int_equal(sp_controller_lacks_voter(fake.controller), 3);
    fake_members.stranger = 2;
    assert_int_equal(sp_controller_lacks_voter(fake.controller), 2);
    fake.link = SP_LINK_DEAD;
    assert_int_equal(sp_controller_lacks_voter(fake.controller), 0);
    fake.link = SP_LINK_UP;
    fake_members.stranger = 0;
    assert_int_equal(sp_controller_lacks_voter(fake.controller), 0);
    end();
    level_most = 0;
}

/* Also when nobody has led long enough to have counted how long they are away. */
static void test_controller_places_no_topic_on_a_node_that_was_away_before_it_led(void **unused)
{
    (void)unused;
    level_most = SP_FEATURE_LEVEL_MAX;
    begin();
    raise_level();
    fake.link = SP_LINK_DEAD;
    fake.link_ms = fake_loop.now_ms;
    assert_int_equal(sp_controller_placing_health(fake.controller, 3), SP_PLANNER_UP);
    fake_wait(1000);
    change_role(SP_ROLE_LEADER, true, SELF);
    assert_int_equal(sp_controller_placing_health(fake.controller, 3), SP_PLANNER_DOWN);
    end();
    level_most = 0;
}

static void test_controller_registers_itself_once_confirmed_and_when_different(void **unused)
{
    static const struct sp_controller_handler handler = {
        on_changed, on_confirmed, on_failed, on_damaged
    };
    struct sp_controller_options options = { .self = make_node(SELF) };
    struct sp_proposal sent;

    (void)unused;
    begin();
    assert_int_equal(fake.confirmed_count, 0);
    assert_int_equal(fake.set_node_count, 2); /* hints */
    assert_int_equal(fake.set_life_count, 2);
    fake.leader = 2;
    fake.status.confirmed = true; /* learned with a heartbeat: no event tells */
    fake_wait(60);
    assert_int_equal(fake.confirmed_count, 1);
    assert_int_equal(fake.set_node_count, 4);
    fake_wait(200);
    assert_int_equal(fake.sent_count, 0);
    assert_int_equal(fake_loop.timer_count, 0);
    end();

    begin();
    sp_controller_free(fake.controller);
    (void)snprintf(options.self.rack, sizeof options.self.rack, "r2");
    assert_int_equal(sp_controller_new(&options, &handler, NULL, &fake.controller), 0);
    sp_controller_start(fake.controller, 0, NULL, 0);
    assert_null(fake.open->places);
    apply_register(SELF);
    fake.open->group = (struct sp_raft_group *)(void *)&fake_group;
    fake.open->cb(fake.open, 0);
    fake.status.confirmed = true;
    change_role(SP_ROLE_FOLLOWER, false, 2);
    assert_int_equal(fake.sent_count, 1);
    assert_int_equal(sp_node_call_decode(fake.sent[0].body, fake.sent[0].size, &sent), 0);
    assert_int_equal(sent.kind, SP_PROPOSAL_REGISTER_NODE);
    assert_string_equal(sent.self.rack, "r2");
    reply(SPATE_ERR_BUSY, 0);
    fake_wait(900);
    assert_int_equal(fake.sent_count, 1);
    fake_wait(200);
    assert_int_equal(fake.sent_count, 2);
    end();
}

static void test_controller_restore_confirms_again_and_node_changes_reach_transport(void **unused)
{
    struct sp_buf bytes;

    (void)unused;
    begin();
    change_role(SP_ROLE_LEADER, true, SELF);
    assert_int_equal(fake.confirmed_count, 1);
    assert_int_equal(fake.set_node_count, 4);
    apply_register(4);
    assert_int_equal(fake.set_node_count, 5);
    struct sp_machine *machine = fake.open->machine;
    sp_buf_init(&bytes, 65536);
    assert_int_equal(machine->type->checkpoint(machine, &bytes), 0);
    assert_int_equal(machine->type->restore(machine, bytes.bytes, bytes.size), 0);
    fake_turn();
    assert_int_equal(fake.confirmed_count, 2);
    assert_int_equal(fake.set_node_count, 8);
    assert_int_equal(machine->type->restore(machine, bytes.bytes, bytes.size - 1),
                     SPATE_ERR_CORRUPT);
    assert_int_equal(apply_bytes((const uint8_t *)"\x91\x02", 2), SPATE_ERR_CORRUPT);
    machine->type->stopped(machine, SPATE_ERR_CORRUPT, "the log contradicts itself");
    assert_int_equal(fake.failed, 0);
    fake_turn();
    assert_int_equal(fake.failed, SPATE_ERR_CORRUPT);
    sp_buf_deinit(&bytes);
    end();
}

static void apply_incarnation(uint32_t node_id, uint64_t incarnation)
{
    struct sp_state_node node = make_node(node_id);
    struct sp_buf buf;

    node.incarnation = incarnation;
    sp_buf_init(&buf, 4096);
    assert_int_equal(sp_state_command_register_node(&node, &buf), 0);
    apply_buf(&buf);
}

/* What the log says before its end is the past: this node may have had another disk then. */
static void
test_controller_other_incarnation_before_the_state_is_confirmed_is_the_past(void **unused)
{
    (void)unused;
    begin();
    apply_incarnation(SELF, 6);
    fake_turn();
    assert_int_equal(fake.failed, 0);
    apply_incarnation(SELF, 7);
    change_role(SP_ROLE_FOLLOWER, false, 2);
    fake.status.confirmed = true;
    fake_wait(60);
    assert_int_equal(fake.confirmed_count, 1);
    assert_int_equal(fake.failed, 0);
    end();
}

static void test_controller_fails_when_the_state_knows_another_disk_of_this_node(void **unused)
{
    (void)unused;
    begin();
    apply_incarnation(SELF, 8);
    fake.leader = 2;
    fake.status.confirmed = true;
    fake_wait(60);
    assert_int_equal(fake.failed, SPATE_ERR_INVALID);
    assert_int_equal(fake.confirmed_count, 0);
    fake_wait(2000);
    assert_int_equal(fake.sent_count, 0); /* it does not register itself over the other one */
    end();
}

/* At any time, and nothing is done with the state any more. */
static void test_controller_fails_when_another_disk_takes_its_place_later(void **unused)
{
    (void)unused;
    begin();
    fake.status.confirmed = true;
    change_role(SP_ROLE_FOLLOWER, false, 2);
    apply_incarnation(3, 8); /* of another node */
    fake_turn();
    assert_int_equal(fake.failed, 0);
    unsigned changed = fake.changed_count;
    unsigned set_nodes = fake.set_node_count;
    apply_incarnation(SELF, 8);
    apply_register(4);
    apply_create("t", 2);
    assert_int_equal(fake.changed_count, changed);
    assert_int_equal(fake.set_node_count, set_nodes);
    fake_turn();
    assert_int_equal(fake.failed, SPATE_ERR_INVALID);
    fake_wait(2000);
    assert_int_equal(fake.sent_count, 0);
    end();
}

static void test_controller_is_current_on_others_than_its_leader(void **unused)
{
    (void)unused;
    begin();
    fake.status.leader_node = 2;
    assert_false(sp_controller_is_current_on(fake.controller, 3));
    fake.status.confirmed = true;
    fake_wait(60);
    assert_true(sp_controller_is_current_on(fake.controller, 3));
    assert_false(sp_controller_is_current_on(fake.controller, 2)); /* it has more to tell */
    fake.status.leader_node = 0;
    assert_false(sp_controller_is_current_on(fake.controller, 3));
    end();
}

static void test_controller_stop_cancels_what_is_pending(void **unused)
{
    struct asked waiting;
    struct asked led;
    struct asked taken_back;
    struct asked late;

    (void)unused;
    begin();
    change_role(SP_ROLE_LEADER, true, SELF);
    ask_create(&led, "t", 1);
    ask_create(&taken_back, "u", 1);
    fake_turn();
    sp_controller_cancel(fake.controller, &taken_back.proposal);
    change_role(SP_ROLE_FOLLOWER, false, 0);
    ask_create(&waiting, "v", 1);
    fake_turn();
    sp_controller_stop(fake.controller);
    assert_int_equal(led.status, SPATE_ERR_CANCELED);
    assert_int_equal(waiting.status, SPATE_ERR_CANCELED);
    ask_create(&late, "w", 1);
    fake_turn();
    assert_int_equal(late.status, SPATE_ERR_CANCELED);
    assert_int_equal(taken_back.count, 0);
    end();
}

static void ask_remove(struct asked *asked, uint32_t node_id)
{
    *asked = (struct asked){ .proposal = { .kind = SP_PROPOSAL_MEMBERSHIP, .cb = on_proposal } };
    asked->proposal.membership =
        (struct sp_membership_change){ .kind = SP_MEMBERSHIP_REMOVE_NODE, .node_id = node_id };
    sp_controller_propose(fake.controller, &asked->proposal);
    fake_turn();
}

/* It is sent nothing more of the controller's log once it is taken out. */
static void test_controller_node_that_is_to_go_does_not_wait_to_hear_that_it_goes(void **unused)
{
    struct asked asked;

    (void)unused;
    begin();
    change_role(SP_ROLE_FOLLOWER, false, 2);
    ask_remove(&asked, 3); /* others still hear */
    reply(0, fake.status.applied_index + 1);
    assert_int_equal(asked.count, 0);
    fake_wait(5000);
    assert_int_equal(asked.status, SPATE_ERR_TIMEOUT);
    ask_remove(&asked, SELF);
    reply(0, fake.status.applied_index + 1);
    assert_int_equal(asked.count, 1);
    assert_int_equal(asked.status, 0);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_controller_knows_replicas_that_are_no_members),
        cmocka_unit_test(test_controller_is_current_only_while_it_follows_a_leader),
        cmocka_unit_test(test_controller_is_followed_only_by_a_member_with_a_link_to_the_leader),
        cmocka_unit_test(test_controller_tells_when_a_gone_node_is_replaced),
        cmocka_unit_test(test_controller_places_topics_on_nodes_that_are_fit),
        cmocka_unit_test(test_controller_tells_which_node_it_lacks_as_a_voter),
        cmocka_unit_test(test_controller_places_no_topic_on_a_node_that_was_away_before_it_led),
        cmocka_unit_test(test_controller_registers_itself_once_confirmed_and_when_different),
        cmocka_unit_test(test_controller_restore_confirms_again_and_node_changes_reach_transport),
        cmocka_unit_test(
            test_controller_other_incarnation_before_the_state_is_confirmed_is_the_past),
        cmocka_unit_test(test_controller_fails_when_the_state_knows_another_disk_of_this_node),
        cmocka_unit_test(test_controller_fails_when_another_disk_takes_its_place_later),
        cmocka_unit_test(test_controller_is_current_on_others_than_its_leader),
        cmocka_unit_test(test_controller_stop_cancels_what_is_pending),
        cmocka_unit_test(test_controller_node_that_is_to_go_does_not_wait_to_hear_that_it_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
