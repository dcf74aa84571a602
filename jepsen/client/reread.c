/* Reads partitions from the start to what was the end, again and again: what is left of a compacted
 * topic, while it is compacted. Some passes begin elsewhere. */
#include <inttypes.h>

#include "workload.h"

enum {
    WAIT_MS = 50,
    PASS_NS = 500 * 1000 * 1000, /* from one pass over a partition to the next, at least */
    ELSEWHERE_ONE_IN = 4,
};

/* Of a partition. */
struct pass {
    int64_t end; /* where it ends; -1: nothing was read yet */
    int64_t next_ns;
};

/* From the start, or from somewhere below `position`. */
static int64_t draw_start(struct jep_client *client, int64_t position)
{
    if (position <= 0 || sp_rand_below(&client->rand, ELSEWHERE_ONE_IN) > 0) {
        return SPATE_OFFSET_START;
    }
    return (int64_t)sp_rand_below(&client->rand, (uint64_t)position);
}

static void look(struct jep_client *client,
                 struct spate_consumer *consumer,
                 struct pass *pass,
                 uint32_t partition)
{
    int64_t position = -1;

    (void)spate_consumer_position(
        consumer, client->options.topic, (int32_t)partition, &position); /* -1: not known yet */
    if (pass->end < 0 || position < pass->end || jep_now_ns() < pass->next_ns) {
        return;
    }
    pass->end = -1;
    pass->next_ns = jep_now_ns() + PASS_NS;
    jep_read_from(client, consumer, partition, draw_start(client, position));
}

int jep_reread(struct jep_client *client)
{
    struct spate_consumer *consumer = jep_assign_all(client);
    static struct pass passes[JEP_PARTITIONS_MAX];
    struct spate_message last;

    for (uint32_t i = 0; i < client->options.partitions; i++) {
        passes[i] = (struct pass){ .end = -1 };
    }
    while (jep_goes_on(client)) {
        int count = jep_poll(client, consumer, WAIT_MS, "", &last);
        if (count < 0 && count != SPATE_ERR_AGAIN) {
            jep_die(client, "read", count);
        }
        if (count > 0 && passes[last.partition].end < 0) {
            passes[last.partition].end = last.high_watermark;
        }
        for (uint32_t i = 0; i < client->options.partitions; i++) {
            look(client, consumer, &passes[i], i);
        }
    }
    spate_consumer_free(consumer);
    return 0;
}
