/* RabbitMQ streams over the stream protocol: frames of a length, a key and a version, big-endian.
 *
 * Records are published as opaque bytes, load->burst to a frame, and confirmed by the leader of the
 * stream; reading is by chunks, against credits. */
#include <endian.h>
#include <stdio.h>
#include <string.h>

#include "load.h"

enum {
    KEY_DECLARE_PUBLISHER = 0x01,
    KEY_PUBLISH = 0x02,
    KEY_CONFIRM = 0x03,
    KEY_PUBLISH_ERROR = 0x04,
    KEY_SUBSCRIBE = 0x07,
    KEY_DELIVER = 0x08,
    KEY_CREDIT = 0x09,
    KEY_UNSUBSCRIBE = 0x0c,
    KEY_CREATE = 0x0d,
    KEY_DELETE = 0x0e,
    KEY_PEER_PROPERTIES = 0x11,
    KEY_SASL_HANDSHAKE = 0x12,
    KEY_SASL_AUTHENTICATE = 0x13,
    KEY_TUNE = 0x14,
    KEY_OPEN = 0x15,
    KEY_HEARTBEAT = 0x17,
    KEY_ANSWER = 0x8000,
    CODE_OK = 1,
    VERSION = 1,
    OFFSET_FIRST = 1,
    PUBLISHER = 1,
    CREDITS = 20,
    FRAME_BYTES_MAX = LOAD_IN_BYTES / 2,
    CALL_BYTES = 1024,
};

static struct {
    uint16_t wanted; /* key of the answer that is waited for */
    uint16_t code;
    uint32_t frame_max;
    uint8_t subscription; /* number; chunks of earlier ones are dropped */
} rabbit;

/* ---- bytes ----------------------------------------------------------------------------------- */

static uint8_t *put_16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
    return at + 2;
}

static uint8_t *put_32(uint8_t *at, size_t value)
{
    uint32_t big = htobe32((uint32_t)value);

    memcpy(at, &big, sizeof big);
    return at + sizeof big;
}

static uint8_t *put_64(uint8_t *at, uint64_t value)
{
    uint64_t big = htobe64(value);

    memcpy(at, &big, sizeof big);
    return at + sizeof big;
}

static uint8_t *put_bytes(uint8_t *at, const void *bytes, size_t size)
{
    memcpy(at, bytes, size);
    return at + size;
}

static uint8_t *put_string(uint8_t *at, const char *text)
{
    return put_bytes(put_16(at, (unsigned)strlen(text)), text, strlen(text));
}

static unsigned get_16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

static uint32_t get_32(const uint8_t *at)
{
    uint32_t big;

    memcpy(&big, at, sizeof big);
    return be32toh(big);
}

static uint64_t get_64(const uint8_t *at)
{
    uint64_t big;

    memcpy(&big, at, sizeof big);
    return be64toh(big);
}

/* ---- frames ---------------------------------------------------------------------------------- */

/* A frame that is being made on the stack. */
struct frame {
    uint8_t bytes[CALL_BYTES];
    uint8_t *end;
};

static void begin_frame(struct frame *frame, unsigned key)
{
    frame->end = put_16(put_16(frame->bytes + 4, key), VERSION);
}

static void send_frame(struct load *load, struct frame *frame)
{
    size_t size = (size_t)(frame->end - frame->bytes);

    (void)put_32(frame->bytes, size - 4);
    memcpy(load_room(load, size), frame->bytes, size);
}

/* A request: its body begins with a correlation id. */
static void begin_call(struct frame *frame, unsigned key)
{
    begin_frame(frame, key);
    frame->end = put_32(frame->end, key);
}

/* Sends it; the code of the answer. */
static unsigned finish_call(struct load *load, struct frame *frame, unsigned key)
{
    rabbit.wanted = (uint16_t)(key | KEY_ANSWER);
    send_frame(load, frame);
    load_wait(load);
    return rabbit.code;
}

static void must(struct load *load, unsigned code, const char *what)
{
    char text[128];

    if (code != CODE_OK) {
        (void)snprintf(text, sizeof text, "%s: response code %u", what, code);
        load_give_up(load, text);
    }
}

/* ---- input ----------------------------------------------------------------------------------- */

static void take_confirms(struct load *load, const uint8_t *body, size_t size)
{
    uint32_t count = get_32(body + 1);

    if (count > (size - 5) / 8) {
        load_give_up(load, "a confirm that cannot be read");
    }
    for (uint32_t i = 0; i < count; i++) {
        load_acknowledged(load, get_64(body + 5 + (size_t)8 * i));
    }
}

static void take_errors(struct load *load, const uint8_t *body)
{
    uint32_t count = get_32(body + 1);

    for (uint32_t i = 0; i < count && i < LOAD_WINDOW_MAX; i++) {
        load_failed(load, "publish error", 13);
    }
}

/* A chunk: magic and type, entries (16 bits), records (32 bits), then what is not looked at. */
static void take_chunk(struct load *load, const uint8_t *body)
{
    struct frame credit;

    if (body[0] != rabbit.subscription) {
        return;
    }
    load_received(load, get_32(body + 1 + 4));
    begin_frame(&credit, KEY_CREDIT);
    *credit.end++ = rabbit.subscription;
    credit.end = put_16(credit.end, 1);
    send_frame(load, &credit);
}

