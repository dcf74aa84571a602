/* Moves of replicas, of which only the leader of each partition knows how far they are. */
#ifndef SPATE_CLI_MOVES_H
#define SPATE_CLI_MOVES_H

#include "cli/cli.h"

/* Calls `method`, without fields, on each node that leads a partition of `moves` (the rows of
 * cluster.moves) whose step the asked node does not know, once; `take` borrows each answer. A node
 * that does not answer is left out. */
void ask_move_leaders(struct cli *cli,
                      const json_t *moves,
                      const char *method,
                      void (*take)(void *arg, const json_t *theirs),
                      void *arg);

#endif /* SPATE_CLI_MOVES_H */
