/* CPU time that processes have used, user and system together, in seconds. */
#ifndef SPATE_CLI_PROCESS_CPU_H
#define SPATE_CLI_PROCESS_CPU_H

#include <stdint.h>

/* Of one process of this machine; negative: there is none. In steps of a clock tick (10 ms). */
double process_cpu_s(int64_t process);

/* Of this process, with all its threads. */
double own_cpu_s(void);

#endif /* SPATE_CLI_PROCESS_CPU_H */
