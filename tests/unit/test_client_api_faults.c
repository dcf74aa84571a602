/* Requests of clients that are malformed, odd or cut short. */
#include "wire/client_api.h"

#include "packed_buf.h"

struct fault {
    const char *params; /* hexadecimal would hide them: the literal bytes, NUL-free */
    const char *text;
};

/* Every case is [{...}] for `fetch`; 0x01 stands where a zero would do. */
static const struct fault faults[] = {
    { "\x80", "fetch: params must be an array that holds one map" },
    { "\x92\x80\x80", "fetch: params must be an array that holds one map" },
    { "\xa1x", "fetch: params must be an array that holds one map" },
    { "\x91\x05", "fetch: a map of fields is needed" },
    { "\x90", "fetch: field `topic` is missing" },
    { "\x91\x80", "fetch: field `topic` is missing" },
    { "\x91\x81\xa5topic\xc0", "fetch: field `topic` is missing" },
    { "\x91\x81\xa5topic\xa1t", "fetch: field `partition` is missing" },
    { "\x91\x81\xa5topic\x05", "fetch: field `topic` must be a text in UTF-8" },
    { "\x91\x81\xa5topic\xa1\xff", "fetch: field `topic` must be a text in UTF-8" },
    { "\x91\x82\xa5topic\xa1t\xa5topic\xa1t", "fetch: field `topic` is given twice" },
    { "\x91\x82\xa5topic\xc0\xa5topic\xa1t", "fetch: field `topic` is given twice" },
    { "\x91\x81\xa9partition\xa1t", "fetch: field `partition` must be a whole number" },
    { "\x91\x81\xa9partition\xff", "fetch: field `partition` must be from 0 to 2147483647" },
    { "\x91\x81\xa9partition\xce\x80\x01\x01\x01",
      "fetch: field `partition` must be from 0 to 2147483647" },
    { "\x91\x81\xa6offset\xff", "fetch: field `offset` must be from 0 to 9007199254740992" },
    { "\x91\x81\xa6"
      "format\xa3raw",
      "fetch: field `format` must be \"batch\" or \"records\"" },
    { "\x91\x81\xa6"
      "format\x01",
      "fetch: field `format` must be \"batch\" or \"records\"" },
};

static void test_client_api_faults_name_the_field(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct sp_fetch_request out;
        struct sp_api_error error = { "" };
        struct sp_cursor cursor;

        sp_cursor_init(&cursor, faults[i].params, strlen(faults[i].params));
        assert_int_equal(sp_fetch_request_decode(&cursor, &out, &error), SPATE_ERR_INVALID);
        assert_string_equal(error.text, faults[i].text);
    }
}

static void test_client_api_wrong_collections_refused(void **state)
{
    struct sp_api_error error;
    struct sp_cursor cursor;
    struct sp_metadata_request metadata;
    struct sp_topic_create_request create;
    struct sp_offsets_request offsets;
    struct sp_produce_request produce;

    (void)state;
    cursor = sp_cursor_of(sp_bytes_text("\x91\x81\xa6topics\x91\x05"));
    assert_int_equal(sp_metadata_request_decode(&cursor, &metadata, &error), SPATE_ERR_INVALID);
    assert_string_equal(error.text, "metadata: field `topics` must be an array of texts");
    cursor = sp_cursor_of(sp_bytes_text("\x91\x81\xa6"
                                        "config\x81\xa1x\x05"));
    assert_int_equal(sp_topic_create_request_decode(&cursor, &create, &error), SPATE_ERR_INVALID);
    assert_string_equal(error.text, "topic.create: field `config` must be a map of texts");
    cursor = sp_cursor_of(sp_bytes_text("\x91\x81\xa2"
                                        "at\xa3now"));
    assert_int_equal(sp_offsets_request_decode(&cursor, &offsets, &error), SPATE_ERR_INVALID);
    cursor = sp_cursor_of(sp_bytes_text("\x91\x81\xa7records\x80"));
    assert_int_equal(sp_produce_request_decode(&cursor, &produce, &error), SPATE_ERR_INVALID);
    assert_string_equal(error.text,
                        "produce: field `records` must be bytes (a RecordBatch) or an array of "
                        "records");
}

static void test_client_api_long_names_refused(void **state)
{
    char name[SP_API_ERROR_SIZE + 100] = { 0 };
    struct sp_topic_request topic;
    struct sp_api_error error;
    struct sp_pack pack = fresh();

    (void)state;
    memset(name, 'x', 250);
    topic.name = sp_bytes_text(name);
    sp_pack_array(&pack, 1);
    sp_topic_request_encode(&pack, &topic);
    struct sp_cursor cursor = packed();
    assert_int_equal(sp_topic_request_decode(&cursor, &topic, &error), SPATE_ERR_INVALID);
    assert_string_equal(error.text, "field `name` is longer than 249 bytes");
}

/* Unknown keys of any type, order reversed, numbers as floats, text as bin for bytes. */
static void test_client_api_lenient_where_clients_differ(void **state)
{
    static const char params[] = "\x91\x86\x05\xc0\xa7records\xa2"
                                 "ab\xc4\x01z\x92\x01\x02"
                                 "\xa9partition\xcb\x40\x08\0\0\0\0\0\0"
                                 "\xa5topic\xa1t\xa3new\x81\xa1x\x90";
    struct sp_produce_request out;
    struct sp_cursor cursor;

    (void)state;
    sp_cursor_init(&cursor, params, sizeof params - 1);
    assert_int_equal(sp_produce_request_decode(&cursor, &out, NULL), 0);
    check_bytes(out.records.batch, "ab");
    assert_int_equal(out.partition, 3);
}

/* ["x", "y"], encoded by hand. */
static const struct sp_bytes texts = { (const uint8_t *)"\x92\xa1x\xa1y", 5 };

static void test_client_api_every_truncated_prefix_refused(void **state)
{
    struct sp_produce_request request = { .topic = sp_bytes_text("orders"),
                                          .topic_id = 5,
                                          .partition = 3,
                                          .timeout_ms = 1000,
                                          .records = { sp_bytes_null(), texts } };
    struct sp_pack pack = fresh();

    (void)state;
    sp_pack_array(&pack, 1);
    sp_produce_request_encode(&pack, &request);
    for (size_t cut = 0; cut < buf.size; cut++) {
        uint8_t *copy = exact_copy(buf.bytes, cut);
        struct sp_produce_request out;
        struct sp_cursor cursor;
        sp_cursor_init(&cursor, copy, cut);
        assert_int_equal(sp_produce_request_decode(&cursor, &out, NULL), SPATE_ERR_MALFORMED);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client_api_faults_name_the_field),
        cmocka_unit_test(test_client_api_wrong_collections_refused),
        cmocka_unit_test(test_client_api_long_names_refused),
        cmocka_unit_test(test_client_api_lenient_where_clients_differ),
        cmocka_unit_test(test_client_api_every_truncated_prefix_refused),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
