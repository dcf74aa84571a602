#include "cli/cli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/bounds.h"
#include "cli/input.h"
#include "cli/resume.h"
#include "cli/when.h"
#include "io/clock.h"

/* ---- resuming -------------------------------------------------------------------------------- */

static int32_t route(struct resume *resume, const char *key, int32_t partition, bool skips)
{
    struct spate_record record = { .partition = partition,
                                   .key = key,
                                   .key_size = key == NULL ? 0 : strlen(key) };

    assert_int_equal(resume_skips(resume, &record), skips);
    return record.partition;
}

static void test_resume_skips_what_each_partition_has(void **state)
{
    uint64_t stored[3] = { 2, 0, 1 };
    uint64_t seen[3] = { 0 };
    struct resume resume = { .name = "n", .partitions = 3, .stored = stored, .seen = seen };

    (void)state;
    assert_int_equal(route(&resume, NULL, SPATE_PARTITION_ANY, true), 0);
    assert_int_equal(route(&resume, NULL, SPATE_PARTITION_ANY, false), 1);
    assert_int_equal(resume_end(&resume), EXIT_FAILED); /* fewer records than are stored */
    assert_int_equal(route(&resume, NULL, SPATE_PARTITION_ANY, true), 2);
    assert_int_equal(route(&resume, NULL, 0, true), 0);
    assert_int_equal(route(&resume, NULL, SPATE_PARTITION_ANY, false), 1); /* the fifth: 4 % 3 */
    assert_int_equal(route(&resume, NULL, 0, false), 0);
    assert_int_equal(route(&resume, "k", SPATE_PARTITION_ANY, false),
                     spate_partition_of_key("k", 1, 3));
    assert_int_equal(route(&resume, NULL, 7, false), 7); /* for the library to refuse */
    assert_int_equal(resume.skipped, 3);
    assert_int_equal(resume_end(&resume), 0);
}

static void test_resume_layout_names_what_decides_and_is_plain(void **state)
{
    struct resume_rules rules = { "orders", 6, -1, NULL, "%v\\n" };
    struct resume_rules keyed = { "orders", 6, 2, "a\tb\xff", "," };
    char layout[250];
    char long_text[400];

    (void)state;
    resume_layout(layout, sizeof layout, &rules);
    assert_memory_equal(layout, "partitions=6 to=any key= split=%v\\n topic=orders rules=", 51);
    resume_layout(layout, sizeof layout, &keyed);
    assert_memory_equal(layout, "partitions=6 to=2 key=a?b? split=, topic=orders rules=", 54);
    struct resume_rules similar = keyed;
    char other[250];
    similar.key = "a\tb\xc3"; /* looks the same in plain text */
    resume_layout(other, sizeof other, &similar);
    assert_string_not_equal(layout, other);
    memset(long_text, 'x', sizeof long_text);
    long_text[sizeof long_text - 1] = '\0';
    keyed = (struct resume_rules){ long_text, UINT32_MAX, INT32_MAX, long_text, long_text };
    resume_layout(layout, sizeof layout, &keyed);
    assert_non_null(strstr(layout, " topic=x")); /* nothing is cut off at the end */
    assert_true(strlen(layout) < sizeof layout - 1);
}

/* ---- words ----------------------------------------------------------------------------------- */

static void test_when_durations(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        { "30s", 30000 }, { "500ms", 500 }, { "2m", 120000 }, { "1h", 3600000 }, { "0", 0 }
    };
    static const char *const bad[] = { "", "s", "1x", "-1s", "1 s", "7", "99999999999999s" };
    int64_t ms = -1;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(parse_duration(good[i].text, &ms));
        assert_int_equal(ms, good[i].ms);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(parse_duration(bad[i], &ms));
    }
}

static void test_when_points_in_time(void **state)
{
    int64_t ms = -1;

    (void)state;
    assert_true(parse_time("1700000000000", &ms));
    assert_int_equal(ms, 1700000000000);
    assert_true(parse_time("2023-11-14T22:13:20Z", &ms));
    assert_int_equal(ms, 1700000000000);
    assert_true(parse_time("2023-11-14", &ms));
    assert_int_equal(ms, 1699920000000);
    assert_true(parse_time("-1h", &ms));
    assert_true(sp_clock_wall_ms() - ms >= 3600000);
    assert_true(sp_clock_wall_ms() - ms < 3600000 + 5000);
    assert_false(parse_time("yesterday", &ms));
    assert_false(parse_time("", &ms));
}

