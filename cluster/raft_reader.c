/* Appends on their way to one follower: as fast as the link takes them, from memory or from disk.
 *
 *   append -- link has room, frames are in memory, nothing waits --> link
 *        `--> waiting --- the link has room and it is this reader's turn: one message ---> link
 *              ^     `--- its frames are on disk: are read, then sent ---------------------^
 *              '-- is not all sent: waits for its next turn
 *
 * What waits has no frames, only their indexes, and what follows it is joined to it; so a thousand
 * groups wait for a link in a few bytes each, and take turns.
 *
 * Invariants:
 *  W1  Appends to one follower never overtake each other.
 *  W2  A heartbeat does not wait. It goes out as the append that waits first, without its frames:
 *      behind all that has been sent, so that it is never refused, and ahead of all that has not.
 *  W3  A reader exists only while something waits; it waits for its turn, for the disk, or is about
 *      to look again. */
#include "cluster/raft_group_internal.h"

#include "base/assert.h"
#include "base/mem.h"
#include "spate/error.h"

/* Appends of one follower that cannot be joined: raft went on without one that had been dropped. */
#define WAITING_MAX 16

static struct sp_raft_outgoing *entry_of(struct sp_list *node)
{
    return SP_LIST_ENTRY(node, struct sp_raft_outgoing, node);
}

/* Sends `count` frames as one append and moves the head of what is left behind them. */
static void
send_part(struct sp_raft_group *group, struct sp_raft_outgoing *out, const struct sp_log_read *read)
{
    struct sp_peer_message message = { .kind = SP_PEER_RAFT, .u.raft = out->message };
    struct sp_log_frame last;
    size_t size = 0;
    int rv = sp_log_frame_decode(
        read->frames[read->count - 1].bytes, read->frames[read->count - 1].size, &last);

    SP_ASSERT(rv == 0);
    for (unsigned i = 0; i < read->count; i++) {
        sp_raft_note_frame_size(group, read->frames[i].size);
        group->context->counters.sent_bytes += read->frames[i].size;
        size += read->frames[i].size;
    }
    if (sp_raft_is_standby(group, out->message.to)) {
        group->context->fill_bytes_left -= (int64_t)size;
    }
    message.u.raft.frame_count = read->count;
    if (message.u.raft.commit > last.index) {
        message.u.raft.commit = last.index; /* the follower must not commit beyond this part */
    }
    (void)sp_transport_send(group->context->transport,
                            out->node_id,
                            &message,
                            read->frames,
                            read->count); /* dropped: raft sends again */
    out->message.index = last.index;
    out->message.index_term = last.term;
}

static void prepare_read(const struct sp_raft_outgoing *out, struct sp_log_read *read)
{
    read->by = SP_LOG_READ_INDEX;
    read->start = (int64_t)(out->message.index + 1);
    read->index_max = out->end_index;
    read->bytes_max = SP_APPEND_BYTES_MAX;
    read->frames_max = SP_APPEND_FRAMES_MAX;
    read->count = 0;
}

/* Sends one message of frames that are in memory; false when they are not. */
static bool send_cached(struct sp_raft_group *group, struct sp_raft_outgoing *out)
{
    struct sp_log_read read; /* 6 KiB: only what prepare_read sets is used as input */

    prepare_read(out, &read);
    if (!sp_log_read_cached(group->log, &read) || read.count == 0) {
        return false;
    }
    send_part(group, out, &read);
    sp_log_read_release(&read);
    return true;
}

/* ---- readers --------------------------------------------------------------------------------- */

static void free_reader(struct sp_raft_reader *reader)
{
    for (unsigned i = 0; i < SP_RAFT_GUARD_SERVERS_MAX; i++) {
        if (reader->group->readers[i] == reader) {
            reader->group->readers[i] = NULL;
        }
    }
    sp_list_remove(&reader->turn.node);
    sp_raft_drop_list(&reader->waiting);
    sp_mem_free(reader);
}

static void drop_first(struct sp_raft_reader *reader)
{
    struct sp_raft_outgoing *out = entry_of(reader->waiting.next);

    sp_list_remove(&out->node);
    sp_mem_free(out);
}

static void go_on(struct sp_raft_reader *reader, bool its_turn);

