/* The bytes of the commands in a partition's log (MessagePack), next to its batches.
 *
 *   [1, producer_id, producer_epoch]     fence: older epochs of this producer are over
 *   [2, offset]                          trim: records below this offset are given up
 *
 * They take a Raft index but no offset (D4), and every replica applies them in the order of the
 * log. */
#ifndef SP_BROKER_PARTITION_COMMAND_H
#define SP_BROKER_PARTITION_COMMAND_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum sp_partition_command_kind {
    SP_PARTITION_FENCE_PRODUCER = 1,
    SP_PARTITION_TRIM = 2,
};

struct sp_partition_command {
    enum sp_partition_command_kind kind;
    int64_t producer_id;    /* FENCE_PRODUCER */
    int16_t producer_epoch; /* FENCE_PRODUCER */
    int64_t offset;         /* TRIM */
};

#define SP_PARTITION_COMMAND_BYTES_MAX 64

/* Appends the command to `out`. SPATE_ERR_NOMEM, SPATE_ERR_TOO_LARGE. */
int sp_partition_command_encode(const struct sp_partition_command *command, struct sp_buf *out);

/* SPATE_ERR_UNSUPPORTED: a command of a newer build; SPATE_ERR_CORRUPT: no command. *out_command is
 * untouched then. */
int sp_partition_command_decode(const uint8_t *bytes,
                                size_t size,
                                struct sp_partition_command *out_command);

#endif /* SP_BROKER_PARTITION_COMMAND_H */
