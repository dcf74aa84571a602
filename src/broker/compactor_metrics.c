#include "base/metrics.h"
#include "broker/compactor.h"

void sp_compactor_expose(const struct sp_compactor *compactor, struct sp_exposition *exposition)
{
    const struct sp_compaction_counters *counters = &compactor->counters;

    sp_exposition_gauge(exposition,
                        "spate_compaction_running",
                        "1 while a partition of this node is compacted.",
                        compactor->state != SP_COMPACTOR_IDLE);
    sp_exposition_counter(exposition,
                          "spate_compaction_passes_total",
                          "Compactions of a partition that came to their end.",
                          counters->passes);
    sp_exposition_counter(exposition,
                          "spate_compaction_failed_total",
                          "Compactions of a partition that were given up.",
                          counters->failed);
    sp_exposition_counter(exposition,
                          "spate_compaction_read_bytes_total",
                          "Bytes that compaction has read and written.",
                          counters->read_bytes);
    sp_exposition_counter(exposition,
                          "spate_compaction_removed_bytes_total",
                          "Bytes by which compaction has made segments smaller.",
                          counters->removed_bytes);
    sp_exposition_counter(exposition,
                          "spate_compaction_removed_records_total",
                          "Records that compaction has removed.",
                          counters->removed_records);
    sp_exposition_counter(exposition,
                          "spate_compaction_segments_total",
                          "Segments that compaction has replaced.",
                          counters->segments);
    sp_exposition_gauge(exposition,
                        "spate_compaction_last_end_seconds",
                        "When the last compaction of a partition ended, by the wall clock; 0: none "
                        "has since the start.",
                        counters->last_end_ms > 0 ? (uint64_t)counters->last_end_ms / 1000 : 0);
    sp_exposition_family(exposition,
                         SP_METRIC_GAUGE,
                         "spate_compaction_last_duration_seconds",
                         "What the last compaction of a partition took.");
    sp_exposition_seconds(exposition, NULL, 0, counters->last_ms * 1000);
}