static void on_read(struct sp_log_read *read, int status)
{
    struct sp_raft_reader *reader = SP_CONTAINER_OF(read, struct sp_raft_reader, read);
    struct sp_raft_group *group = reader->group;
    struct sp_raft_outgoing *out = entry_of(reader->waiting.next);

    reader->reading = false;
    sp_transport_release(group->context->transport, reader->node_id, SP_APPEND_BYTES_MAX);
    if (group->closing || group->stopped) {
        sp_log_read_release(read);
        free_reader(reader);
        return;
    }
    if (status == 0 && read->count > 0 && sp_raft_leads_in(group, out->message.term)) {
        reader->sent_ms = sp_raft_now_ms(group);
        send_part(group, out, read);
    } else {
        out->end_index = 0; /* truncated, or no longer ours to send */
    }
    sp_log_read_release(read);
    if (status == SPATE_ERR_CORRUPT || status == SPATE_ERR_IO) {
        free_reader(reader);
        sp_raft_stop_unreadable(group, status, "a frame could not be read back from disk");
        return;
    }
    go_on(reader, false);
}

static bool start_read(struct sp_raft_reader *reader, const struct sp_raft_outgoing *out)
{
    struct sp_raft_group *group = reader->group;

    prepare_read(out, &reader->read);
    reader->read.cb = on_read;
    reader->reading = sp_log_read_start(group->log, &reader->read) == 0;
    if (reader->reading) {
        sp_transport_reserve(group->context->transport, reader->node_id, SP_APPEND_BYTES_MAX);
    }
    return reader->reading;
}

/* Sends what waits, if it is its turn, and waits for the next one or ends the reader. */
static void go_on(struct sp_raft_reader *reader, bool its_turn)
{
    struct sp_raft_group *group = reader->group;
    struct sp_transport *transport = group->context->transport;

    while (!sp_list_empty(&reader->waiting)) {
        struct sp_raft_outgoing *out = entry_of(reader->waiting.next);
        bool up = sp_transport_link(transport, reader->node_id) == SP_LINK_UP;

        if (!up || !sp_raft_has_frames(out) || !sp_raft_leads_in(group, out->message.term)) {
            drop_first(reader);
            continue;
        }
        if (!its_turn && !sp_transport_has_room(transport, reader->node_id)) {
            if (sp_transport_wait(transport, reader->node_id, &reader->turn) == 0) {
                return;
            }
            drop_first(reader); /* raft sends again */
            continue;
        }
        its_turn = false;
        if (send_cached(group, out)) {
            reader->sent_ms = sp_raft_now_ms(group);
        } else if (start_read(reader, out)) {
            return;
        } else {
            drop_first(reader);
        }
    }
    free_reader(reader);
}

static void on_turn(struct sp_link_waiter *waiter)
{
    go_on(SP_CONTAINER_OF(waiter, struct sp_raft_reader, turn), true);
}

static struct sp_raft_reader *
reader_of(struct sp_raft_group *group, uint64_t to, struct sp_raft_reader ***out_free)
{
    for (unsigned i = 0; i < SP_RAFT_GUARD_SERVERS_MAX; i++) {
        if (group->readers[i] != NULL && group->readers[i]->to == to) {
            return group->readers[i];
        }
        if (group->readers[i] == NULL) {
            *out_free = &group->readers[i];
        }
    }
    return NULL;
}

static struct sp_raft_reader *new_reader(struct sp_raft_group *group,
                                         const struct sp_raft_outgoing *out)
{
    struct sp_raft_reader *reader = sp_mem_calloc(1, sizeof *reader);

    if (reader != NULL) {
        reader->group = group;
        reader->node_id = out->node_id;
        reader->to = out->message.to;
        reader->turn.cb = on_turn;
        reader->sent_ms = sp_raft_now_ms(group);
        sp_list_init(&reader->turn.node);
        sp_list_init(&reader->waiting);
    }
    return reader;
}

/* ---- what waits ------------------------------------------------------------------------------ */

/* Raft went back: what waits comes after what has to be sent again, and will be sent after it. */
static void begin_again(struct sp_raft_reader *reader)
{
    struct sp_list *kept = reader->reading ? reader->waiting.next->next : reader->waiting.next;

    while (kept != &reader->waiting) {
        struct sp_raft_outgoing *out = entry_of(kept);
        kept = kept->next;
        sp_list_remove(&out->node);
        sp_mem_free(out);
    }
    if (reader->reading) {
        entry_of(reader->waiting.next)->end_index = 0; /* the message being read is the last */
    }
}

