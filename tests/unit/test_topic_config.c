#include "cluster/topic_config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "spate/error.h"

static int set(struct sp_topic_config *config, const char *name, const char *value)
{
    char text[320];

    return sp_topic_config_set(
        config, sp_bytes_text(name), sp_bytes_text(value), text, sizeof text);
}

static void test_topic_config_defaults_and_overrides(void **state)
{
    struct sp_topic_config config = { .set = 0 };

    (void)state;
    assert_int_equal(sp_topic_config_value(&config, SP_TOPIC_RETENTION_MS), SP_TOPIC_UNLIMITED);
    assert_int_equal(sp_topic_config_value(&config, SP_TOPIC_MESSAGE_BYTES_MAX),
                     SP_BATCH_BYTES_MAX_DEFAULT);
    assert_int_equal(sp_topic_config_value(&config, SP_TOPIC_SEGMENT_BYTES), 0);
    assert_int_equal(set(&config, "retention.ms", "60000"), 0);
    assert_int_equal(set(&config, "message.timestamp.type", "LogAppendTime"), 0);
    assert_int_equal(sp_topic_config_value(&config, SP_TOPIC_RETENTION_MS), 60000);
    assert_int_equal(sp_topic_config_value(&config, SP_TOPIC_TIMESTAMP_TYPE),
                     SP_TOPIC_LOG_APPEND_TIME);
    assert_true(sp_topic_config_has(&config, SP_TOPIC_RETENTION_MS));
    assert_false(sp_topic_config_has(&config, SP_TOPIC_RETENTION_BYTES));
    const struct sp_topic_config change = { .set = 1U << SP_TOPIC_RETENTION_BYTES,
                                            .values = { [SP_TOPIC_RETENTION_BYTES] = 7 } };
    sp_topic_config_change(&config, &change, 1U << SP_TOPIC_RETENTION_MS);
    assert_int_equal(sp_topic_config_value(&config, SP_TOPIC_RETENTION_BYTES), 7);
    assert_int_equal(sp_topic_config_value(&config, SP_TOPIC_RETENTION_MS), SP_TOPIC_UNLIMITED);
    assert_true(sp_topic_config_is_valid(&config));
}

static void test_topic_config_times_and_sizes_take_units(void **state)
{
    struct sp_topic_config config = { .set = 0 };

    (void)state;
    assert_int_equal(set(&config, "retention.ms", "7d"), 0);
    assert_int_equal(set(&config, "retention.bytes", "10G"), 0);
    assert_int_equal(set(&config, "segment.bytes", "64MiB"), 0);
    assert_int_equal(set(&config, "segment.ms", "1h"), 0);
    assert_int_equal(sp_topic_config_value(&config, SP_TOPIC_RETENTION_MS), 604800000);
    assert_int_equal(sp_topic_config_value(&config, SP_TOPIC_RETENTION_BYTES),
                     INT64_C(10737418240));
    assert_int_equal(sp_topic_config_value(&config, SP_TOPIC_SEGMENT_BYTES), 67108864);
    assert_int_equal(sp_topic_config_value(&config, SP_TOPIC_SEGMENT_MS), 3600000);
    assert_int_equal(set(&config, "retention.ms", "-1"), 0);
    assert_int_equal(sp_topic_config_value(&config, SP_TOPIC_RETENTION_MS), SP_TOPIC_UNLIMITED);
}

static void test_topic_config_wrong_values_change_nothing(void **state)
{
    static const char *const wrong[][2] = {
        { "retention.ms", "" },
        { "retention.ms", "-" },
        { "retention.ms", "1x" },
        { "retention.ms", "99999999999999999999" },
        { "retention.ms", "-2" },
        { "retention.ms", "0" },
        { "segment.bytes", "65535" },
        { "segment.bytes", "1073741825" },
        { "segment.ms", "999" },
        { "max.message.bytes", "-1" },
        { "durability", "memory" },
        { "cleanup.policy", "" },
        { "retention.ms", "36601d" },
        { "retention.ms", "5M" },
        { "retention.ms", "-1d" },
        { "segment.bytes", "2G" },
        { "segment.bytes", "1h" },
        { "segment.bytes", "9999999T" },
        { "delete.retention.ms", "-1" },
        { "Retention.ms", "1" },
        { "", "1" },
    };
    struct sp_topic_config config = { .set = 0 };

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(set(&config, wrong[i][0], wrong[i][1]), SPATE_ERR_INVALID);
        assert_int_equal(config.set, 0);
    }
}

