/* Directories of replicas that go: into quarantine/, where only the operator deletes, or for good.
 *
 *   replicas/G.R  nobody knows it          --> quarantine/G.R.unknown-SECONDS    kept
 *   replicas/G.R  it has a file `damaged`  --> quarantine/G.R.damaged-SECONDS    kept
 *   replicas/G.R  not needed any more      --> quarantine/G.R.removing-SECONDS   --> gone
 *
 * The rename is what decides: a process that dies while it removes files leaves no half of a
 * replica behind under its old name, and the next start goes on with what is called `removing`. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/trace.h"
#include "spate/error.h"
#include "storage/disk.h"
#include "storage/store_state.h"

#define QUARANTINE_NAMES_MAX 10000 /* of one name; then the operator must look */
#define REMOVING ".removing-"
#define DAMAGED ".damaged-"

static void quarantine_directory(const struct sp_store *store, char *out_path)
{
    sp_disk_path(out_path, store->directory, SP_QUARANTINE_DIRECTORY);
}

/* Moves replicas/NAME to the first free name, `out_name` of SP_QUARANTINE_NAME_SIZE bytes. */
static int move_away(
    const struct sp_store *store, const char *name, const char *word, int64_t now_s, char *out_name)
{
    char directory[SP_DISK_PATH_SIZE];
    char from[SP_DISK_PATH_SIZE];
    char to[SP_DISK_PATH_SIZE];

    quarantine_directory(store, directory);
    sp_disk_path(from, store->replicas_directory, name);
    int size = snprintf(out_name, SP_QUARANTINE_NAME_SIZE, "%s.%s-%" PRId64, name, word, now_s);
    if (size < 0 || size + 8 > SP_QUARANTINE_NAME_SIZE) {
        return SPATE_ERR_INVALID;
    }
    sp_disk_path(to, directory, out_name);
    for (unsigned i = 1; i < QUARANTINE_NAMES_MAX && sp_path_exists(to); i++) {
        (void)snprintf(out_name + size, 8, ".%u", i); /* it fits */
        sp_disk_path(to, directory, out_name);
    }
    int rv = sp_path_rename(from, to);
    if (rv == 0) {
        rv = sp_dir_sync(directory);
    }
    return rv == 0 ? sp_dir_sync(store->replicas_directory) : rv;
}

/* ---- directories that nobody knows ----------------------------------------------------------- */

int sp_store_move_unknown(const struct sp_store *store, const char *name)
{
    char to[SP_QUARANTINE_NAME_SIZE] = "";
    int rv = move_away(store, name, "unknown", store->opened_s, to);

    SP_TRACE_WARN("storage",
                  "unregistered replica directory moved to quarantine",
                  "from=%s/%s to=" SP_QUARANTINE_DIRECTORY "/%s error=%s",
                  store->replicas_directory,
                  name,
                  to,
                  spate_error_name(rv));
    return rv;
}

/* ---- marks of damage ------------------------------------------------------------------------- */

int sp_store_write_mark(const char *directory, const char *text)
{
    char path[SP_DISK_PATH_SIZE];
    const struct sp_iovec pieces[] = { { (const uint8_t *)text, strlen(text) },
                                       { (const uint8_t *)"\n", 1 } };

    if (!sp_path_exists(directory)) {
        return SPATE_ERR_NOT_FOUND;
    }
    sp_disk_path(path, directory, SP_DAMAGED_NAME);
    return sp_path_exists(path) ? 0 : sp_disk_replace(directory, path, pieces, 2);
}

bool sp_store_is_marked(const char *directory)
{
    char path[SP_DISK_PATH_SIZE];

    sp_disk_path(path, directory, SP_DAMAGED_NAME);
    return sp_path_exists(path);
}

