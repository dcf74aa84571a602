/* Key compaction of this node's partitions: one pass over one partition at a time, in small steps.
 *
 *   IDLE --a partition has much that is not compacted--> SCAN --keys noted, or the table is full-->
 *   FILTER segment by segment: --nothing to take out, and little to pack--> the next one
 *                              --something--> REWRITE --its end--> SWAP --> the next one
 *   --the last segment with noted keys--> IDLE
 *
 * A step reads some frames, works on them in a worker, and is followed by a pause that keeps to the
 * byte rate. Only finished segments whose frames are applied are touched, from the oldest on, each
 * replaced in one step (storage/log_rewrite.h): whenever a node stops, each key's latest record is
 * there, and a reader never finds an older record behind a newer one.
 *
 * What was compacted is known in memory alone, and which segments have no records left: after a
 * start the first pass reads the log once.
 *
 * A frame that cannot be read back ends the pass as it ends any other read: the replica is damaged,
 * stops itself and is made anew (decision 0010). Its files stay as they are: what is rewritten is
 * made of verified frames alone, from where a segment begins to where the next one does.
 *
 * When a pass is through, this replica has no record below its end that a later one below that end
 * has replaced. It says so to the leader; see sp_raft_group_compacted. A pass that had to leave one
 * says nothing, and neither do those after it: the later record is not in their tables. */
#ifndef SP_BROKER_COMPACTOR_H
#define SP_BROKER_COMPACTOR_H

#include "broker/compact_pass.h"
#include "io/loop.h"
#include "storage/log_rewrite.h"

struct sp_broker;
struct sp_exposition;

/* What a partition's replica here has behind it. */
struct sp_compaction_state {
    int64_t dirty_offset;  /* below, keys were looked at */
    int64_t tombstone_min; /* the lowest that the last pass left, if it was below dirty_offset */
    int64_t swept;         /* floor of that pass */
    bool unclean;          /* a pass left an old value that no later one would see: none reports */
    int64_t retry_ms;      /* no pass before, after one that failed */
    int64_t floor;         /* tombstones below may go */
    int64_t next_floor;    /* and below this one from next_floor_ms on */
    int64_t next_floor_ms;
};

/* What was done since the start. */
struct sp_compaction_counters {
    uint64_t passes;
    uint64_t failed;
    uint64_t read_bytes;
    uint64_t removed_bytes; /* by which segments became smaller */
    uint64_t removed_records;
    uint64_t segments;   /* replaced */
    int64_t last_end_ms; /* wall clock; 0: no pass has ended */
    uint64_t last_ms;    /* that it took */
};

enum sp_compactor_state {
    SP_COMPACTOR_IDLE,
    SP_COMPACTOR_SCAN,
    SP_COMPACTOR_FILTER,
    SP_COMPACTOR_REWRITE,
    SP_COMPACTOR_SWAP,
    SP_COMPACTOR_DROP, /* giving up a segment, and the pass with it */
};

/* A pass that is asked for. */
struct sp_compaction_order {
    struct sp_log *log;
    uint64_t group_id;
    int64_t first_dirty;  /* keys of records below were looked at by an earlier pass */
    uint64_t first_index; /* of the first segment with something else; above last_index: none */
    uint64_t last_index;  /* finished segments up to there may be compacted: all is applied */
    int64_t floor;        /* tombstones below go */
    uint64_t bytes_per_s; /* 0: no limit */
    size_t memory_bytes;  /* for keys */
    bool packs;           /* emptied frames become runs (storage/log_run.h) */
};

/* A pass has ended: `status` 0, or why not. */
typedef void (*sp_compactor_cb)(void *arg, int status);

struct sp_compactor {
    struct sp_loop *loop;
    sp_compactor_cb cb;
    void *cb_arg;
    enum sp_compactor_state state;
    bool ending;                      /* the pass is given up when what is under way ends */
    bool busy;                        /* a read, a job or a swap is under way */
    bool unreadable;                  /* frames could not be read back: that ends the pass */
    struct sp_compaction_order order; /* of this pass, or of the last one */
    struct sp_compact_pass pass;
    uint64_t index; /* of the next frame to read */
    struct sp_log_span span;
    uint64_t removed_before; /* records, in earlier segments */
    bool bare;               /* no frame of the segment holds one so far */
    struct sp_log_read read;
    struct sp_job job;
    struct sp_timer timer;
    struct sp_log_rewrite rewrite;
    struct sp_buf out;     /* a step's new frames */
    struct sp_log_run run; /* what they would be as runs: */
    struct sp_buf packed;  /* of the step, */
    uint64_t packed_bytes; /* of the segment so far, */
    uint64_t plain_bytes;  /* and without runs */
    bool changed;          /* some are other ones than before */
    int status;            /* of the step */
    uint64_t begun_ms;
    struct sp_compaction_counters counters;
};

/* `cb` is told of the end of each pass. */
void sp_compactor_init(struct sp_compactor *compactor,
                       struct sp_loop *loop,
                       sp_compactor_cb cb,
                       void *arg);

/* Begins a pass; none is under way. SPATE_ERR_NOMEM, SPATE_ERR_NO_SPACE (for the largest of its
 * segments once more): and none began. A pass ends with the latter, too. */
int sp_compactor_begin(struct sp_compactor *compactor, const struct sp_compaction_order *order);

/* The log of this group closes: a pass over it is given up, and the log waits for that. */
void sp_compactor_leave(struct sp_compactor *compactor, uint64_t group_id);

/* compactor_look.c: begins a pass if none is under way and a partition has need of one; takes in
 * what a pass has done (`arg` is the broker). */
void sp_compactor_look(struct sp_broker *broker);
void sp_compactor_ended(void *arg, int status);

/* compactor_metrics.c */
void sp_compactor_expose(const struct sp_compactor *compactor, struct sp_exposition *exposition);

#endif /* SP_BROKER_COMPACTOR_H */