static void test_topic_config_explains_every_key(void **state)
{
    static const char *const some[][3] = {
        { "retention.ms", "1ms to 36600d, or -1: no limit", "-1: no limit" },
        { "segment.bytes", "64KiB to 1GiB", "storage.segment.bytes of each node" },
        { "max.message.bytes", "1KiB to 8MiB", "1088KiB" },
        { "delete.retention.ms", "0 to 36600d", "1d" },
        { "min.compaction.lag.ms", "0 to 36600d", "0" },
        { "cleanup.policy", "delete, compact or compact,delete", "delete" },
        { "durability", "disk", "disk" },
        { "message.timestamp.type", "CreateTime or LogAppendTime", "CreateTime" },
    };
    struct sp_topic_key_text text;

    (void)state;
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        sp_topic_key_explain(sp_topic_key_find(sp_bytes_text(some[i][0])), &text);
        assert_string_equal(text.allowed, some[i][1]);
        assert_string_equal(text.initial, some[i][2]);
    }
    for (unsigned i = 0; i < SP_TOPIC_KEY_COUNT; i++) {
        sp_topic_key_explain((enum sp_topic_key)i, &text);
        assert_true(text.allowed[0] != '\0' && strlen(text.allowed) + 1 < sizeof text.allowed);
        assert_true(text.initial[0] != '\0' && strlen(text.initial) + 1 < sizeof text.initial);
    }
}

/* What was typed stands in the refusal, cut between characters; a slip is recognized. */
static void test_topic_config_refusals_name_what_was_typed(void **state)
{
    struct sp_topic_config config = { .set = 0 };
    char text[320];
    char umlauts[2 * 33 + 2] = "x"; /* 'x', then so many of two bytes that 64 ends within one */

    (void)state;
    assert_int_equal(
        sp_topic_config_set(
            &config, sp_bytes_text("segment.ms"), sp_bytes_text("soon"), text, sizeof text),
        SPATE_ERR_INVALID);
    assert_non_null(strstr(text, "segment.ms cannot be `soon`: give a number from "));
    assert_non_null(strstr(text, "; for example segment.ms=7d"));
    for (size_t i = 0; i < 33; i++) {
        memcpy(umlauts + 1 + 2 * i, "\xc3\xa4", 3);
    }
    (void)sp_topic_config_set(
        &config, sp_bytes_text("segment.ms"), sp_bytes_text(umlauts), text, sizeof text);
    umlauts[63] = '\0';
    assert_non_null(strstr(text, umlauts));
    assert_int_equal(strncmp(strstr(text, umlauts) + 63, "`: give", 7), 0);
    (void)sp_topic_key_refuse(sp_bytes_text("cleanup.polcy"), text, sizeof text);
    assert_non_null(
        strstr(text, "no setting `cleanup.polcy`: did you mean `cleanup.policy`? known"));
    (void)sp_topic_key_refuse(sp_bytes_text("colour"), text, sizeof text);
    assert_non_null(strstr(text, "no setting `colour`: known are max.message.bytes, "));
    assert_non_null(strstr(text, "min.compaction.lag.ms"));
}

static void test_topic_config_every_key_prints_what_it_reads(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SP_TOPIC_KEY_COUNT; i++) {
        struct sp_topic_config config = { .set = 0 };
        enum sp_topic_key key = (enum sp_topic_key)i;
        char text[32];

        assert_int_equal(sp_topic_key_find(sp_bytes_text(sp_topic_key_name(key))), key);
        sp_topic_value_print(key,
                             key == SP_TOPIC_SEGMENT_BYTES ? 65536
                                                           : sp_topic_config_value(&config, key),
                             text,
                             sizeof text);
        assert_int_equal(set(&config, sp_topic_key_name(key), text), 0);
    }
}

