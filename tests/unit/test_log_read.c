#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rand.h"
#include "spate/error.h"
#include "storage/log.h"
#include "storage/offset_index.h"
#include "tests/lib/test_store.h"

#define FRAMES 400
#define GROUP_ID 1

/* What the log must contain, frame by frame. */
struct model {
    bool batch[FRAMES + 1];
    int64_t base_offset[FRAMES + 1];
    int64_t end_offset[FRAMES + 1];
    int64_t timestamp_ms[FRAMES + 1];
    uint64_t last;
};

static int setup(void **state)
{
    return test_store_setup(state, 300 * 1024); /* several entries of the sparse index in each */
}

static void fill(struct test_log *log, struct model *model, struct sp_rand *rand)
{
    int64_t time_ms = 100000;

    for (uint64_t i = 1; i <= FRAMES; i++) {
        int64_t end = sp_log_end_offset(log->log);

        model->batch[i] = sp_rand_below(rand, 8) != 0;
        if (model->batch[i]) {
            unsigned records = 1 + (unsigned)sp_rand_below(rand, 4);
            size_t size = sp_rand_below(rand, 20) == 0 ? 30000 : sp_rand_below(rand, 2000);

            /* Producers' clocks go back at times; append times do not. */
            time_ms += (int64_t)sp_rand_below(rand, 20) - 6;
            model->base_offset[i] = test_log_batch(log, 1 + i / 100, records, size, time_ms);
            assert_int_equal(model->base_offset[i], end);
        } else {
            test_log_frame(log, SP_FRAME_COMMAND, 1 + i / 100, "command");
        }
        model->timestamp_ms[i] = time_ms;
        model->end_offset[i] = sp_log_end_offset(log->log);
        if (sp_rand_below(rand, 10) == 0) {
            test_log_flush(log);
        }
    }
    test_log_flush(log);
    model->last = FRAMES;
}

/* The first frame that a read must return; 0: none. */
static uint64_t expected_first(const struct model *model, const struct sp_log_read *read)
{
    for (uint64_t i = 1; i <= model->last && i <= read->index_max; i++) {
        bool fits = false;

        switch (read->by) {
        case SP_LOG_READ_INDEX:
            fits = i >= (uint64_t)read->start;
            break;
        case SP_LOG_READ_OFFSET:
            fits = model->batch[i] && model->end_offset[i] > read->start;
            break;
        case SP_LOG_READ_TIME:
            fits = model->batch[i] && model->timestamp_ms[i] >= read->start;
            break;
        }
        if (fits) {
            return i;
        }
    }
    return 0;
}

static void check_read(const struct model *model, const struct sp_log_read *read)
{
    uint64_t index = expected_first(model, read);
    size_t bytes = 0;

    assert_int_equal(read->status, 0);
    assert_int_equal(read->count > 0, index > 0);
    assert_true(read->count <= read->frames_max);
    for (unsigned i = 0; i < read->count; i++) {
        struct sp_log_frame frame;

        assert_int_equal(sp_log_frame_verify(read->frames[i].bytes, read->frames[i].size, &frame),
                         0);
        while (read->by != SP_LOG_READ_INDEX && !model->batch[index]) {
            index += 1;
        }
        assert_int_equal(frame.index, index);
        assert_true(index <= read->index_max);
        bytes += read->frames[i].size;
        index += 1;
    }
    assert_true(read->count <= 1 || bytes <= read->bytes_max);
}

static void random_read(struct sp_rand *rand, const struct model *model, struct sp_log_read *read)
{
    *read = (struct sp_log_read){
        .by = (enum sp_log_read_by)sp_rand_below(rand, 3),
        .index_max = sp_rand_below(rand, 3) == 0 ? sp_rand_below(rand, FRAMES + 10) : UINT64_MAX,
        .bytes_max = (uint32_t)sp_rand_below(rand, 100000),
        .frames_max = 1 + (uint32_t)sp_rand_below(rand, 64),
    };
    switch (read->by) {
    case SP_LOG_READ_INDEX:
        read->start = 1 + (int64_t)sp_rand_below(rand, model->last);
        break;
    case SP_LOG_READ_OFFSET:
        read->start = (int64_t)sp_rand_below(rand, (uint64_t)model->end_offset[model->last]);
        break;
    case SP_LOG_READ_TIME:
        read->start = 99900 + (int64_t)sp_rand_below(rand, 3400);
        break;
    }
}

