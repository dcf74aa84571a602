/* Who leads what: the topics that this client uses, as the cluster last described them.
 *
 *   someone met NOT_LEADER, a lost connection, a new topic
 *     -> sp_metadata_want: "a description asked for from now on" -> its number n
 *     -> one request at a time, 10..100 ms apart -> completed reaches n -> observers run
 *
 * However many partitions want it at once, one request asks for all topics. A leader that a
 * NOT_LEADER answer named may be noted between refreshes. */
#ifndef SP_CLIENT_METADATA_H
#define SP_CLIENT_METADATA_H

#include "client/client.h"

struct sp_partition_view {
    struct sp_connection *leader; /* NULL: none known */
    struct sp_connection *near;   /* of a replica in client.rack that follows; NULL: none */
    int32_t epoch;
};

struct sp_topic_view {
    char *name;
    uint32_t number; /* among the views of this client */
    int64_t id;
    uint64_t older_ms; /* since when only an older topic of that name is described; 0: it is not */
    int status; /* 0; SPATE_ERR_AGAIN: never described; SPATE_ERR_UNKNOWN_TOPIC or another error */
    size_t batch_bytes_max; /* of its RecordBatches, by max.message.bytes; 0: nobody has told */
    uint32_t partition_count;
    struct sp_partition_view *partitions;
};

struct sp_metadata_observer {
    struct sp_list node;
    void (*changed)(struct sp_metadata_observer *observer);
};

/* Of a client that outlives it. SPATE_ERR_NOMEM. */
int sp_metadata_cache_new(struct spate_client *client, struct sp_metadata_cache **out_cache);

/* NULL is fine. */
void sp_metadata_cache_free(struct sp_metadata_cache *cache);

/* The view of a topic, which lives as long as the client; a new one is AGAIN until described.
 * SPATE_ERR_INVALID: no topic can have this name; SPATE_ERR_NOMEM. */
int sp_metadata_topic(struct sp_metadata_cache *cache,
                      const char *name,
                      struct sp_topic_view **out_topic);

/* The view of a topic that is known here, or NULL. */
struct sp_topic_view *sp_metadata_find(const struct sp_metadata_cache *cache, struct sp_bytes name);

/* Asks for a description that begins after this call; returns the number that
 * sp_metadata_completed reaches with it. */
uint64_t sp_metadata_want(struct sp_metadata_cache *cache);

/* Number of the newest description that has arrived. */
uint64_t sp_metadata_completed(const struct sp_metadata_cache *cache);

/* `changed` runs after each description, until the observer is removed. */
void sp_metadata_observe(struct sp_metadata_cache *cache, struct sp_metadata_observer *observer);

/* Notes a leader by the word of a server; ignored when the address is of no use. */
void sp_metadata_note_leader(struct sp_metadata_cache *cache,
                             struct sp_topic_view *topic,
                             uint32_t partition,
                             const char *address);

/* Waits until any description has arrived, at most until `deadline_ms`. SPATE_ERR_UNREACHABLE,
 * SPATE_ERR_TIMEOUT, SPATE_ERR_CANCELED, with the client's error text. */
int sp_metadata_wait_first(struct sp_metadata_cache *cache, uint64_t deadline_ms);

/* Turns the loop until the topic is described, at most until `deadline_ms`. Otherwise, with the
 * client's error text: SPATE_ERR_UNKNOWN_TOPIC, SPATE_ERR_UNREACHABLE, SPATE_ERR_TIMEOUT. A topic
 * that seems unknown is asked for twice more, as nodes learn of new topics one after the other. */
int sp_metadata_wait_topic(struct sp_metadata_cache *cache,
                           struct sp_topic_view *topic,
                           uint64_t deadline_ms);

/* The same until the partition has a leader. Also SPATE_ERR_UNKNOWN_PARTITION,
 * SPATE_ERR_LEADER_UNKNOWN. */
int sp_metadata_wait_leader(struct sp_metadata_cache *cache,
                            struct sp_topic_view *topic,
                            uint32_t partition,
                            uint64_t deadline_ms);

#endif /* SP_CLIENT_METADATA_H */
