/* Consumer groups: no record is passed over, no acknowledged commit is forgotten, no partition has
 * two owners in one generation. One sweep through all that members and observers did, by time.
 *
 *   assigned   the member's first record stands at or above every commit acknowledged before, and
 *              at or below the first record that no member of the group has read
 *   committed  asked for from outside, is at or above every commit acknowledged, and every answer
 *              received, before the question */
#include <inttypes.h>

#include "compaction.h"
#include "verdict.h"

enum kind {
    POLL,
    EVENT_BEGINS,
    EVENT_ENDS,
};

/* By group and key. */
struct place {
    int64_t read;         /* highest offset that a member has read; -1: none */
    int64_t acknowledged; /* highest commit; -1: none */
    int64_t observed;     /* highest answer to a question; -1: none */
};

/* By stream: a member and a partition. */
struct ownership {
    bool fresh;    /* given to it, and nothing read yet */
    int64_t floor; /* highest commit acknowledged when it was given */
};

struct sweep {
    struct jep_history *history;
    struct jep_verdict *verdict;
    struct JEP_VECTOR(struct place) places;
    struct jep_map *place_map;
    struct jep_map *owners; /* group, generation and key: client */
    struct ownership *ownerships;
    int64_t *floors; /* by event: observed, then acknowledged, when the question was asked */
};

static struct place *place_of(struct sweep *sweep, uint32_t stream)
{
    const struct jep_stream *row = &sweep->history->streams.items[stream];
    uint32_t group = sweep->history->clients.items[row->client].group;
    uint32_t *at = jep_map_at(sweep->place_map, (uint64_t)group << 32 | row->key);

    if (*at == JEP_NONE) {
        *at = (uint32_t)sweep->places.count;
        *jep_add(&sweep->places) = (struct place){ -1, -1, -1 };
    }
    return &sweep->places.items[*at];
}

static uint32_t id_of(const struct sweep *sweep, uint32_t stream)
{
    const struct jep_history *history = sweep->history;

    return history->clients.items[history->streams.items[stream].client].id;
}

static void judge_first(struct sweep *sweep, const struct jep_poll *poll, int64_t first)
{
    const struct place *place = place_of(sweep, poll->stream);
    const struct ownership *ownership = &sweep->ownerships[poll->stream];
    uint32_t key = sweep->history->streams.items[poll->stream].key;
    const struct jep_key *log = &sweep->history->keys.items[key];
    bool from_start = log->final_end != JEP_NONE && log->final_from == 0;
    bool skips = first > place->read + 1 && (place->read >= 0 || from_start);

    if (skips && log->keys > 0) {
        uint32_t from = (uint32_t)(place->read + 1);
        skips = jep_first_kept(log, from, (uint32_t)first, poll->time_ns) != JEP_NONE;
    }

    if (skips && first > jep_given_up(sweep->history, key, poll->time_ns)) {
        jep_found(sweep->verdict,
                  JEP_GROUP_SKIP,
                  key,
                  poll->time_ns,
                  "%s: client %" PRIu32 " began at offset %" PRId64
                  ", the group had read to %" PRId64,
                  jep_key_words(sweep->history, key),
                  id_of(sweep, poll->stream),
                  first,
                  place->read);
    }
    if (first < ownership->floor) {
        jep_found(sweep->verdict,
                  JEP_GROUP_REREAD,
                  key,
                  poll->time_ns,
                  "%s: client %" PRIu32 " began at offset %" PRId64 ", committed was %" PRId64,
                  jep_key_words(sweep->history, key),
                  id_of(sweep, poll->stream),
                  first,
                  ownership->floor);
    }
}

static void take_poll(struct sweep *sweep, uint32_t row)
{
    const struct jep_history *history = sweep->history;
    const struct jep_poll *poll = &history->polls.items[row];
    struct ownership *ownership = &sweep->ownerships[poll->stream];

    for (uint32_t r = poll->first_run; r < jep_runs_end(history, row); r++) {
        const struct jep_run *run = &history->runs.items[r];
        struct place *place = place_of(sweep, poll->stream);
        int64_t last = (int64_t)run->offset + run->count - 1;
        if (ownership->fresh) {
            judge_first(sweep, poll, run->offset);
            ownership->fresh = false;
        }
        if (run->offset <= place->read) {
            int64_t upto = last < place->read ? last : place->read;
            sweep->verdict->read_again += (uint64_t)(upto - run->offset + 1);
        }
        place->read = last > place->read ? last : place->read;
    }
}

static void judge_answer(struct sweep *sweep, const struct jep_event *event, const int64_t *floors)
{
    uint32_t key = sweep->history->streams.items[event->stream].key;

    if (event->a < floors[0] || event->a < floors[1]) {
        jep_found(sweep->verdict,
                  event->a < floors[0] ? JEP_COMMIT_BACK : JEP_COMMIT_LOST,
                  key,
                  event->invoked_ns,
                  "%s: committed was %" PRId64 " after it was seen as %" PRId64
                  " and acknowledged as %" PRId64,
                  jep_key_words(sweep->history, key),
                  event->a,
                  floors[0],
                  floors[1]);
    }
}

