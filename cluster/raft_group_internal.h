/* What the files of one replica share: raft_group.c (life, submit, status), raft_start.c (first
 * step), raft_host.c (libraft's updates), raft_send.c and raft_reader.c (messages out),
 * raft_receive.c (messages in), raft_install.c (checkpoints out and in, start of the log),
 * raft_apply.c (commits), raft_begin.c (whether the log is whole), raft_confirm.c (whether it still
 * leads), raft_quiet.c (idle groups), raft_look.c (questions). */
#ifndef SP_CLUSTER_RAFT_GROUP_INTERNAL_H
#define SP_CLUSTER_RAFT_GROUP_INTERNAL_H

#include "cluster/link.h"
#include "cluster/raft_group.h"
#include "cluster/raft_guard.h"

/* A message that waits for the vote it depends on (I1), or for frames to be read from disk. */
struct sp_raft_outgoing {
    struct sp_list node;
    struct sp_peer_raft message;
    uint64_t meta_sequence; /* durable meta that it needs */
    uint64_t end_index;     /* append: last index to send; below message.index + 1: none */
    uint32_t node_id;
};

/* raft_reader.c: appends to one peer that wait for the link or the disk, in order. */
struct sp_raft_reader {
    struct sp_raft_group *group;
    struct sp_list waiting; /* struct sp_raft_outgoing; empty only inside a call */
    struct sp_log_read read;
    struct sp_link_waiter turn;
    uint64_t sent_ms; /* frames or a heartbeat */
    uint64_t to;      /* the follower */
    uint32_t node_id;
    bool reading; /* of the first that waits */
};

/* Raft asks again for a checkpoint that a follower has not stored by then. */
#define SP_RAFT_INSTALL_TIMEOUT_MS 3000

/* raft_install.c: a checkpoint on its way to one follower, or from the leader. */
struct sp_raft_install;
struct sp_raft_incoming;

/* raft_confirm.c: requests that wait to hear whether this replica still leads. */
struct sp_raft_confirms;

/* What the leader of a term said was committed. */
struct sp_raft_said {
    uint64_t term;
    uint64_t commit; /* the largest */
    bool own;        /* a frame of its own term was: no older one is left out */
    bool in_part;    /* its last append was a part of a backlog, which says nothing of the rest */
};

/* Committed frames on their way from disk to the machine. */
struct sp_raft_apply_read {
    struct sp_raft_group *group;
    struct sp_log_read read;
};

/* The start waits for term and vote to be durable (G6). */
struct sp_raft_starting {
    struct sp_raft_guard_start start;
    struct raft_snapshot_metadata snapshot;
    bool has_snapshot;
    bool pending;
};

/* raft_compact.c: what a member has reported in this leader's term. */
struct sp_raft_compacted {
    uint64_t replica_id;
    int64_t offset;
};

struct sp_raft_compaction {
    int64_t offset; /* of this replica */
    int64_t floor;
    uint64_t term; /* of the reports */
    unsigned count;
    struct sp_raft_compacted reports[SP_RAFT_GUARD_SERVERS_MAX];
};

/* raft_move.c: where a move stood at the last step, and since when. */
struct sp_raft_move_mark {
    uint64_t replica_id; /* which one the step is about */
    int role;            /* that it shall have */
    uint64_t stored_index;
    uint64_t since_ms;
    uint64_t seen_ms; /* the last step; 0: there was none */
};

/* Notes where a move stands at `step->seen_ms`. That it goes back and forth between a step and
 * waiting for it is no progress; what a new replica has stored is. */
void sp_raft_move_note(struct sp_raft_move_mark *mark, const struct sp_raft_move_mark *step);

struct sp_raft_group {
    struct sp_raft_guard guard;
    struct sp_raft_context *context;
    struct sp_machine *machine;
    struct sp_log *log;
    uint64_t group_id;
    uint64_t replica_id;
    struct sp_raft_starting starting;
    struct sp_timer timer;

    size_t frame_bytes;         /* of a frame as lately seen; gives the window to followers */
    struct sp_list meta_node;   /* in context->meta_waiters while something waits for meta */
    uint64_t meta_issued;       /* last meta sequence asked for by this group */
    uint64_t persisted_waiting; /* persisted by the log, not yet told to raft (I2); 0: none */
    struct sp_list gated;       /* struct sp_raft_outgoing, in order */
    unsigned gated_count;

