/* Racks in the assignment: partitions are exchanged between members, one for one, as long as that
 * lets more of them be read within their own rack.
 *
 *   hit    the partition and its member are in the same rack        miss    they are not
 *   kept   the member had it before                                 loose   it did not
 *
 * What an exchange may not change: how many partitions a member has, how many of a topic the
 * member with the most of it has, and how many partitions move. So the result is as level and as
 * sticky as it was without racks, and never has fewer hits.
 *
 * A place is a partition, counted through all topics. The lists hold misses, for these are what
 * may be had in exchange; what is no longer one is dropped when it is met. */
#include <stddef.h>

#include "base/assert.h"
#include "base/mem.h"
#include "broker/assign_parts.h"
#include "spate/error.h"

#define NONE (-1)
#define PROBES_MAX 256 /* of a list, for one place: keeps the whole within some 10 million steps */

struct sp_assign_racks {
    struct sp_assign_work *work;
    uint32_t place_count;
    uint32_t *topics; /* by place: its topic */
    uint32_t *firsts; /* by topic: its first place */
    int32_t *before;  /* by place: who had it */
    int32_t *next;    /* by place: the next of its list */
    int32_t *loose;   /* by rack: loose misses of its members */
    int32_t *kept;    /* by member: its kept misses */
    uint32_t lowest;  /* the fewest partitions that a member has; no exchange changes it */
    bool level;       /* nobody has more than one above that */
};

void sp_assign_racks_free(struct sp_assign_racks *racks)
{
    if (racks != NULL) {
        sp_mem_free(racks->topics);
        sp_mem_free(racks->firsts);
        sp_mem_free(racks->before);
        sp_mem_free(racks->next);
        sp_mem_free(racks->loose);
        sp_mem_free(racks->kept);
        sp_mem_free(racks);
    }
}

static void note_before(struct sp_assign_racks *racks)
{
    const struct sp_assign_work *work = racks->work;
    uint32_t place = 0;

    for (unsigned i = 0; i < work->topic_count; i++) {
        racks->firsts[i] = place;
        for (uint32_t j = 0; j < work->topics[i].partition_count; j++, place++) {
            racks->topics[place] = i;
            racks->before[place] = work->topics[i].members[j];
        }
    }
}

int sp_assign_racks_new(struct sp_assign_work *work, struct sp_assign_racks **out_racks)
{
    struct sp_assign_racks *racks = sp_mem_calloc(1, sizeof *racks);
    size_t count = 0;

    if (racks == NULL) {
        return SPATE_ERR_NOMEM;
    }
    for (unsigned i = 0; i < work->topic_count; i++) {
        count += work->topics[i].partition_count;
    }
    for (unsigned i = 0; i < work->member_count; i++) {
        SP_ASSERT(work->racks[i] < (int32_t)work->member_count);
    }
    racks->work = work;
    racks->place_count = (uint32_t)count;
    racks->topics = sp_mem_calloc(count + 1, sizeof *racks->topics);
    racks->firsts = sp_mem_calloc(work->topic_count, sizeof *racks->firsts);
    racks->before = sp_mem_calloc(count + 1, sizeof *racks->before);
    racks->next = sp_mem_calloc(count + 1, sizeof *racks->next);
    racks->loose = sp_mem_calloc(work->member_count, sizeof *racks->loose);
    racks->kept = sp_mem_calloc(work->member_count, sizeof *racks->kept);
    if (racks->topics == NULL || racks->firsts == NULL || racks->before == NULL ||
        racks->next == NULL || racks->loose == NULL || racks->kept == NULL) {
        sp_assign_racks_free(racks);
        return SPATE_ERR_NOMEM;
    }
    note_before(racks);
    *out_racks = racks;
    return 0;
}

/* ---- looking --------------------------------------------------------------------------------- */

static const struct sp_assign_topic *topic_of(const struct sp_assign_racks *racks, uint32_t place)
{
    return &racks->work->topics[racks->topics[place]];
}

static uint32_t partition_of(const struct sp_assign_racks *racks, uint32_t place)
{
    return place - racks->firsts[racks->topics[place]];
}

static int32_t holder_of(const struct sp_assign_racks *racks, uint32_t place)
{
    return topic_of(racks, place)->members[partition_of(racks, place)];
}

static int32_t rack_of(const struct sp_assign_racks *racks, uint32_t place)
{
    const struct sp_assign_topic *topic = topic_of(racks, place);
    int32_t rack =
        topic->racks == NULL ? SP_ASSIGN_NO_RACK : topic->racks[partition_of(racks, place)];

    return rack < (int32_t)racks->work->member_count ? rack : SP_ASSIGN_NO_RACK; /* nobody's */
}

static bool is_miss(const struct sp_assign_racks *racks, uint32_t place)
{
    int32_t holder = holder_of(racks, place);
    int32_t rack = rack_of(racks, place);

    return holder != SP_ASSIGN_NOBODY &&
           (rack == SP_ASSIGN_NO_RACK || racks->work->racks[holder] != rack);
}

/* 1 if a place that is given to that member has moved. */
static int moves(const struct sp_assign_racks *racks, uint32_t place, int32_t member)
{
    return racks->before[place] != SP_ASSIGN_NOBODY && racks->before[place] != member;
}

