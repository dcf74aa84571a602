/* The door to the heap: malloc with two counters and a test switch. */
#include "base/mem.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

static atomic_uint_least64_t live_count;
static atomic_uint_least64_t live_bytes;
static atomic_uint_least64_t requests_until_failure; /* 0: none will be failed */

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

static void *count_in(void *pointer)
{
    if (pointer != NULL) {
        atomic_fetch_add_explicit(&live_count, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&live_bytes, malloc_usable_size(pointer), memory_order_relaxed);
    }
    return pointer;
}

void *sp_mem_alloc(size_t size)
{
    SP_ASSERT(size > 0);
    if (must_fail()) {
        return NULL;
    }
    return count_in(malloc(size));
}

void *sp_mem_calloc(size_t count, size_t size)
{
    SP_ASSERT(count > 0);
    SP_ASSERT(size > 0);
    if (must_fail() || count > SIZE_MAX / size) {
        return NULL;
    }
    return count_in(calloc(count, size));
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
    void *moved = realloc(pointer, size);
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
    atomic_fetch_sub_explicit(&live_count, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&live_bytes, malloc_usable_size(pointer), memory_order_relaxed);
    free(pointer);
}

void sp_mem_trim(void)
{
    (void)malloc_trim(0); /* nothing to give back is fine */
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
