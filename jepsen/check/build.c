/* Lays out the logs as clients saw them: which record stands at which offset.
 *
 * Evidence are all polls, and sends that were acknowledged. The first record seen at an offset
 * stands there; another one at the same offset is an anomaly. */
#include "verdict.h"

/* At an offset: a record was read whose bytes tell nothing. */
#define UNREADABLE (JEP_NONE - 1)

static void number_values(struct jep_history *history)
{
    uint64_t count = 0;

    for (size_t i = 0; i < history->streams.count; i++) {
        struct jep_stream *stream = &history->streams.items[i];
        stream->base = (uint32_t)count;
        count += stream->count;
        history->keys.items[stream->key].used |= stream->count > 0;
    }
    if (count >= UNREADABLE) {
        jep_memory(SIZE_MAX / 2, 2); /* ends the program: tables of 32 bits cannot hold them */
    }
    history->value_count = (uint32_t)count;
    history->send_of = jep_memory(count, sizeof *history->send_of);
    history->first_at = jep_memory(count, sizeof *history->first_at);
    history->last_at = jep_memory(count, sizeof *history->last_at);
    history->flags = jep_memory(count, sizeof *history->flags);
    for (uint64_t i = 0; i < count; i++) {
        history->send_of[i] = JEP_NONE;
        history->first_at[i] = JEP_NONE;
        history->last_at[i] = 0;
    }
}

static void widen(struct jep_key *key, uint64_t behind)
{
    key->size = behind > key->size ? (uint32_t)behind : key->size;
}

static void make_logs(struct jep_history *history)
{
    for (size_t i = 0; i < history->runs.count; i++) {
        const struct jep_run *run = &history->runs.items[i];
        widen(jep_key_at(history, run->stream), (uint64_t)run->offset + run->count);
    }
    for (size_t i = 0; i < history->sends.count; i++) {
        const struct jep_send *send = &history->sends.items[i];
        if (send->outcome == JEP_OK) {
            widen(jep_key_at(history, send->stream), (uint64_t)send->offset + send->count);
        }
    }
    for (size_t i = 0; i < history->events.count; i++) {
        const struct jep_event *event = &history->events.items[i];
        if (event->kind == JEP_BAD && event->a >= 0) {
            widen(jep_key_at(history, event->stream), (uint64_t)event->a + 1);
        }
    }
    for (size_t i = 0; i < history->keys.count; i++) {
        struct jep_key *key = &history->keys.items[i];
        key->values = jep_memory((size_t)key->size + 1, sizeof *key->values);
        for (uint32_t at = 0; at < key->size; at++) {
            key->values[at] = JEP_NONE;
        }
    }
}

struct placing {
    struct jep_history *history;
    struct jep_verdict *verdict;
    struct jep_map *conflicts; /* key and offset: told already */
};

/* The name of a value, found from its number by halving; only for sentences. */
static const char *words_of(const struct jep_history *history, uint32_t value)
{
    size_t low = 0;
    size_t high = history->streams.count;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (history->streams.items[middle].base <= value) {
            low = middle;
        } else {
            high = middle;
        }
    }
    /* Streams without values share the base of the one behind them, which is the last of these. */
    return jep_value_words(history, (uint32_t)low, value - history->streams.items[low].base);
}

static void tell_conflict(
    struct placing *placing, uint32_t key, uint32_t offset, uint32_t value, int64_t time_ns)
{
    struct jep_history *history = placing->history;
    uint32_t *told = jep_map_at(placing->conflicts, (uint64_t)key << 32 | offset);

    if (*told == JEP_NONE) {
        *told = 0;
        jep_found(placing->verdict,
                  JEP_INCONSISTENT,
                  key,
                  time_ns,
                  "%s offset %u holds %s, and %s",
                  jep_key_words(history, key),
                  offset,
                  words_of(history, history->keys.items[key].values[offset]),
                  words_of(history, value));
    }
}

static void
place(struct placing *placing, uint32_t stream, uint32_t sequence, uint32_t offset, int64_t time_ns)
{
    struct jep_history *history = placing->history;
    uint32_t key = history->streams.items[stream].key;
    uint32_t value = jep_value_at(history, stream, sequence);
    uint32_t *there = &history->keys.items[key].values[offset];

    if (*there == JEP_NONE || *there == UNREADABLE) {
        *there = value;
    } else if (*there != value) {
        tell_conflict(placing, key, offset, value, time_ns);
    }
    if (history->first_at[value] == JEP_NONE) {
        history->first_at[value] = offset;
        history->last_at[value] = offset;
    } else if (offset < history->first_at[value]) {
        history->first_at[value] = offset;
    } else if (offset > history->last_at[value]) {
        history->last_at[value] = offset;
    }
}

static void place_all(struct placing *placing)
{
    struct jep_history *history = placing->history;

    for (size_t i = 0; i < history->sends.count; i++) {
        const struct jep_send *send = &history->sends.items[i];
        for (uint32_t n = 0; n < send->count; n++) {
            history->send_of[jep_value_at(history, send->stream, send->first + n)] = (uint32_t)i;
            if (send->outcome == JEP_OK) {
                place(placing, send->stream, send->first + n, send->offset + n, send->done_ns);
            }
        }
    }
    for (size_t i = 0; i < history->polls.count; i++) {
        const struct jep_poll *poll = &history->polls.items[i];
        for (uint32_t r = poll->first_run; r < jep_runs_end(history, i); r++) {
            const struct jep_run *run = &history->runs.items[r];
            for (uint32_t n = 0; n < run->count; n++) {
                place(placing, run->stream, run->first + n, run->offset + n, poll->time_ns);
            }
        }
    }
    for (size_t i = 0; i < history->events.count; i++) {
        const struct jep_event *event = &history->events.items[i];
        if (event->kind == JEP_BAD && event->a >= 0) {
            uint32_t *there = &jep_key_at(history, event->stream)->values[event->a];
            *there = *there == JEP_NONE ? UNREADABLE : *there;
        }
    }
}

/* Offsets without a value are squeezed out; most logs have none. */
static void make_dense(struct jep_key *key)
{
    uint32_t below = 0;
    bool holes = false;

    for (uint32_t at = 0; at < key->size; at++) {
        holes |= key->values[at] == JEP_NONE;
    }
    if (!holes) {
        return;
    }
    key->dense = jep_memory((size_t)key->size + 1, sizeof *key->dense);
    for (uint32_t at = 0; at < key->size; at++) {
        key->dense[at] = below;
        below += key->values[at] != JEP_NONE;
    }
    key->dense[key->size] = below;
}

void jep_history_build(struct jep_history *history, struct jep_verdict *verdict)
{
    struct placing placing = { .history = history, .verdict = verdict, .conflicts = jep_map_new() };

    number_values(history);
    make_logs(history);
    place_all(&placing);
    jep_map_free(placing.conflicts);
    for (size_t i = 0; i < history->keys.count; i++) {
        struct jep_key *key = &history->keys.items[i];
        make_dense(key);
        for (uint32_t at = 0; at < key->size; at++) {
            key->values[at] = key->values[at] == UNREADABLE ? JEP_NONE : key->values[at];
        }
    }
    for (size_t i = 0; i < history->events.count; i++) {
        const struct jep_event *event = &history->events.items[i];
        struct jep_key *key = event->kind == JEP_FINAL ? jep_key_at(history, event->stream) : NULL;
        if (key != NULL) {
            key->final_from = (uint32_t)event->a;
            key->final_end = (uint32_t)event->b;
            key->final_keep = event->c < 0 ? JEP_NONE : (uint32_t)event->c;
        }
    }
}
