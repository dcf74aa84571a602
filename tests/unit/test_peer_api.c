#include "wire/peer_api.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "spate/error.h"

/* Made by an independent program from the byte table of the header. */
static const uint8_t hello_golden[] = {
    0x44, 0x00, 0x00, 0x00, 0x80, 0xd1, 0x09, 0xec, 0x01, 0x01, 0x44, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x03, 0x01, 0x02, 0x00, 0x88, 0x77, 0x66, 0x55,
    0x44, 0x33, 0x22, 0x11, 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09,
    0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0xfe, 0xca,
    0x07, 0x00, 0x00, 0x00, 0x09, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
};
/* Of a build that knows nothing of runs, of one that knows nothing of conditions, and of one that
 * says more than this one knows. */
static const uint8_t hello_older[] = {
    0x38, 0x00, 0x00, 0x00, 0x6d, 0x17, 0x35, 0x6e, 0x01, 0x01, 0x38, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x88, 0x77, 0x66, 0x55,
    0x44, 0x33, 0x22, 0x11, 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09,
    0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0xfe, 0xca,
};
static const uint8_t hello_before[] = {
    0x40, 0x00, 0x00, 0x00, 0x0c, 0x8d, 0xf3, 0x21, 0x01, 0x01, 0x40, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x02, 0x00, 0x00, 0x00, 0x03, 0x01, 0x02, 0x00, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f,
    0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0xfe, 0xca, 0x07, 0x00, 0x00, 0x00, 0x09, 0x00, 0x00, 0x00,
};
static const uint8_t hello_newer[] = {
    0x4c, 0x00, 0x00, 0x00, 0x1a, 0x5a, 0x7a, 0xdf, 0x01, 0x01, 0x4c, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x02, 0x00, 0x00, 0x00, 0x03, 0x01, 0x02, 0x00, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f,
    0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0xfe, 0xca, 0x07, 0x00, 0x00, 0x00, 0x09, 0x00, 0x00, 0x00,
    0x01, 0x00, 0x00, 0x00, 0x4d, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
};
static const uint8_t append_golden[] = {
    0x70, 0x00, 0x00, 0x00, 0xce, 0x4a, 0x15, 0x71, 0x01, 0x10, 0x68, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0b, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x0c, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x64, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x63, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x66, 0x72, 0x61, 0x6d, 0x65, 0x20, 0x20, 0x20,
};
static const uint8_t reply_golden[] = {
    0x22, 0x00, 0x00, 0x00, 0x30, 0xc7, 0x9e, 0x31, 0x01, 0x15, 0x20, 0x00,
    0x18, 0x6f, 0xf3, 0xba, 0x2a, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x03, 0x00, 0x00, 0x00, 0xf3, 0xff, 0xff, 0xff, 0x6e, 0x6f,
};
static const uint8_t leaders_golden[] = {
    0x2c, 0x00, 0x00, 0x00, 0x3f, 0x6f, 0xc9, 0x3d, 0x01, 0x12, 0x14, 0x00, 0xa7, 0xbc, 0xd7,
    0xe3, 0x01, 0x00, 0x00, 0x00, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
};
static const uint8_t vigil_golden[] = {
    0x30, 0x00, 0x00, 0x00, 0x83, 0x12, 0x80, 0x15, 0x01, 0x16, 0x30, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
    0xb8, 0x0b, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x06, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
};

struct golden {
    const uint8_t *bytes;
    size_t size;
    enum sp_peer_kind kind;
};

static const struct golden goldens[] = {
    { hello_golden, sizeof hello_golden, SP_PEER_HELLO },
    { append_golden, sizeof append_golden, SP_PEER_RAFT },
    { reply_golden, sizeof reply_golden, SP_PEER_REPLY },
    { leaders_golden, sizeof leaders_golden, SP_PEER_LEADERS },
    { vigil_golden, sizeof vigil_golden, SP_PEER_VIGIL },
};

