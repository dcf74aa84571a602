#include "cluster/greeting.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "spate/error.h"
#include "storage/store.h"

static const uint8_t cluster_id[SP_CLUSTER_ID_SIZE] = { 1, 2, 3 };
static char text[SP_REFUSAL_SIZE];

/* What a node of levels `known` in a cluster at `active` says to a member that tells the rest. */
static int greet(struct sp_greeting_levels mine, uint8_t least, uint8_t most, uint16_t active)
{
    const struct sp_greeting_facts facts = {
        .node_id = 1, .known = true, .cluster_id = cluster_id, .levels = &mine
    };
    struct sp_peer_hello hello = { .node_id = 2,
                                   .incarnation = 7,
                                   .identity_state = SP_IDENTITY_FORMED,
                                   .feature_least = least,
                                   .feature_most = most,
                                   .feature_active = active };

    memcpy(hello.cluster_id, cluster_id, sizeof cluster_id);
    return sp_greeting_check(&facts, &hello, text);
}

static void test_greeting_levels_that_fit_are_welcome(void **state)
{
    (void)state;
    assert_int_equal(greet((struct sp_greeting_levels){ { 1, 2 }, 1 }, 1, 2, 1), 0);
    assert_int_equal(greet((struct sp_greeting_levels){ { 1, 2 }, 1 }, 0, 1, 0), 0);
    assert_int_equal(greet((struct sp_greeting_levels){ { 1, 2 }, 0 }, 1, 3, 0), 0);
    assert_int_equal(greet((struct sp_greeting_levels){ { 1, 2 }, 2 }, 2, 3, 2), 0);
}

static void test_greeting_older_node_is_refused(void **state)
{
    (void)state;
    assert_int_equal(greet((struct sp_greeting_levels){ { 1, 2 }, 2 }, 1, 1, 0), SPATE_ERR_INVALID);
    assert_string_equal(text,
                        "node 2 knows feature levels up to 1, the cluster is at 2: install the "
                        "newer build on it");
    assert_int_equal(greet((struct sp_greeting_levels){ { 1, 2 }, 2 }, 0, 0, 0), SPATE_ERR_INVALID);
}

/* Whatever it claims: it is refused like others, which ends no node. */
static void test_greeting_sender_of_a_level_beyond_this_build_is_refused(void **state)
{
    (void)state;
    assert_int_equal(greet((struct sp_greeting_levels){ { 1, 3 }, 3 }, 1, 255, UINT16_MAX),
                     SPATE_ERR_INVALID);
    assert_int_equal(greet((struct sp_greeting_levels){ { 1, 1 }, 1 }, 1, 2, 2), SPATE_ERR_INVALID);
    assert_string_equal(text,
                        "this node knows feature levels up to 1, the cluster is at 2, says node 2: "
                        "install the newer build on this node");
}

static void test_greeting_node_of_two_releases_on_is_refused(void **state)
{
    (void)state;
    assert_int_equal(greet((struct sp_greeting_levels){ { 1, 2 }, 1 }, 2, 3, 1), SPATE_ERR_INVALID);
    assert_non_null(strstr(text, "upgrade one release at a time"));
}

/* Of another cluster's levels nothing follows. */
static void test_greeting_levels_count_within_a_cluster_only(void **state)
{
    const struct sp_greeting_levels mine = { { 1, 1 }, 1 };
    const struct sp_greeting_facts facts = {
        .node_id = 1, .known = true, .cluster_id = cluster_id, .levels = &mine
    };
    struct sp_peer_hello hello = {
        .node_id = 2, .incarnation = 7, .identity_state = SP_IDENTITY_FORMED, .feature_active = 9
    };

    (void)state;
    assert_int_equal(sp_greeting_check(&facts, &hello, text), SPATE_ERR_WRONG_CLUSTER);
    assert_int_equal(greet((struct sp_greeting_levels){ { 0, 0 }, 0 }, 1, 9, 9), 0);
}

static void test_greeting_older_copy_of_a_directory_is_refused(void **state)
{
    const struct sp_greeting_levels none = { { 0, 0 }, 0 };
    const struct sp_life known = { .incarnation = 7, .run = UINT64_C(9) << 32 | 100 };
    const struct sp_greeting_facts facts = {
        .node_id = 1, .known = true, .cluster_id = cluster_id, .levels = &none, .registered = &known
    };
    static const struct {
        uint64_t incarnation;
        uint64_t run;
        bool welcome;
    } cases[] = {
        { 7, UINT64_C(9) << 32 | 100, true },  /* the run on record */
        { 7, UINT64_C(10) << 32 | 1, true },   /* the next one */
        { 7, UINT64_C(9) << 32 | 101, false }, /* another one of that number */
        { 7, UINT64_C(8) << 32 | 100, false },
        { 8, UINT64_C(1) << 32 | 1, true }, /* another directory */
        { 7, 0, true },                     /* a build that does not count */
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sp_peer_hello hello = { .node_id = 2,
                                       .incarnation = cases[i].incarnation,
                                       .run = cases[i].run,
                                       .identity_state = SP_IDENTITY_FORMED };
        memcpy(hello.cluster_id, cluster_id, sizeof cluster_id);
        assert_int_equal(sp_greeting_check(&facts, &hello, text),
                         cases[i].welcome ? 0 : SPATE_ERR_INVALID);
        if (!cases[i].welcome) {
            assert_non_null(strstr(text, "older copy of its data directory"));
        }
    }
}

