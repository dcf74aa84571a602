#include "storage/prefill.h"

#include "base/assert.h"

#define PAGE_SIZE ((uint64_t)4096) /* a part of one would be read before it is written to */

uint64_t sp_prefill_end(
    uint64_t end, uint64_t room_end, size_t flush_bytes, uint64_t segment_bytes, uint64_t most)
{
    uint64_t to = end + (end < most ? end : most) + PAGE_SIZE - 1;

    if (most == 0 || flush_bytes > SP_PREFILL_FLUSH_MAX || end <= room_end) {
        return 0;
    }
    to = to < segment_bytes ? to : segment_bytes;
    to -= to % PAGE_SIZE;
    return to > end ? to : 0;
}

int sp_prefill_write(struct sp_file *file, uint64_t from, uint64_t end)
{
    static const uint8_t zeros[PAGE_SIZE];
    struct sp_iovec pieces[SP_PREFILL_BYTES_MAX / PAGE_SIZE + 1];
    unsigned count = 0;

    SP_ASSERT(from < end && end - from <= SP_PREFILL_BYTES_MAX + PAGE_SIZE);
    for (uint64_t at = from; at < end; count++) {
        uint64_t size = end - at < PAGE_SIZE ? end - at : PAGE_SIZE;

        pieces[count] = (struct sp_iovec){ zeros, (size_t)size };
        at += size;
    }
    return sp_file_write(file, from, pieces, count);
}
