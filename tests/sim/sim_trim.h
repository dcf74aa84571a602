/* Topics whose records go: small retention, and programs that truncate. */
#ifndef SP_SIM_TRIM_H
#define SP_SIM_TRIM_H

#include "sim_clients.h"
#include "spate/spate.h"

#define SIM_TRIM_SETTINGS_MAX 2u

/* The main function of a program that truncates; `arg` is its struct sim_client. */
void sim_trim_main(void *arg);

/* How many such topics the seed has, 0 for half of all, and how many programs truncate. Chance of
 * its own: it leaves what else a seed means as it is. */
void sim_trim_draw(uint64_t seed, unsigned *out_topics, unsigned *out_programs);

/* What these topics keep at least; -1: all. */
struct sim_trim_limits {
    int64_t bytes;
    int64_t ms;
};

struct sim_trim_limits sim_trim_limits(void);

/* Free space that nodes keep: none for half of all seeds. */
uint32_t sim_trim_draw_reserve(uint64_t seed);

/* The settings of such a topic, drawn once; how many. Their texts live as long as the program. */
size_t sim_trim_settings(struct spate_topic_setting *out_settings);

#endif /* SP_SIM_TRIM_H */
