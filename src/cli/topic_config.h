/* Settings of topics as people type them. */
#ifndef SPATE_CLI_TOPIC_CONFIG_H
#define SPATE_CLI_TOPIC_CONFIG_H

#include "cli/cli.h"
#include "spate/admin.h"

#define TOPIC_SETTINGS_MAX 32

/* Those of one command line, in the order in which they are typed. */
struct topic_settings {
    struct spate_topic_setting list[TOPIC_SETTINGS_MAX]; /* borrow from argv */
    size_t count;
};

/* Takes KEY=VALUE, which is cut in place, of the option `option`, "-c". 0, or EXIT_USAGE after a
 * message: also for a key that was there before. */
int take_topic_setting(struct cli *cli,
                       const char *option,
                       char *text,
                       struct topic_settings *typed);

/* The topics from argv[optind] on get so many replicas (as typed); the exit code. */
int alter_replicas(struct cli *cli, const char *replicas, int argc, char **argv);

#endif /* SPATE_CLI_TOPIC_CONFIG_H */
