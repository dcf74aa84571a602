/* Counting, and showing what was counted in Prometheus' text format (version 0.0.4).
 *
 *   counters, gauges      plain numbers in the structs of their owners; counting is an addition
 *   struct sp_histogram   durations in fixed buckets
 *   struct sp_exposition  writes families: # HELP and # TYPE once, then samples with labels
 *
 *     sp_exposition_family(&x, SP_METRIC_COUNTER, "spate_requests_total", "Requests answered.");
 *     sp_exposition_sample(&x, labels, 1, value);
 *
 * Whoever counts owns the number and its thread; a number is read on that thread, when somebody
 * asks. Counting allocates nothing and cannot fail. */
#ifndef SP_BASE_METRICS_H
#define SP_BASE_METRICS_H

#include <stdint.h>

#include "base/buf.h"

/* ---- histograms ------------------------------------------------------------------------------ */

/* Upper bounds in microseconds: from an fsync of a fast disk to a request that waits for an
 * election. One more bucket has no bound. */
#define SP_HISTOGRAM_BOUNDS_US                                                                     \
    {                                                                                              \
        50, 100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, \
            2500000, 5000000, 10000000                                                             \
    }
#define SP_HISTOGRAM_BUCKETS 18

/* Zero-initialised: nothing was noted yet. Open for embedding only. */
struct sp_histogram {
    uint64_t counts[SP_HISTOGRAM_BUCKETS]; /* each bucket alone */
    uint64_t sum_us;
};

/* One duration. */
void sp_histogram_note(struct sp_histogram *histogram, uint64_t duration_us);

/* How many were noted. */
uint64_t sp_histogram_count(const struct sp_histogram *histogram);

/* ---- exposition ------------------------------------------------------------------------------ */

enum sp_metric_type {
    SP_METRIC_COUNTER,   /* never falls; begins at 0 when the node starts */
    SP_METRIC_GAUGE,     /* rises and falls */
    SP_METRIC_HISTOGRAM, /* of seconds */
};

/* One label of a sample; both texts are borrowed. The value is UTF-8 and is escaped. */
struct sp_metric_label {
    const char *name;
    const char *value;
};

/* Open for embedding only. */
struct sp_exposition {
    struct sp_buf *out; /* receives the text, borrowed */
    int status;         /* the first error, or 0: SPATE_ERR_TOO_LARGE, SPATE_ERR_NOMEM */
    const char *family; /* that samples belong to; borrowed, so a literal */
};

/* Prepares `exposition` (caller's memory, no deinit needed) to append to `out`. After the first
 * error nothing more is written. */
void sp_exposition_init(struct sp_exposition *exposition, struct sp_buf *out);

/* Begins a family; each name once. `help` has no line break. */
void sp_exposition_family(struct sp_exposition *exposition,
                          enum sp_metric_type type,
                          const char *name,
                          const char *help);

/* One sample of the family that was begun last. */
void sp_exposition_sample(struct sp_exposition *exposition,
                          const struct sp_metric_label *labels,
                          unsigned label_count,
                          uint64_t value);

/* The same for a time in microseconds, shown in seconds. */
void sp_exposition_seconds(struct sp_exposition *exposition,
                           const struct sp_metric_label *labels,
                           unsigned label_count,
                           uint64_t value_us);

/* All samples of a histogram. */
void sp_exposition_histogram(struct sp_exposition *exposition,
                             const struct sp_metric_label *labels,
                             unsigned label_count,
                             const struct sp_histogram *histogram);

/* A family of one sample without labels. */
void sp_exposition_counter(struct sp_exposition *exposition,
                           const char *name,
                           const char *help,
                           uint64_t value);
void sp_exposition_gauge(struct sp_exposition *exposition,
                         const char *name,
                         const char *help,
                         uint64_t value);

#endif /* SP_BASE_METRICS_H */