/* What node 2 hears that comes with `incarnation`, while 7 is on record. */
static int greet_with(uint64_t incarnation, uint32_t state, uint64_t connected, bool current)
{
    const struct sp_greeting_levels none = { { 0, 0 }, 0 };
    const struct sp_life known = { .incarnation = 7 };
    const struct sp_greeting_facts facts = { .node_id = 1,
                                             .known = true,
                                             .cluster_id = cluster_id,
                                             .levels = &none,
                                             .connected_incarnation = connected,
                                             .registered = &known,
                                             .current = current };
    struct sp_peer_hello hello = { .node_id = 2,
                                   .incarnation = incarnation,
                                   .identity_state = state };

    memcpy(hello.cluster_id, cluster_id, sizeof cluster_id);
    return sp_greeting_check(&facts, &hello, text);
}

static void test_greeting_directory_that_was_replaced_is_refused(void **state)
{
    (void)state;
    assert_int_equal(greet_with(7, SP_IDENTITY_FORMED, 0, true), 0);
    assert_int_equal(greet_with(8, SP_IDENTITY_FORMED, 0, true), SPATE_ERR_INVALID);
    assert_string_equal(text,
                        "node 2 has another data directory now, and this is an earlier one: bring "
                        "that one back, or start it with an empty one");
    assert_int_equal(greet_with(8, SP_IDENTITY_FORMED, 8, true), SPATE_ERR_INVALID);
    /* what is on record may be of an earlier time itself; a newcomer asks to be let in */
    assert_int_equal(greet_with(8, SP_IDENTITY_FORMED, 0, false), 0);
    assert_int_equal(greet_with(8, SP_IDENTITY_EMPTY, 0, true), 0);
}

static void test_greeting_registered_directory_goes_before_the_connected_one(void **state)
{
    (void)state;
    assert_int_equal(greet_with(7, SP_IDENTITY_FORMED, 8, true), 0);
    assert_int_equal(greet_with(7, SP_IDENTITY_FORMED, 8, false), 0);
    assert_int_equal(greet_with(8, SP_IDENTITY_EMPTY, 7, true), SPATE_ERR_INVALID);
    assert_string_equal(text, "another process with node id 2 is connected");
    assert_int_equal(greet_with(8, SP_IDENTITY_EMPTY, 9, true), SPATE_ERR_INVALID);
    assert_int_equal(greet_with(8, SP_IDENTITY_FORMED, 7, false), SPATE_ERR_INVALID);
}

static bool is_due(struct sp_refusals *refusals, const char *reason, uint64_t now_ms)
{
    return sp_refusal_is_due(refusals, reason, strlen(reason), now_ms);
}

static void test_greeting_refusal_is_told_at_once_and_then_now_and_then(void **state)
{
    struct sp_refusals refusals = { 0 };

    (void)state;
    assert_true(is_due(&refusals, "a", 0));
    assert_false(is_due(&refusals, "a", 1));
    assert_true(is_due(&refusals, "b", 1));
    assert_false(is_due(&refusals, "a", SP_REFUSAL_PAUSE_MS - 1));
    assert_true(is_due(&refusals, "a", SP_REFUSAL_PAUSE_MS));
    assert_false(is_due(&refusals, "b", SP_REFUSAL_PAUSE_MS));
    assert_false(is_due(&refusals, "a", 2 * SP_REFUSAL_PAUSE_MS - 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greeting_levels_that_fit_are_welcome),
        cmocka_unit_test(test_greeting_older_node_is_refused),
        cmocka_unit_test(test_greeting_sender_of_a_level_beyond_this_build_is_refused),
        cmocka_unit_test(test_greeting_node_of_two_releases_on_is_refused),
        cmocka_unit_test(test_greeting_levels_count_within_a_cluster_only),
        cmocka_unit_test(test_greeting_older_copy_of_a_directory_is_refused),
        cmocka_unit_test(test_greeting_directory_that_was_replaced_is_refused),
        cmocka_unit_test(test_greeting_registered_directory_goes_before_the_connected_one),
        cmocka_unit_test(test_greeting_refusal_is_told_at_once_and_then_now_and_then),
    };
    return cmocka_run_group_tests_name("cluster/greeting", tests, NULL, NULL);
}
