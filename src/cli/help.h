/* What help, man page and completion tell about commands. */
#ifndef SPATE_CLI_HELP_H
#define SPATE_CLI_HELP_H

#include "cli/cli.h"

#define COMMAND_NAME_SIZE 64

struct exit_meaning {
    int code;
    const char *meaning;
};

extern const struct exit_meaning exit_meanings[];
extern const size_t exit_meaning_count;

/* "topic create" */
void command_name(const struct command *command, char *room, size_t size);

/* True if it takes settings of topics, which its help lists. */
bool takes_topic_settings(const struct command *command);

/* {"commands", "global_options", "exit_codes"}, of all commands or of one. */
json_t *help_json(const struct command *only);

#endif /* SPATE_CLI_HELP_H */
