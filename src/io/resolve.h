/* Host names of one loop, each asked for by a thread of its own that may be left behind.
 *
 *   stream --wait--> resolution: QUEUED --> RUNNING (a thread is in getaddrinfo) --> DONE, kept
 *                                              '-- the loop is freed: the thread frees it
 *
 * What asks the name server cannot be ended and may take half a minute. So nobody waits for it but
 * by his own will: a stream that closes only leaves the list of those that wait, and a loop that is
 * freed leaves the thread behind, which touches nothing of the loop any more. A name is asked for
 * once at a time: who tries again waits for the answer to the first question, so that one that is
 * slower than an attempt may take still serves the next attempt. */
#ifndef SP_IO_RESOLVE_H
#define SP_IO_RESOLVE_H

#include <netdb.h>
#include <stdbool.h>

#include "base/list.h"
#include "io/address.h"

struct sp_loop;
struct sp_resolution;
struct sp_resolver;
struct sp_resolve_wait;

/* A name's question has ended: sp_resolve_status tells how. */
typedef void (*sp_resolve_cb)(struct sp_resolve_wait *wait);

/* Somebody who waits for a name; embedded by its owner. */
struct sp_resolve_wait {
    struct sp_list node;
    sp_resolve_cb cb;
    struct sp_resolution *resolution; /* a reference; NULL: none */
    bool waiting;                     /* `cb` has not run */
};

/* Asks for the addresses of a host that is a name. `cb` runs once, in a later turn, unless
 * sp_resolve_release comes before. SPATE_ERR_NOMEM, SPATE_ERR_INTERNAL. */
int sp_resolve_start(struct sp_loop *loop,
                     const struct sp_address *address,
                     struct sp_resolve_wait *wait,
                     sp_resolve_cb cb);

/* The addresses, valid until sp_resolve_release; NULL: none. Once `cb` runs. */
const struct addrinfo *sp_resolve_addresses(const struct sp_resolve_wait *wait);

/* 0; SPATE_ERR_NOT_FOUND: there is no such name, as far as the system knows; SPATE_ERR_UNREACHABLE:
 * another failure; SPATE_ERR_BUSY: the question could not be asked or was not answered. */
int sp_resolve_status(const struct sp_resolve_wait *wait);

/* Ends the waiting and the use of the addresses, whatever there is of them. A second call does
 * nothing, nor does one for a zeroed struct. */
void sp_resolve_release(struct sp_resolve_wait *wait);

/* Around a turn that does not sleep: without anything else to wait for, the loop would not look at
 * what a thread has told. NULL is fine. */
void sp_resolver_attend(struct sp_resolver *resolver, bool attended);

/* The loop ends: nobody waits. The handle is closed by the loop's last turns, after which
 * sp_resolver_free. NULL is fine for both. */
void sp_resolver_end(struct sp_resolver *resolver);
void sp_resolver_free(struct sp_resolver *resolver);

#endif /* SP_IO_RESOLVE_H */
