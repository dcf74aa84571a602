/* What the files of the broker's metrics share. */
#ifndef SP_BROKER_METRICS_PARTS_H
#define SP_BROKER_METRICS_PARTS_H

#include "base/metrics.h"
#include "broker/methods.h"

/* What one answer has no room for. */
struct sp_metrics_left_out {
    uint64_t topics;
    uint64_t partitions;
    uint64_t groups;
    uint64_t lags;
};

/* topic_metrics.c: by topic, and by partition. */
void sp_topic_metrics_expose(const struct sp_broker *broker,
                             struct sp_exposition *exposition,
                             struct sp_metrics_left_out *left_out);
void sp_partition_metrics_expose(const struct sp_broker *broker,
                                 struct sp_exposition *exposition,
                                 struct sp_metrics_left_out *left_out);

/* group_metrics.c: of the consumer groups that are coordinated here. */
void sp_group_metrics_expose(const struct sp_broker *broker,
                             struct sp_exposition *exposition,
                             struct sp_metrics_left_out *left_out);

#endif /* SP_BROKER_METRICS_PARTS_H */
