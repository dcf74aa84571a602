/* Topics that are deleted and made anew under their name, as clients hear of it: from some nodes
 * sooner than from others, with or without partitions. */
#include "fake_cluster.h"

#include "client/metadata.h"
#include "client/producer.h"

static struct fake_cluster cluster;
static struct spate_producer *producer;
static int told; /* the newest outcome; 1: none yet */

static void on_delivery(void *arg, const struct spate_delivery *delivery)
{
    (void)arg;
    told = delivery->status;
}

static void begin(void)
{
    static const char *const keys[] = { "linger.ms", "0", "timeout.ms", "1000", NULL };

    fake_start(&cluster, keys);
    cluster.topic_id = 8;
    assert_int_equal(spate_producer_new(cluster.client, on_delivery, NULL, &producer), 0);
}

static void end(void)
{
    spate_producer_free(producer);
    fake_stop(&cluster);
}

static int produce(const char *key)
{
    const struct spate_record record = { .topic = "t",
                                         .partition = SPATE_PARTITION_ANY,
                                         .key = key,
                                         .key_size = key == NULL ? 0 : strlen(key),
                                         .value = "v",
                                         .value_size = 1 };

    told = 1;
    return spate_produce(producer, &record, NULL);
}

static void produce_well(void)
{
    assert_int_equal(produce("k"), 0);
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_int_equal(told, 0);
}

static void hear_of_topics(void)
{
    uint64_t wanted = sp_metadata_want(cluster.client->metadata);

    while (sp_metadata_completed(cluster.client->metadata) < wanted) {
        assert_int_equal(sp_client_run(cluster.client, UINT64_MAX), 0);
    }
}

static struct sp_topic_view *view(void)
{
    return sp_metadata_find(cluster.client->metadata, sp_bytes_text("t"));
}

