/* The latest offset of each key, in bounded memory: what a compaction pass knows.
 *
 * Keys are kept as 128-bit hashes under a key drawn by chance for each pass (base/siphash.h): that
 * two of them meet, among as many as a table holds, has a chance below 2^-80, and nobody can
 * arrange it. Any thread, one at a time. */
#ifndef SP_BROKER_KEY_TABLE_H
#define SP_BROKER_KEY_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/bytes.h"

struct sp_key_table;

/* A table that takes at most `bytes_max`, and half of it again while it grows; NULL when memory is
 * out. `secret` is true chance. */
struct sp_key_table *sp_key_table_new(size_t bytes_max, const uint64_t secret[2]);
void sp_key_table_free(struct sp_key_table *table);

/* How many keys it can hold when it has grown, and holds. */
size_t sp_key_table_capacity(const struct sp_key_table *table);
size_t sp_key_table_count(const struct sp_key_table *table);

/* Notes that `key` (not null) has a record at `offset`, above all noted before. False: it is full,
 * or there is no memory to grow; nothing was noted. */
bool sp_key_table_note(struct sp_key_table *table, struct sp_bytes key, int64_t offset);

/* The latest offset noted; -1: none. */
int64_t sp_key_table_latest(const struct sp_key_table *table, struct sp_bytes key);

#endif /* SP_BROKER_KEY_TABLE_H */
