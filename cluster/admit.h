/* The member's side of joining: a stranger's JOIN becomes a change of the controller's state, whose
 * outcome is its answer. All calls on the loop thread. */
#ifndef SP_CLUSTER_ADMIT_H
#define SP_CLUSTER_ADMIT_H

#include "cluster/join.h"

struct sp_admit;

/* SPATE_ERR_NOMEM. */
int sp_admit_new(struct sp_controller *controller,
                 struct sp_store *store,
                 struct sp_transport *transport,
                 struct sp_admit **out_admit);

/* JOIN came in from a guest (sp_transport_handler.join). */
void sp_admit_request(struct sp_admit *admit, uint64_t guest, const struct sp_slice *body);

/* Before the controller goes. NULL is fine. */
void sp_admit_free(struct sp_admit *admit);

#endif /* SP_CLUSTER_ADMIT_H */
