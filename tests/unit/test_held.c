/* Senders to a partition that is half full are not read, and go on one by one as batches are
 * stored. The partition's Raft group and the connections are the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "broker/methods.h"
#include "fake_loop.h"
#include "legal_conn.h"
#include "wire/batch.h"

enum {
    SENDERS = 8,
};

struct sp_conn {
    void *session;
    const struct sp_conn_handler *handler;
    bool paused;
    unsigned answers;
    bool refused; /* the last of them */
};

static struct fixture {
    struct sp_broker broker;
    struct sp_partition partition;
    struct sp_topic_totals totals;
    unsigned fill_percent;
    struct sp_submit *submits[SENDERS]; /* in order of arrival */
    unsigned submit_count;
    unsigned done_count;
    struct sp_conn conns[SENDERS];
    uint64_t live_before;
} fixture;

/* ---- in the place of storage, cluster, net/conn and broker.c --------------------------------- */

int64_t sp_loop_wall_ms(const struct sp_loop *loop)
{
    (void)loop;
    return 1;
}

enum sp_space sp_store_space(const struct sp_store *store)
{
    (void)store;
    return SP_SPACE_ENOUGH;
}

int sp_raft_group_submit(struct sp_raft_group *group,
                         enum sp_frame_kind kind,
                         const struct sp_iovec *pieces,
                         unsigned count,
                         struct sp_submit *submit)
{
    (void)group;
    (void)pieces;
    assert_int_equal(kind, SP_FRAME_BATCH);
    assert_int_equal(count, 1);
    assert_true(fixture.submit_count < SENDERS);
    fixture.submits[fixture.submit_count] = submit;
    fixture.submit_count += 1;
    return 0;
}

unsigned sp_raft_group_fill_percent(const struct sp_raft_group *group)
{
    (void)group;
    return fixture.fill_percent;
}

unsigned sp_raft_group_majority(const struct sp_raft_group *group)
{
    (void)group;
    return 2;
}

int64_t sp_raft_group_append_time_ms(const struct sp_raft_group *group)
{
    (void)group;
    return 1;
}

int sp_conn_send(struct sp_conn *conn, const struct sp_slice *pieces, unsigned piece_count)
{
    (void)conn;
    (void)pieces;
    (void)piece_count;
    fail_msg("answers are small here");
    return 0;
}

int sp_conn_send_copy(struct sp_conn *conn, const void *bytes, size_t size)
{
    assert_true(size > 3);
    conn->answers += 1;
    conn->refused = ((const uint8_t *)bytes)[3] != 0xc0; /* [1, number, nil, ...] */
    return 0;
}

size_t sp_conn_queued_bytes(const struct sp_conn *conn)
{
    (void)conn;
    return 0;
}

void sp_conn_set_share(struct sp_conn *conn, struct sp_share *share)
{
    (void)conn;
    assert_ptr_equal(share->budget, &fixture.broker.budget);
}

void sp_conn_pause(struct sp_conn *conn)
{
    conn->paused = true;
}

void sp_conn_resume(struct sp_conn *conn)
{
    conn->paused = false;
}

struct sp_partition *sp_broker_find(struct sp_broker *broker,
                                    struct sp_request *request,
                                    struct sp_bytes topic,
                                    int64_t topic_id,
                                    int32_t partition)
{
    (void)broker;
    (void)request;
    (void)topic;
    (void)topic_id;
    assert_int_equal(partition, 0);
    return &fixture.partition;
}

void sp_broker_not_leader(struct sp_broker *broker,
                          struct sp_request *request,
                          const char *topic,
                          uint32_t partition,
                          uint64_t group_id)
{
    (void)broker;
    (void)request;
    (void)topic;
    (void)partition;
    (void)group_id;
    fail_msg("this node leads");
}

void sp_broker_dispatch(struct sp_broker *broker,
                        struct sp_request request,
                        const struct sp_message *message)
{
    sp_method_produce(broker, request, message);
}

/* ---- senders --------------------------------------------------------------------------------- */

