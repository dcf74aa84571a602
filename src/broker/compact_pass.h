/* What one compaction pass knows of a partition, and what it does to its frames: pure, in a worker.
 *
 *   log start      first_dirty            map_end       end of what is finished
 *       [ compacted before  |  not yet         |   another pass  ]
 *                           `- note every key -'
 *       `--------- filter every frame ---------'
 *
 * A record below map_end stays unless the table knows a later one of its key. A record without a
 * value, a tombstone, stays longer: while it is not below `floor`. Below that, no replica has had
 * an older record of its key for delete.retention.ms, or can ever have one (compactor_look.c):
 * whoever saw one had that long to meet the tombstone. Records without a key stay. */
#ifndef SP_BROKER_COMPACT_PASS_H
#define SP_BROKER_COMPACT_PASS_H

#include "base/buf.h"
#include "broker/key_table.h"
#include "storage/log_frame.h"

struct sp_compact_pass {
    struct sp_key_table *table;
    int64_t first_dirty;   /* keys of records below were looked at by an earlier pass */
    int64_t map_end;       /* keys of records from there on are not in the table */
    bool full;             /* it has no room for more */
    int64_t floor;         /* tombstones at or above stay */
    bool unclean;          /* a batch could not be made smaller: its old values are still there */
    int64_t tombstone_min; /* the lowest tombstone that stays; INT64_MAX: none does */
    uint64_t removed_records;
};

/* Frees the table. */
void sp_compact_pass_deinit(struct sp_compact_pass *pass);

/* Notes the keys of a verified frame's records from first_dirty on, in the order of the log;
 * map_end rises. Errors of sp_batch_reader_init. */
int sp_compact_pass_note(struct sp_compact_pass *pass, const uint8_t *bytes, size_t size);

/* Appends to `out` the frame that takes the verified one's place; *out_changed: it is another one.
 * Errors as above, and SPATE_ERR_TOO_LARGE of `out`. */
int sp_compact_pass_filter(struct sp_compact_pass *pass,
                           const uint8_t *bytes,
                           size_t size,
                           struct sp_buf *out,
                           bool *out_changed);

#endif /* SP_BROKER_COMPACT_PASS_H */
