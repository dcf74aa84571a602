/* What replicas may have lost to compaction, and what not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "records.h"

enum {
    REPLICAS = 3,
};

static char findings[256];

static void note(void *arg,
                 const struct jep_records *having,
                 const struct jep_records *lacking,
                 const struct jep_left *left,
                 bool other)
{
    size_t size = strlen(findings);

    (void)arg;
    (void)snprintf(findings + size,
                   sizeof findings - size,
                   "%s%u>%u:%d",
                   other ? "!" : "",
                   having->node,
                   lacking->node,
                   (int)left->offset);
}

/* A replica in letters, one for each offset: a value of key `a`, a tombstone `A`, `.` nothing; `*`
 * in front of a letter: of other bytes. */
static struct jep_records make(uint32_t node, const char *text)
{
    struct jep_records records = { .node = node };
    int64_t offset = 0;

    for (const char *at = text; *at != '\0'; at++) {
        bool other = *at == '*';
        at += other;
        if (*at != '.') {
            char key = (char)(*at | 0x20);
            const struct jep_left left = {
                .offset = offset,
                .key = jep_hash(0, &key, 1),
                .hash = jep_hash(other, at, 1),
                .tombstone = *at != key,
            };
            assert_int_equal(jep_records_add(&records, &left), 0);
        }
        offset += 1;
    }
    records.to = offset;
    return records;
}

/* What is found of three replicas: "HAVING>LACKING:OFFSET", `!` in front: another record. */
static const char *compare(const char *one, const char *two, const char *three)
{
    struct jep_records all[REPLICAS] = { make(1, one), make(2, two), make(3, three) };

    findings[0] = '\0';
    assert_int_equal(jep_records_compare(all, REPLICAS, note, NULL), 0);
    for (size_t i = 0; i < REPLICAS; i++) {
        free(all[i].items);
    }
    return findings;
}

static void test_records_that_were_replaced_may_be_gone(void **state)
{
    (void)state;
    assert_string_equal(compare("aba", "aba", "aba"), "");
    assert_string_equal(compare("aba", ".ba", "aba"), "");
    assert_string_equal(compare("aaa", "..a", ".aa"), "");
    assert_string_equal(compare("", "", ""), "");
}

static void test_records_the_latest_of_a_key_must_be_there(void **state)
{
    (void)state;
    assert_string_equal(compare("aba", ".b.", "aba"), "1>2:01>2:23>2:03>2:2");
    assert_string_equal(compare("ab", "a.", "ab"), "1>2:13>2:1");
}

static void test_records_of_other_bytes_differ(void **state)
{
    (void)state;
    assert_string_equal(compare("ab", "a*b", "ab"), "!1>2:1!2>1:1!2>3:1!3>2:1");
    assert_string_equal(compare("ab", "aa", "ab"), "!1>2:1!2>1:1!2>3:1!3>2:1");
}

static void test_records_tombstones_go_when_nobody_has_older_ones(void **state)
{
    (void)state;
    assert_string_equal(compare(".Ab", "..b", ".Ab"), "");
    assert_string_equal(compare(".Ab", "..b", "aAb"), "1>2:13>2:03>2:1");
    assert_string_equal(compare("aAb", "..b", "..b"), "1>2:01>2:11>3:01>3:1");
    assert_string_equal(compare("aAba", "...a", ".A.a"), "1>2:21>3:2"); /* `b` is gone */
}

static void test_records_behind_the_end_or_before_the_start_are_not_compared(void **state)
{
    struct jep_records all[2] = { make(1, "abcd"), make(2, ".b..") };

    (void)state;
    all[1].from = 1;
    all[1].to = 2;
    findings[0] = '\0';
    assert_int_equal(jep_records_compare(all, 2, note, NULL), 0);
    assert_string_equal(findings, "");
    all[1].to = 3;
    assert_int_equal(jep_records_compare(all, 2, note, NULL), 0);
    assert_string_equal(findings, "1>2:2");
    free(all[0].items);
    free(all[1].items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records_that_were_replaced_may_be_gone),
        cmocka_unit_test(test_records_the_latest_of_a_key_must_be_there),
        cmocka_unit_test(test_records_of_other_bytes_differ),
        cmocka_unit_test(test_records_tombstones_go_when_nobody_has_older_ones),
        cmocka_unit_test(test_records_behind_the_end_or_before_the_start_are_not_compared),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
