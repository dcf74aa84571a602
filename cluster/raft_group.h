/* One replica of one Raft group: libraft's pure core, our log, a state machine, and the wire
 * between them.
 *
 *     submit --.                                  .--> log (store's grouped write + fdatasync)
 *     message -+-> raft_guard -> raft_step -> update --> transport (appends carry the log's bytes)
 *     timer ---+        ^                         '--> vote (store's meta log; gates messages)
 *     persisted'        '--- one step at a time
 *                                commit -> machine.apply -> submit callbacks
 *
 * Invariants:
 *  I1  No message leaves before the term and vote it depends on are durable (`gated`).
 *  I2  raft learns "persisted" only for frames that are on disk, and not before the vote is.
 *  I3  Frames are applied once, in order, committed and stored; never while a checkpoint installs.
 *  I4  A submit completes exactly once: committed and applied, or with the reason.
 *
 * All calls on the loop thread of the group's shard. */
#ifndef SP_CLUSTER_RAFT_GROUP_H
#define SP_CLUSTER_RAFT_GROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/metrics.h"
#include "base/rand.h"
#include "base/trace.h"
#include "cluster/machine.h"
#include "cluster/transport.h"
#include "io/file.h"
#include "storage/store.h"

struct sp_raft_group;
struct sp_vigil;

enum sp_role {
    SP_ROLE_FOLLOWER,
    SP_ROLE_CANDIDATE,
    SP_ROLE_LEADER
};

struct sp_raft_group_status {
    enum sp_role role;
    bool ready;      /* leader whose own-term commit is applied: may serve (D6, D7) */
    bool stopped;    /* has stopped itself */
    int stop_status; /* why */
    bool confirmed;  /* since start, applied all that a current leader said is committed */
    uint64_t term;
    uint32_t leader_node; /* 0: unknown */
    uint64_t first_index;
    uint64_t last_index;
    uint64_t commit_index;
    uint64_t applied_index;
    uint64_t persisted_index;
    unsigned voters;
    uint32_t election_timeout_ms;
    uint32_t
        lagging; /* leader: bit i: the i-th voter (by rising id) lacks what was committed at the
                  * last watch */
};

struct sp_raft_group_options {
    uint64_t group_id;
    uint64_t replica_id;
    struct sp_log *log; /* opened; the group owns and closes it */
    struct sp_machine *machine;
    uint32_t election_timeout_ms;  /* 0: 300 */
    uint32_t heartbeat_timeout_ms; /* 0: 50 */
};

/* What the groups of a node count since its start. */
struct sp_raft_counters {
    struct sp_histogram commits; /* of what was submitted here: until it is applied here */
    uint64_t elections;          /* that a replica of this node stood in */
    uint64_t elections_won;
    uint64_t leaders_found; /* another leader than before, or one again */
    uint64_t sent_bytes;    /* of frames, to followers */
    uint64_t received_bytes;
    uint64_t checkpoints_installed;
    uint64_t quieted; /* times that a replica became quiet, and was woken */
    uint64_t woken;
};

/* What the groups of a node share; kept by cluster/group_table. */
struct sp_raft_context {
    struct sp_loop *loop;
    struct sp_store *store;
    struct sp_transport *transport;
    struct sp_rand rand;
    uint32_t node_id;
    unsigned standing;            /* groups whose replica here stands for election */
    uint32_t install_chunk_bytes; /* of a checkpoint in one message */
    uint32_t fill_bytes_per_s;    /* frames sent to standbys, of all groups together; 0: no limit */
    int64_t fill_bytes_left;      /* that may be sent now; below zero: some were sent in advance */
    uint64_t filled_ms;           /* when that was counted */
    struct sp_list meta_waiters;  /* groups that wait for the store's meta log */
    struct sp_trace_limit receive_limit;
    struct sp_raft_counters counters;
    struct sp_vigil *vigil; /* NULL: no group becomes quiet */
    bool quiet_allowed;     /* every node knows SP_FEATURE_QUIET_GROUPS */
    uint64_t quiet_count;   /* groups that are quiet now */
    /* A group's leader or term, as this node knows it, has changed, or what its members lack. */
    void (*leader_changed)(struct sp_raft_context *context, struct sp_raft_group *group);
    /* True if a replica that is no member of the group may become one with what it has in its log;
     * NULL: none ever does. */
    bool (*has_others)(void *arg, const struct sp_raft_group *group);
    void *has_others_arg;
};

/* Starts a replica: restores the machine from the newest checkpoint and begins to follow. Takes the
 * log on success. SPATE_ERR_CORRUPT: log, vote or checkpoint contradict each other;
 * SPATE_ERR_NOMEM.
 */
int sp_raft_group_open(struct sp_raft_context *context,
                       const struct sp_raft_group_options *options,
                       struct sp_raft_group **out_group);

