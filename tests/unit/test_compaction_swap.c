/* A compacted segment that does not come into its place: the disk finds no space for a step of the
 * swap, or fails. The segment stays what it was or is the new one, readers find it meanwhile and
 * afterwards, and nothing of the attempt is left. */
#include "compaction_world.h"
#include "storage/log_state.h"

#define SEGMENT_BYTES 12000
#define RECORDS 600
#define KEYS 60
#define MEMORY_BYTES (1 << 16)
#define LOG_DIRECTORY "/data/replicas/9.7"
#define STEPS_MAX 20 /* more than a swap has */

static struct {
    struct crash_disk *disk;
    const struct sp_log *log;
    uint64_t begun; /* number of the swap's first operation; 0: not yet */
    uint64_t first; /* operations of the first swap that fail */
    uint64_t second;
    int status;
} fault;

struct fixture {
    struct model model;
    struct crash_disk *disk;
    struct life life;
};

struct reading {
    struct sp_log_read read;
    bool done;
};

static void on_operation(void *arg)
{
    uint64_t number = crash_disk_operations(fault.disk);

    (void)arg;
    if (fault.begun == 0 && fault.log != NULL && fault.log->swapping) {
        fault.begun = number;
    }
    if (fault.begun != 0 &&
        (number == fault.begun + fault.first || number == fault.begun + fault.second)) {
        crash_disk_fail(fault.disk, number, false, fault.status);
    }
}

static int note_temporary(void *arg, const char *name)
{
    *(bool *)arg |= strstr(name, ".tmp") != NULL;
    return 0;
}

static bool has_temporary(void)
{
    bool found = false;

    assert_int_equal(sp_dir_list(LOG_DIRECTORY, note_temporary, &found), 0);
    return found;
}

static void begin(struct fixture *fixture)
{
    struct sp_rand rand;

    *fixture = (struct fixture){ .model = { .keys = KEYS }, .disk = crash_disk_new() };
    fixture->model.records = calloc(RECORDS + 12, sizeof fixture->model.records[0]);
    assert_non_null(fixture->model.records);
    sp_rand_init(&rand, 1);
    crash_disk_use(fixture->disk);
    open_store(&fixture->life, 2, SEGMENT_BYTES, true);
    while (fixture->model.count < RECORDS) {
        write_batch(&fixture->life, &fixture->model, &rand, 12);
    }
    flush(&fixture->life, &fixture->model);
    close_store(&fixture->life);
    open_store(&fixture->life, 2, SEGMENT_BYTES, false); /* no frame is in memory */
    fault.disk = fixture->disk;
    fault.log = NULL;
    crash_disk_set_hook(fixture->disk, on_operation, NULL);
}

static void finish(struct fixture *fixture)
{
    close_store(&fixture->life);
    crash_disk_free(fixture->disk);
    free(fixture->model.records);
}

static void on_record_read(struct sp_log_read *read, int status)
{
    assert_int_equal(status, 0);
    SP_CONTAINER_OF(read, struct reading, read)->done = true;
}

static void start_reading(struct life *life, struct reading *reading)
{
    *reading = (struct reading){ .read = { .by = SP_LOG_READ_INDEX,
                                           .start = (int64_t)sp_log_first_index(life->log),
                                           .index_max = UINT64_MAX,
                                           .bytes_max = 1 << 20,
                                           .frames_max = 1,
                                           .cb = on_record_read } };
    assert_int_equal(sp_log_read_start(life->log, &reading->read), 0);
}

/* A pass whose first swap fails in these operations, beside a reader of the first segment; its
 * status. */
static int pass_with_faults(struct fixture *fixture, uint64_t first, uint64_t second, int error)
{
    const struct sp_compaction_order order = order_of(&fixture->life, 0, 0, MEMORY_BYTES);
    struct life *life = &fixture->life;
    struct reading reading;
    int status = 0;

    fault.log = life->log;
    fault.begun = 0;
    fault.first = first;
    fault.second = second;
    fault.status = error;
    life->done = false;
    assert_int_equal(sp_compactor_begin(&life->compactor, &order), 0);
    start_reading(life, &reading);
    for (unsigned long i = 0; !life->done || !reading.done; i++) {
        assert_true(i < TURNS_MAX);
        if (reading.done) {
            sp_log_read_release(&reading.read);
            start_reading(life, &reading);
        }
        crash_loop_turn(life->loop);
    }
    sp_log_read_release(&reading.read);
    status = life->status;
    assert_true(fault.begun != 0);
    fault.log = NULL;
    fault.begun = 0;
    return status;
}

/* What is found after a crash, or by a start that follows a stop. */
static void check_found(struct fixture *fixture, enum crash_kind kind, uint64_t seed)
{
    struct crash_disk *after = crash_disk_after(fixture->disk, kind, seed);
    struct model model = fixture->model;
    struct life life;

    crash_disk_use(after);
    open_store(&life, 2, SEGMENT_BYTES, false);
    assert_false(has_temporary());
    check(&life, &model);
    model.clean = compact(&life, 0, 0, MEMORY_BYTES);
    check(&life, &model);
    close_store(&life);
    crash_disk_free(after);
    crash_disk_use(fixture->disk);
}

static void check_crashes(struct fixture *fixture)
{
    for (unsigned kind = 0; kind < CRASH_KINDS; kind++) {
        check_found(fixture, (enum crash_kind)kind, 1 + kind);
    }
}

/* A step finds no space, and another one when it is all done once more. True if the swap was given
 * up. */
static bool try_without_space(uint64_t first, uint64_t second)
{
    struct fixture fixture;
    bool given_up = false;

    begin(&fixture);
    int status = pass_with_faults(&fixture, first, second, SPATE_ERR_NO_SPACE);
    if (!fixture.life.failed) { /* else it was a sync that found none */
        given_up = status == SPATE_ERR_NO_SPACE;
        assert_true(given_up || status == 0);
        assert_false(has_temporary());
        check(&fixture.life, &fixture.model);
        check_crashes(&fixture);
        fixture.model.clean = compact(&fixture.life, 0, 0, MEMORY_BYTES);
        check(&fixture.life, &fixture.model);
    } else {
        check_crashes(&fixture);
    }
    finish(&fixture);
    return given_up;
}

static void test_compaction_swap_without_space_is_given_up(void **state)
{
    unsigned given_up = 0;

    (void)state;
    for (uint64_t first = 0; first < 5; first++) {
        for (uint64_t second = first + 1; second < 10; second++) {
            given_up += try_without_space(first, second) ? 1 : 0;
        }
    }
    assert_in_range(given_up, 2, 10); /* the removal of the index, the rename */
}

/* Each step of the swap fails: the node ends, and what it leaves is whole. */
static void test_compaction_swap_on_a_disk_that_fails_leaves_the_log_whole(void **state)
{
    unsigned failed = 0;

    (void)state;
    for (uint64_t number = 0; number < STEPS_MAX; number++) {
        struct fixture fixture;

        begin(&fixture);
        (void)pass_with_faults(&fixture, number, UINT64_MAX, SPATE_ERR_IO);
        failed += fixture.life.failed ? 1 : 0;
        check_crashes(&fixture);
        finish(&fixture);
    }
    assert_true(failed >= 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compaction_swap_without_space_is_given_up),
        cmocka_unit_test(test_compaction_swap_on_a_disk_that_fails_leaves_the_log_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
