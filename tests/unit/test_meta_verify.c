#include "storage/meta_verify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "io/file.h"
#include "spate/error.h"
#include "storage/meta.h"
#include "storage/meta_file.h"
#include "tests/lib/test_store.h"

#define BATCH_SIZE (SP_META_BATCH_HEADER_SIZE + SP_META_RECORD_SIZE)

/* A directory with both copies: the fresh image, a replica of group 9, and three votes of it, each
 * in a batch of its own. */
struct fixture {
    char directory[512];
    char path[2][600];
    uint8_t *bytes; /* of either copy */
    size_t size;
    struct sp_meta_report report;
    unsigned replicas; /* on record, as told by the last check */
};

static void flush(struct sp_meta *meta)
{
    sp_meta_begin(meta);
    int rv = sp_meta_write(meta);
    assert_int_equal(rv, 0);
    sp_meta_end(meta, rv);
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    const struct sp_identity fresh = { .node_id = 3, .incarnation = 77 };
    const struct sp_replica_record replica = { 9, 4 };
    struct sp_meta *meta = NULL;
    char text[512];

    test_directory_make(fixture->directory, sizeof fixture->directory);
    (void)snprintf(fixture->path[0], sizeof fixture->path[0], "%s/meta.a", fixture->directory);
    (void)snprintf(fixture->path[1], sizeof fixture->path[1], "%s/meta.b", fixture->directory);
    const struct sp_meta_options options = { .directory = fixture->directory, .fresh = &fresh };
    assert_int_equal(sp_meta_open(&options, text, sizeof text, &meta), 0);
    assert_int_not_equal(sp_meta_create_replica(meta, &replica), 0);
    flush(meta);
    for (uint64_t term = 1; term <= 3; term++) {
        assert_int_not_equal(sp_meta_set_vote(meta, &replica, term, 1), 0);
        flush(meta);
    }
    sp_meta_close(meta);
    fixture->bytes = test_file_read(fixture->path[0], &fixture->size);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    free(fixture->bytes);
    assert_int_equal(sp_path_remove_tree(fixture->directory), 0);
    free(fixture);
    return 0;
}

static void on_replica(void *arg, const struct sp_replica_record *record)
{
    struct fixture *fixture = arg;

    assert_int_equal(record->group_id, 9);
    assert_int_equal(record->replica_id, 4);
    fixture->replicas += 1;
}

/* Both copies as written, but the first `sizes` bytes of each. */
static void write_copies(struct fixture *fixture, size_t size_a, size_t size_b)
{
    test_file_write(fixture->path[0], fixture->bytes, size_a);
    test_file_write(fixture->path[1], fixture->bytes, size_b);
}

static void check(struct fixture *fixture, enum sp_meta_condition a, enum sp_meta_condition b)
{
    fixture->replicas = 0;
    assert_int_equal(sp_meta_verify(fixture->directory, on_replica, fixture, &fixture->report), 0);
    assert_int_equal(fixture->report.copies[0].condition, a);
    assert_int_equal(fixture->report.copies[1].condition, b);
    assert_int_equal(fixture->replicas, fixture->report.chosen < 0 ? 0 : 1);
}

static void test_meta_verify_whole_copies_are_whole(void **state)
{
    struct fixture *fixture = *state;

    check(fixture, SP_META_COPY_WHOLE, SP_META_COPY_WHOLE);
    assert_int_equal(fixture->report.copies[1].position, fixture->size);
    assert_string_equal(fixture->report.copies[1].file, "meta.b");
    assert_true(fixture->report.chosen >= 0);
}

/* Every flipped byte of either copy is damage at the batch that it stands in. */
static void test_meta_verify_finds_every_flipped_byte(void **state)
{
    struct fixture *fixture = *state;
    size_t fresh_end = fixture->size - 4 * BATCH_SIZE;

    for (size_t position = 0; position < 2 * fixture->size; position++) {
        size_t place = position / 2;
        int number = (int)(position % 2);
        size_t begin = place < SP_META_HEADER_SIZE ? 0
                       : place < fresh_end
                           ? SP_META_HEADER_SIZE
                           : fresh_end + (place - fresh_end) / BATCH_SIZE * BATCH_SIZE;

        write_copies(fixture, fixture->size, fixture->size);
        fixture->bytes[place] ^= 0x81; /* never to zero: none of them is 0x81 */
        assert_int_not_equal(fixture->bytes[place], 0);
        test_file_write(fixture->path[number], fixture->bytes, fixture->size);
        fixture->bytes[place] ^= 0x81;
        check(fixture,
              number == 0 ? SP_META_COPY_DAMAGED : SP_META_COPY_WHOLE,
              number == 1 ? SP_META_COPY_DAMAGED : SP_META_COPY_WHOLE);
        assert_int_equal(fixture->report.copies[number].position, begin);
        assert_int_equal(fixture->report.chosen, 1 - number);
    }
}

