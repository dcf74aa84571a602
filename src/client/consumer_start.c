/* A position below the start of its log: what is gone is told, reading goes on behind it. */
#include <inttypes.h>
#include <stdio.h>

#include "client/consumer.h"

bool sp_consumer_look_for_start(struct sp_consumer_partition *partition, const char *text)
{
    /* the start moved on before the first record was read: nothing is skipped */
    bool untouched = partition->start == SPATE_OFFSET_START && partition->epoch < 0;

    if (!untouched && partition->consumer->client->config.offset_reset == SP_OFFSET_RESET_NONE) {
        return false;
    }
    partition->retry_ms = sp_consumer_now_ms(partition->consumer) + SP_CLIENT_PAUSE_MIN_MS;
    if (partition->fetched_count == 0) {
        partition->resolved = false;
        partition->start_wanted = !untouched;
        (void)snprintf(partition->text, sizeof partition->text, "%.400s", text);
    }
    return true;
}

void sp_consumer_take_start(struct sp_consumer_partition *partition, int64_t start)
{
    char text[SP_CLIENT_ERROR_SIZE];

    partition->start_wanted = false;
    partition->resolved = true;
    if (start <= partition->fetch_offset) { /* it was above the end, then */
        (void)snprintf(text, sizeof text, "%s", partition->text);
        sp_fetcher_fail(partition, SPATE_ERR_OFFSET_OUT_OF_RANGE, text);
        return;
    }
    sp_client_log(partition->consumer->client,
                  SPATE_LOG_WARN,
                  "%s/%" PRIu32 ": offsets %" PRId64 " to %" PRId64
                  " were deleted before they were read",
                  partition->topic->name,
                  partition->index,
                  partition->fetch_offset,
                  start - 1);
    if (partition->skipped_from < 0) {
        partition->skipped_from = partition->fetch_offset;
    }
    partition->fetch_offset = start;
    partition->position = start;
    sp_client_wake(partition->consumer->client);
}
