/* What the files of the broker share: the broker's own struct, the methods, and their waiting
 * lists. */
#ifndef SP_BROKER_METHODS_H
#define SP_BROKER_METHODS_H

#include "base/map.h"
#include "base/metrics.h"
#include "broker/broker.h"
#include "broker/compactor.h"
#include "broker/health.h"
#include "broker/partition.h"
#include "broker/session.h"
#include "spate/error.h"

#define SP_BROKER_COUNT_CODE(name, number, retriable, meaning) SP_BROKER_CODE_##name,
enum {
    SPATE_ERROR_LIST(SP_BROKER_COUNT_CODE) SP_BROKER_CODES, /* how many codes there are */
};
#undef SP_BROKER_COUNT_CODE

/* What is counted since the start, for sp_broker_expose. */
struct sp_broker_counters {
    struct sp_histogram requests[SP_METHOD_COUNT + 1]; /* the last: of unknown methods */
    uint64_t errors[SP_BROKER_CODES + 1];              /* answered, by the number of the code */
    uint64_t received_bytes;                           /* of whole messages */
    uint64_t sent_bytes;
    uint64_t produced_records;
    uint64_t produced_batches;
    uint64_t produced_bytes;
    uint64_t repeats; /* batches that were sent again and had been stored, or were on their way */
    uint64_t fetched_records;
    uint64_t fetched_bytes;
};

