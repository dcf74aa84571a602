/* A cluster of raft guards in one process, on virtual time, with the simplest host that obeys
 * cluster/raft_guard.h: it carries values instead of frames, and checks everything that must hold.
 *
 *     test script -> world_run / node_submit / world_cut ...
 *                       |
 *       world: clock ---+--- letters in flight (raft_net.c: FIFO, loss, reordering, cuts)
 *                       |
 *       node:  guard <--+--> memory log --ops--> disk log (raft_disk.c: asynchronous, in order, one
 *                       |                        flush at a time; a crash keeps a prefix of it)
 *                       v
 *       checks (raft_check.c): one leader per term, own vote, log matching, leader completeness,
 *       commits durable on a majority, applied entries never overwritten, no term or vote back
 *
 * The first complaint stops the world and stays in world->failure. All chance is from one seed. */
#ifndef SP_TESTS_RAFT_HOST_H
#define SP_TESTS_RAFT_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "cluster/raft_guard.h"

#define NODES_MAX 8
#define LOG_MAX 6000
#define SUBMIT_MAX 64
#define TERMS_MAX 4096

/* Roles of up to NODES_MAX nodes, four bits each, as a configuration's value. */
typedef uint64_t mask;
enum {
    ROLE_NONE,
    ROLE_VOTER,
    ROLE_STANDBY,
    ROLE_SPARE
};

struct entry {
    uint64_t term;
    uint64_t value; /* of a RAFT_CHANGE: the mask */
    int type;
};

struct snapshot {
    uint64_t index;
    uint64_t term;
    uint64_t configuration_index;
    mask configuration;
};

/* One log with its term and vote; entries[i] has index i, valid from start to last. */
struct log {
    uint64_t term;
    uint64_t vote;
    struct snapshot snapshot;
    uint64_t start;
    uint64_t last;
    struct entry *entries;
};

enum op_kind {
    OP_META,
    OP_WRITE,
    OP_INSTALL,
    OP_FLOOR
};

struct op {
    enum op_kind kind;
    uint64_t sequence; /* META */
    uint64_t term;
    uint64_t vote;
    uint64_t index; /* WRITE */
    uint64_t count;
    uint64_t proves; /* highest index that its completion still proves (I3) */
    struct entry *entries;
    struct snapshot snapshot; /* INSTALL, FLOOR */
    uint64_t start;           /* FLOOR */
};

struct letter {
    uint64_t at_ms;
    uint64_t sequence;
    uint64_t needs_meta; /* leaves only when this META is durable */
    unsigned from;
    unsigned to;
    struct raft_message message;
    struct sp_raft_guard_stamp stamp;
    struct entry *entries;
    mask configuration;
    struct letter *next;
};

struct world;

struct node {
    struct world *world;
    unsigned number; /* raft id - 1 */
    bool up;
    bool asleep; /* its timer is not delivered */
    bool paused; /* the process stands still: no timer, no letter, no completion */
    struct sp_raft_guard guard;
    struct log disk;
    struct log memory;
    struct op *ops;
    unsigned op_count;
    unsigned op_capacity;
    uint64_t flush_at_ms; /* 0 = no flush runs */
    unsigned flush_count; /* ops in the running flush */
    unsigned disk_ms;     /* a flush takes disk_least_ms to this */
    unsigned disk_least_ms;
    bool disk_held;    /* no flush starts */
    uint64_t stall_ms; /* added to the next flush */
    uint64_t meta_issued;
    uint64_t meta_durable;
    struct letter *gated;
    struct letter **gated_end;
    uint64_t applied;
    uint64_t known_committed; /* what the next start knows to be committed */
    bool led;
    const uint64_t *submitting;     /* values of the submit being stepped */
    const struct letter *receiving; /* letter being stepped */
};

struct committed {
    struct entry entry;
    uint64_t in_term; /* term of the replica that first committed it */
};

struct sighting; /* raft_check.c */

/* What an observer is told of, at the moment when it happens. */
enum observed {
    OBSERVED_GATED,   /* letter: it waits for the term and vote of its sender to be durable */
    OBSERVED_LOST,    /* letter: by chance, by a cut, or because the receiver is down */
    OBSERVED_ARRIVED, /* letter: about to be stepped */
    OBSERVED_QUEUED,  /* op: about to change the log in memory */
    OBSERVED_DURABLE, /* op: it is on disk, and about to be reported */
    OBSERVED_SETTLED  /* node: a guard call has returned */
};

struct world {
    uint64_t live_before; /* allocations, see base/mem.h */
    uint64_t now_ms;
    uint64_t random;
    unsigned node_count;
    struct node nodes[NODES_MAX];
    unsigned disabled; /* guards, for all nodes */
    unsigned heartbeat_ms;
    unsigned election_ms;
    unsigned window;
    bool pre_vote;
    bool no_votes_after_start;
    uint64_t next_value;
    uint64_t steps; /* events delivered */

