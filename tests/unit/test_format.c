#include "cli/format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"
#include "cli/value.h"
#include "spate/error.h"

enum {
    RECORDS = 40,
    VALUE_MAX = 50,
};

static struct sp_buf printed;

static void collect(const void *bytes, size_t size)
{
    assert_int_equal(sp_buf_append(&printed, bytes, size), 0);
}

static struct format parse(const char *text)
{
    struct format format = { 0 };
    const char *error = NULL;

    assert_int_equal(format_parse(text, &format, &error), 0);
    return format;
}

static void print_one(const char *text, const struct spate_message *message, const char *expected)
{
    struct format format = parse(text);

    sp_buf_init(&printed, 1024);
    format_print(&format, message, 7, collect);
    assert_int_equal(printed.size, strlen(expected));
    if (printed.size > 0) {
        assert_memory_equal(printed.bytes, expected, printed.size);
    }
    sp_buf_deinit(&printed);
    format_deinit(&format);
}

static void test_format_prints_every_field(void **state)
{
    static const struct spate_header headers[] = {
        { .name = "a", .name_size = 1, .value = "x", .value_size = 1 },
        { .name = "b", .name_size = 1, .value = NULL, .value_size = 0 },
    };
    static const struct spate_message message = {
        .topic = "orders",
        .partition = 3,
        .offset = 42,
        .timestamp_ms = 1700000000000,
        .key = "k\x01",
        .key_size = 2,
        .value = "hello",
        .value_size = 5,
        .headers = headers,
        .header_count = 2,
        .epoch = 9,
    };

    (void)state;
    print_one("%t %p %o %T %K %V %S\\n", &message, "orders 3 42 1700000000000 2 5 5\n");
    print_one("%v|%s|%h|%%|\\x41\\t\\\\", &message, "hello|hello|a=x,b=|%|A\t\\");
    print_one("%k{hex} %v{base64}", &message, "6b01 aGVsbG8=");
    print_one("%V{big16}", &(struct spate_message){ .value_size = 0x4142 }, "AB");
    print_one("%V{little32}", &(struct spate_message){ .value_size = 0x44434241 }, "ABCD");
    print_one("%e %i", &message, "9 7");
    print_one("%k{json} %v{json}", &message, "\"k\\u0001\" \"hello\"");
    print_one("%v{json}%k{json}",
              &(struct spate_message){ .value = "\xff", .value_size = 1 },
              "{\"$bin\":\"/w==\"}null");
    print_one("", &message, "");
}

static void test_format_dates_are_utc(void **state)
{
    static const struct spate_message message = { .timestamp_ms = 1700000000123 };

    (void)state;
    print_one("%d", &message, "2023-11-14T22:13:20.123Z");
    print_one("%d{%F}|%d{strftime[%H:%M]}", &message, "2023-11-14|22:13");
    print_one("%d", &(struct spate_message){ .timestamp_ms = -1 }, "1969-12-31T23:59:59.999Z");
}

static void test_format_illegal_text_is_refused(void **state)
{
    static const char *const bad[] = {
        "%",       "%x",       "\\",       "\\q",     "\\x4", "%v{",  "%v{big32}",
        "%V{hex}", "%V{}",     "%V{big32", "%p{utf}", "%d{",  "%d{}", "%d{strftime[]}",
        "%t{hex}", "%h{json}", "%V{json}"
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct format format;
        const char *error = NULL;
        assert_int_equal(format_parse(bad[i], &format, &error), SPATE_ERR_INVALID);
        assert_non_null(error);
    }
}

static void test_format_unreadable_is_named(void **state)
{
    static const char *const bad[] = { "%t%v\\n",
                                       "%h",
                                       "%k%v",
                                       "%v%k\\n",
                                       "%d %v\\n",
                                       "\\n",
                                       "%o",
                                       "%v %v\\n",
                                       "%e %v",
                                       "%i:%v",
                                       "%V{big32}%v{hex}%k\\n" };
    static const char *const good[] = { "%v",
                                        "%v\\n",
                                        "%k\\t%v\\n",
                                        "%V{big32}%v",
                                        "%K %k%V %v",
                                        "%p %T %K{byte}%k%v\\n",
                                        "%t %h %v{hex}\\n",
                                        "%k{json}:%v{base64}\\n" };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct format format = parse(bad[i]);
        assert_non_null(format_readable(&format));
        format_deinit(&format);
    }
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct format format = parse(good[i]);
        assert_null(format_readable(&format));
        format_deinit(&format);
    }
}

