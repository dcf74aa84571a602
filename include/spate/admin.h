/* Topics and offsets. Everything else goes through spate_call.
 *
 * Each call waits for its answer, at most timeout.ms. Besides what stands below: SPATE_ERR_INVALID,
 * SPATE_ERR_UNREACHABLE, SPATE_ERR_TIMEOUT, SPATE_ERR_CANCELED, SPATE_ERR_NOMEM, or what the
 * cluster answered. Any thread, as spate/client.h says. */
#ifndef SPATE_ADMIN_H
#define SPATE_ADMIN_H

#include "spate/client.h"

#ifdef __cplusplus
extern "C" {
#endif

/* 0 leaves a number to the cluster: one partition; three replicas, or as many as there are nodes if
 * these are fewer. SPATE_ERR_EXISTS. Returns when every partition has a leader,
 * or SPATE_ERR_TIMEOUT when the topic exists but some have none yet. */
SPATE_API int spate_topic_create(struct spate_client *client,
                                 const char *topic,
                                 uint32_t partitions,
                                 uint32_t replicas);

/* A setting of a topic, as docs/protocol.md lists them: "retention.ms", "7d". */
struct spate_topic_setting {
    const char *name;
    const char *value;
};

/* The same with settings of its own; SPATE_ERR_INVALID names one that is wrong. */
SPATE_API int spate_topic_create_with(struct spate_client *client,
                                      const char *topic,
                                      uint32_t partitions,
                                      uint32_t replicas,
                                      const struct spate_topic_setting *settings,
                                      size_t count);

/* SPATE_ERR_UNKNOWN_TOPIC. */
SPATE_API int spate_topic_delete(struct spate_client *client, const char *topic);

/* Number of partitions. SPATE_ERR_UNKNOWN_TOPIC. */
SPATE_API int
spate_topic_partitions(struct spate_client *client, const char *topic, uint32_t *out_partitions);

/* Says which topics the next calls are about, so that the client asks for all of them at once,
 * not for one after the other. Waits for nothing. SPATE_ERR_INVALID: no topic can have such a
 * name. */
SPATE_API int
spate_topics_expect(struct spate_client *client, const char *const *topics, size_t count);

#define SPATE_AT_START (-2)
#define SPATE_AT_END (-1)

/* Offset at the start or end, or of the first record with a timestamp >= `at` (milliseconds since
 * 1970-01-01 UTC); the end when there is none. SPATE_ERR_UNKNOWN_TOPIC,
 * SPATE_ERR_UNKNOWN_PARTITION. */
SPATE_API int spate_offsets(struct spate_client *client,
                            const char *topic,
                            uint32_t partition,
                            int64_t at,
                            int64_t *out_offset);

#ifdef __cplusplus
}
#endif

#endif /* SPATE_ADMIN_H */
