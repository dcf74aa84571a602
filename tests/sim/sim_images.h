/* What stands on the disks: durable frames found by reading the images, behind everyone's back. */
#ifndef SP_SIM_IMAGES_H
#define SP_SIM_IMAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "sim_voters.h"

struct sim_disk;
struct sim_node;

/* A frame has just been committed: it must be durable on a majority of the voters,
 * those in force or those in flight. */
void sim_images_check_committed(uint64_t group_id, uint64_t index, uint64_t term, uint32_t crc);

/* A frame is acknowledged as durable on `fsynced` replicas: it must be on so many disks. */
void sim_images_check_fsynced(
    uint64_t group_id, uint64_t index, uint64_t term, uint32_t crc, unsigned fsynced);

/* A replica on `node` says that it has stored up to `index`: its disk must have it. */
void sim_images_check_stored(const struct sim_node *node,
                             uint64_t group_id,
                             uint64_t replica_id,
                             uint64_t index);

/* True if the replica's disk has its log up to `index`, or has rotted. */
bool sim_images_has(const struct sim_voter *voter, uint64_t group_id, uint64_t index);

/* True if no node has a replica of the group that is no member, but for those with disk errors. */
bool sim_images_only_members(const struct sim_membership *membership,
                             uint64_t group_id,
                             char *out_why,
                             unsigned size);

/* True if no node whose disk is fine has a replica of the group any more: its topic was deleted. */
bool sim_images_gone(uint64_t group_id);

/* True if the replica was on a disk that has been replaced. */
bool sim_images_is_lost(const struct sim_voter *voter);

/* True if all members of the group hold the same frames, and at least up to the last
 * one committed. */
bool sim_images_equal(uint64_t group_id, char *out_why, unsigned size);

/* What of that frame is missing on the disk may be missing: it was lost with another disk, or the
 * file where it belongs has rotted, or the replica with that file was put away since. */
bool sim_images_may_lack(const struct sim_disk *disk,
                         uint64_t group_id,
                         uint64_t replica_id,
                         uint64_t index);

#endif /* SP_SIM_IMAGES_H */
