/* What a data directory remembers beside its logs: identity, feature level, votes. */
#include "base/trace.h"
#include "spate/error.h"
#include "storage/store_state.h"

/* ---- writing it ------------------------------------------------------------------------------ */

static void meta_work(struct sp_job *job)
{
    struct sp_store *store = SP_CONTAINER_OF(job, struct sp_store, meta_job);
    uint64_t begun_us = sp_loop_now_us(job->loop);

    store->meta_status = sp_meta_write(store->meta);
    if (sp_store_makes_room(store, store->meta_status)) {
        store->meta_status = sp_meta_write(store->meta);
    }
    store->meta_write_us = sp_loop_now_us(job->loop) - begun_us;
}

/* Votes and the like that a store has no space for while it closes: who asked for them has gone
 * and has told nobody. What is durable is what a crash would leave. */
static bool give_up(struct sp_store *store)
{
    if (!store->closing || store->failed || store->meta_status != SPATE_ERR_NO_SPACE) {
        return false;
    }
    store->failed = true; /* nothing is written any more */
    SP_TRACE_WARN("storage",
                  "the data directory closes without space for its last changes: nothing of them "
                  "was promised",
                  "data=%s",
                  store->directory);
    return true;
}

static void end_flush(struct sp_store *store)
{
    store->meta_flushing = false;
    sp_meta_end(store->meta, store->meta_status);
    if (store->meta_status != 0 && !give_up(store)) {
        sp_store_fail(store, store->meta_status, "writing the meta log", store->directory);
    } else if (store->meta_status == 0 && !store->failed) {
        sp_histogram_note(&store->counters.meta_writes, store->meta_write_us);
        if (store->handler.meta_durable != NULL && !store->closing) {
            store->handler.meta_durable(store->handler_arg, sp_meta_durable(store->meta));
        }
        sp_store_registry_durable(store);
    }
    sp_store_advance(store);
}

static void meta_done(struct sp_job *job)
{
    struct sp_store *store = SP_CONTAINER_OF(job, struct sp_store, meta_job);

    if (!sp_store_waits_for_space(store,
                                  &store->meta_wait,
                                  store->meta_status,
                                  store->closing,
                                  "writing the meta log",
                                  store->directory)) {
        end_flush(store);
    }
}

/* The same bytes to the same places: neither copy has a valid batch behind what it had. */
static void resume_meta(struct sp_space_wait *wait)
{
    struct sp_store *store = SP_CONTAINER_OF(wait, struct sp_store, meta_wait);

    if (store->failed || store->closing) {
        end_flush(store);
    } else {
        sp_job_start_urgent(store->loop, &store->meta_job, meta_work, meta_done);
    }
}

void sp_store_flush_meta(struct sp_store *store)
{
    if (sp_meta_dirty(store->meta) && !store->meta_flushing) {
        store->meta_flushing = true;
        store->meta_wait.resume = resume_meta;
        sp_meta_begin(store->meta);
        sp_job_start_urgent(store->loop, &store->meta_job, meta_work, meta_done);
    }
}

/* ---- what is in it --------------------------------------------------------------------------- */

const struct sp_identity *sp_store_identity(const struct sp_store *store)
{
    return sp_meta_identity(store->meta);
}

uint64_t sp_store_set_identity(struct sp_store *store, const struct sp_identity *identity)
{
    return sp_meta_set_identity(store->meta, identity);
}

uint32_t sp_store_feature_level(const struct sp_store *store)
{
    return sp_meta_feature_level(store->meta);
}

uint64_t sp_store_set_feature_level(struct sp_store *store, uint32_t level)
{
    return sp_meta_set_feature_level(store->meta, level);
}

uint64_t sp_store_set_vote(
    struct sp_store *store, uint64_t group_id, uint64_t replica_id, uint64_t term, uint64_t vote)
{
    const struct sp_replica_record replica = { group_id, replica_id };

    return sp_meta_set_vote(store->meta, &replica, term, vote);
}

void sp_store_vote(const struct sp_store *store,
                   uint64_t group_id,
                   uint64_t replica_id,
                   uint64_t *out_term,
                   uint64_t *out_vote)
{
    const struct sp_replica_record replica = { group_id, replica_id };

    sp_meta_vote(store->meta, &replica, out_term, out_vote);
}

uint64_t sp_store_meta_durable(const struct sp_store *store)
{
    return sp_meta_durable(store->meta);
}

uint64_t sp_store_run(const struct sp_store *store)
{
    return store->run;
}

uint64_t sp_store_forcing(const struct sp_store *store)
{
    return sp_meta_forcing(store->meta);
}

uint64_t sp_store_set_forcing(struct sp_store *store, uint64_t mark)
{
    return sp_meta_set_forcing(store->meta, mark);
}
