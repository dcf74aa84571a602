/* The client's inside: one loop, the servers it knows, one connection per address.
 *
 *   public call -> request (any server, in turn)     -> connection -> sp_rpc -> src/io
 *               -> producer, consumer (leaders)      ->
 *                    ^ leaders from metadata, which asks by a request of its own
 *
 * The loop turns inside calls of the API, or on the client's own thread (driver.h). Callbacks of
 * rpc and timers record facts and start further calls; callbacks of the user wait in queues and run
 * between turns, from spate_poll and the producer's calls. All of src/client is used by one thread
 * at a time: every public function begins with SP_CLIENT_HOLD. Whatever waits (sp_client_run) lets
 * others in, and has to look anew at what it knew before. */
#ifndef SP_CLIENT_CLIENT_H
#define SP_CLIENT_CLIENT_H

#include <stdbool.h>

#include "base/attr.h"
#include "base/list.h"
#include "base/map.h"
#include "base/trace.h"
#include "client/config.h"
#include "client/driver.h"
#include "io/loop.h"
#include "net/rpc.h"
#include "wire/pack.h"

#define SP_CLIENT_CONNECTIONS_MAX 256 /* hints of a confused server must not fill memory */
#define SP_CLIENT_UNREACHABLE_MS 3000 /* a first call gives up so soon when nobody listens */
#define SP_CLIENT_TURN_MS 10          /* who is called all the time still works so often */
#define SP_CLIENT_PAUSE_MIN_MS 10     /* between tries: short, as elections are */
#define SP_CLIENT_PAUSE_MAX_MS 100

struct sp_json;
struct sp_metadata_cache;

/* One address, connected at the first call. When there are too many, the one goes that was not
 * asked for the longest, has no calls, and is in no view. */
struct sp_connection {
    struct spate_client *client;
    struct sp_rpc *rpc;
    char key[SP_ADDRESS_SIZE_MAX + 1]; /* in the client's map */
    uint64_t used;                     /* the client's count when it was asked for last */
    unsigned view_count;               /* pointers of views, see sp_connection_point */
    struct sp_rpc_call hello;          /* tells the server this client's name once */
    bool hello_running;
    bool hello_done;
};

/* Something that produces callbacks of the user: a producer. */
struct sp_dispatcher {
    struct sp_list node;
    bool (*ready)(struct sp_dispatcher *dispatcher);
    unsigned (*dispatch)(struct sp_dispatcher *dispatcher); /* returns how many callbacks ran */
};

/* A producer or a consumer, as far as its client is concerned. */
struct sp_client_part {
    struct sp_list node;
    /* Something waits for the user. */
    bool (*ready)(struct sp_client_part *part);
    /* Something is on its way that closing the client shall wait for, by `flush`. NULL: never. */
    bool (*busy)(struct sp_client_part *part);
    int (*flush)(struct sp_client_part *part, int timeout_ms);
    bool flushed_last; /* has what is left of the time by the others */
    bool flush_failed; /* closing the client does not wait for it once more */
    /* The client closes: whatever waits has ended. NULL: nothing waits. */
    void (*cancel)(struct sp_client_part *part);
    void (*free)(struct sp_client_part *part);
    /* Its line in spate_client_stats, in the list of its kind. */
    const char *kind;
    void (*tell)(struct sp_client_part *part, struct sp_json *json);
};

/* A callback of the user that runs, on the stack of the thread that runs it. */
struct sp_client_callback {
    struct sp_list node;
    uint64_t thread; /* sp_client_thread of it */
    unsigned depth;  /* of its hold on the monitor */
};

struct spate_client {
    struct sp_loop *loop;
    struct sp_driver *driver; /* NULL: whoever calls turns the loop */
    struct spate_config config;
    struct sp_map *connections; /* address -> struct sp_connection */
    uint64_t connection_uses;
    char (*servers)[SP_ADDRESS_SIZE_MAX]; /* configured first, then learnt from metadata */
    uint64_t *server_named; /* by server: the last description with it; UINT64_MAX: configured */
    uint32_t server_count;
    uint32_t server_turn;  /* where the next request begins */
    uint32_t server_alive; /* index + 1 of the one that answered last; 0: none yet */
    struct sp_metadata_cache *metadata;
    struct sp_list dispatchers;
    struct sp_list parts;
    struct sp_list callbacks; /* struct sp_client_callback */
    bool closing;             /* in spate_client_close */
    struct sp_wakeup ready;   /* raised while something waits for the user; open once asked for */
    bool ready_raised;
    uint64_t ready_wakes; /* the driver's count when it was looked at last */
    struct sp_trace_limit log_limit;
    struct sp_timer memory_timer; /* frees what was kept and is not used */
    struct sp_timer tick;
    bool ticked;
    uint64_t turned_ms; /* without a driver: when the loop has turned last */
    bool woken; /* ends the current run of the loop; set by whatever a blocked call waits for */
    char error[SP_CLIENT_ERROR_SIZE]; /* without a driver */
};

