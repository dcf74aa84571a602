/* What goes out over a link, in two kinds: small messages at once, in order, and frames of
 * records only as far as the connection's own queue is short: no heartbeat is late behind them.
 *
 *   heartbeats, votes, results, calls ------------------------> connection's queue --> kernel
 *   frames -- room and nobody waits? ------------------------->  (a message or so)
 *        `--- else: a waiter, told in its turn, one message each ---^
 */
#include "cluster/link_parts.h"

#include "base/assert.h"
#include "base/mem.h"
#include "spate/error.h"

void sp_link_flush_heartbeats(struct sp_link *link)
{
    if (link->step == LINK_UP && link->heartbeats.size > 0) {
        /* What cannot be sent is lost; Raft sends again. */
        (void)sp_peer_send_heartbeats(link->conn, link->heartbeats.bytes, link->heartbeats.size);
    }
    sp_buf_clear(&link->heartbeats);
}

static void on_flush(struct sp_deferred *deferred)
{
    sp_link_flush_heartbeats(SP_CONTAINER_OF(deferred, struct sp_link, flush));
}

static int check_queue(const struct sp_link *link)
{
    if (link->step != LINK_UP) {
        return SPATE_ERR_CLOSED;
    }
    return sp_link_queued_bytes(link) > SP_PEER_QUEUE_BYTES_MAX ? SPATE_ERR_BUSY : 0;
}

int sp_link_send(struct sp_link *link,
                 const struct sp_peer_message *message,
                 const struct sp_slice *pieces,
                 unsigned count)
{
    int rv = check_queue(link);

    if (rv != 0) {
        return rv;
    }
    sp_link_flush_heartbeats(link);
    return sp_peer_send(link->conn, message, pieces, count);
}

int sp_link_send_heartbeat(struct sp_link *link, const struct sp_peer_raft *raft)
{
    uint8_t entry[SP_PEER_RAFT_SIZE];
    int rv = check_queue(link);

    SP_ASSERT(raft->kind != SP_PEER_INSTALL);
    SP_ASSERT(raft->frame_count == 0);
    if (rv != 0) {
        return rv;
    }
    if (link->heartbeats.size == link->heartbeats.size_max) {
        sp_link_flush_heartbeats(link);
    }
    sp_peer_raft_encode(raft, entry);
    rv = sp_buf_append(&link->heartbeats, entry, sizeof entry);
    if (rv == 0) {
        sp_loop_defer(link->loop, &link->flush);
    }
    return rv;
}

size_t sp_link_queued_bytes(const struct sp_link *link)
{
    size_t queued = link->conn == NULL ? 0 : sp_conn_queued_bytes(link->conn);

    return queued + link->heartbeats.size;
}

/* ---- room ------------------------------------------------------------------------------------ */

static bool is_short(const struct sp_link *link)
{
    return link->step == LINK_UP && sp_link_queued_bytes(link) < SP_LINK_FRAMES_BYTES &&
           link->reserved_bytes < SP_LINK_RESERVED_BYTES;
}

bool sp_link_has_room(const struct sp_link *link)
{
    return is_short(link) && sp_list_empty(&link->waiters);
}

int sp_link_wait(struct sp_link *link, struct sp_link_waiter *waiter)
{
    if (link->step != LINK_UP) {
        return SPATE_ERR_CLOSED;
    }
    sp_list_append(&link->waiters, &waiter->node);
    if (is_short(link)) {
        sp_link_wake_waiters(link);
    }
    return 0;
}

void sp_link_reserve(struct sp_link *link, size_t size_bytes)
{
    link->reserved_bytes += size_bytes;
}

void sp_link_release(struct sp_link *link, size_t size_bytes)
{
    /* It may have been reserved at a link that was there before. */
    link->reserved_bytes -= size_bytes < link->reserved_bytes ? size_bytes : link->reserved_bytes;
    sp_link_wake_waiters(link);
}

/* Each of those that wait now once at most: what they send fills the queue, or they wait again. */
static void on_room(struct sp_deferred *deferred)
{
    struct sp_link *link = SP_CONTAINER_OF(deferred, struct sp_link, room);
    struct sp_list batch;

    sp_list_init(&batch);
    sp_list_move(&batch, &link->waiters);
    while (!sp_list_empty(&batch) && (is_short(link) || link->step != LINK_UP)) {
        struct sp_link_waiter *waiter = SP_LIST_ENTRY(batch.next, struct sp_link_waiter, node);
        sp_list_remove(&waiter->node);
        waiter->cb(waiter);
    }
    sp_list_move(&batch, &link->waiters); /* first come, first served */
    sp_list_move(&link->waiters, &batch);
}

void sp_link_wake_waiters(struct sp_link *link)
{
    if (!sp_list_empty(&link->waiters)) {
        sp_loop_defer(link->loop, &link->room);
    }
}

void sp_link_init_sending(struct sp_link *link)
{
    sp_buf_init(&link->heartbeats, (size_t)SP_PEER_HEARTBEATS_MAX * SP_PEER_RAFT_SIZE);
    sp_deferred_init(&link->flush, on_flush);
    sp_list_init(&link->waiters);
    sp_deferred_init(&link->room, on_room);
}

void sp_link_end_sending(struct sp_link *link)
{
    sp_deferred_cancel(&link->flush);
    on_room(&link->room);
    sp_deferred_cancel(&link->room);
    SP_ASSERT(sp_list_empty(&link->waiters));
}