/* What a crash leaves: b without its last batch or with a part of it, a too before its sync. What
 * it cannot leave: b ahead of a, or two batches behind. */
static void test_meta_verify_tells_a_crash_from_damage(void **state)
{
    struct fixture *fixture = *state;
    size_t size = fixture->size;
    uint8_t *padded = calloc(1, size);

    assert_non_null(padded);
    for (size_t missing = 1; missing <= BATCH_SIZE; missing++) {
        write_copies(fixture, size, size - missing);
        check(fixture, SP_META_COPY_WHOLE, SP_META_COPY_TORN);
        assert_int_equal(fixture->report.copies[1].position, size - BATCH_SIZE);
        memcpy(padded, fixture->bytes, size - missing); /* the size got there, the bytes not */
        memset(padded + size - missing, 0, missing);
        test_file_write(fixture->path[1], padded, size);
        if (memcmp(padded, fixture->bytes, size) != 0) {
            check(fixture, SP_META_COPY_WHOLE, SP_META_COPY_TORN);
        }
        write_copies(fixture, size - missing, size - BATCH_SIZE);
        check(fixture,
              missing < BATCH_SIZE ? SP_META_COPY_TORN : SP_META_COPY_WHOLE,
              SP_META_COPY_WHOLE);
        write_copies(fixture, size - missing, size);
        check(fixture, SP_META_COPY_DAMAGED, SP_META_COPY_WHOLE);
    }
    write_copies(fixture, size, size - 2 * BATCH_SIZE);
    check(fixture, SP_META_COPY_WHOLE, SP_META_COPY_DAMAGED);
    free(padded);
}

static void test_meta_verify_missing_and_hopeless_copies(void **state)
{
    struct fixture *fixture = *state;
    uint8_t *a = fixture->bytes;

    assert_int_equal(sp_path_remove(fixture->path[1]), 0);
    check(fixture, SP_META_COPY_WHOLE, SP_META_COPY_MISSING);
    assert_int_equal(fixture->report.chosen, 0);
    assert_int_equal(sp_path_remove(fixture->path[0]), 0);
    check(fixture, SP_META_COPY_MISSING, SP_META_COPY_MISSING);
    assert_int_equal(fixture->report.chosen, -1);
    /* A long one that is damaged early proves what the short one lacks: a start refuses. */
    write_copies(fixture, fixture->size, fixture->size - 3 * BATCH_SIZE);
    a[fixture->size - 4 * BATCH_SIZE] ^= 0x01;
    test_file_write(fixture->path[0], a, fixture->size);
    check(fixture, SP_META_COPY_DAMAGED, SP_META_COPY_WHOLE);
    assert_int_equal(fixture->report.chosen, -1);
    test_file_write(fixture->path[0], (const uint8_t *)"nonsense", 8);
    test_file_write(fixture->path[1], NULL, 0);
    check(fixture, SP_META_COPY_DAMAGED, SP_META_COPY_DAMAGED);
    assert_int_equal(fixture->report.chosen, -1);
}

static void test_meta_verify_changes_nothing_whatever_fails(void **state)
{
    struct fixture *fixture = *state;
    int rv = SPATE_ERR_NOMEM;

    write_copies(fixture, fixture->size - 7, fixture->size);
    for (uint64_t n = 1; rv != 0; n++) {
        uint64_t live = sp_mem_live_count();

        sp_mem_fail_at(n);
        rv = sp_meta_verify(fixture->directory, on_replica, fixture, &fixture->report);
        sp_mem_fail_at(0);
        assert_true(rv == 0 || rv == SPATE_ERR_NOMEM);
        assert_int_equal(sp_mem_live_count(), live);
    }
    size_t size = 0;
    free(test_file_read(fixture->path[0], &size));
    assert_int_equal(size, fixture->size - 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_meta_verify_whole_copies_are_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(test_meta_verify_finds_every_flipped_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_meta_verify_tells_a_crash_from_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_meta_verify_missing_and_hopeless_copies, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_meta_verify_changes_nothing_whatever_fails, setup, teardown),
    };
    return cmocka_run_group_tests_name("storage/meta_verify", tests, NULL, NULL);
}
