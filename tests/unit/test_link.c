/* Which of a node's addresses is tried when, and what that says of the node. */
#include "cluster/link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/trace.h"
#include "fake_streams.h"

enum {
    CONNECT_MS = 1000,
};

static struct {
    struct sp_link *link;
    enum sp_link_state state;
    unsigned dead_count;
    char refusal[64];
    unsigned traces;
    bool closed;
    uint64_t live_count;
} fake;

static void greeting(void *arg, struct sp_peer_hello *out_hello)
{
    (void)arg;
    *out_hello = (struct sp_peer_hello){ .node_id = 1, .incarnation = 1 };
}

static int hello(void *arg, struct sp_link *link, const struct sp_peer_hello *said, char *text)
{
    (void)arg;
    (void)link;
    (void)text;
    return said->node_id == 2 ? 0 : SPATE_ERR_INVALID;
}

static void refused(void *arg, struct sp_link *link, const struct sp_peer_refusal *refusal)
{
    (void)arg;
    (void)link;
    (void)snprintf(
        fake.refusal, sizeof fake.refusal, "%.*s", (int)refusal->text_size, refusal->text);
}

static void changed(void *arg, struct sp_link *link, enum sp_link_state state)
{
    (void)arg;
    (void)link;
    fake.state = state;
    fake.dead_count += state == SP_LINK_DEAD;
}

static const struct sp_link_handler handler = {
    .greeting = greeting,
    .hello = hello,
    .refused = refused,
    .changed = changed,
};

static int setup(void **state)
{
    (void)state;
    memset(&fake, 0, sizeof fake);
    memset(&fake_net, 0, sizeof fake_net);
    fake_loop_init();
    fake.live_count = sp_mem_live_count();
    assert_int_equal(sp_link_new(NULL, 2, "a", &handler, NULL, &fake.link), 0);
    assert_int_equal(fake_net.stream_count, 0);
    sp_link_connect(fake.link);
    assert_string_equal(fake_last_stream()->address, "a");
    return 0;
}

static void on_closed(void *arg)
{
    (void)arg;
    fake.closed = true;
}

static int teardown(void **state)
{
    (void)state;
    sp_link_close(fake.link, on_closed, NULL);
    fake_turn();
    assert_true(fake.closed);
    assert_int_equal(fake_loop.timer_count, 0);
    assert_int_equal(sp_mem_live_count(), fake.live_count);
    return 0;
}

/* The node answers the last attempt. */
static struct sp_conn *bring_up(void)
{
    const struct sp_peer_message said = { .kind = SP_PEER_HELLO,
                                          .u.hello = { .node_id = 2, .incarnation = 2 } };
    struct sp_conn *conn = fake_accept(fake_last_stream());

    fake_hear(conn, &said, "");
    assert_int_equal(fake.state, SP_LINK_UP);
    return conn;
}

static void break_off(struct sp_conn *conn)
{
    sp_conn_close(conn, false);
    fake_turn();
    assert_int_equal(fake.state, SP_LINK_DOWN);
}

/* Nobody answers at the address until the link goes on to `next`. */
static void wait_for_address(const char *next)
{
    for (unsigned i = 0; strcmp(fake_last_stream()->address, next) != 0; i++) {
        assert_true(i < 20 * CONNECT_MS);
        fake_wait(1);
    }
}

/* A process that stands still accepts and says nothing. */
static void test_link_told_address_is_tried_before_those_that_are_silent(void **state)
{
    (void)state;
    struct sp_conn *silent = fake_accept(fake_last_stream());
    assert_int_equal(sp_link_set_address(fake.link, "b"), 0);
    fake_turn();
    assert_true(silent->closed);
    assert_int_equal(fake_net.stream_count, 2);
    assert_string_equal(fake_last_stream()->address, "b");
    (void)bring_up();
    assert_string_equal(sp_link_address(fake.link), "b");
}

static void test_link_told_address_is_tried_while_another_is_waited_for(void **state)
{
    (void)state;
    assert_int_equal(sp_link_set_address(fake.link, "b"), 0); /* it connects to the first one */
    assert_true(fake_net.streams[0].closed);
    assert_string_equal(fake_last_stream()->address, "b");
    fake_answer(fake_last_stream(), SPATE_ERR_UNREACHABLE);
    assert_int_equal(sp_link_set_address(fake.link, "c"), 0); /* it pauses */
    assert_string_equal(fake_last_stream()->address, "c");
    fake_answer(fake_last_stream(), SPATE_ERR_UNREACHABLE);
    wait_for_address("a"); /* all in turn */
}

