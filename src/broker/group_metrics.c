/* The metrics of the consumer groups that this node coordinates. */
#include "base/mem.h"
#include "broker/consumer_row.h"
#include "broker/coordinator.h"
#include "broker/metrics_parts.h"

/* A place among the groups of all coordinators that this node leads. */
struct walk {
    const struct sp_broker *broker;
    const struct sp_coordinator *coordinator;
    struct sp_map_cursor coordinators;
    struct sp_map_cursor groups;
};

static const struct sp_consumer_group *next_group(struct walk *walk)
{
    for (;;) {
        const struct sp_consumer_group *group =
            walk->coordinator == NULL || !walk->coordinator->leading
                ? NULL
                : sp_consumer_groups_next(walk->coordinator->groups, &walk->groups);

        if (group != NULL) {
            return group;
        }
        walk->coordinator = sp_map_next(walk->broker->coordinators, &walk->coordinators);
        walk->groups = (struct sp_map_cursor){ 0 };
        if (walk->coordinator == NULL) {
            return NULL;
        }
    }
}

/* ---- lag ------------------------------------------------------------------------------------- */

/* How far a group is behind one topic. */
struct lag {
    const struct sp_consumer_group *group;
    const struct sp_state_topic *topic;
    uint64_t records;
    uint64_t unknown; /* partitions without a replica here */
};

struct lags {
    const struct sp_broker *broker;
    struct lag *entries;
    unsigned count;
    unsigned looks; /* partitions looked at */
    uint64_t left_out;
};

static void add(struct lags *lags, struct lag *lag, const struct sp_consumer_row *row)
{
    const struct sp_partition *local =
        row->partition < lag->topic->partition_count
            ? sp_map_get_u64(lags->broker->partitions,
                             lag->topic->partitions[row->partition].group_id)
            : NULL;
    int64_t from;

    lags->looks += 1;
    if (local == NULL) {
        lag->unknown += 1;
        return;
    }
    from = row->offset != NULL ? row->offset->offset : local->log_start;
    lag->records += local->next_offset > from ? (uint64_t)(local->next_offset - from) : 0;
}

/* One entry for each topic of the group, as far as there is room. */
static void look_at_group(struct lags *lags, const struct sp_consumer_group *group)
{
    const struct sp_state *state = sp_controller_state(lags->broker->options.controller);
    struct sp_consumer_row_cursor cursor = { 0 };
    struct sp_consumer_row row;
    struct lag *lag = NULL;
    uint64_t topic_id = 0;
    bool begun = false;

    while (sp_consumer_row_next(group, &cursor, &row)) {
        if (!begun || row.topic_id != topic_id) {
            const struct sp_state_topic *topic = sp_state_topic_by_id(state, row.topic_id);
            bool room =
                lags->count < SP_METRICS_LAGS_MAX && lags->looks < SP_METRICS_LAG_PARTITIONS_MAX;

            begun = true;
            topic_id = row.topic_id;
            lag = room && topic != NULL ? &lags->entries[lags->count] : NULL;
            lags->left_out += topic != NULL && !room;
            if (lag != NULL) {
                *lag = (struct lag){ .group = group, .topic = topic };
                lags->count += 1;
            }
        }
        if (lag != NULL) {
            add(lags, lag, &row);
        }
    }
}

static void expose_lag(const struct lag *lag, struct sp_exposition *exposition, uint64_t value)
{
    const struct sp_metric_label labels[] = { { "group", lag->group->name },
                                              { "topic", lag->topic->name } };

    sp_exposition_sample(exposition, labels, 2, value);
}

static void expose_lags(const struct lags *lags, struct sp_exposition *exposition)
{
    sp_exposition_family(exposition,
                         SP_METRIC_GAUGE,
                         "spate_consumer_group_lag_records",
                         "Records of the topic that the group has not committed yet.");
    for (unsigned i = 0; i < lags->count; i++) {
        expose_lag(&lags->entries[i], exposition, lags->entries[i].records);
    }
    sp_exposition_family(exposition,
                         SP_METRIC_GAUGE,
                         "spate_consumer_group_lag_unknown_partitions",
                         "Partitions that are missing in the lag, as they have no replica on the "
                         "node that coordinates the group.");
    for (unsigned i = 0; i < lags->count; i++) {
        expose_lag(&lags->entries[i], exposition, lags->entries[i].unknown);
    }
}

/* ---- groups ---------------------------------------------------------------------------------- */

static void expose_groups(const struct sp_broker *broker,
                          struct sp_exposition *exposition,
                          struct sp_metrics_left_out *left_out)
{
    static const struct {
        const char *name;
        const char *help;
    } families[] = {
        { "spate_consumer_group_members", "Members of the group." },
        { "spate_consumer_group_stalled_partitions",
          "Partitions whose owners have something to read and commit nothing." },
    };
    uint64_t count = 0;

    for (unsigned i = 0; i < 2; i++) {
        struct walk walk = { .broker = broker };
        const struct sp_consumer_group *group;

        count = 0;
        sp_exposition_family(exposition, SP_METRIC_GAUGE, families[i].name, families[i].help);
        while ((group = next_group(&walk)) != NULL) {
            const struct sp_metric_label label = { "group", group->name };

            if (count < SP_METRICS_GROUPS_MAX) {
                sp_exposition_sample(
                    exposition, &label, 1, i == 0 ? group->member_count : group->stalled_count);
            }
            count += 1;
        }
    }
    left_out->groups = count > SP_METRICS_GROUPS_MAX ? count - SP_METRICS_GROUPS_MAX : 0;
    sp_exposition_gauge(
        exposition, "spate_consumer_groups", "Consumer groups that this node coordinates.", count);
}

void sp_group_metrics_expose(const struct sp_broker *broker,
                             struct sp_exposition *exposition,
                             struct sp_metrics_left_out *left_out)
{
    struct lags lags = { .broker = broker };
    struct walk walk = { .broker = broker };
    const struct sp_consumer_group *group;

    expose_groups(broker, exposition, left_out);
    lags.entries = sp_mem_calloc(SP_METRICS_LAGS_MAX, sizeof lags.entries[0]);
    if (lags.entries == NULL) {
        exposition->status = exposition->status == 0 ? SPATE_ERR_NOMEM : exposition->status;
        return;
    }
    while ((group = next_group(&walk)) != NULL) {
        look_at_group(&lags, group);
    }
    left_out->lags = lags.left_out;
    expose_lags(&lags, exposition);
    sp_mem_free(lags.entries);
}
