#include "broker/assign_parts.h"

#include <stddef.h>
#include <string.h>

#include "base/mem.h"
#include "spate/error.h"

uint32_t *sp_assign_share(const struct sp_assign_work *work, unsigned topic, unsigned member)
{
    return &work->shares[(size_t)topic * work->member_count + member];
}

void sp_assign_give(struct sp_assign_work *work, unsigned topic, uint32_t partition, int32_t to)
{
    int32_t *place = &work->topics[topic].members[partition];

    if (*place != SP_ASSIGN_NOBODY) {
        work->loads[*place] -= 1;
        *sp_assign_share(work, topic, (unsigned)*place) -= 1;
    }
    *place = to;
    work->loads[to] += 1;
    *sp_assign_share(work, topic, (unsigned)to) += 1;
}

static void keep(struct sp_assign_work *work, unsigned topic)
{
    struct sp_assign_topic *asked = &work->topics[topic];

    for (uint32_t i = 0; i < asked->partition_count; i++) {
        int32_t member = asked->members[i];
        asked->members[i] = SP_ASSIGN_NOBODY;
        if (member != SP_ASSIGN_NOBODY && asked->wanted[member]) {
            sp_assign_give(work, topic, i, member);
        }
    }
}

/* Is a member in more need of a partition of that topic than `best`? */
static bool
needs_more(const struct sp_assign_work *work, unsigned topic, unsigned member, int32_t best)
{
    if (best == SP_ASSIGN_NOBODY || work->loads[member] != work->loads[best]) {
        return best == SP_ASSIGN_NOBODY || work->loads[member] < work->loads[best];
    }
    return *sp_assign_share(work, topic, member) < *sp_assign_share(work, topic, (unsigned)best);
}

/* The subscriber with the fewest partitions, of equals the one with the fewest of this topic, of
 * equals the first; NOBODY when there is none. */
static int32_t neediest(const struct sp_assign_work *work, unsigned topic)
{
    int32_t best = SP_ASSIGN_NOBODY;

    for (unsigned i = 0; i < work->member_count; i++) {
        if (work->topics[topic].wanted[i] && needs_more(work, topic, i, best)) {
            best = (int32_t)i;
        }
    }
    return best;
}

static void note_light(struct sp_assign_work *work)
{
    work->light_count = 0;
    for (unsigned i = 0; i < work->member_count; i++) {
        if (work->light_count > 0 && work->loads[i] > work->loads[work->light[0]]) {
            continue;
        }
        if (work->light_count > 0 && work->loads[i] < work->loads[work->light[0]]) {
            work->light_count = 0;
        }
        work->light[work->light_count++] = i;
    }
}

/* The same, but sought among the lightest first: nobody else needs more than the best of these. */
static int32_t neediest_light(const struct sp_assign_work *work, unsigned topic)
{
    int32_t best = SP_ASSIGN_NOBODY;

    for (unsigned i = 0; i < work->light_count; i++) {
        unsigned member = work->light[i];
        if (work->topics[topic].wanted[member] && needs_more(work, topic, member, best)) {
            best = (int32_t)member;
        }
    }
    return best != SP_ASSIGN_NOBODY ? best : neediest(work, topic);
}

static void give_free(struct sp_assign_work *work, unsigned topic)
{
    struct sp_assign_topic *asked = &work->topics[topic];

    for (uint32_t i = 0; i < asked->partition_count; i++) {
        if (asked->members[i] == SP_ASSIGN_NOBODY) {
            int32_t member = neediest(work, topic);
            if (member == SP_ASSIGN_NOBODY) {
                return;
            }
            sp_assign_give(work, topic, i, member);
        }
    }
}

/* Where one partition may go from `from`: the taker with the fewest, and the topic of which `from`
 * has the most compared with it. False: nobody with two fewer could take any. */
