#include "storage/log.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "spate/error.h"
#include "storage/little_endian.h"
#include "storage/log_state.h"
#include "storage/store_state.h"

#define FIRST_SEGMENTS 2

/* ---- life ------------------------------------------------------------------------------------ */

static void deferred_close(struct sp_deferred *deferred)
{
    struct sp_log *log = SP_LIST_ENTRY(deferred, struct sp_log, deferred);
    void (*closed)(void *arg) = log->closed;
    void *arg = log->closed_arg;
    struct sp_store *store = log->store;

    sp_log_free(log);
    if (closed != NULL) {
        closed(arg);
    }
    sp_store_advance(store);
}

struct sp_log *sp_log_new(const char *directory, uint64_t group_id, uint64_t replica_id)
{
    struct sp_log *log = sp_mem_calloc(1, sizeof *log);

    if (log == NULL) {
        return NULL;
    }
    log->group_id = group_id;
    log->replica_id = replica_id;
    log->flush_bytes_max = SP_FLUSH_BYTES_FIRST;
    sp_list_init(&log->store_node);
    sp_list_init(&log->dirty_node);
    sp_list_init(&log->warm_node);
    sp_list_init(&log->checkpoints);
    sp_list_init(&log->reads);
    sp_deferred_init(&log->deferred, deferred_close);
    log->directory = sp_mem_strdup(directory);
    if (log->directory == NULL) {
        sp_log_free(log);
        return NULL;
    }
    return log;
}

void sp_log_free(struct sp_log *log)
{
    if (log == NULL) {
        return;
    }
    SP_ASSERT(!log->flushing && !log->checkpoint_running && !log->trimming);
    SP_ASSERT(log->rewrite == NULL && log->holds == 0);
    SP_ASSERT(log->images_read == 0 && sp_list_empty(&log->reads));
    sp_log_checkpoint_cancel(log, 0);
    sp_list_remove(&log->store_node);
    sp_list_remove(&log->dirty_node);
    sp_list_remove(&log->warm_node);
    if (log->store != NULL) {
        log->store->kept_bytes -= log->kept_bytes;
    }
    sp_log_tail_clear(&log->tail);
    sp_log_history_clear(&log->history);
    for (unsigned i = 0; i < log->segment_count; i++) {
        sp_offset_index_clear(&log->segments[i].offset_index);
    }
    sp_mem_free(log->segments);
    sp_blob_unref(log->install_wanted);
    sp_blob_unref(log->checkpoint_image);
    sp_log_forget_rest(log);
    sp_file_close(log->file);
    sp_mem_free(log->directory);
    sp_mem_free(log);
}

void sp_log_set_handler(struct sp_log *log, const struct sp_log_handler *handler, void *arg)
{
    log->handler = *handler;
    log->handler_arg = arg;
}

void sp_log_close(struct sp_log *log, void (*closed)(void *arg), void *arg)
{
    if (log->closing) {
        return;
    }
    log->closing = true;
    log->closed = closed;
    log->closed_arg = arg;
    sp_space_wait_end(&log->trim.wait);
    sp_space_wait_end(&log->flush.wait);
    sp_log_advance(log);
}

void sp_log_hold(struct sp_log *log)
{
    log->holds += 1;
}

void sp_log_release(struct sp_log *log)
{
    SP_ASSERT(log->holds > 0);
    log->holds -= 1;
    sp_log_advance(log);
}

void sp_log_advance(struct sp_log *log)
{
    bool failed = log->store->failed;

    if (!failed && sp_log_needs_flush(log)) {
        sp_store_mark_dirty(log->store, log);
    }
    if (!failed) {
        sp_log_trim_start(log); /* first: newer checkpoints know nothing below the new start */
        sp_log_checkpoint_start(log);
    }
    if (!log->closing || log->closed_deferred || log->flushing || log->checkpoint_running ||
        log->trimming || log->ending || log->rewrite != NULL || log->holds > 0 ||
        log->images_read > 0 || !sp_list_empty(&log->reads)) {
        return;
    }
    /* A checkpoint that could not be started by now waits for frames that will not come. */
    if ((failed || !sp_log_needs_flush(log)) && !sp_log_end_start(log)) {
        log->closed_deferred = true;
        sp_loop_defer(log->store->loop, &log->deferred);
    }
}

/* ---- where it stands ------------------------------------------------------------------------- */

uint64_t sp_log_group_id(const struct sp_log *log)
{
    return log->group_id;
}

uint64_t sp_log_replica_id(const struct sp_log *log)
{
    return log->replica_id;
}

uint64_t sp_log_first_index(const struct sp_log *log)
{
    return log->segments[0].before.index + 1;
}

int64_t sp_log_first_offset(const struct sp_log *log)
{
    return log->segments[0].before.end_offset;
}

uint64_t sp_log_last_index(const struct sp_log *log)
{
    return log->last.index;
}

uint64_t sp_log_last_term(const struct sp_log *log)
{
    return log->last.term;
}

uint64_t sp_log_persisted_index(const struct sp_log *log)
{
    return log->persisted_index;
}

int64_t sp_log_end_offset(const struct sp_log *log)
{
    return log->last.end_offset;
}

int64_t sp_log_last_append_time_ms(const struct sp_log *log)
{
    return log->last.append_time_ms;
}

uint32_t sp_log_chain(const struct sp_log *log)
{
    return log->last.chain;
}

uint64_t sp_log_term_at(const struct sp_log *log, uint64_t index)
{
    if (index > log->last.index || index + 1 < sp_log_first_index(log)) {
        return 0;
    }
    return sp_log_history_term(&log->history, index);
}

