#include "io/thread.h"

#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "io/loop.h"
#include "io/stream.h"

enum {
    THREADS = 4,
    ROUNDS = 20000,
    FAR_MS = 20000, /* a test that waits so long has failed */
};

static uint64_t now_ms(void)
{
    struct sp_loop *loop = NULL;

    assert_int_equal(sp_loop_new(0, &loop), 0);
    uint64_t now = sp_loop_now_ms(loop);
    sp_loop_free(loop);
    return now;
}

/* ---- monitors -------------------------------------------------------------------------------- */

struct shared {
    struct sp_monitor *monitor;
    struct sp_wakeup wakeup;
    uint64_t count; /* inside only */
    unsigned ended;
    bool go;
    atomic_bool stop;
    atomic_bool running;
    atomic_uint_least64_t passes;
    bool blocked; /* what the thread's signal mask said */
};

static void add_many(void *arg)
{
    struct shared *shared = arg;

    for (unsigned i = 0; i < ROUNDS; i++) {
        sp_monitor_enter(shared->monitor);
        sp_monitor_enter(shared->monitor);
        shared->count += 1;
        sp_monitor_leave(shared->monitor);
        sp_monitor_leave(shared->monitor);
    }
}

static void test_monitor_lets_one_in_at_a_time(void **state)
{
    struct shared shared = { .count = 0 };
    struct sp_thread *threads[THREADS];

    (void)state;
    assert_int_equal(sp_monitor_new(&shared.monitor), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(sp_thread_start(add_many, &shared, &threads[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        sp_thread_join(threads[i]);
    }
    assert_int_equal(shared.count, (uint64_t)THREADS * ROUNDS);
    sp_monitor_free(shared.monitor);
    assert_int_equal(sp_mem_live_count(), 0);
}

static void wait_for_go(void *arg)
{
    struct shared *shared = arg;

    sp_monitor_enter(shared->monitor);
    sp_monitor_enter(shared->monitor); /* waiting leaves both */
    shared->ended += 1;
    sp_monitor_wake(shared->monitor);
    while (!shared->go) {
        sp_monitor_wait(shared->monitor, UINT64_MAX);
    }
    shared->ended -= 1;
    sp_monitor_wake(shared->monitor);
    sp_monitor_leave(shared->monitor);
    assert_true(sp_monitor_outermost(shared->monitor));
    sp_monitor_leave(shared->monitor);
}

static void test_monitor_wake_ends_all_waits(void **state)
{
    struct shared shared = { .count = 0 };
    struct sp_thread *threads[THREADS];

    (void)state;
    assert_int_equal(sp_monitor_new(&shared.monitor), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(sp_thread_start(wait_for_go, &shared, &threads[i]), 0);
    }
    sp_monitor_enter(shared.monitor);
    while (shared.ended < THREADS) { /* all of them wait */
        sp_monitor_wait(shared.monitor, FAR_MS);
    }
    shared.go = true;
    sp_monitor_wake(shared.monitor);
    while (shared.ended > 0) {
        sp_monitor_wait(shared.monitor, FAR_MS);
    }
    sp_monitor_leave(shared.monitor);
    for (unsigned i = 0; i < THREADS; i++) {
        sp_thread_join(threads[i]);
    }
    sp_monitor_free(shared.monitor);
}

static void test_monitor_wait_ends_with_its_time(void **state)
{
    struct sp_monitor *monitor = NULL;
    uint64_t began_ms = now_ms();

    (void)state;
    assert_int_equal(sp_monitor_new(&monitor), 0);
    sp_monitor_enter(monitor);
    while (now_ms() < began_ms + 20) {
        sp_monitor_wait(monitor, 20);
    }
    sp_monitor_leave(monitor);
    assert_true(now_ms() < began_ms + FAR_MS);
    sp_monitor_free(monitor);
}

static void hog(void *arg)
{
    struct shared *shared = arg;

    while (!atomic_load(&shared->stop)) {
        sp_monitor_enter(shared->monitor);
        atomic_fetch_add(&shared->passes, 1);
        sp_monitor_leave(shared->monitor);
        atomic_store(&shared->running, true);
    }
}

static void test_monitor_first_is_not_kept_out(void **state)
{
    struct shared shared = { .count = 0 };
    struct sp_thread *threads[THREADS];
    uint64_t passed = 0;

    (void)state;
    assert_int_equal(sp_monitor_new(&shared.monitor), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(sp_thread_start(hog, &shared, &threads[i]), 0);
    }
    while (!atomic_load(&shared.running)) {
        (void)sched_yield(); /* until one of them runs */
    }
    /* Those that are on their way in may get ahead, some three million do not. */
    for (unsigned i = 0; i < 200; i++) {
        (void)poll(NULL, 0, 1); /* as the thread of a client, which sleeps outside */
        uint64_t before = atomic_load(&shared.passes);
        sp_monitor_enter_first(shared.monitor);
        passed += atomic_load(&shared.passes) - before;
        sp_monitor_leave(shared.monitor);
    }
    atomic_store(&shared.stop, true);
    for (unsigned i = 0; i < THREADS; i++) {
        sp_thread_join(threads[i]);
    }
    sp_monitor_free(shared.monitor);
    assert_true(passed < 200000);
}

/* ---- threads and wake-ups -------------------------------------------------------------------- */

static void look_at_mask(void *arg)
{
    struct shared *shared = arg;
    sigset_t mask;

    (void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
    shared->blocked = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGINT) == 1;
}

static void test_thread_leaves_signals_to_the_program(void **state)
{
    struct shared shared = { .count = 0 };
    struct sp_thread *thread = NULL;
    sigset_t mask;

    (void)state;
    assert_int_equal(sp_thread_start(look_at_mask, &shared, &thread), 0);
    sp_thread_join(thread);
    assert_true(shared.blocked);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
    assert_int_equal(sigismember(&mask, SIGTERM), 0);
}

static void raise_it(void *arg)
{
    sp_wakeup_raise(&((struct shared *)arg)->wakeup);
}

static bool readable(int fd)
{
    struct pollfd watched = { .fd = fd, .events = POLLIN };

    return poll(&watched, 1, 0) == 1;
}

static void test_wakeup_ends_a_sleep_and_is_lowered(void **state)
{
    struct shared shared = { .count = 0 };
    struct sp_thread *thread = NULL;
    uint64_t began_ms = now_ms();
    int pair[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(sp_wakeup_open(&shared.wakeup), 0);
    assert_false(readable(shared.wakeup.fd));
    assert_int_equal(sp_thread_start(raise_it, &shared, &thread), 0);
    sp_wakeup_wait(&shared.wakeup, pair[0], FAR_MS);
    sp_thread_join(thread);
    assert_true(now_ms() < began_ms + FAR_MS);
    assert_false(readable(shared.wakeup.fd));

    assert_int_equal(write(pair[1], "x", 1), 1);
    sp_wakeup_wait(&shared.wakeup, pair[0], -1); /* ends by the other descriptor */
    sp_wakeup_close(&shared.wakeup);
    sp_wakeup_close(&shared.wakeup);
    (void)close(pair[0]);
    (void)close(pair[1]);
}

/* ---- a loop inside another one --------------------------------------------------------------- */

struct exchange {
    struct sp_loop *loop;
    struct sp_stream *streams[2]; /* accepted, connected */
    struct sp_stream_write write;
    struct sp_timer timer;
    uint8_t bytes[8];
    size_t got;
    bool fired;
    bool written;
};

static void give_room(void *arg, uint8_t **out_bytes, size_t *out_size)
{
    struct exchange *exchange = arg;

    *out_bytes = exchange->bytes;
    *out_size = sizeof exchange->bytes;
}

static void on_read(void *arg, size_t size)
{
    ((struct exchange *)arg)->got += size;
}

static void on_end(void *arg, int status)
{
    (void)arg;
    (void)status;
}

static const struct sp_stream_reader reader = {
    .room = give_room,
    .read = on_read,
    .end = on_end,
};

static void on_accept(void *arg, struct sp_stream *stream)
{
    struct exchange *exchange = arg;

    exchange->streams[0] = stream;
    assert_int_equal(sp_stream_read_start(stream, &reader, exchange), 0);
}

static void on_written(struct sp_stream_write *write, int status)
{
    (void)write;
    (void)status;
}

static void on_connect(void *arg, struct sp_stream *stream, int status)
{
    struct exchange *exchange = arg;
    struct sp_iovec piece = { .bytes = (const uint8_t *)"hello", .size = 5 };

    assert_int_equal(status, 0);
    assert_int_equal(sp_stream_write(stream, &exchange->write, &piece, 1, on_written), 0);
    exchange->written = true;
}

static void on_fired(struct sp_timer *timer)
{
    ((struct exchange *)(void *)((char *)timer - offsetof(struct exchange, timer)))->fired = true;
}

/* Drives the loop as a program with a loop of its own would; the number of turns it took. */
static unsigned drive(struct exchange *exchange, const bool *flag, const size_t *size)
{
    uint64_t began_ms = now_ms();
    unsigned turns = 0;

    while ((flag != NULL && !*flag) || (size != NULL && *size == 0)) {
        struct pollfd watched = { .fd = sp_loop_fd(exchange->loop), .events = POLLIN };
        int wait_ms = sp_loop_wait_ms(exchange->loop);
        assert_true(wait_ms >= 0 || size != NULL);
        (void)poll(&watched, 1, wait_ms < 0 ? FAR_MS : wait_ms);
        sp_loop_turn_nowait(exchange->loop);
        turns += 1;
        assert_true(now_ms() < began_ms + FAR_MS);
    }
    return turns;
}

static void test_loop_inside_another_one_needs_few_turns(void **state)
{
    struct exchange exchange = { .fired = false };
    struct sp_listener *listener = NULL;
    char address[32];

    (void)state;
    assert_int_equal(sp_loop_new(0, &exchange.loop), 0);
    sp_timer_init(&exchange.timer, exchange.loop, on_fired);
    sp_loop_turn_nowait(exchange.loop);
    assert_int_equal(sp_loop_wait_ms(exchange.loop), -1); /* nothing to wait for */
    assert_false(sp_loop_due_before(exchange.loop, UINT64_MAX));

    uint64_t due_ms = sp_loop_now_ms(exchange.loop) + 30;
    assert_int_equal(sp_timer_start(&exchange.timer, due_ms), 0);
    assert_true(sp_loop_due_before(exchange.loop, due_ms + 1));
    assert_false(sp_loop_due_before(exchange.loop, due_ms));
    assert_in_range(sp_loop_wait_ms(exchange.loop), 0, 30);
    assert_true(drive(&exchange, &exchange.fired, NULL) < 10);
    assert_true(sp_loop_now_ms(exchange.loop) >= due_ms);

    assert_int_equal(
        sp_listener_open(exchange.loop, "127.0.0.1:0", on_accept, &exchange, &listener), 0);
    assert_int_equal(sp_loop_wait_ms(exchange.loop), 0); /* the kernel does not know of it yet */
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", sp_listener_port(listener));
    assert_int_equal(
        sp_stream_connect(exchange.loop, address, on_connect, &exchange, &exchange.streams[1]), 0);
    assert_true(drive(&exchange, NULL, &exchange.got) < 30);
    assert_int_equal(exchange.got, 5);
    sp_stream_close(exchange.streams[0], NULL, NULL);
    sp_stream_close(exchange.streams[1], NULL, NULL);
    sp_listener_close(listener);
    sp_loop_run(exchange.loop);
    sp_loop_free(exchange.loop);
    assert_int_equal(sp_mem_live_count(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_monitor_lets_one_in_at_a_time),
        cmocka_unit_test(test_monitor_wake_ends_all_waits),
        cmocka_unit_test(test_monitor_wait_ends_with_its_time),
        cmocka_unit_test(test_monitor_first_is_not_kept_out),
        cmocka_unit_test(test_thread_leaves_signals_to_the_program),
        cmocka_unit_test(test_wakeup_ends_a_sleep_and_is_lowered),
        cmocka_unit_test(test_loop_inside_another_one_needs_few_turns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
