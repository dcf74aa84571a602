/* The door to the heap: malloc with two counters, a test switch and large pieces for reuse. */
#include "base/mem.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/attr.h"
#include "base/kept.h"

static atomic_uint_least64_t live_count;
static atomic_uint_least64_t live_bytes;
static atomic_uint_least64_t requests_until_failure; /* 0: none will be failed */
static struct sp_kept kept;

/* Counts one request and says whether it is the one that must fail. */
static bool must_fail(void)
{
    uint_least64_t left = atomic_load_explicit(&requests_until_failure, memory_order_relaxed);

    while (left != 0) {
        if (atomic_compare_exchange_weak(&requests_until_failure, &left, left - 1)) {
            return left == 1;
        }
    }
    return false;
}

static void *count_in(void *pointer, size_t size)
{
    if (pointer != NULL) {
        atomic_fetch_add_explicit(&live_count, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&live_bytes, size, memory_order_relaxed);
    }
    return pointer;
}

static void count_out(size_t size)
{
    atomic_fetch_sub_explicit(&live_count, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&live_bytes, size, memory_order_relaxed);
}

/* Under AddressSanitizer nothing is rounded and nothing is kept, so that it sees each byte beyond
 * the size, and each use of what was freed. */
static size_t room_for(size_t size)
{
    return SP_ADDRESS_SANITIZED ? size : sp_kept_round(size);
}

static void give_back(void *pointer, size_t size)
{
    if (SP_ADDRESS_SANITIZED || !sp_kept_put(&kept, pointer, size)) {
        free(pointer);
    }
}

static void *allocate(size_t size)
{
    size_t kept_size = 0;
    void *pointer = sp_kept_take(&kept, size, &kept_size);

    if (pointer != NULL) {
        return count_in(pointer, kept_size);
    }
    pointer = malloc(room_for(size));
    return count_in(pointer, malloc_usable_size(pointer));
}

void *sp_mem_alloc(size_t size)
{
    SP_ASSERT(size > 0);
    return must_fail() ? NULL : allocate(size);
}

void *sp_mem_calloc(size_t count, size_t size)
{
    SP_ASSERT(count > 0);
    SP_ASSERT(size > 0);
    if (must_fail() || count > SIZE_MAX / size) {
        return NULL;
    }
    void *pointer = calloc(count, size);
    return count_in(pointer, malloc_usable_size(pointer));
}

/* Growing into a kept piece costs a copy, into fresh pages more than that. */
static void *grow_into_kept(void *pointer, size_t old_size, size_t size)
{
    size_t kept_size = 0;
    void *moved = size > old_size ? sp_kept_take(&kept, size, &kept_size) : NULL;

    if (moved != NULL) {
        (void)count_in(moved, kept_size);
        memcpy(moved, pointer, old_size);
        count_out(old_size);
        give_back(pointer, old_size);
    }
    return moved;
}

void *sp_mem_realloc(void *pointer, size_t size)
{
    SP_ASSERT(size > 0);
    if (pointer == NULL) {
        return sp_mem_alloc(size);
    }
    if (must_fail()) {
        return NULL;
    }
    size_t old_size = malloc_usable_size(pointer);
    void *moved = grow_into_kept(pointer, old_size, size);
    if (moved != NULL) {
        return moved;
    }
    moved = realloc(pointer, room_for(size));
    if (moved == NULL) {
        return NULL;
    }
    atomic_fetch_add_explicit(&live_bytes, malloc_usable_size(moved), memory_order_relaxed);
    atomic_fetch_sub_explicit(&live_bytes, old_size, memory_order_relaxed);
    return moved;
}

char *sp_mem_strdup(const char *text)
{
    return sp_mem_dup(text, strlen(text) + 1);
}

void *sp_mem_dup(const void *bytes, size_t size)
{
    void *copy = sp_mem_alloc(size > 0 ? size : 1);

    if (copy != NULL && size > 0) {
        memcpy(copy, bytes, size);
    }
    return copy;
}

void sp_mem_free(void *pointer)
{
    if (pointer == NULL) {
        return;
    }
    size_t size = malloc_usable_size(pointer);
    count_out(size);
    give_back(pointer, size);
}

static void free_kept(bool all)
{
    unsigned place = 0;
    void *piece;

    while ((piece = sp_kept_give(&kept, all, &place)) != NULL) {
        free(piece);
    }
}

void sp_mem_age(uint64_t now_ms)
{
    if (sp_kept_age(&kept, now_ms)) {
        free_kept(false);
    }
}

void sp_mem_free_kept(void)
{
    free_kept(true);
}

void sp_mem_trim(void)
{
    free_kept(true);
    (void)malloc_trim(0); /* nothing to give back is fine */
}

uint64_t sp_mem_kept_bytes(void)
{
    return atomic_load_explicit(&kept.bytes, memory_order_relaxed);
}

uint64_t sp_mem_live_count(void)
{
    return atomic_load_explicit(&live_count, memory_order_relaxed);
}

uint64_t sp_mem_live_bytes(void)
{
    return atomic_load_explicit(&live_bytes, memory_order_relaxed);
}

void sp_mem_fail_at(uint64_t n)
{
    atomic_store(&requests_until_failure, n);
}
