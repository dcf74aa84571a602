/* Opening a disk to compare it with history and promise, and closing it. */
#include "tests/lib/crash_model.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "spate/error.h"
#include "tests/lib/crash_disk_parts.h"
#include "tests/lib/crash_loop.h"

#define DIRECTORY "/data/" /* the slash must not hide whose name is to be synced */
#define TEXT_SIZE 400

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
    crash_log_check(log);
    sp_log_set_handler(log->log, &crash_log_handler, log);
}

void crash_life_settle(struct crash_life *life)
{
    uint64_t durable = sp_store_meta_durable(life->store);

    if (life->identity_sequence != 0 && life->identity_sequence <= durable) {
        life->promise.step = life->identity_step;
        life->identity_sequence = 0;
    }
    for (unsigned i = 0; i < CRASH_LOGS; i++) {
        struct crash_life_log *log = &life->logs[i];
        struct crash_log_promise *promise = &life->promise.logs[i];

        if (log->vote_sequence != 0 && log->vote_sequence <= durable) {
            promise->term = log->vote_term;
            log->vote_sequence = 0;
        }
        if (log->gone && log->gone_sequence <= durable) {
            log->gone = false;
            *promise = (struct crash_log_promise){ .state = CRASH_LOG_ABSENT };
        }
    }
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
        .prefill_bytes = CRASH_SEGMENT_BYTES / 4,
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
    crash_log_keep_rest(log);
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
