/* Every seed runs in a process of its own, so that a death in production code fails that seed and
 * no other. */
#ifndef SP_SIM_CHILD_H
#define SP_SIM_CHILD_H

#include <stdint.h>
#include <sys/types.h>

#include "sim_run.h"

enum {
    SIM_CHILDREN_MAX = 16, /* at a time */
};

struct sim_child {
    pid_t pid; /* 0: free */
    int fd;
    uint64_t seed;
};

void sim_child_start(struct sim_child *child, const struct sim_run_options *run);

/* The first of those that are running to end. At least one of them is. */
struct sim_child *sim_child_wait(struct sim_child *children, unsigned count);

/* Waits for the child; a death without a result is a failure too. */
void sim_child_finish(struct sim_child *child, struct sim_result *out_result);

/* Both. */
void sim_child_run(const struct sim_run_options *run, struct sim_result *out_result);

/* Leaves out kinds of faults, then shortens the fault phase, as long as the seed still fails in the
 * same way; *result becomes that of the last failure. Shows its tries on standard error. */
void sim_shrink(struct sim_run_options *run, struct sim_result *result);

#endif /* SP_SIM_CHILD_H */