static int decode(const uint8_t *bytes, size_t size, struct sp_peer_message *out)
{
    struct sp_blob *blob = sp_blob_copy(bytes, size);

    assert_non_null(blob);
    int rv = sp_peer_message_decode(blob, 0, size, out);
    sp_blob_unref(blob);
    return rv;
}

/* The head of `message` with `body` behind it, decoded again. */
static int round_trip(struct sp_peer_message *message,
                      const void *body,
                      size_t body_size,
                      struct sp_peer_message *out)
{
    static uint8_t bytes[512 * 1024];

    message->body_crc = message->kind == SP_PEER_RAFT ? 0 : sp_crc32c(0, body, body_size);
    size_t head_size = sp_peer_head_encode(message, body_size, bytes);
    assert_true(head_size <= SP_PEER_HEAD_SIZE_MAX);
    if (body_size > 0) {
        memcpy(bytes + head_size, body, body_size);
    }
    return decode(bytes, head_size + body_size, out);
}

static void test_peer_api_golden_bytes_decode_and_encode_back(void **state)
{
    struct sp_peer_message out;
    uint8_t head[SP_PEER_HEAD_SIZE_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof goldens / sizeof goldens[0]; i++) {
        const struct golden *golden = &goldens[i];

        assert_int_equal(decode(golden->bytes, golden->size, &out), 0);
        assert_int_equal(out.kind, golden->kind);
        size_t head_size = sp_peer_head_encode(&out, out.body.size, head);
        assert_int_equal(head_size + out.body.size, golden->size);
        assert_memory_equal(head, golden->bytes, head_size);
    }
}

static void test_peer_api_golden_fields_have_their_values(void **state)
{
    struct sp_peer_message out;
    struct sp_peer_leader leader;

    (void)state;
    assert_int_equal(decode(hello_golden, sizeof hello_golden, &out), 0);
    assert_int_equal(out.u.hello.node_id, 2);
    assert_true(out.u.hello.incarnation == 0x1122334455667788);
    assert_int_equal(out.u.hello.cluster_id[15], 15);
    assert_int_equal(out.u.hello.seeds_hash, 0xcafe0001);
    assert_int_equal(out.u.hello.feature_most, 3);
    assert_int_equal(out.u.hello.feature_least, 1);
    assert_int_equal(out.u.hello.feature_active, 2);
    assert_true(out.u.hello.run == 0x0000000900000007);
    assert_int_equal(out.u.hello.condition, SP_PEER_NO_SPACE);
    assert_int_equal(decode(hello_before, sizeof hello_before, &out), 0);
    assert_true(out.u.hello.run == 0x0000000900000007);
    assert_int_equal(out.u.hello.condition, 0);
    assert_int_equal(decode(hello_older, sizeof hello_older, &out), 0);
    assert_int_equal(out.u.hello.feature_most, 1);
    assert_int_equal(out.u.hello.feature_active, 0);
    assert_int_equal(out.u.hello.seeds_hash, 0xcafe0001);
    assert_int_equal(out.u.hello.run, 0);
    assert_int_equal(decode(hello_newer, sizeof hello_newer, &out), 0);
    assert_int_equal(out.u.hello.feature_most, 3);
    assert_true(out.u.hello.run == 0x0000000900000007);
    assert_int_equal(decode(append_golden, sizeof append_golden, &out), 0);
    assert_int_equal(out.u.raft.group_id, 7);
    assert_int_equal(out.u.raft.commit, 99);
    assert_int_equal(out.u.raft.frame_count, 1);
    assert_int_equal(out.body.size, 8);
    assert_int_equal(decode(reply_golden, sizeof reply_golden, &out), 0);
    assert_int_equal(out.u.call.status, SPATE_ERR_NOT_FOUND);
    assert_int_equal(decode(vigil_golden, sizeof vigil_golden, &out), 0);
    assert_int_equal(out.u.vigil.number, 7);
    assert_true(out.u.vigil.led_sum == 0x1122334455667788);
    assert_int_equal(out.u.vigil.led_count, 3000);
    assert_int_equal(out.u.vigil.agrees, 1);
    assert_int_equal(out.u.vigil.answers, 6);
    sp_peer_leader_decode(leaders_golden + 20, &leader);
    assert_int_equal(leader.group_id, 9);
    assert_int_equal(leader.term, 4);
    assert_int_equal(leader.node_id, 3);
}

