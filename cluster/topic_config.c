#include "cluster/topic_config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/nearest.h"
#include "base/quantity.h"
#include "cluster/state.h"
#include "spate/error.h"

#define CHOICES_MAX 3
#define SHOWN_MAX 64 /* bytes of what a user typed */

struct key {
    const char *name;
    uint32_t number; /* in the controller's log, for ever */
    int64_t default_value;
    int64_t min;
    int64_t max;
    bool unlimited;                   /* -1 is allowed as well */
    const char *choices[CHOICES_MAX]; /* their numbers are 0, 1, 2; NULL: a number */
    const char *last_choice_too;      /* another way to write the last one; NULL: none */
    const char *refusal;              /* why there are no other choices; NULL: no need to say */
};

#define TIME_MS_MAX (INT64_C(100) * 366 * 24 * 3600 * 1000)

static const struct key keys[SP_TOPIC_KEY_COUNT] = {
    [SP_TOPIC_MESSAGE_BYTES_MAX] = { .name = "max.message.bytes",
                                     .number = 1,
                                     .default_value = SP_BATCH_BYTES_MAX_DEFAULT,
                                     .min = SP_STATE_MESSAGE_BYTES_MIN,
                                     .max = SP_BATCH_BYTES_MAX },
    [SP_TOPIC_RETENTION_MS] = { .name = "retention.ms",
                                .number = 2,
                                .default_value = SP_TOPIC_UNLIMITED,
                                .min = 1,
                                .max = TIME_MS_MAX,
                                .unlimited = true },
    [SP_TOPIC_RETENTION_BYTES] = { .name = "retention.bytes",
                                   .number = 3,
                                   .default_value = SP_TOPIC_UNLIMITED,
                                   .min = 1,
                                   .max = INT64_C(1) << 50,
                                   .unlimited = true },
    [SP_TOPIC_SEGMENT_BYTES] = { .name = "segment.bytes",
                                 .number = 4,
                                 .min = SP_SEGMENT_BYTES_MIN,
                                 .max = SP_SEGMENT_BYTES_MAX },
    [SP_TOPIC_SEGMENT_MS] = { .name = "segment.ms",
                              .number = 5,
                              .default_value = SP_TOPIC_UNLIMITED,
                              .min = SP_SEGMENT_MS_MIN,
                              .max = TIME_MS_MAX,
                              .unlimited = true },
    [SP_TOPIC_CLEANUP_POLICY] = { .name = "cleanup.policy",
                                  .number = 6,
                                  .choices = { "delete", "compact", "compact,delete" },
                                  .last_choice_too = "delete,compact" },
    [SP_TOPIC_DURABILITY] = { .name = "durability",
                              .number = 7,
                              .choices = { "disk" },
                              .refusal = "a record is acknowledged when it is on the disks of a "
                                         "majority" },
    [SP_TOPIC_TIMESTAMP_TYPE] = { .name = "message.timestamp.type",
                                  .number = 8,
                                  .choices = { "CreateTime", "LogAppendTime" } },
    [SP_TOPIC_COMPRESSION_TYPE] = { .name = "compression.type",
                                    .number = 9,
                                    .choices = { "producer" },
                                    .refusal = "batches are kept as the producer made them" },
    [SP_TOPIC_TOMBSTONE_MS] = { .name = "delete.retention.ms",
                                .number = 10,
                                .default_value = 24 * 3600 * 1000,
                                .min = 0,
                                .max = TIME_MS_MAX },
    [SP_TOPIC_COMPACTION_LAG_MS] = { .name = "min.compaction.lag.ms",
                                     .number = 11,
                                     .min = 0,
                                     .max = TIME_MS_MAX },
};

const char *sp_topic_key_name(enum sp_topic_key key)
{
    return keys[key].name;
}

enum sp_topic_key sp_topic_key_find(struct sp_bytes name)
{
    for (unsigned i = 0; i < SP_TOPIC_KEY_COUNT; i++) {
        if (sp_bytes_equal_text(name, keys[i].name)) {
            return (enum sp_topic_key)i;
        }
    }
    return SP_TOPIC_KEY_COUNT;
}

int64_t sp_topic_config_value(const struct sp_topic_config *config, enum sp_topic_key key)
{
    return sp_topic_config_has(config, key) ? config->values[key] : keys[key].default_value;
}

