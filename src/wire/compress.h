/* LZ4 frames, bounded on both ways; the only user of the lz4 library.
 *
 * The library allocates its contexts and block buffers (at most about 8 MiB, by the format's
 * largest block) by itself; what grows with the data comes from base/mem.
 *
 * Source: LZ4 Frame Format 1.6. */
#ifndef SP_WIRE_COMPRESS_H
#define SP_WIRE_COMPRESS_H

#include "base/buf.h"
#include "wire/bytes.h"

/* Compresses `plain` into *out_packed, which is initialised here and on success owned by the
 * caller. The frame has independent blocks and carries its content size, as Kafka clients expect.
 * SPATE_ERR_NOMEM. */
int sp_lz4_compress(struct sp_bytes plain, struct sp_buf *out_packed);

/* Decompresses the one frame that `packed` must be into memory of its own, *out_plain, owned by the
 * caller (sp_mem_free), *out_size bytes of it. What the frame says about its content size is
 * checked and never trusted with an allocation. SPATE_ERR_CORRUPT    no such frame, cut short,
 * bytes left over, a wrong checksum or size SPATE_ERR_TOO_LARGE  more than `size_max_bytes`
 *   SPATE_ERR_NOMEM */
int sp_lz4_decompress(struct sp_bytes packed,
                      size_t size_max_bytes,
                      uint8_t **out_plain,
                      size_t *out_size);

#endif /* SP_WIRE_COMPRESS_H */
