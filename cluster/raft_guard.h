/* The consensus core: one replica's Raft state, libraft's raft_step with every guard around it.
 *
 * Pure: no I/O, no clock, no threads, no knowledge of storage. An event goes in, the owner (the
 * "host") hears what to persist and what to send. Nothing here keeps a payload; an entry is its
 * term, its type and, for RAFT_CHANGE only, the encoded configuration.
 *
 *      frame, timer, client, disk completion
 *                   |  one call below, with the time
 *                   v
 *             raft_guard ----- raft_step -----> host.update(event, update)    what to persist
 *                   |                           host.send(message, stamp) *   what to send
 *                   '-- and again, for steps that the guard itself takes (see I4)
 *                   |
 *                   v  the call returns: apply up to sp_raft_guard_committed(), re-arm the timer
 *
 * Invariants:
 *  I1  Callbacks only record. The host calls no function of this module from inside update or send;
 *      it decides after the call has returned. Every pointer given to a callback is borrowed until
 *      that callback returns; every pointer given to a function here is borrowed until it returns.
 *  I2  Order. Within one step update comes before send. The host handles update.flags so:
 *        CURRENT_TERM, VOTED_FOR  queue {raft_current_term, raft_voted_for} for the disk; no
 *                                 message of this or a later step leaves before it is durable
 *        ENTRIES                  {index, batch, n}: if index <= last, truncate from index first;
 *                                 then write n entries. Types and terms are in `batch`; of `buf`
 *                                 only that of a RAFT_CHANGE counts (an encoded configuration)
 *        SNAPSHOT                 replace the whole log by {index, term, configuration}, as one;
 *                                 then call sp_raft_guard_persisted_snapshot
 *        STATE                    raft_state(&guard->raft) changed
 *      Everything else (commit index, timeout) is read after the call.
 *  I3  A truncation at i, and an install, takes back the proof of every write still in flight: it
 *      proves at most up to i-1 (an install: nothing). sp_raft_guard_persisted is called only with
 *      an index that all completed writes still prove.
 *  I4  Steps of its own: RAFT_CONFIGURATION as soon as a change is committed, and a RAFT_BARRIER
 *      when it leads without an entry of its own term: further update and send calls.
 *  I5  After a fatal error (sp_raft_guard_failed) nothing steps again: the replica must be closed.
 *
 * The guards, by the name of the scenario that fails without each (tests/scripts):
 *  G1  a reply to a request of an older term is not taken for one of this term
 *  G2  an append that begins below our log start is moved up to it
 *  G3  a received configuration change always begins a step
 *  G4  a second change is learned only after the first counts as committed
 *  G5  no change before an entry of our own term is committed
 *  G6  a sole voter raises its term and votes for itself before it leads
 *  G7  a rejected append goes back by whole terms
 *  G8  nothing is applied while a snapshot is being installed
 *  G9  a standby that is out of contact votes, so that a promotion it has not seen cannot block;
 *      so does a replica that has never had a frame, which a forced membership may have kept
 *  G10 late duplicate rejections are dropped; a denied pre-vote tells the real term
 *  G11 a submit is sent at once, also to followers that were quiet
 *  G12 a follower is silent when it has not answered for an election timeout, not since the last
 *      heartbeat: a long way must not make the leader send all again that is under way
 *  G13 a follower whose disk is slow says that it is there all the same
 *  G14 entries that are under way to a follower are not sent to it again
 *  N1  a vote result counts only for a candidate: a late pre-vote reply deposes no leader
 * Policies that are refused: SPARE, direct addition as voter, demotion, self-removal, more than one
 * server per change, a snapshot at index 1.
 *
 * One thread owns a guard; different guards may live on different threads.
 * Source: libraft 0.22.1; Ongaro's dissertation, sections 3 and 4. */
#ifndef SP_CLUSTER_RAFT_GUARD_H
#define SP_CLUSTER_RAFT_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include <raft.h>

#include "base/attr.h"
#include "base/limits.h"

/* Servers in one configuration: every node's in the controller's group, and some that are moving in
 * and out. */
#define SP_RAFT_GUARD_SERVERS_MAX (SP_CONTROLLER_MEMBERS_MAX + 4)

