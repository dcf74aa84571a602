/* The HTTP endpoint against clients that behave and clients that do not. Each test runs the loop in
 * its own thread and its client in another. */
#include "server/http.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/mem.h"
#include "io/doorbell.h"
#include "io/thread.h"
#include "spate/error.h"

#define ANSWER_SIZE 4096

struct fixture {
    struct sp_loop *loop;
    struct sp_http *http;
    struct sp_doorbell *bell;
    uint16_t port;
    bool over; /* the client is done */
    void (*client)(struct fixture *fixture);
    unsigned renders;
    size_t render_bytes; /* of a page; 0: a short text */
    int render_status;
    uint32_t request_ms; /* 0: 2000 */
    bool render_bad;
    uint64_t silent_ms;
    char failed[200]; /* what the client did not like: cmocka's asserts belong to its own thread */
};

#define EXPECT(fixture, condition)                                                                 \
    do {                                                                                           \
        if (!(condition) && (fixture)->failed[0] == '\0') {                                        \
            (void)snprintf(                                                                        \
                (fixture)->failed, sizeof(fixture)->failed, "line %d: %s", __LINE__, #condition);  \
        }                                                                                          \
    } while (0)

/* ---- the endpoint's side --------------------------------------------------------------------- */

static int render(void *arg, enum sp_http_page page, struct sp_buf *out, bool *out_good)
{
    struct fixture *fixture = arg;
    char text[64];
    uint8_t *room = NULL;
    int rv;

    fixture->renders += 1;
    *out_good = !fixture->render_bad;
    if (fixture->render_status != 0) {
        return fixture->render_status;
    }
    if (fixture->render_bytes > 0) {
        rv = sp_buf_reserve(out, fixture->render_bytes, &room);
        if (rv == 0) {
            memset(room, 'x', fixture->render_bytes);
            sp_buf_grow(out, fixture->render_bytes);
        }
        return rv;
    }
    (void)snprintf(text, sizeof text, "page %d render %u;", (int)page, fixture->renders);
    return sp_buf_append(out, text, strlen(text));
}

static int add(void *arg, enum sp_http_page page, struct sp_buf *out)
{
    const struct fixture *fixture = arg;

    (void)page;
    return fixture->render_bytes > 0 ? 0 : sp_buf_append(out, "added\n", 6);
}

static uint64_t silent_ms(void *arg)
{
    const struct fixture *fixture = arg;

    return fixture->silent_ms;
}

static const struct sp_http_handler handler = { render, add, silent_ms };

/* ---- the client's side ----------------------------------------------------------------------- */

static int dial(const struct fixture *fixture)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(fixture->port) };
    struct timeval patience = { .tv_sec = 20 };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        abort();
    }
    return fd;
}

static bool say(int fd, const char *text)
{
    return send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text);
}

/* Reads until the other side closes, or what fits; the size. */
static size_t hear(int fd, char answer[ANSWER_SIZE])
{
    size_t size = 0;
    ssize_t got;

    while (size < ANSWER_SIZE - 1 &&
           (got = recv(fd, answer + size, ANSWER_SIZE - 1 - size, 0)) > 0) {
        size += (size_t)got;
    }
    answer[size] = '\0';
    return size;
}

static void get(const struct fixture *fixture, const char *path, char answer[ANSWER_SIZE])
{
    char request[200];
    int fd = dial(fixture);

    (void)snprintf(
        request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path);
    (void)say(fd, request);
    (void)hear(fd, answer);
    (void)close(fd);
}

static bool begins(const char *text, const char *beginning)
{
    return strncmp(text, beginning, strlen(beginning)) == 0;
}

/* ---- running --------------------------------------------------------------------------------- */

static uint16_t free_port(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    (void)close(fd);
    return ntohs(address.sin_port);
}

static void on_over(void *arg)
{
    struct fixture *fixture = arg;

    fixture->over = true;
}

static void run_client(void *arg)
{
    struct fixture *fixture = arg;

    fixture->client(fixture);
    sp_doorbell_ring(fixture->bell);
}

static int open_http(struct fixture *fixture, const char *address)
{
    const struct sp_http_options options = { .loop = fixture->loop,
                                             .address = address,
                                             .handler = &handler,
                                             .arg = fixture,
                                             .idle_s = 20,
                                             .request_ms = fixture->request_ms == 0
                                                               ? 2000
                                                               : fixture->request_ms,
                                             .loop_ms = 700 };

    return sp_http_open(&options, &fixture->http);
}

