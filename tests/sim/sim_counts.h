/* What the runs of seeds came to: summed, printed, and whether each kind of event was reached. */
#ifndef SP_SIM_COUNTS_H
#define SP_SIM_COUNTS_H

#include <stdbool.h>

#include "sim_model.h"

/* Adds each count; of the peak of memory the larger one stays. */
void sim_counts_add(struct sim_counts *sum, const struct sim_counts *counts);

void sim_counts_print(const struct sim_counts *c);

/* False if a kind of event was never reached, which is printed. */
bool sim_counts_reached(const struct sim_counts *c);

#endif /* SP_SIM_COUNTS_H */
