/* The topics that a command is about: as named, or all that match patterns. */
#ifndef SPATE_CLI_TOPIC_LIST_H
#define SPATE_CLI_TOPIC_LIST_H

#include "cli/cli.h"

struct topic_list {
    char **names; /* owned, each once */
    size_t count;
};

/* Takes `words` as names, or with `regex` as POSIX extended regular expressions over the topics
 * that there are now, in order of their names. Asks the cluster in that case. 0, or an exit code
 * after a message, EXIT_NOT_FOUND when nothing matches. Free in any case. */
int topic_list_fill(
    struct cli *cli, bool regex, int count, char **words, struct topic_list *out_list);

void topic_list_free(struct topic_list *list);

#endif /* SPATE_CLI_TOPIC_LIST_H */
