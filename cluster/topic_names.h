/* Which topic a replica's files belong to, as far as a node that is stopped knows it: from the
 * controller's log in its data directory.
 *
 *   newest whole checkpoint, or the first frame -> each frame that continues the log -> the state
 *
 * Frames at the end may not be committed. They cannot give a wrong name all the same: a node has a
 * replica of a group only after it has applied the command that made it, and a group's number is
 * never given out again. Blocking; nothing is written. */
#ifndef SP_CLUSTER_TOPIC_NAMES_H
#define SP_CLUSTER_TOPIC_NAMES_H

#include <stdbool.h>
#include <stdint.h>

struct sp_topic_names;

/* Reads the log in `directory`, of a replica of group 0. What cannot be read is not known then.
 * SPATE_ERR_NOT_FOUND: nothing can be read; SPATE_ERR_UNSUPPORTED: a newer build has written it;
 * SPATE_ERR_CORRUPT, SPATE_ERR_IO, SPATE_ERR_NOMEM. */
int sp_topic_names_read(const char *directory, struct sp_topic_names **out_names);

/* NULL is fine. */
void sp_topic_names_free(struct sp_topic_names *names);

/* The topic and partition that a Raft group replicates; the name lives as long as `names`. False:
 * it is not known. */
bool sp_topic_names_find(const struct sp_topic_names *names,
                         uint64_t group_id,
                         const char **out_topic,
                         uint32_t *out_partition);

#endif /* SP_CLUSTER_TOPIC_NAMES_H */
