/* Where consume --until N|@TIME stops: one bound per partition, closed once it is reached.
 *
 *   N      records below offset N
 *   @TIME  records before the first one of that moment or later: known at once when the moment is
 *          past, else looked up when it has come
 *
 * Pure: it is told of records and answers. */
#ifndef SPATE_CLI_BOUNDS_H
#define SPATE_CLI_BOUNDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spate/consumer.h"

#define BOUND_UNKNOWN INT64_MAX

struct bound {
    const char *topic; /* borrowed */
    int32_t partition;
    int64_t next; /* offset that is read next */
    int64_t stop; /* first offset that is not wanted; BOUND_UNKNOWN: a moment to come decides */
    bool open;
};

struct bounds {
    struct bound *list;
    size_t count;
    size_t open;
    size_t last;   /* the bound of the record before */
    int64_t at_ms; /* the moment; -1: bounds are offsets */
    bool set;      /* there is a --until N|@TIME */
    bool surplus;  /* a closed partition still sends records: stop reading it */
};

/* Adds a partition that is read from `next`. False: no memory. A bound that is reached already is
 * added closed. */
bool bounds_add(struct bounds *bounds, const struct bound *bound);

/* Sets the stop of an open bound. */
void bounds_stop_at(struct bounds *bounds, struct bound *bound, int64_t stop);

/* Takes note that the reader stands at `next`; negative: that is not known. */
void bounds_pass(struct bounds *bounds, struct bound *bound, int64_t next);

/* Takes note of a record. True: it is wanted. */
bool bounds_take(struct bounds *bounds, const struct spate_message *message);

/* True when every bound is reached. */
bool bounds_reached(const struct bounds *bounds);

void bounds_free(struct bounds *bounds);

#endif /* SPATE_CLI_BOUNDS_H */
