/* Each reader alone: what it reads of a log has no holes and never goes back, but where it was told
 * to begin elsewhere. */
#include <inttypes.h>

#include "compaction.h"
#include "verdict.h"

/* By stream: a reader and its log. */
struct place {
    int64_t expected;   /* offset that comes next; -1: any */
    uint32_t watermark; /* highest told */
    bool any_watermark;
};

struct reading {
    struct jep_history *history;
    struct jep_verdict *verdict;
    struct place *places;
};

static int64_t dense_of(const struct jep_key *key, int64_t offset)
{
    if (offset <= key->size) {
        return jep_dense(key, (uint32_t)offset);
    }
    return jep_dense(key, key->size) + (offset - key->size);
}

/* Below 0: the reader went back; above: it passed over something that had to be there. */
static int64_t off_by(const struct jep_key *log, int64_t expected, uint32_t found, int64_t time_ns)
{
    if (log->keys == 0) {
        return dense_of(log, found) - dense_of(log, expected);
    }
    if (found < expected) {
        return -1;
    }
    return jep_first_kept(log, (uint32_t)expected, found, time_ns) != JEP_NONE;
}

static void judge(struct reading *reading,
                  const struct jep_poll *poll,
                  int64_t expected,
                  uint32_t found,
                  bool within)
{
    struct jep_history *history = reading->history;
    uint32_t key = history->streams.items[poll->stream].key;
    const struct jep_key *log = &history->keys.items[key];
    int64_t by = off_by(log, expected, found, poll->time_ns);
    enum jep_anomaly skip = within ? JEP_INT_POLL_SKIP : JEP_POLL_SKIP;
    enum jep_anomaly back = within ? JEP_INT_POLL_BACK : JEP_POLL_BACK;

    if (by != 0) {
        jep_found(reading->verdict,
                  by > 0 ? skip : back,
                  key,
                  poll->time_ns,
                  "%s: client %" PRIu32 " read offset %" PRIu32 " where %" PRId64 " was next",
                  jep_key_words(history, key),
                  history->clients.items[history->streams.items[poll->stream].client].id,
                  found,
                  expected);
    }
}

static void take_poll(struct reading *reading, size_t row)
{
    struct jep_history *history = reading->history;
    const struct jep_poll *poll = &history->polls.items[row];
    struct place *place = &reading->places[poll->stream];

    for (uint32_t r = poll->first_run; r < jep_runs_end(history, row); r++) {
        const struct jep_run *run = &history->runs.items[r];
        if (place->expected >= 0) {
            judge(reading, poll, place->expected, run->offset, r > poll->first_run);
        }
        place->expected = (int64_t)run->offset + run->count;
    }
    if (poll->high_watermark == JEP_NONE) {
        return;
    }
    if (place->any_watermark && poll->high_watermark < place->watermark) {
        uint32_t key = history->streams.items[poll->stream].key;
        jep_found(reading->verdict,
                  JEP_WATERMARK_BACK,
                  key,
                  poll->time_ns,
                  "%s: client %" PRIu32 " was told %" PRIu32 " after %" PRIu32,
                  jep_key_words(history, key),
                  history->clients.items[history->streams.items[poll->stream].client].id,
                  poll->high_watermark,
                  place->watermark);
        return;
    }
    place->watermark = poll->high_watermark;
    place->any_watermark = true;
}

static void take_event(struct reading *reading, const struct jep_event *event)
{
    struct place *place = &reading->places[event->stream];

    switch ((enum jep_event_kind)event->kind) {
    case JEP_ASSIGN:
        place->expected = event->a >= 0 ? event->a : -1;
        place->any_watermark = false;
        if (event->a == -2) {
            const struct jep_key *key = jep_key_at(reading->history, event->stream);
            place->expected = key->final_end != JEP_NONE && key->final_from == 0 ? 0 : -1;
        }
        break;
    case JEP_UNASSIGN:
    case JEP_ASSIGNED:
    case JEP_REVOKED:
        place->expected = -1;
        place->any_watermark = false;
        break;
    case JEP_SKIPPED: /* is judged by jep_check_starts */
        if (place->expected >= 0 && event->a > place->expected) {
            place->expected = event->a;
        }
        break;
    case JEP_BAD: /* it was read, and has a place */
        place->expected = place->expected == event->a ? event->a + 1 : place->expected;
        break;
    case JEP_OWNS:
    case JEP_COMMIT:
    case JEP_COMMITTED:
    case JEP_OFFSETS:
    case JEP_FINAL:
    case JEP_TRUNCATE:
    case JEP_CREATE:
    case JEP_DELETE:
        break;
    }
}

void jep_check_polls(struct jep_history *history, struct jep_verdict *verdict)
{
    struct reading reading = {
        .history = history,
        .verdict = verdict,
        .places = jep_memory(history->streams.count, sizeof *reading.places),
    };
    size_t event = 0;

    for (size_t i = 0; i < history->streams.count; i++) {
        reading.places[i].expected = -1;
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
    free(reading.places);
}
