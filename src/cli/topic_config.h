/* Settings of topics as people type them. */
#ifndef SPATE_CLI_TOPIC_CONFIG_H
#define SPATE_CLI_TOPIC_CONFIG_H

#include <stdbool.h>

#include "spate/admin.h"

/* Cuts KEY=VALUE in place; false when it has no '=' or no key. */
bool split_setting(char *text, struct spate_topic_setting *out_setting);

#endif /* SPATE_CLI_TOPIC_CONFIG_H */
