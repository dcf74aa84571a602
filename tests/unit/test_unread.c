#include "io/stream.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/mem.h"

enum {
    ANSWER_BYTES = 8 * 1024 * 1024,
    PEER_BYTES = 256 * 1024, /* that may be on the way to it */
    TIMEOUT_MS = 10000,
};

static struct sp_loop *loop;
static struct sp_stream *accepted;
static bool is_accepted;
static bool is_closed;
static uint8_t answer[ANSWER_BYTES];

static void on_accept(void *arg, struct sp_stream *stream)
{
    (void)arg;
    accepted = stream;
    is_accepted = true;
}

static void on_written(struct sp_stream_write *write, int status)
{
    (void)write;
    (void)status;
}

static void on_closed(void *arg)
{
    (void)arg;
    is_closed = true;
}

/* A peer that connects and never reads. */
static int connect_mute(uint16_t port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void run_ms(uint64_t duration_ms)
{
    static const bool never = false;

    (void)sp_loop_run_until(loop, &never, sp_loop_now_ms(loop) + duration_ms);
}

/* The kernel's part is in no budget: it must be small. What is queued here is counted. */
static void test_stream_unread_answer_stays_in_the_queue(void **state)
{
    struct sp_listener *listener = NULL;
    struct sp_stream_write write;
    const struct sp_iovec piece = { answer, sizeof answer };
    size_t queued = 0;

    (void)state;
    assert_int_equal(sp_loop_new(0, &loop), 0);
    assert_int_equal(sp_listener_open(loop, "127.0.0.1:0", on_accept, NULL, &listener), 0);
    int fd = connect_mute(sp_listener_port(listener));
    assert_true(sp_loop_run_until(loop, &is_accepted, sp_loop_now_ms(loop) + TIMEOUT_MS));
    assert_int_equal(sp_stream_write(accepted, &write, &piece, 1, on_written), 0);
    while (queued != sp_stream_queued_bytes(accepted)) { /* until the kernel takes no more */
        queued = sp_stream_queued_bytes(accepted);
        run_ms(100);
    }
    assert_in_range(queued, ANSWER_BYTES - 2 * SP_UNSENT_BYTES_MAX - PEER_BYTES, ANSWER_BYTES);
    sp_stream_close(accepted, on_closed, NULL);
    assert_true(sp_loop_run_until(loop, &is_closed, sp_loop_now_ms(loop) + TIMEOUT_MS));
    sp_listener_close(listener);
    (void)close(fd);
    run_ms(1);
    sp_loop_free(loop);
    assert_int_equal(sp_mem_live_count(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream_unread_answer_stays_in_the_queue),
    };
    return cmocka_run_group_tests_name("io/unread", tests, NULL, NULL);
}
