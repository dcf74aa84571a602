/* What disks do to what is on them: bits that flip, disks that are replaced. */
#ifndef SP_SIM_DAMAGE_H
#define SP_SIM_DAMAGE_H

#include <stdbool.h>
#include <stdint.h>

struct sim_disk;
struct sim_node;
struct sp_rand;

/* The disk of a node that is down is replaced by an empty one. */
void sim_damage_lose(struct sim_disk *disk);

/* The operator has looked at the files of a node that is down, with `spate log verify`: replicas
 * with damaged segments, also where nobody has read yet, are marked, so that they are rebuilt. */
void sim_damage_mark(struct sim_disk *disk);

/* Flips a bit of a committed frame, of a checkpoint or index, or of one copy of the metadata on
 * that node's disk. False when there is nothing to flip yet. */
bool sim_damage_flip(struct sim_node *node, struct sp_rand *rand);

/* A bit of a file of that replica was flipped, other than an index, whatever became of it since. */
bool sim_damage_touched(const struct sim_disk *disk, uint64_t group_id, uint64_t replica_id);

/* The same of some replica of the group. */
bool sim_damage_touched_any(const struct sim_disk *disk, uint64_t group_id);

#endif /* SP_SIM_DAMAGE_H */
