/* Which of the oldest segments may go: pure questions about a log. */
#include "base/assert.h"
#include "storage/log_state.h"

uint64_t sp_log_trim_index(const struct sp_log *log, unsigned checkpoints_kept)
{
    unsigned seen = 0;

    SP_ASSERT(checkpoints_kept > 0);
    for (unsigned i = log->segment_count; i > 1; i--) {
        const struct sp_log_segment *segment = &log->segments[i - 1];

        seen += segment->checkpoint == SP_CHECKPOINT_DONE;
        if (seen == checkpoints_kept) {
            return segment->checkpoint == SP_CHECKPOINT_DONE ? segment->before.index : 0;
        }
    }
    return 0;
}

uint64_t sp_log_trim_index_below(const struct sp_log *log, int64_t offset)
{
    uint64_t index = 0;

    /* Asked after every commit: as a rule the first look ends it. */
    for (unsigned i = 1; i < log->segment_count; i++) {
        const struct sp_log_segment *segment = &log->segments[i];

        if (segment->before.end_offset > offset) {
            break;
        }
        if (segment->checkpoint == SP_CHECKPOINT_DONE) {
            index = segment->before.index;
        }
    }
    return index;
}

static uint64_t size_of(const struct sp_log_segment *segment)
{
    return segment->size + segment->waiting_bytes;
}

int64_t sp_log_expired_offset(const struct sp_log *log, const struct sp_log_retention *retention)
{
    int64_t offset = log->segments[0].before.end_offset;
    uint64_t kept_bytes = sp_log_size_bytes(log);

    for (unsigned i = 0; i < log->segment_count; i++) {
        const struct sp_log_segment *segment = &log->segments[i];
        bool newest = i + 1 == log->segment_count;
        const struct sp_log_point *end = newest ? &log->last : &segment[1].before;
        bool too_old =
            end->index > segment->before.index && end->append_time_ms < retention->expired_ms;

        kept_bytes -= size_of(segment);
        bool too_many =
            !newest && retention->bytes >= 0 && kept_bytes >= (uint64_t)retention->bytes;
        if ((!too_old && !too_many) || end->end_offset > retention->offset_max) {
            break;
        }
        offset = end->end_offset;
    }
    return offset;
}

int64_t sp_log_newest_since_ms(const struct sp_log *log)
{
    return sp_log_newest_segment(log)->since_ms;
}
