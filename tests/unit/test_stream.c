#include "io/stream.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rand.h"
#include "spate/error.h"

enum {
    ECHO_BYTES = 10 * 1024 * 1024,
    CHUNK = 64 * 1024,
    PIECES_MAX = 100, /* more than one system call takes */
    TIMEOUT_MS = 20000,
    MORE = 64,
};

/* One side of a connection: counts what happens to it. */
struct side {
    struct sp_loop *loop;
    struct sp_stream *stream;
    struct sp_stream_write write;
    struct sp_stream_write more[MORE];
    uint8_t *room;
    size_t room_size; /* 0: no room is offered */
    size_t got;
    uint32_t sum; /* of the bytes read, in order */
    unsigned ends;
    int end_status;
    unsigned written;
    int write_status;
    bool failed;
    bool closed;
};

struct fixture {
    struct sp_loop *loop;
    struct sp_listener *listener;
    char address[64];
    struct side client;
    struct side server;
    bool accepted;
    bool connected;
    uint64_t live_before;
};

static struct fixture fixture;
static uint8_t bytes[ECHO_BYTES]; /* to send; more than the kernel takes at once */

static uint32_t sum_of(uint32_t sum, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        sum = sum * 31 + data[i];
    }
    return sum;
}

static uint64_t soon(void)
{
    return sp_loop_now_ms(fixture.loop) + TIMEOUT_MS;
}

static void wait_for(const bool *flag)
{
    assert_true(sp_loop_run_until(fixture.loop, flag, soon()));
}

static void pause_ms(uint64_t duration_ms)
{
    static const bool never = false;

    assert_false(
        sp_loop_run_until(fixture.loop, &never, sp_loop_now_ms(fixture.loop) + duration_ms));
}

#define WAIT_WHILE(condition)                                                                      \
    for (uint64_t end_ms = soon(); (condition) && sp_loop_now_ms(fixture.loop) < end_ms;)          \
    pause_ms(1)

static void side_room(void *arg, uint8_t **out_bytes, size_t *out_size)
{
    struct side *side = arg;

    *out_bytes = side->room;
    *out_size = side->room_size;
}

static void side_read(void *arg, size_t size)
{
    struct side *side = arg;

    side->got += size;
    side->sum = sum_of(side->sum, side->room, size);
}

static void side_end(void *arg, int status)
{
    struct side *side = arg;

    side->ends += 1;
    side->end_status = status;
    side->failed = true;
}

static const struct sp_stream_reader side_reader = { side_room, side_read, side_end };

static int start_reading(struct side *side)
{
    return sp_stream_read_start(side->stream, &side_reader, side);
}

static void side_init(struct side *side)
{
    *side = (struct side){ .loop = fixture.loop, .room_size = CHUNK };
    side->room = malloc(CHUNK);
    assert_non_null(side->room);
}

static void on_closed(void *arg)
{
    struct side *side = arg;

    side->closed = true;
    side->stream = NULL;
}

static void side_close(struct side *side)
{
    if (side->stream != NULL) {
        sp_stream_close(side->stream, on_closed, side);
        wait_for(&side->closed);
    }
    free(side->room);
    side->room = NULL;
}

static void on_accept(void *arg, struct sp_stream *stream)
{
    (void)arg;
    fixture.server.stream = stream;
    fixture.accepted = true;
}

static void on_connect(void *arg, struct sp_stream *stream, int status)
{
    (void)arg;
    assert_ptr_equal(stream, fixture.client.stream);
    assert_int_equal(status, 0);
    fixture.connected = true;
}

