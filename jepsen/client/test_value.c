/* A record that is not the one that was sent is told from it, whichever byte differs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "history.h"
#include "value.h"

enum {
    SIZE = 100,
};

static const struct jep_name name = { .client = 7, .partition = 3, .sequence = 70000 };

/* What jep_record_check says of a value and key that were made for `name`. */
static const char *check(const uint8_t *value, size_t size, const char *key, uint32_t partition)
{
    struct jep_name found;
    const struct jep_record record = {
        .key = key, .key_size = strlen(key), .value = value, .value_size = size
    };
    const char *bad = jep_record_check(&record, partition, 0, &found);

    if (bad == NULL) {
        assert_memory_equal(&found, &name, sizeof name);
    }
    return bad;
}

static void test_value_whole_record_has_its_name(void **state)
{
    uint8_t value[JEP_VALUE_MAX];
    char key[JEP_KEY_MAX];

    (void)state;
    (void)jep_key_make(&name, 0, key);
    for (size_t size = JEP_VALUE_MIN; size < 200; size++) {
        jep_value_make(&name, value, size);
        assert_null(check(value, size, key, name.partition));
    }
    jep_value_make(&name, value, JEP_VALUE_MAX);
    assert_null(check(value, JEP_VALUE_MAX, key, name.partition));
}

static void test_value_each_bit_that_flips_is_found(void **state)
{
    uint8_t value[SIZE];
    char key[JEP_KEY_MAX];

    (void)state;
    (void)jep_key_make(&name, 0, key);
    jep_value_make(&name, value, SIZE);
    for (size_t bit = 0; bit < 8 * (size_t)SIZE; bit++) {
        value[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_non_null(check(value, SIZE, key, name.partition));
        value[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_null(check(value, SIZE, key, name.partition));
}

static void test_value_other_sizes_keys_and_partitions_are_found(void **state)
{
    uint8_t value[SIZE];
    char key[JEP_KEY_MAX];

    (void)state;
    (void)jep_key_make(&name, 0, key);
    jep_value_make(&name, value, SIZE);
    for (size_t size = 0; size < SIZE; size++) {
        assert_non_null(check(value, size, key, name.partition));
    }
    assert_string_equal(check(value, SIZE, key, name.partition + 1), "partition");
    assert_string_equal(check(value, SIZE, "7.1", name.partition), "key");
}

static void test_value_halves_of_two_records_are_found(void **state)
{
    const struct jep_name other = { .client = 7, .partition = 3, .sequence = 70001 };
    uint8_t value[SIZE];
    uint8_t second[SIZE];
    char key[JEP_KEY_MAX];

    (void)state;
    (void)jep_key_make(&name, 0, key);
    jep_value_make(&name, value, SIZE);
    jep_value_make(&other, second, SIZE);
    memcpy(value + SIZE / 2, second + SIZE / 2, SIZE / 2);
    assert_string_equal(check(value, SIZE, key, name.partition), "bytes");
}

/* In a compacted topic: a tombstone is told by its header, and is one just where it must be. */
static void test_value_tombstones_are_told_by_their_header(void **state)
{
    enum {
        KEYS = 7,
        NAMES = 2000,
    };
    uint8_t value[SIZE];
    char key[JEP_KEY_MAX];
    uint32_t tombstones = 0;
    uint32_t used[KEYS] = { 0 };

    (void)state;
    for (uint32_t i = 0; i < NAMES; i++) {
        const struct jep_name one = { .client = 7, .partition = 3, .sequence = i };
        struct jep_name found;
        bool tombstone = jep_is_tombstone(&one, KEYS);
        size_t size = tombstone ? JEP_NAME_BYTES : SIZE;
        jep_value_make(&one, value, size);
        struct jep_record record = { .key = key, .key_size = jep_key_make(&one, KEYS, key) };
        *(tombstone ? &record.name : &record.value) = value;
        *(tombstone ? &record.name_size : &record.value_size) = size;
        assert_null(jep_record_check(&record, 3, KEYS, &found));
        assert_memory_equal(&found, &one, sizeof one);
        *(tombstone ? &record.value : &record.name) = value;
        *(tombstone ? &record.value_size : &record.name_size) = size;
        assert_string_equal(jep_record_check(&record, 3, KEYS, &found), "tombstone");
        *(tombstone ? &record.name : &record.value) = NULL;
        assert_string_equal(jep_record_check(&record, 3, KEYS, &found), "tombstone");
        tombstones += tombstone;
        used[jep_keyed_of(7, 3, i, KEYS).number] += 1;
    }
    assert_in_range(tombstones, NAMES / 8, NAMES / 3);
    assert_in_range(used[KEYS - 1], 1, used[0] / 4); /* the last one is rare */
    assert_false(jep_is_tombstone(&name, 0));
}

static void test_runs_join_neighbours_alone(void **state)
{
    static struct jep_runs runs;
    static const int64_t offsets[] = { 5, 6, 7, 9, 10, 11 };
    static const uint32_t clients[] = { 1, 1, 1, 1, 2, 2 };
    static const uint32_t sequences[] = { 0, 1, 3, 4, 5, 6 };

    (void)state;
    jep_runs_reset(&runs);
    assert_string_equal(jep_runs_text(&runs), "");
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(jep_runs_add(&runs, offsets[i], clients[i], sequences[i]), 0);
    }
    assert_string_equal(jep_runs_text(&runs), "5/1:0+2,7/1:3+1,9/1:4+1,10/2:5+2");
    jep_runs_reset(&runs);
    uint32_t added = 0;
    while (jep_runs_add(&runs, 2 * (int64_t)added, UINT32_MAX, added) == 0) {
        added += 1;
    }
    assert_in_range(strlen(jep_runs_text(&runs)), sizeof runs.text / 2, sizeof runs.text - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_value_whole_record_has_its_name),
        cmocka_unit_test(test_value_each_bit_that_flips_is_found),
        cmocka_unit_test(test_value_other_sizes_keys_and_partitions_are_found),
        cmocka_unit_test(test_value_halves_of_two_records_are_found),
        cmocka_unit_test(test_value_tombstones_are_told_by_their_header),
        cmocka_unit_test(test_runs_join_neighbours_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
