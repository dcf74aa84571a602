/* What the guard refuses: policies, broken logs, and messages that libraft would trust. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "raft_bare.h"
#include "raft_expect.h"
#include "spate/error.h"

static struct world *four(uint64_t seed)
{
    struct world_options options = { .seed = seed, .nodes = 4, .voters = 3 };
    struct world *world = world_new(&options);

    (void)settled_leader(world);
    return world;
}

/* --- policies --- */

static void test_change_refuses_what_the_policies_forbid(void **state)
{
    struct world *world = four(1);
    struct node *leader = world_leader(world);
    unsigned self = leader->number;
    unsigned other = self == 0 ? 1 : 0;
    const mask refused[] = {
        0x111,                                                          /* nothing changes */
        mask_with(0x111, 3, ROLE_VOTER),                                /* a voter at once */
        mask_with(0x111, 3, ROLE_SPARE),                                /* a spare */
        mask_with(0x111, other, ROLE_STANDBY),                          /* a demotion */
        mask_with(0x111, self, ROLE_NONE),                              /* ourselves */
        mask_with(mask_with(0x111, other, ROLE_NONE), 3, ROLE_STANDBY), /* two at once */
    };

    (void)state;
    for (unsigned i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        assert_int_equal(node_change(leader, refused[i]), SPATE_ERR_INVALID);
    }
    assert_int_equal(node_change(&world->nodes[other], 0x2111), SPATE_ERR_NOT_LEADER);
    assert_int_equal(node_change(leader, 0x2111), 0);
    assert_int_equal(node_change(leader, 0x111), SPATE_ERR_BUSY);
    assert_true(finish(world, true));
}

static void test_change_promotes_only_who_knows_to_be_standby(void **state)
{
    struct world *world = four(2);
    struct node *leader = world_leader(world);

    (void)state;
    world_isolate(world, &world->nodes[3]);
    assert_int_equal(node_change(leader, 0x2111), 0);
    assert_true(world_run(world, 300));
    assert_int_equal(node_change(leader, 0x1111), SPATE_ERR_AGAIN);
    world_heal(world);
    assert_true(world_run(world, 3000));
    assert_int_equal(node_change(leader, 0x1111), 0);
    assert_true(finish(world, true));
}

static void test_snapshot_refuses_what_is_not_there(void **state)
{
    struct world *world = four(3);
    struct node *leader = world_leader(world);

    (void)state;
    assert_int_equal(node_submit(leader, 5), 0);
    assert_true(world_run(world, 300));
    assert_int_equal(node_snapshot(leader, 1, 0), SPATE_ERR_INVALID);
    assert_int_equal(node_snapshot(leader, leader->applied + 1, 0), SPATE_ERR_INVALID);
    assert_int_equal(node_snapshot(leader, 4, 0), 0);
    assert_int_equal(node_snapshot(leader, 4, 0), SPATE_ERR_INVALID);
    assert_int_equal(node_snapshot(leader, 3, 0), SPATE_ERR_INVALID);
    assert_int_equal(sp_raft_guard_term_at(&leader->guard, 3), 0);
    assert_int_not_equal(sp_raft_guard_term_at(&leader->guard, 4), 0);
    assert_true(finish(world, true));
}

/* --- encoded configurations --- */

