/* Pieces on their way into one write. */
#include "net/output.h"

#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "spate/error.h"

enum {
    SMALL_BYTES_MAX = 512, /* copying so much costs less than one more piece of a write */
    TAIL_BYTES = 4 * 1024,
    CAPACITY_MIN = 8,
};

struct sp_output *sp_output_new(void *owner)
{
    struct sp_output *output = sp_mem_calloc(1, sizeof *output);

    if (output != NULL) {
        output->owner = owner;
    }
    return output;
}

/* Room for `count` more pieces. */
static int reserve(struct sp_output *output, unsigned count)
{
    unsigned capacity = output->capacity > 0 ? output->capacity : CAPACITY_MIN;

    if (count <= output->capacity - output->count) {
        return 0;
    }
    while (capacity - output->count < count) {
        capacity *= 2;
    }
    struct sp_iovec *pieces = sp_mem_realloc(output->pieces, capacity * sizeof output->pieces[0]);
    if (pieces == NULL) {
        return SPATE_ERR_NOMEM;
    }
    output->pieces = pieces;
    struct sp_blob **blobs = sp_mem_realloc(output->blobs, capacity * sizeof output->blobs[0]);
    if (blobs == NULL) {
        return SPATE_ERR_NOMEM;
    }
    output->blobs = blobs;
    output->capacity = capacity;
    return 0;
}

/* Takes the reference on `blob`. */
static void
put_piece(struct sp_output *output, struct sp_blob *blob, const uint8_t *bytes, size_t size)
{
    SP_ASSERT(output->count < output->capacity);
    output->pieces[output->count] = (struct sp_iovec){ bytes, size };
    output->blobs[output->count] = blob;
    output->count += 1;
    output->size += size;
}

/* True if the last piece is the end of the tail, so that more bytes can be put right behind it. */
static bool tail_is_last(const struct sp_output *output)
{
    return output->count > 0 && output->tail != NULL &&
           output->blobs[output->count - 1] == output->tail;
}

static int put_small(struct sp_output *output, const void *bytes, size_t size)
{
    struct sp_blob *tail = output->tail;

    if (tail == NULL || tail->size - output->tail_used < size) {
        tail = sp_blob_new(TAIL_BYTES);
        if (tail == NULL) {
            return SPATE_ERR_NOMEM;
        }
        output->tail = tail;
        output->tail_used = 0;
        put_piece(output, tail, tail->bytes, 0);
    } else if (!tail_is_last(output)) {
        put_piece(output, sp_blob_ref(tail), tail->bytes + output->tail_used, 0);
    }
    memcpy(tail->bytes + output->tail_used, bytes, size);
    output->pieces[output->count - 1].size += size;
    output->tail_used += size;
    output->size += size;
    return 0;
}

/* Back to `count` pieces, the last of `last_size` bytes. */
static void roll_back(struct sp_output *output, unsigned count, size_t last_size)
{
    while (output->count > count) {
        output->count -= 1;
        output->size -= output->pieces[output->count].size;
        sp_blob_unref(output->blobs[output->count]);
    }
    if (count > 0) {
        output->size -= output->pieces[count - 1].size - last_size;
        output->pieces[count - 1].size = last_size;
    }
    output->tail = NULL; /* its place is not worth finding again */
}

int sp_output_add(struct sp_output *output, const struct sp_slice *pieces, unsigned count)
{
    unsigned count_before = output->count;
    size_t last_size = count_before > 0 ? output->pieces[count_before - 1].size : 0;
    int rv = reserve(output, count);

    for (unsigned i = 0; i < count && rv == 0; i++) {
        if (pieces[i].size > SMALL_BYTES_MAX) {
            put_piece(output, sp_blob_ref(pieces[i].blob), pieces[i].bytes, pieces[i].size);
        } else if (pieces[i].size > 0) {
            rv = put_small(output, pieces[i].bytes, pieces[i].size);
        }
    }
    if (rv != 0) {
        roll_back(output, count_before, last_size);
    }
    return rv;
}

int sp_output_add_copy(struct sp_output *output, const void *bytes, size_t size)
{
    int rv = reserve(output, 1);

    if (rv != 0 || size == 0) {
        return rv;
    }
    if (size <= SMALL_BYTES_MAX) {
        return put_small(output, bytes, size);
    }
    struct sp_blob *blob = sp_blob_copy(bytes, size);
    if (blob == NULL) {
        return SPATE_ERR_NOMEM;
    }
    put_piece(output, blob, blob->bytes, size);
    return 0;
}

void sp_output_free(struct sp_output *output)
{
    if (output == NULL) {
        return;
    }
    for (unsigned i = 0; i < output->count; i++) {
        sp_blob_unref(output->blobs[i]);
    }
    sp_mem_free(output->blobs);
    sp_mem_free(output->pieces);
    sp_mem_free(output);
}
