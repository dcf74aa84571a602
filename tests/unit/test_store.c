#include "storage/store.h"

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
#include "tests/lib/test_store.h"

static int setup(void **state)
{
    return test_store_setup(state, 0);
}

static void replica_path(const struct test_store *test, const char *below, char *out_path)
{
    (void)sprintf(out_path, "%s/%s", test->path, below);
}

static void test_store_keeps_identity(void **state)
{
    struct test_store *test = *state;
    uint64_t incarnation = sp_store_identity(test->store)->incarnation;
    struct sp_identity identity = *sp_store_identity(test->store);

    assert_int_equal(identity.state, SP_IDENTITY_EMPTY);
    identity.state = SP_IDENTITY_FORMING;
    identity.cluster_id[5] = 9;
    uint64_t sequence = sp_store_set_identity(test->store, &identity);
    assert_int_not_equal(sequence, 0);
    test_store_wait_meta(test, sequence);
    assert_true(sp_store_meta_durable(test->store) >= sequence);
    assert_true(sp_store_free_bytes(test->store) > 0);
    test_store_close(test);
    test_store_open(test);
    assert_int_equal(sp_store_identity(test->store)->incarnation, incarnation);
    assert_int_equal(sp_store_identity(test->store)->state, SP_IDENTITY_FORMING);
    assert_int_equal(sp_store_identity(test->store)->cluster_id[5], 9);
}

static void test_store_second_opening_is_locked_out(void **state)
{
    struct test_store *test = *state;
    struct test_store second = *test;

    second.store = NULL;
    assert_int_equal(test_store_try_open(&second), SPATE_ERR_LOCKED);
    assert_non_null(strstr(second.text, "another process"));
    test_store_close(test);
    test_store_open(test);
}

static void test_store_of_another_node_is_refused(void **state)
{
    struct test_store *test = *state;
    const struct sp_store_options options = { .path = test->path, .node_id = 4 };
    const struct sp_store_handler handler = { NULL, NULL };
    struct sp_store *store = NULL;
    char text[256];

    test_store_close(test);
    assert_int_equal(sp_store_open(test->loop, &options, &handler, NULL, text, sizeof text, &store),
                     SPATE_ERR_CORRUPT);
    assert_non_null(strstr(text, "belongs to node 3, this is node 4"));
}

static void test_store_votes_of_one_turn_share_a_flush(void **state)
{
    struct test_store *test = *state;
    uint64_t term = 0;
    uint64_t vote = 0;
    uint64_t last = 0;

    for (uint64_t group = 1; group <= 100; group++) {
        uint64_t sequence = sp_store_set_vote(test->store, group, 1, 5, group);
        assert_true(sequence > last);
        last = sequence;
    }
    test_store_wait_meta(test, last);
    test_store_close(test);
    test_store_open(test);
    for (uint64_t group = 1; group <= 100; group++) {
        sp_store_vote(test->store, group, 1, &term, &vote);
        assert_int_equal(term, 5);
        assert_int_equal(vote, group);
    }
    sp_store_vote(test->store, 1, 2, &term, &vote);
    assert_int_equal(term, 0);
}

static void count_replica(void *arg, const struct sp_replica_record *record)
{
    uint64_t *next = arg;

    *next += 1;
    assert_int_equal(record->group_id, *next);
    assert_int_equal(record->replica_id, TEST_REPLICA_ID);
}

static void test_store_registers_replicas_in_order(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    uint64_t count = 0;

    for (uint64_t group = 1; group <= 5; group++) {
        assert_int_equal(test_log_create(&log, test, group), 0);
        test_log_close(&log);
    }
    test_store_close(test);
    test_store_open(test);
    sp_store_replicas(test->store, count_replica, &count);
    assert_int_equal(count, 5);
    assert_true(sp_store_has_replica(test->store, 5, TEST_REPLICA_ID));
    assert_false(sp_store_has_replica(test->store, 5, TEST_REPLICA_ID + 1));
    assert_int_equal(test_log_open(&log, test, 6), SPATE_ERR_NOT_FOUND);
    assert_non_null(strstr(log.text, "not registered"));
}

/* Registered but missing: it must not vote, and nothing is made up in its place. */
static void test_store_missing_replica_is_corrupt(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    char path[1024];

    assert_int_equal(test_log_create(&log, test, 1), 0);
    test_log_close(&log);
    replica_path(test, "replicas/1.7", path);
    assert_int_equal(sp_path_remove_tree(path), 0);
    assert_int_equal(test_log_open(&log, test, 1), SPATE_ERR_CORRUPT);
    assert_false(sp_path_exists(path));
}

struct search {
    const char *start;
    char found[320];
    unsigned count;
};

