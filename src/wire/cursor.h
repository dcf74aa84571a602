/* Reads MessagePack values one after the other from bytes that are all there: the first error
 * sticks.
 *
 *   sp_cursor_init(&cursor, bytes, size);
 *   uint32_t count = sp_cursor_array(&cursor);
 *   for (uint32_t i = 0; i < count; i++)
 *       total += sp_cursor_int(&cursor, 0, INT64_MAX);
 *   rv = sp_cursor_status(&cursor);
 *
 * Invariants:
 *  I1  Nothing outside bytes[0, size) is ever read, nothing is allocated, nothing recurses.
 *  I2  After an error every function returns zero, false or null, and the cursor does not move; so
 *      a loop over a count that an error made 0 just ends.
 *  I3  An array or map header is accepted only if the rest of the bytes can hold its elements at
 * one byte each. A caller that allocates per element is therefore bounded by the message.
 *
 * Statuses: SPATE_ERR_MALFORMED for bytes that are no MessagePack, or end too soon;
 * SPATE_ERR_INVALID for a value of another type or out of range. Ext values can only be skipped.
 * Views point into the bytes given to sp_cursor_init and live as long as they do. Any thread.
 *
 * Source: MessagePack specification, "Formats"; leniency towards old peers as DESIGN D8. */
#ifndef SP_WIRE_CURSOR_H
#define SP_WIRE_CURSOR_H

#include "wire/bytes.h"

enum sp_cursor_type {
    SP_CURSOR_END, /* no value: the bytes are used up, or an error happened */
    SP_CURSOR_NIL,
    SP_CURSOR_BOOL,
    SP_CURSOR_INT,   /* any integer */
    SP_CURSOR_FLOAT, /* float 32 or 64 */
    SP_CURSOR_STR,
    SP_CURSOR_BIN,
    SP_CURSOR_ARRAY,
    SP_CURSOR_MAP,
    SP_CURSOR_EXT,
};

/* May be copied: a copy is a second place in the same bytes. Open for embedding only. */
struct sp_cursor {
    const uint8_t *bytes;
    size_t size;
    size_t position; /* of the next value */
    int status;      /* the first error, or 0 */
};

/* Prepares `cursor` (caller's memory, no deinit needed) to read `bytes`, borrowed while it is used.
 */
void sp_cursor_init(struct sp_cursor *cursor, const void *bytes, size_t size);

/* The same over a view; a null view gives a cursor at its end. */
struct sp_cursor sp_cursor_of(struct sp_bytes bytes);

/* 0, or the first error. */
int sp_cursor_status(const struct sp_cursor *cursor);

/* Makes `code` the status, unless there is an earlier error. */
void sp_cursor_fail(struct sp_cursor *cursor, int code);

/* Status at the end of a message: like sp_cursor_status, but bytes that are left over are
 * SPATE_ERR_MALFORMED. */
int sp_cursor_finish(struct sp_cursor *cursor);

/* Type of the next value, which is not read; SP_CURSOR_END when there is none. */
enum sp_cursor_type sp_cursor_peek(const struct sp_cursor *cursor);

/* Reads the header of an array, or of a map, and returns the count of elements or pairs, which the
 * caller reads next. A map may hold a key twice: whoever needs unique keys checks. */
uint32_t sp_cursor_array(struct sp_cursor *cursor);
uint32_t sp_cursor_map(struct sp_cursor *cursor);

/* Reads a whole number within [min, max]: an integer of any width, or a float with no fraction and
 * an absolute value of at most 2^53 (some JavaScript clients send large numbers so). */
int64_t sp_cursor_int(struct sp_cursor *cursor, int64_t min, int64_t max);

/* The same for numbers up to UINT64_MAX. */
uint64_t sp_cursor_uint(struct sp_cursor *cursor, uint64_t max);

/* Reads a float or an integer. */
double sp_cursor_double(struct sp_cursor *cursor);

bool sp_cursor_bool(struct sp_cursor *cursor);

/* Reads a str that is valid UTF-8. Never null on success. */
struct sp_bytes sp_cursor_text(struct sp_cursor *cursor);

/* Reads a bin, or a str with any content, since several clients send bytes so. Never null on
 * success. */
struct sp_bytes sp_cursor_bytes(struct sp_cursor *cursor);

/* Reads a nil if one is next and returns true; otherwise reads nothing and returns false. Nil and
 * absent mean the same, so optional values begin with this call. */
bool sp_cursor_nil(struct sp_cursor *cursor);

/* Passes over the next value with all that is in it. */
void sp_cursor_skip(struct sp_cursor *cursor);

/* Passes over the next value and returns its encoded bytes, for a later cursor or sp_pack_raw. */
struct sp_bytes sp_cursor_raw(struct sp_cursor *cursor);

#endif /* SP_WIRE_CURSOR_H */
