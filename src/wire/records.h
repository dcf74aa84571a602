/* Plain records, the readable form for short scripts, to and from RecordBatch v2.
 *
 *   produce: [ { "k": key, "v": value, "t": ms, "h": headers }, ... ]     every field optional
 *   fetch:   [ { "o": offset, "t": ms, "k": key, "v": value, "h": headers }, ... ]
 *
 * Keys and values are bin, or str on the way in, or nil. Headers are an array of [name, value]
 * pairs, which keeps order and duplicates, or on the way in also a map. Any thread. */
#ifndef SP_WIRE_RECORDS_H
#define SP_WIRE_RECORDS_H

#include "wire/batch.h"
#include "wire/client_api.h"
#include "wire/pack.h"

/* Adds the records of `array` (one encoded MessagePack array) to `builder`; a record without "t"
 * gets `timestamp_ms`. On failure the builder holds some of the records: reset it.
 *   SPATE_ERR_INVALID    not an array, empty, a field of the wrong type or given twice
 *   SPATE_ERR_MALFORMED  no MessagePack
 *   SPATE_ERR_TOO_LARGE  more than the builder takes
 *   SPATE_ERR_NOMEM
 * *error (may be NULL) then holds a text for the peer. */
int sp_records_to_batch(struct sp_bytes array,
                        int64_t timestamp_ms,
                        struct sp_batch_builder *builder,
                        struct sp_api_error *error);

/* Packs the records of `batches` (whole batches, one after the other) whose offset is at least
 * `offset_min` as one array. It ends before the record that would make the array larger than
 * `size_max_bytes`, except for the first one, or larger than a message may be.
 *   errors of sp_batch_next and sp_batch_reader_init, and of the packer's buffer; the pack has the
 *   same status then */
int sp_batch_to_records(struct sp_bytes batches,
                        int64_t offset_min,
                        size_t size_max_bytes,
                        struct sp_pack *pack);

#endif /* SP_WIRE_RECORDS_H */
