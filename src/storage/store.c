#include "storage/store.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "spate/error.h"
#include "storage/disk.h"
#include "storage/log_state.h"
#include "storage/store_state.h"

#define LOCK_NAME "lock"
#define NAME_ROOM 512 /* longest name below the data directory, also one that is not ours */

/* ---- grouping -------------------------------------------------------------------------------- */

static void before_sleep(struct sp_hook *hook)
{
    struct sp_store *store = SP_CONTAINER_OF(hook, struct sp_store, hook);

    if (store->failed) {
        return;
    }
    sp_store_heed_full(store);
    sp_store_flush_meta(store);
    while (!sp_list_empty(&store->dirty)) {
        struct sp_log *log = SP_LIST_ENTRY(store->dirty.next, struct sp_log, dirty_node);

        sp_list_remove(&log->dirty_node);
        sp_log_flush_start(log); /* one in flight comes back here when it ends */
    }
}

void sp_store_mark_dirty(struct sp_store *store, struct sp_log *log)
{
    if (sp_list_empty(&log->dirty_node)) {
        sp_list_append(&store->dirty, &log->dirty_node);
    }
}

void sp_store_fail(struct sp_store *store, int status, const char *step, const char *place)
{
    char text[SP_STORE_TEXT_SIZE];

    if (store->failed) {
        return;
    }
    store->failed = true;
    (void)snprintf(text, sizeof text, "%s failed in %s: %s", step, place, spate_strerror(status));
    SP_TRACE_ERROR("storage",
                   "the disk failed, nothing is written any more",
                   "step=%s place=%s error=%s",
                   step,
                   place,
                   spate_error_name(status));
    if (store->handler.failed != NULL) {
        store->handler.failed(store->handler_arg, status, text);
    }
    sp_store_resume_waits(store, true);
    SP_LIST_EACH_SAFE (node, &store->logs) {
        sp_log_advance(SP_LIST_ENTRY(node, struct sp_log, store_node));
    }
}

/* ---- durable frames kept in memory ----------------------------------------------------------- */

static void start_cooling(struct sp_store *store)
{
    if (sp_timer_active(&store->cool_timer) || sp_list_empty(&store->warm)) {
        return;
    }
    const struct sp_log *log = SP_LIST_ENTRY(store->warm.next, struct sp_log, warm_node);
    /* Without memory for the timer the next flush tries again. */
    (void)sp_timer_start(&store->cool_timer, log->warm_since_ms + SP_COOL_AFTER_MS);
}

static void cool_down(struct sp_timer *timer)
{
    struct sp_store *store = SP_CONTAINER_OF(timer, struct sp_store, cool_timer);
    uint64_t now_ms = sp_loop_now_ms(store->loop);

    SP_LIST_EACH_SAFE (node, &store->warm) {
        struct sp_log *log = SP_LIST_ENTRY(node, struct sp_log, warm_node);

        if (log->warm_since_ms + SP_COOL_AFTER_MS > now_ms) {
            break;
        }
        sp_log_cool(log);
        sp_list_remove(&log->warm_node);
    }
    start_cooling(store);
}

void sp_store_mark_warm(struct sp_store *store, struct sp_log *log)
{
    sp_list_remove(&log->warm_node);
    sp_list_append(&store->warm, &log->warm_node);
    log->warm_since_ms = sp_loop_now_ms(store->loop);
    start_cooling(store);
}

void sp_store_adopt(struct sp_store *store, struct sp_log *log)
{
    log->store = store;
    log->segment_bytes = store->segment_bytes;
    sp_list_append(&store->logs, &log->store_node);
}

/* ---- opening --------------------------------------------------------------------------------- */

struct opening {
    const struct sp_store_options *options;
    char *text;
    size_t text_size;
};

static int fail_open(const struct opening *opening, int status, const char *format, ...)
    SP_PRINTF(3, 4);

static int fail_open(const struct opening *opening, int status, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(opening->text, opening->text_size, format, arguments);
    va_end(arguments);
    return status;
}

static int sync_parent(const char *path)
{
    char parent[SP_DISK_PATH_SIZE];

    (void)snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    if (slash == NULL) {
        return sp_dir_sync(".");
    }
    slash[slash == parent ? 1 : 0] = '\0';
    return sp_dir_sync(parent);
}

/* Creates the data directory if it is missing, and makes its name durable. It may exist and still
 * not be durable: whoever made it, or this program, may have ended before it was synced. */
static int ensure_root(const char *path)
{
    int rv = sp_dir_create(path);

    if (rv == 0) {
        return sync_parent(path);
    }
    if (rv == SPATE_ERR_EXISTS) {
        (void)sync_parent(path); /* its parent may be closed to us; then it is its maker's duty */
        return 0;
    }
    return rv;
}

/* The same for a directory in it. Its name is durable after the next sync of the data directory. */
static int ensure_directory(const char *path)
{
    int rv = sp_dir_create(path);

    return rv == SPATE_ERR_EXISTS ? 0 : rv;
}

