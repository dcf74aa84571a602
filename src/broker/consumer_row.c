#include "broker/consumer_row.h"

#include <stddef.h>

/* Both lists are in order of topic id and partition. */
bool sp_consumer_row_next(const struct sp_consumer_group *group,
                          struct sp_consumer_row_cursor *cursor,
                          struct sp_consumer_row *out_row)
{
    const struct sp_consumer_share *share =
        cursor->share < group->share_count ? &group->shares[cursor->share] : NULL;
    const struct sp_consumer_offset *offset =
        cursor->offset < group->offset_count ? &group->offsets[cursor->offset] : NULL;
    int order = share == NULL ? 1 : -1;

    if (share == NULL && offset == NULL) {
        return false;
    }
    if (share != NULL && offset != NULL) {
        order = sp_consumer_place_compare(
            share->topic_id, share->partition, offset->topic_id, offset->partition);
    }
    *out_row = (struct sp_consumer_row){
        .topic_id = order <= 0 ? share->topic_id : offset->topic_id,
        .partition = order <= 0 ? share->partition : offset->partition,
        .share = order <= 0 ? share : NULL,
        .offset = order >= 0 ? offset : NULL,
    };
    cursor->share += order <= 0;
    cursor->offset += order >= 0;
    return true;
}