void sp_store_read_mark(const char *directory, char *out_text, size_t text_size)
{
    char path[SP_DISK_PATH_SIZE];
    uint8_t *bytes = NULL;
    size_t size = 0;

    sp_disk_path(path, directory, SP_DAMAGED_NAME);
    if (sp_disk_read_all(path, 2 * SP_STORE_TEXT_SIZE, &bytes, &size) != 0) {
        size = 0; /* it says enough by being there */
    }
    while (size > 0 && bytes[size - 1] == '\n') {
        size -= 1;
    }
    (void)snprintf(out_text,
                   text_size,
                   "found damaged before: %.*s",
                   (int)size,
                   size == 0 ? "" : (const char *)bytes);
    sp_mem_free(bytes);
}

struct mark {
    struct sp_job job;
    struct sp_space_wait wait;
    struct sp_store *store;
    char directory[SP_DISK_PATH_SIZE];
    char text[SP_STORE_TEXT_SIZE];
    int status;
};

static void mark_work(struct sp_job *job)
{
    struct mark *mark = SP_CONTAINER_OF(job, struct mark, job);

    mark->status = sp_store_write_mark(mark->directory, mark->text);
    if (sp_store_makes_room(mark->store, mark->status)) {
        mark->status = sp_store_write_mark(mark->directory, mark->text);
    }
}

static void end_mark(struct mark *mark)
{
    struct sp_store *store = mark->store;

    store->jobs -= 1;
    if (mark->status == SPATE_ERR_IO) {
        sp_store_fail(store, mark->status, "marking a damaged replica", mark->directory);
    } else if (mark->status != 0 && mark->status != SPATE_ERR_NOT_FOUND) {
        SP_TRACE_WARN("storage",
                      "damaged replica not marked: a restart would have to find the damage anew",
                      "replica=%s error=%s",
                      mark->directory,
                      spate_error_name(mark->status));
    }
    sp_mem_free(mark);
    sp_store_advance(store);
}

static void mark_done(struct sp_job *job)
{
    struct mark *mark = SP_CONTAINER_OF(job, struct mark, job);

    if (!sp_store_waits_for_space(mark->store,
                                  &mark->wait,
                                  mark->status,
                                  mark->store->closing,
                                  "marking a damaged replica",
                                  mark->directory)) {
        end_mark(mark);
    }
}

static void resume_mark(struct sp_space_wait *wait)
{
    struct mark *mark = SP_CONTAINER_OF(wait, struct mark, wait);

    if (mark->store->failed || mark->store->closing) {
        end_mark(mark);
    } else {
        sp_job_start(mark->store->loop, &mark->job, mark_work, mark_done);
    }
}

void sp_store_mark_damaged(struct sp_store *store,
                           uint64_t group_id,
                           uint64_t replica_id,
                           const char *text)
{
    struct mark *mark = store->failed || store->closing ? NULL : sp_mem_calloc(1, sizeof *mark);

    if (mark == NULL) {
        return; /* a restart finds the damage again, or the next reader does */
    }
    mark->store = store;
    mark->wait.resume = resume_mark;
    sp_store_replica_path(store, group_id, replica_id, mark->directory);
    (void)snprintf(mark->text, sizeof mark->text, "%s", text);
    store->jobs += 1;
    sp_job_start(store->loop, &mark->job, mark_work, mark_done);
}

/* ---- removing -------------------------------------------------------------------------------- */

static void name_of(const struct sp_deletion *deletion, char *out, size_t size)
{
    (void)snprintf(
        out, size, "%" PRIu64 ".%" PRIu64, deletion->record.group_id, deletion->record.replica_id);
}

static void delete_work(struct sp_job *job)
{
    struct sp_deletion *deletion = SP_CONTAINER_OF(job, struct sp_deletion, job);
    const struct sp_store *store = deletion->store;
    char directory[SP_DISK_PATH_SIZE];
    char path[SP_DISK_PATH_SIZE];
    char name[64]; /* two numbers of 20 digits */

    name_of(deletion, name, sizeof name);
    sp_disk_path(path, store->replicas_directory, name);
    if (!sp_path_exists(path)) {
        return; /* what was damaged may have been missing altogether */
    }
    deletion->kept = deletion->keeps_damaged && sp_store_is_marked(path);
    deletion->status = move_away(
        store, name, deletion->kept ? "damaged" : "removing", deletion->now_s, deletion->name);
    if (deletion->status == 0 && !deletion->kept) {
        quarantine_directory(store, directory);
        sp_disk_path(path, directory, deletion->name);
        deletion->status = sp_path_remove_tree(path);
    }
}

