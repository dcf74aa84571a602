#include "wire/message.h"

#include "wire_test.h"

/* [0, 7, "ping", [{}]] */
static const uint8_t request[] = { 0x94, 0, 7, 0xa4, 'p', 'i', 'n', 'g', 0x91, 0x80 };
/* [2, "ping", []] */
static const uint8_t notification[] = { 0x93, 2, 0xa4, 'p', 'i', 'n', 'g', 0x90 };
/* [1, 4294967295, nil, {"a": 1}] */
static const uint8_t success[] = {
    0x94, 1, 0xce, 0xff, 0xff, 0xff, 0xff, 0xc0, 0x81, 0xa1, 'a', 1
};
/* [1, 9, "BUSY: wait", nil] */
static const uint8_t failure[] = { 0x94, 1,   9,   0xaa, 'B', 'U', 'S', 'Y',
                                   ':',  ' ', 'w', 'a',  'i', 't', 0xc0 };

static void test_message_request_is_decoded(void **state)
{
    struct sp_message message;

    (void)state;
    assert_int_equal(sp_message_decode(request, sizeof request, &message), 0);
    assert_int_equal(message.type, SP_MESSAGE_REQUEST);
    assert_int_equal(message.msgid, 7);
    check_bytes(message.method, "ping");
    assert_int_equal(sp_cursor_array(&message.params), 1);
    assert_int_equal(sp_cursor_map(&message.params), 0);
    assert_int_equal(sp_cursor_finish(&message.params), 0);
    assert_int_equal(sp_message_decode(notification, sizeof notification, &message), 0);
    assert_int_equal(message.type, SP_MESSAGE_NOTIFICATION);
    check_bytes(message.method, "ping");
    assert_int_equal(sp_cursor_peek(&message.params), SP_CURSOR_ARRAY);
}

static void test_message_response_is_decoded(void **state)
{
    struct sp_message message;

    (void)state;
    assert_int_equal(sp_message_decode(success, sizeof success, &message), 0);
    assert_int_equal(message.type, SP_MESSAGE_RESPONSE);
    assert_true(message.msgid == UINT32_MAX);
    check_null(message.error);
    assert_int_equal(sp_cursor_map(&message.result), 1);
    assert_int_equal(sp_message_decode(failure, sizeof failure, &message), 0);
    assert_int_equal(message.msgid, 9);
    check_bytes(message.error, "BUSY: wait");
    assert_true(sp_cursor_nil(&message.result));
}

static void test_message_error_of_another_type_is_internal(void **state)
{
    static const uint8_t bytes[] = { 0x94, 1, 9, 0x92, 1, 2, 0xc0 };
    struct sp_message message;
    struct sp_error_parts parts;

    (void)state;
    assert_int_equal(sp_message_decode(bytes, sizeof bytes, &message), 0);
    sp_error_parse(message.error, &parts);
    assert_int_equal(parts.code, SPATE_ERR_INTERNAL);
}

static void check_prefixes(const uint8_t *bytes, size_t size)
{
    struct sp_message message;

    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *copy = exact_copy(bytes, cut);
        assert_int_not_equal(sp_message_decode(copy, cut, &message), 0);
        free(copy);
    }
    uint8_t *longer = exact_copy(bytes, size + 1); /* the callers have the room */
    longer[size] = 0;
    assert_int_equal(sp_message_decode(longer, size + 1, &message), SPATE_ERR_MALFORMED);
    free(longer);
}

static void test_message_every_truncated_prefix_refused(void **state)
{
    uint8_t room[32];

    (void)state;
    memcpy(room, request, sizeof request);
    check_prefixes(room, sizeof request);
    memcpy(room, notification, sizeof notification);
    check_prefixes(room, sizeof notification);
    memcpy(room, success, sizeof success);
    check_prefixes(room, sizeof success);
    memcpy(room, failure, sizeof failure);
    check_prefixes(room, sizeof failure);
}

