/* A consumer that is a member of a group, against a coordinator that does what each test says. */
#include "fake_coordinator.h"

/* ---- what is asked of it --------------------------------------------------------------------- */

static void test_member_reads_commits_and_leaves(void **state)
{
    (void)state;
    begin_member(keys, 0x3);
    read_records(20);
    assert_string_equal(world.events, "A3");
    assert_int_equal(spate_consumer_close(world.consumer, 3000), 0);
    assert_string_equal(world.events, "A3R3");
    assert_int_equal(world.committed[0], 10);
    assert_int_equal(world.committed[1], 10);
    assert_int_equal(world.committed[2], -1);
    assert_int_equal(world.leave_count, 1);
    assert_non_null(strstr(world.trace, "R3CL")); /* in this order */
    assert_memory_equal(world.instance, "libspate-", 9);
    end();
}

static void test_member_goes_on_at_the_stored_offset(void **state)
{
    struct spate_message message;
    int64_t offset = 0;

    (void)state;
    begin(keys, 0x2);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    world.committed[1] = 7;
    subscribe();
    assert_int_equal(spate_consumer_next(world.consumer, 5000, &message), 0);
    assert_int_equal(message.partition, 1);
    assert_int_equal(message.offset, 7);
    assert_int_equal(spate_consumer_committed(world.consumer, "t", 1, &offset), 0);
    assert_int_equal(offset, 7);
    assert_int_equal(spate_consumer_committed(world.consumer, "t", 0, &offset),
                     SPATE_ERR_NOT_FOUND);
    assert_int_equal(spate_consumer_position(world.consumer, "t", 1, &offset), 0);
    assert_int_equal(offset, 8);
    end();
}

static void test_member_begins_where_offset_reset_says(void **state)
{
    static const char *const from_end[] = { "group.id", "g", "offset.reset", "end", NULL };
    static const char *const nowhere[] = { "group.id", "g", "offset.reset", "none", NULL };
    struct spate_message message;

    (void)state;
    begin_member(from_end, 0x1);
    await_event("A1");
    assert_int_equal(spate_consumer_next(world.consumer, 50, &message), SPATE_ERR_AGAIN);
    fake_log_fill(&world.cluster.log, 1, SP_COMPRESSION_NONE);
    assert_int_equal(spate_consumer_next(world.consumer, 5000, &message), 0);
    assert_int_equal(message.offset, 10);
    end();
    begin_member(nowhere, 0x1);
    assert_int_equal(spate_consumer_next(world.consumer, 5000, &message), SPATE_ERR_NOT_FOUND);
    assert_int_equal(spate_consumer_next(world.consumer, 20, &message), SPATE_ERR_AGAIN);
    assert_int_equal(spate_consumer_seek(world.consumer, "t", 0, 3), 0);
    assert_int_equal(spate_consumer_next(world.consumer, 5000, &message), 0);
    assert_int_equal(message.offset, 3);
    end();
}

/* The record in hand is not processed before the next call. */
static void test_member_record_in_hand_is_not_committed(void **state)
{
    static const char *const often[] = { "group.id", "g", "commit.interval.ms", "1", NULL };
    struct spate_message message;

    (void)state;
    begin(often, 0x1);
    fake_log_fill(&world.cluster.log, 3, SP_COMPRESSION_NONE);
    subscribe();
    read_records(2);
    poll_times(20, 5);
    assert_int_equal(world.committed[0], 1);
    read_records(1);
    assert_int_equal(spate_consumer_next(world.consumer, 100, &message), SPATE_ERR_AGAIN);
    assert_int_equal(spate_consumer_next(world.consumer, 100, &message), SPATE_ERR_AGAIN);
    assert_int_equal(world.committed[0], 3);
    end();
}

/* Of several records at once only those up to the one that is committed are done with. */
static void test_member_rest_of_a_batch_is_not_committed(void **state)
{
    static const char *const often[] = { "group.id", "g", "commit.interval.ms", "1", NULL };
    struct spate_message messages[10];

    (void)state;
    begin_member(often, 0x1);
    assert_int_equal(spate_consumer_batch(world.consumer, 5000, messages, 10), 10);
    assert_int_equal(spate_consumer_commit(world.consumer, &messages[3], 1000), 0);
    poll_times(20, 5);
    assert_int_equal(world.committed[0], 4);
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 1000), 0);
    assert_int_equal(world.committed[0], 10);
    end();
}

