/* The receiving half of a connection: gives room for bytes, cuts them into whole messages, and
 * holds no more memory than has been earned.
 *
 *   blob:  | messages handed out | message in progress | room |
 *          0                   start      scanned   filled   size
 *
 * Small messages share a chunk of 4 to 64 KiB, which exists only while bytes are in it. A message
 * that does not fit gets the blob for itself; it grows in steps no larger than what has already
 * arrived, so that a header which lies about its size costs nothing. No I/O; any thread, one at a
 * time. */
#ifndef SP_NET_INPUT_H
#define SP_NET_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "net/conn.h"

/* Open for embedding only. */
struct sp_input {
    const struct sp_conn_protocol *protocol;
    void *state;          /* of the protocol, owned */
    struct sp_blob *blob; /* NULL while nothing has arrived */
    size_t start;         /* of the message in progress */
    size_t scanned;       /* bytes before it were shown to the protocol */
    size_t filled;        /* bytes before it have arrived */
    size_t chunk_size;    /* of the next chunk */
    size_t room_size;     /* given out last */
};

/* SPATE_ERR_NOMEM. Undone by sp_input_deinit. */
int sp_input_init(struct sp_input *input, const struct sp_conn_protocol *protocol);

void sp_input_deinit(struct sp_input *input);

/* Where the next bytes shall go, at least one byte; valid until the next call. SPATE_ERR_NOMEM. */
int sp_input_room(struct sp_input *input, uint8_t **out_bytes, size_t *out_size);

/* `size` bytes were put there. */
void sp_input_filled(struct sp_input *input, size_t size);

/* The next whole message: `size` bytes at `position` of `blob`, which is borrowed until the next
 * call of any function here; take references to keep it longer. SPATE_ERR_AGAIN: more bytes are
 * needed; else an error of the protocol, after which nothing but deinit is allowed. */
int sp_input_next(struct sp_input *input,
                  struct sp_blob **out_blob,
                  size_t *out_position,
                  size_t *out_size);

/* True while a message has begun and is not complete. */
bool sp_input_partial(const struct sp_input *input);

/* True while bytes have arrived that sp_input_next has not looked at. */
bool sp_input_waiting(const struct sp_input *input);

/* Bytes of memory held for what has arrived, and room for more. */
size_t sp_input_held_bytes(const struct sp_input *input);

/* The next chunk shall be small: memory is short. */
void sp_input_save(struct sp_input *input);

/* Gives the chunk back if nothing is in it; to be called once per turn. */
void sp_input_trim(struct sp_input *input);

#endif /* SP_NET_INPUT_H */
