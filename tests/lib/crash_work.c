/* The random work of a life. */
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/mem.h"
#include "spate/error.h"
#include "storage/checkpoint.h"
#include "tests/lib/crash_disk_parts.h"
#include "tests/lib/crash_loop.h"
#include "tests/lib/crash_model.h"
#include "tests/lib/test_batch.h"

#define PAYLOAD_MAX 6000
#define APPEND_MAX 5
#define ALLOCATIONS_MAX 12
#define FRAMES_MAX 120 /* of a log; then it is replaced by an install */

static uint64_t below(struct crash_life *life, uint64_t bound)
{
    return sp_rand_below(&life->rand, bound);
}

/* Lets one of the next allocations fail. */
static void upset_memory(struct crash_life *life)
{
    if (life->memory_fails) {
        sp_mem_fail_at(1 + below(life, ALLOCATIONS_MAX));
    }
}

static void require_stopped(const struct crash_life *life, int rv, const char *what)
{
    crash_require(rv == 0 || (rv == SPATE_ERR_STOPPED && life->failed) ||
                      (rv == SPATE_ERR_NOMEM && life->memory_fails),
                  "%s: %s",
                  what,
                  spate_error_name(rv));
}

/* ---- frames ---------------------------------------------------------------------------------- */

static enum sp_frame_kind pick_payload(struct crash_life *life, uint8_t *bytes, size_t *out_size)
{
    uint64_t choice = below(life, 10);

    *out_size = 0;
    if (choice == 0) {
        return SP_FRAME_NOOP;
    }
    if (choice < 7) {
        size_t value_size = (size_t)below(life, choice == 6 ? 1800 : 200);
        unsigned records = 1 + (unsigned)below(life, 3);

        *out_size = test_batch_make(
            bytes, records, value_size, (int64_t)below(life, 1000), (uint32_t)below(life, 1 << 30));
        return SP_FRAME_BATCH;
    }
    *out_size = 1 + (size_t)below(life, 300);
    for (size_t i = 0; i < *out_size; i++) {
        bytes[i] = (uint8_t)below(life, 256);
    }
    return choice == 7 ? SP_FRAME_CONFIGURATION : SP_FRAME_COMMAND;
}

static uint64_t pick_term(struct crash_life_log *log)
{
    uint64_t term = sp_log_last_term(log->log);

    return term == 0 ? 1 : term + (below(log->life, 8) == 0 ? 1 : 0);
}

static void note_frame(struct crash_life_log *log, const struct sp_slice *slice)
{
    struct sp_log_frame frame;
    uint64_t index = log->base + log->count + 1;
    int rv = sp_log_frame_verify(slice->bytes, slice->size, &frame);

    crash_require(rv == 0 && frame.index == index, "log %u: a bad frame was made", log->number);
    crash_history_note(log->life->history,
                       log->number,
                       index,
                       crash_log_chain_at(log, index - 1),
                       frame.chain,
                       sp_crc32c(0, slice->bytes, slice->size));
    crash_log_push(log, frame.chain);
}

/* As a leader does. */
static void build_frame(struct crash_life_log *log)
{
    uint8_t bytes[PAYLOAD_MAX];
    size_t size = 0;
    int64_t offset = 0;
    enum sp_frame_kind kind = pick_payload(log->life, bytes, &size);
    const struct sp_iovec piece = { bytes, size };
    int rv = sp_log_build(
        log->log, kind, pick_term(log), (int64_t)below(log->life, 1000), &piece, 1, &offset);

    require_stopped(log->life, rv, "build");
    if (rv == 0) {
        struct sp_log_read read = {
            .by = SP_LOG_READ_INDEX,
            .start = (int64_t)sp_log_last_index(log->log),
            .index_max = UINT64_MAX,
            .frames_max = 1,
        };

        crash_require(sp_log_read_cached(log->log, &read) && read.count == 1, "not in memory");
        note_frame(log, &read.frames[0]);
        sp_log_read_release(&read);
    }
}