/* ---- round trips ----------------------------------------------------------------------------- */

struct sample {
    uint8_t key[VALUE_MAX];
    size_t key_size;
    uint8_t value[VALUE_MAX];
    size_t value_size;
};

/* Bytes of any value, or without those that separate fields. */
static size_t random_bytes(struct sp_rand *rand, uint8_t *bytes, bool text)
{
    size_t size = (size_t)sp_rand_below(rand, VALUE_MAX);

    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(text ? 'a' + sp_rand_below(rand, 26) : sp_rand_below(rand, 256));
    }
    return size;
}

/* Reads all records back, given in steps that grow by `step` bytes. */
static void read_back(const struct format *format, const struct sample *samples, size_t step)
{
    size_t position = 0;
    size_t given = 0;
    size_t count = 0;

    while (position < printed.size) {
        struct format_record record;
        size_t used = 0;
        bool at_end = given == printed.size;
        int rv =
            format_read(format, printed.bytes + position, given - position, at_end, &record, &used);
        if (rv == SPATE_ERR_AGAIN) {
            assert_false(at_end);
            given = given + step < printed.size ? given + step : printed.size;
            continue;
        }
        assert_int_equal(rv, 0);
        assert_true(count < RECORDS);
        assert_int_equal(record.value_size, samples[count].value_size);
        assert_memory_equal(record.value, samples[count].value, record.value_size);
        assert_int_equal(record.key_size, samples[count].key_size);
        assert_memory_equal(record.key, samples[count].key, record.key_size);
        position += used;
        count += 1;
    }
    assert_int_equal(count, RECORDS);
}

static void round_trip(const char *text, bool separable)
{
    struct format format = parse(text);
    struct sample samples[RECORDS];
    struct sp_rand rand;

    sp_rand_init(&rand, 5);
    sp_buf_init(&printed, 1024 * 1024);
    for (size_t i = 0; i < RECORDS; i++) {
        samples[i].key_size = random_bytes(&rand, samples[i].key, separable);
        samples[i].value_size = random_bytes(&rand, samples[i].value, separable);
        struct spate_message message = {
            .topic = "t",
            .key = samples[i].key,
            .key_size = samples[i].key_size,
            .value = samples[i].value,
            .value_size = samples[i].value_size,
            .timestamp_ms = 77,
        };
        format_print(&format, &message, i + 1, collect);
    }
    for (size_t step = 1; step < 70; step += 17) {
        read_back(&format, samples, step);
    }
    sp_buf_deinit(&printed);
    format_deinit(&format);
}

static void test_format_round_trip_keeps_any_bytes(void **state)
{
    (void)state;
    round_trip("%K{big32}%k%V{big32}%v", false);
    round_trip("%K{little16}%V{byte}%k%v\\n", false);
    round_trip("%K %k%V:%v", false);
    round_trip("%T %K{big64}%k%V{little64}%v;;", false);
    round_trip("%k\\t%v\\n", true);
    round_trip("%k==%v\\r\\n", true);
}

static int read_text(const char *text, const char *input, bool at_end, struct format_record *record)
{
    struct format format = parse(text);
    size_t used = 0;
    int rv = format_read(&format, (const uint8_t *)input, strlen(input), at_end, record, &used);

    format_deinit(&format);
    return rv;
}

static void test_format_last_line_may_lack_its_newline(void **state)
{
    struct format_record record;

    (void)state;
    assert_int_equal(read_text("%v\\n", "abc", false, &record), SPATE_ERR_AGAIN);
    assert_int_equal(read_text("%v\\n", "abc", true, &record), 0);
    assert_int_equal(record.value_size, 3);
    assert_null(record.key);
    assert_int_equal(read_text("%v\\n", "\n", false, &record), 0);
    assert_int_equal(record.value_size, 0);
    assert_non_null(record.value);
    assert_int_equal(read_text("%k:%v\\n", "abc", true, &record), SPATE_ERR_AGAIN);
}

