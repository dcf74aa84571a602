/* Calls without a connection, and connections that are silent, dead, lost or talk garbage. */
#include "driven_rpc.h"

static void test_rpc_deadline_of_an_unsent_call_is_unreachable(void **state)
{
    (void)state;
    stop_server();
    expect(begin(0, "echo", 50), SPATE_ERR_UNREACHABLE);
}

static void test_rpc_call_waits_for_the_server_to_come(void **state)
{
    char address[32];

    (void)state;
    stop_server();
    (void)snprintf(address, sizeof address, "%s", fixture.address);
    struct call *call = begin(0, "echo", 3000);
    run_ms(30);
    assert_int_equal(call->runs, 0);
    start_server(address);
    expect(call, 0);
}

static struct call *begin_at_once(unsigned number, const char *method)
{
    struct call *call = &fixture.calls[number];

    call->rpc_call = (struct sp_rpc_call){
        .method = method, .cb = on_done, .timeout_ms = WAIT_MS, .at_once = true
    };
    assert_int_equal(sp_rpc_call(fixture.rpc, &call->rpc_call, params, sizeof params, NULL), 0);
    return call;
}

static void test_rpc_call_at_once_ends_when_nobody_listens(void **state)
{
    char address[32];
    uint64_t begun_ms = sp_loop_now_ms(fixture.loop);

    (void)state;
    stop_server();
    (void)snprintf(address, sizeof address, "%s", fixture.address);
    struct call *patient = begin(0, "echo", WAIT_MS);
    for (unsigned i = 0; i < 5; i++) { /* each of them tries anew, whatever the pause is by now */
        struct call *call = begin_at_once(1, "echo");
        expect(call, SPATE_ERR_UNREACHABLE);
        call->done = false;
        call->runs = 0;
    }
    assert_true(sp_loop_now_ms(fixture.loop) - begun_ms < 1000);
    assert_int_equal(patient->runs, 0);
    start_server(address);
    expect(patient, 0);
    expect(begin_at_once(2, "echo"), 0);
}

static void test_rpc_connection_that_said_nothing_for_long_is_replaced(void **state)
{
    (void)state;
    struct call *call = begin(0, "hold", WAIT_MS);
    wait_held(1);
    struct sp_conn *silent = fixture.server_conn;
    run_ms(1100);
    assert_true(sp_rpc_silent_ms(fixture.rpc) >= 1000);
    expect(begin(1, "echo", WAIT_MS), 0); /* somebody waits for the first: the connection stays */
    assert_ptr_equal(fixture.server_conn, silent);
    assert_true(sp_rpc_silent_ms(fixture.rpc) < 1000);
    run_ms(1100);
    sp_rpc_cancel(&call->rpc_call);
    expect(begin(2, "echo", WAIT_MS), 0);
    assert_int_equal(sp_rpc_silent_ms(fixture.rpc), 0);
    assert_int_equal(fixture.accepted, 2);
}

/* As behind a firewall that has forgotten the connection: there is always somebody who waits. */
static void test_rpc_dead_connection_is_replaced_while_others_wait(void **state)
{
    struct call *patient = begin(0, "hold", 2 * WAIT_MS);

    (void)state;
    wait_held(1);
    run_ms(5100);
    (void)begin(1, "hold", 150);
    wait_held(2);
    assert_int_equal(fixture.accepted, 1); /* a long poll alone is no sign of death */
    for (unsigned i = 0; i < 30 && !patient->done; i++) {
        run_ms(100);
        (void)begin(1 + (i + 1) % 2, "hold", 150); /* before the one before is given up */
    }
    assert_true(patient->done);
    assert_int_equal(patient->status, SPATE_ERR_CLOSED);
    expect(begin(3, "echo", WAIT_MS), 0);
    assert_int_equal(fixture.accepted, 2);
}

static void test_rpc_lost_connection_fails_what_was_sent(void **state)
{
    (void)state;
    struct call *call = begin(0, "hold", 1000);
    wait_held(1);
    sp_conn_close(fixture.server_conn, false);
    expect(call, SPATE_ERR_CLOSED);
    expect(begin(1, "echo", 1000), 0);
}

static void test_rpc_garbage_answer_closes(void **state)
{
    (void)state;
    expect(begin(0, "junk", 1000), SPATE_ERR_CLOSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RPC_TEST(test_rpc_deadline_of_an_unsent_call_is_unreachable),
        RPC_TEST(test_rpc_call_waits_for_the_server_to_come),
        RPC_TEST(test_rpc_call_at_once_ends_when_nobody_listens),
        RPC_TEST(test_rpc_connection_that_said_nothing_for_long_is_replaced),
        RPC_TEST(test_rpc_dead_connection_is_replaced_while_others_wait),
        RPC_TEST(test_rpc_lost_connection_fails_what_was_sent),
        RPC_TEST(test_rpc_garbage_answer_closes),
    };

    return cmocka_run_group_tests_name("net/rpc_connection", tests, NULL, NULL);
}
