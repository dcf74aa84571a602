/* Several names in one command: asked about before, counted after. */
#ifndef SPATE_CLI_SEVERAL_H
#define SPATE_CLI_SEVERAL_H

#include <jansson.h>

#include "cli/cli.h"

/* What became of each name, for the exit code and for --json. Zero-initialise. */
struct tally {
    json_t *results;
    int done;
    int failed;
    int last_code;
};

/* Notes the outcome for one name; a failure is told. */
void tally_add(struct cli *cli, struct tally *tally, const char *name, int code);

/* The same when a failure has been told already. */
void tally_add_told(struct tally *tally, const char *name, int code);

/* With --json prints {KEY: [{"name", "error" if it failed}]}. The exit code: 0 all, 7 some, else
 * that of the last failure. Gives the results back. */
int tally_end(struct cli *cli, struct tally *tally, const char *key);

/* Before a question whether to delete something: without a terminal insists on --yes. Behind it:
 * prints " CONSEQUENCE? [y/N] " and reads the answer. 0, or an exit code after a message. */
int begin_question(struct cli *cli, const char *consequence);
int end_question(struct cli *cli, const char *consequence);

/* A command that deletes the names on its line, from `optind` on: reads its options (only --yes),
 * asks on the terminal "Delete NAME... with CONSEQUENCE?" unless that is given, without a terminal
 * insists on it, and connects. 0, or an exit code after a message. */
int begin_deletion(struct cli *cli, int argc, char **argv, const char *consequence);

#endif /* SPATE_CLI_SEVERAL_H */
