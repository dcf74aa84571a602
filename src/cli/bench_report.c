/* What a bench run came to: text, JSON, CSV; and the CPU time of processes. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/output.h"
#include "io/process.h"

/* ---- CPU ------------------------------------------------------------------------------------- */

double bench_cpu_of(const int64_t *processes, size_t count)
{
    double sum = 0;

    for (size_t i = 0; i < count; i++) {
        uint64_t used_ns = 0;
        if (processes[i] <= 0 || sp_process_cpu_ns(processes[i], &used_ns) != 0) {
            tell("--server-pids: there is no process %" PRId64 " on this machine", processes[i]);
            return -1;
        }
        sum += (double)used_ns / 1e9;
    }
    return sum;
}

double bench_own_cpu(void)
{
    uint64_t used_ns = 0;

    (void)sp_process_cpu_ns(0, &used_ns); /* cannot fail: this process is there */
    return (double)used_ns / 1e9;
}

/* ---- figures --------------------------------------------------------------------------------- */

struct figures {
    double seconds;
    double records_per_s;
    double mb_per_s;
    double p50_ms; /* of latencies; negative: none was measured */
    double p99_ms;
    double p999_ms;
    double max_ms;
    double client_cpu_s_per_million;
    double server_cpu_s_per_million; /* negative: not measured */
    double cpu_s_per_gb;             /* of both; negative: not measured */
};

/* Negative: nothing was measured. */
static double milliseconds(const struct latency_histogram *latency, double share)
{
    return latency->total == 0 ? -1 : (double)latency_percentile_us(latency, share) / 1000;
}

static struct figures figures_of(const struct bench_result *result)
{
    const struct bench_counts *sum = &result->sum;
    double seconds =
        result->end_us > result->begin_us ? (double)(result->end_us - result->begin_us) / 1e6 : 0;
    double millions = (double)sum->records / 1e6;
    double gigabytes = (double)sum->bytes / 1e9;
    bool served = result->server_cpu_s >= 0;

    return (struct figures){
        .seconds = seconds,
        .records_per_s = seconds > 0 ? (double)sum->records / seconds : 0,
        .mb_per_s = seconds > 0 ? (double)sum->bytes / seconds / 1e6 : 0,
        .p50_ms = milliseconds(&sum->latency, 0.5),
        .p99_ms = milliseconds(&sum->latency, 0.99),
        .p999_ms = milliseconds(&sum->latency, 0.999),
        .max_ms = milliseconds(&sum->latency, 1),
        .client_cpu_s_per_million = millions > 0 ? result->client_cpu_s / millions : 0,
        .server_cpu_s_per_million = served && millions > 0 ? result->server_cpu_s / millions : -1,
        .cpu_s_per_gb = served && gigabytes > 0
                            ? (result->server_cpu_s + result->client_cpu_s) / gigabytes
                            : -1,
    };
}

static void durability_text(const struct bench_result *result, char *out, size_t size)
{
    (void)snprintf(out,
                   size,
                   "fsync on %" PRId64 " of %" PRId64 " replica%s before every acknowledgement",
                   result->replicas / 2 + 1,
                   result->replicas,
                   plural(result->replicas));
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static json_t *json_or_null(double value)
{
    return value < 0 ? json_null() : json_real(value);
}

static json_t *json_gaps(const struct bench_share *share)
{
    json_t *gaps = json_array();

    for (size_t i = 0; i < share->gap_count; i++) {
        (void)json_array_append_new(gaps,
                                    json_pack("{s:f,s:f}",
                                              "at_s",
                                              (double)share->gaps[i].at_us / 1e6,
                                              "ms",
                                              (double)share->gaps[i].length_us / 1000));
    }
    return gaps;
}

static void print_json(const struct bench_options *options,
                       const struct bench_result *result,
                       const struct figures *figures)
{
    char durability[96];

    durability_text(result, durability, sizeof durability);
    json_t *object = json_pack("{s:s,s:s,s:I,s:I,s:s,s:I,s:I,s:I,s:s,s:f,s:I,s:I,s:I}",
                               "kind",
                               bench_kind_name(options->kind),
                               "topic",
                               result->topic,
                               "partitions",
                               (json_int_t)result->partitions,
                               "replicas",
                               (json_int_t)result->replicas,
                               "durability",
                               durability,
                               "size_bytes",
                               (json_int_t)options->size,
                               "clients",
                               (json_int_t)options->clients,
                               "rate",
                               (json_int_t)options->rate,
                               "payload",
                               options->random ? "random" : "compressible",
                               "seconds",
                               figures->seconds,
                               "records",
                               (json_int_t)result->sum.records,
                               "failed",
                               (json_int_t)result->sum.failed,
                               "unknown",
                               (json_int_t)result->sum.unknown);
    const struct {
        const char *name;
        double value;
    } values[] = {
        { "records_per_s", figures->records_per_s },
        { "mb_per_s", figures->mb_per_s },
        { "p50_ms", figures->p50_ms },
        { "p99_ms", figures->p99_ms },
        { "p999_ms", figures->p999_ms },
        { "max_ms", figures->max_ms },
        { "longest_gap_ms", (double)result->share->longest_gap_us / 1000 },
        { "client_cpu_s_per_million", figures->client_cpu_s_per_million },
        { "server_cpu_s_per_million", figures->server_cpu_s_per_million },
        { "cpu_s_per_gb", figures->cpu_s_per_gb },
    };
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        (void)json_object_set_new(object, values[i].name, json_or_null(values[i].value));
    }
    (void)json_object_set_new(object, "gaps", json_gaps(result->share));
    out_json(object);
}

