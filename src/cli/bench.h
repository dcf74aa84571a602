/* spate bench: load of a known shape on a real cluster, and what it cost.
 *
 *   workers (a thread and a client each) --turn by turn--> bench_share --interval by interval-->
 *   bench_interval: rate and latency over time, and their sums --> text, JSON, CSV, SVG
 *
 * A latency runs from the moment at which a record was due (with --rate: by the schedule, whatever
 * held the sender up; else when it was handed over) to its acknowledgement, for e2e to its reader.
 */
#ifndef SPATE_CLI_BENCH_H
#define SPATE_CLI_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "cli/cli.h"
#include "cli/latency_histogram.h"
#include "io/thread.h"

#define BENCH_CLIENTS_MAX 64
#define BENCH_SERVERS_MAX 16
#define BENCH_VALUE_BYTES_MAX (1024 * 1024)
#define BENCH_GAPS_MAX 64
#define BENCH_GAP_MS_MIN 20 /* shorter ones are not noted */

enum bench_kind {
    BENCH_PRODUCE,
    BENCH_CONSUME,
    BENCH_E2E,
    BENCH_LATENCY,
    BENCH_FAILOVER,
};

struct bench_options {
    enum bench_kind kind;
    const char *topic;  /* NULL: one of its own, deleted afterwards */
    int64_t partitions; /* of a topic that has to be created; 0: the cluster's default */
    int64_t replicas;
    const char *durability; /* the same; NULL: the cluster's default */
    int64_t size;           /* bytes of a value */
    int64_t keys;           /* how many different ones; 0: records have none */
    bool random;            /* values do not compress */
    const char *compression;
    const char *batch; /* batch.bytes */
    const char *linger;
    int64_t count;       /* measured records; 0: --duration decides */
    int64_t duration_ms; /* measured time; 0: --count decides */
    int64_t warmup_ms;
    int64_t interval_ms; /* of the figures over time */
    int64_t rate;        /* records a second of all clients together; 0: as fast as they can */
    int64_t clients;
    int64_t in_flight; /* records without an answer per client; 0: as many as the library takes */
    int64_t servers[BENCH_SERVERS_MAX]; /* process ids on this machine */
    size_t server_count;
    const char *csv; /* files; NULL: none */
    const char *svg;
    bool keep; /* a topic of its own stays */
};

/* A time in which records were due to be answered and none was. */
struct bench_gap {
    uint64_t at_us; /* since the measuring began */
    uint64_t length_us;
};

/* Figures of some time. */
struct bench_counts {
    uint64_t records; /* acknowledged, or read */
    uint64_t bytes;   /* of their keys and values */
    uint64_t failed;
    uint64_t unknown; /* of the failed: perhaps stored all the same */
    struct latency_histogram latency;
};

/* What is kept of one interval. */
struct bench_interval {
    double begin_s;
    double seconds;
    uint64_t records;
    uint64_t bytes;
    uint64_t failed;
    uint64_t p50_us;
    uint64_t p99_us;
    uint64_t max_us;
};

/* What workers and the command share, inside the monitor. Times are those of clock_us. */
struct bench_share {
    struct sp_monitor *monitor;
    uint64_t measure_us; /* when the warm-up ends; 0: nobody knows yet (the first record decides) */
    uint64_t stop_us;    /* when the measuring ends; UINT64_MAX: not yet decided */
    uint64_t last_us;    /* the last answer that was counted */
    struct bench_counts fresh;             /* since the last interval */
    uint64_t longest_gap_us;               /* of one client; 0: none was noted */
    struct bench_gap gaps[BENCH_GAPS_MAX]; /* of failover: the first ones */
    size_t gap_count;
    uint64_t running; /* workers */
    int failure;      /* 0, or what ended a worker */
    char failure_text[256];
};

struct bench_worker {
    const struct bench_options *options;
    struct bench_share *share;
    struct sp_thread *thread;
    const struct spate_config *config;
    const char *topic;
    const unsigned char *pool; /* bytes of values, twice BENCH_VALUE_BYTES_MAX */
    uint32_t partitions;
    unsigned number; /* among the clients, from 0 */
};

/* What a run came to. */
struct bench_result {
    const char *topic;
    uint32_t partitions;
    int64_t replicas;
    uint64_t begin_us; /* of the measuring */
    uint64_t end_us;
    struct bench_counts sum;
    struct bench_interval *intervals; /* owned */
    size_t interval_count;
    double client_cpu_s;
    double server_cpu_s; /* negative: not measured */
    const struct bench_share *share;
};

/* ---- bench_options.c ---- */

/* Reads the options of `spate bench KIND`. 0, or an exit code after a message. */
int bench_take_options(struct cli *cli, struct bench_options *options, int argc, char **argv);

/* "produce", "consume", ... */
const char *bench_kind_name(enum bench_kind kind);

/* ---- bench_worker.c ---- */

/* The body of a worker's thread. */
void bench_work(void *worker);

/* ---- bench_report.c ---- */

/* CPU-seconds that these processes have used; negative after a message: one is not there. */
double bench_cpu_of(const int64_t *processes, size_t count);

/* The same of this process. */
double bench_own_cpu(void);

/* Prints the result as text, or with --json as one object. */
void bench_print(const struct cli *cli,
                 const struct bench_options *options,
                 const struct bench_result *result);

/* Writes the intervals to options->csv and options->svg. 0, or an exit code after a message. */
int bench_write_files(const struct bench_options *options, const struct bench_result *result);

/* ---- bench_picture.c ---- */

/* Rate and latency over time as one SVG. */
void bench_picture(FILE *file, const char *title, const struct bench_result *result);

#endif /* SPATE_CLI_BENCH_H */
