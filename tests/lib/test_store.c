#include "tests/lib/test_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/file.h"
#include "spate/error.h"
#include "tests/lib/test_batch.h"

#define RUN_MS_MAX 10000
#define NODE_ID 3

void test_directory_make(char *out_path, size_t size)
{
    const char *parent = getenv("TMPDIR");

    (void)snprintf(out_path, size, "%s/spate-storage-XXXXXX", parent != NULL ? parent : "/tmp");
    assert_non_null(mkdtemp(out_path));
}

void test_store_begin(struct test_store *test)
{
    *test = (struct test_store){ .store = NULL };
    test_directory_make(test->path, sizeof test->path);
    assert_int_equal(sp_loop_new(2, &test->loop), 0);
}

static void on_meta_durable(void *arg, uint64_t sequence)
{
    struct test_store *test = arg;

    assert_true(sequence >= test->meta_durable);
    test->meta_durable = sequence;
}

static void on_failed(void *arg, int status, const char *text)
{
    struct test_store *test = arg;

    assert_false(test->failed);
    test->failed = true;
    test->failed_status = status;
    (void)snprintf(test->text, sizeof test->text, "%s", text);
}

int test_store_try_open(struct test_store *test)
{
    const struct sp_store_options options = {
        .path = test->path,
        .node_id = NODE_ID,
        .segment_bytes = test->segment_bytes,
        .spare_bytes = test->spare_bytes,
        .prefill_bytes = test->prefill_bytes,
        .counted = test->counted,
    };
    const struct sp_store_handler handler = {
        .meta_durable = on_meta_durable,
        .failed = on_failed,
    };

    test->meta_durable = 0;
    test->failed = false;
    return sp_store_open(
        test->loop, &options, &handler, test, test->text, sizeof test->text, &test->store);
}

