/* What was ever asked for, and the end of a process in which something else is found. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/crash_disk_parts.h"
#include "tests/lib/crash_model.h"

#define BUCKETS 4096

/* ---- failing --------------------------------------------------------------------------------- */

static char context[100];

void crash_model_context(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(context, sizeof context, format, arguments);
    va_end(arguments);
}

void crash_require(bool holds, const char *format, ...)
{
    va_list arguments;

    if (holds) {
        return;
    }
    (void)fprintf(stderr, "%s: ", context);
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fprintf(stderr, "\n");
    abort();
}

/* ---- history --------------------------------------------------------------------------------- */

struct note {
    struct note *next;
    unsigned log;
    uint64_t index;
    uint32_t chain_before;
    uint32_t chain;
    uint32_t sum;
};

struct base_note {
    unsigned log;
    uint64_t index;
    uint32_t chain;
};

struct crash_history {
    struct note *buckets[BUCKETS];
    struct base_note bases[CRASH_BASES_MAX];
    unsigned base_count;
    uint64_t replica_id;
};

struct crash_history *crash_history_new(void)
{
    struct crash_history *history = crash_realloc(NULL, sizeof *history);

    *history = (struct crash_history){ .replica_id = 0 };
    return history;
}

void crash_history_free(struct crash_history *history)
{
    for (unsigned i = 0; i < BUCKETS; i++) {
        while (history->buckets[i] != NULL) {
            struct note *note = history->buckets[i];

            history->buckets[i] = note->next;
            free(note);
        }
    }
    free(history);
}

uint64_t crash_history_next_replica(struct crash_history *history)
{
    history->replica_id += 1;
    return history->replica_id;
}

void crash_history_note(struct crash_history *history,
                        unsigned log,
                        uint64_t index,
                        uint32_t chain_before,
                        uint32_t chain,
                        uint32_t sum)
{
    struct note *note = crash_realloc(NULL, sizeof *note);
    struct note **bucket = &history->buckets[chain % BUCKETS];

    *note = (struct note){ *bucket, log, index, chain_before, chain, sum };
    *bucket = note;
}

bool crash_history_has(const struct crash_history *history,
                       unsigned log,
                       uint64_t index,
                       uint32_t chain_before,
                       uint32_t chain,
                       uint32_t sum)
{
    const struct note *note = history->buckets[chain % BUCKETS];

    while (note != NULL &&
           (note->log != log || note->index != index || note->chain_before != chain_before ||
            note->chain != chain || note->sum != sum)) {
        note = note->next;
    }
    return note != NULL;
}

bool crash_history_before(const struct crash_history *history,
                          unsigned log,
                          uint64_t index,
                          uint32_t chain,
                          uint32_t *out_before)
{
    const struct note *note = history->buckets[chain % BUCKETS];

    while (note != NULL && (note->log != log || note->index != index || note->chain != chain)) {
        note = note->next;
    }
    if (note != NULL) {
        *out_before = note->chain_before;
    }
    return note != NULL;
}

bool crash_history_pick_base(const struct crash_history *history, uint64_t *index)
{
    for (unsigned i = 0; i < history->base_count; i++) {
        *index = *index > history->bases[i].index ? *index : history->bases[i].index + 1;
    }
    return history->base_count < CRASH_BASES_MAX;
}

void crash_history_note_base(struct crash_history *history,
                             unsigned log,
                             uint64_t index,
                             uint32_t chain)
{
    history->bases[history->base_count] = (struct base_note){ log, index, chain };
    history->base_count += 1;
}

bool crash_history_base(const struct crash_history *history,
                        unsigned log,
                        uint64_t index,
                        uint32_t *out_chain)
{
    if (index == 0) {
        *out_chain = 0;
        return true;
    }
    for (unsigned i = 0; i < history->base_count; i++) {
        if (history->bases[i].log == log && history->bases[i].index == index) {
            *out_chain = history->bases[i].chain;
            return true;
        }
    }
    return false;
}

void crash_state_make(uint64_t index, uint32_t chain, char *out_state)
{
    memset(out_state, 0, CRASH_STATE_SIZE);
    (void)snprintf(
        out_state, CRASH_STATE_SIZE, "%llu after %08x", (unsigned long long)index, (unsigned)chain);
}
