/* Writes MessagePack into a bounded buffer, in straight lines: the first error sticks.
 *
 *   sp_pack_init(&pack, &buf);
 *   sp_pack_map(&pack, 1);
 *   sp_pack_text(&pack, "offset");
 *   sp_pack_int(&pack, offset);
 *   rv = sp_pack_status(&pack);        one check for all: SPATE_ERR_TOO_LARGE, SPATE_ERR_NOMEM
 *
 * After the first error nothing more is written, and what the buffer holds is of no use. Numbers
 * are written in their shortest form. Counts and sizes must fit 32 bits, as the format does;
 * anything larger is SPATE_ERR_TOO_LARGE. All functions: any thread, one at a time per packer.
 *
 * Source: MessagePack specification, "Formats". */
#ifndef SP_WIRE_PACK_H
#define SP_WIRE_PACK_H

#include "base/buf.h"
#include "wire/bytes.h"

/* Open for embedding only. */
struct sp_pack {
    struct sp_buf *buf; /* receives the bytes, borrowed */
    int status;         /* the first error, or 0 */
};

/* Prepares `pack` (caller's memory, no deinit needed) to append to `buf`, which must outlive it. */
void sp_pack_init(struct sp_pack *pack, struct sp_buf *buf);

/* 0, or the first error since sp_pack_init. */
int sp_pack_status(const struct sp_pack *pack);

/* Makes `code` (a negative SPATE_ERR_*) the status, unless there is an earlier error. */
void sp_pack_fail(struct sp_pack *pack, int code);

void sp_pack_nil(struct sp_pack *pack);
void sp_pack_bool(struct sp_pack *pack, bool value);
void sp_pack_uint(struct sp_pack *pack, uint64_t value);
void sp_pack_int(struct sp_pack *pack, int64_t value);
void sp_pack_double(struct sp_pack *pack, double value);

/* A str of a text with NUL, the usual form of keys and literals; nil for NULL. */
void sp_pack_text(struct sp_pack *pack, const char *text);

/* A str of these bytes, which should be UTF-8; nil for null. */
void sp_pack_str(struct sp_pack *pack, struct sp_bytes text);

/* A bin of these bytes; nil for null. */
void sp_pack_bin(struct sp_pack *pack, struct sp_bytes bytes);

/* The header of a bin whose `size` body bytes the caller sends by another way right after it, for
 * instance as a separate piece of one vectored write. */
void sp_pack_bin_header(struct sp_pack *pack, size_t size);

/* The header of an array of `count` elements, or of a map of `count` pairs, which must follow. */
void sp_pack_array(struct sp_pack *pack, size_t count);
void sp_pack_map(struct sp_pack *pack, size_t count);

/* One or more values that are encoded already. */
void sp_pack_raw(struct sp_pack *pack, struct sp_bytes encoded);

#endif /* SP_WIRE_PACK_H */
