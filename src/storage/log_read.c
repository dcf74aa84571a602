/* Reading: from memory at once, or from one segment's file by a job.
 *
 *   start -> plan: in memory? ---------------------------------------> callback (by an empty job)
 *              |  no: one segment and where to begin in it
 *              v
 *             job: search the first frame, read and verify a run of frames
 *              |
 *              v
 *             done: log changed meanwhile -> plan again
 *                   nothing matched in this segment -> plan again from the next frame
 *                   else -> callback
 *
 * Frames that are not durable are always in memory, so that a job reads only what is on disk. */
#include "storage/log_read.h"
#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "spate/error.h"
#include "storage/store_state.h"

/* ---- from memory ----------------------------------------------------------------------------- */

static uint64_t read_limit(const struct sp_log *log, const struct sp_log_read *read)
{
    return read->index_max < log->last.index ? read->index_max : log->last.index;
}

/* Takes frames from memory, beginning to look at Raft index `index`. */
static void read_tail(const struct sp_log *log, struct sp_log_read *read, uint64_t index)
{
    uint64_t limit = read_limit(log, read);
    size_t bytes = 0;

    for (; index <= limit && read->count < sp_log_read_frames_limit(read); index++) {
        const struct sp_slice *slice = &sp_log_tail_entry(log, index)->frame;
        struct sp_log_frame frame;
        int rv = sp_log_frame_decode(slice->bytes, slice->size, &frame);

        SP_ASSERT(rv == 0);
        if (!sp_log_read_matches(read, &frame, slice->bytes, read->count > 0)) {
            continue;
        }
        if (read->count > 0 && bytes + slice->size > read->bytes_max) {
            break;
        }
        bytes += slice->size;
        read->frames[read->count] = sp_slice_ref(slice);
        read->count += 1;
    }
}

/* The offset that the log had before its oldest frame in memory. */
static int64_t tail_first_offset(const struct sp_log *log)
{
    const struct sp_tail_entry *entry = sp_log_tail_at(&log->tail, 0);
    struct sp_log_frame frame;
    struct sp_batch_facts facts;
    int rv = sp_log_frame_decode(entry->frame.bytes, entry->frame.size, &frame);

    SP_ASSERT(rv == 0);
    if (frame.kind != SP_FRAME_BATCH) {
        return entry->end_offset;
    }
    sp_batch_facts_read(sp_log_frame_payload(entry->frame.bytes), &facts);
    return facts.base_offset;
}

/* The first frame in memory whose batch ends above `offset`. */
static uint64_t tail_index_of_offset(const struct sp_log *log, int64_t offset)
{
    uint32_t low = 0;
    uint32_t high = log->tail.count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (sp_log_tail_at(&log->tail, middle)->end_offset > offset) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return sp_log_tail_first(log) + low;
}

/* True if no batch before the oldest frame in memory can be as late as `time`. */
static bool tail_has_all_since(const struct sp_log *log, int64_t time)
{
    uint64_t first = sp_log_tail_first(log);

    for (unsigned i = 0; i < log->segment_count; i++) {
        const struct sp_log_segment *segment = &log->segments[i];

        if (segment->before.index + 1 >= first) {
            return true;
        }
        if (segment->max_timestamp_ms >= time) {
            return false;
        }
    }
    return true;
}

/* 0: it can be served from memory, beginning at *out_index (above the last frame: nothing is
 * there). SPATE_ERR_NOT_FOUND: the start is outside the log. SPATE_ERR_AGAIN: it is on disk. */
static int
find_in_tail(const struct sp_log *log, const struct sp_log_read *read, uint64_t *out_index)
{
    uint64_t first = sp_log_tail_first(log);

    switch (read->by) {
    case SP_LOG_READ_INDEX:
        if (read->start < 0 || (uint64_t)read->start < sp_log_first_index(log) ||
            (uint64_t)read->start > log->last.index) {
            return SPATE_ERR_NOT_FOUND;
        }
        *out_index = (uint64_t)read->start;
        return *out_index >= first ? 0 : SPATE_ERR_AGAIN;
    case SP_LOG_READ_OFFSET:
        if (read->start < log->segments[0].before.end_offset ||
            read->start >= log->last.end_offset) {
            return SPATE_ERR_NOT_FOUND;
        }
        if (log->tail.count == 0 || read->start < tail_first_offset(log)) {
            return SPATE_ERR_AGAIN;
        }
        *out_index = tail_index_of_offset(log, read->start);
        return 0;
    case SP_LOG_READ_TIME:
        *out_index = first;
        return tail_has_all_since(log, read->start) ? 0 : SPATE_ERR_AGAIN;
    }
    return SPATE_ERR_INVALID;
}

bool sp_log_read_cached(struct sp_log *log, struct sp_log_read *read)
{
    uint64_t index = 0;
    int rv = find_in_tail(log, read, &index);

    read->count = 0;
    read->status = rv;
    if (rv == 0) {
        read_tail(log, read, index);
        log->store->counters.memory_reads += 1;
    }
    /* Above the end there is nothing to wait for either. */
    return rv == 0 || (rv == SPATE_ERR_NOT_FOUND &&
                       (read->by == SP_LOG_READ_INDEX ? read->start > (int64_t)log->last.index
                                                      : read->start >= log->last.end_offset));
}

