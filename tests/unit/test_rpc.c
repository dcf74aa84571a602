#include "net/rpc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "net/server.h"
#include "spate/error.h"
#include "wire/message.h"

enum {
    WAIT_MS = 5000,
    CALLS = 8,
    HELD_MAX = 64,
    BODY_BYTES = 4 * 1024 * 1024,
};

struct call {
    struct sp_rpc_call rpc_call;
    unsigned runs;
    bool done;
    int status;
    uint8_t result[16];
    size_t size;
    char text[256];
};

/* A server that answers by method: "echo" with its parameter map, "hold" only when it is told to,
 * "fail" and "lead" with errors, "junk" with garbage, "size" with the size of the request. */
struct fixture {
    struct sp_loop *loop;
    struct sp_server *server;
    struct sp_conn *server_conn;
    char address[32];
    uint32_t held[HELD_MAX];
    unsigned held_count;
    unsigned accepted;
    bool gone;
    struct sp_rpc *rpc;
    struct call calls[CALLS];
    bool close_in_callback;
    uint64_t live_before;
};

static struct fixture fixture;
static const uint8_t params[] = { 0x81, 0xa1, 'x', 0x05 };

/* ---- server ---------------------------------------------------------------------------------- */

static void respond(struct sp_conn *conn, uint32_t msgid, const struct sp_message *message)
{
    struct sp_buf buf;
    struct sp_pack pack;
    struct sp_bytes method = message == NULL ? sp_bytes_null() : message->method;

    sp_buf_init(&buf, 4096);
    sp_pack_init(&pack, &buf);
    if (sp_bytes_equal_text(method, "fail")) {
        sp_message_response_error(&pack, msgid, SPATE_ERR_UNKNOWN_TOPIC, "no topic t: create it");
    } else if (sp_bytes_equal_text(method, "lead")) {
        sp_message_response_not_leader(&pack, msgid, 2, "127.0.0.1:7800", "go there");
    } else {
        sp_message_response_ok(&pack, msgid);
        if (message == NULL) {
            sp_pack_nil(&pack);
        } else {
            struct sp_cursor cursor = message->params;
            sp_pack_raw(&pack, sp_cursor_raw(&cursor));
        }
    }
    assert_int_equal(sp_pack_status(&pack), 0);
    assert_int_equal(sp_conn_send_copy(conn, buf.bytes, buf.size), 0);
    sp_buf_deinit(&buf);
}

static void on_server_message(
    void *arg, struct sp_conn *conn, struct sp_blob *blob, size_t position, size_t size)
{
    struct sp_message message;

    (void)arg;
    assert_int_equal(sp_message_decode(blob->bytes + position, size, &message), 0);
    assert_int_equal(message.type, SP_MESSAGE_REQUEST);
    if (sp_bytes_equal_text(message.method, "hold")) {
        fixture.held[fixture.held_count] = message.msgid;
        fixture.held_count += 1;
    } else if (sp_bytes_equal_text(message.method, "junk")) {
        assert_int_equal(sp_conn_send_copy(conn, "\x93\x02\xa1m\x90", 5), 0);
    } else if (sp_bytes_equal_text(message.method, "size")) {
        assert_true(size > BODY_BYTES);
        respond(conn, message.msgid, NULL);
    } else {
        respond(conn, message.msgid, &message);
    }
}

static void on_server_conn_closed(void *arg, struct sp_conn *conn, int status)
{
    (void)arg;
    (void)status;
    if (fixture.server_conn == conn) {
        fixture.server_conn = NULL;
    }
}

static const struct sp_conn_handler server_conn_handler = {
    .message = on_server_message,
    .closed = on_server_conn_closed,
};

static int
on_accept(void *arg, const char *peer, const struct sp_conn_handler **out_handler, void **out_arg)
{
    (void)arg;
    (void)peer;
    *out_handler = &server_conn_handler;
    *out_arg = NULL;
    return 0;
}

static void on_opened(void *arg, void *conn_arg, struct sp_conn *conn)
{
    (void)arg;
    (void)conn_arg;
    fixture.server_conn = conn;
    fixture.accepted += 1;
}

static const struct sp_server_handler server_handler = {
    .accept = on_accept,
    .opened = on_opened,
};

static void start_server(const char *address)
{
    assert_int_equal(sp_server_new(fixture.loop,
                                   address,
                                   &sp_conn_messagepack,
                                   16,
                                   &server_handler,
                                   NULL,
                                   &fixture.server),
                     0);
    (void)snprintf(fixture.address,
                   sizeof fixture.address,
                   "127.0.0.1:%u",
                   (unsigned)sp_server_port(fixture.server));
}