    struct letter **letters; /* heap by (at_ms, sequence) */
    unsigned letter_count;
    unsigned letter_capacity;
    uint64_t letter_sequence;
    uint64_t last_at_ms[NODES_MAX][NODES_MAX];
    bool cut[NODES_MAX][NODES_MAX];
    unsigned loss_percent;
    unsigned reorder_percent;
    unsigned duplicate_percent;
    unsigned net_ms; /* one way takes net_least_ms to this */
    unsigned net_least_ms;
    bool (*filter)(const struct letter *letter, void *arg); /* false: lose it */
    void *filter_arg;
    /* Only takes note, like a callback of the guard; `what` is a letter or an op, or NULL. */
    void (*observe)(void *arg, enum observed observed, const struct node *node, const void *what);
    void *observe_arg;

    struct committed *committed; /* by index */
    uint64_t committed_last;
    struct sighting **sightings;
    unsigned leader_of[TERMS_MAX];
    unsigned instant_events; /* since the clock moved */
    char failure[256];       /* empty while all is well */
};

struct world_options {
    uint64_t seed;
    unsigned nodes;
    unsigned voters;   /* the first so many nodes; index 1 of their logs is the configuration */
    unsigned disabled; /* SP_RAFT_GUARD_* */
    unsigned window;   /* 0 = 32 */
    bool no_pre_vote;
    bool stopped; /* leave all nodes down, so that the script may edit their disks */
};

/* --- raft_host.c --- */

struct world *world_new(const struct world_options *options);
void world_free(struct world *world);

/* Delivers everything up to `until_ms`. False once the world has failed. */
bool world_run_until(struct world *world, uint64_t until_ms);
bool world_run(struct world *world, uint64_t span_ms);

/* The leader of the highest term, or NULL. */
struct node *world_leader(struct world *world);

/* Runs until some node other than `except` (or NULL) leads; NULL after `span_ms`. */
struct node *world_await_leader(struct world *world, uint64_t span_ms, const struct node *except);

/* Runs until `node` has committed `index`. False after `span_ms`. */
bool world_await_commit(struct world *world, struct node *node, uint64_t index, uint64_t span_ms);

mask node_configuration(const struct node *node);
mask mask_with(mask configuration, unsigned number, unsigned role);
unsigned mask_role(mask configuration, unsigned number);
unsigned mask_voters(mask configuration);
void mask_decode(mask configuration, struct raft_configuration *out);
mask mask_encode(const struct raft_configuration *configuration);

uint64_t world_random(struct world *world, uint64_t low, uint64_t high);
bool world_chance(struct world *world, unsigned percent);
bool world_failed(const struct world *world);
__attribute__((format(printf, 2, 3))) void world_fail(struct world *world, const char *format, ...);
void world_observe(const struct node *node, enum observed observed, const void *what);

/* --- raft_node.c --- */

void node_start(struct node *node);

/* Unflushed ops are lost, but for a random prefix of them when `keep` is set. */
void node_crash(struct node *node, bool keep);

/* SPATE_ERR_* or 0. */
int node_submit(struct node *node, unsigned count);
int node_change(struct node *node, mask configuration);
int node_snapshot(struct node *node, uint64_t index, unsigned trailing);
int node_transfer(struct node *node, const struct node *to);

/* Hands `node` one message at once, as if it came from `from`; `letter` stays the caller's. */
int node_receive(struct node *node, unsigned from, const struct letter *letter);

/* What a guard call has made possible: apply, and start a flush. Called after each of them. */
void node_settle(struct node *node);

/* --- raft_disk.c --- */

uint64_t log_term_at(const struct log *log, uint64_t index);
void log_write(struct log *log, uint64_t index, const struct entry *entries, uint64_t count);
void log_install(struct log *log, const struct snapshot *snapshot);
/* The configuration as of `index`, by the log. */
void log_configuration(const struct log *log, uint64_t index, mask *out, uint64_t *out_index);

/* Queues an op (its `entries` are taken over). */
void disk_queue(struct node *node, const struct op *op);
void disk_kick(struct node *node);
void disk_flush_done(struct node *node);
void disk_crash(struct node *node, bool keep);

/* --- raft_net.c --- */

void net_post(struct node *node,
              const struct raft_message *message,
              const struct sp_raft_guard_stamp *stamp);
void net_release(struct node *node);
void net_drop_gated(struct node *node);
/* Time of the next letter, or UINT64_MAX. */
uint64_t net_next_ms(const struct world *world);
struct letter *net_take(struct world *world);
void net_free(struct letter *letter);
struct letter *net_copy(const struct letter *letter);
/* It arrives later, by `after_ms` from now, behind all others of that moment. */
void net_deliver(struct world *world, struct letter *letter, uint64_t after_ms);
void world_isolate(struct world *world, const struct node *node);
void world_join(struct world *world, const struct node *node);
void world_heal(struct world *world);
void world_cut(struct world *world, const struct node *a, const struct node *b);

/* --- raft_check.c --- */

void check_init(struct world *world, mask configuration);
void check_deinit(struct world *world);
void check_entry(struct world *world, uint64_t index, const struct entry *entry);
void check_meta(struct node *node, uint64_t term, uint64_t vote);
void check_write(struct node *node, uint64_t index);
void check_leader(struct node *node);
void check_apply(struct node *node, uint64_t index);

/* --- raft_schedule.c --- */

/* One random schedule: faults for `seconds` of virtual time, then all is healed and must go on.
 * True if it went well; otherwise `failure` (256 bytes) says what did not. */
bool schedule_run(uint64_t seed, unsigned seconds, unsigned disabled, char *failure);

#endif /* SP_TESTS_RAFT_HOST_H */
