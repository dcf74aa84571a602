/* Whom a node asks where the others are, when the addresses that it knows become fewer. */
#include "cluster/join.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "fake_streams.h"

static struct {
    const char *addresses[4]; /* of nodes that have a link */
    struct sp_identity identity;
    struct sp_join *join;
    bool closed;
    uint64_t live_count;
} fake;

const struct sp_identity *sp_store_identity(const struct sp_store *store)
{
    (void)store;
    return &fake.identity;
}

void sp_store_replicas(const struct sp_store *store,
                       void (*each)(void *arg, const struct sp_replica_record *record),
                       void *arg)
{
    const struct sp_replica_record voter = { .group_id = SP_CONTROLLER_GROUP_ID, .replica_id = 1 };

    (void)store;
    each(arg, &voter);
}

void sp_store_create_replica(struct sp_store *store, struct sp_replica_open *open)
{
    (void)store;
    (void)open;
    fail_msg("a member needs no further replica");
}

void sp_log_close(struct sp_log *log, void (*closed)(void *arg), void *arg)
{
    (void)log;
    (void)closed;
    (void)arg;
}

const char *sp_transport_address(const struct sp_transport *transport, unsigned n)
{
    (void)transport;
    return n < sizeof fake.addresses / sizeof fake.addresses[0] ? fake.addresses[n] : NULL;
}

int sp_transport_set_node(struct sp_transport *transport, uint32_t node_id, const char *address)
{
    (void)transport;
    (void)node_id;
    (void)address;
    return 0;
}

void sp_transport_adopt(struct sp_transport *transport,
                        const uint8_t cluster_id[SP_CLUSTER_ID_SIZE])
{
    (void)transport;
    (void)cluster_id;
}

/* A member that has neither seeds nor addresses to join. */
static int setup(void **state)
{
    static const struct sp_transport_options none = { .node_id = 1 };
    const struct sp_join_options options = { .addresses = &none };

    (void)state;
    memset(&fake, 0, sizeof fake);
    memset(&fake_net, 0, sizeof fake_net);
    fake_loop_init();
    fake.live_count = sp_mem_live_count();
    fake.identity = (struct sp_identity){ .state = SP_IDENTITY_FORMED, .node_id = 1 };
    assert_int_equal(sp_join_new(&options, &fake.join), 0);
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
    sp_join_close(fake.join, on_closed, NULL);
    fake_turn();
    assert_true(fake.closed);
    assert_int_equal(fake_loop.timer_count, 0);
    assert_int_equal(sp_mem_live_count(), fake.live_count);
    return 0;
}

static void test_join_begins_anew_when_the_address_in_turn_is_gone(void **state)
{
    (void)state;
    fake.addresses[0] = "a";
    fake.addresses[1] = "b";
    sp_join_met_stranger(fake.join);
    fake_wait(SP_JOIN_STRANGER_MS);
    assert_string_equal(fake_last_stream()->address, "a");
    fake_answer(fake_last_stream(), SPATE_ERR_UNREACHABLE);
    fake.addresses[1] = NULL; /* that node was removed, during the pause */
    fake_wait(1000);
    assert_int_equal(fake_net.stream_count, 2);
    assert_string_equal(fake_last_stream()->address, "a");
}

static void test_join_without_any_address_waits_for_the_next_stranger(void **state)
{
    (void)state;
    fake.addresses[0] = "a";
    sp_join_met_stranger(fake.join);
    fake.addresses[0] = NULL;
    fake_wait(1000);
    assert_int_equal(fake_net.stream_count, 0);
    assert_int_equal(fake_loop.timer_count, 0);
    fake.addresses[0] = "b";
    sp_join_met_stranger(fake.join);
    fake_wait(SP_JOIN_STRANGER_MS);
    assert_int_equal(fake_net.stream_count, 1);
    assert_string_equal(fake_last_stream()->address, "b");
}

static void test_join_says_that_nobody_answers(void **state)
{
    (void)state;
    fake.identity.state = SP_IDENTITY_EMPTY;
    fake.addresses[0] = "dead:1";
    sp_join_start(fake.join);
    fake_answer(fake_last_stream(), SPATE_ERR_UNREACHABLE);
    assert_string_equal(sp_join_waits(fake.join), ""); /* it may be about to start */
    for (unsigned i = 0; i < 4; i++) {
        fake_wait(300);
        fake_answer(fake_last_stream(), SPATE_ERR_UNREACHABLE);
    }
    assert_string_equal(sp_join_waits(fake.join), "no member answers at dead:1: UNREACHABLE");
    fake.identity.state = SP_IDENTITY_FORMED; /* a member asks only where the others are */
    assert_string_equal(sp_join_waits(fake.join), "");
}

#define JOIN_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        JOIN_TEST(test_join_begins_anew_when_the_address_in_turn_is_gone),
        JOIN_TEST(test_join_without_any_address_waits_for_the_next_stranger),
        JOIN_TEST(test_join_says_that_nobody_answers),
    };
    return cmocka_run_group_tests_name("cluster/join", tests, NULL, NULL);
}