/* The list that a miss belongs in; NULL: none, nobody would ask for it. */
static int32_t *list_of(struct sp_assign_racks *racks, uint32_t place)
{
    int32_t holder = holder_of(racks, place);

    if (racks->before[place] == holder) {
        return &racks->kept[holder];
    }
    return racks->work->racks[holder] == SP_ASSIGN_NO_RACK
               ? NULL
               : &racks->loose[racks->work->racks[holder]];
}

static void list_push(struct sp_assign_racks *racks, uint32_t place)
{
    int32_t *head = is_miss(racks, place) ? list_of(racks, place) : NULL;

    if (head != NULL) {
        racks->next[place] = *head;
        *head = (int32_t)place;
    }
}

/* ---- exchanging ------------------------------------------------------------------------------ */

/* May a member with `share` of a topic more have one less of it, the other one more? Nobody gets
 * more of a topic than somebody had, or than the level of all allows. */
static bool may_cross(const struct sp_assign_racks *racks, uint32_t place, int32_t from, int32_t to)
{
    const struct sp_assign_work *work = racks->work;
    unsigned topic = racks->topics[place];

    return work->topics[topic].wanted[to] && work->loads[to] <= racks->lowest + 1 &&
           *sp_assign_share(work, topic, (unsigned)to) <
               *sp_assign_share(work, topic, (unsigned)from);
}

/* Both are held by somebody. */
static bool may_exchange(const struct sp_assign_racks *racks, uint32_t left, uint32_t right)
{
    int32_t from = holder_of(racks, left);
    int32_t to = holder_of(racks, right);

    if (moves(racks, left, to) + moves(racks, right, from) >
        moves(racks, left, from) + moves(racks, right, to)) {
        return false;
    }
    return racks->topics[left] == racks->topics[right] ||
           (may_cross(racks, left, from, to) && may_cross(racks, right, to, from));
}

/* Takes a miss out of a list that may be had in exchange for `place`. NONE: there is none. */
static int32_t list_take(struct sp_assign_racks *racks, int32_t *head, uint32_t place)
{
    int32_t *link = head;

    for (unsigned probes = 0; *link != NONE && probes < PROBES_MAX; probes++) {
        int32_t found = *link;
        bool stale = !is_miss(racks, (uint32_t)found) || list_of(racks, (uint32_t)found) != head;
        if (stale || may_exchange(racks, place, (uint32_t)found)) {
            *link = racks->next[found];
            if (!stale) {
                return found;
            }
        } else {
            link = &racks->next[found];
        }
    }
    return NONE;
}

static void give(struct sp_assign_racks *racks, uint32_t place, int32_t member)
{
    sp_assign_give(racks->work, racks->topics[place], partition_of(racks, place), member);
}

/* A loose place goes to a member of that rack that has one partition less: they change places. Not
 * when somebody has more than both, and perhaps something that the poorer of them could take. */
static void hand_over(struct sp_assign_racks *racks, uint32_t place, int32_t rack)
{
    const struct sp_assign_work *work = racks->work;
    int32_t from = holder_of(racks, place);

    if (!racks->level || work->loads[from] == racks->lowest || racks->before[place] == from) {
        return;
    }
    for (unsigned i = 0; i < work->member_count; i++) {
        if (work->racks[i] == rack && work->loads[i] == racks->lowest &&
            may_cross(racks, place, from, (int32_t)i)) {
            give(racks, place, (int32_t)i);
            return;
        }
    }
}

static void bring_home(struct sp_assign_racks *racks, uint32_t place)
{
    int32_t rack = rack_of(racks, place);
    int32_t from = holder_of(racks, place);
    int32_t before = racks->before[place];
    int32_t other;

    if (rack == SP_ASSIGN_NO_RACK || !is_miss(racks, place)) {
        return;
    }
    other = list_take(racks, &racks->loose[rack], place);
    if (other == NONE && before != SP_ASSIGN_NOBODY && racks->work->racks[before] == rack) {
        other = list_take(racks, &racks->kept[before], place); /* let another one move instead */
    }
    if (other == NONE) {
        hand_over(racks, place, rack);
        return;
    }
    give(racks, place, holder_of(racks, (uint32_t)other));
    give(racks, (uint32_t)other, from);
    list_push(racks, (uint32_t)other);
}

/* All places from `first` to before `end`, among each other. */
static void exchange_among(struct sp_assign_racks *racks, uint32_t first, uint32_t end)
{
    for (unsigned i = 0; i < racks->work->member_count; i++) {
        racks->loose[i] = NONE;
        racks->kept[i] = NONE;
    }
    for (uint32_t place = end; place > first; place--) {
        list_push(racks, place - 1);
    }
    for (uint32_t place = first; place < end; place++) {
        bring_home(racks, place);
    }
}

void sp_assign_racks_exchange(struct sp_assign_racks *racks)
{
    const struct sp_assign_work *work = racks->work;

    uint32_t highest = 0;

    racks->lowest = UINT32_MAX;
    for (unsigned i = 0; i < work->member_count; i++) {
        racks->lowest = work->loads[i] < racks->lowest ? work->loads[i] : racks->lowest;
        highest = work->loads[i] > highest ? work->loads[i] : highest;
    }
    racks->level = highest <= racks->lowest + 1;
    for (unsigned i = 0; i < work->topic_count; i++) {
        exchange_among(racks, racks->firsts[i], racks->firsts[i] + work->topics[i].partition_count);
    }
    exchange_among(racks, 0, racks->place_count);
}