/* Bits of `disabled`. Only tests set them, to show that each guard is needed. */
enum {
    SP_RAFT_GUARD_G1_REQUEST_TERM = 1 << 0,
    SP_RAFT_GUARD_G2_FLOOR = 1 << 1,
    SP_RAFT_GUARD_G3_SPLIT = 1 << 2,
    SP_RAFT_GUARD_G4_CHANGE_ORDER = 1 << 3,
    SP_RAFT_GUARD_G5_CHANGE_TERM = 1 << 4,
    SP_RAFT_GUARD_G6_SOLE_VOTER = 1 << 5,
    SP_RAFT_GUARD_G7_HINT = 1 << 6,
    SP_RAFT_GUARD_G8_INSTALL_COMMIT = 1 << 7,
    SP_RAFT_GUARD_G9_STANDBY_VOTE = 1 << 8,
    SP_RAFT_GUARD_G10_STALE_REJECTION = 1 << 9,
    SP_RAFT_GUARD_G10_PRE_VOTE_TERM = 1 << 10,
    SP_RAFT_GUARD_G11_SUBMIT_NOW = 1 << 11,
    SP_RAFT_GUARD_BARRIER = 1 << 12,      /* a new leader's own barrier */
    SP_RAFT_GUARD_POLICY = 1 << 13,       /* the refusals of change and snapshot */
    SP_RAFT_GUARD_N1_CANDIDATE = 1 << 14, /* vote results only for candidates */
    SP_RAFT_GUARD_G12_PATIENCE = 1 << 15,
    SP_RAFT_GUARD_G13_ANSWER = 1 << 16,
    SP_RAFT_GUARD_G14_SENT = 1 << 17,
};

/* What a result carries besides libraft's fields. Both travel to the receiver of the message. */
struct sp_raft_guard_stamp {
    uint64_t request_term; /* AE results: term of the request that is answered (G1) */
    uint64_t hint_term;    /* rejections: term of the hinted entry, 0 = unknown (G7) */
};

struct sp_raft_guard_host {
    void *arg;

    /* A step was taken; see I1 and I2. 0, or a negative SPATE_ERR_*, which stops the replica. */
    int (*update)(void *arg, const struct raft_event *event, const struct raft_update *update);

    /* `message` is to go to server message->server_id. Of RAFT_APPEND_ENTRIES the `entries` pointer
     * is garbage: they are [prev_log_index + 1, prev_log_index + n_entries] of the log; of
     * RAFT_INSTALL_SNAPSHOT `conf` and `data` are garbage: the host has them. Messages may be lost,
     * so a host that cannot send one drops it. Entries still being fetched when the term or the
     * role changes are dropped too. */
    void (*send)(void *arg,
                 const struct raft_message *message,
                 const struct sp_raft_guard_stamp *stamp);
};

struct sp_raft_guard_options {
    uint64_t id;                  /* raft id of this replica, > 0, never reused */
    unsigned seed;                /* for the election timer; differs between replicas */
    unsigned election_timeout_ms; /* > heartbeat_ms */
    unsigned heartbeat_ms;        /* > 0 */
    unsigned install_timeout_ms;  /* an unanswered InstallSnapshot is repeated after this */
    unsigned window_entries;      /* unacknowledged entries on the way to one follower */
    bool pre_vote;                /* true in production */
    bool no_votes_after_start;    /* ignore vote requests for one election timeout after the
                                   * start, for read leases; not for a replica without data */
    struct sp_raft_guard_host host;
};

/* Per follower, to know what really left; reset when leadership begins. */
struct sp_raft_guard_peer {
    uint64_t id;            /* 0 = free slot */
    uint64_t sent_ms;       /* any append that was given to host.send */
    uint64_t entries_ms;    /* ... the last one with entries */
    uint64_t entries_prev;  /* ... and its prev_log_index */
    uint64_t sent_index;    /* ... and its last entry; lower once one is known to be lost */
    bool left_out;          /* what it has been sent begins behind where libraft believes (G14) */
    uint64_t match_index;   /* stored there, as last told */
    uint64_t moved_ms;      /* when that grew, or the first that is under way was sent */
    uint64_t answered_ms;   /* last result of this term */
    uint64_t short_ms;      /* since when it has less than it had stored; 0: has not */
    uint64_t short_said_ms; /* when it said so last */
};

