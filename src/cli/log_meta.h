/* The metadata of a node that is stopped: both copies of it, and what the replicas are of. */
#ifndef SPATE_CLI_LOG_META_H
#define SPATE_CLI_LOG_META_H

#include <jansson.h>

#include "cluster/topic_names.h"
#include "storage/meta_verify.h"

struct log_meta {
    int status;                   /* a SPATE_ERR_* code: it could not be read at all */
    struct sp_meta_report report; /* if it could */
    struct sp_topic_names *names; /* owned; NULL: nothing is known */
    json_t *replicas;             /* the names of those on record are its keys; NULL: not known */
};

/* Looks at the data directory. */
void log_meta_read(struct log_meta *meta, const char *data_directory);

void log_meta_free(struct log_meta *meta);

/* True if neither copy is there: so it is before a node has run, and when both were lost. */
bool log_meta_is_missing(const struct log_meta *meta);

/* True if no copy can be taken: the node does not start. */
bool log_meta_is_damaged(const struct log_meta *meta);

/* True if a copy is lost and the other one is not: the next start writes it anew. */
bool log_meta_heals(const struct log_meta *meta);

/* True if there is nothing to tell but that all is well. */
bool log_meta_is_whole(const struct log_meta *meta);

/* "meta: copy A whole, copy B DAMAGED at byte 16: ..." on standard output. */
void log_meta_print(const struct log_meta *meta);

/* The same: {"copies": [{"file", "condition", "position"}], "usable"}. */
json_t *log_meta_json(const struct log_meta *meta);

/* What a Raft group is for; false: it is not known, or it is the controller's. */
bool log_meta_find_topic(const struct log_meta *meta,
                         uint64_t group_id,
                         const char **out_topic,
                         uint32_t *out_partition);

#endif /* SPATE_CLI_LOG_META_H */
