/* Replicas of a data directory: registry, opening, creating, deleting.
 *
 *   create:  directory, first segment, synced (job) -> registry record durable -> callback
 *   delete:  registry record durable -> store_quarantine.c: directory removed, or kept (job)
 *
 * So a registered replica always has its data, and what is not registered is nobody's. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "spate/error.h"
#include "storage/disk.h"
#include "storage/log_state.h"
#include "storage/store_state.h"

#define NAME_SIZE 48 /* two numbers of 20 digits, a point, NUL */

static void replica_name(char *out_name, uint64_t group_id, uint64_t replica_id)
{
    (void)snprintf(out_name, NAME_SIZE, "%" PRIu64 ".%" PRIu64, group_id, replica_id);
}

void sp_store_replica_path(const struct sp_store *store,
                           uint64_t group_id,
                           uint64_t replica_id,
                           char *out_path)
{
    char name[NAME_SIZE];

    replica_name(name, group_id, replica_id);
    sp_disk_path(out_path, store->replicas_directory, name);
}

void sp_store_replicas(const struct sp_store *store,
                       void (*each)(void *arg, const struct sp_replica_record *record),
                       void *arg)
{
    sp_meta_replicas(store->meta, each, arg);
}

bool sp_store_has_replica(const struct sp_store *store, uint64_t group_id, uint64_t replica_id)
{
    const struct sp_replica_record record = { group_id, replica_id };

    return sp_meta_has_replica(store->meta, &record);
}

/* ---- quarantine ------------------------------------------------------------------------------ */

static bool name_is_registered(const struct sp_store *store, const char *name)
{
    char expected[NAME_SIZE];
    uint64_t group_id = 0;
    uint64_t replica_id = 0;

    if (sscanf(name, "%" SCNu64 ".%" SCNu64, &group_id, &replica_id) != 2) {
        return false;
    }
    replica_name(expected, group_id, replica_id);
    return strcmp(name, expected) == 0 && sp_store_has_replica(store, group_id, replica_id);
}

static int quarantine_if_unknown(void *arg, const char *name)
{
    const struct sp_store *store = arg;

    return name_is_registered(store, name) ? 0 : sp_store_move_unknown(store, name);
}

int sp_store_quarantine_unknown(struct sp_store *store)
{
    store->quarantine_sweeps = true; /* nothing is being removed yet */
    sp_store_look_at_quarantine(store);
    return sp_dir_list(store->replicas_directory, quarantine_if_unknown, store);
}

/* ---- opening --------------------------------------------------------------------------------- */

static int recover(struct sp_replica_open *open, const char *directory, bool syncs)
{
    const struct sp_log_recovery recovery = {
        .directory = directory,
        .group_id = open->group_id,
        .replica_id = open->replica_id,
        .key_seed = open->store->key_seed,
        .run_before = open->store->run_before,
        .syncs = syncs,
        .text = open->text,
        .text_size = sizeof open->text,
        .disk_failed = &open->disk_failed,
    };

    return sp_log_recover(&recovery, &open->log);
}

static void open_work(struct sp_job *job)
{
    struct sp_replica_open *open = SP_CONTAINER_OF(job, struct sp_replica_open, job);
    char path[SP_DISK_PATH_SIZE];

    if (open->status != 0) {
        return;
    }
    sp_store_replica_path(open->store, open->group_id, open->replica_id, path);
    if (sp_store_is_marked(path)) {
        open->status = SPATE_ERR_CORRUPT;
        sp_store_read_mark(path, open->text, sizeof open->text);
        return;
    }
    open->status = recover(open, path, open->store->settling == SP_SETTLING_EACH);
    (void)sp_store_makes_room(open->store, open->status); /* for the next try */
    if (open->status == SPATE_ERR_CORRUPT && !open->disk_failed) {
        open->disk_failed = sp_store_write_mark(path, open->text) == SPATE_ERR_IO;
    }
}

static void complete(struct sp_replica_open *open)
{
    char path[SP_DISK_PATH_SIZE];

    if (open->status == 0) {
        sp_store_adopt(open->store, open->log);
    } else if (open->disk_failed) {
        sp_store_replica_path(open->store, open->group_id, open->replica_id, path);
        sp_store_fail(open->store, SPATE_ERR_IO, "opening a log", path); /* damaged or not */
    }
    open->cb(open, open->status);
}

static void fail_text(struct sp_replica_open *open, const char *what)
{
    (void)snprintf(open->text,
                   sizeof open->text,
                   "log of group %" PRIu64 ", replica %" PRIu64 ": %s",
                   open->group_id,
                   open->replica_id,
                   what);
}

/* A log that was opened while the store closed has no owner any more. */
static void cancel_if_closing(struct sp_replica_open *open)
{
    if (open->store->closing && open->status == 0) {
        sp_log_free(open->log);
        open->log = NULL;
        open->status = SPATE_ERR_CANCELED;
        fail_text(open, "the store is closing");
    }
}