static void check_bytes(const struct sp_topic_config *config, const uint8_t *golden, size_t size)
{
    struct sp_topic_config read;
    struct sp_cursor cursor;
    struct sp_pack pack;
    struct sp_buf bytes;

    sp_buf_init(&bytes, 256);
    sp_pack_init(&pack, &bytes);
    sp_topic_config_pack(&pack, config);
    assert_int_equal(sp_pack_status(&pack), 0);
    assert_int_equal(bytes.size, size);
    assert_memory_equal(bytes.bytes, golden, size);
    sp_cursor_init(&cursor, bytes.bytes, bytes.size);
    sp_topic_config_read(&cursor, &read);
    assert_int_equal(sp_cursor_finish(&cursor), 0);
    assert_memory_equal(&read, config, sizeof read);
    for (size_t cut = 0; cut < size; cut++) {
        sp_cursor_init(&cursor, bytes.bytes, cut);
        sp_topic_config_read(&cursor, &read);
        assert_int_not_equal(sp_cursor_finish(&cursor), 0);
    }
    sp_buf_deinit(&bytes);
}

static void test_topic_config_has_golden_bytes(void **state)
{
    static const uint8_t none[] = { 0xce, 0x00, 0x11, 0x00, 0x00 };
    static const uint8_t first[] = { 0xcd, 0x08, 0x00 };
    static const uint8_t as_default[] = { 0x92, 1, 0xce, 0x00, 0x11, 0x00, 0x00 };
    static const uint8_t two[] = { 0x94, 2, 0xcd, 0xea, 0x60, 8, 1 };
    struct sp_topic_config config = { .set = 0 };

    (void)state;
    check_bytes(&config, none, sizeof none);
    assert_int_equal(set(&config, "max.message.bytes", "2048"), 0);
    check_bytes(&config, first, sizeof first);
    assert_int_equal(set(&config, "max.message.bytes", "1114112"), 0);
    check_bytes(&config, as_default, sizeof as_default);
    config = (struct sp_topic_config){ .set = 0 };
    assert_int_equal(set(&config, "retention.ms", "60000"), 0);
    assert_int_equal(set(&config, "message.timestamp.type", "LogAppendTime"), 0);
    check_bytes(&config, two, sizeof two);
}

static void test_topic_config_hostile_bytes_are_refused(void **state)
{
    static const uint8_t bad[][6] = {
        { 0x92, 99, 1, 0, 0, 0 },   /* no such key */
        { 0x94, 2, 1, 2, 1, 0 },    /* one that comes twice */
        { 0x91, 2, 0, 0, 0, 0 },    /* a key without a value */
        { 0x92, 2, 0xa1, 'x', 0 },  /* a text */
        { 0xa1, 'x', 0, 0, 0, 0 },  /* no array */
        { 0x92, 0xff, 1, 0, 0, 0 }, /* key -1 */
    };
    static const size_t sizes[] = { 3, 5, 2, 4, 2, 3 };
    struct sp_topic_config config;
    struct sp_cursor cursor;

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        sp_cursor_init(&cursor, bad[i], sizes[i]);
        sp_topic_config_read(&cursor, &config);
        assert_int_not_equal(sp_cursor_finish(&cursor), 0);
    }
    static const uint8_t twice[] = { 0x92, 2, 2 };
    sp_cursor_init(&cursor, twice, sizeof twice);
    (void)sp_topic_keys_read(&cursor);
    assert_int_not_equal(sp_cursor_finish(&cursor), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_topic_config_defaults_and_overrides),
        cmocka_unit_test(test_topic_config_times_and_sizes_take_units),
        cmocka_unit_test(test_topic_config_wrong_values_change_nothing),
        cmocka_unit_test(test_topic_config_explains_every_key),
        cmocka_unit_test(test_topic_config_refusals_name_what_was_typed),
        cmocka_unit_test(test_topic_config_every_key_prints_what_it_reads),
        cmocka_unit_test(test_topic_config_has_golden_bytes),
        cmocka_unit_test(test_topic_config_hostile_bytes_are_refused),
    };
    return cmocka_run_group_tests_name("cluster/topic_config", tests, NULL, NULL);
}
