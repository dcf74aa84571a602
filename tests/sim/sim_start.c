/* What must hold of the starts of logs: records below an announced start may be gone, none above
 * it; a start moves as far as a program has asked for, or a limit of the topic; it never goes back;
 * a reader that falls below it is told where it goes on. */
#include "sim_model.h"
#include "sim_trim.h"
#include "sim_world.h"
#include "storage/segment.h"

/* Retention counts the heads of segments and markers, too. */
#define LIMIT_SLACK_BYTES (8 * SP_SEGMENT_HEADER_SIZE)

void sim_model_truncation_asked(uint32_t place, int64_t before)
{
    if (before > sim_model.places[place].truncation_asked) {
        sim_model.places[place].truncation_asked = before;
    }
}

/* Whether the topic's limits let the group's last frame, a command, give up what is below `offset`.
 * Short segments, which a limit by time leaves behind, consist of heads above all: with both limits
 * that by size says nothing. */
static bool limits_allow(const struct sim_group *group, int64_t offset)
{
    struct sim_trim_limits limits = sim_trim_limits();
    uint64_t newest = offset > 0 ? group->records[offset - 1].index : 0;
    uint64_t kept_bytes = 0;

    for (uint64_t i = newest + 1; i < group->last_index; i++) {
        kept_bytes += group->frames[i].size;
    }
    bool too_old = limits.ms >= 0 && group->frames[newest].append_time_ms + limits.ms <
                                         group->frames[group->last_index].append_time_ms;
    bool too_many = limits.bytes >= 0 && (limits.ms >= 0 || 2 * kept_bytes + LIMIT_SLACK_BYTES >=
                                                                (uint64_t)limits.bytes);
    return too_old || too_many;
}

void sim_model_trim_committed(struct sim_group *group, int64_t offset)
{
    if (offset > group->next_offset) {
        sim_fail("group %llu: its start is moved to offset %lld, above its end %lld",
                 (unsigned long long)group->group_id,
                 (long long)offset,
                 (long long)group->next_offset);
        return;
    }
    if (group->place != UINT32_MAX && group->place < sim_model.kept_count) {
        sim_fail("place %u: its start is moved to offset %lld, but nothing asked for that",
                 group->place,
                 (long long)offset);
    }
    if (group->place != UINT32_MAX && offset > group->log_start &&
        offset > sim_model.places[group->place].truncation_asked && !limits_allow(group, offset)) {
        sim_fail("place %u: its start is moved to offset %lld, nobody asked for more than %lld, "
                 "and no limit wants it",
                 group->place,
                 (long long)offset,
                 (long long)sim_model.places[group->place].truncation_asked);
    }
    group->log_start = offset > group->log_start ? offset : group->log_start;
}

static int64_t start_of(uint32_t place)
{
    const struct sim_group *group = sim_model.places[place].group;

    return group == NULL ? 0 : group->log_start;
}

int64_t sim_model_start(uint32_t place, int64_t offset)
{
    return offset <= start_of(place) ? offset : start_of(place);
}

void sim_model_skipped(uint32_t place, int64_t expected, int64_t offset)
{
    sim_model.counts.skips += 1;
    if (offset <= expected || offset > start_of(place)) {
        sim_fail("place %u: a reader at offset %lld was sent on to %lld, the log starts at %lld",
                 place,
                 (long long)expected,
                 (long long)offset,
                 (long long)start_of(place));
    }
}

void sim_model_truncated(uint32_t place, int64_t before, int64_t start, int64_t told)
{
    if (told < before || told < start || told > start_of(place)) {
        sim_fail("place %u: a truncation before %lld is answered with start %lld; it was %lld "
                 "before and is %lld",
                 place,
                 (long long)before,
                 (long long)told,
                 (long long)start,
                 (long long)start_of(place));
    }
}

void sim_model_trimmed(uint32_t node, uint64_t group_id, uint64_t index)
{
    const struct sim_group *group = sim_model_group(group_id);

    if (group == NULL || group->place == UINT32_MAX) {
        return; /* no records: a machine that nobody reads */
    }
    sim_model.counts.trims += 1;
    if (index > group->last_index) {
        sim_fail("group %llu: node %u drops frames up to index %llu, which is not committed",
                 (unsigned long long)group_id,
                 node,
                 (unsigned long long)index);
    } else if (group->log_start < group->next_offset &&
               group->records[group->log_start].index <= index) {
        sim_fail("group %llu: node %u drops frames up to index %llu, with records from the start "
                 "%lld on",
                 (unsigned long long)group_id,
                 node,
                 (unsigned long long)index,
                 (long long)group->log_start);
    }
}

void sim_model_refilled(uint64_t group_id)
{
    const struct sim_group *group = sim_model_group(group_id);

    sim_model.counts.refills += 1;
    sim_model.counts.trim_refills += group != NULL && group->place != UINT32_MAX;
}
