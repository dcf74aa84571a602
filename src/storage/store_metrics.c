/* The metrics of the data directory. */
#include "base/metrics.h"
#include "storage/log_state.h"
#include "storage/store_state.h"

static void expose_logs(const struct sp_store *store, struct sp_exposition *exposition)
{
    uint64_t logs = 0;
    uint64_t segments = 0;
    uint64_t size = 0;

    SP_LIST_EACH (node, &store->logs) {
        const struct sp_log *log = SP_LIST_ENTRY(node, struct sp_log, store_node);

        logs += 1;
        segments += sp_log_segment_count(log);
        size += sp_log_size_bytes(log);
    }
    sp_exposition_gauge(
        exposition, "spate_storage_logs", "Logs of replicas that are open on this node.", logs);
    sp_exposition_gauge(
        exposition, "spate_storage_segments", "Segment files of all logs of this node.", segments);
    sp_exposition_gauge(
        exposition, "spate_storage_log_bytes", "Bytes of all segments of this node.", size);
}

static void expose_syncs(const struct sp_store *store, struct sp_exposition *exposition)
{
    const struct sp_metric_label records = { "log", "records" };
    const struct sp_metric_label meta = { "log", "meta" };

    sp_exposition_family(exposition,
                         SP_METRIC_HISTOGRAM,
                         "spate_storage_fsync_duration_seconds",
                         "Time to make what was written durable: records, or terms and votes.");
    sp_exposition_histogram(exposition, &records, 1, &store->counters.frame_syncs);
    sp_exposition_histogram(exposition, &meta, 1, &store->counters.meta_writes);
    sp_exposition_counter(exposition,
                          "spate_storage_written_bytes_total",
                          "Bytes written to segments, replication included.",
                          store->counters.written_bytes);
    sp_exposition_counter(exposition,
                          "spate_storage_recycled_segments_total",
                          "Segments that were written into the file of an old one.",
                          store->spares.used);
}

static void expose_reads(const struct sp_store *store, struct sp_exposition *exposition)
{
    const struct sp_metric_label memory = { "from", "memory" };
    const struct sp_metric_label disk = { "from", "disk" };

    sp_exposition_family(exposition,
                         SP_METRIC_COUNTER,
                         "spate_storage_reads_total",
                         "Reads of logs by consumers, followers and state machines.");
    sp_exposition_sample(exposition, &memory, 1, store->counters.memory_reads);
    sp_exposition_sample(exposition, &disk, 1, store->counters.disk_reads);
}

void sp_store_expose(const struct sp_store *store, struct sp_exposition *exposition)
{
    expose_logs(store, exposition);
    expose_syncs(store, exposition);
    expose_reads(store, exposition);
}
