/* The promise of src/storage, put to the test at every moment: before each operation on a disk in
 * memory the power fails in several ways on copies of it, and each copy is opened and compared with
 * what had been acknowledged until then. Some copies lose power again while they are opened.
 *
 *   life:  open, compare -> random work, a crash tried before each disk operation -> crash -> life
 *
 * Nothing of src/io is linked: tests/lib/crash_disk.h and crash_loop.h are its bodies here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "base/rand.h"
#include "spate/error.h"
#include "tests/lib/crash_disk.h"
#include "tests/lib/crash_loop.h"
#include "tests/lib/crash_model.h"
#include "tests/lib/test_batch.h"

/* AddressSanitizer takes five times as long, and sees in a third of the seeds what there is. */
#define SHARE (SP_ADDRESS_SANITIZED ? 3 : 1)
#define SEEDS (6 / SHARE)
#define AGING_SEED_FIRST 301 /* the third of them finds a spare given away before its time */
#define AGING_SEEDS (4 / SHARE)
#define LIVES 5
#define STEPS 110
#define FIRST_OPERATIONS 25 /* more than a first opening has */
#define DAMAGE_SEEDS (20 / SHARE)
#define DAMAGE_STEPS 150
#define DAMAGES 60
#define VOTE_ALLOCATIONS 6 /* at least as many as a vote has */
#define FAULT_SEEDS (250 / SHARE)
#define FAULT_STEPS 60
#define FAULT_OPERATIONS 250

/* ---- crashes tried on copies ----------------------------------------------------------------- */

struct trial {
    struct crash_life *life;
    struct sp_rand rand;
    unsigned long crashes;
};

static void try_crash(struct trial *trial, enum crash_kind kind)
{
    struct crash_promise promise = trial->life->promise;
    uint64_t seed = sp_rand_next(&trial->rand);
    struct crash_disk *disk = crash_disk_after(trial->life->disk, kind, seed);

    trial->crashes += 1;
    if (sp_rand_below(&trial->rand, 3) == 0) { /* the opening does not get far */
        uint64_t from = sp_rand_below(&trial->rand, 25);
        enum crash_kind again = (enum crash_kind)sp_rand_below(&trial->rand, CRASH_KINDS);

        crash_disk_fail(disk, from, true, SPATE_ERR_IO);
        crash_model_visit(disk, trial->life->history, &promise, seed);
        struct crash_disk *after = crash_disk_after(disk, again, seed);
        crash_disk_free(disk);
        disk = after;
    }
    crash_model_visit(disk, trial->life->history, &promise, seed);
    crash_disk_free(disk);
    crash_disk_use(trial->life->disk);
}

static void try_crashes(void *arg)
{
    struct trial *trial = arg;

    try_crash(trial, CRASH_SOME);
    try_crash(trial, (enum crash_kind)sp_rand_below(&trial->rand, CRASH_KINDS));
}

static void run_lives(uint64_t seed, bool ages, unsigned long *crashes, uint64_t *recycled)
{
    struct crash_history *history = crash_history_new();
    struct crash_promise promise = { .opened = false };
    struct crash_disk *disk = crash_disk_new();
    struct sp_rand rand;

    sp_rand_init(&rand, seed);
    for (unsigned i = 0; i < LIVES; i++) {
        struct crash_life life;
        struct trial trial = { .life = &life };

        sp_rand_init(&trial.rand, sp_rand_next(&rand));
        crash_life_init(&life, disk, history, &promise, sp_rand_next(&rand));
        life.ages = ages;
        crash_disk_set_hook(disk, try_crashes, &trial);
        assert_true(crash_life_open(&life, true));
        crash_life_work(&life, STEPS);
        *recycled += sp_store_recycled(life.store);
        if (sp_rand_below(&rand, 3) == 0) {
            crash_life_end(&life);
        }
        crash_disk_set_hook(disk, NULL, NULL);
        struct crash_disk *after = crash_disk_after(
            disk, (enum crash_kind)sp_rand_below(&rand, CRASH_KINDS), sp_rand_next(&rand));
        promise = life.promise;
        crash_life_abandon(&life);
        crash_disk_free(disk);
        disk = after;
        *crashes += trial.crashes;
    }
    crash_disk_free(disk);
    crash_history_free(history);
}

