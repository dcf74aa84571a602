/* Bytes in two shapes: a bounded growing buffer with one owner, and immutable shared bytes.
 *
 *   struct sp_buf     grows up to its size_max, owned by one place     (building a message)
 *   struct sp_blob    fixed size, counted references                   (a frame on its way)
 *   struct sp_slice   a window on a blob, holding one reference        (part of a frame)
 *
 * Reference counts are not atomic: blobs belong to one loop thread; a worker may read the bytes of
 * a request that it was handed, never take or drop a reference. */
#ifndef SP_BASE_BUF_H
#define SP_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct sp_buf {
    uint8_t *bytes;  /* NULL while empty */
    size_t size;     /* bytes in use */
    size_t capacity; /* bytes allocated */
    size_t size_max; /* bound of `size` */
};

/* Prepares an empty buffer that never holds more than `size_max_bytes`. */
void sp_buf_init(struct sp_buf *buf, size_t size_max_bytes);

/* Frees the bytes; the buffer may be used again as after sp_buf_init. */
void sp_buf_deinit(struct sp_buf *buf);

/* Adds a copy of `size` bytes. SPATE_ERR_TOO_LARGE at the bound, SPATE_ERR_NOMEM; nothing was added
 * then. */
int sp_buf_append(struct sp_buf *buf, const void *bytes, size_t size);

/* Makes room for `size` more bytes and sets *out_bytes to it; the caller writes there and then says
 * sp_buf_grow. Errors as sp_buf_append. */
int sp_buf_reserve(struct sp_buf *buf, size_t size, uint8_t **out_bytes);

/* Takes `size` reserved and written bytes into use. */
void sp_buf_grow(struct sp_buf *buf, size_t size);

/* Drops `size` bytes from the front (at most buf->size); the rest moves down. */
void sp_buf_consume(struct sp_buf *buf, size_t size);

/* Forgets the content, keeps the memory. */
void sp_buf_clear(struct sp_buf *buf);

struct sp_blob {
    uint32_t references; /* alive while above 0 */
    size_t size;
    uint8_t bytes[]; /* written by the creator before it is shared, then constant */
};

/* A blob of `size` bytes, uninitialised, with one reference. NULL when memory is out. */
struct sp_blob *sp_blob_new(size_t size);

/* The same with a copy of `bytes`. */
struct sp_blob *sp_blob_copy(const void *bytes, size_t size);

struct sp_blob *sp_blob_ref(struct sp_blob *blob);

/* Drops one reference and frees at zero; NULL is fine. */
void sp_blob_unref(struct sp_blob *blob);

struct sp_slice {
    struct sp_blob *blob; /* holds a reference; NULL for an empty slice */
    const uint8_t *bytes; /* inside blob->bytes */
    size_t size;
};

/* A window of `size` bytes at `position` of `blob`, with a reference of its own. */
struct sp_slice sp_slice_of(struct sp_blob *blob, size_t position, size_t size);

/* The same window once more, with a reference of its own. */
struct sp_slice sp_slice_ref(const struct sp_slice *slice);

/* Drops the reference and empties the slice. An empty slice is fine. */
void sp_slice_unref(struct sp_slice *slice);

#endif /* SP_BASE_BUF_H */
