/* One answer out of those of all nodes: what only each node itself knows is gathered, the rest is
 * as the first one sees it.
 *
 *   damaged, opening, stalled, stuck   of every node: rows get `node`, `replicas_opening` is a sum
 *   silent                             nodes that did not answer: no fault of the cluster
 *   unhealthy_on                       nodes that see it unhealthy for another reason
 *
 * Servers may send as many rows as a message holds: none is compared with all others. Pure. */
#ifndef SPATE_CLI_HEALTH_MERGE_H
#define SPATE_CLI_HEALTH_MERGE_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

struct health_merge {
    json_t *result;  /* of the node that was asked first; borrowed, and changed */
    bool healthy;    /* as that node said */
    bool more;       /* another one has added what is wrong with it */
    json_t *damaged; /* owned: the rows of that section by their replica */
    json_t *stuck;   /* owned: places in that section by their partition */
};

void health_merge_begin(struct health_merge *merge, json_t *result);

/* The answer of another node, which is left as it is. */
void health_merge_add(struct health_merge *merge, int64_t node, const json_t *theirs);

/* Another one was asked at `address` and did not answer. */
void health_merge_silent(struct health_merge *merge, int64_t node, const char *address);

/* All have been heard: says whether the cluster is healthy. Gives everything back. */
void health_merge_end(struct health_merge *merge);

#endif /* SPATE_CLI_HEALTH_MERGE_H */