static void test_configuration_every_cut_and_flip_is_survived(void **state)
{
    struct raft_configuration configuration;
    struct raft_buffer good;

    (void)state;
    sp_raft_guard_use_heap();
    mask_decode(0x1211, &configuration);
    assert_int_equal(raft_configuration_encode(&configuration, &good), 0);
    raft_configuration_close(&configuration);
    assert_int_equal(sp_raft_guard_check_configuration(&good), 0);
    for (size_t size = 0; size < good.len; size++) {
        struct raft_buffer cut = { sp_mem_dup(good.base, size + 1), size };
        assert_true(sp_raft_guard_check_configuration(&cut) == 0 ? size >= 53 : true);
        sp_mem_free(cut.base);
    }
    for (size_t bit = 0; bit < 8 * good.len; bit++) {
        struct raft_buffer flipped = { sp_mem_dup(good.base, good.len), good.len };
        ((uint8_t *)flipped.base)[bit / 8] ^= (uint8_t)(1U << bit % 8);
        if (sp_raft_guard_check_configuration(&flipped) == 0) { /* then libraft may have it */
            assert_int_equal(raft_configuration_decode(&flipped, &configuration), 0);
            assert_in_range(configuration.n, 1, SP_RAFT_GUARD_SERVERS_MAX);
            raft_configuration_close(&configuration);
        }
        sp_mem_free(flipped.base);
    }
    raft_free(good.base);
}

/* --- a guard by itself --- */

static void test_start_refuses_broken_logs(void **state)
{
    static uint8_t garbage[] = { 1, 9, 9, 9, 9, 9, 9, 9, 9 };
    struct raft_entry entries[] = { { .term = 1, .type = RAFT_CHANGE, .buf = { garbage, 9 } },
                                    { .term = 0, .type = RAFT_COMMAND } };
    struct raft_snapshot_metadata snapshot = { .index = 5, .term = 2 };
    const struct sp_raft_guard_start broken[] = {
        { .term = 1, .start_index = 0 },
        { .term = 1, .start_index = 2 },
        { .term = 1, .start_index = 1, .entries = entries, .entry_count = 1 },
        { .term = 1, .start_index = 1, .entries = entries + 1, .entry_count = 1 },
        { .term = 2, .start_index = 7, .snapshot = &snapshot },
        { .term = 2, .start_index = 4, .snapshot = &snapshot },
        { .term = 2,
          .start_index = 6,
          .snapshot = &snapshot,
          .entries = entries + 1,
          .entry_count = 1 },
    };

    (void)state;
    for (unsigned i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        struct bare bare;
        struct sp_raft_guard_start start = broken[i];
        assert_int_equal(bare_start(&bare, &start), SPATE_ERR_CORRUPT);
        sp_raft_guard_deinit(&bare.guard);
    }
}

static void test_receive_refuses_what_libraft_would_assert(void **state)
{
    struct bare bare;
    uint8_t garbage[16] = { 1, 1 };
    struct raft_entry old = { .term = 1, .type = RAFT_COMMAND };
    struct raft_entry future = { .term = 9, .type = RAFT_COMMAND };
    struct raft_entry zero = { .term = 0, .type = RAFT_COMMAND };
    struct raft_entry odd = { .term = 3, .type = (enum raft_entry_type)9 };
    struct raft_entry change = { .term = 3, .type = RAFT_CHANGE, .buf = { garbage, 16 } };
    const struct sp_raft_guard_append appends[] = {
        { .term = 0, .prev_index = 3, .prev_term = 3 },
        { .term = 3, .prev_index = 0, .prev_term = 3 },
        { .term = 3, .prev_index = 3, .prev_term = 0 },
        { .term = 3, .prev_index = UINT64_MAX, .prev_term = 3 },
        { .term = 3, .prev_index = 3, .prev_term = 3, .entries = &old, .entry_count = 1 },
        { .term = 3, .prev_index = 3, .prev_term = 3, .entries = &future, .entry_count = 1 },
        { .term = 3, .prev_index = 0, .prev_term = 0, .entries = &zero, .entry_count = 1 },
        { .term = 3, .prev_index = 3, .prev_term = 3, .entries = &odd, .entry_count = 1 },
        { .term = 3, .prev_index = 3, .prev_term = 3, .entries = &change, .entry_count = 1 },
    };
    const struct sp_raft_guard_append good = { .term = 3, .prev_index = 3, .prev_term = 3 };

    (void)state;
    bare_start_follower(&bare);
    unsigned updates = bare.updates;
    for (unsigned i = 0; i < sizeof appends / sizeof appends[0]; i++) {
        assert_int_equal(sp_raft_guard_receive_append(&bare.guard, 1000, 2, &appends[i]),
                         SPATE_ERR_MALFORMED);
    }
    assert_int_equal(sp_raft_guard_receive_append(&bare.guard, 1000, 0, &good),
                     SPATE_ERR_MALFORMED);
    assert_int_equal(sp_raft_guard_receive_append(&bare.guard, 1000, 1, &good),
                     SPATE_ERR_MALFORMED);
    assert_int_equal(bare.updates, updates);
    assert_int_equal(sp_raft_guard_receive_append(&bare.guard, 1000, 2, &good), 0);
    assert_int_equal(bare.updates, updates + 1);
    sp_raft_guard_deinit(&bare.guard);
}