uint64_t sp_log_index_with_term_at_most(const struct sp_log *log, uint64_t index, uint64_t term)
{
    uint64_t highest = index < log->last.index ? index : log->last.index;
    uint64_t found = sp_log_history_at_most(&log->history, highest, term);

    return found + 1 < sp_log_first_index(log) ? 0 : found;
}

unsigned sp_log_configuration_count(const struct sp_log *log)
{
    return log->history.membership_count;
}

void sp_log_configuration(const struct sp_log *log,
                          unsigned n,
                          uint64_t *out_index,
                          const uint8_t **out_bytes,
                          size_t *out_size)
{
    SP_ASSERT(n < log->history.membership_count);
    *out_index = log->history.memberships[n].index;
    *out_bytes = log->history.memberships[n].bytes;
    *out_size = log->history.memberships[n].size;
}

/* Others may have stored and committed them: nothing but this bounds them if our disk is slow, or
 * has no space. Durable ones of up to the cache and a window may be among what is counted. */
bool sp_log_lags(const struct sp_log *log)
{
    return log->persisted_index < log->last.index &&
           log->tail.bytes > SP_TAIL_CACHE_BYTES + 4 * SP_WINDOW_BYTES;
}

uint64_t sp_log_size_bytes(const struct sp_log *log)
{
    uint64_t size = 0;

    for (unsigned i = 0; i < log->segment_count; i++) {
        size += log->segments[i].size + log->segments[i].waiting_bytes;
    }
    return size;
}

unsigned sp_log_segment_count(const struct sp_log *log)
{
    return log->segment_count;
}

/* ---- segments and the tail ------------------------------------------------------------------- */

struct sp_log_segment *sp_log_segment_of(const struct sp_log *log, uint64_t index)
{
    unsigned low = 0;
    unsigned high = log->segment_count;

    while (high - low > 1) {
        unsigned middle = low + (high - low) / 2;

        if (log->segments[middle].before.index < index) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return &log->segments[low];
}

int sp_log_reserve_segment(struct sp_log *log)
{
    if (log->segment_count < log->segment_capacity) {
        return 0;
    }
    unsigned capacity = log->segment_capacity == 0 ? FIRST_SEGMENTS : 2 * log->segment_capacity;
    void *segments = sp_mem_realloc(log->segments, capacity * sizeof log->segments[0]);
    if (segments == NULL) {
        return SPATE_ERR_NOMEM;
    }
    log->segments = segments;
    log->segment_capacity = capacity;
    return 0;
}

int sp_log_add_segment(struct sp_log *log, const struct sp_log_point *before, uint64_t marker_key)
{
    int rv = sp_log_reserve_segment(log);

    if (rv != 0) {
        return rv;
    }
    log->segments[log->segment_count] = (struct sp_log_segment){
        .before = *before,
        .marker_key = marker_key,
        .size = SP_SEGMENT_HEADER_SIZE,
        .since_ms = INT64_MAX,
        .max_timestamp_ms = SP_TIMESTAMP_NONE,
    };
    log->segment_count += 1;
    return 0;
}

/* Two rounds of the checksum over seed and place: unpredictable to whoever does not know the seed,
 * which never leaves the node. Never 0, which means "any" to a search. */
uint64_t sp_log_marker_key(uint64_t key_seed, uint64_t group_id, uint64_t base)
{
    uint8_t bytes[24];

    sp_put_u64(bytes, key_seed);
    sp_put_u64(bytes + 8, group_id);
    sp_put_u64(bytes + 16, base);
    uint64_t mixed = sp_crc32c(0, bytes, sizeof bytes);
    mixed = mixed << 32 | sp_crc32c((uint32_t)(key_seed >> 32), bytes, sizeof bytes);
    mixed ^= key_seed;
    return mixed != 0 ? mixed : 1;
}

/* Whether the oldest frame stays because somebody will read it soon. */
static bool keeps_first(const struct sp_log *log, size_t bytes_max)
{
    size_t more = log->tail.bytes - bytes_max;

    return bytes_max > 0 && log->keep_index != 0 && sp_log_tail_first(log) >= log->keep_index &&
           more <= SP_WINDOW_BYTES && log->store->kept_bytes + more <= SP_KEPT_FRAMES_BYTES;
}

void sp_log_trim_tail(struct sp_log *log, size_t bytes_max)
{
    log->store->kept_bytes -= log->kept_bytes;
    while (log->tail.count > 0 && log->tail.bytes > bytes_max &&
           sp_log_tail_first(log) <= log->persisted_index && !keeps_first(log, bytes_max)) {
        sp_log_tail_pop_front(&log->tail);
    }
    log->kept_bytes = log->tail.bytes > bytes_max ? log->tail.bytes - bytes_max : 0;
    log->store->kept_bytes += log->kept_bytes;
    if (log->tail.count == 0) {
        sp_log_tail_clear(&log->tail);
    }
}

void sp_log_cool(struct sp_log *log)
{
    sp_log_trim_tail(log, 0);
    sp_file_close(log->file); /* NULL while a flush has it; the next one opens it again */
    log->file = NULL;
}

void sp_log_keep_from(struct sp_log *log, uint64_t index)
{
    log->keep_index = index;
}

void sp_log_roll(struct sp_log *log)
{
    log->roll = true;
}

uint64_t sp_log_newest_count(const struct sp_log *log)
{
    return log->last.index - sp_log_newest_segment(log)->before.index;
}

uint64_t sp_log_segment_bytes(const struct sp_log *log)
{
    return log->segment_bytes;
}

void sp_log_set_segment_bytes(struct sp_log *log, uint64_t segment_bytes)
{
    log->segment_bytes = segment_bytes != 0 ? segment_bytes : log->store->segment_bytes;
}
