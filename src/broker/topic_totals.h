/* What is counted of the topics of one name on this node: kept while a replica of one of their
 * partitions is here, so that a partition which moves away takes nothing from a counter. A topic
 * that is deleted and made again under its name counts on: its first replicas may still close. */
#ifndef SP_BROKER_TOPIC_TOTALS_H
#define SP_BROKER_TOPIC_TOTALS_H

#include <stdint.h>

#include "base/limits.h"
#include "cluster/state.h"

struct sp_broker;
struct sp_log_read;
struct sp_partition;

struct sp_topic_totals {
    char name[SP_TOPIC_NAME_SIZE_MAX + 1];
    unsigned references; /* partitions */
    uint64_t produced_records;
    uint64_t produced_bytes;
    uint64_t fetched_records;
    uint64_t fetched_bytes;
    /* Gauges, summed up anew for each exposition. */
    uint64_t replicas;
    uint64_t leaders;
    uint64_t under_replicated;
    uint64_t log_bytes;
    uint64_t segments;
};

/* Those of a topic's name, made when they are missing; the caller gives its reference back. NULL:
 * memory is out. */
struct sp_topic_totals *sp_topic_totals_ref(struct sp_broker *broker,
                                            const struct sp_state_topic *topic);

/* NULL is fine. */
void sp_topic_totals_unref(struct sp_broker *broker, struct sp_topic_totals *totals);

/* A batch was stored and is acknowledged. */
void sp_topic_count_produced(struct sp_partition *partition, int32_t records, uint64_t bytes);

/* A fetch from `offset` on is answered with these frames. */
void sp_topic_count_fetched(struct sp_partition *partition,
                            const struct sp_log_read *read,
                            int64_t offset);

#endif /* SP_BROKER_TOPIC_TOTALS_H */
