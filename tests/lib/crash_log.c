/* What a log holds, compared with history and promise. */
#include <string.h>

#include "base/crc32c.h"
#include "base/mem.h"
#include "spate/error.h"
#include "tests/lib/crash_disk_parts.h"
#include "tests/lib/crash_loop.h"
#include "tests/lib/crash_model.h"

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

/* `bytes` are the state after index; `where`: what holds them. */
static void check_state(const struct crash_life_log *log,
                        uint64_t index,
                        const uint8_t *bytes,
                        size_t size,
                        const char *where)
{
    char expected[CRASH_STATE_SIZE];

    crash_state_make(index, crash_log_chain_at(log, index), expected);
    crash_require(size == CRASH_STATE_SIZE && memcmp(bytes, expected, size) == 0,
                  "log %u: wrong state after %llu %s",
                  log->number,
                  (unsigned long long)index,
                  where);
}

static void check_checkpoint(struct crash_life_log *log)
{
    struct crash_log_promise *promise = &log->life->promise.logs[log->number];
    uint64_t index = sp_log_checkpoint_index(log->log);
    const uint8_t *bytes = NULL;
    size_t size = 0;

    crash_require(log->life->damaged || promise->base != log->base || index >= promise->checkpoint,
                  "log %u: checkpoint %llu is gone, the newest is %llu",
                  log->number,
                  (unsigned long long)promise->checkpoint,
                  (unsigned long long)index);
    if (index > 0) {
        sp_log_checkpoint_state(log->log, &bytes, &size);
        check_state(log, index, bytes, size, "in the checkpoint");
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

    crash_require(index >= sp_log_checkpoint_index(log->log) &&
                      index <= sp_log_last_index(log->log),
                  "log %u: starts at %llu",
                  log->number,
                  (unsigned long long)index);
    if (index > log->base) {
        sp_log_start_state(log->log, &bytes, &size);
        check_state(log, index, bytes, size, "at the start");
        log->commit = index > log->commit ? index : log->commit;
    }
    sp_log_forget_rest(log->log);
}

void crash_log_keep_rest(struct crash_life_log *log)
{
    char state[CRASH_STATE_SIZE];

    if (log->commit > log->base && log->commit <= log->base + log->count) {
        crash_state_make(log->commit, crash_log_chain_at(log, log->commit), state);
        sp_log_keep_rest(log->log, log->commit, (const uint8_t *)state, sizeof state);
    }
}

void crash_log_check(struct crash_life_log *log)
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