/* Open for embedding. `raft` may be read with libraft's public accessors (raft_state,
 * raft_current_term, raft_voted_for, raft_last_index, raft_leader, raft_role, raft_match_index,
 * raft_transferee) and its `configuration`; nothing is written from outside. */
struct sp_raft_guard {
    struct raft raft;
    struct sp_raft_guard_host host;
    unsigned disabled; /* tests only; 0 in production */
    unsigned heartbeat_ms;
    int failed; /* 0, or the error that stopped the replica */
    bool started;
    bool no_votes_after_start;
    bool expire_when_stored;  /* forget_leader found writes pending */
    unsigned expire_delay_ms; /* ... and this is its stagger */
    uint64_t started_ms;
    uint64_t contact_ms;        /* last append or snapshot of a current leader; 0 = none */
    uint64_t committed_index;   /* may be applied; never goes back */
    uint64_t request_term;      /* of the request being answered in this step, or 0 */
    uint64_t request_prev_term; /* likewise, for G7 */
    uint64_t told_ms;           /* last result that this follower sent */
    bool asks_in_vain;          /* a leader: no majority has answered between its last two timers */
    bool rejected;              /* this step answered with a rejection */
    struct sp_raft_guard_peer peers[SP_RAFT_GUARD_SERVERS_MAX];
};

/* Routes libraft's heap through base/mem, once per process; idempotent, any thread. Call it before
 * the first raft_configuration_* or raft_malloc; sp_raft_guard_init does so too. libraft memory
 * (configurations, encoded buffers) is then given back with raft_configuration_close and raft_free,
 * or with sp_mem_free. */
void sp_raft_guard_use_heap(void);

/* Checks the bytes of an encoded configuration from disk or network, which libraft's own decoder
 * trusts: format, bounds, 1 to SP_RAFT_GUARD_SERVERS_MAX servers, at least one voter, no SPARE, ids
 * and addresses unique. 0 or SPATE_ERR_MALFORMED. Addresses only have to be unique texts: they are
 * never used to send; the raft id in decimal is a good one. */
int sp_raft_guard_check_configuration(const struct raft_buffer *buffer) SP_CHECK_RESULT;

/* Copies `from` into `*out` (initialised here; the caller closes it on success). SPATE_ERR_NOMEM.
 */
int sp_raft_guard_copy_configuration(const struct raft_configuration *from,
                                     struct raft_configuration *out) SP_CHECK_RESULT;

/* Prepares `guard` (caller's memory). On success sp_raft_guard_deinit must follow; on failure
 * nothing is held. SPATE_ERR_NOMEM. */
int sp_raft_guard_init(struct sp_raft_guard *guard,
                       const struct sp_raft_guard_options *options) SP_CHECK_RESULT;

/* Gives all memory back. Safe after a failed start and after a fatal error; after SPATE_ERR_NOMEM
 * it loses a little on purpose, as libraft then owns some of it twice. */
void sp_raft_guard_deinit(struct sp_raft_guard *guard);

/* What was found on disk. */
struct sp_raft_guard_start {
    uint64_t term;                                 /* persisted, 0 for a new replica */
    uint64_t vote;                                 /* persisted, 0 = none */
    const struct raft_snapshot_metadata *snapshot; /* the checkpoint below or in the log; or NULL */
    uint64_t start_index;                          /* index of entries[0]; <= snapshot->index + 1 */
    struct raft_entry *entries; /* term and type; buf for RAFT_CHANGE only. `batch`
                                 * is overwritten; the array stays the caller's */
    unsigned entry_count;       /* without a snapshot: start_index 1, a RAFT_CHANGE */
    uint64_t committed_index;   /* known here to be committed, e.g. applied before the
                                 * checkpoint was written; 0 = only what libraft knows */
};

/* First half of the start: the term and vote that the replica must own before it steps. Raises
 * start->term to the last entry's (vote 0 then) if that is higher, and a sole voter to a new term
 * with a vote for itself (G6). With *out_changed the host makes {term, vote} durable before the
 * second half. SPATE_ERR_CORRUPT if a RAFT_CHANGE entry cannot be decoded or no configuration
 * begins the log, SPATE_ERR_NOMEM. */