/* A frame that follows one with `chain`, at `index`. */
static struct sp_slice
make_frame(struct crash_life_log *log, uint64_t index, uint64_t term, uint32_t chain)
{
    uint8_t bytes[PAYLOAD_MAX];
    size_t size = 1 + (size_t)below(log->life, 400);
    struct sp_log_frame frame = {
        .kind = SP_FRAME_COMMAND,
        .length = (uint32_t)size,
        .group_id = log->number + 1,
        .term = term,
        .index = index,
        .append_time_ms = log->log != NULL ? sp_log_last_append_time_ms(log->log) : 0,
    };
    sp_mem_fail_at(0); /* the test's own memory */
    struct sp_blob *blob = sp_blob_new(sp_log_frame_size(frame.length));

    memset(bytes, (int)below(log->life, 256), size);
    memcpy(blob->bytes + SP_LOG_FRAME_HEADER_SIZE, bytes, size);
    sp_log_frame_seal(&frame, chain, blob->bytes);
    return (struct sp_slice){ blob, blob->bytes, blob->size };
}

/* As a follower does. */
static void append_frames(struct crash_life_log *log)
{
    struct sp_slice frames[APPEND_MAX];
    unsigned count = 1 + (unsigned)below(log->life, APPEND_MAX);
    uint64_t term = pick_term(log);
    uint32_t chain = sp_log_chain(log->log);

    for (unsigned i = 0; i < count; i++) {
        struct sp_log_frame frame;

        frames[i] = make_frame(log, sp_log_last_index(log->log) + 1 + i, term, chain);
        (void)sp_log_frame_decode(frames[i].bytes, frames[i].size, &frame);
        chain = frame.chain;
    }
    upset_memory(log->life);
    int rv = sp_log_append(log->log, frames, count);
    require_stopped(log->life, rv, "append");
    for (unsigned i = 0; i < count; i++) {
        if (rv == 0) {
            note_frame(log, &frames[i]);
        }
        sp_slice_unref(&frames[i]);
    }
}

static void truncate_log(struct crash_life_log *log)
{
    struct crash_log_promise *promise = &log->life->promise.logs[log->number];
    uint64_t last = log->base + log->count;
    uint64_t low = log->commit > log->base ? log->commit : log->base;

    if (low == last) {
        return;
    }
    uint64_t index = low + 1 + below(log->life, last - low);
    int rv = sp_log_truncate(log->log, index);
    require_stopped(log->life, rv, "truncate");
    if (rv != 0) {
        return;
    }
    log->count = index - 1 - log->base;
    if (promise->base == log->base && promise->index >= index) {
        promise->index = index - 1;
        promise->chain = crash_log_chain_at(log, index - 1);
    }
    promise->proven = promise->base; /* the markers that proved it may be cut off, too */
}

static void install(struct crash_life_log *log)
{
    struct crash_life *life = log->life;
    uint64_t last = log->base + log->count;
    uint64_t index = last + 1 + below(life, 5);
    bool room = crash_history_pick_base(life->history, &index);
    uint32_t chain = (uint32_t)sp_rand_next(&life->rand);
    uint64_t term = pick_term(log);
    const struct sp_epoch epoch = { index, term };
    const struct sp_log_point point = {
        .index = index,
        .term = term,
        .end_offset = sp_log_end_offset(log->log) + 3,
        .append_time_ms = sp_log_last_append_time_ms(log->log),
        .chain = chain,
    };
    char state[CRASH_STATE_SIZE];

    if (!room) {
        return;
    }
    crash_state_make(index, chain, state);
    sp_mem_fail_at(0); /* the test's own memory */
    struct sp_blob *image = sp_checkpoint_encode(
        log->number + 1, &point, &epoch, 1, NULL, 0, (const uint8_t *)state, sizeof state);
    upset_memory(life);
    int rv = sp_log_install(log->log, image->bytes, image->size);
    sp_blob_unref(image);
    require_stopped(life, rv, "install");
    if (rv == 0) {
        crash_history_note_base(life->history, log->number, index, chain);
        life->promise.logs[log->number].next_base = index;
        log->base = index;
        log->base_chain = chain;
        log->count = 0;
        log->commit = index;
        log->trimmed = 0;
    }
}

/* Drops old segments; how far that comes before a crash is anybody's guess. */
static void trim(struct crash_life_log *log)
{
    uint64_t index = sp_log_trim_index(log->log, 1 + (unsigned)below(log->life, 3));

    if (index > log->base) {
        sp_log_trim(log->log, index);
        log->trimmed = index;
        log->life->promise.logs[log->number].trimmed = index;
    }
}