static int set_up(void **state)
{
    (void)state;
    memset(&fixture, 0, sizeof fixture);
    fixture.live_before = sp_mem_live_count();
    assert_int_equal(sp_loop_new(0, &fixture.loop), 0);
    assert_int_equal(
        sp_listener_open(fixture.loop, "127.0.0.1:0", on_accept, NULL, &fixture.listener), 0);
    (void)snprintf(fixture.address,
                   sizeof fixture.address,
                   "127.0.0.1:%u",
                   sp_listener_port(fixture.listener));
    side_init(&fixture.client);
    side_init(&fixture.server);
    assert_int_equal(
        sp_stream_connect(fixture.loop, fixture.address, on_connect, NULL, &fixture.client.stream),
        0);
    assert_false(fixture.connected);
    wait_for(&fixture.connected);
    wait_for(&fixture.accepted);
    assert_string_equal(sp_stream_peer(fixture.client.stream), fixture.address);
    assert_memory_equal(sp_stream_peer(fixture.server.stream), "127.0.0.1:", 10);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    side_close(&fixture.client);
    side_close(&fixture.server);
    sp_listener_close(fixture.listener);
    sp_loop_free(fixture.loop);
    assert_int_equal(sp_mem_live_count(), fixture.live_before);
    return 0;
}

static void on_written(struct sp_stream_write *write, int status)
{
    struct side *side = &fixture.client;

    if (write == &fixture.server.write) {
        side = &fixture.server;
    }
    side->written += 1;
    side->write_status = status;
}

static int
write_piece(struct side *side, struct sp_stream_write *write, const struct sp_iovec *piece)
{
    return sp_stream_write(side->stream, write, piece, 1, on_written);
}

/* ---- echo ------------------------------------------------------------------------------------ */

/* Sends back whatever comes, one chunk at a time; reads on when the chunk has left. */
struct echo {
    struct sp_stream *stream;
    struct sp_stream_write write;
    uint8_t bytes[CHUNK];
    bool busy;
};

static struct echo echo;

static void echo_room(void *arg, uint8_t **out_bytes, size_t *out_size)
{
    (void)arg;
    *out_bytes = echo.bytes;
    *out_size = echo.busy ? 0 : sizeof echo.bytes;
}

static void echo_read(void *arg, size_t size);
static const struct sp_stream_reader echo_reader = { echo_room, echo_read, side_end };

static void on_echoed(struct sp_stream_write *write, int status)
{
    assert_ptr_equal(write, &echo.write);
    assert_int_equal(status, 0);
    echo.busy = false;
    assert_int_equal(sp_stream_read_start(echo.stream, &echo_reader, &fixture.server), 0);
}

static void echo_read(void *arg, size_t size)
{
    struct sp_iovec halves[2] = { { echo.bytes, size / 3 },
                                  { echo.bytes + size / 3, size - size / 3 } };

    (void)arg;
    echo.busy = true;
    assert_int_equal(sp_stream_write(echo.stream, &echo.write, halves, 2, on_echoed), 0);
    assert_true(echo.busy); /* never inside the call */
}

static unsigned
cut_randomly(const uint8_t *data, size_t size, struct sp_rand *rand, struct sp_iovec *out_pieces)
{
    unsigned count = 0;
    size_t used = 0;

    while (used < size && count < PIECES_MAX - 1) {
        size_t step = sp_rand_below(rand, count % 7 == 0 ? 30000 : 300);
        step = step < size - used ? step : size - used;
        out_pieces[count] = (struct sp_iovec){ data + used, step };
        used += step;
        count += 1;
    }
    out_pieces[count] = (struct sp_iovec){ data + used, size - used };
    return count + 1;
}

static void test_stream_echo_of_odd_pieces_comes_back_in_order(void **state)
{
    static struct sp_stream_write writes[ECHO_BYTES / 100000 + 1];
    struct sp_iovec pieces[PIECES_MAX];
    struct sp_rand rand;
    size_t sent = 0;
    unsigned count = 0;

    (void)state;
    sp_rand_init(&rand, 7);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)sp_rand_next(&rand);
    }
    echo = (struct echo){ .stream = fixture.server.stream };
    assert_int_equal(sp_stream_read_start(echo.stream, &echo_reader, &fixture.server), 0);
    assert_int_equal(start_reading(&fixture.client), 0);
    while (sent < sizeof bytes) {
        size_t size = sizeof bytes - sent < 100000 ? sizeof bytes - sent : 100000;
        unsigned pieces_count = cut_randomly(bytes + sent, size, &rand, pieces);
        assert_int_equal(
            sp_stream_write(
                fixture.client.stream, &writes[count], pieces, pieces_count, on_written),
            0);
        sent += size;
        count += 1;
    }
    assert_true(sp_stream_queued_bytes(fixture.client.stream) > 0);
    WAIT_WHILE(fixture.client.got < sizeof bytes);
    assert_int_equal(fixture.client.got, sizeof bytes);
    assert_int_equal(fixture.client.sum, sum_of(0, bytes, sizeof bytes));
    assert_int_equal(fixture.client.written, count);
    assert_int_equal(fixture.client.write_status, 0);
    assert_int_equal(sp_stream_queued_bytes(fixture.client.stream), 0);
}

