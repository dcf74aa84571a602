/* What the files of one link share: link.c (its life), link_send.c (what goes out). */
#ifndef SP_CLUSTER_LINK_PARTS_H
#define SP_CLUSTER_LINK_PARTS_H

#include "base/rand.h"
#include "base/trace.h"
#include "cluster/link.h"

enum link_step {
    LINK_NEW,
    LINK_CONNECTING,
    LINK_GREETING,
    LINK_UP,
    LINK_WAITING,
    LINK_CLOSING,
};

/* Where a node may be: configuration and log may differ on it, and either may be older. */
#define SP_LINK_ADDRESSES_MAX 4

struct sp_link {
    struct sp_loop *loop;
    const struct sp_link_handler *handler;
    void *arg;
    uint32_t node_id;
    enum link_step step;
    enum sp_link_state state; /* as told to the handler */
    bool was_up;              /* at this address, since it was last DEAD, or ever */
    struct sp_stream *stream; /* CONNECTING */
    struct sp_stream *probe;  /* UP: a connect that tells whether the process is there */
    struct sp_conn *conn;     /* GREETING, UP, and CLOSING until it has ended */
    struct sp_timer timer;    /* whatever the step waits for */
    uint64_t step_began_ms;
    uint64_t heard_ms;      /* last HELLO, or other sign of life */
    uint64_t written_bytes; /* at the last keepalive */
    uint32_t pause_ms;
    uint32_t hurries; /* quick attempts since it was UP */
    struct sp_rand rand;
    struct sp_buf heartbeats; /* entries of this turn */
    struct sp_deferred flush;
    struct sp_list waiters;  /* struct sp_link_waiter, in order */
    size_t reserved_bytes;   /* that others are fetching to send here */
    struct sp_deferred room; /* lets those that wait go on */
    struct sp_deferred finish;
    struct sp_trace_limit refused_limit;
    struct sp_refusals refusals; /* in either direction */
    void (*closed)(void *arg);
    void *closed_arg;
    char addresses[SP_LINK_ADDRESSES_MAX][SP_ADDRESS_SIZE_MAX]; /* the first as configured, if so */
    unsigned address_count;
    unsigned address; /* the one that is tried, or that answers */
    bool untried;     /* it was chosen while another one was tried */
};

/* link_send.c */
void sp_link_init_sending(struct sp_link *link);

/* Queues the heartbeats of this turn. */
void sp_link_flush_heartbeats(struct sp_link *link);

/* Lets those that wait go on in this turn: there is room, or there is no link any more. */
void sp_link_wake_waiters(struct sp_link *link);

/* Sends no more; `step` is LINK_CLOSING. Who waits is told now. */
void sp_link_end_sending(struct sp_link *link);

#endif /* SP_CLUSTER_LINK_PARTS_H */
