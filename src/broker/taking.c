#include "broker/taking.h"

#include "base/limits.h"

enum {
    GROWTH = 4,
};

void sp_taking_init(struct sp_taking *taking)
{
    *taking = (struct sp_taking){ .answer_bytes_max = SP_TRIAL_BYTES };
}

bool sp_taking_trusted(const struct sp_taking *taking)
{
    return taking->answer_bytes_max == SP_FETCH_BYTES_MAX;
}

size_t sp_taking_owed_max(const struct sp_taking *taking)
{
    return sp_taking_trusted(taking) ? SP_ANSWERS_AHEAD_BYTES : 0;
}

size_t sp_taking_unsent_max(const struct sp_taking *taking)
{
    return sp_taking_trusted(taking) ? SP_UNSENT_BYTES_MAX : SP_TRIAL_BYTES;
}

static void change(struct sp_taking *taking, size_t answer_bytes_max, uint64_t taken_bytes)
{
    taking->answer_bytes_max = answer_bytes_max;
    taking->mark_bytes = taken_bytes;
}

void sp_taking_queued(struct sp_taking *taking, uint64_t now_ms)
{
    if (taking->queued_ms == 0) {
        taking->queued_ms = now_ms;
    }
}

void sp_taking_drained(struct sp_taking *taking, uint64_t taken_bytes, uint64_t now_ms)
{
    bool late = taking->queued_ms != 0 && now_ms > taking->queued_ms + SP_TAKEN_LATE_MS;
    size_t most = taking->answer_bytes_max;

    taking->queued_ms = 0;
    if (sp_taking_trusted(taking)) {
        return;
    }
    if (late) {
        change(taking, SP_TRIAL_BYTES, taken_bytes);
    } else if (taken_bytes - taking->mark_bytes >= most / 2) {
        most *= GROWTH;
        change(taking, most < SP_TRUSTED_BYTES ? most : SP_FETCH_BYTES_MAX, taken_bytes);
    }
}

void sp_taking_asked(struct sp_taking *taking, bool refused, uint64_t taken_bytes, uint64_t now_ms)
{
    if (refused) {
        taking->refused_ms = taking->refused_ms == 0 ? now_ms : taking->refused_ms;
        return;
    }
    if (taking->refused_ms != 0 && sp_taking_trusted(taking) &&
        now_ms > taking->refused_ms + SP_TAKEN_LATE_MS) {
        change(taking, SP_TRIAL_BYTES, taken_bytes);
    }
    taking->refused_ms = 0;
}
