/* Numbers in the formats on disk: little-endian, but big-endian inside a RecordBatch. */
#ifndef SP_STORAGE_LITTLE_ENDIAN_H
#define SP_STORAGE_LITTLE_ENDIAN_H

#include <stdint.h>

static inline void sp_put_u16(uint8_t *bytes, uint16_t value)
{
    bytes[0] = (uint8_t)value;
    bytes[1] = (uint8_t)(value >> 8);
}

static inline void sp_put_u32(uint8_t *bytes, uint32_t value)
{
    sp_put_u16(bytes, (uint16_t)value);
    sp_put_u16(bytes + 2, (uint16_t)(value >> 16));
}

static inline void sp_put_u64(uint8_t *bytes, uint64_t value)
{
    sp_put_u32(bytes, (uint32_t)value);
    sp_put_u32(bytes + 4, (uint32_t)(value >> 32));
}

static inline uint16_t sp_get_u16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static inline uint32_t sp_get_u32(const uint8_t *bytes)
{
    return sp_get_u16(bytes) | (uint32_t)sp_get_u16(bytes + 2) << 16;
}

static inline uint64_t sp_get_u64(const uint8_t *bytes)
{
    return sp_get_u32(bytes) | (uint64_t)sp_get_u32(bytes + 4) << 32;
}

static inline void sp_put_be32(uint8_t *bytes, uint32_t value)
{
    bytes[0] = (uint8_t)(value >> 24);
    bytes[1] = (uint8_t)(value >> 16);
    bytes[2] = (uint8_t)(value >> 8);
    bytes[3] = (uint8_t)value;
}

static inline void sp_put_be64(uint8_t *bytes, uint64_t value)
{
    sp_put_be32(bytes, (uint32_t)(value >> 32));
    sp_put_be32(bytes + 4, (uint32_t)value);
}

static inline uint16_t sp_get_be16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static inline uint32_t sp_get_be32(const uint8_t *bytes)
{
    return (uint32_t)sp_get_be16(bytes) << 16 | sp_get_be16(bytes + 2);
}

static inline uint64_t sp_get_be64(const uint8_t *bytes)
{
    return (uint64_t)sp_get_be32(bytes) << 32 | sp_get_be32(bytes + 4);
}

#endif /* SP_STORAGE_LITTLE_ENDIAN_H */