/* Memory and disk must give what the model says, for every way to ask. */
static void test_log_read_agrees_with_model(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    struct model model = { .last = 0 };
    struct sp_rand rand;
    unsigned cached = 0;
    unsigned slow = 0;

    sp_rand_init(&rand, 7);
    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    fill(&log, &model, &rand);
    assert_true(sp_log_segment_count(log.log) > 3);
    for (int round = 0; round < 1500; round++) {
        struct sp_log_read read;

        if (round == 750) {
            test_log_close(&log);
            assert_int_equal(test_log_open(&log, test, GROUP_ID), 0);
        }
        random_read(&rand, &model, &read);
        if (sp_log_read_cached(log.log, &read)) {
            check_read(&model, &read);
            sp_log_read_release(&read);
            cached += 1;
        } else {
            slow += 1;
        }
        test_log_read_slow(&log, &read);
        check_read(&model, &read);
        sp_log_read_release(&read);
    }
    assert_true(cached > 100);
    assert_true(slow > 100);
    test_log_close(&log);
}

static void test_log_read_outside_is_not_found(void **state)
{
    static const struct {
        enum sp_log_read_by by;
        int64_t start;
    } outside[] = {
        { SP_LOG_READ_INDEX, 0 },   { SP_LOG_READ_INDEX, 4 },  { SP_LOG_READ_INDEX, -1 },
        { SP_LOG_READ_OFFSET, -1 }, { SP_LOG_READ_OFFSET, 6 }, { SP_LOG_READ_OFFSET, INT64_MAX },
    };
    struct test_store *test = *state;
    struct test_log log;
    struct sp_log_read read;

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    for (int i = 0; i < 3; i++) {
        test_log_batch(&log, 1, 2, 10, 100 + i);
    }
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        test_log_read(&log, outside[i].by, outside[i].start, &read);
        assert_int_equal(read.status, SPATE_ERR_NOT_FOUND);
        assert_int_equal(read.count, 0);
    }
    test_log_read(&log, SP_LOG_READ_TIME, 103, &read);
    assert_int_equal(read.status, 0);
    assert_int_equal(read.count, 0);
    test_log_read(&log, SP_LOG_READ_TIME, 0, &read);
    assert_int_equal(read.count, 3);
    sp_log_read_release(&read);
    test_log_close(&log);
}

/* Reads of what is not durable yet come from memory, also when they begin on disk. */
static void test_log_read_finds_what_is_not_durable(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    struct sp_log_read read;
    struct sp_log_frame frame;

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    for (int i = 0; i < 3; i++) {
        test_log_batch(&log, 1, 2, 10, 100);
    }
    test_log_close(&log);
    assert_int_equal(test_log_open(&log, test, GROUP_ID), 0);
    test_log_batch(&log, 1, 2, 10, 200);
    test_log_read(&log, SP_LOG_READ_TIME, 150, &read);
    assert_int_equal(read.count, 1);
    assert_int_equal(sp_log_frame_decode(read.frames[0].bytes, read.frames[0].size, &frame), 0);
    assert_int_equal(frame.index, 4);
    sp_log_read_release(&read);
    test_log_close(&log);
}

static void test_log_read_survives_failing_allocations(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    struct sp_log_read read = { .status = SPATE_ERR_NOMEM };

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    for (int i = 0; i < 3; i++) {
        test_log_batch(&log, 1, 2, 10, 100);
    }
    test_log_close(&log);
    assert_int_equal(test_log_open(&log, test, GROUP_ID), 0);
    unsigned failures = 0;
    for (uint64_t n = 2; read.status != 0; n++) { /* the first one is the plan: refused at once */
        uint64_t live = sp_mem_live_count();

        sp_mem_fail_at(n);
        test_log_read(&log, SP_LOG_READ_INDEX, 1, &read);
        sp_mem_fail_at(0);
        assert_true(read.status == 0 || read.status == SPATE_ERR_NOMEM);
        failures += read.status != 0;
        assert_true(read.status == 0 || sp_mem_live_count() == live);
    }
    assert_true(failures >= 2);
    assert_int_equal(read.count, 3);
    sp_log_read_release(&read);
    test_log_close(&log);
}

