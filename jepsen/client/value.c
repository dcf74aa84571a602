#include "value.h"

#include <stdio.h>
#include <string.h>

#define MAGIC 0x3150454au /* "JEP1" */

static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint64_t seed_of(const struct jep_name *name, size_t size)
{
    uint64_t seed = mix((uint64_t)name->client << 32 | name->partition);

    return mix(seed ^ ((uint64_t)name->sequence << 32 | (uint32_t)size));
}

void jep_value_make(const struct jep_name *name, uint8_t *out, size_t size)
{
    const uint32_t head[5] = {
        MAGIC, name->client, name->partition, name->sequence, (uint32_t)size,
    };
    uint64_t seed = seed_of(name, size);

    memcpy(out, head, sizeof head);
    for (size_t at = sizeof head; at < size; at += sizeof seed) {
        uint64_t word = mix(seed += 0x9e3779b97f4a7c15u);
        memcpy(out + at, &word, size - at < sizeof word ? size - at : sizeof word);
    }
}

size_t jep_key_make(const struct jep_name *name, uint32_t keys, char out[JEP_KEY_MAX])
{
    uint32_t number =
        keys == 0 ? name->sequence % JEP_KEYS
                  : jep_keyed_of(name->client, name->partition, name->sequence, keys).number;
    int size = snprintf(out, JEP_KEY_MAX, "%u.%u", name->client, number);

    return (size_t)size;
}

bool jep_is_tombstone(const struct jep_name *name, uint32_t keys)
{
    return keys > 0 && jep_keyed_of(name->client, name->partition, name->sequence, keys).tombstone;
}

/* The name that stands in a value, or in the header of a tombstone. */
static const char *read_name(const void *value, size_t size, struct jep_name *out_name)
{
    static uint8_t expected[JEP_VALUE_MAX];
    uint32_t head[5];

    if (value == NULL || size < sizeof head || size > sizeof expected) {
        return "size";
    }
    memcpy(head, value, sizeof head);
    *out_name = (struct jep_name){ .client = head[1], .partition = head[2], .sequence = head[3] };
    if (head[0] != MAGIC || head[4] != size) {
        return "head";
    }
    jep_value_make(out_name, expected, size);
    return memcmp(value, expected, size) == 0 ? NULL : "bytes";
}

const char *jep_record_check(const struct jep_record *record,
                             uint32_t partition,
                             uint32_t keys,
                             struct jep_name *out_name)
{
    char key[JEP_KEY_MAX];
    struct jep_name name;
    bool tombstone = record->value == NULL && keys > 0;
    const char *bad = tombstone ? read_name(record->name, record->name_size, &name)
                                : read_name(record->value, record->value_size, &name);

    if (bad != NULL) {
        return bad;
    }
    if (record->key == NULL || record->key_size != jep_key_make(&name, keys, key) ||
        memcmp(record->key, key, record->key_size) != 0) {
        return "key";
    }
    if (name.partition != partition) {
        return "partition";
    }
    if (tombstone != jep_is_tombstone(&name, keys) || tombstone != (record->name != NULL)) {
        return "tombstone";
    }
    *out_name = name;
    return NULL;
}