static int make_directories(const struct sp_store *store)
{
    char quarantine[SP_DISK_PATH_SIZE];
    int rv = ensure_root(store->directory);

    sp_disk_path(quarantine, store->directory, SP_QUARANTINE_DIRECTORY);
    if (rv == 0) {
        rv = ensure_directory(store->replicas_directory);
    }
    if (rv == 0) {
        rv = ensure_directory(quarantine);
    }
    return rv == 0 ? sp_dir_sync(store->directory) : rv;
}

static int take_lock(struct sp_store *store, const struct opening *opening)
{
    char path[SP_DISK_PATH_SIZE];

    sp_disk_path(path, store->directory, LOCK_NAME);
    int rv = sp_file_open(path, SP_FILE_CREATE, &store->lock);
    if (rv == SPATE_ERR_EXISTS) {
        rv = sp_file_open(path, SP_FILE_WRITE, &store->lock);
    }
    if (rv == 0) {
        rv = sp_file_lock(store->lock);
    }
    if (rv == SPATE_ERR_LOCKED) {
        return fail_open(opening,
                         rv,
                         "another process uses the data directory %s: stop it, or choose another "
                         "directory",
                         store->directory);
    }
    return rv != 0 ? fail_open(opening, rv, "%s cannot be locked: %s", path, spate_strerror(rv))
                   : 0;
}

static int note_any(void *arg, const char *name)
{
    (void)name;
    *(bool *)arg = true;
    return 0;
}

static int open_meta(struct sp_store *store, const struct opening *opening)
{
    const struct sp_identity fresh = {
        .state = SP_IDENTITY_EMPTY,
        .node_id = opening->options->node_id,
        .incarnation = sp_loop_random(store->loop),
    };
    struct sp_meta_options options = { .directory = store->directory, .fresh = &fresh };
    int rv = sp_dir_list(store->replicas_directory, note_any, &options.has_replicas);

    if (rv != 0) {
        return fail_open(opening, rv, "%s cannot be read", store->replicas_directory);
    }
    rv = sp_meta_open(&options, opening->text, opening->text_size, &store->meta);
    if (rv != 0) {
        return rv;
    }
    uint32_t node_id = sp_meta_identity(store->meta)->node_id;
    if (node_id != opening->options->node_id) {
        return fail_open(opening,
                         SPATE_ERR_CORRUPT,
                         "%s belongs to node %u, this is node %u: correct node.id or data.dir",
                         store->directory,
                         node_id,
                         opening->options->node_id);
    }
    if (!opening->options->forcing && sp_meta_forcing(store->meta) != 0) {
        return fail_open(opening,
                         SPATE_ERR_NOT_READY,
                         "a forced membership of %s was begun and not finished: run `spated "
                         "--force-membership` again with the same nodes",
                         store->directory);
    }
    uint32_t level = sp_meta_feature_level(store->meta);
    uint32_t level_max = opening->options->feature_level_max;
    if (level_max != 0 && level > level_max) {
        return fail_open(opening,
                         SPATE_ERR_UNSUPPORTED,
                         "%s was written at feature level %u, this build knows levels up to %u: "
                         "start the newer build again; nothing was changed",
                         store->directory,
                         level,
                         level_max);
    }
    return 0;
}

/* Blocking, as all of opening. */
static int count_run(struct sp_store *store, const struct opening *opening)
{
    uint64_t number = (sp_meta_run(store->meta) >> 32) + 1;

    store->run_before = sp_meta_run(store->meta);
    store->run = number << 32 | (uint32_t)sp_loop_random(store->loop);
    if (sp_meta_set_run(store->meta, store->run) == 0) {
        return fail_open(opening, SPATE_ERR_NOMEM, "opening the data directory: out of memory");
    }
    sp_meta_begin(store->meta);
    int rv = sp_meta_write(store->meta);
    sp_meta_end(store->meta, rv);
    return rv == 0 ? 0
                   : fail_open(opening,
                               rv,
                               "the metadata in %s could not be written: %s",
                               store->directory,
                               spate_strerror(rv));
}

/* Of the end of a path, so that its last part is the directory's name. */
static void drop_slashes(char *path)
{
    size_t size = strlen(path);

    while (size > 1 && path[size - 1] == '/') {
        size -= 1;
        path[size] = '\0';
    }
}

