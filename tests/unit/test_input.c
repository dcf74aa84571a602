#include "net/input.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/rand.h"
#include "spate/error.h"
#include "wire/peer_api.h"

enum {
    BODY_BYTES = 4 * 1024 * 1024,
    STREAM_BYTES = 1024 * 1024,
};

/* [2, "m", bin32 of body_size] without the body */
static size_t put_head(uint8_t *bytes, uint32_t body_size)
{
    const uint8_t head[] = { 0x93,
                             0x02,
                             0xa1,
                             'm',
                             0xc6,
                             (uint8_t)(body_size >> 24),
                             (uint8_t)(body_size >> 16),
                             (uint8_t)(body_size >> 8),
                             (uint8_t)body_size };

    memcpy(bytes, head, sizeof head);
    return sizeof head;
}

/* Gives `size` bytes to the input in steps of at most `step_max`; returns how many messages came
 * out, and their sizes added up. */
static unsigned
push(struct sp_input *input, const uint8_t *bytes, size_t size, size_t step_max, size_t *out_sum)
{
    unsigned count = 0;

    while (size > 0) {
        uint8_t *room = NULL;
        size_t room_size = 0;
        struct sp_blob *blob = NULL;
        size_t position = 0;
        size_t message_size = 0;
        int rv;

        assert_int_equal(sp_input_room(input, &room, &room_size), 0);
        assert_true(room_size > 0);
        size_t step = room_size < step_max ? room_size : step_max;
        step = step < size ? step : size;
        memcpy(room, bytes, step);
        sp_input_filled(input, step);
        bytes += step;
        size -= step;
        while ((rv = sp_input_next(input, &blob, &position, &message_size)) == 0) {
            assert_true(position + message_size <= blob->size);
            assert_int_equal(blob->bytes[position], 0x93);
            count += 1;
            *out_sum += message_size;
        }
        assert_int_equal(rv, SPATE_ERR_AGAIN);
    }
    return count;
}

static void test_input_any_cut_gives_the_same_messages(void **state)
{
    static uint8_t stream[STREAM_BYTES];
    struct sp_rand rand;
    size_t size = 0;
    unsigned count = 0;

    (void)state;
    sp_rand_init(&rand, 1);
    memset(stream, 0x55, sizeof stream);
    while (size < sizeof stream - 70000) {
        uint32_t body_size = (uint32_t)sp_rand_below(&rand, count % 7 == 0 ? 60000 : 100);
        size += put_head(stream + size, body_size) + body_size;
        count += 1;
    }
    static const size_t steps[] = { 1, 3, 100, 4096, 5000, 65536, STREAM_BYTES };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct sp_input input;
        size_t sum = 0;

        assert_int_equal(sp_input_init(&input, &sp_conn_messagepack), 0);
        assert_int_equal(push(&input, stream, size, steps[i], &sum), count);
        assert_int_equal(sum, size);
        assert_false(sp_input_partial(&input));
        sp_input_deinit(&input);
    }
}

static void test_input_lying_header_costs_nothing(void **state)
{
    struct sp_input input;
    uint8_t head[16];
    size_t sum = 0;

    (void)state;
    uint64_t before = sp_mem_live_bytes();
    assert_int_equal(sp_input_init(&input, &sp_conn_messagepack), 0);
    size_t size = put_head(head, 16 * 1024 * 1024);
    assert_int_equal(push(&input, head, size, 1, &sum), 0);
    uint8_t *room = NULL;
    assert_int_equal(sp_input_room(&input, &room, &size), 0);
    assert_true(sp_mem_live_bytes() - before < 32 * 1024);
    sp_input_deinit(&input);
    assert_true(sp_mem_live_bytes() == before);
}

static void test_input_memory_follows_what_has_arrived(void **state)
{
    static uint8_t body[BODY_BYTES];
    struct sp_input input;
    uint8_t head[16];
    size_t sum = 0;
    size_t arrived = 0;

    (void)state;
    uint64_t before = sp_mem_live_bytes();
    assert_int_equal(sp_input_init(&input, &sp_conn_messagepack), 0);
    (void)push(&input, head, put_head(head, BODY_BYTES), 64, &sum);
    while (arrived < BODY_BYTES) {
        unsigned count = push(&input, body + arrived, 4096, 4096, &sum);
        arrived += 4096;
        assert_int_equal(count, arrived == BODY_BYTES);
        /* an eighth of it: large pieces are rounded up */
        assert_true(sp_mem_live_bytes() - before < 2 * arrived + arrived / 8 + 32 * 1024);
    }
    assert_int_equal(sum, BODY_BYTES + 9);
    sp_input_trim(&input);
    assert_true(sp_mem_live_bytes() - before < 1024);
    sp_input_deinit(&input);
}

