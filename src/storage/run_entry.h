/* What tells an emptied frame of a run from the one before it; see storage/log_run.h for the bytes.
 * Included only inside src/storage. */
#ifndef SP_STORAGE_RUN_ENTRY_H
#define SP_STORAGE_RUN_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_RUN_ENTRY_SIZE_MAX (1 + 9 * 10 + 4) /* a number of 64 bits takes 10 bytes at most */

/* What an entry is the difference to. */
struct sp_run_state {
    int64_t append_time_ms;
    int64_t base_timestamp_ms;
    uint16_t attributes;
    int32_t last_offset_delta;
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t base_sequence;
    uint32_t length; /* that the frame had first */
};

struct sp_run_entry {
    struct sp_run_state state; /* the next one's `before` */
    int64_t max_timestamp_ms;
    uint32_t crc; /* that the frame had first */
};

/* Writes at most SP_RUN_ENTRY_SIZE_MAX bytes; how many. */
size_t sp_run_entry_encode(const struct sp_run_state *before,
                           const struct sp_run_entry *entry,
                           uint8_t *bytes);

/* Entries that are read. */
struct sp_run_source {
    const uint8_t *bytes; /* the next one */
    const uint8_t *end;
    bool bad; /* they ended too soon, or are none; sticks */
};

/* Reads the next one. What is too large for its field is cut: the frame that it makes is looked at
 * as a whole. */
void sp_run_entry_decode(struct sp_run_source *source,
                         const struct sp_run_state *before,
                         struct sp_run_entry *out_entry);

#endif /* SP_STORAGE_RUN_ENTRY_H */
