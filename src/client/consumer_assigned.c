/* What the coordinator has given: from its answer to the partitions, and back to its questions. */
#include "client/consumer.h"
#include "wire/client_api.h"

/* True for partitions that this member has, as far as the coordinator must know (I5). */
static bool is_owned(const struct sp_consumer_partition *partition)
{
    return partition->ownership != SP_OWNERSHIP_LOST;
}

/* ---- what is owned --------------------------------------------------------------------------- */

bool sp_consumer_owns(const struct spate_consumer *consumer)
{
    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        if (is_owned(consumer->partitions[i])) {
            return true;
        }
    }
    return false;
}

/* How many partitions from number `first` on are owned and of one topic. */
static uint32_t run_of(const struct spate_consumer *consumer, uint32_t first)
{
    uint32_t end = first;

    while (end < consumer->partition_count && is_owned(consumer->partitions[end]) &&
           consumer->partitions[end]->topic == consumer->partitions[first]->topic) {
        end++;
    }
    return end - first;
}

/* The first owned partition from number `from` on, or their count. */
static uint32_t next_owned(const struct spate_consumer *consumer, uint32_t from)
{
    while (from < consumer->partition_count && !is_owned(consumer->partitions[from])) {
        from++;
    }
    return from;
}

void sp_consumer_pack_owned(const struct spate_consumer *consumer, struct sp_pack *pack)
{
    uint32_t runs = 0;
    uint32_t i;

    for (i = next_owned(consumer, 0); i < consumer->partition_count;
         i = next_owned(consumer, i + run_of(consumer, i))) {
        runs += 1;
    }
    sp_pack_array(pack, runs);
    for (i = next_owned(consumer, 0); i < consumer->partition_count;
         i = next_owned(consumer, i + run_of(consumer, i))) {
        uint32_t count = run_of(consumer, i);
        sp_pack_map(pack, 2);
        sp_pack_text(pack, "topic");
        sp_pack_text(pack, consumer->partitions[i]->topic->name);
        sp_pack_text(pack, "partitions");
        sp_pack_array(pack, count);
        for (uint32_t k = 0; k < count; k++) {
            sp_pack_uint(pack, consumer->partitions[i + k]->index);
        }
    }
}

/* ---- what is answered ------------------------------------------------------------------------ */

/* It is another's, or will be without our doing. */
static void lose(struct sp_consumer_partition *partition)
{
    bool told = partition->ownership == SP_OWNERSHIP_OWNED ||
                partition->ownership == SP_OWNERSHIP_REVOKED || partition->consumer->telling;

    sp_fetcher_stop(partition);
    sp_commits_lose(partition);
    if (told) {
        partition->ownership = SP_OWNERSHIP_LOST;
        sp_fetcher_advance(partition);
    } else {
        sp_consumer_remove(partition);
    }
}

void sp_consumer_lose_all(struct spate_consumer *consumer)
{
    for (uint32_t i = consumer->partition_count; i > 0; i--) {
        if (is_owned(consumer->partitions[i - 1])) {
            lose(consumer->partitions[i - 1]);
        }
    }
}

static int
take_assigned(struct spate_consumer *consumer, struct sp_topic_view *topic, int32_t index)
{
    struct sp_consumer_partition *partition = sp_consumer_find(consumer, topic, index);

    if (partition == NULL) {
        int rv = sp_consumer_add(consumer, topic, index, SPATE_OFFSET_STORED, &partition);
        if (rv != 0) {
            return rv;
        }
        partition->ownership = SP_OWNERSHIP_ASSIGNED;
    } else if (partition->ownership == SP_OWNERSHIP_REVOKED) {
        partition->ownership = SP_OWNERSHIP_OWNED; /* taken back before the user knew of it */
        sp_fetcher_advance(partition);
    }
    /* A lost one is told first; a releasing one goes first: it comes anew with a later answer. */
    partition->seen = true;
    return 0;
}

static int take_revoked(struct spate_consumer *consumer, struct sp_topic_view *topic, int32_t index)
{
    struct sp_consumer_partition *partition = sp_consumer_find(consumer, topic, index);

    if (partition == NULL) {
        return 0; /* given up already */
    }
    partition->seen = true;
    if (partition->ownership == SP_OWNERSHIP_OWNED) {
        sp_fetcher_stop(partition);
        partition->ownership = SP_OWNERSHIP_REVOKED;
        sp_fetcher_advance(partition);
    } else if (partition->ownership == SP_OWNERSHIP_ASSIGNED && !consumer->telling) {
        partition->ownership = SP_OWNERSHIP_RELEASING; /* the user never knew: nothing to commit */
    }
    return 0;
}

/* Topics that nobody here ever named are passed over: what a process of this group.instance has
 * subscribed to before, or what a server makes up. */
static int each_place(struct spate_consumer *consumer,
                      struct sp_bytes places,
                      int (*each)(struct spate_consumer *, struct sp_topic_view *, int32_t))
{
    struct sp_cursor cursor = sp_cursor_of(places);

    for (uint32_t topics = sp_cursor_array(&cursor); topics > 0; topics--) {
        struct sp_group_places row;
        int rv = sp_group_places_read(&cursor, &row, NULL);
        if (rv != 0) {
            return rv;
        }
        struct sp_topic_view *view = sp_metadata_find(consumer->client->metadata, row.topic);
        struct sp_cursor numbers = sp_cursor_of(row.partitions);
        for (uint32_t count = sp_cursor_array(&numbers); count > 0 && rv == 0; count--) {
            int64_t index = sp_cursor_int(&numbers, 0, SP_PARTITIONS_PER_TOPIC_MAX - 1);
            rv = sp_cursor_status(&numbers);
            rv = rv != 0 || view == NULL ? rv : each(consumer, view, (int32_t)index);
        }
        if (rv != 0) {
            return rv;
        }
    }
    return sp_cursor_status(&cursor);
}

int sp_consumer_apply(struct spate_consumer *consumer,
                      struct sp_bytes assigned,
                      struct sp_bytes revoke)
{
    for (uint32_t i = 0; i < consumer->partition_count; i++) {
        consumer->partitions[i]->seen = false;
    }
    int rv = each_place(consumer, assigned, take_assigned);
    rv = rv != 0 ? rv : each_place(consumer, revoke, take_revoked);
    if (rv != 0) {
        return rv;
    }
    for (uint32_t i = consumer->partition_count; i > 0; i--) {
        struct sp_consumer_partition *partition = consumer->partitions[i - 1];
        if (!partition->seen && is_owned(partition)) {
            if (partition->ownership != SP_OWNERSHIP_RELEASING) {
                sp_gone_suspect(consumer, partition->topic);
            }
            lose(partition);
        }
    }
    sp_commits_release(consumer);
    return 0;
}
