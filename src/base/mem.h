/* The one door to the heap: it counts what is alive, and can fail the n-th request in tests.
 *
 * All memory of Spate comes through here, so a test can prove that a module survives every failing
 * allocation and leaves nothing behind. Large pieces that are freed are kept for a while, within
 * bounds, and handed out again (base/kept.h): whoever streams touches no fresh pages. They are not
 * alive meanwhile. Any thread. */
#ifndef SP_BASE_MEM_H
#define SP_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

/* Memory of `size` bytes (at least 1), or NULL. The caller owns it and gives it to sp_mem_free. */
void *sp_mem_alloc(size_t size);

/* The same, zeroed, for `count` elements; NULL also when the product overflows. */
void *sp_mem_calloc(size_t count, size_t size);

/* Grows or shrinks. On NULL the old memory is untouched and still owned. `pointer` may be NULL. */
void *sp_mem_realloc(void *pointer, size_t size);

/* A copy of `text` with its NUL, or NULL. */
char *sp_mem_strdup(const char *text);

/* A copy of `size` bytes, or NULL. */
void *sp_mem_dup(const void *bytes, size_t size);

/* Gives memory back; NULL is fine. */
void sp_mem_free(void *pointer);

/* To be called about once a second while sp_mem_kept_bytes() is not 0, by whoever has a clock that
 * never goes back: frees the pieces that nobody used for SP_MEM_KEPT_MS. */
void sp_mem_age(uint64_t now_ms);

/* Frees all that is kept. */
void sp_mem_free_kept(void);

/* Gives the system back what is free or kept, which the allocator keeps otherwise. Takes
 * milliseconds after much was freed. */
void sp_mem_trim(void);

/* How many pieces are alive now. */
uint64_t sp_mem_live_count(void);

/* How many usable bytes are alive now, as the allocator rounds them. */
uint64_t sp_mem_live_bytes(void);

/* Bytes of pieces that are free and kept: at most SP_MEM_KEPT_BYTES_MAX. */
uint64_t sp_mem_kept_bytes(void);

/* Tests: let the n-th request from now (1 = the next) and only that one fail; 0 = none. */
void sp_mem_fail_at(uint64_t n);

#endif /* SP_BASE_MEM_H */
