/* Term and vote must be durable before any message that depends on them leaves (I1 of raft_group).
 *
 * Looks at every Raft message as it is given to the transport and compares it with the meta logs on
 * the sender's disk image. */
#ifndef SP_SIM_VOTES_H
#define SP_SIM_VOTES_H

#include "cluster/transport.h"
#include "storage/meta_state.h"

int __real_sp_transport_send(struct sp_transport *transport,
                             uint32_t node_id,
                             const struct sp_peer_message *message,
                             const struct sp_slice *pieces,
                             unsigned count);
int __wrap_sp_transport_send(struct sp_transport *transport,
                             uint32_t node_id,
                             const struct sp_peer_message *message,
                             const struct sp_slice *pieces,
                             unsigned count);
int __real_sp_transport_send_heartbeat(struct sp_transport *transport,
                                       uint32_t node_id,
                                       const struct sp_peer_raft *raft);
int __wrap_sp_transport_send_heartbeat(struct sp_transport *transport,
                                       uint32_t node_id,
                                       const struct sp_peer_raft *raft);

struct sp_meta *__real_sp_meta_new(const struct sp_meta_options *options);
struct sp_meta *__wrap_sp_meta_new(const struct sp_meta_options *options);

#endif /* SP_SIM_VOTES_H */
