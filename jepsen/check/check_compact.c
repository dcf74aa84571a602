/* Each reader of a compacted log alone, from one assignment to the next: of each key it sees newer
 * and newer records, and when it has seen one that was deleted, it meets the tombstone. */
#include <inttypes.h>

#include "compaction.h"
#include "verdict.h"

enum {
    SURE_NS_PER_MS = 750000, /* of delete.retention.ms: clocks of nodes may run faster than ours */
};

/* By stream: a reader and its log. */
struct pass {
    uint32_t number;
    int64_t begun_ns; /* JEP_NEVER: not known */
    int64_t position; /* -1: anywhere */
};

/* What a pass has seen of a key. */
struct seen {
    uint32_t pass;
    uint32_t acknowledged; /* the highest sequence of such a record; JEP_NONE: none */
    uint32_t offset;       /* of the last record */
    bool has_value;        /* the last record */
};

struct reading {
    struct jep_history *history;
    struct jep_verdict *verdict;
    struct pass *passes;
    struct jep_map *seen_map; /* reader and key: row of seen */
    struct JEP_VECTOR(struct seen) seen;
};

/* What the present pass of this reader has seen of the key; a new row has seen nothing. */
static struct seen *seen_of(struct reading *reading, uint32_t reader, uint32_t bucket)
{
    uint32_t *row = jep_map_at(reading->seen_map, (uint64_t)reader << 32 | bucket);
    uint32_t pass = reading->passes[reader].number;

    if (*row == JEP_NONE) {
        *row = (uint32_t)reading->seen.count;
        *jep_add(&reading->seen) = (struct seen){ .pass = pass, .acknowledged = JEP_NONE };
    }
    struct seen *seen = &reading->seen.items[*row];
    if (seen->pass != pass) {
        *seen = (struct seen){ .pass = pass, .acknowledged = JEP_NONE };
    }
    return seen;
}

static uint32_t id_of(const struct jep_history *history, uint32_t reader)
{
    return history->clients.items[history->streams.items[reader].client].id;
}

/* A tombstone that the reader did not meet, behind a value that it did: it must have been replaced,
 * or the reader was slow. */
static void judge_tombstone(
    struct reading *reading, uint32_t reader, int64_t time_ns, uint32_t at, uint32_t value)
{
    struct jep_history *history = reading->history;
    uint32_t stream = history->sends.items[history->send_of[value]].stream;
    uint32_t sequence = value - history->streams.items[stream].base;
    uint32_t key = history->streams.items[stream].key;

    if (!jep_is_tombstone(history, stream, sequence)) {
        return;
    }
    const struct seen *seen = seen_of(reading, reader, jep_bucket_of(history, stream, sequence));
    if (seen->has_value && seen->offset < at &&
        jep_replaced_ns(history, stream, sequence, at) >= time_ns) {
        jep_found(reading->verdict,
                  JEP_DELETED_BACK,
                  key,
                  time_ns,
                  "%s: client %" PRIu32 " read the value at offset %" PRIu32
                  ", and not the tombstone at %" PRIu32 " (%s)",
                  jep_key_words(history, key),
                  id_of(history, reader),
                  seen->offset,
                  at,
                  jep_value_words(history, stream, sequence));
    }
}

/* What lies between the last record that the reader got and `to`, where it is now. */
static void judge_gap(struct reading *reading, uint32_t reader, int64_t time_ns, uint32_t to)
{
    struct jep_history *history = reading->history;
    const struct pass *pass = &reading->passes[reader];
    const struct jep_key *key = jep_key_at(history, reader);
    uint32_t client = history->streams.items[reader].client;
    int64_t sure_ns = history->clients.items[client].delete_ms * SURE_NS_PER_MS;

    if (pass->position < 0 || pass->begun_ns == JEP_NEVER || time_ns - pass->begun_ns >= sure_ns) {
        return;
    }
    for (uint32_t at = (uint32_t)pass->position; at < to && at < key->size; at++) {
        uint32_t value = key->values[at];
        if (value != JEP_NONE && history->send_of[value] != JEP_NONE) {
            judge_tombstone(reading, reader, time_ns, at, value);
        }
    }
}

static void take_record(struct reading *reading,
                        const struct jep_poll *poll,
                        uint32_t offset,
                        uint32_t stream,
                        uint32_t sequence)
{
    struct jep_history *history = reading->history;
    uint32_t row = history->send_of[jep_value_at(history, stream, sequence)];
    struct seen *seen = seen_of(reading, poll->stream, jep_bucket_of(history, stream, sequence));

    seen->offset = offset;
    seen->has_value = !jep_is_tombstone(history, stream, sequence);
    if (row == JEP_NONE || history->sends.items[row].outcome != JEP_OK) {
        return; /* one of unknown outcome may turn up late */
    }
    if (seen->acknowledged != JEP_NONE && sequence < seen->acknowledged) {
        uint32_t key = history->streams.items[stream].key;
        jep_found(reading->verdict,
                  JEP_STALE_VALUE,
                  key,
                  poll->time_ns,
                  "%s: client %" PRIu32 " read %s, after record %" PRIu32 " of the same key",
                  jep_key_words(history, key),
                  id_of(history, poll->stream),
                  jep_value_words(history, stream, sequence),
                  seen->acknowledged);
    } else {
        seen->acknowledged = sequence;
    }
}

static void take_poll(struct reading *reading, size_t row)
{
    struct jep_history *history = reading->history;
    const struct jep_poll *poll = &history->polls.items[row];
    struct pass *pass = &reading->passes[poll->stream];

    if (jep_key_at(history, poll->stream)->keys == 0) {
        return;
    }
    for (uint32_t r = poll->first_run; r < jep_runs_end(history, row); r++) {
        const struct jep_run *run = &history->runs.items[r];
        judge_gap(reading, poll->stream, poll->time_ns, run->offset);
        for (uint32_t n = 0; n < run->count; n++) {
            take_record(reading, poll, run->offset + n, run->stream, run->first + n);
        }
        pass->position = (int64_t)run->offset + run->count;
    }
}

static void take_event(struct reading *reading, const struct jep_event *event)
{
    bool assign = event->kind == JEP_ASSIGN;

    if (event->kind == JEP_FINAL) {
        judge_gap(reading, event->stream, event->done_ns, (uint32_t)event->b);
    }
    if (assign || event->kind == JEP_UNASSIGN || event->kind == JEP_ASSIGNED ||
        event->kind == JEP_REVOKED) {
        struct pass *pass = &reading->passes[event->stream];
        pass->number += 1;
        pass->begun_ns = assign ? event->invoked_ns : JEP_NEVER;
        pass->position = -1;
    }
}

void jep_check_compact(struct jep_history *history, struct jep_verdict *verdict)
{
    struct reading reading = { .history = history, .verdict = verdict };
    size_t event = 0;

    if (history->compaction == NULL) {
        return;
    }
    reading.seen_map = jep_map_new();
    reading.passes = jep_memory(history->streams.count, sizeof *reading.passes);
    for (size_t i = 0; i < history->streams.count; i++) {
        reading.passes[i] = (struct pass){ .begun_ns = JEP_NEVER, .position = -1 };
    }
    for (size_t i = 0; i <= history->polls.count; i++) {
        for (; event < history->events.count && history->events.items[event].polls_before <= i;
             event++) {
            take_event(&reading, &history->events.items[event]);
        }
        if (i < history->polls.count) {
            take_poll(&reading, i);
        }
    }
    jep_map_free(reading.seen_map);
    free(reading.seen.items);
    free(reading.passes);
}
