/* The sending half of a connection: collects what is to leave in one vectored write.
 *
 * Small pieces are copied side by side into one blob, large ones keep a reference, so that a turn
 * with a hundred short answers and one long one is a write of three pieces. */
#ifndef SP_NET_OUTPUT_H
#define SP_NET_OUTPUT_H

#include <stddef.h>

#include "base/buf.h"
#include "io/stream.h"

/* What leaves together. Grows while it is filled; then belongs to the write until that ends. */
struct sp_output {
    struct sp_stream_write write; /* in progress; free for the owner's use */
    void *owner;                  /* as given to sp_output_new */
    unsigned count;               /* pieces */
    unsigned capacity;            /* pieces that fit */
    size_t size;                  /* bytes of all pieces */
    struct sp_iovec *pieces;
    struct sp_blob **blobs; /* of each piece, with a reference */
    struct sp_blob *tail;   /* where small pieces go, borrowed from blobs[]; NULL: none yet */
    size_t tail_used;       /* bytes of it in use */
};

/* NULL when memory is out. */
struct sp_output *sp_output_new(void *owner);

/* Adds all pieces, taking references, or none of them. SPATE_ERR_NOMEM. */
int sp_output_add(struct sp_output *output, const struct sp_slice *pieces, unsigned count);

/* Adds a copy of `bytes`. SPATE_ERR_NOMEM. */
int sp_output_add_copy(struct sp_output *output, const void *bytes, size_t size);

/* Drops all references and frees; NULL is fine. */
void sp_output_free(struct sp_output *output);

#endif /* SP_NET_OUTPUT_H */
