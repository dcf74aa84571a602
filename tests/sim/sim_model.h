/* What must hold: the reference log of every partition, and the checks against it.
 *
 *   every replica's apply --> committed(group, index): one frame, the same on all
 *                              '--> records of that partition, in order, each once
 *   delivery of a record  --> it stands in the reference log at that offset
 *   record read           --> the next one of the reference log
 *   record of a stream    --> its number is the one behind the last of that stream there
 *
 * Every record carries a value id: which program life wrote it, to which partition, its number. */
#ifndef SP_SIM_MODEL_H
#define SP_SIM_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "storage/log_frame.h"

#define SIM_WRITERS_MAX 4096u  /* lives of producers in one run */
#define SIM_PARTITIONS_MAX 64u /* of all topics together */
#define SIM_GROUPS_MAX 256u    /* SIM_CHURN_MAX, and those that stay */
#define SIM_CHURN_MAX 200u
#define SIM_VALUE_SIZE_MIN 24u

/* ---- values ---------------------------------------------------------------------------------- */

/* Writes the value of a record, `size` (at least SIM_VALUE_SIZE_MIN) bytes that depend on all of
 * its id. */
void sim_value_write(uint8_t *bytes, size_t size, uint32_t writer, uint32_t place, uint32_t number);

/* Reads it back; false if any byte is wrong. */
bool sim_value_read(const uint8_t *bytes,
                    size_t size,
                    uint32_t *out_writer,
                    uint32_t *out_place,
                    uint32_t *out_number);

/* ---- reference ------------------------------------------------------------------------------- */

/* One committed frame. */
struct sim_committed {
    uint64_t term;
    uint32_t crc;
    uint32_t chain;
    enum sp_frame_kind kind;
    size_t size; /* in a log */
    int64_t append_time_ms;
    uint64_t committed_us; /* when it was first applied */
};

/* The newest batches of one producer in one partition, newest last. */
struct sim_producer {
    int64_t producer_id;
    unsigned count;
    struct {
        int32_t base_sequence;
        int32_t record_count;
        int16_t epoch;
        uint64_t index;
    } batches[SP_PRODUCER_BATCHES_KEPT];
};

/* The machine's state after a frame, as the first replica wrote it. */
struct sim_state {
    uint64_t index;
    uint32_t crc;
};

struct sim_record {
    uint32_t writer;
    uint32_t number;
    uint64_t index; /* of its frame */
};

struct sim_group {
    uint64_t group_id;
    uint32_t place;               /* of its records; UINT32_MAX: none seen */
    struct sim_committed *frames; /* [index] */
    uint64_t frame_capacity;
    uint64_t last_index;
    struct sim_record *records; /* [offset] */
    uint64_t record_capacity;
    int64_t next_offset;
    int64_t log_start; /* by committed commands; records below may be gone */
    struct sim_producer *producers;
    size_t producer_count;
    struct sim_state *states;
    size_t state_count;
    uint32_t next_number[SIM_WRITERS_MAX]; /* lowest number that may still come */
    struct {
        uint64_t term;
        uint32_t node;
    } * leaders;
    size_t leader_count;
    size_t leader_capacity;
};

/* One partition that programs write to and read from. */
struct sim_place {
    char topic[32];
    int32_t partition;
    struct sim_group *group;  /* once a record was seen */
    int64_t acknowledged_end; /* behind the last record of which a producer was told */
    int64_t truncation_asked; /* the highest offset below which records were to go */
};

/* Where oracles stand between production code and itself (tests/sim/CMakeLists.txt); those that do
 * nothing but look, which nobody would miss if the linker had not put them there. */
#define SIM_LOOK_LIST(X)                                                                           \
    X(sp_raft_group_submit)                                                                        \
    X(sp_sequences_judge)                                                                          \
    X(sp_transport_send)                                                                           \
    X(sp_transport_send_heartbeat)                                                                 \
    X(sp_log_truncate)                                                                             \
    X(sp_log_trim)                                                                                 \
    X(sp_log_install)                                                                              \
    X(sp_log_build)                                                                                \
    X(sp_store_delete_replica)                                                                     \
    X(sp_store_retire_replica)                                                                     \
    X(sp_meta_new)                                                                                 \
    X(sp_leader_table_new)                                                                         \
    X(sp_group_commit_request_encode)                                                              \
    X(sp_vigil_add)

enum sim_look {
#define SIM_LOOK(function) SIM_LOOK_##function,
    SIM_LOOK_LIST(SIM_LOOK)
#undef SIM_LOOK
    SIM_LOOKS
};

const char *sim_look_name(enum sim_look look);

