/* Who is given room for a message that others wait for, and sends no more of it. The clock is moved
 * by hand and the streams are filled by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/mem.h"
#include "fake_loop.h"
#include "io/stream.h"
#include "net/server.h"

enum {
    LIMIT = 64 * 1024 * 1024,
    BODY_BYTES = 1024 * 1024,
    PART_BYTES = 4096,
    CLIENTS = 3,
    LONG_MS = 5 * SP_WITHHELD_MS,
};

struct sp_listener {
    sp_accept_cb cb;
    void *arg;
};

struct sp_stream {
    struct sp_deferred ending;
    const struct sp_stream_reader *reader;
    void *reader_arg;
    bool reading;
    void (*closed)(void *arg);
    void *closed_arg;
};

struct client {
    struct sp_stream stream;
    struct sp_share share;
    struct sp_conn *conn; /* NULL: not open */
    size_t sent_bytes;    /* of its message */
    unsigned messages;
};

static struct fixture {
    struct sp_listener listener;
    struct sp_server *server;
    struct sp_budget budget;
    struct sp_share hoard; /* so large that everybody else has the least share */
    struct client clients[CLIENTS];
    struct client *connecting;
    uint64_t live_before;
    bool gone;
} fixture;

static uint8_t message[9 + BODY_BYTES] = { 0x93, 0x02, 0xa1, 'm', 0xc6, 0x00, 0x10, 0x00, 0x00 };

/* ---- in the place of io/stream --------------------------------------------------------------- */

int sp_listener_open(struct sp_loop *loop,
                     const char *address,
                     sp_accept_cb cb,
                     void *arg,
                     struct sp_listener **out_listener)
{
    (void)loop;
    (void)address;
    fixture.listener = (struct sp_listener){ cb, arg };
    *out_listener = &fixture.listener;
    return 0;
}

uint16_t sp_listener_port(const struct sp_listener *listener)
{
    (void)listener;
    return 1;
}

void sp_listener_close(struct sp_listener *listener)
{
    listener->cb = NULL;
}

int sp_stream_read_start(struct sp_stream *stream, const struct sp_stream_reader *reader, void *arg)
{
    stream->reader = reader;
    stream->reader_arg = arg;
    stream->reading = true;
    return 0;
}

void sp_stream_read_stop(struct sp_stream *stream)
{
    stream->reading = false;
}

int sp_stream_write(struct sp_stream *stream,
                    struct sp_stream_write *write,
                    const struct sp_iovec *pieces,
                    unsigned count,
                    sp_stream_write_cb cb)
{
    (void)stream;
    (void)write;
    (void)pieces;
    (void)count;
    (void)cb;
    fail_msg("nobody is answered here");
    return 0;
}

void sp_stream_bound_kernel(struct sp_stream *stream, size_t size_bytes)
{
    (void)stream;
    (void)size_bytes;
}

void sp_stream_bound_unsent(struct sp_stream *stream, size_t size_bytes)
{
    (void)stream;
    (void)size_bytes;
}

size_t sp_stream_queued_bytes(const struct sp_stream *stream)
{
    (void)stream;
    return 0;
}

const char *sp_stream_peer(const struct sp_stream *stream)
{
    (void)stream;
    return "client:1";
}

static void on_ending(struct sp_deferred *deferred)
{
    struct sp_stream *stream = SP_CONTAINER_OF(deferred, struct sp_stream, ending);

    stream->closed(stream->closed_arg);
}

void sp_stream_close(struct sp_stream *stream, void (*closed)(void *arg), void *arg)
{
    stream->reading = false;
    stream->closed = closed;
    stream->closed_arg = arg;
    sp_loop_defer(NULL, &stream->ending);
}

/* ---- connections ----------------------------------------------------------------------------- */

static void
on_message(void *arg, struct sp_conn *conn, struct sp_blob *blob, size_t position, size_t size)
{
    struct client *client = arg;

    (void)conn;
    (void)blob;
    (void)position;
    assert_int_equal(size, sizeof message);
    client->messages += 1;
}

static void on_closed(void *arg, struct sp_conn *conn, int status)
{
    struct client *client = arg;

    (void)conn;
    (void)status;
    client->conn = NULL;
}

