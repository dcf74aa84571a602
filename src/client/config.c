/* Settings from text: a table of whole numbers, one of names, and the keys that are neither. */
#include "client/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/quantity.h"

#define SERVERS_DEFAULT "127.0.0.1:" SP_CLIENT_PORT_DEFAULT

struct number_key {
    const char *key;
    size_t position; /* of the uint32_t in struct spate_config */
    uint32_t initial;
    uint32_t min;
    uint32_t max;
};

static const struct number_key number_keys[] = {
    { "timeout.ms", offsetof(struct spate_config, timeout_ms), 30000, 1, 86400000 },
    { "linger.ms", offsetof(struct spate_config, linger_ms), 5, 0, 60000 },
    { "batch.bytes",
      offsetof(struct spate_config, batch_bytes),
      512 * 1024,
      1024,
      SP_BATCH_BYTES_MAX },
    { "max.in.flight",
      offsetof(struct spate_config, in_flight_max),
      SP_PRODUCER_BATCHES_KEPT,
      1,
      SP_PRODUCER_BATCHES_KEPT },
    { "buffer.bytes",
      offsetof(struct spate_config, buffer_bytes),
      32 * 1024 * 1024,
      64 * 1024,
      1024 * 1024 * 1024 },
    { "fetch.bytes",
      offsetof(struct spate_config, fetch_bytes),
      2 * SP_FETCH_BYTES_DEFAULT, /* one answer is on its way while the last is read */
      1,
      SP_FETCH_BYTES_MAX },
    { "fetch.wait.ms", offsetof(struct spate_config, fetch_wait_ms), 500, 0, SP_FETCH_WAIT_MS_MAX },
    { "prefetch.bytes",
      offsetof(struct spate_config, prefetch_bytes),
      16 * 1024 * 1024,
      64 * 1024,
      1024 * 1024 * 1024 },
    { "stall.ms", offsetof(struct spate_config, stall_ms), 60000, 0, 86400000 },
    { "session.ms",
      offsetof(struct spate_config, session_ms),
      SP_CONSUMER_SESSION_MS_DEFAULT,
      SP_CONSUMER_SESSION_MS_MIN,
      SP_CONSUMER_SESSION_MS_MAX },
    { "rebalance.ms",
      offsetof(struct spate_config, rebalance_ms),
      SP_CONSUMER_REBALANCE_MS_DEFAULT,
      SP_CONSUMER_SESSION_MS_MIN,
      SP_CONSUMER_SESSION_MS_MAX },
    { "commit.interval.ms", offsetof(struct spate_config, commit_interval_ms), 5000, 0, 86400000 },
};

#define NUMBER_KEY_COUNT (sizeof number_keys / sizeof number_keys[0])

static void set_number(struct spate_config *config, const struct number_key *key, uint32_t value)
{
    memcpy((char *)config + key->position, &value, sizeof value);
}

/* ---- the other keys -------------------------------------------------------------------------- */

struct name_key {
    const char *key;
    size_t position; /* of the text in struct spate_config */
    size_t size_min;
    size_t size_max;
    const char *initial;
};

static const struct name_key name_keys[] = {
    { "client.name",
      offsetof(struct spate_config, client_name),
      0,
      SP_CLIENT_NAME_SIZE_MAX,
      "libspate" },
    { "client.rack", offsetof(struct spate_config, client_rack), 0, SP_CONSUMER_RACK_SIZE_MAX, "" },
    { "group.id", offsetof(struct spate_config, group_id), 0, SP_CONSUMER_GROUP_NAME_SIZE_MAX, "" },
    { "group.instance",
      offsetof(struct spate_config, group_instance),
      0,
      SP_CLIENT_NAME_SIZE_MAX,
      "" },
    { "producer.name",
      offsetof(struct spate_config, producer_name),
      1,
      SP_PRODUCER_NAME_SIZE_MAX,
      "" },
    { "producer.layout",
      offsetof(struct spate_config, producer_layout),
      0,
      SP_PRODUCER_LAYOUT_SIZE_MAX,
      "" },
};

#define NAME_KEY_COUNT (sizeof name_keys / sizeof name_keys[0])

/* Text without control characters, as the servers take it. */
static int set_name(struct spate_config *config, const struct name_key *key, const char *value)
{
    size_t size = strlen(value);

    if (size < key->size_min || size > key->size_max || !sp_utf8_valid(sp_bytes_of(value, size))) {
        return SPATE_ERR_INVALID;
    }
    for (size_t i = 0; i < size; i++) {
        if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f) {
            return SPATE_ERR_INVALID;
        }
    }
    memcpy((char *)config + key->position, value, size + 1);
    return 0;
}

