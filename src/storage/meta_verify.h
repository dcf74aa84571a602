/* Checking both copies of the meta log where they lie, without a node and without changing them.
 *
 * The copies hold the same bytes, and `meta.a` is written and synced before `meta.b` (meta_file.h):
 *   what only a has     an unfinished write, as long as it is one batch
 *   what only b has     a was synced before: it is damaged
 *   bytes of b that are neither a's nor zero     no write was cut off there: it is damaged */
#ifndef SP_STORAGE_META_VERIFY_H
#define SP_STORAGE_META_VERIFY_H

#include "storage/store.h"

#define SP_META_VERIFY_COPIES 2

enum sp_meta_condition {
    SP_META_COPY_WHOLE,
    SP_META_COPY_TORN, /* ends before its last write: an unfinished one, or damage that looks so */
    SP_META_COPY_MISSING,
    SP_META_COPY_DAMAGED, /* what was synced is not readable */
};

struct sp_meta_copy_report {
    const char *file; /* its name in the directory; static */
    enum sp_meta_condition condition;
    uint64_t position; /* where it stops to make sense; its size if it is whole */
};

struct sp_meta_report {
    struct sp_meta_copy_report copies[SP_META_VERIFY_COPIES]; /* a, b */
    int chosen;   /* the copy that a start takes; -1: it refuses, what is lost cannot be told */
    uint64_t run; /* the last one that was counted; 0: none, or no copy is chosen */
};

/* Checks meta.a and meta.b in `directory`, and calls `each` for the replicas on record if a start
 * would take one of the copies. SPATE_ERR_CORRUPT: a whole copy holds a record that this build does
 * not know; SPATE_ERR_IO, SPATE_ERR_NOMEM. */
int sp_meta_verify(const char *directory,
                   void (*each)(void *arg, const struct sp_replica_record *record),
                   void *arg,
                   struct sp_meta_report *out_report);

#endif /* SP_STORAGE_META_VERIFY_H */