/* REVOKED, then the commit, and only then the heartbeat that gives it up. */
static void test_member_gives_up_after_its_last_commit(void **state)
{
    (void)state;
    begin_member(keys, 0x3);
    read_records(20);
    await_owned(0x3);
    world.assigned = 0x1;
    world.revoke = 0x2;
    world.generation = 2;
    await_owned(0x1);
    assert_int_equal(world.committed[1], 10);
    assert_int_equal(world.committed[0], -1); /* that one is not interrupted */
    assert_non_null(strstr(world.trace, "R2CH1"));
    fake_log_fill(&world.cluster.log, 1, SP_COMPRESSION_NONE);
    read_records(1);
    assert_string_equal(world.events, "A3R2");
    end();
}

/* Taken away and given back before the user heard of either. */
static void test_member_may_get_back_what_was_revoked(void **state)
{
    (void)state;
    begin_member(keys, 0x3);
    read_records(20);
    world.assigned = 0x1;
    world.revoke = 0x2;
    world.generation = 2;
    poll_times(20, 10);
    world.assigned = 0x3;
    world.revoke = 0;
    world.generation = 3;
    poll_times(20, 10);
    fake_log_fill(&world.cluster.log, 1, SP_COMPRESSION_NONE);
    read_records(2);
    assert_string_equal(world.events, "A3");
    end();
}

static void test_member_unknown_loses_all_and_joins_again(void **state)
{
    (void)state;
    begin_member(keys, 0x1);
    read_records(10);
    world.heartbeat_status = SPATE_ERR_UNKNOWN_MEMBER;
    world.join_status = SPATE_ERR_UNKNOWN_MEMBER;
    await_event("L1");
    world.heartbeat_status = 0;
    unsigned count = await_event("A1");
    assert_string_equal(world.events, "A1L1A1");
    assert_int_equal(world.committed[0], -1); /* nothing can be committed of what is lost */
    assert_true(world.join_with_id_count >= 1);
    assert_true(world.join_count > world.join_with_id_count + 1);
    read_records(10 - count); /* from the start again */
    end();
}

/* Another process with the same group.instance: this one is told, and stays out. */
static void test_member_fenced_is_told(void **state)
{
    struct spate_message message;
    int rv = 0;

    (void)state;
    begin(by_hand, 0x1);
    subscribe();
    await_event("A1");
    assert_string_equal(world.instance, "till-7");
    world.heartbeat_status = SPATE_ERR_UNKNOWN_MEMBER;
    world.join_status = SPATE_ERR_GROUP_FENCED;
    for (unsigned i = 0; i < 100 && (rv == 0 || rv == SPATE_ERR_AGAIN); i++) {
        rv = spate_consumer_next(world.consumer, 20, &message);
    }
    assert_int_equal(rv, SPATE_ERR_GROUP_FENCED);
    assert_int_equal(spate_consumer_next(world.consumer, 20, &message), SPATE_ERR_GROUP_FENCED);
    unsigned joins = world.join_count;
    poll_times(30, 10);
    assert_int_equal(world.join_count, joins);
    end();
}

static void rejoin_after_fence(void)
{
    world.heartbeat_status = SPATE_ERR_UNKNOWN_MEMBER;
    world.join_status = SPATE_ERR_GROUP_FENCED; /* of a join with the id */
    await_event("L1");
    world.heartbeat_status = 0;
    await_event("A1");
    assert_true(world.join_with_id_count >= 1);
}

/* A join that was sent twice may be done late and take the place of its own process: nobody else
 * knows the instance, so this is no other process. */
static void test_member_fenced_by_its_own_late_join_joins_again(void **state)
{
    (void)state;
    begin(keys, 0x1);
    subscribe();
    await_event("A1");
    rejoin_after_fence();
    end();
}

/* With a group.instance it could be another process, so it is tried once. */
static void test_member_with_an_instance_takes_its_place_back_once(void **state)
{
    struct spate_message message;
    int rv = SPATE_ERR_AGAIN;

    (void)state;
    begin(by_hand, 0x1);
    world.silent = true;
    subscribe();
    poll_times(10, 10);
    subscribe(); /* what became of the first join it will never know */
    world.silent = false;
    await_event("A1");
    rejoin_after_fence();
    world.heartbeat_status = SPATE_ERR_UNKNOWN_MEMBER;
    for (unsigned i = 0; i < 100 && (rv == 0 || rv == SPATE_ERR_AGAIN); i++) {
        rv = spate_consumer_next(world.consumer, 20, &message);
    }
    assert_int_equal(rv, SPATE_ERR_GROUP_FENCED);
    end();
}

