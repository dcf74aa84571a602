/* Inside of cluster/force_membership.c and force_group.c alone. */
#ifndef SP_CLUSTER_FORCE_PARTS_H
#define SP_CLUSTER_FORCE_PARTS_H

#include "base/attr.h"
#include "cluster/force_membership.h"

struct sp_force {
    struct sp_loop *loop;
    struct sp_store *store;
    const struct sp_force_options *options;
    char *text;
    size_t text_size;
    bool woken;             /* something became durable, or failed */
    bool failed;            /* the disk */
    unsigned planned_count; /* groups that get a new membership */
    unsigned lost_count;
};

/* Turns the loop until `done` says so or the disk fails (SPATE_ERR_IO). */
int sp_force_wait(struct sp_force *force, bool (*done)(void *arg), void *arg);

/* The same until the meta request with that sequence is durable; 0, which a request answers when
 * memory is out, is SPATE_ERR_NOMEM. */
int sp_force_wait_meta(struct sp_force *force, uint64_t sequence);

/* Sets the text and returns `status`. */
int sp_force_refuse(struct sp_force *force, int status, const char *format, ...) SP_PRINTF(3, 4);

/* Tells the operator a line. */
void sp_force_tell(const struct sp_force *force, const char *format, ...) SP_PRINTF(2, 3);

/* True if the node is one of those that stay. */
bool sp_force_is_kept(const struct sp_force_options *options, uint32_t node_id);

/* Gives one replica its new membership, or tells what it would get. On failure the text says what
 * is wrong. */
int sp_force_group(struct sp_force *force, const struct sp_replica_record *record);

#endif /* SP_CLUSTER_FORCE_PARTS_H */