static void test_when_rates(void **state)
{
    int64_t rate = 0;

    (void)state;
    assert_true(parse_rate("5000", &rate));
    assert_int_equal(rate, 5000);
    assert_true(parse_rate("7/s", &rate));
    assert_int_equal(rate, 7);
    assert_false(parse_rate("0", &rate));
    assert_false(parse_rate("7/m", &rate));
    assert_false(parse_rate("", &rate));
}

static void test_commands_are_complete(void **state)
{
    (void)state;
    for (size_t i = 0; i < command_count; i++) {
        assert_non_null(commands[i].verb);
        assert_non_null(commands[i].run);
        assert_true(strlen(commands[i].summary) > 10);
    }
}

static void test_exit_codes_tell_kinds_of_failure(void **state)
{
    (void)state;
    assert_int_equal(exit_code_of(0), 0);
    assert_int_equal(exit_code_of(SPATE_ERR_INVALID), 1);
    assert_int_equal(exit_code_of(SPATE_ERR_UNKNOWN_TOPIC), 3);
    assert_int_equal(exit_code_of(SPATE_ERR_UNREACHABLE), 4);
    assert_int_equal(exit_code_of(SPATE_ERR_TIMEOUT), 6);
}

/* ---- bounds ---------------------------------------------------------------------------------- */

static bool
take(struct bounds *bounds, const char *topic, int32_t partition, int64_t offset, int64_t time_ms)
{
    struct spate_message message = {
        .topic = topic, .partition = partition, .offset = offset, .timestamp_ms = time_ms
    };

    return bounds_take(bounds, &message);
}

static void test_bounds_of_offsets_close_one_by_one(void **state)
{
    struct bounds bounds = { .at_ms = -1, .set = true };

    (void)state;
    assert_true(bounds_add(&bounds, &(struct bound){ "a", 0, 5, 7, false }));
    assert_true(bounds_add(&bounds, &(struct bound){ "b", 0, 6, 7, false }));
    assert_true(bounds_add(&bounds, &(struct bound){ "b", 1, 7, 7, false }));
    assert_int_equal(bounds.open, 2); /* the last has nothing to read */
    assert_true(take(&bounds, "a", 0, 5, 0));
    assert_true(take(&bounds, "b", 0, 6, 0));
    assert_false(bounds.surplus);
    assert_false(bounds_reached(&bounds));
    assert_false(take(&bounds, "b", 0, 7, 0));
    assert_true(bounds.surplus);
    assert_true(take(&bounds, "a", 0, 6, 0));
    assert_true(bounds_reached(&bounds));
    assert_false(take(&bounds, "a", 0, 7, 0));
    bounds_free(&bounds);
}

static void test_bounds_of_a_moment_close_at_its_first_record(void **state)
{
    struct bounds bounds = { .at_ms = 1000, .set = true };

    (void)state;
    assert_true(bounds_add(&bounds, &(struct bound){ "a", 0, 0, BOUND_UNKNOWN, false }));
    assert_true(bounds_add(&bounds, &(struct bound){ "a", 1, 3, BOUND_UNKNOWN, false }));
    assert_true(take(&bounds, "a", 0, 0, 999));
    assert_false(take(&bounds, "a", 0, 1, 1000));
    assert_false(take(&bounds, "a", 0, 2, 998)); /* behind the first of that moment */
    assert_int_equal(bounds.open, 1);
    bounds_stop_at(&bounds, &bounds.list[1], 4);
    assert_false(bounds_reached(&bounds));
    assert_true(take(&bounds, "a", 1, 3, 5));
    assert_true(bounds_reached(&bounds));
    bounds_free(&bounds);
}

static void test_bounds_close_where_the_reader_stands_behind_them(void **state)
{
    struct bounds bounds = { .at_ms = -1, .set = true };

    (void)state;
    assert_true(bounds_add(&bounds, &(struct bound){ "a", 0, 0, 7, false }));
    assert_true(bounds_add(&bounds, &(struct bound){ "a", 1, 0, 7, false }));
    bounds_pass(&bounds, &bounds.list[0], SPATE_OFFSET_END); /* not known yet */
    bounds_pass(&bounds, &bounds.list[0], 6);
    assert_int_equal(bounds.open, 2);
    assert_int_equal(bounds.list[0].next, 6);
    bounds_pass(&bounds, &bounds.list[0], 10);
    bounds_pass(&bounds, &bounds.list[0], 12);
    assert_int_equal(bounds.open, 1);
    bounds_pass(&bounds, &bounds.list[1], 7);
    assert_true(bounds_reached(&bounds));
    bounds_free(&bounds);
}

