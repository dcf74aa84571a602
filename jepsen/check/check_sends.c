/* Each producer alone: what it sent to a partition stands there in the order in which it was sent.
 */
#include <inttypes.h>

#include "verdict.h"

/* What was answered: a later record got a higher offset. */
static void check_answers(struct jep_history *history, struct jep_verdict *verdict, uint32_t stream)
{
    const struct jep_stream *row = &history->streams.items[stream];
    const struct jep_send *last = NULL;
    uint32_t last_offset = 0;

    for (uint32_t n = 0; n < row->count; n++) {
        uint32_t at = history->send_of[row->base + n];
        const struct jep_send *send = at == JEP_NONE ? NULL : &history->sends.items[at];
        if (send == NULL || send->outcome != JEP_OK) {
            continue;
        }
        uint32_t offset = send->offset + (n - send->first);
        if (last != NULL && offset <= last_offset) {
            jep_found(verdict,
                      last->operation == send->operation ? JEP_INT_SEND_BACK : JEP_SEND_BACK,
                      row->key,
                      send->done_ns,
                      "%s: %s was acknowledged at offset %" PRIu32 ", the one before at %" PRIu32,
                      jep_key_words(history, row->key),
                      jep_value_words(history, stream, n),
                      offset,
                      last_offset);
        }
        last = send;
        last_offset = offset;
    }
}

/* By stream. */
struct order {
    uint32_t acknowledged; /* sequence behind the highest acknowledged one so far */
    uint32_t any;          /* behind the highest one */
};

static void check_place(struct jep_history *history,
                        struct jep_verdict *verdict,
                        struct order *orders,
                        uint32_t offset,
                        uint32_t value)
{
    const struct jep_send *send = &history->sends.items[history->send_of[value]];
    struct order *order = &orders[send->stream];
    const struct jep_stream *stream = &history->streams.items[send->stream];
    uint32_t sequence = value - stream->base;

    if (send->outcome != JEP_OK) {
        verdict->late += sequence < order->any;
    } else if (sequence < order->acknowledged) {
        jep_found(verdict,
                  JEP_PRODUCER_ORDER,
                  stream->key,
                  send->done_ns,
                  "%s: offset %" PRIu32 " holds %s, behind its record %" PRIu32,
                  jep_key_words(history, stream->key),
                  offset,
                  jep_value_words(history, send->stream, sequence),
                  order->acknowledged - 1);
    } else {
        order->acknowledged = sequence + 1;
    }
    order->any = sequence >= order->any ? sequence + 1 : order->any;
}

void jep_check_sends(struct jep_history *history, struct jep_verdict *verdict)
{
    struct order *orders = jep_memory(history->streams.count, sizeof *orders);

    for (size_t i = 0; i < history->streams.count; i++) {
        check_answers(history, verdict, (uint32_t)i);
    }
    for (size_t i = 0; i < history->keys.count; i++) {
        const struct jep_key *key = &history->keys.items[i];
        for (uint32_t at = 0; at < key->size; at++) {
            uint32_t value = key->values[at];
            if (value != JEP_NONE && history->send_of[value] != JEP_NONE) {
                check_place(history, verdict, orders, at, value);
            }
        }
    }
    free(orders);
}
