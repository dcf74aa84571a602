/* The last resort: a node's replicas go on without those that are lost for good.
 *
 * A Raft group needs a majority. When one is gone for good, nothing in the protocol can bring the
 * group back, since nobody knows what the lost members had acknowledged. This changes the data
 * directories of the nodes that are left, offline, one by one, so that together they are the whole
 * membership of every group:
 *
 *   mark in the meta log (the node will not start)
 *   each replica:  [group 0: the command "only these nodes are left", of term L + 2^20], then a
 *                  configuration frame of term L + 2^20, in group 0 one more, where L is the term
 *                  of its last frame; that term as its own, without a vote
 *   new cluster id and no mark, in one batch
 *
 * Why this term: among the nodes that are left the order of (last term, last index), by which
 * elections choose the log with the most, stays as it was. Two logs with the same L are prefixes of
 * each other, so new frames of one term stand at different indexes or are the same bytes, and those
 * of group 0 have two terms: a pair (index, term) still means one frame.
 *
 * The cluster id keeps its first SP_CLUSTER_ID_KEPT_SIZE bytes and gets a new end from the old id
 * and the nodes that are kept, the same on each of them; nodes that were left out are of another
 * cluster from then on.
 *
 * May be run again after a crash at any point, with the same nodes. Blocking; loop thread. */
#ifndef SP_CLUSTER_FORCE_MEMBERSHIP_H
#define SP_CLUSTER_FORCE_MEMBERSHIP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"
#include "storage/store.h"

/* Terms above a log's last one; far more than elections ever use up. */
#define SP_FORCE_TERM_STEP (UINT64_C(1) << 20)

struct sp_force_options {
    uint32_t node_ids[SP_NODES_MAX]; /* that are left, this node among them; rising */
    unsigned node_count;
    bool change;                               /* false: only tell what would be done */
    void (*tell)(void *arg, const char *line); /* a line for the operator, without its end */
    void *arg;
};

/* Opens the data directory that `store` names (its field `forcing` is set here) and works on it. 0,
 * or what went wrong, with a text that says what to do:
 *   SPATE_ERR_NOT_FOUND   no such directory
 *   SPATE_ERR_LOCKED      a node runs on it
 *   SPATE_ERR_INVALID     the nodes are not what they must be, or it was begun with others
 *   SPATE_ERR_NOT_READY   the directory is no formed member's
 *   SPATE_ERR_CORRUPT     group 0 cannot be opened; other replicas that cannot are left as they are
 *   other errors of sp_store_open
 * After an error nothing more may be done with the loop: the program ends. */
int sp_force_membership(struct sp_loop *loop,
                        const struct sp_store_options *store,
                        const struct sp_force_options *options,
                        char *text,
                        size_t text_size);

#endif /* SP_CLUSTER_FORCE_MEMBERSHIP_H */