static bool find_taker(const struct sp_assign_work *work,
                       unsigned from,
                       unsigned *out_topic,
                       unsigned *out_member)
{
    int64_t gain_best = 0;
    bool found = false;

    for (unsigned topic = 0; topic < work->topic_count; topic++) {
        uint32_t has = *sp_assign_share(work, topic, from);
        int32_t member = has > 0 ? neediest_light(work, topic) : SP_ASSIGN_NOBODY;
        if (member == SP_ASSIGN_NOBODY || work->loads[member] + 1 >= work->loads[from]) {
            continue;
        }
        int64_t gain = ((int64_t)(work->loads[from] - work->loads[member]) << 32) + (int64_t)has -
                       (int64_t)*sp_assign_share(work, topic, (unsigned)member);
        if (!found || gain > gain_best) {
            gain_best = gain;
            *out_topic = topic;
            *out_member = (unsigned)member;
            found = true;
        }
    }
    return found;
}

/* Moves the last partition of `topic` that `from` has. */
static void move_one(struct sp_assign_work *work, unsigned topic, unsigned from, unsigned to)
{
    const struct sp_assign_topic *asked = &work->topics[topic];

    for (uint32_t i = asked->partition_count; i > 0; i--) {
        if (asked->members[i - 1] == (int32_t)from) {
            sp_assign_give(work, topic, i - 1, (int32_t)to);
            return;
        }
    }
}

/* The member with the most partitions of those not yet found to be stuck, or NOBODY. */
static int32_t richest(const struct sp_assign_work *work)
{
    int32_t best = SP_ASSIGN_NOBODY;

    for (unsigned i = 0; i < work->member_count; i++) {
        if (!work->stuck[i] && (best == SP_ASSIGN_NOBODY || work->loads[i] > work->loads[best])) {
            best = (int32_t)i;
        }
    }
    return best;
}

/* Each move lowers the sum of the squares of all loads, so this ends. */
static void level(struct sp_assign_work *work)
{
    int32_t from;

    note_light(work);
    while ((from = richest(work)) != SP_ASSIGN_NOBODY) {
        unsigned topic;
        unsigned to;
        if (find_taker(work, (unsigned)from, &topic, &to)) {
            move_one(work, topic, (unsigned)from, to);
            note_light(work);
            memset(work->stuck, 0, work->member_count); /* `from` may be a taker now */
        } else {
            work->stuck[from] = true;
        }
    }
}

static void work_free(struct sp_assign_work *work)
{
    sp_mem_free(work->stuck);
    sp_mem_free(work->light);
    sp_mem_free(work->loads);
    sp_mem_free(work->shares);
}

static int work_init(struct sp_assign_work *work)
{
    work->loads = sp_mem_calloc(work->member_count, sizeof *work->loads);
    work->shares =
        sp_mem_calloc((size_t)work->topic_count * work->member_count, sizeof *work->shares);
    work->stuck = sp_mem_calloc(work->member_count, sizeof *work->stuck);
    work->light = sp_mem_calloc(work->member_count, sizeof *work->light);
    if (work->loads == NULL || work->shares == NULL || work->stuck == NULL || work->light == NULL) {
        work_free(work);
        return SPATE_ERR_NOMEM;
    }
    return 0;
}

int sp_assign(struct sp_assign_topic *topics,
              unsigned topic_count,
              const int32_t *racks,
              unsigned member_count)
{
    struct sp_assign_work work = {
        .topics = topics, .topic_count = topic_count, .racks = racks, .member_count = member_count
    };
    struct sp_assign_racks *exchange = NULL;

    if (topic_count == 0 || member_count == 0) {
        return 0;
    }
    if (work_init(&work) != 0) {
        return SPATE_ERR_NOMEM;
    }
    if (racks != NULL && sp_assign_racks_new(&work, &exchange) != 0) {
        work_free(&work);
        return SPATE_ERR_NOMEM;
    }
    for (unsigned i = 0; i < topic_count; i++) {
        keep(&work, i);
    }
    for (unsigned i = 0; i < topic_count; i++) {
        give_free(&work, i);
    }
    level(&work);
    if (exchange != NULL) {
        sp_assign_racks_exchange(exchange);
        sp_assign_racks_free(exchange);
    }
    work_free(&work);
    return 0;
}
