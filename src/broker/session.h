/* One client connection: takes requests apart, starts them in order, sends their answers.
 *
 * A request is counted, with its bytes, from its arrival to its answer; the socket is not read
 * while too many are open, too many bytes wait to be sent, or its share of what clients may hold is
 * used up (D14, net/budget.h). Answers come in order of completion. When the connection goes,
 * requests that only wait end at once; the session stays until its last request is answered, and
 * answers go nowhere. */
#ifndef SP_BROKER_SESSION_H
#define SP_BROKER_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "net/server.h"
#include "wire/client_api.h"

struct sp_broker;
struct sp_session;

/* The handle of one request, copied by value into whatever waits for its outcome; answered exactly
 * once by one of the functions below. */
struct sp_request {
    struct sp_session *session;
    uint32_t msgid;
    bool silent;           /* a notification: no answer is sent */
    uint64_t confirmed;    /* Raft group that was led here at a moment after it arrived; 0: none */
    enum sp_method method; /* set by sp_broker_dispatch */
    uint64_t begun_us;     /* when it arrived, or went on after a wait */
    size_t cost_bytes;     /* of the request itself, counted until it is answered */
    size_t reserved_bytes; /* for its answer */
};

/* A request that waits for something which may never come; open for embedding only. */
struct sp_request_wait {
    struct sp_list node;                        /* among those of its session */
    struct sp_list room_node;                   /* among those of them that wait for room */
    struct sp_request *request;                 /* whose clock stands still; NULL: none waits */
    void (*room)(struct sp_request_wait *wait); /* try to reserve again */
    void (*gone)(struct sp_request_wait *wait); /* nobody waits for the answer any more: end it */
};

/* Answers `text` under `code`; text NULL: the code's own. */
void sp_request_fail(struct sp_request *request, int code, const char *text);

/* Answers NOT_LEADER with who leads, or LEADER_UNKNOWN. */
void sp_request_not_leader(struct sp_request *request,
                           uint32_t leader_node,
                           const char *leader_address,
                           const char *text);

/* Begins a successful answer in `buf` (initialised here, freed by sp_request_finish): the caller
 * packs one value. */
void sp_request_begin(struct sp_request *request, struct sp_buf *buf, struct sp_pack *pack);

/* Sends what was packed, followed by `tail` (references are taken) as raw bytes. A packing error is
 * answered as such. */
void sp_request_finish(struct sp_request *request,
                       struct sp_buf *buf,
                       struct sp_pack *pack,
                       const struct sp_slice *tail,
                       unsigned tail_count);

/* Answers an empty map. */
void sp_request_ok(struct sp_request *request);

/* Sets room for an answer of `size` bytes aside until the request is answered, or until it is given
 * back. False: with what this peer has not taken yet, or what all hold, it would be too much: wait
 * for room. */
bool sp_request_reserve(struct sp_request *request, size_t size);
void sp_request_unreserve(struct sp_request *request);

/* How large an answer may be now, besides one batch that is always whole: little until the peer has
 * taken what it was sent (broker/taking.h). */
size_t sp_request_answer_max(const struct sp_request *request);
bool sp_request_on_trial(const struct sp_request *request);

/* Counts `size` more bytes that the request holds until it is answered. */
void sp_request_charge(struct sp_request *request, size_t size);

/* Sets what is called; it waits for nothing yet. */
void sp_request_init_wait(struct sp_request_wait *wait,
                          void (*room)(struct sp_request_wait *wait),
                          void (*gone)(struct sp_request_wait *wait));

/* The request's clock stands still: it is not the node that takes time. `request` stays where it is
 * until the wait ends. From now on `gone` is called, once, when the connection goes; and, if
 * `for_room`, `room` in a later turn when there may be some, once. Each ends the wait before it is
 * called. */
void sp_request_begin_wait(struct sp_request *request, struct sp_request_wait *wait, bool for_room);
void sp_request_end_wait(struct sp_request_wait *wait);

/* The same while the node works, for `gone` alone: the clock goes on. */
void sp_request_watch(struct sp_request *request, struct sp_request_wait *wait);

/* The connection is not read until sp_session_release, since what it sends goes to a full place;
 * `held` is that place's list of such sessions. */
void sp_request_hold_session(struct sp_request *request, struct sp_list *held);
void sp_session_release(struct sp_list *held, unsigned count);

/* True while somebody still waits for the answer. */
bool sp_request_alive(const struct sp_request *request);

/* True if the client came in at the second port. */
bool sp_request_is_outside(const struct sp_request *request);

/* For the broker's servers: the client port, and the second one. */
extern const struct sp_server_handler sp_session_server_handler;
extern const struct sp_server_handler sp_session_outside_handler;

#endif /* SP_BROKER_SESSION_H */
