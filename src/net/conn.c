/* A connection: reads into struct sp_input, writes from struct sp_output, and ends once.
 *
 *   OPEN ----sp_conn_close(flush)----> DRAINING ---written, or 1 s---> CLOSING --> gone
 *     '----illegal, lost, closed--------------------------------------^
 *
 * Everything that is not the arrival of bytes happens in `work`, a deferred call at the end of the
 * turn: writing what was queued, delivering what a pause held back, starting or stopping to
 * read. */
#include "net/conn.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "net/input.h"
#include "net/output.h"
#include "spate/error.h"

enum {
    DRAIN_MS = 1000, /* for a last answer to leave before the connection is closed over it */
};

enum conn_state {
    CONN_OPEN,
    CONN_DRAINING,
    CONN_CLOSING,
};

struct sp_conn {
    struct sp_loop *loop;
    struct sp_stream *stream;
    const struct sp_conn_handler *handler;
    void *arg;
    enum conn_state state;
    int status; /* for the handler's closed */
    bool paused;
    bool reading;
    struct sp_input input;
    struct sp_output *pending; /* queued in this turn; NULL: nothing */
    uint64_t handed_over;      /* bytes given to the stream so far */
    struct sp_deferred work;
    struct sp_timer timer;     /* OPEN: message timeout; DRAINING: DRAIN_MS */
    uint64_t begun_ms;         /* the message in progress began not before */
    uint64_t arrived_ms;       /* when bytes came last */
    struct sp_share own_share; /* without a bound, until it is given another */
    struct sp_share *share;
    struct sp_share_waiter waiter; /* for a share that allows to read */
    size_t counted_bytes;          /* in the share */
    size_t output_bytes;           /* of all that is queued, until its write is done */
    uint32_t message_timeout_ms;
};

/* ---- counting -------------------------------------------------------------------------------- */

/* Brings the share up to date with what the connection holds. */
static void count(struct sp_conn *conn)
{
    size_t held = sp_input_held_bytes(&conn->input) + conn->output_bytes;

    if (conn->pending != NULL) {
        held += conn->pending->size + sizeof *conn->pending;
    }
    if (held > conn->counted_bytes) {
        sp_share_take(conn->share, held - conn->counted_bytes);
    } else {
        sp_share_give(conn->share, conn->counted_bytes - held);
    }
    conn->counted_bytes = held;
}

static void uncount(struct sp_conn *conn)
{
    sp_share_unfavour(conn->share);
    sp_share_wait_cancel(&conn->waiter);
    sp_share_give(conn->share, conn->counted_bytes);
    conn->counted_bytes = 0;
    conn->share = &conn->own_share;
}

/* A share that was used up may have room again. */
static void on_share_again(struct sp_share_waiter *waiter)
{
    struct sp_conn *conn = SP_CONTAINER_OF(waiter, struct sp_conn, waiter);

    sp_loop_defer(conn->loop, &conn->work);
}

/* ---- ending ---------------------------------------------------------------------------------- */

static void conn_free(struct sp_conn *conn)
{
    sp_output_free(conn->pending);
    sp_input_deinit(&conn->input);
    sp_mem_free(conn);
}

static void on_stream_closed(void *arg)
{
    struct sp_conn *conn = arg;

    uncount(conn);
    conn->handler->closed(conn->arg, conn, conn->status);
    conn_free(conn);
}

/* Ends the connection now; the first status stands. */
static void finish(struct sp_conn *conn, int status)
{
    if (conn->state == CONN_CLOSING) {
        return;
    }
    if (conn->status == 0) {
        conn->status = status;
    }
    conn->state = CONN_CLOSING;
    conn->reading = false;
    sp_timer_stop(&conn->timer);
    sp_deferred_cancel(&conn->work);
    sp_share_unfavour(conn->share);
    sp_share_wait_cancel(&conn->waiter);
    sp_stream_close(conn->stream, on_stream_closed, conn);
}

