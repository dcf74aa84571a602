/* What a compaction pass does when it cannot go on: damaged frames, no memory at any point of it, a
 * restart in between. Whatever happens, the log stays what the model says. */
#include "compaction_world.h"
#include "storage/disk.h"

#define SEGMENT_BYTES 12000
#define RECORDS 1500
#define KEYS 60
#define MEMORY_BYTES (1 << 16)
#define LOG_DIRECTORY "/data/replicas/9.7"
#define HEADER_BYTES 4096

/* A log of many segments, closed and opened again, so that no frame is in memory. */
struct fixture {
    struct model model;
    struct crash_disk *disk;
    struct life life;
};

static void reopen(struct fixture *fixture)
{
    close_store(&fixture->life);
    open_store(&fixture->life, 2, SEGMENT_BYTES, false);
}

static void begin_with(struct fixture *fixture, unsigned batch_max)
{
    struct sp_rand rand;

    *fixture = (struct fixture){ .model = { .keys = KEYS }, .disk = crash_disk_new() };
    fixture->model.records = calloc(RECORDS + 12, sizeof fixture->model.records[0]);
    assert_non_null(fixture->model.records);
    sp_rand_init(&rand, 1);
    crash_disk_use(fixture->disk);
    open_store(&fixture->life, 2, SEGMENT_BYTES, true);
    while (fixture->model.count < RECORDS) {
        write_batch(&fixture->life, &fixture->model, &rand, batch_max);
    }
    flush(&fixture->life, &fixture->model);
    reopen(fixture);
}

static void begin(struct fixture *fixture)
{
    begin_with(fixture, 12);
}

static void finish(struct fixture *fixture)
{
    close_store(&fixture->life);
    crash_disk_free(fixture->disk);
    free(fixture->model.records);
}

/* The whole file of the segment that begins at `base`; freed by the caller. */
static uint8_t *read_segment(uint64_t base, uint64_t *out_size)
{
    char path[SP_DISK_PATH_SIZE];
    struct sp_file *file = NULL;
    size_t size = 0;

    sp_disk_base_path(path, LOG_DIRECTORY, base, "log");
    assert_int_equal(sp_file_open(path, SP_FILE_READ, &file), 0);
    assert_int_equal(sp_file_size(file, out_size), 0);
    uint8_t *bytes = malloc(*out_size);
    assert_non_null(bytes);
    assert_int_equal(sp_file_read(file, 0, bytes, *out_size, &size), 0);
    assert_int_equal(size, *out_size);
    sp_file_close(file);
    return bytes;
}

static void flip(uint64_t base, uint64_t position)
{
    char path[SP_DISK_PATH_SIZE];
    struct sp_file *file = NULL;
    uint8_t byte = 0;
    size_t size = 0;
    const struct sp_iovec piece = { &byte, 1 };

    sp_disk_base_path(path, LOG_DIRECTORY, base, "log");
    assert_int_equal(sp_file_open(path, SP_FILE_WRITE, &file), 0);
    assert_int_equal(sp_file_read(file, position, &byte, 1, &size), 0);
    byte ^= 0x10;
    assert_int_equal(sp_file_write(file, position, &piece, 1), 0);
    assert_int_equal(sp_file_sync(file), 0);
    sp_file_close(file);
}

/* The status with which a pass ends, or is refused. */
static int try_pass(struct life *life, const struct sp_compaction_order *order)
{
    int rv = sp_compactor_begin(&life->compactor, order);

    if (rv != 0) {
        return rv;
    }
    life->done = false;
    run(life);
    return life->status;
}

/* A bit is flipped in a closed segment; the pass meets it while it notes keys (`dirty`), or while
 * it looks what may go. */
static void find_damage(bool dirty)
{
    struct fixture fixture;
    struct sp_log_span span;
    uint64_t before_size = 0;
    uint64_t after_size = 0;
    char path[SP_DISK_PATH_SIZE];

    begin(&fixture);
    struct sp_compaction_order order = order_of(&fixture.life, 0, 0, MEMORY_BYTES);
    assert_true(sp_log_finished_span(fixture.life.log, order.last_index / 2, &span));
    if (!dirty) {
        (void)compact(&fixture.life, 0, 0, MEMORY_BYTES);
        reopen(&fixture);
        order = order_of(&fixture.life, RECORDS, RECORDS, MEMORY_BYTES);
        assert_true(order.first_index > order.last_index);
        order.first_dirty = RECORDS;
        assert_true(sp_log_finished_span(fixture.life.log, span.first_index, &span));
    }
    flip(span.first_index, HEADER_BYTES + (span.size_bytes - HEADER_BYTES) / 2);
    uint8_t *before = read_segment(span.first_index, &before_size);
    assert_int_equal(try_pass(&fixture.life, &order), SPATE_ERR_CORRUPT);
    assert_true(fixture.life.compactor.unreadable);
    uint8_t *after = read_segment(span.first_index, &after_size);
    assert_int_equal(before_size, after_size);
    assert_memory_equal(before, after, before_size);
    sp_disk_base_path(path, LOG_DIRECTORY, span.first_index, "rewrite.tmp");
    assert_false(sp_path_exists(path));
    free(before);
    free(after);
    /* With the bit as it was, all is there. */
    flip(span.first_index, HEADER_BYTES + (span.size_bytes - HEADER_BYTES) / 2);
    fixture.model.floor = order.floor;
    check(&fixture.life, &fixture.model);
    finish(&fixture);
}