static void test_message_of_another_shape_refused(void **state)
{
    static const struct {
        uint8_t bytes[12];
        size_t size;
    } others[] = {
        { { 0x94, 3, 7, 0xa1, 'p', 0x90 }, 6 },                  /* type 3 */
        { { 0x93, 0, 7, 0xa1, 'p' }, 5 },                        /* request of three */
        { { 0x94, 2, 0xa1, 'p', 0x90, 0xc0 }, 6 },               /* notification of four */
        { { 0x95, 0, 7, 0xa1, 'p', 0x90, 0xc0 }, 7 },            /* five */
        { { 0x94, 0, 0xff, 0xa1, 'p', 0x90 }, 6 },               /* msgid -1 */
        { { 0x94, 0, 0xcf, 0, 0, 0, 1, 0, 0, 0, 0 }, 11 },       /* msgid of 33 bits */
        { { 0x94, 0, 7, 5, 0x90 }, 5 },                          /* method is no text */
        { { 0x84, 0, 7, 0xa1, 'p', 0x90, 0xc0, 0xc0, 0xc0 }, 9 } /* a map */
    };
    struct sp_message message;

    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_int_not_equal(sp_message_decode(others[i].bytes, others[i].size, &message), 0);
    }
}

static void test_message_params_of_any_type_are_left_to_the_method(void **state)
{
    static const uint8_t bytes[] = { 0x94, 0, 7, 0xa1, 'p', 0xc3 };
    struct sp_message message;

    (void)state;
    assert_int_equal(sp_message_decode(bytes, sizeof bytes, &message), 0);
    assert_int_equal(sp_cursor_peek(&message.params), SP_CURSOR_BOOL);
}

static void test_message_encoders_make_golden_bytes(void **state)
{
    struct sp_buf buf;
    struct sp_pack pack;

    (void)state;
    sp_buf_init(&buf, 4096);
    sp_pack_init(&pack, &buf);
    sp_message_request(&pack, 7, "ping");
    sp_pack_map(&pack, 0);
    assert_int_equal(buf.size, sizeof request);
    assert_memory_equal(buf.bytes, request, buf.size);
    sp_buf_clear(&buf);
    sp_message_notification(&pack, "ping");
    sp_pack_map(&pack, 0);
    assert_int_equal(buf.size, sizeof notification + 1);
    assert_memory_equal(buf.bytes, notification, sizeof notification - 1);
    sp_buf_clear(&buf);
    sp_message_response_ok(&pack, UINT32_MAX);
    assert_int_equal(buf.size, sizeof success - 4);
    assert_memory_equal(buf.bytes, success, buf.size);
    sp_buf_clear(&buf);
    sp_message_response_error(&pack, 9, SPATE_ERR_BUSY, "wait");
    assert_int_equal(buf.size, sizeof failure);
    assert_memory_equal(buf.bytes, failure, buf.size);
    assert_int_equal(sp_pack_status(&pack), 0);
    sp_buf_deinit(&buf);
}

/* The error text that a client gets, in `out`, which has room for 2 KiB. */
static void error_text(int code, const char *text, char *out)
{
    struct sp_buf buf;
    struct sp_pack pack;
    struct sp_message message;

    sp_buf_init(&buf, 4096);
    sp_pack_init(&pack, &buf);
    sp_message_response_error(&pack, 1, code, text);
    assert_int_equal(sp_pack_status(&pack), 0);
    assert_int_equal(sp_message_decode(buf.bytes, buf.size, &message), 0);
    assert_true(sp_utf8_valid(message.error));
    assert_true(message.error.size <= 1024);
    memcpy(out, message.error.bytes, message.error.size);
    out[message.error.size] = '\0';
    sp_buf_deinit(&buf);
}

static void test_message_error_text_is_made_safe(void **state)
{
    char out[2048];
    char longest[3000];

    (void)state;
    error_text(SPATE_ERR_INVALID, "a\xff\nb\x7f\xc3\xbc\xe2\x82", out);
    assert_string_equal(out, "INVALID: a??b?\xc3\xbc??");
    error_text(SPATE_ERR_BUSY, NULL, out);
    assert_string_equal(out, "BUSY: a queue or table is full: retry after a pause");
    error_text(SPATE_ERR_BUSY, "", out);
    assert_string_equal(out, "BUSY: a queue or table is full: retry after a pause");
    for (size_t i = 0; i + 2 < sizeof longest; i += 2) {
        memcpy(longest + i, "\xc3\xbc", 3);
    }
    error_text(SPATE_ERR_BUSY, longest, out);
    assert_int_equal(strlen(out), 1024);
    error_text(SPATE_ERR_INTERNAL, longest, out); /* an odd number of bytes before it */
    assert_int_equal(strlen(out), 1024);
}

