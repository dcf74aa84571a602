/* What storage has promised, and whether a disk keeps it: the judge of test_storage_crash.c.
 *
 *   history   every frame, vote, checkpoint and identity that was ever asked for
 *   promise   the part of it that was acknowledged: it must be there, whatever happens
 *   life      one opened store with its logs, doing random work until it ends or crashes
 *
 * Failures end the process with the context, since they may be found inside a disk operation. */
#ifndef SP_TESTS_LIB_CRASH_MODEL_H
#define SP_TESTS_LIB_CRASH_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/rand.h"
#include "storage/store.h"
#include "tests/lib/crash_disk.h"

#define CRASH_LOGS 3
#define CRASH_NODE_ID 3
#define CRASH_SEGMENT_BYTES 7000
#define CRASH_BASES_MAX 64

struct crash_history;

enum crash_log_state {
    CRASH_LOG_ABSENT,
    CRASH_LOG_CREATING, /* asked for: it may be there */
    CRASH_LOG_PRESENT,
    CRASH_LOG_DELETING, /* asked for: it may be gone */
};

struct crash_log_promise {
    enum crash_log_state state;
    uint64_t replica_id;
    uint64_t base; /* the log was installed at this index, trimmed to it, or 0 */
    bool base_trimmed;
    uint64_t next_base;  /* an install that was asked for, or 0 */
    uint64_t trimmed;    /* frames up to here may be gone from the front, or 0 */
    uint64_t index;      /* durable up to here */
    uint32_t chain;      /* of the frame there */
    uint64_t proven;     /* a later write says that it was: its damage is seen */
    uint64_t checkpoint; /* durable */
    uint64_t term;       /* durable */
    uint64_t term_asked;
};

struct crash_promise {
    bool opened;
    uint64_t incarnation;
    uint32_t step; /* of the identity: durable */
    uint32_t step_asked;
    struct crash_log_promise logs[CRASH_LOGS];
};

/* A log of a life, and what is in it as far as the life knows. */
struct crash_life_log {
    struct crash_life *life;
    unsigned number;
    struct sp_log *log; /* NULL: not open */
    uint64_t base;
    uint32_t base_chain;
    uint64_t count;   /* frames */
    uint32_t *chains; /* of each */
    uint64_t capacity;
    uint64_t commit;
    uint64_t trimmed; /* frames up to here are not to be read any more, or 0 */
    uint64_t vote_sequence;
    uint64_t vote_term;
    bool busy; /* being created */
    bool gone; /* deleted, known when gone_sequence is durable */
    uint64_t gone_sequence;
    bool done;
    int status;
    struct sp_replica_open open;
};

struct crash_life {
    struct crash_disk *disk;
    struct sp_loop *loop;
    struct sp_store *store; /* NULL: not open */
    struct crash_history *history;
    struct crash_promise promise;
    struct sp_rand rand;
    uint64_t identity_sequence;
    uint32_t identity_step;
    bool failed;
    bool memory_fails; /* now and then, during work */
    bool ages;         /* segments come and go soon */
    bool damaged;      /* a byte of the disk was changed */
    unsigned corrupt;  /* logs that did not open, or could not be read */
    struct crash_life_log logs[CRASH_LOGS];
};

struct crash_history *crash_history_new(void);
void crash_history_free(struct crash_history *history);

/* Said before every failure. */
void crash_model_context(const char *format, ...) SP_PRINTF(1, 2);

/* Ends the process with a message unless `holds`. */
void crash_require(bool holds, const char *format, ...) SP_PRINTF(2, 3);

/* A life that has not opened its store. `shuffled`: its jobs run in any order. */
void crash_life_init(struct crash_life *life,
                     struct crash_disk *disk,
                     struct crash_history *history,
                     const struct crash_promise *promise,
                     uint64_t seed);

/* Opens the store and all logs and compares them with the promise, which grows by what is found.
 * False: the disk has failed. */
bool crash_life_open(struct crash_life *life, bool shuffled);

/* Random work. */
void crash_life_work(struct crash_life *life, unsigned steps);

/* Closes everything in order: all that was asked for is durable then. */
void crash_life_end(struct crash_life *life);

/* Ends a life whose disk does not matter any more, and frees its memory. */
void crash_life_abandon(struct crash_life *life);

/* Opens a disk, compares, and closes. The promise grows by what is found. */
void crash_model_visit(struct crash_disk *disk,
                       struct crash_history *history,
                       struct crash_promise *promise,
                       uint64_t seed);

/* The same for a disk with damage: nothing that was proven durable may be missing without a word.
 * Returns how many logs said so. */
unsigned crash_model_visit_damaged(struct crash_disk *disk,
                                   struct crash_history *history,
                                   const struct crash_promise *promise,
                                   uint64_t seed);

/* ---- between the files of the model ---------------------------------------------------------- */

/* A frame that was appended behind one with `chain_before`. */
void crash_history_note(struct crash_history *history,
                        unsigned log,
                        uint64_t index,
                        uint32_t chain_before,
                        uint32_t chain,
                        uint32_t sum);

/* A checkpoint that a log was told to begin with. */
void crash_history_note_base(struct crash_history *history,
                             unsigned log,
                             uint64_t index,
                             uint32_t chain);

/* Whether such a frame was ever appended. */
bool crash_history_has(const struct crash_history *history,
                       unsigned log,
                       uint64_t index,
                       uint32_t chain_before,
                       uint32_t chain,
                       uint32_t sum);

/* Chain of the frame before one that was appended. */
bool crash_history_before(const struct crash_history *history,
                          unsigned log,
                          uint64_t index,
                          uint32_t chain,
                          uint32_t *out_before);

/* Finds what the log was told to begin with at `index`; 0: nothing. */
bool crash_history_base(const struct crash_history *history,
                        unsigned log,
                        uint64_t index,
                        uint32_t *out_chain);

/* Raises *index until no log was ever told to begin there. False: crash_history_note_base has no
 * room any more. */
bool crash_history_pick_base(const struct crash_history *history, uint64_t *index);

extern const struct sp_log_handler crash_log_handler;

/* A new number for a replica. */
uint64_t crash_history_next_replica(struct crash_history *history);

/* The state that a checkpoint holds. */
#define CRASH_STATE_SIZE 40
void crash_state_make(uint64_t index, uint32_t chain, char *out_state);

/* Chain of a frame that the life's log has, or of its base. */
uint32_t crash_log_chain_at(const struct crash_life_log *log, uint64_t index);

/* Sets what a log holds from `index` on. */
void crash_log_push(struct crash_life_log *log, uint32_t chain);

/* Compares an opened log with the promise, and takes what it has as promised. */
void crash_log_check(struct crash_life_log *log);

/* Leaves what has been applied, as before an orderly end. */
void crash_log_keep_rest(struct crash_life_log *log);

/* Takes what has become durable into the promise. */
void crash_life_settle(struct crash_life *life);

/* Opens one registered log and compares. */
void crash_log_open(struct crash_life_log *log);

/* Closes one log and waits for it. */
void crash_log_close(struct crash_life_log *log);

#endif /* SP_TESTS_LIB_CRASH_MODEL_H */
