/* Looks from outside: ends of partitions, which the leader must tell truly at the moment when it is
 * asked, and what the group has committed. */
#include <inttypes.h>

#include "workload.h"

enum {
    PAUSE_NS = 50 * 1000 * 1000, /* between two questions */
};

static void ask_end(struct jep_client *client, uint32_t partition)
{
    struct jep_history *history = client->history;
    uint64_t number = jep_history_operation(history);
    int64_t end = -1;

    jep_history_line(history, number, "invoke offsets p=%" PRIu32, partition);
    int rv = spate_offsets(client->spate, client->options.topic, partition, SPATE_AT_END, &end);
    if (rv == 0) {
        jep_history_line(history, number, "ok offsets p=%" PRIu32 " end=%" PRId64, partition, end);
    } else {
        jep_history_line(
            history, number, "fail offsets p=%" PRIu32 " e=%s", partition, spate_error_name(rv));
    }
}

static void
ask_committed(struct jep_client *client, struct spate_consumer *consumer, uint32_t partition)
{
    struct jep_history *history = client->history;
    uint64_t number = jep_history_operation(history);
    int64_t offset = -1;

    jep_history_line(history, number, "invoke committed p=%" PRIu32, partition);
    int rv = spate_consumer_committed(consumer, client->options.topic, (int32_t)partition, &offset);
    if (rv == 0 || rv == SPATE_ERR_NOT_FOUND) {
        jep_history_line(
            history, number, "ok committed p=%" PRIu32 " o=%" PRId64, partition, offset);
    } else {
        jep_history_line(
            history, number, "fail committed p=%" PRIu32 " e=%s", partition, spate_error_name(rv));
    }
}

int jep_observe(struct jep_client *client)
{
    struct spate_consumer *consumer = NULL;
    bool in_group = client->options.group[0] != '\0';
    int rv = in_group ? spate_consumer_new(client->spate, &consumer) : 0;

    if (rv != 0) {
        jep_die(client, "consumer", rv);
    }
    while (jep_goes_on(client)) {
        uint32_t partition = (uint32_t)sp_rand_below(&client->rand, client->options.partitions);
        if (in_group && sp_rand_below(&client->rand, 2) == 0) {
            ask_committed(client, consumer, partition);
        } else {
            ask_end(client, partition);
        }
        jep_wait(client, jep_now_ns() + PAUSE_NS);
    }
    spate_consumer_free(consumer);
    return 0;
}
