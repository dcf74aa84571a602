/* What the controller asks of group 0's members, its log and the transport's nodes, for tests that
 * are not about them: everything is settled. Of other groups: which is asked about, and who is no
 * member of it. Included once, by one test. */
#ifndef SP_UNIT_FAKE_MEMBERS_H
#define SP_UNIT_FAKE_MEMBERS_H

#include <string.h>

#include "cluster/raft_members.h"
#include "cluster/transport.h"
#include "spate/error.h"
#include "storage/log.h"

#define FAKE_MEMBERS_SELF 7 /* this node's replica of group 0 */

static struct {
    uint64_t group_id;
    uint64_t stranger;                     /* 0: all are members */
    const struct sp_replica_place *places; /* that are named when all are asked for */
    unsigned place_count;
    uint64_t standby_from; /* replicas from this one on have no vote; 0: all have */
    struct sp_raft_member_wish wishes[SP_CONTROLLER_MEMBERS_MAX]; /* that were last asked for */
    unsigned wish_count;
    unsigned voters_wanted;
} fake_members;

uint64_t sp_raft_group_id(const struct sp_raft_group *group)
{
    (void)group;
    return fake_members.group_id;
}

int sp_raft_group_keep_members(struct sp_raft_group *group,
                               const struct sp_raft_members *members,
                               bool *out_settled)
{
    (void)group;
    memcpy(fake_members.wishes, members->wishes, members->count * sizeof *members->wishes);
    fake_members.wish_count = members->count;
    fake_members.voters_wanted = members->voters;
    *out_settled = true;
    return 0;
}

unsigned sp_raft_group_members(const struct sp_raft_group *group,
                               struct sp_replica_place *out_places,
                               unsigned count_max)
{
    unsigned count = 0;

    (void)group;
    while (count < fake_members.place_count && count < count_max) {
        out_places[count] = fake_members.places[count];
        count += 1;
    }
    return count;
}

uint64_t sp_raft_group_replica_id(const struct sp_raft_group *group)
{
    (void)group;
    return FAKE_MEMBERS_SELF;
}

void sp_transport_remove_node(struct sp_transport *transport, uint32_t node_id)
{
    (void)transport;
    (void)node_id;
}

struct sp_log *sp_raft_group_log(const struct sp_raft_group *group)
{
    (void)group;
    return NULL;
}

uint64_t sp_log_last_index(const struct sp_log *log)
{
    (void)log;
    return 0; /* no hints */
}

int sp_log_read_start(struct sp_log *log, struct sp_log_read *read)
{
    (void)log;
    (void)read;
    return SPATE_ERR_CANCELED;
}

void sp_log_read_release(struct sp_log_read *read)
{
    (void)read;
}

enum sp_member sp_raft_group_member(const struct sp_raft_group *group, uint64_t replica_id)
{
    (void)group;
    if (replica_id == fake_members.stranger) {
        return SP_MEMBER_NONE;
    }
    return fake_members.standby_from != 0 && replica_id >= fake_members.standby_from
               ? SP_MEMBER_STANDBY
               : SP_MEMBER_VOTER;
}

#endif /* SP_UNIT_FAKE_MEMBERS_H */