static void on_gone(void *arg)
{
    (void)arg;
    fixture.gone = true;
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

static void stop_server(void)
{
    if (fixture.server == NULL) {
        return;
    }
    fixture.gone = false;
    sp_server_close(fixture.server, on_gone, NULL);
    fixture.server = NULL;
    run_until(&fixture.gone);
}

/* ---- calls ----------------------------------------------------------------------------------- */

static void on_done(
    struct sp_rpc_call *rpc_call, int status, const uint8_t *result, size_t size, const char *text)
{
    struct call *call = SP_CONTAINER_OF(rpc_call, struct call, rpc_call);

    call->runs += 1;
    call->done = true;
    call->status = status;
    call->size = size;
    if (size > 0) {
        memcpy(call->result, result, size < sizeof call->result ? size : sizeof call->result);
    }
    (void)snprintf(call->text, sizeof call->text, "%s", text);
    if (fixture.close_in_callback) {
        fixture.close_in_callback = false;
        sp_rpc_close(fixture.rpc);
        fixture.rpc = NULL;
    }
}

static struct call *begin(unsigned i, const char *method, uint32_t timeout_ms)
{
    struct call *call = &fixture.calls[i];

    *call =
        (struct call){ .rpc_call = { .method = method, .cb = on_done, .timeout_ms = timeout_ms } };
    assert_int_equal(sp_rpc_call(fixture.rpc, &call->rpc_call, params, sizeof params, NULL), 0);
    assert_int_equal(call->runs, 0);
    return call;
}

static void expect(struct call *call, int status)
{
    run_until(&call->done);
    assert_int_equal(call->status, status);
    assert_int_equal(call->runs, 1);
}

static void wait_held(unsigned count)
{
    uint64_t deadline_ms = sp_loop_now_ms(fixture.loop) + WAIT_MS;

    while (fixture.held_count < count && sp_loop_now_ms(fixture.loop) < deadline_ms) {
        run_ms(1);
    }
    assert_int_equal(fixture.held_count, count);
}

static int setup(void **state)
{
    (void)state;
    fixture = (struct fixture){ .live_before = sp_mem_live_count() };
    assert_int_equal(sp_loop_new(0, &fixture.loop), 0);
    start_server("127.0.0.1:0");
    assert_int_equal(sp_rpc_new(fixture.loop, fixture.address, &fixture.rpc), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (fixture.rpc != NULL) {
        sp_rpc_close(fixture.rpc);
    }
    stop_server();
    sp_loop_run(fixture.loop);
    sp_loop_free(fixture.loop);
    assert_int_equal(sp_mem_live_count(), fixture.live_before);
    return 0;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_rpc_call_gets_its_result(void **state)
{
    (void)state;
    assert_false(sp_rpc_connected(fixture.rpc));
    struct call *call = begin(0, "echo", 1000);
    expect(call, 0);
    assert_int_equal(call->size, 1 + sizeof params);
    assert_int_equal(call->result[0], 0x91); /* params is an array that holds the map */
    assert_memory_equal(call->result + 1, params, sizeof params);
    assert_string_equal(call->text, "");
    assert_true(sp_rpc_connected(fixture.rpc));
    assert_string_equal(sp_rpc_address(fixture.rpc), fixture.address);
}

static void test_rpc_error_is_taken_apart(void **state)
{
    (void)state;
    struct call *call = begin(0, "fail", 1000);
    expect(call, SPATE_ERR_UNKNOWN_TOPIC);
    assert_string_equal(call->text, "no topic t: create it");
    assert_int_equal(call->size, 0);
    call = begin(1, "lead", 1000);
    expect(call, SPATE_ERR_NOT_LEADER);
    assert_string_equal(call->text, "2 127.0.0.1:7800 go there");
}

static void test_rpc_answers_in_any_order_find_their_calls(void **state)
{
    (void)state;
    struct call *first = begin(0, "hold", 1000);
    struct call *second = begin(1, "hold", 1000);
    struct call *third = begin(2, "echo", 1000);
    expect(third, 0);
    wait_held(2);
    assert_int_equal(first->runs, 0);
    respond(fixture.server_conn, fixture.held[1], NULL);
    expect(second, 0);
    assert_int_equal(first->runs, 0);
    respond(fixture.server_conn, fixture.held[0], NULL);
    expect(first, 0);
}

static void test_rpc_large_body_follows_its_parameters(void **state)
{
    struct sp_blob *blob = sp_blob_new(BODY_BYTES);
    struct call *call = &fixture.calls[0];
    uint8_t head[] = { 0x81, 0xa1, 'r', 0xc6, 0, 0, 0, 0 };

    (void)state;
    assert_non_null(blob);
    memset(blob->bytes, 7, blob->size);
    struct sp_slice body = { blob, blob->bytes, blob->size };
    for (unsigned i = 0; i < 4; i++) {
        head[4 + i] = (uint8_t)((uint32_t)BODY_BYTES >> (24 - 8 * i));
    }
    call->rpc_call = (struct sp_rpc_call){ .method = "size", .cb = on_done, .timeout_ms = 2000 };
    assert_int_equal(sp_rpc_call(fixture.rpc, &call->rpc_call, head, sizeof head, &body), 0);
    sp_slice_unref(&body);
    expect(call, 0);
}

static void test_rpc_deadline_of_a_sent_call_is_timeout(void **state)
{
    (void)state;
    struct call *call = begin(0, "hold", 20);
    wait_held(1);
    expect(call, SPATE_ERR_TIMEOUT);
    respond(fixture.server_conn, fixture.held[0], NULL); /* too late, ignored */
    expect(begin(1, "echo", 1000), 0);
    assert_int_equal(call->runs, 1);
}

static void test_rpc_deadline_of_an_unsent_call_is_unreachable(void **state)
{
    (void)state;
    stop_server();
    expect(begin(0, "echo", 50), SPATE_ERR_UNREACHABLE);
}

static void test_rpc_call_waits_for_the_server_to_come(void **state)
{
    char address[32];

    (void)state;
    stop_server();
    (void)snprintf(address, sizeof address, "%s", fixture.address);
    struct call *call = begin(0, "echo", 3000);
    run_ms(30);
    assert_int_equal(call->runs, 0);
    start_server(address);
    expect(call, 0);
}

static struct call *begin_at_once(unsigned number, const char *method)
{
    struct call *call = &fixture.calls[number];

    call->rpc_call = (struct sp_rpc_call){
        .method = method, .cb = on_done, .timeout_ms = WAIT_MS, .at_once = true
    };
    assert_int_equal(sp_rpc_call(fixture.rpc, &call->rpc_call, params, sizeof params, NULL), 0);
    return call;
}

static void test_rpc_call_at_once_ends_when_nobody_listens(void **state)
{
    char address[32];
    uint64_t begun_ms = sp_loop_now_ms(fixture.loop);

    (void)state;
    stop_server();
    (void)snprintf(address, sizeof address, "%s", fixture.address);
    struct call *patient = begin(0, "echo", WAIT_MS);
    for (unsigned i = 0; i < 5; i++) { /* each of them tries anew, whatever the pause is by now */
        struct call *call = begin_at_once(1, "echo");
        expect(call, SPATE_ERR_UNREACHABLE);
        call->done = false;
        call->runs = 0;
    }
    assert_true(sp_loop_now_ms(fixture.loop) - begun_ms < 1000);
    assert_int_equal(patient->runs, 0);
    start_server(address);
    expect(patient, 0);
    expect(begin_at_once(2, "echo"), 0);
}

static void test_rpc_connection_that_said_nothing_for_long_is_replaced(void **state)
{
    (void)state;
    struct call *call = begin(0, "hold", WAIT_MS);
    wait_held(1);
    struct sp_conn *silent = fixture.server_conn;
    run_ms(1100);
    assert_true(sp_rpc_silent_ms(fixture.rpc) >= 1000);
    expect(begin(1, "echo", WAIT_MS), 0); /* somebody waits for the first: the connection stays */
    assert_ptr_equal(fixture.server_conn, silent);
    assert_true(sp_rpc_silent_ms(fixture.rpc) < 1000);
    run_ms(1100);
    sp_rpc_cancel(&call->rpc_call);
    expect(begin(2, "echo", WAIT_MS), 0);
    assert_int_equal(sp_rpc_silent_ms(fixture.rpc), 0);
    assert_int_equal(fixture.accepted, 2);
}

/* As behind a firewall that has forgotten the connection: there is always somebody who waits. */
static void test_rpc_dead_connection_is_replaced_while_others_wait(void **state)
{
    struct call *patient = begin(0, "hold", 2 * WAIT_MS);

    (void)state;
    wait_held(1);
    run_ms(5100);
    (void)begin(1, "hold", 150);
    wait_held(2);
    assert_int_equal(fixture.accepted, 1); /* a long poll alone is no sign of death */
    for (unsigned i = 0; i < 30 && !patient->done; i++) {
        run_ms(100);
        (void)begin(1 + (i + 1) % 2, "hold", 150); /* before the one before is given up */
    }
    assert_true(patient->done);
    assert_int_equal(patient->status, SPATE_ERR_CLOSED);
    expect(begin(3, "echo", WAIT_MS), 0);
    assert_int_equal(fixture.accepted, 2);
}

static void test_rpc_lost_connection_fails_what_was_sent(void **state)
{
    (void)state;
    struct call *call = begin(0, "hold", 1000);
    wait_held(1);
    sp_conn_close(fixture.server_conn, false);
    expect(call, SPATE_ERR_CLOSED);
    expect(begin(1, "echo", 1000), 0);
}

static void test_rpc_garbage_answer_closes(void **state)
{
    (void)state;
    expect(begin(0, "junk", 1000), SPATE_ERR_CLOSED);
}

static void test_rpc_cancelled_call_is_never_told(void **state)
{
    (void)state;
    struct call *unsent = begin(0, "echo", 1000);
    sp_rpc_cancel(&unsent->rpc_call);
    struct call *sent = begin(1, "hold", 1000);
    wait_held(1);
    sp_rpc_cancel(&sent->rpc_call);
    respond(fixture.server_conn, fixture.held[0], NULL);
    expect(begin(2, "echo", 1000), 0);
    assert_int_equal(unsent->runs, 0);
    assert_int_equal(sent->runs, 0);
}

static void test_rpc_close_cancels_all_calls(void **state)
{
    (void)state;
    struct call *sent = begin(0, "hold", 1000);
    wait_held(1);
    struct call *unsent = begin(1, "hold", 1000);
    sp_rpc_close(fixture.rpc);
    fixture.rpc = NULL;
    assert_int_equal(sent->status, SPATE_ERR_CANCELED);
    assert_int_equal(unsent->status, SPATE_ERR_CANCELED);
}

static void test_rpc_close_in_a_callback_is_safe(void **state)
{
    (void)state;
    struct call *first = begin(0, "hold", 1000);
    struct call *second = begin(1, "hold", 1000);
    wait_held(2);
    fixture.close_in_callback = true;
    sp_conn_close(fixture.server_conn, false);
    run_until(&second->done);
    assert_int_equal(first->status, SPATE_ERR_CLOSED);
    assert_int_equal(second->status, SPATE_ERR_CANCELED);
    assert_int_equal(first->runs + second->runs, 2);
    run_ms(5);
}

static void test_rpc_survives_every_failing_allocation(void **state)
{
    struct call *call = &fixture.calls[0];

    (void)state;
    for (uint64_t n = 1; n < 16; n++) {
        *call = (struct call){ .rpc_call = { .method = "hold", .cb = on_done, .timeout_ms = 30 } };
        fixture.held_count = 0;
        sp_mem_fail_at(n);
        int rv = sp_rpc_call(fixture.rpc, &call->rpc_call, params, sizeof params, NULL);
        run_ms(2);
        sp_mem_fail_at(0);
        if (rv == 0) {
            run_until(&call->done);
        }
        assert_int_equal(call->runs, rv == 0);
    }
    expect(begin(1, "echo", 1000), 0);
}

#define RPC_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RPC_TEST(test_rpc_call_gets_its_result),
        RPC_TEST(test_rpc_error_is_taken_apart),
        RPC_TEST(test_rpc_answers_in_any_order_find_their_calls),
        RPC_TEST(test_rpc_large_body_follows_its_parameters),
        RPC_TEST(test_rpc_deadline_of_a_sent_call_is_timeout),
        RPC_TEST(test_rpc_deadline_of_an_unsent_call_is_unreachable),
        RPC_TEST(test_rpc_call_waits_for_the_server_to_come),
        RPC_TEST(test_rpc_call_at_once_ends_when_nobody_listens),
        RPC_TEST(test_rpc_connection_that_said_nothing_for_long_is_replaced),
        RPC_TEST(test_rpc_dead_connection_is_replaced_while_others_wait),
        RPC_TEST(test_rpc_lost_connection_fails_what_was_sent),
        RPC_TEST(test_rpc_garbage_answer_closes),
        RPC_TEST(test_rpc_cancelled_call_is_never_told),
        RPC_TEST(test_rpc_close_cancels_all_calls),
        RPC_TEST(test_rpc_close_in_a_callback_is_safe),
        RPC_TEST(test_rpc_survives_every_failing_allocation),
    };
    return cmocka_run_group_tests_name("net/rpc", tests, NULL, NULL);
}
