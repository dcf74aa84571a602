/* Calls to a server that answers as it is asked to, on one loop. Included once, by one test. */
#ifndef SP_UNIT_DRIVEN_RPC_H
#define SP_UNIT_DRIVEN_RPC_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "net/rpc.h"
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

static inline void respond(struct sp_conn *conn, uint32_t msgid, const struct sp_message *message)
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

static inline void on_server_message(
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

static inline void on_server_conn_closed(void *arg, struct sp_conn *conn, int status)
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

static inline int
on_accept(void *arg, const char *peer, const struct sp_conn_handler **out_handler, void **out_arg)
{
    (void)arg;
    (void)peer;
    *out_handler = &server_conn_handler;
    *out_arg = NULL;
    return 0;
}

static inline void on_opened(void *arg, void *conn_arg, struct sp_conn *conn)
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

static inline void start_server(const char *address)
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

static inline void on_gone(void *arg)
{
    (void)arg;
    fixture.gone = true;
}

static inline void run_until(const bool *flag)
{
    assert_true(sp_loop_run_until(fixture.loop, flag, sp_loop_now_ms(fixture.loop) + WAIT_MS));
}

static inline void run_ms(uint64_t ms)
{
    static const bool never = false;

    (void)sp_loop_run_until(fixture.loop, &never, sp_loop_now_ms(fixture.loop) + ms);
}

static inline void stop_server(void)
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

static inline void on_done(
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

static inline struct call *begin(unsigned i, const char *method, uint32_t timeout_ms)
{
    struct call *call = &fixture.calls[i];

    *call =
        (struct call){ .rpc_call = { .method = method, .cb = on_done, .timeout_ms = timeout_ms } };
    assert_int_equal(sp_rpc_call(fixture.rpc, &call->rpc_call, params, sizeof params, NULL), 0);
    assert_int_equal(call->runs, 0);
    return call;
}

static inline void expect(struct call *call, int status)
{
    run_until(&call->done);
    assert_int_equal(call->status, status);
    assert_int_equal(call->runs, 1);
}

static inline void wait_held(unsigned count)
{
    uint64_t deadline_ms = sp_loop_now_ms(fixture.loop) + WAIT_MS;

    while (fixture.held_count < count && sp_loop_now_ms(fixture.loop) < deadline_ms) {
        run_ms(1);
    }
    assert_int_equal(fixture.held_count, count);
}

static inline int setup(void **state)
{
    (void)state;
    fixture = (struct fixture){ .live_before = sp_mem_live_count() };
    assert_int_equal(sp_loop_new(0, &fixture.loop), 0);
    start_server("127.0.0.1:0");
    assert_int_equal(sp_rpc_new(fixture.loop, fixture.address, &fixture.rpc), 0);
    return 0;
}

static inline int teardown(void **state)
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

#define RPC_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#endif /* SP_UNIT_DRIVEN_RPC_H */
