/* The frames in the files of a simulated disk, read behind everyone's back. */
#ifndef SP_SIM_SCAN_H
#define SP_SIM_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim_disk.h"
#include "storage/log_frame.h"
#include "storage/segment.h"

struct sim_found {
    uint64_t index;
    uint64_t term;
    uint64_t end;   /* position behind it */
    uint32_t crc;   /* as sim_model_applied makes it; of a compacted frame nothing */
    uint32_t chain; /* stays when a frame is compacted */
    bool compacted;
};

struct sim_scan {
    const struct sim_inode *inode;
    struct sp_segment_header header;
    bool begun; /* the header is whole */
    struct sim_found *frames;
    size_t count;
    size_t capacity;
    uint64_t marked; /* newest index that a marker in it names as synced */
};

/* The durable frames of a segment's file: those that continue each other from its header on. */
const struct sim_scan *sim_scan_durable(struct sim_inode *inode);

/* The durable frame with that index in the directory of a log; NULL: none that can be read. */
const struct sim_found *sim_scan_frame(const struct sim_inode *directory, uint64_t index);

/* What follows is of the segment whose file has these bytes; false: its header is not whole. */
bool sim_scan_begin(struct sim_scan *scan, const struct sim_bytes *bytes);

/* Adds the frames of `bytes` from `position` on. */
void sim_scan_bytes(struct sim_scan *scan, const struct sim_bytes *bytes, uint64_t position);

/* The durable segment to which that index belongs; NULL: none. */
const struct sim_entry *sim_scan_segment(const struct sim_inode *directory, uint64_t index);

/* The directory of a replica's log, or NULL; of whichever replica of the group. */
struct sim_inode *
sim_scan_replica(const struct sim_disk *disk, uint64_t group_id, uint64_t replica_id, bool durable);
const struct sim_entry *sim_scan_log(const struct sim_disk *disk, uint64_t group_id, bool durable);

bool sim_scan_ends_with(const char *name, const char *end);
bool sim_scan_is_segment(const char *name);

#endif /* SP_SIM_SCAN_H */
