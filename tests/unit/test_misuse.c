/* Wrong arguments of the public API: an error that says what is wrong, never a crash. Nobody
 * listens at the client's address: what is refused needs no server. */
#include "spate/spate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"

static struct spate_client *client;

static int set_up(void **state)
{
    struct spate_config *config = spate_config_new();

    (void)state;
    assert_non_null(config);
    assert_int_equal(spate_config_set(config, "servers", "127.0.0.1:1"), 0);
    assert_int_equal(spate_config_set(config, "timeout.ms", "200"), 0);
    assert_int_equal(spate_client_new(config, &client), 0);
    spate_config_free(config);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    spate_client_free(client);
    return 0;
}

/* Refused, with a text of some use. */
static void check_refused(int rv)
{
    assert_int_equal(rv, SPATE_ERR_INVALID);
    assert_true(strlen(spate_client_error(client)) > 10);
}

static void test_misuse_of_config(void **state)
{
    static char huge[100000];
    struct spate_config *config = spate_config_new();

    (void)state;
    assert_non_null(config);
    memset(huge, 'x', sizeof huge - 1);
    assert_int_not_equal(spate_config_set(NULL, "servers", "a"), 0);
    assert_int_not_equal(spate_config_set(config, NULL, "a"), 0);
    assert_int_not_equal(spate_config_set(config, "servers", NULL), 0);
    assert_int_not_equal(spate_config_set(config, "", ""), 0);
    assert_int_not_equal(spate_config_set(config, "servers", ""), 0);
    assert_int_not_equal(spate_config_set(config, "servers", huge), 0);
    assert_int_not_equal(spate_config_set(config, "servers", "host:port"), 0);
    assert_int_not_equal(spate_config_set(config, "servers", "host:70000"), 0);
    assert_int_not_equal(spate_config_set(config, "timeout.ms", ""), 0);
    assert_int_not_equal(spate_config_set(config, "timeout.ms", "-1"), 0);
    assert_int_not_equal(spate_config_set(config, "timeout.ms", "99999999999999999999"), 0);
    assert_int_not_equal(spate_config_set(config, "client.name", huge), 0);
    assert_int_not_equal(spate_config_set(config, huge, huge), 0);
    spate_config_set_log(NULL, NULL, NULL);
    spate_config_free(config);
    spate_config_free(NULL);
}

static void test_misuse_of_client(void **state)
{
    static const uint8_t map[] = { 0x80 };
    /* a number, text, a list, a map cut short, two maps, a map without its value, no type at all */
    static const char *const no_maps[] = {
        "\x05", "\xa1x", "\x91\x80", "\x81", "\x80\x80", "\x81\xa1x", "\xdf\xff\xff\xff\xff", "\xc1"
    };
    void *result = NULL;
    size_t size = 0;

    (void)state;
    assert_int_equal(spate_client_new(NULL, NULL), SPATE_ERR_INVALID);
    assert_int_equal(spate_poll(NULL, 0), SPATE_ERR_INVALID);
    assert_non_null(spate_client_error(NULL));
    spate_client_free(NULL);
    spate_free(NULL);
    assert_int_equal(spate_call(NULL, "ping", map, 1, &result, &size), SPATE_ERR_INVALID);
    check_refused(spate_call(client, NULL, map, 1, &result, &size));
    check_refused(spate_call(client, "ping", NULL, 1, &result, &size));
    check_refused(spate_call(client, "ping", map, 0, &result, &size));
    check_refused(spate_call(client, "", map, 1, &result, &size));
    for (size_t i = 0; i < sizeof no_maps / sizeof no_maps[0]; i++) {
        size_t no_map_size = strlen(no_maps[i]);
        check_refused(spate_call(client, "ping", no_maps[i], no_map_size, &result, &size));
        check_refused(
            spate_call_leader(client, "t", 0, "fetch", no_maps[i], no_map_size, &result, &size));
    }
    assert_int_equal(spate_call_leader(NULL, "t", 0, "fetch", map, 1, &result, &size),
                     SPATE_ERR_INVALID);
    check_refused(spate_call_leader(client, NULL, 0, "fetch", map, 1, &result, &size));
    check_refused(spate_call_leader(client, "", 0, "fetch", map, 1, &result, &size));
    check_refused(spate_call_leader(client, "t", 0, NULL, map, 1, &result, &size));
    check_refused(spate_call_leader(client, "t", 0, "fetch", NULL, 1, &result, &size));
    assert_null(result);
}

static void test_misuse_of_admin(void **state)
{
    static char huge[1000];
    uint32_t count = 0;
    int64_t offset = 0;

    (void)state;
    memset(huge, 'x', sizeof huge - 1);
    assert_int_equal(spate_topic_create(NULL, "t", 1, 1), SPATE_ERR_INVALID);
    check_refused(spate_topic_create(client, NULL, 1, 1));
    assert_int_not_equal(spate_topic_create(client, "", 1, 1), 0);
    assert_int_not_equal(spate_topic_create(client, huge, 1, 1), 0);
    assert_int_not_equal(spate_topic_create(client, "a b", 1, 1), 0);
    check_refused(spate_topic_create(client, "t", UINT32_MAX, 1));
    check_refused(spate_topic_create(client, "t", 1, UINT32_MAX));
    const struct spate_topic_setting no_value = { "retention.ms", NULL };
    assert_int_equal(spate_topic_create_with(NULL, "t", 1, 1, NULL, 0), SPATE_ERR_INVALID);
    check_refused(spate_topic_create_with(client, "t", 1, 1, NULL, 1));
    check_refused(spate_topic_create_with(client, "t", 1, 1, &no_value, 1));
    assert_int_equal(spate_topic_delete(NULL, "t"), SPATE_ERR_INVALID);
    check_refused(spate_topic_delete(client, NULL));
    assert_int_not_equal(spate_topic_delete(client, ""), 0);
    assert_int_equal(spate_topic_partitions(NULL, "t", &count), SPATE_ERR_INVALID);
    check_refused(spate_topic_partitions(client, NULL, &count));
    check_refused(spate_topic_partitions(client, "t", NULL));
    check_refused(spate_topic_partitions(client, huge, &count));
    const char *const names[] = { NULL };
    assert_int_equal(spate_topics_expect(NULL, names, 1), SPATE_ERR_INVALID);
    check_refused(spate_topics_expect(client, NULL, 1));
    check_refused(spate_topics_expect(client, names, 1));
    assert_int_equal(spate_offsets(NULL, "t", 0, 0, &offset), SPATE_ERR_INVALID);
    check_refused(spate_offsets(client, NULL, 0, 0, &offset));
    check_refused(spate_offsets(client, "t", 0, 0, NULL));
    check_refused(spate_offsets(client, "t", 0, INT64_MIN, &offset));
}