struct sp_broker {
    struct sp_broker_options options;
    struct sp_broker_counters counters;
    struct sp_server *server;
    struct sp_server *outside;  /* the second port; NULL: none */
    struct sp_budget budget;    /* of all that clients make this node hold */
    struct sp_timer look_after; /* runs while they hold much */
    struct sp_timer retention;  /* looks for what has outlived its topic's limits */
    struct sp_compactor compactor;
    struct sp_map *partitions;   /* group id -> struct sp_partition */
    struct sp_map *coordinators; /* group id -> struct sp_coordinator */
    struct sp_map *totals;       /* topic name -> struct sp_topic_totals */
    const struct sp_reconcile *reconcile;
    const struct sp_mover *mover;
    const struct sp_join *join;
    struct sp_health_watch watch;
    int64_t producer_id_next; /* ids of the block in hand: [next, end) */
    int64_t producer_id_end;
    struct sp_list producer_waiters; /* producer.init requests that wait for a block */
    bool producer_asking;
    struct sp_proposal producer_proposal;
    struct sp_trace_limit trace_limit;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* One request as a method sees it. `message` and its bytes are borrowed until return; `request` is
 * copied by whatever answers later. */
typedef void (*sp_method_handler)(struct sp_broker *broker,
                                  struct sp_request request,
                                  const struct sp_message *message);

/* True if the cluster's feature level is too low for `what`; with `request` (NULL: none)
 * that is answered. */
bool sp_broker_lacks_feature(const struct sp_broker *broker,
                             enum sp_feature feature,
                             const char *what,
                             struct sp_request *request);

/* produce.c, resume.c, fetch.c, offsets.c, trim.c, admin.c, producer_ids.c, describe.c,
 * describe_topic.c, health.c, features.c */
void sp_method_produce(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_fetch(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_offsets(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_topic_create(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_topic_alter(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_topic_truncate(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_topic_delete(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_producer_resume(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_producer_init(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_hello(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_ping(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_metadata(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_topic_list(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_topic_describe(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_cluster_info(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_cluster_health(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_cluster_features(struct sp_broker *, struct sp_request, const struct sp_message *);

/* membership.c */
void sp_method_cluster_nodes(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_cluster_moves(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_node_drain(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_node_remove(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_partition_move(struct sp_broker *, struct sp_request, const struct sp_message *);

/* plans.c */
void sp_method_cluster_rebalance(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_topic_replicas(struct sp_broker *, struct sp_request, const struct sp_message *);

/* group_members.c, group_offsets.c, group_describe.c */
void sp_method_group_find(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_group_join(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_group_heartbeat(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_group_leave(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_group_commit(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_group_committed(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_group_seek(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_group_list(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_group_describe(struct sp_broker *, struct sp_request, const struct sp_message *);
void sp_method_group_delete(struct sp_broker *, struct sp_request, const struct sp_message *);

/* Answers BUSY (no room in the partition's table) or PRODUCER_FENCED; produce.c. */
void sp_refuse_producer(
    struct sp_request *request, int code, int64_t producer_id, int16_t epoch, int16_t newest_epoch);

/* A batch or a fence of the partition has an outcome: those who wait for its place are read again
 * when there is some; produce.c. */
void sp_produce_read_on(struct sp_partition *partition);

/* trim.c: lets the log of a partition that is led here start at `offset`, which is applied.
 * `request` (may be NULL: nobody asked) is answered then. Errors of sp_raft_group_submit. */
int sp_trim_start(struct sp_partition *partition, int64_t offset, const struct sp_request *request);

/* trim.c: answers OFFSET_OUT_OF_RANGE with the offsets that there are. */
void sp_refuse_offset(struct sp_request *request,
                      const struct sp_partition *partition,
                      int64_t offset);

/* retention.c: looks after all partitions from `watch` to `stop`; more than once is fine. */
void sp_retention_init(struct sp_broker *broker);
void sp_retention_watch(struct sp_broker *broker);
void sp_retention_stop(struct sp_broker *broker);

/* Takes one message of a session to its method. */
void sp_broker_dispatch(struct sp_broker *broker,
                        struct sp_request request,
                        const struct sp_message *message);

/* The same for a request whose method is known: once more, after it has waited. */
void sp_broker_run(struct sp_broker *broker,
                   struct sp_request request,
                   const struct sp_message *message);

/* confirm.c: for an answer that must not be stale. True: go on, leadership of `group` was confirmed
 * after the request arrived, and all that was committed before is applied; or nodes of an older
 * build cannot be asked. False: the request waits and is then run again, or has been answered. */
bool sp_broker_confirm(struct sp_broker *broker,
                       struct sp_request *request,
                       const struct sp_message *message,
                       struct sp_raft_group *group);

/* The partition that a request names, if this node may serve it; otherwise the request has been
 * answered (UNKNOWN_TOPIC, UNKNOWN_PARTITION, NOT_LEADER, NOT_READY ...) and NULL is returned.
 * `topic_id` -1: not given. */
struct sp_partition *sp_broker_find(struct sp_broker *broker,
                                    struct sp_request *request,
                                    struct sp_bytes topic,
                                    int64_t topic_id,
                                    int32_t partition);

/* The same for what a follower may answer, too, while it is not behind. */
struct sp_partition *sp_broker_find_follower(struct sp_broker *broker,
                                             struct sp_request *request,
                                             struct sp_bytes topic,
                                             int64_t topic_id,
                                             int32_t partition);

/* Answers that there is no such topic, or that this node cannot know yet. */
void sp_broker_unknown_topic(struct sp_broker *broker,
                             struct sp_request *request,
                             const char *topic);

/* True if the topic belongs to the cluster itself, which clients may not touch; then the request
 * has been answered (INVALID). */
bool sp_broker_refuse_internal(struct sp_request *request, const char *topic);

/* Answers that another node leads `partition`, as far as is known. */
void sp_broker_not_leader(struct sp_broker *broker,
                          struct sp_request *request,
                          const char *topic,
                          uint32_t partition,
                          uint64_t group_id);

/* Copies a view into `text` with a NUL; false when it does not fit. */
bool sp_broker_copy_text(struct sp_bytes bytes, char *text, size_t size);

/* The cluster id in hexadecimal (33 bytes with its NUL), or "" before it is formed. */
void sp_broker_cluster_id(const struct sp_broker *broker, char text[33]);

/* Where the client of `request` reaches a node, by the port at which it came in; "" when the node
 * has not registered yet. The text lies in `text`. */
const char *sp_broker_address(const struct sp_broker *broker,
                              const struct sp_request *request,
                              uint32_t node_id,
                              char text[SP_ADDRESS_SIZE_MAX]);
const char *sp_broker_node_address(const struct sp_state_node *node,
                                   const struct sp_request *request,
                                   char text[SP_ADDRESS_SIZE_MAX]);

/* fetch_records.c: appends what was read (NULL: nothing) as an array of plain records from `offset`
 * on. As sp_batch_to_records. */
int sp_fetch_to_records(const struct sp_log_read *read,
                        int64_t offset,
                        size_t bytes_max,
                        struct sp_buf *out);

/* fetch.c: records came in; the partition is no longer served here. */
void sp_fetch_wake(struct sp_partition *partition);
void sp_fetch_abort(struct sp_partition *partition);

#endif /* SP_BROKER_METHODS_H */