/* Lets `client` talk to the endpoint; `with_loop`: the loop turns meanwhile. */
static void
converse(struct fixture *fixture, void (*client)(struct fixture *fixture), bool with_loop)
{
    uint64_t live = sp_mem_live_count();
    struct sp_thread *thread = NULL;
    char address[32];

    fixture->client = client;
    fixture->port = free_port();
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", fixture->port);
    assert_int_equal(sp_loop_new(0, &fixture->loop), 0);
    assert_int_equal(open_http(fixture, address), 0);
    assert_int_equal(sp_doorbell_open(fixture->loop, on_over, fixture, &fixture->bell), 0);
    assert_int_equal(sp_thread_start(run_client, fixture, &thread), 0);
    if (with_loop) {
        assert_true(sp_loop_run_until(
            fixture->loop, &fixture->over, sp_loop_now_ms(fixture->loop) + 60000));
    }
    sp_thread_join(thread);
    sp_http_close(fixture->http);
    sp_doorbell_close(fixture->bell);
    sp_loop_free(fixture->loop);
    assert_string_equal(fixture->failed, "");
    assert_int_equal(sp_mem_live_count(), live);
}

/* ---- clients that behave --------------------------------------------------------------------- */

static void ask_for_pages(struct fixture *fixture)
{
    char answer[ANSWER_SIZE];

    get(fixture, "/metrics", answer);
    EXPECT(fixture, begins(answer, "HTTP/1.1 200"));
    EXPECT(fixture, strstr(answer, "page 0 render 1;added\n") != NULL);
    get(fixture, "/metrics?partitions=1", answer);
    EXPECT(fixture, strstr(answer, "page 1 render 2;added\n") != NULL);
    get(fixture, "/readyz", answer);
    EXPECT(fixture, strstr(answer, "page 2 render 3;added\n") != NULL);
    get(fixture, "/status", answer);
    EXPECT(fixture, strstr(answer, "page 3 render 4;added\n") != NULL);
    EXPECT(fixture, strstr(answer, "application/json") != NULL);
    get(fixture, "/healthz", answer);
    EXPECT(fixture, begins(answer, "HTTP/1.1 200"));
    get(fixture, "/metrics/", answer);
    EXPECT(fixture, begins(answer, "HTTP/1.1 404"));
}

static void test_http_gives_each_page(void **state)
{
    struct fixture fixture = { .over = false };

    (void)state;
    converse(&fixture, ask_for_pages, true);
    assert_int_equal(fixture.renders, 4);
}

static void ask_in_a_loop(struct fixture *fixture)
{
    char answer[ANSWER_SIZE];

    for (unsigned i = 0; i < 100; i++) {
        get(fixture, "/metrics", answer);
        EXPECT(fixture, begins(answer, "HTTP/1.1 200"));
    }
    (void)usleep(1000 * (SP_METRICS_AGE_MS + 100));
    get(fixture, "/metrics", answer);
    EXPECT(fixture, begins(answer, "HTTP/1.1 200"));
}

static void test_http_bothers_the_loop_twice_a_second_at_most(void **state)
{
    struct fixture fixture = { .over = false };

    (void)state;
    converse(&fixture, ask_in_a_loop, true);
    assert_in_range(fixture.renders, 2, 10); /* 100 take far less than five seconds */
}

