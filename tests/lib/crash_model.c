/* Opening a disk to compare it with history and promise, and closing it. */
#include "tests/lib/crash_model.h"

#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/mem.h"
#include "spate/error.h"
#include "tests/lib/crash_disk_parts.h"
#include "tests/lib/crash_loop.h"

#define DIRECTORY "/data/" /* the slash must not hide whose name is to be synced */
#define TEXT_SIZE 400

/* ---- a log's content ------------------------------------------------------------------------- */

uint32_t crash_log_chain_at(const struct crash_life_log *log, uint64_t index)
{
    crash_require(index >= log->base && index <= log->base + log->count,
                  "log %u: no frame %llu",
                  log->number,
                  (unsigned long long)index);
    return index == log->base ? log->base_chain : log->chains[index - log->base - 1];
}

void crash_log_push(struct crash_life_log *log, uint32_t chain)
{
    if (log->count == log->capacity) {
        log->capacity = log->capacity == 0 ? 64 : 2 * log->capacity;
        log->chains = crash_realloc(log->chains, log->capacity * sizeof log->chains[0]);
    }
    log->chains[log->count] = chain;
    log->count += 1;
}

struct reading {
    struct sp_log_read read;
    bool done;
};

static void on_read(struct sp_log_read *read, int status)
{
    struct reading *reading = SP_CONTAINER_OF(read, struct reading, read);

    (void)status; /* it stands in the read */
    reading->done = true;
}

static void take_frame(struct crash_life_log *log, const struct sp_slice *slice)
{
    uint64_t index = log->base + log->count + 1;
    uint32_t sum = sp_crc32c(0, slice->bytes, slice->size);
    struct sp_log_frame frame;

    crash_require(sp_log_frame_verify(slice->bytes, slice->size, &frame) == 0 &&
                      frame.index == index,
                  "log %u: frame %llu is not sound",
                  log->number,
                  (unsigned long long)index);
    if (log->count == 0 && log->trimmed > 0) {
        crash_require(crash_history_before(
                          log->life->history, log->number, index, frame.chain, &log->base_chain),
                      "log %u: frame %llu was never written",
                      log->number,
                      (unsigned long long)index);
    }
    uint32_t before = crash_log_chain_at(log, index - 1);
    crash_require(
        crash_history_has(log->life->history, log->number, index, before, frame.chain, sum),
        "log %u: frame %llu was never written there",
        log->number,
        (unsigned long long)index);
    crash_log_push(log, frame.chain);
}

/* False: damage stands in the way. */
static bool read_all(struct crash_life_log *log)
{
    uint64_t last = sp_log_last_index(log->log);

    while (log->base + log->count < last) {
        struct reading reading = {
            .read = {
                .by = SP_LOG_READ_INDEX,
                .start = (int64_t)(log->base + log->count + 1),
                .index_max = UINT64_MAX,
                .bytes_max = 1024 * 1024,
                .frames_max = SP_APPEND_FRAMES_MAX,
                .cb = on_read,
            },
        };

        sp_mem_fail_at(0);
        int rv = sp_log_read_start(log->log, &reading.read);
        crash_require(rv == 0 && crash_loop_until(log->life->loop, &reading.done),
                      "log %u: reading does not start or end",
                      log->number);
        if (reading.read.status == SPATE_ERR_CORRUPT && log->life->damaged) {
            return false;
        }
        crash_require(reading.read.status == 0 && reading.read.count > 0,
                      "log %u: reading at %llu: %s",
                      log->number,
                      (unsigned long long)(log->base + log->count + 1),
                      spate_error_name(reading.read.status));
        for (unsigned i = 0; i < reading.read.count; i++) {
            take_frame(log, &reading.read.frames[i]);
        }
        sp_log_read_release(&reading.read);
    }
    return true;
}

static void check_checkpoint(struct crash_life_log *log)
{
    struct crash_log_promise *promise = &log->life->promise.logs[log->number];
    uint64_t index = sp_log_checkpoint_index(log->log);
    const uint8_t *bytes = NULL;
    size_t size = 0;
    char expected[CRASH_STATE_SIZE];

    crash_require(log->life->damaged || promise->base != log->base || index >= promise->checkpoint,
                  "log %u: checkpoint %llu is gone, the newest is %llu",
                  log->number,
                  (unsigned long long)promise->checkpoint,
                  (unsigned long long)index);
    if (index > 0) {
        crash_state_make(index, crash_log_chain_at(log, index), expected);
        sp_log_checkpoint_state(log->log, &bytes, &size);
        crash_require(size == CRASH_STATE_SIZE && memcmp(bytes, expected, size) == 0,
                      "log %u: wrong state in checkpoint %llu",
                      log->number,
                      (unsigned long long)index);
    }
    promise->checkpoint = index;
    log->commit = index > log->base ? index : log->base;
}

