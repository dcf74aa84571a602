/* What those who watch a node are shown over HTTP: metrics, is it alive, is it ready, its status.
 * Calls on the loop's thread. */
#ifndef SP_SERVER_WATCH_H
#define SP_SERVER_WATCH_H

#include "server/config.h"
#include "server/node.h"

struct sp_watch;

/* Opens the HTTP endpoint; *out_watch is NULL when none is wanted, or when the default address is
 * in use, which is traced: a node serves its records without it. An address that was asked for must
 * be free: errors of sp_http_open. `config` and `node` stay valid until it is closed. */
int sp_watch_open(struct sp_loop *loop,
                  const struct sp_config *config,
                  const struct sp_node *node,
                  struct sp_watch **out_watch);

/* /readyz says no as long as `ready` does, and its text, besides what this node says itself. Before
 * the loop runs; NULL is fine. */
void sp_watch_ask_also(struct sp_watch *watch,
                       bool (*ready)(void *arg, char *text, size_t text_size),
                       void *arg);

/* The node begins to stop: from now on /readyz says so, at once. NULL is fine. */
void sp_watch_node_stops(struct sp_watch *watch);

/* NULL is fine. */
void sp_watch_close(struct sp_watch *watch);

#endif /* SP_SERVER_WATCH_H */
