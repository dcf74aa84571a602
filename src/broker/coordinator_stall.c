/* A member that owns a partition and does not progress is reported, never silent: the leader looks
 * at the owned partitions of all groups from time to time.
 *
 *   committed offset (or log start)      end as this node's replica knows it
 *        ...[ stands still ]............|      -> stalled, once it has for groups.stalled.after.ms
 *
 * A partition without a replica on this node is not judged. Nothing of this is replicated: a new
 * leader begins anew. */
#include <inttypes.h>

#include "base/trace.h"
#include "broker/coordinator_parts.h"
#include "broker/methods.h"

#define PAUSE_MS_MAX 10000
#define PAUSE_MS_MIN 100
#define LOOKS_PER_TURN 20000 /* partitions, as many as one group may have: some 4 ms */
#define TURN_PAUSE_MS 50     /* then others have their turn */
#define TRACES_PER_SECOND 10

/* A stall is found so much late at the most. */
static uint64_t pause_ms(const struct sp_coordinator *coordinator)
{
    uint64_t pause = coordinator->broker->options.group_stalled_ms / 4;

    pause = pause < PAUSE_MS_MIN ? PAUSE_MS_MIN : pause;
    return pause > PAUSE_MS_MAX ? PAUSE_MS_MAX : pause;
}

/* Those of a group that are looked at one after the other. */
struct stall_look {
    struct sp_coordinator *coordinator;
    struct sp_consumer_group *group;
    const struct sp_state_topic *topic; /* of the share before */
    unsigned offset;                    /* the next one */
    uint64_t now_ms;
};

static const struct sp_state_topic *topic_of(struct stall_look *look, uint64_t topic_id)
{
    const struct sp_broker *broker = look->coordinator->broker;

    if (look->topic == NULL || look->topic->topic_id != topic_id) {
        look->topic =
            sp_state_topic_by_id(sp_controller_state(broker->options.controller), topic_id);
    }
    return look->topic;
}

/* The committed offset of a share, or -1. Both are in the same order. */
static int64_t committed_of(struct stall_look *look, const struct sp_consumer_share *share)
{
    const struct sp_consumer_group *group = look->group;
    int order = -1;

    while (look->offset < group->offset_count) {
        const struct sp_consumer_offset *offset = &group->offsets[look->offset];
        order = sp_consumer_place_compare(
            offset->topic_id, offset->partition, share->topic_id, share->partition);
        if (order >= 0) {
            break;
        }
        look->offset += 1;
    }
    return look->offset < group->offset_count && order == 0 ? group->offsets[look->offset].offset
                                                            : -1;
}

static void report(struct stall_look *look, struct sp_consumer_share *share, uint64_t still_ms)
{
    if (share->stall_traced ||
        !sp_trace_allowed(&look->coordinator->stall_limit, look->now_ms, TRACES_PER_SECOND, NULL)) {
        return; /* with the next look */
    }
    share->stall_traced = true;
    SP_TRACE_WARN("groups",
                  "partition does not progress",
                  "group=%s topic=%s partition=%" PRIu32 " member=%s client=%s committed=%" PRId64
                  " stalled_ms=%" PRIu64,
                  look->group->name,
                  look->topic->name,
                  share->partition,
                  share->owner->id,
                  share->owner->client,
                  share->still_position,
                  still_ms);
}

static void look_at(struct stall_look *look, struct sp_consumer_share *share)
{
    const struct sp_broker *broker = look->coordinator->broker;
    const struct sp_state_topic *topic = topic_of(look, share->topic_id);
    int64_t committed = committed_of(look, share);
    const struct sp_partition *local;
    uint64_t still_ms;

    if (topic == NULL || share->partition >= topic->partition_count) {
        share->still_ms = 0;
        return;
    }
    local = sp_map_get_u64(broker->partitions, topic->partitions[share->partition].group_id);
    if (local == NULL) {
        share->still_ms = 0;
        return;
    }
    sp_consumer_share_look(
        share, committed >= 0 ? committed : local->log_start, local->next_offset, look->now_ms);
    still_ms = sp_consumer_share_still_ms(share, look->now_ms);
    if (still_ms >= broker->options.group_stalled_ms && share->still_ms != 0) {
        look->group->stalled_count += 1;
        report(look, share, still_ms);
    }
}

void sp_coordinator_stall_look(struct sp_coordinator *coordinator, struct sp_consumer_group *group)
{
    struct stall_look look = { .coordinator = coordinator,
                               .group = group,
                               .now_ms = sp_loop_now_ms(coordinator->broker->options.loop) };

    group->stalled_count = 0;
    group->stall_due_ms = look.now_ms + pause_ms(coordinator);
    for (unsigned i = 0; i < group->share_count; i++) {
        look_at(&look, &group->shares[i]);
    }
}

static void start_timer(struct sp_coordinator *coordinator, uint64_t after_ms)
{
    uint64_t now_ms = sp_loop_now_ms(coordinator->broker->options.loop);

    (void)sp_timer_start(&coordinator->stall_timer, now_ms + after_ms); /* else: no reports */
}

static void on_timer(struct sp_timer *timer)
{
    struct sp_coordinator *coordinator = SP_CONTAINER_OF(timer, struct sp_coordinator, stall_timer);
    uint64_t now_ms = sp_loop_now_ms(coordinator->broker->options.loop);
    struct sp_map_cursor cursor = { 0 };
    struct sp_consumer_group *group;
    unsigned looks = 0;

    while (looks < LOOKS_PER_TURN &&
           (group = sp_consumer_groups_next(coordinator->groups, &cursor)) != NULL) {
        if (group->stall_due_ms <= now_ms && group->share_count > 0) {
            looks += group->share_count;
            sp_coordinator_stall_look(coordinator, group);
        } else if (group->share_count == 0) {
            group->stalled_count = 0;
        }
    }
    if (sp_consumer_groups_count(coordinator->groups) > 0) {
        start_timer(coordinator, looks < LOOKS_PER_TURN ? pause_ms(coordinator) : TURN_PAUSE_MS);
    }
}

void sp_coordinator_stall_init(struct sp_coordinator *coordinator)
{
    sp_timer_init(&coordinator->stall_timer, coordinator->broker->options.loop, on_timer);
}

void sp_coordinator_stall_start(struct sp_coordinator *coordinator)
{
    struct sp_map_cursor cursor = { 0 };
    struct sp_consumer_group *group;

    while ((group = sp_consumer_groups_next(coordinator->groups, &cursor)) != NULL) {
        group->stall_due_ms = 0;
        group->stalled_count = 0;
        for (unsigned i = 0; i < group->share_count; i++) {
            group->shares[i].still_ms = 0;
        }
    }
}

void sp_coordinator_stall_watch(struct sp_coordinator *coordinator)
{
    if (!sp_timer_active(&coordinator->stall_timer)) {
        start_timer(coordinator, pause_ms(coordinator));
    }
}