/* ---- input ----------------------------------------------------------------------------------- */

/* A file with this content; its name is valid until the next call. */
static const char *file_of(const void *bytes, size_t size)
{
    static char path[] = "spate-test-input-XXXXXX";

    memcpy(path + sizeof path - 7, "XXXXXX", 6);
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    for (size_t written = 0; written < size;) {
        ssize_t now = write(descriptor, (const char *)bytes + written, size - written);
        assert_true(now > 0);
        written += (size_t)now;
    }
    assert_int_equal(close(descriptor), 0);
    return path;
}

static void test_input_lines_of_any_size_come_whole(void **state)
{
    enum {
        LINES = 7,
        TOTAL = 3 * 1024 * 1024
    };
    static const size_t sizes[LINES] = { 0, 900 * 1024, 1, 1024 * 1024, 0, 70000, 5 };
    struct format format;
    const char *error = NULL;
    char *content = malloc(TOTAL);
    size_t size = 0;

    (void)state;
    assert_non_null(content);
    for (int i = 0; i < LINES; i++) {
        memset(content + size, 'a' + i, sizes[i]);
        size += sizes[i];
        content[size++] = '\n';
    }
    const char *path = file_of(content, size);
    assert_int_equal(format_parse("%v\\n", &format, &error), 0);
    struct input_reader *reader = input_open(path, &format, NULL, 0);
    assert_non_null(reader);
    struct format_record record;
    for (int i = 0; i < LINES; i++) {
        assert_int_equal(input_next(reader, &record), INPUT_RECORD);
        assert_int_equal(record.value_size, sizes[i]);
        assert_non_null(record.value);
        assert_true(sizes[i] == 0 || record.value[sizes[i] - 1] == 'a' + i);
    }
    assert_int_equal(input_next(reader, &record), INPUT_END);
    input_close(reader);
    format_deinit(&format);
    free(content);
    assert_int_equal(unlink(path), 0);
}

static void test_input_key_delimiter_splits_the_line_once(void **state)
{
    static const char content[] = "a\tb\tc\nplain\n\tx\nk\t";
    static const struct {
        const char *key;
        const char *value;
    } expected[] = { { "a", "b\tc" }, { NULL, "plain" }, { "", "x" }, { "k", "" } };
    struct format_record record;
    const char *path = file_of(content, sizeof content - 1);
    struct input_reader *reader = input_open(path, NULL, "\t", 1);

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(input_next(reader, &record), INPUT_RECORD);
        assert_int_equal(record.key == NULL, expected[i].key == NULL);
        assert_int_equal(record.key_size, expected[i].key == NULL ? 0 : strlen(expected[i].key));
        assert_int_equal(record.value_size, strlen(expected[i].value));
        assert_memory_equal(record.value, expected[i].value, record.value_size);
    }
    assert_int_equal(input_next(reader, &record), INPUT_END);
    input_close(reader);
    assert_int_equal(unlink(path), 0);
}

static void test_input_cut_short_is_a_failure(void **state)
{
    struct format format;
    const char *error = NULL;
    struct format_record record;
    const char *path = file_of("\0\0\0\5abc", 7);

    (void)state;
    assert_int_equal(format_parse("%V{big32}%v", &format, &error), 0);
    struct input_reader *reader = input_open(path, &format, NULL, 0);
    assert_int_equal(input_next(reader, &record), INPUT_FAILED);
    input_close(reader);
    format_deinit(&format);
    assert_int_equal(unlink(path), 0);
    assert_null(input_open("no-such-file-here", NULL, NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resume_skips_what_each_partition_has),
        cmocka_unit_test(test_resume_layout_names_what_decides_and_is_plain),
        cmocka_unit_test(test_when_durations),
        cmocka_unit_test(test_when_points_in_time),
        cmocka_unit_test(test_when_rates),
        cmocka_unit_test(test_bounds_of_offsets_close_one_by_one),
        cmocka_unit_test(test_bounds_of_a_moment_close_at_its_first_record),
        cmocka_unit_test(test_bounds_close_where_the_reader_stands_behind_them),
        cmocka_unit_test(test_commands_are_complete),
        cmocka_unit_test(test_exit_codes_tell_kinds_of_failure),
        cmocka_unit_test(test_input_lines_of_any_size_come_whole),
        cmocka_unit_test(test_input_key_delimiter_splits_the_line_once),
        cmocka_unit_test(test_input_cut_short_is_a_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
