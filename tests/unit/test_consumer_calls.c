/* What a program may do with a consumer, and what it may not. */
#include "fake_coordinator.h"

static void test_member_assigned_partitions_may_use_stored_offsets(void **state)
{
    struct spate_message message;

    (void)state;
    begin(keys, 0);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    world.committed[2] = 4;
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 2, SPATE_OFFSET_STORED), 0);
    assert_int_equal(spate_consumer_next(world.consumer, 5000, &message), 0);
    assert_int_equal(message.offset, 4);
    assert_int_equal(spate_consumer_close(world.consumer, 1000), 0);
    assert_int_equal(world.committed[2], 5);
    assert_int_equal(world.join_count, 0);
    end();
}

/* What does not fit into one answer is asked for topic by topic. */
static void test_member_asks_for_stored_offsets_in_parts(void **state)
{
    struct spate_message message;

    (void)state;
    begin(keys, 0);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    world.committed[0] = 4;
    world.committed[2] = 7;
    world.singly = true;
    assert_int_equal(spate_consumer_assign(world.consumer, "u", 0, SPATE_OFFSET_STORED), 0);
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, SPATE_OFFSET_STORED), 0);
    assert_int_equal(spate_consumer_assign(world.consumer, "v", 0, SPATE_OFFSET_STORED), 0);
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 2, SPATE_OFFSET_STORED), 0);
    for (unsigned i = 0; i < 9; i++) {
        int rv = SPATE_ERR_UNKNOWN_TOPIC; /* of u and v */
        while (rv == SPATE_ERR_UNKNOWN_TOPIC) {
            rv = spate_consumer_next(world.consumer, 5000, &message);
        }
        assert_int_equal(rv, 0);
        assert_true(message.offset >= (message.partition == 0 ? 4 : 7));
    }
    assert_int_equal(world.asked_topics, 1);
    assert_true(world.asked_count >= 4 && world.asked_count <= 6); /* u, t, v; all; t again */
    end();
}

static enum fake_action unknown_topic(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)count;
    c->refusal = SPATE_ERR_UNKNOWN_TOPIC;
    c->refusal_text = "no such topic";
    return strcmp(method, "fetch") == 0 ? FAKE_REFUSE : FAKE_SERVE;
}

/* How far a topic was read that is no more says nothing of the one that was made in its place. */
static void test_member_commits_nothing_to_a_namesake(void **state)
{
    struct spate_message message;

    (void)state;
    begin(keys, 0);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, SPATE_OFFSET_STORED), 0);
    read_records(10);
    world.cluster.topic_id = 8;
    world.cluster.script = unknown_topic;
    assert_int_equal(spate_consumer_next(world.consumer, 5000, &message), SPATE_ERR_UNKNOWN_TOPIC);
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 1000), 0);
    assert_int_equal(spate_consumer_close(world.consumer, 1000), 0);
    assert_int_equal(world.committed[0], -1);
    end();
}

/* The client has not heard that it is another topic: the coordinator has. */
static void test_member_commits_say_which_topic_was_read(void **state)
{
    (void)state;
    begin(by_hand, 0);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, SPATE_OFFSET_STORED), 0);
    read_records(4);
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 1000), 0);
    assert_int_equal(world.committed_topic_id, 7);
    assert_int_equal(world.committed[0], 4);
    world.committed[0] = -1;
    read_records(2);
    world.cluster.topic_id = 8;
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 1000), SPATE_ERR_UNKNOWN_TOPIC);
    assert_int_equal(world.committed_topic_id, 7);
    assert_int_equal(world.committed[0], -1);
    end();
}

/* A commit that was refused because others came between is made again with what that names. */
static void test_member_commits_tell_what_was_seen(void **state)
{
    (void)state;
    begin(by_hand, 0);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, SPATE_OFFSET_STORED), 0);
    read_records(4);
    world.changed = 20;
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 1000), 0);
    assert_int_equal(world.compared_count, 1); /* it had seen nothing */
    assert_int_equal(world.asked_seen, 20);
    assert_int_equal(world.committed[0], 4);
    read_records(2);
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 1000), 0);
    assert_int_equal(world.compared_count, 1);
    assert_int_equal(world.asked_seen, 21);
    assert_int_equal(world.committed[0], 6);
    world.changed = 30; /* somebody else's, or one of its own that had no answer */
    read_records(2);
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 1000), 0);
    assert_int_equal(world.compared_count, 2);
    assert_int_equal(world.committed[0], 8);
    end();
}

