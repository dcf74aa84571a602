/* Which partition is compacted next.
 *
 * A pass reads everything that is finished and has records, so it begins only when what was not
 * looked at yet is at least as much as what was: each byte is then read a few times in its life,
 * however long the log.
 * What has waited for delete.retention.ms need not be so much: what was taken away in a topic that
 * is hardly written goes as well.
 * Tombstones that may go at last are a reason as well: when no replica has had an older record of
 * their keys, nor can have one, for delete.retention.ms. */
#include "broker/methods.h"
#include "spate/error.h"

enum {
    RETRY_MS = 10000, /* after a pass that failed */
};

/* What a pass over a partition would find. */
struct need {
    uint64_t dirty_bytes;
    uint64_t clean_bytes;
    int64_t dirty_ms;     /* append time of the first segment with something dirty */
    uint64_t first_index; /* of the first segment with something dirty; 0: nothing is */
    uint64_t last_index;  /* of the last finished one that may be compacted; 0: none */
};

static void measure(const struct sp_partition *partition, struct need *out_need)
{
    const struct sp_log *log = sp_raft_group_log(partition->group);
    int64_t lag_ms = sp_topic_config_value(&partition->config, SP_TOPIC_COMPACTION_LAG_MS);
    int64_t now_ms = sp_raft_group_append_time_ms(partition->group);
    struct sp_raft_group_status status;
    struct sp_log_span span;
    uint64_t index = 0;

    sp_raft_group_status(partition->group, &status);
    *out_need = (struct need){ .first_index = 0 };
    if (status.stopped) {
        return; /* its files stay as they are: it may be damaged */
    }
    while (sp_log_finished_span(log, index, &span) && span.last_index <= status.applied_index &&
           span.append_time_ms <= now_ms - lag_ms) {
        bool dirty = span.end_offset > partition->compaction.dirty_offset;

        out_need->dirty_bytes += dirty ? span.size_bytes : 0;
        out_need->clean_bytes += dirty || span.bare ? 0 : span.size_bytes;
        if (dirty && out_need->first_index == 0) {
            out_need->first_index = span.first_index;
            out_need->dirty_ms = span.append_time_ms;
        }
        out_need->last_index = span.last_index;
        index = span.last_index + 1;
    }
}

/* A floor of the group takes effect when it is delete.retention.ms old. */
static void raise_floor(struct sp_partition *partition)
{
    struct sp_compaction_state *state = &partition->compaction;
    int64_t tombstone_ms = sp_topic_config_value(&partition->config, SP_TOPIC_TOMBSTONE_MS);
    int64_t now_ms = sp_raft_group_append_time_ms(partition->group);
    int64_t floor = sp_raft_group_compaction_floor(partition->group);

    if (state->next_floor > state->floor && now_ms >= state->next_floor_ms) {
        state->floor = state->next_floor;
    }
    if (state->next_floor == state->floor && floor > state->floor) {
        state->next_floor = floor;
        state->next_floor_ms = now_ms + tombstone_ms;
    }
}

static bool tombstones_are_due(const struct sp_partition *partition)
{
    const struct sp_compaction_state *state = &partition->compaction;

    return state->tombstone_min < state->dirty_offset && state->tombstone_min < state->floor &&
           state->swept < state->floor;
}

/* True if the partition's turn has come; its need is set then. */
static bool needs_pass(struct sp_partition *partition, struct need *out_need)
{
    if (partition->group == NULL || !sp_topic_config_compacts(&partition->config) ||
        sp_raft_group_append_time_ms(partition->group) < partition->compaction.retry_ms) {
        return false;
    }
    sp_raft_group_report_compacted(partition->group);
    raise_floor(partition);
    measure(partition, out_need);
    if (out_need->last_index == 0) {
        return false;
    }
    bool waited =
        out_need->dirty_ms <= sp_raft_group_append_time_ms(partition->group) -
                                  sp_topic_config_value(&partition->config, SP_TOPIC_TOMBSTONE_MS);
    if (out_need->first_index != 0 && (waited || out_need->dirty_bytes >= out_need->clean_bytes)) {
        return true;
    }
    return tombstones_are_due(partition);
}

/* The next one behind that of the last pass, in order of group ids, so that each has its turn. */
static struct sp_partition *choose(struct sp_broker *broker, struct need *out_need)
{
    uint64_t last = broker->compactor.order.group_id;
    struct sp_map_cursor cursor = { 0 };
    struct sp_partition *partition;
    struct sp_partition *chosen = NULL;

    while ((partition = sp_map_next(broker->partitions, &cursor)) != NULL) {
        bool nearer =
            chosen == NULL || partition->group_id - last - 1 < chosen->group_id - last - 1;
        struct need need;

        if (nearer && needs_pass(partition, &need)) {
            chosen = partition;
            *out_need = need;
        }
    }
    return chosen;
}

static void rest(struct sp_partition *partition)
{
    partition->compaction.retry_ms = sp_raft_group_append_time_ms(partition->group) + RETRY_MS;
}

void sp_compactor_look(struct sp_broker *broker)
{
    struct need need;

    if (broker->compactor.state != SP_COMPACTOR_IDLE || broker->closed != NULL ||
        sp_store_space(broker->options.store) == SP_SPACE_LAST) {
        return;
    }
    struct sp_partition *partition = choose(broker, &need);
    if (partition == NULL ||
        sp_broker_lacks_feature(broker, SP_FEATURE_COMPACTION, "compaction", NULL)) {
        return;
    }
    const struct sp_compaction_order order = {
        .log = sp_raft_group_log(partition->group),
        .group_id = partition->group_id,
        .first_dirty = partition->compaction.dirty_offset,
        /* with nothing new the pass looks for tombstones alone */
        .first_index = need.first_index != 0 ? need.first_index : need.last_index + 1,
        .last_index = need.last_index,
        .floor = partition->compaction.floor,
        .bytes_per_s = broker->options.compaction_bytes_per_s,
        .memory_bytes = broker->options.compaction_memory_bytes,
        .packs = !sp_broker_lacks_feature(broker, SP_FEATURE_COMPACTION_RUNS, NULL, NULL),
    };
    if (sp_compactor_begin(&broker->compactor, &order) != 0) {
        rest(partition); /* it has no room; another one may need less */
    }
}

void sp_compactor_ended(void *arg, int status)
{
    struct sp_broker *broker = arg;
    const struct sp_compact_pass *pass = &broker->compactor.pass;
    struct sp_partition *partition =
        sp_map_get_u64(broker->partitions, broker->compactor.order.group_id);

    if (partition == NULL) {
        return;
    }
    if (status != 0 && partition->group != NULL) {
        rest(partition);
    }
    if (status != 0 && broker->compactor.unreadable && partition->group != NULL) {
        sp_raft_group_read_failed(partition->group, status);
    }
    if (status != 0) {
        return;
    }
    partition->compaction.dirty_offset = pass->map_end;
    partition->compaction.tombstone_min = pass->tombstone_min;
    partition->compaction.swept = pass->floor;
    partition->compaction.unclean |= pass->unclean;
    if (!partition->compaction.unclean && partition->group != NULL) {
        sp_raft_group_compacted(partition->group, pass->map_end);
    }
}
