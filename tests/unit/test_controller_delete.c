/* Deleting a topic by its id: never another one that has the name by then. */
#include "driven_controller.h"

static uint64_t id_of(const char *name)
{
    const struct sp_state_topic *topic = sp_state_topic(sp_controller_state(fake.controller), name);

    return topic == NULL ? 0 : topic->topic_id;
}

static void ask_delete(struct asked *asked, const char *topic, uint64_t topic_id)
{
    *asked = (struct asked){ .proposal = { .kind = SP_PROPOSAL_DELETE_TOPIC,
                                           .cb = on_proposal,
                                           .by_id = true,
                                           .topic_id = topic_id } };
    (void)snprintf(asked->proposal.topic, sizeof asked->proposal.topic, "%s", topic);
    sp_controller_propose(fake.controller, &asked->proposal);
    fake_turn();
}

static void test_controller_deletes_only_the_topic_with_the_id(void **unused)
{
    struct asked asked;

    (void)unused;
    begin();
    change_role(SP_ROLE_LEADER, true, SELF);
    apply_create("t", 2);
    uint64_t id = id_of("t");
    ask_delete(&asked, "t", id + 1);
    assert_int_equal(asked.status, SPATE_ERR_UNKNOWN_TOPIC);
    assert_non_null(strstr(asked.text, "made anew"));
    assert_int_equal(fake.submit_count, 0);
    ask_delete(&asked, "t", 0);
    assert_int_equal(asked.status, SPATE_ERR_UNKNOWN_TOPIC);
    ask_delete(&asked, "t", id);
    commit_submits();
    assert_int_equal(asked.status, 0);
    assert_int_equal(id_of("t"), 0);
    end();
}

/* The command names the topic alone: what is on its way before it must not give the name away. */
static void test_controller_deletion_by_id_waits_for_changes_of_the_name(void **unused)
{
    struct asked first;
    struct asked again;
    struct asked created;
    struct asked other;

    (void)unused;
    begin();
    change_role(SP_ROLE_LEADER, true, SELF);
    apply_create("t", 2);
    apply_create("u", 2);
    uint64_t id = id_of("t");
    ask_delete(&first, "t", id);
    ask_create(&created, "t", 1); /* made when the name is free again: EXISTS until then */
    ask_delete(&again, "t", id);
    ask_delete(&other, "u", id_of("u"));
    assert_int_equal(fake.submit_count, 2); /* the first one, and that of another name */
    commit_submits();
    assert_int_equal(first.status, 0);
    assert_int_equal(other.status, 0);
    apply_create("t", 2);
    fake_wait(60);
    assert_int_equal(again.count, 1);
    assert_int_equal(again.status, SPATE_ERR_UNKNOWN_TOPIC);
    assert_int_not_equal(id_of("t"), 0);
    end();
}

/* A creation is on its way when the topic is to be deleted by its id. */
static void begin_with_both(struct asked *created, struct asked *deleted)
{
    begin();
    change_role(SP_ROLE_LEADER, true, SELF);
    ask_create(created, "t", 1);
    fake_turn();
    ask_delete(deleted, "t", 1);
}

/* A creation is on its way behind a deletion by name. */
static void test_controller_deletion_by_id_waits_for_a_creation(void **unused)
{
    struct asked created;
    struct asked deleted;

    (void)unused;
    begin_with_both(&created, &deleted);
    assert_int_equal(fake.submit_count, 1);
    assert_int_equal(deleted.count, 0);
    commit_submits();
    assert_int_equal(id_of("t"), 1);
    fake_wait(60);
    commit_submits();
    assert_int_equal(deleted.status, 0);
    assert_int_equal(id_of("t"), 0);
    end();
}

static void test_controller_deletion_that_has_waited_in_vain_says_for_what(void **unused)
{
    struct asked created;
    struct asked deleted;

    (void)unused;
    begin_with_both(&created, &deleted);
    fake_wait(5100);
    assert_int_equal(deleted.status, SPATE_ERR_NOT_READY);
    assert_string_equal(deleted.text, "another change of the topic `t` is not done yet");
    end();
}

static void test_controller_sends_the_id_to_the_leader(void **unused)
{
    struct asked asked;
    struct sp_proposal sent;

    (void)unused;
    begin();
    apply_create("t", 2);
    change_role(SP_ROLE_FOLLOWER, false, 2);
    ask_delete(&asked, "t", id_of("t"));
    assert_int_equal(sp_node_call_decode(fake.sent[0].body, fake.sent[0].size, &sent), 0);
    assert_true(sent.by_id);
    assert_int_equal(sent.topic_id, id_of("t"));
    reply(SPATE_ERR_LEADER_CHANGED, 0);
    fake_wait(60);
    reply(SPATE_ERR_UNKNOWN_TOPIC, 4); /* the first try did it, whoever has the name now */
    assert_int_equal(asked.status, 0);
    ask(&asked, SP_PROPOSAL_DELETE_TOPIC, "t"); /* as it was before there were ids */
    fake_turn();
    assert_int_equal(fake.sent[fake.sent_count - 1].size, 4);
    reply(0, 4);
    assert_int_equal(asked.status, 0);
    end();
}

/* A leader of an older build does not know the field: then this node looks by itself. */
static void test_controller_older_leader_is_asked_by_name(void **unused)
{
    struct asked asked;
    struct sp_proposal sent;

    (void)unused;
    begin();
    apply_create("t", 2);
    uint64_t id = id_of("t");
    change_role(SP_ROLE_FOLLOWER, false, 2);
    ask_delete(&asked, "t", id + 1);
    reply(SPATE_ERR_MALFORMED, 0);
    fake_wait(120);
    assert_int_equal(fake.sent_count, 1);
    assert_int_equal(asked.status, SPATE_ERR_UNKNOWN_TOPIC);
    ask_delete(&asked, "t", id);
    reply(SPATE_ERR_MALFORMED, 0);
    assert_int_equal(asked.count, 0);
    fake_wait(120);
    assert_int_equal(fake.sent_count, 3);
    assert_int_equal(sp_node_call_decode(fake.sent[2].body, fake.sent[2].size, &sent), 0);
    assert_false(sent.by_id);
    reply(0, 4);
    assert_int_equal(asked.status, 0);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_controller_deletes_only_the_topic_with_the_id),
        cmocka_unit_test(test_controller_deletion_by_id_waits_for_changes_of_the_name),
        cmocka_unit_test(test_controller_deletion_by_id_waits_for_a_creation),
        cmocka_unit_test(test_controller_deletion_that_has_waited_in_vain_says_for_what),
        cmocka_unit_test(test_controller_sends_the_id_to_the_leader),
        cmocka_unit_test(test_controller_older_leader_is_asked_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