void sp_conn_close(struct sp_conn *conn, bool flush)
{
    if (!flush) {
        finish(conn, SPATE_ERR_CANCELED);
        return;
    }
    if (conn->state != CONN_OPEN) {
        return;
    }
    conn->state = CONN_DRAINING;
    conn->status = SPATE_ERR_CANCELED;
    if (sp_timer_start(&conn->timer, sp_loop_now_ms(conn->loop) + DRAIN_MS) != 0) {
        finish(conn, SPATE_ERR_CANCELED); /* without the bound it might drain forever */
        return;
    }
    sp_loop_defer(conn->loop, &conn->work);
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool wants_to_read(const struct sp_conn *conn)
{
    return conn->state == CONN_OPEN && !conn->paused &&
           sp_conn_queued_bytes(conn) <= SP_WRITE_QUEUE_BYTES_MAX;
}

/* What has arrived is no reason to keep it: it goes when it is handed out. */
static bool may_deliver(const struct sp_conn *conn)
{
    return wants_to_read(conn) &&
           sp_share_allows_without(conn->share, sp_input_held_bytes(&conn->input));
}

static bool may_read(const struct sp_conn *conn)
{
    return wants_to_read(conn) && sp_share_allows(conn->share, 0);
}

/* The timer is not moved with every message: when it fires it looks how long the message in
 * progress has really taken. */
static void arm_message_timer(struct sp_conn *conn)
{
    if (conn->state == CONN_OPEN && conn->reading && sp_input_partial(&conn->input) &&
        !sp_timer_active(&conn->timer)) {
        /* Without memory for it the next bytes try again. */
        (void)sp_timer_start(&conn->timer, conn->begun_ms + conn->message_timeout_ms);
    }
}

static void on_timer(struct sp_timer *timer)
{
    struct sp_conn *conn = SP_CONTAINER_OF(timer, struct sp_conn, timer);

    if (conn->state == CONN_DRAINING) {
        finish(conn, SPATE_ERR_CANCELED);
    } else if (conn->reading && sp_input_partial(&conn->input) &&
               sp_loop_now_ms(conn->loop) >= conn->begun_ms + conn->message_timeout_ms) {
        finish(conn, SPATE_ERR_TIMEOUT);
    } else {
        arm_message_timer(conn);
    }
}

bool sp_conn_withholds(const struct sp_conn *conn, uint32_t silent_ms)
{
    uint64_t since_ms = conn->arrived_ms > conn->begun_ms ? conn->arrived_ms : conn->begun_ms;

    /* Favoured: it is in the middle of a message. */
    return sp_share_favoured(conn->share) && conn->share->budget->waiter_count > 0 &&
           conn->reading && sp_loop_now_ms(conn->loop) >= since_ms + silent_ms;
}

static void deliver(struct sp_conn *conn)
{
    while (may_deliver(conn)) {
        struct sp_blob *blob = NULL;
        size_t position = 0;
        size_t size = 0;
        int rv = sp_input_next(&conn->input, &blob, &position, &size);

        if (rv == SPATE_ERR_AGAIN) {
            return;
        }
        if (rv != 0) {
            finish(conn, rv);
            return;
        }
        conn->begun_ms = sp_loop_now_ms(conn->loop);
        sp_share_unfavour(conn->share);
        conn->handler->message(conn->arg, conn, blob, position, size);
    }
}

static void on_room(void *arg, uint8_t **out_bytes, size_t *out_size)
{
    struct sp_conn *conn = arg;

    if (!may_read(conn)) {
        conn->reading = false;
        *out_size = 0;
        sp_loop_defer(conn->loop, &conn->work);
        return;
    }
    if (conn->share->budget != NULL && conn->share->budget->full) {
        sp_input_save(&conn->input);
    }
    int rv = sp_input_room(&conn->input, out_bytes, out_size);
    if (rv != 0) {
        *out_size = 0;
        finish(conn, rv);
        return;
    }
    count(conn);
    sp_loop_defer(conn->loop, &conn->work);
}

static void on_read(void *arg, size_t size)
{
    struct sp_conn *conn = arg;

    conn->arrived_ms = sp_loop_now_ms(conn->loop);
    if (!sp_input_partial(&conn->input)) {
        conn->begun_ms = conn->arrived_ms;
    }
    sp_input_filled(&conn->input, size);
    deliver(conn);
}

static void on_end(void *arg, int status)
{
    finish(arg, status);
}

static const struct sp_stream_reader conn_reader = {
    .room = on_room,
    .read = on_read,
    .end = on_end,
};

/* Reads or does not read, as the state wants. */
static void update_reading(struct sp_conn *conn)
{
    bool wanted = may_read(conn);

    if (wanted && !conn->reading) {
        conn->begun_ms = sp_loop_now_ms(conn->loop);
        conn->reading = true;
        if (sp_stream_read_start(conn->stream, &conn_reader, conn) != 0) {
            finish(conn, SPATE_ERR_CLOSED);
        }
    } else if (!wanted && conn->reading) {
        conn->reading = false;
        sp_stream_read_stop(conn->stream);
    }
    if (!wanted || !sp_input_partial(&conn->input)) {
        sp_share_unfavour(conn->share); /* it waits for something else, or has what it needed */
    }
    if (!wanted && wants_to_read(conn)) {
        sp_share_wait(conn->share, &conn->waiter, sp_input_partial(&conn->input));
    } else {
        sp_share_wait_cancel(&conn->waiter);
    }
}

/* ---- writing --------------------------------------------------------------------------------- */

static void on_written(struct sp_stream_write *write, int status)
{
    struct sp_output *output = SP_CONTAINER_OF(write, struct sp_output, write);
    struct sp_conn *conn = output->owner;

    conn->output_bytes -= output->size + sizeof *output;
    sp_output_free(output);
    count(conn);
    if (conn->state == CONN_CLOSING) {
        return;
    }
    if (status != 0) {
        finish(conn, status);
        return;
    }
    sp_loop_defer(conn->loop, &conn->work);
    if (conn->handler->drained != NULL) {
        conn->handler->drained(conn->arg, conn);
    }
}

static void write_pending(struct sp_conn *conn)
{
    struct sp_output *output = conn->pending;

    if (output == NULL) {
        return;
    }
    conn->pending = NULL;
    conn->handed_over += output->size;
    conn->output_bytes += output->size + sizeof *output;
    int rv =
        sp_stream_write(conn->stream, &output->write, output->pieces, output->count, on_written);
    if (rv != 0) {
        conn->output_bytes -= output->size + sizeof *output;
        sp_output_free(output);
        finish(conn, rv);
    }
}

/* The queue of this turn. */
static int need_pending(struct sp_conn *conn)
{
    if (conn->state != CONN_OPEN) {
        return SPATE_ERR_CLOSED;
    }
    if (conn->pending == NULL) {
        conn->pending = sp_output_new(conn);
    }
    if (conn->pending == NULL) {
        return SPATE_ERR_NOMEM;
    }
    sp_loop_defer(conn->loop, &conn->work);
    return 0;
}

int sp_conn_send(struct sp_conn *conn, const struct sp_slice *pieces, unsigned piece_count)
{
    int rv = need_pending(conn);

    if (rv == 0) {
        rv = sp_output_add(conn->pending, pieces, piece_count);
        count(conn);
    }
    return rv;
}

int sp_conn_send_copy(struct sp_conn *conn, const void *bytes, size_t size)
{
    int rv = need_pending(conn);

    if (rv == 0) {
        rv = sp_output_add_copy(conn->pending, bytes, size);
        count(conn);
    }
    return rv;
}

size_t sp_conn_queued_bytes(const struct sp_conn *conn)
{
    size_t pending = conn->pending == NULL ? 0 : conn->pending->size;

    return conn->state == CONN_CLOSING ? 0 : pending + sp_stream_queued_bytes(conn->stream);
}

uint64_t sp_conn_written_bytes(const struct sp_conn *conn)
{
    size_t queued = conn->state == CONN_CLOSING ? 0 : sp_stream_queued_bytes(conn->stream);

    return conn->handed_over - queued;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void on_work(struct sp_deferred *deferred)
{
    struct sp_conn *conn = SP_CONTAINER_OF(deferred, struct sp_conn, work);

    deliver(conn);
    sp_input_trim(&conn->input);
    count(conn);
    if (conn->state != CONN_CLOSING) {
        write_pending(conn);
    }
    if (conn->state == CONN_DRAINING && sp_conn_queued_bytes(conn) == 0) {
        finish(conn, SPATE_ERR_CANCELED);
    }
    if (conn->state != CONN_CLOSING) {
        update_reading(conn);
        arm_message_timer(conn);
    }
    /* The write may have made room in the queue for messages that wait behind it. */
    if (may_deliver(conn) && sp_input_waiting(&conn->input)) {
        sp_loop_defer(conn->loop, &conn->work);
    }
}

int sp_conn_new(struct sp_loop *loop,
                struct sp_stream *stream,
                const struct sp_conn_protocol *protocol,
                const struct sp_conn_handler *handler,
                void *arg,
                struct sp_conn **out_conn)
{
    struct sp_conn *conn = sp_mem_calloc(1, sizeof *conn);

    if (conn == NULL || sp_input_init(&conn->input, protocol) != 0) {
        sp_mem_free(conn);
        sp_stream_close(stream, NULL, NULL);
        return SPATE_ERR_NOMEM;
    }
    conn->loop = loop;
    conn->stream = stream;
    conn->handler = handler;
    conn->arg = arg;
    conn->state = CONN_OPEN;
    conn->message_timeout_ms = SP_MESSAGE_TIMEOUT_MS;
    conn->share = &conn->own_share;
    sp_share_waiter_init(&conn->waiter, on_share_again);
    sp_deferred_init(&conn->work, on_work);
    sp_timer_init(&conn->timer, loop, on_timer);
    sp_loop_defer(loop, &conn->work);
    *out_conn = conn;
    return 0;
}

void sp_conn_bound_kernel(struct sp_conn *conn, size_t size_bytes)
{
    sp_stream_bound_kernel(conn->stream, size_bytes);
}

void sp_conn_bound_unsent(struct sp_conn *conn, size_t size_bytes)
{
    sp_stream_bound_unsent(conn->stream, size_bytes);
}

void sp_conn_set_share(struct sp_conn *conn, struct sp_share *share)
{
    SP_ASSERT(conn->share == &conn->own_share);
    conn->share = share;
    conn->counted_bytes = 0;
    count(conn);
}

void sp_conn_set_message_timeout(struct sp_conn *conn, uint32_t timeout_ms)
{
    conn->message_timeout_ms = timeout_ms;
}

void sp_conn_pause(struct sp_conn *conn)
{
    conn->paused = true;
    if (conn->state == CONN_OPEN) {
        sp_loop_defer(conn->loop, &conn->work);
    }
}

void sp_conn_resume(struct sp_conn *conn)
{
    conn->paused = false;
    if (conn->state == CONN_OPEN) {
        sp_loop_defer(conn->loop, &conn->work);
    }
}

const char *sp_conn_peer(const struct sp_conn *conn)
{
    return sp_stream_peer(conn->stream);
}
