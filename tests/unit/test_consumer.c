#include "fake_cluster.h"

#include "base/attr.h"
#include "base/limits.h"
#include "client/consumer.h"

static struct fake_cluster cluster;
static struct spate_consumer *consumer;

static void begin(const char *const *keys)
{
    fake_start(&cluster, keys);
    assert_int_equal(spate_consumer_new(cluster.client, &consumer), 0);
}

static void end(void)
{
    spate_consumer_free(consumer);
    fake_stop(&cluster);
}

/* Reads records [first, last] and checks each against what fake_log_fill wrote. */
static void expect_range(int64_t first, int64_t last)
{
    for (int64_t offset = first; offset <= last; offset++) {
        struct spate_message message;
        char value[32];
        int size = snprintf(value, sizeof value, "value-%lld", (long long)offset);

        assert_int_equal(spate_consumer_next(consumer, 5000, &message), 0);
        assert_int_equal(message.offset, offset);
        assert_int_equal(message.timestamp_ms, 1000 + offset);
        assert_string_equal(message.topic, "t");
        assert_null(message.key);
        assert_int_equal(message.value_size, size);
        assert_memory_equal(message.value, value, (size_t)size);
    }
}

static const char *const quick[] = { "fetch.wait.ms", "20", "fetch.bytes", "300", NULL };

static void test_consumer_reads_from_start_to_end(void **state)
{
    (void)state;
    begin(quick);
    for (int i = 0; i < 20; i++) {
        fake_log_fill(&cluster.log, 7, i % 2 == 0 ? SP_COMPRESSION_NONE : SP_COMPRESSION_LZ4);
    }
    assert_int_equal(spate_consumer_assign(consumer, "t", 0, SPATE_OFFSET_START), 0);
    assert_int_equal(spate_consumer_assign(consumer, "t", 0, 3), SPATE_ERR_EXISTS);
    assert_int_equal(spate_consumer_at_end(consumer), 0);
    expect_range(0, 138);
    assert_int_equal(spate_consumer_at_end(consumer), 0);
    expect_range(139, 139);
    assert_int_equal(spate_consumer_at_end(consumer), 1);
    assert_int_equal(spate_consumer_lag(consumer), 0);
    end();
}

static void test_consumer_begins_inside_a_batch(void **state)
{
    (void)state;
    begin(quick);
    fake_log_fill(&cluster.log, 10, SP_COMPRESSION_NONE);
    fake_log_fill(&cluster.log, 10, SP_COMPRESSION_NONE);
    assert_int_equal(spate_consumer_assign(consumer, "t", 0, 4), 0);
    expect_range(4, 19);
    end();
}

static void test_consumer_end_waits_for_new_records(void **state)
{
    struct spate_message message;

    (void)state;
    begin(quick);
    fake_log_fill(&cluster.log, 10, SP_COMPRESSION_NONE);
    assert_int_equal(spate_consumer_assign(consumer, "t", 0, SPATE_OFFSET_END), 0);
    assert_int_equal(spate_consumer_next(consumer, 60, &message), SPATE_ERR_AGAIN);
    fake_log_fill(&cluster.log, 3, SP_COMPRESSION_NONE);
    expect_range(10, 12);
    end();
}

static void test_consumer_empty_partition_is_at_end(void **state)
{
    struct spate_message message;

    (void)state;
    begin(NULL);
    assert_int_equal(spate_consumer_assign(consumer, "t", 0, SPATE_OFFSET_START), 0);
    for (int i = 0; i < 50 && spate_consumer_at_end(consumer) == 0; i++) {
        assert_int_equal(spate_consumer_next(consumer, 10, &message), SPATE_ERR_AGAIN);
    }
    assert_int_equal(spate_consumer_at_end(consumer), 1);
    end();
}

static enum fake_action mishaps(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)method;
    c->refusal = SPATE_ERR_LEADER_UNKNOWN;
    c->refusal_text = "an election is on";
    switch (count % 5) {
    case 1:
        return FAKE_DROP_AFTER;
    case 2:
        return FAKE_REFUSE;
    case 3:
        c->leader = 1 - c->leader;
        return FAKE_SERVE;
    default:
        return FAKE_SERVE;
    }
}

static void test_consumer_mishaps_leave_no_gap(void **state)
{
    (void)state;
    begin(quick);
    for (int i = 0; i < 12; i++) {
        fake_log_fill(&cluster.log, 9, SP_COMPRESSION_NONE);
    }
    cluster.script = mishaps;
    assert_int_equal(spate_consumer_assign(consumer, "t", 0, SPATE_OFFSET_START), 0);
    expect_range(0, 107);
    end();
}

