/* A disk that is full and stays so: a write that finds no space a second time waits, nothing of it
 * is reported, and a crash meanwhile loses nothing that was. */
#include <stdlib.h>

#include "full_disk_world.h"
#include "storage/meta_state.h"

#define CHAINS_MAX 16
#define SEEDS 5

static uint32_t chains[CHAINS_MAX]; /* of the frames by index, in tests that only append */

static void append_noted(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        append(1);
        assert_true(sp_log_last_index(test.log) < CHAINS_MAX);
        chains[sp_log_last_index(test.log)] = sp_log_chain(test.log);
    }
}

/* From here on there is neither space nor a ballast. */
static void starve(uint64_t free_bytes)
{
    (void)sp_path_remove(BALLAST_PATH);
    crash_disk_set_free(test.disk, free_bytes);
}

static void relieve(void)
{
    crash_disk_set_free(test.disk, PLENTY);
    pass_ms(SP_SPACE_RETRY_MS + 10);
    settle();
}

/* What would be found after a crash right now has all that was reported, and nothing but frames
 * that were appended. */
static void check_crash(enum crash_kind kind, uint64_t seed, bool noted)
{
    uint64_t persisted = sp_log_persisted_index(test.log);
    uint64_t last = sp_log_last_index(test.log);
    void *kept = malloc(sizeof test);

    assert_non_null(kept);
    memcpy(kept, &test, sizeof test);
    test.disk = crash_disk_after(test.disk, kind, seed);
    test.loop = crash_loop_new(seed, false);
    crash_disk_use(test.disk);
    crash_disk_set_free(test.disk, PLENTY);
    open_all(false);
    uint64_t found = sp_log_last_index(test.log);
    assert_in_range(found, persisted, last);
    assert_true(!noted || found == 0 || sp_log_chain(test.log) == chains[found]);
    close_all();
    sp_loop_free(test.loop);
    crash_disk_free(test.disk);
    memcpy(&test, kept, sizeof test);
    free(kept);
    crash_disk_use(test.disk);
}

static void check_crashes(bool noted)
{
    for (int kind = 0; kind < CRASH_KINDS; kind++) {
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            check_crash((enum crash_kind)kind, seed, noted);
        }
    }
}

/* However much of the frames has found room, to half of one. */
static void test_full_disk_write_waits_for_space(void **state)
{
    (void)state;
    for (uint64_t room = 0; room < 3 * VALUE_SIZE; room += 200) {
        begin();
        append_noted(3);
        check_durable(3);
        starve(room);
        append_noted(4);
        settle();
        assert_int_equal(test.failed, 0);
        assert_int_equal(test.writes_waiting, 1);
        assert_int_equal(sp_log_persisted_index(test.log), 3);
        assert_int_equal(sp_store_space(test.store), SP_SPACE_LAST);
        check_crashes(true);
        append_noted(1);                /* waits behind it */
        pass_ms(5 * SP_SPACE_RETRY_MS); /* in vain */
        assert_int_equal(sp_log_persisted_index(test.log), 3);
        assert_int_equal(sp_store_space(test.store), SP_SPACE_LAST);
        check_crashes(true);
        assert_int_equal(test.writes_waiting, 1); /* told once */
        relieve();
        check_durable(8);
        check_crash(CRASH_NONE, 1, true);
        end();
    }
}

/* Frames find space and the room behind them does not: nothing waits, and the ballast stays. */
static void test_full_disk_has_no_room_to_prefill(void **state)
{
    unsigned whole = 0;

    (void)state;
    for (uint64_t room = VALUE_SIZE + 200; room < 5 * VALUE_SIZE; room += 200) {
        begin();
        test.store->prefill_bytes = 16 * 1024;
        crash_disk_set_free(test.disk, room);
        append_noted(1);
        check_durable(1);
        whole += sp_log_newest_segment(test.log)->room_end > 0;
        assert_int_equal(test.spent, 0);
        assert_int_equal(test.writes_waiting, 0);
        check_crashes(true);
        crash_disk_set_free(test.disk, PLENTY);
        append_noted(1);
        check_durable(2);
        check_crash(CRASH_NONE, 1, true);
        end();
    }
    assert_in_range(whole, 1, 40);
}