void sp_log_read_release(struct sp_log_read *read)
{
    for (unsigned i = 0; i < read->count; i++) {
        sp_slice_unref(&read->frames[i]);
    }
    read->count = 0;
}

/* Nobody waits for it any more. */
static bool is_over(const struct sp_log_read *read)
{
    return read->log->closing || atomic_load(&read->unwanted);
}

static void read_work(struct sp_job *job)
{
    struct sp_log_read *read = SP_CONTAINER_OF(job, struct sp_log_read, job);

    if (read->plan != NULL) {
        read->status = is_over(read) ? SPATE_ERR_CANCELED : sp_log_read_segment(read, read->plan);
    }
}

/* ---- planning -------------------------------------------------------------------------------- */

static const struct sp_log_segment *first_segment(const struct sp_log *log,
                                                  const struct sp_log_read *read)
{
    unsigned i = 0;

    if (read->by == SP_LOG_READ_OFFSET) {
        while (i + 1 < log->segment_count &&
               log->segments[i + 1].before.end_offset <= read->start) {
            i += 1;
        }
    } else if (read->by == SP_LOG_READ_TIME) {
        while (i + 1 < log->segment_count && log->segments[i].max_timestamp_ms < read->start) {
            i += 1;
        }
    } else {
        return sp_log_segment_of(log, (uint64_t)read->start);
    }
    return &log->segments[i];
}

/* Where to begin in a segment whose index is in memory. */
static void use_index(const struct sp_log_segment *segment,
                      const struct sp_log_read *read,
                      struct sp_read_plan *plan)
{
    const struct sp_offset_index_entry *entry = NULL;

    switch (read->by) {
    case SP_LOG_READ_INDEX:
        /* the one before: its chain proves that of the first frame that is wanted */
        entry = sp_offset_index_by_index(&segment->offset_index, (uint64_t)read->start - 1);
        break;
    case SP_LOG_READ_OFFSET:
        entry = sp_offset_index_by_offset(&segment->offset_index, read->start);
        break;
    case SP_LOG_READ_TIME:
        entry = sp_offset_index_by_time(&segment->offset_index, read->start);
        break;
    }
    plan->position = entry != NULL ? entry->position : SP_SEGMENT_HEADER_SIZE;
    plan->next_index = entry != NULL ? entry->index : segment->before.index + 1;
}

static void plan_segment(const struct sp_log *log,
                         const struct sp_log_segment *segment,
                         const struct sp_log_read *read,
                         struct sp_read_plan *plan)
{
    const struct sp_log_segment *newest = sp_log_newest_segment(log);
    uint64_t limit = read_limit(log, read);

    *plan = (struct sp_read_plan){
        .directory = log->directory,
        .group_id = log->group_id,
        .generation = log->generation,
        .limit = limit < log->persisted_index ? limit : log->persisted_index,
        .base = segment->before.index + 1,
        .end = segment->size,
        .base_chain = segment->before.chain,
        .load_index = segment->index_saved && segment->offset_index.count == 0,
    };
    if (segment != newest) {
        uint64_t last = segment[1].before.index;

        plan->end_chain = segment[1].before.chain;
        plan->limit = plan->limit < last ? plan->limit : last;
    }
    use_index(segment, read, plan);
}

static void read_done(struct sp_job *job);

/* What clients ask for gives way, more or less; what a follower lacks does not, acknowledgements
 * may wait. */
static void start_job(struct sp_log *log, struct sp_log_read *read)
{
    if (read->by == SP_LOG_READ_INDEX) {
        sp_job_start(log->store->loop, &read->job, read_work, read_done);
    } else if (read->patient) {
        sp_job_start_patient(log->store->loop, &read->job, read_work, read_done);
    } else {
        sp_job_start_yielding(log->store->loop, &read->job, read_work, read_done);
    }
}

/* Fills in a result that needs no file, or a plan for the job. */
static int plan_read(struct sp_log *log, struct sp_log_read *read)
{
    uint64_t index = 0;
    int rv = find_in_tail(log, read, &index);

    read->count = 0;
    read->status = rv;
    if (rv == 0) {
        read_tail(log, read, index);
    }
    if (rv != SPATE_ERR_AGAIN) {
        sp_mem_free(read->plan);
        read->plan = NULL;
        return 0;
    }
    if (read->plan == NULL) {
        read->plan = sp_mem_alloc(sizeof(struct sp_read_plan));
    }
    if (read->plan == NULL) {
        return SPATE_ERR_NOMEM;
    }
    plan_segment(log, first_segment(log, read), read, read->plan);
    return 0;
}

int sp_log_read_start(struct sp_log *log, struct sp_log_read *read)
{
    if (log->closing) {
        return SPATE_ERR_CANCELED;
    }
    read->log = log;
    read->plan = NULL;
    read->parked = false;
    atomic_init(&read->unwanted, false);
    int rv = plan_read(log, read);
    if (rv != 0) {
        return rv;
    }
    sp_list_append(&log->reads, &read->node);
    start_job(log, read);
    return 0;
}