bool sp_topic_config_compacts(const struct sp_topic_config *config)
{
    return sp_topic_config_value(config, SP_TOPIC_CLEANUP_POLICY) != SP_TOPIC_DELETE;
}

bool sp_topic_config_deletes(const struct sp_topic_config *config)
{
    return sp_topic_config_value(config, SP_TOPIC_CLEANUP_POLICY) != SP_TOPIC_COMPACT;
}

bool sp_topic_config_needs_compaction(const struct sp_topic_config *config, uint32_t unset)
{
    const uint32_t newer = 1U << SP_TOPIC_TOMBSTONE_MS | 1U << SP_TOPIC_COMPACTION_LAG_MS;

    return sp_topic_config_compacts(config) || ((config->set | unset) & newer) != 0;
}

/* ---- texts ----------------------------------------------------------------------------------- */

void sp_topic_value_print(enum sp_topic_key key, int64_t value, char *text, size_t size)
{
    if (keys[key].choices[0] != NULL) {
        bool known = value > 0 && value < CHOICES_MAX && keys[key].choices[value] != NULL;

        (void)snprintf(text, size, "%s", keys[key].choices[known ? value : 0]);
    } else {
        (void)snprintf(text, size, "%" PRId64, value);
    }
}

/* True if the value is one of the key's. */
static bool is_allowed(const struct key *key, int64_t value)
{
    if (key->choices[0] != NULL) {
        return value >= 0 && value < CHOICES_MAX && key->choices[value] != NULL;
    }
    return (value >= key->min && value <= key->max) ||
           (key->unlimited && value == SP_TOPIC_UNLIMITED);
}

static bool read_number(const struct key *key, struct sp_bytes text, int64_t *out_value)
{
    if (key->unlimited && sp_bytes_equal_text(text, "-1")) {
        *out_value = SP_TOPIC_UNLIMITED;
        return true;
    }
    return sp_quantity_read(
        sp_quantity_of(key->name), (const char *)text.bytes, text.size, out_value);
}

static bool read_choice(const struct key *key, struct sp_bytes text, int64_t *out_value)
{
    for (unsigned i = 0; i < CHOICES_MAX && key->choices[i] != NULL; i++) {
        if (sp_bytes_equal_text(text, key->choices[i])) {
            *out_value = i;
            return true;
        }
    }
    if (key->last_choice_too != NULL && sp_bytes_equal_text(text, key->last_choice_too)) {
        *out_value = CHOICES_MAX - 1;
        return true;
    }
    return false;
}

/* Bytes of a text in UTF-8 that are shown: whole characters. */
static int shown(struct sp_bytes text)
{
    size_t size = text.size > SHOWN_MAX ? SHOWN_MAX : text.size;

    while (size > 0 && size < text.size && (text.bytes[size] & 0xc0) == 0x80) {
        size -= 1;
    }
    return (int)size;
}

int sp_topic_key_refuse(struct sp_bytes name, char *text, size_t size)
{
    const char *names[SP_TOPIC_KEY_COUNT];
    char word[SHOWN_MAX + 1];

    for (unsigned i = 0; i < SP_TOPIC_KEY_COUNT; i++) {
        names[i] = keys[i].name;
    }
    (void)snprintf(word, sizeof word, "%.*s", shown(name), (const char *)name.bytes);
    const char *near = sp_nearest(word, names, SP_TOPIC_KEY_COUNT);
    int used = snprintf(text,
                        size,
                        "no setting `%s`: %s%s%sknown are",
                        word,
                        near != NULL ? "did you mean `" : "",
                        near != NULL ? near : "",
                        near != NULL ? "`? " : "");
    for (unsigned i = 0; i < SP_TOPIC_KEY_COUNT && used > 0 && (size_t)used < size; i++) {
        used += snprintf(text + used, size - (size_t)used, "%s %s", i > 0 ? "," : "", names[i]);
    }
    return SPATE_ERR_INVALID;
}

/* "delete, compact or compact,delete" */
static void print_choices(const struct key *key, char *text, size_t size)
{
    (void)snprintf(text,
                   size,
                   "%s%s%s%s%s",
                   key->choices[0],
                   key->choices[2] != NULL   ? ", "
                   : key->choices[1] != NULL ? " or "
                                             : "",
                   key->choices[1] != NULL ? key->choices[1] : "",
                   key->choices[2] != NULL ? " or " : "",
                   key->choices[2] != NULL ? key->choices[2] : "");
}