/* Raft drops frames that wait, and puts others in their place. */
static void test_full_disk_frames_that_wait_are_replaced(void **state)
{
    (void)state;
    begin();
    append_noted(3);
    check_durable(3);
    starve(VALUE_SIZE);
    append_noted(4);
    settle();
    assert_int_equal(test.writes_waiting, 1);
    assert_int_equal(sp_log_truncate(test.log, 5), 0);
    append_noted(2);
    settle();
    check_crash(CRASH_NONE, 1, true);
    relieve();
    check_durable(6);
    check_crashes(true);
    end();
}

static void test_full_disk_votes_wait_for_space(void **state)
{
    uint64_t term = 0;
    uint64_t vote = 0;

    (void)state;
    begin();
    uint64_t first = sp_store_set_vote(test.store, GROUP, REPLICA, 1, 2);
    settle();
    starve(20);
    for (uint64_t i = 2; i < 1000; i++) {
        (void)sp_store_set_vote(test.store, GROUP, REPLICA, i, 3);
        crash_loop_turn(test.loop);
    }
    settle();
    assert_int_equal(test.failed, 0);
    assert_int_equal(test.writes_waiting, 1);
    assert_int_equal(sp_store_meta_durable(test.store), first);
    /* one of each replica is kept */
    assert_int_equal(test.store->meta->pending.size,
                     SP_META_BATCH_HEADER_SIZE + SP_META_RECORD_SIZE);
    check_crashes(false);
    relieve();
    assert_int_equal(sp_store_meta_durable(test.store), first + 998);
    close_all();
    open_all(false);
    sp_store_vote(test.store, GROUP, REPLICA, &term, &vote);
    assert_int_equal(term, 999);
    assert_int_equal(vote, 3);
    end();
}

static unsigned long starved_at(uint64_t number)
{
    unsigned long waited = 0;

    begin();
    assert_int_equal(sp_path_remove(BALLAST_PATH), 0);
    test.operations = crash_disk_operations(test.disk) + number;
    test.relieves = true;
    work();
    waited = test.writes_waiting;
    assert_int_equal(test.failed, 0);
    check_reopened();
    end();
    return waited;
}

static void test_full_disk_that_stays_full_at_any_operation_is_survived(void **state)
{
    unsigned long waited = 0;

    (void)state;
    begin();
    assert_int_equal(sp_path_remove(BALLAST_PATH), 0);
    uint64_t first = crash_disk_operations(test.disk);
    work();
    uint64_t count = crash_disk_operations(test.disk) - first;
    end();
    for (uint64_t number = 0; number < count; number++) {
        waited += starved_at(number);
    }
    assert_true(waited > 30);
}

/* A log that closes does not wait, and the store goes on. */
static void test_full_disk_log_that_closes_gives_its_end_up(void **state)
{
    static const char rest[] = PATH "/" SP_REPLICAS_DIRECTORY "/1.7/" SP_REST_NAME;
    bool closed = false;

    (void)state;
    begin();
    sp_log_set_segment_bytes(test.log, 64 * 1024);
    append_noted(3);
    check_durable(3);
    starve(VALUE_SIZE);
    append_noted(3);
    settle();
    assert_int_equal(test.writes_waiting, 1);
    append_noted(2); /* behind a gap, if it were written */
    assert_true(sp_log_wants_rest(test.log));
    sp_log_keep_rest(test.log, 3, (const uint8_t *)"state", 5);
    crash_disk_set_free(test.disk, PLENTY);
    sp_log_close(test.log, set_flag, &closed);
    assert_true(crash_loop_until(test.loop, &closed));
    assert_int_equal(test.failed, 0);
    assert_false(sp_path_exists(rest));
    test.opened = false;
    sp_store_open_replica(test.store, &test.open);
    assert_true(crash_loop_until(test.loop, &test.opened));
    uint64_t found = sp_log_last_index(test.log);
    assert_in_range(found, 3, 6);
    assert_int_equal(sp_log_chain(test.log), chains[found]);
    append(1);
    check_durable(found + 1);
    end();
}

static bool has_first_segment(void)
{
    return sp_path_exists(PATH "/" SP_REPLICAS_DIRECTORY "/1.7/00000000000000000001.log");
}