static void test_consumer_gap_is_corrupt_and_pauses(void **state)
{
    struct spate_message message;

    (void)state;
    begin(NULL);
    fake_log_fill(&cluster.log, 5, SP_COMPRESSION_NONE);
    fake_log_fill(&cluster.log, 5, SP_COMPRESSION_NONE);
    fake_log_fill(&cluster.log, 5, SP_COMPRESSION_NONE);
    cluster.skip_offset = 5;
    assert_int_equal(spate_consumer_assign(consumer, "t", 0, 0), 0);
    assert_int_equal(spate_consumer_next(consumer, 2000, &message), SPATE_ERR_CORRUPT);
    assert_non_null(strstr(spate_client_error(cluster.client), "t/0"));
    assert_int_equal(spate_consumer_next(consumer, 30, &message), SPATE_ERR_AGAIN);
    end();
}

static void test_consumer_step_back_is_corrupt(void **state)
{
    struct spate_message message;

    (void)state;
    begin(NULL);
    fake_log_fill(&cluster.log, 5, SP_COMPRESSION_NONE);
    fake_log_fill(&cluster.log, 5, SP_COMPRESSION_NONE);
    cluster.repeat_offset = 5;
    assert_int_equal(spate_consumer_assign(consumer, "t", 0, 0), 0);
    assert_int_equal(spate_consumer_next(consumer, 2000, &message), SPATE_ERR_CORRUPT);
    end();
}

static enum fake_action canceled_once(struct fake_cluster *c, const char *method, unsigned count)
{
    c->refusal = SPATE_ERR_CANCELED;
    return strcmp(method, "fetch") == 0 && count == 1 ? FAKE_REFUSE : FAKE_SERVE;
}

/* A read that a closing replica cuts off is made elsewhere. */
static void test_consumer_canceled_fetch_is_asked_again(void **state)
{
    struct spate_message message;

    (void)state;
    begin(NULL);
    fake_log_fill(&cluster.log, 5, SP_COMPRESSION_NONE);
    cluster.script = canceled_once;
    assert_int_equal(spate_consumer_assign(consumer, "t", 0, 0), 0);
    assert_int_equal(spate_consumer_next(consumer, 2000, &message), 0);
    assert_true(cluster.fetch_count >= 2);
    end();
}

/* Offsets that a hostile server makes up, whose sums are no numbers. */
static void test_consumer_offsets_of_batches_do_not_overflow(void **state)
{
    static const struct {
        int64_t base_offset;
        int32_t last_offset_delta;
    } wrong[] = {
        { INT64_MAX, 4 }, { INT64_MAX - 4, 4 }, { INT64_MAX - 3, INT32_MAX },
        { INT64_MAX, 0 }, { INT64_MIN, -1 },    { -1, 4 },
        { 0, -1 },        { 0, INT32_MIN },     { INT64_MAX, -1 },
    };
    struct spate_message message;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        begin(NULL);
        fake_log_fill(&cluster.log, 5, SP_COMPRESSION_NONE);
        uint8_t *bytes = cluster.log.batches[0].bytes;
        sp_batch_set_offset(bytes, wrong[i].base_offset, 1);
        for (unsigned j = 0; j < 4; j++) { /* lastOffsetDelta, big-endian */
            bytes[23 + j] = (uint8_t)((uint32_t)wrong[i].last_offset_delta >> (24 - 8 * j));
        }
        assert_int_equal(spate_consumer_assign(consumer, "t", 0, 0), 0);
        assert_int_equal(spate_consumer_next(consumer, 2000, &message), SPATE_ERR_CORRUPT);
        assert_non_null(strstr(spate_client_error(cluster.client), "does not continue the log"));
        end();
    }
}

static void test_consumer_damaged_batch_is_corrupt(void **state)
{
    struct spate_message message;

    (void)state;
    begin(NULL);
    fake_log_fill(&cluster.log, 5, SP_COMPRESSION_NONE);
    fake_log_fill(&cluster.log, 5, SP_COMPRESSION_NONE);
    cluster.log.batches[1].bytes[cluster.log.batches[1].size - 3] ^= 1;
    assert_int_equal(spate_consumer_assign(consumer, "t", 0, 0), 0);
    expect_range(0, 4);
    assert_int_equal(spate_consumer_next(consumer, 2000, &message), SPATE_ERR_CORRUPT);
    end();
}

static void test_consumer_offset_outside_the_log_is_told_once(void **state)
{
    struct spate_message message;

    (void)state;
    begin(NULL);
    fake_log_fill(&cluster.log, 5, SP_COMPRESSION_NONE);
    assert_int_equal(spate_consumer_assign(consumer, "t", 0, 99), 0);
    assert_int_equal(spate_consumer_next(consumer, 2000, &message), SPATE_ERR_OFFSET_OUT_OF_RANGE);
    assert_int_equal(spate_consumer_next(consumer, 30, &message), SPATE_ERR_AGAIN);
    end();
}

static enum fake_action hangs_once(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)method;
    if (count == 2) {
        c->leader = 1;
        c->metadata_leader = 1;
        return FAKE_SILENT;
    }
    return FAKE_SERVE;
}