static void test_misuse_of_producer(void **state)
{
    struct spate_record record = { .topic = "t", .partition = 0 };
    struct spate_producer *producer = NULL;

    (void)state;
    assert_int_equal(spate_producer_new(NULL, NULL, NULL, &producer), SPATE_ERR_INVALID);
    assert_int_equal(spate_producer_new(client, NULL, NULL, NULL), SPATE_ERR_INVALID);
    assert_int_equal(spate_producer_new(client, NULL, NULL, &producer), 0);
    assert_int_equal(spate_produce(NULL, &record, NULL), SPATE_ERR_INVALID);
    check_refused(spate_produce(producer, NULL, NULL));
    record.topic = NULL;
    check_refused(spate_produce(producer, &record, NULL));
    record.topic = "";
    check_refused(spate_produce(producer, &record, NULL));
    record.topic = "t";
    record.partition = -2;
    check_refused(spate_produce(producer, &record, NULL));
    record.partition = 0;
    record.key_size = 1; /* of a key that is NULL */
    check_refused(spate_produce(producer, &record, NULL));
    record.key_size = 0;
    record.header_count = 1; /* of headers that are NULL */
    check_refused(spate_produce(producer, &record, NULL));
    record.header_count = 0;
    record.value = "";
    record.value_size = SIZE_MAX;
    int rv = spate_produce(producer, &record, NULL);
    assert_true(rv == SPATE_ERR_TOO_LARGE || rv == SPATE_ERR_INVALID);
    assert_int_equal(spate_producer_flush(NULL, 0), SPATE_ERR_INVALID);
    assert_int_equal(spate_producer_retries(NULL), 0);
    assert_int_equal(spate_producer_pending(NULL), 0);
    assert_int_equal(spate_producer_in_flight(NULL), 0);
    assert_int_equal(spate_producer_flush(producer, INT32_MIN), 0);
    spate_producer_free(producer);
    spate_producer_free(NULL);
}

static void test_misuse_of_a_key_that_is_not_there(void **state)
{
    const char *volatile nothing = NULL;

    (void)state;
    assert_int_equal(spate_partition_of_key(nothing, 5, 3), 0);
    assert_int_equal(spate_partition_of_key("21", 2, 0), 0);
}

static void test_misuse_of_producer_that_waits(void **state)
{
    const struct spate_record record = { .topic = "t", .partition = 0 };
    struct spate_producer *producer = NULL;
    int64_t records = 0;
    int64_t offset = 0;

    (void)state;
    assert_int_equal(spate_producer_new(client, NULL, NULL, &producer), 0);
    assert_int_equal(spate_produce_wait(NULL, &record, &offset), SPATE_ERR_INVALID);
    check_refused(spate_produce_wait(producer, NULL, &offset));
    assert_int_equal(spate_producer_stored(NULL, "t", 0, &records, &offset), SPATE_ERR_INVALID);
    check_refused(spate_producer_stored(producer, "t", 0, NULL, &offset));
    check_refused(spate_producer_stored(producer, "t", 0, &records, NULL));
    check_refused(spate_producer_stored(producer, NULL, 0, &records, &offset));
    check_refused(spate_producer_stored(producer, "t", -1, &records, &offset));
    spate_producer_free(producer);
}

/* Partitions forget after 15 minutes what a producer has sent. */
static void test_producer_does_not_try_for_longer_than_it_is_known(void **state)
{
    static const struct {
        const char *timeout_ms;
        int status;
    } cases[] = { { "600000", 0 }, { "600001", SPATE_ERR_INVALID } };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct spate_config *config = spate_config_new();
        struct spate_producer *producer = NULL;
        struct spate_client *own = NULL;

        assert_int_equal(spate_config_set(config, "timeout.ms", cases[i].timeout_ms), 0);
        assert_int_equal(spate_client_new(config, &own), 0);
        spate_config_free(config);
        assert_int_equal(spate_producer_new(own, NULL, NULL, &producer), cases[i].status);
        if (cases[i].status != 0) {
            assert_non_null(strstr(spate_client_error(own), "timeout.ms of 600000 at most"));
        }
        spate_producer_free(producer);
        spate_client_free(own);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_misuse_of_config, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_misuse_of_client, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_misuse_of_admin, set_up, tear_down),
        cmocka_unit_test(test_misuse_of_a_key_that_is_not_there),
        cmocka_unit_test_setup_teardown(test_misuse_of_producer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_misuse_of_producer_that_waits, set_up, tear_down),
        cmocka_unit_test(test_producer_does_not_try_for_longer_than_it_is_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