static void test_storage_crash_at_any_operation_keeps_what_was_promised(void **state)
{
    const char *given = getenv("SPATE_CRASH_SEED");
    unsigned long crashes = 0;
    uint64_t recycled = 0;
    uint64_t live = sp_mem_live_count();

    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t used = given != NULL ? strtoull(given, NULL, 10) + seed - 1 : seed;

        crash_model_context("seed %llu", (unsigned long long)used);
        run_lives(used, false, &crashes, &recycled);
        assert_int_equal(sp_mem_live_count(), live);
    }
    print_message("%lu crashes\n", crashes);
    assert_true(crashes > 5000 / SHARE);
}

/* The same where segments are trimmed all the time, and new ones written into their files. */
static void test_storage_crash_in_recycled_segments_keeps_what_was_promised(void **state)
{
    const char *given = getenv("SPATE_CRASH_SEED");
    unsigned long crashes = 0;
    uint64_t recycled = 0;

    (void)state;
    for (uint64_t i = 0; i < AGING_SEEDS; i++) {
        uint64_t used = i + (given != NULL ? strtoull(given, NULL, 10) : AGING_SEED_FIRST);

        crash_model_context("aging seed %llu", (unsigned long long)used);
        run_lives(used, true, &crashes, &recycled);
    }
    print_message(
        "%lu crashes, %llu segments in files of old ones\n", crashes, (unsigned long long)recycled);
    assert_true(recycled > 20 / SHARE);
}

/* The process dies at each step of the first opening, the next one succeeds, then power goes. */
static void test_storage_crash_of_the_first_opening_spares_the_second(void **state)
{
    (void)state;
    for (uint64_t step = 0; step < FIRST_OPERATIONS; step++) {
        struct crash_history *history = crash_history_new();
        struct crash_promise promise = { .opened = false };
        struct crash_disk *disk = crash_disk_new();

        crash_model_context("first opening, step %llu", (unsigned long long)step);
        crash_disk_fail(disk, step, true, SPATE_ERR_IO);
        crash_model_visit(disk, history, &promise, step);
        struct crash_disk *killed = crash_disk_after(disk, CRASH_KILL, step);
        crash_model_visit(killed, history, &promise, step + 100);
        assert_true(promise.opened);
        struct crash_disk *after = crash_disk_after(killed, CRASH_NONE, step);
        crash_model_visit(after, history, &promise, step + 200);
        crash_disk_free(disk);
        crash_disk_free(killed);
        crash_disk_free(after);
        crash_history_free(history);
    }
}

/* ---- damage ---------------------------------------------------------------------------------- */

/* One byte of the disk changes after an orderly end. */
static unsigned run_damage(uint64_t seed)
{
    struct crash_history *history = crash_history_new();
    const struct crash_promise nothing = { .opened = false };
    struct crash_disk *disk = crash_disk_new();
    struct crash_life life;
    unsigned corrupt = 0;

    crash_life_init(&life, disk, history, &nothing, seed);
    assert_true(crash_life_open(&life, true));
    crash_life_work(&life, DAMAGE_STEPS);
    crash_life_end(&life);
    struct crash_promise promise = life.promise;
    crash_life_abandon(&life);
    for (unsigned i = 0; i < DAMAGES; i++) {
        struct crash_disk *after = crash_disk_after(disk, CRASH_NONE, i);

        crash_disk_damage(after, seed * DAMAGES + i);
        corrupt += crash_model_visit_damaged(after, history, &promise, i);
        crash_disk_free(after);
    }
    crash_disk_free(disk);
    crash_history_free(history);
    return corrupt;
}

static void test_storage_damage_is_never_taken_for_a_torn_tail(void **state)
{
    unsigned corrupt = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= DAMAGE_SEEDS; seed++) {
        crash_model_context("damage seed %llu", (unsigned long long)seed);
        corrupt += run_damage(seed);
    }
    print_message("%u of %u seen\n", corrupt, DAMAGE_SEEDS * DAMAGES);
    assert_true(corrupt > DAMAGE_SEEDS);
}

