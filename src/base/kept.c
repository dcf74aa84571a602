/* Slots of free pieces by size class. */
#include "base/kept.h"

#include "base/assert.h"
#include "base/limits.h"

enum {
    STEPS = 16, /* of a doubling */
};

/* What stands in a piece while nobody uses it. */
struct piece {
    size_t size;
    uint64_t period; /* in which it was put */
};

_Static_assert(sizeof(struct piece) <= SP_KEPT_SIZE_MIN, "a piece holds its own description");
_Static_assert(SP_KEPT_SIZE_MIN << (SP_KEPT_CLASSES / STEPS) == SP_KEPT_SIZE_MAX,
               "the last class is the largest size");

static size_t class_size(unsigned number)
{
    size_t base = SP_KEPT_SIZE_MIN << (number / STEPS);

    return base + base / STEPS * (number % STEPS);
}

/* The largest class of at most `size` bytes. */
static unsigned class_below(size_t size)
{
    unsigned doublings = 0;

    SP_ASSERT(size >= SP_KEPT_SIZE_MIN);
    while (doublings < SP_KEPT_CLASSES / STEPS && size >= SP_KEPT_SIZE_MIN << (doublings + 1)) {
        doublings += 1;
    }
    size_t base = SP_KEPT_SIZE_MIN << doublings;
    unsigned number = doublings * STEPS + (unsigned)((size - base) / (base / STEPS));
    return number < SP_KEPT_CLASSES ? number : SP_KEPT_CLASSES - 1;
}

/* The smallest class of at least `size` bytes. */
static unsigned class_above(size_t size)
{
    unsigned number = class_below(size);

    return class_size(number) < size ? number + 1 : number;
}

static bool fits(size_t size)
{
    return size >= SP_KEPT_SIZE_MIN && size <= SP_KEPT_SIZE_MAX;
}

size_t sp_kept_round(size_t size)
{
    return fits(size) ? class_size(class_above(size)) : size;
}

static struct piece *take_slot(struct sp_kept *kept, _Atomic(void *) *slot)
{
    if (atomic_load_explicit(slot, memory_order_relaxed) == NULL) {
        return NULL;
    }
    struct piece *piece = atomic_exchange_explicit(slot, NULL, memory_order_acquire);
    if (piece != NULL) {
        atomic_fetch_sub_explicit(&kept->bytes, piece->size, memory_order_relaxed);
    }
    return piece;
}

static bool put_slot(_Atomic(void *) *slot, struct piece *piece)
{
    void *none = NULL;

    return atomic_compare_exchange_strong_explicit(
        slot, &none, piece, memory_order_release, memory_order_relaxed);
}

void *sp_kept_take(struct sp_kept *kept, size_t size, size_t *out_size)
{
    if (!fits(size)) {
        return NULL;
    }
    unsigned first = class_above(size);
    for (unsigned number = first; number < SP_KEPT_CLASSES && number <= first + 1; number++) {
        for (unsigned i = 0; i < SP_KEPT_SLOTS; i++) {
            struct piece *piece = take_slot(kept, &kept->slots[number][i]);
            if (piece != NULL) {
                *out_size = piece->size;
                return piece;
            }
        }
    }
    return NULL;
}

/* Puts it into the first free slot, so that those in front are in use and those behind grow old. */
static bool put_piece(struct sp_kept *kept, struct piece *piece)
{
    unsigned number = class_below(piece->size);
    size_t size = piece->size; /* it is another's once it is in the slot */

    uint64_t bytes = atomic_fetch_add_explicit(&kept->bytes, size, memory_order_relaxed);
    for (unsigned i = 0; i < SP_KEPT_SLOTS && bytes + size <= SP_MEM_KEPT_BYTES_MAX; i++) {
        if (put_slot(&kept->slots[number][i], piece)) {
            return true;
        }
    }
    atomic_fetch_sub_explicit(&kept->bytes, size, memory_order_relaxed);
    return false;
}

bool sp_kept_put(struct sp_kept *kept, void *memory, size_t size)
{
    struct piece *piece = memory;

    if (size < SP_KEPT_SIZE_MIN || size > SP_KEPT_SIZE_MAX + SP_KEPT_SIZE_MAX / STEPS) {
        return false;
    }
    *piece = (struct piece){
        .size = size,
        .period = atomic_load_explicit(&kept->period, memory_order_relaxed),
    };
    return put_piece(kept, piece);
}

bool sp_kept_age(struct sp_kept *kept, uint64_t now_ms)
{
    uint_least64_t aged_ms = atomic_load_explicit(&kept->aged_ms, memory_order_relaxed);

    if (now_ms < aged_ms + SP_MEM_KEPT_MS ||
        !atomic_compare_exchange_strong(&kept->aged_ms, &aged_ms, now_ms)) {
        return false; /* another thread was here just now */
    }
    atomic_fetch_add_explicit(&kept->period, 1, memory_order_relaxed);
    return atomic_load_explicit(&kept->bytes, memory_order_relaxed) > 0;
}

void *sp_kept_give(struct sp_kept *kept, bool all, unsigned *place)
{
    uint64_t period = atomic_load_explicit(&kept->period, memory_order_relaxed);

    for (; *place < SP_KEPT_CLASSES * SP_KEPT_SLOTS; *place += 1) {
        struct piece *piece =
            take_slot(kept, &kept->slots[*place / SP_KEPT_SLOTS][*place % SP_KEPT_SLOTS]);
        if (piece == NULL) {
            continue;
        }
        if (all || piece->period + 1 < period || !put_piece(kept, piece)) {
            return piece;
        }
    }
    return NULL;
}
