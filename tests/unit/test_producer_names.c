#include "cluster/producer_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "spate/error.h"

#define BYTES_MAX (4 * 1024 * 1024)

static int take_as(struct sp_producer_names *names,
                   const char *name,
                   const char *layout,
                   uint64_t new_id,
                   int64_t time_ms,
                   struct sp_producer_name *out)
{
    struct sp_producer_name wanted = { .producer_id = new_id, .taken_last_ms = time_ms };
    const struct sp_producer_name *taken = NULL;

    (void)snprintf(wanted.name, sizeof wanted.name, "%s", name);
    (void)snprintf(wanted.layout, sizeof wanted.layout, "%s", layout);
    int rv = sp_producer_names_take(names, &wanted, &taken);
    if (rv == 0 && out != NULL) {
        *out = *taken;
    }
    return rv;
}

static int take(struct sp_producer_names *names, const char *name, struct sp_producer_name *out)
{
    return take_as(names, name, "p=4", 1000, 5, out);
}

static void test_producer_names_same_name_keeps_its_id_and_raises_the_epoch(void **state)
{
    struct sp_producer_names *names = sp_producer_names_new();
    struct sp_producer_name taken;

    (void)state;
    for (int16_t epoch = 0; epoch < 3; epoch++) {
        assert_int_equal(take_as(names, "a", "", 7 + (uint64_t)epoch, 5 + epoch, &taken), 0);
        assert_int_equal(taken.producer_id, 7);
        assert_int_equal(taken.epoch, epoch);
        assert_int_equal(taken.taken_last_ms, 5 + epoch);
    }
    assert_int_equal(take_as(names, "b", "", 10, 9, &taken), 0);
    assert_int_equal(taken.producer_id, 10);
    assert_int_equal(taken.epoch, 0);
    assert_int_equal(sp_producer_names_count(names), 2);
    sp_producer_names_free(names);
}

static void test_producer_names_other_layout_is_refused_and_changes_nothing(void **state)
{
    struct sp_producer_names *names = sp_producer_names_new();

    (void)state;
    assert_int_equal(take_as(names, "a", "p=4", 7, 5, NULL), 0);
    assert_int_equal(take_as(names, "a", "p=6", 8, 6, NULL), SPATE_ERR_EXISTS);
    assert_int_equal(sp_producer_names_find(names, "a")->epoch, 0);
    assert_int_equal(sp_producer_names_find(names, "a")->taken_last_ms, 5);
    assert_string_equal(sp_producer_names_find(names, "a")->layout, "p=4");
    assert_null(sp_producer_names_find(names, "b"));
    sp_producer_names_free(names);
}

/* A new id in its place would know nothing of what is stored: that would be stored twice. */
static void test_producer_names_last_epoch_is_the_end_of_a_name(void **state)
{
    struct sp_producer_names *names = sp_producer_names_new();
    struct sp_producer_name taken = { .epoch = -1 };

    (void)state;
    for (int32_t i = 0; i <= INT16_MAX; i++) {
        assert_int_equal(take(names, "a", &taken), 0);
    }
    assert_int_equal(taken.epoch, INT16_MAX);
    assert_int_equal(take(names, "a", &taken), SPATE_ERR_INVALID);
    assert_int_equal(sp_producer_names_find(names, "a")->epoch, INT16_MAX);
    sp_producer_names_free(names);
}

static void test_producer_names_full_table_makes_room_only_for_the_longest_unused(void **state)
{
    struct sp_producer_names *names = sp_producer_names_new();
    char name[32];

    (void)state;
    for (unsigned i = 0; i < SP_PRODUCER_NAMES_MAX; i++) {
        (void)snprintf(name, sizeof name, "n%u", i);
        assert_int_equal(take_as(names, name, "", 1 + i, 1000, NULL), 0);
    }
    assert_int_equal(take_as(names, "n0", "", 1, 2000, NULL), 0); /* n1 is the oldest now */
    assert_int_equal(take_as(names, "x", "", 1, 999 + SP_PRODUCER_NAME_EXPIRY_MS, NULL),
                     SPATE_ERR_BUSY);
    assert_int_equal(take_as(names, "x", "", 1, 1000 + SP_PRODUCER_NAME_EXPIRY_MS, NULL), 0);
    assert_int_equal(sp_producer_names_count(names), SP_PRODUCER_NAMES_MAX);
    assert_null(sp_producer_names_find(names, "n1"));
    assert_non_null(sp_producer_names_find(names, "n0"));
    assert_non_null(sp_producer_names_find(names, "x"));
    sp_producer_names_free(names);
}