/* ---- back-pressure --------------------------------------------------------------------------- */

static void test_stream_without_room_stops_reading_until_started_again(void **state)
{
    struct sp_iovec piece = { bytes, sizeof bytes };
    struct side *server = &fixture.server;

    (void)state;
    server->room_size = 0;
    assert_int_equal(start_reading(server), 0);
    assert_int_equal(write_piece(&fixture.client, &fixture.client.write, &piece), 0);
    pause_ms(50);
    assert_int_equal(server->got, 0);
    assert_int_equal(server->ends, 0);
    assert_int_equal(fixture.client.written, 0);
    size_t stuck = sp_stream_queued_bytes(fixture.client.stream);
    assert_true(stuck > 0);
    pause_ms(50);
    assert_int_equal(sp_stream_queued_bytes(fixture.client.stream), stuck);

    server->room_size = CHUNK;
    assert_int_equal(start_reading(server), 0);
    WAIT_WHILE(server->got < sizeof bytes);
    assert_int_equal(server->got, sizeof bytes);
    assert_int_equal(fixture.client.written, 1);
}

/* ---- many small writes ----------------------------------------------------------------------- */

static struct sp_stream_write *told[64];
static unsigned told_count;

static void on_told(struct sp_stream_write *write, int status)
{
    assert_int_equal(status, 0);
    told[told_count] = write;
    told_count += 1;
}

