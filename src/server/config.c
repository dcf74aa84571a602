#include "server/config.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/quantity.h"
#include "server/config_keys.h"
#include "server/feature_range.h"
#include "spate/error.h"

#define ENVIRONMENT_PREFIX "SPATE_NODE_"

static const struct sp_config_key *find_key(const char *name)
{
    for (size_t i = 0; i < sp_config_key_count; i++) {
        if (strcmp(sp_config_keys[i].name, name) == 0) {
            return &sp_config_keys[i];
        }
    }
    return NULL;
}

/* ---- setting --------------------------------------------------------------------------------- */

static int refuse(struct sp_config_error *error,
                  const char *where,
                  const struct sp_config_key *key,
                  const char *value)
{
    switch (key->type) {
    case SP_CONFIG_NODE_ID:
        (void)snprintf(error->text,
                       sizeof error->text,
                       "%s: %s must be a whole number from %" PRIu32 " to %" PRIu32
                       ", or " FROM_HOSTNAME " on a host whose name ends in one, not `%.64s`",
                       where,
                       key->name,
                       key->min,
                       key->max,
                       value);
        break;
    case SP_CONFIG_NUMBER:
        (void)snprintf(error->text,
                       sizeof error->text,
                       "%s: %s must be a number from %" PRIu32 " to %" PRIu32 "%s, not `%.64s`",
                       where,
                       key->name,
                       key->min,
                       key->max,
                       sp_quantity_form(sp_quantity_of(key->name)),
                       value);
        break;
    case SP_CONFIG_CHOICE:
        (void)snprintf(error->text,
                       sizeof error->text,
                       "%s: %s must be one of %s, not `%.64s`",
                       where,
                       key->name,
                       key->choices,
                       value);
        break;
    case SP_CONFIG_TEXT:
    case SP_CONFIG_LIST:
        (void)snprintf(error->text,
                       sizeof error->text,
                       "%s: %s must be shorter than %zu bytes",
                       where,
                       key->name,
                       key->size);
        break;
    }
    return SPATE_ERR_CONFIG;
}

static bool is_choice(const char *choices, const char *value)
{
    size_t size = strlen(value);

    if (size == 0 || strchr(value, '|') != NULL) {
        return false;
    }
    for (const char *at = choices; at != NULL; at = strchr(at, '|')) {
        at += *at == '|' ? 1 : 0;
        if (strncmp(at, value, size) == 0 && (at[size] == '|' || at[size] == '\0')) {
            return true;
        }
    }
    return false;
}

bool sp_config_parse_number(const char *text, uint32_t min, uint32_t max, uint32_t *out)
{
    char *end = NULL;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)text[0]) || *end != '\0' || errno != 0 || value < min ||
        value > max) {
        return false;
    }
    *out = (uint32_t)value;
    return true;
}

static bool parse_node_id(const struct sp_config_key *key, const char *value, uint32_t *out)
{
    char host[256] = "";

    if (strcmp(value, FROM_HOSTNAME) != 0) {
        return sp_config_parse_number(value, key->min, key->max, out);
    }
    return gethostname(host, sizeof host - 1) == 0 && sp_config_id_of_host(host, out);
}

static bool parse_quantity(const struct sp_config_key *key, const char *value, uint32_t *out)
{
    int64_t number = 0;

    if (!sp_quantity_read(sp_quantity_of(key->name), value, strlen(value), &number) ||
        number < key->min || number > key->max) {
        return false;
    }
    *out = (uint32_t)number;
    return true;
}

static int set_value(struct sp_config *config,
                     const struct sp_config_key *key,
                     const char *value,
                     const char *where,
                     struct sp_config_error *error)
{
    char *field = (char *)config + key->offset;

    if (key->type == SP_CONFIG_NUMBER || key->type == SP_CONFIG_NODE_ID) {
        uint32_t number;
        if (key->type == SP_CONFIG_NODE_ID ? !parse_node_id(key, value, &number)
                                           : !parse_quantity(key, value, &number)) {
            return refuse(error, where, key, value);
        }
        memcpy(field, &number, sizeof number);
        return 0;
    }
    if (strlen(value) >= key->size ||
        (key->type == SP_CONFIG_CHOICE && !is_choice(key->choices, value))) {
        return refuse(error, where, key, value);
    }
    memcpy(field, value, strlen(value) + 1);
    return 0;
}

/* The key that shares most with a misspelt one: letters in common at the start and at the end. */
static const char *nearest_key(const char *name)
{
    size_t best = 0;
    size_t best_score = 0;

    for (size_t i = 0; i < sp_config_key_count; i++) {
        size_t front = 0;
        size_t back = 0;
        size_t length = strlen(name);
        size_t key_length = strlen(sp_config_keys[i].name);
        while (front < length && front < key_length &&
               name[front] == sp_config_keys[i].name[front]) {
            front += 1;
        }
        while (back < length - front && back < key_length - front &&
               name[length - 1 - back] == sp_config_keys[i].name[key_length - 1 - back]) {
            back += 1;
        }
        if (front + back > best_score) {
            best = i;
            best_score = front + back;
        }
    }
    return sp_config_keys[best].name;
}

int sp_config_set_at(struct sp_config *config,
                     const char *name,
                     const char *value,
                     const char *where,
                     struct sp_config_error *error)
{
    const struct sp_config_key *key = find_key(name);

