/* CPU time that processes have used, user and system together, in seconds. */
#ifndef SPATE_CLI_PROCESS_CPU_H
#define SPATE_CLI_PROCESS_CPU_H

#include <stdint.h>

/* Of one process of this machine; negative: there is none. To the nanosecond: /proc
 * counts in clock ticks of 10 ms, which tens of thousands of small records do not take. */
double process_cpu_s(int64_t process);

/* Of this process, with all its threads. */
double own_cpu_s(void);

#endif /* SPATE_CLI_PROCESS_CPU_H */
