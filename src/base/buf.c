/* The growing buffer, the shared blob and its slices. */
#include "base/buf.h"

#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "spate/error.h"

enum {
    CAPACITY_MIN = 64, /* the smallest piece worth asking the heap for */
};

void sp_buf_init(struct sp_buf *buf, size_t size_max_bytes)
{
    *buf = (struct sp_buf){ .size_max = size_max_bytes };
}

void sp_buf_deinit(struct sp_buf *buf)
{
    sp_mem_free(buf->bytes);
    sp_buf_init(buf, buf->size_max);
}

/* Doubles until `size` bytes fit, but never beyond the bound: amortised O(1) per byte. */
static int grow_capacity(struct sp_buf *buf, size_t size)
{
    size_t capacity = buf->capacity > CAPACITY_MIN ? buf->capacity : CAPACITY_MIN;

    while (capacity < size && capacity <= buf->size_max / 2) {
        capacity *= 2;
    }
    if (capacity < size || capacity > buf->size_max) {
        capacity = buf->size_max;
    }
    uint8_t *bytes = sp_mem_realloc(buf->bytes, capacity);
    if (bytes == NULL) {
        return SPATE_ERR_NOMEM;
    }
    buf->bytes = bytes;
    buf->capacity = capacity;
    return 0;
}

int sp_buf_reserve(struct sp_buf *buf, size_t size, uint8_t **out_bytes)
{
    SP_ASSERT(buf->size <= buf->size_max);
    if (size > buf->size_max - buf->size) {
        return SPATE_ERR_TOO_LARGE;
    }
    if (size > buf->capacity - buf->size) {
        int rv = grow_capacity(buf, buf->size + size);
        if (rv != 0) {
            return rv;
        }
    }
    *out_bytes = buf->bytes == NULL ? NULL : buf->bytes + buf->size;
    return 0;
}

void sp_buf_grow(struct sp_buf *buf, size_t size)
{
    SP_ASSERT(size <= buf->capacity - buf->size);
    buf->size += size;
}

int sp_buf_append(struct sp_buf *buf, const void *bytes, size_t size)
{
    uint8_t *room = NULL;
    int rv = sp_buf_reserve(buf, size, &room);

    if (rv != 0) {
        return rv;
    }
    if (size > 0) {
        memcpy(room, bytes, size);
    }
    sp_buf_grow(buf, size);
    return 0;
}

void sp_buf_consume(struct sp_buf *buf, size_t size)
{
    SP_ASSERT(size <= buf->size);
    buf->size -= size;
    if (size > 0 && buf->size > 0) {
        memmove(buf->bytes, buf->bytes + size, buf->size);
    }
}

void sp_buf_clear(struct sp_buf *buf)
{
    buf->size = 0;
}

struct sp_blob *sp_blob_new(size_t size)
{
    if (size > SIZE_MAX - sizeof(struct sp_blob)) {
        return NULL;
    }
    struct sp_blob *blob = sp_mem_alloc(sizeof *blob + size);
    if (blob == NULL) {
        return NULL;
    }
    blob->references = 1;
    blob->size = size;
    return blob;
}

struct sp_blob *sp_blob_copy(const void *bytes, size_t size)
{
    struct sp_blob *blob = sp_blob_new(size);

    if (blob != NULL && size > 0) {
        memcpy(blob->bytes, bytes, size);
    }
    return blob;
}

struct sp_blob *sp_blob_ref(struct sp_blob *blob)
{
    SP_ASSERT(blob->references > 0);
    SP_ASSERT(blob->references < UINT32_MAX);
    blob->references += 1;
    return blob;
}

void sp_blob_unref(struct sp_blob *blob)
{
    if (blob == NULL) {
        return;
    }
    SP_ASSERT(blob->references > 0);
    blob->references -= 1;
    if (blob->references == 0) {
        sp_mem_free(blob);
    }
}

struct sp_slice sp_slice_of(struct sp_blob *blob, size_t position, size_t size)
{
    SP_ASSERT(position <= blob->size);
    SP_ASSERT(size <= blob->size - position);
    return (struct sp_slice){ sp_blob_ref(blob), blob->bytes + position, size };
}

struct sp_slice sp_slice_ref(const struct sp_slice *slice)
{
    if (slice->blob != NULL) {
        (void)sp_blob_ref(slice->blob); /* the copy below carries it */
    }
    return *slice;
}

void sp_slice_unref(struct sp_slice *slice)
{
    sp_blob_unref(slice->blob);
    *slice = (struct sp_slice){ NULL, NULL, 0 };
}
