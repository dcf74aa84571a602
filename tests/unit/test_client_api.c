#include "wire/client_api.h"

#include "packed_buf.h"

/* One array of texts, {"a": "b"} and so on, encoded by hand. */
static const struct sp_bytes texts = { (const uint8_t *)"\x92\xa1x\xa1y", 5 };
static const struct sp_bytes map = { (const uint8_t *)"\x81\xa1x\xa1y", 5 };

static void test_client_api_methods_are_found_by_name(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SP_METHOD_COUNT; i++) {
        const char *name = sp_method_name((enum sp_method)i);
        assert_int_equal(sp_method_find(sp_bytes_text(name)), i);
    }
    assert_string_equal(sp_method_name(SP_METHOD_TOPIC_CREATE), "topic.create");
    assert_int_equal(sp_method_find(sp_bytes_text("produc")), SP_METHOD_COUNT);
    assert_int_equal(sp_method_find(sp_bytes_text("")), SP_METHOD_COUNT);
    assert_int_equal(sp_method_find(sp_bytes_null()), SP_METHOD_COUNT);
}

static void test_client_api_produce_request_has_golden_bytes(void **state)
{
    static const char golden[] = "\x85\xa5topic\xa6orders\xa8topic_id\x05\xa9partition\x03"
                                 "\xaatimeout_ms\xcd\x03\xe8\xa7records\xc4\x02"
                                 "ab";
    struct sp_produce_request request = { .topic = sp_bytes_text("orders"),
                                          .topic_id = 5,
                                          .partition = 3,
                                          .timeout_ms = 1000,
                                          .records = { sp_bytes_text("ab"), sp_bytes_null() } };
    struct sp_pack pack = fresh();

    (void)state;
    sp_produce_request_encode(&pack, &request);
    assert_int_equal(sp_pack_status(&pack), 0);
    assert_int_equal(buf.size, sizeof golden - 1);
    assert_memory_equal(buf.bytes, golden, buf.size);
    pack = fresh();
    sp_produce_request_encode_head(&pack, &request);
    assert_int_equal(buf.size, sizeof golden - 1 - 2);
    assert_memory_equal(buf.bytes, golden, buf.size);
}

static void test_client_api_produce_request_round_trip(void **state)
{
    struct sp_produce_request request;
    struct sp_produce_request out;
    struct sp_cursor cursor;
    struct sp_pack pack = fresh();

    (void)state;
    sp_produce_request_init(&request);
    assert_int_equal(request.topic_id, -1);
    request.topic = sp_bytes_text("t");
    request.partition = 7;
    request.records.array = texts;
    sp_pack_array(&pack, 1);
    sp_produce_request_encode(&pack, &request);
    cursor = packed();
    assert_int_equal(sp_produce_request_decode(&cursor, &out, NULL), 0);
    assert_int_equal(cursor.position, 0);
    check_bytes(out.topic, "t");
    assert_int_equal(out.topic_id, -1);
    assert_int_equal(out.partition, 7);
    assert_int_equal(out.timeout_ms, -1);
    check_null(out.records.batch);
    assert_true(sp_bytes_equal(out.records.array, texts));
}

static void test_client_api_fetch_request_round_trip(void **state)
{
    struct sp_fetch_request request = { .topic = sp_bytes_text("t"),
                                        .topic_id = 1,
                                        .partition = 2,
                                        .offset = SP_API_WHOLE_MAX,
                                        .max_bytes = 4,
                                        .min_bytes = 5,
                                        .max_wait_ms = 6,
                                        .format = SP_FETCH_FORMAT_RECORDS,
                                        .epoch = 8 };
    struct sp_fetch_request out;
    struct sp_cursor cursor;
    struct sp_pack pack = fresh();

    (void)state;
    sp_pack_array(&pack, 1);
    sp_fetch_request_encode(&pack, &request);
    cursor = packed();
    assert_int_equal(sp_fetch_request_decode(&cursor, &out, NULL), 0);
    check_bytes(out.topic, "t");
    assert_int_equal(out.topic_id, 1);
    assert_int_equal(out.partition, 2);
    assert_true(out.offset == SP_API_WHOLE_MAX);
    assert_int_equal(out.max_bytes, 4);
    assert_int_equal(out.min_bytes, 5);
    assert_int_equal(out.max_wait_ms, 6);
    assert_int_equal(out.format, SP_FETCH_FORMAT_RECORDS);
    assert_int_equal(out.epoch, 8);
}

