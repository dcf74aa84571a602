/* What the parts of `journal` share: its partitions, and the ways by which their writes become
 * durable. */
#ifndef SP_BENCH_JOURNAL_H
#define SP_BENCH_JOURNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "io/file.h"

enum {
    PARTITIONS_MAX = 1000,
    PIECES_MAX = 1024,
    HALF_BYTES = 32 * 1024 * 1024,
    WRITE_BYTES_MIN = 4096,
    WRITE_BYTES_MAX = 64 * 1024,
    COPIES_MAX = 2 * HALF_BYTES / WRITE_BYTES_MIN, /* a half is written again when it has none */
    SAMPLES_MAX = 4 * 1000 * 1000,
};

struct partition {
    struct sp_list node; /* in `waiting` */
    struct sp_file *file;
    uint64_t position;
    double since;
    bool dirty[2]; /* has bytes that only this half of the journal has durably */
};

/* Bytes of the journal that go to their partition. */
struct copy {
    struct partition *partition;
    uint64_t position;
    unsigned half;
};

struct half {
    unsigned copies; /* that have not been written */
    bool full;       /* not to be written before the cleaner has been there */
};

/* The lock guards all that changes but `journal_position` and what a partition has while nobody
 * else can find it. */
struct world {
    const char *directory;
    size_t write_size;
    uint64_t file_size; /* written before; 0: files grow */
    unsigned partition_count;
    unsigned batch_max;
    struct partition partitions[PARTITIONS_MAX];
    pthread_mutex_t lock;
    pthread_cond_t moved;
    struct sp_list waiting;
    bool ending;
    float *samples_ms;
    unsigned sample_count;
    struct sp_file *journal;
    uint64_t journal_position;
    unsigned current; /* half that is written */
    struct half halves[2];
    struct copy copies[COPIES_MAX]; /* a ring */
    uint64_t copies_begun;
    uint64_t copies_added;
};

extern struct world world;
extern const uint8_t payload[WRITE_BYTES_MAX];

/* Ends the process with a message unless `rv` is 0. */
void check(int rv, const char *what);

/* Writes one payload there, or, in a file that was written before, where that is in its rounds. */
void write_at(struct partition *partition, uint64_t position);

/* Bodies of threads, one of each way (journal.c says what they do), until `ending`. */
void *run_each(void *arg);
void *run_grouped(void *arg);
void *run_together(void *arg);
void *run_committer(void *arg);
void *run_copier(void *arg);
void *run_cleaner(void *arg);

#endif /* SP_BENCH_JOURNAL_H */
