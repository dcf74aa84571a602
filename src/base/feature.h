/* Feature levels (DESIGN D9): what may be written while nodes of two builds work together.
 *
 *   build    knows every level from `least` to `most`; says so in HELLO and when it registers
 *   cluster  has one active level, in the controller's state: raised by a command once every
 *            registered node knows the higher one, never lowered
 *   feature  has the level from which on its commands and formats may be written
 *
 * So a build of one step back works for as long as the level has not been raised, and afterwards
 * says that it is too old instead of meeting something that it cannot read.
 *
 * A new command or format: raise SP_FEATURE_LEVEL_MAX once per release, give the feature that
 * level below, and refuse it where it is proposed (cluster/proposal_command). */
#ifndef SP_BASE_FEATURE_H
#define SP_BASE_FEATURE_H

#include <stdint.h>

/* Where a cluster begins, and what nodes that said nothing of levels know. */
#define SP_FEATURE_LEVEL_FIRST 1

/* The highest level of this source. A build for tests may know less, see sp_feature_range_built in
 * src/server. */
#define SP_FEATURE_LEVEL_MAX 4

/* Levels have one byte each in HELLO. */
#define SP_FEATURE_LEVEL_LIMIT 255

_Static_assert(SP_FEATURE_LEVEL_MAX <= SP_FEATURE_LEVEL_LIMIT, "fits HELLO");

/* The level from which on each may be used. */
enum sp_feature {
    SP_FEATURE_PRODUCER_NAMES = 2,  /* names of producers in the controller's state, fences */
    SP_FEATURE_TOPIC_SETTINGS = 2,  /* settings but max.message.bytes, altering, truncation */
    SP_FEATURE_MEMBERSHIP = 2,      /* joining, leaving, moves of replicas, other voters */
    SP_FEATURE_CONFIRM = 2,         /* a leader asks the voters whether it still leads */
    SP_FEATURE_QUIET_GROUPS = 2,    /* idle groups stop their heartbeats */
    SP_FEATURE_COMPACTION = 3,      /* cleanup.policy compact, its settings, compacted frames */
    SP_FEATURE_COMPACTION_RUNS = 4, /* emptied frames stand in runs (storage/log_run.h) */
};

/* What a build knows. */
struct sp_feature_range {
    uint32_t least;
    uint32_t most;
};

/* A level as it is said: who says none knows the first one. */
static inline uint32_t sp_feature_level_said(uint32_t level)
{
    return level == 0 ? SP_FEATURE_LEVEL_FIRST : level;
}

#endif /* SP_BASE_FEATURE_H */
