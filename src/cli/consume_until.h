/* consume --until N|@TIME: what the bounds of bounds.h need from the cluster and the reader. */
#ifndef SPATE_CLI_CONSUME_UNTIL_H
#define SPATE_CLI_CONSUME_UNTIL_H

#include "cli/bounds.h"
#include "cli/cli.h"

/* Once the moment of --until has come: asks for the offsets that it means. 0, or the exit code of
 * an error that has been told. */
int until_settle(struct cli *cli, struct bounds *bounds);

/* Closes the bounds that the reader stands behind without a record having said so: those below its
 * place were deleted, or taken out by compaction. Asks no server. */
void until_follow(struct bounds *bounds, const struct spate_consumer *consumer);

/* Begins anew with the partitions whose bounds are open, so that the others are read no more:
 * *consumer is replaced, NULL after an error. 0, or the exit code of an error that has been
 * told. */
int until_drop_closed(struct cli *cli, struct bounds *bounds, struct spate_consumer **consumer);

#endif /* SPATE_CLI_CONSUME_UNTIL_H */
