/* A log on a real directory, whose machine is a sum. Included once, by one test. */
#ifndef SP_UNIT_KEPT_LOG_H
#define SP_UNIT_KEPT_LOG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/file.h"
#include "spate/error.h"
#include "storage/checkpoint.h"
#include "storage/log.h"
#include "tests/lib/test_store.h"

#define GROUP_ID 1

/* ---- in a log -------------------------------------------------------------------------------- */

static inline int setup(void **state)
{
    return test_store_setup(state, 8 * 1024);
}

static inline void append(struct test_log *log, int count)
{
    for (int i = 0; i < count; i++) {
        test_log_batch(log, 1, 1, 1000, 100 + i);
    }
}

/* Writes every checkpoint that is wanted, with the index as the machine's state. */
static inline unsigned write_checkpoints(struct test_log *log)
{
    unsigned count = 0;

    for (uint64_t index = sp_log_checkpoint_wanted(log->log); index != 0;
         index = sp_log_checkpoint_wanted(log->log)) {
        char machine[32];
        int size = snprintf(machine, sizeof machine, "state at %llu", (unsigned long long)index);

        assert_int_equal(sp_log_checkpoint_write(log->log, (const uint8_t *)machine, (size_t)size),
                         0);
        count += 1;
    }
    return count;
}

static inline void check_state(struct test_log *log)
{
    char expected[32];
    const uint8_t *bytes = NULL;
    size_t size = 0;

    (void)snprintf(expected,
                   sizeof expected,
                   "state at %llu",
                   (unsigned long long)sp_log_checkpoint_index(log->log));
    sp_log_checkpoint_state(log->log, &bytes, &size);
    assert_int_equal(size, strlen(expected));
    assert_memory_equal(bytes, expected, size);
}

#endif /* SP_UNIT_KEPT_LOG_H */