/* Applies what is committed: checkpoints are written on the way. */
static void apply(struct crash_life_log *log)
{
    uint64_t last = log->base + log->count;
    char state[CRASH_STATE_SIZE];

    log->commit = log->commit < log->base ? log->base : log->commit;
    log->commit += below(log->life, last - log->commit + 1);
    for (;;) {
        uint64_t wanted = sp_log_checkpoint_wanted(log->log);

        if (wanted == 0 || wanted > log->commit || below(log->life, 3) == 0) {
            return;
        }
        crash_state_make(wanted, crash_log_chain_at(log, wanted), state);
        int rv = sp_log_checkpoint_write(log->log, (const uint8_t *)state, sizeof state);
        require_stopped(log->life, rv, "checkpoint");
        if (rv != 0) {
            return;
        }
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

struct work_read {
    struct sp_log_read read;
    struct crash_life_log *log;
    struct sp_log *of;
};

/* What a read returns is what the log holds when it returns. */
static void on_work_read(struct sp_log_read *read, int status)
{
    struct work_read *work = SP_CONTAINER_OF(read, struct work_read, read);

    crash_require(status == 0 || status == SPATE_ERR_NOT_FOUND || status == SPATE_ERR_CANCELED ||
                      (status == SPATE_ERR_NOMEM && work->log->life->memory_fails),
                  "log %u: a read ends with %s",
                  work->log->number,
                  spate_error_name(status));
    for (unsigned i = 0; i < read->count; i++) {
        struct sp_log_frame frame;
        int rv = sp_log_frame_verify(read->frames[i].bytes, read->frames[i].size, &frame);

        crash_require(rv == 0 && frame.chain == crash_log_chain_at(work->log, frame.index),
                      "log %u: a read returns what is not in the log",
                      work->log->number);
    }
    crash_require(status != 0 || read->by != SP_LOG_READ_INDEX || read->count > 0,
                  "log %u: an empty read",
                  work->log->number);
    sp_log_read_release(read);
    free(work);
}

static void read_somewhere(struct crash_life_log *log)
{
    struct work_read *work = crash_realloc(NULL, sizeof *work);

    *work = (struct work_read){
        .read = {
            .by = (enum sp_log_read_by)below(log->life, 3),
            .index_max = UINT64_MAX,
            .bytes_max = (uint32_t)below(log->life, 5000),
            .frames_max = 1 + (uint32_t)below(log->life, 20),
            .cb = on_work_read,
        },
        .log = log,
    };
    if (work->read.by == SP_LOG_READ_INDEX) {
        work->read.start = (int64_t)(log->base + below(log->life, log->count + 2));
    } else {
        work->read.start = (int64_t)below(log->life, (uint64_t)sp_log_end_offset(log->log) + 2);
    }
    if (sp_log_read_start(log->log, &work->read) != 0) {
        free(work);
    }
}

/* ---- votes and replicas ---------------------------------------------------------------------- */

static void vote(struct crash_life_log *log)
{
    struct crash_log_promise *promise = &log->life->promise.logs[log->number];

    if (log->vote_sequence != 0 || log->life->failed) {
        return;
    }
    promise->term_asked += 1;
    log->vote_term = promise->term_asked;
    log->vote_sequence = sp_store_set_vote(
        log->life->store, log->number + 1, promise->replica_id, log->vote_term, log->vote_term % 5);
}

static uint64_t set_identity(struct crash_life *life, uint32_t step)
{
    struct sp_identity identity = *sp_store_identity(life->store);

    identity.state = step < 4 ? SP_IDENTITY_FORMING : SP_IDENTITY_FORMED;
    memcpy(identity.cluster_id, &step, sizeof step);
    return sp_store_set_identity(life->store, &identity);
}

static void change_identity(struct crash_life *life)
{
    if (life->identity_sequence != 0 || life->failed) {
        return;
    }
    life->promise.step_asked += 1;
    life->identity_step = life->promise.step_asked;
    life->identity_sequence = set_identity(life, life->identity_step);
}

static void on_created(struct sp_replica_open *open, int status)
{
    struct crash_life_log *log = SP_CONTAINER_OF(open, struct crash_life_log, open);
    struct crash_log_promise *promise = &log->life->promise.logs[log->number];

    crash_require(status == 0 || crash_disk_has_failed(log->life->disk) ||
                      (status == SPATE_ERR_NOMEM && log->life->memory_fails),
                  "%s",
                  open->text);
    log->busy = false;
    log->done = true;
    if (status != 0) {
        *promise = (struct crash_log_promise){ .state = CRASH_LOG_ABSENT };
        return;
    }
    crash_require(!log->life->failed, "log %u: created after an error", log->number);
    promise->state = CRASH_LOG_PRESENT;
    log->log = open->log;
    sp_log_set_handler(log->log, &crash_log_handler, log);
}

static void create_log(struct crash_life_log *log)
{
    struct crash_life *life = log->life;
    struct crash_log_promise *promise = &life->promise.logs[log->number];

    if (promise->state != CRASH_LOG_ABSENT || log->busy) {
        return;
    }
    *promise = (struct crash_log_promise){
        .state = CRASH_LOG_CREATING,
        .replica_id = crash_history_next_replica(life->history),
    };
    log->busy = true;
    log->done = false;
    log->base = 0;
    log->base_chain = 0;
    log->count = 0;
    log->commit = 0;
    log->trimmed = 0;
    log->open = (struct sp_replica_open){
        .group_id = log->number + 1,
        .replica_id = promise->replica_id,
        .cb = on_created,
    };
    if (below(life, 2) == 0) {
        log->open.first = make_frame(log, 1, 1, 0);
        note_frame(log, &log->open.first);
        promise->index = 1;
        promise->chain = crash_log_chain_at(log, 1);
    }
    sp_store_create_replica(life->store, &log->open);
}

static void delete_log(struct crash_life_log *log)
{
    struct crash_life *life = log->life;

    crash_log_close(log);
    if (life->failed || log->vote_sequence != 0 || life->identity_sequence != 0) {
        if (!life->failed) {
            crash_log_open(log);
        }
        return;
    }
    life->promise.logs[log->number].state = CRASH_LOG_DELETING;
    sp_mem_fail_at(0); /* what follows says when it is durable */
    int rv = sp_store_delete_replica(life->store, log->number + 1, log->open.replica_id);
    crash_require(rv == 0, "delete: %s", spate_error_name(rv));
    log->gone = true;
    log->gone_sequence = set_identity(life, life->promise.step);
}

static void reopen_log(struct crash_life_log *log)
{
    crash_log_close(log);
    if (!log->life->failed) {
        crash_log_open(log);
    }
}

/* ---- a step ---------------------------------------------------------------------------------- */

static void work_on(struct crash_life_log *log)
{
    uint64_t choice = below(log->life, 100);

    if (log->log == NULL) {
        create_log(log);
    } else if (log->life->ages && choice >= 52 && choice < 60) {
        sp_log_roll(log->log);
    } else if (log->life->ages && choice >= 84 && choice < 98) {
        trim(log);
    } else if (choice < 35) {
        build_frame(log);
    } else if (choice < 50) {
        append_frames(log);
    } else if (choice < 62) {
        truncate_log(log);
    } else if (choice < 73) {
        apply(log);
    } else if (choice < 75) {
        trim(log);
    } else if (choice < 84) {
        read_somewhere(log);
    } else if (choice < 88) {
        sp_log_roll(log->log);
    } else if (choice < 95) {
        vote(log);
    } else if (choice < 97 || log->count > FRAMES_MAX) {
        install(log);
    } else if (choice < 99) {
        reopen_log(log);
    } else {
        delete_log(log);
    }
}

void crash_life_work(struct crash_life *life, unsigned steps)
{
    for (unsigned i = 0; i < steps; i++) {
        upset_memory(life);
        if (below(life, 25) == 0) {
            change_identity(life);
        } else {
            work_on(&life->logs[below(life, CRASH_LOGS)]);
        }
        for (uint64_t turns = below(life, 3); turns > 0; turns--) {
            crash_loop_turn(life->loop);
        }
        sp_mem_fail_at(0);
        for (unsigned j = 0; j < CRASH_LOGS; j++) {
            const struct crash_life_log *log = &life->logs[j];
            struct crash_log_promise *promise = &life->promise.logs[j];

            if (log->log != NULL && promise->base == log->base && !life->failed) {
                promise->checkpoint = sp_log_checkpoint_index(log->log);
            }
        }
    }
}
