/* What became of each record, and of each offset. */
#include <inttypes.h>

#include "compaction.h"
#include "verdict.h"

enum {
    EARLY = 8, /* a flag of this file: read before it was sent */
};

static const struct jep_send *send_of(const struct jep_history *history, uint32_t value)
{
    uint32_t row = history->send_of[value];

    return row == JEP_NONE ? NULL : &history->sends.items[row];
}

static void note_early(struct jep_history *history,
                       struct jep_verdict *verdict,
                       const struct jep_run *run,
                       uint32_t sequence,
                       const struct jep_poll *poll)
{
    uint32_t value = jep_value_at(history, run->stream, sequence);
    const struct jep_send *send = send_of(history, value);

    if (send != NULL && poll->time_ns < send->invoked_ns && (history->flags[value] & EARLY) == 0) {
        history->flags[value] |= EARLY;
        uint32_t key = history->streams.items[run->stream].key;
        jep_found(verdict,
                  JEP_EARLY_READ,
                  key,
                  poll->time_ns,
                  "%s: %s was read %" PRId64 " ns before it was sent",
                  jep_key_words(history, key),
                  jep_value_words(history, run->stream, sequence),
                  send->invoked_ns - poll->time_ns);
    }
}

static void note_reads(struct jep_history *history, struct jep_verdict *verdict)
{
    for (size_t i = 0; i < history->polls.count; i++) {
        const struct jep_poll *poll = &history->polls.items[i];
        uint8_t flags = JEP_VALUE_READ | (poll->final ? JEP_VALUE_FINAL : 0);
        for (uint32_t r = poll->first_run; r < jep_runs_end(history, i); r++) {
            const struct jep_run *run = &history->runs.items[r];
            for (uint32_t n = 0; n < run->count; n++) {
                uint32_t value = jep_value_at(history, run->stream, run->first + n);
                history->flags[value] |= flags;
                note_early(history, verdict, run, run->first + n, poll);
            }
        }
    }
}

/* Per key: the highest place of what the final read saw, which bounds what can be called lost. */
static int64_t *find_bounds(const struct jep_history *history)
{
    int64_t *bounds = jep_memory(history->keys.count, sizeof *bounds);

    for (size_t i = 0; i < history->keys.count; i++) {
        bounds[i] = -1;
    }
    for (size_t i = 0; i < history->streams.count; i++) {
        const struct jep_stream *stream = &history->streams.items[i];
        for (uint32_t n = 0; n < stream->count; n++) {
            uint32_t value = stream->base + n;
            if ((history->flags[value] & JEP_VALUE_FINAL) != 0 &&
                (int64_t)history->first_at[value] > bounds[stream->key]) {
                bounds[stream->key] = history->first_at[value];
            }
        }
    }
    return bounds;
}

/* A record that must be there, and was not read in the end. */
static void tell_missing(struct jep_history *history,
                         struct jep_verdict *verdict,
                         uint32_t stream,
                         uint32_t sequence,
                         int64_t bound)
{
    uint32_t key = history->streams.items[stream].key;
    uint32_t value = jep_value_at(history, stream, sequence);
    const struct jep_send *send = send_of(history, value);
    bool acknowledged = send->outcome == JEP_OK;

    jep_found(verdict,
              (int64_t)history->last_at[value] <= bound ? JEP_LOST : JEP_UNSEEN,
              key,
              acknowledged ? send->done_ns : send->invoked_ns,
              "%s: %s, %s at offset %" PRIu32 ", is not in the final read",
              jep_key_words(history, key),
              jep_value_words(history, stream, sequence),
              acknowledged ? "acknowledged" : "read before",
              history->last_at[value]);
}

static void check_value(struct jep_history *history,
                        struct jep_verdict *verdict,
                        uint32_t stream,
                        uint32_t sequence,
                        int64_t bound)
{
    uint32_t value = jep_value_at(history, stream, sequence);
    uint32_t key = history->streams.items[stream].key;
    const struct jep_key *log = &history->keys.items[key];
    const struct jep_send *send = send_of(history, value);
    bool read = (history->flags[value] & JEP_VALUE_READ) != 0;
    bool final = (history->flags[value] & JEP_VALUE_FINAL) != 0;
    int64_t time_ns = send == NULL ? history->last_ns : send->invoked_ns;

    if (history->first_at[value] != JEP_NONE &&
        history->first_at[value] != history->last_at[value]) {
        jep_found(verdict,
                  JEP_DUPLICATE,
                  key,
                  time_ns,
                  "%s: %s is at offsets %" PRIu32 " and %" PRIu32,
                  jep_key_words(history, key),
                  jep_value_words(history, stream, sequence),
                  history->first_at[value],
                  history->last_at[value]);
    }
    if (send == NULL) {
        if (read) {
            jep_found(verdict,
                      JEP_PHANTOM,
                      key,
                      time_ns,
                      "%s: %s was read and never sent",
                      jep_key_words(history, key),
                      jep_value_words(history, stream, sequence));
        }
        return;
    }
    if (read && send->outcome == JEP_FAIL) {
        jep_found(verdict,
                  JEP_ABORTED_READ,
                  key,
                  send->done_ns,
                  "%s: %s was read, its sender was told that it is not stored",
                  jep_key_words(history, key),
                  jep_value_words(history, stream, sequence));
    }
    bool must_be_there = send->outcome == JEP_OK || (read && send->outcome == JEP_UNKNOWN);
    if (must_be_there && !final && log->final_end != JEP_NONE &&
        history->last_at[value] >= log->final_from) {
        if (jep_may_be_missing(history, stream, sequence, history->last_at[value])) {
            verdict->removed += 1;
        } else {
            tell_missing(history, verdict, stream, sequence, bound);
        }
    }
}

static void check_gaps(struct jep_history *history, struct jep_verdict *verdict, uint32_t row)
{
    const struct jep_key *key = &history->keys.items[row];

    if (key->final_end == JEP_NONE) {
        verdict->undecided += key->used;
        return;
    }
    if (key->dense == NULL || key->keys > 0) {
        return;
    }
    for (uint32_t at = key->final_from; at < key->size; at++) {
        if (key->dense[at] == key->dense[at + 1]) {
            jep_found(verdict,
                      JEP_GAP,
                      row,
                      history->last_ns,
                      "%s: nothing was seen at offset %" PRIu32,
                      jep_key_words(history, row),
                      at);
        }
    }
}

static void check_bytes(struct jep_history *history, struct jep_verdict *verdict)
{
    for (size_t i = 0; i < history->events.count; i++) {
        const struct jep_event *event = &history->events.items[i];
        if (event->kind == JEP_BAD) {
            uint32_t key = history->streams.items[event->stream].key;
            jep_found(verdict,
                      JEP_CORRUPT,
                      key,
                      event->done_ns,
                      "%s: offset %" PRId64 " holds bytes that nobody sent",
                      jep_key_words(history, key),
                      event->a);
        }
    }
}

void jep_check_values(struct jep_history *history, struct jep_verdict *verdict)
{
    note_reads(history, verdict);
    int64_t *bounds = find_bounds(history);
    for (size_t i = 0; i < history->streams.count; i++) {
        const struct jep_stream *stream = &history->streams.items[i];
        for (uint32_t n = 0; n < stream->count; n++) {
            check_value(history, verdict, (uint32_t)i, n, bounds[stream->key]);
        }
    }
    free(bounds);
    for (size_t i = 0; i < history->keys.count; i++) {
        check_gaps(history, verdict, (uint32_t)i);
    }
    check_bytes(history, verdict);
}
