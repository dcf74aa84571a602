/* The stand-in of a transport that sends to nobody. Included once, by one test. */
#ifndef SP_UNIT_SILENT_SEND_H
#define SP_UNIT_SILENT_SEND_H

#include "cluster/transport.h"

static int send_status; /* of all that is sent */

int sp_transport_send(struct sp_transport *transport,
                      uint32_t node_id,
                      const struct sp_peer_message *message,
                      const struct sp_slice *pieces,
                      unsigned count)
{
    (void)transport;
    (void)node_id;
    (void)message;
    (void)pieces;
    (void)count;
    return send_status;
}

#endif /* SP_UNIT_SILENT_SEND_H */
