#include "cli/process_cpu.h"

#include <sys/resource.h>
#include <sys/types.h>
#include <time.h>

/* Linux has no greater one (PID_MAX_LIMIT), and with it the number of a clock would overflow. */
enum {
    PROCESS_ID_MAX = 1 << 22
};

double process_cpu_s(int64_t process)
{
    clockid_t clock;
    struct timespec used;

    if (process <= 0 || process > PROCESS_ID_MAX) {
        return -1;
    }
    if (clock_getcpuclockid((pid_t)process, &clock) != 0 || clock_gettime(clock, &used) != 0) {
        return -1;
    }
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

double own_cpu_s(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}
