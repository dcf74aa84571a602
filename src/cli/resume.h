/* What `spate produce --name` leaves out: the records that an earlier run has stored already.
 *
 *   record of the input -> partition, by key or by its number -> so many are stored there? skip it
 *
 * The same input goes to the same partitions in the same order in each run, so in each partition
 * what is stored is a beginning of what belongs there, and a count says it all. */
#ifndef SPATE_CLI_RESUME_H
#define SPATE_CLI_RESUME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/cli.h"

struct resume {
    const char *name;
    uint32_t partitions;
    uint64_t *stored; /* of each partition: records under this name, before this run */
    uint64_t *seen;   /* of each partition: records of the input so far */
    uint64_t number;  /* of the next record of the input, from 0 */
    uint64_t skipped;
};

/* What decides where a record of the input goes. */
struct resume_rules {
    const char *topic;
    uint32_t partitions;
    int32_t partition; /* all records go there; -1: it depends */
    const char *key;   /* of all records; NULL: none, or each has its own */
    const char *split; /* how the input is cut into records */
};

/* The rules as the text that must be the same in each run, see producer.layout. */
void resume_layout(char *out, size_t size, const struct resume_rules *rules);

/* Takes over all partitions, or `only` that one (-1: all), and counts. 0, or the exit code of an
 * error that has been told. */
int resume_begin(struct resume *resume,
                 struct cli *cli,
                 struct spate_producer *producer,
                 const char *topic,
                 int32_t only);

/* Decides about the next record of the input: sets record->partition unless it is set, and returns
 * true if the record is stored already. */
bool resume_skips(struct resume *resume, struct spate_record *record);

/* At the end of the input: 0, or the exit code of an error that has been told: the input has fewer
 * records than are stored. */
int resume_end(const struct resume *resume);

void resume_deinit(struct resume *resume);

#endif /* SPATE_CLI_RESUME_H */