static void open_done(struct sp_job *job)
{
    struct sp_replica_open *open = SP_CONTAINER_OF(job, struct sp_replica_open, job);
    struct sp_store *store = open->store;

    store->jobs -= 1;
    cancel_if_closing(open);
    complete(open);
    sp_store_advance(store);
}

static void begin(struct sp_store *store, struct sp_replica_open *open, bool create)
{
    open->store = store;
    open->log = NULL;
    open->status = 0;
    open->create = create;
    open->disk_failed = false;
    open->text[0] = '\0';
    sp_list_init(&open->node);
    store->jobs += 1;
}

void sp_store_start_opening(struct sp_replica_open *open)
{
    sp_job_start(open->store->loop, &open->job, open_work, open_done);
}

void sp_store_open_replica(struct sp_store *store, struct sp_replica_open *open)
{
    begin(store, open, false);
    if (!sp_store_has_replica(store, open->group_id, open->replica_id)) {
        open->status = SPATE_ERR_NOT_FOUND;
        fail_text(open, "it is not registered on this node");
    }
    sp_store_open_settled(open);
}

/* ---- creating -------------------------------------------------------------------------------- */

/* The segment's file with its header and, if there is one, the first frame, behind a marker as in
 * every write; one sync for all of it, since nobody knows of the file before it is registered. */
static int make_segment(const struct sp_replica_open *open, const char *path)
{
    const struct sp_segment_header header = {
        .group_id = open->group_id,
        .marker_key = sp_log_marker_key(open->store->key_seed, open->group_id, 1),
    };
    uint8_t marker[SP_LOG_FRAME_HEADER_SIZE];
    const struct sp_iovec pieces[] = {
        { marker, sizeof marker },
        { open->first.bytes, open->first.size },
    };
    struct sp_file *file = NULL;

    sp_segment_marker_encode(&header, 0, 0, 0, marker);
    int rv = sp_segment_create(path, &header, pieces, open->first.size > 0 ? 2 : 0, &file);
    if (rv == 0) {
        sp_file_close(file);
    }
    return rv;
}

static int check_first(const struct sp_replica_open *open)
{
    const struct sp_log_point nothing = { .index = 0 };
    struct sp_log_point after;
    struct sp_log_frame frame;

    if (open->first.size == 0) {
        return 0;
    }
    int rv = sp_log_frame_verify(open->first.bytes, open->first.size, &frame);
    if (rv != 0 || open->first.size != sp_log_frame_size(frame.length)) {
        return SPATE_ERR_CORRUPT;
    }
    return sp_log_point_follow(&nothing, open->group_id, &frame, open->first.bytes, &after);
}

/* Makes what a replica begins with; *out_made: its directory is new. */
static int make_files(struct sp_replica_open *open, const char *path, bool *out_made)
{
    char name[NAME_SIZE];
    int rv = check_first(open);

    replica_name(name, open->group_id, open->replica_id);
    if (rv == 0 && sp_path_exists(path)) {
        rv = sp_store_move_unknown(open->store, name);
    }
    if (rv == 0) {
        rv = sp_dir_create(path);
        *out_made = rv == 0;
    }
    if (rv == 0) {
        rv = make_segment(open, path);
    }
    return rv == 0 ? sp_dir_sync(open->store->replicas_directory) : rv;
}

/* Nobody has heard of this replica: what was begun of it goes, or each try would leave another
 * directory in quarantine/. After a disk error nothing is touched any more. */
static void undo_files(const struct sp_replica_open *open, const char *path, bool made)
{
    if (made && open->status != SPATE_ERR_IO) {
        (void)sp_path_remove_tree(path); /* else the next try moves it away */
    }
}

static void create_work(struct sp_job *job)
{
    struct sp_replica_open *open = SP_CONTAINER_OF(job, struct sp_replica_open, job);
    char path[SP_DISK_PATH_SIZE];
    bool made = false;

    if (open->status != 0) {
        return;
    }
    sp_store_replica_path(open->store, open->group_id, open->replica_id, path);
    open->status = make_files(open, path, &made);
    if (open->status != 0) {
        open->disk_failed = open->status == SPATE_ERR_IO;
        fail_text(open, "its files could not be made");
    } else {
        open->status = recover(open, path, false); /* all of it was synced just now */
    }
    if (open->status != 0) {
        undo_files(open, path, made);
        (void)sp_store_makes_room(open->store, open->status); /* for the next try */
    }
}

static void undo_work(struct sp_job *job)
{
    struct sp_replica_open *open = SP_CONTAINER_OF(job, struct sp_replica_open, job);
    char path[SP_DISK_PATH_SIZE];

    sp_store_replica_path(open->store, open->group_id, open->replica_id, path);
    undo_files(open, path, true);
}

