/* Clients of the HTTP server that trickle, do not read, hold connections, or ask nonsense. */
#include "served_http.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http_cuts_a_request_that_trickles_in),
        cmocka_unit_test(test_http_serves_again_when_others_held_all_connections),
        cmocka_unit_test(test_http_holds_a_bounded_number_of_answers),
        cmocka_unit_test(test_http_cuts_a_client_that_does_not_read),
        cmocka_unit_test(test_http_refuses_requests_that_are_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
