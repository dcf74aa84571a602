/* Settings of topics as people type them. */
#ifndef SPATE_CLI_TOPIC_CONFIG_H
#define SPATE_CLI_TOPIC_CONFIG_H

#include <stdbool.h>

#include "cli/cli.h"
#include "spate/admin.h"

/* Cuts KEY=VALUE in place; false when it has no '=' or no key. */
bool split_setting(char *text, struct spate_topic_setting *out_setting);

/* The topics from argv[optind] on get so many replicas (as typed); the exit code. */
int alter_replicas(struct cli *cli, const char *replicas, int argc, char **argv);

#endif /* SPATE_CLI_TOPIC_CONFIG_H */