int sp_raft_guard_plan_start(const struct sp_raft_guard *guard,
                             struct sp_raft_guard_start *start,
                             bool *out_changed) SP_CHECK_RESULT;

/* Second half: steps RAFT_START with what plan_start left in `start`. Recovered entries must have
 * been fsynced: bytes found in the page cache after a kill prove nothing. A sole voter leads when
 * this returns. Errors are fatal: SPATE_ERR_NOMEM, or what host.update returned. */
int sp_raft_guard_start(struct sp_raft_guard *guard,
                        uint64_t now_ms,
                        const struct sp_raft_guard_start *start) SP_CHECK_RESULT;

/* --- events ---
 *
 * `now_ms` is monotone. Errors of all of them, besides those listed at each:
 *   SPATE_ERR_STOPPED   the replica has failed before (I5)
 *   SPATE_ERR_MALFORMED receive functions only: refused whole, the replica is untouched
 *   fatal, and from then on in sp_raft_guard_failed: SPATE_ERR_NOMEM, SPATE_ERR_INTERNAL (libraft
 *   found a committed entry in conflict), or what host.update returned
 * Messages that are merely late or unwanted are dropped, and 0 is returned. */

/* AppendEntries as the transport carries it. */
struct sp_raft_guard_append {
    uint64_t term;
    uint64_t prev_index;
    uint64_t prev_term;
    uint64_t commit;
    struct raft_entry *entries; /* term, type; buf for RAFT_CHANGE only. `batch` is overwritten */
    unsigned entry_count;       /* 0 = heartbeat */
};

/* G2 G3 G4. May call host.update several times; each ENTRIES names the range that is new here, a
 * part of [prev_index + 1, prev_index + entry_count]. Entries we have already are not repeated. */
int sp_raft_guard_receive_append(struct sp_raft_guard *guard,
                                 uint64_t now_ms,
                                 uint64_t from,
                                 const struct sp_raft_guard_append *append) SP_CHECK_RESULT;

/* The answer to AppendEntries and to InstallSnapshot. */
struct sp_raft_guard_append_result {
    uint64_t term;
    uint64_t rejected;     /* 0, or the prev_index that did not match */
    uint64_t last_index;   /* stored up to here; with `rejected`: hint where to go on */
    uint64_t request_term; /* the stamp's */
    uint64_t hint_term;    /* the stamp's */
};

/* G1 G7 G10. */
int sp_raft_guard_receive_append_result(struct sp_raft_guard *guard,
                                        uint64_t now_ms,
                                        uint64_t from,
                                        const struct sp_raft_guard_append_result *result)
    SP_CHECK_RESULT;

/* G9. Of the structs of libraft the `version` need not travel: it is set here. */
int sp_raft_guard_receive_vote(struct sp_raft_guard *guard,
                               uint64_t now_ms,
                               uint64_t from,
                               const struct raft_request_vote *vote) SP_CHECK_RESULT;

/* `features` and `capacity` need not travel. */
int sp_raft_guard_receive_vote_result(struct sp_raft_guard *guard,
                                      uint64_t now_ms,
                                      uint64_t from,
                                      const struct raft_request_vote_result *result)
    SP_CHECK_RESULT;

/* InstallSnapshot, when all of its checkpoint has arrived. The data itself stays with the host. */
struct sp_raft_guard_install {
    uint64_t term;
    uint64_t last_index;
    uint64_t last_term;
    uint64_t configuration_index;
    const struct raft_configuration *configuration; /* as of last_index */
};

/* True if an InstallSnapshot of that term would lead to an installation; lets the host refuse the
 * first chunk of a checkpoint that it does not need. */
bool sp_raft_guard_wants_install(const struct sp_raft_guard *guard,
                                 uint64_t term,
                                 uint64_t last_index,
                                 uint64_t last_term);

/* If it is wanted, host.update gets SNAPSHOT inside this call: the host then owns the job of making
 * it durable and calls persisted_snapshot. Otherwise the host discards the checkpoint. Dropped
 * while another one is being installed. */
int sp_raft_guard_receive_install(struct sp_raft_guard *guard,
                                  uint64_t now_ms,
                                  uint64_t from,
                                  const struct sp_raft_guard_install *install) SP_CHECK_RESULT;

