/* One method asked of one node, by a thread of its own, so that many are asked at once.
 *
 *   question_begin --thread--> (answer) --question_end--> status, answer */
#ifndef SPATE_CLI_QUESTION_H
#define SPATE_CLI_QUESTION_H

#include "cli/cli.h"

struct sp_thread;

struct question {
    struct cli cli;      /* with a client of its own, so that no other node can answer */
    int64_t node;        /* whom the asker takes it for; 0: not known */
    const char *address; /* borrowed */
    const char *method;
    const char *name; /* borrowed; the method's only parameter; NULL: it has none */
    struct sp_thread *thread;
    int status;
    json_t *answer; /* owned once it has ended with status 0 */
};

/* Fill `node`, `address`, `method` and `name`. An address that is none is told here, before any
 * thread. */
void question_prepare(const struct cli *cli, struct question *question, int64_t timeout_ms);

void question_begin(struct question *question);

/* Waits for the answer. */
void question_end(struct question *question);

#endif /* SPATE_CLI_QUESTION_H */
