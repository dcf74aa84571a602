/* A member of a consumer group, with libspate: reads what the group gives it, and commits by hand
 * after every few polls, or leaves that to the library. */
#include <inttypes.h>

#include "workload.h"

enum {
    WAIT_MS = 100,
    COMMIT_EVERY = 4, /* polls */
    COMMIT_MS = 5000,
    CLOSE_MS = 5000,
};

/* Where the program is with a partition that it was given. */
struct place {
    bool owned;
    int64_t next;      /* behind what it has processed; -1: nothing yet */
    int64_t committed; /* what it committed last; -1: nothing */
};

static struct {
    struct jep_client *client;
    struct spate_consumer *consumer;
    struct place places[JEP_PARTITIONS_MAX];
} all;

static void say(const char *what, uint32_t partition)
{
    jep_history_line(all.client->history,
                     jep_history_operation(all.client->history),
                     "ok %s p=%" PRIu32,
                     what,
                     partition);
}

/* Commits what was processed of one partition. The outcome is unknown when the answer did not come:
 * the library repeats the commit then. */
static void commit(uint32_t partition)
{
    struct place *place = &all.places[partition];
    struct jep_history *history = all.client->history;
    struct spate_message upto = {
        .topic = all.client->options.topic,
        .partition = (int32_t)partition,
        .offset = place->next - 1,
    };

    if (place->next <= place->committed) {
        return;
    }
    uint64_t number = jep_history_operation(history);
    jep_history_line(
        history, number, "invoke commit p=%" PRIu32 " o=%" PRId64, partition, place->next);
    jep_history_flush(history);
    int rv = spate_consumer_commit(all.consumer, &upto, COMMIT_MS);
    const char *outcome = rv == 0                          ? "ok"
                          : rv == SPATE_ERR_GROUP_FENCED   ? "fail"
                          : rv == SPATE_ERR_UNKNOWN_MEMBER ? "fail"
                                                           : "info";
    jep_history_line(history,
                     number,
                     "%s commit p=%" PRIu32 " o=%" PRId64 " e=%s",
                     outcome,
                     partition,
                     place->next,
                     spate_error_name(rv));
    if (rv == 0) {
        place->committed = place->next;
    }
}

static void commit_all(void)
{
    for (uint32_t i = 0; i < all.client->options.partitions; i++) {
        if (all.places[i].owned && all.places[i].next > 0) {
            commit(i);
        }
    }
}

static void on_event(void *arg, const struct spate_consumer_event *event)
{
    (void)arg;
    for (size_t i = 0; i < event->count; i++) {
        uint32_t partition = (uint32_t)event->partitions[i].partition;
        struct place *place = &all.places[partition];
        if (partition >= all.client->options.partitions) {
            jep_die(all.client, "the topic has more than --partitions", SPATE_ERR_INVALID);
        }
        if (event->kind == SPATE_CONSUMER_ASSIGNED) {
            say("assigned", partition);
            *place = (struct place){ .owned = true, .next = -1, .committed = -1 };
        } else if (event->kind == SPATE_CONSUMER_REVOKED) {
            if (all.client->options.commit_by_hand && place->next > 0) {
                commit(partition);
            }
            say("revoked", partition);
            place->owned = false;
        } else if (event->kind == SPATE_CONSUMER_LOST) {
            say("lost", partition);
            place->owned = false;
        } else if (event->kind == SPATE_CONSUMER_SKIPPED) {
            jep_say_skipped(all.client, &event->partitions[i]);
        }
    }
    jep_history_flush(all.client->history);
}

static void set_up(struct jep_client *client)
{
    const char *topic = client->options.topic;

    all.client = client;
    int rv = client->options.group[0] == '\0' ? SPATE_ERR_INVALID : 0;
    if (rv == 0) {
        rv = spate_consumer_new(client->spate, &all.consumer);
    }
    if (rv == 0) {
        rv = spate_consumer_on_event(all.consumer, on_event, NULL);
    }
    if (rv == 0) {
        rv = spate_consumer_subscribe(all.consumer, &topic, 1);
    }
    if (rv != 0) {
        jep_die(client, "group", rv);
    }
}

int jep_group(struct jep_client *client)
{
    unsigned polls = 0;
    int code = 0;

    set_up(client);
    while (jep_goes_on(client)) {
        struct spate_message last;
        int count = jep_poll(client, all.consumer, WAIT_MS, " group=1", &last);
        if (count == SPATE_ERR_GROUP_FENCED) { /* another process has this instance name */
            code = 0;
            break;
        }
        if (count < 0 && count != SPATE_ERR_AGAIN) {
            jep_die(client, "read", count);
        }
        if (count > 0) {
            all.places[last.partition].next = last.offset + 1;
            jep_history_flush(client->history); /* processed: it outlives this process */
        }
        bool due = count == SPATE_ERR_AGAIN || ++polls % COMMIT_EVERY == 0;
        if (client->options.commit_by_hand && due) {
            commit_all();
        }
    }
    (void)spate_consumer_close(all.consumer, CLOSE_MS); /* what is left expires */
    spate_consumer_free(all.consumer);
    return code;
}