static void test_client_api_absent_fields_are_left_out(void **state)
{
    static const char golden[] = "\x93\x83\xa5topic\xa1t\xa9partition\x02\xa6offset\x00"
                                 "\x80\x82\xa5topic\xa1t\xa9partition\x02";
    struct sp_fetch_request fetch;
    struct sp_offsets_request offsets;
    struct sp_metadata_request metadata;
    struct sp_pack pack = fresh();

    (void)state;
    sp_fetch_request_init(&fetch);
    fetch.topic = sp_bytes_text("t");
    fetch.partition = 2;
    fetch.offset = 0;
    sp_metadata_request_init(&metadata);
    sp_offsets_request_init(&offsets);
    offsets.topic = sp_bytes_text("t");
    offsets.partition = 2;
    sp_pack_array(&pack, 3);
    sp_fetch_request_encode(&pack, &fetch);
    sp_metadata_request_encode(&pack, &metadata);
    sp_offsets_request_encode(&pack, &offsets);
    assert_int_equal(buf.size, sizeof golden - 1);
    assert_memory_equal(buf.bytes, golden, buf.size);
}

static void test_client_api_offsets_at_forms(void **state)
{
    static const int64_t times[] = {
        SP_OFFSETS_AT_EARLIEST, SP_OFFSETS_AT_LATEST, 0, 1700000000000
    };
    struct sp_offsets_request out;

    (void)state;
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        struct sp_offsets_request request = { .topic = sp_bytes_text("t"),
                                              .at = times[i],
                                              .linearizable = i % 2 == 1 };
        struct sp_pack pack = fresh();
        sp_pack_array(&pack, 1);
        sp_offsets_request_encode(&pack, &request);
        struct sp_cursor cursor = packed();
        assert_int_equal(sp_offsets_request_decode(&cursor, &out, NULL), 0);
        assert_true(out.at == times[i]);
        assert_int_equal(out.linearizable, i % 2 == 1);
    }
    static const char latest[] = "\x91\x83\xa5topic\xa1t\xa9partition\0\xa2"
                                 "at\xa6latest";
    struct sp_cursor cursor;
    sp_cursor_init(&cursor, latest, sizeof latest - 1);
    assert_int_equal(sp_offsets_request_decode(&cursor, &out, NULL), 0);
    assert_int_equal(out.at, SP_OFFSETS_AT_LATEST);
}

static void check_hello(void)
{
    struct sp_hello_response hello;
    struct sp_hello_response out;
    struct sp_pack pack = fresh();

    sp_hello_response_init(&hello);
    hello.server = sp_bytes_text("spated");
    hello.version = sp_bytes_text("0.1.0");
    hello.cluster_id = sp_bytes_text("c");
    hello.node_id = 3;
    hello.features = texts;
    hello.limits.max_batch_bytes = 1000;
    sp_hello_response_encode(&pack, &hello);
    struct sp_cursor cursor = packed();
    assert_int_equal(sp_hello_response_decode(&cursor, &out, NULL), 0);
    check_bytes(out.server, "spated");
    check_bytes(out.version, "0.1.0");
    check_bytes(out.cluster_id, "c");
    assert_int_equal(out.node_id, 3);
    assert_true(sp_bytes_equal(out.features, texts));
    assert_int_equal(out.limits.max_batch_bytes, 1000);
    assert_int_equal(out.limits.max_message_bytes, -1);
}

static void check_fetch_response(void)
{
    struct sp_fetch_response fetch = { 10, 2, 12, { sp_bytes_text("batch"), sp_bytes_null() } };
    struct sp_fetch_response out;
    struct sp_pack pack = fresh();

    sp_fetch_response_encode_head(&pack, &fetch);
    sp_pack_raw(&pack, fetch.records.batch);
    struct sp_cursor cursor = packed();
    assert_int_equal(sp_fetch_response_decode(&cursor, &out, NULL), 0);
    assert_int_equal(out.high_watermark, 10);
    assert_int_equal(out.log_start, 2);
    assert_int_equal(out.end_offset, 12);
    check_bytes(out.records.batch, "batch");
    check_null(out.records.array);
}

static void check_small_responses(void)
{
    struct sp_produce_response produced = { 5, 4, 3, 2 };
    struct sp_offsets_response offsets = { 9, 1700000000000 };
    struct sp_producer_init_response producer = { 4711, 1 };
    struct sp_topic_create_response created = { sp_bytes_text("t"), 8, 3, 2 };
    struct sp_pack pack = fresh();

    sp_produce_response_encode(&pack, &produced);
    struct sp_cursor cursor = packed();
    assert_int_equal(sp_produce_response_decode(&cursor, &produced, NULL), 0);
    assert_int_equal(produced.offset + produced.term * 10 + produced.fsynced * 100 +
                         produced.count * 1000,
                     2345);
    pack = fresh();
    sp_offsets_response_encode(&pack, &offsets);
    cursor = packed();
    assert_int_equal(sp_offsets_response_decode(&cursor, &offsets, NULL), 0);
    assert_int_equal(offsets.offset, 9);
    assert_true(offsets.timestamp == 1700000000000);
    pack = fresh();
    sp_producer_init_response_encode(&pack, &producer);
    cursor = packed();
    assert_int_equal(sp_producer_init_response_decode(&cursor, &producer, NULL), 0);
    assert_int_equal(producer.producer_id, 4711);
    assert_int_equal(producer.producer_epoch, 1);
    pack = fresh();
    sp_topic_create_response_encode(&pack, &created);
    cursor = packed();
    assert_int_equal(sp_topic_create_response_decode(&cursor, &created, NULL), 0);
    assert_int_equal(created.id * 100 + created.partitions * 10 + created.replicas, 832);
}

