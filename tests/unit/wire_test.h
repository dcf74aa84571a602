/* What the unit tests of wire/ share. */
#ifndef SP_UNIT_WIRE_TEST_H
#define SP_UNIT_WIRE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "spate/error.h"
#include "wire/bytes.h"

#define FAILURES_MAX 100 /* more allocations than any scenario makes */

static inline void check_bytes(struct sp_bytes bytes, const char *text)
{
    assert_non_null(bytes.bytes);
    assert_int_equal(bytes.size, strlen(text));
    assert_memory_equal(bytes.bytes, text, bytes.size);
}

static inline void check_null(struct sp_bytes bytes)
{
    assert_null(bytes.bytes);
}

/* A copy without a byte to spare, so that the address sanitizer sees every read beyond the end. */
static inline uint8_t *exact_copy(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);

    assert_non_null(copy);
    if (size > 0) {
        memcpy(copy, bytes, size);
    }
    return copy;
}

/* Runs `scenario` once per failing allocation until it succeeds: each time it must report NOMEM and
 * leave nothing behind. It must make at least `least` allocations. */
static inline void check_every_allocation(int (*scenario)(void), uint64_t least)
{
    uint64_t live = sp_mem_live_count();

    for (uint64_t n = 1; n < FAILURES_MAX; n++) {
        sp_mem_fail_at(n);
        int rv = scenario();
        sp_mem_fail_at(0);
        assert_int_equal(sp_mem_live_count(), live);
        if (rv == 0) {
            assert_true(n > least);
            return;
        }
        assert_int_equal(rv, SPATE_ERR_NOMEM);
    }
    fail_msg("the scenario never succeeded");
}

#endif /* SP_UNIT_WIRE_TEST_H */
