/* The stand-in of a transport that carries nothing: whatever a replica says is not looked at.
 * Included once, by one test. */
#ifndef SP_UNIT_SILENT_TRANSPORT_H
#define SP_UNIT_SILENT_TRANSPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cluster/transport.h"
#include "silent_send.h"
#include "spate/error.h"

static enum sp_link_state other_link = SP_LINK_UP; /* to node 2, the only other one */

bool sp_transport_takes_records(const struct sp_transport *transport, uint32_t node_id)
{
    (void)transport;
    (void)node_id;
    return true;
}

bool sp_transport_look(const struct sp_transport *transport,
                       uint32_t node_id,
                       struct sp_transport_look *out_look)
{
    (void)transport;
    (void)node_id;
    (void)out_look;
    return false;
}

enum sp_link_state sp_transport_link(const struct sp_transport *transport, uint32_t node_id)
{
    (void)transport;
    assert_int_equal(node_id, 2);
    return other_link;
}

int sp_transport_send_heartbeat(struct sp_transport *transport,
                                uint32_t node_id,
                                const struct sp_peer_raft *raft)
{
    (void)transport;
    (void)node_id;
    (void)raft;
    return send_status;
}

bool sp_transport_has_room(const struct sp_transport *transport, uint32_t node_id)
{
    (void)transport;
    (void)node_id;
    return true;
}

int sp_transport_wait(struct sp_transport *transport,
                      uint32_t node_id,
                      struct sp_link_waiter *waiter)
{
    (void)transport;
    (void)node_id;
    (void)waiter;
    return SPATE_ERR_CLOSED;
}

void sp_transport_reserve(struct sp_transport *transport, uint32_t node_id, size_t size_bytes)
{
    (void)transport;
    (void)node_id;
    (void)size_bytes;
}

void sp_transport_release(struct sp_transport *transport, uint32_t node_id, size_t size_bytes)
{
    (void)transport;
    (void)node_id;
    (void)size_bytes;
}

#endif /* SP_UNIT_SILENT_TRANSPORT_H */