static const struct sp_conn_handler conn_handler = { .message = on_message, .closed = on_closed };

static int
on_accept(void *arg, const char *peer, const struct sp_conn_handler **out_handler, void **out_arg)
{
    (void)arg;
    (void)peer;
    *out_handler = &conn_handler;
    *out_arg = fixture.connecting;
    return 0;
}

static void on_opened(void *arg, void *conn_arg, struct sp_conn *conn)
{
    struct client *client = conn_arg;

    (void)arg;
    client->conn = conn;
    sp_conn_set_share(conn, &client->share);
}

static const struct sp_server_handler server_handler = { on_accept, on_opened };

static void on_gone(void *arg)
{
    (void)arg;
    fixture.gone = true;
}

static int set_up(void **state)
{
    const struct sp_budget_handler nobody = { NULL, NULL };

    (void)state;
    memset(&fixture, 0, sizeof fixture);
    fake_loop_init();
    fixture.live_before = sp_mem_live_count();
    sp_budget_init(&fixture.budget, NULL, LIMIT, &nobody);
    fixture.hoard.budget = &fixture.budget;
    sp_share_take(&fixture.hoard, LIMIT);
    assert_int_equal(
        sp_server_new(
            NULL, "", &sp_conn_messagepack, CLIENTS, &server_handler, NULL, &fixture.server),
        0);
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *client = &fixture.clients[i];

        client->share.budget = &fixture.budget;
        sp_deferred_init(&client->stream.ending, on_ending);
        fixture.connecting = client;
        fixture.listener.cb(fixture.listener.arg, &client->stream);
        fake_turn();
        assert_true(client->stream.reading);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sp_server_close(fixture.server, on_gone, NULL);
    fake_turn();
    assert_true(fixture.gone);
    sp_share_give(&fixture.hoard, fixture.hoard.used_bytes);
    assert_int_equal(fixture.budget.used_bytes, 0);
    sp_budget_deinit(&fixture.budget);
    assert_int_equal(sp_mem_live_count(), fixture.live_before);
    return 0;
}

/* Up to `size` further bytes of the client's message arrive, as far as it is read. */
static void arrive(struct client *client, size_t size)
{
    struct sp_stream *stream = &client->stream;
    size_t left = sizeof message - client->sent_bytes;

    size = size < left ? size : left;
    while (size > 0 && stream->reading) {
        uint8_t *bytes = NULL;
        size_t room = 0;

        stream->reader->room(stream->reader_arg, &bytes, &room);
        if (room == 0) {
            stream->reading = false;
            break;
        }
        room = room < size ? room : size;
        memcpy(bytes, message + client->sent_bytes, room);
        client->sent_bytes += room;
        size -= room;
        stream->reader->read(stream->reader_arg, room);
        fake_turn();
    }
    fake_turn();
}

/* Its message arrives until it is given room for all of it, or has to wait for that. */
static void begin_message(struct client *client)
{
    while (client->stream.reading && !sp_share_favoured(&client->share)) {
        assert_true(client->sent_bytes < BODY_BYTES / 2);
        arrive(client, PART_BYTES);
    }
}

/* The first one is given room, the others wait. */
static void begin_messages(void)
{
    for (unsigned i = 0; i < CLIENTS; i++) {
        begin_message(&fixture.clients[i]);
        assert_int_equal(sp_share_favoured(&fixture.clients[i].share), i == 0);
        assert_int_equal(fixture.clients[i].stream.reading, i == 0);
    }
}

static bool withholds(unsigned i)
{
    return sp_conn_withholds(fixture.clients[i].conn, SP_WITHHELD_MS);
}

