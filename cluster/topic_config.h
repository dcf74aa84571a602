/* The configuration of a topic: a table of keys, what is set on a topic, and what holds where
 * nothing is.
 *
 *   value in force = override, if the topic has one; else the default
 *
 * Values are whole numbers; choices are the number of the choice. Users read and write all of them
 * as texts. Pure. */
#ifndef SP_CLUSTER_TOPIC_CONFIG_H
#define SP_CLUSTER_TOPIC_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/cursor.h"
#include "wire/pack.h"

/* In the order of the table in topic_config.c; the numbers by which they are stored stand there. */
enum sp_topic_key {
    SP_TOPIC_MESSAGE_BYTES_MAX,
    SP_TOPIC_RETENTION_MS,
    SP_TOPIC_RETENTION_BYTES,
    SP_TOPIC_SEGMENT_BYTES,
    SP_TOPIC_SEGMENT_MS,
    SP_TOPIC_CLEANUP_POLICY,
    SP_TOPIC_DURABILITY,
    SP_TOPIC_TIMESTAMP_TYPE,
    SP_TOPIC_COMPRESSION_TYPE,
    SP_TOPIC_TOMBSTONE_MS, /* delete.retention.ms */
    SP_TOPIC_COMPACTION_LAG_MS,
    SP_TOPIC_KEY_COUNT,
};

/* Choices of SP_TOPIC_CLEANUP_POLICY. */
enum sp_topic_cleanup_policy {
    SP_TOPIC_DELETE,
    SP_TOPIC_COMPACT,
    SP_TOPIC_COMPACT_DELETE,
};

/* Choices of SP_TOPIC_TIMESTAMP_TYPE. */
enum sp_topic_timestamp_type {
    SP_TOPIC_CREATE_TIME,
    SP_TOPIC_LOG_APPEND_TIME,
};

#define SP_TOPIC_UNLIMITED (-1)

/* All zero: nothing is set. */
struct sp_topic_config {
    uint32_t set;                       /* bit 1 << key: the topic has an override */
    int64_t values[SP_TOPIC_KEY_COUNT]; /* 0 where it has none */
};

/* As users write it: "retention.ms". */
const char *sp_topic_key_name(enum sp_topic_key key);

/* The key of that name, or SP_TOPIC_KEY_COUNT. */
enum sp_topic_key sp_topic_key_find(struct sp_bytes name);

/* The value in force. SP_TOPIC_SEGMENT_BYTES without an override: 0, the node's own setting. */
int64_t sp_topic_config_value(const struct sp_topic_config *config, enum sp_topic_key key);

static inline bool sp_topic_config_has(const struct sp_topic_config *config, enum sp_topic_key key)
{
    return (config->set >> key & 1) != 0;
}

/* True if the policy in force keeps the latest record of each key; if it lets old records go. */
bool sp_topic_config_compacts(const struct sp_topic_config *config);
bool sp_topic_config_deletes(const struct sp_topic_config *config);

/* True if something is set that builds without compaction do not know. */
bool sp_topic_config_needs_compaction(const struct sp_topic_config *config, uint32_t unset);

/* Writes the text of a key's `value` as a user sees it. */
void sp_topic_value_print(enum sp_topic_key key, int64_t value, char *text, size_t size);

/* What people are told of a key. */
struct sp_topic_key_text {
    char allowed[96]; /* "1ms to 36600d, or -1: no limit" */
    char initial[64]; /* the default: "-1: no limit" */
};

/* One of the words that a key takes, from 0 on; NULL: there are no more, or it takes a number. */
const char *sp_topic_key_choice(enum sp_topic_key key, unsigned place);

/* What the key takes, and what it is without an override, for people. */
void sp_topic_key_explain(enum sp_topic_key key, struct sp_topic_key_text *out_text);

/* SPATE_ERR_INVALID, and a text that says that there is no such key, which may have been meant, and
 * which there are. */
int sp_topic_key_refuse(struct sp_bytes name, char *text, size_t size);

/* Sets an override from a user's texts. SPATE_ERR_INVALID: no such key, or a value that is not
 * allowed; `text` says which it was and what is. */
int sp_topic_config_set(struct sp_topic_config *config,
                        struct sp_bytes name,
                        struct sp_bytes value,
                        char *text,
                        size_t text_size);

/* Takes the overrides of `change` over and drops those whose bit is in `unset`. */
void sp_topic_config_change(struct sp_topic_config *config,
                            const struct sp_topic_config *change,
                            uint32_t unset);

/* True if every override is within its bounds. */
bool sp_topic_config_is_valid(const struct sp_topic_config *config);

/* True if nothing is set but max.message.bytes, so that it is stored in the form before there were
 * others. A default that was set explicitly counts as more. */
bool sp_topic_config_is_plain(const struct sp_topic_config *config);

/* Overrides as MessagePack: [number of the key, value, ...] in the order of the table; or, when
 * there is none but max.message.bytes, that number alone, the form before there were others. A
 * default that was set explicitly keeps the longer form. */
void sp_topic_config_pack(struct sp_pack *pack, const struct sp_topic_config *config);

/* Keys as [number, ...]. */
void sp_topic_keys_pack(struct sp_pack *pack, uint32_t keys);

/* Read them back; the cursor fails with SPATE_ERR_INVALID at an unknown number or one that comes
 * twice. Bounds are not checked. */
void sp_topic_config_read(struct sp_cursor *cursor, struct sp_topic_config *out_config);
uint32_t sp_topic_keys_read(struct sp_cursor *cursor);

#endif /* SP_CLUSTER_TOPIC_CONFIG_H */
