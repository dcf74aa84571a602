#include "cluster/force_membership.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/mem.h"
#include "cluster/controller.h"
#include "cluster/force_parts.h"
#include "spate/error.h"

#define LINE_SIZE 1200

/* ---- words ----------------------------------------------------------------------------------- */

int sp_force_refuse(struct sp_force *force, int status, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(force->text, force->text_size, format, arguments);
    va_end(arguments);
    return status;
}

void sp_force_tell(const struct sp_force *force, const char *format, ...)
{
    char line[LINE_SIZE];
    va_list arguments;

    if (force->options->tell == NULL) {
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    force->options->tell(force->options->arg, line);
}

bool sp_force_is_kept(const struct sp_force_options *options, uint32_t node_id)
{
    for (unsigned i = 0; i < options->node_count; i++) {
        if (options->node_ids[i] == node_id) {
            return true;
        }
    }
    return false;
}

/* ---- waiting --------------------------------------------------------------------------------- */

static void on_meta_durable(void *arg, uint64_t sequence)
{
    struct sp_force *force = arg;

    (void)sequence;
    force->woken = true;
}

static void on_failed(void *arg, int status, const char *text)
{
    struct sp_force *force = arg;

    (void)sp_force_refuse(force, status, "%s", text);
    force->failed = true;
    force->woken = true;
}

static const struct sp_store_handler store_handler = { on_meta_durable, on_failed };

int sp_force_wait(struct sp_force *force, bool (*done)(void *arg), void *arg)
{
    while (!force->failed && !done(arg)) {
        force->woken = false;
        (void)sp_loop_run_until(force->loop, &force->woken, UINT64_MAX);
    }
    return force->failed ? SPATE_ERR_IO : 0;
}

struct awaited {
    struct sp_force *force;
    uint64_t sequence;
};

static bool is_durable(void *arg)
{
    const struct awaited *awaited = arg;

    return sp_store_meta_durable(awaited->force->store) >= awaited->sequence;
}

int sp_force_wait_meta(struct sp_force *force, uint64_t sequence)
{
    struct awaited awaited = { force, sequence };

    return sequence == 0 ? SPATE_ERR_NOMEM : sp_force_wait(force, is_durable, &awaited);
}

static bool is_closed(void *arg)
{
    return *(const bool *)arg;
}

struct closing {
    struct sp_force *force;
    bool closed;
};

static void on_closed(void *arg)
{
    struct closing *closing = arg;

    closing->closed = true;
    closing->force->woken = true;
}

/* ---- the cluster's id ------------------------------------------------------------------------ */

static uint32_t sum_of_nodes(const struct sp_force_options *options, uint32_t crc)
{
    for (unsigned i = 0; i < options->node_count; i++) {
        uint8_t bytes[4] = { (uint8_t)options->node_ids[i],
                             (uint8_t)(options->node_ids[i] >> 8),
                             (uint8_t)(options->node_ids[i] >> 16),
                             (uint8_t)(options->node_ids[i] >> 24) };
        crc = sp_crc32c(crc, bytes, sizeof bytes);
    }
    return crc;
}

/* Not 0, and other nodes give another one. */
static uint64_t mark_of(const struct sp_force_options *options)
{
    return UINT64_C(1) << 32 | sum_of_nodes(options, 0);
}

static struct sp_identity new_identity(const struct sp_force *force)
{
    struct sp_identity identity = *sp_store_identity(force->store);
    uint32_t sum =
        sum_of_nodes(force->options, sp_crc32c(0, identity.cluster_id, SP_CLUSTER_ID_SIZE));

    /* Added, and odd, so that the end is another one in any case. */
    for (unsigned i = 0; i < 4; i++) {
        uint8_t add = (uint8_t)(sum >> (8 * i));
        identity.cluster_id[SP_CLUSTER_ID_KEPT_SIZE + i] ^= i == 0 ? add | 1 : add;
    }
    return identity;
}

/* ---- all replicas ---------------------------------------------------------------------------- */

struct replicas {
    struct sp_replica_record *records;
    size_t count;
    bool controller;
};

static void count_replica(void *arg, const struct sp_replica_record *record)
{
    struct replicas *replicas = arg;

    replicas->count += 1;
    replicas->controller = replicas->controller || record->group_id == SP_CONTROLLER_GROUP_ID;
}

static void list_replica(void *arg, const struct sp_replica_record *record)
{
    struct replicas *replicas = arg;

    replicas->records[replicas->count] = *record;
    replicas->count += 1;
}

static int force_groups(struct sp_force *force, const struct replicas *replicas, bool controller)
{
    int rv = 0;

    for (size_t i = 0; i < replicas->count && rv == 0; i++) {
        if ((replicas->records[i].group_id == SP_CONTROLLER_GROUP_ID) == controller) {
            rv = sp_force_group(force, &replicas->records[i]);
        }
    }
    return rv;
}

/* Group 0 first: it knows whether the nodes are right, before anything is changed. */
static int force_all(struct sp_force *force)
{
    struct replicas replicas = { .records = NULL };

    sp_store_replicas(force->store, count_replica, &replicas);
    if (!replicas.controller) {
        return sp_force_refuse(force,
                               SPATE_ERR_INVALID,
                               "this node has no replica of the controller's group: keep a node "
                               "that has one, and run this there");
    }
    replicas.records = sp_mem_calloc(replicas.count, sizeof *replicas.records);
    if (replicas.records == NULL) {
        return SPATE_ERR_NOMEM;
    }
    replicas.count = 0;
    sp_store_replicas(force->store, list_replica, &replicas);
    int rv = force_groups(force, &replicas, true);
    if (rv == 0) {
        rv = force_groups(force, &replicas, false);
    }
    sp_mem_free(replicas.records);
    return rv;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int check_store(struct sp_force *force)
{
    uint64_t mark = sp_store_forcing(force->store);

    if (sp_store_identity(force->store)->state != SP_IDENTITY_FORMED) {
        return sp_force_refuse(
            force, SPATE_ERR_NOT_READY, "this node was never a member of a formed cluster");
    }
    if (!sp_force_is_kept(force->options, sp_store_identity(force->store)->node_id)) {
        return sp_force_refuse(force,
                               SPATE_ERR_INVALID,
                               "this is node %" PRIu32 ", which is not among the nodes to keep",
                               sp_store_identity(force->store)->node_id);
    }
    if (mark != 0 && mark != mark_of(force->options)) {
        return sp_force_refuse(force,
                               SPATE_ERR_INVALID,
                               "a forced membership was begun here with other nodes: run it again "
                               "with the same");
    }
    return 0;
}

static int begin(struct sp_force *force)
{
    if (!force->options->change || sp_store_forcing(force->store) != 0) {
        return 0;
    }
    return sp_force_wait_meta(force, sp_store_set_forcing(force->store, mark_of(force->options)));
}

/* Both records are of one batch, since no turn comes between them. */
static int finish(struct sp_force *force)
{
    struct sp_identity identity = new_identity(force);

    if (sp_store_set_identity(force->store, &identity) == 0) {
        return SPATE_ERR_NOMEM;
    }
    return sp_force_wait_meta(force, sp_store_set_forcing(force->store, 0));
}

/* What is not right is found before the mark keeps the node from running. */
static int try_all(struct sp_force *force)
{
    const struct sp_force_options *options = force->options;
    struct sp_force_options look = *options;

    look.change = false;
    look.tell = NULL;
    force->options = &look;
    int rv = force_all(force);
    force->options = options;
    if (rv == 0 && force->planned_count == 0 && sp_store_forcing(force->store) == 0) {
        rv = sp_force_refuse(
            force, SPATE_ERR_INVALID, "nothing is to be forced: these nodes are all the members");
    }
    force->planned_count = 0;
    force->lost_count = 0;
    return rv;
}

static void tell_result(const struct sp_force *force)
{
    if (force->lost_count > 0) {
        sp_force_tell(force,
                      "%u partitions are lost: their topics answer LEADER_UNKNOWN until they are "
                      "deleted",
                      force->lost_count);
    }
    sp_force_tell(force,
                  force->options->change
                      ? "done: %u groups have a new membership; the nodes that were left out must "
                        "come back empty or not at all"
                      : "%u groups would get a new membership; nothing was changed, "
                        "--yes-lose-data does it",
                  force->planned_count);
}

static int run(struct sp_force *force)
{
    int rv = check_store(force);

    if (rv == 0 && force->options->change) {
        rv = try_all(force);
    }
    if (rv == 0) {
        rv = begin(force);
    }
    if (rv == 0) {
        rv = force_all(force);
    }
    if (rv == 0 && force->options->change) {
        rv = finish(force);
    }
    if (rv == 0) {
        tell_result(force);
    }
    return rv;
}

int sp_force_membership(struct sp_loop *loop,
                        const struct sp_store_options *store,
                        const struct sp_force_options *options,
                        char *text,
                        size_t text_size)
{
    struct sp_force force = {
        .loop = loop, .options = options, .text = text, .text_size = text_size
    };
    struct sp_store_options opened = *store;
    struct closing closing = { .force = &force };

    text[0] = '\0';
    if (!sp_path_exists(store->path)) {
        return sp_force_refuse(
            &force, SPATE_ERR_NOT_FOUND, "there is no data directory %s", store->path);
    }
    opened.forcing = true;
    int rv = sp_store_open(loop, &opened, &store_handler, &force, text, text_size, &force.store);
    if (rv == 0) {
        rv = run(&force);
    }
    if (rv != 0) {
        return rv;
    }
    sp_store_close(force.store, on_closed, &closing);
    return sp_force_wait(&force, is_closed, &closing.closed);
}
