/* Gives up the oldest records of partitions, one after the other, up to somewhere below the end. */
#include <inttypes.h>

#include "base/buf.h"
#include "wire/pack.h"
#include "workload.h"

enum {
    PAUSE_NS = 500 * 1000 * 1000,
    PARAMS_BYTES_MAX = 1024,
    KEEP_MEAN = 500, /* records that stay */
};

/* Nothing was done: the leader refused it, or was not reached. */
static bool is_refused(int rv)
{
    return rv == SPATE_ERR_OFFSET_OUT_OF_RANGE || rv == SPATE_ERR_UNREACHABLE ||
           rv == SPATE_ERR_INVALID;
}

static int call(struct jep_client *client, uint32_t partition, int64_t before)
{
    struct sp_pack pack;
    struct sp_buf params;
    void *result = NULL;
    size_t result_size = 0;

    sp_buf_init(&params, PARAMS_BYTES_MAX);
    sp_pack_init(&pack, &params);
    sp_pack_map(&pack, 3);
    sp_pack_text(&pack, "topic");
    sp_pack_text(&pack, client->options.topic);
    sp_pack_text(&pack, "partition");
    sp_pack_uint(&pack, partition);
    sp_pack_text(&pack, "before");
    sp_pack_int(&pack, before);
    int rv = sp_pack_status(&pack);
    if (rv == 0) {
        rv = spate_call_leader(client->spate,
                               client->options.topic,
                               partition,
                               "topic.truncate",
                               params.bytes,
                               params.size,
                               &result,
                               &result_size);
    }
    spate_free(result);
    sp_buf_deinit(&params);
    return rv;
}

static void trim(struct jep_client *client, uint32_t partition)
{
    struct jep_history *history = client->history;
    int64_t end = 0;
    int64_t keep = 1 + (int64_t)sp_rand_below(&client->rand, 2 * (uint64_t)KEEP_MEAN);

    int rv = spate_offsets(client->spate, client->options.topic, partition, SPATE_AT_END, &end);
    if (rv != 0 || end <= keep) {
        return;
    }
    uint64_t number = jep_history_operation(history);
    int64_t before = end - keep;
    jep_history_line(
        history, number, "invoke truncate p=%" PRIu32 " o=%" PRId64, partition, before);
    jep_history_flush(history);
    rv = call(client, partition, before);
    jep_history_line(history,
                     number,
                     "%s truncate p=%" PRIu32 " o=%" PRId64 " e=%s",
                     rv == 0          ? "ok"
                     : is_refused(rv) ? "fail"
                                      : "info",
                     partition,
                     before,
                     spate_error_name(rv));
}

int jep_trim(struct jep_client *client)
{
    while (jep_goes_on(client)) {
        trim(client, (uint32_t)sp_rand_below(&client->rand, client->options.partitions));
        jep_wait(client, jep_now_ns() + PAUSE_NS);
    }
    return 0;
}
