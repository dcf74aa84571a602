#include "broker/topic_totals.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "broker/methods.h"

struct sp_topic_totals *sp_topic_totals_ref(struct sp_broker *broker,
                                            const struct sp_state_topic *topic)
{
    size_t name_size = strlen(topic->name);
    struct sp_topic_totals *totals = sp_map_get(broker->totals, topic->name, name_size);

    if (totals != NULL) {
        totals->references += 1;
        return totals;
    }
    totals = sp_mem_calloc(1, sizeof *totals);
    if (totals == NULL) {
        return NULL;
    }
    totals->references = 1;
    (void)snprintf(totals->name, sizeof totals->name, "%s", topic->name);
    if (sp_map_put(broker->totals, topic->name, name_size, totals) != 0) {
        sp_mem_free(totals);
        return NULL;
    }
    return totals;
}

void sp_topic_totals_unref(struct sp_broker *broker, struct sp_topic_totals *totals)
{
    if (totals == NULL) {
        return;
    }
    totals->references -= 1;
    if (totals->references == 0) {
        (void)sp_map_remove(broker->totals, totals->name, strlen(totals->name));
        sp_mem_free(totals);
    }
}

void sp_topic_count_produced(struct sp_partition *partition, int32_t records, uint64_t bytes)
{
    struct sp_broker_counters *counters = &partition->broker->counters;

    counters->produced_batches += 1;
    counters->produced_records += (uint64_t)records;
    counters->produced_bytes += bytes;
    partition->totals->produced_records += (uint64_t)records;
    partition->totals->produced_bytes += bytes;
}

void sp_topic_count_fetched(struct sp_partition *partition,
                            const struct sp_log_read *read,
                            int64_t offset)
{
    struct sp_broker_counters *counters = &partition->broker->counters;
    uint64_t records = 0;
    uint64_t bytes = 0;

    for (unsigned i = 0; i < read->count; i++) {
        struct sp_log_frame frame = { .length = 0 };
        struct sp_batch_facts facts;

        /* it was verified */
        (void)sp_log_frame_decode(read->frames[i].bytes, read->frames[i].size, &frame);
        sp_batch_facts_read(sp_log_frame_payload(read->frames[i].bytes), &facts);
        bytes += sp_log_frame_batch_size(&frame);
        records += (uint64_t)facts.record_count;
        if (i == 0 && !frame.compacted && facts.base_offset < offset) {
            records -= (uint64_t)(offset - facts.base_offset); /* sent, but not asked for */
        }
    }

    counters->fetched_records += records;
    counters->fetched_bytes += bytes;
    partition->totals->fetched_records += records;
    partition->totals->fetched_bytes += bytes;
}