/* What an orderly end may have left. */
static void check_rest(struct crash_life_log *log)
{
    uint64_t index = sp_log_start_index(log->log);
    const uint8_t *bytes = NULL;
    size_t size = 0;
    char expected[CRASH_STATE_SIZE];

    crash_require(index >= sp_log_checkpoint_index(log->log) &&
                      index <= sp_log_last_index(log->log),
                  "log %u: starts at %llu",
                  log->number,
                  (unsigned long long)index);
    if (index > log->base) {
        crash_state_make(index, crash_log_chain_at(log, index), expected);
        sp_log_start_state(log->log, &bytes, &size);
        crash_require(size == CRASH_STATE_SIZE && memcmp(bytes, expected, size) == 0,
                      "log %u: wrong state after %llu at the start",
                      log->number,
                      (unsigned long long)index);
        log->commit = index > log->commit ? index : log->commit;
    }
    sp_log_forget_rest(log->log);
}

/* An orderly end leaves what has been applied. */
static void keep_rest(struct crash_life_log *log)
{
    char state[CRASH_STATE_SIZE];

    if (log->commit > log->base && log->commit <= log->base + log->count) {
        crash_state_make(log->commit, crash_log_chain_at(log, log->commit), state);
        sp_log_keep_rest(log->log, log->commit, (const uint8_t *)state, sizeof state);
    }
}

/* Compares an opened log with the promise, and takes what it has as promised. */
static void check_log(struct crash_life_log *log)
{
    struct crash_log_promise *promise = &log->life->promise.logs[log->number];
    uint64_t last = sp_log_last_index(log->log);

    log->base = sp_log_first_index(log->log) - 1;
    log->count = 0;
    bool same = log->base == promise->base;
    bool trimmed = (same && promise->base_trimmed) ||
                   (log->base > promise->base && log->base <= promise->trimmed);
    log->trimmed = trimmed ? log->base : 0;
    crash_require(same || trimmed || (promise->next_base != 0 && log->base > promise->base),
                  "log %u: begins behind %llu, promised %llu",
                  log->number,
                  (unsigned long long)log->base,
                  (unsigned long long)promise->base);
    log->base_chain = sp_log_chain(log->log); /* if no frame follows; else the first one tells */
    crash_require(
        trimmed || crash_history_base(log->life->history, log->number, log->base, &log->base_chain),
        "log %u: unknown beginning %llu",
        log->number,
        (unsigned long long)log->base);
    if (!read_all(log)) {
        log->life->corrupt += 1;
        return;
    }
    crash_require(sp_log_persisted_index(log->log) == last &&
                      sp_log_chain(log->log) == crash_log_chain_at(log, last),
                  "log %u: wrong end",
                  log->number);
    uint64_t needed = log->life->damaged ? promise->proven : promise->index;
    if (same || trimmed) {
        crash_require(last >= needed && (needed != promise->index ||
                                         crash_log_chain_at(log, promise->index) == promise->chain),
                      "log %u: frame %llu was acknowledged, the log ends with %llu",
                      log->number,
                      (unsigned long long)needed,
                      (unsigned long long)last);
    }
    check_checkpoint(log);
    check_rest(log);
    promise->base = log->base;
    promise->base_trimmed = trimmed;
    promise->next_base = 0;
    promise->trimmed = 0;
    promise->index = last;
    promise->chain = sp_log_chain(log->log);
    promise->proven = log->base; /* what was found may have been cut before */
}

/* ---- opening --------------------------------------------------------------------------------- */

static void on_opened(struct sp_replica_open *open, int status)
{
    struct crash_life_log *log = SP_CONTAINER_OF(open, struct crash_life_log, open);

    log->status = status;
    log->done = true;
}

static void on_persisted(void *arg, uint64_t index)
{
    struct crash_life_log *log = arg;
    struct crash_log_promise *promise = &log->life->promise.logs[log->number];

    crash_require(!log->life->failed, "log %u: persisted after an error", log->number);
    promise->proven = promise->base == log->base ? promise->index : log->base;
    promise->base_trimmed &= promise->base == log->base;
    promise->base = log->base;
    promise->next_base = 0;
    promise->index = index;
    promise->chain = crash_log_chain_at(log, index);
}

