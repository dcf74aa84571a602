/* Free space of the data directory's disk, and the reserve that is kept of it.
 *
 *   flushes, and sp_store_look_at_space --statvfs in a job--> free_bytes -> level
 *
 * A node that is short of space keeps no spares (spares.h), and one that has next to nothing no
 * ballast (ballast.h). Others may fill the disk between two looks:
 *
 *   step of a job --no space--> ballast given back --> the step once more --no space--> it waits
 *                      ^                                                                  |
 *                      `-----------------a look, a second later or more-------------------'
 *
 * Such a step writes all that it has not synced once more, to the same place, so nothing is in
 * doubt. That cannot be said of a sync, which therefore never ends with SPATE_ERR_NO_SPACE. For all
 * others a step that waits is one that takes long. A disk that a write has found full counts as
 * full for a while, whatever the system says. */
#include "base/trace.h"
#include "storage/log_state.h"
#include "storage/store_state.h"

#include "spate/error.h"

#define KEPT_PART 2   /* of the ballast's room: not for what can wait */
#define SMALL_PART 64 /* of what is free: so little may always be taken */

/* Flushes do not look again before. */
#define UNSEEN_MS 20
#define UNSEEN_BYTES (1024 * 1024)

static enum sp_space level_of(const struct sp_store *store)
{
    if (sp_loop_now_ms(store->loop) < store->full_until_ms) {
        return SP_SPACE_LAST;
    }
    if (store->free_bytes >= store->free_bytes_min) {
        return SP_SPACE_ENOUGH;
    }
    return store->free_bytes >= store->free_bytes_min / SP_SPACE_LAST_PART ? SP_SPACE_LOW
                                                                           : SP_SPACE_LAST;
}

static void note(struct sp_store *store, uint64_t free_bytes)
{
    enum sp_space before = store->space;

    store->free_bytes = free_bytes;
    store->space = level_of(store);
    if (before == SP_SPACE_ENOUGH && store->space != SP_SPACE_ENOUGH) {
        SP_TRACE_WARN("storage",
                      "free space is below the reserve: no records are taken until it is back",
                      "data=%s free_bytes=%llu storage.min.free.bytes=%llu",
                      store->directory,
                      (unsigned long long)free_bytes,
                      (unsigned long long)store->free_bytes_min);
    } else if (before != SP_SPACE_ENOUGH && store->space == SP_SPACE_ENOUGH) {
        store->told_space_wait = false;
        SP_TRACE_INFO("storage",
                      "free space is back: records are taken again",
                      "data=%s free_bytes=%llu",
                      store->directory,
                      (unsigned long long)free_bytes);
    }
}

void sp_store_note_free_bytes(struct sp_store *store, uint64_t free_bytes)
{
    note(store, free_bytes);
    if (store->ballast_held && sp_ballast_is_low(&store->ballast, free_bytes)) {
        sp_store_look_at_space(store);
    }
}

bool sp_store_wants_look(struct sp_store *store, size_t bytes)
{
    uint64_t now_ms = sp_loop_now_ms(store->loop);

    store->unseen_bytes += bytes;
    if (store->space == SP_SPACE_ENOUGH && store->unseen_bytes < UNSEEN_BYTES &&
        now_ms - store->seen_ms < UNSEEN_MS) {
        return false;
    }
    store->unseen_bytes = 0;
    store->seen_ms = now_ms;
    return true;
}

bool sp_store_notes_full(struct sp_store *store, int status)
{
    if (status != SPATE_ERR_NO_SPACE) {
        return false;
    }
    atomic_store(&store->found_full, true);
    return true;
}

bool sp_store_makes_room(struct sp_store *store, int status)
{
    if (!sp_store_notes_full(store, status)) {
        return false;
    }
    sp_ballast_spend(store->directory);
    return true; /* also without a ballast: another job may have given it back just now */
}

/* The next look comes by itself: one at once would miss what a quota does not show, and spin. */
void sp_store_heed_full(struct sp_store *store)
{
    if (atomic_load(&store->found_full)) {
        atomic_store(&store->found_full, false);
        store->full_until_ms = sp_loop_now_ms(store->loop) + SP_FULL_PAUSE_MS;
        note(store, store->free_bytes);
    }
}

/* ---- what waits ------------------------------------------------------------------------------ */

static void on_space_timer(struct sp_timer *timer)
{
    struct sp_store *store = SP_CONTAINER_OF(timer, struct sp_store, space_timer);

    if (!sp_list_empty(&store->space_waits)) {
        sp_store_look_at_space(store);
    }
}

void sp_store_init_space(struct sp_store *store, const struct sp_store_options *options)
{
    store->free_bytes_min = options->free_bytes_min;
    store->prefill_bytes = options->prefill_bytes;
    store->may_wait_for_space = !options->forcing; /* a tool ends, and says why */
    sp_list_init(&store->space_waits);
    sp_timer_init(&store->space_timer, store->loop, on_space_timer);
}

static void start_space_timer(struct sp_store *store)
{
    if (!sp_list_empty(&store->space_waits) && !sp_timer_active(&store->space_timer)) {
        /* Without memory for it the looks of others do. */
        (void)sp_timer_start(&store->space_timer, store->space_retry_ms);
    }
}

