/* A store with one log on a disk in memory that others fill. Included by the tests of a
 * full disk. */
#ifndef SP_UNIT_FULL_DISK_WORLD_H
#define SP_UNIT_FULL_DISK_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "counted_traces.h"
#include "io/file.h"
#include "spate/error.h"
#include "storage/checkpoint.h"
#include "storage/disk.h"
#include "storage/log_state.h"
#include "storage/store_state.h"
#include "tests/lib/crash_disk.h"
#include "tests/lib/crash_loop.h"

#define PATH "/data"
#define BALLAST_PATH PATH "/" SP_BALLAST_NAME
#define GROUP 1
#define REPLICA 7
#define RESERVE ((uint64_t)8 << 20)
#define BALLAST (RESERVE / SP_BALLAST_PART)
#define PLENTY (RESERVE + BALLAST)
#define INSTALLED 100 /* index of a checkpoint from elsewhere */
#define VALUE_SIZE 3000

static struct {
    struct crash_disk *disk;
    struct sp_loop *loop;
    struct sp_store *store;
    struct sp_replica_open open;
    bool opened;
    struct sp_log *log;
    uint64_t operations; /* before others fill the disk; UINT64_MAX: they do not */
    unsigned spent;      /* traces */
    unsigned waits;      /* of checkpoints */
    unsigned writes_waiting;
    bool relieves; /* once something waits, there is space again */
    int failed;    /* status */
} test;

static struct counted_trace counted[] = {
    { "a write has found no space", &test.spent },
    { "no space for a checkpoint", &test.waits },
    { "no space for a write", &test.writes_waiting },
    { NULL, NULL },
};

static void on_failed(void *arg, int status, const char *text)
{
    (void)arg;
    (void)text;
    test.failed = status;
}

static void on_operation(void *arg)
{
    (void)arg;
    if (crash_disk_operations(test.disk) == test.operations) {
        test.operations = UINT64_MAX;
        crash_disk_set_free(test.disk, 0);
    }
}

static void on_opened(struct sp_replica_open *open, int status)
{
    assert_int_equal(status, 0);
    test.log = open->log;
    test.opened = true;
}

static void open_all(bool create)
{
    const struct sp_store_options options = {
        .path = PATH, .node_id = 3, .counted = true, .free_bytes_min = RESERVE
    };
    const struct sp_store_handler handler = { .failed = on_failed };
    char text[256] = "";

    assert_int_equal(
        sp_store_open(test.loop, &options, &handler, NULL, text, sizeof text, &test.store), 0);
    test.open =
        (struct sp_replica_open){ .group_id = GROUP, .replica_id = REPLICA, .cb = on_opened };
    test.opened = false;
    if (create) {
        sp_store_create_replica(test.store, &test.open);
    } else {
        sp_store_open_replica(test.store, &test.open);
    }
    assert_true(crash_loop_until(test.loop, &test.opened));
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

static void close_all(void)
{
    bool closed = false;

    sp_log_close(test.log, set_flag, &closed);
    assert_true(crash_loop_until(test.loop, &closed));
    closed = false;
    sp_store_close(test.store, set_flag, &closed);
    assert_true(crash_loop_until(test.loop, &closed));
}

static void turn(unsigned turns)
{
    for (unsigned i = 0; i < turns; i++) {
        crash_loop_turn(test.loop);
    }
}

static void pass_ms(uint64_t ms)
{
    uint64_t due_ms = sp_loop_now_ms(test.loop) + ms;

    while (sp_loop_now_ms(test.loop) < due_ms) {
        crash_loop_turn(test.loop);
    }
}

/* Until nothing more happens by itself. */
static void settle(void)
{
    turn(100);
    if (test.relieves && !sp_list_empty(&test.store->space_waits)) {
        crash_disk_set_free(test.disk, PLENTY);
        pass_ms(SP_SPACE_RETRY_MS + 10);
        turn(100);
    }
    if (!sp_list_empty(&test.store->space_waits) && test.store->space_looking) {
        turn(10); /* what waits looks now and then */
    }
    assert_false(test.store->space_looking);
}

static void look(void)
{
    sp_store_look_at_space(test.store);
    settle();
}

static void begin(void)
{
    memset(&test, 0, sizeof test);
    test.operations = UINT64_MAX;
    test.disk = crash_disk_new();
    test.loop = crash_loop_new(1, false);
    crash_disk_use(test.disk);
    crash_disk_set_free(test.disk, 2 * PLENTY);
    crash_disk_set_hook(test.disk, on_operation, NULL);
    sp_trace_set_sink(count_traces, counted, SP_TRACE_LEVEL_INFO);
    open_all(true);
    look();
    assert_true(sp_path_exists(BALLAST_PATH));
}

static void free_all(void)
{
    sp_trace_set_sink(NULL, NULL, SP_TRACE_LEVEL_WARN);
    sp_loop_free(test.loop);
    crash_disk_free(test.disk);
}

static void end(void)
{
    crash_disk_set_hook(test.disk, NULL, NULL);
    close_all();
    free_all();
}

static void append(unsigned count)
{
    static const uint8_t value[VALUE_SIZE];
    const struct sp_iovec piece = { value, sizeof value };

    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(sp_log_build(test.log, SP_FRAME_COMMAND, 1, 1000 + i, &piece, 1, NULL), 0);
    }
}