/* Three segments with checkpoints; whatever changes the directory from here on finds no space. */
static uint64_t begin_trim(void)
{
    begin();
    for (int i = 0; i < 3; i++) {
        append_noted(2);
        sp_log_roll(test.log);
    }
    append_noted(1);
    check_durable(7);
    write_checkpoints(1000);
    check_durable(7);
    assert_int_equal(sp_log_checkpoint_index(test.log), 6);
    crash_disk_fail(test.disk, crash_disk_operations(test.disk), true, SPATE_ERR_NO_SPACE);
    uint64_t index = sp_log_trim_index(test.log, 2);
    assert_int_equal(index, 4);
    sp_log_trim(test.log, index);
    settle();
    assert_int_equal(test.failed, 0);
    assert_int_equal(test.writes_waiting, 1);
    assert_true(has_first_segment());
    assert_int_equal(sp_log_first_index(test.log), index + 1); /* nobody reads it any more */
    return index;
}

static void test_full_disk_trim_waits_for_space(void **state)
{
    (void)state;
    uint64_t index = begin_trim();
    pass_ms(3 * SP_SPACE_RETRY_MS); /* in vain */
    settle();
    assert_int_equal(test.failed, 0);
    assert_true(has_first_segment());
    assert_int_equal(test.writes_waiting, 1); /* told once */
    append_noted(1);                          /* waits as well */
    settle();
    assert_int_equal(sp_log_persisted_index(test.log), 7);
    crash_disk_fail(test.disk, UINT64_MAX, false, 0);
    check_crashes(true);
    pass_ms(2 * SP_SPACE_RETRY_MS);
    check_durable(8);
    assert_false(has_first_segment());
    check_crashes(true);
    close_all();
    open_all(false);
    assert_int_equal(sp_log_first_index(test.log), index + 1);
    assert_int_equal(sp_log_last_index(test.log), 8);
    end();
}

/* What is left is as a crash would leave it. */
static void test_full_disk_log_that_closes_gives_its_trim_up(void **state)
{
    (void)state;
    uint64_t index = begin_trim();
    close_all();
    assert_int_equal(test.failed, 0);
    assert_true(has_first_segment());
    crash_disk_fail(test.disk, UINT64_MAX, false, 0);
    open_all(false);
    assert_int_equal(sp_log_first_index(test.log), 1);
    assert_int_equal(sp_log_last_index(test.log), 7);
    sp_log_trim(test.log, index);
    check_durable(7);
    assert_false(has_first_segment());
    end();
}

static void test_full_disk_store_that_closes_gives_its_votes_up(void **state)
{
    uint64_t term = 0;
    uint64_t vote = 0;

    (void)state;
    begin();
    (void)sp_store_set_vote(test.store, GROUP, REPLICA, 1, 2);
    settle();
    starve(20);
    (void)sp_store_set_vote(test.store, GROUP, REPLICA, 2, 3);
    settle();
    close_all();
    assert_int_equal(test.failed, 0);
    crash_disk_set_free(test.disk, PLENTY);
    open_all(false);
    sp_store_vote(test.store, GROUP, REPLICA, &term, &vote);
    assert_int_equal(term, 1);
    assert_int_equal(vote, 2);
    end();
}

/* A new segment that finds no space is taken away, to be made again: of all the operations of that
 * one fails, in turn. */
static unsigned fail_once(int status)
{
    unsigned went_on = 0;

    for (uint64_t number = 0; number < 16; number++) {
        begin();
        append(3);
        check_durable(3);
        sp_log_roll(test.log);
        starve(SP_SEGMENT_HEADER_SIZE / 2);
        append(1);
        crash_disk_fail(test.disk, crash_disk_operations(test.disk) + number, false, status);
        settle();
        crash_disk_set_free(test.disk, PLENTY);
        pass_ms(3 * SP_SPACE_RETRY_MS);
        settle();
        assert_true(test.failed == 0 || test.failed == SPATE_ERR_IO);
        assert_int_equal(sp_log_persisted_index(test.log), test.failed == 0 ? 4 : 3);
        went_on += test.failed == 0;
        end();
    }
    return went_on;
}

