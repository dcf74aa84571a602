/* Real time: what was known before an operation began binds it. All clients have one clock, so this
 * is exact.
 *
 *   known     an acknowledged record, from the acknowledgement on; a record that was read, from the
 *             end of that poll on
 *   a send    that began after offset n was known is stored behind n (ack-order)
 *   a question for the end, asked then, is answered with more than n (stale-read) */
#include <inttypes.h>

#include "verdict.h"

enum kind {
    SEND, /* a row of sends */
    POLL, /* of polls */
    EVENT,
};

struct sweep {
    struct jep_history *history;
    struct jep_verdict *verdict;
    int64_t *known; /* by key: the highest offset; -1: none */
};

static void add(struct jep_moment **end, int64_t time_ns, size_t row, enum kind kind)
{
    *(*end)++ = (struct jep_moment){ time_ns, (uint32_t)row, kind };
}

/* Facts, in the order in which they became known. */
static struct jep_moment *list_facts(const struct jep_history *history, size_t *out_count)
{
    struct jep_moment *facts =
        jep_memory(history->sends.count + history->polls.count, sizeof *facts);
    struct jep_moment *end = facts;

    for (size_t i = 0; i < history->sends.count; i++) {
        if (history->sends.items[i].outcome == JEP_OK) {
            add(&end, history->sends.items[i].done_ns, i, SEND);
        }
    }
    for (size_t i = 0; i < history->polls.count; i++) {
        add(&end, history->polls.items[i].time_ns, i, POLL);
    }
    *out_count = (size_t)(end - facts);
    jep_sort_moments(facts, *out_count);
    return facts;
}

/* Operations that are bound by them, in the order in which they began. */
static struct jep_moment *list_operations(const struct jep_history *history, size_t *out_count)
{
    struct jep_moment *operations =
        jep_memory(history->sends.count + history->events.count, sizeof *operations);
    struct jep_moment *end = operations;

    for (size_t i = 0; i < history->sends.count; i++) {
        if (history->sends.items[i].outcome != JEP_FAIL) {
            add(&end, history->sends.items[i].invoked_ns, i, SEND);
        }
    }
    for (size_t i = 0; i < history->events.count; i++) {
        const struct jep_event *event = &history->events.items[i];
        if (event->kind == JEP_OFFSETS && event->outcome == JEP_OK) {
            add(&end, event->invoked_ns, i, EVENT);
        }
    }
    *out_count = (size_t)(end - operations);
    jep_sort_moments(operations, *out_count);
    return operations;
}

static void learn(struct sweep *sweep, const struct jep_moment *fact)
{
    const struct jep_history *history = sweep->history;
    uint32_t stream;
    int64_t highest = -1;

    if (fact->kind == SEND) {
        const struct jep_send *send = &history->sends.items[fact->row];
        stream = send->stream;
        highest = (int64_t)send->offset + send->count - 1;
    } else {
        stream = history->polls.items[fact->row].stream;
        for (uint32_t r = history->polls.items[fact->row].first_run;
             r < jep_runs_end(history, fact->row);
             r++) {
            const struct jep_run *run = &history->runs.items[r];
            int64_t last = (int64_t)run->offset + run->count - 1;
            highest = last > highest ? last : highest;
        }
    }
    int64_t *known = &sweep->known[history->streams.items[stream].key];
    *known = highest > *known ? highest : *known;
}

/* The lowest offset at which a record of it stands; JEP_NONE: none was seen. */
static uint32_t lowest_of(const struct jep_history *history, const struct jep_send *send)
{
    uint32_t lowest = JEP_NONE;

    if (send->outcome == JEP_OK) {
        return send->offset;
    }
    for (uint32_t n = 0; n < send->count; n++) {
        uint32_t at = history->first_at[jep_value_at(history, send->stream, send->first + n)];
        lowest = at < lowest ? at : lowest;
    }
    return lowest;
}

static void judge_send(struct sweep *sweep, const struct jep_send *send)
{
    struct jep_history *history = sweep->history;
    uint32_t key = history->streams.items[send->stream].key;
    uint32_t lowest = lowest_of(history, send);

    if (lowest != JEP_NONE && lowest <= sweep->known[key]) {
        jep_found(sweep->verdict,
                  JEP_ACK_ORDER,
                  key,
                  send->invoked_ns,
                  "%s: %s was sent when offset %" PRId64 " was known, and is at %" PRIu32,
                  jep_key_words(history, key),
                  jep_value_words(history, send->stream, send->first),
                  sweep->known[key],
                  lowest);
    }
}

static void judge_question(struct sweep *sweep, const struct jep_event *event)
{
    struct jep_history *history = sweep->history;
    uint32_t key = history->streams.items[event->stream].key;

    if (event->a <= sweep->known[key]) {
        jep_found(sweep->verdict,
                  JEP_STALE_READ,
                  key,
                  event->invoked_ns,
                  "%s: the end was told as %" PRId64 " when offset %" PRId64 " was known",
                  jep_key_words(history, key),
                  event->a,
                  sweep->known[key]);
    }
}

void jep_check_time(struct jep_history *history, struct jep_verdict *verdict)
{
    struct sweep sweep = {
        .history = history,
        .verdict = verdict,
        .known = jep_memory(history->keys.count, sizeof *sweep.known),
    };
    size_t fact_count;
    size_t operation_count;
    struct jep_moment *facts = list_facts(history, &fact_count);
    struct jep_moment *operations = list_operations(history, &operation_count);
    size_t fact = 0;

    for (size_t i = 0; i < history->keys.count; i++) {
        sweep.known[i] = -1;
    }
    for (size_t i = 0; i < operation_count; i++) {
        for (; fact < fact_count && facts[fact].time_ns < operations[i].time_ns; fact++) {
            learn(&sweep, &facts[fact]);
        }
        if (operations[i].kind == SEND) {
            judge_send(&sweep, &history->sends.items[operations[i].row]);
        } else {
            judge_question(&sweep, &history->events.items[operations[i].row]);
        }
    }
    free(operations);
    free(facts);
    free(sweep.known);
}
