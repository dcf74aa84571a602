#include "cluster/raft_guard_support.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "cluster/raft_guard.h"
#include "spate/error.h"

/* --- libraft's heap ---
 *
 * libraft frees the batch of received entries in some cases and even the caller's array when a
 * start fails. The hook knows both pointers, so that ownership stays where our headers say it is.
 * Where an allocation fails libraft sometimes frees twice, so from then on a step frees nothing at
 * all. */

static char unowned_batch;
static _Thread_local const void *borrowed_array;
static _Thread_local enum {
    OUTSIDE,
    STEPPING,
    STARVED
} phase;

static void *checked(void *pointer)
{
    if (pointer == NULL && phase == STEPPING) {
        phase = STARVED;
    }
    return pointer;
}

static void *heap_malloc(void *data, size_t size)
{
    (void)data;
    return checked(sp_mem_alloc(size));
}

static void heap_free(void *data, void *pointer)
{
    (void)data;
    if (pointer != &unowned_batch && pointer != borrowed_array && phase != STARVED) {
        sp_mem_free(pointer);
    }
}

static void *heap_calloc(void *data, size_t count, size_t size)
{
    (void)data;
    return checked(sp_mem_calloc(count, size));
}

static void *heap_realloc(void *data, void *pointer, size_t size)
{
    (void)data;
    return checked(sp_mem_realloc(pointer, size));
}

/* Only libraft's own disk layer, which we do not link, wants aligned memory. */
static void *heap_aligned_alloc(void *data, size_t alignment, size_t size)
{
    (void)data;
    (void)alignment;
    (void)size;
    return NULL;
}

static void heap_aligned_free(void *data, size_t alignment, void *pointer)
{
    (void)data;
    (void)alignment;
    SP_ASSERT(pointer == NULL);
}

static struct raft_heap heap = {
    .malloc = heap_malloc,
    .free = heap_free,
    .calloc = heap_calloc,
    .realloc = heap_realloc,
    .aligned_alloc = heap_aligned_alloc,
    .aligned_free = heap_aligned_free,
};

void sp_raft_guard_use_heap(void)
{
    enum {
        UNSET,
        SETTING,
        SET
    };
    static atomic_int progress;
    int expected = UNSET;

    if (atomic_compare_exchange_strong(&progress, &expected, SETTING)) {
        raft_heap_set(&heap);
        atomic_store(&progress, SET);
    }
    while (atomic_load(&progress) != SET) {
        /* Another thread is between the two lines above. */
    }
}

void *sp_raft_support_unowned_batch(void)
{
    return &unowned_batch;
}

void sp_raft_support_borrow(const void *array)
{
    borrowed_array = array;
}

void sp_raft_support_begin_step(void)
{
    SP_ASSERT(phase == OUTSIDE);
    phase = STEPPING;
}

bool sp_raft_support_end_step(void)
{
    bool starved = phase == STARVED;

    phase = OUTSIDE;
    return starved;
}

int sp_raft_support_translate(int raft_error)
{
    switch (raft_error) {
    case 0:
        return 0;
    case RAFT_NOMEM:
        return SPATE_ERR_NOMEM;
    case RAFT_NOTLEADER:
        return SPATE_ERR_NOT_LEADER;
    case RAFT_NOSPACE:
    case RAFT_BUSY:
    case RAFT_CANTCHANGE:
        return SPATE_ERR_BUSY;
    case RAFT_MALFORMED:
        return SPATE_ERR_MALFORMED;
    case RAFT_NOTFOUND:
        return SPATE_ERR_NOT_FOUND;
    case RAFT_BADID:
        return SPATE_ERR_INVALID;
    default: /* RAFT_SHUTDOWN: a committed entry is in conflict */
        return SPATE_ERR_INTERNAL;
    }
}

/* --- the trail --- */

static unsigned record_count(const struct raft_trail *trail)
{
    return trail->front <= trail->back ? trail->back - trail->front
                                       : trail->size - trail->front + trail->back;
}

static uint64_t record_last(const struct raft_trail *trail, unsigned i)
{
    return trail->records[(trail->front + i) % trail->size].index;
}

static uint64_t record_term(const struct raft_trail *trail, unsigned i)
{
    return trail->records[(trail->front + i) % trail->size].term;
}

static uint64_t record_first(const struct raft_trail *trail, unsigned i)
{
    return (i == 0 ? trail->offset : record_last(trail, i - 1)) + 1;
}

uint64_t sp_raft_support_last_index(const struct raft_trail *trail)
{
    unsigned count = record_count(trail);

    return count > 0 ? record_last(trail, count - 1) : trail->snapshot.index;
}

uint64_t sp_raft_support_term_at(const struct raft_trail *trail, uint64_t index)
{
    for (unsigned i = record_count(trail); i > 0 && index <= record_last(trail, i - 1); i--) {
        if (index >= record_first(trail, i - 1)) {
            return record_term(trail, i - 1);
        }
    }
    return index == trail->snapshot.index ? trail->snapshot.term : 0;
}

