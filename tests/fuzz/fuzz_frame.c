/* Fuzzes the framer of the client protocol against msgpack-c: on the same bytes, cut into pieces of
 * any size, both must say the same: complete at this byte, not complete, or never. */
#include <stdint.h>
#include <stdlib.h>

#include <msgpack.h>

#include "spate/error.h"
#include "wire/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BOUND 65536 /* above what the fuzzer makes: an input of real elements is never too large */
#define OUTERMOST_HEADER_MAX 5 /* a tag and 32 bits: refused once it is there */

/* What the framer says: bytes of the message, 0 while it is not complete, or an error. */
static int64_t frame_message(const uint8_t *bytes, size_t size, size_t piece)
{
    struct sp_frame frame;
    size_t position = 0;

    sp_frame_init(&frame, BOUND, BOUND);
    while (position < size) {
        size_t step = size - position < piece ? size - position : piece;
        size_t used = 0;
        bool complete = false;
        int rv = sp_frame_feed(&frame, bytes + position, step, &used, &complete);
        if (rv != 0) {
            return rv;
        }
        position += used;
        if (complete) {
            return (int64_t)position;
        }
        if (used != step || sp_frame_missing_bytes(&frame) == 0) {
            abort();
        }
    }
    return 0;
}

/* True if the outermost value may be a message, as far as its header is there. */
static bool outermost_is_message(const uint8_t *bytes, size_t size)
{
    uint32_t count = 0;
    size_t width = bytes[0] == 0xdd ? 4 : 2;

    if (bytes[0] != 0xdc && bytes[0] != 0xdd) {
        return bytes[0] == 0x93 || bytes[0] == 0x94;
    }
    if (size <= width) {
        return true;
    }
    for (size_t i = 1; i <= width; i++) {
        count = count << 8 | bytes[i];
    }
    return count == 3 || count == 4;
}

/* Both agree, as far as msgpack-c can tell: it gives up on deep nesting, which the framer takes. */
static bool agree(int64_t framed, int parsed, size_t end)
{
    switch (parsed) {
    case MSGPACK_UNPACK_SUCCESS:
        return framed == (int64_t)end;
    case MSGPACK_UNPACK_CONTINUE:
        return framed == 0;
    case MSGPACK_UNPACK_PARSE_ERROR:
        return framed == SPATE_ERR_MALFORMED;
    default:
        return true;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    msgpack_unpacked unpacked;
    size_t end = 0;

    if (size < 2 || size > BOUND / 4) {
        return 0;
    }
    const uint8_t *bytes = data + 1;
    int64_t framed = frame_message(bytes, size - 1, size);
    if (frame_message(bytes, size - 1, 1U + data[0]) != framed) {
        abort();
    }
    if (!outermost_is_message(bytes, size - 1)) {
        bool header_cut = framed == 0 && size - 1 < OUTERMOST_HEADER_MAX;
        if (framed != SPATE_ERR_MALFORMED && !header_cut) {
            abort();
        }
        return 0;
    }
    if (framed == SPATE_ERR_TOO_LARGE) {
        return 0; /* msgpack-c would allocate what the lie says */
    }
    msgpack_unpacked_init(&unpacked);
    int parsed = (int)msgpack_unpack_next(&unpacked, (const char *)bytes, size - 1, &end);
    if (!agree(framed, parsed, end)) {
        abort();
    }
    msgpack_unpacked_destroy(&unpacked);
    return 0;
}
