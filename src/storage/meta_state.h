/* What meta.c, meta_open.c and meta_verify.c share: the meta log's state, and its copies on disk.
 * Included by no one else. */
#ifndef SP_STORAGE_META_STATE_H
#define SP_STORAGE_META_STATE_H

#include "base/buf.h"
#include "base/map.h"
#include "io/file.h"
#include "storage/meta.h"
#include "storage/meta_file.h"

#define SP_META_COPIES 2

extern const char *const sp_meta_names[SP_META_COPIES];

struct sp_meta_replica {
    struct sp_replica_record record;
    uint64_t term;
    uint64_t vote;
    bool registered;
    uint64_t vote_sequence; /* of the last request of a vote in this run; 0: none */
    size_t vote_at;         /* where it stands in `pending`, unless a flight has taken it along */
};

struct sp_meta {
    char *directory;
    struct sp_identity identity;
    uint32_t feature_level; /* 0: never set */
    uint64_t forcing;
    uint64_t run;
    struct sp_map *replicas; /* (group, replica) -> struct sp_meta_replica */
    struct sp_file *files[SP_META_COPIES];
    size_t dead_bytes_max;
    size_t size;                  /* bytes of each copy */
    uint32_t chain;               /* crc of the last batch in them */
    uint64_t last_sequence;       /* of the last request */
    uint64_t written_sequence;    /* last in the copies */
    uint64_t durable_sequence;    /* the same as reported; 0 before the first flush of this run */
    struct sp_buf pending;        /* room for a batch header, then records; empty: nothing waits */
    struct sp_buf flight;         /* the batch that the worker writes */
    struct sp_blob *flight_image; /* instead of it: what both copies are replaced by */
    uint32_t flight_chain;
    uint64_t flight_sequence;
    bool flying;
};

/* An empty one without files, or NULL when memory is out. */
struct sp_meta *sp_meta_new(const struct sp_meta_options *options);

/* Takes one record into the state. SPATE_ERR_NOMEM. */
int sp_meta_apply(struct sp_meta *meta, const struct sp_meta_record *record);

/* Frees all replicas' entries. */
void sp_meta_forget_all(struct sp_meta *meta);

/* Bytes that an image takes at most. */
size_t sp_meta_live_size(const struct sp_meta *meta);

/* A copy's content that holds the state alone, or NULL; sets the chain at its end. */
struct sp_blob *sp_meta_image(const struct sp_meta *meta, uint32_t *out_chain);

/* Replaces one copy durably and opens it. Errors of io/file.h. */
int sp_meta_replace_copy(struct sp_meta *meta, int copy, const uint8_t *bytes, size_t size);

/* One copy as it was read. */
struct sp_meta_copy {
    bool present;
    uint8_t *bytes; /* owned; NULL: missing, or larger than any that we wrote */
    size_t size;
    struct sp_meta_scan scan;
};

/* A missing file is no error. Errors of io/file.h, SPATE_ERR_NOMEM. */
int sp_meta_copy_load(const char *directory, int number, struct sp_meta_copy *out_copy);

/* The number of the copy with the longer valid prefix, or -1: neither can be used. */
int sp_meta_copy_choose(const struct sp_meta_copy *copies);

/* True if a copy proves that something was durable which the chosen one lacks. */
bool sp_meta_copy_lacks_proven(const struct sp_meta_copy *copies, int chosen);

#endif /* SP_STORAGE_META_STATE_H */
