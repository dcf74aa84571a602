/* Room that is written ahead: zeros behind the frames of a log that is written to in small steps.
 *
 * Each sync of a file that has grown writes the file's metadata as well, and one into bytes that
 * were written before does not: it takes half as long (decision 0019). So a small flush that would
 * grow the file writes zeros as well, as many bytes as the segment has, at most as many as
 * the node is told (storage.prefill.bytes): a file of few records stays small. Large flushes grow
 * the file as they come; they would have to write twice as much.
 *
 * What stands behind a log's frames is never taken for its own (segment.h), and zeros say nothing
 * at all. They are cut off when the segment is finished or its log closes. */
#ifndef SP_STORAGE_PREFILL_H
#define SP_STORAGE_PREFILL_H

#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "io/file.h"

#define SP_PREFILL_FLUSH_MAX ((size_t)64 * 1024) /* frame bytes of a flush that is small */

/* Up to where a flush of `flush_bytes` that ends at `end` is to write zeros, at most `most` of them
 * and a page, in a file that was written up to `room_end` before, of a segment that may have
 * `segment_bytes`; 0: it is not. */
uint64_t sp_prefill_end(
    uint64_t end, uint64_t room_end, size_t flush_bytes, uint64_t segment_bytes, uint64_t most);

/* Writes them. Errors of sp_file_write: with
 * SPATE_ERR_NO_SPACE there is less room, or none. */
int sp_prefill_write(struct sp_file *file, uint64_t from, uint64_t end);

#endif /* SP_STORAGE_PREFILL_H */
