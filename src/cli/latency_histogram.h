/* Latencies counted in buckets whose width grows with the value (as HDR histograms do): any
 * percentile is right within 1.6 % from 1 microsecond to 19 hours. */
#ifndef SPATE_CLI_LATENCY_HISTOGRAM_H
#define SPATE_CLI_LATENCY_HISTOGRAM_H

#include <stdint.h>

/* Each power of two is cut into 64 buckets; the first 128 values have one each. */
#define LATENCY_BUCKETS (31 * 64)

struct latency_histogram {
    uint64_t counts[LATENCY_BUCKETS];
    uint64_t total;
    uint64_t max_us;
};

/* Counts one latency; longer ones than 2^36 us count as that. */
void latency_add(struct latency_histogram *histogram, uint64_t us);

void latency_merge(struct latency_histogram *into, const struct latency_histogram *from);

/* The upper edge of the bucket in which `share` (0 to 1) of all latencies end, never above the
 * longest; 0 when nothing was counted. */
uint64_t latency_percentile_us(const struct latency_histogram *histogram, double share);

#endif /* SPATE_CLI_LATENCY_HISTOGRAM_H */
