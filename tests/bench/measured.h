/* What programs that measure read: the time, and what they have used of the processors. */
#ifndef SP_BENCH_MEASURED_H
#define SP_BENCH_MEASURED_H

#include <sys/resource.h>
#include <time.h>

/* Seconds of a clock that never goes back. */
static inline double now_s(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* CPU-seconds of this process so far, user and system together. */
static inline double cpu_s(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

#endif /* SP_BENCH_MEASURED_H */
