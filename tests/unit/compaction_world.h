/* A log that is compacted beside a model of its records, on a disk that loses power: what the tests
 * of whole passes share. */
#ifndef SP_TESTS_UNIT_COMPACTION_WORLD_H
#define SP_TESTS_UNIT_COMPACTION_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rand.h"
#include "broker/compactor.h"
#include "spate/error.h"
#include "storage/store.h"
#include "tests/lib/crash_disk.h"
#include "tests/lib/crash_loop.h"
#include "wire/batch.h"

#define GROUP_ID 9
#define REPLICA_ID 7
#define NODE_ID 3
#define ONE_IN_TOMBSTONES 8
#define VALUE_BYTES_MAX 60
#define TURNS_MAX 20000000

/* A record as it was written; its offset is its place in the model. */
struct written {
    uint32_t key;
    uint32_t value; /* 0: a tombstone */
};

struct model {
    struct written *records;
    int64_t count;
    int64_t synced; /* durable up to this offset */
    int64_t floor;  /* tombstones below may be gone */
    int64_t clean;  /* no record below has a later one of its key below */
    unsigned keys;
    unsigned long crashes;
    unsigned long removed;        /* records that the last check did not find */
    unsigned long fetched_frames; /* that it was given when it read by offset */
};

/* An opened store with its log. */
struct life {
    struct sp_loop *loop;
    struct sp_store *store;
    struct sp_log *log;
    struct sp_compactor compactor;
    struct sp_replica_open open;
    bool done;
    int status;
    bool failed;
};

static inline void on_failed(void *arg, int status, const char *text)
{
    struct life *life = arg;

    fprintf(stderr, "store failed: %d %s\n", status, text);
    life->failed = true;
}

static inline void on_meta(void *arg, uint64_t sequence)
{
    (void)arg;
    (void)sequence;
}

static inline void on_open(struct sp_replica_open *open, int status)
{
    struct life *life = SP_CONTAINER_OF(open, struct life, open);

    life->status = status;
    life->done = true;
}

static inline void on_pass(void *arg, int status)
{
    struct life *life = arg;

    life->status = status;
    life->done = true;
}

static inline void run(struct life *life)
{
    for (unsigned long i = 0; !life->done; i++) {
        assert_true(i < TURNS_MAX);
        crash_loop_turn(life->loop);
    }
}

static inline void open_store(struct life *life, uint64_t seed, uint64_t segment_bytes, bool create)
{
    const struct sp_store_options options = { .path = "/data",
                                              .node_id = NODE_ID,
                                              .segment_bytes = segment_bytes };
    const struct sp_store_handler handler = { .meta_durable = on_meta, .failed = on_failed };
    char text[256] = "";

    *life = (struct life){ .loop = crash_loop_new(seed, seed % 2 == 0) };
    int rv = sp_store_open(life->loop, &options, &handler, life, text, sizeof text, &life->store);
    if (rv != 0) {
        fail_msg("%s", text);
    }
    life->open =
        (struct sp_replica_open){ .group_id = GROUP_ID, .replica_id = REPLICA_ID, .cb = on_open };
    if (create) {
        sp_store_create_replica(life->store, &life->open);
    } else {
        sp_store_open_replica(life->store, &life->open);
    }
    run(life);
    if (life->status != 0) {
        fail_msg("%s", life->open.text);
    }
    life->log = life->open.log;
    sp_compactor_init(&life->compactor, life->loop, on_pass, life);
}

static inline void set_flag(void *arg)
{
    *(bool *)arg = true;
}

static inline void close_store(struct life *life)
{
    life->done = false;
    sp_log_close(life->log, set_flag, &life->done);
    run(life);
    life->done = false;
    sp_store_close(life->store, set_flag, &life->done);
    run(life);
    sp_loop_free(life->loop);
}

/* ---- writing --------------------------------------------------------------------------------- */

static inline struct sp_record record_of(const struct written *written, char *key, char *value)
{
    int key_size = snprintf(key, 32, "key %u", written->key);
    int value_size = snprintf(value,
                              VALUE_BYTES_MAX + 20,
                              "%u%.*s",
                              written->value,
                              (int)(written->value % VALUE_BYTES_MAX),
                              "..........................................................");
    return (struct sp_record){
        .timestamp_ms = 1000 + (int64_t)written->value,
        .key = sp_bytes_of((const uint8_t *)key, (size_t)key_size),
        .value = written->value == 0 ? sp_bytes_null()
                                     : sp_bytes_of((const uint8_t *)value, (size_t)value_size),
    };
}

