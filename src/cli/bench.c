/* spate bench: topic, workers, intervals. */
#include "cli/bench.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/rand.h"
#include "cli/output.h"
#include "cli/value.h"
#include "io/clock.h"

#define FILL_BYTES ((int64_t)1 << 30) /* of a topic that is made for reading */

enum {
    LOOK_MS = 5,
    FILL_RECORDS = 1000000,
    INTERVALS_MAX = 1000000,
    NAME_SIZE = 64,
};

/* A run and what it is made of. */
struct bench {
    struct cli *cli;
    struct bench_options options;
    struct bench_share *share;
    struct bench_worker *workers;
    unsigned char *pool;
    struct bench_result result;
    size_t interval_capacity;
    uint64_t interval_us; /* when the current interval began */
    bool line_open;       /* of progress, on a terminal */
    char own_topic[NAME_SIZE];
};

/* ---- values ---------------------------------------------------------------------------------- */

static void fill_random(unsigned char *pool, size_t size)
{
    struct sp_rand rand;

    sp_rand_init(&rand, 1);
    for (size_t i = 0; i < size; i++) {
        pool[i] = (unsigned char)sp_rand_next(&rand);
    }
}

/* Lines as a service would write them: lz4 makes about a third of them. */
static void fill_compressible(unsigned char *pool, size_t size)
{
    static const char *const verbs[] = { "GET", "POST", "PUT", "DELETE" };
    static const char *const paths[] = { "/orders", "/carts", "/users", "/search?q=shoes" };
    struct sp_rand rand;
    size_t filled = 0;

    sp_rand_init(&rand, 1);
    while (filled < size) {
        char line[160];
        int written = snprintf(line,
                               sizeof line,
                               "level=info method=%s path=%s user=%05" PRIu64 " status=200 "
                               "duration_us=%" PRIu64 "\n",
                               verbs[sp_rand_below(&rand, 4)],
                               paths[sp_rand_below(&rand, 4)],
                               sp_rand_below(&rand, 100000),
                               sp_rand_below(&rand, 100000));
        size_t part = (size_t)written < size - filled ? (size_t)written : size - filled;
        memcpy(pool + filled, line, part);
        filled += part;
    }
}

/* ---- the topic ------------------------------------------------------------------------------- */

/* Replicas of the topic's partition 0. */
static int64_t replicas_of(struct cli *cli, const char *topic)
{
    json_t *result = NULL;
    int64_t count = 0;

    if (call_json(cli, "topic.describe", json_pack("{ss}", "name", topic), &result) == 0) {
        const json_t *partition = json_array_get(json_object_get(result, "partitions"), 0);
        count = (int64_t)json_array_size(json_object_get(partition, "replicas"));
    }
    json_decref(result);
    return count;
}

/* Makes the topic if there is none. An exit code, told. */
static int have_topic(struct bench *bench)
{
    const struct bench_options *options = &bench->options;
    struct cli *cli = bench->cli;
    int rv = 0;

    bench->result.topic = options->topic;
    if (options->topic == NULL) {
        (void)snprintf(bench->own_topic,
                       sizeof bench->own_topic,
                       "bench-%" PRId64 "-%d",
                       sp_clock_wall_ms(),
                       (int)getpid());
        bench->result.topic = bench->own_topic;
    }
    const char *topic = bench->result.topic;
    if (options->topic != NULL) {
        rv = spate_topic_partitions(cli->client, topic, &bench->result.partitions);
    }
    if (options->topic == NULL ||
        (rv == SPATE_ERR_UNKNOWN_TOPIC && options->kind != BENCH_CONSUME)) {
        const struct spate_topic_setting durability = { "durability", options->durability };
        rv = spate_topic_create_with(cli->client,
                                     topic,
                                     (uint32_t)options->partitions,
                                     (uint32_t)options->replicas,
                                     &durability,
                                     options->durability != NULL ? 1 : 0);
        if (rv == 0) {
            rv = spate_topic_partitions(cli->client, topic, &bench->result.partitions);
        }
    }
    if (rv != 0) {
        return tell_failure(cli, rv, topic);
    }
    bench->result.replicas = replicas_of(cli, topic);
    return 0;
}

