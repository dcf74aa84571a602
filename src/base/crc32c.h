/* CRC32C (Castagnoli, RFC 3720 appendix B.4): hardware where the processor has it, else tables. */
#ifndef SP_BASE_CRC32C_H
#define SP_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of `bytes` continued from `seed`: sp_crc32c(sp_crc32c(0, a), b) is the checksum of a
 * followed by b, and sp_crc32c(0, "123456789", 9) is 0xe3069283. Any thread. */
uint32_t sp_crc32c(uint32_t seed, const void *bytes, size_t size);

/* The table implementation, whatever the processor: the oracle of the tests. */
uint32_t sp_crc32c_portable(uint32_t seed, const void *bytes, size_t size);

#endif /* SP_BASE_CRC32C_H */
