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

size_t jep_key_make(const struct jep_name *name, char out[JEP_KEY_MAX])
{
    int size = snprintf(out, JEP_KEY_MAX, "%u.%u", name->client, name->sequence % JEP_KEYS);

    return (size_t)size;
}

const char *jep_record_check(const void *key,
                             size_t key_size,
                             const void *value,
                             size_t value_size,
                             uint32_t partition,
                             struct jep_name *out_name)
{
    static uint8_t expected[JEP_VALUE_MAX];
    char expected_key[JEP_KEY_MAX];
    uint32_t head[5];

    if (value == NULL || value_size < sizeof head || value_size > sizeof expected) {
        return "size";
    }
    memcpy(head, value, sizeof head);
    struct jep_name name = { .client = head[1], .partition = head[2], .sequence = head[3] };
    if (head[0] != MAGIC || head[4] != value_size) {
        return "head";
    }
    jep_value_make(&name, expected, value_size);
    if (memcmp(value, expected, value_size) != 0) {
        return "bytes";
    }
    if (key == NULL || key_size != jep_key_make(&name, expected_key) ||
        memcmp(key, expected_key, key_size) != 0) {
        return "key";
    }
    if (name.partition != partition) {
        return "partition";
    }
    *out_name = name;
    return NULL;
}