/* Checkpoints of the size that is given, for all segments that want one. */
static void write_checkpoints(size_t size)
{
    static const uint8_t machine[64 * 1024];

    assert_true(size <= sizeof machine);
    while (sp_log_checkpoint_wanted(test.log) != 0) {
        assert_int_equal(sp_log_checkpoint_write(test.log, machine, size), 0);
    }
}

static void check_durable(uint64_t last)
{
    settle();
    assert_int_equal(test.failed, 0);
    assert_int_equal(sp_log_last_index(test.log), last);
    assert_int_equal(sp_log_persisted_index(test.log), last);
    assert_false(test.store->meta_flushing || sp_meta_dirty(test.store->meta));
}

/* ---- all kinds of writes --------------------------------------------------------------------- */

static inline void install(void)
{
    const struct sp_log_point point = { .index = INSTALLED, .term = 1, .append_time_ms = 2000 };
    const struct sp_epoch epoch = { 1, 1 };
    const struct sp_membership membership = { 1, 3, (const uint8_t *)"abc" };
    struct sp_blob *image =
        sp_checkpoint_encode(GROUP, &point, &epoch, 1, &membership, 1, (const uint8_t *)"xy", 2);

    assert_int_equal(sp_log_install(test.log, image->bytes, image->size), 0);
    sp_blob_unref(image);
}

/* Every kind of write that a node cannot do without, one after the other. */
static inline void work(void)
{
    append(3);
    (void)sp_store_set_vote(test.store, GROUP, REPLICA, 1, 2);
    check_durable(3);
    sp_log_roll(test.log);
    append(2);
    write_checkpoints(8 * 1024);
    check_durable(5);
    if (sp_log_checkpoint_index(test.log) == 0) { /* it waits, and the ballast stays untouched */
        if (test.relieves) {
            crash_disk_set_free(test.disk, PLENTY);
        }
        pass_ms(SP_CHECKPOINT_PAUSE_MS);
        look();
    }
    assert_int_equal(sp_log_checkpoint_index(test.log), 3);
    assert_int_equal(sp_log_truncate(test.log, 5), 0);
    append(1);
    check_durable(5);
    install();
    append(1);
    (void)sp_store_set_vote(test.store, GROUP, REPLICA, 2, 3);
    check_durable(INSTALLED + 1);
}

static inline void check_reopened(void)
{
    uint32_t chain = sp_log_chain(test.log);
    uint64_t term = 0;
    uint64_t vote = 0;

    close_all();
    crash_disk_set_free(test.disk, PLENTY);
    open_all(false);
    assert_int_equal(sp_log_last_index(test.log), INSTALLED + 1);
    assert_int_equal(sp_log_chain(test.log), chain);
    sp_store_vote(test.store, GROUP, REPLICA, &term, &vote);
    assert_int_equal(term, 2);
    assert_int_equal(vote, 3);
}

#endif /* SP_UNIT_FULL_DISK_WORLD_H */
