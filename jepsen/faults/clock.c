/* jepsen-clock.so: preloaded into a node, gives it clocks of its own.
 *
 * JEPSEN_CLOCK names a file of the fields below, mapped by the node and by the harness, which
 * writes them at any time. The wall clock is the machine's plus an offset; the monotonic clock runs
 * at another rate from a moment on and never goes back. The node counts how often it read each: a
 * change had its effect once the node has read the clock after it. */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/attr.h"

enum {
    NS_PER_S = 1000 * 1000 * 1000,
    MILLION = 1000 * 1000
};

/* All 64-bit little-endian words, in this order. */
struct shared {
    uint64_t version;       /* odd while the harness writes the next five */
    int64_t wall_offset_ns; /* added to the wall clock */
    int64_t base_ns;        /* of the machine's monotonic clock: from here on */
    int64_t mono_offset_ns; /* the node's clock minus the machine's at base_ns */
    int64_t rate_ppm;       /* 1,000,000: as fast as the machine's */
    uint64_t wall_reads;    /* by the node */
    uint64_t mono_reads;
};

SP_EXPORT int clock_gettime(clockid_t clock, struct timespec *out);
SP_EXPORT int gettimeofday(struct timeval *out, void *zone);
SP_EXPORT time_t time(time_t *out);

static struct shared *shared;

/* Runs before the node's first thread. */
__attribute__((constructor)) static void map_shared(void)
{
    const char *path = getenv("JEPSEN_CLOCK");
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        return;
    }
    void *at = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd); /* the mapping stays */
    shared = at == MAP_FAILED ? NULL : at;
}

/* The fields that belong together, as the harness wrote them last. */
static struct shared read_shared(void)
{
    struct shared copy;

    do {
        copy.version = __atomic_load_n(&shared->version, __ATOMIC_ACQUIRE);
        copy.wall_offset_ns = __atomic_load_n(&shared->wall_offset_ns, __ATOMIC_RELAXED);
        copy.base_ns = __atomic_load_n(&shared->base_ns, __ATOMIC_RELAXED);
        copy.mono_offset_ns = __atomic_load_n(&shared->mono_offset_ns, __ATOMIC_RELAXED);
        copy.rate_ppm = __atomic_load_n(&shared->rate_ppm, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    } while (copy.version % 2 != 0 ||
             copy.version != __atomic_load_n(&shared->version, __ATOMIC_RELAXED));
    return copy;
}

static int64_t shift(clockid_t clock, int64_t ns)
{
    struct shared now = read_shared();

    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) {
        (void)__atomic_add_fetch(&shared->wall_reads, 1, __ATOMIC_RELAXED);
        return ns + now.wall_offset_ns;
    }
    (void)__atomic_add_fetch(&shared->mono_reads, 1, __ATOMIC_RELAXED);
    int64_t since = ns - now.base_ns;
    return now.base_ns + now.mono_offset_ns + since / MILLION * now.rate_ppm +
           since % MILLION * now.rate_ppm / MILLION;
}

static bool is_shifted(clockid_t clock)
{
    return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_MONOTONIC ||
           clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_BOOTTIME;
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
    long rv = syscall(SYS_clock_gettime, clock, out);

    if (rv == 0 && shared != NULL && is_shifted(clock)) {
        int64_t ns = shift(clock, (int64_t)out->tv_sec * NS_PER_S + out->tv_nsec);
        out->tv_sec = ns / NS_PER_S;
        out->tv_nsec = ns % NS_PER_S;
    }
    return (int)rv;
}

int gettimeofday(struct timeval *out, void *zone)
{
    struct timespec now;

    (void)zone; /* obsolete, and nobody asks for it */
    int rv = clock_gettime(CLOCK_REALTIME, &now);
    *out = (struct timeval){ .tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000 };
    return rv;
}

time_t time(time_t *out)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
    if (out != NULL) {
        *out = now.tv_sec;
    }
    return now.tv_sec;
}
