#include "io/process.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "io/system.h"
#include "spate/error.h"

enum {
    US_PER_S = 1000000,
    NS_PER_S = 1000000000,
    /* Linux has no greater one (PID_MAX_LIMIT), and the number of its clock would overflow. */
    PROCESS_ID_MAX = 1 << 22,
    STAT_FIELDS_TO_START = 19, /* of /proc/self/stat, behind the state: proc(5) */
};

static uint64_t resident_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long long pages = 0;

    if (file == NULL) {
        return 0;
    }
    if (fscanf(file, "%*u %llu", &pages) != 1) {
        pages = 0;
    }
    (void)fclose(file); /* it was only read */
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t count_files(void)
{
    DIR *directory = opendir("/proc/self/fd");
    uint64_t count = 0;

    if (directory == NULL) {
        return 0;
    }
    while (readdir(directory) != NULL) {
        count += 1;
    }
    (void)closedir(directory);        /* it was only read */
    return count > 3 ? count - 3 : 0; /* without ".", "..", and the one that reads */
}

/* Clock ticks from the start of the machine to that of the process. */
static uint64_t start_ticks(void)
{
    FILE *file = fopen("/proc/self/stat", "re");
    char text[1024];
    char *at;

    if (file == NULL) {
        return 0;
    }
    text[fread(text, 1, sizeof text - 1, file)] = '\0'; /* a line of some 300 bytes */
    (void)fclose(file);                                 /* it was only read */
    at = strrchr(text, ')');                            /* the name before it may hold anything */
    for (unsigned i = 0; i <= STAT_FIELDS_TO_START && at != NULL; i++) {
        at = strchr(at + 1, ' ');
    }
    return at == NULL ? 0 : strtoull(at, NULL, 10);
}

static int64_t started_ms(void)
{
    uint64_t after_boot_ms = start_ticks() * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
    struct timespec wall;
    struct timespec uptime;

    if (clock_gettime(CLOCK_REALTIME, &wall) != 0 || clock_gettime(CLOCK_BOOTTIME, &uptime) != 0) {
        return 0;
    }
    return (wall.tv_sec - uptime.tv_sec) * 1000 + (wall.tv_nsec - uptime.tv_nsec) / 1000000 +
           (int64_t)after_boot_ms;
}

void sp_process_usage(struct sp_process_usage *out_usage)
{
    struct rusage usage;
    struct rlimit files;

    *out_usage = (struct sp_process_usage){ .resident_bytes = resident_bytes(),
                                            .files_open = count_files(),
                                            .started_ms = started_ms() };
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        out_usage->cpu_us = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * US_PER_S +
                            (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        out_usage->files_max = files.rlim_cur;
    }
}

int sp_process_cpu_ns(int64_t process, uint64_t *out_ns)
{
    clockid_t clock;
    struct timespec used;

    if (process < 0 || process > PROCESS_ID_MAX ||
        clock_getcpuclockid((pid_t)process, &clock) != 0 || clock_gettime(clock, &used) != 0) {
        return SPATE_ERR_NOT_FOUND;
    }
    *out_ns = (uint64_t)used.tv_sec * NS_PER_S + (uint64_t)used.tv_nsec;
    return 0;
}

int sp_path_space(const char *path, uint64_t *out_free_bytes, uint64_t *out_size_bytes)
{
    struct statvfs status;

    if (statvfs(path, &status) != 0) {
        return sp_error_of_errno(errno);
    }
    *out_free_bytes = (uint64_t)status.f_bavail * status.f_frsize;
    /* without what only root may use, so that a full disk has nothing free */
    *out_size_bytes =
        (uint64_t)(status.f_blocks - (status.f_bfree - status.f_bavail)) * status.f_frsize;
    return 0;
}