bool sp_store_waits_for_space(struct sp_store *store,
                              struct sp_space_wait *wait,
                              int status,
                              bool closing,
                              const char *step,
                              const char *place)
{
    if (status != SPATE_ERR_NO_SPACE || closing || store->failed || !store->may_wait_for_space) {
        return false;
    }
    if (!store->told_space_wait) {
        store->told_space_wait = true;
        SP_TRACE_WARN("storage",
                      "no space for a write: it waits until there is some",
                      "step=%s place=%s",
                      step,
                      place);
    }
    wait->waits = true;
    sp_list_append(&store->space_waits, &wait->node);
    store->space_retry_ms = sp_loop_now_ms(store->loop) + SP_SPACE_RETRY_MS;
    start_space_timer(store);
    return true;
}

void sp_space_wait_end(struct sp_space_wait *wait)
{
    if (wait->waits) {
        wait->waits = false;
        sp_list_remove(&wait->node);
        wait->resume(wait);
    }
}

void sp_store_resume_waits(struct sp_store *store, bool at_once)
{
    struct sp_list due;

    if (!at_once && sp_loop_now_ms(store->loop) < store->space_retry_ms) {
        start_space_timer(store);
        return;
    }
    sp_list_init(&due);
    sp_list_move(&due, &store->space_waits);
    while (!sp_list_empty(&due)) {
        sp_space_wait_end(SP_LIST_ENTRY(due.next, struct sp_space_wait, node));
    }
}

/* ---- checkpoints ----------------------------------------------------------------------------- */

/* A checkpoint may take the last byte while the ballast stands, since that is given back behind it
 * to what cannot wait. Where it has been given back, it may take of that room what is above one
 * half: a truncation on a full disk may need one before it frees anything, so all of it cannot be
 * kept. Nor is the lower half closed to all, since others may fill the upper one for good: what is
 * next to nothing of the rest goes, and leaves more than sixty times as much. Of many logs these
 * add up, so the lowest quarter is closed. */
static bool
lends(const struct sp_store *store, bool ballast_stands, uint64_t free_bytes, uint64_t bytes)
{
    uint64_t kept = ballast_stands ? 0 : store->ballast.bytes / KEPT_PART;

    if (free_bytes <= bytes || free_bytes - bytes < kept / KEPT_PART) {
        return false;
    }
    return free_bytes - bytes >= kept || bytes <= free_bytes / SMALL_PART;
}

bool sp_store_lends_room(const struct sp_store *store, uint64_t bytes)
{
    uint64_t free_bytes = 0;

    return sp_path_free_bytes(store->directory, &free_bytes) != 0 ||
           lends(store, sp_ballast_stands(store->directory), free_bytes, bytes);
}

bool sp_store_may_lend(const struct sp_store *store, uint64_t bytes)
{
    return lends(store, store->ballast_held, store->free_bytes, bytes);
}

/* ---- looking --------------------------------------------------------------------------------- */

void sp_store_open_ballast(struct sp_store *store)
{
    uint64_t free_bytes = 0;

    if (sp_path_free_bytes(store->directory, &free_bytes) != 0) {
        free_bytes = UINT64_MAX; /* the opening fails for that, a little later */
    }
    sp_ballast_open(&store->ballast, store->directory, store->free_bytes_min, free_bytes);
    store->ballast_held = store->ballast.size > 0;
}

static void look_work(struct sp_job *job)
{
    struct sp_store *store = SP_CONTAINER_OF(job, struct sp_store, space_job);
    uint64_t free_bytes = 0;

    sp_spares_remove(&store->space_dropped);
    int rv = sp_path_free_bytes(store->directory, &free_bytes);
    if (rv == 0 && sp_ballast_tend(&store->ballast, free_bytes, store->space_now_ms)) {
        rv = sp_path_free_bytes(store->directory, &free_bytes);
    }
    store->space_free_bytes = free_bytes;
    store->space_status = rv;
}

static void look_done(struct sp_job *job)
{
    struct sp_store *store = SP_CONTAINER_OF(job, struct sp_store, space_job);

    store->space_looking = false;
    store->jobs -= 1;
    store->ballast_held = store->ballast.size > 0;
    if (store->space_status == 0) {
        note(store, store->space_free_bytes);
        SP_LIST_EACH_SAFE (node, &store->logs) {
            sp_log_checkpoint_retry(SP_LIST_ENTRY(node, struct sp_log, store_node));
        }
    }
    sp_store_resume_waits(store, false);
    sp_store_advance(store);
}

void sp_store_look_at_space(struct sp_store *store)
{
    if (store->space_looking || store->closing || store->failed) {
        return;
    }
    store->space_looking = true;
    store->space_now_ms = sp_loop_now_ms(store->loop);
    store->space_dropped.count = 0;
    if (store->space != SP_SPACE_ENOUGH) {
        sp_spares_drop(&store->spares, &store->space_dropped);
    }
    store->jobs += 1;
    sp_job_start(store->loop, &store->space_job, look_work, look_done);
}

uint64_t sp_store_free_bytes(const struct sp_store *store)
{
    return store->free_bytes;
}

enum sp_space sp_store_space(const struct sp_store *store)
{
    return store->space;
}