/* As its nodes have it: no producer is known there, no record is stored. */
static void make_anew(void)
{
    cluster.topic_id += 1;
    cluster.log.producer_count = 0;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_topic_anew_without_partitions_is_not_written_to(void **state)
{
    (void)state;
    begin();
    produce_well();
    uint32_t count = cluster.partition_count;
    make_anew();
    cluster.partition_count = 0;
    hear_of_topics();
    assert_int_equal(produce("k"), SPATE_ERR_NOT_READY);
    assert_int_equal(produce(NULL), SPATE_ERR_NOT_READY);
    cluster.partition_count = count;
    produce_well();
    end();
}

static void test_topic_anew_takes_records_of_an_idle_producer(void **state)
{
    (void)state;
    begin();
    produce_well();
    make_anew();
    hear_of_topics();
    produce_well();
    produce_well();
    assert_int_equal(cluster.log.next_offset, 3);
    end();
}

static void test_topic_anew_fails_what_was_meant_for_the_old_one(void **state)
{
    (void)state;
    begin();
    produce_well();
    make_anew(); /* and the producer has not heard of it */
    assert_int_equal(produce("k"), 0);
    hear_of_topics();
    assert_int_equal(spate_producer_flush(producer, 5000), 0);
    assert_int_equal(told, SPATE_ERR_UNKNOWN_TOPIC);
    produce_well();
    end();
}

static void test_topic_anew_stays_when_a_node_that_lags_describes_the_old_one(void **state)
{
    (void)state;
    begin();
    produce_well();
    cluster.topic_id = 7;
    hear_of_topics();
    assert_int_equal(view()->id, 8);
    assert_int_equal(view()->status, 0);
    cluster.topic_id = 8;
    produce_well();
    end();
}

/* Another cluster under the same addresses, say. */
static void test_topic_anew_goes_when_all_nodes_describe_an_older_one(void **state)
{
    (void)state;
    begin();
    produce_well();
    cluster.topic_id = 7;
    uint64_t begin_ms = sp_loop_now_ms(cluster.client->loop);
    while (view()->id == 8) {
        assert_true(sp_loop_now_ms(cluster.client->loop) - begin_ms < 5000);
        hear_of_topics();
    }
    assert_int_equal(view()->id, 7);
    assert_true(sp_loop_now_ms(cluster.client->loop) - begin_ms >= 400);
    end();
}

static void test_topic_anew_is_read_after_a_seek(void **state)
{
    struct spate_consumer *consumer;
    struct spate_message message;

    (void)state;
    begin();
    produce_well();
    assert_int_equal(spate_consumer_new(cluster.client, &consumer), 0);
    assert_int_equal(spate_consumer_assign(consumer, "t", 0, SPATE_OFFSET_START), 0);
    assert_int_equal(spate_consumer_next(consumer, 5000, &message), 0);
    make_anew();
    hear_of_topics();
    assert_int_equal(spate_consumer_next(consumer, 5000, &message), SPATE_ERR_UNKNOWN_TOPIC);
    assert_int_equal(spate_consumer_next(consumer, 20, &message), SPATE_ERR_AGAIN); /* told once */
    assert_int_equal(spate_consumer_seek(consumer, "t", 0, SPATE_OFFSET_START), 0);
    assert_int_equal(spate_consumer_next(consumer, 5000, &message), 0);
    assert_int_equal(message.offset, 0);
    spate_consumer_free(consumer);
    end();
}

/* The topic is deleted, the answer lost, and another one made under the name: it stays. */
static enum fake_action done_and_made_anew(struct fake_cluster *c, const char *method, unsigned n)
{
    if (strcmp(method, "topic.delete") != 0 || n > 1) {
        return FAKE_SERVE;
    }
    c->topic_id += 1;
    return FAKE_DROP_BEFORE;
}

static void test_topic_delete_hits_no_namesake(void **state)
{
    (void)state;
    begin();
    cluster.script = done_and_made_anew;
    assert_int_equal(spate_topic_delete(cluster.client, "t"), 0);
    assert_int_equal(cluster.delete_count, 2);
    assert_int_equal(cluster.asked_id, 8);
    assert_int_equal(cluster.deleted_count, 0);
    end();
}

/* What the client has learnt before may be old: it asks again. */
static void test_topic_delete_asks_which_topic_there_is(void **state)
{
    (void)state;
    begin();
    produce_well();
    cluster.topic_id = 9;
    assert_int_equal(spate_topic_delete(cluster.client, "t"), 0);
    assert_int_equal(cluster.asked_id, 9);
    assert_int_equal(cluster.deleted_count, 1);
    assert_int_equal(spate_topic_delete(cluster.client, "t"), SPATE_ERR_UNKNOWN_TOPIC);
    assert_non_null(strstr(spate_client_error(cluster.client), "no topic `t`"));
    assert_int_equal(cluster.delete_count, 1);
    end();
}

static enum fake_action anew_at_first(struct fake_cluster *c, const char *method, unsigned n)
{
    if (strcmp(method, "topic.delete") == 0 && n == 1) {
        c->topic_id += 1; /* the server that described the topic was behind */
    }
    return FAKE_SERVE;
}

static void test_topic_delete_looks_again_when_the_id_is_gone(void **state)
{
    (void)state;
    begin();
    cluster.script = anew_at_first;
    assert_int_equal(spate_topic_delete(cluster.client, "t"), 0);
    assert_int_equal(cluster.asked_id, 9);
    assert_int_equal(cluster.deleted_count, 1);
    end();
}

/* What the server that describes topics has not heard of yet, some answers long. */
static unsigned behind_count;
static int behind_status;

static void describe_behind(struct fake_cluster *c, struct sp_pack *pack)
{
    struct sp_metadata_topic topic = { .name = sp_bytes_text("t"),
                                       .id = behind_status == 0 ? c->topic_id - 1 : -1,
                                       .error = behind_status };
    const struct sp_metadata metadata = { .controller = 1, .topics = &topic, .topic_count = 1 };

    if (behind_count == 0) {
        topic.id = c->topic_exists ? c->topic_id : -1;
        topic.error = c->topic_exists ? 0 : SPATE_ERR_UNKNOWN_TOPIC;
    } else {
        behind_count -= 1;
    }
    sp_metadata_encode(pack, &metadata);
}

static void delete_through_a_server_that_lags(int status, unsigned requests)
{
    begin();
    cluster.describe = describe_behind;
    behind_count = 4;
    behind_status = status;
    assert_int_equal(spate_topic_delete(cluster.client, "t"), 0);
    assert_int_equal(behind_count, 0);
    assert_int_equal(cluster.asked_id, 8);
    assert_int_equal(cluster.deleted_count, 1);
    assert_int_equal(cluster.delete_count, requests);
    end();
}

static void test_topic_delete_through_a_server_that_lags(void **state)
{
    (void)state;
    delete_through_a_server_that_lags(0, 5);
}

static void test_topic_delete_through_a_server_that_begins(void **state)
{
    (void)state;
    delete_through_a_server_that_lags(SPATE_ERR_NOT_READY, 1);
}

/* The deletion whose answer is lost, by its number. */
static unsigned lost_number;

static enum fake_action done_and_lost(struct fake_cluster *c, const char *method, unsigned n)
{
    if (strcmp(method, "topic.delete") != 0 || n < lost_number) {
        return FAKE_SERVE;
    }
    if (n == lost_number) {
        return FAKE_DROP_AFTER;
    }
    return c->refusal != 0 ? FAKE_REFUSE : FAKE_SERVE;
}

static void test_topic_delete_is_done_though_the_answer_is_lost(void **state)
{
    (void)state;
    begin();
    cluster.script = done_and_lost;
    lost_number = 1;
    assert_int_equal(spate_topic_delete(cluster.client, "t"), 0);
    assert_int_equal(cluster.deleted_count, 1);
    assert_int_equal(cluster.delete_count, 2);
    end();
}

/* Asked four times for the earlier topic, which is gone; the answer about this one is lost. */
static void test_topic_delete_through_a_server_that_lags_loses_an_answer(void **state)
{
    (void)state;
    begin();
    cluster.script = done_and_lost;
    lost_number = 5;
    cluster.describe = describe_behind;
    behind_count = 4;
    behind_status = 0;
    assert_int_equal(spate_topic_delete(cluster.client, "t"), 0);
    assert_int_equal(cluster.asked_id, 8);
    assert_int_equal(cluster.deleted_count, 1);
    assert_int_equal(cluster.delete_count, 6);
    end();
}

static void test_topic_delete_refused_after_a_lost_answer_is_not_known(void **state)
{
    (void)state;
    begin();
    cluster.script = done_and_lost;
    cluster.refusal = SPATE_ERR_NOT_READY;
    cluster.refusal_text = "begins";
    lost_number = 1;
    assert_int_equal(spate_topic_delete(cluster.client, "t"), SPATE_ERR_TIMEOUT);
    assert_non_null(strstr(spate_client_error(cluster.client), "it may be done or not"));
    assert_int_equal(cluster.deleted_count, 1);
    end();
}

/* The deletion was done; what is refused for good by now says nothing about that. */
static void test_topic_delete_refused_for_good_after_a_lost_answer_is_not_known(void **state)
{
    (void)state;
    begin();
    cluster.script = done_and_lost;
    cluster.refusal = SPATE_ERR_INVALID;
    cluster.refusal_text = "the topic belongs to the cluster";
    lost_number = 1;
    assert_int_equal(spate_topic_delete(cluster.client, "t"), SPATE_ERR_TIMEOUT);
    assert_non_null(strstr(spate_client_error(cluster.client), "it may be done or not"));
    assert_int_equal(cluster.deleted_count, 1);
    end();
}

static enum fake_action never_answered(struct fake_cluster *c, const char *method, unsigned n)
{
    (void)c;
    (void)n;
    return strcmp(method, "topic.delete") == 0 ? FAKE_DROP_BEFORE : FAKE_SERVE;
}

static void test_topic_delete_is_asked_again_with_pauses(void **state)
{
    (void)state;
    begin();
    cluster.script = never_answered;
    assert_int_not_equal(spate_topic_delete(cluster.client, "t"), 0);
    assert_true(cluster.delete_count <= 1000 / SP_CLIENT_PAUSE_MAX_MS + 2);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_topic_anew_without_partitions_is_not_written_to),
        cmocka_unit_test(test_topic_anew_takes_records_of_an_idle_producer),
        cmocka_unit_test(test_topic_anew_fails_what_was_meant_for_the_old_one),
        cmocka_unit_test(test_topic_anew_stays_when_a_node_that_lags_describes_the_old_one),
        cmocka_unit_test(test_topic_anew_goes_when_all_nodes_describe_an_older_one),
        cmocka_unit_test(test_topic_anew_is_read_after_a_seek),
        cmocka_unit_test(test_topic_delete_hits_no_namesake),
        cmocka_unit_test(test_topic_delete_asks_which_topic_there_is),
        cmocka_unit_test(test_topic_delete_looks_again_when_the_id_is_gone),
        cmocka_unit_test(test_topic_delete_through_a_server_that_lags),
        cmocka_unit_test(test_topic_delete_through_a_server_that_begins),
        cmocka_unit_test(test_topic_delete_is_done_though_the_answer_is_lost),
        cmocka_unit_test(test_topic_delete_through_a_server_that_lags_loses_an_answer),
        cmocka_unit_test(test_topic_delete_refused_after_a_lost_answer_is_not_known),
        cmocka_unit_test(test_topic_delete_refused_for_good_after_a_lost_answer_is_not_known),
        cmocka_unit_test(test_topic_delete_is_asked_again_with_pauses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