/* ---- no memory ------------------------------------------------------------------------------- */

static void test_storage_crash_after_a_vote_without_memory_opens_again(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= VOTE_ALLOCATIONS; n++) {
        struct crash_history *history = crash_history_new();
        const struct crash_promise nothing = { .opened = false };
        struct crash_disk *disk = crash_disk_new();
        struct crash_life life;

        crash_model_context("allocation %llu", (unsigned long long)n);
        crash_life_init(&life, disk, history, &nothing, n);
        assert_true(crash_life_open(&life, false));
        for (uint64_t term = 1; term <= 3; term++) {
            sp_mem_fail_at(term == 1 ? n : 0);
            (void)sp_store_set_vote(life.store, 77, term, term, 1); /* the first one may fail */
            sp_mem_fail_at(0);
            crash_loop_turn(life.loop);
            crash_loop_turn(life.loop);
        }
        crash_life_end(&life);
        struct crash_promise promise = life.promise;
        crash_life_abandon(&life);
        struct crash_disk *after = crash_disk_after(disk, CRASH_NONE, n);
        crash_model_visit(after, history, &promise, n);
        crash_disk_free(disk);
        crash_disk_free(after);
        crash_history_free(history);
    }
}

/* ---- errors of disk and memory --------------------------------------------------------------- */

/* Work under errors, then power fails. */
static void run_fault(uint64_t seed, bool of_memory)
{
    static const int codes[] = { SPATE_ERR_IO, SPATE_ERR_NO_SPACE };
    struct crash_history *history = crash_history_new();
    const struct crash_promise nothing = { .opened = false };
    struct crash_disk *disk = crash_disk_new();
    struct crash_life life;
    struct sp_rand rand;

    sp_rand_init(&rand, seed);
    if (!of_memory) { /* one operation fails, or all from one on */
        crash_disk_fail(disk,
                        sp_rand_below(&rand, FAULT_OPERATIONS),
                        sp_rand_below(&rand, 2) == 0,
                        codes[sp_rand_below(&rand, 2)]);
    }
    crash_life_init(&life, disk, history, &nothing, sp_rand_next(&rand));
    if (crash_life_open(&life, true)) {
        life.memory_fails = of_memory;
        crash_life_work(&life, FAULT_STEPS);
    }
    struct crash_promise promise = life.promise;
    crash_life_abandon(&life);
    enum crash_kind kind = sp_rand_below(&rand, 2) == 0 ? CRASH_NONE : CRASH_SOME;
    struct crash_disk *after = crash_disk_after(disk, kind, sp_rand_next(&rand));
    crash_disk_free(disk);
    crash_model_visit(after, history, &promise, seed);
    crash_disk_free(after);
    crash_history_free(history);
}

static void test_storage_crash_after_disk_errors_keeps_what_was_promised(void **state)
{
    uint64_t live = sp_mem_live_count();

    (void)state;
    for (uint64_t seed = 1; seed <= FAULT_SEEDS; seed++) {
        crash_model_context("fault seed %llu", (unsigned long long)seed);
        run_fault(seed, false);
        assert_int_equal(sp_mem_live_count(), live);
    }
}

static void test_storage_crash_after_lack_of_memory_keeps_what_was_promised(void **state)
{
    uint64_t live = sp_mem_live_count();

    (void)state;
    for (uint64_t seed = 1; seed <= FAULT_SEEDS; seed++) {
        crash_model_context("memory seed %llu", (unsigned long long)seed);
        run_fault(seed, true);
        assert_int_equal(sp_mem_live_count(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_storage_crash_at_any_operation_keeps_what_was_promised),
        cmocka_unit_test(test_storage_crash_in_recycled_segments_keeps_what_was_promised),
        cmocka_unit_test(test_storage_crash_of_the_first_opening_spares_the_second),
        cmocka_unit_test(test_storage_damage_is_never_taken_for_a_torn_tail),
        cmocka_unit_test(test_storage_crash_after_a_vote_without_memory_opens_again),
        cmocka_unit_test(test_storage_crash_after_disk_errors_keeps_what_was_promised),
        cmocka_unit_test(test_storage_crash_after_lack_of_memory_keeps_what_was_promised),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