static void judge_owner(struct sweep *sweep, const struct jep_event *event)
{
    const struct jep_stream *row = &sweep->history->streams.items[event->stream];
    uint64_t group = sweep->history->clients.items[row->client].group;
    uint64_t name = group << 52 ^ (uint64_t)event->a << 20 ^ row->key;
    uint32_t *owner = jep_map_at(sweep->owners, name);

    if (*owner != JEP_NONE && *owner != row->client) {
        jep_found(sweep->verdict,
                  JEP_TWO_OWNERS,
                  row->key,
                  event->done_ns,
                  "%s: clients %" PRIu32 " and %" PRIu32 " both own it in generation %" PRId64,
                  jep_key_words(sweep->history, row->key),
                  sweep->history->clients.items[*owner].id,
                  id_of(sweep, event->stream),
                  event->a);
    }
    *owner = row->client;
}

static void take_event(struct sweep *sweep, uint32_t row, bool ends)
{
    const struct jep_event *event = &sweep->history->events.items[row];
    struct place *place = place_of(sweep, event->stream);
    int64_t *floors = &sweep->floors[2 * (size_t)row];

    if (!ends) { /* a question */
        floors[0] = place->observed;
        floors[1] = place->acknowledged;
    } else if (event->kind == JEP_COMMITTED) {
        judge_answer(sweep, event, floors);
        place->observed = event->a > place->observed ? event->a : place->observed;
    } else if (event->kind == JEP_COMMIT) {
        place->acknowledged = event->a > place->acknowledged ? event->a : place->acknowledged;
    } else if (event->kind == JEP_ASSIGNED) {
        sweep->ownerships[event->stream] = (struct ownership){ true, place->acknowledged };
    } else if (event->kind == JEP_OWNS) {
        judge_owner(sweep, event);
    }
}

static bool is_of_group(const struct jep_history *history, const struct jep_event *event)
{
    bool kind = event->kind == JEP_COMMITTED || event->kind == JEP_COMMIT ||
                event->kind == JEP_ASSIGNED || event->kind == JEP_OWNS;

    return kind && event->outcome == JEP_OK &&
           history->clients.items[history->streams.items[event->stream].client].group != JEP_NONE;
}

static struct jep_moment *list(const struct jep_history *history, size_t *out_count)
{
    struct jep_moment *moments =
        jep_memory(history->polls.count + 2 * history->events.count, sizeof *moments);
    size_t count = 0;

    for (size_t i = 0; i < history->events.count; i++) {
        const struct jep_event *event = &history->events.items[i];
        if (!is_of_group(history, event)) {
            continue;
        }
        if (event->kind == JEP_COMMITTED) {
            moments[count++] = (struct jep_moment){ event->invoked_ns, (uint32_t)i, EVENT_BEGINS };
        }
        moments[count++] = (struct jep_moment){ event->done_ns, (uint32_t)i, EVENT_ENDS };
    }
    for (size_t i = 0; i < history->polls.count; i++) {
        const struct jep_poll *poll = &history->polls.items[i];
        if (poll->group) {
            moments[count++] = (struct jep_moment){ poll->time_ns, (uint32_t)i, POLL };
        }
    }
    jep_sort_moments(moments, count);
    *out_count = count;
    return moments;
}

void jep_check_groups(struct jep_history *history, struct jep_verdict *verdict)
{
    struct sweep sweep = {
        .history = history,
        .verdict = verdict,
        .place_map = jep_map_new(),
        .owners = jep_map_new(),
        .ownerships = jep_memory(history->streams.count, sizeof *sweep.ownerships),
        .floors = jep_memory(2 * history->events.count, sizeof *sweep.floors),
    };
    size_t count;
    struct jep_moment *moments = list(history, &count);

    for (size_t i = 0; i < count; i++) {
        if (moments[i].kind == POLL) {
            take_poll(&sweep, moments[i].row);
        } else {
            take_event(&sweep, moments[i].row, moments[i].kind == EVENT_ENDS);
        }
    }
    free(moments);
    free(sweep.floors);
    free(sweep.ownerships);
    free(sweep.places.items);
    jep_map_free(sweep.owners);
    jep_map_free(sweep.place_map);
}

void jep_check_admin(struct jep_history *history, struct jep_verdict *verdict)
{
    bool *created = jep_memory(history->names.count, sizeof *created);

    for (size_t i = 0; i < history->events.count; i++) {
        const struct jep_event *event = &history->events.items[i];
        if (event->kind == JEP_CREATE && event->outcome == JEP_OK) {
            created[event->a] = true;
        } else if (event->kind == JEP_DELETE) {
            if (event->outcome == JEP_FAIL && created[event->a]) {
                jep_found(verdict,
                          JEP_ADMIN_LOST,
                          JEP_NONE,
                          event->invoked_ns,
                          "topic %s was created, and is not there to be deleted",
                          history->names.items[event->a]);
            }
            created[event->a] = false;
        }
    }
    free(created);
}
