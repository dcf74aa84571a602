/* The one list of result codes, shared by the library, the nodes and the protocol.
 *
 * Every function of Spate that can fail returns 0 or one of these negative codes. On the wire an
 * error is the string "NAME: text" where NAME is the code without the SPATE_ERR_ prefix. Codes are
 * never renumbered and never reused. */
#ifndef SPATE_ERROR_H
#define SPATE_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

/* X(NAME, number, retriable, meaning) */
#define SPATE_ERROR_LIST(X)                                                                        \
    X(INTERNAL, -1, 0, "a bug in Spate: please report it with the trace")                          \
    X(NOMEM, -2, 1, "out of memory")                                                               \
    X(INVALID, -3, 0, "an argument or a field is missing or not allowed")                          \
    X(BUSY, -4, 1, "a queue or table is full: retry after a pause")                                \
    X(TIMEOUT, -5, 1, "no answer within the deadline: the outcome is unknown")                     \
    X(CLOSED, -6, 1, "the connection was closed")                                                  \
    X(CANCELED, -7, 0, "given up because its owner closed")                                        \
    X(UNREACHABLE, -8, 1, "no server could be reached")                                            \
    X(AGAIN, -9, 1, "not yet: more input is needed")                                               \
    X(EXISTS, -10, 0, "it exists already")                                                         \
    X(MALFORMED, -11, 0, "the bytes can never become a valid message")                             \
    X(TOO_LARGE, -12, 0, "larger than the receiver allows")                                        \
    X(NOT_FOUND, -13, 0, "no such thing")                                                          \
    X(UNKNOWN_METHOD, -14, 0, "the server has no such method")                                     \
    X(UNKNOWN_TOPIC, -15, 0, "no such topic")                                                      \
    X(UNKNOWN_PARTITION, -16, 0, "the topic has no such partition")                                \
    X(NOT_LEADER, -17, 1, "another node leads this partition")                                     \
    X(LEADER_UNKNOWN, -18, 1, "this partition has no leader at the moment")                        \
    X(LEADER_CHANGED, -19, 1, "leadership moved before the outcome was known")                     \
    X(OFFSET_OUT_OF_RANGE, -20, 0, "the offset is outside the log")                                \
    X(CORRUPT, -21, 0, "a checksum or structure check failed")                                     \
    X(OUT_OF_ORDER_SEQUENCE, -22, 0, "a batch of this producer is missing before this one")        \
    X(UNKNOWN_PRODUCER, -23, 0, "the producer is not known here and its sequence is not 0")        \
    X(PRODUCER_FENCED, -24, 0, "a newer epoch of this producer exists")                            \
    X(WRONG_CLUSTER, -25, 0, "the peer belongs to another cluster")                                \
    X(LOCKED, -26, 0, "another process uses this data directory")                                  \
    X(IO, -27, 0, "reading or writing the disk failed")                                            \
    X(NO_SPACE, -28, 1, "the disk is full")                                                        \
    X(NOT_READY, -29, 1, "the node starts or is cut off, or the cluster has not formed yet")       \
    X(CONFIG, -30, 0, "the configuration is not valid")                                            \
    X(UNSUPPORTED, -31, 0, "this version does not support it")                                     \
    X(STOPPED, -32, 1, "the replica has stopped itself")                                           \
    X(GROUP_FENCED, -33, 0, "another member of the consumer group has this partition by now")      \
    X(UNKNOWN_MEMBER, -34, 0, "the consumer group does not know this member: join again")

enum {
#define SPATE_ERROR_ENUM(name, number, retriable, meaning) SPATE_ERR_##name = number,
    SPATE_ERROR_LIST(SPATE_ERROR_ENUM)
#undef SPATE_ERROR_ENUM
};

/* Static name of a code ("NOT_LEADER"), "OK" for 0, "UNKNOWN" for a number not in the list. */
__attribute__((visibility("default"))) const char *spate_error_name(int code);

/* Static one-line meaning of a code. */
__attribute__((visibility("default"))) const char *spate_strerror(int code);

/* 1 if trying the same call again can succeed without anybody changing anything. */
__attribute__((visibility("default"))) int spate_error_retriable(int code);

/* The code of a name of `size` bytes, or SPATE_ERR_INTERNAL when the name is not in the list, or
 * NULL. */
__attribute__((visibility("default"))) int spate_error_from_name(const char *name,
                                                                 unsigned long size);

#ifdef __cplusplus
}
#endif

#endif /* SPATE_ERROR_H */