static void drop_topic(struct bench *bench)
{
    if (bench->own_topic[0] == '\0' || bench->cli->client == NULL) {
        return;
    }
    if (bench->options.keep) {
        note(bench->cli, "topic %s stays", bench->own_topic);
        return;
    }
    int rv = spate_topic_delete(bench->cli->client, bench->own_topic);
    if (rv != 0 && rv != SPATE_ERR_UNKNOWN_TOPIC) {
        (void)tell_failure(bench->cli, rv, bench->own_topic);
    }
}

/* ---- intervals ------------------------------------------------------------------------------- */

static void show_progress(struct bench *bench, const struct bench_interval *interval)
{
    if (bench->cli->quiet || isatty(STDERR_FILENO) != 1) {
        return;
    }
    fprintf(stderr,
            "\r%8.1f s %10.0f records/s %8.1f MB/s  p50 %.2f ms  p99 %.2f ms \033[K",
            interval->begin_s + interval->seconds,
            (double)interval->records / interval->seconds,
            (double)interval->bytes / interval->seconds / 1e6,
            (double)interval->p50_us / 1000,
            (double)interval->p99_us / 1000);
    bench->line_open = true;
}

static struct bench_interval *new_interval(struct bench *bench)
{
    struct bench_result *result = &bench->result;

    if (result->interval_count == bench->interval_capacity) {
        size_t capacity = bench->interval_capacity == 0 ? 256 : bench->interval_capacity * 2;
        void *grown = capacity > INTERVALS_MAX
                          ? NULL
                          : realloc(result->intervals, capacity * sizeof *result->intervals);
        if (grown == NULL) {
            return NULL; /* the sums go on */
        }
        result->intervals = grown;
        bench->interval_capacity = capacity;
    }
    return &result->intervals[result->interval_count++];
}

/* Takes what the workers have counted since the last time. */
static void end_interval(struct bench *bench, uint64_t now_us)
{
    static struct bench_counts fresh; /* large, and of this thread alone */
    struct bench_share *share = bench->share;
    struct bench_result *result = &bench->result;

    sp_monitor_enter(share->monitor);
    fresh = share->fresh;
    memset(&share->fresh, 0, sizeof share->fresh);
    sp_monitor_leave(share->monitor);
    result->sum.records += fresh.records;
    result->sum.bytes += fresh.bytes;
    result->sum.failed += fresh.failed;
    result->sum.unknown += fresh.unknown;
    latency_merge(&result->sum.latency, &fresh.latency);
    struct bench_interval *interval = now_us > bench->interval_us ? new_interval(bench) : NULL;
    if (interval != NULL) {
        *interval = (struct bench_interval){
            .begin_s = (double)(bench->interval_us - result->begin_us) / 1e6,
            .seconds = (double)(now_us - bench->interval_us) / 1e6,
            .records = fresh.records,
            .bytes = fresh.bytes,
            .failed = fresh.failed,
            .p50_us = latency_percentile_us(&fresh.latency, 0.5),
            .p99_us = latency_percentile_us(&fresh.latency, 0.99),
            .max_us = fresh.latency.max_us,
        };
        show_progress(bench, interval);
    }
    bench->interval_us = now_us;
}

/* ---- the run --------------------------------------------------------------------------------- */

/* What a look at the share says. */
struct look {
    uint64_t measure_us;
    uint64_t stop_us;
    uint64_t running;
};

static struct look look_at(struct bench_share *share, bool stop)
{
    sp_monitor_enter(share->monitor);
    if (stop) {
        share->stop_us = 0;
    }
    struct look look = { share->measure_us, share->stop_us, share->running };
    sp_monitor_leave(share->monitor);
    return look;
}

static void begin_result(struct bench *bench, uint64_t begin_us)
{
    const struct bench_options *options = &bench->options;

    bench->result.begin_us = begin_us;
    bench->interval_us = begin_us;
    bench->result.client_cpu_s = -bench_own_cpu();
    bench->result.server_cpu_s = -bench_cpu_of(options->servers, options->server_count);
}

static void end_result(struct bench *bench, uint64_t end_us)
{
    const struct bench_options *options = &bench->options;
    struct bench_result *result = &bench->result;
    double servers = bench_cpu_of(options->servers, options->server_count);

    result->end_us = end_us;
    result->client_cpu_s += bench_own_cpu();
    result->server_cpu_s =
        servers < 0 || options->server_count == 0 ? -1 : result->server_cpu_s + servers;
}

