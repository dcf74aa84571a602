/* The meta log in memory and on disk: identity, replica registry, terms and votes (D5, D10).
 *
 *   set_* -> pending batch --begin--> in flight --write (worker), both copies synced--> durable
 *
 * What was set is visible at once and durable when its sequence is. Both copies hold the same
 * bytes; when what is outdated in them grows past a bound, both are rewritten, one after the
 * other. All calls on the loop thread but sp_meta_write. */
#ifndef SP_STORAGE_META_H
#define SP_STORAGE_META_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/store.h"

#define SP_META_DEAD_BYTES_MAX (1024 * 1024) /* of outdated records; then it is compacted */

struct sp_meta;

struct sp_meta_options {
    const char *directory;
    const struct sp_identity *fresh; /* what an empty directory becomes */
    bool has_replicas;               /* replicas/ is not empty: the metadata must exist */
    size_t dead_bytes_max;           /* 0: SP_META_DEAD_BYTES_MAX */
};

/* Recovers or makes both copies, blocking. On failure `text` says what to do: SPATE_ERR_CORRUPT,
 * SPATE_ERR_IO, SPATE_ERR_NO_SPACE, SPATE_ERR_NOMEM. */
int sp_meta_open(const struct sp_meta_options *options,
                 char *text,
                 size_t text_size,
                 struct sp_meta **out_meta);

/* Closes the files and frees; pending requests are dropped. NULL is fine. */
void sp_meta_close(struct sp_meta *meta);

/* As it was set last; borrowed until the next request. */
const struct sp_identity *sp_meta_identity(const struct sp_meta *meta);

/* Requests. Each returns its sequence, or 0 when memory is out and nothing was changed. */
uint64_t sp_meta_set_identity(struct sp_meta *meta, const struct sp_identity *identity);
uint64_t sp_meta_set_vote(struct sp_meta *meta,
                          const struct sp_replica_record *replica,
                          uint64_t term,
                          uint64_t vote);
uint64_t sp_meta_set_feature_level(struct sp_meta *meta, uint32_t level);
uint64_t sp_meta_set_forcing(struct sp_meta *meta, uint64_t mark);
uint64_t sp_meta_set_run(struct sp_meta *meta, uint64_t run);
uint64_t sp_meta_create_replica(struct sp_meta *meta, const struct sp_replica_record *replica);
uint64_t sp_meta_delete_replica(struct sp_meta *meta, const struct sp_replica_record *replica);

/* The highest that was ever set; 0: none was. */
uint32_t sp_meta_feature_level(const struct sp_meta *meta);

/* The mark, and the run, that was set last; 0: none was. */
uint64_t sp_meta_forcing(const struct sp_meta *meta);
uint64_t sp_meta_run(const struct sp_meta *meta);

/* What was set last; zeros when nothing was. */
void sp_meta_vote(const struct sp_meta *meta,
                  const struct sp_replica_record *replica,
                  uint64_t *out_term,
                  uint64_t *out_vote);
bool sp_meta_has_replica(const struct sp_meta *meta, const struct sp_replica_record *replica);
void sp_meta_replicas(const struct sp_meta *meta,
                      void (*each)(void *arg, const struct sp_replica_record *record),
                      void *arg);

/* Everything up to this sequence is durable. */
uint64_t sp_meta_durable(const struct sp_meta *meta);

/* True if requests wait to be written. */
bool sp_meta_dirty(const struct sp_meta *meta);

/* Takes what is pending into flight; then sp_meta_write, on any thread, then sp_meta_end. */
void sp_meta_begin(struct sp_meta *meta);

/* Writes and syncs both copies, blocking. Errors of io/file.h; afterwards nothing may be written
 * any more, but for SPATE_ERR_NO_SPACE, after which the same flight may be written anew. */
int sp_meta_write(struct sp_meta *meta);

/* Ends the flight; with `status` 0 what was in it is durable. */
void sp_meta_end(struct sp_meta *meta, int status);

#endif /* SP_STORAGE_META_H */