/* Leadership is handed to us. */
int sp_raft_guard_receive_timeout_now(struct sp_raft_guard *guard,
                                      uint64_t now_ms,
                                      uint64_t from,
                                      const struct raft_timeout_now *message) SP_CHECK_RESULT;

/* Entries up to `index` are on disk (I3). An index that is known already is ignored. */
int sp_raft_guard_persisted(struct sp_raft_guard *guard,
                            uint64_t now_ms,
                            uint64_t index) SP_CHECK_RESULT;

/* The snapshot of the last SNAPSHOT update is on disk. The host has set its own applied index to
 * metadata->index (and restored its machine) before it calls this. Only while installing. */
int sp_raft_guard_persisted_snapshot(struct sp_raft_guard *guard,
                                     uint64_t now_ms,
                                     const struct raft_snapshot_metadata *metadata) SP_CHECK_RESULT;

/* Appends `count` (>= 1) RAFT_COMMAND entries as leader (G11). Their term and `batch` are set here;
 * `buf` is not looked at. On success host.update has got ENTRIES with `entries` itself as its
 * batch, and the first index is that update's. Errors, all without effect: SPATE_ERR_NOT_LEADER
 * (also while leadership is being handed over), SPATE_ERR_NOMEM. */
int sp_raft_guard_submit(struct sp_raft_guard *guard,
                         uint64_t now_ms,
                         struct raft_entry *entries,
                         unsigned count) SP_CHECK_RESULT;

/* Proposes `next` (borrowed) as the configuration. On success ENTRIES has carried one RAFT_CHANGE
 * entry whose buf is the encoding. Errors, all without effect, but AGAIN may append a barrier:
 *   SPATE_ERR_NOT_LEADER
 *   SPATE_ERR_NOMEM
 *   SPATE_ERR_INVALID  not exactly one of: add one STANDBY, promote one STANDBY to VOTER, remove
 *                      one server that is not ourselves; or no voter would remain
 *   SPATE_ERR_BUSY     another change is not committed yet
 *   SPATE_ERR_AGAIN    not yet: no entry of our term is committed (G5), or the server to promote
 *                      has not stored its own STANDBY entry. Retry after a pause. */
int sp_raft_guard_change(struct sp_raft_guard *guard,
                         uint64_t now_ms,
                         const struct raft_configuration *next) SP_CHECK_RESULT;

/* The timer of sp_raft_guard_timeout_ms fired. Early calls are harmless for a follower or candidate
 * but cost a leader its pipelines, so do not call it early (G6). */
int sp_raft_guard_timeout(struct sp_raft_guard *guard, uint64_t now_ms) SP_CHECK_RESULT;

/* Hands leadership to voter `to`, or with 0 to any that is up to date. Submits are refused from now
 * until it is done or one election timeout has passed. Errors, without effect:
 * SPATE_ERR_NOT_LEADER, SPATE_ERR_INVALID (not another voter), SPATE_ERR_NOT_FOUND (0 and no other
 * voter), SPATE_ERR_AGAIN (it has not stored our last entry: hold submits back and retry),
 * SPATE_ERR_NOMEM. Give up read leases before. */
int sp_raft_guard_transfer(struct sp_raft_guard *guard,
                           uint64_t now_ms,
                           uint64_t to) SP_CHECK_RESULT;

/* Moves the floor of the log: `metadata` (its term is ignored) is the durable checkpoint at or over
 * the new floor, and `trailing` entries up to its index are kept; entries below are forgotten, and
 * a follower that needs them is sent an InstallSnapshot. Call it when the floor is durable and
 * before segments are deleted. Errors, without effect: SPATE_ERR_INVALID (index below 2, not above
 * the current snapshot, above what is committed and stored, or not in the log), SPATE_ERR_BUSY
 * while installing. */
int sp_raft_guard_snapshot(struct sp_raft_guard *guard,
                           uint64_t now_ms,
                           const struct raft_snapshot_metadata *metadata,
                           unsigned trailing) SP_CHECK_RESULT;

/* `leader` is known to be dead or to have stopped this replica. If we follow it: forget it, grant
 * votes again at once, and let the election timer expire `stagger_ms` from now, or from the moment
 * when all our writes are persisted. True if it was our leader; the timer must then be re-armed. */
