/* Fuzzes the node protocol: whatever decodes must encode to the same head again, but for a HELLO of
 * another build, whose head may be shorter or longer. The checksums are made right first, since
 * chance never gets past them. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "wire/peer_api.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_u32(uint8_t *bytes, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
}

/* The first byte chooses which checksums are mended. */
static void mend(uint8_t *bytes, size_t size, uint8_t choice)
{
    size_t message_size = 0;

    if (choice & 1) {
        put_u32(bytes, (uint32_t)size);
    }
    if (sp_peer_message_size(bytes, size, &message_size) != 0 || message_size != size) {
        return;
    }
    size_t head_size = sp_peer_head_size(bytes);
    if (choice & 2) {
        put_u32(bytes + 12, sp_crc32c(0, bytes + head_size, size - head_size));
    }
    if (choice & 4) {
        put_u32(bytes + 4, sp_crc32c(0, bytes + 8, head_size - 8));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sp_peer_message message;
    uint8_t head[SP_PEER_HEAD_SIZE_MAX];

    if (size < 1 + SP_PEER_PREFIX_SIZE) {
        return 0;
    }
    struct sp_blob *blob = sp_blob_copy(data + 1, size - 1);
    if (blob == NULL) {
        return 0;
    }
    mend(blob->bytes, blob->size, data[0]);
    if (sp_peer_message_decode(blob, 0, blob->size, &message) == 0) {
        size_t head_size = sp_peer_head_encode(&message, message.body.size, head);

        bool same_size = head_size == sp_peer_head_size(blob->bytes);
        if (same_size ? memcmp(head, blob->bytes, head_size) != 0 : message.kind != SP_PEER_HELLO) {
            abort();
        }
    }
    sp_blob_unref(blob);
    return 0;
}
