/* What earlier processes have left in the page cache becomes durable before a log is opened.
 *
 *   NOT --first opening--> RUNS --synced--> DONE
 *                              `--the system cannot--> EACH
 *
 * A process that was killed leaves frames, cuts and names that nobody has synced; once a log is
 * open they count as persisted, and a power cut must not take them then. One sync of the whole file
 * system settles all logs at once, where a thousand of them would cost two thousand syncs. What
 * this process changes later, recovery included, it syncs itself where it matters. Replicas lie on
 * the file system of replicas/, since the store moves them by renaming. */
#include <stdio.h>

#include "base/trace.h"
#include "spate/error.h"
#include "storage/store_state.h"

static void settle_work(struct sp_job *job)
{
    struct sp_store *store = SP_CONTAINER_OF(job, struct sp_store, settle_job);

    store->settle_status = sp_path_sync_all(store->replicas_directory);
}

/* A failure is final, whatever it is: tried again, the sync would succeed without the bytes. */
static void note_result(struct sp_store *store)
{
    int status = store->settle_status;

    store->settling = status == 0 ? SP_SETTLING_DONE : SP_SETTLING_EACH;
    if (status == SPATE_ERR_UNSUPPORTED) {
        store->settle_status = 0;
        SP_TRACE_INFO("storage",
                      "this file system is not synced as a whole, each log syncs its own files",
                      "directory=%s",
                      store->replicas_directory);
    } else if (status != 0) {
        sp_store_fail(store, status, "syncing the file system", store->replicas_directory);
    }
}

static void settle_done(struct sp_job *job)
{
    struct sp_store *store = SP_CONTAINER_OF(job, struct sp_store, settle_job);
    struct sp_list waiting;

    store->jobs -= 1;
    note_result(store);
    sp_list_init(&waiting);
    sp_list_move(&waiting, &store->unsettled);
    while (!sp_list_empty(&waiting)) {
        struct sp_replica_open *open = SP_LIST_ENTRY(waiting.next, struct sp_replica_open, node);

        sp_list_remove(&open->node);
        if (open->status == 0 && store->settle_status != 0) {
            open->status = store->settle_status;
            (void)snprintf(open->text, sizeof open->text, "syncing the file system failed");
        }
        sp_store_start_opening(open);
    }
    sp_store_advance(store);
}

void sp_store_open_settled(struct sp_replica_open *open)
{
    struct sp_store *store = open->store;

    if (store->settling == SP_SETTLING_DONE || store->settling == SP_SETTLING_EACH) {
        sp_store_start_opening(open);
        return;
    }
    sp_list_append(&store->unsettled, &open->node);
    if (store->settling == SP_SETTLING_NOT) {
        store->settling = SP_SETTLING_RUNS;
        store->jobs += 1;
        sp_job_start(store->loop, &store->settle_job, settle_work, settle_done);
    }
}
