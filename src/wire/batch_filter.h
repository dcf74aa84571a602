/* Taking records out of a RecordBatch v2: what compaction does to it.
 *
 * The batch keeps its base offset, last offset delta, producer fields and base timestamp, and the
 * records that are left keep their bytes. Record count, maximum timestamp, size and crc change; it
 * is compressed again if it was. Any thread. */
#ifndef SP_WIRE_BATCH_FILTER_H
#define SP_WIRE_BATCH_FILTER_H

#include "wire/batch.h"

/* Does the record stay? */
typedef bool (*sp_batch_keep)(void *arg, const struct sp_record_view *record);

/* Asks for each record of the batch whether it stays. *out_kept is how many do. Unless all do, the
 * smaller batch is appended to `out`; with none left it is the header alone. Errors as
 * sp_batch_reader_init, and of the bound of `out`; nothing was appended then. */
int sp_batch_filter(
    struct sp_bytes batch, sp_batch_keep keep, void *arg, struct sp_buf *out, int32_t *out_kept);

#endif /* SP_WIRE_BATCH_FILTER_H */