static inline void
write_batch(struct life *life, struct model *model, struct sp_rand *rand, unsigned most)
{
    unsigned count = 1 + (unsigned)sp_rand_below(rand, most);
    bool packed = sp_rand_below(rand, 2) == 0;
    struct sp_batch_builder builder;
    struct sp_buf out;
    char key[32];
    char value[VALUE_BYTES_MAX + 20];
    int64_t offset = -1;

    sp_buf_init(&out, 1 << 20);
    sp_batch_builder_init(&builder, 1 << 20, packed ? SP_COMPRESSION_LZ4 : SP_COMPRESSION_NONE);
    for (unsigned i = 0; i < count; i++) {
        struct written *written = &model->records[model->count + i];
        written->key = (uint32_t)sp_rand_below(rand, model->keys);
        written->value =
            sp_rand_below(rand, ONE_IN_TOMBSTONES) == 0 ? 0 : (uint32_t)(model->count + i + 1);
        struct sp_record record = record_of(written, key, value);
        assert_int_equal(sp_batch_builder_add(&builder, &record), 0);
    }
    assert_int_equal(sp_batch_builder_finish(&builder, 5, 1, (int32_t)model->count, &out), 0);
    const struct sp_iovec piece = { out.bytes, out.size };
    assert_int_equal(sp_log_build(life->log, SP_FRAME_BATCH, 1, 1, &piece, 1, &offset), 0);
    assert_int_equal(offset, model->count);
    model->count += count;
    sp_batch_builder_deinit(&builder);
    sp_buf_deinit(&out);
}

static inline void flush(struct life *life, struct model *model)
{
    int64_t count = model->count;

    while (sp_log_persisted_index(life->log) < sp_log_last_index(life->log)) {
        assert_false(life->failed);
        crash_loop_turn(life->loop);
    }
    model->synced = count;
}

/* ---- checking -------------------------------------------------------------------------------- */

struct walk {
    const struct model *model;
    struct sp_log_read read;
    struct life *life;
    uint64_t index;
    int64_t offset; /* the next record is not below */
    uint8_t *found; /* of each offset */
};

static inline void on_read(struct sp_log_read *read, int status)
{
    struct walk *walk = SP_CONTAINER_OF(read, struct walk, read);

    walk->life->status = status;
    walk->life->done = true;
}

static inline void check_batch(struct walk *walk, const uint8_t *batch, size_t size)
{
    struct sp_batch_reader reader;
    struct sp_record_view view;
    char key[32];
    char value[VALUE_BYTES_MAX + 20];

    assert_int_equal(sp_batch_reader_init(&reader, batch, size, 1 << 24), 0);
    assert_int_equal(reader.header.base_offset, walk->offset);
    assert_int_equal(reader.header.base_sequence, (int32_t)walk->offset);
    while (sp_batch_reader_next(&reader, &view)) {
        assert_true(view.offset >= walk->offset);
        assert_true(view.offset < walk->model->count);
        struct sp_record record = record_of(&walk->model->records[view.offset], key, value);
        assert_int_equal(view.key.size, record.key.size);
        assert_memory_equal(view.key.bytes, record.key.bytes, record.key.size);
        assert_int_equal(view.value.bytes == NULL, record.value.bytes == NULL);
        assert_int_equal(view.value.size, record.value.size);
        if (record.value.size > 0) {
            assert_memory_equal(view.value.bytes, record.value.bytes, record.value.size);
        }
        assert_int_equal(view.timestamp_ms, record.timestamp_ms);
        walk->found[view.offset] = 1;
        walk->offset = view.offset + 1;
    }
    assert_int_equal(sp_batch_reader_status(&reader), 0);
    walk->offset = reader.header.base_offset + reader.header.last_offset_delta + 1;
    sp_batch_reader_deinit(&reader);
}

static inline void walk_frames(struct walk *walk)
{
    for (unsigned i = 0; i < walk->read.count; i++) {
        struct sp_log_frame frame;
        const struct sp_slice *bytes = &walk->read.frames[i];

        assert_int_equal(sp_log_frame_verify(bytes->bytes, bytes->size, &frame), 0);
        assert_int_equal(frame.index, walk->index);
        check_batch(walk, sp_log_frame_payload(bytes->bytes), sp_log_frame_batch_size(&frame));
        walk->index += 1;
    }
}

/* What must be there: the latest record of each key, but for tombstones that may be gone; what must
 * not: what a later one below `clean` has replaced. */
