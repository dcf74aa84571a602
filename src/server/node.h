/* One node: builds the layers bottom-up, connects their events, tears them down top-down.
 *
 *   store -> transport -> group_table -> controller -> reconcile -> broker
 *
 *   STARTING --formed--> RUNNING --stop--> DRAINING (leadership handed over) --> CLOSING --> gone
 *        `------------------- disk or controller failed: `failed`, the process must end --> */
#ifndef SP_SERVER_NODE_H
#define SP_SERVER_NODE_H

#include <stdint.h>

#include "server/config.h"

struct sp_exposition;
struct sp_node;
struct sp_pack;

struct sp_node_handler {
    /* The node cannot go on and must not be used again; `text` says why. */
    void (*failed)(void *arg, int status, const char *text);
    /* sp_node_stop is done; the node is gone. */
    void (*stopped)(void *arg);
};

/* Opens the data directory and both ports. On failure `text` says what to do. `config` and
 * `transport` (from sp_config_finish) stay valid as long as the node. */
int sp_node_start(struct sp_loop *loop,
                  const struct sp_config *config,
                  const struct sp_transport_options *transport,
                  const struct sp_node_handler *handler,
                  void *arg,
                  char *text,
                  size_t text_size,
                  struct sp_node **out_node);

/* Hands leadership over, closes everything, calls handler.stopped. Idempotent. */
void sp_node_stop(struct sp_node *node);

/* ---- for the HTTP endpoint ---- */

/* Writes the metrics of all layers; `partitions`: those of single partitions, too. Nothing once it
 * closes. */
void sp_node_expose(const struct sp_node *node, struct sp_exposition *exposition, bool partitions);

/* True if the node serves and is not behind; else `text` says why not. */
bool sp_node_is_ready(const struct sp_node *node, char *text, size_t text_size);

/* The node's status, one map. SPATE_ERR_NOT_READY once it closes. */
int sp_node_pack_status(const struct sp_node *node, struct sp_pack *pack);

#endif /* SP_SERVER_NODE_H */
