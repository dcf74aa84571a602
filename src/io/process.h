/* What the system says of processes, and of a disk: for those who watch a node. */
#ifndef SP_IO_PROCESS_H
#define SP_IO_PROCESS_H

#include <stdint.h>

struct sp_process_usage {
    uint64_t resident_bytes;
    uint64_t cpu_us; /* user and system, of all threads */
    uint64_t files_open;
    uint64_t files_max;
    int64_t started_ms; /* since 1970-01-01 UTC */
};

/* What cannot be read stays 0. Reads /proc: takes microseconds, and some more for each descriptor.
 * Any thread. */
void sp_process_usage(struct sp_process_usage *out_usage);

/* CPU time that all threads of a process of this machine have used so far, user and system
 * together; `process` 0: this one. To the nanosecond: /proc counts in ticks of 10 ms, which tens of
 * thousands of small records do not take. SPATE_ERR_NOT_FOUND: there is none. Any thread. */
int sp_process_cpu_ns(int64_t process, uint64_t *out_ns);

/* Size of the disk of `path`, and what an unprivileged process may still use of it. May block as
 * long as the disk does. SPATE_ERR_NOT_FOUND, SPATE_ERR_IO. Any thread. */
int sp_path_space(const char *path, uint64_t *out_free_bytes, uint64_t *out_size_bytes);

#endif /* SP_IO_PROCESS_H */
