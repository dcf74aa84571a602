/* The ballast: made while there is enough space, given back when the disk is all but full, and no
 * trouble whatever goes wrong with it. */
#include "storage/ballast.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "counted_traces.h"
#include "io/file.h"
#include "spate/error.h"
#include "storage/store_state.h"
#include "tests/lib/crash_disk.h"
#include "tests/lib/crash_loop.h"

#define PATH "/data"
#define FILE_PATH PATH "/" SP_BALLAST_NAME
#define RESERVE ((uint64_t)8 << 20)
#define BALLAST (RESERVE / SP_BALLAST_PART)
#define LOW (BALLAST / SP_BALLAST_LOW_PART)
#define PLENTY (RESERVE + BALLAST)
#define STEPS 20 /* more than making it or giving it back takes */

static struct {
    struct crash_disk *disk;
    struct sp_loop *loop;
    struct sp_store *store; /* NULL while closed */
    uint64_t reserve_bytes; /* for the next opening */
    unsigned held;          /* traces of each kind */
    unsigned given_back;
    unsigned no_room;
    unsigned failures;
    bool failed;
} test;

static struct counted_trace counted[] = {
    { "ballast is held", &test.held },
    { "ballast is given back", &test.given_back },
    { "no room for a ballast", &test.no_room },
    { "ballast for a full disk fails", &test.failures },
    { NULL, NULL },
};

static void on_failed(void *arg, int status, const char *text)
{
    (void)arg;
    (void)status;
    (void)text;
    test.failed = true;
}