    if (key == NULL) {
        (void)snprintf(error->text,
                       sizeof error->text,
                       "%s: no key `%.64s`: did you mean `%s`? `spated --example` lists all keys",
                       where,
                       name,
                       nearest_key(name));
        return SPATE_ERR_CONFIG;
    }
    return set_value(config, key, value, where, error);
}

bool sp_config_is_list(const char *name)
{
    const struct sp_config_key *key = find_key(name);

    return key != NULL && key->type == SP_CONFIG_LIST;
}

int sp_config_set(struct sp_config *config, const char *assignment, struct sp_config_error *error)
{
    const char *equals = strchr(assignment, '=');
    char name[64];

    if (equals == NULL || (size_t)(equals - assignment) >= sizeof name) {
        (void)snprintf(
            error->text, sizeof error->text, "--set %.64s: must look like key=value", assignment);
        return SPATE_ERR_CONFIG;
    }
    memcpy(name, assignment, (size_t)(equals - assignment));
    name[equals - assignment] = '\0';
    return sp_config_set_at(config, name, equals + 1, "--set", error);
}

/* "node.id" is SPATE_NODE_NODE_ID. */
static void environment_name(const char *key, char *out, size_t size)
{
    size_t at = 0;

    for (; key[at] != '\0' && at + 1 < size; at++) {
        out[at] = key[at] == '.' ? '_' : (char)toupper((unsigned char)key[at]);
    }
    out[at] = '\0';
}

int sp_config_read_environment(struct sp_config *config,
                               char *const *environment,
                               struct sp_config_error *error)
{
    size_t prefix = strlen(ENVIRONMENT_PREFIX);

    for (; *environment != NULL; environment++) {
        const char *equals = strchr(*environment, '=');
        const struct sp_config_key *found = NULL;
        char where[128];
        if (equals == NULL || strncmp(*environment, ENVIRONMENT_PREFIX, prefix) != 0) {
            continue;
        }
        (void)snprintf(
            where, sizeof where, "environment %.*s", (int)(equals - *environment), *environment);
        for (size_t i = 0; i < sp_config_key_count && found == NULL; i++) {
            char name[64];
            environment_name(sp_config_keys[i].name, name, sizeof name);
            size_t length = (size_t)(equals - *environment) - prefix;
            found = strlen(name) == length && strncmp(*environment + prefix, name, length) == 0
                        ? &sp_config_keys[i]
                        : NULL;
        }
        if (found == NULL) {
            (void)snprintf(error->text,
                           sizeof error->text,
                           "%s: names no key: `spated --example` lists all keys",
                           where);
            return SPATE_ERR_CONFIG;
        }
        int rv = set_value(config, found, equals + 1, where, error);
        if (rv != 0) {
            return rv;
        }
    }
    return 0;
}

void sp_config_init(struct sp_config *config)
{
    struct sp_config_error error;

    memset(config, 0, sizeof *config);
    config->features = sp_feature_range_built();
    for (size_t i = 0; i < sp_config_key_count; i++) {
        (void)set_value(config,
                        &sp_config_keys[i],
                        sp_config_keys[i].default_value,
                        "default",
                        &error); /* all valid */
    }
}

/* ---- printing -------------------------------------------------------------------------------- */

void sp_config_print_example(FILE *out)
{
    (void)fprintf(out,
                  "# Times are numbers%s.\n# Sizes are numbers%s.\n\n",
                  sp_quantity_form(SP_QUANTITY_MS),
                  sp_quantity_form(SP_QUANTITY_BYTES));
    for (size_t i = 0; i < sp_config_key_count; i++) {
        char name[64];
        environment_name(sp_config_keys[i].name, name, sizeof name);
        (void)fprintf(
            out, "# %s\n# Environment: %s%s", sp_config_keys[i].help, ENVIRONMENT_PREFIX, name);
        if (sp_config_keys[i].type == SP_CONFIG_NUMBER ||
            sp_config_keys[i].type == SP_CONFIG_NODE_ID) {
            (void)fprintf(out,
                          ". Allowed: %" PRIu32 " to %" PRIu32,
                          sp_config_keys[i].min,
                          sp_config_keys[i].max);
        } else if (sp_config_keys[i].type == SP_CONFIG_CHOICE) {
            (void)fprintf(out, ". Allowed: %s", sp_config_keys[i].choices);
        }
        if (sp_config_keys[i].type == SP_CONFIG_LIST) {
            (void)fprintf(out, "\n#%s: [1@127.0.0.1:7701]\n\n", sp_config_keys[i].name);
        } else {
            const char *value = sp_config_keys[i].default_value;
            (void)fprintf(
                out, "\n#%s:%s%s\n\n", sp_config_keys[i].name, value[0] == '\0' ? "" : " ", value);
        }
    }
}

void sp_config_print(const struct sp_config *config, FILE *out)
{
    for (size_t i = 0; i < sp_config_key_count; i++) {
        const char *field = (const char *)config + sp_config_keys[i].offset;
        if (sp_config_keys[i].type == SP_CONFIG_NUMBER ||
            sp_config_keys[i].type == SP_CONFIG_NODE_ID) {
            uint32_t number;
            memcpy(&number, field, sizeof number);
            (void)fprintf(out, "%s: %" PRIu32 "\n", sp_config_keys[i].name, number);
        } else {
            (void)fprintf(out, "%s: %s\n", sp_config_keys[i].name, field);
        }
    }
}
