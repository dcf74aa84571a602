/* One replica's log as it lies on the disk of a node that is stopped: a hash of each frame. */
#ifndef JEP_REPLICA_H
#define JEP_REPLICA_H

#include <stdbool.h>
#include <stdint.h>

#include "records.h"

struct jep_frame {
    uint64_t term;
    uint64_t hash; /* of all its bytes */
};

struct jep_replica {
    uint32_t node;
    uint64_t group;
    uint64_t id;
    uint64_t first; /* Raft index of frames[0] */
    uint64_t count; /* frames */
    char *path;     /* of its directory; owned */
    uint64_t room;  /* of frames */
    int64_t first_offset;
    int64_t end_offset; /* records in all */
    uint64_t synced;    /* the highest index that a marker behind the last frame names; 0: none */
    bool torn;          /* bytes that are no frame stand behind the last one */
    bool compacted;     /* some frame is not what it was first */
    uint64_t equal_end; /* index behind the last frame that is as in the replica that is ahead */
    struct jep_frame *frames; /* owned */
};

/* The index behind the last frame. */
static inline uint64_t jep_replica_end(const struct jep_replica *replica)
{
    return replica->first + replica->count;
}

/* Reads its directory with all its segments, following the chain of frames. `replica` has node,
 * group, id and path; free(frames) also on failure. Errors of io/file.h, or SPATE_ERR_CORRUPT when
 * a segment's header cannot be read or does not continue the segment before it. */
int jep_replica_read(struct jep_replica *replica);

/* Reads it once more: what is left of the records of frames below replica->equal_end. free(items)
 * also on failure. The same errors. */
int jep_replica_records(const struct jep_replica *replica, struct jep_records *out_records);

#endif /* JEP_REPLICA_H */
