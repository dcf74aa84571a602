/* What a node holds of each partition of a topic: where its records begin and end, and what they
 * take. A node says so of its own replicas alone; of others their leaders are asked. */
#ifndef SPATE_CLI_TOPIC_HELD_H
#define SPATE_CLI_TOPIC_HELD_H

#include "cli/cli.h"

#define TOPIC_HELD_COUNT 4

/* The keys of topic.describe that say it of a partition. */
extern const char *const topic_held_keys[TOPIC_HELD_COUNT];

/* Completes the answer `result` to topic.describe of `topic`. What no leader tells within two
 * seconds is null then, which is said on stderr; so are the sums of a node without any replica. */
void topic_held_complete(const struct cli *cli, const char *topic, json_t *result);

#endif /* SPATE_CLI_TOPIC_HELD_H */
