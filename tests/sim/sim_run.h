/* One run: a world drawn from a seed, its phases, and what came of it. */
#ifndef SP_SIM_RUN_H
#define SP_SIM_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "sim_faults.h"
#include "sim_model.h"

struct sim_run_options {
    uint64_t seed;
    bool timeline;
    bool moved;            /* the memory lies elsewhere and holds other leftovers: same hash */
    bool calm;             /* no faults at all */
    uint32_t without;      /* bit per kind of fault that is left out */
    uint64_t fault_us_max; /* the fault phase ends at the latest after so long; 0: as drawn */
};

struct sim_result {
    bool failed;
    uint64_t hash;
    uint64_t events;
    uint64_t time_us; /* of the world */
    uint64_t fault_us;
    struct sim_counts counts;
    char failure[1024];
};

/* Runs the world of that seed. Once per program: processes of the world are not taken down. */
void sim_run(const struct sim_run_options *options, struct sim_result *out_result);

#endif /* SP_SIM_RUN_H */