/* Who refuses stands behind the text; an older build's ends before. */
static void assert_refusals(void)
{
    static const uint8_t golden[] = { 'n', 'o', 0, 3, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1 };
    uint8_t body[sizeof golden] = { 'n', 'o' };
    struct sp_peer_refusal refusal;

    sp_peer_refuser_encode(3, UINT64_C(0x0102030405060708), body + 2);
    assert_memory_equal(body, golden, sizeof golden);
    sp_peer_refusal_decode(body, sizeof body, &refusal);
    assert_int_equal(refusal.text_size, 2);
    assert_int_equal(refusal.node_id, 3);
    assert_true(refusal.incarnation == UINT64_C(0x0102030405060708));
    for (size_t size = 0; size < sizeof body; size++) {
        sp_peer_refusal_decode(body, size, &refusal);
        assert_int_equal(refusal.text_size, size < 2 ? size : 2);
        assert_int_equal(refusal.node_id, 0);
    }
}

static void test_peer_api_every_kind_round_trips(void **state)
{
    struct sp_peer_raft entry = { .group_id = 1, .kind = SP_PEER_APPEND_RESULT, .aux = 77 };
    struct sp_peer_raft entry_back;
    uint8_t entries[2 * SP_PEER_RAFT_SIZE];
    struct sp_peer_message out;

    (void)state;
    sp_peer_raft_encode(&entry, entries);
    sp_peer_raft_encode(&entry, entries + SP_PEER_RAFT_SIZE);
    sp_peer_raft_decode(entries + SP_PEER_RAFT_SIZE, &entry_back);
    assert_memory_equal(&entry, &entry_back, sizeof entry);
    const struct sp_peer_leader leader = { .group_id = 1, .term = 2, .node_id = 3, .lagging = 5 };
    struct sp_peer_leader leader_back;
    uint8_t leader_bytes[SP_PEER_LEADER_SIZE];
    sp_peer_leader_encode(&leader, leader_bytes);
    sp_peer_leader_decode(leader_bytes, &leader_back);
    assert_memory_equal(&leader, &leader_back, sizeof leader);

    for (int kind = SP_PEER_FORM; kind <= SP_PEER_FORMED; kind++) {
        struct sp_peer_message form = { .kind = (enum sp_peer_kind)kind,
                                        .u.form.cluster_id = { 9, 8, 7 } };
        assert_int_equal(round_trip(&form, "", 0, &out), 0);
        assert_memory_equal(out.u.form.cluster_id, form.u.form.cluster_id, 16);
    }
    struct sp_peer_message refused = { .kind = SP_PEER_REFUSED };
    assert_int_equal(round_trip(&refused, "because", 7, &out), 0);
    assert_refusals();
    struct sp_peer_message beats = { .kind = SP_PEER_HEARTBEATS, .u.count = 2 };
    assert_int_equal(round_trip(&beats, entries, sizeof entries, &out), 0);
    assert_int_equal(out.u.count, 2);
    struct sp_peer_message stopped = { .kind = SP_PEER_STOPPED, .u.stopped = { 5, 6 } };
    assert_int_equal(round_trip(&stopped, "", 0, &out), 0);
    assert_int_equal(out.u.stopped.replica_id, 6);
    struct sp_peer_message compacted = { .kind = SP_PEER_COMPACTED,
                                         .u.compacted = { 5, 6, 7, 1000, 900 } };
    assert_int_equal(round_trip(&compacted, "", 0, &out), 0);
    assert_memory_equal(&out.u.compacted, &compacted.u.compacted, sizeof out.u.compacted);
    compacted.u.compacted.floor = -1;
    assert_int_equal(round_trip(&compacted, "", 0, &out), SPATE_ERR_MALFORMED);
    struct sp_peer_message call = { .kind = SP_PEER_CALL, .u.call = { 1, 2, 0 } };
    assert_int_equal(round_trip(&call, "body", 4, &out), 0);
    assert_int_equal(out.u.call.method, 2);
}

