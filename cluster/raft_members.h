/* Keeps the membership of a group that every node has a replica of: the controller's.
 *
 * Members come as standbys; as many as are wanted become voters. A voter that is gone is removed
 * when a standby can take its place and the other voters that are up are a majority without it; if
 * it comes back it is a standby. A voter beyond those that are wanted becomes a standby, too: first
 * one beside another one on its machine, then one that is gone or down, as long as three are left.
 * One change at a time, found anew from the membership each time; rules S1, S2, S4 and S5 of
 * raft_move.h hold here as well. */
#ifndef SP_CLUSTER_RAFT_MEMBERS_H
#define SP_CLUSTER_RAFT_MEMBERS_H

#include "cluster/raft_group.h"

struct sp_raft_member_wish {
    struct sp_replica_place place;
    bool may_vote; /* may become a voter: it is up */
    bool stays;    /* counts as a voter if it is one; one that does not is replaced */
    bool gone;     /* dead for good: as a voter it is removed before another takes its place */
    bool beside;   /* another one has the vote of its machine: of too many voters it goes first */
};

struct sp_raft_members {
    const struct sp_raft_member_wish *wishes;
    unsigned count;
    unsigned voters; /* that there should be, of those that may vote */
};

/* Takes the next step; *out_settled: there is none to take. SPATE_ERR_NOT_LEADER. */
int sp_raft_group_keep_members(struct sp_raft_group *group,
                               const struct sp_raft_members *members,
                               bool *out_settled);

/* The replicas in the newest membership; returns how many, at most `count_max`. */
unsigned sp_raft_group_members(const struct sp_raft_group *group,
                               struct sp_replica_place *out_places,
                               unsigned count_max);

#endif /* SP_CLUSTER_RAFT_MEMBERS_H */
