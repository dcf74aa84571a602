/* Large pieces of memory that were freed and wait to be used again: fresh pages cost several times
 * what is done with their bytes.
 *
 *   size class c:  64 KiB * 2^(c / 16) * (1 + c % 16 / 16)        up to 16 MiB
 *
 *   take: any piece of the class of the size, or of the next one
 *   put:  a free slot of its class, while all pieces stay below SP_MEM_KEPT_BYTES_MAX
 *   age:  who was not taken for one to two periods is given out to be freed
 *
 * Holds pieces, never asks for one: base/mem does. Any thread, without locks: a slot changes by one
 * atomic exchange, and who has exchanged a piece out of it owns it. */
#ifndef SP_BASE_KEPT_H
#define SP_BASE_KEPT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_KEPT_SIZE_MIN ((size_t)64 * 1024)
#define SP_KEPT_SIZE_MAX ((size_t)16 * 1024 * 1024) /* answers of 8 MiB with what is around them */
#define SP_KEPT_CLASSES (8 * 16 + 1)
#define SP_KEPT_SLOTS 8 /* of a class: three answers of two partitions */

/* All zero to begin with. */
struct sp_kept {
    _Atomic(void *) slots[SP_KEPT_CLASSES][SP_KEPT_SLOTS];
    atomic_uint_least64_t bytes;
    atomic_uint_least64_t period; /* counts up, begins at 0 */
    atomic_uint_least64_t aged_ms;
};

/* `size` rounded up to its class, a sixteenth at most; others than SP_KEPT_SIZE_MIN to
 * SP_KEPT_SIZE_MAX stay. */
size_t sp_kept_round(size_t size);

/* A piece of at least `size` bytes, and *out_size that it was put with, or NULL. The caller owns
 * it. */
void *sp_kept_take(struct sp_kept *kept, size_t size, size_t *out_size);

/* Takes a piece that has `size` bytes; false: the caller still owns it. */
bool sp_kept_put(struct sp_kept *kept, void *piece, size_t size);

/* Begins a period if the last one is SP_MEM_KEPT_MS old. True: there may be pieces to give out. */
bool sp_kept_age(struct sp_kept *kept, uint64_t now_ms);

/* The next piece of class `*place` (0 to begin with) or a later one that nobody took for a whole
 * period, or any if `all`; NULL: no more. The caller owns it. */
void *sp_kept_give(struct sp_kept *kept, bool all, unsigned *place);

#endif /* SP_BASE_KEPT_H */
