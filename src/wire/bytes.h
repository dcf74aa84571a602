/* A borrowed run of bytes: what decoders hand out and encoders take.
 *
 * Null and empty differ on the wire, so they differ here: `bytes` is NULL for null (nil, absent),
 * and not NULL, with size 0, for an empty value. Whoever hands out a struct sp_bytes says how long
 * the bytes live; decoders of wire/ always point into the message that they were given. */
#ifndef SP_WIRE_BYTES_H
#define SP_WIRE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sp_bytes {
    const uint8_t *bytes; /* NULL: null */
    size_t size;
};

/* A view of `size` bytes. An empty view is not null, even when `bytes` is NULL. */
struct sp_bytes sp_bytes_of(const void *bytes, size_t size);

/* A view of a text without its NUL; null for NULL. */
struct sp_bytes sp_bytes_text(const char *text);

/* The null view. */
struct sp_bytes sp_bytes_null(void);

/* True if neither is null and both hold the same bytes. */
bool sp_bytes_equal(struct sp_bytes left, struct sp_bytes right);

/* True if `bytes` is not null and holds exactly the characters of `text`. */
bool sp_bytes_equal_text(struct sp_bytes bytes, const char *text);

/* Size in bytes, 1 to 4, of the UTF-8 sequence (Unicode 15, table 3-7) that `bytes` starts with; 0
 * when it starts with none. `size` is at least 1. */
size_t sp_utf8_sequence_size(const uint8_t *bytes, size_t size);

/* True if `bytes` is valid UTF-8 as a whole; the empty text is, null is not. */
bool sp_utf8_valid(struct sp_bytes bytes);

#endif /* SP_WIRE_BYTES_H */