/* ---- text ------------------------------------------------------------------------------------ */

static void print_line(const char *format, ...) SP_PRINTF(1, 2);

static void print_line(const char *format, ...)
{
    char line[256];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    out_text(line);
}

static const char *done_to_records(enum bench_kind kind)
{
    switch (kind) {
    case BENCH_CONSUME:
        return "read";
    case BENCH_E2E:
        return "sent and read back";
    case BENCH_PRODUCE:
    case BENCH_LATENCY:
    case BENCH_FAILOVER:
        break;
    }
    return "stored";
}

static void print_subject(const struct bench_options *options, const struct bench_result *result)
{
    char size[64];

    if (options->kind == BENCH_CONSUME) { /* of a topic that may hold anything */
        double records = (double)result->sum.records;
        (void)snprintf(size,
                       sizeof size,
                       "%.0f bytes of key and value on average",
                       records > 0 ? (double)result->sum.bytes / records : 0);
    } else {
        (void)snprintf(size,
                       sizeof size,
                       "values of %" PRId64 " byte%s (%s)",
                       options->size,
                       plural(options->size),
                       options->random ? "random" : "compressible");
    }
    print_line("%-12s%" PRIu64 " record%s %s, %s, %" PRId64 " client%s, %u partition%s\n",
               bench_kind_name(options->kind),
               result->sum.records,
               plural((int64_t)result->sum.records),
               done_to_records(options->kind),
               size,
               options->clients,
               plural(options->clients),
               result->partitions,
               plural(result->partitions));
}

/* From when to when a latency runs: cli/bench.h. */
static void print_latency(const struct bench_options *options, const struct figures *figures)
{
    print_line(
        "latency     half of the records within %.3f ms (p50), 99 %% within %.3f ms, 99.9 %% "
        "within %.3f ms, all within %.3f ms\n",
        figures->p50_ms,
        figures->p99_ms,
        figures->p999_ms,
        figures->max_ms);
    print_line("            from %s to %s%s\n",
               options->rate > 0 ? "when a record was due by the rate" : "handing a record over",
               options->kind == BENCH_E2E ? "reading it" : "its acknowledgement",
               options->rate == 0 && options->in_flight == 0
                   ? "; with a full queue in front of the cluster, which -i makes shorter"
                   : "");
}

static void print_cpu(const struct figures *figures)
{
    print_line("CPU time    of this program %.2f s per million records",
               figures->client_cpu_s_per_million);
    if (figures->server_cpu_s_per_million >= 0) {
        print_line(", of the servers %.2f s; of both %.2f s per GB of keys and values",
                   figures->server_cpu_s_per_million,
                   figures->cpu_s_per_gb);
    }
    out_text("\n");
}

