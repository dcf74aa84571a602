/* Every bound of the system in one place, each with its reason. */
#ifndef SP_BASE_LIMITS_H
#define SP_BASE_LIMITS_H

/* Names. The topic alphabet and length are those of the field, so that tools can be shared. */
#define SP_TOPIC_NAME_SIZE_MAX 249
#define SP_ADDRESS_SIZE_MAX 262 /* a DNS name of 253, a colon, five digits, NUL, rounded up */
#define SP_CLIENT_NAME_SIZE_MAX 128

/* Memory. Pieces of 64 KiB to 4 MiB are rounded up by a sixteenth at most and kept when they are
 * freed (base/kept.h), in the whole process: enough for a dozen streams of answers of 1 MiB. */
#define SP_MEM_KEPT_BYTES_MAX (16 * 1024 * 1024)
#define SP_MEM_KEPT_MS 1000 /* a piece that nobody takes for so long, or twice that, is freed */

/* Cluster shape. */
#define SP_NODE_ID_MAX 1023          /* fits the ordinal of any StatefulSet */
#define SP_JOIN_ADDRESSES_MAX 8      /* of members that a new node asks */
#define SP_NODES_MAX 64              /* full mesh of connections: 64 * 63 sockets */
#define SP_SHARD_NODE_STEP 100       /* shard s of node n is node n + 100 s: cluster/machine_of */
#define SP_SHARDS_MAX 10             /* so that their ids stay below SP_NODE_ID_MAX */
#define SP_CONTROLLER_MEMBERS_MAX 32 /* every node has the controller's log: servers of a group */
#define SP_REPLICAS_MAX 7            /* tolerates three failures; more only slows the quorum */
#define SP_PARTITIONS_PER_TOPIC_MAX 10000
#define SP_TOPICS_MAX 20000
#define SP_MOVES_MAX 4096            /* partitions whose replicas change at once, in a cluster */
#define SP_GROUPS_PER_NODE_MAX 20000 /* 32 KiB each when idle: 640 MiB */

/* Records. A batch is one Raft entry and one message, so all three bounds hang together. */
#define SP_BATCH_BYTES_MAX_DEFAULT (1024 * 1024 + 64 * 1024) /* max.message.bytes */
#define SP_BATCH_BYTES_MAX (8 * 1024 * 1024)
#define SP_RECORDS_PER_BATCH_MAX 1000000 /* a 61-byte header may not announce more than this */
#define SP_MESSAGE_BYTES_MAX (16 * 1024 * 1024 + 64 * 1024) /* client port, framing included */
#define SP_MESSAGE_ELEMENTS_MAX 262144           /* plain-record produce: about 40,000 records */
#define SP_ANSWER_ELEMENTS_MAX (8 * 1024 * 1024) /* some 3 bytes each as partitions are described */
#define SP_PEER_MESSAGE_BYTES_MAX (16 * 1024 * 1024 + 64 * 1024) /* node port */

/* Connections. */
#define SP_CONNECTIONS_MAX 10000
#define SP_REQUESTS_PER_CONNECTION_MAX 256                    /* then the socket is not read */
#define SP_REQUEST_BYTES_PER_CONNECTION_MAX (8 * 1024 * 1024) /* and the one that goes beyond */
#define SP_REQUEST_OVERHEAD_BYTES 512 /* what an open request holds besides its own bytes */
#define SP_WRITE_QUEUE_BYTES_MAX (16 * 1024 * 1024) /* then requests of that peer wait */
#define SP_MESSAGE_TIMEOUT_MS 30000                 /* a started message must be complete */
#define SP_READ_CHUNK_BYTES (64 * 1024)
#define SP_TURN_BYTES (512 * 1024)      /* read in one turn of the loop: less costs throughput */
#define SP_TURN_BYTES_LEAST (16 * 1024) /* but of each connection so much */

#define SP_RESOLVER_THREADS_MAX 8 /* names that one loop asks for at once; others wait */

/* What clients make a node hold, all together (net/budget.h): messages that arrive, requests that
 * wait for the disk, answers that are not taken. Above it sockets are not read. The resident memory
 * of a node that leads and follows `logs` busy partitions stays below
 *
 *     64 MiB                                    program, metadata, one large answer being built
 *   + limits.client.bytes                       this budget
 *   + limits.client.bytes / 8                   large pieces of it are rounded up
 *   + SP_HTTP_ANSWERS_BYTES_MAX                 scrapers that read slowly
 *   + SP_MEM_KEPT_BYTES_MAX                     and, per connection, budget or not:
 *   + limits.connections * SP_CONNECTION_BYTES_MAX
 *   + SP_MESSAGE_BYTES_MAX                      one message that is let through beyond it
 *   + (nodes - 1) * (SP_PEER_QUEUE_BYTES_MAX + SP_PEER_MESSAGE_BYTES_MAX)
 *   + logs * (SP_TAIL_CACHE_BYTES + 4 * SP_WINDOW_BYTES)   stored, and on the way there
 *   + SP_KEPT_FRAMES_BYTES                                 stored, for followers to be sent
 *   + replicas * 32 KiB
 *   + SP_COORDINATOR_COUNT * 2 * SP_COORDINATOR_BYTES_MAX, as far as consumer groups exist */