static int set_up(void **state)
{
    const struct sp_budget_handler nobody = { NULL, NULL };
    static uint64_t group; /* whose address stands for the Raft group */

    (void)state;
    memset(&fixture, 0, sizeof fixture);
    fake_loop_init();
    fixture.live_before = sp_mem_live_count();
    sp_budget_init(&fixture.broker.budget, NULL, SP_CLIENT_BYTES_MIN, &nobody);
    fixture.partition.broker = &fixture.broker;
    fixture.partition.group = (struct sp_raft_group *)(void *)&group;
    fixture.partition.message_bytes_max = SP_BATCH_BYTES_MAX_DEFAULT;
    fixture.partition.totals = &fixture.totals;
    sp_list_init(&fixture.partition.flights);
    sp_list_init(&fixture.partition.held);
    for (unsigned i = 0; i < SENDERS; i++) {
        struct sp_conn *conn = &fixture.conns[i];

        assert_int_equal(sp_session_server_handler.accept(
                             &fixture.broker, "client:1", &conn->handler, &conn->session),
                         0);
        sp_session_server_handler.opened(&fixture.broker, conn->session, conn);
    }
    return 0;
}

/* A batch of one sender arrives, after which `fill_percent` of what may wait is used. */
static void send_batch(unsigned sender, unsigned fill_percent)
{
    static const char produce[] = "\x94\x00\x01\xa7produce\x91\x83\xa5topic\xa1t\xa9partition\x00"
                                  "\xa7records\x91\x81\xa1v\xa1w";
    struct sp_conn *conn = &fixture.conns[sender];
    struct sp_blob *blob = sp_blob_new(sizeof produce - 1);

    assert_non_null(blob);
    memcpy(blob->bytes, produce, sizeof produce - 1);
    assert_false(conn->paused);
    fixture.fill_percent = fill_percent;
    conn->handler->message(conn->session, conn, blob, 0, sizeof produce - 1);
    struct sp_slice slice = { blob, blob->bytes, blob->size };
    sp_slice_unref(&slice);
}

/* The oldest batch is stored, after which `fill_percent` of what may wait is used. */
static void store_batch(unsigned fill_percent)
{
    struct sp_submit *submit = fixture.submits[fixture.done_count];

    assert_true(fixture.done_count < fixture.submit_count);
    fixture.done_count += 1;
    fixture.fill_percent = fill_percent;
    submit->cb(submit, 0);
}

/* Whether the first `count` senders are read, and no others. */
static void expect_read(unsigned count)
{
    for (unsigned i = 0; i < SENDERS; i++) {
        assert_int_equal(!fixture.conns[i].paused, i < count);
    }
}

static int tear_down(void **state)
{
    (void)state;
    while (fixture.done_count < fixture.submit_count) {
        store_batch(0);
    }
    for (unsigned i = 0; i < SENDERS; i++) {
        struct sp_conn *conn = &fixture.conns[i];

        if (conn->session != NULL) {
            conn->handler->closed(conn->session, conn, SPATE_ERR_CLOSED);
        }
    }
    assert_true(sp_list_empty(&fixture.partition.held));
    fake_wait(1);
    sp_budget_deinit(&fixture.broker.budget);
    assert_int_equal(sp_mem_live_count(), fixture.live_before);
    return 0;
}

/* The first batch of producer 5, of one record without a key, as its message. */
static struct sp_blob *numbered_message(void)
{
    const struct sp_record record = { .timestamp_ms = 1, .value = sp_bytes_text("w") };
    struct sp_produce_request request;
    struct sp_batch_builder builder;
    struct sp_buf batch;
    struct sp_buf message;
    struct sp_pack pack;

    sp_buf_init(&batch, 1024);
    sp_buf_init(&message, 1024);
    sp_batch_builder_init(&builder, 1024, SP_COMPRESSION_NONE);
    assert_int_equal(sp_batch_builder_add(&builder, &record), 0);
    assert_int_equal(sp_batch_builder_finish(&builder, 5, 0, 0, &batch), 0);
    sp_produce_request_init(&request);
    request.topic = sp_bytes_text("t");
    request.records.batch = sp_bytes_of(batch.bytes, batch.size);
    sp_pack_init(&pack, &message);
    sp_message_request(&pack, 1, "produce");
    sp_produce_request_encode_head(&pack, &request);
    sp_pack_raw(&pack, sp_bytes_of(batch.bytes, batch.size));
    assert_int_equal(sp_pack_status(&pack), 0);
    struct sp_blob *blob = sp_blob_copy(message.bytes, message.size);
    assert_non_null(blob);
    sp_batch_builder_deinit(&builder);
    sp_buf_deinit(&batch);
    sp_buf_deinit(&message);
    return blob;
}