/* A coordinator that refuses what has seen all is asked again, but not without a pause. */
static void test_member_commit_that_is_compared_for_ever_pauses(void **state)
{
    (void)state;
    begin(by_hand, 0);
    fake_log_fill(&world.cluster.log, 4, SP_COMPRESSION_NONE);
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, SPATE_OFFSET_STORED), 0);
    read_records(4);
    world.changed = 20;
    world.never_seen = true;
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 300), SPATE_ERR_TIMEOUT);
    assert_true(world.compared_count > 2);
    assert_true(world.compared_count <= 2 + 300 / SP_CLIENT_PAUSE_MIN_MS);
    end();
}

/* As many records as may wait have been fetched, so that nothing is asked of the partition. */
static void test_member_hears_of_a_namesake_with_records_waiting(void **state)
{
    struct spate_message message;
    const struct sp_consumer_partition *partition;

    (void)state;
    begin(keys, 0);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, 0), 0);
    read_records(1);
    partition = world.consumer->partitions[0];
    while (partition->fetched_count < SP_CONSUMER_FETCHED_MAX) {
        unsigned count = partition->fetched_count;
        fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
        while (partition->fetched_count == count) {
            assert_int_equal(sp_client_run(world.cluster.client, UINT64_MAX), 0);
        }
    }
    world.cluster.topic_id = 8;
    uint64_t number = sp_metadata_want(world.cluster.client->metadata);
    while (sp_metadata_completed(world.cluster.client->metadata) < number) {
        assert_int_equal(sp_client_run(world.cluster.client, UINT64_MAX), 0);
    }
    assert_int_equal(partition->error, SPATE_ERR_UNKNOWN_TOPIC);
    assert_int_equal(spate_consumer_next(world.consumer, 1000, &message), SPATE_ERR_UNKNOWN_TOPIC);
    assert_int_equal(spate_consumer_close(world.consumer, 1000), 0);
    assert_int_equal(world.committed[0], -1);
    end();
}

static void test_member_pause_seek_and_unassign(void **state)
{
    struct spate_partition places[4];
    struct spate_message messages[20];
    size_t count = 0;

    (void)state;
    begin(keys, 0);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_LZ4);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, 0), 0);
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 1, 0), 0);
    assert_int_equal(spate_consumer_pause(world.consumer, "t", 1), 0);
    assert_int_equal(spate_consumer_batch(world.consumer, 5000, messages, 20), 10);
    assert_int_equal(messages[9].offset, 9);
    assert_memory_equal(messages[0].value, "value-0", 7);
    assert_memory_equal(messages[9].value, "value-9", 7);
    assert_int_equal(spate_consumer_batch(world.consumer, 5000, messages, 4), 4);
    assert_int_equal(spate_consumer_batch(world.consumer, 5000, messages, 20), 6);
    assert_int_equal(messages[5].partition, 0);
    assert_int_equal(spate_consumer_batch(world.consumer, 50, messages, 20), SPATE_ERR_AGAIN);
    assert_int_equal(spate_consumer_seek(world.consumer, "t", 0, 18), 0);
    assert_int_equal(spate_consumer_batch(world.consumer, 5000, messages, 20), 2);
    assert_int_equal(messages[0].offset, 18);
    assert_int_equal(spate_consumer_resume(world.consumer, "t", 1), 0);
    assert_int_equal(spate_consumer_batch(world.consumer, 5000, messages, 20), 10);
    assert_int_equal(messages[0].partition, 1);
    assert_int_equal(spate_consumer_assignment(world.consumer, places, 4, &count), 0);
    assert_int_equal(count, 2);
    assert_int_equal(places[1].offset, 10);
    assert_int_equal(spate_consumer_unassign(world.consumer, "t", 1), 0);
    assert_int_equal(spate_consumer_unassign(world.consumer, "t", 1), SPATE_ERR_NOT_FOUND);
    assert_int_equal(spate_consumer_batch(world.consumer, 50, messages, 20), SPATE_ERR_AGAIN);
    end();
}

static enum fake_action no_fetch(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)count;
    c->refusal = SPATE_ERR_LEADER_UNKNOWN;
    c->refusal_text = "an election is on";
    return strcmp(method, "fetch") == 0 ? FAKE_REFUSE : FAKE_SERVE;
}

