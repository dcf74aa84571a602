/* What was found: a count for each kind of anomaly, and the first examples of it in words. */
#ifndef JEP_CHECK_VERDICT_H
#define JEP_CHECK_VERDICT_H

#include "history.h"

/* X(NAME, "name", "what it means") */
#define JEP_ANOMALY_LIST(X)                                                                        \
    X(LOST, "lost", "acknowledged or read, and missing in the final read")                         \
    X(UNSEEN, "unseen", "acknowledged or read, and behind all that the final read saw")            \
    X(DUPLICATE, "duplicate", "one record at several offsets")                                     \
    X(INCONSISTENT, "inconsistent-offsets", "several records at one offset")                       \
    X(ABORTED_READ, "aborted-read", "G1a: read, although its sender was told it is not stored")    \
    X(PHANTOM, "phantom", "read, although nobody sent it")                                         \
    X(EARLY_READ, "early-read", "read before it was sent")                                         \
    X(CORRUPT, "corrupt", "bytes that nobody sent, or in another partition")                       \
    X(GAP, "gap", "an offset without a record")                                                    \
    X(STALE_VALUE, "stale-value", "a reader got an older value of a key behind a newer one")       \
    X(DELETED_BACK, "deleted-back", "a reader got a value, and not the tombstone behind it")       \
    X(LOG_START, "log-start", "a log starts elsewhere than behind what was given up")              \
    X(POLL_SKIP, "poll-skip", "a reader passed over records between two polls")                    \
    X(POLL_BACK, "nonmonotonic-poll", "a reader went back between two polls")                      \
    X(INT_POLL_SKIP, "int-poll-skip", "a reader passed over records within a poll")                \
    X(INT_POLL_BACK, "int-nonmonotonic-poll", "a reader went back within a poll")                  \
    X(SEND_BACK, "nonmonotonic-send", "a later operation of a sender got a lower offset")          \
    X(INT_SEND_BACK, "int-nonmonotonic-send", "a later record of one operation, a lower offset")   \
    X(PRODUCER_ORDER, "producer-order", "records of one producer in another order than sent")      \
    X(ACK_ORDER, "ack-order", "sent after a record was known, and stored before it")               \
    X(STALE_READ, "stale-read", "the end was told lower than a record known by then")              \
    X(WATERMARK_BACK, "watermark-back", "a reader's high watermark went back")                     \
    X(COMMIT_BACK, "commit-back", "a committed offset went back")                                  \
    X(COMMIT_LOST, "commit-lost", "an acknowledged commit was not there")                          \
    X(GROUP_SKIP, "group-skip", "a member began behind records that no member has read")           \
    X(GROUP_REREAD, "group-reread", "a member began below an acknowledged commit")                 \
    X(TWO_OWNERS, "two-owners", "two members had one partition in one generation")                 \
    X(ADMIN_LOST, "admin-lost", "a topic whose creation was acknowledged does not exist")          \
    X(REPLICAS, "replicas-differ", "replicas of one partition are not equal")                      \
    X(G0, "G0", "a cycle of writes")                                                               \
    X(G1C, "G1c", "a cycle of writes and reads")                                                   \
    X(G1C_PROCESS, "G1c-process", "the same with the order of a process")                          \
    X(G1C_REALTIME, "G1c-realtime", "the same with the order of time")

enum jep_anomaly {
#define JEP_ANOMALY_ENUM(name, text, meaning) JEP_##name,
    JEP_ANOMALY_LIST(JEP_ANOMALY_ENUM)
#undef JEP_ANOMALY_ENUM
    JEP_ANOMALY_COUNT,
};

enum {
    JEP_EXAMPLES_MAX = 5, /* of each kind */
    JEP_EXAMPLE_BYTES = 512,
};

struct jep_example {
    int64_t time_ns; /* around which to look */
    uint32_t key;    /* JEP_NONE: of no partition */
    char text[JEP_EXAMPLE_BYTES];
};

struct jep_verdict {
    uint64_t counts[JEP_ANOMALY_COUNT];
    struct jep_example examples[JEP_ANOMALY_COUNT][JEP_EXAMPLES_MAX];
    uint64_t undecided; /* partitions that were not read to their end */

    /* Facts that are no anomalies. */
    uint64_t late;       /* records of unknown outcome stored behind later ones of their sender */
    uint64_t read_again; /* records that a group read more than once */
    uint64_t removed;    /* records of compacted logs that were not there in the end */
    uint64_t replicas;   /* compared, of all partitions */
    uint64_t replica_frames;
};

const char *jep_anomaly_name(enum jep_anomaly anomaly);
const char *jep_anomaly_meaning(enum jep_anomaly anomaly);

/* Counts one, and keeps its text if it is among the first. */
void jep_found(struct jep_verdict *verdict,
               enum jep_anomaly anomaly,
               uint32_t key,
               int64_t time_ns,
               const char *format,
               ...) __attribute__((format(printf, 5, 6)));

uint64_t jep_anomalies(const struct jep_verdict *verdict);

/* ---- the checks ------------------------------------------------------------------------------ */

/* Numbers the values and lays out the logs; finds INCONSISTENT. Before all others. */
void jep_history_build(struct jep_history *history, struct jep_verdict *verdict);

void jep_check_values(struct jep_history *history, struct jep_verdict *verdict);
void jep_check_starts(struct jep_history *history, struct jep_verdict *verdict);
void jep_check_compact(struct jep_history *history, struct jep_verdict *verdict);
void jep_check_polls(struct jep_history *history, struct jep_verdict *verdict);
void jep_check_sends(struct jep_history *history, struct jep_verdict *verdict);
void jep_check_time(struct jep_history *history, struct jep_verdict *verdict);
void jep_check_groups(struct jep_history *history, struct jep_verdict *verdict);
void jep_check_admin(struct jep_history *history, struct jep_verdict *verdict);
/* After all others, whose findings tell whether there can be cycles. */
void jep_check_graph(struct jep_history *history, struct jep_verdict *verdict);

/* The offset below which records of a log may have been given up until then. */
int64_t jep_given_up(const struct jep_history *history, uint32_t key, int64_t time_ns);

/* What jepsen-replicas wrote. 0, or -1 after a sentence on standard error. */
int jep_check_replicas(const char *path, struct jep_verdict *verdict);

/* ---- words ----------------------------------------------------------------------------------- */

enum {
    JEP_WORDS_BYTES = 320,
};

/* "topic/partition", "client C's record S" and the like, valid until the fourth call from now. */
const char *jep_key_words(const struct jep_history *history, uint32_t key);
const char *jep_value_words(const struct jep_history *history, uint32_t stream, uint32_t sequence);

/* ---- sorting --------------------------------------------------------------------------------- */

struct jep_moment {
    int64_t time_ns;
    uint32_t row;
    uint32_t kind; /* whatever the caller means by it */
};

/* By time; rows of one time keep their order. Linear. */
void jep_sort_moments(struct jep_moment *moments, size_t count);

#endif /* JEP_CHECK_VERDICT_H */
