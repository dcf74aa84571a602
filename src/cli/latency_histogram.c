#include "cli/latency_histogram.h"

#include <stddef.h>

#include "base/assert.h"

enum {
    SUB_BITS = 6, /* 64 buckets for each power of two */
    VALUE_BITS_MAX = 36,
};

static size_t bucket_of(uint64_t us)
{
    if (us < (2U << SUB_BITS)) {
        return (size_t)us;
    }
    unsigned shift = 63U - (unsigned)__builtin_clzll(us) - SUB_BITS;
    return ((size_t)shift << SUB_BITS) + (size_t)(us >> shift);
}

/* The longest latency of a bucket. */
static uint64_t bucket_end(size_t bucket)
{
    if (bucket < (2U << SUB_BITS)) {
        return bucket;
    }
    size_t shift = (bucket >> SUB_BITS) - 1;
    uint64_t first = (uint64_t)(bucket - (shift << SUB_BITS)) << shift;
    return first + ((uint64_t)1 << shift) - 1;
}

void latency_add(struct latency_histogram *histogram, uint64_t us)
{
    const uint64_t most = ((uint64_t)1 << VALUE_BITS_MAX) - 1;
    size_t bucket = bucket_of(us < most ? us : most);

    SP_ASSERT(bucket < LATENCY_BUCKETS);
    histogram->counts[bucket] += 1;
    histogram->total += 1;
    histogram->max_us = us > histogram->max_us ? us : histogram->max_us;
}

void latency_merge(struct latency_histogram *into, const struct latency_histogram *from)
{
    for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
        into->counts[i] += from->counts[i];
    }
    into->total += from->total;
    into->max_us = from->max_us > into->max_us ? from->max_us : into->max_us;
}

uint64_t latency_percentile_us(const struct latency_histogram *histogram, double share)
{
    double wanted = share * (double)histogram->total;
    uint64_t seen = 0;

    for (size_t i = 0; i < LATENCY_BUCKETS && histogram->total > 0; i++) {
        seen += histogram->counts[i];
        if (seen > 0 && (double)seen >= wanted) {
            uint64_t end = bucket_end(i);
            return end < histogram->max_us ? end : histogram->max_us;
        }
    }
    return histogram->max_us;
}