    /* The frames of the append being received: [staged_first, staged_first + staged_count). */
    const struct sp_slice *staged;
    uint64_t staged_first;
    unsigned staged_count;

    /* The frame being submitted. */
    enum sp_frame_kind submit_kind;
    const struct sp_iovec *submit_pieces;
    unsigned submit_piece_count;
    int64_t submit_offset;

    struct sp_list submits; /* struct sp_submit in order of index */
    unsigned submit_count;
    struct sp_raft_confirms *confirms; /* NULL: nobody has asked yet */
    uint64_t applied;
    struct sp_raft_apply_read *apply_read; /* catching up from disk; NULL: not reading */
    uint64_t watched_commit;               /* commit index at the last watch: who lacks it lags */
    uint64_t confirm_index; /* commit index that a leader of its own term stated; 0: none */
    struct sp_raft_said said;

    struct sp_raft_reader *readers[SP_RAFT_GUARD_SERVERS_MAX];
    struct sp_raft_install *installs[SP_RAFT_GUARD_SERVERS_MAX];
    struct sp_raft_incoming *incoming;      /* gathered from the leader; NULL: none */
    const struct sp_buf *staged_checkpoint; /* the one that is being installed in this step */
    unsigned checkpoints_kept;              /* 0: log_start of the machine decides, if it has one */

    uint64_t last_from; /* replica whose message is being answered, and its node */
    uint32_t last_from_node;
    uint64_t leader_replica; /* last leader heard of, and its node */
    uint32_t leader_node_of_replica;

    /* What the owner was told last. */
    enum sp_role seen_role;
    uint64_t seen_term;
    uint32_t seen_leader;
    bool seen_ready;

    uint64_t
        short_tried_ms;     /* raft_transfer.c: when it was handed over for a short follower last */
    uint64_t offered_ms;    /* raft_send.c: when a full follower was offered a frame last */
    uint64_t turn_since_ms; /* raft_survive.c: since when it waits for its turn to stand; 0: not */
    unsigned first_tries;   /* of the first choice of a new group: how often it asks again soon */
    bool standing;          /* counted in context->standing */
    bool was_late;          /* its last timer ran late */

