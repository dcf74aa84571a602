/* A connection to a Spate cluster: where to find it, and how it works while nobody calls.
 *
 *   config -> client -> producers, consumers, admin calls
 *
 * Threads. A client with its producers and consumers may be used from many threads at the same
 * time. A thread of its own (io.thread=on) sends, receives and tries again between calls; it never
 * runs code of the program: callbacks run only inside spate_poll and the calls that say so, on the
 * thread that called, and may call the library themselves. Callbacks of one producer run one after
 * the other. What a consumer hands out is valid until the next call on that consumer, from whatever
 * thread: let each thread have a consumer of its own.
 *
 * With io.thread=off there is no such thread: nothing happens between calls, and the client belongs
 * to one thread at a time.
 *
 * After fork() only the parent may use a client; the child may do no more than exit or exec.
 *
 * Functions return 0 or a negative SPATE_ERR_* code; spate_client_error then says in a sentence
 * what happened and what to do. */
#ifndef SPATE_CLIENT_H
#define SPATE_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#include "spate/error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SPATE_API __attribute__((visibility("default")))

struct spate_config;
struct spate_client;

/* The version of the library: "0.1.0". */
SPATE_API const char *spate_version(void);

/* The same as a number that grows with it: major * 1000000 + minor * 1000 + patch. */
SPATE_API uint32_t spate_version_number(void);

/* Defaults, then SPATE_SERVERS from the environment when it is set. NULL: out of memory. */
SPATE_API struct spate_config *spate_config_new(void);

/* Sets one key from text:
 *   servers            "host:port,host:port"   where to ask first (127.0.0.1:7700)
 *   client.name        shown by the servers    ("libspate")
 *   client.rack        where this client runs: consumers read from a replica in the rack of that
 *                      name if there is one, else from the leader ("")
 *   timeout.ms         deadline of each call and of each record's delivery (30000); with
 *                      producers 600000 at most
 *   linger.ms          how long a batch waits for more records (5)
 *   batch.bytes        a batch is sent when it reaches this size (524288)
 *   compression        none | lz4 (none)
 *   max.in.flight      batches of one partition that wait for an answer (5)
 *   producer.name      under which producers go on in another process; see spate/producer.h (none)
 *   producer.layout    how they spread records over partitions, the same at each use ("")
 *   buffer.bytes       records that wait in the producer in all (33554432)
 *   fetch.bytes        bytes asked for per fetch (2097152)
 *   fetch.wait.ms      how long a server may hold an empty fetch (500)
 *   io.thread          on | off: the client works between calls, on a thread of its own (on)
 *   linearizable       on | off: what was acknowledged before offsets or a fetch is asked for is in
 *                      the answer, whatever has become of the leader; costs a round trip (off)
 *   prefetch.bytes     records that wait in a consumer in all; one batch of each partition always
 *                      finds room (16777216)
 *   stall.ms           a partition that gives nothing for so long is told as STALLED (60000; 0: no)
 *   group.id           the consumer group of this client's consumers ("")
 *   group.instance     name of this process in the group, the same after a restart ("": a new one)
 *   session.ms         a member that is not heard of for so long is out (10000)
 *   rebalance.ms       so long may giving up a partition take (30000)
 *   commit.interval.ms how often what is processed is committed by itself (5000; 0: never)
 *   offset.reset       start | end | none: where to begin without a committed offset (start). A
 *                      position whose record was deleted goes on at the first one that is kept,
 *                      with an event; with none that is an error
 * Numbers of keys that end in .ms and .bytes may have another unit: 250ms, 30s, 5m; 64K, 16M
 * (powers of 1024). SPATE_ERR_NOT_FOUND: no such key; SPATE_ERR_INVALID: not a value of it;
 * SPATE_ERR_NOMEM. */
SPATE_API int spate_config_set(struct spate_config *config, const char *key, const char *value);

/* The value of a key as text, with its NUL in `out`. SPATE_ERR_NOT_FOUND: no such key;
 * SPATE_ERR_TOO_LARGE: it needs more than `out_size`, which is never so with 256 bytes, but for
 * servers. */
SPATE_API int
spate_config_get(const struct spate_config *config, const char *key, char *out, size_t out_size);

/* What spate_config_set takes for a key, as text for people, with its NUL in `out`: "none or lz4",
 * "a number from 0 to 60000". SPATE_ERR_NOT_FOUND: no such key; SPATE_ERR_TOO_LARGE: it needs more
 * than `out_size`, which is never so with 128 bytes. */
SPATE_API int spate_config_allowed(const char *key, char *out, size_t out_size);

#define SPATE_LOG_ERROR 0 /* records or partitions are given up */
#define SPATE_LOG_WARN 1  /* something is tried again */
#define SPATE_LOG_INFO 2  /* leaders change */

/* A line for the program's log, without newline, valid until return. */
typedef void (*spate_log_cb)(void *arg, int level, const char *text);

