/* Reading records in order, following leaders through failover: of partitions that the program
 * names, or of those that a consumer group gives it.
 *
 *   assign     a program reads the partitions that it says, from where it says
 *   subscribe  the members of the group (`group.id`) share the partitions of their topics; each
 *              goes on where the group's committed offset says
 *
 *   subscribe -> ASSIGNED -> next, next, ... (committed every commit.interval.ms, or by hand)
 *                REVOKED  -> others read those partitions on; a last commit is possible
 *                LOST     -> others have them already
 *
 * A record counts as processed when the program asks for the next one; only what is processed is
 * committed by itself. So each record is delivered at least once, and twice only to those who go on
 * after a member that died or was cut off. With io.thread=off a member is heard of while the
 * program is inside calls of this API, and one that stays away for longer than session.ms is
 * replaced. */
#ifndef SPATE_CONSUMER_H
#define SPATE_CONSUMER_H

#include "spate/client.h"

#ifdef __cplusplus
extern "C" {
#endif

struct spate_consumer;

#define SPATE_OFFSET_START (-2)  /* the oldest record kept */
#define SPATE_OFFSET_END (-1)    /* behind the newest record */
#define SPATE_OFFSET_STORED (-3) /* the group's committed offset, see offset.reset */

/* One record, valid until the next call of spate_consumer_next, _batch, _close or _free, or of
 * _seek or _unassign for its partition. */
struct spate_message {
    const char *topic;
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms;
    const void *key; /* NULL: no key */
    size_t key_size;
    const void *value; /* NULL: no value */
    size_t value_size;
    const struct spate_header *headers;
    size_t header_count;
    int64_t high_watermark; /* offset behind the newest committed record, as of the last answer */
    int32_t epoch;          /* of the leader that stored it */
};

/* A place in a partition. */
struct spate_partition {
    const char *topic; /* lives as long as the client */
    int32_t partition;
    int64_t offset; /* of the next record */
};

enum spate_consumer_event_kind {
    SPATE_CONSUMER_ASSIGNED = 1, /* these are read from now on; seek now to begin elsewhere */
    SPATE_CONSUMER_REVOKED = 2,  /* these go to others; commit now what is not committed yet */
    SPATE_CONSUMER_LOST = 3,     /* these others have already; nothing of them can be committed */
    SPATE_CONSUMER_STALLED = 4,  /* for stall.ms nothing of these was read although there is more;
                                  * without partitions: for so long a subscription has found no
                                  * place in its group, or a topic of it was deleted */
    SPATE_CONSUMER_SKIPPED = 5, /* records were deleted before these got to them: reading goes on at
                                  * `offset`, the first one that is kept; see offset.reset */
};

struct spate_consumer_event {
    int kind;
    const struct spate_partition *partitions; /* valid until the callback returns */
    size_t count;
    const char *text; /* STALLED: why, as far as it is known; SKIPPED: which; else "" */
};

typedef void (*spate_consumer_event_cb)(void *arg, const struct spate_consumer_event *event);

/* A consumer without partitions; the caller frees it with spate_consumer_free. SPATE_ERR_NOMEM. */
SPATE_API int spate_consumer_new(struct spate_client *client, struct spate_consumer **out_consumer);

/* `cb` (NULL: none) runs inside spate_consumer_next, _batch and _close of this consumer. It may
 * call the other functions of the consumer, spate_consumer_free too. */
SPATE_API int
spate_consumer_on_event(struct spate_consumer *consumer, spate_consumer_event_cb cb, void *arg);

/* ---- what is read ---------------------------------------------------------------------------- */

/* Adds a partition, beginning at `offset` or SPATE_OFFSET_*. SPATE_ERR_EXISTS; SPATE_ERR_INVALID:
 * also when the consumer has subscribed, or SPATE_OFFSET_STORED without a group.id;
 * SPATE_ERR_CANCELED: it is being closed. */
SPATE_API int spate_consumer_assign(struct spate_consumer *consumer,
                                    const char *topic,
                                    int32_t partition,
                                    int64_t offset);

/* Takes an assigned partition away, with all that was fetched of it; a commit of it that is not
 * done yet is given up. SPATE_ERR_NOT_FOUND. */
SPATE_API int
spate_consumer_unassign(struct spate_consumer *consumer, const char *topic, int32_t partition);

/* Becomes a member of the group `group.id` for these topics (at most 256; topics that do not exist
 * are read once they do), or changes the topics. Does not wait: partitions arrive inside later
 * calls. What cannot be put right by waiting is returned by spate_consumer_next. SPATE_ERR_INVALID:
 * no group.id, no topics or a name that no topic can have, or partitions were assigned;
 * SPATE_ERR_CANCELED: it is being closed. */
SPATE_API int
spate_consumer_subscribe(struct spate_consumer *consumer, const char *const *topics, size_t count);

/* The partitions that are read now and their positions: at most `max` into `out_partitions`, their
 * number in all into *out_count. */
SPATE_API int spate_consumer_assignment(const struct spate_consumer *consumer,
                                        struct spate_partition *out_partitions,
                                        size_t max,
                                        size_t *out_count);

/* Goes on at `offset` (or SPATE_OFFSET_*); also brings back a partition that an error has paused.
 * What was delivered before does not count as processed any more. SPATE_ERR_NOT_FOUND: it is not
 * read by this consumer. */
SPATE_API int spate_consumer_seek(struct spate_consumer *consumer,
                                  const char *topic,
                                  int32_t partition,
                                  int64_t offset);

/* A paused partition delivers nothing, is owned and prefetched on. SPATE_ERR_NOT_FOUND. */
SPATE_API int
spate_consumer_pause(struct spate_consumer *consumer, const char *topic, int32_t partition);
SPATE_API int
spate_consumer_resume(struct spate_consumer *consumer, const char *topic, int32_t partition);

/* Offset of the record that comes next; SPATE_OFFSET_* while it is not known.
 * SPATE_ERR_NOT_FOUND. */
SPATE_API int spate_consumer_position(const struct spate_consumer *consumer,
                                      const char *topic,
                                      int32_t partition,
                                      int64_t *out_offset);

/* ---- records --------------------------------------------------------------------------------- */

/* The next record of any partition; each partition in order, partitions in turn. Waits up to
 * `timeout_ms` (0: what is there, -1: for ever). SPATE_ERR_AGAIN: nothing came in that time;
 * SPATE_ERR_OFFSET_OUT_OF_RANGE (above the end; with offset.reset none also below the start),
 * SPATE_ERR_UNKNOWN_TOPIC, SPATE_ERR_CORRUPT, SPATE_ERR_NOT_FOUND (no committed offset and
 * offset.reset none) concern one partition, which is then paused until a seek;
 * SPATE_ERR_GROUP_FENCED: another process has taken the place of this group.instance;
 * SPATE_ERR_CANCELED: the consumer is closed or being closed, see spate_consumer_close; network
 * trouble is retried and never reported here. */
SPATE_API int spate_consumer_next(struct spate_consumer *consumer,
                                  int timeout_ms,
                                  struct spate_message *out_message);

/* Up to `max` records of one partition at once: returns how many, at least 1, or a code as
 * spate_consumer_next. */
SPATE_API int spate_consumer_batch(struct spate_consumer *consumer,
                                   int timeout_ms,
                                   struct spate_message *out_messages,
                                   int max);

/* 1 when every assigned partition has delivered everything below the high watermark that it had at
 * the first fetch after this call was first made; for "read all there is, then stop". */
SPATE_API int spate_consumer_at_end(const struct spate_consumer *consumer);

/* Records behind: sum over partitions of high watermark minus position. */
SPATE_API int64_t spate_consumer_lag(const struct spate_consumer *consumer);

/* ---- committing ------------------------------------------------------------------------------ */

/* Commits behind `message` in its partition, or with NULL behind every record that was delivered,
 * the last one too; in partitions that the program has assigned also what was committed before,
 * since others may have set it. Records delivered together with `message` and behind it do not
 * count as processed by this. Waits for the outcome up to `timeout_ms`; 0: does not wait, the
 * commit goes on inside later calls and is repeated with whatever is newer until it succeeds.
 * SPATE_ERR_INVALID: no group.id; SPATE_ERR_GROUP_FENCED, SPATE_ERR_UNKNOWN_MEMBER: the partition
 * is another's by now, events tell, or another thread has given it up; SPATE_ERR_UNKNOWN_TOPIC: the
 * topic of a partition is gone, the others are committed (older nodes: none is);
 * SPATE_ERR_CLOSED: the same, and whether it was committed before is unknown; SPATE_ERR_TIMEOUT: no
 * outcome yet, the commit goes on as with 0, and the next call waits for its outcome, too. */
SPATE_API int spate_consumer_commit(struct spate_consumer *consumer,
                                    const struct spate_message *message,
                                    int timeout_ms);

/* What the group has committed in a partition, read anew. SPATE_ERR_NOT_FOUND: nothing. */
SPATE_API int spate_consumer_committed(struct spate_consumer *consumer,
                                       const char *topic,
                                       int32_t partition,
                                       int64_t *out_offset);

/* ---- the end --------------------------------------------------------------------------------- */

/* Gives up all partitions: tells the program (REVOKED), commits what is processed unless
 * commit.interval.ms is 0, and leaves the group unless group.instance is set, whose next process
 * takes over. SPATE_ERR_TIMEOUT: the group will notice by itself after session.ms. The last record
 * delivered counts as processed. While it runs spate_consumer_assign and _subscribe are refused
 * with SPATE_ERR_CANCELED, also inside its events. From its beginning on spate_consumer_next and
 * _batch return SPATE_ERR_CANCELED, also where another thread waits in one; calls about a partition
 * return SPATE_ERR_NOT_FOUND at its end, as nothing is read any more. A consumer that is closed may
 * be given something to read anew. */
SPATE_API int spate_consumer_close(struct spate_consumer *consumer, int timeout_ms);

/* Without a spate_consumer_close before, nothing is committed and the group waits for session.ms.
 * Allowed inside an event of this consumer, as in `cb` of spate_consumer_on_event: its memory goes
 * when the callback has returned, and the call that ran the callback returns SPATE_ERR_CANCELED, as
 * does one in which another thread waits. The consumer must not be used any more. NULL is fine. */
SPATE_API void spate_consumer_free(struct spate_consumer *consumer);

#ifdef __cplusplus
}
#endif

#endif /* SPATE_CONSUMER_H */