static void test_wants_install_only_of_what_is_missing(void **state)
{
    struct bare bare;
    struct raft_configuration configuration;
    struct sp_raft_guard_install install = { .term = 3,
                                             .last_index = 10,
                                             .last_term = 3,
                                             .configuration_index = 1,
                                             .configuration = &configuration };

    (void)state;
    bare_start_follower(&bare);
    mask_decode(0x111, &configuration);
    assert_true(sp_raft_guard_wants_install(&bare.guard, 3, 10, 3));
    assert_true(sp_raft_guard_wants_install(&bare.guard, 4, 3, 4));
    assert_false(sp_raft_guard_wants_install(&bare.guard, 3, 3, 3));
    assert_false(sp_raft_guard_wants_install(&bare.guard, 2, 10, 2));
    assert_int_equal(sp_raft_guard_receive_install(&bare.guard, 1000, 2, &install), 0);
    assert_true(bare.install);
    assert_true(sp_raft_guard_installing(&bare.guard));
    assert_false(sp_raft_guard_wants_install(&bare.guard, 3, 20, 3));
    raft_configuration_close(&configuration);
    raft_configuration_close(&bare.snapshot.configuration);
    sp_raft_guard_deinit(&bare.guard);
}

/* A committed entry in conflict and a host that cannot go on both stop the replica for good. */
static void test_fatal_errors_stop_the_replica(void **state)
{
    struct raft_entry other = { .term = 4, .type = RAFT_COMMAND };
    const struct sp_raft_guard_append commit = {
        .term = 4, .prev_index = 3, .prev_term = 3, .commit = 3
    };
    const struct sp_raft_guard_append conflict = {
        .term = 4, .prev_index = 1, .prev_term = 1, .entries = &other, .entry_count = 1
    };
    struct bare bare;

    (void)state;
    bare_start_follower(&bare);
    assert_int_equal(sp_raft_guard_receive_append(&bare.guard, 1000, 2, &commit), 0);
    assert_int_equal(sp_raft_guard_committed(&bare.guard), 3);
    assert_int_equal(sp_raft_guard_receive_append(&bare.guard, 1000, 2, &conflict),
                     SPATE_ERR_INTERNAL);
    assert_int_equal(sp_raft_guard_failed(&bare.guard), SPATE_ERR_INTERNAL);
    assert_int_equal(sp_raft_guard_timeout(&bare.guard, 9000), SPATE_ERR_STOPPED);
    sp_raft_guard_deinit(&bare.guard);

    bare_start_follower(&bare);
    bare.update_error = SPATE_ERR_IO;
    assert_int_equal(sp_raft_guard_receive_append(&bare.guard, 1000, 2, &commit), SPATE_ERR_IO);
    assert_int_equal(sp_raft_guard_submit(&bare.guard, 1000, &other, 1), SPATE_ERR_STOPPED);
    sp_raft_guard_deinit(&bare.guard);
}

/* --- random messages --- */

static uint64_t pick(uint64_t limit)
{
    return (uint64_t)rand() % limit;
}