static void test_format_bad_numbers_are_malformed(void **state)
{
    struct format_record record;

    (void)state;
    assert_int_equal(read_text("%V %v", "x abc", true, &record), SPATE_ERR_MALFORMED);
    assert_int_equal(read_text("%V %v", "-3 abc", true, &record), SPATE_ERR_MALFORMED);
    assert_int_equal(read_text("%V %v", "99999999999999999999 a", true, &record),
                     SPATE_ERR_MALFORMED);
    assert_int_equal(read_text("%V %v", "4 abc", true, &record), SPATE_ERR_AGAIN);
    assert_int_equal(read_text("%V{big64}%v", "\xff\xff\xff\xff\xff\xff\xff\xff", true, &record),
                     SPATE_ERR_MALFORMED);
    assert_int_equal(read_text("%p|%v\\n", "7|abc\n", false, &record), 0);
    assert_int_equal(record.partition, 7);
    assert_int_equal(read_text("[%v]", "(abc]", false, &record), SPATE_ERR_MALFORMED);
}

/* ---- codings --------------------------------------------------------------------------------- */

static int decode_text(const char *text,
                       const char *input,
                       struct format_scratch *scratch,
                       struct format_record *record)
{
    struct format format = parse(text);
    size_t used = 0;
    int rv = format_read(&format, (const uint8_t *)input, strlen(input), true, record, &used);

    if (rv == 0) {
        rv = format_decode(&format, scratch, record);
    }
    format_deinit(&format);
    return rv;
}

static void test_format_codings_are_read(void **state)
{
    struct format_scratch scratch;
    struct format_record record;

    (void)state;
    format_scratch_init(&scratch);
    assert_int_equal(decode_text("%k{hex} %v{base64}\\n", "00fF aGVsbG8=\n", &scratch, &record), 0);
    assert_int_equal(record.key_size, 2);
    assert_memory_equal(record.key, "\x00\xff", 2);
    assert_int_equal(record.value_size, 5);
    assert_memory_equal(record.value, "hello", 5);
    assert_int_equal(
        decode_text("%k{json}:%v{json}\\n", "null:\"a\\nb\\u0000\"\n", &scratch, &record), 0);
    assert_null(record.key);
    assert_int_equal(record.value_size, 4);
    assert_memory_equal(record.value, "a\nb\0", 4);
    assert_int_equal(decode_text("%v{json}", "{\"$bin\":\"/w==\"}", &scratch, &record), 0);
    assert_memory_equal(record.value, "\xff", 1);
    assert_int_equal(decode_text("%k %v{hex}\\n", "a \n", &scratch, &record), 0);
    assert_non_null(record.value); /* empty, which is not none */
    assert_int_equal(record.value_size, 0);
    format_scratch_deinit(&scratch);
}

static void test_format_wrong_codings_are_malformed(void **state)
{
    static const char *const bad[][2] = { { "%v{hex}", "abc" },   { "%v{hex}", "0g" },
                                          { "%v{base64}", "a" },  { "%v{json}", "\"a" },
                                          { "%v{json}", "1" },    { "%v{json}", "{\"a\":1}" },
                                          { "%h|%v", "plain|v" }, { "%h|%v", "=1|v" } };
    struct format_scratch scratch;
    struct format_record record;

    (void)state;
    format_scratch_init(&scratch);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(decode_text(bad[i][0], bad[i][1], &scratch, &record), SPATE_ERR_MALFORMED);
    }
    format_scratch_deinit(&scratch);
}

