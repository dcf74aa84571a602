/* Whether there is somebody to read from: asked by a thread of its own, with a client of its own,
 * so that records go on meanwhile.
 *
 *   look_begin --thread--> (answers) --look_ended--> look_end: who leads what, who coordinates */
#ifndef SPATE_CLI_LOOK_H
#define SPATE_CLI_LOOK_H

#include <stdatomic.h>

#include "cli/topic_list.h"

struct sp_thread;

struct look {
    const struct topic_list *topics; /* this and the next one: of what; borrowed */
    const char *group;               /* NULL: no consumer group */
    bool running;                    /* from look_begin to look_end or look_drop */
    json_t *metadata;                /* owned; NULL: no server has answered */
    bool lacks_coordinator;          /* the group has nobody who answers for it */

    struct cli cli;  /* the thread's, from here on */
    uint64_t end_us; /* of its patience */
    struct sp_thread *thread;
    atomic_bool dropped; /* nobody wants to know any more */
    atomic_bool ended;
};

/* Has this partition of an answer a leader? The same for the answer to group.find. */
bool look_has_leader(const json_t *partition);

/* Begins; `topics` and `group` are filled in, and `cli` may connect. There are `ask_ms` for an
 * answer. */
void look_begin(struct look *look, const struct cli *cli, int64_t ask_ms);

/* True once look_end does not wait. */
bool look_ended(const struct look *look);

/* Waits for the answers: those of the first server that answered, or of another one that knows
 * better. */
void look_end(struct look *look);

/* Ends it, if it runs, without its answers, within a second or two; and forgets those of the last
 * one. */
void look_drop(struct look *look);

#endif /* SPATE_CLI_LOOK_H */
