/* What the files of the group methods share: finding groups, names and sets of partitions.
 *
 *   group_members.c    join, heartbeat, leave, each a struct sp_group_call
 *   group_offsets.c    commit, seek, each a struct sp_group_commit
 *   group_committed.c  committed
 *   group_describe.c   find, list, describe, delete
 *   group_common.c     the rest */
#ifndef SP_BROKER_GROUP_METHODS_H
#define SP_BROKER_GROUP_METHODS_H

#include "broker/coordinator.h"
#include "broker/methods.h"

/* The coordinator of a consumer group, if this node leads it; otherwise the request has been
 * answered (INVALID, NOT_LEADER, NOT_READY ...) and NULL is returned. `name` gets the group's
 * name. */
struct sp_coordinator *sp_group_coordinator(struct sp_broker *broker,
                                            struct sp_request *request,
                                            struct sp_bytes group,
                                            char name[SP_CONSUMER_GROUP_NAME_SIZE_MAX + 1]);

/* The same for an answer that must not be stale. NULL: the request waits, or has been answered; see
 * sp_broker_confirm. */
struct sp_coordinator *sp_group_current_coordinator(struct sp_broker *broker,
                                                    struct sp_request *request,
                                                    const struct sp_message *message,
                                                    struct sp_bytes group,
                                                    char name[SP_CONSUMER_GROUP_NAME_SIZE_MAX + 1]);

/* The internal topic and the partition that a group hashes to. NULL: not created yet, answered. */
const struct sp_state_topic *sp_group_place(struct sp_broker *broker,
                                            struct sp_request *request,
                                            struct sp_bytes group,
                                            uint32_t *out_partition);

/* Packs the result of group.committed: the offsets of a group (NULL: none) in the topics of an
 * encoded array of names (null: all). The pack fails with SPATE_ERR_TOO_LARGE when they do not fit,
 * which those of one topic do. */
void sp_group_committed_pack(const struct sp_state *state,
                             const struct sp_consumer_group *group,
                             struct sp_bytes topics,
                             struct sp_pack *pack);

/* Answers that the coordinator is led elsewhere. */
void sp_group_not_leader(const struct sp_coordinator *coordinator, struct sp_request *request);

/* Answers a command that was refused or did not come to be. */
void sp_group_fail(struct sp_request *request, int code, const char *group);

/* A set of partitions, in order, each once. */
struct sp_group_set {
    struct sp_consumer_place *places; /* owned */
    unsigned count;
};

/* Reads an encoded set of partitions (null: empty). Topics that do not exist are passed over.
 * SPATE_ERR_INVALID with a text, SPATE_ERR_NOMEM. */
int sp_group_set_read(const struct sp_broker *broker,
                      struct sp_bytes encoded,
                      struct sp_group_set *out,
                      struct sp_api_error *error);
bool sp_group_set_has(const struct sp_group_set *set, uint64_t topic_id, uint32_t partition);
void sp_group_set_deinit(struct sp_group_set *set);

/* By topic id, then by partition. */
void sp_group_places_sort(struct sp_consumer_place *places, unsigned count);

/* Packs [ { topic, partitions } ] of places in order; topics that are deleted are left out. */
void sp_group_places_pack(const struct sp_broker *broker,
                          struct sp_pack *pack,
                          const struct sp_consumer_place *places,
                          unsigned count);

/* Packs the fields `topic` and `partition` of a map. */
void sp_group_partition_pack(struct sp_pack *pack,
                             const struct sp_state_topic *topic,
                             uint32_t partition);

#endif /* SP_BROKER_GROUP_METHODS_H */
