#include "net/conn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/mem.h"
#include "net/server.h"
#include "spate/error.h"

enum {
    WAIT_MS = 5000,
    BODY_BYTES = 4 * 1024 * 1024,
    SHORT_TIMEOUT_MS = 30,
    HELD_BYTES_MAX = 64 * 1024,
};

/* A server whose connections answer each message with `reply`, and one client. */
struct fixture {
    struct sp_loop *loop;
    struct sp_server *server;
    struct sp_conn *server_conn;
    unsigned server_messages;
    size_t server_bytes;
    int server_status;
    bool server_closed;
    uint32_t server_timeout_ms; /* 0: the default */
    struct sp_slice reply;
    bool close_after_reply;
    unsigned pause_after; /* messages; 0: never */
    struct sp_stream *client_stream;
    struct sp_conn *client;
    unsigned client_messages;
    size_t client_bytes;
    int client_status;
    bool client_closed;
    bool connected;
    bool gone;
    size_t queue_max;
    uint64_t live_before;
};

static struct fixture fixture;

/* ---- server side ----------------------------------------------------------------------------- */

static void on_server_message(
    void *arg, struct sp_conn *conn, struct sp_blob *blob, size_t position, size_t size)
{
    (void)arg;
    (void)blob;
    (void)position;
    fixture.server_messages += 1;
    fixture.server_bytes += size;
    if (fixture.reply.size > 0) {
        if (sp_conn_send(conn, &fixture.reply, 1) != 0) {
            sp_conn_close(conn, false);
        }
        if (sp_conn_queued_bytes(conn) > fixture.queue_max) {
            fixture.queue_max = sp_conn_queued_bytes(conn);
        }
    }
    if (fixture.close_after_reply) {
        sp_conn_close(conn, true);
        assert_int_equal(sp_conn_send(conn, &fixture.reply, 1), SPATE_ERR_CLOSED);
    }
    if (fixture.pause_after > 0 && fixture.server_messages == fixture.pause_after) {
        sp_conn_pause(conn);
    }
}

static void on_server_closed(void *arg, struct sp_conn *conn, int status)
{
    (void)arg;
    assert_ptr_equal(conn, fixture.server_conn);
    assert_false(fixture.server_closed);
    fixture.server_conn = NULL;
    fixture.server_status = status;
    fixture.server_closed = true;
}

static const struct sp_conn_handler server_conn_handler = {
    .message = on_server_message,
    .closed = on_server_closed,
};

static int
on_accept(void *arg, const char *peer, const struct sp_conn_handler **out_handler, void **out_arg)
{
    (void)arg;
    assert_non_null(strchr(peer, ':'));
    *out_handler = &server_conn_handler;
    *out_arg = &fixture;
    return 0;
}

static void on_opened(void *arg, void *conn_arg, struct sp_conn *conn)
{
    (void)arg;
    assert_ptr_equal(conn_arg, &fixture);
    fixture.server_conn = conn;
    if (fixture.server_timeout_ms > 0) {
        sp_conn_set_message_timeout(conn, fixture.server_timeout_ms);
    }
}

static const struct sp_server_handler server_handler = {
    .accept = on_accept,
    .opened = on_opened,
};

/* ---- client side ----------------------------------------------------------------------------- */

static void on_client_message(
    void *arg, struct sp_conn *conn, struct sp_blob *blob, size_t position, size_t size)
{
    (void)arg;
    (void)conn;
    (void)blob;
    (void)position;
    fixture.client_messages += 1;
    fixture.client_bytes += size;
}

static void on_client_closed(void *arg, struct sp_conn *conn, int status)
{
    (void)arg;
    (void)conn;
    fixture.client = NULL;
    fixture.client_status = status;
    fixture.client_closed = true;
}

static const struct sp_conn_handler client_handler = {
    .message = on_client_message,
    .closed = on_client_closed,
};

static void on_connected(void *arg, struct sp_stream *stream, int status)
{
    (void)arg;
    assert_int_equal(status, 0);
    assert_int_equal(
        sp_conn_new(
            fixture.loop, stream, &sp_conn_messagepack, &client_handler, &fixture, &fixture.client),
        0);
    fixture.connected = true;
}