static void test_peer_api_any_flipped_bit_is_refused(void **state)
{
    struct sp_peer_message out;
    uint8_t bytes[sizeof append_golden];

    (void)state;
    for (size_t i = 0; i < sizeof goldens / sizeof goldens[0]; i++) {
        /* Frames have checksums of their own, so only the head of an append is covered. */
        size_t covered = goldens[i].kind == SP_PEER_RAFT ? 104 : goldens[i].size;

        for (size_t bit = 0; bit < covered * 8; bit++) {
            memcpy(bytes, goldens[i].bytes, goldens[i].size);
            bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
            assert_true(decode(bytes, goldens[i].size, &out) < 0);
        }
    }
}

static void test_peer_api_cut_message_is_refused(void **state)
{
    struct sp_peer_message out;
    size_t message_size = 0;

    (void)state;
    for (size_t size = 0; size < sizeof append_golden; size++) {
        int rv = sp_peer_message_size(append_golden, size, &message_size);
        assert_int_equal(rv, size < SP_PEER_PREFIX_SIZE ? SPATE_ERR_AGAIN : 0);
        assert_int_equal(decode(append_golden, size, &out), SPATE_ERR_MALFORMED);
    }
    assert_int_equal(message_size, sizeof append_golden);
}

/* Fields that are wrong although every checksum is right. */
static void test_peer_api_inconsistent_fields_are_refused(void **state)
{
    static uint8_t zeros[SP_PEER_RAFT_SIZE * 3];
    const struct {
        struct sp_peer_message message;
        size_t body_size;
    } lies[] = {
        { { .kind = SP_PEER_HELLO }, 1 },
        { { .kind = SP_PEER_FORM }, 16 },
        { { .kind = SP_PEER_RAFT, .u.raft = { .kind = 0 } }, 0 },
        { { .kind = SP_PEER_RAFT, .u.raft = { .kind = 12 } }, 0 },
        { { .kind = SP_PEER_RAFT, .u.raft = { .kind = SP_PEER_INSTALL_RESULT } }, 8 },
        { { .kind = SP_PEER_RAFT, .u.raft = { .kind = SP_PEER_CONFIRM } }, 8 },
        { { .kind = SP_PEER_RAFT, .u.raft = { .kind = SP_PEER_CONFIRM_RESULT } }, 8 },
        { { .kind = SP_PEER_RAFT, .u.raft = { .kind = SP_PEER_VOTE, .flags = 16 } }, 0 },
        { { .kind = SP_PEER_RAFT, .u.raft = { .kind = SP_PEER_VOTE } }, 8 },
        { { .kind = SP_PEER_RAFT, .u.raft = { .kind = SP_PEER_APPEND } }, 8 },
        { { .kind = SP_PEER_RAFT, .u.raft = { .kind = SP_PEER_APPEND, .frame_count = 1 } }, 0 },
        { { .kind = SP_PEER_RAFT, .u.raft = { .kind = SP_PEER_APPEND, .frame_count = 257 } }, 8 },
        { { .kind = SP_PEER_HEARTBEATS, .u.count = 0 }, 0 },
        { { .kind = SP_PEER_HEARTBEATS, .u.count = 2 }, SP_PEER_RAFT_SIZE * 3 },
        { { .kind = SP_PEER_HEARTBEATS, .u.count = 3 }, SP_PEER_RAFT_SIZE * 3 }, /* kind 0 */
        { { .kind = SP_PEER_HEARTBEATS, .u.count = UINT32_MAX }, SP_PEER_RAFT_SIZE },
        { { .kind = SP_PEER_LEADERS, .u.count = 3 }, SP_PEER_LEADER_SIZE * 2 },
        { { .kind = SP_PEER_CALL, .u.call = { 1, 1, -1 } }, 0 },
        { { .kind = SP_PEER_REPLY, .u.call = { 1, 1, 1 } }, 0 },
        { { .kind = SP_PEER_RAFT, .u.raft = { .kind = SP_PEER_QUIET } }, 8 },
        { { .kind = SP_PEER_RAFT, .u.raft = { .kind = SP_PEER_WAKE, .frame_count = 1 } }, 0 },
        { { .kind = SP_PEER_VIGIL }, 0 }, /* messages count from 1 */
        { { .kind = SP_PEER_VIGIL, .u.vigil = { .number = 1 } }, 1 },
        { { .kind = SP_PEER_VIGIL, .u.vigil = { .number = 1, .agrees = 1 } }, 0 },
        { { .kind = SP_PEER_VIGIL, .u.vigil = { .number = 1, .agrees = 2, .answers = 1 } }, 0 },
    };
    struct sp_peer_message out;

    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct sp_peer_message message = lies[i].message;
        assert_int_equal(round_trip(&message, zeros, lies[i].body_size, &out), SPATE_ERR_MALFORMED);
    }
}