static void test_input_kept_message_survives_what_follows(void **state)
{
    struct sp_input input;
    uint8_t bytes[64];
    struct sp_blob *blob = NULL;
    size_t position = 0;
    size_t message_size = 0;
    uint8_t *room = NULL;
    size_t room_size = 0;
    size_t sum = 0;

    (void)state;
    assert_int_equal(sp_input_init(&input, &sp_conn_messagepack), 0);
    size_t size = put_head(bytes, 3);
    memcpy(bytes + size, "abc", 3);
    assert_int_equal(sp_input_room(&input, &room, &room_size), 0);
    memcpy(room, bytes, size + 3);
    sp_input_filled(&input, size + 3);
    assert_int_equal(sp_input_next(&input, &blob, &position, &message_size), 0);
    struct sp_slice kept = sp_slice_of(blob, position, message_size);
    memcpy(bytes + size, "xyz", 3);
    for (int i = 0; i < 2000; i++) {
        (void)push(&input, bytes, size + 3, 64, &sum);
    }
    assert_memory_equal(kept.bytes + size, "abc", 3);
    sp_slice_unref(&kept);
    sp_input_deinit(&input);
}

static void test_input_failing_allocation_is_reported(void **state)
{
    struct sp_input input;
    uint8_t *room = NULL;
    size_t size = 0;
    uint8_t head[16];

    (void)state;
    sp_mem_fail_at(1);
    assert_int_equal(sp_input_init(&input, &sp_conn_messagepack), SPATE_ERR_NOMEM);
    assert_int_equal(sp_input_init(&input, &sp_conn_messagepack), 0);
    sp_mem_fail_at(1);
    assert_int_equal(sp_input_room(&input, &room, &size), SPATE_ERR_NOMEM);
    (void)push(&input, head, put_head(head, BODY_BYTES), 64, &(size_t){ 0 });
    static uint8_t body[4096];
    (void)push(&input, body, 4096 - 9, 4096, &(size_t){ 0 });
    sp_mem_fail_at(1);
    assert_int_equal(sp_input_room(&input, &room, &size), SPATE_ERR_NOMEM);
    assert_int_equal(sp_input_room(&input, &room, &size), 0);
    sp_input_deinit(&input);
}

static void test_input_node_messages_are_cut_and_checked(void **state)
{
    struct sp_peer_message refused = { .kind = SP_PEER_REFUSED };
    uint8_t bytes[SP_PEER_HEAD_SIZE_MAX];
    struct sp_input input;
    struct sp_blob *blob = NULL;
    size_t position = 0;
    size_t message_size = 0;
    uint8_t *room = NULL;
    size_t room_size = 0;

    (void)state;
    size_t size = sp_peer_head_encode(&refused, 2, bytes);
    memcpy(bytes + size, "no", 2);
    size += 2;
    for (size_t flipped = 0; flipped < 2; flipped++) {
        assert_int_equal(sp_input_init(&input, &sp_conn_node_messages), 0);
        int rv = SPATE_ERR_AGAIN;
        for (size_t i = 0; i < size && rv == SPATE_ERR_AGAIN; i++) {
            assert_int_equal(sp_input_room(&input, &room, &room_size), 0);
            room[0] = bytes[i] ^ (uint8_t)(flipped == 1 && i == 9 ? 1 : 0);
            sp_input_filled(&input, 1);
            rv = sp_input_next(&input, &blob, &position, &message_size);
            assert_true(i + 1 == size || flipped == 1 || rv == SPATE_ERR_AGAIN);
        }
        assert_int_equal(rv, flipped == 1 ? SPATE_ERR_MALFORMED : 0);
        assert_true(flipped == 1 || message_size == size);
        sp_input_deinit(&input);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_input_any_cut_gives_the_same_messages),
        cmocka_unit_test(test_input_lying_header_costs_nothing),
        cmocka_unit_test(test_input_memory_follows_what_has_arrived),
        cmocka_unit_test(test_input_kept_message_survives_what_follows),
        cmocka_unit_test(test_input_failing_allocation_is_reported),
        cmocka_unit_test(test_input_node_messages_are_cut_and_checked),
    };
    return cmocka_run_group_tests_name("net/input", tests, NULL, NULL);
}
