#include "cluster/producer_names.h"

#include <string.h>

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "cluster/state_codec.h"
#include "spate/error.h"

struct entry {
    struct sp_producer_name shown;
    struct sp_list node;
};

struct sp_producer_names {
    struct sp_map *by_name; /* struct entry */
    struct sp_list by_age;  /* the longest unused first */
};

struct sp_producer_names *sp_producer_names_new(void)
{
    struct sp_producer_names *names = sp_mem_calloc(1, sizeof *names);

    if (names == NULL) {
        return NULL;
    }
    sp_list_init(&names->by_age);
    names->by_name = sp_map_new();
    if (names->by_name == NULL) {
        sp_mem_free(names);
        return NULL;
    }
    return names;
}

static void drop(struct sp_producer_names *names, struct entry *entry)
{
    (void)sp_map_remove(names->by_name, entry->shown.name, strlen(entry->shown.name));
    sp_list_remove(&entry->node);
    sp_mem_free(entry);
}

static struct entry *oldest(const struct sp_producer_names *names)
{
    return SP_LIST_ENTRY(names->by_age.next, struct entry, node);
}

void sp_producer_names_free(struct sp_producer_names *names)
{
    if (names == NULL) {
        return;
    }
    while (!sp_list_empty(&names->by_age)) {
        drop(names, oldest(names));
    }
    sp_map_free(names->by_name);
    sp_mem_free(names);
}

unsigned sp_producer_names_count(const struct sp_producer_names *names)
{
    return (unsigned)sp_map_count(names->by_name);
}

static struct entry *find(const struct sp_producer_names *names, const char *name)
{
    return sp_map_get(names->by_name, name, strlen(name));
}

const struct sp_producer_name *sp_producer_names_find(const struct sp_producer_names *names,
                                                      const char *name)
{
    const struct entry *entry = find(names, name);

    return entry == NULL ? NULL : &entry->shown;
}

static bool full(const struct sp_producer_names *names)
{
    return sp_map_count(names->by_name) >= SP_PRODUCER_NAMES_MAX;
}

int sp_producer_names_check(const struct sp_producer_names *names,
                            const char *name,
                            const char *layout,
                            int64_t append_time_ms)
{
    const struct entry *entry = find(names, name);

    if (entry != NULL && strcmp(entry->shown.layout, layout) != 0) {
        return SPATE_ERR_EXISTS;
    }
    if (entry != NULL) {
        return entry->shown.epoch == INT16_MAX ? SPATE_ERR_INVALID : 0;
    }
    if (full(names) &&
        oldest(names)->shown.taken_last_ms > append_time_ms - SP_PRODUCER_NAME_EXPIRY_MS) {
        return SPATE_ERR_BUSY;
    }
    return 0;
}

/* A new entry at the young end; NULL when memory is out. Its name must not be taken. */
static struct entry *add(struct sp_producer_names *names, const struct sp_producer_name *shown)
{
    struct entry *entry = sp_mem_calloc(1, sizeof *entry);

    if (entry == NULL) {
        return NULL;
    }
    entry->shown = *shown;
    if (sp_map_put(names->by_name, entry->shown.name, strlen(entry->shown.name), entry) != 0) {
        sp_mem_free(entry);
        return NULL;
    }
    sp_list_append(&names->by_age, &entry->node);
    return entry;
}

int sp_producer_names_take(struct sp_producer_names *names,
                           const struct sp_producer_name *wanted,
                           const struct sp_producer_name **out_taken)
{
    struct entry *entry = find(names, wanted->name);
    struct sp_producer_name first = *wanted;
    int rv = sp_producer_names_check(names, wanted->name, wanted->layout, wanted->taken_last_ms);

    if (rv != 0) {
        return rv;
    }
    if (entry == NULL) {
        first.epoch = 0;
        entry = add(names, &first);
        if (entry == NULL) {
            return SPATE_ERR_NOMEM;
        }
        if (sp_map_count(names->by_name) > SP_PRODUCER_NAMES_MAX) {
            drop(names, oldest(names)); /* unused for long, as was checked */
        }
    } else {
        entry->shown.epoch += 1;
        entry->shown.taken_last_ms = wanted->taken_last_ms;
        sp_list_remove(&entry->node);
        sp_list_append(&names->by_age, &entry->node);
    }
    *out_taken = &entry->shown;
    return 0;
}

/* ---- checkpoint ------------------------------------------------------------------------------ */

void sp_producer_names_encode(const struct sp_producer_names *names, struct sp_pack *pack)
{
    sp_pack_array(pack, sp_map_count(names->by_name));
    SP_LIST_EACH (node, &names->by_age) {
        const struct sp_producer_name *shown = &SP_LIST_ENTRY(node, struct entry, node)->shown;
        sp_pack_array(pack, 5);
        sp_pack_text(pack, shown->name);
        sp_pack_text(pack, shown->layout);
        sp_pack_uint(pack, shown->producer_id);
        sp_pack_int(pack, shown->epoch);
        sp_pack_int(pack, shown->taken_last_ms);
    }
}

static void
decode_one(struct sp_producer_names *names, uint64_t next_producer_id, struct sp_cursor *cursor)
{
    struct sp_producer_name shown = { .epoch = 0 };
    uint32_t count = sp_cursor_array(cursor);

    sp_state_text_read(cursor, shown.name, sizeof shown.name);
    sp_state_text_read(cursor, shown.layout, sizeof shown.layout);
    shown.producer_id = sp_cursor_uint(cursor, UINT64_MAX);
    shown.epoch = (int16_t)sp_cursor_int(cursor, 0, INT16_MAX);
    shown.taken_last_ms = sp_cursor_int(cursor, INT64_MIN, INT64_MAX);
    if (sp_cursor_status(cursor) != 0) {
        return;
    }
    if (count != 5 || shown.name[0] == '\0' || shown.producer_id >= next_producer_id ||
        full(names) || find(names, shown.name) != NULL) {
        sp_cursor_fail(cursor, SPATE_ERR_INVALID);
    } else if (add(names, &shown) == NULL) {
        sp_cursor_fail(cursor, SPATE_ERR_NOMEM);
    }
}

void sp_producer_names_decode(struct sp_producer_names *names,
                              uint64_t next_producer_id,
                              struct sp_cursor *cursor)
{
    uint32_t count = sp_cursor_array(cursor);

    for (uint32_t i = 0; i < count && sp_cursor_status(cursor) == 0; i++) {
        decode_one(names, next_producer_id, cursor);
    }
}