static void take_frame(struct load *load, const uint8_t *frame, size_t size)
{
    unsigned key = get_16(frame);
    const uint8_t *body = frame + 4;
    struct frame answer;

    if (key == KEY_CONFIRM && size >= 9) {
        take_confirms(load, body, size - 4);
    } else if (key == KEY_DELIVER && size >= 16) {
        take_chunk(load, body);
    } else if (key == KEY_PUBLISH_ERROR && size >= 9) {
        take_errors(load, body);
    } else if (key == KEY_HEARTBEAT) {
        begin_frame(&answer, KEY_HEARTBEAT);
        send_frame(load, &answer);
    } else if (key == KEY_TUNE && size >= 12) {
        rabbit.frame_max = get_32(body);
        rabbit.code = CODE_OK;
        load->answered = rabbit.wanted == KEY_TUNE;
    } else if (key == rabbit.wanted && size >= 10) {
        rabbit.code = (uint16_t)get_16(body + 4);
        load->answered = true;
    }
}

static size_t take(struct load *load, const uint8_t *bytes, size_t size)
{
    if (size < 4) {
        return 0;
    }
    size_t length = get_32(bytes);
    if (length < 4 || length > FRAME_BYTES_MAX) {
        load_give_up(load, "a frame that cannot be read");
    }
    if (size < 4 + length) {
        return 0;
    }
    take_frame(load, bytes + 4, length);
    return 4 + length;
}

/* ---- calls ----------------------------------------------------------------------------------- */

static void log_in(struct load *load)
{
    struct frame call;

    begin_call(&call, KEY_PEER_PROPERTIES);
    call.end = put_32(call.end, 0);
    must(load, finish_call(load, &call, KEY_PEER_PROPERTIES), "peer properties");
    begin_call(&call, KEY_SASL_HANDSHAKE);
    must(load, finish_call(load, &call, KEY_SASL_HANDSHAKE), "handshake");
    begin_call(&call, KEY_SASL_AUTHENTICATE);
    call.end = put_string(call.end, "PLAIN");
    call.end = put_32(call.end, 12);
    call.end = put_bytes(call.end, "\0guest\0guest", 12);
    must(load, finish_call(load, &call, KEY_SASL_AUTHENTICATE), "authentication");
    if (rabbit.frame_max == 0) { /* the server speaks first; it may have done so already */
        rabbit.wanted = KEY_TUNE;
        load_wait(load);
    }
    begin_frame(&call, KEY_TUNE);
    call.end = put_32(call.end, rabbit.frame_max);
    call.end = put_32(call.end, 0); /* no heartbeats */
    send_frame(load, &call);
    begin_call(&call, KEY_OPEN);
    call.end = put_string(call.end, "/");
    must(load, finish_call(load, &call, KEY_OPEN), "open");
}

static unsigned delete_stream(struct load *load)
{
    struct frame call;

    begin_call(&call, KEY_DELETE);
    call.end = put_string(call.end, load->stream);
    return finish_call(load, &call, KEY_DELETE);
}

/* The stream is led by the node of this connection. */
static unsigned create_stream(struct load *load)
{
    struct frame call;

    begin_call(&call, KEY_CREATE);
    call.end = put_string(call.end, load->stream);
    call.end = put_32(call.end, 2);
    call.end = put_string(call.end, "initial-cluster-size");
    call.end = put_string(call.end, "3");
    call.end = put_string(call.end, "queue-leader-locator");
    call.end = put_string(call.end, "client-local");
    return finish_call(load, &call, KEY_CREATE);
}

static void open_rabbit(struct load *load, bool wanted)
{
    struct frame call;
    unsigned code = CODE_OK;

    log_in(load);
    if (wanted) {
        (void)delete_stream(load); /* most often there is none */
        code = create_stream(load);
    }
    must(load, code, "create");
    begin_call(&call, KEY_DECLARE_PUBLISHER);
    *call.end++ = PUBLISHER;
    call.end = put_string(call.end, "");
    call.end = put_string(call.end, load->stream);
    must(load, finish_call(load, &call, KEY_DECLARE_PUBLISHER), "declare publisher");
}

static void publish(struct load *load, uint64_t first_id, unsigned count)
{
    size_t size = 4 + 4 + 1 + 4 + count * (12 + load->size);
    uint8_t *at = load_room(load, size);

    at = put_32(at, size - 4);
    at = put_16(at, KEY_PUBLISH);
    at = put_16(at, VERSION);
    *at++ = PUBLISHER;
    at = put_32(at, count);
    for (unsigned i = 0; i < count; i++) {
        at = put_64(at, first_id + i);
        at = put_32(at, load->size);
        at = put_bytes(at, load_value(load), load->size);
    }
}

static void begin_reading(struct load *load)
{
    struct frame call;

    if (rabbit.subscription > 0) {
        begin_call(&call, KEY_UNSUBSCRIBE);
        *call.end++ = rabbit.subscription;
        must(load, finish_call(load, &call, KEY_UNSUBSCRIBE), "unsubscribe");
    }
    load->received = 0; /* of the last chunks of the old one */
    rabbit.subscription = (uint8_t)(rabbit.subscription % 250 + 1);
    begin_call(&call, KEY_SUBSCRIBE);
    *call.end++ = rabbit.subscription;
    call.end = put_string(call.end, load->stream);
    call.end = put_16(call.end, OFFSET_FIRST);
    call.end = put_16(call.end, CREDITS);
    must(load, finish_call(load, &call, KEY_SUBSCRIBE), "subscribe");
}

static void drop(struct load *load)
{
    (void)delete_stream(load);
}

const struct load_protocol load_rabbit = {
    .name = "rabbit",
    .open = open_rabbit,
    .publish = publish,
    .begin_reading = begin_reading,
    .take = take,
    .drop = drop,
};
