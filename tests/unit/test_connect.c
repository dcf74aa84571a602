#include "io/stream.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "attempted_streams.h"
#include "spate/error.h"

static int set_up(void **state)
{
    *state = begin_attempts();
    return 0;
}

static int tear_down(void **state)
{
    end_attempts(*state);
    return 0;
}

/* A port of 127.0.0.1 that is bound, so nobody else gets it, but where nobody listens. */
static int take_dead_port(uint16_t *out_port)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    *out_port = ntohs(address.sin_port);
    return fd;
}

static int try_to_connect(struct sp_loop *loop, const char *host, uint16_t port)
{
    struct attempt attempt = { .told = false };
    char address[128];

    (void)snprintf(address, sizeof address, "%s:%u", host, port);
    int rv = sp_stream_connect(loop, address, on_connect, &attempt, &attempt.stream);
    if (rv != 0) {
        return rv;
    }
    assert_false(attempt.told);
    wait_for(loop, &attempt.told);
    sp_stream_close(attempt.stream, on_closed, &attempt);
    assert_false(attempt.closed);
    wait_for(loop, &attempt.closed);
    return attempt.status;
}

static void test_connect_refused_is_unreachable(void **state)
{
    uint16_t port = 0;
    int fd = take_dead_port(&port);

    assert_int_equal(try_to_connect(*state, "127.0.0.1", port), SPATE_ERR_UNREACHABLE);
    assert_int_equal(try_to_connect(*state, "localhost", port), SPATE_ERR_UNREACHABLE);
    (void)close(fd);
}

/* A label of more than 63 letters: no resolver sends a question about it. */
#define IMPOSSIBLE_NAME "this-label-is-far-longer-than-the-sixty-three-letters-that-dns-allows.test"

static void test_connect_unknown_name_is_not_found(void **state)
{
    assert_int_equal(try_to_connect(*state, IMPOSSIBLE_NAME, 7700), SPATE_ERR_NOT_FOUND);
}

static void test_connect_malformed_address_is_invalid(void **state)
{
    static const char *const bad[] = {
        "",    "host",        "host:",    "host:x",    "host:70000", "host:-1",
        ":80", "host:123456", "::1:7700", "[::1:7700", "[]:1",       "host: 1",
    };
    struct sp_stream *stream = NULL;
    char text[400];

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(sp_stream_connect(*state, bad[i], on_connect, NULL, &stream),
                         SPATE_ERR_INVALID);
    }
    memset(text, 'a', sizeof text);
    memcpy(text + sizeof text - 4, ":80", 4);
    assert_int_equal(sp_stream_connect(*state, text, on_connect, NULL, &stream), SPATE_ERR_INVALID);
    assert_null(stream);
}

static void test_connect_by_name_tries_every_address(void **state)
{
    struct sp_listener *listener = NULL;

    /* "localhost" may be ::1 first, where nobody listens. */
    assert_int_equal(sp_listener_open(*state, "127.0.0.1:0", on_accept, NULL, &listener), 0);
    assert_int_equal(try_to_connect(*state, "localhost", sp_listener_port(listener)), 0);
    sp_listener_close(listener);
}

static void test_connect_to_v6_in_brackets(void **state)
{
    struct sp_listener *listener = NULL;
    int rv = sp_listener_open(*state, "[::1]:0", on_accept, NULL, &listener);

    if (rv == SPATE_ERR_INVALID) {
        skip(); /* this machine has no IPv6 */
    }
    assert_int_equal(rv, 0);
    assert_int_equal(try_to_connect(*state, "[::1]", sp_listener_port(listener)), 0);
    wait_for(*state, &accepted_any);
    assert_memory_equal(sp_stream_peer(accepted), "[::1]:", 6);
    sp_listener_close(listener);
}

static void close_during(struct sp_loop *loop, const char *address, bool run_first)
{
    struct attempt attempt = { .told = false };

    assert_int_equal(sp_stream_connect(loop, address, on_connect, &attempt, &attempt.stream), 0);
    if (run_first) {
        (void)sp_loop_run_until(loop, &attempt.told, 0);
    }
    sp_stream_close(attempt.stream, on_closed, &attempt);
    sp_stream_close(attempt.stream, on_closed, &attempt);
    wait_for(loop, &attempt.closed);
    assert_false(attempt.told);
}