static void test_compaction_names_damage_that_it_meets_while_it_notes_keys(void **state)
{
    (void)state;
    find_damage(true);
}

static void test_compaction_names_damage_that_it_meets_while_it_filters(void **state)
{
    (void)state;
    find_damage(false);
}

static void test_compaction_after_a_restart_writes_nothing_that_is_there(void **state)
{
    struct fixture fixture;

    (void)state;
    begin(&fixture);
    fixture.model.clean = compact(&fixture.life, 0, 0, MEMORY_BYTES);
    assert_true(fixture.life.compactor.counters.segments > 5);
    reopen(&fixture);
    uint64_t operations = crash_disk_operations(fixture.disk);
    assert_int_equal(compact(&fixture.life, 0, 0, MEMORY_BYTES), fixture.model.clean);
    assert_int_equal(fixture.life.compactor.counters.segments, 0);
    assert_int_equal(fixture.life.compactor.counters.removed_records, 0);
    assert_true(fixture.life.compactor.counters.read_bytes > 0);
    assert_int_equal(crash_disk_operations(fixture.disk), operations);
    check(&fixture.life, &fixture.model);
    finish(&fixture);
}

/* Frames that were emptied before the cluster knew runs, or by the replica that filled this one:
 * they are packed once, and never again. */
static void test_compaction_packs_what_was_left_loose(void **state)
{
    struct fixture fixture;

    (void)state;
    begin_with(&fixture, 1);
    struct sp_compaction_order order = order_of(&fixture.life, 0, 0, MEMORY_BYTES);
    order.packs = false;
    assert_int_equal(try_pass(&fixture.life, &order), 0);
    fixture.model.clean = fixture.life.compactor.pass.map_end;
    check(&fixture.life, &fixture.model);
    uint64_t loose = sp_log_size_bytes(fixture.life.log);
    reopen(&fixture);
    fixture.model.clean = compact(&fixture.life, 0, 0, MEMORY_BYTES);
    assert_true(fixture.life.compactor.counters.segments > 5);
    assert_int_equal(fixture.life.compactor.counters.removed_records, 0);
    assert_true(sp_log_size_bytes(fixture.life.log) < loose / 2);
    check(&fixture.life, &fixture.model);
    reopen(&fixture);
    uint64_t operations = crash_disk_operations(fixture.disk);
    (void)compact(&fixture.life, 0, 0, MEMORY_BYTES);
    assert_int_equal(fixture.life.compactor.counters.segments, 0);
    assert_int_equal(crash_disk_operations(fixture.disk), operations);
    check(&fixture.life, &fixture.model);
    /* what has no records is not even read by the next pass */
    uint64_t read = fixture.life.compactor.counters.read_bytes;
    (void)compact(&fixture.life, fixture.model.clean, 0, MEMORY_BYTES);
    assert_true(fixture.life.compactor.counters.read_bytes - read < read / 4);
    check(&fixture.life, &fixture.model);
    finish(&fixture);
}

/* A pass over a copy of the log whose n-th allocation fails; the status of that pass. */
static int pass_without(const struct fixture *fixture, uint64_t n, uint64_t *out_left)
{
    struct crash_disk *copy = crash_disk_after(fixture->disk, CRASH_KILL, 1);
    struct model model = fixture->model;
    struct life life;

    crash_disk_use(copy);
    open_store(&life, 2, SEGMENT_BYTES, false);
    const struct sp_compaction_order order = order_of(&life, 0, 0, MEMORY_BYTES);
    sp_mem_fail_at(n);
    int status = try_pass(&life, &order);
    for (void *probe = NULL; out_left != NULL && (probe = sp_mem_alloc(1)) != NULL;) {
        sp_mem_free(probe);
        *out_left += 1;
    }
    sp_mem_fail_at(0);
    assert_false(life.failed);
    assert_false(life.compactor.unreadable);
    check(&life, &model);
    model.clean = compact(&life, 0, 0, MEMORY_BYTES);
    check(&life, &model);
    close_store(&life);
    crash_disk_free(copy);
    crash_disk_use(fixture->disk);
    return status;
}

static void test_compaction_survives_every_failed_allocation(void **state)
{
    const uint64_t many = 1 << 20;
    struct fixture fixture;
    uint64_t left = 0;
    unsigned long failed = 0;

    (void)state;
    begin(&fixture);
    assert_int_equal(pass_without(&fixture, many, &left), 0);
    for (uint64_t n = 1; n < many - left; n++) {
        int status = pass_without(&fixture, n, NULL);

        assert_true(status == 0 || status == SPATE_ERR_NOMEM);
        failed += status != 0;
    }
    print_message("%lu of %lu allocations of a pass end it when they fail\n",
                  failed,
                  (unsigned long)(many - left - 1));
    assert_true(failed > 20);
    finish(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compaction_names_damage_that_it_meets_while_it_notes_keys),
        cmocka_unit_test(test_compaction_names_damage_that_it_meets_while_it_filters),
        cmocka_unit_test(test_compaction_after_a_restart_writes_nothing_that_is_there),
        cmocka_unit_test(test_compaction_packs_what_was_left_loose),
        cmocka_unit_test(test_compaction_survives_every_failed_allocation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
