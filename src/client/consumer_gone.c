/* Topics of a subscription that were deleted: the coordinator only takes their partitions away. */
#include <stdio.h>

#include "base/mem.h"
#include "client/consumer.h"

enum {
    LOOKS = 5, /* descriptions without news: servers hear of a deletion one after the other */
};

/* A topic of which partitions were lost, and perhaps it has gone itself. */
struct sp_gone_topic {
    struct sp_list node;
    struct sp_topic_view *topic;
    unsigned looks; /* that are left */
    bool gone;      /* to be told */
};

static struct sp_gone_topic *entry_of(struct sp_list *node)
{
    return SP_LIST_ENTRY(node, struct sp_gone_topic, node);
}

static void forget(struct sp_gone_topic *entry)
{
    sp_list_remove(&entry->node);
    sp_mem_free(entry);
}

static struct sp_gone_topic *find(struct spate_consumer *consumer,
                                  const struct sp_topic_view *topic)
{
    SP_LIST_EACH (node, &consumer->gone) {
        if (entry_of(node)->topic == topic) {
            return entry_of(node);
        }
    }
    return NULL;
}

void sp_gone_suspect(struct spate_consumer *consumer, struct sp_topic_view *topic)
{
    struct sp_gone_topic *entry = find(consumer, topic);

    if (entry == NULL) {
        entry = sp_mem_calloc(1, sizeof *entry);
        if (entry == NULL) {
            return; /* it is only not told */
        }
        entry->topic = topic;
        sp_list_append(&consumer->gone, &entry->node);
    }
    entry->looks = LOOKS;
    (void)sp_metadata_want(consumer->client->metadata);
}

void sp_gone_look(struct spate_consumer *consumer)
{
    SP_LIST_EACH_SAFE (node, &consumer->gone) {
        struct sp_gone_topic *entry = entry_of(node);
        if (entry->gone) {
            continue;
        }
        if (entry->topic->status == SPATE_ERR_UNKNOWN_TOPIC) {
            entry->gone = true;
            sp_client_log(consumer->client,
                          SPATE_LOG_WARN,
                          "topic %s was deleted: group %s waits for it",
                          entry->topic->name,
                          consumer->client->config.group_id);
            sp_client_wake(consumer->client);
        } else if (entry->looks == 0) {
            forget(entry);
        } else {
            entry->looks -= 1;
            (void)sp_metadata_want(consumer->client->metadata);
        }
    }
}

bool sp_gone_take(struct spate_consumer *consumer, char out_text[SP_CLIENT_ERROR_SIZE])
{
    SP_LIST_EACH (node, &consumer->gone) {
        struct sp_gone_topic *entry = entry_of(node);
        if (entry->gone) {
            (void)snprintf(out_text,
                           SP_CLIENT_ERROR_SIZE,
                           "topic %s was deleted: waiting for it",
                           entry->topic->name);
            forget(entry);
            return true;
        }
    }
    return false;
}

bool sp_gone_ready(const struct spate_consumer *consumer)
{
    SP_LIST_EACH (node, &consumer->gone) {
        if (SP_LIST_ENTRY(node, struct sp_gone_topic, node)->gone) {
            return true;
        }
    }
    return false;
}

void sp_gone_forget_all(struct spate_consumer *consumer)
{
    while (!sp_list_empty(&consumer->gone)) {
        forget(entry_of(consumer->gone.next));
    }
}