static void test_full_disk_that_fails_once_says_so_or_goes_on(void **state)
{
    (void)state;
    assert_in_range(fail_once(SPATE_ERR_IO), 1, 12);
    assert_in_range(fail_once(SPATE_ERR_NO_SPACE), 1, 16);
}

/* Another error ends what waits, too. */
static void test_full_disk_that_fails_meanwhile_is_final(void **state)
{
    (void)state;
    begin();
    starve(0);
    append(1);
    settle();
    assert_int_equal(test.writes_waiting, 1);
    crash_disk_fail(test.disk, crash_disk_operations(test.disk), true, SPATE_ERR_IO);
    pass_ms(2 * SP_SPACE_RETRY_MS);
    assert_int_equal(test.failed, SPATE_ERR_IO);
    assert_int_equal(sp_log_persisted_index(test.log), 0);
    end();
}

static const char replica_path[] = PATH "/" SP_REPLICAS_DIRECTORY "/1.7";

/* A mark of damage is no less needed than the rest. */
static void test_full_disk_mark_of_damage_waits_for_space(void **state)
{
    (void)state;
    begin();
    starve(0);
    sp_store_mark_damaged(test.store, GROUP, REPLICA, "a frame");
    settle();
    assert_int_equal(test.writes_waiting, 1);
    assert_false(sp_store_is_marked(replica_path));
    relieve();
    assert_true(sp_store_is_marked(replica_path));
    end();
}

/* The damage is found anew. It waits in front of votes, behind them, or its job is under way. */
static void check_mark_given_up(bool votes, bool votes_first, bool runs)
{
    bool closed = false;

    begin();
    starve(0);
    if (votes && votes_first) {
        (void)sp_store_set_vote(test.store, GROUP, REPLICA, 2, 3);
        settle();
    }
    if (!runs) {
        sp_store_mark_damaged(test.store, GROUP, REPLICA, "a frame");
        settle();
        assert_int_equal(test.writes_waiting, 1);
    }
    if (votes && !votes_first) {
        (void)sp_store_set_vote(test.store, GROUP, REPLICA, 2, 3);
        settle();
    }
    sp_log_close(test.log, set_flag, &closed);
    assert_true(crash_loop_until(test.loop, &closed));
    if (runs) {
        sp_store_mark_damaged(test.store, GROUP, REPLICA, "a frame");
    }
    closed = false;
    sp_store_close(test.store, set_flag, &closed);
    assert_true(crash_loop_until(test.loop, &closed));
    assert_int_equal(test.failed, 0);
    assert_false(sp_store_is_marked(replica_path));
    crash_disk_set_free(test.disk, PLENTY);
    open_all(false);
    end();
}

static void test_full_disk_store_that_closes_gives_its_mark_up(void **state)
{
    (void)state;
    check_mark_given_up(false, false, false);
    check_mark_given_up(true, false, false);
    check_mark_given_up(true, true, false);
    check_mark_given_up(false, false, true);
    check_mark_given_up(true, true, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_disk_write_waits_for_space),
        cmocka_unit_test(test_full_disk_has_no_room_to_prefill),
        cmocka_unit_test(test_full_disk_frames_that_wait_are_replaced),
        cmocka_unit_test(test_full_disk_votes_wait_for_space),
        cmocka_unit_test(test_full_disk_that_stays_full_at_any_operation_is_survived),
        cmocka_unit_test(test_full_disk_log_that_closes_gives_its_end_up),
        cmocka_unit_test(test_full_disk_trim_waits_for_space),
        cmocka_unit_test(test_full_disk_log_that_closes_gives_its_trim_up),
        cmocka_unit_test(test_full_disk_store_that_closes_gives_its_votes_up),
        cmocka_unit_test(test_full_disk_that_fails_once_says_so_or_goes_on),
        cmocka_unit_test(test_full_disk_that_fails_meanwhile_is_final),
        cmocka_unit_test(test_full_disk_mark_of_damage_waits_for_space),
        cmocka_unit_test(test_full_disk_store_that_closes_gives_its_mark_up),
    };

    return cmocka_run_group_tests_name("storage/full_disk_waits", tests, NULL, NULL);
}