static void run_until(const bool *flag)
{
    assert_true(sp_loop_run_until(fixture.loop, flag, sp_loop_now_ms(fixture.loop) + WAIT_MS));
}

static void run_ms(uint64_t ms)
{
    static const bool never = false;

    (void)sp_loop_run_until(fixture.loop, &never, sp_loop_now_ms(fixture.loop) + ms);
}

/* Runs until `*count` is at least `wanted`. */
static void run_to_count(const unsigned *count, unsigned wanted)
{
    uint64_t deadline_ms = sp_loop_now_ms(fixture.loop) + WAIT_MS;

    while (*count < wanted && sp_loop_now_ms(fixture.loop) < deadline_ms) {
        run_ms(1);
    }
    assert_int_equal(*count, wanted);
}

static void connect_client(void)
{
    char address[32];

    (void)snprintf(
        address, sizeof address, "127.0.0.1:%u", (unsigned)sp_server_port(fixture.server));
    assert_int_equal(
        sp_stream_connect(fixture.loop, address, on_connected, NULL, &fixture.client_stream), 0);
    run_until(&fixture.connected);
    run_ms(2);
    assert_non_null(fixture.server_conn);
    assert_int_equal(sp_server_connection_count(fixture.server), 1);
}

static int setup(void **state)
{
    (void)state;
    fixture = (struct fixture){ .live_before = sp_mem_live_count() };
    assert_int_equal(sp_loop_new(0, &fixture.loop), 0);
    assert_int_equal(sp_server_new(fixture.loop,
                                   "127.0.0.1:0",
                                   &sp_conn_messagepack,
                                   1,
                                   &server_handler,
                                   &fixture,
                                   &fixture.server),
                     0);
    return 0;
}

static void on_gone(void *arg)
{
    (void)arg;
    fixture.gone = true;
}

static int teardown(void **state)
{
    (void)state;
    if (fixture.client != NULL) {
        sp_conn_close(fixture.client, false);
    }
    sp_server_close(fixture.server, on_gone, NULL);
    run_until(&fixture.gone);
    sp_loop_run(fixture.loop);
    sp_slice_unref(&fixture.reply);
    sp_loop_free(fixture.loop);
    assert_int_equal(sp_mem_live_count(), fixture.live_before);
    return 0;
}

static void send_bytes(const void *bytes, size_t size)
{
    assert_int_equal(sp_conn_send_copy(fixture.client, bytes, size), 0);
}

/* [2, "m", bin32 of body_size] without the body */
static void send_head(uint32_t body_size)
{
    const uint8_t head[] = { 0x93,
                             0x02,
                             0xa1,
                             'm',
                             0xc6,
                             (uint8_t)(body_size >> 24),
                             (uint8_t)(body_size >> 16),
                             (uint8_t)(body_size >> 8),
                             (uint8_t)body_size };

    send_bytes(head, sizeof head);
}

/* [1, 7, nil, bin32] of `size` bytes in all */
static struct sp_slice make_reply(uint32_t size)
{
    struct sp_blob *blob = sp_blob_new(size);
    uint32_t body_size = size - 9;

