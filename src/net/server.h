/* A listening port that turns accepted streams into connections of one protocol, within a bound.
 *
 * Beyond `connections_max` a new connection is closed at once with a (rate-limited) trace. */
#ifndef SP_NET_SERVER_H
#define SP_NET_SERVER_H

#include <stdint.h>

#include "net/conn.h"

struct sp_server;

struct sp_server_handler {
    /* A new connection; the receiver names its handler by sp_conn_new arguments returned here:
     * fill *out_handler and *out_arg, or return an error to close it at once. */
    int (*accept)(void *arg,
                  const char *peer,
                  const struct sp_conn_handler **out_handler,
                  void **out_arg);
    /* The connection exists and was given to `conn_arg`. */
    void (*opened)(void *arg, void *conn_arg, struct sp_conn *conn);
};

/* Errors as sp_listener_open. */
int sp_server_new(struct sp_loop *loop,
                  const char *address,
                  const struct sp_conn_protocol *protocol,
                  uint32_t connections_max,
                  const struct sp_server_handler *handler,
                  void *arg,
                  struct sp_server **out_server);

uint16_t sp_server_port(const struct sp_server *server);

uint32_t sp_server_connection_count(const struct sp_server *server);

struct sp_server_counts {
    uint32_t open; /* connections now */
    uint32_t open_max;
    uint64_t accepted; /* since the start */
    uint64_t refused;
};

void sp_server_count(const struct sp_server *server, struct sp_server_counts *out_counts);

/* From now on the connections of `other` count against the bound of `server` too; both begin to
 * close in the same turn. */
void sp_server_count_with(struct sp_server *server, const struct sp_server *other);

/* Closes connections whose peers have taken nothing of what waits for them for `stalled_ms`, as far
 * as the calls of this function have seen it, and those that send no more of a message that has
 * been given room others wait for; to be called every second while that matters. */
void sp_server_close_stalled(struct sp_server *server, uint32_t stalled_ms);

/* Stops accepting and closes all connections (after flushing them), then calls `closed` and frees
 * itself. */
void sp_server_close(struct sp_server *server, void (*closed)(void *arg), void *arg);

#endif /* SP_NET_SERVER_H */