static void test_member_stall_is_told_once(void **state)
{
    struct spate_message message;

    (void)state;
    begin(by_hand, 0x1);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    world.cluster.script = no_fetch;
    subscribe();
    await_event("S1");
    assert_int_equal(spate_consumer_next(world.consumer, 200, &message), SPATE_ERR_AGAIN);
    assert_string_equal(world.events, "A1S1");
    world.cluster.script = NULL;
    read_records(10);
    end();
}

static void on_stall_seek(void *arg, const struct spate_consumer_event *event)
{
    (void)arg;
    note_down(world.events, event->kind == SPATE_CONSUMER_STALLED ? "S" : "-");
    assert_int_equal(spate_consumer_seek(world.consumer, "t", 0, 0), 0);
    if (event->kind == SPATE_CONSUMER_STALLED) {
        assert_string_equal(event->text, "LEADER_UNKNOWN: an election is on");
    }
}

/* What an event says stays as it is while the program acts upon it. */
static void test_member_event_text_outlives_a_seek(void **state)
{
    (void)state;
    begin(by_hand, 0x1);
    assert_int_equal(spate_consumer_on_event(world.consumer, on_stall_seek, NULL), 0);
    world.cluster.script = no_fetch;
    subscribe();
    await_event("S");
    end();
}

/* What is asked for at once grows smaller with every partition. */
static void test_member_fetches_share_the_prefetch_budget(void **state)
{
    static const char *const small[] = { "prefetch.bytes", "65536", "fetch.wait.ms", "10", NULL };

    (void)state;
    begin(small, 0);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    for (int32_t i = 0; i < 4; i++) {
        assert_int_equal(spate_consumer_assign(world.consumer, "t", i, 0), 0);
    }
    read_records(40);
    assert_true(world.cluster.fetch_bytes_max > 0);
    assert_true(world.cluster.fetch_bytes_max <= 65536 / 4 / SP_CONSUMER_FETCHED_MAX);
    end();
}

static const struct sp_conn *conns[2]; /* of a fetch, of a commit */

static enum fake_action note_conns(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)count;
    conns[strcmp(method, "fetch") == 0 ? 0 : 1] = c->last_conn;
    return FAKE_SERVE;
}

/* A server answers no further request while 256 fetches wait: the group must not stand in line. */
static void test_member_asks_its_group_beside_the_fetches(void **state)
{
    (void)state;
    begin(by_hand, 0x1);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    world.cluster.script = note_conns;
    subscribe();
    read_records(10);
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 3000), 0);
    assert_non_null(conns[0]);
    assert_non_null(conns[1]);
    assert_ptr_not_equal(conns[0], conns[1]);
    end();
}

static void test_member_misuse_is_refused(void **state)
{
    static const char *const topics[] = { "t" };
    static const char *const nothing[] = { "" };
    static const char *const no_group[] = { NULL };
    struct spate_message message = { .topic = "t" };

    (void)state;
    begin(no_group, 0);
    assert_int_equal(spate_consumer_subscribe(world.consumer, topics, 1), SPATE_ERR_INVALID);
    assert_non_null(strstr(spate_client_error(world.cluster.client), "group.id"));
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, SPATE_OFFSET_STORED),
                     SPATE_ERR_INVALID);
    assert_int_equal(spate_consumer_commit(world.consumer, &message, 0), SPATE_ERR_INVALID);
    end();
    begin(keys, 0);
    assert_int_equal(spate_consumer_subscribe(world.consumer, topics, 0), SPATE_ERR_INVALID);
    assert_int_equal(spate_consumer_subscribe(world.consumer, NULL, 1), SPATE_ERR_INVALID);
    assert_int_equal(spate_consumer_subscribe(world.consumer, nothing, 1), SPATE_ERR_INVALID);
    assert_int_equal(spate_consumer_subscribe(NULL, topics, 1), SPATE_ERR_INVALID);
    assert_int_equal(spate_consumer_batch(world.consumer, 0, &message, 0), SPATE_ERR_INVALID);
    assert_int_equal(spate_consumer_next(NULL, 0, &message), SPATE_ERR_INVALID);
    assert_int_equal(spate_consumer_seek(world.consumer, "t", 0, 0), SPATE_ERR_NOT_FOUND);
    assert_int_equal(spate_consumer_pause(world.consumer, NULL, 0), SPATE_ERR_NOT_FOUND);
    subscribe();
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, 0), SPATE_ERR_INVALID);
    assert_int_equal(spate_consumer_unassign(world.consumer, "t", 0), SPATE_ERR_INVALID);
    assert_int_equal(spate_consumer_close(NULL, 0), SPATE_ERR_INVALID);
    end();
}