static void keep_alive(struct fixture *fixture)
{
    char answer[ANSWER_SIZE];
    int fd = dial(fixture);

    for (unsigned i = 0; i < 4; i++) {
        ssize_t got;

        EXPECT(fixture, say(fd, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"));
        got = recv(fd, answer, sizeof answer - 1, 0);
        answer[got > 0 ? got : 0] = '\0';
        EXPECT(fixture, begins(answer, "HTTP/1.1 200"));
        (void)usleep(900 * 1000); /* together longer than one request may take */
    }
    (void)close(fd);
}

static void test_http_connections_serve_one_request_after_the_other(void **state)
{
    struct fixture fixture = { .over = false };

    (void)state;
    converse(&fixture, keep_alive, true);
}

/* ---- when the node is not well --------------------------------------------------------------- */

static void ask_while_bad(struct fixture *fixture)
{
    char answer[ANSWER_SIZE];

    get(fixture, "/readyz", answer);
    EXPECT(fixture, begins(answer, "HTTP/1.1 503"));
    EXPECT(fixture, strstr(answer, "page 2 render 1;") != NULL);
}

static void test_http_says_503_with_the_page_when_it_is_not_good(void **state)
{
    struct fixture fixture = { .render_bad = true };

    (void)state;
    converse(&fixture, ask_while_bad, true);
}

static void ask_without_memory(struct fixture *fixture)
{
    char answer[ANSWER_SIZE];

    get(fixture, "/metrics", answer);
    EXPECT(fixture, begins(answer, "HTTP/1.1 503"));
    EXPECT(fixture, strstr(answer, "cannot answer now") != NULL);
}

static void test_http_says_503_when_the_page_cannot_be_made(void **state)
{
    struct fixture fixture = { .render_status = SPATE_ERR_TOO_LARGE };

    (void)state;
    converse(&fixture, ask_without_memory, true);
}

static void ask_while_stuck(struct fixture *fixture)
{
    char answer[ANSWER_SIZE];

    get(fixture, "/metrics", answer);
    EXPECT(fixture, begins(answer, "HTTP/1.1 503"));
    get(fixture, "/healthz", answer);
    EXPECT(fixture, begins(answer, "HTTP/1.1 503"));
    EXPECT(fixture, strstr(answer, "has not turned for 10001 ms") != NULL);
    fixture->silent_ms = 10000;
    get(fixture, "/healthz", answer);
    EXPECT(fixture, begins(answer, "HTTP/1.1 200"));
}

static void test_http_answers_although_the_loop_does_not_turn(void **state)
{
    struct fixture fixture = { .silent_ms = 10001 };

    (void)state;
    converse(&fixture, ask_while_stuck, false);
    assert_int_equal(fixture.renders, 0);
}

static void leave_a_question(struct fixture *fixture)
{
    int fd = dial(fixture);

    EXPECT(fixture, say(fd, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"));
    (void)usleep(100 * 1000);
    (void)close(fd); /* the endpoint closes while the loop has the question */
}

static void test_http_closes_with_a_question_open(void **state)
{
    struct fixture fixture = { .over = false };

    (void)state;
    converse(&fixture, leave_a_question, false);
}

/* ---- clients that do not behave -------------------------------------------------------------- */

static void trickle(struct fixture *fixture)
{
    int fd = dial(fixture);
    unsigned sent = 0;

    EXPECT(fixture, say(fd, "GET /metrics HTTP/1.1\r\nX: "));
    while (sent < 100 && say(fd, "x")) { /* never silent for long */
        sent += 1;
        (void)usleep(50 * 1000);
    }
    EXPECT(fixture, sent > 10);
    EXPECT(fixture, sent < 95); /* 2 s, not 5 */
    (void)close(fd);
}

static void test_http_cuts_a_request_that_trickles_in(void **state)
{
    struct fixture fixture = { .over = false };

    (void)state;
    converse(&fixture, trickle, true);
}

static void occupy_all(struct fixture *fixture)
{
    int fds[SP_HTTP_CONNECTIONS_MAX + 8];
    char answer[ANSWER_SIZE];

    for (unsigned i = 0; i < SP_HTTP_CONNECTIONS_MAX + 8; i++) {
        fds[i] = dial(fixture);
        EXPECT(fixture, say(fds[i], "GET /metrics HTTP/1.1\r\n"));
    }
    get(fixture, "/metrics", answer); /* waits until they are cut */
    EXPECT(fixture, begins(answer, "HTTP/1.1 200"));
    for (unsigned i = 0; i < SP_HTTP_CONNECTIONS_MAX + 8; i++) {
        (void)close(fds[i]);
    }
}

static void test_http_serves_again_when_others_held_all_connections(void **state)
{
    struct fixture fixture = { .over = false };

    (void)state;
    converse(&fixture, occupy_all, true);
}

static void read_nothing(struct fixture *fixture)
{
    char answer[ANSWER_SIZE];
    int fds[3];

    for (unsigned i = 0; i < 3; i++) {
        fds[i] = dial(fixture);
        EXPECT(fixture, say(fds[i], "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"));
        EXPECT(fixture, recv(fds[i], answer, 12, MSG_PEEK | MSG_WAITALL) == 12);
        answer[12] = '\0';
        EXPECT(fixture, strcmp(answer, i < 2 ? "HTTP/1.1 200" : "HTTP/1.1 503") == 0);
        (void)usleep(1000 * (SP_METRICS_AGE_MS + 100)); /* so that each has an answer of its own */
    }
    EXPECT(fixture, fixture->renders == 2); /* the third was too much */
    for (unsigned i = 0; i < 3; i++) {
        (void)close(fds[i]);
    }
    (void)usleep(1000 * (SP_METRICS_AGE_MS + 600));
    get(fixture, "/metrics", answer);
    EXPECT(fixture, begins(answer, "HTTP/1.1 200"));
}

static void test_http_holds_a_bounded_number_of_answers(void **state)
{
    struct fixture fixture = { .render_bytes = SP_HTTP_ANSWER_BYTES_MAX, .request_ms = 10000 };

    (void)state;
    converse(&fixture, read_nothing, true);
}

static void read_late(struct fixture *fixture)
{
    static char piece[65536];
    int fd = dial(fixture);
    size_t size = 0;
    ssize_t got;

    EXPECT(fixture, say(fd, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"));
    (void)usleep(4000 * 1000); /* more than it may take */
    while ((got = recv(fd, piece, sizeof piece, 0)) > 0) {
        size += (size_t)got;
    }
    EXPECT(fixture, size > 0);
    EXPECT(fixture, size < SP_HTTP_ANSWER_BYTES_MAX);
    (void)close(fd);
}

static void test_http_cuts_a_client_that_does_not_read(void **state)
{
    struct fixture fixture = { .render_bytes = SP_HTTP_ANSWER_BYTES_MAX };

    (void)state;
    converse(&fixture, read_late, true);
}

static void send_too_much(struct fixture *fixture)
{
    char *text = malloc(4 * SP_HTTP_REQUEST_BYTES_MAX);
    char answer[ANSWER_SIZE];
    int fd = dial(fixture);

    memset(text, 'x', 4 * SP_HTTP_REQUEST_BYTES_MAX);
    text[4 * SP_HTTP_REQUEST_BYTES_MAX - 1] = '\0';
    (void)say(fd, "GET /");
    (void)say(fd, text);
    EXPECT(fixture, hear(fd, answer) == 0 || begins(answer, "HTTP/1.1 4"));
    (void)close(fd);
    fd = dial(fixture);
    (void)say(fd, "\x01\x02\x03 garbage\r\n\r\n");
    EXPECT(fixture, hear(fd, answer) == 0 || begins(answer, "HTTP/1.1 4"));
    (void)close(fd);
    fd = dial(fixture);
    (void)say(fd, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n");
    (void)say(fd, text);
    EXPECT(fixture, hear(fd, answer) == 0 || begins(answer, "HTTP/1.1 405"));
    (void)close(fd);
    free(text);
    get(fixture, "/metrics", answer);
    EXPECT(fixture, begins(answer, "HTTP/1.1 200"));
}

static void test_http_refuses_requests_that_are_none(void **state)
{
    struct fixture fixture = { .over = false };

    (void)state;
    converse(&fixture, send_too_much, true);
    assert_int_equal(fixture.renders, 1);
}

/* ---- opening --------------------------------------------------------------------------------- */

static void test_http_open_survives_failed_allocations(void **state)
{
    struct fixture fixture = { .over = false };
    unsigned failed = 0;
    char address[32];
    int rv = SPATE_ERR_NOMEM;

    (void)state;
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", free_port());
    assert_int_equal(sp_loop_new(0, &fixture.loop), 0);
    for (uint64_t n = 1; rv != 0; n++) {
        uint64_t live = sp_mem_live_count();

        sp_mem_fail_at(n);
        rv = open_http(&fixture, address);
        sp_mem_fail_at(0);
        if (rv != 0) {
            assert_int_equal(rv, SPATE_ERR_NOMEM);
            failed += 1;
        } else {
            struct fixture second = { .loop = fixture.loop };

            assert_int_equal(open_http(&second, address), SPATE_ERR_EXISTS);
            sp_http_close(fixture.http);
        }
        sp_loop_run(fixture.loop); /* bells end in a turn */
        assert_int_equal(sp_mem_live_count(), live);
    }
    assert_true(failed >= 3);
    sp_loop_free(fixture.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http_gives_each_page),
        cmocka_unit_test(test_http_bothers_the_loop_twice_a_second_at_most),
        cmocka_unit_test(test_http_connections_serve_one_request_after_the_other),
        cmocka_unit_test(test_http_says_503_with_the_page_when_it_is_not_good),
        cmocka_unit_test(test_http_says_503_when_the_page_cannot_be_made),
        cmocka_unit_test(test_http_answers_although_the_loop_does_not_turn),
        cmocka_unit_test(test_http_closes_with_a_question_open),
        cmocka_unit_test(test_http_cuts_a_request_that_trickles_in),
        cmocka_unit_test(test_http_serves_again_when_others_held_all_connections),
        cmocka_unit_test(test_http_holds_a_bounded_number_of_answers),
        cmocka_unit_test(test_http_cuts_a_client_that_does_not_read),
        cmocka_unit_test(test_http_refuses_requests_that_are_none),
        cmocka_unit_test(test_http_open_survives_failed_allocations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
