/* The named producers of the cluster: name -> (producer id, epoch), part of the controller's state.
 *
 *   take("loader")  ->  id 1000, epoch 0        a new name gets a new id
 *   take("loader")  ->  id 1000, epoch 1        each further time the same id, the next epoch
 *
 * A name belongs to one layout: a text by which its owner says how it cuts its records onto
 * partitions. Another one is refused, since what is stored could not be compared with it. Bounded;
 * a name that was not taken for SP_PRODUCER_NAME_EXPIRY_MS (by append times, never by a clock)
 * makes room for a new one. Pure: the same calls give the same names and bytes on every node. */
#ifndef SP_CLUSTER_PRODUCER_NAMES_H
#define SP_CLUSTER_PRODUCER_NAMES_H

#include <stdint.h>

#include "base/limits.h"
#include "wire/cursor.h"
#include "wire/pack.h"

struct sp_producer_names;

struct sp_producer_name {
    char name[SP_PRODUCER_NAME_SIZE_MAX + 1];
    char layout[SP_PRODUCER_LAYOUT_SIZE_MAX + 1];
    uint64_t producer_id;
    int16_t epoch;         /* given out last */
    int64_t taken_last_ms; /* append time of that command */
};

/* NULL when memory is out. */
struct sp_producer_names *sp_producer_names_new(void);
void sp_producer_names_free(struct sp_producer_names *names);

/* How many names are taken. */
unsigned sp_producer_names_count(const struct sp_producer_names *names);

/* The entry, or NULL. */
const struct sp_producer_name *sp_producer_names_find(const struct sp_producer_names *names,
                                                      const char *name);

/* What taking the name with this layout would answer at `append_time_ms`:
 *   0
 *   SPATE_ERR_EXISTS    it was taken with another layout
 *   SPATE_ERR_INVALID   its epochs are used up: a new id would hide what is stored under the old
 *   SPATE_ERR_BUSY      a new name, and the table is full */
int sp_producer_names_check(const struct sp_producer_names *names,
                            const char *name,
                            const char *layout,
                            int64_t append_time_ms);

/* Takes `wanted`: its name and layout, its time, and the id that it gets if it is new; the other
 * fields are ignored. *out_taken is the entry, its id `wanted->producer_id` if it is new. Errors as
 * above, and SPATE_ERR_NOMEM. */
int sp_producer_names_take(struct sp_producer_names *names,
                           const struct sp_producer_name *wanted,
                           const struct sp_producer_name **out_taken);

/* All names as one MessagePack value, the longest unused first; and back, into an empty table. The
 * cursor fails when a name comes twice, is too long, or there are too many of them. */
void sp_producer_names_encode(const struct sp_producer_names *names, struct sp_pack *pack);
void sp_producer_names_decode(struct sp_producer_names *names,
                              uint64_t next_producer_id,
                              struct sp_cursor *cursor);

#endif /* SP_CLUSTER_PRODUCER_NAMES_H */
