#include "sim_votes.h"

#include <string.h>

#include "base/assert.h"
#include "sim_cluster.h"
#include "sim_disk.h"
#include "sim_model.h"
#include "sim_promises.h"
#include "sim_world.h"
#include "storage/meta_file.h"

enum {
    VOTES_MAX = 256, /* replicas of one node */
    COPIES = 2,
    GIVEN_MAX = 4 * SIM_GROUPS_MAX, /* replicas of one node in one run */
};

struct vote {
    uint64_t group_id;
    uint64_t replica_id;
    uint64_t term;
    uint64_t vote;
};

/* The durable votes of one meta file, as last read. */
struct votes {
    const struct sim_inode *inode;
    unsigned count;
    struct vote votes[VOTES_MAX];
};

static struct votes known[SIM_NODES_MAX][COPIES];

/* The last vote of each replica that left its node. */
static struct given {
    unsigned count;
    struct vote votes[GIVEN_MAX];
} givens[SIM_NODES_MAX];

static int take_record(void *arg, const struct sp_meta_record *record)
{
    struct votes *votes = arg;
    unsigned i = 0;

    if (record->type != SP_META_VOTE) {
        return 0;
    }
    while (i < votes->count && (votes->votes[i].group_id != record->group_id ||
                                votes->votes[i].replica_id != record->replica_id)) {
        i += 1;
    }
    if (i < VOTES_MAX) {
        votes->votes[i] =
            (struct vote){ record->group_id, record->replica_id, record->term, record->vote };
        votes->count = i < votes->count ? votes->count : i + 1;
    }
    return 0;
}

static const struct votes *read_copy(const struct sim_node *node, unsigned copy)
{
    static const char *const paths[COPIES] = { "/data/meta.a", "/data/meta.b" };
    struct votes *votes = &known[sim_cluster_place(node->node_id)][copy];
    struct sim_inode *inode = sim_disk_find(node->process->disk, paths[copy], true);
    struct sp_meta_scan scan;

    if (inode == votes->inode && (inode == NULL || inode->scan_valid == inode->kept.size)) {
        return votes;
    }
    votes->inode = inode;
    votes->count = 0;
    if (inode != NULL) {
        sp_meta_scan(inode->kept.bytes, (size_t)inode->kept.size, &scan);
        (void)sp_meta_each(inode->kept.bytes, scan.size, take_record, votes); /* never fails here */
        inode->scan_valid = inode->kept.size;
    }
    return votes;
}

/* The newest durable vote of the replica; zeros when there is none. */
static struct vote durable_vote(const struct sim_node *node, uint64_t group_id, uint64_t replica_id)
{
    struct vote best = { group_id, replica_id, 0, 0 };

    for (unsigned copy = 0; copy < COPIES; copy++) {
        const struct votes *votes = read_copy(node, copy);
        for (unsigned i = 0; i < votes->count; i++) {
            const struct vote *vote = &votes->votes[i];
            if (vote->group_id == group_id && vote->replica_id == replica_id &&
                (vote->term > best.term || (vote->term == best.term && vote->vote != 0))) {
                best = *vote;
            }
        }
    }
    return best;
}

/* A replica has one vote in a term, whatever was on its disk meanwhile. */
static void check_single(const struct sim_node *node,
                         uint64_t group_id,
                         uint64_t replica_id,
                         uint64_t term,
                         uint64_t vote)
{
    struct given *given = &givens[sim_cluster_place(node->node_id)];
    unsigned i = 0;

    while (i < given->count &&
           (given->votes[i].group_id != group_id || given->votes[i].replica_id != replica_id)) {
        i += 1;
    }
    SP_ASSERT(i < GIVEN_MAX);
    if (i < given->count && given->votes[i].term == term && given->votes[i].vote != vote) {
        sim_fail("%s group %llu votes for %llu in term %llu, in which it had voted for %llu",
                 node->process->name,
                 (unsigned long long)group_id,
                 (unsigned long long)vote,
                 (unsigned long long)term,
                 (unsigned long long)given->votes[i].vote);
    }
    given->votes[i] = (struct vote){ group_id, replica_id, term, vote };
    given->count = i < given->count ? given->count : i + 1;
}

static const char *kind_name(uint32_t kind)
{
    switch ((enum sp_peer_raft_kind)kind) {
    case SP_PEER_APPEND:
        return "an append";
    case SP_PEER_APPEND_RESULT:
        return "an answer to an append";
    case SP_PEER_VOTE:
        return "a request for a vote";
    case SP_PEER_VOTE_RESULT:
        return "a vote";
    case SP_PEER_INSTALL:
        return "a part of a checkpoint";
    case SP_PEER_TIMEOUT_NOW:
        return "the leadership";
    case SP_PEER_INSTALL_RESULT:
        return "an answer to a part of a checkpoint";
    case SP_PEER_CONFIRM:
        return "a question who leads";
    case SP_PEER_CONFIRM_RESULT:
        return "an answer that it leads";
    case SP_PEER_QUIET:
        return "the end of heartbeats";
    case SP_PEER_WAKE:
        return "a call for heartbeats";
    }
    return "a message";
}

static void check_message(const struct sp_peer_raft *raft)
{
    const struct sim_node *node = sim.current->owner;
    bool granted = raft->kind == SP_PEER_VOTE_RESULT && (raft->flags & SP_PEER_GRANTED) != 0;
    uint64_t vote = granted ? raft->to : raft->kind == SP_PEER_VOTE ? raft->from : 0;

    if ((raft->flags & SP_PEER_PRE_VOTE) != 0) {
        return; /* pre-votes promise nothing */
    }
    if (raft->kind == SP_PEER_APPEND_RESULT && raft->commit == 0) {
        sim_promises_stored(sim.current->id, raft->group_id, raft->from, raft->index);
    }
    struct vote durable = durable_vote(node, raft->group_id, raft->from);
    if (durable.term < raft->term ||
        (vote != 0 && durable.term == raft->term && durable.vote != vote)) {
        sim_fail("%s group %llu: %s in term %llu leaves, durable are term %llu and vote %llu",
                 node->process->name,
                 (unsigned long long)raft->group_id,
                 kind_name(raft->kind),
                 (unsigned long long)raft->term,
                 (unsigned long long)durable.term,
                 (unsigned long long)durable.vote);
    }
    if (vote != 0) {
        check_single(node, raft->group_id, raft->from, raft->term, vote);
    }
}

int __wrap_sp_transport_send(struct sp_transport *transport,
                             uint32_t node_id,
                             const struct sp_peer_message *message,
                             const struct sp_slice *pieces,
                             unsigned count)
{
    if (message->kind == SP_PEER_RAFT) {
        check_message(&message->u.raft);
    }
    sim_model.counts.looks[SIM_LOOK_sp_transport_send] += 1;
    return __real_sp_transport_send(transport, node_id, message, pieces, count);
}

int __wrap_sp_transport_send_heartbeat(struct sp_transport *transport,
                                       uint32_t node_id,
                                       const struct sp_peer_raft *raft)
{
    check_message(raft);
    sim_model.counts.looks[SIM_LOOK_sp_transport_send_heartbeat] += 1;
    return __real_sp_transport_send_heartbeat(transport, node_id, raft);
}

/* Meta logs are rewritten far more often than in production, which would take a day for it. */
struct sp_meta *__wrap_sp_meta_new(const struct sp_meta_options *options)
{
    struct sp_meta_options often = *options;

    often.dead_bytes_max = (size_t)sim_between(&sim.current->rand, 200, 8000);
    sim_model.counts.looks[SIM_LOOK_sp_meta_new] += 1;
    return __real_sp_meta_new(&often);
}
