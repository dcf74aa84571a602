/* Doubles: a second process, with an empty disk, that wants to be a node which the cluster has, by
 * a mistyped node.id or a copied file. It comes while the right one runs, stands still or is down,
 * and asks again and again.
 *
 * It must not be let in: what the right one has would count as lost, and the right one would be put
 * out. So the incarnation under which the cluster knows the node stays the same. Not together with
 * disks that are replaced and nodes that stay away, nor with drains: then it may come in. */
#ifndef SP_SIM_DOUBLES_H
#define SP_SIM_DOUBLES_H

#include <stdbool.h>

struct sim_node;
struct sp_rand;

/* Whether this run has doubles; before anything runs. */
void sim_doubles_plan(bool planned);
bool sim_doubles_planned(void);

/* A double of the node comes, unless there is one. */
void sim_doubles_strike(struct sim_node *node, struct sp_rand *rand);

/* The double goes, if there is one; it was not let in. */
void sim_doubles_end(void);

#endif /* SP_SIM_DOUBLES_H */