static void undo_done(struct sp_job *job)
{
    struct sp_replica_open *open = SP_CONTAINER_OF(job, struct sp_replica_open, job);
    struct sp_store *store = open->store;

    store->jobs -= 1;
    complete(open);
    sp_store_advance(store);
}

/* Its files are there: asks for its place in the registry. */
static void register_created(struct sp_replica_open *open)
{
    struct sp_store *store = open->store;
    const struct sp_replica_record record = { open->group_id, open->replica_id };

    cancel_if_closing(open);
    if (open->status == 0) {
        open->registry_sequence = sp_meta_create_replica(store->meta, &record);
        if (open->registry_sequence == 0) {
            sp_log_free(open->log);
            open->log = NULL;
            open->status = SPATE_ERR_NOMEM;
            fail_text(open, "out of memory");
        }
    }
    if (open->status == 0) {
        sp_list_append(&store->creations, &open->node);
    } else {
        store->jobs += 1;
        sp_job_start(store->loop, &open->job, undo_work, undo_done);
    }
}

static void create_done(struct sp_job *job)
{
    struct sp_replica_open *open = SP_CONTAINER_OF(job, struct sp_replica_open, job);
    struct sp_store *store = open->store;

    store->jobs -= 1;
    sp_slice_unref(&open->first);
    if (open->status == 0) {
        register_created(open);
    } else {
        complete(open);
    }
    sp_store_advance(store);
}

void sp_store_create_replica(struct sp_store *store, struct sp_replica_open *open)
{
    begin(store, open, true);
    if (sp_store_has_replica(store, open->group_id, open->replica_id)) {
        open->status = SPATE_ERR_EXISTS;
        fail_text(open, "it exists already");
    }
    sp_job_start(store->loop, &open->job, create_work, create_done);
}

/* ---- deleting -------------------------------------------------------------------------------- */

static int
delete_replica(struct sp_store *store, uint64_t group_id, uint64_t replica_id, bool keeps_damaged)
{
    const struct sp_replica_record record = { group_id, replica_id };

    if (!sp_meta_has_replica(store->meta, &record)) {
        return SPATE_ERR_NOT_FOUND;
    }
    struct sp_deletion *deletion = sp_mem_calloc(1, sizeof *deletion);
    if (deletion == NULL) {
        return SPATE_ERR_NOMEM;
    }
    deletion->store = store;
    deletion->record = record;
    deletion->keeps_damaged = keeps_damaged;
    deletion->sequence = sp_meta_delete_replica(store->meta, &record);
    if (deletion->sequence == 0) {
        sp_mem_free(deletion);
        return SPATE_ERR_NOMEM;
    }
    sp_list_append(&store->deletions, &deletion->node);
    return 0;
}

int sp_store_delete_replica(struct sp_store *store, uint64_t group_id, uint64_t replica_id)
{
    return delete_replica(store, group_id, replica_id, false);
}

int sp_store_retire_replica(struct sp_store *store, uint64_t group_id, uint64_t replica_id)
{
    return delete_replica(store, group_id, replica_id, true);
}

/* ---- the registry is durable ----------------------------------------------------------------- */

static void complete_creations(struct sp_store *store, uint64_t durable)
{
    struct sp_list ready;

    sp_list_init(&ready);
    SP_LIST_EACH_SAFE (node, &store->creations) {
        struct sp_replica_open *open = SP_LIST_ENTRY(node, struct sp_replica_open, node);

        if (open->registry_sequence <= durable) {
            sp_list_remove(node);
            sp_list_append(&ready, node);
        }
    }
    while (!sp_list_empty(&ready)) {
        struct sp_replica_open *open = SP_LIST_ENTRY(ready.next, struct sp_replica_open, node);

        sp_list_remove(&open->node);
        cancel_if_closing(open);
        complete(open);
    }
}

void sp_store_registry_durable(struct sp_store *store)
{
    uint64_t durable = sp_meta_durable(store->meta);

    SP_LIST_EACH_SAFE (node, &store->deletions) {
        struct sp_deletion *deletion = SP_LIST_ENTRY(node, struct sp_deletion, node);

        if (deletion->sequence <= durable) {
            sp_list_remove(node);
            sp_store_start_deletion(deletion);
        }
    }
    complete_creations(store, durable);
}

void sp_store_drop_waiting(struct sp_store *store)
{
    while (!sp_list_empty(&store->deletions)) {
        struct sp_deletion *deletion =
            SP_LIST_ENTRY(store->deletions.next, struct sp_deletion, node);

        sp_list_remove(&deletion->node);
        sp_mem_free(deletion);
    }
    while (!sp_list_empty(&store->creations)) {
        struct sp_replica_open *open =
            SP_LIST_ENTRY(store->creations.next, struct sp_replica_open, node);

        sp_list_remove(&open->node);
        sp_log_free(open->log);
        open->log = NULL;
    }
}
