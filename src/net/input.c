/* Room for arriving bytes, and the messages in them. */
#include "net/input.h"

#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "spate/error.h"

enum {
    CHUNK_BYTES_MIN = 4 * 1024, /* before a peer has shown that it sends more */
    BODY_BYTES_MIN = 16 * 1024, /* the first blob of a message that outgrew its chunk */
    ROOM_BYTES_MIN = 4 * 1024,  /* reads of a few bytes each would cost more than a small copy */
};

int sp_input_init(struct sp_input *input, const struct sp_conn_protocol *protocol)
{
    *input = (struct sp_input){ .protocol = protocol, .chunk_size = CHUNK_BYTES_MIN };
    input->state = sp_mem_calloc(1, protocol->state_size);
    if (input->state == NULL) {
        return SPATE_ERR_NOMEM;
    }
    protocol->init(input->state);
    return 0;
}

void sp_input_deinit(struct sp_input *input)
{
    sp_blob_unref(input->blob);
    sp_mem_free(input->state);
    *input = (struct sp_input){ 0 };
}

/* ---- room ------------------------------------------------------------------------------------ */

static void drop_blob(struct sp_input *input)
{
    sp_blob_unref(input->blob);
    input->blob = NULL;
    input->start = 0;
    input->scanned = 0;
    input->filled = 0;
}

/* All messages of the chunk are handed out: use it again if nobody kept a part of it. What is still
 * free of a chunk that somebody keeps is worth using while it is the larger part. */
static void reuse_blob(struct sp_input *input)
{
    if (input->blob->references == 1 && input->blob->size <= SP_READ_CHUNK_BYTES) {
        input->start = 0;
        input->scanned = 0;
        input->filled = 0;
    } else if (input->filled > input->blob->size / 2) {
        drop_blob(input);
    }
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Size of the blob for a message of which `have` bytes are here and at least `missing` are not:
 * what is missing, but no more than doubling, and at least half as much again, so that a message
 * whose end comes into sight step by step is not copied at each step. */
static size_t body_size(size_t have, size_t missing)
{
    size_t step = larger(missing, larger(have / 2, ROOM_BYTES_MIN));

    return have + smaller(step, larger(have, BODY_BYTES_MIN - smaller(have, BODY_BYTES_MIN)));
}

/* Gives the message in progress a larger blob in which it stands first. */
static int move_to_body(struct sp_input *input, size_t missing)
{
    size_t have = input->filled - input->start;
    size_t size = body_size(have, missing);
    struct sp_blob *blob;

    if (input->start == 0 && input->blob->references == 1) {
        blob = sp_mem_realloc(input->blob, sizeof *blob + size);
        if (blob == NULL) {
            return SPATE_ERR_NOMEM;
        }
        blob->size = size;
    } else {
        blob = sp_blob_new(size);
        if (blob == NULL) {
            return SPATE_ERR_NOMEM;
        }
        memcpy(blob->bytes, input->blob->bytes + input->start, have);
        sp_blob_unref(input->blob);
    }
    input->blob = blob;
    input->scanned -= input->start;
    input->filled -= input->start;
    input->start = 0;
    return 0;
}

/* Makes sure that there is a blob whose rest can take what the message in progress needs next. */
static int make_room(struct sp_input *input, size_t missing)
{
    if (input->blob != NULL && input->start == input->filled) {
        reuse_blob(input);
    }
    if (input->blob == NULL) {
        input->blob = sp_blob_new(input->chunk_size);
        return input->blob == NULL ? SPATE_ERR_NOMEM : 0;
    }
    size_t rest = input->blob->size - input->filled;
    if (rest > 0 && (rest >= missing || input->start == 0)) {
        return 0;
    }
    return move_to_body(input, missing);
}

int sp_input_room(struct sp_input *input, uint8_t **out_bytes, size_t *out_size)
{
    uint64_t missing = input->protocol->missing(input->state);
    int rv = make_room(input, (size_t)missing);

    if (rv != 0) {
        return rv;
    }
    size_t rest = input->blob->size - input->filled;
    /* A large body ends with its message: the next one starts in a chunk again. */
    if (input->blob->size > SP_READ_CHUNK_BYTES) {
        rest = smaller(rest, larger((size_t)missing, ROOM_BYTES_MIN));
    }
    SP_ASSERT(rest > 0);
    input->room_size = rest;
    *out_bytes = input->blob->bytes + input->filled;
    *out_size = rest;
    return 0;
}

void sp_input_filled(struct sp_input *input, size_t size)
{
    SP_ASSERT(size <= input->room_size);
    input->filled += size;
    if (size == input->room_size && input->chunk_size < SP_READ_CHUNK_BYTES) {
        input->chunk_size *= 2;
    } else if (size < input->chunk_size / 4 && input->chunk_size > CHUNK_BYTES_MIN) {
        input->chunk_size /= 2;
    }
    input->room_size = 0;
}

/* ---- messages -------------------------------------------------------------------------------- */

int sp_input_next(struct sp_input *input,
                  struct sp_blob **out_blob,
                  size_t *out_position,
                  size_t *out_size)
{
    size_t used = 0;
    bool complete = false;

    if (input->scanned == input->filled) {
        return SPATE_ERR_AGAIN;
    }
    int rv = input->protocol->feed(input->state,
                                   input->blob->bytes + input->scanned,
                                   input->filled - input->scanned,
                                   &used,
                                   &complete);
    if (rv != 0) {
        return rv;
    }
    SP_ASSERT(used <= input->filled - input->scanned);
    input->scanned += used;
    if (!complete) {
        SP_ASSERT(input->scanned == input->filled);
        return SPATE_ERR_AGAIN;
    }
    *out_blob = input->blob;
    *out_position = input->start;
    *out_size = input->scanned - input->start;
    input->start = input->scanned;
    return 0;
}

bool sp_input_partial(const struct sp_input *input)
{
    return input->start < input->filled;
}

bool sp_input_waiting(const struct sp_input *input)
{
    return input->scanned < input->filled;
}

void sp_input_trim(struct sp_input *input)
{
    if (input->blob != NULL && !sp_input_partial(input)) {
        drop_blob(input);
    }
}

size_t sp_input_held_bytes(const struct sp_input *input)
{
    return input->blob == NULL ? 0 : input->blob->size;
}

void sp_input_save(struct sp_input *input)
{
    input->chunk_size = CHUNK_BYTES_MIN;
}
