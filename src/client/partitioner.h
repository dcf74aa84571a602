/* Which partition a record goes to when its producer does not say: the same as Kafka's clients, so
 * that producers in any language agree about a key. */
#ifndef SP_CLIENT_PARTITIONER_H
#define SP_CLIENT_PARTITIONER_H

#include <stddef.h>
#include <stdint.h>

/* murmur2 of `size` bytes, seed 0x9747b28c, as org.apache.kafka.common.utils.Utils.murmur2. Any
 * thread. */
uint32_t sp_murmur2(const void *bytes, size_t size);

/* The partition of a key among `count` (at least 1): (murmur2 & 0x7fffffff) % count. Any thread. */
uint32_t sp_partition_of_key(const void *key, size_t size, uint32_t count);

#endif /* SP_CLIENT_PARTITIONER_H */