/* Looks as the broker does; returns how many connections are left. */
static unsigned look(void)
{
    sp_server_close_stalled(fixture.server, SP_STALLED_MS);
    fake_turn();
    return sp_server_connection_count(fixture.server);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_who_falls_silent_goes_and_the_next_is_given_the_room(void **state)
{
    struct client *next = &fixture.clients[1];

    (void)state;
    begin_messages();
    fake_wait(SP_WITHHELD_MS - 1);
    assert_false(withholds(0));
    assert_int_equal(look(), CLIENTS);
    fake_wait(1);
    assert_true(withholds(0));
    assert_false(withholds(1)); /* it sends nothing since it is not read */
    assert_int_equal(look(), CLIENTS - 1);
    assert_null(fixture.clients[0].conn);
    assert_true(sp_share_favoured(&next->share));
    arrive(next, SIZE_MAX);
    assert_int_equal(next->messages, 1);
}

static void test_time_begins_anew_with_each_byte(void **state)
{
    (void)state;
    begin_messages();
    for (unsigned i = 0; i < 5; i++) {
        fake_wait(SP_WITHHELD_MS - 1);
        assert_false(withholds(0));
        arrive(&fixture.clients[0], 1);
    }
    fake_wait(SP_WITHHELD_MS);
    assert_true(withholds(0));
}

static void test_time_begins_when_room_is_given(void **state)
{
    (void)state;
    begin_messages();
    fake_wait(LONG_MS);
    arrive(&fixture.clients[0], SIZE_MAX);
    assert_int_equal(fixture.clients[0].messages, 1);
    assert_true(sp_share_favoured(&fixture.clients[1].share));
    assert_false(withholds(0));
    assert_false(withholds(1));
    fake_wait(SP_WITHHELD_MS - 1);
    assert_false(withholds(1));
    fake_wait(1);
    assert_true(withholds(1));
}

static void test_nobody_goes_for_room_that_nobody_waits_for(void **state)
{
    (void)state;
    begin_message(&fixture.clients[0]);
    assert_true(sp_share_favoured(&fixture.clients[0].share));
    fake_wait(LONG_MS);
    assert_false(withholds(0));
    assert_int_equal(look(), CLIENTS);
    begin_message(&fixture.clients[1]);
    assert_true(withholds(0));
}

/* A little of a message is no more than the least share, which is everybody's. */
static void test_nobody_goes_for_the_least_share(void **state)
{
    struct client *last = &fixture.clients[CLIENTS - 1];

    (void)state;
    arrive(last, 20);
    begin_message(&fixture.clients[0]);
    begin_message(&fixture.clients[1]);
    fake_wait(LONG_MS);
    assert_true(last->stream.reading);
    assert_false(withholds(CLIENTS - 1));
    assert_true(withholds(0));
    assert_int_equal(look(), CLIENTS - 1);
    assert_non_null(last->conn);
}

/* One who waits for room, and looks in the moment in which the client has been given it and is not
 * read yet. */
static bool withheld_between;
static unsigned looks_between;

static void on_between(struct sp_share_waiter *waiter)
{
    assert_ptr_equal(waiter->share, &fixture.hoard);
    assert_true(sp_share_favoured(&fixture.clients[0].share));
    withheld_between = withheld_between || withholds(0);
    looks_between += 1;
}

static void test_nobody_goes_before_it_is_read(void **state)
{
    struct sp_share first = { .budget = &fixture.budget };
    struct sp_share_waiter waiters[2];

    (void)state;
    withheld_between = false;
    looks_between = 0;
    for (unsigned i = 0; i < 2; i++) {
        sp_share_waiter_init(&waiters[i], on_between);
    }
    fixture.budget.favoured = &first;
    begin_message(&fixture.clients[0]);
    assert_false(fixture.clients[0].stream.reading);
    fake_wait(LONG_MS);
    sp_share_wait(&fixture.hoard, &waiters[0], false);
    sp_share_wait(&fixture.hoard, &waiters[1], false);
    sp_share_unfavour(&first);
    fake_turn();
    assert_int_equal(looks_between, 2);
    assert_false(withheld_between);
    assert_true(fixture.clients[0].stream.reading);
}

#define WITHHELD_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITHHELD_TEST(test_who_falls_silent_goes_and_the_next_is_given_the_room),
        WITHHELD_TEST(test_time_begins_anew_with_each_byte),
        WITHHELD_TEST(test_time_begins_when_room_is_given),
        WITHHELD_TEST(test_nobody_goes_for_room_that_nobody_waits_for),
        WITHHELD_TEST(test_nobody_goes_for_the_least_share),
        WITHHELD_TEST(test_nobody_goes_before_it_is_read),
    };

    return cmocka_run_group_tests_name("net/withheld", tests, NULL, NULL);
}