static void test_consumer_hanging_leader_is_left(void **state)
{
    (void)state;
    begin(quick);
    fake_log_fill(&cluster.log, 9, SP_COMPRESSION_NONE);
    fake_log_fill(&cluster.log, 9, SP_COMPRESSION_NONE);
    cluster.script = hangs_once;
    assert_int_equal(spate_consumer_assign(consumer, "t", 0, 0), 0);
    expect_range(0, 17);
    end();
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Looks at what waits to be read: the memory of an answer is its batches, nearly all of it. Returns
 * how many answers lie where they arrived. */
static unsigned check_fetched(void)
{
    unsigned count = 0;

    SP_LIST_EACH (node, &consumer->partitions[0]->fetched) {
        const struct sp_slice *batches = &SP_LIST_ENTRY(node, struct sp_fetched, node)->batches;
        assert_true(batches->blob->size - batches->size <= batches->blob->size / 8);
        count += batches->bytes != batches->blob->bytes; /* behind the head of a message */
    }
    return count;
}

static unsigned read_and_check(const char *fetch_bytes)
{
    const char *const keys[] = { "fetch.wait.ms", "20", "fetch.bytes", fetch_bytes, NULL };
    unsigned count = 0;

    begin(keys);
    for (int i = 0; i < 40; i++) {
        fake_log_fill(&cluster.log, 500, SP_COMPRESSION_NONE);
    }
    assert_int_equal(spate_consumer_assign(consumer, "t", 0, SPATE_OFFSET_START), 0);
    for (int64_t offset = 0; offset < 20000; offset += 500) {
        expect_range(offset, offset + 499);
        count += check_fetched();
    }
    end();
    return count;
}

static void test_consumer_large_answers_are_not_copied(void **state)
{
    (void)state;
    assert_true(read_and_check("300000") > 0);
}

static void test_consumer_small_answers_keep_no_large_memory(void **state)
{
    (void)state;
    (void)read_and_check("4096"); /* one batch each, in chunks of up to 64 KiB */
}

/* Under AddressSanitizer nothing is kept. */
static void test_consumer_kept_memory_goes_in_time(void **state)
{
    (void)state;
    begin(quick);
    fake_log_fill(&cluster.log, 10, SP_COMPRESSION_NONE);
    assert_int_equal(spate_consumer_assign(consumer, "t", 0, SPATE_OFFSET_START), 0);
    sp_mem_free(sp_mem_alloc(1024 * 1024));
    assert_true(SP_ADDRESS_SANITIZED || sp_mem_kept_bytes() > 0);
    expect_range(0, 9);
    uint64_t end_ms = sp_loop_now_ms(cluster.client->loop) + 5 * SP_MEM_KEPT_MS;
    while (sp_mem_kept_bytes() > 0 && sp_loop_now_ms(cluster.client->loop) < end_ms) {
        assert_int_equal(spate_poll(cluster.client, 100), 0);
    }
    assert_int_equal(sp_mem_kept_bytes(), 0);
    sp_mem_free(sp_mem_alloc(1024 * 1024));
    end();
    assert_int_equal(sp_mem_kept_bytes(), 0);
}

static void test_consumer_unknown_topic_is_told(void **state)
{
    struct spate_message message;

    (void)state;
    begin(NULL);
    cluster.topic_exists = false;
    assert_int_equal(spate_consumer_assign(consumer, "t", 0, 0), 0);
    assert_int_equal(spate_consumer_next(consumer, 3000, &message), SPATE_ERR_UNKNOWN_TOPIC);
    assert_non_null(strstr(spate_client_error(cluster.client), "no topic `t`: list them with"));
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_consumer_reads_from_start_to_end),
        cmocka_unit_test(test_consumer_begins_inside_a_batch),
        cmocka_unit_test(test_consumer_end_waits_for_new_records),
        cmocka_unit_test(test_consumer_empty_partition_is_at_end),
        cmocka_unit_test(test_consumer_mishaps_leave_no_gap),
        cmocka_unit_test(test_consumer_gap_is_corrupt_and_pauses),
        cmocka_unit_test(test_consumer_step_back_is_corrupt),
        cmocka_unit_test(test_consumer_canceled_fetch_is_asked_again),
        cmocka_unit_test(test_consumer_offsets_of_batches_do_not_overflow),
        cmocka_unit_test(test_consumer_damaged_batch_is_corrupt),
        cmocka_unit_test(test_consumer_offset_outside_the_log_is_told_once),
        cmocka_unit_test(test_consumer_hanging_leader_is_left),
        cmocka_unit_test(test_consumer_unknown_topic_is_told),
        cmocka_unit_test(test_consumer_large_answers_are_not_copied),
        cmocka_unit_test(test_consumer_small_answers_keep_no_large_memory),
        cmocka_unit_test(test_consumer_kept_memory_goes_in_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