static const char *const offset_resets[] = { [SP_OFFSET_RESET_START] = "start",
                                             [SP_OFFSET_RESET_END] = "end",
                                             [SP_OFFSET_RESET_NONE] = "none" };

static int set_offset_reset(struct spate_config *config, const char *value)
{
    for (unsigned i = 0; i < sizeof offset_resets / sizeof offset_resets[0]; i++) {
        if (strcmp(value, offset_resets[i]) == 0) {
            config->offset_reset = (enum sp_offset_reset)i;
            return 0;
        }
    }
    return SPATE_ERR_INVALID;
}

static int set_compression(struct spate_config *config, const char *value)
{
    if (strcmp(value, "none") == 0) {
        config->compression = SP_COMPRESSION_NONE;
    } else if (strcmp(value, "lz4") == 0) {
        config->compression = SP_COMPRESSION_LZ4;
    } else {
        return SPATE_ERR_INVALID;
    }
    return 0;
}

struct switch_key {
    const char *key;
    size_t position; /* of the bool in struct spate_config */
    bool initial;
};

static const struct switch_key switch_keys[] = {
    { "io.thread", offsetof(struct spate_config, io_thread), true },
    { "linearizable", offsetof(struct spate_config, linearizable), false },
};

#define SWITCH_KEY_COUNT (sizeof switch_keys / sizeof switch_keys[0])

static void put_switch(struct spate_config *config, const struct switch_key *key, bool on)
{
    memcpy((char *)config + key->position, &on, sizeof on);
}

static int set_switch(struct spate_config *config, const struct switch_key *key, const char *value)
{
    bool on = strcmp(value, "on") == 0;

    if (!on && strcmp(value, "off") != 0) {
        return SPATE_ERR_INVALID;
    }
    put_switch(config, key, on);
    return 0;
}

static int parse_number(const struct number_key *key, const char *value, uint32_t *out_number)
{
    int64_t number = 0;

    if (!sp_quantity_read(sp_quantity_of(key->key), value, strlen(value), &number) ||
        number < (int64_t)key->min || number > (int64_t)key->max) {
        return SPATE_ERR_INVALID;
    }
    *out_number = (uint32_t)number;
    return 0;
}

int spate_config_set(struct spate_config *config, const char *key, const char *value)
{
    if (config == NULL || key == NULL || value == NULL) {
        return SPATE_ERR_INVALID;
    }
    if (strcmp(key, "servers") == 0) {
        return sp_config_set_servers(config, value);
    }
    for (size_t i = 0; i < NAME_KEY_COUNT; i++) {
        if (strcmp(key, name_keys[i].key) == 0) {
            return set_name(config, &name_keys[i], value);
        }
    }
    if (strcmp(key, "offset.reset") == 0) {
        return set_offset_reset(config, value);
    }
    if (strcmp(key, "compression") == 0) {
        return set_compression(config, value);
    }
    for (size_t i = 0; i < SWITCH_KEY_COUNT; i++) {
        if (strcmp(key, switch_keys[i].key) == 0) {
            return set_switch(config, &switch_keys[i], value);
        }
    }
    for (size_t i = 0; i < NUMBER_KEY_COUNT; i++) {
        if (strcmp(key, number_keys[i].key) == 0) {
            uint32_t number = 0;
            int rv = parse_number(&number_keys[i], value, &number);
            if (rv == 0) {
                set_number(config, &number_keys[i], number);
            }
            return rv;
        }
    }
    return SPATE_ERR_NOT_FOUND;
}

void spate_config_set_log(struct spate_config *config, spate_log_cb cb, void *arg)
{
    if (config == NULL) {
        return;
    }
    config->log_cb = cb;
    config->log_arg = arg;
}

/* The value of a key that is not a number, or NULL. */
static const char *text_of(const struct spate_config *config, const char *key)
{
    if (strcmp(key, "servers") == 0) {
        return config->servers;
    }
    for (size_t i = 0; i < NAME_KEY_COUNT; i++) {
        if (strcmp(key, name_keys[i].key) == 0) {
            return (const char *)config + name_keys[i].position;
        }
    }
    if (strcmp(key, "offset.reset") == 0) {
        return offset_resets[config->offset_reset];
    }
    if (strcmp(key, "compression") == 0) {
        return config->compression == SP_COMPRESSION_LZ4 ? "lz4" : "none";
    }
    for (size_t i = 0; i < SWITCH_KEY_COUNT; i++) {
        if (strcmp(key, switch_keys[i].key) == 0) {
            bool on = false;
            memcpy(&on, (const char *)config + switch_keys[i].position, sizeof on);
            return on ? "on" : "off";
        }
    }
    return NULL;
}