static int look_for(void *arg, const char *name)
{
    struct search *search = arg;

    if (strncmp(name, search->start, strlen(search->start)) == 0) {
        (void)snprintf(search->found, sizeof search->found, "%s", name);
        search->count += 1;
    }
    return 0;
}

/* How many directories in quarantine/ begin so; `out_name` (may be NULL) is one of them. */
static unsigned
count_quarantined(const struct test_store *test, const char *start, char *out_name, size_t size)
{
    struct search search = { .start = start };
    char path[1024];

    replica_path(test, "quarantine", path);
    assert_int_equal(sp_dir_list(path, look_for, &search), 0);
    if (out_name != NULL) {
        (void)snprintf(out_name, size, "quarantine/%s", search.found);
    }
    return search.count;
}

static void test_store_unknown_directory_is_quarantined(void **state)
{
    static const char *const names[] = { "replicas/8.7", "replicas/x", "replicas/1.07" };
    struct test_store *test = *state;
    struct test_log log;
    char path[1024];

    assert_int_equal(test_log_create(&log, test, 1), 0);
    test_log_close(&log);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        replica_path(test, names[i], path);
        assert_int_equal(sp_dir_create(path), 0);
    }
    /* One is moved by creating over it, the others by the search. */
    assert_int_equal(test_log_create(&log, test, 8), 0);
    test_log_close(&log);
    assert_int_equal(count_quarantined(test, "8.7.unknown-", NULL, 0), 1);
    assert_int_equal(sp_store_quarantine_unknown(test->store), 0);
    assert_int_equal(count_quarantined(test, "x.unknown-", NULL, 0), 1);
    assert_int_equal(count_quarantined(test, "1.07.unknown-", NULL, 0), 1);
    replica_path(test, "replicas/8.7", path);
    assert_true(sp_path_exists(path));
    assert_int_equal(test_log_open(&log, test, 1), 0);
    test_log_close(&log);
}

static void test_store_delete_removes_files_after_the_registry(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    char path[1024];

    assert_int_equal(test_log_create(&log, test, 1), 0);
    test_log_close(&log);
    replica_path(test, "replicas/1.7", path);
    assert_int_equal(sp_store_delete_replica(test->store, 1, TEST_REPLICA_ID), 0);
    assert_int_equal(sp_store_delete_replica(test->store, 1, TEST_REPLICA_ID), SPATE_ERR_NOT_FOUND);
    assert_true(sp_path_exists(path));
    test_store_close(test);
    assert_false(sp_path_exists(path));
    test_store_open(test);
    assert_false(sp_store_has_replica(test->store, 1, TEST_REPLICA_ID));
}

/* Once marked it stays closed, whoever opens it, and retiring it keeps it where people look. */
static void test_store_damaged_replica_is_kept_in_quarantine(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    char kept[400];
    char path[1024];

    assert_int_equal(test_log_create(&log, test, 1), 0);
    test_log_batch(&log, 1, 1, 10, 1);
    test_log_flush(&log);
    sp_store_mark_damaged(test->store, 1, TEST_REPLICA_ID, "a frame could not be read");
    test_log_close(&log);
    test_store_close(test);
    test_store_open(test);
    assert_int_equal(test_log_open(&log, test, 1), SPATE_ERR_CORRUPT);
    assert_non_null(strstr(log.text, "found damaged before"));
    assert_int_equal(sp_store_retire_replica(test->store, 1, TEST_REPLICA_ID), 0);
    test_store_close(test);
    test_store_open(test);
    assert_int_equal(count_quarantined(test, "1.7.damaged-", kept, sizeof kept), 1);
    replica_path(test, kept, path);
    (void)strcat(path, "/damaged");
    assert_true(sp_path_exists(path));
    assert_int_equal(sp_store_quarantine_unknown(test->store), 0);
    test_store_close(test);
    test_store_open(test);
    assert_int_equal(count_quarantined(test, "1.7.damaged-", NULL, 0), 1);
}

/* What an opening finds is not forgotten either: the next one need not find it again. */
static void test_store_opening_marks_what_is_damaged(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    char path[1024];

    assert_int_equal(test_log_create(&log, test, 1), 0);
    test_log_close(&log);
    replica_path(test, "replicas/1.7/00000000000000000001.log", path);
    assert_int_equal(sp_path_remove(path), 0);
    assert_int_equal(test_log_open(&log, test, 1), SPATE_ERR_CORRUPT);
    replica_path(test, "replicas/1.7/damaged", path);
    assert_true(sp_path_exists(path));
    assert_int_equal(test_log_open(&log, test, 1), SPATE_ERR_CORRUPT);
    assert_non_null(strstr(log.text, "found damaged before"));
}