    assert_non_null(blob);
    memset(blob->bytes, 0, size);
    memcpy(blob->bytes, "\x94\x01\x07\xc0\xc6", 5);
    for (unsigned i = 0; i < 4; i++) {
        blob->bytes[5 + i] = (uint8_t)(body_size >> (24 - 8 * i));
    }
    return (struct sp_slice){ blob, blob->bytes, size };
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_conn_pipelined_small_messages_are_all_answered(void **state)
{
    static uint8_t burst[4 * 2000];

    (void)state;
    fixture.reply = make_reply(20);
    connect_client();
    for (size_t i = 0; i < sizeof burst; i += 4) {
        memcpy(burst + i, "\x93\x02\xa0\x90", 4);
    }
    for (int i = 0; i < 5; i++) {
        send_bytes(burst, sizeof burst);
    }
    run_to_count(&fixture.client_messages, 5 * 2000);
    assert_int_equal(fixture.server_messages, 5 * 2000);
    assert_int_equal(fixture.client_bytes, 5 * 2000 * 20);
}

static void test_conn_large_bodies_go_both_ways(void **state)
{
    struct sp_blob *body = sp_blob_new(BODY_BYTES);

    (void)state;
    assert_non_null(body);
    memset(body->bytes, 0xc1, body->size); /* no tag of a message: a wrong cut would show */
    struct sp_slice slice = { body, body->bytes, body->size };
    fixture.reply = make_reply(BODY_BYTES);
    connect_client();
    for (int i = 0; i < 3; i++) {
        send_head(BODY_BYTES);
        assert_int_equal(sp_conn_send(fixture.client, &slice, 1), 0);
    }
    sp_slice_unref(&slice);
    run_to_count(&fixture.client_messages, 3);
    assert_int_equal(fixture.server_bytes, 3 * (BODY_BYTES + 9));
    assert_int_equal(fixture.client_bytes, 3 * BODY_BYTES);
}

/* What the server is sent, and what it must say to it while it holds nearly nothing. */
static void expect_refusal(const void *bytes, size_t size, int status)
{
    connect_client();
    uint64_t before = sp_mem_live_bytes();
    send_bytes(bytes, size);
    run_until(&fixture.server_closed);
    assert_int_equal(fixture.server_status, status);
    assert_int_equal(fixture.server_messages, 0);
    assert_true(sp_mem_live_bytes() < before + HELD_BYTES_MAX);
    run_until(&fixture.client_closed);
    assert_int_equal(fixture.client_status, SPATE_ERR_CLOSED);
}

static void test_conn_garbage_closes(void **state)
{
    (void)state;
    expect_refusal("GET / HTTP/1.1\r\n\r\n", 18, SPATE_ERR_MALFORMED);
}

static void test_conn_reserved_tag_closes(void **state)
{
    (void)state;
    expect_refusal("\x94\x00\x01\xc1", 4, SPATE_ERR_MALFORMED);
}

static void test_conn_oversized_message_closes_from_its_header(void **state)
{
    (void)state;
    expect_refusal("\x93\x02\xa1m\xc6\x7f\xff\xff\xff", 9, SPATE_ERR_TOO_LARGE);
}

static void test_conn_too_many_elements_closes_from_the_header(void **state)
{
    (void)state;
    expect_refusal("\x93\x02\xa1m\xdd\x00\xff\xff\xff", 9, SPATE_ERR_TOO_LARGE);
}

static void test_conn_lying_header_holds_nearly_nothing_until_its_timeout(void **state)
{
    (void)state;
    fixture.server_timeout_ms = SHORT_TIMEOUT_MS;
    connect_client();
    uint64_t before = sp_mem_live_bytes();
    send_head(16 * 1024 * 1024);
    send_bytes("0123456789", 10);
    run_ms(SHORT_TIMEOUT_MS / 2);
    assert_false(fixture.server_closed);
    assert_true(sp_mem_live_bytes() < before + HELD_BYTES_MAX);
    run_until(&fixture.server_closed);
    assert_int_equal(fixture.server_status, SPATE_ERR_TIMEOUT);
}

static void test_conn_truncated_message_ends_closed(void **state)
{
    (void)state;
    connect_client();
    send_head(1000);
    run_ms(5);
    sp_conn_close(fixture.client, true);
    run_until(&fixture.server_closed);
    assert_int_equal(fixture.server_status, SPATE_ERR_CLOSED);
    assert_int_equal(fixture.server_messages, 0);
    run_until(&fixture.client_closed);
    assert_int_equal(fixture.client_status, SPATE_ERR_CANCELED);
}

/* A peer that always has a message in progress is not a slow one. */
static void test_conn_timeout_counts_per_message(void **state)
{
    (void)state;
    fixture.server_timeout_ms = 600; /* far above the step, for machines that stall */
    connect_client();
    send_bytes("\x93\x02", 2);
    for (unsigned i = 1; i <= 7; i++) {
        run_ms(100);
        send_bytes("\xa0\x90\x93\x02", 4);
        run_to_count(&fixture.server_messages, i);
    }
    assert_false(fixture.server_closed);
    run_until(&fixture.server_closed);
    assert_int_equal(fixture.server_status, SPATE_ERR_TIMEOUT);
}

static void test_conn_slow_reader_stops_the_requests(void **state)
{
    const unsigned requests = 100;

    (void)state;
    fixture.reply = make_reply(1024 * 1024);
    connect_client();
    sp_conn_pause(fixture.client);
    run_ms(2);
    for (unsigned i = 0; i < requests; i++) {
        send_bytes("\x93\x02\xa0\x90", 4);
    }
    run_ms(50);
    assert_true(fixture.server_messages < requests / 2);
    assert_true(fixture.queue_max > SP_WRITE_QUEUE_BYTES_MAX);
    assert_true(fixture.queue_max <= SP_WRITE_QUEUE_BYTES_MAX + 1024 * 1024);
    sp_conn_resume(fixture.client);
    run_to_count(&fixture.client_messages, requests);
}

static void test_conn_pause_holds_back_what_has_arrived(void **state)
{
    (void)state;
    fixture.pause_after = 2;
    connect_client();
    send_bytes("\x93\x02\xa0\x90\x93\x02\xa0\x90\x93\x02\xa0\x90", 12);
    run_ms(10);
    assert_int_equal(fixture.server_messages, 2);
    sp_conn_resume(fixture.server_conn);
    run_to_count(&fixture.server_messages, 3);
}

static void test_conn_close_with_flush_delivers_the_last_answer(void **state)
{
    (void)state;
    fixture.reply = make_reply(1024 * 1024);
    fixture.close_after_reply = true;
    connect_client();
    send_bytes("\x93\x02\xa0\x90", 4);
    run_until(&fixture.client_closed);
    assert_int_equal(fixture.client_bytes, 1024 * 1024);
    assert_int_equal(fixture.client_status, SPATE_ERR_CLOSED);
    assert_int_equal(fixture.server_status, SPATE_ERR_CANCELED);
}

static void test_conn_beyond_the_bound_is_closed_at_once(void **state)
{
    char address[32];

    (void)state;
    connect_client();
    struct sp_conn *first = fixture.client;
    fixture.connected = false;
    (void)snprintf(
        address, sizeof address, "127.0.0.1:%u", (unsigned)sp_server_port(fixture.server));
    assert_int_equal(
        sp_stream_connect(fixture.loop, address, on_connected, NULL, &fixture.client_stream), 0);
    run_until(&fixture.client_closed);
    assert_int_equal(fixture.client_status, SPATE_ERR_CLOSED);
    assert_false(fixture.server_closed);
    assert_int_equal(sp_server_connection_count(fixture.server), 1);
    fixture.client = first;
}

/* Whichever allocation fails, the worst that happens is a closed connection and nothing leaks. */
static void test_conn_survives_every_failing_allocation(void **state)
{
    (void)state;
    fixture.reply = make_reply(100);
    for (uint64_t n = 1; n < 12; n++) {
        fixture.client_closed = false;
        fixture.server_closed = false;
        fixture.connected = false;
        connect_client();
        sp_mem_fail_at(n);
        (void)sp_conn_send_copy(fixture.client, "\x93\x02\xa0\x90", 4);
        run_ms(3);
        sp_mem_fail_at(0);
        if (fixture.client != NULL) {
            sp_conn_close(fixture.client, false);
        }
        run_until(&fixture.server_closed);
        run_until(&fixture.client_closed);
    }
}

#define CONN_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONN_TEST(test_conn_pipelined_small_messages_are_all_answered),
        CONN_TEST(test_conn_large_bodies_go_both_ways),
        CONN_TEST(test_conn_garbage_closes),
        CONN_TEST(test_conn_reserved_tag_closes),
        CONN_TEST(test_conn_oversized_message_closes_from_its_header),
        CONN_TEST(test_conn_too_many_elements_closes_from_the_header),
        CONN_TEST(test_conn_lying_header_holds_nearly_nothing_until_its_timeout),
        CONN_TEST(test_conn_truncated_message_ends_closed),
        CONN_TEST(test_conn_timeout_counts_per_message),
        CONN_TEST(test_conn_slow_reader_stops_the_requests),
        CONN_TEST(test_conn_pause_holds_back_what_has_arrived),
        CONN_TEST(test_conn_close_with_flush_delivers_the_last_answer),
        CONN_TEST(test_conn_beyond_the_bound_is_closed_at_once),
        CONN_TEST(test_conn_survives_every_failing_allocation),
    };
    return cmocka_run_group_tests_name("net/conn", tests, NULL, NULL);
}