/* Nobody answers for a whole session: others may read the partition by now. The member comes back
 * under a new id, so that a commit that was under way all the time is refused. */
static void test_member_cut_off_stops_reading(void **state)
{
    struct spate_message message;

    (void)state;
    begin_member(keys, 0x1);
    read_records(10);
    world.silent = true;
    await_event("L1");
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    assert_int_equal(spate_consumer_next(world.consumer, 100, &message), SPATE_ERR_AGAIN);
    world.silent = false;
    read_records(20 - await_event("A1"));
    assert_int_equal(world.join_with_id_count, 1);
    assert_false(world.joined_with_id);
    end();
}

/* The same while it joins again for other topics. */
static void test_member_cut_off_while_it_subscribes_stops_reading(void **state)
{
    (void)state;
    begin_member(keys, 0x1);
    read_records(10);
    world.silent = true;
    subscribe();
    await_event("L1");
    world.silent = false;
    read_records(10 - await_event("A1"));
    assert_false(world.joined_with_id);
    end();
}

/* It was out when it subscribed again: others may have read on, the group's offset says how far. */
static void test_member_unknown_while_it_subscribes_begins_anew(void **state)
{
    struct spate_message message;

    (void)state;
    begin_member(keys, 0x1);
    read_records(5);
    world.join_status = SPATE_ERR_UNKNOWN_MEMBER;
    world.committed[0] = 8;
    subscribe();
    (void)await_event("L1");
    assert_int_equal(spate_consumer_next(world.consumer, 5000, &message), 0);
    assert_string_equal(world.events, "A1L1A1");
    assert_int_equal(message.offset, 8);
    end();
}

static void test_member_commits_by_hand(void **state)
{
    struct spate_message message;

    (void)state;
    begin_member(by_hand, 0x3);
    assert_int_equal(spate_consumer_next(world.consumer, 5000, &message), 0);
    int32_t first = message.partition;
    assert_int_equal(spate_consumer_commit(world.consumer, &message, 1000), 0);
    assert_int_equal(world.committed[first], 1);
    read_records(19);
    assert_int_equal(world.committed[first], 1); /* never by itself */
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 1000), 0);
    assert_int_equal(world.committed[0], 10); /* the last one delivered, too */
    assert_int_equal(world.committed[1], 10);
    message.partition = 3;
    assert_int_equal(spate_consumer_commit(world.consumer, &message, 1000), SPATE_ERR_GROUP_FENCED);
    fake_log_fill(&world.cluster.log, 1, SP_COMPRESSION_NONE);
    read_records(2);
    world.commit_status = SPATE_ERR_GROUP_FENCED;
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 1000), SPATE_ERR_GROUP_FENCED);
    world.commit_status = 0;
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 0), 0); /* does not wait */
    for (unsigned i = 0; i < 50 && world.committed[0] != 11; i++) {
        (void)spate_poll(world.cluster.client, 10);
    }
    assert_int_equal(world.committed[0], 11);
    assert_int_equal(world.committed[1], 11);
    world.commit_status = SPATE_ERR_NOT_READY;
    fake_log_fill(&world.cluster.log, 1, SP_COMPRESSION_NONE);
    read_records(2);
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 100), SPATE_ERR_TIMEOUT);
    world.commit_status = 0;
    assert_int_equal(spate_consumer_close(world.consumer, 1000), 0);
    assert_int_equal(world.committed[0], 12); /* what was wanted once is not forgotten */
    assert_int_equal(world.leave_count, 0);   /* a static member only restarts */
    end();
}

static enum fake_action loses_answers(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)c;
    return strcmp(method, "group.commit") == 0 && count <= 2 ? FAKE_DROP_AFTER : FAKE_SERVE;
}

static void test_member_commit_is_repeated_after_a_lost_answer(void **state)
{
    (void)state;
    begin(by_hand, 0x1);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    world.cluster.script = loses_answers;
    subscribe();
    read_records(10);
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 3000), 0);
    assert_int_equal(world.committed[0], 10);
    assert_true(world.cluster.commit_count >= 3);
    end();
}

/* A server that gives the last commit up is no consumer that was freed: it is tried again, and not
 * taken for done. */