static void test_message_not_leader_names_the_leader(void **state)
{
    struct sp_buf buf;
    struct sp_pack pack;
    struct sp_message message;
    struct sp_error_parts parts;

    (void)state;
    sp_buf_init(&buf, 4096);
    sp_pack_init(&pack, &buf);
    sp_message_response_not_leader(
        &pack, 3, 2, "127.0.0.1:7800", "partition orders/3 is led by node 2");
    assert_int_equal(sp_message_decode(buf.bytes, buf.size, &message), 0);
    check_bytes(message.error, "NOT_LEADER: 2 127.0.0.1:7800 partition orders/3 is led by node 2");
    sp_error_parse(message.error, &parts);
    assert_int_equal(parts.code, SPATE_ERR_NOT_LEADER);
    assert_int_equal(parts.leader_id, 2);
    check_bytes(parts.leader_address, "127.0.0.1:7800");
    check_bytes(parts.text, "partition orders/3 is led by node 2");
    sp_buf_clear(&buf);
    sp_message_response_not_leader(&pack, 3, -1, NULL, "nobody leads");
    assert_int_equal(sp_message_decode(buf.bytes, buf.size, &message), 0);
    check_bytes(message.error, "LEADER_UNKNOWN: nobody leads");
    sp_buf_deinit(&buf);
}

struct parsed {
    const char *error;
    int code;
    const char *text;
    int32_t leader_id;
    const char *leader_address;
};

static void test_message_error_strings_are_parsed(void **state)
{
    static const struct parsed cases[] = {
        { "BUSY: wait", SPATE_ERR_BUSY, "wait", -1, NULL },
        { "BUSY", SPATE_ERR_BUSY, "", -1, NULL },
        { "BUSY:wait", SPATE_ERR_BUSY, "wait", -1, NULL },
        { "BUSY: a: b", SPATE_ERR_BUSY, "a: b", -1, NULL },
        { "INTERNAL: bug", SPATE_ERR_INTERNAL, "bug", -1, NULL },
        { "NEW_CODE: text", SPATE_ERR_INTERNAL, "NEW_CODE: text", -1, NULL },
        { "OK: text", SPATE_ERR_INTERNAL, "OK: text", -1, NULL },
        { "plain words", SPATE_ERR_INTERNAL, "plain words", -1, NULL },
        { "", SPATE_ERR_INTERNAL, "", -1, NULL },
        { "NOT_LEADER: 2 h:1", SPATE_ERR_NOT_LEADER, "", 2, "h:1" },
        { "NOT_LEADER: 2 h:1 x", SPATE_ERR_NOT_LEADER, "x", 2, "h:1" },
        { "NOT_LEADER: ask again", SPATE_ERR_NOT_LEADER, "ask again", -1, NULL },
        { "NOT_LEADER: 2 host", SPATE_ERR_NOT_LEADER, "2 host", -1, NULL },
        { "NOT_LEADER: 9999999999 h:1", SPATE_ERR_NOT_LEADER, "9999999999 h:1", -1, NULL },
        { "NOT_LEADER: -2 h:1", SPATE_ERR_NOT_LEADER, "-2 h:1", -1, NULL },
        { "BUSY: 2 h:1 x", SPATE_ERR_BUSY, "2 h:1 x", -1, NULL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sp_error_parts parts;
        sp_error_parse(sp_bytes_text(cases[i].error), &parts);
        assert_int_equal(parts.code, cases[i].code);
        check_bytes(parts.text, cases[i].text);
        assert_int_equal(parts.leader_id, cases[i].leader_id);
        if (cases[i].leader_address == NULL) {
            check_null(parts.leader_address);
        } else {
            check_bytes(parts.leader_address, cases[i].leader_address);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_request_is_decoded),
        cmocka_unit_test(test_message_response_is_decoded),
        cmocka_unit_test(test_message_error_of_another_type_is_internal),
        cmocka_unit_test(test_message_every_truncated_prefix_refused),
        cmocka_unit_test(test_message_of_another_shape_refused),
        cmocka_unit_test(test_message_params_of_any_type_are_left_to_the_method),
        cmocka_unit_test(test_message_encoders_make_golden_bytes),
        cmocka_unit_test(test_message_error_text_is_made_safe),
        cmocka_unit_test(test_message_not_leader_names_the_leader),
        cmocka_unit_test(test_message_error_strings_are_parsed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