static void delete_done(struct sp_job *job)
{
    struct sp_deletion *deletion = SP_CONTAINER_OF(job, struct sp_deletion, job);
    struct sp_store *store = deletion->store;

    if (deletion->status != 0) {
        SP_TRACE_WARN("storage",
                      "directory of a replica not removed, the next start goes on",
                      "replicas=%s group=%" PRIu64 " replica=%" PRIu64 " error=%s",
                      store->replicas_directory,
                      deletion->record.group_id,
                      deletion->record.replica_id,
                      spate_error_name(deletion->status));
    } else if (deletion->kept) {
        store->quarantined += 1;
        SP_TRACE_WARN("storage",
                      "damaged replica moved to quarantine, delete it there when nobody needs it",
                      "to=%s/" SP_QUARANTINE_DIRECTORY "/%s",
                      store->directory,
                      deletion->name);
    }
    sp_mem_free(deletion);
    store->jobs -= 1;
    sp_store_advance(store);
}

void sp_store_start_deletion(struct sp_deletion *deletion)
{
    struct sp_store *store = deletion->store;

    deletion->now_s = sp_loop_wall_ms(store->loop) / 1000;
    store->jobs += 1;
    sp_job_start(store->loop, &deletion->job, delete_work, delete_done);
}

/* ---- looking --------------------------------------------------------------------------------- */

/* G.R.removing-SECONDS, perhaps with a number more: a name that move_away gave. What nobody knew
 * has kept the name that it had in front of the one that it got. */
static bool is_being_removed(const char *name)
{
    uint64_t group_id = 0;
    uint64_t replica_id = 0;
    int size = 0;

    if (sscanf(name, "%" SCNu64 ".%" SCNu64 "%n", &group_id, &replica_id, &size) != 2 ||
        strncmp(name + size, REMOVING, strlen(REMOVING)) != 0) {
        return false;
    }
    name += (size_t)size + strlen(REMOVING);
    return name[0] != '\0' && strspn(name, "0123456789.") == strlen(name);
}

/* One entry of quarantine/. */
static int look_at(void *arg, const char *name)
{
    struct sp_store *store = arg;
    char directory[SP_DISK_PATH_SIZE];
    char path[SP_DISK_PATH_SIZE];

    if (strstr(name, DAMAGED) != NULL) {
        store->quarantine_found += 1;
    } else if (store->quarantine_sweeps && is_being_removed(name)) {
        quarantine_directory(store, directory);
        sp_disk_path(path, directory, name);
        (void)sp_path_remove_tree(path); /* what is left is found at the next start */
    }
    return 0;
}

static void look_work(struct sp_job *job)
{
    struct sp_store *store = SP_CONTAINER_OF(job, struct sp_store, quarantine_job);
    char directory[SP_DISK_PATH_SIZE];

    store->quarantine_found = 0;
    quarantine_directory(store, directory);
    store->quarantine_status = sp_dir_list(directory, look_at, store);
}

static void look_done(struct sp_job *job)
{
    struct sp_store *store = SP_CONTAINER_OF(job, struct sp_store, quarantine_job);

    store->quarantine_looking = false;
    store->quarantine_sweeps = false;
    store->jobs -= 1;
    if (store->quarantine_status == 0) {
        store->quarantined = store->quarantine_found;
    }
    sp_store_advance(store);
}

void sp_store_look_at_quarantine(struct sp_store *store)
{
    if (store->quarantine_looking || store->closing || store->failed) {
        return;
    }
    store->quarantine_looking = true;
    store->jobs += 1;
    sp_job_start(store->loop, &store->quarantine_job, look_work, look_done);
}

unsigned sp_store_quarantined(const struct sp_store *store)
{
    return store->quarantined;
}