static void test_format_topics_and_headers_are_read(void **state)
{
    struct format_scratch scratch;
    struct format_record record;

    (void)state;
    format_scratch_init(&scratch);
    assert_int_equal(decode_text("%t|%h|%v\\n", "orders|a=1,b=x=y,c=|hi\n", &scratch, &record), 0);
    assert_int_equal(record.topic_size, 6);
    assert_memory_equal(record.topic, "orders", 6);
    assert_int_equal(record.header_count, 3);
    assert_int_equal(record.headers[1].name_size, 1);
    assert_int_equal(record.headers[1].value_size, 3);
    assert_memory_equal(record.headers[1].value, "x=y", 3);
    assert_int_equal(record.headers[2].value_size, 0);
    assert_int_equal(decode_text("%h|%v\\n", "|hi\n", &scratch, &record), 0);
    assert_int_equal(record.header_count, 0);
    format_scratch_deinit(&scratch);
}

/* ---- values of call -------------------------------------------------------------------------- */

static void value_round_trip(const char *text)
{
    json_error_t error;
    json_t *value = json_loads(text, JSON_DECODE_ANY, &error);
    struct sp_pack pack;
    struct sp_buf buf;
    struct sp_cursor cursor;

    assert_non_null(value);
    sp_buf_init(&buf, 65536);
    sp_pack_init(&pack, &buf);
    value_pack(&pack, value);
    assert_int_equal(sp_pack_status(&pack), 0);
    sp_cursor_init(&cursor, buf.bytes, buf.size);
    json_t *back = value_read(&cursor);
    assert_non_null(back);
    assert_int_equal(json_equal(value, back), 1);
    json_decref(back);
    json_decref(value);
    sp_buf_deinit(&buf);
}

static void test_value_round_trip_keeps_json(void **state)
{
    (void)state;
    value_round_trip("{\"a\":[1,-2,3.5,null,true,false,\"x\\u00e4\"],\"b\":{},\"c\":[]}");
    value_round_trip("{\"r\":{\"$bin\":\"/wABAg==\"}}");
    value_round_trip("9223372036854775807");
}

static void test_value_too_deep_or_no_base64_is_refused(void **state)
{
    char deep[101];
    json_error_t error;
    struct sp_buf buf;
    struct sp_pack pack;

    (void)state;
    memset(deep, '[', 50);
    memset(deep + 50, ']', 50);
    deep[100] = '\0';
    sp_buf_init(&buf, 65536);
    for (int i = 0; i < 2; i++) {
        json_t *value = json_loads(i == 0 ? deep : "{\"$bin\":\"a\"}", 0, &error);
        sp_pack_init(&pack, &buf);
        value_pack(&pack, value);
        assert_int_equal(sp_pack_status(&pack), SPATE_ERR_INVALID);
        json_decref(value);
    }
    sp_buf_deinit(&buf);
}

static void test_value_base64_every_size(void **state)
{
    uint8_t bytes[20];

    (void)state;
    for (size_t size = 0; size < sizeof bytes; size++) {
        size_t back_size = 99;
        memset(bytes, (int)(200 + size), sizeof bytes);
        char *text = base64_encode(bytes, size);
        uint8_t *back = base64_decode(text, &back_size);
        assert_non_null(back);
        assert_int_equal(back_size, size);
        assert_memory_equal(back, bytes, size);
        free(back);
        free(text);
    }
    size_t size = 0;
    assert_null(base64_decode("a===", &size));
    assert_null(base64_decode("ab=c", &size));
    assert_null(base64_decode("aa==aaaa", &size));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format_prints_every_field),
        cmocka_unit_test(test_format_dates_are_utc),
        cmocka_unit_test(test_format_codings_are_read),
        cmocka_unit_test(test_format_wrong_codings_are_malformed),
        cmocka_unit_test(test_format_topics_and_headers_are_read),
        cmocka_unit_test(test_format_illegal_text_is_refused),
        cmocka_unit_test(test_format_unreadable_is_named),
        cmocka_unit_test(test_format_round_trip_keeps_any_bytes),
        cmocka_unit_test(test_format_last_line_may_lack_its_newline),
        cmocka_unit_test(test_format_bad_numbers_are_malformed),
        cmocka_unit_test(test_value_round_trip_keeps_json),
        cmocka_unit_test(test_value_too_deep_or_no_base64_is_refused),
        cmocka_unit_test(test_value_base64_every_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
