/* A fetch whose read is cut off, and those that wait for the one before. The log and the
 * connection are the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "broker/fetch_parts.h"
#include "fake_loop.h"
#include "legal_conn.h"
#include "spate/error.h"

enum {
    GROUP_ID = 4,
};

struct sp_conn {
    void *session;
    const struct sp_conn_handler *handler;
    char answer[256];
    size_t queued_bytes;
};

static struct fixture {
    struct sp_broker broker;
    struct sp_partition partition;
    struct sp_conn conn;
    struct sp_log_read *read; /* on its way */
    bool read_abandoned;      /* so the log was told */
    uint64_t live_before;
} fixture;

/* ---- in the place of storage, cluster, net/conn and broker.c --------------------------------- */

bool sp_partition_serves(const struct sp_partition *partition)
{
    return partition->group != NULL;
}

struct sp_log *sp_raft_group_log(const struct sp_raft_group *group)
{
    (void)group;
    return NULL;
}

void sp_raft_group_status(const struct sp_raft_group *group,
                          struct sp_raft_group_status *out_status)
{
    (void)group;
    *out_status = (struct sp_raft_group_status){ .applied_index = 9 };
}

int64_t sp_log_first_offset(const struct sp_log *log)
{
    (void)log;
    return 0;
}

int64_t sp_log_end_offset(const struct sp_log *log)
{
    (void)log;
    return 10;
}

bool sp_log_read_cached(struct sp_log *log, struct sp_log_read *read)
{
    (void)log;
    (void)read;
    return false;
}

int sp_log_read_start(struct sp_log *log, struct sp_log_read *read)
{
    (void)log;
    assert_null(fixture.read);
    fixture.read = read;
    return 0;
}

void sp_log_read_abandon(struct sp_log_read *read)
{
    assert_ptr_equal(read, fixture.read);
    fixture.read_abandoned = true;
}

void sp_log_read_release(struct sp_log_read *read)
{
    assert_int_equal(read->count, 0);
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
    assert_in_range(size, 1, sizeof conn->answer - 1);
    memset(conn->answer, 0, sizeof conn->answer);
    for (size_t i = 0, used = 0; i < size; i++) { /* its texts alone */
        char byte = ((const char *)bytes)[i];
        if (byte >= ' ' && byte <= '~') {
            conn->answer[used++] = byte;
        }
    }
    return 0;
}

size_t sp_conn_queued_bytes(const struct sp_conn *conn)
{
    return conn->queued_bytes;
}

void sp_conn_set_share(struct sp_conn *conn, struct sp_share *share)
{
    (void)conn;
    (void)share;
}

void sp_conn_pause(struct sp_conn *conn)
{
    (void)conn;
}

