#include "driven_rpc.h"

static void test_rpc_call_gets_its_result(void **state)
{
    (void)state;
    assert_false(sp_rpc_connected(fixture.rpc));
    struct call *call = begin(0, "echo", 1000);
    expect(call, 0);
    assert_int_equal(call->size, 1 + sizeof params);
    assert_int_equal(call->result[0], 0x91); /* params is an array that holds the map */
    assert_memory_equal(call->result + 1, params, sizeof params);
    assert_string_equal(call->text, "");
    assert_true(sp_rpc_connected(fixture.rpc));
    assert_string_equal(sp_rpc_address(fixture.rpc), fixture.address);
}

static void test_rpc_error_is_taken_apart(void **state)
{
    (void)state;
    struct call *call = begin(0, "fail", 1000);
    expect(call, SPATE_ERR_UNKNOWN_TOPIC);
    assert_string_equal(call->text, "no topic t: create it");
    assert_int_equal(call->size, 0);
    call = begin(1, "lead", 1000);
    expect(call, SPATE_ERR_NOT_LEADER);
    assert_string_equal(call->text, "2 127.0.0.1:7800 go there");
}

static void test_rpc_answers_in_any_order_find_their_calls(void **state)
{
    (void)state;
    struct call *first = begin(0, "hold", 1000);
    struct call *second = begin(1, "hold", 1000);
    struct call *third = begin(2, "echo", 1000);
    expect(third, 0);
    wait_held(2);
    assert_int_equal(first->runs, 0);
    respond(fixture.server_conn, fixture.held[1], NULL);
    expect(second, 0);
    assert_int_equal(first->runs, 0);
    respond(fixture.server_conn, fixture.held[0], NULL);
    expect(first, 0);
}

static void test_rpc_large_body_follows_its_parameters(void **state)
{
    struct sp_blob *blob = sp_blob_new(BODY_BYTES);
    struct call *call = &fixture.calls[0];
    uint8_t head[] = { 0x81, 0xa1, 'r', 0xc6, 0, 0, 0, 0 };

    (void)state;
    assert_non_null(blob);
    memset(blob->bytes, 7, blob->size);
    struct sp_slice body = { blob, blob->bytes, blob->size };
    for (unsigned i = 0; i < 4; i++) {
        head[4 + i] = (uint8_t)((uint32_t)BODY_BYTES >> (24 - 8 * i));
    }
    call->rpc_call = (struct sp_rpc_call){ .method = "size", .cb = on_done, .timeout_ms = 2000 };
    assert_int_equal(sp_rpc_call(fixture.rpc, &call->rpc_call, head, sizeof head, &body), 0);
    sp_slice_unref(&body);
    expect(call, 0);
}

static void test_rpc_deadline_of_a_sent_call_is_timeout(void **state)
{
    (void)state;
    struct call *call = begin(0, "hold", 20);
    wait_held(1);
    expect(call, SPATE_ERR_TIMEOUT);
    respond(fixture.server_conn, fixture.held[0], NULL); /* too late, ignored */
    expect(begin(1, "echo", 1000), 0);
    assert_int_equal(call->runs, 1);
}

static void test_rpc_cancelled_call_is_never_told(void **state)
{
    (void)state;
    struct call *unsent = begin(0, "echo", 1000);
    sp_rpc_cancel(&unsent->rpc_call);
    struct call *sent = begin(1, "hold", 1000);
    wait_held(1);
    sp_rpc_cancel(&sent->rpc_call);
    respond(fixture.server_conn, fixture.held[0], NULL);
    expect(begin(2, "echo", 1000), 0);
    assert_int_equal(unsent->runs, 0);
    assert_int_equal(sent->runs, 0);
}

static void test_rpc_close_cancels_all_calls(void **state)
{
    (void)state;
    struct call *sent = begin(0, "hold", 1000);
    wait_held(1);
    struct call *unsent = begin(1, "hold", 1000);
    sp_rpc_close(fixture.rpc);
    fixture.rpc = NULL;
    assert_int_equal(sent->status, SPATE_ERR_CANCELED);
    assert_int_equal(unsent->status, SPATE_ERR_CANCELED);
}

static void test_rpc_close_in_a_callback_is_safe(void **state)
{
    (void)state;
    struct call *first = begin(0, "hold", 1000);
    struct call *second = begin(1, "hold", 1000);
    wait_held(2);
    fixture.close_in_callback = true;
    sp_conn_close(fixture.server_conn, false);
    run_until(&second->done);
    assert_int_equal(first->status, SPATE_ERR_CLOSED);
    assert_int_equal(second->status, SPATE_ERR_CANCELED);
    assert_int_equal(first->runs + second->runs, 2);
    run_ms(5);
}

static void test_rpc_survives_every_failing_allocation(void **state)
{
    struct call *call = &fixture.calls[0];

    (void)state;
    for (uint64_t n = 1; n < 16; n++) {
        *call = (struct call){ .rpc_call = { .method = "hold", .cb = on_done, .timeout_ms = 30 } };
        fixture.held_count = 0;
        sp_mem_fail_at(n);
        int rv = sp_rpc_call(fixture.rpc, &call->rpc_call, params, sizeof params, NULL);
        run_ms(2);
        sp_mem_fail_at(0);
        if (rv == 0) {
            run_until(&call->done);
        }
        assert_int_equal(call->runs, rv == 0);
    }
    expect(begin(1, "echo", 1000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RPC_TEST(test_rpc_call_gets_its_result),
        RPC_TEST(test_rpc_error_is_taken_apart),
        RPC_TEST(test_rpc_answers_in_any_order_find_their_calls),
        RPC_TEST(test_rpc_large_body_follows_its_parameters),
        RPC_TEST(test_rpc_deadline_of_a_sent_call_is_timeout),
        RPC_TEST(test_rpc_cancelled_call_is_never_told),
        RPC_TEST(test_rpc_close_cancels_all_calls),
        RPC_TEST(test_rpc_close_in_a_callback_is_safe),
        RPC_TEST(test_rpc_survives_every_failing_allocation),
    };
    return cmocka_run_group_tests_name("net/rpc", tests, NULL, NULL);
}