static int try_open(void)
{
    const struct sp_store_options options = {
        .path = PATH, .node_id = 3, .free_bytes_min = test.reserve_bytes, .counted = true
    };
    const struct sp_store_handler handler = { .failed = on_failed };
    char text[256] = "";

    return sp_store_open(test.loop, &options, &handler, NULL, text, sizeof text, &test.store);
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

static void close_store(void)
{
    bool closed = false;

    sp_store_close(test.store, set_flag, &closed);
    assert_true(crash_loop_until(test.loop, &closed));
    test.store = NULL;
}

static void begin(void)
{
    memset(&test, 0, sizeof test);
    test.reserve_bytes = RESERVE;
    test.disk = crash_disk_new();
    test.loop = crash_loop_new(1, false);
    crash_disk_use(test.disk);
    sp_trace_set_sink(count_traces, counted, SP_TRACE_LEVEL_INFO);
    assert_int_equal(try_open(), 0);
}

static void end(void)
{
    sp_mem_fail_at(0);
    assert_false(test.failed);
    if (test.store != NULL) {
        close_store();
    }
    sp_trace_set_sink(NULL, NULL, SP_TRACE_LEVEL_WARN);
    sp_loop_free(test.loop);
    crash_disk_free(test.disk);
}

static int set_up(void **state)
{
    (void)state;
    begin();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    end();
    return 0;
}

static void end_look(void)
{
    for (int turns = 0; test.store->space_looking; turns++) {
        assert_true(turns < 100);
        crash_loop_turn(test.loop);
    }
}

static void look(void)
{
    sp_store_look_at_space(test.store);
    end_look();
}

/* Others leave so much. */
static void look_with(uint64_t free_bytes)
{
    crash_disk_set_free(test.disk, free_bytes);
    look();
}

/* Of the file; 0 also when there is none. */
static uint64_t ballast_size(void)
{
    struct sp_file *file = NULL;
    uint64_t size = 0;
    int rv = sp_file_open(FILE_PATH, SP_FILE_READ, &file);

    if (rv != SPATE_ERR_NOT_FOUND) {
        assert_int_equal(rv, 0);
        assert_int_equal(sp_file_size(file, &size), 0);
    }
    sp_file_close(file);
    return size;
}

static void test_ballast_is_made_only_where_enough_stays(void **state)
{
    (void)state;
    look_with(PLENTY - 1);
    look();
    assert_false(sp_path_exists(FILE_PATH));
    assert_int_equal(test.no_room, 1);
    look_with(PLENTY);
    assert_int_equal(ballast_size(), BALLAST);
    assert_int_equal(sp_store_free_bytes(test.store), RESERVE);
    assert_int_equal(sp_store_space(test.store), SP_SPACE_ENOUGH);
    look();
    assert_int_equal(test.held, 1);
    assert_int_equal(test.no_room, 1);
    assert_int_equal(test.failures, 0);
}

static void test_ballast_is_given_back_and_taken_again(void **state)
{
    (void)state;
    look_with(PLENTY);
    look_with(LOW);
    assert_int_equal(ballast_size(), BALLAST);
    look_with(LOW - 1);
    assert_int_equal(ballast_size(), 0);
    assert_int_equal(test.given_back, 1);
    assert_int_equal(sp_store_free_bytes(test.store), LOW - 1 + BALLAST);
    assert_int_equal(sp_store_space(test.store), SP_SPACE_LAST);
    look_with(0); /* there is nothing more */
    assert_int_equal(test.given_back, 1);
    look_with(PLENTY - 1);
    assert_int_equal(ballast_size(), 0);
    look_with(PLENTY);
    assert_int_equal(ballast_size(), BALLAST);
    look_with(0);
    assert_int_equal(sp_store_free_bytes(test.store), BALLAST);
}

/* The free space that a flush has found is not kept for the next look. */
static void test_ballast_is_given_back_as_soon_as_a_flush_sees_it(void **state)
{
    (void)state;
    look_with(PLENTY);
    crash_disk_set_free(test.disk, 0);
    sp_store_note_free_bytes(test.store, 0);
    assert_true(test.store->space_looking);
    end_look();
    assert_int_equal(sp_store_free_bytes(test.store), BALLAST);
    sp_store_note_free_bytes(test.store, 0);
    assert_false(test.store->space_looking); /* nothing is left to look for */
}

/* A start writes; without the ballast it finds no space for that, as the second one here. */
static void test_ballast_lets_a_node_start_on_a_full_disk(void **state)
{
    (void)state;
    look_with(PLENTY);
    close_store();
    crash_disk_set_free(test.disk, 0);
    assert_int_equal(try_open(), 0);
    assert_int_equal(test.given_back, 1);
    assert_int_equal(ballast_size(), 0);
    assert_in_range(sp_store_free_bytes(test.store), BALLAST - 4096, BALLAST);
    close_store();
    crash_disk_set_free(test.disk, 0);
    assert_int_equal(try_open(), SPATE_ERR_NO_SPACE);
    crash_disk_set_free(test.disk, PLENTY + 4096);
    assert_int_equal(try_open(), 0);
    look();
    assert_int_equal(ballast_size(), BALLAST);
}

static void test_ballast_of_an_earlier_run_is_given_back_by_this_one(void **state)
{
    (void)state;
    look_with(PLENTY);
    close_store();
    crash_disk_set_free(test.disk, BALLAST);
    assert_int_equal(try_open(), 0);
    assert_int_equal(ballast_size(), BALLAST);
    assert_int_equal(test.given_back, 0);
    crash_disk_set_free(test.disk, 0);
    sp_store_note_free_bytes(test.store, 0); /* before any look */
    end_look();
    assert_int_equal(ballast_size(), 0);
    assert_int_equal(sp_store_free_bytes(test.store), BALLAST);
    look_with(PLENTY);
    close_store();
    crash_disk_set_free(test.disk, BALLAST - 1);
    assert_int_equal(try_open(), 0);
    assert_int_equal(ballast_size(), 0);
}

static void test_ballast_survives_what_a_crash_leaves_of_it(void **state)
{
    (void)state;
    for (int kind = CRASH_KILL; kind < CRASH_KINDS; kind++) {
        for (uint64_t seed = 1; seed <= 10; seed++) {
            look_with(PLENTY);
            look_with(seed % 2 == 0 ? PLENTY : 0);
            struct crash_disk *after = crash_disk_after(test.disk, (enum crash_kind)kind, seed);
            close_store();
            crash_disk_free(test.disk);
            test.disk = after;
            crash_disk_use(after);
            assert_int_equal(try_open(), 0);
            look_with(PLENTY);
            assert_int_equal(ballast_size(), BALLAST);
        }
    }
    assert_int_equal(test.failures, 0);
}

static void test_ballast_follows_the_reserve(void **state)
{
    static const uint64_t reserves[] = {
        2 * RESERVE,
        RESERVE / 2,
        SP_BALLAST_BYTES_MIN * SP_BALLAST_PART - 1,
        SP_BALLAST_BYTES_MIN * SP_BALLAST_PART,
        0,
        UINT32_MAX,
    };
    static const uint64_t sizes[] = { 2 * BALLAST,          BALLAST / 2, 0,
                                      SP_BALLAST_BYTES_MIN, 0,           SP_BALLAST_BYTES_MAX };

    (void)state;
    look_with(PLENTY);
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        close_store();
        test.reserve_bytes = reserves[i];
        assert_int_equal(try_open(), 0);
        look_with((uint64_t)UINT32_MAX + SP_BALLAST_BYTES_MAX);
        assert_int_equal(ballast_size(), sizes[i]);
        assert_int_equal(sp_path_exists(FILE_PATH), sizes[i] > 0);
    }
    assert_int_equal(test.failures, 0);
}

static void test_ballast_may_be_removed_by_anybody(void **state)
{
    (void)state;
    look_with(PLENTY);
    assert_int_equal(sp_path_remove(FILE_PATH), 0);
    look_with(0);
    assert_int_equal(test.given_back, 0);
    look_with(PLENTY);
    assert_int_equal(ballast_size(), BALLAST);
    assert_int_equal(sp_path_remove(FILE_PATH), 0);
    look_with(PLENTY);
    assert_int_equal(ballast_size(), BALLAST);
    assert_int_equal(test.failures, 0);
}