/* Puts `out` behind what waits, as one with it if it continues it. */
static void enqueue(struct sp_raft_reader *reader, const struct sp_raft_outgoing *out)
{
    struct sp_raft_outgoing *copy;
    unsigned waiting = 0;

    if (!sp_list_empty(&reader->waiting)) {
        struct sp_raft_outgoing *first = entry_of(reader->waiting.next);
        struct sp_raft_outgoing *last = entry_of(reader->waiting.prev);
        bool same = last->message.term == out->message.term;

        if (same && out->message.index >= last->message.index &&
            out->message.index <= last->end_index) {
            last->message.commit = out->message.commit;
            if (out->end_index > last->end_index) {
                last->end_index = out->end_index;
            }
            return;
        }
        if (!same || out->message.index < first->message.index) {
            begin_again(reader); /* elected anew, it sends nothing of an earlier term */
        }
    }
    SP_LIST_EACH (node, &reader->waiting) {
        waiting += 1;
    }
    copy = waiting < WAITING_MAX ? sp_mem_dup(out, sizeof *out) : NULL;
    if (copy != NULL) { /* else dropped: raft sends again */
        sp_list_append(&reader->waiting, &copy->node);
    }
}

/* W2, when nothing has gone to the follower for a heartbeat's time. */
static void send_heartbeat(struct sp_raft_reader *reader, const struct sp_raft_outgoing *newest)
{
    struct sp_raft_group *group = reader->group;
    const struct sp_raft_outgoing *out = newest; /* what waits of an earlier term is not sent */

    if (sp_raft_now_ms(group) < reader->sent_ms + group->guard.heartbeat_ms) {
        return;
    }
    SP_LIST_EACH (node, &reader->waiting) {
        const struct sp_raft_outgoing *waiting = entry_of(node);
        if (sp_raft_leads_in(group, waiting->message.term)) {
            out = waiting;
            break;
        }
    }
    reader->sent_ms = sp_raft_now_ms(group);
    (void)sp_transport_send_heartbeat(
        group->context->transport, reader->node_id, &out->message); /* lost: again */
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* What the next append to a follower that is there begins behind. */
static uint64_t next_to_send(const struct sp_raft_group *group, uint64_t replica_id)
{
    uint64_t index = sp_raft_guard_sent_index(&group->guard, replica_id);

    for (unsigned i = 0; i < SP_RAFT_GUARD_SERVERS_MAX && index != 0; i++) {
        const struct sp_raft_reader *reader = group->readers[i];
        if (reader == NULL || sp_list_empty(&reader->waiting)) {
            continue;
        }
        const struct sp_raft_outgoing *first = entry_of(reader->waiting.next);
        if (first->message.to == replica_id && first->message.index < index) {
            index = first->message.index;
        }
    }
    return index;
}

void sp_raft_reader_keep(struct sp_raft_group *group)
{
    const struct raft_configuration *members = &group->guard.raft.configuration;
    uint64_t needless = group->applied; /* the last frame that nobody waits for */

    for (unsigned i = 0; i < members->n; i++) {
        uint64_t index = next_to_send(group, members->servers[i].id);
        if (index != 0 && index < needless) {
            needless = index;
        }
    }
    sp_log_keep_from(group->log, needless + 1);
}

/* ---- for raft_send --------------------------------------------------------------------------- */

void sp_raft_reader_send(struct sp_raft_group *group, struct sp_raft_outgoing *out)
{
    struct sp_transport *transport = group->context->transport;
    struct sp_raft_reader **place = NULL;
    struct sp_raft_reader *reader = reader_of(group, out->message.to, &place);

    if (reader == NULL && !sp_raft_has_frames(out)) {
        (void)sp_transport_send_heartbeat(transport, out->node_id, &out->message); /* lost: again */
        return;
    }
    while (reader == NULL && sp_transport_has_room(transport, out->node_id) &&
           send_cached(group, out)) {
        if (!sp_raft_has_frames(out)) {
            return;
        }
    }
    if (reader == NULL) {
        reader = place == NULL ? NULL : new_reader(group, out);
        if (reader == NULL) {
            return; /* dropped: raft sends again */
        }
        *place = reader;
        enqueue(reader, out);
        go_on(reader, false);
        return;
    }
    if (sp_raft_has_frames(out)) {
        enqueue(reader, out);
    }
    send_heartbeat(reader, out);
}

void sp_raft_reader_drop_all(struct sp_raft_group *group)
{
    for (unsigned i = 0; i < SP_RAFT_GUARD_SERVERS_MAX; i++) {
        if (group->readers[i] != NULL && !group->readers[i]->reading) {
            free_reader(group->readers[i]);
        }
    }
}
