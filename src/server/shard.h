/* One shard of a process: a loop with a node on it, and the HTTP endpoint that shows the node.
 *
 *   open (main thread) --run------------> on this thread  --stop asked for--> drained, closed: run
 *                      `-run_apart------> on its own one      returns, the thread ends
 *
 * Shards share nothing but what is atomic, per thread or constant after the start: each has its
 * data directory, links, groups and workers. One that cannot go on takes the process with it, since
 * what it had to say of its disk holds for the others, too: its machine is one. */
#ifndef SP_SERVER_SHARD_H
#define SP_SERVER_SHARD_H

#include "server/config.h"

struct sp_shard;

struct sp_shard_options {
    const struct sp_config *config; /* of this node; both stay valid until it is freed */
    const struct sp_transport_options *transport;
    uint64_t files_max; /* to be told */
    int failed_code;    /* exit code of the process when a shard on a thread of its own fails */
};

/* Opens the data directory and all ports. On failure `text` says what is wrong and what to do, and
 * the process has to end: what is open stays so. */
int sp_shard_open(const struct sp_shard_options *options,
                  char *text,
                  size_t text_size,
                  struct sp_shard **out_shard);

/* Its loop, for what else the process does on it. */
struct sp_loop *sp_shard_loop(const struct sp_shard *shard);

/* Runs it until it has stopped; false: it failed, and nothing of it is to be flushed or closed. */
bool sp_shard_run(struct sp_shard *shard);

/* The same on a thread of its own; when it fails the process ends there and then. SPATE_ERR_NOMEM,
 * SPATE_ERR_INTERNAL when the system refuses a thread. */
int sp_shard_run_apart(struct sp_shard *shard);

/* Hands leadership over and closes everything; then `run` returns. Idempotent. Any thread, until
 * it is joined. */
void sp_shard_stop(struct sp_shard *shard);

/* Waits until a shard on a thread of its own has stopped, and frees it; others are just freed. */
void sp_shard_free(struct sp_shard *shard);

#endif /* SP_SERVER_SHARD_H */
