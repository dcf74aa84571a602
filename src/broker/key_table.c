/* Open addressing with linear probing; at most three quarters are filled. */
#include "broker/key_table.h"

#include "base/mem.h"
#include "base/siphash.h"

#define SLOTS_MIN 16
#define SLOTS_FIRST 1024 /* most passes have few keys, and memory that is fresh costs time */

struct slot {
    struct sp_siphash hash;
    int64_t end; /* the offset plus 1; 0: empty */
};

struct sp_key_table {
    uint64_t secret[2];
    size_t mask; /* slots less 1 */
    size_t count;
    size_t slots_max;
    struct slot *slots;
};

static size_t keys_in(size_t slots)
{
    return slots / 4 * 3;
}

struct sp_key_table *sp_key_table_new(size_t bytes_max, const uint64_t secret[2])
{
    struct sp_key_table *table = sp_mem_calloc(1, sizeof *table);

    if (table == NULL) {
        return NULL;
    }
    table->slots_max = SLOTS_MIN;
    while (table->slots_max <= bytes_max / sizeof(struct slot) / 2) {
        table->slots_max *= 2;
    }
    size_t slots = table->slots_max < SLOTS_FIRST ? table->slots_max : SLOTS_FIRST;
    table->secret[0] = secret[0];
    table->secret[1] = secret[1];
    table->mask = slots - 1;
    table->slots = sp_mem_calloc(slots, sizeof table->slots[0]);
    if (table->slots == NULL) {
        sp_mem_free(table);
        return NULL;
    }
    return table;
}

void sp_key_table_free(struct sp_key_table *table)
{
    if (table != NULL) {
        sp_mem_free(table->slots);
        sp_mem_free(table);
    }
}

size_t sp_key_table_capacity(const struct sp_key_table *table)
{
    return keys_in(table->slots_max);
}

size_t sp_key_table_count(const struct sp_key_table *table)
{
    return table->count;
}

/* The key's slot, or the empty one where it would stand: there always is one. */
static struct slot *find(const struct sp_key_table *table, const struct sp_siphash *hash)
{
    size_t at = (size_t)hash->low & table->mask;

    while (table->slots[at].end != 0 &&
           (table->slots[at].hash.low != hash->low || table->slots[at].hash.high != hash->high)) {
        at = (at + 1) & table->mask;
    }
    return &table->slots[at];
}

/* False: it is as large as it may be, or memory is out. */
static bool grow(struct sp_key_table *table)
{
    struct slot *old = table->slots;
    size_t old_count = table->mask + 1;

    if (old_count >= table->slots_max) {
        return false;
    }
    struct slot *slots = sp_mem_calloc(2 * old_count, sizeof *slots);
    if (slots == NULL) {
        return false;
    }
    table->slots = slots;
    table->mask = 2 * old_count - 1;
    for (size_t i = 0; i < old_count; i++) {
        if (old[i].end != 0) {
            *find(table, &old[i].hash) = old[i];
        }
    }
    sp_mem_free(old);
    return true;
}

bool sp_key_table_note(struct sp_key_table *table, struct sp_bytes key, int64_t offset)
{
    struct sp_siphash hash = sp_siphash(table->secret, key.bytes, key.size);
    struct slot *slot = find(table, &hash);

    if (slot->end == 0) {
        if (table->count == keys_in(table->mask + 1)) {
            if (!grow(table)) {
                return false;
            }
            slot = find(table, &hash);
        }
        table->count += 1;
        slot->hash = hash;
    }
    slot->end = offset + 1;
    return true;
}

int64_t sp_key_table_latest(const struct sp_key_table *table, struct sp_bytes key)
{
    struct sp_siphash hash = sp_siphash(table->secret, key.bytes, key.size);

    return find(table, &hash)->end - 1;
}