/* Watches the workers until the last one has ended. */
static void watch(struct bench *bench)
{
    const uint64_t step_us = (uint64_t)bench->options.interval_ms * 1000;
    bool ended = false;

    for (;;) {
        struct look look = look_at(bench->share, interrupted());
        uint64_t now_us = sp_clock_us();
        bool over = now_us >= look.stop_us || look.running == 0;
        if (bench->result.begin_us == 0 && look.measure_us != 0 && now_us >= look.measure_us) {
            begin_result(bench, look.measure_us);
        }
        if (bench->result.begin_us != 0 && over && !ended) {
            uint64_t last_us = look.running == 0 ? bench->share->last_us : 0;
            ended = true;
            end_result(bench, last_us > look.measure_us ? last_us : now_us);
        }
        if (look.running == 0) {
            break;
        }
        if (bench->result.begin_us != 0 && !over && now_us >= bench->interval_us + step_us) {
            end_interval(bench, bench->interval_us + step_us);
        }
        out_wait(LOOK_MS);
    }
    end_interval(bench, bench->result.end_us);
    if (bench->line_open) {
        fprintf(stderr, "\n");
        bench->line_open = false;
    }
}

static int start_workers(struct bench *bench)
{
    const struct bench_options *options = &bench->options;
    struct bench_share *share = bench->share;
    bool readers = options->kind == BENCH_CONSUME;
    int rv = sp_monitor_new(&share->monitor);

    share->stop_us = UINT64_MAX;
    if (rv == 0 && !readers) {
        share->measure_us = sp_clock_us() + (uint64_t)options->warmup_ms * 1000;
        share->stop_us = options->duration_ms > 0
                             ? share->measure_us + (uint64_t)options->duration_ms * 1000
                             : UINT64_MAX;
    }
    for (unsigned i = 0; rv == 0 && i < options->clients; i++) {
        bench->workers[i] = (struct bench_worker){
            .options = options,
            .share = share,
            .config = bench->cli->config,
            .topic = bench->result.topic,
            .pool = bench->pool,
            .partitions = bench->result.partitions,
            .number = i,
        };
        sp_monitor_enter(share->monitor);
        share->running += 1;
        sp_monitor_leave(share->monitor);
        rv = sp_thread_start(bench_work, &bench->workers[i], &bench->workers[i].thread);
        if (rv != 0) {
            sp_monitor_enter(share->monitor);
            share->running -= 1;
            share->stop_us = 0;
            share->failure = rv;
            sp_monitor_leave(share->monitor);
        }
    }
    return rv;
}

static void free_share(struct bench *bench)
{
    if (bench->share != NULL) {
        sp_monitor_free(bench->share->monitor);
    }
    free(bench->share);
    free(bench->workers);
    bench->share = NULL;
    bench->workers = NULL;
}

/* One run of the options as they are; the exit code of what ended it early, told. */
static int run(struct bench *bench)
{
    bench->share = calloc(1, sizeof *bench->share);
    bench->workers = calloc((size_t)bench->options.clients, sizeof *bench->workers);
    if (bench->share == NULL || bench->workers == NULL) {
        return tell_failure(bench->cli, SPATE_ERR_NOMEM, NULL);
    }
    bench->result.share = bench->share;
    int rv = start_workers(bench);
    if (bench->share->monitor != NULL) {
        watch(bench);
    }
    for (int64_t i = 0; i < bench->options.clients; i++) {
        sp_thread_join(bench->workers[i].thread);
    }
    if (rv != 0) {
        return tell_failure(bench->cli, rv, "workers");
    }
    if (bench->share->failure != 0) {
        tell("%s", bench->share->failure_text);
        return exit_code_of(bench->share->failure);
    }
    return interrupted() && bench->result.begin_us == 0 ? EXIT_INTERRUPTED : EXIT_OK;
}