const struct sp_log_handler crash_log_handler = { .persisted = on_persisted };

static void check_vote(struct crash_life *life, unsigned number)
{
    struct crash_log_promise *promise = &life->promise.logs[number];
    uint64_t term = 0;
    uint64_t vote = 0;

    sp_store_vote(life->store, number + 1, promise->replica_id, &term, &vote);
    crash_require(term >= promise->term && term <= promise->term_asked && vote == term % 5,
                  "log %u: term %llu and vote %llu, promised term %llu",
                  number,
                  (unsigned long long)term,
                  (unsigned long long)vote,
                  (unsigned long long)promise->term);
    promise->term = term;
}

void crash_log_open(struct crash_life_log *log)
{
    struct crash_life *life = log->life;

    log->done = false;
    log->open = (struct sp_replica_open){
        .group_id = log->number + 1,
        .replica_id = life->promise.logs[log->number].replica_id,
        .cb = on_opened,
    };
    sp_store_open_replica(life->store, &log->open);
    crash_require(crash_loop_until(life->loop, &log->done), "log %u: is not opened", log->number);
    if (log->status == SPATE_ERR_NOMEM && life->memory_fails) {
        return;
    }
    if (log->status == SPATE_ERR_CORRUPT && life->damaged) {
        life->corrupt += 1;
        return;
    }
    if (log->status != 0) {
        crash_require(crash_disk_has_failed(life->disk), "%s", log->open.text);
        crash_require(life->failed || log->status != SPATE_ERR_IO,
                      "%s: closed by a disk error, and the node goes on",
                      log->open.text);
        return;
    }
    log->log = log->open.log;
    check_log(log);
    sp_log_set_handler(log->log, &crash_log_handler, log);
}

static void check_registration(struct crash_life *life, unsigned number)
{
    struct crash_log_promise *promise = &life->promise.logs[number];
    bool there = sp_store_has_replica(life->store, number + 1, promise->replica_id);

    crash_require(there || promise->state != CRASH_LOG_PRESENT, "log %u: is forgotten", number);
    crash_require(!there || promise->state != CRASH_LOG_ABSENT, "log %u: has come back", number);
    if (there) {
        promise->state = CRASH_LOG_PRESENT;
        check_vote(life, number);
    } else {
        *promise = (struct crash_log_promise){ .state = CRASH_LOG_ABSENT };
    }
}

static void check_identity(struct crash_life *life)
{
    const struct sp_identity *identity = sp_store_identity(life->store);
    struct crash_promise *promise = &life->promise;
    uint32_t step = 0;

    memcpy(&step, identity->cluster_id, sizeof step);
    crash_require(!promise->opened || identity->incarnation == promise->incarnation,
                  "the incarnation is forgotten");
    crash_require(step >= promise->step && step <= promise->step_asked,
                  "identity %u, promised %u",
                  (unsigned)step,
                  (unsigned)promise->step);
    promise->opened = true;
    promise->incarnation = identity->incarnation;
    promise->step = step;
}

static void on_meta_durable(void *arg, uint64_t sequence)
{
    struct crash_life *life = arg;

    crash_require(!life->failed, "meta %llu durable after an error", (unsigned long long)sequence);
    crash_life_settle(life);
}

static void on_failed(void *arg, int status, const char *text)
{
    struct crash_life *life = arg;

    bool no_memory = life->memory_fails && status == SPATE_ERR_NOMEM;

    crash_require(!life->failed && (no_memory || crash_disk_has_failed(life->disk)),
                  "an error out of nothing: %s %s",
                  spate_error_name(status),
                  text);
    life->failed = true;
}

void crash_life_init(struct crash_life *life,
                     struct crash_disk *disk,
                     struct crash_history *history,
                     const struct crash_promise *promise,
                     uint64_t seed)
{
    *life = (struct crash_life){ .disk = disk, .history = history, .promise = *promise };
    sp_rand_init(&life->rand, seed);
    for (unsigned i = 0; i < CRASH_LOGS; i++) {
        life->logs[i].life = life;
        life->logs[i].number = i;
    }
    crash_disk_use(disk);
}