static void test_connect_closed_meanwhile_never_calls_back(void **state)
{
    struct sp_listener *listener = NULL;
    uint16_t dead_port = 0;
    char address[64];
    int fd = take_dead_port(&dead_port);

    assert_int_equal(sp_listener_open(*state, "127.0.0.1:0", on_accept, NULL, &listener), 0);
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", sp_listener_port(listener));
    close_during(*state, address, false);
    (void)snprintf(address, sizeof address, "localhost:%u", sp_listener_port(listener));
    close_during(*state, address, false);
    close_during(*state, address, true);
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", dead_port);
    close_during(*state, address, false);
    close_during(*state, IMPOSSIBLE_NAME ":1", false);
    sp_listener_close(listener);
    (void)close(fd);
}

static void on_early_write(struct sp_stream_write *write, int status)
{
    assert_int_equal(status, SPATE_ERR_CLOSED);
    write->size = 12345;
}

static void test_connect_failure_fails_writes_queued_before(void **state)
{
    struct attempt attempt = { .told = false };
    struct sp_iovec piece = { "early", 5 };
    struct sp_stream_write write;
    uint16_t port = 0;
    char address[64];
    int fd = take_dead_port(&port);

    (void)snprintf(address, sizeof address, "localhost:%u", port);
    assert_int_equal(sp_stream_connect(*state, address, on_connect, &attempt, &attempt.stream), 0);
    assert_int_equal(sp_stream_write(attempt.stream, &write, &piece, 1, on_early_write), 0);
    assert_int_equal(sp_stream_queued_bytes(attempt.stream), 5);
    wait_for(*state, &attempt.told);
    assert_int_equal(attempt.status, SPATE_ERR_UNREACHABLE);
    assert_int_equal(write.size, 12345);
    assert_int_equal(sp_stream_write(attempt.stream, &write, &piece, 1, on_early_write),
                     SPATE_ERR_CLOSED);
    sp_stream_close(attempt.stream, on_closed, &attempt);
    wait_for(*state, &attempt.closed);
    (void)close(fd);
}

static void test_listener_address_in_use_exists(void **state)
{
    struct sp_listener *first = NULL;
    struct sp_listener *second = NULL;
    char address[64];

    assert_int_equal(sp_listener_open(*state, "127.0.0.1:0", on_accept, NULL, &first), 0);
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", sp_listener_port(first));
    assert_int_equal(sp_listener_open(*state, address, on_accept, NULL, &second), SPATE_ERR_EXISTS);
    sp_listener_close(first);
    assert_int_equal(sp_listener_open(*state, address, on_accept, NULL, &second), 0);
    sp_listener_close(second);
    sp_listener_close(NULL);
}

static void test_listener_foreign_address_is_invalid(void **state)
{
    struct sp_listener *listener = NULL;

    assert_int_equal(sp_listener_open(*state, "192.0.2.1:7700", on_accept, NULL, &listener),
                     SPATE_ERR_INVALID);
    assert_int_equal(sp_listener_open(*state, "7700", on_accept, NULL, &listener),
                     SPATE_ERR_INVALID);
    assert_null(listener);
}

static void test_connect_survives_every_failing_allocation(void **state)
{
    struct sp_listener *listener = NULL;
    int rv = SPATE_ERR_NOMEM;

    for (uint64_t n = 1; rv == SPATE_ERR_NOMEM && n < ALLOCATIONS_MAX; n++) {
        sp_mem_fail_at(n);
        rv = sp_listener_open(*state, "127.0.0.1:0", on_accept, NULL, &listener);
    }
    sp_mem_fail_at(0);
    assert_int_equal(rv, 0);
    rv = SPATE_ERR_NOMEM;
    for (uint64_t n = 1; rv == SPATE_ERR_NOMEM && n < ALLOCATIONS_MAX; n++) {
        sp_mem_fail_at(n);
        rv = try_to_connect(*state, "127.0.0.1", sp_listener_port(listener));
    }
    sp_mem_fail_at(0);
    assert_int_equal(rv, 0);
    sp_listener_close(listener);
}

#define CONNECT_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONNECT_TEST(test_connect_refused_is_unreachable),
        CONNECT_TEST(test_connect_unknown_name_is_not_found),
        CONNECT_TEST(test_connect_malformed_address_is_invalid),
        CONNECT_TEST(test_connect_by_name_tries_every_address),
        CONNECT_TEST(test_connect_to_v6_in_brackets),
        CONNECT_TEST(test_connect_closed_meanwhile_never_calls_back),
        CONNECT_TEST(test_connect_failure_fails_writes_queued_before),
        CONNECT_TEST(test_listener_address_in_use_exists),
        CONNECT_TEST(test_listener_foreign_address_is_invalid),
        CONNECT_TEST(test_connect_survives_every_failing_allocation),
    };
    return cmocka_run_group_tests_name("io/connect", tests, NULL, NULL);
}
