/* The metrics of topics, and of single partitions. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#include "base/mem.h"
#include "broker/metrics_parts.h"

/* A family with one sample for each of many things, whose numbers are fields of one struct. */
struct family {
    enum sp_metric_type type;
    const char *name;
    const char *help;
    size_t field;
};

static uint64_t field_of(const void *numbers, const struct family *family)
{
    return *(const uint64_t *)(const void *)((const char *)numbers + family->field);
}

/* ---- topics ---------------------------------------------------------------------------------- */

#define TOPIC(type, name, field, help)                                                             \
    {                                                                                              \
        type, "spate_topic_" name, help, offsetof(struct sp_topic_totals, field)                   \
    }

static const struct family topic_families[] = {
    TOPIC(SP_METRIC_COUNTER,
          "produced_records_total",
          produced_records,
          "Records of the topic that this node has acknowledged."),
    TOPIC(SP_METRIC_COUNTER,
          "produced_bytes_total",
          produced_bytes,
          "Bytes of their batches, as they are stored."),
    TOPIC(SP_METRIC_COUNTER,
          "fetched_records_total",
          fetched_records,
          "Records of the topic that this node gave to consumers."),
    TOPIC(SP_METRIC_COUNTER, "fetched_bytes_total", fetched_bytes, "Bytes of their batches."),
    TOPIC(SP_METRIC_GAUGE,
          "replicas",
          replicas,
          "Partitions of the topic that have a replica on this node."),
    TOPIC(
        SP_METRIC_GAUGE, "leaders", leaders, "Partitions of the topic that are led by this node."),
    TOPIC(SP_METRIC_GAUGE,
          "under_replicated",
          under_replicated,
          "Of these, those with replicas that are down or lack committed records."),
    TOPIC(SP_METRIC_GAUGE, "log_bytes", log_bytes, "Bytes of the topic's segments on this node."),
    TOPIC(SP_METRIC_GAUGE, "segments", segments, "Segments of the topic on this node."),
};

static void sum_up(const struct sp_broker *broker)
{
    const struct sp_partition *partition;
    struct sp_topic_totals *totals;
    struct sp_map_cursor cursor = { 0 };

    while ((totals = sp_map_next(broker->totals, &cursor)) != NULL) {
        totals->replicas = 0;
        totals->leaders = 0;
        totals->under_replicated = 0;
        totals->log_bytes = 0;
        totals->segments = 0;
    }
    cursor = (struct sp_map_cursor){ 0 };
    while ((partition = sp_map_next(broker->partitions, &cursor)) != NULL) {
        if (partition->group != NULL) {
            const struct sp_log *log = sp_raft_group_log(partition->group);
            bool leader = sp_raft_group_leads(partition->group);

            totals = partition->totals;
            totals->replicas += 1;
            totals->leaders += leader;
            totals->log_bytes += sp_log_size_bytes(log);
            totals->segments += sp_log_segment_count(log);
            totals->under_replicated +=
                leader && sp_group_table_lagging(broker->options.table, partition->group_id) != 0;
        }
    }
}

void sp_topic_metrics_expose(const struct sp_broker *broker,
                             struct sp_exposition *exposition,
                             struct sp_metrics_left_out *left_out)
{
    size_t count = sp_map_count(broker->totals);

    sum_up(broker);
    left_out->topics = count > SP_METRICS_TOPICS_MAX ? count - SP_METRICS_TOPICS_MAX : 0;
    for (size_t i = 0; i < sizeof topic_families / sizeof topic_families[0]; i++) {
        const struct family *family = &topic_families[i];
        const struct sp_topic_totals *totals;
        struct sp_map_cursor cursor = { 0 };
        unsigned shown = 0;

        sp_exposition_family(exposition, family->type, family->name, family->help);
        while (shown < SP_METRICS_TOPICS_MAX &&
               (totals = sp_map_next(broker->totals, &cursor)) != NULL) {
            const struct sp_metric_label label = { "topic", totals->name };

            sp_exposition_sample(exposition, &label, 1, field_of(totals, family));
            shown += 1;
        }
    }
}

/* ---- partitions ------------------------------------------------------------------------------ */

struct numbers {
    const char *topic;
    char partition[16];
    uint64_t leader;
    uint64_t log_start;
    uint64_t high_watermark;
    uint64_t log_bytes;
    uint64_t segments;
};

#define PARTITION(name, field, help)                                                               \
    {                                                                                              \
        SP_METRIC_GAUGE, "spate_partition_" name, help, offsetof(struct numbers, field)            \
    }

static const struct family partition_families[] = {
    PARTITION("leader", leader, "1 if this node leads the partition, 0 if it follows."),
    PARTITION("log_start_offset", log_start, "First offset that is kept."),
    PARTITION("high_watermark", high_watermark, "Offset behind the last committed record."),
    PARTITION("log_bytes", log_bytes, "Bytes of the partition's segments on this node."),
    PARTITION("segments", segments, "Segments of the partition on this node."),
};

static void look(const struct sp_partition *partition, struct numbers *out_numbers)
{
    const struct sp_log *log = sp_raft_group_log(partition->group);

    *out_numbers = (struct numbers){ .topic = partition->topic,
                                     .leader = sp_raft_group_leads(partition->group),
                                     .log_start = (uint64_t)partition->log_start,
                                     .high_watermark = (uint64_t)partition->next_offset,
                                     .log_bytes = sp_log_size_bytes(log),
                                     .segments = sp_log_segment_count(log) };
    (void)snprintf(
        out_numbers->partition, sizeof out_numbers->partition, "%" PRIu32, partition->partition);
}

/* A deleted topic's replicas close while another topic of its name may have some. */
static bool is_shown(const struct sp_partition *partition)
{
    const struct sp_state *state = sp_controller_state(partition->broker->options.controller);

    return partition->group != NULL && sp_state_topic_by_id(state, partition->topic_id) != NULL;
}

/* Of those that run; *out_left_out have no place. */
static unsigned
look_at_all(const struct sp_broker *broker, struct numbers *numbers, uint64_t *out_left_out)
{
    const struct sp_partition *partition;
    struct sp_map_cursor cursor = { 0 };
    unsigned count = 0;

    while ((partition = sp_map_next(broker->partitions, &cursor)) != NULL) {
        if (!is_shown(partition)) {
            continue;
        }
        if (count < SP_METRICS_PARTITIONS_MAX) {
            look(partition, &numbers[count]);
            count += 1;
        } else {
            *out_left_out += 1;
        }
    }
    return count;
}

void sp_partition_metrics_expose(const struct sp_broker *broker,
                                 struct sp_exposition *exposition,
                                 struct sp_metrics_left_out *left_out)
{
    struct numbers *numbers = sp_mem_alloc(SP_METRICS_PARTITIONS_MAX * sizeof *numbers);
    unsigned count;

    if (numbers == NULL) {
        exposition->status = exposition->status == 0 ? SPATE_ERR_NOMEM : exposition->status;
        return;
    }
    count = look_at_all(broker, numbers, &left_out->partitions);
    for (size_t i = 0; i < sizeof partition_families / sizeof partition_families[0]; i++) {
        const struct family *family = &partition_families[i];

        sp_exposition_family(exposition, family->type, family->name, family->help);
        for (unsigned k = 0; k < count; k++) {
            const struct sp_metric_label labels[] = { { "topic", numbers[k].topic },
                                                      { "partition", numbers[k].partition } };

            sp_exposition_sample(exposition, labels, 2, field_of(&numbers[k], family));
        }
    }
    sp_mem_free(numbers);
}