bool crash_life_open(struct crash_life *life, bool shuffled)
{
    const struct sp_store_options options = {
        .path = DIRECTORY,
        .node_id = CRASH_NODE_ID,
        .segment_bytes = CRASH_SEGMENT_BYTES,
        .spare_bytes = 16 * CRASH_SEGMENT_BYTES,
        .counted = true,
    };
    const struct sp_store_handler handler = {
        .meta_durable = on_meta_durable,
        .failed = on_failed,
    };
    char text[TEXT_SIZE];

    life->loop = crash_loop_new(sp_rand_next(&life->rand), shuffled);
    int rv = sp_store_open(life->loop, &options, &handler, life, text, sizeof text, &life->store);
    if (rv != 0) {
        crash_require(crash_disk_has_failed(life->disk), "%s", text);
        return false;
    }
    check_identity(life);
    for (unsigned i = 0; i < CRASH_LOGS; i++) {
        check_registration(life, i);
    }
    rv = sp_store_quarantine_unknown(life->store);
    crash_require(rv == 0 || crash_disk_has_failed(life->disk), "quarantine failed");
    for (unsigned i = 0; i < CRASH_LOGS; i++) {
        if (life->promise.logs[i].state == CRASH_LOG_PRESENT) {
            crash_log_open(&life->logs[i]);
        }
    }
    return !crash_disk_has_failed(life->disk);
}

/* ---- ending ---------------------------------------------------------------------------------- */

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

void crash_log_close(struct crash_life_log *log)
{
    struct crash_log_promise *promise = &log->life->promise.logs[log->number];
    bool closed = false;

    if (log->log == NULL) {
        return;
    }
    keep_rest(log);
    sp_log_close(log->log, set_flag, &closed);
    crash_require(crash_loop_until(log->life->loop, &closed), "log %u: no close", log->number);
    log->log = NULL;
    /* One that has found no space closes without its end, which it has not reported. */
    if (!log->life->failed && !crash_disk_has_failed(log->life->disk)) {
        promise->base_trimmed &= promise->base == log->base;
        promise->base = log->base;
        promise->next_base = 0;
        promise->index = log->base + log->count;
        promise->chain = crash_log_chain_at(log, promise->index);
    }
}

static void close_store(struct crash_life *life)
{
    bool closed = false;

    for (unsigned i = 0; i < CRASH_LOGS; i++) {
        crash_log_close(&life->logs[i]);
    }
    sp_store_close(life->store, set_flag, &closed);
    crash_require(crash_loop_until(life->loop, &closed), "the store does not close");
    life->store = NULL;
}

void crash_life_end(struct crash_life *life)
{
    for (unsigned i = 0; i < CRASH_LOGS; i++) {
        struct crash_life_log *log = &life->logs[i];

        if (log->busy) {
            crash_require(crash_loop_until(life->loop, &log->done), "log %u: not made", i);
        }
    }
    close_store(life);
    if (life->failed) {
        return;
    }
    if (life->identity_sequence != 0) {
        life->promise.step = life->identity_step;
    }
    for (unsigned i = 0; i < CRASH_LOGS; i++) {
        if (life->logs[i].vote_sequence != 0) {
            life->promise.logs[i].term = life->logs[i].vote_term;
        }
    }
}

void crash_life_abandon(struct crash_life *life)
{
    crash_disk_fail(life->disk, 0, true, SPATE_ERR_IO);
    if (life->store != NULL) {
        for (unsigned i = 0; i < 50; i++) {
            crash_loop_turn(life->loop); /* jobs that have run end */
        }
        close_store(life);
    }
    sp_loop_free(life->loop);
    for (unsigned i = 0; i < CRASH_LOGS; i++) {
        free(life->logs[i].chains);
    }
}

void crash_model_visit(struct crash_disk *disk,
                       struct crash_history *history,
                       struct crash_promise *promise,
                       uint64_t seed)
{
    struct crash_life life;

    crash_life_init(&life, disk, history, promise, seed);
    (void)crash_life_open(&life, false); /* it says itself what is wrong */
    if (life.store != NULL) {
        close_store(&life);
    }
    *promise = life.promise;
    sp_loop_free(life.loop);
    for (unsigned i = 0; i < CRASH_LOGS; i++) {
        free(life.logs[i].chains);
    }
}

unsigned crash_model_visit_damaged(struct crash_disk *disk,
                                   struct crash_history *history,
                                   const struct crash_promise *promise,
                                   uint64_t seed)
{
    struct crash_life life;

    crash_life_init(&life, disk, history, promise, seed);
    life.damaged = true;
    (void)crash_life_open(&life, false); /* it says itself what is wrong */
    close_store(&life);
    sp_loop_free(life.loop);
    for (unsigned i = 0; i < CRASH_LOGS; i++) {
        free(life.logs[i].chains);
    }
    return life.corrupt;
}