void test_store_open(struct test_store *test)
{
    int rv = test_store_try_open(test);

    if (rv != 0) {
        print_error("%s\n", test->text);
    }
    assert_int_equal(rv, 0);
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

void test_store_run(struct test_store *test, const bool *flag)
{
    assert_true(sp_loop_run_until(test->loop, flag, sp_loop_now_ms(test->loop) + RUN_MS_MAX));
}

void test_store_close(struct test_store *test)
{
    bool closed = false;

    sp_store_close(test->store, set_flag, &closed);
    test->store = NULL;
    test_store_run(test, &closed);
}

void test_store_end(struct test_store *test)
{
    if (test->store != NULL) {
        test_store_close(test);
    }
    assert_int_equal(sp_path_remove_tree(test->path), 0);
    sp_loop_free(test->loop);
}

int test_store_setup(void **state, uint64_t segment_bytes)
{
    struct test_store *test = malloc(sizeof *test);

    assert_non_null(test);
    test_store_begin(test);
    test->segment_bytes = segment_bytes;
    test_store_open(test);
    *state = test;
    return 0;
}

int test_store_teardown(void **state)
{
    test_store_end(*state);
    free(*state);
    return 0;
}

struct turn {
    struct sp_deferred deferred;
    bool done;
};

static void end_turn(struct sp_deferred *deferred)
{
    struct turn *turn = SP_LIST_ENTRY(deferred, struct turn, deferred);

    turn->done = true;
}

/* One turn at least; a job's end wakes the next one. */
static void run_a_turn(struct test_store *test)
{
    struct turn turn = { .done = false };

    sp_deferred_init(&turn.deferred, end_turn);
    sp_loop_defer(test->loop, &turn.deferred);
    test_store_run(test, &turn.done);
}

void test_store_wait_meta(struct test_store *test, uint64_t sequence)
{
    uint64_t deadline_ms = sp_loop_now_ms(test->loop) + RUN_MS_MAX;

    while (test->meta_durable < sequence && !test->failed) {
        assert_true(sp_loop_now_ms(test->loop) < deadline_ms);
        run_a_turn(test);
    }
}

static void on_persisted(void *arg, uint64_t index)
{
    struct test_log *log = arg;

    log->persisted = index;
    log->reports += 1;
}

struct opening {
    struct sp_replica_open open;
    bool done;
    int status;
};

static void on_opened(struct sp_replica_open *open, int status)
{
    struct opening *opening = SP_CONTAINER_OF(open, struct opening, open);

    opening->done = true;
    opening->status = status;
}

static int finish_open(struct test_log *log, struct test_store *test, struct opening *opening)
{
    const struct sp_log_handler handler = { .persisted = on_persisted };

    test_store_run(test, &opening->done);
    *log = (struct test_log){ .test = test, .log = opening->open.log };
    (void)snprintf(log->text, sizeof log->text, "%s", opening->open.text);
    if (opening->status == 0) {
        sp_log_set_handler(log->log, &handler, log);
    }
    return opening->status;
}

int test_log_create(struct test_log *log, struct test_store *test, uint64_t group_id)
{
    return test_log_create_with(log, test, group_id, NULL);
}

int test_log_create_with(struct test_log *log,
                         struct test_store *test,
                         uint64_t group_id,
                         const struct sp_slice *first)
{
    struct opening opening = {
        .open = { .group_id = group_id, .replica_id = TEST_REPLICA_ID, .cb = on_opened },
    };

    if (first != NULL) {
        opening.open.first = sp_slice_ref(first);
    }
    sp_store_create_replica(test->store, &opening.open);
    return finish_open(log, test, &opening);
}

int test_log_open(struct test_log *log, struct test_store *test, uint64_t group_id)
{
    struct opening opening = {
        .open = { .group_id = group_id, .replica_id = TEST_REPLICA_ID, .cb = on_opened },
    };

    sp_store_open_replica(test->store, &opening.open);
    return finish_open(log, test, &opening);
}

void test_log_close(struct test_log *log)
{
    bool closed = false;

    sp_log_close(log->log, set_flag, &closed);
    log->log = NULL;
    test_store_run(log->test, &closed);
}

void test_log_open_whole(struct test_log *log, struct test_store *test, uint64_t group_id)
{
    int rv = test_log_open(log, test, group_id);

    if (rv != 0) {
        print_error("%s\n", log->text);
    }
    assert_int_equal(rv, 0);
}

void test_log_reopen(struct test_log *log)
{
    uint64_t group_id = sp_log_group_id(log->log);

    test_log_close(log);
    test_log_open_whole(log, log->test, group_id);
}

void test_log_restart(struct test_log *log)
{
    uint64_t group_id = sp_log_group_id(log->log);

    test_log_close(log);
    test_store_close(log->test);
    test_store_open(log->test);
    test_log_open_whole(log, log->test, group_id);
}

int64_t test_log_batch(
    struct test_log *log, uint64_t term, unsigned records, size_t value_size, int64_t timestamp_ms)
{
    uint8_t *bytes = malloc(test_batch_size_max(records, value_size));
    int64_t offset = -1;

    assert_non_null(bytes);
    uint32_t seed = (uint32_t)sp_log_last_index(log->log) + (uint32_t)term * 1000;
    size_t size = test_batch_make(bytes, records, value_size, timestamp_ms, seed);
    const struct sp_iovec piece = { bytes, size };
    assert_int_equal(sp_log_build(log->log, SP_FRAME_BATCH, term, timestamp_ms, &piece, 1, &offset),
                     0);
    free(bytes);
    return offset;
}

void test_log_frame(struct test_log *log, enum sp_frame_kind kind, uint64_t term, const char *text)
{
    const struct sp_iovec piece = { text, strlen(text) };
    int64_t offset = 0;

    assert_int_equal(sp_log_build(log->log, kind, term, 0, &piece, 1, &offset), 0);
}

void test_log_flush(struct test_log *log)
{
    uint64_t deadline_ms = sp_loop_now_ms(log->test->loop) + RUN_MS_MAX;

    while (sp_log_persisted_index(log->log) < sp_log_last_index(log->log)) {
        assert_true(sp_loop_now_ms(log->test->loop) < deadline_ms);
        assert_false(log->test->failed);
        run_a_turn(log->test);
    }
}

struct reading {
    struct sp_log_read read;
    bool done;
};

static void on_read(struct sp_log_read *read, int status)
{
    struct reading *reading = SP_CONTAINER_OF(read, struct reading, read);

    assert_int_equal(status, read->status);
    reading->done = true;
}

void test_log_read_slow(struct test_log *log, struct sp_log_read *read)
{
    struct reading reading = { .read = *read };

    reading.read.cb = on_read;
    assert_int_equal(sp_log_read_start(log->log, &reading.read), 0);
    assert_false(reading.done);
    test_store_run(log->test, &reading.done);
    *read = reading.read;
}

void test_log_read(struct test_log *log,
                   enum sp_log_read_by by,
                   int64_t start,
                   struct sp_log_read *read)
{
    *read = (struct sp_log_read){
        .by = by,
        .start = start,
        .index_max = UINT64_MAX,
        .bytes_max = SP_FETCH_BYTES_MAX,
        .frames_max = SP_APPEND_FRAMES_MAX,
    };
    if (!sp_log_read_cached(log->log, read)) {
        test_log_read_slow(log, read);
    }
}

void test_log_path(const struct test_log *log, uint64_t base, const char *suffix, char *out_path)
{
    (void)sprintf(out_path,
                  "%s/replicas/%llu.%d/%020llu.%s",
                  log->test->path,
                  (unsigned long long)sp_log_group_id(log->log),
                  TEST_REPLICA_ID,
                  (unsigned long long)base,
                  suffix);
}

uint8_t *test_file_read(const char *path, size_t *out_size)
{
    struct sp_file *file = NULL;
    uint64_t size = 0;

    assert_int_equal(sp_file_open(path, SP_FILE_READ, &file), 0);
    assert_int_equal(sp_file_size(file, &size), 0);
    uint8_t *bytes = malloc(size + 1);
    assert_non_null(bytes);
    assert_int_equal(sp_file_read(file, 0, bytes, size, out_size), 0);
    sp_file_close(file);
    return bytes;
}

void test_file_write(const char *path, const uint8_t *bytes, size_t size)
{
    const struct sp_iovec piece = { bytes, size };
    struct sp_file *file = NULL;
    int rv = sp_path_remove(path);

    assert_true(rv == 0 || rv == SPATE_ERR_NOT_FOUND);
    assert_int_equal(sp_file_open(path, SP_FILE_CREATE, &file), 0);
    assert_int_equal(sp_file_write(file, 0, &piece, 1), 0);
    sp_file_close(file);
}

void test_file_flip(const char *path, int64_t position, uint8_t bits)
{
    size_t size = 0;
    uint8_t *bytes = test_file_read(path, &size);
    size_t at = position < 0 ? size - (size_t)-position : (size_t)position;

    assert_true(at < size);
    bytes[at] ^= bits;
    test_file_write(path, bytes, size);
    free(bytes);
}

void test_file_cut(const char *path, size_t count)
{
    size_t size = 0;
    uint8_t *bytes = test_file_read(path, &size);

    assert_true(count < size);
    test_file_write(path, bytes, size - count);
    free(bytes);
}