static inline void judge(struct walk *walk, struct model *model)
{
    int64_t *latest = calloc(model->keys, sizeof *latest);
    int64_t *latest_clean = calloc(model->keys, sizeof *latest_clean);

    assert_non_null(latest);
    assert_non_null(latest_clean);
    model->removed = 0;
    for (int64_t i = 0; i < walk->offset; i++) {
        latest[model->records[i].key] = i + 1;
        if (i < model->clean) {
            latest_clean[model->records[i].key] = i + 1;
        }
    }
    for (int64_t i = 0; i < walk->offset; i++) {
        const struct written *written = &model->records[i];

        model->removed += walk->found[i] == 0;
        if (latest[written->key] == i + 1 && (written->value != 0 || i >= model->floor) &&
            !walk->found[i]) {
            fail_msg(
                "key %u: its latest record, at offset %lld, is gone", written->key, (long long)i);
        }
        if (i < model->clean && latest_clean[written->key] != i + 1 && walk->found[i]) {
            fail_msg("key %u: an old record, at offset %lld, is there beside the one at %lld (%s), "
                     "below %lld",
                     written->key,
                     (long long)i,
                     (long long)latest_clean[written->key] - 1,
                     walk->found[latest_clean[written->key] - 1] ? "there" : "gone",
                     (long long)model->clean);
        }
    }
    free(latest);
    free(latest_clean);
}

/* Reads on from `start`; the frames are the walk's until they are released. */
static inline void read_on(struct walk *walk, enum sp_log_read_by by, int64_t start)
{
    walk->read = (struct sp_log_read){
        .by = by,
        .start = start,
        .index_max = UINT64_MAX,
        .bytes_max = 1 << 20,
        .frames_max = SP_APPEND_FRAMES_MAX,
        .cb = on_read,
    };
    walk->life->done = false;
    assert_int_equal(sp_log_read_start(walk->life->log, &walk->read), 0);
    run(walk->life);
    assert_int_equal(walk->life->status, 0);
    assert_true(walk->read.count > 0);
}

/* What a reader of records is given: every offset once, in whatever batches. */
static inline void check_by_offset(struct life *life, struct model *model)
{
    struct walk walk = { .model = model, .life = life };

    walk.found = calloc((size_t)model->count + 1, 1);
    assert_non_null(walk.found);
    model->fetched_frames = 0;
    while (walk.offset < sp_log_end_offset(life->log)) {
        read_on(&walk, SP_LOG_READ_OFFSET, walk.offset);
        for (unsigned i = 0; i < walk.read.count; i++) {
            struct sp_log_frame frame;
            const struct sp_slice *bytes = &walk.read.frames[i];

            assert_int_equal(sp_log_frame_verify(bytes->bytes, bytes->size, &frame), 0);
            check_batch(&walk, sp_log_frame_payload(bytes->bytes), sp_log_frame_batch_size(&frame));
        }
        model->fetched_frames += walk.read.count;
        sp_log_read_release(&walk.read);
    }
    judge(&walk, model);
    free(walk.found);
}

static inline void check(struct life *life, struct model *model)
{
    struct walk walk = { .model = model, .life = life, .index = sp_log_first_index(life->log) };

    walk.found = calloc((size_t)model->count + 1, 1);
    assert_non_null(walk.found);
    while (walk.index <= sp_log_last_index(life->log)) {
        read_on(&walk, SP_LOG_READ_INDEX, (int64_t)walk.index);
        walk_frames(&walk);
        sp_log_read_release(&walk.read);
    }
    assert_int_equal(walk.offset, sp_log_end_offset(life->log));
    assert_true(walk.offset >= model->synced);
    judge(&walk, model);
    free(walk.found);
    check_by_offset(life, model);
}

/* ---- compacting ------------------------------------------------------------------------------ */

/* A pass over all that is finished; last_index 0: nothing is. */
static inline struct sp_compaction_order
order_of(struct life *life, int64_t first_dirty, int64_t floor, size_t memory_bytes)
{
    struct sp_compaction_order order = { .log = life->log,
                                         .group_id = GROUP_ID,
                                         .first_dirty = first_dirty,
                                         .floor = floor,
                                         .memory_bytes = memory_bytes,
                                         .packs = true };
    struct sp_log_span span;
    uint64_t index = 0;

    while (sp_log_finished_span(life->log, index, &span)) {
        if (order.first_index == 0 && span.end_offset > first_dirty) {
            order.first_index = span.first_index;
        }
        order.last_index = span.last_index;
        index = span.last_index + 1;
    }
    if (order.first_index == 0) {
        order.first_index = order.last_index + 1;
    }
    return order;
}

/* Does such a pass; the new end of what is clean. */
static inline int64_t
compact(struct life *life, int64_t first_dirty, int64_t floor, size_t memory_bytes)
{
    struct sp_compaction_order order = order_of(life, first_dirty, floor, memory_bytes);

    if (order.last_index == 0) {
        return first_dirty;
    }
    life->done = false;
    assert_int_equal(sp_compactor_begin(&life->compactor, &order), 0);
    run(life);
    assert_int_equal(life->status, 0);
    assert_false(life->compactor.pass.unclean);
    return life->compactor.pass.map_end;
}

#endif /* SP_TESTS_UNIT_COMPACTION_WORLD_H */
