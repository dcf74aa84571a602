/* The partitions that a consumer group has an owner or an offset of, one after the other. */
#ifndef SP_BROKER_CONSUMER_ROW_H
#define SP_BROKER_CONSUMER_ROW_H

#include "broker/consumer_group.h"

/* One partition; share and offset may be NULL, not both. */
struct sp_consumer_row {
    uint64_t topic_id;
    uint32_t partition;
    const struct sp_consumer_share *share;
    const struct sp_consumer_offset *offset;
};

/* A place in the walk; zero-initialised it stands before the first row. */
struct sp_consumer_row_cursor {
    unsigned share;
    unsigned offset;
};

/* The next one in order of topic id and partition; false: there is none. */
bool sp_consumer_row_next(const struct sp_consumer_group *group,
                          struct sp_consumer_row_cursor *cursor,
                          struct sp_consumer_row *out_row);

#endif /* SP_BROKER_CONSUMER_ROW_H */
