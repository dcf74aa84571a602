/* How many bytes the next flush of a log may write: what the disk takes in some SP_FLUSH_US_MAX.
 *
 * A log that is sent more than the disk takes shall neither hold a worker and the disk for long nor
 * be answered in bursts, each of which brings the next burst. A fast disk is given
 * SP_FLUSH_BYTES_MAX after six flushes, a slow one SP_FLUSH_BYTES_MIN after two. */
#ifndef SP_STORAGE_FLUSH_SIZE_H
#define SP_STORAGE_FLUSH_SIZE_H

#include <stddef.h>
#include <stdint.h>

#define SP_FLUSH_BYTES_MAX ((size_t)16 * 1024 * 1024)
#define SP_FLUSH_BYTES_MIN ((size_t)256 * 1024)
#define SP_FLUSH_BYTES_FIRST ((size_t)1024 * 1024)
#define SP_FLUSH_US_MAX 50000 /* some ten syncs of a slow disk: it is still used to 90 % */

/* Bytes of the next one, after a flush of `bytes`, of the `bytes_max` that it might have had, in
 * `took_us`. */
static inline size_t sp_flush_size_next(size_t bytes_max, size_t bytes, uint64_t took_us)
{
    if (bytes <= bytes_max / 2) {
        return bytes_max; /* tells little of larger ones */
    }
    if (took_us > SP_FLUSH_US_MAX && bytes_max > SP_FLUSH_BYTES_MIN) {
        return bytes_max / 2;
    }
    if (took_us < SP_FLUSH_US_MAX / 2 && bytes_max < SP_FLUSH_BYTES_MAX) {
        return bytes_max * 2;
    }
    return bytes_max;
}

#endif /* SP_STORAGE_FLUSH_SIZE_H */