static int random_append(struct sp_raft_guard *guard, uint64_t now_ms, uint64_t from)
{
    struct raft_entry entries[4] = { { 0 } };
    struct raft_configuration configuration;
    struct raft_buffer change;
    struct sp_raft_guard_append append = { .term = raft_current_term(&guard->raft) + pick(2),
                                           .prev_index = pick(30),
                                           .commit = pick(40),
                                           .entries = entries,
                                           .entry_count = (unsigned)pick(5) };

    append.prev_term = pick(3) == 0 ? pick(4) : sp_raft_guard_term_at(guard, append.prev_index);
    mask_decode(0x101 | (pick(3) << 4), &configuration);
    (void)raft_configuration_encode(&configuration, &change);
    raft_configuration_close(&configuration);
    for (unsigned i = 0; i < append.entry_count; i++) {
        uint64_t floor = i > 0 ? entries[i - 1].term : append.prev_term;
        entries[i].term = pick(10) == 0
                              ? pick(9)
                              : floor + pick(append.term > floor ? append.term - floor + 1 : 1);
        entries[i].type = (enum raft_entry_type)(1 + pick(3));
        entries[i].buf = change;
    }
    int rv = sp_raft_guard_receive_append(guard, now_ms, from, &append);
    raft_free(change.base);
    return rv;
}

static int random_message(struct bare *bare, uint64_t now_ms)
{
    struct sp_raft_guard *guard = &bare->guard;
    uint64_t term = raft_current_term(&guard->raft) + pick(4) - 1;
    uint64_t from = pick(5);

    switch (pick(8)) {
    case 0: {
        struct raft_request_vote vote = { .term = term,
                                          .candidate_id = from,
                                          .last_log_index = pick(30),
                                          .last_log_term = pick(term + 1),
                                          .disrupt_leader = pick(2) != 0,
                                          .pre_vote = pick(2) != 0 };
        return sp_raft_guard_receive_vote(guard, now_ms, from, &vote);
    }
    case 1: {
        struct raft_request_vote_result result = { .term = term,
                                                   .vote_granted = pick(2) != 0,
                                                   .pre_vote = pick(2) != 0 };
        return sp_raft_guard_receive_vote_result(guard, now_ms, from, &result);
    }
    case 2: {
        struct sp_raft_guard_append_result result = { .term = term,
                                                      .rejected = pick(3) == 0 ? pick(30) : 0,
                                                      .last_index = pick(40),
                                                      .request_term = term,
                                                      .hint_term = pick(9) };
        return sp_raft_guard_receive_append_result(guard, now_ms, from, &result);
    }
    case 3: {
        struct raft_configuration configuration;
        mask_decode(0x111, &configuration);
        struct sp_raft_guard_install install = { .term = term,
                                                 .last_index = pick(40),
                                                 .last_term = pick(term + 2),
                                                 .configuration_index = 1,
                                                 .configuration = &configuration };
        int rv = sp_raft_guard_receive_install(guard, now_ms, from, &install);
        raft_configuration_close(&configuration);
        return rv;
    }
    case 4: {
        struct raft_timeout_now timeout_now = { .term = term,
                                                .last_log_index = pick(30),
                                                .last_log_term = pick(9) };
        return sp_raft_guard_receive_timeout_now(guard, now_ms, from, &timeout_now);
    }
    case 5:
        return sp_raft_guard_timeout(guard, now_ms);
    default:
        return random_append(guard, now_ms, from);
    }
}

/* Most random lives would never get there by themselves. */
static void elect(struct bare *bare)
{
    struct raft_request_vote_result granted = { .vote_granted = true, .pre_vote = true };

    granted.term = raft_current_term(&bare->guard.raft) + 1;
    assert_int_equal(sp_raft_guard_timeout(&bare->guard, 5000), 0);
    assert_int_equal(sp_raft_guard_receive_vote_result(&bare->guard, 5000, 2, &granted), 0);
    granted.pre_vote = false;
    assert_int_equal(sp_raft_guard_receive_vote_result(&bare->guard, 5000, 2, &granted), 0);
    assert_int_equal(raft_state(&bare->guard.raft), RAFT_LEADER);
}