int spate_config_get(const struct spate_config *config, const char *key, char *out, size_t out_size)
{
    char number_text[16];

    if (config == NULL || key == NULL || out == NULL) {
        return SPATE_ERR_INVALID;
    }
    const char *text = text_of(config, key);
    for (size_t i = 0; i < NUMBER_KEY_COUNT && text == NULL; i++) {
        if (strcmp(key, number_keys[i].key) == 0) {
            uint32_t number = 0;
            memcpy(&number, (const char *)config + number_keys[i].position, sizeof number);
            (void)snprintf(number_text, sizeof number_text, "%u", number);
            text = number_text;
        }
    }
    if (text == NULL) {
        return SPATE_ERR_NOT_FOUND;
    }
    if (strlen(text) >= out_size) {
        return SPATE_ERR_TOO_LARGE;
    }
    memcpy(out, text, strlen(text) + 1);
    return 0;
}

/* What a key takes that is neither a name nor a number, or NULL. */
static const char *words_of(const char *key)
{
    if (strcmp(key, "servers") == 0) {
        return "servers as host:port,host:port";
    }
    if (strcmp(key, "offset.reset") == 0) {
        return "start, end or none";
    }
    if (strcmp(key, "compression") == 0) {
        return "none or lz4";
    }
    for (size_t i = 0; i < SWITCH_KEY_COUNT; i++) {
        if (strcmp(key, switch_keys[i].key) == 0) {
            return "on or off";
        }
    }
    return NULL;
}

int spate_config_allowed(const char *key, char *out, size_t out_size)
{
    char text[128] = "";

    if (key == NULL || out == NULL) {
        return SPATE_ERR_INVALID;
    }
    const char *words = words_of(key);
    if (words != NULL) {
        (void)snprintf(text, sizeof text, "%s", words);
    }
    for (size_t i = 0; i < NAME_KEY_COUNT; i++) {
        const struct name_key *name = &name_keys[i];
        if (strcmp(key, name->key) == 0) {
            (void)snprintf(text,
                           sizeof text,
                           "a text in UTF-8 of %zu to %zu bytes, without control characters",
                           name->size_min,
                           name->size_max);
        }
    }
    for (size_t i = 0; i < NUMBER_KEY_COUNT; i++) {
        const struct number_key *number = &number_keys[i];
        if (strcmp(key, number->key) == 0) {
            (void)snprintf(text,
                           sizeof text,
                           "a number from %u to %u%s",
                           number->min,
                           number->max,
                           sp_quantity_form(sp_quantity_of(key)));
        }
    }
    if (text[0] == '\0') {
        return SPATE_ERR_NOT_FOUND;
    }
    if (strlen(text) >= out_size) {
        return SPATE_ERR_TOO_LARGE;
    }
    memcpy(out, text, strlen(text) + 1);
    return 0;
}

struct spate_config *spate_config_new(void)
{
    struct spate_config *config = sp_mem_calloc(1, sizeof *config);
    const char *servers = getenv("SPATE_SERVERS");

    if (config == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < NAME_KEY_COUNT; i++) {
        (void)set_name(config, &name_keys[i], name_keys[i].initial); /* a constant that is valid */
    }
    for (size_t i = 0; i < SWITCH_KEY_COUNT; i++) {
        put_switch(config, &switch_keys[i], switch_keys[i].initial);
    }
    for (size_t i = 0; i < NUMBER_KEY_COUNT; i++) {
        set_number(config, &number_keys[i], number_keys[i].initial);
    }
    if (sp_config_set_servers(config, SERVERS_DEFAULT) != 0) {
        spate_config_free(config);
        return NULL;
    }
    if (servers != NULL && *servers != '\0' && sp_config_set_servers(config, servers) != 0) {
        /* Better no server than another one than the environment names: the first call says so. */
        config->servers[0] = '\0';
    }
    return config;
}

int sp_config_copy(const struct spate_config *config, struct spate_config *out)
{
    *out = *config;
    out->servers = sp_mem_strdup(config->servers);
    return out->servers == NULL ? SPATE_ERR_NOMEM : 0;
}

void sp_config_deinit(struct spate_config *config)
{
    sp_mem_free(config->servers);
    config->servers = NULL;
}

void spate_config_free(struct spate_config *config)
{
    if (config == NULL) {
        return;
    }
    sp_config_deinit(config);
    sp_mem_free(config);
}