static int open_store(struct sp_store *store, const struct opening *opening)
{
    char replicas[SP_DISK_PATH_SIZE];

    store->directory = sp_mem_strdup(opening->options->path);
    if (store->directory == NULL) {
        return fail_open(opening, SPATE_ERR_NOMEM, "opening the data directory: out of memory");
    }
    drop_slashes(store->directory);
    sp_disk_path(replicas, store->directory, SP_REPLICAS_DIRECTORY);
    store->replicas_directory = sp_mem_strdup(replicas);
    if (store->replicas_directory == NULL) {
        return fail_open(opening, SPATE_ERR_NOMEM, "opening the data directory: out of memory");
    }
    int rv = make_directories(store);
    if (rv != 0) {
        return fail_open(opening,
                         rv,
                         "the data directory %s cannot be made: %s",
                         store->directory,
                         spate_strerror(rv));
    }
    rv = take_lock(store, opening);
    if (rv == 0) {
        sp_store_open_ballast(store); /* before anything is written */
        rv = open_meta(store, opening);
    }
    if (rv == 0 && opening->options->counted) {
        rv = count_run(store, opening);
    }
    if (rv == 0) {
        rv = sp_spares_open(&store->spares, store->directory, opening->options->spare_bytes);
        if (rv != 0) {
            rv = fail_open(opening,
                           rv,
                           "%s/%s: %s",
                           store->directory,
                           SP_SPARES_DIRECTORY,
                           spate_strerror(rv));
        }
    }
    uint64_t free_bytes = 0;
    if (rv == 0 && sp_path_free_bytes(store->directory, &free_bytes) != 0) {
        rv = fail_open(
            opening, SPATE_ERR_IO, "the free space of %s cannot be read", store->directory);
    } else if (rv == 0) {
        sp_store_note_free_bytes(store, free_bytes);
    }
    return rv;
}

static void free_store(struct sp_store *store)
{
    sp_meta_close(store->meta);
    sp_file_close(store->lock);
    sp_spares_deinit(&store->spares);
    sp_mem_free(store->replicas_directory);
    sp_mem_free(store->directory);
    sp_mem_free(store);
}

static void deferred_close(struct sp_deferred *deferred)
{
    struct sp_store *store = SP_LIST_ENTRY(deferred, struct sp_store, deferred);
    void (*closed)(void *arg) = store->closed;
    void *arg = store->closed_arg;

    SP_ASSERT(sp_list_empty(&store->logs));
    sp_loop_remove_before_sleep(&store->hook);
    sp_timer_stop(&store->cool_timer);
    sp_timer_stop(&store->space_timer);
    sp_store_drop_waiting(store);
    free_store(store);
    if (closed != NULL) {
        closed(arg);
    }
}

static struct sp_store *new_store(struct sp_loop *loop,
                                  const struct sp_store_options *options,
                                  const struct sp_store_handler *handler,
                                  void *arg)
{
    struct sp_store *store = sp_mem_calloc(1, sizeof *store);

    if (store == NULL) {
        return NULL;
    }
    store->loop = loop;
    store->handler = *handler;
    store->handler_arg = arg;
    store->segment_bytes =
        options->segment_bytes > 0 ? options->segment_bytes : SP_SEGMENT_BYTES_DEFAULT;
    store->key_seed = sp_loop_random(loop);
    store->opened_s = sp_loop_wall_ms(loop) / 1000;
    sp_list_init(&store->logs);
    sp_list_init(&store->dirty);
    sp_list_init(&store->warm);
    sp_list_init(&store->unsettled);
    sp_list_init(&store->creations);
    sp_list_init(&store->deletions);
    sp_deferred_init(&store->deferred, deferred_close);
    sp_timer_init(&store->cool_timer, loop, cool_down);
    sp_store_init_space(store, options);
    return store;
}

int sp_store_open(struct sp_loop *loop,
                  const struct sp_store_options *options,
                  const struct sp_store_handler *handler,
                  void *arg,
                  char *text,
                  size_t text_size,
                  struct sp_store **out_store)
{
    const struct opening opening = { options, text, text_size };

    if (strlen(options->path) == 0 || strlen(options->path) > SP_DISK_PATH_SIZE - NAME_ROOM) {
        return fail_open(&opening, SPATE_ERR_INVALID, "the data directory's path is too long");
    }
    struct sp_store *store = new_store(loop, options, handler, arg);
    if (store == NULL) {
        return fail_open(&opening, SPATE_ERR_NOMEM, "opening the data directory: out of memory");
    }
    int rv = open_store(store, &opening);
    if (rv != 0) {
        free_store(store);
        return rv;
    }
    sp_loop_add_before_sleep(loop, &store->hook, before_sleep);
    *out_store = store;
    return 0;
}

/* ---- closing --------------------------------------------------------------------------------- */

void sp_store_advance(struct sp_store *store)
{
    bool idle =
        !store->meta_flushing && store->jobs == 0 && (store->failed || !sp_meta_dirty(store->meta));

    if (store->closing && idle) {
        sp_loop_defer(store->loop, &store->deferred);
    }
}

void sp_store_close(struct sp_store *store, void (*closed)(void *arg), void *arg)
{
    SP_ASSERT(!store->closing);
    SP_ASSERT(sp_list_empty(&store->logs));
    store->closing = true;
    store->closed = closed;
    store->closed_arg = arg;
    sp_store_resume_waits(store, true);
    sp_store_advance(store);
}

/* ---- looking --------------------------------------------------------------------------------- */

uint64_t sp_store_recycled(const struct sp_store *store)
{
    return store->spares.used;
}

uint64_t sp_store_segment_bytes(const struct sp_store *store)
{
    return store->segment_bytes;
}

struct sp_loop *sp_store_loop(const struct sp_store *store)
{
    return store->loop;
}
