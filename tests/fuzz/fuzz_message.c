/* Fuzzes the client protocol: whatever a decoder takes, it must take again from its own encoder;
 * plain records that become a batch must become a valid one. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "spate/error.h"
#include "wire/client_api.h"
#include "wire/frame.h"
#include "wire/metadata.h"
#include "wire/records.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BOUND (1 << 20)

static void check(bool condition)
{
    if (!condition) {
        abort();
    }
}

/* Decode, encode, decode, encode: both encodings must be the same bytes. `prelude` begins each. */
#define TRIP(name, prelude)                                                                        \
    static void trip_##name(const struct sp_cursor *cursor)                                        \
    {                                                                                              \
        struct sp_##name value;                                                                    \
        struct sp_api_error error = { "" };                                                        \
        struct sp_buf first;                                                                       \
        struct sp_buf second;                                                                      \
        struct sp_pack pack;                                                                       \
        if (sp_##name##_decode(cursor, &value, &error) != 0) {                                     \
            check(strlen(error.text) < sizeof error.text);                                         \
            return;                                                                                \
        }                                                                                          \
        sp_buf_init(&first, BOUND);                                                                \
        sp_buf_init(&second, BOUND);                                                               \
        sp_pack_init(&pack, &first);                                                               \
        sp_pack_raw(&pack, sp_bytes_text(prelude));                                                \
        sp_##name##_encode(&pack, &value);                                                         \
        check(sp_pack_status(&pack) == 0);                                                         \
        struct sp_cursor again = sp_cursor_of(sp_bytes_of(first.bytes, first.size));               \
        check(sp_##name##_decode(&again, &value, &error) == 0);                                    \
        sp_pack_init(&pack, &second);                                                              \
        sp_pack_raw(&pack, sp_bytes_text(prelude));                                                \
        sp_##name##_encode(&pack, &value);                                                         \
        check(first.size == second.size);                                                          \
        check(memcmp(first.bytes, second.bytes, first.size) == 0);                                 \
        sp_buf_deinit(&first);                                                                     \
        sp_buf_deinit(&second);                                                                    \
    }

#define PARAMS "\x91" /* an array that holds one map */
#define RESULT ""

TRIP(empty_request, PARAMS)
TRIP(hello_request, PARAMS)
TRIP(metadata_request, PARAMS)
TRIP(topic_create_request, PARAMS)
TRIP(topic_request, PARAMS)
TRIP(partition_move_request, PARAMS)
TRIP(node_drain_request, PARAMS)
TRIP(node_request, PARAMS)
TRIP(cluster_rebalance_request, PARAMS)
TRIP(topic_replicas_request, PARAMS)
TRIP(produce_request, PARAMS)
TRIP(fetch_request, PARAMS)
TRIP(offsets_request, PARAMS)
TRIP(producer_init_request, PARAMS)
TRIP(producer_resume_request, PARAMS)
TRIP(hello_response, RESULT)
TRIP(topic_create_response, RESULT)
TRIP(produce_response, RESULT)
TRIP(fetch_response, RESULT)
TRIP(offsets_response, RESULT)
TRIP(producer_init_response, RESULT)
TRIP(producer_resume_response, RESULT)

static void trip_metadata(const struct sp_cursor *cursor)
{
    struct sp_metadata metadata;
    struct sp_metadata again;
    struct sp_api_error error = { "" };
    struct sp_buf buf;
    struct sp_pack pack;

    if (sp_metadata_decode(cursor, &metadata, &error) != 0) {
        return;
    }
    sp_buf_init(&buf, BOUND);
    sp_pack_init(&pack, &buf);
    sp_metadata_encode(&pack, &metadata);
    check(sp_pack_status(&pack) == 0);
    struct sp_cursor packed = sp_cursor_of(sp_bytes_of(buf.bytes, buf.size));
    check(sp_metadata_decode(&packed, &again, &error) == 0);
    check(again.topic_count == metadata.topic_count);
    sp_metadata_deinit(&again);
    sp_metadata_deinit(&metadata);
    sp_buf_deinit(&buf);
}

static void batch_of(struct sp_bytes array)
{
    struct sp_batch_builder builder;
    struct sp_api_error error = { "" };
    struct sp_buf out;

    sp_buf_init(&out, BOUND);
    sp_batch_builder_init(&builder, BOUND, SP_COMPRESSION_LZ4);
    if (sp_records_to_batch(array, 1, &builder, &error) == 0) {
        check(sp_batch_builder_finish(&builder, -1, -1, -1, &out) == 0);
        check(sp_batch_validate_deep(out.bytes, out.size, BOUND, BOUND, NULL) == 0);
    }
    sp_batch_builder_deinit(&builder);
    sp_buf_deinit(&out);
}

static void take_call(const struct sp_cursor *params)
{
    struct sp_produce_request produce;

    trip_empty_request(params);
    trip_hello_request(params);
    trip_metadata_request(params);
    trip_topic_create_request(params);
    trip_topic_request(params);
    trip_partition_move_request(params);
    trip_node_drain_request(params);
    trip_node_request(params);
    trip_cluster_rebalance_request(params);
    trip_topic_replicas_request(params);
    trip_produce_request(params);
    trip_fetch_request(params);
    trip_offsets_request(params);
    trip_producer_init_request(params);
    trip_producer_resume_request(params);
    if (sp_produce_request_decode(params, &produce, NULL) == 0) {
        check((produce.records.batch.bytes == NULL) != (produce.records.array.bytes == NULL));
        if (produce.records.array.bytes != NULL) {
            batch_of(produce.records.array);
        }
    }
}

static void take_answer(const struct sp_message *message)
{
    struct sp_error_parts parts;

    trip_hello_response(&message->result);
    trip_topic_create_response(&message->result);
    trip_produce_response(&message->result);
    trip_fetch_response(&message->result);
    trip_offsets_response(&message->result);
    trip_producer_init_response(&message->result);
    trip_producer_resume_response(&message->result);
    trip_metadata(&message->result);
    if (message->error.bytes != NULL) {
        sp_error_parse(message->error, &parts);
        check(parts.code < 0);
        check(parts.text.bytes != NULL);
        check((parts.leader_id >= 0) == (parts.leader_address.bytes != NULL));
    }
}

/* The framer and the cursor share no code and must see the same end. */
static void compare_with_framer(const uint8_t *bytes, size_t size)
{
    struct sp_frame frame;
    struct sp_cursor cursor;
    size_t used = 0;
    bool complete = false;

    sp_frame_init(&frame, BOUND, BOUND);
    int rv = sp_frame_feed(&frame, bytes, size, &used, &complete);
    sp_cursor_init(&cursor, bytes, size);
    sp_cursor_skip(&cursor);
    if (rv == 0) {
        check(complete == (sp_cursor_status(&cursor) == 0));
        check(!complete || cursor.position == used);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sp_message message;

    compare_with_framer(data, size);
    batch_of(sp_bytes_of(data, size));
    if (sp_message_decode(data, size, &message) == 0) {
        if (message.type == SP_MESSAGE_RESPONSE) {
            take_answer(&message);
        } else {
            (void)sp_method_find(message.method); /* must only not crash */
            take_call(&message.params);
        }
    }
    check(sp_mem_live_count() == 0);
    return 0;
}