/* Where a client tells what it meets on its way (NULL: nowhere, the default). `cb` runs on any
 * thread, the client's own too, while the client is locked: it must not call the library. At most
 * 20 lines per second. NULL as `config` is passed over. */
SPATE_API void spate_config_set_log(struct spate_config *config, spate_log_cb cb, void *arg);

/* Frees a configuration; clients made with it keep their copies. NULL is fine. */
SPATE_API void spate_config_free(struct spate_config *config);

/* A client with a copy of `config` (NULL: defaults). Connects at the first need. SPATE_ERR_NOMEM,
 * SPATE_ERR_BUSY: no descriptor is left; SPATE_ERR_INTERNAL: the system gives no thread. */
SPATE_API int spate_client_new(const struct spate_config *config, struct spate_client **out_client);

/* Waits until a server has described the cluster, at most `timeout_ms` (-1: timeout.ms): for
 * programs that want to know at their start. SPATE_ERR_UNREACHABLE, SPATE_ERR_TIMEOUT,
 * SPATE_ERR_CANCELED. */
SPATE_API int spate_client_connect(struct spate_client *client, int timeout_ms);

/* Figures as JSON text in *out_json, freed by the caller with spate_free: connections, what each
 * producer has taken, reported, holds and sent again, what each consumer has assigned and how far
 * behind it is. Keys may be added, not taken away. SPATE_ERR_NOMEM. */
SPATE_API int spate_client_stats(struct spate_client *client, char **out_json);

/* Closes everything without waiting for deliveries. Producers and consumers of it must have been
 * freed, and no other thread may be in a call on it. NULL is fine. */
SPATE_API void spate_client_free(struct spate_client *client);

/* The end of a client in order: waits until every record of its producers is reported, at most
 * `timeout_ms` (-1: their own deadlines), and closes its consumers as spate_consumer_close does in
 * what is left of that time (-1: timeout.ms each); ends calls that other threads wait in, with
 * SPATE_ERR_CANCELED; reports records that are left with the same code; then frees the producers,
 * the consumers and the client. Callbacks run inside. Calls that begin on other threads meanwhile
 * are refused with SPATE_ERR_CANCELED; none may begin once this has returned. All of this is done
 * whatever fails on the way; returns 0, or the first failure: SPATE_ERR_TIMEOUT when records were
 * left, or what closing a consumer returned (see spate_consumer_close). Inside a callback of this
 * client it does nothing and returns SPATE_ERR_INVALID. NULL is fine. */
SPATE_API int spate_client_close(struct spate_client *client, int timeout_ms);

/* Lets the client work for up to `timeout_ms` (0: what is ready now) and returns as soon as a
 * callback ran. Returns how many callbacks ran, or a negative code. */
SPATE_API int spate_poll(struct spate_client *client, int timeout_ms);

/* A descriptor for poll(2) and the like. It is readable when spate_poll has callbacks to run or
 * spate_consumer_next has something to return without waiting; call them with a timeout of 0 until
 * they return 0 and SPATE_ERR_AGAIN, then wait again. With io.thread=off it is readable also when
 * the client has to work, and spate_client_wait_ms limits the wait. It belongs to the client, which
 * alone reads and closes it. SPATE_ERR_BUSY: no descriptor is left. */
SPATE_API int spate_client_fd(struct spate_client *client);

/* How long to wait for that descriptor at most, in milliseconds: 0: call now; -1: as long as you
 * like. Ask each time before waiting. */
SPATE_API int spate_client_wait_ms(struct spate_client *client);

/* What the calling thread's last failing call on this client said, in a sentence; "" when there was
 * none. Valid until this thread's next call. Kept for the 64 threads that failed last. */
SPATE_API const char *spate_client_error(const struct spate_client *client);

/* Any method of the protocol: `params` is one MessagePack map, *out_result (freed by the caller
 * with spate_free) one MessagePack value. Tries the known servers in turn until one answers; a call
 * that may have had its effect is not made twice. SPATE_ERR_UNREACHABLE: none was reached within
 * three seconds; SPATE_ERR_TIMEOUT and SPATE_ERR_CLOSED: the outcome is unknown; or what the server
 * said. */
SPATE_API int spate_call(struct spate_client *client,
                         const char *method,
                         const void *params,
                         size_t params_size,
                         void **out_result,
                         size_t *out_result_size);

/* As spate_call, on the node that leads `partition` of `topic`. */
SPATE_API int spate_call_leader(struct spate_client *client,
                                const char *topic,
                                uint32_t partition,
                                const char *method,
                                const void *params,
                                size_t params_size,
                                void **out_result,
                                size_t *out_result_size);

/* Gives back memory that a call handed out. NULL is fine. */
SPATE_API void spate_free(void *pointer);

/* One header of a record. `value` NULL with size 0: an absent value. */
struct spate_header {
    const char *name;
    size_t name_size;
    const void *value;
    size_t value_size;
};

#ifdef __cplusplus
}
#endif

#endif /* SPATE_CLIENT_H */
