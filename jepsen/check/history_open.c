/* Operations that are reported in parts: a send of 50 records may end as three stored batches.
 *
 * What is not reported of an operation is a list of rows, linked through `offset`; a report takes
 * its range out of one of them, which may leave a row before and a row behind it. */
#include "history_parts.h"

void jep_open_send(struct jep_reading *reading, uint64_t handle, const struct jep_send *send)
{
    struct jep_history *history = reading->history;
    struct jep_send *row = jep_add(&history->sends);

    *row = *send;
    row->offset = JEP_NONE;
    *jep_map_at(reading->open, handle) = (uint32_t)(history->sends.count - 1);
}

/* The row of what is left that holds all of `part`; *out_link is where its number stands. */
static uint32_t find(struct jep_reading *reading,
                     uint64_t handle,
                     const struct jep_send *part,
                     uint32_t *out_before)
{
    struct jep_send *sends = reading->history->sends.items;
    uint32_t row = *jep_map_at(reading->open, handle);

    *out_before = JEP_NONE;
    while (row != JEP_NONE) {
        const struct jep_send *send = &sends[row];
        if (send->stream == part->stream && send->first <= part->first &&
            part->first + part->count <= send->first + send->count) {
            break;
        }
        *out_before = row;
        row = send->offset;
    }
    return row;
}

static void link_to(struct jep_reading *reading, uint64_t handle, uint32_t before, uint32_t row)
{
    if (before != JEP_NONE) {
        reading->history->sends.items[before].offset = row;
    } else if (row != JEP_NONE) {
        *jep_map_at(reading->open, handle) = row;
    } else {
        jep_map_remove(reading->open, handle);
    }
}

const char *
jep_report_send(struct jep_reading *reading, uint64_t handle, const struct jep_send *part)
{
    struct jep_history *history = reading->history;
    uint32_t before;
    uint32_t row = find(reading, handle, part, &before);

    if (row == JEP_NONE) {
        if (*jep_map_at(reading->open, handle) == JEP_NONE) {
            jep_map_remove(reading->open, handle);
        }
        return "a report of records that this operation did not send, or sent once";
    }
    struct jep_send whole = history->sends.items[row];
    uint32_t next = whole.offset;
    uint32_t head = part->first - whole.first;
    uint32_t tail = whole.count - head - part->count;
    struct jep_send done = *part;
    done.invoked_ns = whole.invoked_ns;
    if (tail > 0) {
        struct jep_send *rest = jep_add(&history->sends);
        *rest = whole;
        rest->first = part->first + part->count;
        rest->count = tail;
        rest->offset = next;
        next = (uint32_t)(history->sends.count - 1);
    }
    if (head > 0) { /* the row stays what is left before the part */
        history->sends.items[row].count = head;
        history->sends.items[row].offset = next;
        *jep_add(&history->sends) = done;
    } else {
        history->sends.items[row] = done;
        link_to(reading, handle, before, next);
    }
    return NULL;
}

void jep_close_sends(struct jep_history *history)
{
    for (size_t i = 0; i < history->sends.count; i++) {
        struct jep_send *send = &history->sends.items[i];
        if (send->outcome != JEP_OK) {
            send->offset = JEP_NONE;
        }
    }
}