static void test_member_commit_that_is_canceled_fails_the_closing(void **state)
{
    (void)state;
    begin_member(by_hand, 0x1);
    read_records(10);
    world.commit_status = SPATE_ERR_CANCELED;
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 0), 0);
    struct sp_client_part *part = &world.consumer->part;
    assert_int_equal(part->flush(part, 500), SPATE_ERR_TIMEOUT); /* as spate_client_close does */
    assert_int_equal(world.committed[0], -1);
    end();
}

/* Not that of an earlier one that nobody waited for; and not 0 when the session ends meanwhile. */
static void test_member_commit_tells_its_own_outcome(void **state)
{
    (void)state;
    begin_member(by_hand, 0x1);
    read_records(10);
    world.commit_status = SPATE_ERR_GROUP_FENCED;
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 0), 0);
    for (unsigned i = 0; i < 100 && strchr(world.trace, 'C') == NULL; i++) {
        (void)spate_poll(world.cluster.client, 10);
    }
    (void)spate_poll(world.cluster.client, 20);
    world.commit_status = 0;
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 1000), 0);
    assert_int_equal(world.committed[0], 10);
    fake_log_fill(&world.cluster.log, 1, SP_COMPRESSION_NONE);
    read_records(1);
    world.silent = true;
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 10000), SPATE_ERR_GROUP_FENCED);
    assert_non_null(strstr(spate_client_error(world.cluster.client), "no longer"));
    assert_int_equal(world.committed[0], 10);
    end();
}

static enum fake_action answers_late(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)c;
    return strcmp(method, "group.commit") == 0 && count == 1 ? FAKE_LATE : FAKE_SERVE;
}

/* The session ends while an older offset is under way, whose answer comes after that: it says
 * nothing about the newer one, which nobody has been asked to store. */
static void test_member_commit_is_not_told_the_outcome_of_an_older_one(void **state)
{
    (void)state;
    begin(by_hand, 0x1);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    world.cluster.script = answers_late;
    subscribe();
    read_records(10);
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 0), 0);
    for (unsigned i = 0; i < 100 && world.cluster.commit_count == 0; i++) {
        (void)spate_poll(world.cluster.client, 10);
    }
    fake_log_fill(&world.cluster.log, 1, SP_COMPRESSION_NONE);
    read_records(1);
    world.silent = true;
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 10000), SPATE_ERR_GROUP_FENCED);
    assert_int_equal(world.committed[0], 10);
    end();
}

/* Neither read nor kept in mind, however many a server makes up. */
static void test_member_takes_no_topic_that_it_did_not_ask_for(void **state)
{
    (void)state;
    begin(keys, 0x1);
    world.strays = true;
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    subscribe();
    read_records(10);
    await_owned(0x1);
    assert_true(world.stray_count > 2);
    assert_null(sp_metadata_find(world.cluster.client->metadata, sp_bytes_text("stray-0")));
    assert_string_equal(world.events, "A1");
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_member_reads_commits_and_leaves),
        cmocka_unit_test(test_member_goes_on_at_the_stored_offset),
        cmocka_unit_test(test_member_begins_where_offset_reset_says),
        cmocka_unit_test(test_member_record_in_hand_is_not_committed),
        cmocka_unit_test(test_member_rest_of_a_batch_is_not_committed),
        cmocka_unit_test(test_member_gives_up_after_its_last_commit),
        cmocka_unit_test(test_member_may_get_back_what_was_revoked),
        cmocka_unit_test(test_member_unknown_loses_all_and_joins_again),
        cmocka_unit_test(test_member_fenced_is_told),
        cmocka_unit_test(test_member_fenced_by_its_own_late_join_joins_again),
        cmocka_unit_test(test_member_with_an_instance_takes_its_place_back_once),
        cmocka_unit_test(test_member_cut_off_stops_reading),
        cmocka_unit_test(test_member_cut_off_while_it_subscribes_stops_reading),
        cmocka_unit_test(test_member_unknown_while_it_subscribes_begins_anew),
        cmocka_unit_test(test_member_commits_by_hand),
        cmocka_unit_test(test_member_commit_is_repeated_after_a_lost_answer),
        cmocka_unit_test(test_member_commit_is_not_told_the_outcome_of_an_older_one),
        cmocka_unit_test(test_member_commit_that_is_canceled_fails_the_closing),
        cmocka_unit_test(test_member_commit_tells_its_own_outcome),
        cmocka_unit_test(test_member_takes_no_topic_that_it_did_not_ask_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
