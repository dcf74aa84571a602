/* One partition's replica on this node: its state machine, and who waits for it.
 *
 *   log:     log_start ........ next_offset ......... end of log
 *            [ committed and applied ][ appended, waiting ]
 *                                    ^ high watermark: what consumers may see
 *
 * Machine state (checkpoint): next offset, log start offset, producer table, and where each leader
 * epoch began. The rest is this node's own: produce requests in flight, fetches that wait. */
#ifndef SP_BROKER_PARTITION_H
#define SP_BROKER_PARTITION_H

#include "base/limits.h"
#include "broker/compactor.h"
#include "broker/producers.h"
#include "broker/topic_totals.h"
#include "cluster/machine.h"
#include "cluster/raft_group.h"
#include "cluster/state.h"

struct sp_broker;

/* The first offset that a leader epoch (Raft term) wrote. */
struct sp_partition_epoch {
    int64_t epoch;
    int64_t start_offset;
};

struct sp_partition {
    struct sp_machine machine;
    struct sp_broker *broker;
    struct sp_raft_group *group; /* NULL while it does not run */
    uint64_t topic_id;
    char topic[SP_TOPIC_NAME_SIZE_MAX + 1];
    uint32_t partition;
    uint64_t group_id;
    struct sp_topic_config config;
    uint32_t message_bytes_max; /* from it, at hand */

    int64_t next_offset;               /* machine state: offset behind the last applied record */
    int64_t log_start;                 /* machine state */
    struct sp_producers *producers;    /* machine state */
    struct sp_partition_epoch *epochs; /* machine state */
    unsigned epoch_count;

    struct sp_list flights; /* struct sp_flight in order of index: batches and fences */
    struct sp_list fetches; /* fetches that wait for records */
    struct sp_list crowded; /* fetches that wait for room for their answer */
    struct sp_topic_totals *totals;
    struct sp_list held; /* sessions that are not read while too much waits to be stored */
    struct sp_compaction_state compaction;
    bool expiring; /* a trim that retention asked for is on its way */
};

/* Of `place`, a partition of `topic`. Before it is freed its group must be closed and all requests
 * answered. SPATE_ERR_NOMEM. */
int sp_partition_new(struct sp_broker *broker,
                     const struct sp_state_topic *topic,
                     const struct sp_state_partition *place,
                     struct sp_partition **out_partition);
void sp_partition_free(struct sp_partition *partition);

/* Its topic's configuration is new, or its group has just opened. */
void sp_partition_configure(struct sp_partition *partition, const struct sp_topic_config *config);

/* True if this node leads it and may serve. */
bool sp_partition_serves(const struct sp_partition *partition);

#endif /* SP_BROKER_PARTITION_H */