#define SP_CLIENT_BYTES_DEFAULT (256 * 1024 * 1024) /* limits.client.bytes */
#define SP_CLIENT_BYTES_MIN (64 * 1024 * 1024)      /* a quarter takes any message */
#define SP_SHARE_BYTES_MIN (16 * 1024)      /* of a connection: small requests always pass */
#define SP_CONNECTION_BYTES_MAX (64 * 1024) /* its structs, its least share, one read above it */
#define SP_WITHHELD_MS 1000 /* so long the rest of a message may not come, if others need room */
#define SP_STALLED_MS 10000 /* a peer that takes nothing for so long goes, if others need room */
#define SP_UNSENT_BYTES_MAX (512 * 1024) /* that the kernel keeps for a peer, in no budget */
#define SP_COMPACTION_MEMORY_MIN 65536   /* of one shard: 2,700 keys in a pass */
#define SP_FILES_KEPT 256 /* descriptors that connections may not use up: logs need them */

/* Fetch. */
#define SP_FETCH_BYTES_DEFAULT (1024 * 1024)
#define SP_FETCH_BYTES_MAX (8 * 1024 * 1024)
#define SP_FETCH_WAIT_MS_MAX 30000
#define SP_ANSWERS_AHEAD_BYTES (2 * 1024 * 1024) /* read for a peer, not taken: no more is read */
#define SP_FETCH_BYTES_BEHIND (512 * 1024)       /* of an answer that had to wait for room */
#define SP_TRIAL_BYTES (64 * 1024)     /* of the first answer to a peer: does it take it? */
#define SP_TRUSTED_BYTES (1024 * 1024) /* who may have so much may have all that it asks for */
#define SP_TAKEN_LATE_MS 200           /* to take an answer, or to make room for one */

/* Replication. */
#define SP_APPEND_BYTES_MAX (1024 * 1024 + 128 * 1024) /* of frames in one AppendEntries */
#define SP_APPEND_FRAMES_MAX 256
#define SP_WINDOW_FRAMES_MAX 512 /* sent to one follower and not stored there yet */
#define SP_WINDOW_FRAMES_MIN 4
#define SP_WINDOW_BYTES (8 * 1024 * 1024)             /* the same: others of the link wait for it */
#define SP_INSTALL_CHUNK_BYTES (256 * 1024)           /* little of a link's queue, few messages */
#define SP_GROUP_PENDING_BYTES_MAX (32 * 1024 * 1024) /* submitted, not committed */
#define SP_GROUP_PENDING_ENTRIES_MAX 4096
#define SP_GROUP_CONFIRMS_MAX 4096 /* requests of a group that wait to hear that it still leads */
#define SP_LINK_FRAMES_BYTES (256 * 1024)          /* queued: more of them wait where they are */
#define SP_LINK_KERNEL_BYTES (256 * 1024)          /* the same in the kernel, each way, twice */
#define SP_LINK_RESERVED_BYTES (4 * 1024 * 1024)   /* being read from disk to be sent next */
#define SP_PEER_QUEUE_BYTES_MAX (64 * 1024 * 1024) /* then replication to it pauses */

/* Storage. */
#define SP_SEGMENT_BYTES_DEFAULT (64 * 1024 * 1024)
#define SP_PREFILL_BYTES_MAX (1024 * 1024) /* storage.prefill.bytes */
#define SP_SEGMENT_BYTES_MIN (64 * 1024)
#define SP_SEGMENT_BYTES_MAX (1024 * 1024 * 1024)
#define SP_SEGMENT_MS_MIN 1000 /* a file for each second is the most that makes sense */
#define SP_INDEX_INTERVAL_BYTES (64 * 1024) /* one sparse index entry per so many bytes */
#define SP_TAIL_CACHE_BYTES (1024 * 1024)   /* durable frames kept in memory per busy log */
#define SP_KEPT_FRAMES_BYTES ((size_t)256 * 1024 * 1024) /* above that, for followers, of a node */
#define SP_WORKERS_PER_SHARD 4
#define SP_YIELDING_WORKERS_MAX 3 /* besides, for clients' reads; half the processors at most */
#define SP_RECOVERY_PROGRESS_BYTES (256 * 1024 * 1024) /* some seconds of a slow disk */

/* Logs of state machines (controller, coordinators): nobody reads them but replicas that catch up,
 * so they keep little. Their commands are small: they roll after so many frames as a segment has
 * blocks of this size (16,384 by default), which a restart replays in less than a tenth of a
 * second. */
