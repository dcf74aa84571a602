/* What a client of fault injection does: options, the means that all workloads share, and the list
 * of workloads. */
#ifndef JEP_WORKLOAD_H
#define JEP_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rand.h"
#include "history.h"
#include "spate/spate.h"

enum {
    JEP_PARTITIONS_MAX = 256,
    JEP_BURST_MAX = 1000,
    JEP_POLL_MAX = 256, /* records of one poll */
};

struct jep_options {
    const char *workload;
    const char *brokers;
    const char *topic;
    const char *history;
    const char *group;    /* "": none */
    const char *instance; /* "": none */
    uint32_t partitions;
    uint32_t id;
    uint64_t seed;
    double seconds; /* how long to work */
    double rate;    /* records a second */
    uint32_t burst; /* mean records of an operation */
    uint32_t size;  /* bytes of a value */
    int64_t keep;   /* records that the topic's limits leave at least; -1: it has none */
    uint32_t keys;  /* of a client in a partition of a compacted topic; 0: it is not compacted */
    uint32_t delete_ms; /* tombstones stay so long; 0: not known */
    uint32_t timeout_ms;
    uint32_t session_ms;
    bool commit_by_hand;
};

/* Open to all workloads; one for each process. */
struct jep_client {
    struct jep_options options;
    struct jep_history *history;
    struct sp_rand rand;
    struct spate_client *spate; /* NULL in workloads that bring their own connection */
    int64_t end_ns;
};

struct jep_workload {
    const char *name;
    bool raw; /* talks without libspate */
    int (*run)(struct jep_client *client);
};

/* Each returns the exit code of the program. */
int jep_produce(struct jep_client *client);
int jep_mixed(struct jep_client *client);
int jep_consume(struct jep_client *client);
int jep_group(struct jep_client *client);
int jep_observe(struct jep_client *client);
int jep_admin(struct jep_client *client);
int jep_trim(struct jep_client *client);
int jep_read(struct jep_client *client);
int jep_reread(struct jep_client *client);
int jep_raw(struct jep_client *client);
int jep_raw_group(struct jep_client *client);

/* False once the time is over or SIGTERM came. */
bool jep_goes_on(const struct jep_client *client);

/* Waits, doing nothing, until `due_ns`, or until the work is to end. */
void jep_wait(struct jep_client *client, int64_t due_ns);

/* Ends the program with 2 after a sentence on standard error: the harness is wrong, or the library
 * broke a promise that no history tells. */
_Noreturn void jep_die(const struct jep_client *client, const char *what, int code);

/* Uniform in [1, 2 * mean - 1]. */
uint32_t jep_draw(struct jep_client *client, uint32_t mean);

/* When the operation behind one of `records` records is due, for the rate that is wanted. */
int64_t jep_pace(const struct jep_client *client, int64_t last_due_ns, uint32_t records);

/* ---- sending, also from within mixed --------------------------------------------------------- */

struct jep_sender;

struct jep_sender *jep_sender_new(struct jep_client *client);

/* One operation: sends a burst to a partition drawn by chance, and writes what was reported so far.
 * Nothing happens while too much is on its way. */
void jep_sender_burst(struct jep_sender *sender);

/* Lets the library work for up to `timeout_ms` and writes what it reports. */
void jep_sender_poll(struct jep_sender *sender, int timeout_ms);

/* Waits a little for what is on its way, writes the rest as unknown, frees everything. */
void jep_sender_free(struct jep_sender *sender);

/* ---- reading, also from within mixed --------------------------------------------------------- */

/* Up to JEP_POLL_MAX records, at most `timeout_ms`: checks their bytes and writes the line, marked
 * as `mark` says (""). Returns what spate_consumer_batch returns; the last record of it in
 * *out_last. */
int jep_poll(struct jep_client *client,
             struct spate_consumer *consumer,
             int timeout_ms,
             const char *mark,
             struct spate_message *out_last);

/* The partition is read from `offset` on (SPATE_OFFSET_START: the start): by a seek, or by being
 * given up and assigned anew, by chance. Written down. */
void jep_read_from(struct jep_client *client,
                   struct spate_consumer *consumer,
                   uint32_t partition,
                   int64_t offset);

/* Writes that a reader goes on behind what is given up. */
void jep_say_skipped(struct jep_client *client, const struct spate_partition *partition);

/* A consumer of all partitions, from their start, said in the history. */
struct spate_consumer *jep_assign_all(struct jep_client *client);

#endif /* JEP_WORKLOAD_H */