uint64_t sp_raft_support_back_to_term(const struct raft_trail *trail, uint64_t index, uint64_t term)
{
    bool below = trail->offset == trail->snapshot.index && trail->snapshot.term > term;
    uint64_t none = below && trail->offset > 0 ? trail->offset - 1 : trail->offset;

    for (unsigned i = record_count(trail); i > 0; i--) {
        if (record_first(trail, i - 1) <= index && record_term(trail, i - 1) <= term) {
            uint64_t last = record_last(trail, i - 1);
            return index < last ? index : last;
        }
    }
    return index < none ? index : none;
}

/* --- configurations --- */

int sp_raft_support_role(const struct raft_configuration *configuration, uint64_t id)
{
    for (unsigned i = 0; i < configuration->n; i++) {
        if (configuration->servers[i].id == id) {
            return configuration->servers[i].role;
        }
    }
    return -1;
}

unsigned sp_raft_support_voter_count(const struct raft_configuration *configuration)
{
    unsigned voters = 0;

    for (unsigned i = 0; i < configuration->n; i++) {
        voters += configuration->servers[i].role == RAFT_VOTER;
    }
    return voters;
}

int sp_raft_support_check_change(const struct raft_configuration *now,
                                 const struct raft_configuration *next,
                                 uint64_t self,
                                 struct sp_raft_support_change *out)
{
    unsigned changes = 0;
    uint64_t promoted_id = 0;

    for (unsigned i = 0; i < now->n; i++) {
        const struct raft_server *server = &now->servers[i];
        int role = sp_raft_support_role(next, server->id);

        if (role == server->role) {
            continue;
        }
        changes += 1;
        if (role == RAFT_VOTER && server->role == RAFT_STANDBY) {
            promoted_id = server->id;
        } else if (role != -1 || server->id == self) {
            return SPATE_ERR_INVALID;
        }
    }
    for (unsigned i = 0; i < next->n; i++) {
        if (sp_raft_support_role(now, next->servers[i].id) == -1) {
            changes += 1;
            if (next->servers[i].role != RAFT_STANDBY) {
                return SPATE_ERR_INVALID;
            }
        }
    }
    if (changes != 1 || next->n > SP_RAFT_GUARD_SERVERS_MAX ||
        sp_raft_support_voter_count(next) == 0) {
        return SPATE_ERR_INVALID;
    }
    out->promoted_id = promoted_id;
    return 0;
}

int sp_raft_guard_copy_configuration(const struct raft_configuration *from,
                                     struct raft_configuration *out)
{
    struct raft_configuration copy;

    sp_raft_guard_use_heap();
    raft_configuration_init(&copy);
    for (unsigned i = 0; i < from->n; i++) {
        const struct raft_server *server = &from->servers[i];
        if (raft_configuration_add(&copy, server->id, server->address, server->role) != 0) {
            raft_configuration_close(&copy);
            return SPATE_ERR_NOMEM;
        }
    }
    *out = copy;
    return 0;
}

/* libraft's encoding: version 1 (1 byte), count of servers (8, little-endian), then for each its id
 * (8), address (text with NUL), role (1); zeros up to a multiple of 8. */
struct cursor {
    const uint8_t *bytes;
    size_t size;
};

static bool take_u64(struct cursor *cursor, uint64_t *out)
{
    uint64_t value = 0;

    if (cursor->size < 8) {
        return false;
    }
    for (unsigned i = 0; i < 8; i++) {
        value |= (uint64_t)cursor->bytes[i] << (8 * i);
    }
    cursor->bytes += 8;
    cursor->size -= 8;
    *out = value;
    return true;
}

static bool take_server(struct cursor *cursor, struct raft_server *out)
{
    uint64_t id = 0;

    if (!take_u64(cursor, &id) || id == 0) {
        return false;
    }
    size_t length = strnlen((const char *)cursor->bytes, cursor->size);
    if (length + 2 > cursor->size || cursor->bytes[length + 1] > RAFT_VOTER) {
        return false;
    }
    out->id = id;
    out->address = (char *)(uintptr_t)cursor->bytes; /* only compared, never written */
    out->role = cursor->bytes[length + 1];
    cursor->bytes += length + 2;
    cursor->size -= length + 2;
    return true;
}

static bool is_duplicate(const struct raft_server *servers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (servers[i].id == servers[count].id ||
            strcmp(servers[i].address, servers[count].address) == 0) {
            return true;
        }
    }
    return false;
}

int sp_raft_guard_check_configuration(const struct raft_buffer *buffer)
{
    struct raft_server servers[SP_RAFT_GUARD_SERVERS_MAX];
    struct cursor cursor = { buffer->base, buffer->len };
    struct raft_configuration configuration = { servers, 0 };
    uint64_t count = 0;

    if (buffer->base == NULL || cursor.size < 1 || cursor.bytes[0] != 1) {
        return SPATE_ERR_MALFORMED;
    }
    cursor.bytes += 1;
    cursor.size -= 1;
    if (!take_u64(&cursor, &count) || count > SP_RAFT_GUARD_SERVERS_MAX) {
        return SPATE_ERR_MALFORMED;
    }
    for (; configuration.n < count; configuration.n++) {
        if (!take_server(&cursor, &servers[configuration.n]) ||
            is_duplicate(servers, configuration.n)) {
            return SPATE_ERR_MALFORMED;
        }
    }
    return sp_raft_support_voter_count(&configuration) > 0 ? 0 : SPATE_ERR_MALFORMED;
}