void sp_conn_resume(struct sp_conn *conn)
{
    (void)conn;
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

void sp_broker_dispatch(struct sp_broker *broker,
                        struct sp_request request,
                        const struct sp_message *message)
{
    sp_method_fetch(broker, request, message);
}

/* ---- the reader ------------------------------------------------------------------------------ */

static int set_up(void **state)
{
    const struct sp_budget_handler nobody = { NULL, NULL };
    static uint64_t group; /* whose address stands for the Raft group */
    struct sp_conn *conn = &fixture.conn;

    (void)state;
    memset(&fixture, 0, sizeof fixture);
    fake_loop_init();
    fixture.live_before = sp_mem_live_count();
    sp_budget_init(&fixture.broker.budget, NULL, SP_CLIENT_BYTES_MIN, &nobody);
    fixture.broker.partitions = sp_map_new();
    fixture.partition.broker = &fixture.broker;
    fixture.partition.group_id = GROUP_ID;
    fixture.partition.group = (struct sp_raft_group *)(void *)&group;
    fixture.partition.next_offset = 10;
    fixture.partition.message_bytes_max = SP_BATCH_BYTES_MAX_DEFAULT;
    sp_list_init(&fixture.partition.fetches);
    sp_list_init(&fixture.partition.crowded);
    assert_int_equal(sp_map_put_u64(fixture.broker.partitions, GROUP_ID, &fixture.partition), 0);
    assert_int_equal(sp_session_server_handler.accept(
                         &fixture.broker, "client:1", &conn->handler, &conn->session),
                     0);
    sp_session_server_handler.opened(&fixture.broker, conn->session, conn);
    return 0;
}

static void hang_up(void)
{
    struct sp_conn *conn = &fixture.conn;
    void *session = conn->session;

    conn->session = NULL;
    if (session != NULL) {
        conn->handler->closed(session, conn, SPATE_ERR_CLOSED);
    }
}

static int tear_down(void **state)
{
    (void)state;
    hang_up();
    fake_wait(1);
    sp_map_free(fixture.broker.partitions);
    sp_budget_deinit(&fixture.broker.budget);
    assert_int_equal(sp_mem_live_count(), fixture.live_before);
    return 0;
}

static void send(const void *bytes, size_t size)
{
    struct sp_conn *conn = &fixture.conn;
    struct sp_blob *blob = sp_blob_copy(bytes, size);

    assert_non_null(blob);
    conn->handler->message(conn->session, conn, blob, 0, size);
    sp_blob_unref(blob);
}

static void fetch_from(uint8_t offset)
{
    char ask[] = "\x94\x00\x01\xa5"
                 "fetch\x91\x83\xa5topic\xa1t\xa9partition\x00\xa6offset\x00";

    ask[sizeof ask - 2] = (char)offset;
    send(ask, sizeof ask - 1);
}

static void fetch(void)
{
    fetch_from(0);
}

/* The read that is on its way ends. */
static void end_read(int status)
{
    struct sp_log_read *read = fixture.read;

    assert_non_null(read);
    assert_string_equal(fixture.conn.answer, "");
    fixture.read = NULL;
    read->cb(read, status);
}

/* ---- tests ----------------------------------------------------------------------------------- */

/* CANCELED would mean that the reader's own side gave up. */
static void test_fetch_of_a_closing_replica_is_asked_of_another(void **state)
{
    (void)state;
    fetch();
    end_read(SPATE_ERR_CANCELED);
    assert_non_null(strstr(fixture.conn.answer, "LEADER_CHANGED: the replica is closing"));
}

static void test_fetch_that_fails_says_why(void **state)
{
    (void)state;
    fetch();
    end_read(SPATE_ERR_NOMEM);
    assert_non_null(strstr(fixture.conn.answer, "NOMEM: "));
}

/* Its turn is the next one, however often it was too early: a peer that takes its answers slowly
 * would never get this one. */
static void test_fetch_that_finds_no_room_keeps_its_turn(void **state)
{
    struct sp_conn *conn = &fixture.conn;

    (void)state;
    for (uint8_t offset = 0; offset < 4; offset++) {
        fetch_from(offset);
    }
    for (uint8_t offset = 0; offset < 4; offset++) {
        assert_non_null(fixture.read);
        assert_int_equal(fixture.read->start, offset);
        end_read(SPATE_ERR_NOMEM);
        conn->answer[0] = '\0';
        conn->queued_bytes = 100;
        fake_wait(1);
        assert_null(fixture.read); /* one at a time */
        conn->queued_bytes = 0;
        conn->handler->drained(conn->session, conn);
        fake_wait(1);
    }
}

/* The log may still read for others for long before its turn comes. */
static void test_fetch_whose_reader_goes_gives_up_its_read(void **state)
{
    (void)state;
    fetch();
    assert_false(fixture.read_abandoned);
    hang_up();
    assert_true(fixture.read_abandoned);
    end_read(SPATE_ERR_CANCELED);
    assert_string_equal(fixture.conn.answer, "");
}

/* It waits for records then, and has no read to give up. */
static void test_fetch_whose_reader_goes_gives_up_no_read_that_has_ended(void **state)
{
    static const char waiting[] = "\x94\x00\x01\xa5"
                                  "fetch\x91\x84\xa5topic\xa1t\xa9partition\x00\xa6offset\x00"
                                  "\xabmax_wait_ms\x64";

    (void)state;
    send(waiting, sizeof waiting - 1);
    end_read(SPATE_ERR_NOT_FOUND);
    hang_up();
    assert_false(fixture.read_abandoned);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_fetch_of_a_closing_replica_is_asked_of_another, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fetch_that_fails_says_why, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_fetch_that_finds_no_room_keeps_its_turn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_fetch_whose_reader_goes_gives_up_its_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_fetch_whose_reader_goes_gives_up_no_read_that_has_ended, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
