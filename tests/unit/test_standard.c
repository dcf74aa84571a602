#include "io/standard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "attempted_streams.h"
#include "io/thread.h"

/* What cmocka prints to, while a test has closed it. */
static int saved[SP_STANDARD_COUNT];

static void close_all(void)
{
    for (int fd = 0; fd < SP_STANDARD_COUNT; fd++) {
        saved[fd] = fcntl(fd, F_DUPFD_CLOEXEC, 100);
        (void)close(fd);
    }
}

static void restore_all(void)
{
    for (int fd = 0; fd < SP_STANDARD_COUNT; fd++) {
        if (saved[fd] >= 0) {
            (void)dup2(saved[fd], fd);
            (void)close(saved[fd]);
        }
    }
}

static bool all_closed(void)
{
    bool closed = true;

    for (int fd = 0; fd < SP_STANDARD_COUNT; fd++) {
        closed = closed && fcntl(fd, F_GETFD) < 0;
    }
    return closed;
}

/* A loop with a wake-up and both ends of a connection: 0, or the number of the step that failed. */
static int use_io(void)
{
    struct sp_loop *loop = NULL;
    struct sp_wakeup wakeup;
    struct sp_listener *listener = NULL;
    struct attempt attempt = { .told = false };
    char address[64];

    if (sp_loop_new(1, &loop) != 0 || sp_wakeup_open(&wakeup) != 0 || !all_closed()) {
        return 1;
    }
    if (sp_listener_open(loop, "127.0.0.1:0", on_accept, NULL, &listener) != 0 || !all_closed()) {
        return 2;
    }
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", sp_listener_port(listener));
    if (sp_stream_connect(loop, address, on_connect, &attempt, &attempt.stream) != 0) {
        return 3;
    }
    uint64_t until_ms = sp_loop_now_ms(loop) + TIMEOUT_MS;
    if (!sp_loop_run_until(loop, &attempt.told, until_ms) || attempt.status != 0 ||
        !sp_loop_run_until(loop, &accepted_any, until_ms) || !all_closed()) {
        return 4;
    }
    sp_stream_close(attempt.stream, on_closed, &attempt);
    sp_stream_close(accepted, NULL, NULL);
    sp_listener_close(listener);
    if (!sp_loop_run_until(loop, &attempt.closed, until_ms)) {
        return 5;
    }
    sp_wakeup_close(&wakeup);
    sp_loop_free(loop); /* libuv aborts here when one of its descriptors is 0 to 2 */
    return all_closed() ? 0 : 6;
}

static void test_standard_closed_descriptors_are_not_taken(void **state)
{
    (void)state;
    close_all();
    int step = use_io();
    restore_all();
    assert_int_equal(step, 0);
}

static void test_standard_opened_as_refusing_fail_as_if_closed(void **state)
{
    char byte = 0;

    (void)state;
    close_all();
    sp_standard_open(true);
    bool refused = read(STDIN_FILENO, &byte, 1) < 0 && errno == EBADF;
    refused = refused && write(STDOUT_FILENO, "x", 1) < 0 && errno == EBADF;
    refused = refused && write(STDERR_FILENO, "x", 1) < 0 && errno == EBADF;
    bool open = !all_closed();
    restore_all();
    assert_true(refused);
    assert_true(open);
}

static void test_standard_opened_are_empty_and_take_all(void **state)
{
    char byte = 0;

    (void)state;
    (void)fflush(NULL);
    close_all();
    sp_standard_open(false);
    bool fine = read(STDIN_FILENO, &byte, 1) == 0 && write(STDOUT_FILENO, "x", 1) == 1 &&
                write(STDERR_FILENO, "x", 1) == 1;
    restore_all();
    assert_true(fine);
}

static void test_standard_open_descriptors_stay_as_they_are(void **state)
{
    int ends[2];
    char byte = 0;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    close_all();
    (void)dup2(ends[1], STDERR_FILENO);
    sp_standard_open(true);
    bool written = write(STDERR_FILENO, "x", 1) == 1;
    restore_all();
    assert_true(written);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    assert_int_equal(byte, 'x');
    (void)close(ends[0]);
    (void)close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_standard_closed_descriptors_are_not_taken),
        cmocka_unit_test(test_standard_opened_as_refusing_fail_as_if_closed),
        cmocka_unit_test(test_standard_opened_are_empty_and_take_all),
        cmocka_unit_test(test_standard_open_descriptors_stay_as_they_are),
    };
    return cmocka_run_group_tests_name("io/standard", tests, NULL, NULL);
}
