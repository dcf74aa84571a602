/* A slow disk for one process: loaded by LD_PRELOAD, it lets fdatasync take the time that a disk
 * would need for what was written since the last one.
 *
 *   SPATE_SLOW_DISK=FILE   two native 64-bit numbers, may change at any time:
 *                          microseconds of each sync, bytes per second (0: no limit)
 *
 * Each file has a disk of its own, so that the speed of one log does not depend on the others. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FILES_MAX 65536

struct speed {
    atomic_uint_least64_t sync_us;
    atomic_uint_least64_t bytes_per_second;
};

static atomic_uint_least64_t unsynced_bytes[FILES_MAX];
static struct speed *speed;

__attribute__((constructor)) static void open_speed(void)
{
    const char *path = getenv("SPATE_SLOW_DISK");
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        return;
    }
    void *map = mmap(NULL, sizeof *speed, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED) {
        speed = map;
    }
    (void)close(fd);
}

/* The next definition of a function, as a pointer to it. */
static void find(const char *name, void *out_function)
{
    *(void **)out_function = dlsym(RTLD_NEXT, name);
}

static ssize_t note(int fd, ssize_t written)
{
    if (written > 0 && fd >= 0 && fd < FILES_MAX) {
        atomic_fetch_add(&unsynced_bytes[fd], (uint64_t)written);
    }
    return written;
}

ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t position);
ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t position)
{
    ssize_t (*next)(int, const struct iovec *, int, off_t) = NULL;

    find("pwritev", &next);
    return note(fd, next(fd, pieces, count, position));
}

int fdatasync(int fd)
{
    int (*next)(int) = NULL;
    uint64_t bytes = fd >= 0 && fd < FILES_MAX ? atomic_exchange(&unsynced_bytes[fd], 0) : 0;

    if (speed != NULL) {
        uint64_t rate = atomic_load(&speed->bytes_per_second);
        uint64_t us = atomic_load(&speed->sync_us) + (rate == 0 ? 0 : bytes * 1000000 / rate);
        struct timespec time = { (time_t)(us / 1000000), (long)(us % 1000000) * 1000 };

        (void)nanosleep(&time, NULL); /* a signal ends it early: none is sent */
    }
    find("fdatasync", &next);
    return next(fd);
}
