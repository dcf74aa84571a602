/* Asks the nodes of a cluster for their health: all of them at once, or one. */
#ifndef SPATE_CLI_HEALTH_ASK_H
#define SPATE_CLI_HEALTH_ASK_H

#include "cli/cli.h"

/* What a node answers that is believed (believed.h), merged with what all others say that it can
 * reach (health_merge.h): each by a thread of its own, and within what is left of the timeout, 2 s
 * at most. 0 and the result (owned by the caller), or a SPATE_ERR_* code, untold, when nobody
 * answers. */
int health_ask_all(struct cli *cli, json_t **out_result);

/* What that node alone says. SPATE_ERR_NOT_FOUND: there is none of this id. */
int health_ask_one(struct cli *cli, int64_t node, json_t **out_result);

#endif /* SPATE_CLI_HEALTH_ASK_H */
