/* Compaction against a model, on a disk that loses power: after every pass, and after a crash at
 * any operation of one, the log has the latest record of each key, nothing that was never written,
 * and every frame in its place; and another pass ends what was begun.
 *
 *   write batches, flush -> a pass -> the log is what the model says -> again
 *                            `- before some operations: power fails on a copy -> open, check,
 *                               a whole pass, check
 *
 * Readers go through the log in order of offsets, so that none can meet an older record behind a
 * newer one as long as offsets rise; the check walks it that way. */
#include "base/attr.h"
#include "compaction_world.h"

/* ---- crashes --------------------------------------------------------------------------------- */

struct trial {
    struct model *model;
    struct crash_disk *disk;
    struct sp_rand rand;
    unsigned one_in; /* operations */
    uint64_t segment_bytes;
};

static void visit(struct trial *trial, struct crash_disk *disk)
{
    struct model after = *trial->model;
    struct life life;

    crash_disk_use(disk);
    open_store(&life, sp_rand_next(&trial->rand), trial->segment_bytes, false);
    check(&life, &after);
    after.clean = compact(&life, 0, after.floor, 1 << 20);
    check(&life, &after);
    close_store(&life);
}

static void try_crash(void *arg)
{
    struct trial *trial = arg;

    if (sp_rand_below(&trial->rand, trial->one_in) != 0) {
        return;
    }
    enum crash_kind kind = (enum crash_kind)sp_rand_below(&trial->rand, CRASH_KINDS);
    struct crash_disk *after = crash_disk_after(trial->disk, kind, sp_rand_next(&trial->rand));
    trial->model->crashes += 1;
    visit(trial, after);
    crash_disk_free(after);
    crash_disk_use(trial->disk);
}

struct shape {
    int64_t records;
    unsigned keys;
    unsigned batch_max;
    unsigned passes;
    uint64_t segment_bytes;
    size_t memory_bytes;
    unsigned crash_one_in; /* operations of a pass */
    bool scarce;           /* the memory is less than the keys of a pass need */
    bool bare;             /* nearly all frames are emptied: little must be left of them */
};

/* Passes until all that is finished is clean; how many. */
static unsigned compact_all(struct life *life, struct model *model, size_t memory_bytes)
{
    for (unsigned passes = 1;; passes++) {
        int64_t before = model->clean;

        model->floor = model->clean; /* a replica of its own */
        model->clean = compact(life, model->clean, model->floor, memory_bytes);
        assert_true(model->clean >= before);
        check(life, model);
        if (!life->compactor.pass.full) {
            return passes;
        }
    }
}

static void play(const struct shape *shape, uint64_t seed)
{
    struct model model = { .keys = shape->keys };
    struct trial trial = { .model = &model,
                           .disk = crash_disk_new(),
                           .one_in = shape->crash_one_in,
                           .segment_bytes = shape->segment_bytes };
    struct sp_rand rand;
    struct life life;
    unsigned runs = 0;

    sp_rand_init(&rand, seed);
    sp_rand_init(&trial.rand, seed + 1000);
    model.records = calloc((size_t)shape->records + shape->batch_max, sizeof model.records[0]);
    assert_non_null(model.records);
    crash_disk_use(trial.disk);
    open_store(&life, seed, shape->segment_bytes, true);
    for (unsigned pass = 1; pass <= shape->passes; pass++) {
        while (model.count < shape->records * pass / shape->passes) {
            write_batch(&life, &model, &rand, shape->batch_max);
            if (sp_rand_below(&rand, 50) == 0) {
                flush(&life, &model);
            }
        }
        flush(&life, &model);
        crash_disk_set_hook(trial.disk, try_crash, &trial);
        runs += compact_all(&life, &model, shape->memory_bytes);
        crash_disk_set_hook(trial.disk, NULL, NULL);
        check(&life, &model);
    }
    print_message("seed %llu: %lld records of %u keys, %lu removed, %lu crashes, %llu bytes of log "
                  "are left, %lu frames to a reader\n",
                  (unsigned long long)seed,
                  (long long)model.count,
                  model.keys,
                  model.removed,
                  model.crashes,
                  (unsigned long long)sp_log_size_bytes(life.log),
                  model.fetched_frames);
    assert_true(model.removed > (unsigned long)model.count / 4);
    assert_true(model.crashes > 0);
    assert_true(!shape->scarce || runs > 2 * shape->passes);
    if (shape->bare) {
        double bytes = (double)sp_log_size_bytes(life.log) / (double)model.removed;

        print_message("%.1f bytes are left for each record that is gone\n", bytes);
        assert_true(bytes < 20);
        assert_true(model.fetched_frames < (unsigned long)model.count / 20);
    }
    close_store(&life);
    crash_disk_free(trial.disk);
    free(model.records);
}

static void test_compaction_equals_the_model_after_a_crash_at_any_operation(void **state)
{
    const char *given = getenv("SPATE_CRASH_SEED");
    const struct shape shape = { .records = 1500,
                                 .keys = 60,
                                 .batch_max = 12,
                                 .passes = 6,
                                 .segment_bytes = 12000,
                                 .memory_bytes = 1 << 16,
                                 .crash_one_in = 3 };

    (void)state;
    for (uint64_t seed = 1; seed <= (SP_ADDRESS_SANITIZED ? 4 : 12); seed++) {
        play(&shape, given != NULL ? strtoull(given, NULL, 10) + seed - 1 : seed);
    }
}

static void test_compaction_with_too_little_memory_takes_several_passes(void **state)
{
    const struct shape shape = { .records = 4000,
                                 .keys = 500,
                                 .batch_max = 20,
                                 .passes = 12,
                                 .segment_bytes = 16000,
                                 .memory_bytes = 100 * 24,
                                 .crash_one_in = 60,
                                 .scarce = true };

    (void)state;
    for (uint64_t seed = 1; seed <= (SP_ADDRESS_SANITIZED ? 1 : 4); seed++) {
        play(&shape, seed);
    }
}

static void test_compaction_of_a_million_records_equals_the_model(void **state)
{
    const struct shape shape = { .records = SP_ADDRESS_SANITIZED ? 60000 : 1000000,
                                 .keys = 20000,
                                 .batch_max = 400,
                                 .passes = 4,
                                 .segment_bytes = 1 << 20,
                                 .memory_bytes = 1 << 21,
                                 .crash_one_in = 20 };

    (void)state;
    play(&shape, 1);
}

/* Record by record: what was a frame for each of them becomes runs. */
static void test_compaction_leaves_little_of_frames_without_records(void **state)
{
    const struct shape shape = { .records = SP_ADDRESS_SANITIZED ? 10000 : 30000,
                                 .keys = 20,
                                 .batch_max = 1,
                                 .passes = 6,
                                 .segment_bytes = 1 << 17,
                                 .memory_bytes = 1 << 16,
                                 .crash_one_in = 40,
                                 .bare = true };

    (void)state;
    play(&shape, 1);
    play(&shape, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compaction_equals_the_model_after_a_crash_at_any_operation),
        cmocka_unit_test(test_compaction_with_too_little_memory_takes_several_passes),
        cmocka_unit_test(test_compaction_leaves_little_of_frames_without_records),
        cmocka_unit_test(test_compaction_of_a_million_records_equals_the_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
