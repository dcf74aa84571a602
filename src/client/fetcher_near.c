/* A replica nearby instead of the leader: when it is asked, what follows when it is of no use. */
#include "client/consumer.h"

enum {
    NEAR_PAUSE_MS = 2000, /* so long the leader is asked after a replica nearby was of no use */
    NEAR_LOOK_MS = 30000, /* between looks whether there is one */
};

bool sp_fetcher_may_ask_near(const struct sp_consumer_partition *partition)
{
    const struct spate_consumer *consumer = partition->consumer;

    return partition->resolved && !consumer->client->config.linearizable &&
           !(consumer->end->asked && partition->end_offset < 0) &&
           sp_consumer_now_ms(partition->consumer) >= partition->leader_until_ms;
}

void sp_fetcher_leave_near(struct sp_consumer_partition *partition)
{
    partition->leader_until_ms = sp_consumer_now_ms(partition->consumer) + NEAR_PAUSE_MS;
    (void)sp_metadata_want(partition->consumer->client->metadata);
}

void sp_fetcher_look_for_near(struct sp_consumer_partition *partition)
{
    struct spate_client *client = partition->consumer->client;

    if (client->config.client_rack[0] != '\0' &&
        sp_consumer_now_ms(partition->consumer) - partition->near_looked_ms >= NEAR_LOOK_MS) {
        partition->near_looked_ms = sp_consumer_now_ms(partition->consumer);
        (void)sp_metadata_want(client->metadata);
    }
}