void sp_log_read_abandon(struct sp_log_read *read)
{
    atomic_store(&read->unwanted, true);
}

/* Gives the frames their references, or drops them when they are of no use. */
static void settle_frames(struct sp_log_read *read, struct sp_read_plan *plan, bool keep)
{
    for (unsigned i = 0; i < read->count && keep; i++) {
        (void)sp_blob_ref(plan->blob); /* one for each slice */
    }
    if (!keep) {
        read->count = 0;
    }
    sp_blob_unref(plan->blob);
    plan->blob = NULL;
}

static bool terms_agree(const struct sp_log *log, const struct sp_log_read *read)
{
    for (unsigned i = 0; i < read->count; i++) {
        struct sp_log_frame frame;
        int rv = sp_log_frame_decode(read->frames[i].bytes, read->frames[i].size, &frame);

        if (rv != 0 || sp_log_term_at(log, frame.index) != frame.term) {
            return false;
        }
    }
    return true;
}

/* Nothing was found up to `next`: goes on there. True if another job is needed. */
static bool go_on(struct sp_log *log, struct sp_log_read *read, uint64_t next)
{
    if (next > read_limit(log, read)) {
        return false;
    }
    if (next >= sp_log_tail_first(log)) {
        read_tail(log, read, next);
        return false;
    }
    plan_segment(log, sp_log_segment_of(log, next), read, read->plan);
    return true;
}

/* Judges a job's result; true if the read needs another one. */
static bool review(struct sp_log *log, struct sp_log_read *read)
{
    struct sp_read_plan *plan = read->plan;

    if (is_over(read) || read->status != 0 || plan->generation != log->generation) {
        settle_frames(read, plan, false);
        if (is_over(read) || plan->generation == log->generation) {
            return false;
        }
        /* The log was cut or replaced: what was read may be of the time before. */
        int rv = plan_read(log, read);
        read->status = rv != 0 ? rv : read->status;
        return rv == 0 && read->plan != NULL;
    }
    if (read->count > 0) {
        bool agree = terms_agree(log, read);

        settle_frames(read, plan, agree);
        read->status = agree ? 0 : SPATE_ERR_CORRUPT;
        return false;
    }
    return go_on(log, read, plan->next_index);
}

/* What was found in memory when the read began may have been cut off since: looks again. True if
 * the read needs a job now. */
static bool repeat_from_memory(struct sp_log *log, struct sp_log_read *read)
{
    sp_log_read_release(read);
    if (is_over(read)) {
        return false;
    }
    int rv = plan_read(log, read);
    read->status = rv != 0 ? rv : read->status;
    return rv == 0 && read->plan != NULL;
}

/* A read that failed while a segment's file was replaced may have been planned for the one and have
 * found the other: it waits for the end of that. */
static bool park(struct sp_log *log, struct sp_log_read *read)
{
    if (!log->swapping || read->plan == NULL || read->status == 0 || is_over(read)) {
        return false;
    }
    settle_frames(read, read->plan, false);
    read->parked = true;
    return true;
}

void sp_log_read_unpark(struct sp_log *log)
{
    SP_LIST_EACH_SAFE (node, &log->reads) {
        struct sp_log_read *read = SP_LIST_ENTRY(node, struct sp_log_read, node);

        if (read->parked) {
            read->parked = false;
            start_job(log, read); /* of the old plan; its generation is over */
        }
    }
}

/* Its replica stops for that: an operator wants to know where. */
static void tell_of_damage(const struct sp_log *log, const struct sp_log_read *read)
{
    const struct sp_read_plan *plan = read->plan;

    if (plan != NULL && (read->status == SPATE_ERR_CORRUPT || read->status == SPATE_ERR_IO)) {
        SP_TRACE_WARN("storage",
                      "a frame cannot be read back",
                      "log=%s segment=%020llu.log index=%llu error=%s",
                      log->directory,
                      (unsigned long long)plan->base,
                      (unsigned long long)plan->next_index,
                      spate_error_name(read->status));
    }
}

static void read_done(struct sp_job *job)
{
    struct sp_log_read *read = SP_CONTAINER_OF(job, struct sp_log_read, job);
    struct sp_log *log = read->log;
    log->store->counters.disk_reads += read->plan != NULL && read->status != SPATE_ERR_CANCELED;
    if (park(log, read)) {
        return;
    }
    bool again = read->plan != NULL ? review(log, read) : repeat_from_memory(log, read);

    if (again) {
        start_job(log, read);
        return;
    }
    if (!is_over(read)) {
        tell_of_damage(log, read);
    }
    sp_mem_free(read->plan);
    read->plan = NULL;
    sp_list_remove(&read->node);
    if (is_over(read)) {
        sp_log_read_release(read);
        read->status = SPATE_ERR_CANCELED;
    }
    read->cb(read, read->status);
    sp_log_advance(log);
}
