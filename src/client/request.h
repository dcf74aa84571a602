/* One call that any server may answer: tries them in turn until one does or the deadline passes.
 *
 *            .---------- not reached, not ready, not answered (if repeatable) ----------.
 *            v                                                                           |
 *   start -> CALLING one server --answer or final error--> done                          |
 *              |  unsent after a moment's patience: next server, no harm done            |
 *              '---------------------> PAUSING (10..100 ms, after each round) -----------'
 *
 * Invariants:
 *  I1  The callback runs exactly once, never inside sp_request_start, unless cancelled.
 *  I2  A request that is not repeatable is sent a second time only if the first was refused for
 *      sure; after a lost answer it ends with SPATE_ERR_CLOSED or SPATE_ERR_TIMEOUT. */
#ifndef SP_CLIENT_REQUEST_H
#define SP_CLIENT_REQUEST_H

#include "client/client.h"

struct sp_request;

/* `status` 0: `result` (borrowed) is the answer. Otherwise `text` (borrowed) says why. */
typedef void (*sp_request_cb)(struct sp_request *request,
                              int status,
                              struct sp_bytes result,
                              const char *text);

/* Embedded by its owner, who fills the first part; the rest begins all zero. */
struct sp_request {
    struct spate_client *client;
    const char *method;
    struct sp_bytes params;  /* one encoded map, borrowed until the callback */
    const char *address;     /* only this server, borrowed; NULL: any */
    uint64_t deadline_ms;    /* as sp_loop_now_ms */
    uint32_t attempt_ms;     /* how long one server may take; 0: all the time there is */
    uint32_t unreachable_ms; /* gives up so long after the start while no server was reached */
    bool repeatable;         /* doing it twice does no harm */
    bool apart;              /* on connections of its own, beside the fetches */
    bool in_turn;            /* begins with the next server: the connected one was of no use */
    sp_request_cb cb;

    struct sp_rpc_call call;
    struct sp_timer timer; /* patience while CALLING, pause while PAUSING */
    bool calling;
    bool reached;   /* some server took a request */
    bool answered;  /* some server said why not: `status` and `text` are its own */
    bool uncertain; /* some attempt may have had its effect, whatever later ones are told */
    uint32_t first; /* server of the first attempt */
    uint32_t attempts;
    uint32_t turns;       /* of them, but for those at a leader that a server has named */
    uint32_t answered_at; /* which of these was answered last */
    bool named;           /* the attempt that runs is at such a leader */
    uint64_t started_ms;
    int status;                             /* of the last attempt, or the last that was answered */
    char hint[SP_ADDRESS_SIZE_MAX];         /* the next server by its predecessor's word; "" */
    char asked[SP_ADDRESS_SIZE_MAX];        /* the server of the last attempt; "": there was none */
    enum sp_stream_trouble trouble;         /* why a server was not reached, */
    char trouble_text[SP_RPC_TROUBLE_SIZE]; /* the same in words, */
    char troubled[SP_ADDRESS_SIZE_MAX];     /* and which: */
    bool trouble_named;                     /* a leader that a server has named */
    char text[SP_CLIENT_ERROR_SIZE];
};

/* Starts; everything goes on in later turns. SPATE_ERR_NOMEM. */
int sp_request_start(struct sp_request *request);

#define SP_REQUEST_PATIENCE_MS 100 /* for a connection in the first round; doubles per round */

/* True if nothing is known of what a server said. */
bool sp_request_status_lost(int status);

/* Remembers why the server that was asked is not reached. A name without an address is not
 * forgotten for what becomes of another server: the list of servers may be wrong then. Nor is a
 * leader that a server has named, as long as that is the last word. */
void sp_request_note_trouble(struct sp_request *request,
                             enum sp_stream_trouble trouble,
                             const char *text);

/* Remembers the last word: that of a server, rather than what became of attempts at others in the
 * same round, or at the leader that it named. */
void sp_request_note_word(struct sp_request *request, int status, const char *text);

/* What to say at the deadline; returns the status. */
int sp_request_tell_given_up(const struct sp_request *request, char out_text[SP_CLIENT_ERROR_SIZE]);

/* What to say when none of `servers` was reached. */
void sp_request_tell_unreached(const struct sp_request *request,
                               const char *servers,
                               char out_text[SP_CLIENT_ERROR_SIZE]);

/* The server of the last attempt, valid until the request is started again. */
const char *sp_request_server(const struct sp_request *request);

/* Ends it without a callback; fine when it is not running. */
void sp_request_cancel(struct sp_request *request);

/* Starts `request` and turns the loop until it is done. *out_result (NULL: not wanted) is a copy to
 * be freed by sp_mem_free. Sets the client's error text. */
int sp_request_wait(struct sp_request *request, void **out_result, size_t *out_size);

/* What must not be sent twice goes to a server that has just answered: one that hangs would keep it
 * until the deadline, and nobody could ask another one then. This finds one, if there is a choice;
 * 0 or the code of a failure, with the client's error text. */
int sp_request_find_alive(struct spate_client *client, uint64_t deadline_ms);

/* True for methods that only read, and can be repeated without a second thought. */
bool sp_request_method_repeatable(const char *method);

#endif /* SP_CLIENT_REQUEST_H */