/* Gives up: pending submits fail with SPATE_ERR_CANCELED at once, the log is flushed and closed,
 * then `closed` (may be NULL) runs and the group is gone. */
void sp_raft_group_close(struct sp_raft_group *group, void (*closed)(void *arg), void *arg);

/* ---- submitting ------------------------------------------------------------------------------ */

struct sp_submit;

/* 0: committed on a majority and applied here. SPATE_ERR_LEADER_CHANGED: the frame may or may not
 * come to be committed. SPATE_ERR_CANCELED, SPATE_ERR_STOPPED. */
typedef void (*sp_submit_cb)(struct sp_submit *submit, int status);

struct sp_submit {
    struct sp_list node;
    sp_submit_cb cb;
    uint64_t index;      /* set when submitted */
    uint64_t term;       /* set when submitted */
    int64_t base_offset; /* set when submitted, for a batch */
    uint64_t size_bytes; /* set when submitted: what it takes of the group's budget */
    uint64_t begun_us;   /* set when submitted */
    unsigned fsynced;    /* set before cb: replicas known to have it on disk */
};

/* Leader: appends one frame around a copy of `pieces` and replicates it; `cb` later. At once:
 * SPATE_ERR_NOT_LEADER; SPATE_ERR_NOT_READY (leader, but own-term commit not yet applied, or about
 * to hand over);
 * SPATE_ERR_BUSY (SP_GROUP_PENDING_*_MAX); SPATE_ERR_TOO_LARGE; SPATE_ERR_STOPPED; SPATE_ERR_NOMEM.
 */
int sp_raft_group_submit(struct sp_raft_group *group,
                         enum sp_frame_kind kind,
                         const struct sp_iovec *pieces,
                         unsigned count,
                         struct sp_submit *submit);

/* ---- asking whether it still leads ----------------------------------------------------------- */

struct sp_confirm;

/* 0: it led at a moment after the request, and all that any leader had committed before the request
 * is applied here. SPATE_ERR_NOT_LEADER: leadership was lost; SPATE_ERR_CANCELED,
 * SPATE_ERR_STOPPED. */
typedef void (*sp_confirm_cb)(struct sp_confirm *confirm, int status);

/* Embedded by its owner; `cb` is set before the call. */
struct sp_confirm {
    struct sp_list node;
    sp_confirm_cb cb;
    uint64_t index; /* to be applied before it is told; set when a majority has answered */
};

/* Leader: asks the voters whether this term is still the newest; `cb` later (raft_confirm.c). Costs
 * no entry and no disk. Only where every node has SP_FEATURE_CONFIRM. At once:
 * SPATE_ERR_NOT_LEADER; SPATE_ERR_NOT_READY (own-term commit not yet applied); SPATE_ERR_BUSY
 * (SP_GROUP_CONFIRMS_MAX); SPATE_ERR_STOPPED; SPATE_ERR_NOMEM. */
int sp_raft_group_confirm(struct sp_raft_group *group, struct sp_confirm *confirm);

/* How much of SP_GROUP_PENDING_*_MAX is submitted and not committed; 100: the next gets BUSY. */
unsigned sp_raft_group_fill_percent(const struct sp_raft_group *group);

/* A frame of its log could not be read for somebody else (SPATE_ERR_CORRUPT, SPATE_ERR_IO): the
 * replica stops itself, so that a whole one may lead. */
void sp_raft_group_read_failed(struct sp_raft_group *group, int status);

/* Since when an only voter is known to lack records at the beginning of its log, which nobody has
 * given up: what is left is served. 0: it lacks none, or it is not known yet. */
uint64_t sp_raft_group_short_since_ms(const struct sp_raft_group *group);

/* Hands leadership to a voter that has all of the log and has answered just now.
 * SPATE_ERR_NOT_LEADER; SPATE_ERR_NOT_FOUND: too few voters can be reached to elect anybody;
 * SPATE_ERR_BUSY: there is none yet, ask again; for one that answers and is close, submits are held
 * back for a moment. The outcome shows in role_changed. */
int sp_raft_group_transfer(struct sp_raft_group *group);

/* The same to the voter on `node_id`. SPATE_ERR_BUSY: it does not have all of the log, or does not
 * answer; submits are held back at most once a second. */
int sp_raft_group_transfer_to(struct sp_raft_group *group, uint32_t node_id);

/* ---- looking --------------------------------------------------------------------------------- */

/* How it stands now. */
void sp_raft_group_status(const struct sp_raft_group *group,
                          struct sp_raft_group_status *out_status);

/* Answers of the status that cost little, for those who look at all groups: whether it leads, as
 * its owner was told last; and `confirmed`. */
bool sp_raft_group_leads(const struct sp_raft_group *group);
bool sp_raft_group_is_confirmed(const struct sp_raft_group *group);