const char *sp_topic_key_choice(enum sp_topic_key key, unsigned place)
{
    return place < CHOICES_MAX ? keys[key].choices[place] : NULL;
}

static const char *example_of(const struct key *key)
{
    switch (sp_quantity_of(key->name)) {
    case SP_QUANTITY_MS:
        return "7d";
    case SP_QUANTITY_BYTES:
        return "1MiB";
    case SP_QUANTITY_COUNT:
        break;
    }
    return "1";
}

static int refuse_value(const struct key *key, struct sp_bytes value, char *text, size_t size)
{
    char choices[96];

    if (key->choices[0] != NULL) {
        print_choices(key, choices, sizeof choices);
        (void)snprintf(text,
                       size,
                       "%s must be %s, not `%.*s`%s%s",
                       key->name,
                       choices,
                       shown(value),
                       (const char *)value.bytes,
                       key->refusal != NULL ? ": " : "",
                       key->refusal != NULL ? key->refusal : "");
    } else {
        (void)snprintf(text,
                       size,
                       "%s cannot be `%.*s`: give a number from %" PRId64 " to %" PRId64
                       "%s%s; for example %s=%s",
                       key->name,
                       shown(value),
                       (const char *)value.bytes,
                       key->min,
                       key->max,
                       sp_quantity_form(sp_quantity_of(key->name)),
                       key->unlimited ? "; or -1 for no limit" : "",
                       key->name,
                       example_of(key));
    }
    return SPATE_ERR_INVALID;
}

/* A number with its unit where it has one. */
static void print_quantity(const struct key *key, int64_t number, char *text, size_t size)
{
    char quantity[SP_QUANTITY_TEXT_SIZE];

    if (sp_quantity_print(sp_quantity_of(key->name), number, quantity)) {
        (void)snprintf(text, size, "%s", quantity);
    } else {
        (void)snprintf(text, size, "%" PRId64, number);
    }
}

void sp_topic_key_explain(enum sp_topic_key number, struct sp_topic_key_text *out_text)
{
    const struct key *key = &keys[number];
    char min[SP_QUANTITY_TEXT_SIZE];
    char max[SP_QUANTITY_TEXT_SIZE];

    if (key->choices[0] != NULL) {
        print_choices(key, out_text->allowed, sizeof out_text->allowed);
        (void)snprintf(out_text->initial, sizeof out_text->initial, "%s", key->choices[0]);
        return;
    }
    print_quantity(key, key->min, min, sizeof min);
    print_quantity(key, key->max, max, sizeof max);
    (void)snprintf(out_text->allowed,
                   sizeof out_text->allowed,
                   "%s to %s%s",
                   min,
                   max,
                   key->unlimited ? ", or -1: no limit" : "");
    if (number == SP_TOPIC_SEGMENT_BYTES) {
        (void)snprintf(
            out_text->initial, sizeof out_text->initial, "storage.segment.bytes of each node");
    } else if (key->default_value == SP_TOPIC_UNLIMITED) {
        (void)snprintf(out_text->initial, sizeof out_text->initial, "-1: no limit");
    } else {
        print_quantity(key, key->default_value, out_text->initial, sizeof out_text->initial);
    }
}

int sp_topic_config_set(struct sp_topic_config *config,
                        struct sp_bytes name,
                        struct sp_bytes value,
                        char *text,
                        size_t text_size)
{
    enum sp_topic_key number = sp_topic_key_find(name);
    int64_t wanted = 0;

    if (number == SP_TOPIC_KEY_COUNT) {
        return sp_topic_key_refuse(name, text, text_size);
    }
    const struct key *key = &keys[number];
    bool readable = key->choices[0] != NULL ? read_choice(key, value, &wanted)
                                            : read_number(key, value, &wanted);
    if (!readable || !is_allowed(key, wanted)) {
        return refuse_value(key, value, text, text_size);
    }
    config->set |= 1U << number;
    config->values[number] = wanted;
    return 0;
}

/* ---- changes --------------------------------------------------------------------------------- */

void sp_topic_config_change(struct sp_topic_config *config,
                            const struct sp_topic_config *change,
                            uint32_t unset)
{
    for (unsigned i = 0; i < SP_TOPIC_KEY_COUNT; i++) {
        uint32_t bit = 1U << i;

        if ((unset & bit) != 0) {
            config->set &= ~bit;
            config->values[i] = 0;
        }
        if ((change->set & bit) != 0) {
            config->set |= bit;
            config->values[i] = change->values[i];
        }
    }
}