#define SP_MACHINE_ROLL_BYTES_PER_FRAME 4096
#define SP_STATE_BYTES_MAX (256 * 1024 * 1024) /* full producer table, 20,000 topics: far less */
#define SP_MACHINE_CHECKPOINTS_KEPT 3          /* one may be damaged, and a follower may be slow */

/* Producers (D6). */
#define SP_PRODUCERS_PER_PARTITION_MAX 10000
#define SP_PRODUCER_BATCHES_KEPT 5
#define SP_PRODUCER_RETRY_MS_MAX (10 * 60 * 1000) /* a full table forgets after 15 minutes */
#define SP_PRODUCER_ID_BLOCK 1000
#define SP_PRODUCER_NAMES_MAX 10000   /* each at most 510 bytes of the controller's checkpoints */
#define SP_PRODUCER_NAME_SIZE_MAX 249 /* as a consumer group's */
#define SP_PRODUCER_LAYOUT_SIZE_MAX 249
#define SP_PRODUCER_NAME_EXPIRY_MS (INT64_C(90) * 24 * 3600 * 1000) /* partitions forget sooner */

/* Consumer groups (D11). What one coordinator holds is written whole into its checkpoints, so its
 * bytes are bounded as a whole; the counts keep the loop's turn short. */
#define SP_COORDINATOR_COUNT 8 /* partitions of the internal topic: spreads leaders over nodes */
#define SP_COORDINATOR_BYTES_MAX (32 * 1024 * 1024)     /* a checkpoint of some 140 ms */
#define SP_COORDINATOR_COMMIT_RESERVE (5 * 1024 * 1024) /* of it, for offsets that are replaced */
#define SP_COORDINATOR_MEMBER_RESERVE (3 * 1024 * 1024) /* likewise, for members of known groups */
#define SP_COORDINATOR_WAITERS_MAX 10000                /* as many as there may be connections */
#define SP_CONSUMER_GROUPS_MAX 4096                     /* per coordinator: 32,768 in a cluster */
#define SP_CONSUMER_GROUP_NAME_SIZE_MAX 249             /* as a topic's */
#define SP_CONSUMER_MEMBERS_MAX 1000                    /* at all bounds 80 to 190 ms to assign */
#define SP_CONSUMER_MEMBER_ID_SIZE_MAX 64               /* the server's own take 16 */
#define SP_CONSUMER_RACK_SIZE_MAX 64                    /* a node's has 63 at the most */
#define SP_CONSUMER_TOPICS_MAX 256                      /* per member */
#define SP_CONSUMER_GROUP_TOPICS_MAX 1024               /* per group: 5 MiB while assigning */
#define SP_CONSUMER_PARTITIONS_MAX 20000                /* per group, twice a topic's most */
#define SP_CONSUMER_METADATA_SIZE_MAX 1024              /* of a committed offset */
#define SP_CONSUMER_COMMAND_BYTES_MAX (4 * 1024 * 1024)
#define SP_CONSUMER_SESSION_MS_MIN 1000 /* above what a change of leader takes */
#define SP_CONSUMER_SESSION_MS_MAX (30 * 60 * 1000)
#define SP_CONSUMER_SESSION_MS_DEFAULT 10000
#define SP_CONSUMER_REBALANCE_MS_DEFAULT 30000
#define SP_CONSUMER_EMPTY_MS (60 * 1000) /* a group with neither members nor offsets goes then */

/* HTTP endpoint. One answer stays below 16 MiB even with the longest names, and is made in some ten
 * milliseconds of the loop at most; what goes beyond is left out and counted. */
#define SP_HTTP_ANSWER_BYTES_MAX (16 * 1024 * 1024)
#define SP_HTTP_ANSWERS_BYTES_MAX (32 * 1024 * 1024) /* that clients have not taken: then 503 */
#define SP_HTTP_CONNECTIONS_MAX 32
#define SP_HTTP_REQUEST_BYTES_MAX (16 * 1024) /* line and headers of a request */
#define SP_HTTP_IDLE_S_MAX 30 /* of a connection over which nothing comes: scrapes are 15 s apart */
#define SP_HTTP_REQUEST_MS_MAX 60000 /* from its connection, or the answer before, to its answer */
#define SP_HTTP_LOOP_MS_MAX 5000     /* the loop answers in a millisecond; a stalled one does not */
#define SP_METRICS_AGE_MS 500        /* an answer that is younger is given again */
#define SP_METRICS_TOPICS_MAX 1000
#define SP_METRICS_PARTITIONS_MAX 5000
#define SP_METRICS_GROUPS_MAX 1000
#define SP_METRICS_LAGS_MAX 2000            /* consumer groups times topics */
#define SP_METRICS_LAG_PARTITIONS_MAX 50000 /* that are looked at */

/* Damaged replicas in quarantine/ of a node beyond which it asks for no new ones: each takes the
 * room of a whole replica, and a disk that has damaged so many is to be replaced. */
#define SP_QUARANTINE_MAX 64

#endif /* SP_BASE_LIMITS_H */
