/* One shard of a process: a loop with a node on it, and the HTTP endpoint that shows the node.
 *
 *   new, open --run---------> on this thread     --stop asked for--> drained, closed: run returns,
 *            `--run_apart---> on one of its own                      the thread ends
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
    int failed_code;    /* exit code of a process of several shards, when this one fails */
};

/* A shard with its loop, which nothing uses yet. SPATE_ERR_NOMEM, SPATE_ERR_INTERNAL. */
int sp_shard_new(const struct sp_shard_options *options, struct sp_shard **out_shard);

/* Opens the data directory and all ports, before it runs. On failure `text` says what is wrong and
 * what to do, and the process has to end: what is open stays so. */
int sp_shard_open(struct sp_shard *shard, char *text, size_t text_size);

/* Its /readyz answers for all: it says no while one of the `count` others is not ready. They stay
 * valid as long as it runs. Before any of them does. */
void sp_shard_answer_for(struct sp_shard *shard, struct sp_shard *const *others, unsigned count);

/* Its loop, for what else the process does on it. */
struct sp_loop *sp_shard_loop(const struct sp_shard *shard);

/* Runs it until it has stopped; false: it failed, and nothing of it is to be flushed or closed. One
 * of several ends the process there and then. */
bool sp_shard_run(struct sp_shard *shard);

/* The same on a thread of its own. SPATE_ERR_NOMEM, SPATE_ERR_INTERNAL when the system refuses a
 * thread. */
int sp_shard_run_apart(struct sp_shard *shard);

/* Hands leadership over and closes everything; then `run` returns. Idempotent. Any thread, until
 * it is joined. */
void sp_shard_stop(struct sp_shard *shard);

/* Waits until a shard on a thread of its own has stopped, and frees it; others are just freed. */
void sp_shard_free(struct sp_shard *shard);

#endif /* SP_SERVER_SHARD_H */
