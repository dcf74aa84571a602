#include "broker/compactor.h"

#include <inttypes.h>

#include "base/assert.h"
#include "base/trace.h"
#include "spate/error.h"

enum {
    STEP_BYTES = 512 * 1024,                 /* read at a time: some ten milliseconds of a worker */
    STEP_BYTES_MAX = 4 * SP_BATCH_BYTES_MAX, /* that may become of them, packed less tightly */
    SWAP_AGAIN_MS = 20,                      /* other files of the log are changed at the moment */
    RETRY_MS = 10000,                        /* after a pass that failed */
    PACK_SHARE = 8, /* a segment is rewritten for runs alone if they make it an eighth smaller */
};

static void advance(struct sp_compactor *compactor);
static void next_segment(struct sp_compactor *compactor, uint64_t index);

static uint64_t now_ms(const struct sp_compactor *compactor)
{
    return sp_loop_now_ms(compactor->loop);
}

/* ---- the end of a pass ----------------------------------------------------------------------- */

static void finish(struct sp_compactor *compactor, int status)
{
    struct sp_log *log = compactor->order.log;

    SP_ASSERT(!compactor->busy && compactor->rewrite.log == NULL);
    sp_timer_stop(&compactor->timer);
    compactor->state = SP_COMPACTOR_IDLE;
    compactor->counters.passes += status == 0;
    compactor->counters.failed += status != 0 && status != SPATE_ERR_CANCELED;
    compactor->counters.removed_records += compactor->pass.removed_records;
    compactor->counters.last_ms = now_ms(compactor) - compactor->begun_ms;
    compactor->counters.last_end_ms = sp_loop_wall_ms(compactor->loop);
    if (status != 0 && status != SPATE_ERR_CANCELED) {
        SP_TRACE_WARN("broker",
                      "compaction of a partition given up, it begins anew later",
                      "group=%" PRIu64 " error=%s",
                      compactor->order.group_id,
                      spate_error_name(status));
    }
    sp_compact_pass_deinit(&compactor->pass);
    sp_buf_deinit(&compactor->out);
    sp_buf_deinit(&compactor->packed);
    sp_log_run_deinit(&compactor->run);
    compactor->order.log = NULL;
    compactor->cb(compactor->cb_arg, status);
    sp_log_release(log);
}

