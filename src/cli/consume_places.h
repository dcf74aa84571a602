/* Where consume begins to read: found for all partitions first, then all are assigned. Those that
 * are assigned are fetched at once, which would compete with the questions about the others. */
#ifndef SPATE_CLI_CONSUME_PLACES_H
#define SPATE_CLI_CONSUME_PLACES_H

#include <stddef.h>
#include <stdint.h>

#include "cli/cli.h"

struct consume_place {
    const char *topic; /* borrowed */
    uint32_t partition;
    int64_t offset;
};

struct consume_places {
    struct consume_place *list;
    size_t count;
    size_t capacity;
    size_t topic_begin; /* the first one of the newest topic */
};

/* True if this partition is among those of the topic that was added last. */
bool places_have(const struct consume_places *places, const char *topic, uint32_t partition);

/* False: out of memory. */
bool places_add(struct consume_places *places, const struct consume_place *place);

/* A SPATE_ERR_* code. */
int places_assign(const struct consume_places *places, struct spate_consumer *consumer);

void places_free(struct consume_places *places);

#endif /* SPATE_CLI_CONSUME_PLACES_H */