/* What a random call answers does not matter: that it comes back does. */
static void ignore(int rv)
{
    (void)rv;
}

/* libraft's assertions would abort this test. */
static void test_random_messages_never_reach_an_assertion(void **state)
{
    (void)state;
    srand(7);
    for (unsigned life = 0; life < 2000; life++) {
        struct bare bare;
        uint64_t now_ms = 5000;

        bare_start_follower(&bare);
        if (life % 2 == 0) {
            elect(&bare);
        }
        for (unsigned i = 0; i < 100 && bare.guard.failed == 0; i++) {
            struct raft_entry entry = { .type = RAFT_COMMAND };
            now_ms += pick(400);
            int rv = random_message(&bare, now_ms);
            assert_true(rv == 0 || rv == SPATE_ERR_MALFORMED || bare.guard.failed == rv);
            if (bare.install && bare.guard.failed == 0 && pick(2) == 0) {
                bare.install = false;
                ignore(sp_raft_guard_persisted_snapshot(&bare.guard, now_ms, &bare.snapshot));
                raft_configuration_close(&bare.snapshot.configuration);
            }
            if (bare.guard.failed == 0 && pick(2) == 0) {
                ignore(sp_raft_guard_submit(&bare.guard, now_ms, &entry, 1));
                ignore(sp_raft_guard_persisted(
                    &bare.guard, now_ms, raft_last_index(&bare.guard.raft)));
            }
        }
        if (bare.install) {
            raft_configuration_close(&bare.snapshot.configuration);
        }
        sp_raft_guard_deinit(&bare.guard);
    }
}

/* --- votes of who has nothing --- */

/* A forced membership has kept a member whose replica had not been made: without its vote nobody
 * could be elected among two. It votes as any voter does that has promised nothing, once a term. */
static void test_vote_of_a_replica_that_never_had_a_frame(void **state)
{
    struct sp_raft_guard_start start = { .start_index = 1 };
    struct raft_request_vote vote = {
        .term = 5, .candidate_id = 2, .last_log_index = 7, .last_log_term = 4
    };
    struct bare bare;

    (void)state;
    assert_int_equal(bare_start(&bare, &start), 0);
    assert_int_equal(bare.guard.raft.configuration.n, 0);
    assert_int_equal(sp_raft_guard_receive_vote(&bare.guard, 9000, 2, &vote), 0);
    assert_int_equal(bare.guard.raft.current_term, 5);
    assert_int_equal(bare.guard.raft.voted_for, 2);
    vote.candidate_id = 3;
    assert_int_equal(sp_raft_guard_receive_vote(&bare.guard, 9001, 3, &vote), 0);
    assert_int_equal(bare.guard.raft.voted_for, 2);
    assert_int_equal(bare.guard.raft.configuration.n, 0);
    assert_null(bare.guard.raft.configuration.servers);
    sp_raft_guard_deinit(&bare.guard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vote_of_a_replica_that_never_had_a_frame),
        cmocka_unit_test(test_change_refuses_what_the_policies_forbid),
        cmocka_unit_test(test_change_promotes_only_who_knows_to_be_standby),
        cmocka_unit_test(test_snapshot_refuses_what_is_not_there),
        cmocka_unit_test(test_configuration_every_cut_and_flip_is_survived),
        cmocka_unit_test(test_start_refuses_broken_logs),
        cmocka_unit_test(test_receive_refuses_what_libraft_would_assert),
        cmocka_unit_test(test_wants_install_only_of_what_is_missing),
        cmocka_unit_test(test_fatal_errors_stop_the_replica),
        cmocka_unit_test(test_random_messages_never_reach_an_assertion),
    };
    return cmocka_run_group_tests_name("scenario/raft_refusals", tests, NULL, NULL);
}