/* Each of the calls and requests for memory of one look fails in turn. Later all is as it should
 * be: at the next look, or, what is not urgent, a minute later. */
static void fail_one(unsigned number, bool memory, int status)
{
    if (memory) {
        sp_mem_fail_at(number + 1);
    } else {
        crash_disk_fail(test.disk, crash_disk_operations(test.disk) + number, false, status);
    }
}

static void stop_failing(void)
{
    sp_mem_fail_at(0);
    crash_disk_fail(test.disk, UINT64_MAX, false, 0);
}

static void check_making(unsigned number, bool memory, int status)
{
    begin();
    crash_disk_set_free(test.disk, PLENTY);
    fail_one(number, memory, status);
    look();
    stop_failing();
    if (test.failures > 0) {
        assert_int_equal(ballast_size(), 0);
        assert_int_equal(sp_store_free_bytes(test.store), PLENTY);
        look();
        assert_int_equal(ballast_size(), 0);
        assert_true(sp_ballast_tend(
            &test.store->ballast, PLENTY, test.store->space_now_ms + SP_BALLAST_RETRY_MS));
    }
    assert_int_equal(ballast_size(), BALLAST);
    assert_true(test.failures <= 1);
    end();
}

static void check_giving_back(unsigned number, bool memory, int status)
{
    begin();
    look_with(PLENTY);
    crash_disk_set_free(test.disk, 0);
    fail_one(number, memory, status);
    look();
    stop_failing();
    look();
    assert_int_equal(ballast_size(), 0);
    assert_int_equal(sp_store_free_bytes(test.store), BALLAST);
    assert_true(test.failures <= 1);
    end();
}

static void check_opening(unsigned number, bool memory, int status)
{
    begin();
    look_with(PLENTY);
    close_store();
    crash_disk_set_free(test.disk, 0);
    fail_one(number, memory, status);
    int rv = try_open();
    stop_failing();
    if (rv != 0) { /* for want of space, or something else did not work */
        assert_int_equal(try_open(), 0);
    }
    look();
    assert_int_equal(ballast_size(), 0);
    assert_in_range(sp_store_free_bytes(test.store), BALLAST - 4096, BALLAST);
    end();
}

static void test_ballast_is_no_trouble_when_a_call_fails(void **state)
{
    static const int statuses[] = { SPATE_ERR_IO, SPATE_ERR_NO_SPACE, SPATE_ERR_UNSUPPORTED };
    unsigned failures = 0;

    (void)state;
    for (unsigned number = 0; number < STEPS; number++) {
        for (unsigned i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
            check_making(number, false, statuses[i]);
            failures += test.failures;
            check_giving_back(number, false, statuses[i]);
            failures += test.failures;
            check_opening(number, false, statuses[i]);
        }
    }
    assert_true(failures >=
                9); /* making, allocating, cutting and syncing it: some of them thrice */
}

static void test_ballast_is_no_trouble_without_memory(void **state)
{
    unsigned failures = 0;

    (void)state;
    for (unsigned number = 0; number < STEPS; number++) {
        check_making(number, true, 0);
        failures += test.failures;
        check_giving_back(number, true, 0);
        failures += test.failures;
        check_opening(number, true, 0);
    }
    assert_true(failures >= 2);
}

/* Looks that fail for ever are told of once. */
static void test_ballast_tells_once_that_it_fails(void **state)
{
    (void)state;
    look_with(PLENTY);
    crash_disk_set_free(test.disk, 0);
    crash_disk_fail(test.disk, crash_disk_operations(test.disk), true, SPATE_ERR_IO);
    for (int i = 0; i < 3; i++) {
        look();
    }
    stop_failing();
    assert_int_equal(test.failures, 1);
    look();
    assert_int_equal(ballast_size(), 0);
}

#define BALLAST_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BALLAST_TEST(test_ballast_is_made_only_where_enough_stays),
        BALLAST_TEST(test_ballast_is_given_back_and_taken_again),
        BALLAST_TEST(test_ballast_is_given_back_as_soon_as_a_flush_sees_it),
        BALLAST_TEST(test_ballast_lets_a_node_start_on_a_full_disk),
        BALLAST_TEST(test_ballast_of_an_earlier_run_is_given_back_by_this_one),
        BALLAST_TEST(test_ballast_survives_what_a_crash_leaves_of_it),
        BALLAST_TEST(test_ballast_follows_the_reserve),
        BALLAST_TEST(test_ballast_may_be_removed_by_anybody),
        BALLAST_TEST(test_ballast_tells_once_that_it_fails),
        cmocka_unit_test(test_ballast_is_no_trouble_when_a_call_fails),
        cmocka_unit_test(test_ballast_is_no_trouble_without_memory),
    };
    return cmocka_run_group_tests_name("storage/ballast", tests, NULL, NULL);
}
