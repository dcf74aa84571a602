/* Every allocation fails once: the guard says so, stops where it must, and nothing is touched
 * twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/mem.h"
#include "raft_bare.h"
#include "raft_host.h"
#include "spate/error.h"

#define ALLOCATIONS_MAX 200

/* After a failed allocation the rest of that step frees nothing, on purpose; sp_mem_live_count
 * shows below that a life without failures leaves nothing behind. */
SP_EXPORT const char *__lsan_default_suppressions(void);
SP_EXPORT const char *__lsan_default_suppressions(void)
{
    return "leak:sp_mem_";
}

/* What a life needs from outside, made before allocations fail. */
struct supplies {
    struct raft_configuration three;
    struct raft_configuration four;
    struct raft_buffer three_bytes;
    struct raft_buffer four_bytes;
};

static void make_supplies(struct supplies *supplies)
{
    sp_raft_guard_use_heap();
    mask_decode(0x111, &supplies->three);
    mask_decode(0x2111, &supplies->four);
    assert_int_equal(raft_configuration_encode(&supplies->three, &supplies->three_bytes), 0);
    assert_int_equal(raft_configuration_encode(&supplies->four, &supplies->four_bytes), 0);
}

static void free_supplies(struct supplies *supplies)
{
    raft_configuration_close(&supplies->three);
    raft_configuration_close(&supplies->four);
    raft_free(supplies->three_bytes.base);
    raft_free(supplies->four_bytes.base);
}

static int on_update(void *arg, const struct raft_event *event, const struct raft_update *update)
{
    (void)arg;
    (void)event;
    (void)update;
    return 0;
}

static void
on_send(void *arg, const struct raft_message *message, const struct sp_raft_guard_stamp *stamp)
{
    (void)arg;
    (void)message;
    (void)stamp;
}

static int begin(struct sp_raft_guard *guard, const struct supplies *supplies)
{
    struct raft_entry entries[] = {
        { .term = 1, .type = RAFT_CHANGE, .buf = supplies->three_bytes },
        { .term = 2, .type = RAFT_COMMAND }
    };
    struct sp_raft_guard_start start = {
        .term = 2, .start_index = 1, .entries = entries, .entry_count = 2
    };
    bool changed = false;

    int rv = sp_raft_guard_plan_start(guard, &start, &changed);
    return rv != 0 ? rv : sp_raft_guard_start(guard, 1000, &start);
}

/* Follows, learns a change, loses it again, and installs a snapshot. */
static int follow(struct sp_raft_guard *guard, const struct supplies *supplies)
{
    struct raft_entry change = { .term = 3, .type = RAFT_CHANGE, .buf = supplies->four_bytes };
    struct raft_entry other = { .term = 4, .type = RAFT_COMMAND };
    struct sp_raft_guard_append append = {
        .term = 3, .prev_index = 2, .prev_term = 2, .entries = &change, .entry_count = 1
    };
    struct sp_raft_guard_append truncate = {
        .term = 4, .prev_index = 2, .prev_term = 2, .entries = &other, .entry_count = 1
    };
    struct sp_raft_guard_install install = { .term = 4,
                                             .last_index = 20,
                                             .last_term = 4,
                                             .configuration_index = 1,
                                             .configuration = &supplies->three };
    struct raft_snapshot_metadata metadata = {
        .index = 20, .term = 4, .configuration = supplies->three, .configuration_index = 1
    };

    int rv = sp_raft_guard_receive_append(guard, 1010, 2, &append);
    if (rv == 0) {
        rv = sp_raft_guard_receive_append(guard, 1020, 3, &truncate);
    }
    if (rv == 0) {
        rv = sp_raft_guard_persisted(guard, 1030, 3);
    }
    if (rv == 0) {
        rv = sp_raft_guard_receive_install(guard, 1040, 3, &install);
    }
    if (rv == 0) {
        rv = sp_raft_guard_persisted_snapshot(guard, 1050, &metadata);
    }
    return rv;
}

/* Is elected, submits, changes the configuration, commits it and moves its floor. */
static int lead(struct sp_raft_guard *guard, const struct supplies *supplies)
{
    struct raft_entry entry = { .type = RAFT_COMMAND };
    struct raft_request_vote_result granted = { .term = 5, .vote_granted = true, .pre_vote = true };
    struct sp_raft_guard_append_result stored = { .term = 5, .request_term = 5 };
    struct raft_snapshot_metadata metadata = { .index = 21,
                                               .configuration = supplies->three,
                                               .configuration_index = 1 };

    int rv = sp_raft_guard_timeout(guard, 9000);
    if (rv == 0) {
        rv = sp_raft_guard_receive_vote_result(guard, 9010, 2, &granted);
    }
    granted.pre_vote = false;
    if (rv == 0) {
        rv = sp_raft_guard_receive_vote_result(guard, 9020, 2, &granted);
    }
    for (unsigned i = 0; i < 2 && rv == 0; i++) {
        int refused = i == 0 ? sp_raft_guard_submit(guard, 9030, &entry, 1)
                             : sp_raft_guard_change(guard, 9030, &supplies->four);
        assert_true(refused == 0 || refused == SPATE_ERR_NOMEM || refused == SPATE_ERR_AGAIN);
        rv = guard->failed;
        stored.last_index = raft_last_index(&guard->raft);
        if (rv == 0) {
            rv = sp_raft_guard_persisted(guard, 9040, stored.last_index);
        }
        if (rv == 0) {
            rv = sp_raft_guard_receive_append_result(guard, 9050, 2, &stored);
        }
    }
    if (rv == 0) {
        rv = sp_raft_guard_snapshot(guard, 9060, &metadata, 0);
    }
    return rv;
}

/* A whole life while allocation number `n` fails (0: none). True if it did fail. */
static bool live(const struct supplies *supplies, uint64_t n)
{
    const struct sp_raft_guard_options options = {
        .id = 1,
        .seed = 1,
        .election_timeout_ms = 1000,
        .heartbeat_ms = 100,
        .install_timeout_ms = 1000,
        .window_entries = 32,
        .pre_vote = true,
        .host = { NULL, on_update, on_send },
    };
    struct sp_raft_guard guard;

    sp_mem_fail_at(n);
    int rv = sp_raft_guard_init(&guard, &options);
    if (rv != 0) {
        assert_int_equal(rv, SPATE_ERR_NOMEM);
        return true;
    }
    rv = begin(&guard, supplies);
    if (rv == 0) {
        rv = follow(&guard, supplies);
    }
    if (rv == 0) {
        rv = lead(&guard, supplies);
    }
    sp_mem_fail_at(0);
    assert_true(rv == 0 || rv == SPATE_ERR_NOMEM);
    if (n == 0) {
        assert_int_equal(rv, 0);
        assert_int_equal(guard.raft.configuration.n, 4);
        assert_int_equal(guard.raft.configuration_uncommitted_index, 0);
    }
    sp_raft_guard_deinit(&guard);
    return rv != 0;
}

static void test_every_allocation_may_fail(void **state)
{
    struct supplies supplies;
    unsigned failures = 0;

    (void)state;
    make_supplies(&supplies);
    uint64_t alive = sp_mem_live_count();
    assert_false(live(&supplies, 0));
    assert_int_equal(sp_mem_live_count(), alive);
    for (uint64_t n = 1; n < ALLOCATIONS_MAX; n++) {
        failures += live(&supplies, n);
    }
    assert_in_range(failures, 30, ALLOCATIONS_MAX);
    free_supplies(&supplies);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("scenario/raft_memory", tests, NULL, NULL);
}