static void encode(const struct sp_producer_names *names, struct sp_buf *buf)
{
    struct sp_pack pack;

    sp_buf_init(buf, BYTES_MAX);
    sp_pack_init(&pack, buf);
    sp_producer_names_encode(names, &pack);
    assert_int_equal(sp_pack_status(&pack), 0);
}

static int decode(struct sp_producer_names *names, uint64_t next_id, const void *bytes, size_t size)
{
    struct sp_cursor cursor;

    sp_cursor_init(&cursor, bytes, size);
    sp_producer_names_decode(names, next_id, &cursor);
    return sp_cursor_finish(&cursor);
}

static void test_producer_names_checkpoint_has_golden_bytes_and_comes_back(void **state)
{
    static const uint8_t golden[] = { 0x92, 0x95, 0xa1, 'b',  0xa0, 8, 0, 6,
                                      0x95, 0xa1, 'a',  0xa1, 'l',  7, 1, 9 };
    struct sp_producer_names *names = sp_producer_names_new();
    struct sp_producer_names *restored = sp_producer_names_new();
    struct sp_producer_name taken;
    struct sp_buf bytes;

    (void)state;
    assert_int_equal(take_as(names, "a", "l", 7, 5, NULL), 0);
    assert_int_equal(take_as(names, "b", "", 8, 6, NULL), 0);
    assert_int_equal(take_as(names, "a", "l", 9, 9, NULL), 0);
    encode(names, &bytes);
    assert_int_equal(bytes.size, sizeof golden);
    assert_memory_equal(bytes.bytes, golden, sizeof golden);
    sp_buf_deinit(&bytes);
    assert_int_equal(decode(restored, 9, golden, sizeof golden), 0);
    encode(restored, &bytes);
    assert_memory_equal(bytes.bytes, golden, sizeof golden);
    sp_buf_deinit(&bytes);
    assert_int_equal(take_as(restored, "a", "l", 99, 10, &taken), 0);
    assert_int_equal(taken.producer_id, 7);
    assert_int_equal(taken.epoch, 2);
    sp_producer_names_free(names);
    sp_producer_names_free(restored);
}

static void test_producer_names_damaged_checkpoint_is_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
    } bad[] = {
        { "\x91\x95\xa1"
          "a\xa0\x09\x00\x05",
          8 },                                 /* an id that was never given out */
        { "\x91\x95\xa0\xa0\x07\x00\x05", 7 }, /* no name */
        { "\x91\x94\xa1"
          "a\xa0\x07\x00\x05",
          8 }, /* an element too few */
        { "\x91\x95\xa1"
          "a\xa0\x07\xff\x05",
          8 }, /* an epoch below 0 */
        { "\x92\x95\xa1"
          "a\xa0\x07\x00\x05\x95\xa1"
          "a\xa0\x08\x00\x05",
          15 }, /* twice */
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct sp_producer_names *names = sp_producer_names_new();
        assert_int_not_equal(decode(names, 9, bad[i].bytes, bad[i].size), 0);
        sp_producer_names_free(names);
    }
}

static void test_producer_names_failing_allocation_is_reported(void **state)
{
    uint64_t alive = sp_mem_live_count();

    (void)state;
    for (uint64_t n = 1;; n++) {
        int rv = SPATE_ERR_NOMEM;
        sp_mem_fail_at(n);
        struct sp_producer_names *names = sp_producer_names_new();
        if (names != NULL) {
            rv = take(names, "a", NULL);
        }
        sp_mem_fail_at(0);
        sp_producer_names_free(names);
        assert_int_equal(sp_mem_live_count(), alive);
        if (rv == 0) {
            assert_true(n > 2);
            return;
        }
        assert_int_equal(rv, SPATE_ERR_NOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_producer_names_same_name_keeps_its_id_and_raises_the_epoch),
        cmocka_unit_test(test_producer_names_other_layout_is_refused_and_changes_nothing),
        cmocka_unit_test(test_producer_names_last_epoch_is_the_end_of_a_name),
        cmocka_unit_test(test_producer_names_full_table_makes_room_only_for_the_longest_unused),
        cmocka_unit_test(test_producer_names_checkpoint_has_golden_bytes_and_comes_back),
        cmocka_unit_test(test_producer_names_damaged_checkpoint_is_refused),
        cmocka_unit_test(test_producer_names_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests_name("cluster/producer_names", tests, NULL, NULL);
}