/* What clients ask for waits behind them, what followers lack does not. */
static void test_log_read_of_clients_gives_way(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    struct sp_log_read read;
    const enum sp_log_read_by ways[] = { SP_LOG_READ_INDEX, SP_LOG_READ_OFFSET, SP_LOG_READ_TIME };

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    test_log_batch(&log, 1, 2, 10, 100);
    test_log_close(&log);
    assert_int_equal(test_log_open(&log, test, GROUP_ID), 0);
    for (unsigned i = 0; i < 3; i++) {
        test_log_read(&log, ways[i], ways[i] == SP_LOG_READ_INDEX, &read);
        assert_int_equal(read.status, 0);
        assert_int_equal(read.job.is_yielding, ways[i] != SP_LOG_READ_INDEX);
        sp_log_read_release(&read);
    }
    test_log_close(&log);
}

/* For who has not shown to take it, slice by slice: the same bytes, verified as a whole. */
static void test_log_read_for_strangers_is_patient(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    struct sp_log_read reads[2];
    char path[1024];

    assert_int_equal(test_log_create(&log, test, GROUP_ID), 0);
    test_log_batch(&log, 1, 1, 10, 100);
    test_log_batch(&log, 1, 1, 300 * 1024, 100); /* some slices and a part of one */
    test_log_close(&log);
    assert_int_equal(test_log_open(&log, test, GROUP_ID), 0);
    for (unsigned i = 0; i < 2; i++) {
        reads[i] = (struct sp_log_read){ .by = SP_LOG_READ_OFFSET,
                                         .start = 1,
                                         .index_max = UINT64_MAX,
                                         .bytes_max = 64 * 1024,
                                         .patient = i == 1 };
        test_log_read_slow(&log, &reads[i]);
        assert_int_equal(reads[i].status, 0);
        assert_int_equal(reads[i].count, 1);
        assert_int_equal(reads[i].job.is_patient, reads[i].patient);
    }
    assert_true(reads[1].frames[0].size > 300 * 1024);
    assert_int_equal(reads[0].frames[0].size, reads[1].frames[0].size);
    assert_memory_equal(
        reads[0].frames[0].bytes, reads[1].frames[0].bytes, reads[0].frames[0].size);
    sp_log_read_release(&reads[0]);
    sp_log_read_release(&reads[1]);
    test_log_path(&log, 1, "log", path);
    test_file_flip(path, 250 * 1024, 1);
    test_log_read_slow(&log, &reads[1]);
    assert_int_equal(reads[1].status, SPATE_ERR_CORRUPT);
    test_log_close(&log);
}

/* ---- closing --------------------------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
static bool let_go;
static bool holder_done;

/* Holds the thread of patient jobs. */
static void hold(struct sp_job *job)
{
    (void)job;
    pthread_mutex_lock(&lock);
    while (!let_go) {
        pthread_cond_wait(&moved, &lock);
    }
    pthread_mutex_unlock(&lock);
}

static void on_held(struct sp_job *job)
{
    (void)job;
    holder_done = true;
}

static void on_canceled(struct sp_log_read *read, int status)
{
    assert_int_equal(status, SPATE_ERR_CANCELED);
    assert_int_equal(read->count, 0);
    assert_int_equal(read->frames[0].size, 0); /* no frame was ever there */
}

static void on_log_closed(void *arg)
{
    *(bool *)arg = true;
}

static bool served;

static void on_served(struct sp_log_read *read, int status)
{
    assert_int_equal(status, 0);
    assert_int_equal(read->count, 1);
    served = true;
}

static struct sp_log_read reads[3]; /* that wait for their turn */

/* Queues them behind a job that ends with release_reads; the second one calls `second`. */
static void queue_reads(struct test_log *log, struct sp_job *holder, sp_log_read_cb second)
{
    assert_int_equal(test_log_create(log, log->test, GROUP_ID), 0);
    test_log_batch(log, 1, 2, 10, 100);
    test_log_close(log);
    assert_int_equal(test_log_open(log, log->test, GROUP_ID), 0);
    let_go = false;
    holder_done = false;
    sp_job_start_patient(log->test->loop, holder, hold, on_held);
    for (unsigned i = 0; i < 3; i++) {
        reads[i] = (struct sp_log_read){ .by = SP_LOG_READ_OFFSET,
                                         .index_max = UINT64_MAX,
                                         .bytes_max = 1000,
                                         .patient = true,
                                         .cb = i == 1 ? second : on_canceled };
        assert_int_equal(sp_log_read_start(log->log, &reads[i]), 0);
    }
}