static void fail(struct sp_compactor *compactor, int status)
{
    compactor->status = status;
    if (compactor->rewrite.log == NULL) {
        finish(compactor, status);
        return;
    }
    compactor->state = SP_COMPACTOR_DROP;
    compactor->busy = true;
    sp_log_rewrite_drop(&compactor->rewrite);
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* A pause that keeps to the byte rate, then the next step. */
static void pace(struct sp_compactor *compactor, uint64_t bytes)
{
    uint64_t rate = compactor->order.bytes_per_s;
    uint64_t pause_ms = rate == 0 ? 0 : bytes * 1000 / rate;

    compactor->counters.read_bytes += bytes;
    if (sp_timer_start(&compactor->timer, now_ms(compactor) + pause_ms) != 0) {
        fail(compactor, SPATE_ERR_NOMEM);
    }
}

static void scan_frame(struct sp_compactor *compactor, const struct sp_slice *frame)
{
    compactor->status = sp_compact_pass_note(&compactor->pass, frame->bytes, frame->size);
}

/* Notes what the segment would take with runs in it. */
static int pack_frame(struct sp_compactor *compactor, const uint8_t *bytes, size_t size)
{
    int rv = sp_log_run_put(&compactor->run, bytes, size, &compactor->packed);

    compactor->plain_bytes += size;
    compactor->packed_bytes += compactor->packed.size;
    sp_buf_clear(&compactor->packed);
    return rv;
}

static bool holds_records(const uint8_t *bytes, size_t size)
{
    struct sp_log_frame frame;
    struct sp_batch_facts facts;

    if (sp_log_frame_decode(bytes, size, &frame) != 0 || frame.kind != SP_FRAME_BATCH) {
        return false;
    }
    sp_batch_facts_read(sp_log_frame_payload(bytes), &facts);
    return facts.record_count > 0;
}

static void filter_frame(struct sp_compactor *compactor, const struct sp_slice *frame)
{
    struct sp_buf *out = &compactor->out;
    size_t before = out->size;
    bool changed = false;

    compactor->status =
        sp_compact_pass_filter(&compactor->pass, frame->bytes, frame->size, out, &changed);
    if (compactor->status != 0) {
        return;
    }
    compactor->changed |= changed;
    compactor->bare = compactor->bare && !holds_records(out->bytes + before, out->size - before);
    if (compactor->state == SP_COMPACTOR_FILTER && compactor->order.packs) {
        compactor->status = pack_frame(compactor, out->bytes + before, out->size - before);
    }
}

/* All of the segment has been through the filter. */
static int end_packing(struct sp_compactor *compactor)
{
    int rv = sp_log_run_end(&compactor->run, &compactor->packed);

    compactor->packed_bytes += compactor->packed.size;
    sp_buf_clear(&compactor->packed);
    return rv;
}

/* It takes more room than with runs. What it takes beside its frames counts for nothing: a segment
 * is not rewritten for that. */
static bool is_loose(const struct sp_compactor *compactor)
{
    uint64_t now = compactor->span.size_bytes;

    now = now < compactor->plain_bytes ? now : compactor->plain_bytes;
    return compactor->order.packs && compactor->packed_bytes + now / PACK_SHARE <= now;
}

static void step_work(struct sp_job *job)
{
    struct sp_compactor *compactor = SP_CONTAINER_OF(job, struct sp_compactor, job);
    const struct sp_log_read *read = &compactor->read;

    for (unsigned i = 0; i < read->count && compactor->status == 0; i++) {
        if (compactor->state == SP_COMPACTOR_SCAN) {
            scan_frame(compactor, &read->frames[i]);
        } else {
            filter_frame(compactor, &read->frames[i]);
        }
    }
    if (compactor->status == 0 && compactor->state == SP_COMPACTOR_FILTER &&
        compactor->index + read->count > compactor->span.last_index) {
        compactor->status = end_packing(compactor);
    }
    if (compactor->status == 0 && compactor->state == SP_COMPACTOR_REWRITE) {
        compactor->status =
            sp_log_rewrite_append(&compactor->rewrite, compactor->out.bytes, compactor->out.size);
    }
}

static void begin_rewrite(struct sp_compactor *compactor);

static void on_step(struct sp_job *job)
{
    struct sp_compactor *compactor = SP_CONTAINER_OF(job, struct sp_compactor, job);
    uint64_t bytes = compactor->out.size;

    for (unsigned i = 0; i < compactor->read.count; i++) {
        bytes += compactor->read.frames[i].size;
    }
    compactor->index += compactor->read.count;
    sp_log_read_release(&compactor->read);
    compactor->busy = false;
    if (compactor->ending || compactor->status != 0) {
        fail(compactor, compactor->ending ? SPATE_ERR_CANCELED : compactor->status);
        return;
    }
    if (compactor->state == SP_COMPACTOR_FILTER && compactor->changed) {
        begin_rewrite(compactor);
        return;
    }
    pace(compactor, bytes);
}

static void on_read(struct sp_log_read *read, int status)
{
    struct sp_compactor *compactor = SP_CONTAINER_OF(read, struct sp_compactor, read);

    if (status == 0 && read->count == 0) {
        status = SPATE_ERR_NOT_FOUND;
    }
    if (status != 0 || compactor->ending) {
        sp_log_read_release(read);
        compactor->busy = false;
        compactor->unreadable =
            !compactor->ending && (status == SPATE_ERR_CORRUPT || status == SPATE_ERR_IO);
        fail(compactor, compactor->ending ? SPATE_ERR_CANCELED : status);
        return;
    }
    compactor->changed = false;
    sp_buf_clear(&compactor->out);
    sp_job_start(compactor->loop, &compactor->job, step_work, on_step);
}

static void read_on(struct sp_compactor *compactor, uint64_t last_index)
{
    compactor->read = (struct sp_log_read){
        .by = SP_LOG_READ_INDEX,
        .start = (int64_t)compactor->index,
        .index_max = last_index,
        .bytes_max = STEP_BYTES,
        .frames_max = SP_APPEND_FRAMES_MAX,
        .cb = on_read,
    };
    int rv = sp_log_read_start(compactor->order.log, &compactor->read);

    if (rv != 0) {
        fail(compactor, rv);
        return;
    }
    compactor->busy = true;
}

/* ---- segments -------------------------------------------------------------------------------- */

/* Done with it. */
static void leave_segment(struct sp_compactor *compactor)
{
    if (compactor->bare && compactor->order.packs) {
        sp_log_note_bare(compactor->order.log, compactor->span.first_index);
    }
    next_segment(compactor, compactor->span.last_index + 1);
}

static void on_rewritten(struct sp_log_rewrite *rewrite, int status)
{
    struct sp_compactor *compactor = SP_CONTAINER_OF(rewrite, struct sp_compactor, rewrite);

    compactor->busy = false;
    if (compactor->state == SP_COMPACTOR_DROP) {
        finish(compactor, compactor->status);
        return;
    }
    if (status != 0 || compactor->ending) {
        finish(compactor, status != 0 ? status : SPATE_ERR_CANCELED);
        return;
    }
    uint64_t size_bytes = rewrite->size;
    compactor->counters.segments += 1;
    if (compactor->span.size_bytes > size_bytes) {
        compactor->counters.removed_bytes += compactor->span.size_bytes - size_bytes;
    }
    leave_segment(compactor);
}

static void begin_rewrite(struct sp_compactor *compactor)
{
    int rv = sp_log_rewrite_begin(compactor->order.log,
                                  &compactor->span,
                                  compactor->order.packs,
                                  on_rewritten,
                                  &compactor->rewrite);

    if (rv != 0) {
        fail(compactor, rv);
        return;
    }
    compactor->pass.removed_records = compactor->removed_before;
    compactor->bare = true;
    compactor->state = SP_COMPACTOR_REWRITE;
    compactor->index = compactor->span.first_index;
    pace(compactor, 0);
}

static void swap(struct sp_compactor *compactor)
{
    int rv = sp_log_rewrite_swap(&compactor->rewrite);

    if (rv == 0) {
        compactor->state = SP_COMPACTOR_SWAP;
        compactor->busy = true;
    } else if (rv != SPATE_ERR_BUSY ||
               sp_timer_start(&compactor->timer, now_ms(compactor) + SWAP_AGAIN_MS) != 0) {
        fail(compactor, rv == SPATE_ERR_BUSY ? SPATE_ERR_NOMEM : rv);
    }
}

/* The segment that holds Raft index `index`, or the next one with records, or the end of the
 * pass. */
static void next_segment(struct sp_compactor *compactor, uint64_t index)
{
    do {
        if (index > compactor->order.last_index ||
            !sp_log_finished_span(compactor->order.log, index, &compactor->span) ||
            compactor->span.first_offset >= compactor->pass.map_end) {
            finish(compactor, 0);
            return;
        }
        index = compactor->span.last_index + 1;
    } while (compactor->span.bare); /* there is nothing to look for */
    compactor->state = SP_COMPACTOR_FILTER;
    compactor->index = compactor->span.first_index;
    compactor->removed_before = compactor->pass.removed_records;
    compactor->bare = true;
    compactor->plain_bytes = SP_SEGMENT_HEADER_SIZE;
    compactor->packed_bytes = SP_SEGMENT_HEADER_SIZE;
    sp_log_run_deinit(&compactor->run);
    sp_log_run_init(&compactor->run, compactor->span.chain_before);
    pace(compactor, 0);
}

static void advance(struct sp_compactor *compactor)
{
    switch (compactor->state) {
    case SP_COMPACTOR_SCAN:
        if (compactor->index > compactor->order.last_index || compactor->pass.full) {
            next_segment(compactor, 0);
        } else {
            read_on(compactor, compactor->order.last_index);
        }
        return;
    case SP_COMPACTOR_FILTER:
        if (compactor->index <= compactor->span.last_index) {
            read_on(compactor, compactor->span.last_index);
        } else if (is_loose(compactor)) {
            begin_rewrite(compactor);
        } else {
            leave_segment(compactor);
        }
        return;
    case SP_COMPACTOR_REWRITE:
        if (compactor->index > compactor->span.last_index) {
            swap(compactor);
        } else if (!sp_log_rewrite_has_room(compactor->order.log, 0)) {
            fail(compactor, SPATE_ERR_NO_SPACE);
        } else {
            read_on(compactor, compactor->span.last_index);
        }
        return;
    case SP_COMPACTOR_IDLE:
    case SP_COMPACTOR_SWAP:
    case SP_COMPACTOR_DROP:
        return;
    }
}

static void on_timer(struct sp_timer *timer)
{
    advance(SP_CONTAINER_OF(timer, struct sp_compactor, timer));
}

/* ---- life ------------------------------------------------------------------------------------ */

void sp_compactor_init(struct sp_compactor *compactor,
                       struct sp_loop *loop,
                       sp_compactor_cb cb,
                       void *arg)
{
    *compactor = (struct sp_compactor){ .loop = loop, .cb = cb, .cb_arg = arg };
    sp_timer_init(&compactor->timer, loop, on_timer);
}

/* Whether the largest segment of the pass may stand beside its successor. */
static bool has_room(const struct sp_compaction_order *order)
{
    struct sp_log_span span;
    uint64_t most_bytes = 0;

    for (uint64_t index = 0;
         index <= order->last_index && sp_log_finished_span(order->log, index, &span);
         index = span.last_index + 1) {
        most_bytes = span.size_bytes > most_bytes ? span.size_bytes : most_bytes;
    }
    return sp_log_rewrite_has_room(order->log, most_bytes);
}

int sp_compactor_begin(struct sp_compactor *compactor, const struct sp_compaction_order *order)
{
    if (!has_room(order)) {
        return SPATE_ERR_NO_SPACE;
    }
    const uint64_t secret[2] = { sp_loop_random(compactor->loop), sp_loop_random(compactor->loop) };
    struct sp_key_table *table = sp_key_table_new(order->memory_bytes, secret);

    SP_ASSERT(compactor->state == SP_COMPACTOR_IDLE);
    if (table == NULL) {
        return SPATE_ERR_NOMEM;
    }
    if (sp_timer_start(&compactor->timer, now_ms(compactor)) != 0) {
        sp_key_table_free(table);
        return SPATE_ERR_NOMEM;
    }
    compactor->order = *order;
    compactor->pass = (struct sp_compact_pass){
        .table = table,
        .first_dirty = order->first_dirty,
        .map_end = order->first_dirty,
        .floor = order->floor,
        .tombstone_min = INT64_MAX,
    };
    sp_buf_init(&compactor->out, STEP_BYTES_MAX);
    sp_buf_init(&compactor->packed, STEP_BYTES_MAX);
    sp_log_run_init(&compactor->run, 0);
    compactor->state = SP_COMPACTOR_SCAN;
    compactor->ending = false;
    compactor->unreadable = false;
    compactor->status = 0;
    compactor->index = order->first_index;
    compactor->begun_ms = now_ms(compactor);
    sp_log_hold(order->log);
    return 0;
}

void sp_compactor_leave(struct sp_compactor *compactor, uint64_t group_id)
{
    if (compactor->state == SP_COMPACTOR_IDLE || compactor->order.group_id != group_id) {
        return;
    }
    compactor->ending = true;
    if (!compactor->busy) {
        fail(compactor, SPATE_ERR_CANCELED);
    }
}