/* ---- freed inside an event ------------------------------------------------------------------- */

static int freed_at; /* the kind of event in which the consumer is freed */

static void on_event_free(void *arg, const struct spate_consumer_event *event)
{
    on_event(arg, event);
    if (event->kind != freed_at) {
        return;
    }
    spate_consumer_free(world.consumer);
    world.consumer = NULL;
    assert_string_equal(event->partitions[0].topic, "t"); /* until the callback returns */
}

static void begin_freed_at(int kind)
{
    freed_at = kind;
    begin(by_hand, 0x3);
    assert_int_equal(spate_consumer_on_event(world.consumer, on_event_free, NULL), 0);
    subscribe();
}

static void test_member_may_be_freed_inside_an_event_of_next(void **state)
{
    struct spate_consumer *consumer;
    struct spate_message message;
    int rv = SPATE_ERR_AGAIN;

    (void)state;
    begin_freed_at(SPATE_CONSUMER_ASSIGNED);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    for (unsigned i = 0; i < 100 && rv == SPATE_ERR_AGAIN; i++) {
        rv = spate_consumer_next(world.consumer, 100, &message);
    }
    assert_int_equal(rv, SPATE_ERR_CANCELED);
    assert_non_null(strstr(spate_client_error(world.cluster.client), "freed"));
    assert_null(world.consumer);
    assert_string_equal(world.events, "A3"); /* and no other one */
    assert_int_equal(spate_consumer_new(world.cluster.client, &consumer), 0);
    spate_consumer_free(consumer); /* the client goes on */
    end();

    begin_freed_at(SPATE_CONSUMER_STALLED);
    world.cluster.script = no_fetch;
    for (unsigned i = 0; i < 100 && world.consumer != NULL; i++) {
        rv = spate_consumer_next(world.consumer, 100, &message);
    }
    assert_int_equal(rv, SPATE_ERR_CANCELED);
    end();
}

static void test_member_may_be_freed_inside_an_event_of_close(void **state)
{
    (void)state;
    begin_freed_at(SPATE_CONSUMER_REVOKED);
    await_event("A3");
    assert_int_equal(spate_consumer_close(world.consumer, 1000), SPATE_ERR_CANCELED);
    assert_null(world.consumer);
    assert_string_equal(world.events, "A3R3");
    end();
}

/* Each allocation fails once: whatever happens, nothing is lost and nothing leaks. */
static void test_member_survives_failed_allocations(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 120; n++) {
        struct spate_message message;
        unsigned read = 0;

        begin(keys, 0x3);
        fake_log_fill(&world.cluster.log, 5, SP_COMPRESSION_LZ4);
        subscribe();
        sp_mem_fail_at(n);
        for (unsigned i = 0; i < 2000 && read < 10; i++) {
            read += spate_consumer_next(world.consumer, 20, &message) == 0 ? 1 : 0;
        }
        sp_mem_fail_at(0);
        assert_int_equal(read, 10);
        assert_int_equal(spate_consumer_close(world.consumer, 3000), 0);
        assert_int_equal(world.committed[0], 5);
        assert_int_equal(world.committed[1], 5);
        end();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_member_assigned_partitions_may_use_stored_offsets),
        cmocka_unit_test(test_member_asks_for_stored_offsets_in_parts),
        cmocka_unit_test(test_member_commits_nothing_to_a_namesake),
        cmocka_unit_test(test_member_commits_say_which_topic_was_read),
        cmocka_unit_test(test_member_commits_tell_what_was_seen),
        cmocka_unit_test(test_member_commit_that_is_compared_for_ever_pauses),
        cmocka_unit_test(test_member_hears_of_a_namesake_with_records_waiting),
        cmocka_unit_test(test_member_pause_seek_and_unassign),
        cmocka_unit_test(test_member_stall_is_told_once),
        cmocka_unit_test(test_member_event_text_outlives_a_seek),
        cmocka_unit_test(test_member_fetches_share_the_prefetch_budget),
        cmocka_unit_test(test_member_asks_its_group_beside_the_fetches),
        cmocka_unit_test(test_member_misuse_is_refused),
        cmocka_unit_test(test_member_may_be_freed_inside_an_event_of_next),
        cmocka_unit_test(test_member_may_be_freed_inside_an_event_of_close),
        cmocka_unit_test(test_member_survives_failed_allocations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