struct sim_counts {
    uint64_t looks[SIM_LOOKS];
    uint64_t elections;
    uint64_t committed_frames;
    uint64_t committed_records;
    uint64_t acknowledged;
    uint64_t ends; /* linearizable ones that were told */
    uint64_t unknown;
    uint64_t refused;
    uint64_t read;
    uint64_t kills;
    uint64_t power_cuts;
    uint64_t power_cuts_all;
    uint64_t pauses;
    uint64_t partitions;
    uint64_t cuts;
    uint64_t disk_errors;
    uint64_t truncations;
    uint64_t torn_tails;
    uint64_t resent;     /* batches, by producers */
    uint64_t duplicates; /* batches recognised as sent before */
    uint64_t checkpoints;
    uint64_t restarts;
    uint64_t transfers;
    uint64_t refills;
    uint64_t memory_peak_bytes; /* of one node; the sum over many runs is the largest */
    uint64_t clock_jumps;
    uint64_t stops;
    uint64_t slow_disks;
    uint64_t bit_flips;
    uint64_t emptied_disks;
    uint64_t doubles;
    uint64_t absences;        /* of nodes, for longer than until they are replaced */
    uint64_t replaced_voters; /* of the controller */
    uint64_t deaths_in_call;
    uint64_t client_deaths;
    uint64_t processed; /* records, by members of the consumer group */
    uint64_t processed_twice;
    uint64_t rebalances;    /* as members are told of */
    uint64_t takeovers;     /* of partitions that had records of the name */
    uint64_t trims;         /* of files of partitions, per replica */
    uint64_t recycled;      /* segments in files of old ones */
    uint64_t trim_refills;  /* of replicas of partitions */
    uint64_t skips;         /* readers that were told that records are gone */
    uint64_t drains;        /* of nodes, that were begun */
    uint64_t fell_together; /* nodes that died with another one of their machine */
    uint64_t moves;         /* of partitions, that were begun */
    uint64_t quieted;       /* pairs of leader and follower, and the end of it */
    uint64_t woken;
    uint64_t compacted_committed; /* records of the compacted topic */
    uint64_t compacted_read;
    uint64_t compacted_passes; /* of its readers, from its start to its end */
    uint64_t compacted_gone;   /* records that were committed and that a pass did not find */
    uint64_t fenced;           /* lives that were told that another one has taken over */
};

struct sim_model {
    struct sim_group *groups[SIM_GROUPS_MAX];
    unsigned group_count;
    struct sim_place places[SIM_PARTITIONS_MAX];
    unsigned place_count;
    unsigned kept_count; /* the first so many: all of their records stay */
    uint32_t writer_count;
    bool streams[SIM_WRITERS_MAX]; /* writers that are streams */
    struct sim_counts counts;
};

extern struct sim_model sim_model;

void sim_model_init(void);

/* A new place for records; those that are not `trimmed` come first. */
uint32_t sim_model_add_place(const char *topic, int32_t partition, bool trimmed);

/* A new life of a producer. */
uint32_t sim_model_add_writer(void);

/* This writer's records carry on from life to life: none may be missing. */
void sim_model_stream(uint32_t writer);

/* NULL when nothing of the group was ever committed. */
struct sim_group *sim_model_group(uint64_t group_id);

/* ---- events ---------------------------------------------------------------------------------- */

/* A replica on process `node` applied this frame. */
void sim_model_applied(uint32_t node,
                       uint64_t group_id,
                       const struct sp_log_frame *frame,
                       const uint8_t *payload);

/* Chain of a committed frame; 0: none was committed at `index`. */
uint32_t sim_model_chain(uint64_t group_id, uint64_t index);

/* The state of a replica's machine after `index`, as it writes it down or takes it over. */
void sim_model_state(
    uint32_t node, uint64_t group_id, uint64_t index, const uint8_t *bytes, size_t size);

/* True if the batch is among the last ones of its producer and lies at or below `applied_index`. */
bool sim_model_has_batch(uint64_t group_id,
                         uint64_t applied_index,
                         int64_t producer_id,
                         int16_t epoch,
                         int32_t base_sequence,
                         int32_t record_count);

/* A replica on `node` leads the group in `term`. */
void sim_model_leads(uint32_t node, uint64_t group_id, uint64_t term);

/* A leader tells whoever submitted the frame at (index, term) that it is committed, and on how many
 * disks of replicas it is. */
void sim_model_completed(uint64_t group_id, uint64_t index, uint64_t term, unsigned fsynced);

/* A linearizable answer told `end`; `before` was acknowledged_end when the question left. */
void sim_model_end_told(uint32_t place, int64_t before, int64_t end);

/* The producer was told that its record is stored at `offset`. */
void sim_model_acknowledged(uint32_t writer, uint32_t place, uint32_t number, int64_t offset);

/* A life of a stream was told that `records` of it are stored here, the last one at `offset`. */
void sim_model_resumed(uint32_t writer, uint32_t place, int64_t records, int64_t offset);

/* The producer was told that its record is not stored. */
void sim_model_refused(uint32_t writer, uint32_t place, uint32_t number, int status);

/* A consumer that expected `expected` was given this record of the place. */
void sim_model_read(uint32_t place,
                    int64_t expected,
                    int64_t offset,
                    const uint8_t *value,
                    size_t size,
                    int64_t high_watermark);

/* ---- the start of a log ---------------------------------------------------------------------- */

/* Where a reader of the whole log may begin when its first record is at `offset`. */
int64_t sim_model_start(uint32_t place, int64_t offset);

/* A reader that expected `expected` was told that it goes on at `offset`. */
void sim_model_skipped(uint32_t place, int64_t expected, int64_t offset);

/* A program that asked for a truncation before `before`, when the log started at `start` at the
 * latest known, was told that it starts at `told`. */
void sim_model_truncated(uint32_t place, int64_t before, int64_t start, int64_t told);

/* A program is about to ask for a truncation before `before`. */
void sim_model_truncation_asked(uint32_t place, int64_t before);

/* The command of the group's last frame: records below `offset` are given up. */
void sim_model_trim_committed(struct sim_group *group, int64_t offset);

/* A replica drops all frames up to `index` from its files. */
void sim_model_trimmed(uint32_t node, uint64_t group_id, uint64_t index);

/* A replica that runs takes a checkpoint over. */
void sim_model_refilled(uint64_t group_id);

/* At the end: refused records are nowhere. */
void sim_model_check_end(void);

#endif /* SP_SIM_MODEL_H */