/* A probe that comes to its end late is of a connection that was given up. */
/* The first one, as configured, stays; of the others those told last. */
static void test_link_keeps_the_first_address_and_the_last_three(void **state)
{
    const char *told[] = { "b", "c", "d", "e", "f", "g" };

    (void)state;
    for (unsigned i = 0; i < sizeof told / sizeof told[0]; i++) {
        assert_int_equal(sp_link_set_address(fake.link, told[i]), 0);
        assert_string_equal(sp_link_address(fake.link), told[i]);
    }
    wait_for_address("a");
    wait_for_address("e");
    wait_for_address("f");
    wait_for_address("g");
    wait_for_address("a");
}

static void test_link_probe_of_an_address_that_was_left_does_no_harm(void **state)
{
    (void)state;
    struct sp_conn *first = bring_up();
    sp_link_suspect(fake.link);
    struct sp_stream *probe = fake_last_stream();
    assert_int_equal(fake_net.stream_count, 2);
    assert_int_equal(sp_link_set_address(fake.link, "b"), 0); /* kept for later: it is up */
    assert_int_equal(fake_net.stream_count, 2);
    break_off(first);
    wait_for_address("b");
    struct sp_conn *second = bring_up();
    fake_answer(probe, SPATE_ERR_UNREACHABLE);
    assert_false(second->closed);
    assert_int_equal(fake.state, SP_LINK_UP);
}

/* What is refused at another address says nothing of the process. */
static void test_link_refusal_at_another_address_is_no_death(void **state)
{
    (void)state;
    struct sp_conn *conn = bring_up();
    assert_int_equal(sp_link_set_address(fake.link, "b"), 0);
    break_off(conn);
    wait_for_address("b");
    fake_answer(fake_last_stream(), SPATE_ERR_UNREACHABLE);
    assert_int_equal(fake.dead_count, 0);
    wait_for_address("a"); /* it lives there, and is reached again */
    conn = bring_up();
    break_off(conn);
    fake_answer(fake_last_stream(), SPATE_ERR_UNREACHABLE);
    assert_int_equal(fake.dead_count, 1); /* this time it is gone */
}

static void count_trace(void *arg,
                        enum sp_trace_level level,
                        const char *component,
                        const char *message,
                        const char *facts)
{
    (void)arg;
    (void)component;
    (void)facts;
    fake.traces += level == SP_TRACE_LEVEL_WARN && strcmp(message, "refused by node") == 0;
}

static void refuse(const char *text)
{
    const struct sp_peer_message said = { .kind = SP_PEER_REFUSED };

    for (unsigned i = 0; fake_last_stream()->closed; i++) {
        assert_true(i < 2000);
        fake_wait(1);
    }
    fake_hear(fake_accept(fake_last_stream()), &said, text);
}

/* Who refuses once does so again: it is neither asked in a hurry nor told each time. */
static void test_link_that_is_refused_says_so_now_and_then(void **state)
{
    (void)state;
    sp_trace_set_sink(count_trace, NULL, SP_TRACE_LEVEL_WARN);
    break_off(bring_up());
    uint64_t began_ms = fake_loop.now_ms;
    refuse("no");
    assert_string_equal(fake.refusal, "no");
    fake_wait(200);
    assert_true(fake_last_stream()->closed); /* it was connected before, and pauses all the same */
    assert_int_equal(fake.traces, 1);
    while (fake_loop.now_ms < began_ms + 9000) {
        refuse("no");
    }
    assert_int_equal(fake.traces, 1);
    refuse("for another reason");
    assert_int_equal(fake.traces, 2);
    while (fake_loop.now_ms < began_ms + 15000) {
        refuse("no");
    }
    assert_int_equal(fake.traces, 3);
    assert_true(fake_net.stream_count > 15);
    assert_true(fake_net.stream_count < 80);
    sp_trace_set_sink(NULL, NULL, SP_TRACE_LEVEL_WARN);
}

#define LINK_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LINK_TEST(test_link_told_address_is_tried_before_those_that_are_silent),
        LINK_TEST(test_link_told_address_is_tried_while_another_is_waited_for),
        LINK_TEST(test_link_keeps_the_first_address_and_the_last_three),
        LINK_TEST(test_link_probe_of_an_address_that_was_left_does_no_harm),
        LINK_TEST(test_link_refusal_at_another_address_is_no_death),
        LINK_TEST(test_link_that_is_refused_says_so_now_and_then),
    };
    return cmocka_run_group_tests_name("cluster/link", tests, NULL, NULL);
}