static void send_numbered(unsigned sender)
{
    struct sp_blob *blob = numbered_message();
    struct sp_conn *conn = &fixture.conns[sender];

    conn->handler->message(conn->session, conn, blob, 0, blob->size);
    sp_blob_unref(blob);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_senders_are_held_above_half(void **state)
{
    (void)state;
    send_batch(0, 50);
    send_batch(1, 51);
    assert_false(fixture.conns[0].paused);
    assert_true(fixture.conns[1].paused);
}

static void test_held_senders_go_on_one_by_one_in_order(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SENDERS; i++) {
        send_batch(i, 60);
    }
    store_batch(46);
    expect_read(0);
    store_batch(45);
    expect_read(1);
    store_batch(20);
    expect_read(2);
    store_batch(1);
    expect_read(3);
    assert_int_equal(fixture.conns[0].answers, 1);
}

/* Nothing that is stored later would wake them. */
static void test_held_senders_all_go_on_when_nothing_waits(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SENDERS; i++) {
        send_batch(i, 60);
    }
    store_batch(0);
    expect_read(SENDERS);
}

static void test_held_senders_all_go_on_when_the_replica_stops(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SENDERS; i++) {
        send_batch(i, 60);
    }
    fixture.partition.group = NULL;
    store_batch(60);
    expect_read(SENDERS);
}

static void test_sender_that_goes_takes_nobodys_turn(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SENDERS; i++) {
        send_batch(i, 60);
    }
    fixture.conns[0].handler->closed(fixture.conns[0].session, &fixture.conns[0], SPATE_ERR_CLOSED);
    fixture.conns[0].session = NULL;
    store_batch(45);
    assert_false(fixture.conns[1].paused);
    assert_true(fixture.conns[2].paused);
}

/* What was stored must not be told to be lost, or its producer stores what followed again. */
static void test_repeat_gets_the_first_answer_whatever_the_settings_are_now(void **state)
{
    (void)state;
    fixture.partition.producers = sp_producers_new();
    assert_non_null(fixture.partition.producers);
    send_numbered(0);
    assert_int_equal(fixture.submit_count, 1);
    fixture.partition.message_bytes_max = 16;
    fixture.partition.config.set = 1U << SP_TOPIC_CLEANUP_POLICY;
    fixture.partition.config.values[SP_TOPIC_CLEANUP_POLICY] = SP_TOPIC_COMPACT;
    send_numbered(1); /* while it is under way */
    assert_int_equal(fixture.conns[1].answers, 0);
    const struct sp_batch_facts facts = { .producer_id = 5, .offset_count = 1, .record_count = 1 };
    assert_int_equal(sp_producers_apply(fixture.partition.producers, &facts, 1, 1), 0);
    store_batch(0);
    send_numbered(2); /* and when it is stored */
    assert_int_equal(fixture.submit_count, 1);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(fixture.conns[i].answers, 1);
        assert_false(fixture.conns[i].refused);
    }
    sp_producers_free(fixture.partition.producers);
    fixture.partition.producers = sp_producers_new();
    send_numbered(3);
    assert_true(fixture.conns[3].refused); /* it is not known here, and too large */
    assert_int_equal(fixture.submit_count, 1);
    sp_producers_free(fixture.partition.producers);
    fixture.partition.producers = NULL;
}

#define HELD_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        HELD_TEST(test_senders_are_held_above_half),
        HELD_TEST(test_held_senders_go_on_one_by_one_in_order),
        HELD_TEST(test_held_senders_all_go_on_when_nothing_waits),
        HELD_TEST(test_held_senders_all_go_on_when_the_replica_stops),
        HELD_TEST(test_sender_that_goes_takes_nobodys_turn),
        HELD_TEST(test_repeat_gets_the_first_answer_whatever_the_settings_are_now),
    };

    return cmocka_run_group_tests_name("broker/held", tests, NULL, NULL);
}