/* True if it leads and is ready, or has applied all that the leader of its own term said was
 * committed when it spoke last. */
bool sp_raft_group_is_current(const struct sp_raft_group *group);

/* True for a voter that has applied all that a leader said was committed, and whose leader has
 * spoken within the last election timeout: what it has applied is not far behind. */
bool sp_raft_group_follows(const struct sp_raft_group *group);

/* 0, or why it has stopped itself. */
int sp_raft_group_stop_status(const struct sp_raft_group *group);

/* When that was, by the loop's clock; 0: it has not. */
uint64_t sp_raft_group_stopped_ms(const struct sp_raft_group *group);

/* Idle, without timer or messages (raft_quiet.c). */
bool sp_raft_group_is_quiet(const struct sp_raft_group *group);

/* Notes what is committed now; members without it at a later look lag. What is merely on its way
 * counts as no lag. */
void sp_raft_group_watch(struct sp_raft_group *group);

/* Which group, and which replica of it, this is. */
uint64_t sp_raft_group_id(const struct sp_raft_group *group);
uint64_t sp_raft_group_replica_id(const struct sp_raft_group *group);

/* The log, for reading frames up to applied_index. */
struct sp_log *sp_raft_group_log(const struct sp_raft_group *group);

/* How many replicas make a majority: what a committed frame is on disk of, at the least. */
unsigned sp_raft_group_majority(const struct sp_raft_group *group);

/* Timestamp for the next append: the loop's wall clock, never below the log's last frame. */
int64_t sp_raft_group_append_time_ms(const struct sp_raft_group *group);

enum sp_member {
    SP_MEMBER_NONE,
    SP_MEMBER_STANDBY, /* receives the log, counts for nothing */
    SP_MEMBER_VOTER,
};

/* What a replica is in the newest membership that this one knows, committed or not. */
enum sp_member sp_raft_group_member(const struct sp_raft_group *group, uint64_t replica_id);

/* ---- key compaction: raft_compact.c -------------------------------------------------------- */

/* This replica's log has no record below `offset` that a later one of its key, below it as well,
 * has replaced, and never will again. Told to the leader, now and at each report. */
void sp_raft_group_compacted(struct sp_raft_group *group, int64_t offset);
void sp_raft_group_report_compacted(struct sp_raft_group *group);

/* The offset up to which that holds for every replica that there is or ever will be. */
int64_t sp_raft_group_compaction_floor(const struct sp_raft_group *group);

/* ---- events from group_table ----------------------------------------------------------------- */

/* A Raft message for this replica; `body` is borrowed until return. */
void sp_raft_group_receive(struct sp_raft_group *group,
                           uint32_t from_node,
                           const struct sp_peer_raft *message,
                           const struct sp_slice *body);

/* The store's meta log is durable up to `sequence`; for groups in context->meta_waiters. */
struct sp_raft_group *sp_raft_group_of_waiter(struct sp_list *node);
void sp_raft_group_meta_durable(struct sp_raft_group *group, uint64_t sequence);

/* The process on `node_id` is gone (its connection closed and the reconnect was refused): forget it
 * as leader and let the election timer expire soon, staggered. */
void sp_raft_group_node_dead(struct sp_raft_group *group, uint32_t node_id);

/* Something about `node_id` is not as it was: quiet if its leader or a follower is there, it wakes.
 */
void sp_raft_group_wake_for(struct sp_raft_group *group, uint32_t node_id);

/* Another replica's report, or the leader's answer to one. */
void sp_raft_group_hear_compacted(struct sp_raft_group *group,
                                  uint32_t from_node,
                                  const struct sp_peer_compacted *message);

/* Replica `replica_id` has stopped itself on a live node: as above if it leads. */
void sp_raft_group_replica_stopped(struct sp_raft_group *group, uint64_t replica_id);

/* ---- memberships ----------------------------------------------------------------------------- */

struct sp_replica_place {
    uint64_t replica_id;
    uint32_t node_id;
};

/* Encodes the payload of a CONFIGURATION frame in which all `places` are voters. The caller owns
 * `out` (initialised). The same places give the same bytes everywhere. SPATE_ERR_NOMEM,
 * SPATE_ERR_TOO_LARGE. */
int sp_raft_membership_encode(const struct sp_replica_place *places,
                              unsigned count,
                              struct sp_buf *out);

/* Builds the first frame of a new group: index 1, term 1, that membership. Every initial voter
 * writes the very same bytes. The caller owns the reference. Errors as above. */
int sp_raft_first_frame(uint64_t group_id,
                        int64_t append_time_ms,
                        const struct sp_replica_place *places,
                        unsigned count,
                        struct sp_slice *out_frame);

#endif /* SP_CLUSTER_RAFT_GROUP_H */