/* A process that dies while it removes a replica leaves it to the next one. */
static void test_store_goes_on_with_a_removal(void **state)
{
    struct test_store *test = *state;
    char path[1024];

    replica_path(test, "quarantine/1.7.removing-1", path);
    assert_int_equal(sp_dir_create(path), 0);
    replica_path(test, "quarantine/1.7.damaged-1", path);
    assert_int_equal(sp_dir_create(path), 0);
    assert_int_equal(sp_store_quarantine_unknown(test->store), 0);
    test_store_close(test);
    test_store_open(test);
    assert_int_equal(count_quarantined(test, "1.7.", NULL, 0), 1);
    assert_int_equal(count_quarantined(test, "1.7.damaged-", NULL, 0), 1);
}

/* What nobody knew is kept, whatever it was called. */
static void test_store_keeps_what_is_only_called_like_a_removal(void **state)
{
    struct test_store *test = *state;
    char path[1024];

    replica_path(test, "replicas/1.7.removing-1", path);
    assert_int_equal(sp_dir_create(path), 0);
    replica_path(test, "quarantine/kept.removing-1", path);
    assert_int_equal(sp_dir_create(path), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(sp_store_quarantine_unknown(test->store), 0);
        test_store_close(test);
        test_store_open(test);
        assert_int_equal(count_quarantined(test, "1.7.removing-1.unknown-", NULL, 0), 1);
        assert_int_equal(count_quarantined(test, "kept.", NULL, 0), 1);
    }
}

/* Whatever fails while a replica is made, what was begun of it is gone before the next try. */
static void test_store_failed_creation_leaves_nothing(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    char path[1024];
    unsigned failures = 0;

    replica_path(test, "replicas/1.7", path);
    for (uint64_t n = 1; n < 100; n++) {
        sp_mem_fail_at(n);
        int rv = test_log_create(&log, test, 1);
        sp_mem_fail_at(0);
        if (rv == 0) {
            break;
        }
        assert_int_equal(rv, SPATE_ERR_NOMEM);
        failures += 1;
    }
    assert_int_equal(count_quarantined(test, "1.7.", NULL, 0), 0);
    assert_true(failures > 2);
    assert_true(sp_path_exists(path));
    test_log_close(&log);
}

/* A flush that cannot write ends everything: one report, no completion, no further append. */
static void test_store_failed_write_stops_the_node(void **state)
{
    struct test_store *test = *state;
    struct test_log log;
    char path[1024];
    char moved[1024];

    test->segment_bytes = 4096;
    test_store_close(test);
    test_store_open(test);
    assert_int_equal(test_log_create(&log, test, 1), 0);
    test_log_batch(&log, 1, 1, 10, 1);
    test_log_flush(&log);
    /* The next segment cannot be created: its directory is gone. */
    replica_path(test, "replicas/1.7", path);
    replica_path(test, "moved", moved);
    assert_int_equal(sp_path_rename(path, moved), 0);
    test_log_batch(&log, 1, 1, 10, 1);
    test_store_run(test, &test->failed);
    assert_int_equal(test->failed_status, SPATE_ERR_NOT_FOUND);
    assert_non_null(strstr(test->text, "failed in"));
    assert_int_equal(log.persisted, 1);
    assert_int_equal(sp_log_build(log.log, SP_FRAME_NOOP, 1, 0, NULL, 0, NULL), SPATE_ERR_STOPPED);
    assert_int_equal(sp_log_truncate(log.log, 1), SPATE_ERR_STOPPED);
    uint64_t durable = test->meta_durable;
    (void)sp_store_set_vote(test->store, 1, TEST_REPLICA_ID, 9, 9); /* never becomes durable */
    test_log_close(&log);
    assert_int_equal(test->meta_durable, durable);
    assert_int_equal(sp_path_rename(moved, path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_store_keeps_identity, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_store_second_opening_is_locked_out, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_store_of_another_node_is_refused, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_store_votes_of_one_turn_share_a_flush, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_store_registers_replicas_in_order, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_store_missing_replica_is_corrupt, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_store_unknown_directory_is_quarantined, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_store_delete_removes_files_after_the_registry, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_store_damaged_replica_is_kept_in_quarantine, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_store_opening_marks_what_is_damaged, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_store_goes_on_with_a_removal, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_store_keeps_what_is_only_called_like_a_removal, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_store_failed_creation_leaves_nothing, setup, test_store_teardown),
        cmocka_unit_test_setup_teardown(
            test_store_failed_write_stops_the_node, setup, test_store_teardown),
    };
    return cmocka_run_group_tests_name("storage/store", tests, NULL, NULL);
}
