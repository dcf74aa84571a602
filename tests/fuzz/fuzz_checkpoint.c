/* Fuzzes the checkpoint image, which comes from a disk or from a leader: whatever is accepted can
 * be walked to its end and encodes to the same bytes. The checksum is mended first. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "storage/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CRC_SIZE 4
#define PARTS_MAX 64

static void check(int condition)
{
    if (!condition) {
        abort();
    }
}

static void check_same(const struct sp_checkpoint *checkpoint, const uint8_t *bytes, size_t size)
{
    struct sp_epoch epochs[PARTS_MAX];
    struct sp_membership memberships[PARTS_MAX];
    const uint8_t *cursor = checkpoint->memberships;

    if (checkpoint->epoch_count > PARTS_MAX || checkpoint->membership_count > PARTS_MAX) {
        return;
    }
    for (uint32_t i = 0; i < checkpoint->epoch_count; i++) {
        epochs[i] = sp_checkpoint_epoch(checkpoint, i);
    }
    for (uint32_t i = 0; i < checkpoint->membership_count; i++) {
        memberships[i] = sp_checkpoint_membership(&cursor);
    }
    struct sp_blob *image = sp_checkpoint_encode(checkpoint->group_id,
                                                 &checkpoint->point,
                                                 epochs,
                                                 checkpoint->epoch_count,
                                                 memberships,
                                                 checkpoint->membership_count,
                                                 checkpoint->state,
                                                 checkpoint->state_size);
    check(image != NULL && image->size == size);
    /* Padding is not looked at when reading: all but it and the checksum must agree. */
    check(memcmp(image->bytes, bytes, 80) == 0);
    struct sp_checkpoint again;
    check(sp_checkpoint_decode(image->bytes, image->size, &again) == 0);
    check(again.state_size == checkpoint->state_size);
    sp_blob_unref(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sp_checkpoint checkpoint;
    uint8_t *bytes = malloc(size > 0 ? size : 1);

    check(bytes != NULL);
    if (size > 0) {
        memcpy(bytes, data, size);
    }
    if (size > CRC_SIZE) {
        uint32_t crc = sp_crc32c(0, bytes, size - CRC_SIZE);

        for (unsigned i = 0; i < CRC_SIZE; i++) {
            bytes[size - CRC_SIZE + i] = (uint8_t)(crc >> (8 * i));
        }
    }
    if (sp_checkpoint_decode(bytes, size, &checkpoint) == 0) {
        check_same(&checkpoint, bytes, size);
    }
    free(bytes);
    return 0;
}