    bool advancing; /* inside advance(): calls from callbacks only mark `again` */
    bool again;
    bool stopped;
    int stop_status;
    uint64_t stopped_ms;
    bool closing;
    struct sp_raft_compaction compaction;
    uint64_t short_since_ms;   /* raft_begin.c: records are missing, of an only voter; 0: none */
    uint64_t begin_asked_ms;   /* when a checkpoint that it cannot vouch for was wanted first */
    uint64_t begin_asked_term; /* in this term */
    bool begins_right;         /* what is below the log was given up */
    uint64_t move_looked_ms;   /* raft_move.c: when it looked what was committed; 0: it has not */
    uint64_t move_goal_index;  /* what was committed then */
    struct sp_raft_move_mark move_mark;
    uint64_t held_until_ms;   /* no submits before: leadership is to be handed over */
    uint64_t submitted_bytes; /* of all in `submits`, for the bound */
    bool quiet;               /* raft_quiet.c: no timer runs */
    uint32_t quiet_node;      /* of the leader */
    uint64_t idle_since_ms;   /* nothing was appended behind (idle_index, idle_term) since */
    uint64_t idle_index;
    uint64_t idle_term;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* raft_host.c: callbacks for the guard. */
int sp_raft_host_update(void *arg,
                        const struct raft_event *event,
                        const struct raft_update *update);
void sp_raft_host_persisted(void *arg, uint64_t index);

/* raft_send.c */
void sp_raft_host_send(void *arg,
                       const struct raft_message *message,
                       const struct sp_raft_guard_stamp *stamp);
void sp_raft_send(struct sp_raft_group *group, struct sp_raft_outgoing *out);
bool sp_raft_is_standby(const struct sp_raft_group *group, uint64_t replica_id);
bool sp_raft_has_frames(const struct sp_raft_outgoing *out);
void sp_raft_drop_list(struct sp_list *list);

/* raft_reader.c: sends an append, with frames or without, behind those to the same follower. */
void sp_raft_reader_send(struct sp_raft_group *group, struct sp_raft_outgoing *out);
void sp_raft_reader_drop_all(struct sp_raft_group *group);

/* Tells the log which frames will be sent or applied next: they need not be read back from disk. */
void sp_raft_reader_keep(struct sp_raft_group *group);
void sp_raft_send_release_gated(struct sp_raft_group *group);
void sp_raft_send_drop_all(struct sp_raft_group *group);
uint32_t sp_raft_node_of(const struct sp_raft_group *group, uint64_t replica_id);

/* True while the replica leads in `term`. */
bool sp_raft_leads_in(const struct sp_raft_group *group, uint64_t term);

/* raft_survive.c: it has started, and may be the first choice of a new group; whether it stands for
 * election; the timer that was due at `due_ms` runs (errors of sp_raft_guard_timeout). */
void sp_raft_stand_first(struct sp_raft_group *group);
void sp_raft_note_standing(struct sp_raft_group *group, bool stands);
int sp_raft_time_out(struct sp_raft_group *group, uint64_t due_ms);

/* raft_install.c: raft asks for a checkpoint to be sent; a follower's answer to a chunk, or to an
 * append; a chunk from the leader (SPATE_ERR_MALFORMED, SPATE_ERR_NOMEM, fatal ones); the new log
 * is durable. */
void sp_raft_install_begin(struct sp_raft_group *group, const struct sp_raft_outgoing *out);
void sp_raft_install_answered(struct sp_raft_group *group, const struct sp_peer_raft *message);
void sp_raft_install_stored(struct sp_raft_group *group, uint64_t replica_id);
int sp_raft_install_receive(struct sp_raft_group *group,
                            const struct sp_peer_raft *chunk,
                            const struct sp_slice *body);
int sp_raft_install_finish(struct sp_raft_group *group);
void sp_raft_install_forget(struct sp_raft_group *group, uint64_t below_term);
void sp_raft_install_drop_all(struct sp_raft_group *group);
void sp_raft_host_checkpointed(void *arg, uint64_t index);

/* Drops the segments that the machine does not need any more, if there are some. */
void sp_raft_trim(struct sp_raft_group *group);

/* raft_membership.c: the membership in force at `index`, and where it was set. The caller closes
 * *out on success. SPATE_ERR_CORRUPT, SPATE_ERR_NOMEM. */
int sp_raft_membership_at(const struct sp_log *log,
                          uint64_t index,
                          raft_index *out_index,
                          struct raft_configuration *out);

/* raft_membership.c: how many voters there are, and which of them lag. */
void sp_raft_count_voters(const struct sp_raft_group *group, struct sp_raft_group_status *status);

/* raft_move.c: a change of the membership; `replica_id` gets `role`, or goes if it is -1. */
struct sp_raft_change {
    uint64_t replica_id;
    uint32_t node_id; /* of one that is added */
    int role;
};

/* 0: it is under way. SPATE_ERR_BUSY, SPATE_ERR_AGAIN: not now; SPATE_ERR_NOMEM. */
int sp_raft_make_change(struct sp_raft_group *group, const struct sp_raft_change *change);

/* A look notes what is committed now; a standby that has it at a later look is filled (S2). */
void sp_raft_take_look(struct sp_raft_group *group);
bool sp_raft_is_filled(struct sp_raft_group *group, uint64_t replica_id);
/* raft_metrics.c: counts elections, before what was seen of the group is brought up to date. */
void sp_raft_count_changes(struct sp_raft_group *group,
                           enum sp_role role,
                           uint64_t term,
                           uint32_t leader_node);

/* raft_begin.c: stops a replica whose first segments are missing, once it knows; its log was
 * replaced: all is to be looked at anew; whether a checkpoint may be sent from where its log
 * begins. */
void sp_raft_check_begin(struct sp_raft_group *group);
void sp_raft_doubt_begin(struct sp_raft_group *group);
bool sp_raft_vouches_for_begin(struct sp_raft_group *group);

/* raft_apply.c: applies what is committed, completes submits. */
void sp_raft_apply(struct sp_raft_group *group);
void sp_raft_fail_submits(struct sp_raft_group *group, int status);

/* raft_confirm.c: a message of either kind; after every event: tells those who may know; all who
 * wait end with `status`; its memory goes. */
void sp_raft_confirm_receive(struct sp_raft_group *group, const struct sp_peer_raft *message);
void sp_raft_confirm_result(struct sp_raft_group *group, const struct sp_peer_raft *message);
void sp_raft_confirm_advance(struct sp_raft_group *group);
void sp_raft_confirm_fail(struct sp_raft_group *group, int status);
void sp_raft_confirm_free(struct sp_raft_group *group);

/* raft_group.c: leads, and has applied a frame of its own term. */
bool sp_raft_is_ready(const struct sp_raft_group *group);

/* raft_start.c: plans the first step (term and vote may have to become durable first), takes it,
 * and forgets the plan. Errors of reading the log and of the guard: it does not open. */
int sp_raft_plan_start(struct sp_raft_group *group);
int sp_raft_start(struct sp_raft_group *group);
void sp_raft_forget_start(struct sp_raft_group *group);

/* raft_group.c: the leader as this replica knows it; 0: none, or unknown where it stands. */
uint64_t sp_raft_leader_replica(const struct sp_raft_group *group);
uint32_t sp_raft_leader_node(const struct sp_raft_group *group);

/* raft_quiet.c: an idle leader becomes quiet if it may; QUIET was received; both lead to begin. A
 * replica wakes, on the word of a node (0: of none); one that stops or closes only counts no more.
 */
bool sp_raft_try_quiet(struct sp_raft_group *group);
void sp_raft_quiet_receive(struct sp_raft_group *group, const struct sp_peer_raft *message);
void sp_raft_begin_quiet(struct sp_raft_group *group, uint32_t leader_node);
void sp_raft_wake(struct sp_raft_group *group, uint32_t told_by_node);
void sp_raft_end_quiet(struct sp_raft_group *group);

/* raft_receive.c: the leader of the term says that `commit` is its commit index: who has applied
 * all up to there is up to date as of its message. */
void sp_raft_note_commit(struct sp_raft_group *group, uint64_t term, uint64_t commit);

/* raft_transfer.c: a leader hands over when a follower has lost what it had stored. */
void sp_raft_hand_over_short(struct sp_raft_group *group);

/* raft_group.c: starts the timer for what consensus waits for next. */
void sp_raft_rearm(struct sp_raft_group *group);

/* raft_group.c: after every event: stop on failure, tell of changes, apply, re-arm the timer. */
void sp_raft_advance(struct sp_raft_group *group);

/* Gives the machine the state with which the log starts. Errors of its `restore`. */
int sp_raft_restore_machine(struct sp_raft_group *group);

/* The replica stops for good, and its owner is told; more than once is fine. */
void sp_raft_stop(struct sp_raft_group *group, int status, const char *text);

/* The same when something of its own could not be read back from disk: a replica with damage
 * (SPATE_ERR_CORRUPT) is marked, so that it does not vote again after a restart either. */
void sp_raft_stop_unreadable(struct sp_raft_group *group, int status, const char *text);

/* RAFT_FOLLOWER, RAFT_CANDIDATE or RAFT_LEADER. */
static inline int sp_raft_state(const struct sp_raft_group *group)
{
    /* libraft's accessor takes a mutable pointer and only reads */
    return (int)raft_state((struct raft *)(uintptr_t)&group->guard.raft);
}
uint64_t sp_raft_now_ms(const struct sp_raft_group *group);

/* raft_group.c: a frame of so many bytes was submitted, or read for a follower. */
void sp_raft_note_frame_size(struct sp_raft_group *group, size_t size);

/* Consensus may be asked: it has started, and neither stopped nor begun to close (its memory goes
 * then, while the log is still being flushed). */
static inline bool sp_raft_runs(const struct sp_raft_group *group)
{
    return group->guard.started && !group->stopped && !group->closing;
}

#endif /* SP_CLUSTER_RAFT_GROUP_INTERNAL_H */
