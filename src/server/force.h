/* spated --force-membership: what the operator sees of cluster/force_membership. */
#ifndef SP_SERVER_FORCE_H
#define SP_SERVER_FORCE_H

#include "server/config.h"

/* Reads `nodes` ("3" or "2,3"), works on config->data_dir, and prints what is or would be done.
 * Returns the exit code: 0, 1 when it could not be done, 2 when `nodes` is no such list. */
int sp_force_run(const struct sp_config *config, const char *nodes, bool change);

#endif /* SP_SERVER_FORCE_H */