/* Records for readers of a topic of the bench's own. */
static int fill_topic(struct bench *bench)
{
    const struct bench_options wanted = bench->options;
    const char *topic = bench->result.topic;
    uint32_t partitions = bench->result.partitions;
    int64_t replicas = bench->result.replicas;
    int64_t most = FILL_BYTES / (wanted.size > 0 ? wanted.size : 1);
    struct bench_options *options = &bench->options;

    options->kind = BENCH_PRODUCE;
    options->count = wanted.count > 0 ? wanted.count : FILL_RECORDS < most ? FILL_RECORDS : most;
    options->duration_ms = 0;
    options->warmup_ms = 0;
    options->rate = 0;
    options->in_flight = 0;
    options->server_count = 0;
    note(
        bench->cli, "writing %" PRId64 " record%s to read", options->count, plural(options->count));
    int code = run(bench);
    if (code == 0 && (interrupted() || bench->result.sum.failed > 0)) {
        code = interrupted() ? EXIT_INTERRUPTED : EXIT_FAILED;
    }
    free(bench->result.intervals);
    free_share(bench);
    bench->options = wanted;
    bench->interval_capacity = 0;
    bench->result = (struct bench_result){
        .topic = topic,
        .partitions = partitions,
        .replicas = replicas,
    };
    return code;
}

static int conclude(struct bench *bench)
{
    const struct bench_counts *sum = &bench->result.sum;

    bench_print(bench->cli, &bench->options, &bench->result);
    int code = bench_write_files(&bench->options, &bench->result);
    if (code != 0) {
        return code;
    }
    if (interrupted()) {
        return EXIT_INTERRUPTED;
    }
    return sum->failed == 0 ? EXIT_OK : sum->records > 0 ? EXIT_PARTIAL : EXIT_FAILED;
}

static int measure(struct bench *bench)
{
    int code = have_topic(bench);

    if (code != 0) {
        return code;
    }
    bench->pool = malloc((size_t)2 * BENCH_VALUE_BYTES_MAX);
    if (bench->pool == NULL) {
        return tell_failure(bench->cli, SPATE_ERR_NOMEM, NULL);
    }
    (bench->options.random ? fill_random : fill_compressible)(bench->pool,
                                                              (size_t)2 * BENCH_VALUE_BYTES_MAX);
    catch_interrupt();
    if (bench->options.kind == BENCH_CONSUME && bench->own_topic[0] != '\0') {
        code = fill_topic(bench);
    }
    if (code == 0) {
        code = run(bench);
    }
    return code == 0 ? conclude(bench) : code;
}

/* Options of the library for the workers' clients; the command's own client is made already. */
static int set_client(struct bench *bench, const char *key, const char *value)
{
    if (value == NULL) {
        return 0;
    }
    return spate_config_set(bench->cli->config, key, value) == 0
               ? 0
               : usage_error(bench->cli, "%s cannot be %s", key, value);
}

static int run_bench(struct cli *cli, enum bench_kind kind, int argc, char **argv)
{
    struct bench *bench = calloc(1, sizeof *bench);

    if (bench == NULL) {
        return tell_failure(cli, SPATE_ERR_NOMEM, NULL);
    }
    bench->cli = cli;
    bench->options.kind = kind;
    int code = bench_take_options(cli, &bench->options, argc, argv);
    const struct bench_options *options = &bench->options;
    if (code == 0 && bench_cpu_of(options->servers, options->server_count) < 0) {
        code = EXIT_USAGE;
    }
    code = code != 0 ? code : connect_client(cli);
    code = code != 0 ? code : set_client(bench, "compression", options->compression);
    code = code != 0 ? code : set_client(bench, "batch.bytes", options->batch);
    code = code != 0 ? code : set_client(bench, "linger.ms", options->linger);
    code = code != 0 ? code : measure(bench);
    drop_topic(bench);
    free_share(bench);
    free(bench->result.intervals);
    free(bench->pool);
    free(bench);
    return code;
}

int command_bench_produce(struct cli *cli, int argc, char **argv)
{
    return run_bench(cli, BENCH_PRODUCE, argc, argv);
}

int command_bench_consume(struct cli *cli, int argc, char **argv)
{
    return run_bench(cli, BENCH_CONSUME, argc, argv);
}

int command_bench_e2e(struct cli *cli, int argc, char **argv)
{
    return run_bench(cli, BENCH_E2E, argc, argv);
}

int command_bench_latency(struct cli *cli, int argc, char **argv)
{
    return run_bench(cli, BENCH_LATENCY, argc, argv);
}

int command_bench_failover(struct cli *cli, int argc, char **argv)
{
    return run_bench(cli, BENCH_FAILOVER, argc, argv);
}