static void print_gaps(const struct bench_options *options, const struct bench_share *share)
{
    if (share->longest_gap_us > 0) {
        print_line("longest gap %.1f ms in which a client got no acknowledgement\n",
                   (double)share->longest_gap_us / 1000);
    } else {
        print_line("longest gap below %d ms without an acknowledgement\n", BENCH_GAP_MS_MIN);
    }
    if (options->kind != BENCH_FAILOVER) {
        return;
    }
    print_line("gaps        %zu of %d ms or more%s%s\n",
               share->gap_count,
               BENCH_GAP_MS_MIN,
               share->gap_count == BENCH_GAPS_MAX ? " (the first ones)" : "",
               share->gap_count > 0 ? ", by the time since measuring began" : "");
    for (size_t i = 0; i < share->gap_count; i++) {
        print_line("            at %.3f s: %.1f ms\n",
                   (double)share->gaps[i].at_us / 1e6,
                   (double)share->gaps[i].length_us / 1000);
    }
}

static void print_text(const struct bench_options *options,
                       const struct bench_result *result,
                       const struct figures *figures)
{
    bool sends = options->kind != BENCH_CONSUME;
    char durability[96];

    print_subject(options, result);
    print_line("measured    %.2f s, after %.1f s of warming up\n",
               figures->seconds,
               (double)options->warmup_ms / 1000);
    if (sends) {
        durability_text(result, durability, sizeof durability);
        print_line("durability  %s\n", durability);
    }
    print_line("rate        %.0f records/s, %.1f MB/s of keys and values\n",
               figures->records_per_s,
               figures->mb_per_s);
    if (result->sum.latency.total > 0) {
        print_latency(options, figures);
    }
    print_cpu(figures);
    if (sends) {
        print_gaps(options, result->share);
    }
    if (result->sum.failed > 0) {
        print_line("failed      %" PRIu64 " record%s, %" PRIu64 " of these may be stored\n",
                   result->sum.failed,
                   plural((int64_t)result->sum.failed),
                   result->sum.unknown);
    }
}

void bench_print(const struct cli *cli,
                 const struct bench_options *options,
                 const struct bench_result *result)
{
    struct figures figures = figures_of(result);

    (cli->json ? print_json : print_text)(options, result, &figures);
    out_flush();
}

/* ---- files ----------------------------------------------------------------------------------- */

/* Empty fields without a record. */
static void write_latencies(FILE *file, const struct bench_interval *interval)
{
    if (interval->records == 0) {
        fprintf(file, ",,");
        return;
    }
    fprintf(file,
            "%.3f,%.3f,%.3f",
            (double)interval->p50_us / 1000,
            (double)interval->p99_us / 1000,
            (double)interval->max_us / 1000);
}

static void write_csv(FILE *file, const struct bench_result *result)
{
    fprintf(file, "begin_s,seconds,records,records_per_s,mb_per_s,p50_ms,p99_ms,max_ms,failed\n");
    for (size_t i = 0; i < result->interval_count; i++) {
        const struct bench_interval *interval = &result->intervals[i];
        fprintf(file,
                "%.3f,%.3f,%" PRIu64 ",%.1f,%.3f,",
                interval->begin_s,
                interval->seconds,
                interval->records,
                (double)interval->records / interval->seconds,
                (double)interval->bytes / interval->seconds / 1e6);
        write_latencies(file, interval);
        fprintf(file, ",%" PRIu64 "\n", interval->failed);
    }
}

static int close_file(FILE *file, const char *path)
{
    bool bad = ferror(file) != 0;

    if (fclose(file) != 0 || bad) {
        tell("%s: %s", path, strerror(errno));
        return EXIT_FAILED;
    }
    return 0;
}

static FILE *open_file(const char *path)
{
    FILE *file = fopen(path, "w");

    if (file == NULL) {
        tell("%s: %s", path, strerror(errno));
    }
    return file;
}

int bench_write_files(const struct bench_options *options, const struct bench_result *result)
{
    int code = 0;

    if (options->csv != NULL) {
        FILE *file = open_file(options->csv);
        if (file == NULL) {
            return EXIT_FAILED;
        }
        write_csv(file, result);
        code = close_file(file, options->csv);
    }
    if (options->svg != NULL) {
        char title[160];
        FILE *file = open_file(options->svg);
        if (file == NULL) {
            return EXIT_FAILED;
        }
        (void)snprintf(title,
                       sizeof title,
                       "spate bench %s, %" PRId64 " bytes, %" PRId64 " client%s, %" PRId64
                       " replica%s",
                       bench_kind_name(options->kind),
                       options->size,
                       options->clients,
                       plural(options->clients),
                       result->replicas,
                       plural(result->replicas));
        bench_picture(file, title, result);
        code = close_file(file, options->svg) == 0 ? code : EXIT_FAILED;
    }
    return code;
}
