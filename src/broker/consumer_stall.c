/* Which partitions have an owner that does not progress, by looks at them from time to time. */
#include "broker/consumer_group.h"

void sp_consumer_share_look(struct sp_consumer_share *share,
                            int64_t position,
                            int64_t end,
                            uint64_t now_ms)
{
    if (position >= end) {
        share->still_ms = 0;
    } else if (share->still_ms == 0 || share->still_position != position) {
        share->still_ms = now_ms;
        share->still_position = position;
        share->stall_traced = false;
    }
}

uint64_t sp_consumer_share_still_ms(const struct sp_consumer_share *share, uint64_t now_ms)
{
    return share->still_ms == 0 || now_ms < share->still_ms ? 0 : now_ms - share->still_ms;
}
