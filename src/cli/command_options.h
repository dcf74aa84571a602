/* The options of each command, for the table in commands.c. Each list ends without a name. */
#ifndef SPATE_CLI_COMMAND_OPTIONS_H
#define SPATE_CLI_COMMAND_OPTIONS_H

#include "cli/cli.h"

extern const struct command_option options_of_create[];
extern const struct command_option options_of_alter[];
extern const struct command_option options_of_truncate[];
extern const struct command_option options_of_dump[];
extern const struct command_option options_of_delete[];
extern const struct command_option options_of_produce[];
extern const struct command_option options_of_consume[];
extern const struct command_option options_of_offsets[];
extern const struct command_option options_of_describe_group[];
extern const struct command_option options_of_seek[];
extern const struct command_option options_of_bench[];
extern const struct command_option options_of_context_create[];
extern const struct command_option options_of_context_show[];
extern const struct command_option options_of_lab[];
extern const struct command_option options_of_health[];
extern const struct command_option options_of_rebalance[];
extern const struct command_option options_of_moves[];

#endif /* SPATE_CLI_COMMAND_OPTIONS_H */
