#include "records.h"

#include <stdlib.h>
#include <string.h>

#include "spate/error.h"

/* The first and the last offset at which a replica has a record of a key. */
struct span {
    uint64_t key;
    int64_t first;
    int64_t last;
};

struct spans {
    struct span *items; /* by key */
    size_t count;
};

uint64_t jep_hash(uint64_t hash, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;

    hash ^= size + 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ at[i]) * 0x100000001b3u;
    }
    hash ^= hash >> 32;
    return hash * 0xbf58476d1ce4e5b9u;
}

int jep_records_add(struct jep_records *records, const struct jep_left *left)
{
    if (records->count == records->room) {
        size_t room = records->room == 0 ? 1024 : 2 * records->room;
        struct jep_left *grown = reallocarray(records->items, room, sizeof *grown);
        if (grown == NULL) {
            return SPATE_ERR_NOMEM;
        }
        records->items = grown;
        records->room = room;
    }
    records->items[records->count++] = *left;
    return 0;
}

static int by_key(const void *a, const void *b)
{
    const struct span *x = a;
    const struct span *y = b;

    if (x->key != y->key) {
        return x->key < y->key ? -1 : 1;
    }
    return x->first < y->first ? -1 : x->first > y->first;
}

static int make_spans(const struct jep_records *records, struct spans *out)
{
    struct span *items = calloc(records->count + 1, sizeof *items);
    size_t count = 0;

    if (items == NULL) {
        return SPATE_ERR_NOMEM;
    }
    for (size_t i = 0; i < records->count; i++) {
        const struct jep_left *left = &records->items[i];
        items[i] = (struct span){ left->key, left->offset, left->offset };
    }
    qsort(items, records->count, sizeof *items, by_key);
    for (size_t i = 0; i < records->count; i++) {
        if (count > 0 && items[count - 1].key == items[i].key) {
            items[count - 1].last = items[i].last;
        } else {
            items[count++] = items[i];
        }
    }
    *out = (struct spans){ items, count };
    return 0;
}

static int span_against_key(const void *key, const void *element)
{
    uint64_t wanted = *(const uint64_t *)key;
    uint64_t there = ((const struct span *)element)->key;

    return wanted < there ? -1 : wanted > there;
}

static const struct span *span_of(const struct spans *spans, uint64_t key)
{
    return bsearch(&key, spans->items, spans->count, sizeof spans->items[0], span_against_key);
}

static int left_against_offset(const void *key, const void *element)
{
    int64_t wanted = *(const int64_t *)key;
    int64_t there = ((const struct jep_left *)element)->offset;

    return wanted < there ? -1 : wanted > there;
}

static const struct jep_left *find(const struct jep_records *records, int64_t offset)
{
    return records->count == 0 ? NULL
                               : bsearch(&offset,
                                         records->items,
                                         records->count,
                                         sizeof records->items[0],
                                         left_against_offset);
}

static bool
may_lack(const struct spans *spans, size_t count, size_t lacking, const struct jep_left *left)
{
    const struct span *own = span_of(&spans[lacking], left->key);

    if (own != NULL && own->last > left->offset) {
        return true;
    }
    if (!left->tombstone) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const struct span *span = span_of(&spans[i], left->key);
        if (span != NULL && span->first < left->offset) {
            return false;
        }
    }
    return true;
}

int jep_records_compare(const struct jep_records *all, size_t count, jep_records_cb cb, void *arg)
{
    struct spans *spans = calloc(count, sizeof *spans);
    int rv = spans == NULL ? SPATE_ERR_NOMEM : 0;

    for (size_t i = 0; rv == 0 && i < count; i++) {
        rv = make_spans(&all[i], &spans[i]);
    }
    for (size_t pair = 0; rv == 0 && pair < count * count; pair++) {
        const struct jep_records *having = &all[pair / count];
        const struct jep_records *lacking = &all[pair % count];
        for (size_t i = 0; having != lacking && i < having->count; i++) {
            const struct jep_left *left = &having->items[i];
            if (left->offset < lacking->from || left->offset >= lacking->to) {
                continue;
            }
            const struct jep_left *there = find(lacking, left->offset);
            if (there == NULL ? !may_lack(spans, count, pair % count, left)
                              : there->hash != left->hash) {
                cb(arg, having, lacking, left, there != NULL);
            }
        }
    }
    for (size_t i = 0; spans != NULL && i < count; i++) {
        free(spans[i].items);
    }
    free(spans);
    return rv;
}
