/* Files on POSIX calls: interrupted and short calls are continued, errno is translated once. */
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "io/system.h"
#include "spate/error.h"

enum {
    FILE_MODE = 0640,
    PIECES_PER_CALL = 64, /* of one pwritev; the system allows 1024 */
};

struct sp_file {
    int fd;
};

int sp_error_of_errno(int number)
{
    switch (number) {
    case ENOENT:
    case ENOTDIR:
        return SPATE_ERR_NOT_FOUND;
    case EEXIST:
    case ENOTEMPTY:
        return SPATE_ERR_EXISTS;
    case ENOSPC:
    case EDQUOT:
        return SPATE_ERR_NO_SPACE;
    case ENOMEM:
        return SPATE_ERR_NOMEM;
    default:
        return SPATE_ERR_IO;
    }
}

static int flags_of(int mode)
{
    switch (mode) {
    case SP_FILE_READ:
        return O_RDONLY | O_CLOEXEC;
    case SP_FILE_WRITE:
        return O_RDWR | O_CLOEXEC;
    default:
        SP_ASSERT(mode == SP_FILE_CREATE);
        return O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC;
    }
}

int sp_file_open(const char *path, int mode, struct sp_file **out_file)
{
    struct sp_file *file = sp_mem_alloc(sizeof *file);

    if (file == NULL) {
        return SPATE_ERR_NOMEM;
    }
    do {
        file->fd = open(path, flags_of(mode), FILE_MODE);
    } while (file->fd < 0 && errno == EINTR);
    if (file->fd < 0) {
        int rv = sp_error_of_errno(errno);
        sp_mem_free(file);
        return rv;
    }
    *out_file = file;
    return 0;
}

void sp_file_close(struct sp_file *file)
{
    if (file == NULL) {
        return;
    }
    (void)close(file->fd); /* what had to last was synced; Linux frees the number even on error */
    sp_mem_free(file);
}

int sp_file_size(struct sp_file *file, uint64_t *out_size)
{
    struct stat status;

    if (fstat(file->fd, &status) != 0) {
        return sp_error_of_errno(errno);
    }
    *out_size = (uint64_t)status.st_size;
    return 0;
}

int sp_file_read(
    struct sp_file *file, uint64_t position, void *bytes, size_t size, size_t *out_size)
{
    uint8_t *next = bytes;
    size_t got = 0;

    if (position > INT64_MAX - size) {
        return SPATE_ERR_IO;
    }
    while (got < size) {
        ssize_t step = pread(file->fd, next + got, size - got, (off_t)(position + got));
        if (step < 0 && errno == EINTR) {
            continue;
        }
        if (step < 0) {
            return sp_error_of_errno(errno);
        }
        if (step == 0) {
            break;
        }
        got += (size_t)step;
    }
    *out_size = got;
    return 0;
}

/* Writes `count` pieces and uses the array up on the way. */
static int write_all(int fd, uint64_t position, struct iovec *pieces, unsigned count)
{
    while (count > 0) {
        if (pieces->iov_len == 0) {
            pieces += 1;
            count -= 1;
            continue;
        }
        ssize_t step = pwritev(fd, pieces, (int)count, (off_t)position);
        if (step < 0 && errno == EINTR) {
            continue;
        }
        if (step <= 0) {
            return step < 0 ? sp_error_of_errno(errno) : SPATE_ERR_IO;
        }
        position += (uint64_t)step;
        unsigned used = sp_iovec_advance(pieces, count, (size_t)step);
        pieces += used;
        count -= used;
    }
    return 0;
}

int sp_file_write(struct sp_file *file,
                  uint64_t position,
                  const struct sp_iovec *pieces,
                  unsigned count)
{
    struct iovec batch[PIECES_PER_CALL];

    while (count > 0) {
        unsigned step = count < PIECES_PER_CALL ? count : PIECES_PER_CALL;
        uint64_t size = 0;

        for (unsigned i = 0; i < step; i++) {
            batch[i] = sp_iovec_of(pieces[i].bytes, pieces[i].size);
            size += pieces[i].size;
        }
        if (position > INT64_MAX - size) {
            return SPATE_ERR_IO;
        }
        int rv = write_all(file->fd, position, batch, step);
        if (rv != 0) {
            return rv;
        }
        position += size;
        pieces += step;
        count -= step;
    }
    return 0;
}

int sp_file_sync(struct sp_file *file)
{
    int rv;

    do {
        rv = fdatasync(file->fd);
    } while (rv != 0 && errno == EINTR);
    return rv == 0 ? 0 : SPATE_ERR_IO; /* also for want of space: what was written is in doubt */
}

int sp_file_truncate(struct sp_file *file, uint64_t size)
{
    int rv;

    if (size > INT64_MAX) {
        return SPATE_ERR_IO;
    }
    do {
        rv = ftruncate(file->fd, (off_t)size);
    } while (rv != 0 && errno == EINTR);
    return rv == 0 ? 0 : sp_error_of_errno(errno);
}

int sp_file_allocate(struct sp_file *file, uint64_t size)
{
    int rv;

    if (size > INT64_MAX) {
        return SPATE_ERR_IO;
    }
    do {
        rv = fallocate(file->fd, 0, 0, (off_t)size);
    } while (rv != 0 && errno == EINTR);
    if (rv != 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) {
        return SPATE_ERR_UNSUPPORTED;
    }
    return rv == 0 ? 0 : sp_error_of_errno(errno);
}

int sp_file_lock(struct sp_file *file)
{
    int rv;

    do {
        rv = flock(file->fd, LOCK_EX | LOCK_NB);
    } while (rv != 0 && errno == EINTR);
    if (rv != 0 && errno == EWOULDBLOCK) {
        return SPATE_ERR_LOCKED;
    }
    return rv == 0 ? 0 : sp_error_of_errno(errno);
}

uint64_t sp_file_raise_limit(void)
{
    struct rlimit limit = { .rlim_cur = 0 };

    (void)getrlimit(RLIMIT_NOFILE, &limit); /* fails only for a wrong address */
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_max : before;
}
