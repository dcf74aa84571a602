/* Compaction on a disk that is nearly full: a segment and its successor stand side by side for a
 * while, and what a pass takes from the last of the reserve would stop the node. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "broker/compactor.h"
#include "spate/error.h"
#include "storage/store.h"
#include "storage/store_state.h"
#include "tests/lib/crash_disk.h"
#include "tests/lib/crash_loop.h"
#include "wire/batch.h"

#define SEGMENT_BYTES 6000

static struct {
    struct sp_loop *loop;
    struct sp_store *store;
    struct sp_log *log;
    struct sp_compactor compactor;
    struct sp_replica_open open;
    bool done;
    int status;
} life;

static void on_failed(void *arg, int status, const char *text)
{
    (void)arg;
    fail_msg("%d %s", status, text);
}

static void on_meta(void *arg, uint64_t sequence)
{
    (void)arg;
    (void)sequence;
}

static void on_open(struct sp_replica_open *open, int status)
{
    (void)open;
    life.status = status;
    life.done = true;
}

static void on_pass(void *arg, int status)
{
    (void)arg;
    life.status = status;
    life.done = true;
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

static void run(void)
{
    while (!life.done) {
        crash_loop_turn(life.loop);
    }
}

static void write_records(void)
{
    for (int i = 0; i < 200; i++) {
        const struct sp_record record = { .key = sp_bytes_of((const uint8_t *)"key", 3),
                                          .value = sp_bytes_of((const uint8_t *)"value", 5) };
        struct sp_batch_builder builder;
        struct sp_buf out;
        int64_t offset = 0;

        sp_buf_init(&out, 4096);
        sp_batch_builder_init(&builder, 4096, SP_COMPRESSION_NONE);
        assert_int_equal(sp_batch_builder_add(&builder, &record), 0);
        assert_int_equal(sp_batch_builder_finish(&builder, 5, 1, i, &out), 0);
        const struct sp_iovec piece = { out.bytes, out.size };
        assert_int_equal(sp_log_build(life.log, SP_FRAME_BATCH, 1, 1, &piece, 1, &offset), 0);
        sp_batch_builder_deinit(&builder);
        sp_buf_deinit(&out);
    }
    while (sp_log_persisted_index(life.log) < sp_log_last_index(life.log)) {
        crash_loop_turn(life.loop);
    }
}

static int set_up(void **state)
{
    const struct sp_store_options options = { .path = "/data",
                                              .node_id = 3,
                                              .segment_bytes = SEGMENT_BYTES };
    const struct sp_store_handler handler = { .meta_durable = on_meta, .failed = on_failed };
    char text[256] = "";

    memset(&life, 0, sizeof life);
    *state = crash_disk_new();
    crash_disk_use(*state);
    life.loop = crash_loop_new(1, false);
    assert_int_equal(
        sp_store_open(life.loop, &options, &handler, NULL, text, sizeof text, &life.store), 0);
    life.open = (struct sp_replica_open){ .group_id = 9, .replica_id = 7, .cb = on_open };
    sp_store_create_replica(life.store, &life.open);
    run();
    assert_int_equal(life.status, 0);
    life.log = life.open.log;
    sp_compactor_init(&life.compactor, life.loop, on_pass, NULL);
    write_records();
    return 0;
}

static int tear_down(void **state)
{
    life.done = false;
    sp_log_close(life.log, set_flag, &life.done);
    run();
    life.done = false;
    sp_store_close(life.store, set_flag, &life.done);
    run();
    sp_loop_free(life.loop);
    crash_disk_free(*state);
    return 0;
}

/* So much is left above the last of the reserve. */
static void set_room(int64_t bytes)
{
    life.store->free_bytes_min = 1 << 20;
    sp_store_note_free_bytes(life.store, (uint64_t)((1 << 20) / SP_SPACE_LAST_PART + bytes));
}

static int begin(void)
{
    struct sp_compaction_order order = {
        .log = life.log, .group_id = 9, .first_index = 1, .memory_bytes = 4096
    };
    struct sp_log_span span;

    while (sp_log_finished_span(life.log, order.last_index + 1, &span)) {
        order.last_index = span.last_index;
    }
    assert_true(order.last_index > 100);
    life.done = false;
    return sp_compactor_begin(&life.compactor, &order);
}

static void test_compaction_does_not_begin_without_room_for_a_segment(void **state)
{
    (void)state;
    set_room(SEGMENT_BYTES / 2);
    assert_int_equal(begin(), SPATE_ERR_NO_SPACE);
    set_room(SEGMENT_BYTES * 2);
    assert_int_equal(begin(), 0);
    run();
    assert_int_equal(life.status, 0);
    assert_true(life.compactor.counters.segments > 1);
}

static void test_compaction_gives_up_when_the_last_of_the_reserve_is_reached(void **state)
{
    (void)state;
    set_room(SEGMENT_BYTES * 2);
    assert_int_equal(begin(), 0);
    while (life.compactor.state != SP_COMPACTOR_REWRITE) {
        assert_false(life.done);
        crash_loop_turn(life.loop);
    }
    set_room(-1);
    run();
    assert_int_equal(life.status, SPATE_ERR_NO_SPACE);
    assert_true(life.compactor.counters.segments <= 1); /* the one that was being written */
    set_room(SEGMENT_BYTES * 2);
    assert_int_equal(begin(), 0);
    run();
    assert_int_equal(life.status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_compaction_does_not_begin_without_room_for_a_segment, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_compaction_gives_up_when_the_last_of_the_reserve_is_reached, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
