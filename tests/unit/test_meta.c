#include "storage/meta.h"

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
#include "storage/meta_file.h"
#include "tests/lib/test_store.h"

/* A file header, then sequence 1 to 1: the vote {group 9, replica 4, term 3, vote 2}. Checksums by
 * another program. */
static const uint8_t golden[] = {
    'S',  'P',  'A',  'T',  'E',  'M',  'E',  'T',
    1,    0,    0,    0,    0x80, 0xd6, 0xf7, 0xfa, /* header */
    40,   0,    0,    0,    0x25, 0x72, 0xd3, 0x47,
    1,    0,    0,    0,    0,    0,    0,    0, /* length, crc, first */
    1,    0,    0,    0,    0,    0,    0,    0,
    0x80, 0xd6, 0xf7, 0xfa, 0,    0,    0,    0, /* last, chain */
    2,    0,    0,    0,    0,    0,    0,    0,
    9,    0,    0,    0,    0,    0,    0,    0, /* vote, group */
    4,    0,    0,    0,    0,    0,    0,    0,
    3,    0,    0,    0,    0,    0,    0,    0, /* replica, term */
    2,    0,    0,    0,    0,    0,    0,    0, /* vote */
};

static void test_meta_golden_bytes(void **state)
{
    uint8_t bytes[sizeof golden];
    const struct sp_meta_record vote = {
        .type = SP_META_VOTE,
        .group_id = 9,
        .replica_id = 4,
        .term = 3,
        .vote = 2,
    };
    struct sp_meta_scan scan;

    (void)state;
    uint32_t chain = sp_meta_header_encode(bytes);
    sp_meta_record_encode(&vote, bytes + 48);
    (void)sp_meta_batch_seal(bytes + 16, 40, 1, 1, chain);
    assert_memory_equal(bytes, golden, sizeof golden);
    sp_meta_scan(golden, sizeof golden, &scan);
    assert_int_equal(scan.size, sizeof golden);
    assert_int_equal(scan.last_sequence, 1);
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        sp_meta_scan(bytes, sizeof bytes, &scan);
        assert_int_equal(scan.last_sequence, 0);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

/* ---- on disk --------------------------------------------------------------------------------- */

struct fixture {
    char directory[512];
    char path[2][600];
    char text[512];
    struct sp_meta *meta;
    struct sp_identity fresh;
    bool has_replicas;
    size_t dead_bytes_max;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    test_directory_make(fixture->directory, sizeof fixture->directory);
    (void)snprintf(fixture->path[0], sizeof fixture->path[0], "%s/meta.a", fixture->directory);
    (void)snprintf(fixture->path[1], sizeof fixture->path[1], "%s/meta.b", fixture->directory);
    fixture->fresh = (struct sp_identity){ .node_id = 3, .incarnation = 77 };
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    sp_meta_close(fixture->meta);
    assert_int_equal(sp_path_remove_tree(fixture->directory), 0);
    free(fixture);
    return 0;
}

static int open_meta(struct fixture *fixture)
{
    const struct sp_meta_options options = {
        .directory = fixture->directory,
        .fresh = &fixture->fresh,
        .has_replicas = fixture->has_replicas,
        .dead_bytes_max = fixture->dead_bytes_max,
    };

    sp_meta_close(fixture->meta);
    fixture->meta = NULL;
    return sp_meta_open(&options, fixture->text, sizeof fixture->text, &fixture->meta);
}

static void flush(struct fixture *fixture)
{
    sp_meta_begin(fixture->meta);
    int rv = sp_meta_write(fixture->meta);
    assert_int_equal(rv, 0);
    sp_meta_end(fixture->meta, rv);
}

static void vote(struct fixture *fixture, uint64_t group_id, uint64_t term)
{
    const struct sp_replica_record replica = { group_id, 1 };

    assert_int_not_equal(sp_meta_set_vote(fixture->meta, &replica, term, term + 1), 0);
    flush(fixture);
}

static uint64_t term_of(struct fixture *fixture, uint64_t group_id)
{
    const struct sp_replica_record replica = { group_id, 1 };
    uint64_t term = 0;
    uint64_t voted = 0;

    sp_meta_vote(fixture->meta, &replica, &term, &voted);
    assert_int_equal(voted, term == 0 ? 0 : term + 1);
    return term;
}

static void check_copies_equal(struct fixture *fixture)
{
    size_t sizes[2];
    uint8_t *a = test_file_read(fixture->path[0], &sizes[0]);
    uint8_t *b = test_file_read(fixture->path[1], &sizes[1]);

    assert_int_equal(sizes[0], sizes[1]);
    assert_memory_equal(a, b, sizes[0]);
    free(a);
    free(b);
}

static void test_meta_round_trip(void **state)
{
    struct fixture *fixture = *state;
    const struct sp_replica_record one = { 1, 10 };
    const struct sp_replica_record two = { 2, 20 };
    struct sp_identity identity = { SP_IDENTITY_FORMED, 3, 77, { 1, 2, 3 } };

    assert_int_equal(open_meta(fixture), 0);
    assert_int_equal(sp_meta_identity(fixture->meta)->incarnation, 77);
    assert_int_equal(sp_meta_identity(fixture->meta)->state, SP_IDENTITY_EMPTY);
    uint64_t durable = sp_meta_durable(fixture->meta);
    assert_int_equal(sp_meta_create_replica(fixture->meta, &one), durable + 1);
    assert_int_equal(sp_meta_create_replica(fixture->meta, &two), durable + 2);
    assert_int_equal(sp_meta_set_vote(fixture->meta, &two, 5, 7), durable + 3);
    assert_int_equal(sp_meta_set_identity(fixture->meta, &identity), durable + 4);
    assert_int_equal(sp_meta_delete_replica(fixture->meta, &one), durable + 5);
    assert_int_equal(sp_meta_feature_level(fixture->meta), 0);
    assert_int_equal(sp_meta_set_feature_level(fixture->meta, 2), durable + 6);
    assert_int_equal(sp_meta_set_forcing(fixture->meta, UINT64_C(1) << 32), durable + 7);
    assert_true(sp_meta_dirty(fixture->meta));
    assert_int_equal(sp_meta_durable(fixture->meta), durable);
    flush(fixture);
    assert_int_equal(sp_meta_durable(fixture->meta), durable + 7);
    assert_false(sp_meta_dirty(fixture->meta));

    fixture->has_replicas = true;
    assert_int_equal(open_meta(fixture), 0);
    uint64_t term = 0;
    uint64_t voted = 0;
    sp_meta_vote(fixture->meta, &two, &term, &voted);
    assert_int_equal(term, 5);
    assert_int_equal(voted, 7);
    assert_false(sp_meta_has_replica(fixture->meta, &one));
    assert_true(sp_meta_has_replica(fixture->meta, &two));
    assert_int_equal(sp_meta_identity(fixture->meta)->state, SP_IDENTITY_FORMED);
    assert_memory_equal(sp_meta_identity(fixture->meta)->cluster_id, identity.cluster_id, 16);
    assert_int_equal(sp_meta_durable(fixture->meta), durable + 7);
    assert_int_equal(sp_meta_feature_level(fixture->meta), 2);
    assert_int_equal(sp_meta_forcing(fixture->meta), UINT64_C(1) << 32);
    assert_int_equal(sp_meta_set_forcing(fixture->meta, 0), durable + 8);
    flush(fixture);
    assert_int_equal(open_meta(fixture), 0);
    assert_int_equal(sp_meta_forcing(fixture->meta), 0);
}

/* One copy is torn at every byte of the last batch: the other one holds it; then both are torn, as
 * by a crash before the sync: what was durable before stands. */
static void test_meta_torn_tail_at_every_byte(void **state)
{
    struct fixture *fixture = *state;
    size_t before = 0;
    size_t size = 0;

    assert_int_equal(open_meta(fixture), 0);
    vote(fixture, 1, 5);
    free(test_file_read(fixture->path[0], &before));
    vote(fixture, 1, 6);
    sp_meta_close(fixture->meta);
    fixture->meta = NULL;
    uint8_t *bytes = test_file_read(fixture->path[0], &size);
    for (size_t cut = before; cut < size; cut++) {
        test_file_write(fixture->path[0], bytes, size);
        test_file_write(fixture->path[1], bytes, cut);
        assert_int_equal(open_meta(fixture), 0);
        assert_int_equal(term_of(fixture, 1), 6);
        check_copies_equal(fixture);
        test_file_write(fixture->path[0], bytes, cut);
        test_file_write(fixture->path[1], bytes, cut);
        assert_int_equal(open_meta(fixture), 0);
        assert_int_equal(term_of(fixture, 1), 5);
        vote(fixture, 1, 9);
        assert_int_equal(open_meta(fixture), 0);
        assert_int_equal(term_of(fixture, 1), 9);
        check_copies_equal(fixture);
    }
    free(bytes);
}

/* What either copy holds after three votes, the last of term 3. Freed by the caller. */
static uint8_t *vote_thrice(struct fixture *fixture, size_t *out_size)
{
    assert_int_equal(open_meta(fixture), 0);
    for (uint64_t term = 1; term <= 3; term++) {
        vote(fixture, 1, term);
    }
    return test_file_read(fixture->path[0], out_size);
}

/* Any flipped bit in one copy is repaired from the other, whichever it is. */
static void test_meta_one_damaged_copy_is_repaired(void **state)
{
    struct fixture *fixture = *state;
    size_t size = 0;
    uint8_t *bytes = vote_thrice(fixture, &size);

    for (size_t position = 0; position < size; position++) {
        bytes[position] ^= 0x04;
        test_file_write(fixture->path[position % 2], bytes, size);
        bytes[position] ^= 0x04;
        assert_int_equal(open_meta(fixture), 0);
        assert_int_equal(term_of(fixture, 1), 3);
        check_copies_equal(fixture);
    }
    assert_int_equal(sp_path_remove(fixture->path[1]), 0);
    fixture->has_replicas = true;
    assert_int_equal(open_meta(fixture), 0);
    assert_int_equal(term_of(fixture, 1), 3);
    check_copies_equal(fixture);
    free(bytes);
}

static void test_meta_both_damaged_is_refused(void **state)
{
    struct fixture *fixture = *state;
    size_t size = 0;
    uint8_t *bytes = vote_thrice(fixture, &size);

    size_t second_last = size - 2 * (SP_META_BATCH_HEADER_SIZE + SP_META_RECORD_SIZE);
    /* Anywhere below the last batch: both lost something that was durable. */
    for (size_t position = 0; position < second_last + 72; position++) {
        bytes[position] ^= 0x80;
        test_file_write(fixture->path[0], bytes, size);
        bytes[position] ^= 0x80;
        size_t other = (position + 31) % (second_last + 72);
        bytes[other] ^= 0x01;
        test_file_write(fixture->path[1], bytes, size);
        bytes[other] ^= 0x01;
        assert_int_equal(open_meta(fixture), SPATE_ERR_CORRUPT);
        assert_non_null(strstr(fixture->text, "damaged"));
        assert_non_null(strstr(fixture->text, "never put older copies there"));
        assert_non_null(strstr(fixture->text, "A node without its disk"));
    }
    /* Refusing changed nothing: with one good copy all is well. */
    test_file_write(fixture->path[1], bytes, size);
    assert_int_equal(open_meta(fixture), 0);
    assert_int_equal(term_of(fixture, 1), 3);
    free(bytes);
}

static void test_meta_missing_beside_replicas_is_refused(void **state)
{
    struct fixture *fixture = *state;

    fixture->has_replicas = true;
    assert_int_equal(open_meta(fixture), SPATE_ERR_CORRUPT);
    assert_non_null(strstr(fixture->text, "no metadata"));
    assert_false(sp_path_exists(fixture->path[0]));
    fixture->has_replicas = false;
    test_file_write(fixture->path[0], (const uint8_t *)"nonsense", 8);
    assert_int_equal(open_meta(fixture), SPATE_ERR_CORRUPT);
}

/* Bytes that look like the header of a long batch wherever one begins to read: the search for what
 * they prove costs no more than a bound, and then the copy counts as one that lacks something. */
static void test_meta_hostile_bytes_cost_no_more_than_a_bound(void **state)
{
    struct sp_meta_scan scan;
    size_t size = 1 << 20;
    uint8_t *bytes = calloc(1, size);

    (void)state;
    assert_non_null(bytes);
    (void)sp_meta_header_encode(bytes);
    for (size_t i = SP_META_HEADER_SIZE; i < size; i += 8) {
        bool zero = i % 32 == 0;     /* where a header there has its last four bytes ... */
        bytes[i + 1] = 40;           /* length, first and last sequence at once: 10240 and more */
        bytes[i + 4] = zero ? 0 : 1; /* ... and else a checksum */
    }
    sp_meta_scan(bytes, size, &scan);
    assert_int_equal(scan.size, SP_META_HEADER_SIZE);
    assert_int_equal(scan.proven_sequence, UINT64_MAX);
    assert_true(scan.searched_bytes <= (uint64_t)SP_META_SEARCH_FACTOR * size);
    free(bytes);
}

/* A damaged batch of many records and whole ones behind it: what they prove is found, with ids that
 * pass for lengths in each record. */
static void test_meta_search_reaches_what_is_behind_a_large_damaged_batch(void **state)
{
    enum {
        RECORDS = 20000,
    };
    size_t large = SP_META_BATCH_HEADER_SIZE + (size_t)RECORDS * SP_META_RECORD_SIZE;
    size_t size = SP_META_HEADER_SIZE + large + SP_META_BATCH_HEADER_SIZE + SP_META_RECORD_SIZE;
    uint8_t *bytes = calloc(1, size);
    uint8_t *batch = bytes + SP_META_HEADER_SIZE;
    struct sp_meta_record record = { .type = SP_META_VOTE, .replica_id = 1 };
    struct sp_meta_scan scan;

    (void)state;
    assert_non_null(bytes);
    uint32_t chain = sp_meta_header_encode(bytes);
    for (unsigned i = 0; i < RECORDS; i++) {
        record.group_id = 700000 + i;
        record.term = 7;
        sp_meta_record_encode(&record,
                              batch + SP_META_BATCH_HEADER_SIZE + (size_t)i * SP_META_RECORD_SIZE);
    }
    chain = sp_meta_batch_seal(batch, RECORDS * SP_META_RECORD_SIZE, 1, RECORDS, chain);
    sp_meta_record_encode(&record, batch + large + SP_META_BATCH_HEADER_SIZE);
    (void)sp_meta_batch_seal(batch + large, SP_META_RECORD_SIZE, RECORDS + 1, RECORDS + 1, chain);
    sp_meta_scan(bytes, size, &scan);
    assert_int_equal(scan.last_sequence, RECORDS + 1);
    assert_int_equal(scan.searched_bytes, 0);
    bytes[SP_META_HEADER_SIZE + 24] ^= 1;
    sp_meta_scan(bytes, size, &scan);
    assert_int_equal(scan.last_sequence, 0);
    assert_int_equal(scan.proven_sequence, RECORDS);
    assert_in_range(scan.searched_bytes, SP_META_RECORD_SIZE, size);
    free(bytes);
}

static void test_meta_compaction_keeps_files_small(void **state)
{
    struct fixture *fixture = *state;
    size_t size = 0;
    size_t largest = 0;

    fixture->dead_bytes_max = 4096;
    assert_int_equal(open_meta(fixture), 0);
    assert_int_not_equal(sp_meta_set_feature_level(fixture->meta, 2), 0);
    assert_int_not_equal(sp_meta_set_forcing(fixture->meta, 7), 0);
    for (uint64_t i = 1; i <= 500; i++) {
        vote(fixture, 1 + i % 5, i);
        free(test_file_read(fixture->path[1], &size));
        largest = size > largest ? size : largest;
        if (i % 97 == 0) {
            assert_int_equal(open_meta(fixture), 0);
        }
    }
    assert_true(largest < 6000);
    assert_true(largest > 4096);
    check_copies_equal(fixture);
    assert_int_equal(open_meta(fixture), 0);
    for (uint64_t i = 496; i <= 500; i++) {
        assert_int_equal(term_of(fixture, 1 + i % 5), i);
    }
    assert_int_equal(sp_meta_feature_level(fixture->meta), 2);
    assert_int_equal(sp_meta_forcing(fixture->meta), 7);
}

/* The crash between the two copies of a compaction: the longer one wins, the other follows. */
static void test_meta_half_compacted_is_finished(void **state)
{
    struct fixture *fixture = *state;
    size_t size = 0;

    fixture->dead_bytes_max = 300;
    assert_int_equal(open_meta(fixture), 0);
    uint8_t *old = NULL;
    for (uint64_t i = 1; i <= 10; i++) {
        size_t size_after = 0;

        free(old);
        old = test_file_read(fixture->path[1], &size);
        vote(fixture, 1, i);
        free(test_file_read(fixture->path[1], &size_after));
        if (size_after < size) {
            break;
        }
    }
    uint64_t term = term_of(fixture, 1);
    assert_true(term < 10);
    test_file_write(fixture->path[1], old, size);
    assert_int_equal(open_meta(fixture), 0);
    assert_int_equal(term_of(fixture, 1), term);
    check_copies_equal(fixture);
    free(old);
}

static void test_meta_survives_failing_allocations(void **state)
{
    struct fixture *fixture = *state;
    int rv = SPATE_ERR_NOMEM;
    const struct sp_replica_record replica = { 5, 1 };

    assert_int_equal(open_meta(fixture), 0);
    vote(fixture, 1, 4);
    sp_meta_close(fixture->meta);
    fixture->meta = NULL;
    for (uint64_t n = 1; rv != 0; n++) {
        uint64_t live = sp_mem_live_count();

        sp_mem_fail_at(n);
        rv = open_meta(fixture);
        sp_mem_fail_at(0);
        assert_true(rv == 0 || (rv == SPATE_ERR_NOMEM && sp_mem_live_count() == live));
    }
    assert_int_equal(term_of(fixture, 1), 4);
    uint64_t sequence = 0;
    for (uint64_t n = 1; sequence == 0; n++) {
        sp_mem_fail_at(n);
        sequence = sp_meta_create_replica(fixture->meta, &replica);
        sp_mem_fail_at(0);
        assert_int_equal(sp_meta_has_replica(fixture->meta, &replica), sequence != 0);
    }
    flush(fixture);
    assert_int_equal(open_meta(fixture), 0);
    assert_true(sp_meta_has_replica(fixture->meta, &replica));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_meta_golden_bytes),
        cmocka_unit_test_setup_teardown(test_meta_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_meta_torn_tail_at_every_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(test_meta_one_damaged_copy_is_repaired, setup, teardown),
        cmocka_unit_test_setup_teardown(test_meta_both_damaged_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_meta_missing_beside_replicas_is_refused, setup, teardown),
        cmocka_unit_test(test_meta_hostile_bytes_cost_no_more_than_a_bound),
        cmocka_unit_test(test_meta_search_reaches_what_is_behind_a_large_damaged_batch),
        cmocka_unit_test_setup_teardown(test_meta_compaction_keeps_files_small, setup, teardown),
        cmocka_unit_test_setup_teardown(test_meta_half_compacted_is_finished, setup, teardown),
        cmocka_unit_test_setup_teardown(test_meta_survives_failing_allocations, setup, teardown),
    };
    return cmocka_run_group_tests_name("storage/meta", tests, NULL, NULL);
}
