/* A file that takes room on the disk while there is enough, to be given back when other programs
 * have filled it.
 *
 *   free space is enough, and stays so --blocks allocated--> DATA/ballast
 *   next to nothing is free            --cut to nothing----> room for what keeps the node going
 *
 * A write of frames or metadata that finds no space ends the node, and so does the next start on
 * that disk; but only a node that runs can truncate and delete. So what it needs for that must be
 * there: votes, metadata, commits of consumer groups. The file holds nothing, and anybody may
 * remove it; nothing that goes wrong with it is more than a line in the trace.
 *
 * It is given back late, since whoever fills the disk takes that room, too, unless it has been told
 * that the disk is full; at a start early, since the run before may have ended for lack of some
 * more. One job at a time tends it. A write that finds no space between two looks spends it on the
 * spot, and is tried once more; for whoever tends the file it is one that somebody has removed. */
#ifndef SP_STORAGE_BALLAST_H
#define SP_STORAGE_BALLAST_H

#include <stdbool.h>
#include <stdint.h>

#define SP_BALLAST_NAME "ballast"
#define SP_BALLAST_PART 8                          /* of the reserve */
#define SP_BALLAST_LOW_PART 4                      /* of the ballast: less is next to nothing */
#define SP_BALLAST_BYTES_MIN ((uint64_t)16 * 1024) /* of less there is none */
#define SP_BALLAST_BYTES_MAX ((uint64_t)64 * 1024 * 1024)
#define SP_BALLAST_RETRY_MS ((uint64_t)60 * 1000) /* after something went wrong */

struct sp_ballast {
    const char *directory; /* borrowed */
    uint64_t reserve_bytes;
    uint64_t bytes; /* that it shall have; 0: there is none */
    uint64_t size;  /* of the file; 0: nothing can be given back */
    bool whole;     /* all of its blocks were allocated by this run */
    bool told_room;
    bool told_failure;
    uint64_t retry_ms; /* it is not made before */
};

/* Looks at what an earlier run has left in `directory`, and gives it back if less is free than it
 * has; blocking. `free_bytes` of the disk. */
void sp_ballast_open(struct sp_ballast *ballast,
                     const char *directory,
                     uint64_t reserve_bytes,
                     uint64_t free_bytes);

/* Makes it or gives it back, whatever is due; blocking, on any thread. True: the free space has
 * changed. */
bool sp_ballast_tend(struct sp_ballast *ballast, uint64_t free_bytes, uint64_t now_ms);

/* For a write that has found no space: gives back what the file in `directory` has; blocking, on
 * any thread, also while it is tended or spent by another one. Afterwards the room is there. */
void sp_ballast_spend(const char *directory);

/* True if the file in `directory` has something to give back; blocking, on any thread. */
bool sp_ballast_stands(const char *directory);

/* True if next to nothing is free for a node with this ballast. */
static inline bool sp_ballast_is_low(const struct sp_ballast *ballast, uint64_t free_bytes)
{
    return free_bytes < ballast->bytes / SP_BALLAST_LOW_PART;
}

#endif /* SP_STORAGE_BALLAST_H */
