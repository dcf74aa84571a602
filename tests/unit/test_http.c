/* The HTTP endpoint against clients that behave and clients that do not. Each test runs the loop in
 * its own thread and its client in another. */
#include "served_http.h"

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
        cmocka_unit_test(test_http_open_survives_failed_allocations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