static void release_reads(void)
{
    pthread_mutex_lock(&lock);
    let_go = true;
    pthread_cond_signal(&moved);
    pthread_mutex_unlock(&lock);
}

/* It waits until they have been taken from the queue, but not for the disk. */
static void test_log_that_closes_begins_no_read_that_waits(void **state)
{
    struct test_log log = { .test = *state };
    struct sp_job holder;
    bool closed = false;

    queue_reads(&log, &holder, on_canceled);
    sp_log_close(log.log, on_log_closed, &closed);
    assert_false(closed); /* the jobs look at it */
    release_reads();
    test_store_run(log.test, &closed);
    test_store_run(log.test, &holder_done);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(reads[i].status, SPATE_ERR_CANCELED);
    }
}

static void test_log_read_that_is_given_up_does_not_begin(void **state)
{
    struct test_log log = { .test = *state };
    struct sp_job holder;

    queue_reads(&log, &holder, on_served);
    sp_log_read_abandon(&reads[0]);
    sp_log_read_abandon(&reads[2]);
    served = false;
    release_reads();
    test_store_run(log.test, &holder_done);
    test_store_run(log.test, &served); /* a log that closes would give it up, too */
    test_log_close(&log);              /* waits for the last one */
    assert_int_equal(reads[0].status, SPATE_ERR_CANCELED);
    assert_int_equal(reads[1].status, 0);
    assert_int_equal(reads[2].status, SPATE_ERR_CANCELED);
    sp_log_read_release(&reads[1]);
}

/* ---- the sparse index ------------------------------------------------------------------------ */

/* One entry {index 8, position 66000, offset 70, time 1000}; the checksum by another program. */
static const uint8_t golden[] = {
    'S',  'P',  'A',  'T',  'E', 'I', 'D', 'X', 1,    0,    0,    0,    1, 0, 0, 0, /* count */
    9,    0,    0,    0,    0,   0,   0,   0,   1,    0,    0,    0,    0, 0, 0, 0, /* base */
    0,    0,    2,    0,    0,   0,   0,   0,   0xd0, 0x07, 0,    0,    0, 0, 0, 0, /* time */
    0x44, 0x33, 0x22, 0x11, 0,   0,   0,   0,   8,    0,    0,    0,    0, 0, 0, 0, /* index */
    0xd0, 0x01, 1,    0,    0,   0,   0,   0,   70,   0,    0,    0,    0, 0, 0, 0, /* offset */
    0xe8, 3,    0,    0,    0,   0,   0,   0,   0x13, 0xf6, 0x2e, 0x06,
};

static void test_offset_index_golden_bytes_and_refusals(void **state)
{
    struct sp_offset_index index = { .entries = NULL };
    const struct sp_offset_index_entry entry = { 8, 66000, 70, 1000 };
    const struct sp_offset_index_facts facts = { 9, 1, 131072, 2000, 0x11223344 };
    struct sp_offset_index decoded;
    struct sp_offset_index_facts found;

    (void)state;
    index.entries = sp_mem_calloc(1, sizeof entry);
    index.entries[0] = entry;
    index.count = 1;
    index.capacity = 1;
    struct sp_blob *image = sp_offset_index_encode(&index, &facts);
    assert_int_equal(image->size, sizeof golden);
    assert_memory_equal(image->bytes, golden, sizeof golden);
    assert_int_equal(sp_offset_index_decode(image->bytes, image->size, &decoded, &found), 0);
    assert_int_equal(decoded.count, 1);
    assert_int_equal(decoded.entries[0].position, 66000);
    assert_int_equal(found.max_timestamp_ms, 2000);
    sp_offset_index_clear(&decoded);
    for (size_t bit = 0; bit < 8 * image->size; bit++) {
        image->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(sp_offset_index_decode(image->bytes, image->size, &decoded, &found),
                         SPATE_ERR_CORRUPT);
        image->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    sp_blob_unref(image);
    sp_offset_index_clear(&index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_log_read_agrees_with_model, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_read_outside_is_not_found, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_read_finds_what_is_not_durable, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_read_survives_failing_allocations, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_read_of_clients_gives_way, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_read_for_strangers_is_patient, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_that_closes_begins_no_read_that_waits, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_log_read_that_is_given_up_does_not_begin, setup, test_store_teardown),
        cmocka_unit_test(test_offset_index_golden_bytes_and_refusals),
    };
    return cmocka_run_group_tests_name("storage/log_read", tests, NULL, NULL);
}