static void test_stream_writes_complete_in_order_with_empty_ones(void **state)
{
    struct side *client = &fixture.client;

    (void)state;
    told_count = 0;
    for (unsigned i = 0; i < 64; i++) {
        struct sp_iovec pieces[2] = { { NULL, 0 },
                                      { bytes, i == 8 ? sizeof bytes : (i % 3 == 0 ? 0 : i) } };
        assert_int_equal(
            sp_stream_write(client->stream, &client->more[i], pieces, i % 5 == 0 ? 0 : 2, on_told),
            0);
    }
    assert_int_equal(told_count, 0);
    assert_int_equal(start_reading(&fixture.server), 0);
    WAIT_WHILE(told_count < 64);
    assert_int_equal(told_count, 64);
    for (unsigned i = 0; i < 64; i++) {
        assert_ptr_equal(told[i], &client->more[i]);
    }
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void test_stream_close_of_peer_ends_reading_once_with_closed(void **state)
{
    struct side *server = &fixture.server;

    (void)state;
    assert_int_equal(start_reading(server), 0);
    sp_stream_close(fixture.client.stream, on_closed, &fixture.client);
    sp_stream_close(fixture.client.stream, NULL, NULL);
    wait_for(&server->failed);
    pause_ms(10);
    assert_int_equal(server->ends, 1);
    assert_int_equal(server->end_status, SPATE_ERR_CLOSED);
    assert_true(fixture.client.closed);
    assert_int_equal(start_reading(server), SPATE_ERR_CLOSED);
}

static void test_stream_write_after_death_of_peer_fails_without_signal(void **state)
{
    struct sp_iovec piece = { bytes, CHUNK };
    struct side *client = &fixture.client;
    int rv = 0;

    (void)state;
    assert_ptr_equal(signal(SIGPIPE, SIG_DFL), SIG_DFL);
    sp_stream_close(fixture.server.stream, on_closed, &fixture.server);
    wait_for(&fixture.server.closed);
    for (unsigned i = 0; i < 64 && rv == 0; i++) {
        rv = write_piece(client, &client->more[i], &piece);
        pause_ms(1);
    }
    assert_int_equal(rv, SPATE_ERR_CLOSED);
    assert_int_equal(sp_stream_queued_bytes(client->stream), 0);
    assert_int_equal(start_reading(client), 0);
    wait_for(&client->failed);
    assert_int_equal(client->ends, 1);
    assert_int_equal(client->end_status, SPATE_ERR_CLOSED);
}

static void test_stream_queued_write_fails_when_peer_dies(void **state)
{
    struct sp_iovec piece = { bytes, sizeof bytes };
    struct side *client = &fixture.client;

    (void)state;
    assert_int_equal(write_piece(client, &client->write, &piece), 0);
    pause_ms(5);
    assert_int_equal(client->written, 0);
    sp_stream_close(fixture.server.stream, on_closed, &fixture.server);
    wait_for(&fixture.server.closed);
    WAIT_WHILE(client->written == 0);
    assert_int_equal(client->written, 1);
    assert_int_equal(client->write_status, SPATE_ERR_CLOSED);
}

static void test_stream_close_cancels_queued_write_before_closed(void **state)
{
    struct sp_iovec piece = { bytes, sizeof bytes };
    struct side *client = &fixture.client;

    (void)state;
    assert_int_equal(write_piece(client, &client->write, &piece), 0);
    sp_stream_close(client->stream, on_closed, client);
    assert_int_equal(client->written, 0);
    assert_false(client->closed);
    wait_for(&client->closed);
    assert_int_equal(client->written, 1);
    assert_int_equal(client->write_status, SPATE_ERR_CANCELED);
}

static void test_stream_write_without_memory_changes_nothing_or_breaks(void **state)
{
    struct sp_iovec piece = { bytes, sizeof bytes };
    struct side *client = &fixture.client;

    (void)state;
    assert_int_equal(write_piece(client, &client->more[0], &piece), 0);
    size_t queued = sp_stream_queued_bytes(client->stream);
    sp_mem_fail_at(1);
    assert_int_equal(write_piece(client, &client->more[1], &piece), SPATE_ERR_NOMEM);
    assert_int_equal(sp_stream_queued_bytes(client->stream), queued);
    sp_mem_fail_at(1);
    assert_int_equal(write_piece(&fixture.server, &fixture.server.write, &piece), SPATE_ERR_CLOSED);
    assert_int_equal(sp_stream_queued_bytes(fixture.server.stream), 0);
    piece.size = 1; /* half a message went out: nothing may follow it */
    assert_int_equal(write_piece(&fixture.server, &fixture.server.write, &piece), SPATE_ERR_CLOSED);
    pause_ms(5);
    assert_int_equal(fixture.server.written, 0);
}

/* ---- closing inside callbacks ---------------------------------------------------------------- */

static void closing_read(void *arg, size_t size)
{
    struct side *side = arg;

    side->got += size;
    sp_stream_close(side->stream, on_closed, side);
}

static void test_stream_close_inside_read_stops_reading(void **state)
{
    static const struct sp_stream_reader reader = { side_room, closing_read, side_end };
    struct sp_iovec piece = { bytes, 100 };
    struct side *server = &fixture.server;

    (void)state;
    server->room_size = 10;
    assert_int_equal(sp_stream_read_start(server->stream, &reader, server), 0);
    assert_int_equal(write_piece(&fixture.client, &fixture.client.write, &piece), 0);
    wait_for(&server->closed);
    assert_int_equal(server->got, 10);
    assert_int_equal(server->ends, 0);
}

#define STREAM_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STREAM_TEST(test_stream_echo_of_odd_pieces_comes_back_in_order),
        STREAM_TEST(test_stream_without_room_stops_reading_until_started_again),
        STREAM_TEST(test_stream_writes_complete_in_order_with_empty_ones),
        STREAM_TEST(test_stream_close_of_peer_ends_reading_once_with_closed),
        STREAM_TEST(test_stream_write_after_death_of_peer_fails_without_signal),
        STREAM_TEST(test_stream_queued_write_fails_when_peer_dies),
        STREAM_TEST(test_stream_close_cancels_queued_write_before_closed),
        STREAM_TEST(test_stream_write_without_memory_changes_nothing_or_breaks),
        STREAM_TEST(test_stream_close_inside_read_stops_reading),
    };
    return cmocka_run_group_tests_name("io/stream", tests, NULL, NULL);
}
