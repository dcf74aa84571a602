/* The simulated network: connections with bytes in flight, partitions, deaths noticed late or
 * never.
 *
 *   stream A --write--> flight A->B --arrival--> received of B --read--> stream B
 *                         | partition: waits, sent again with growing pauses; after a while
 *                         | A's side is broken while B knows nothing (half open)
 *
 * A direction delivers in order. A side whose process was killed answers with a reset; one whose
 * machine is off does not answer; after its restart it does not know the connection: reset. */
#ifndef SP_SIM_NET_H
#define SP_SIM_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/list.h"
#include "io/stream.h"
#include "sim_parts.h"

#define SIM_PROCESSES_MAX 32u
#define SIM_WINDOW_BYTES (128u * 1024)

struct sim_attempt;
struct sim_conn;

struct sim_chunk {
    struct sp_list node;
    uint64_t arrival_us;
    size_t size;
    bool end;   /* nothing follows: orderly */
    bool reset; /* the connection is gone */
    uint8_t bytes[];
};

/* One end of a connection. */
struct sim_side {
    struct sp_list node; /* in its process, while it lives */
    struct sim_conn *conn;
    struct sim_process *process;
    uint64_t boot;
    struct sp_stream *stream; /* NULL: closed, died, or not yet accepted */
    bool closed;              /* no stream will come (back) */
    bool broken;              /* this end knows that the connection is gone */
    bool end_received;

    uint8_t *received;
    size_t received_start;
    size_t received_size;
    size_t received_capacity;

    struct sp_list flight; /* struct sim_chunk on their way to the other side */
    size_t flight_bytes;
    uint64_t last_arrival_us;
    bool pumping; /* an event for the flight's first chunk is under way */
    uint64_t stalled_since_us;
    uint64_t retry_us;
};

struct sim_conn {
    struct sp_list node; /* in the net's list */
    uint64_t number;
    struct sim_side side[2]; /* 0: connected, 1: accepted */
    uint64_t give_up_us;     /* unanswered bytes break a side after so long */
};

struct sp_listener {
    struct sp_list node;
    struct sp_loop *loop;
    sp_accept_cb cb;
    void *arg;
    uint16_t port;
    bool closing;
    struct sim_ready closed;
    char address[SP_ADDRESS_SIZE_MAX];
};

enum sim_stream_state {
    SIM_STREAM_CONNECTING,
    SIM_STREAM_OPEN,
    SIM_STREAM_FAILED,
};

struct sp_stream {
    struct sp_loop *loop;
    enum sim_stream_state state;
    struct sim_side *side; /* NULL: not connected */
    sp_connect_cb connect_cb;
    void *connect_arg;
    bool connect_done;
    int connect_status;
    struct sim_attempt *attempt; /* to connect, under way; NULL: none */

    const struct sp_stream_reader *reader;
    void *reader_arg;
    bool reading;
    bool ended;
    bool broken;

    struct sp_list queued;
    struct sp_list completed;
    struct sp_list failed;
    size_t queued_bytes;
    struct sp_deferred report;
    struct sim_ready ready; /* readable, writable, or to be freed */

    bool closing;
    bool held; /* keeps its loop alive */
    void (*closed_cb)(void *arg);
    void *closed_arg;
    char peer[SP_ADDRESS_SIZE_MAX];
};

/* How the network behaves; all of it may change at any time. */
struct sim_net {
    struct sp_list conns;
    struct sp_list listeners;
    uint64_t conn_count;
    uint64_t latency_us[SIM_PROCESSES_MAX][SIM_PROCESSES_MAX]; /* one way */
    unsigned blocked[SIM_PROCESSES_MAX][SIM_PROCESSES_MAX];    /* partitions on that way */
    bool trickles;                                             /* readers get few bytes at a time */
    uint64_t bytes;                                            /* delivered */
    /* Looks at all bytes as they are written, or NULL. */
    void (*tap)(struct sim_side *side, const uint8_t *bytes, size_t size);
};

extern struct sim_net sim_net;

void sim_net_init(void);

/* Latency between all pairs, both ways, from the seed. Call when all processes exist. */
void sim_net_draw_latencies(uint64_t usual_us);

bool sim_net_blocked(const struct sim_process *from, const struct sim_process *to);

/* A way opens or closes. */
void sim_net_block(const struct sim_process *from, const struct sim_process *to, int change);

/* Cuts one connection: each side learns of it at a time of its own. */
void sim_net_cut(struct sim_conn *conn);

/* Cuts one connection by chance, if there is any. False: there is none. */
bool sim_net_cut_some(struct sp_rand *rand);

/* ---- between sim_net.c and sim_stream.c ------------------------------------------------------ */

/* How many bytes the side may still send now. */
size_t sim_side_window(const struct sim_side *side);

/* Sends a copy. `end`: nothing follows. */
void sim_side_send(struct sim_side *side, const uint8_t *bytes, size_t size, bool end);

/* The stream is gone; what is in flight still arrives. */
void sim_side_close(struct sim_side *side);

/* The reader took `size` bytes. */
void sim_side_consumed(struct sim_side *side, size_t size);

/* Begins an attempt to connect. */
void sim_net_connect(struct sp_stream *stream);

/* The stream closes: its attempt, if there is one, goes on without it. */
void sim_net_forget_attempt(struct sp_stream *stream);

/* The result of an attempt, in the stream's process. */
void sim_stream_connected(struct sp_stream *stream, struct sim_side *side);
void sim_stream_refused(struct sp_stream *stream);

/* A stream for the accepting side, handed to the listener. */
void sim_stream_accepted(struct sp_listener *listener, struct sim_side *side);

/* Something to read, room to write, or the connection is gone. */
void sim_stream_look(struct sp_stream *stream);

#endif /* SP_SIM_NET_H */