bool sp_topic_config_is_valid(const struct sp_topic_config *config)
{
    for (unsigned i = 0; i < SP_TOPIC_KEY_COUNT; i++) {
        if (sp_topic_config_has(config, (enum sp_topic_key)i) &&
            !is_allowed(&keys[i], config->values[i])) {
            return false;
        }
    }
    return true;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static unsigned count_bits(uint32_t bits)
{
    unsigned count = 0;

    for (; bits != 0; bits &= bits - 1) {
        count += 1;
    }
    return count;
}

bool sp_topic_config_is_plain(const struct sp_topic_config *config)
{
    return config->set == 0 || (config->set == 1U << SP_TOPIC_MESSAGE_BYTES_MAX &&
                                sp_topic_config_value(config, SP_TOPIC_MESSAGE_BYTES_MAX) !=
                                    keys[SP_TOPIC_MESSAGE_BYTES_MAX].default_value);
}

void sp_topic_config_pack(struct sp_pack *pack, const struct sp_topic_config *config)
{
    if (sp_topic_config_is_plain(config)) {
        sp_pack_int(pack, sp_topic_config_value(config, SP_TOPIC_MESSAGE_BYTES_MAX));
        return;
    }
    sp_pack_array(pack, 2 * (size_t)count_bits(config->set));
    for (unsigned i = 0; i < SP_TOPIC_KEY_COUNT; i++) {
        if (sp_topic_config_has(config, (enum sp_topic_key)i)) {
            sp_pack_uint(pack, keys[i].number);
            sp_pack_int(pack, config->values[i]);
        }
    }
}

void sp_topic_keys_pack(struct sp_pack *pack, uint32_t bits)
{
    sp_pack_array(pack, count_bits(bits));
    for (unsigned i = 0; i < SP_TOPIC_KEY_COUNT; i++) {
        if ((bits >> i & 1) != 0) {
            sp_pack_uint(pack, keys[i].number);
        }
    }
}

/* The next number as a key that is not yet in `seen`; SP_TOPIC_KEY_COUNT: the cursor has failed. */
static enum sp_topic_key read_key(struct sp_cursor *cursor, uint32_t seen)
{
    uint64_t number = sp_cursor_uint(cursor, UINT32_MAX);

    for (unsigned i = 0; i < SP_TOPIC_KEY_COUNT && sp_cursor_status(cursor) == 0; i++) {
        if (keys[i].number == number && (seen >> i & 1) == 0) {
            return (enum sp_topic_key)i;
        }
    }
    sp_cursor_fail(cursor, SPATE_ERR_INVALID);
    return SP_TOPIC_KEY_COUNT;
}

void sp_topic_config_read(struct sp_cursor *cursor, struct sp_topic_config *out_config)
{
    const enum sp_topic_key first = SP_TOPIC_MESSAGE_BYTES_MAX;

    *out_config = (struct sp_topic_config){ .set = 0 };
    if (sp_cursor_peek(cursor) == SP_CURSOR_INT) {
        int64_t bytes_max = sp_cursor_int(cursor, 0, UINT32_MAX);
        if (bytes_max != keys[first].default_value) {
            out_config->set = 1U << first;
            out_config->values[first] = bytes_max;
        }
        return;
    }
    uint32_t count = sp_cursor_array(cursor);
    if (count % 2 != 0) {
        sp_cursor_fail(cursor, SPATE_ERR_INVALID);
        return;
    }
    for (uint32_t i = 0; i < count / 2 && sp_cursor_status(cursor) == 0; i++) {
        enum sp_topic_key key = read_key(cursor, out_config->set);
        int64_t value = sp_cursor_int(cursor, INT64_MIN, INT64_MAX);
        if (key < SP_TOPIC_KEY_COUNT) {
            out_config->set |= 1U << key;
            out_config->values[key] = value;
        }
    }
}

uint32_t sp_topic_keys_read(struct sp_cursor *cursor)
{
    uint32_t count = sp_cursor_array(cursor);
    uint32_t bits = 0;

    for (uint32_t i = 0; i < count && sp_cursor_status(cursor) == 0; i++) {
        enum sp_topic_key key = read_key(cursor, bits);
        bits |= key < SP_TOPIC_KEY_COUNT ? 1U << key : 0;
    }
    return bits;
}
