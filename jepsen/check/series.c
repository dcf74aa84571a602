#include "series.h"

#include <stdio.h>
#include <string.h>

#include "verdict.h"

enum {
    POINTS_MAX = 600,
    GAPS_MAX = 20,
    OCTAVES = 40, /* of microseconds */
    STEPS = 16,   /* of an octave: figures are right within 6 % */
    BUCKETS = OCTAVES * STEPS,
    RECOVERY_MAX_S = 60, /* looked at after a fault */
    BUSY_S = 2,          /* a partition with an ack so shortly before a
                                                   fault is one that it may hit */
};

#define SECOND_NS INT64_C(1000000000)

/* ---- latencies ------------------------------------------------------------------------------- */

struct histogram {
    uint64_t count;
    int64_t max_us;
    uint32_t buckets[BUCKETS];
};

static unsigned bucket_of(int64_t us)
{
    uint64_t value = us < 1 ? 1 : (uint64_t)us;
    unsigned octave = 63 - (unsigned)__builtin_clzll(value);
    unsigned step = octave >= 4 ? (unsigned)(value >> (octave - 4)) & 15
                                : (unsigned)(value << (4 - octave)) & 15;
    unsigned bucket = octave * STEPS + step;

    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static double bucket_ms(unsigned bucket)
{
    double octave = (double)(UINT64_C(1) << (bucket / STEPS));

    return octave * (1.0 + (bucket % STEPS + 0.5) / STEPS) / 1000;
}

static void add_latency(struct histogram *histogram, int64_t ns, uint32_t records)
{
    int64_t us = ns / 1000;

    histogram->buckets[bucket_of(us)] += records;
    histogram->count += records;
    histogram->max_us = us > histogram->max_us ? us : histogram->max_us;
}

static double quantile(const struct histogram *histogram, double part)
{
    double wanted = part * (double)histogram->count;
    double sum = 0;

    for (unsigned i = 0; i < BUCKETS; i++) {
        sum += histogram->buckets[i];
        if (sum >= wanted && sum > 0) {
            double ms = bucket_ms(i);
            return ms < (double)histogram->max_us / 1000 ? ms : (double)histogram->max_us / 1000;
        }
    }
    return 0;
}

/* ---- over time ------------------------------------------------------------------------------- */

struct point {
    uint64_t acknowledged;
    uint64_t failed;
    uint64_t unknown;
    uint64_t read;
    struct histogram latency;
};

static void write_latency(struct jep_json *json, const struct histogram *histogram)
{
    jep_json_double(json, "p50_ms", quantile(histogram, 0.5));
    jep_json_double(json, "p99_ms", quantile(histogram, 0.99));
    jep_json_double(json, "max_ms", (double)histogram->max_us / 1000);
}

static void fill_points(const struct jep_history *history,
                        struct point *points,
                        int64_t width_ns,
                        struct histogram *all)
{
    for (size_t i = 0; i < history->sends.count; i++) {
        const struct jep_send *send = &history->sends.items[i];
        int64_t time_ns = send->done_ns == JEP_NEVER ? send->invoked_ns : send->done_ns;
        struct point *point = &points[(time_ns - history->first_ns) / width_ns];
        if (send->outcome == JEP_OK) {
            point->acknowledged += send->count;
            add_latency(&point->latency, send->done_ns - send->invoked_ns, send->count);
            add_latency(all, send->done_ns - send->invoked_ns, send->count);
        } else if (send->outcome == JEP_FAIL) {
            point->failed += send->count;
        } else {
            point->unknown += send->count;
        }
    }
    for (size_t i = 0; i < history->polls.count; i++) {
        const struct jep_poll *poll = &history->polls.items[i];
        for (uint32_t r = poll->first_run; !poll->final && r < jep_runs_end(history, i); r++) {
            points[(poll->time_ns - history->first_ns) / width_ns].read +=
                history->runs.items[r].count;
        }
    }
}

static void write_series(const struct jep_history *history, struct jep_json *json)
{
    int64_t span_ns = history->last_ns - history->first_ns + 1;
    int64_t seconds = span_ns / POINTS_MAX / SECOND_NS + 1;
    int64_t width_ns = seconds * SECOND_NS;
    size_t count = (size_t)(span_ns / width_ns) + 1;
    struct point *points = jep_memory(count, sizeof *points);
    struct histogram *all = jep_memory(1, sizeof *all);

    fill_points(history, points, width_ns, all);
    jep_json_begin(json, "latency", '{');
    write_latency(json, all);
    jep_json_double(json, "p999_ms", quantile(all, 0.999));
    jep_json_end(json, '}');
    jep_json_int(json, "point_s", seconds);
    jep_json_begin(json, "series", '[');
    for (size_t i = 0; i < count; i++) {
        jep_json_begin(json, NULL, '{');
        jep_json_int(json, "acknowledged", (int64_t)points[i].acknowledged);
        jep_json_int(json, "failed", (int64_t)points[i].failed);
        jep_json_int(json, "unknown", (int64_t)points[i].unknown);
        jep_json_int(json, "read", (int64_t)points[i].read);
        write_latency(json, &points[i].latency);
        jep_json_end(json, '}');
    }
    jep_json_end(json, ']');
    free(all);
    free(points);
}

/* How far behind readers are: when a poll returned, for how long the record behind it had been
 * acknowledged; 0 when it was not. */
static void write_lag(const struct jep_history *history, struct jep_json *json)
{
    struct histogram *lags = jep_memory(1, sizeof *lags);

    for (size_t i = 0; i < history->polls.count; i++) {
        const struct jep_poll *poll = &history->polls.items[i];
        const struct jep_key *key = jep_key_at(history, poll->stream);
        uint32_t end = jep_runs_end(history, i);
        if (poll->final || end == poll->first_run) {
            continue;
        }
        const struct jep_run *last = &history->runs.items[end - 1];
        uint32_t next = last->offset + last->count;
        uint32_t value = next < key->size ? key->values[next] : JEP_NONE;
        uint32_t send = value == JEP_NONE ? JEP_NONE : history->send_of[value];
        int64_t known_ns = send == JEP_NONE || history->sends.items[send].outcome != JEP_OK
                               ? JEP_NEVER
                               : history->sends.items[send].done_ns;
        add_latency(lags, known_ns < poll->time_ns ? poll->time_ns - known_ns : 0, 1);
    }
    jep_json_begin(json, "lag", '{');
    write_latency(json, lags);
    jep_json_end(json, '}');
    free(lags);
}

/* ---- gaps ------------------------------------------------------------------------------------ */

struct gap {
    int64_t from_ns;
    int64_t to_ns;
    uint32_t key;
};

/* The longest ones stay, longest first. */
static void keep_gap(struct gap *gaps, size_t *count, struct gap gap)
{
    size_t at = *count;

    while (at > 0 && gaps[at - 1].to_ns - gaps[at - 1].from_ns < gap.to_ns - gap.from_ns) {
        at -= 1;
    }
    if (at == GAPS_MAX) {
        return;
    }
    *count += *count < GAPS_MAX;
    memmove(&gaps[at + 1], &gaps[at], (*count - 1 - at) * sizeof *gaps);
    gaps[at] = gap;
}

/* Acknowledged sends, by the time that `invoked` says. */
static struct jep_moment *
list_acks(const struct jep_history *history, bool invoked, size_t *out_count)
{
    struct jep_moment *acks = jep_memory(history->sends.count, sizeof *acks);
    size_t count = 0;

    for (size_t i = 0; i < history->sends.count; i++) {
        const struct jep_send *send = &history->sends.items[i];
        if (send->outcome == JEP_OK) {
            acks[count++] = (struct jep_moment){
                invoked ? send->invoked_ns : send->done_ns,
                (uint32_t)i,
                history->streams.items[send->stream].key,
            };
        }
    }
    jep_sort_moments(acks, count);
    *out_count = count;
    return acks;
}

static void write_gaps(const struct jep_history *history, struct jep_json *json)
{
    struct gap gaps[GAPS_MAX + 1];
    size_t count = 0;
    size_t ack_count;
    struct jep_moment *acks = list_acks(history, false, &ack_count);
    int64_t *last = jep_memory(history->keys.count, sizeof *last);

    for (size_t i = 0; i < ack_count; i++) {
        uint32_t key = acks[i].kind;
        if (last[key] != 0) {
            keep_gap(gaps, &count, (struct gap){ last[key], acks[i].time_ns, key });
        }
        last[key] = acks[i].time_ns;
    }
    jep_json_begin(json, "gaps", '[');
    for (size_t i = 0; i < count; i++) {
        jep_json_begin(json, NULL, '{');
        jep_json_text(json, "partition", jep_key_words(history, gaps[i].key));
        jep_json_int(json, "from_ns", gaps[i].from_ns);
        jep_json_double(json, "ms", (double)(gaps[i].to_ns - gaps[i].from_ns) / 1e6);
        jep_json_end(json, '}');
    }
    jep_json_end(json, ']');
    free(last);
    free(acks);
}

/* ---- recovery -------------------------------------------------------------------------------- */

struct recovery {
    const struct jep_history *history;
    struct jep_moment *done; /* acks by the time of the answer */
    struct jep_moment *sent; /* the same by the time of sending */
    size_t count;
    int64_t *next; /* by key: the first ack of something sent after the fault began; 0: not hit,
                      JEP_NEVER: none yet */
};

static size_t find_time(const struct jep_moment *moments, size_t count, int64_t time_ns)
{
    size_t low = 0;
    size_t high = count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (moments[middle].time_ns < time_ns) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Marks the partitions that the fault may hit; returns how many. */
static size_t mark_hit(struct recovery *recovery, const struct jep_fault *fault)
{
    const struct jep_history *history = recovery->history;
    size_t hit = 0;

    memset(recovery->next, 0, history->keys.count * sizeof *recovery->next);
    for (size_t i =
             find_time(recovery->done, recovery->count, fault->begin_ns - BUSY_S * SECOND_NS);
         i < recovery->count && recovery->done[i].time_ns < fault->begin_ns;
         i++) {
        uint32_t key = recovery->done[i].kind;
        bool named = fault->partitions[0] == '\0';
        const char *at = fault->partitions;
        while (!named && *at != '\0') {
            named = strtoul(at, NULL, 10) == history->keys.items[key].partition;
            at += strcspn(at, ",");
            at += *at == ',';
        }
        if (named && recovery->next[key] == 0) {
            recovery->next[key] = JEP_NEVER;
            hit += 1;
        }
    }
    return hit;
}

/* For each of them, the time of the first acknowledgement. Something sent later may be answered
 * sooner, so the search goes on to the latest answer found. */
static void find_next(struct recovery *recovery, const struct jep_fault *fault, size_t hit)
{
    int64_t limit_ns = fault->begin_ns + RECOVERY_MAX_S * SECOND_NS;
    size_t found = 0;
    int64_t latest_ns = 0;

    for (size_t i = find_time(recovery->sent, recovery->count, fault->begin_ns);
         i < recovery->count;
         i++) {
        int64_t sent_ns = recovery->sent[i].time_ns;
        int64_t done_ns = recovery->history->sends.items[recovery->sent[i].row].done_ns;
        int64_t *next = &recovery->next[recovery->sent[i].kind];
        if (sent_ns > limit_ns || (found == hit && sent_ns > latest_ns)) {
            break;
        }
        found += *next == JEP_NEVER;
        *next = *next != 0 && done_ns < *next ? done_ns : *next;
        latest_ns = *next != JEP_NEVER && *next > latest_ns ? *next : latest_ns;
    }
}

static void
write_fault(struct recovery *recovery, const struct jep_fault *fault, struct jep_json *json)
{
    size_t hit = mark_hit(recovery, fault);
    size_t none = 0;

    find_next(recovery, fault, hit);
    jep_json_begin(json, NULL, '{');
    jep_json_int(json, "id", (int64_t)fault->id);
    jep_json_text(json, "kind", fault->kind);
    jep_json_text(json, "target", fault->target);
    jep_json_int(json, "begin_ns", fault->begin_ns);
    jep_json_int(json, "end_ns", fault->end_ns == JEP_NEVER ? fault->begin_ns : fault->end_ns);
    jep_json_begin(json, "next_ack_ms", '[');
    for (size_t i = 0; i < recovery->history->keys.count; i++) {
        if (recovery->next[i] == JEP_NEVER) {
            none += 1;
        } else if (recovery->next[i] != 0) {
            jep_json_double(json, NULL, (double)(recovery->next[i] - fault->begin_ns) / 1e6);
        }
    }
    jep_json_end(json, ']');
    jep_json_int(json, "partitions", (int64_t)hit);
    jep_json_int(json, "without_ack", (int64_t)none);
    jep_json_end(json, '}');
}

void jep_series_write(const struct jep_history *history,
                      const struct jep_faults *faults,
                      struct jep_json *json)
{
    struct recovery recovery = { .history = history };

    write_series(history, json);
    write_lag(history, json);
    write_gaps(history, json);
    recovery.done = list_acks(history, false, &recovery.count);
    recovery.sent = list_acks(history, true, &recovery.count);
    recovery.next = jep_memory(history->keys.count, sizeof *recovery.next);
    jep_json_begin(json, "faults", '[');
    for (size_t i = 0; i < faults->list.count; i++) {
        write_fault(&recovery, &faults->list.items[i], json);
    }
    jep_json_end(json, ']');
    free(recovery.done);
    free(recovery.sent);
    free(recovery.next);
}
