/* Retention by time and by size: the leader decides what its partition gives up, all replicas do.
 *
 *   each LOOK_MS, each partition with limits:
 *     any replica   its newest segment is old?      -> the next frame begins another one
 *     the leader    whole segments beyond a limit?  -> a trim command (trim.c)
 *
 * Time is the leader's append time: when a record was stored, not what its producer wrote into it.
 * So an age is never negative, and only the leader's clock counts. */
#include "broker/methods.h"

#include "spate/error.h"

enum {
    LOOK_MS = 500, /* so long a limit may be exceeded by what comes in */
};

static int64_t smaller_limit(int64_t a, int64_t b)
{
    if (a == SP_TOPIC_UNLIMITED || (b != SP_TOPIC_UNLIMITED && b < a)) {
        return b;
    }
    return a;
}

/* A segment is not written to for longer than segment.ms, nor than retention.ms: else a slow topic
 * would keep its oldest records until the segment is full. */
static void roll_old(const struct sp_partition *partition, struct sp_log *log, int64_t now_ms)
{
    int64_t age_ms =
        smaller_limit(sp_topic_config_value(&partition->config, SP_TOPIC_SEGMENT_MS),
                      sp_topic_config_value(&partition->config, SP_TOPIC_RETENTION_MS));
    int64_t since_ms = sp_log_newest_since_ms(log);

    if (age_ms == SP_TOPIC_UNLIMITED || since_ms == INT64_MAX) {
        return;
    }
    age_ms = age_ms < SP_SEGMENT_MS_MIN ? SP_SEGMENT_MS_MIN : age_ms;
    if (since_ms < now_ms - age_ms) {
        sp_log_roll(log);
    }
}

static void expire(struct sp_partition *partition, struct sp_log *log, int64_t now_ms)
{
    int64_t age_ms = sp_topic_config_value(&partition->config, SP_TOPIC_RETENTION_MS);
    const struct sp_log_retention retention = {
        .bytes = sp_topic_config_value(&partition->config, SP_TOPIC_RETENTION_BYTES),
        .expired_ms = age_ms == SP_TOPIC_UNLIMITED ? INT64_MIN : now_ms - age_ms,
        .offset_max = partition->next_offset,
    };
    int64_t offset = sp_log_expired_offset(log, &retention);

    if (offset <= partition->log_start) {
        return;
    }
    if (offset == sp_log_end_offset(log)) {
        sp_log_roll(log); /* nothing is left: the command goes into a new segment */
    }
    partition->expiring = true;
    if (sp_trim_start(partition, offset, NULL) != 0) {
        partition->expiring = false; /* the next look tries again */
    }
}

static void look_at(struct sp_partition *partition)
{
    bool limited = sp_topic_config_has(&partition->config, SP_TOPIC_RETENTION_MS) ||
                   sp_topic_config_has(&partition->config, SP_TOPIC_RETENTION_BYTES) ||
                   sp_topic_config_has(&partition->config, SP_TOPIC_SEGMENT_MS);

    if (!limited || partition->group == NULL ||
        sp_broker_lacks_feature(partition->broker, SP_FEATURE_TOPIC_SETTINGS, "retention", NULL)) {
        return;
    }
    struct sp_log *log = sp_raft_group_log(partition->group);
    int64_t now_ms = sp_raft_group_append_time_ms(partition->group);

    roll_old(partition, log, now_ms);
    if (!partition->expiring && sp_topic_config_deletes(&partition->config) &&
        sp_partition_serves(partition)) {
        expire(partition, log, now_ms);
    }
}

static void on_look(struct sp_timer *timer)
{
    struct sp_broker *broker = SP_CONTAINER_OF(timer, struct sp_broker, retention);
    struct sp_map_cursor cursor = { 0 };
    struct sp_partition *partition;

    while ((partition = sp_map_next(broker->partitions, &cursor)) != NULL) {
        look_at(partition);
    }
    sp_compactor_look(broker);
    /* Others fill the disk, too: a node that writes nothing must know before its next write. */
    sp_store_look_at_space(broker->options.store);
    sp_health_watch(broker);
    sp_retention_watch(broker);
}

void sp_retention_init(struct sp_broker *broker)
{
    sp_timer_init(&broker->retention, broker->options.loop, on_look);
}

void sp_retention_watch(struct sp_broker *broker)
{
    /* A partition that was being opened may still come when the broker is closing already. */
    if (broker->closed == NULL && !sp_timer_active(&broker->retention)) {
        /* Without memory for it the next partition that opens starts it. */
        (void)sp_timer_start(&broker->retention, sp_loop_now_ms(broker->options.loop) + LOOK_MS);
    }
}

void sp_retention_stop(struct sp_broker *broker)
{
    sp_timer_stop(&broker->retention);
}