bool sp_raft_guard_forget_leader(struct sp_raft_guard *guard,
                                 uint64_t now_ms,
                                 uint64_t leader,
                                 unsigned stagger_ms);

/* Starts the election timer of a follower anew, as after a sleep in which its leader was there
 * until `heard_ms`. */
void sp_raft_guard_rearm(struct sp_raft_guard *guard, uint64_t heard_ms);

/* True if a follower's timer has expired: sp_raft_guard_timeout would make it stand now. */
bool sp_raft_guard_stands_now(const struct sp_raft_guard *guard, uint64_t now_ms);

/* Lets the election timer expire at `at_ms`: of a follower, which then stands, or of one that asks
 * for pre-votes, which then asks again. A candidate and a leader go on. */
void sp_raft_guard_stand_at(struct sp_raft_guard *guard, uint64_t at_ms);

/* For `deaf_ms` nothing was listened to: that time counts neither against the leader, who gets
 * another heartbeat's time besides, nor, if this one leads, against its followers. */
void sp_raft_guard_listen(struct sp_raft_guard *guard, uint64_t now_ms, uint64_t deaf_ms);

/* Limits unacknowledged entries per follower; at least 1. Size it by bytes from time to time. */
void sp_raft_guard_set_window(struct sp_raft_guard *guard, unsigned entries);

/* --- questions --- */

/* 0, or the error that stopped the replica. */
int sp_raft_guard_failed(const struct sp_raft_guard *guard);

/* When to call sp_raft_guard_timeout; read it after every event. */
uint64_t sp_raft_guard_timeout_ms(const struct sp_raft_guard *guard);

/* Apply up to here. Never goes back; stands still while a snapshot is installed (G8). It may be
 * above what our own disk has stored. Right after a start it is at least start->committed_index. */
uint64_t sp_raft_guard_committed(const struct sp_raft_guard *guard);

/* Term of the entry at `index`, or 0 if neither log nor snapshot know it. */
uint64_t sp_raft_guard_term_at(const struct sp_raft_guard *guard, uint64_t index);

/* True while a snapshot is being installed: nothing may be applied, appends are ignored. */
bool sp_raft_guard_installing(const struct sp_raft_guard *guard);

/* True if we lead, an entry of our own term is committed and no transfer runs: from then on
 * committed state is the whole truth (produce, linearizable reads, changes). */
bool sp_raft_guard_leads(const struct sp_raft_guard *guard);

/* True if this leader may stop its timer: all its entries are committed and stored by every server,
 * no change or transfer runs, and a majority has answered since the last contact check, so that the
 * first timeout after waking does not make it step down. That the followers know the commit index
 * is for the host's own sleep message to say. */
bool sp_raft_guard_may_sleep(const struct sp_raft_guard *guard);

/* The last entry that was sent to `server`, in this leader's term, as far as the guard knows; 0:
 * none or `server` has not answered for an election timeout. */
uint64_t sp_raft_guard_sent_index(const struct sp_raft_guard *guard, uint64_t server);

/* True if this leader has had an answer of `server` to the last that was sent to it. */
bool sp_raft_guard_answered(const struct sp_raft_guard *guard, uint64_t server);

/* True if this leader has had an answer of `server`, in its term, at `ms` or later. */
bool sp_raft_guard_answered_since(const struct sp_raft_guard *guard, uint64_t server, uint64_t ms);

/* A member that rejects all that this leader sends, and has less than it once told to have stored,
 * or 0: for two election timeouts, in which a rejection that was late (G10) is followed by an
 * answer. */
uint64_t sp_raft_guard_short(const struct sp_raft_guard *guard, uint64_t now_ms);

/* A leader gives up leading, as if `server`, a member, had told of a later term. */
int sp_raft_guard_step_down(struct sp_raft_guard *guard, uint64_t now_ms, uint64_t server);

/* True if this follower of `leader` may stop its timer: all its entries are committed and stored,
 * the last one is (index, term), and nothing is under way. */
bool sp_raft_guard_may_follow_asleep(const struct sp_raft_guard *guard,
                                     uint64_t leader,
                                     uint64_t index,
                                     uint64_t term);

#endif /* SP_CLUSTER_RAFT_GUARD_H */