/* Sets the calling thread's text of spate_client_error and returns `code`. */
int sp_client_fail(struct spate_client *client, int code, const char *format, ...) SP_PRINTF(3, 4);

/* For the doors of the public API: 0, or SPATE_ERR_INVALID with a text when an argument is NULL. */
int sp_client_need(struct spate_client *client, const void *argument, const char *what);

/* The calling thread's text. */
const char *sp_client_error_text(const struct spate_client *client);

/* Lets the client work until sp_client_wake or the time has come (sp_loop_now_ms; UINT64_MAX:
 * never): at least one turn, or the client's thread works while others may call. Returns 0, or
 * SPATE_ERR_CANCELED at once, with a text, when the client is being closed. */
int sp_client_run(struct spate_client *client, uint64_t deadline_ms);

/* Turns the loop once without sleeping, or sees to it that the client's thread does. */
void sp_client_turn(struct spate_client *client);

/* Without a driver: turns the loop if it has not for SP_CLIENT_TURN_MS. For calls that may find
 * what they are asked for without a turn, as long as the program likes. */
void sp_client_keep_up(struct spate_client *client);

/* Ends the current run after this turn, of all threads. */
void sp_client_wake(struct spate_client *client);

/* SPATE_ERR_CANCELED with a text when the client is being closed, else 0. */
int sp_client_check_open(struct spate_client *client);

/* Around a callback of the user: others may call meanwhile. `callback` is filled, and stays where
 * it is until sp_client_resume. */
void sp_client_suspend(struct spate_client *client, struct sp_client_callback *callback);
void sp_client_resume(struct spate_client *client, struct sp_client_callback *callback);

/* The client's `tick`. */
void sp_client_on_tick(struct sp_timer *timer);

/* The driver's: after each turn and each call. */
void sp_client_before_leave(void *arg);

/* Tells the program's log, if there is one; a few lines per second. */
void sp_client_log(struct spate_client *client, int level, const char *format, ...) SP_PRINTF(3, 4);

/* A number of the calling thread; the same for all without a driver. */
uint64_t sp_client_thread(const struct spate_client *client);

/* now + timeout_ms; UINT64_MAX for a negative timeout. */
uint64_t sp_client_deadline(const struct spate_client *client, int64_t timeout_ms);

/* The connection to `address`, made when it is new, perhaps in place of an idle one. Valid until
 * another one is asked for, unless it has calls or a view points to it. SPATE_ERR_NOMEM,
 * SPATE_ERR_BUSY: too many, all in use. */
int sp_client_connection(struct spate_client *client,
                         const char *address,
                         struct sp_connection **out_connection);

/* The same, but a second connection to that address, for what must not wait behind fetches. */
int sp_client_connection_apart(struct spate_client *client,
                               const char *address,
                               struct sp_connection **out_connection);

/* Sets the pointer of a view; NULL: to nothing. */
void sp_connection_point(struct sp_connection **pointer, struct sp_connection *connection);

/* sp_rpc_call on that connection; the first one is preceded by a hello. */
int sp_connection_call(struct sp_connection *connection,
                       struct sp_rpc_call *call,
                       struct sp_bytes params,
                       const struct sp_slice *body);

/* Remembers a server to ask, named by description `number`. Beyond a bound it takes the place of
 * the one that was named last the longest ago; if all are configured or named by this description,
 * too, it is ignored. */
void sp_client_learn_server(struct spate_client *client, struct sp_bytes address, uint64_t number);

/* The leader that the text of a NOT_LEADER answer names ("NODE HOST:PORT ..."): true, and its
 * address with NUL. */
bool sp_client_leader_hint(const char *text, char out_address[SP_ADDRESS_SIZE_MAX]);

/* True for answers that mean: ask another node, or the same one a little later. CANCELED is one, as
 * an answer: what served the request has closed there. A loop around calls that ask again must end
 * by itself once the client is being closed, which has the same code (sp_client_check_open). */
bool sp_client_status_moves(int status);

/* True when an attempt that ended so may have had its effect all the same. */
bool sp_client_status_uncertain(int status);

#endif /* SP_CLIENT_CLIENT_H */