static void test_client_api_responses_round_trip(void **state)
{
    (void)state;
    check_hello();
    check_fetch_response();
    check_small_responses();
}

static void test_client_api_admin_requests_round_trip(void **state)
{
    struct sp_topic_create_request create = { sp_bytes_text("t"), 3, 2, map };
    struct sp_topic_request topic = { sp_bytes_text("u") };
    struct sp_hello_request hello = { sp_bytes_text("me"), sp_bytes_text("1") };
    struct sp_pack pack = fresh();

    (void)state;
    sp_pack_array(&pack, 1);
    sp_topic_create_request_encode(&pack, &create);
    struct sp_cursor cursor = packed();
    assert_int_equal(sp_topic_create_request_decode(&cursor, &create, NULL), 0);
    check_bytes(create.name, "t");
    assert_int_equal(create.partitions * 10 + create.replicas, 32);
    assert_true(sp_bytes_equal(create.config, map));
    pack = fresh();
    sp_pack_array(&pack, 1);
    sp_topic_request_encode(&pack, &topic);
    cursor = packed();
    assert_int_equal(sp_topic_request_decode(&cursor, &topic, NULL), 0);
    check_bytes(topic.name, "u");
    pack = fresh();
    sp_pack_array(&pack, 1);
    sp_hello_request_encode(&pack, &hello);
    cursor = packed();
    assert_int_equal(sp_hello_request_decode(&cursor, &hello, NULL), 0);
    check_bytes(hello.client, "me");
    check_bytes(hello.version, "1");
}

static void test_client_api_named_producers_round_trip(void **state)
{
    struct sp_producer_init_request init = { sp_bytes_text("loader"), sp_bytes_text("p=3") };
    struct sp_producer_resume_request resume = { sp_bytes_text("t"), 7, 2, 4711, 5 };
    struct sp_producer_resume_response answer = { true, 99, 12, 5000000000 };
    struct sp_pack pack = fresh();
    struct sp_cursor cursor;

    (void)state;
    sp_pack_array(&pack, 1);
    sp_producer_init_request_encode(&pack, &init);
    cursor = packed();
    sp_producer_init_request_init(&init);
    check_null(init.name);
    assert_int_equal(sp_producer_init_request_decode(&cursor, &init, NULL), 0);
    check_bytes(init.name, "loader");
    check_bytes(init.layout, "p=3");
    pack = fresh();
    sp_pack_array(&pack, 1);
    sp_producer_resume_request_encode(&pack, &resume);
    cursor = packed();
    sp_producer_resume_request_init(&resume);
    assert_int_equal(resume.topic_id, -1);
    assert_int_equal(sp_producer_resume_request_decode(&cursor, &resume, NULL), 0);
    check_bytes(resume.topic, "t");
    assert_int_equal(resume.topic_id, 7);
    assert_int_equal(resume.partition, 2);
    assert_int_equal(resume.producer_id, 4711);
    assert_int_equal(resume.producer_epoch, 5);
    pack = fresh();
    sp_producer_resume_response_encode(&pack, &answer);
    cursor = packed();
    sp_producer_resume_response_init(&answer);
    assert_int_equal(sp_producer_resume_response_decode(&cursor, &answer, NULL), 0);
    assert_true(answer.known);
    assert_int_equal(answer.offset, 99);
    assert_int_equal(answer.sequence, 12);
    assert_true(answer.records == 5000000000);
}

static void test_client_api_empty_params_in_every_form(void **state)
{
    static const char *const forms[] = { "\x90", "\x91\x80", "\x91\xc0", "\x91\x81\xa1x\x05" };
    struct sp_empty_request request;
    struct sp_cursor cursor;

    (void)state;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        sp_cursor_init(&cursor, forms[i], strlen(forms[i]));
        assert_int_equal(sp_empty_request_decode(&cursor, &request, NULL), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client_api_methods_are_found_by_name),
        cmocka_unit_test(test_client_api_produce_request_has_golden_bytes),
        cmocka_unit_test(test_client_api_produce_request_round_trip),
        cmocka_unit_test(test_client_api_fetch_request_round_trip),
        cmocka_unit_test(test_client_api_absent_fields_are_left_out),
        cmocka_unit_test(test_client_api_offsets_at_forms),
        cmocka_unit_test(test_client_api_responses_round_trip),
        cmocka_unit_test(test_client_api_admin_requests_round_trip),
        cmocka_unit_test(test_client_api_named_producers_round_trip),
        cmocka_unit_test(test_client_api_empty_params_in_every_form),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
