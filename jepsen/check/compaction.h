/* What compaction may have taken out of a log. In a compacted log a record may be gone when a later
 * one of its key was stored, a tombstone also without one. What is known:
 *
 *   standing   a record that somebody read, or whose sender was told its offset
 *   ghost      a record of unknown outcome that nobody ever saw: it may have been stored, have
 *              taken the place of the one before it, and be gone itself
 *
 * A key is written by one client alone, so its records are versions: the numbers rise. */
#ifndef JEP_CHECK_COMPACTION_H
#define JEP_CHECK_COMPACTION_H

#include "history.h"

struct jep_compaction;

/* After jep_history_build; sets history->compaction, which stays NULL without compacted logs. */
void jep_compaction_build(struct jep_history *history);

/* The key of a record, a number among those of all clients and logs; JEP_NONE: not compacted. */
uint32_t jep_bucket_of(const struct jep_history *history, uint32_t stream, uint32_t sequence);

bool jep_is_tombstone(const struct jep_history *history, uint32_t stream, uint32_t sequence);

/* From when on something that could replace the record at `offset` was under way, whether or not it
 * is a tombstone; JEP_NEVER. */
int64_t jep_replaced_ns(const struct jep_history *history,
                        uint32_t stream,
                        uint32_t sequence,
                        uint32_t offset);

/* Whether a record that stood at `offset` may be missing from a read of all that is left. */
bool jep_may_be_missing(const struct jep_history *history,
                        uint32_t stream,
                        uint32_t sequence,
                        uint32_t offset);

/* The first offset in [from, to) of a compacted log whose record must be given to a reader at that
 * time; JEP_NONE: there is none. */
uint32_t jep_first_kept(const struct jep_key *key, uint32_t from, uint32_t to, int64_t time_ns);

#endif /* JEP_CHECK_COMPACTION_H */
