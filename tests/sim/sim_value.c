/* Values of records: bytes that depend on all of their id. */
#include <string.h>

#include "base/assert.h"
#include "sim_model.h"

static uint64_t pattern(uint64_t id)
{
    id ^= id >> 31;
    id *= 0xbf58476d1ce4e5b9u;
    return id ^ id >> 29;
}

void sim_value_write(uint8_t *bytes, size_t size, uint32_t writer, uint32_t place, uint32_t number)
{
    uint32_t id[4] = { writer, place, number, (uint32_t)size };
    uint64_t next = pattern((uint64_t)writer << 40 ^ (uint64_t)place << 32 ^ number);

    SP_ASSERT(size >= SIM_VALUE_SIZE_MIN);
    memcpy(bytes, id, sizeof id);
    for (size_t i = sizeof id; i < size; i++) {
        bytes[i] = (uint8_t)next;
        next = i % 8 == 7 ? pattern(next + i) : next >> 8;
    }
}

bool sim_value_read(const uint8_t *bytes,
                    size_t size,
                    uint32_t *out_writer,
                    uint32_t *out_place,
                    uint32_t *out_number)
{
    uint32_t id[4];
    uint8_t again[4096];

    if (size < SIM_VALUE_SIZE_MIN || size > sizeof again) {
        return false;
    }
    memcpy(id, bytes, sizeof id);
    sim_value_write(again, size, id[0], id[1], id[2]);
    if (memcmp(again, bytes, size) != 0) {
        return false;
    }
    *out_writer = id[0];
    *out_place = id[1];
    *out_number = id[2];
    return *out_writer < SIM_WRITERS_MAX && *out_place < SIM_PARTITIONS_MAX;
}
