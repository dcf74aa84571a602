#include "compaction.h"

#include "keys.h"

/* Something that was sent: `at` is its offset, or its sequence. */
struct later {
    uint32_t at;
    int64_t invoked_ns; /* and after jep_compaction_build the least of it and all behind */
};

/* By bucket: rows [starts[bucket], starts[bucket + 1]), `at` rises. */
struct table {
    uint32_t *starts;
    struct later *rows;
};

struct jep_compaction {
    uint32_t *bases; /* by stream: its first bucket; JEP_NONE */
    uint32_t buckets;
    struct table standing;   /* by offset */
    struct table ghosts;     /* by sequence */
    struct table tombstones; /* those of the ghosts */
};

/* ---- keys ------------------------------------------------------------------------------------ */

static struct jep_keyed
keyed_of(const struct jep_history *history, uint32_t stream, uint32_t sequence)
{
    const struct jep_stream *row = &history->streams.items[stream];
    const struct jep_key *log = &history->keys.items[row->key];

    return jep_keyed_of(
        history->clients.items[row->client].id, log->partition, sequence, log->keys);
}

uint32_t jep_bucket_of(const struct jep_history *history, uint32_t stream, uint32_t sequence)
{
    if (history->compaction == NULL || history->compaction->bases[stream] == JEP_NONE) {
        return JEP_NONE;
    }
    return history->compaction->bases[stream] + keyed_of(history, stream, sequence).number;
}

bool jep_is_tombstone(const struct jep_history *history, uint32_t stream, uint32_t sequence)
{
    return jep_key_at(history, stream)->keys > 0 && keyed_of(history, stream, sequence).tombstone;
}

/* ---- tables ---------------------------------------------------------------------------------- */

enum kind {
    STANDING,
    GHOSTS,
    TOMBSTONES,
};

/* What is under way: a row that is counted, then one that is written. */
struct filling {
    const struct jep_history *history;
    struct table *table;
    uint32_t *ends; /* by bucket */
    bool writes;
};

static void
take(struct filling *filling, uint32_t stream, uint32_t sequence, uint32_t at, int64_t invoked_ns)
{
    uint32_t bucket = jep_bucket_of(filling->history, stream, sequence);

    if (filling->writes) {
        filling->table->rows[filling->ends[bucket]] = (struct later){ at, invoked_ns };
    }
    filling->ends[bucket] += 1;
}

static void take_standing(struct filling *filling)
{
    const struct jep_history *history = filling->history;

    for (size_t i = 0; i < history->keys.count; i++) {
        const struct jep_key *key = &history->keys.items[i];
        for (uint32_t at = 0; key->keys > 0 && at < key->size; at++) {
            uint32_t value = key->values[at];
            uint32_t row = value == JEP_NONE ? JEP_NONE : history->send_of[value];
            if (row != JEP_NONE) {
                const struct jep_send *send = &history->sends.items[row];
                uint32_t sequence = value - history->streams.items[send->stream].base;
                take(filling, send->stream, sequence, at, send->invoked_ns);
            }
        }
    }
}

static void take_ghosts(struct filling *filling, bool tombstones)
{
    const struct jep_history *history = filling->history;

    for (size_t i = 0; i < history->streams.count; i++) {
        const struct jep_stream *stream = &history->streams.items[i];
        bool compacted = history->keys.items[stream->key].keys > 0;
        for (uint32_t n = 0; compacted && n < stream->count; n++) {
            uint32_t row = history->send_of[stream->base + n];
            if (row != JEP_NONE && history->sends.items[row].outcome == JEP_UNKNOWN &&
                history->first_at[stream->base + n] == JEP_NONE &&
                (!tombstones || jep_is_tombstone(history, (uint32_t)i, n))) {
                take(filling, (uint32_t)i, n, n, history->sends.items[row].invoked_ns);
            }
        }
    }
}

static void take_all(struct filling *filling, enum kind kind)
{
    if (kind == STANDING) {
        take_standing(filling);
    } else {
        take_ghosts(filling, kind == TOMBSTONES);
    }
}

