#include "broker/partition_command.h"

#include "spate/error.h"
#include "wire/cursor.h"
#include "wire/pack.h"

int sp_partition_command_encode(const struct sp_partition_command *command, struct sp_buf *out)
{
    struct sp_pack pack;

    sp_pack_init(&pack, out);
    switch (command->kind) {
    case SP_PARTITION_FENCE_PRODUCER:
        sp_pack_array(&pack, 3);
        sp_pack_int(&pack, command->kind);
        sp_pack_int(&pack, command->producer_id);
        sp_pack_int(&pack, command->producer_epoch);
        break;
    case SP_PARTITION_TRIM:
        sp_pack_array(&pack, 2);
        sp_pack_int(&pack, command->kind);
        sp_pack_int(&pack, command->offset);
        break;
    }
    return sp_pack_status(&pack);
}

int sp_partition_command_decode(const uint8_t *bytes,
                                size_t size,
                                struct sp_partition_command *out_command)
{
    struct sp_partition_command command = { .offset = 0 };
    struct sp_cursor cursor;

    sp_cursor_init(&cursor, bytes, size);
    uint32_t count = sp_cursor_array(&cursor);
    uint64_t kind = sp_cursor_uint(&cursor, UINT32_MAX);
    if (kind == SP_PARTITION_FENCE_PRODUCER && count == 3) {
        command.kind = SP_PARTITION_FENCE_PRODUCER;
        command.producer_id = sp_cursor_int(&cursor, 0, INT64_MAX);
        command.producer_epoch = (int16_t)sp_cursor_int(&cursor, 0, INT16_MAX);
    } else if (kind == SP_PARTITION_TRIM && count == 2) {
        command.kind = SP_PARTITION_TRIM;
        command.offset = sp_cursor_int(&cursor, 0, INT64_MAX);
    } else if (sp_cursor_status(&cursor) == 0 && kind != SP_PARTITION_FENCE_PRODUCER &&
               kind != SP_PARTITION_TRIM) {
        return SPATE_ERR_UNSUPPORTED;
    } else {
        return SPATE_ERR_CORRUPT;
    }
    if (sp_cursor_finish(&cursor) != 0) {
        return SPATE_ERR_CORRUPT;
    }
    *out_command = command;
    return 0;
}