static void test_peer_api_impossible_sizes_are_refused_from_the_prefix(void **state)
{
    uint8_t bytes[SP_PEER_PREFIX_SIZE];
    size_t size = 0;

    (void)state;
    memcpy(bytes, hello_golden, sizeof bytes);
    bytes[3] = 0x7f; /* 2 GiB */
    assert_int_equal(sp_peer_message_size(bytes, sizeof bytes, &size), SPATE_ERR_TOO_LARGE);
    memcpy(bytes, hello_golden, sizeof bytes);
    bytes[10] = 0x0f; /* a head shorter than its prefix */
    assert_int_equal(sp_peer_message_size(bytes, sizeof bytes, &size), SPATE_ERR_MALFORMED);
    bytes[10] = 0x45; /* a head longer than the message */
    assert_int_equal(sp_peer_message_size(bytes, sizeof bytes, &size), SPATE_ERR_MALFORMED);
    assert_int_equal(
        sp_peer_message_size((const uint8_t *)"GET / HTTP/1.1\r\n", sizeof bytes, &size),
        SPATE_ERR_TOO_LARGE);
}

static void test_peer_api_other_version_is_told_apart_from_damage(void **state)
{
    uint8_t bytes[sizeof hello_golden];
    struct sp_peer_message out;
    size_t size = 0;

    (void)state;
    memcpy(bytes, hello_golden, sizeof bytes);
    bytes[8] = 2;
    assert_int_equal(decode(bytes, sizeof bytes, &out), SPATE_ERR_MALFORMED);
    uint32_t crc = sp_crc32c(0, bytes + 8, sizeof bytes - 8);
    for (unsigned i = 0; i < 4; i++) {
        bytes[4 + i] = (uint8_t)(crc >> (8 * i));
    }
    assert_int_equal(decode(bytes, sizeof bytes, &out), SPATE_ERR_UNSUPPORTED);
    assert_int_equal(sp_peer_head_check(bytes), SPATE_ERR_UNSUPPORTED);
    bytes[2] = 1; /* 64 KiB of a version that is not spoken here are not worth reading */
    assert_int_equal(sp_peer_message_size(bytes, sizeof bytes, &size), SPATE_ERR_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peer_api_golden_bytes_decode_and_encode_back),
        cmocka_unit_test(test_peer_api_golden_fields_have_their_values),
        cmocka_unit_test(test_peer_api_every_kind_round_trips),
        cmocka_unit_test(test_peer_api_any_flipped_bit_is_refused),
        cmocka_unit_test(test_peer_api_cut_message_is_refused),
        cmocka_unit_test(test_peer_api_inconsistent_fields_are_refused),
        cmocka_unit_test(test_peer_api_impossible_sizes_are_refused_from_the_prefix),
        cmocka_unit_test(test_peer_api_other_version_is_told_apart_from_damage),
    };
    return cmocka_run_group_tests_name("wire/peer_api", tests, NULL, NULL);
}
