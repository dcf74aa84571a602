/* Work on files that has found no space twice, the second time with the ballast's, and is done anew
 * once there may be some: nothing of it has been reported, nothing is written behind it.
 *
 *   job --no space--> job --no space--> waits --a look, a second later or more--> job
 *                                         `--its owner closes, or the disk fails--> given up */
#ifndef SP_STORAGE_SPACE_WAIT_H
#define SP_STORAGE_SPACE_WAIT_H

#include "base/list.h"

struct sp_store;

/* Embedded where the work is, and zero before its first use. */
struct sp_space_wait {
    struct sp_list node;
    void (*resume)(struct sp_space_wait *wait); /* starts the job again, or gives the work up */
    bool waits;
};

/* True if the work, which has ended with `status`, waits: its `resume` is called later. `closing`:
 * its owner closes, so that nothing may wait. `step` says what was done, `place` where. */
bool sp_store_waits_for_space(struct sp_store *store,
                              struct sp_space_wait *wait,
                              int status,
                              bool closing,
                              const char *step,
                              const char *place);

/* The owner closes, or the store has failed: calls `resume` now if it waits. */
void sp_space_wait_end(struct sp_space_wait *wait);

#endif /* SP_STORAGE_SPACE_WAIT_H */
