/* What the configuration's files share: a key of the table, and setting one by name. */
#ifndef SP_SERVER_CONFIG_KEYS_H
#define SP_SERVER_CONFIG_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/config.h"

enum sp_config_type {
    SP_CONFIG_TEXT,
    SP_CONFIG_NUMBER,
    SP_CONFIG_NODE_ID, /* a number, or from-hostname */
    SP_CONFIG_LIST,    /* of texts; held joined by commas */
    SP_CONFIG_CHOICE,  /* one of `choices`, separated by | */
};

struct sp_config_key {
    const char *name;
    enum sp_config_type type;
    size_t offset; /* in struct sp_config */
    size_t size;   /* of a text field */
    const char *default_value;
    uint32_t min;
    uint32_t max;
    const char *choices;
    const char *help;
};

#define FROM_HOSTNAME "from-hostname" /* a node.id */

extern const struct sp_config_key sp_config_keys[];
extern const size_t sp_config_key_count;

/* Sets a key by name; `where` begins the text of an error. */
int sp_config_set_at(struct sp_config *config,
                     const char *name,
                     const char *value,
                     const char *where,
                     struct sp_config_error *error);

/* Reads a whole number in [min, max], digits only; false otherwise. */
bool sp_config_parse_number(const char *text, uint32_t min, uint32_t max, uint32_t *out);

/* True if the key exists and takes a list. */
bool sp_config_is_list(const char *name);

#endif /* SP_SERVER_CONFIG_KEYS_H */
