#include "io/doorbell.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "io/clock.h"
#include "io/loop.h"
#include "io/process.h"
#include "io/socket.h"
#include "io/thread.h"
#include "spate/error.h"

struct fixture {
    struct sp_loop *loop;
    struct sp_doorbell *doorbell;
    unsigned answers;
    bool answered;
    uint64_t answered_by;
};

static void on_answer(void *arg)
{
    struct fixture *fixture = arg;

    fixture->answers += 1;
    fixture->answered = true;
    fixture->answered_by = sp_thread_self();
}

static void ring_thrice(void *arg)
{
    struct fixture *fixture = arg;

    for (unsigned i = 0; i < 3; i++) {
        sp_doorbell_ring(fixture->doorbell);
    }
}

/* The loop sleeps without anything else to wait for but the deadline. */
static void test_doorbell_wakes_the_loop_from_another_thread(void **state)
{
    struct fixture fixture = { .answers = 0 };
    struct sp_thread *thread = NULL;

    (void)state;
    assert_int_equal(sp_loop_new(0, &fixture.loop), 0);
    assert_int_equal(sp_doorbell_open(fixture.loop, on_answer, &fixture, &fixture.doorbell), 0);
    assert_int_equal(sp_thread_start(ring_thrice, &fixture, &thread), 0);
    assert_true(
        sp_loop_run_until(fixture.loop, &fixture.answered, sp_loop_now_ms(fixture.loop) + 10000));
    sp_thread_join(thread);
    assert_true(fixture.answered_by == sp_thread_self());
    assert_in_range(fixture.answers, 1, 3);
    sp_doorbell_close(fixture.doorbell);
    sp_loop_free(fixture.loop);
}

static void test_doorbell_does_not_keep_the_loop_alive(void **state)
{
    struct fixture fixture = { .answers = 0 };
    uint64_t live = sp_mem_live_count();

    (void)state;
    assert_int_equal(sp_loop_new(0, &fixture.loop), 0);
    assert_int_equal(sp_doorbell_open(fixture.loop, on_answer, &fixture, &fixture.doorbell), 0);
    sp_loop_run(fixture.loop); /* returns */
    sp_doorbell_ring(fixture.doorbell);
    sp_doorbell_close(fixture.doorbell);
    sp_loop_free(fixture.loop);
    assert_int_equal(fixture.answers, 0);
    assert_int_equal(sp_mem_live_count(), live);
}

static void test_doorbell_without_memory_is_refused(void **state)
{
    struct fixture fixture = { .answers = 0 };

    (void)state;
    assert_int_equal(sp_loop_new(0, &fixture.loop), 0);
    sp_mem_fail_at(1);
    assert_int_equal(sp_doorbell_open(fixture.loop, on_answer, &fixture, &fixture.doorbell),
                     SPATE_ERR_NOMEM);
    sp_mem_fail_at(0);
    sp_doorbell_close(NULL);
    sp_loop_free(fixture.loop);
}

static void test_socket_listen_takes_an_address_once(void **state)
{
    struct sp_loop *loop = NULL;
    char address[32];
    uint16_t port = 0;
    int first = -1;
    int second = -1;

    (void)state;
    assert_int_equal(sp_loop_new(0, &loop), 0);
    assert_int_equal(sp_socket_listen(loop, "127.0.0.1:0", &first, &port), 0);
    assert_true(first >= 0);
    assert_true(port > 0);
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", port);
    assert_int_equal(sp_socket_listen(loop, address, &second, &port), SPATE_ERR_EXISTS);
    assert_int_equal(sp_socket_listen(loop, "no port", &second, &port), SPATE_ERR_INVALID);
    assert_int_equal(second, -1);
    (void)close(first);
    sp_loop_free(loop);
}

static void test_process_usage_counts_descriptors_and_memory(void **state)
{
    struct sp_process_usage before;
    struct sp_process_usage after;
    int fd;

    (void)state;
    sp_process_usage(&before);
    fd = dup(0);
    sp_process_usage(&after);
    assert_true(before.files_open > 0);
    assert_int_equal(after.files_open, before.files_open + 1);
    assert_true(after.files_max >= after.files_open);
    assert_in_range(after.resident_bytes, 100 * 1024, UINT64_C(1) << 40);
    assert_true(after.cpu_us >= before.cpu_us);
    assert_true(after.started_ms > INT64_C(1500000000000));
    assert_true(after.started_ms - before.started_ms < 1000);
    (void)close(fd);
}

static void test_process_cpu_is_of_processes_that_exist(void **state)
{
    uint64_t own_ns = 0;
    uint64_t same_ns = 0;
    uint64_t none_ns = 7;

    (void)state;
    assert_int_equal(sp_process_cpu_ns(0, &own_ns), 0);
    assert_true(own_ns > 0);
    assert_int_equal(sp_process_cpu_ns(getpid(), &same_ns), 0);
    assert_in_range(same_ns, own_ns, own_ns + UINT64_C(60000000000));
    assert_int_equal(sp_process_cpu_ns(-1, &none_ns), SPATE_ERR_NOT_FOUND);
    assert_int_equal(sp_process_cpu_ns(INT64_C(1) << 32, &none_ns), SPATE_ERR_NOT_FOUND);
    assert_int_equal(none_ns, 7);
}

static void test_clock_runs_with_that_of_a_loop(void **state)
{
    struct sp_loop *loop = NULL;

    (void)state;
    assert_int_equal(sp_loop_new(0, &loop), 0);
    uint64_t before_us = sp_loop_now_us(loop);
    uint64_t now_us = sp_clock_us();
    assert_in_range(now_us, before_us, sp_loop_now_us(loop));
    int64_t wall_ms = sp_loop_wall_ms(loop);
    assert_in_range(sp_clock_wall_ms() - wall_ms, 0, 60000);
    sp_loop_free(loop);
}

static void test_path_space_of_a_disk(void **state)
{
    uint64_t free_bytes = 0;
    uint64_t size = 0;

    (void)state;
    assert_int_equal(sp_path_space("/", &free_bytes, &size), 0);
    assert_true(size > 0);
    assert_true(free_bytes <= size);
    assert_int_equal(sp_path_space("/none/at/all", &free_bytes, &size), SPATE_ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_doorbell_wakes_the_loop_from_another_thread),
        cmocka_unit_test(test_doorbell_does_not_keep_the_loop_alive),
        cmocka_unit_test(test_doorbell_without_memory_is_refused),
        cmocka_unit_test(test_socket_listen_takes_an_address_once),
        cmocka_unit_test(test_process_usage_counts_descriptors_and_memory),
        cmocka_unit_test(test_process_cpu_is_of_processes_that_exist),
        cmocka_unit_test(test_clock_runs_with_that_of_a_loop),
        cmocka_unit_test(test_path_space_of_a_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