static void fill(const struct jep_history *history, struct table *table, enum kind kind)
{
    uint32_t buckets = history->compaction->buckets;
    uint32_t *ends = jep_memory(buckets, sizeof *ends);
    struct filling filling = { .history = history, .table = table, .ends = ends };
    uint32_t sum = 0;

    take_all(&filling, kind);
    table->starts = jep_memory((size_t)buckets + 1, sizeof *table->starts);
    for (uint32_t i = 0; i < buckets; i++) {
        table->starts[i] = sum;
        sum += ends[i];
        ends[i] = table->starts[i];
    }
    table->starts[buckets] = sum;
    table->rows = jep_memory(sum, sizeof *table->rows);
    filling.writes = true;
    take_all(&filling, kind);
    for (uint32_t i = 0; i < buckets; i++) {
        for (uint32_t row = table->starts[i + 1]; row-- > table->starts[i];) {
            struct later *later = &table->rows[row];
            if (row + 1 < table->starts[i + 1] && later[1].invoked_ns < later->invoked_ns) {
                later->invoked_ns = later[1].invoked_ns;
            }
        }
    }
    free(ends);
}

/* When the first of those above `at` was sent; JEP_NEVER: there are none. */
static int64_t first_above(const struct table *table, uint32_t bucket, uint32_t at)
{
    uint32_t low = table->starts[bucket];
    uint32_t end = table->starts[bucket + 1];
    uint32_t high = end;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (table->rows[middle].at <= at) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low == end ? JEP_NEVER : table->rows[low].invoked_ns;
}

/* ---- questions ------------------------------------------------------------------------------- */

int64_t jep_replaced_ns(const struct jep_history *history,
                        uint32_t stream,
                        uint32_t sequence,
                        uint32_t offset)
{
    uint32_t bucket = jep_bucket_of(history, stream, sequence);
    int64_t standing_ns = first_above(&history->compaction->standing, bucket, offset);
    int64_t ghost_ns = first_above(&history->compaction->ghosts, bucket, sequence);

    return standing_ns < ghost_ns ? standing_ns : ghost_ns;
}

bool jep_may_be_missing(const struct jep_history *history,
                        uint32_t stream,
                        uint32_t sequence,
                        uint32_t offset)
{
    uint32_t bucket = jep_bucket_of(history, stream, sequence);

    if (bucket == JEP_NONE) {
        return false;
    }
    return jep_is_tombstone(history, stream, sequence) ||
           first_above(&history->compaction->standing, bucket, offset) != JEP_NEVER ||
           first_above(&history->compaction->tombstones, bucket, sequence) != JEP_NEVER;
}

uint32_t jep_first_kept(const struct jep_key *key, uint32_t from, uint32_t to, int64_t time_ns)
{
    for (uint32_t at = from; at < to && at < key->size; at++) {
        if (key->gone_ns[at] >= time_ns) {
            return at;
        }
    }
    return JEP_NONE;
}

/* ---- building -------------------------------------------------------------------------------- */

/* By offset, since readers pass over the same ones again and again. */
static void note_gone(struct jep_history *history, struct jep_key *key)
{
    key->gone_ns = jep_memory(key->size, sizeof *key->gone_ns);
    for (uint32_t at = 0; at < key->size; at++) {
        uint32_t value = key->values[at];
        uint32_t row = value == JEP_NONE ? JEP_NONE : history->send_of[value];
        key->gone_ns[at] = INT64_MIN; /* nobody knows of a record there, or it is a tombstone */
        if (row == JEP_NONE) {
            continue;
        }
        uint32_t stream = history->sends.items[row].stream;
        uint32_t sequence = value - history->streams.items[stream].base;
        if (!jep_is_tombstone(history, stream, sequence)) {
            key->gone_ns[at] = jep_replaced_ns(history, stream, sequence, at);
        }
    }
}

void jep_compaction_build(struct jep_history *history)
{
    uint64_t buckets = 0;
    uint32_t *bases = jep_memory(history->streams.count, sizeof *bases);

    for (size_t i = 0; i < history->streams.count; i++) {
        uint32_t keys = jep_key_at(history, (uint32_t)i)->keys;
        bases[i] = keys == 0 ? JEP_NONE : (uint32_t)buckets;
        buckets += keys;
    }
    if (buckets == 0 || buckets >= JEP_NONE) {
        free(bases);
        return;
    }
    struct jep_compaction *compaction = jep_memory(1, sizeof *compaction);
    compaction->bases = bases;
    compaction->buckets = (uint32_t)buckets;
    history->compaction = compaction;
    fill(history, &compaction->standing, STANDING);
    fill(history, &compaction->ghosts, GHOSTS);
    fill(history, &compaction->tombstones, TOMBSTONES);
    for (size_t i = 0; i < history->keys.count; i++) {
        if (history->keys.items[i].keys > 0) {
            note_gone(history, &history->keys.items[i]);
        }
    }
}
