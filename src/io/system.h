/* Small helpers between our types and the system's, for the files of this folder only. */
#ifndef SP_IO_SYSTEM_H
#define SP_IO_SYSTEM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* The code of a file error: the one translation of errno for files and directories. */
int sp_error_of_errno(int number);

/* The system's form of a piece. Its pointer is not const, though writing calls only read. */
static inline struct iovec sp_iovec_of(const void *bytes, size_t size)
{
    return (struct iovec){ .iov_base = (void *)(uintptr_t)bytes, .iov_len = size };
}

/* Takes `size` bytes off the front of `count` pieces. Returns how many pieces are used up; the
 * first of the others is shortened. */
static inline unsigned sp_iovec_advance(struct iovec *pieces, unsigned count, size_t size)
{
    unsigned used = 0;

    while (used < count && size >= pieces[used].iov_len) {
        size -= pieces[used].iov_len;
        used += 1;
    }
    if (used < count) {
        pieces[used].iov_base = (uint8_t *)pieces[used].iov_base + size;
        pieces[used].iov_len -= size;
    }
    return used;
}

#endif /* SP_IO_SYSTEM_H */
