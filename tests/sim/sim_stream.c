/* The second body of io/stream.h, on the connections of sim_net. Mirrors the states of the real
 * one: bytes are taken at once while the window has room, callbacks come later in the turn. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "io/address.h"
#include "io/stream.h"
#include "sim_net.h"
#include "spate/error.h"

enum {
    READS_PER_WAKEUP = 16,
};

struct rest {
    size_t size;
    size_t sent;
    uint8_t bytes[];
};

static struct sp_stream_write *first_write(const struct sp_list *list)
{
    return SP_LIST_ENTRY(list->next, struct sp_stream_write, node);
}

static void tell_writes(struct sp_list *list, int status)
{
    struct sp_list batch;

    sp_list_init(&batch);
    sp_list_move(&batch, list);
    while (!sp_list_empty(&batch)) {
        struct sp_stream_write *write = first_write(&batch);
        sp_list_remove(&write->node);
        sp_mem_free(write->io);
        write->io = NULL;
        write->cb(write, status);
    }
}

static void update_hold(struct sp_stream *stream)
{
    bool wants = stream->closing || stream->state == SIM_STREAM_CONNECTING || stream->reading ||
                 !sp_list_empty(&stream->queued);

    if (wants != stream->held) {
        stream->held = wants;
        sim_loop_hold(stream->loop, wants ? 1 : -1);
    }
}

/* ---- telling --------------------------------------------------------------------------------- */

static void finish_close(struct sp_stream *stream)
{
    sp_deferred_cancel(&stream->report);
    tell_writes(&stream->completed, 0);
    tell_writes(&stream->failed, SPATE_ERR_CLOSED);
    tell_writes(&stream->queued, SPATE_ERR_CANCELED);
    if (stream->closed_cb != NULL) {
        stream->closed_cb(stream->closed_arg);
    }
    sim_loop_hold(stream->loop, -1);
    sp_mem_free(stream);
}

static void on_report(struct sp_deferred *deferred)
{
    struct sp_stream *stream = SP_CONTAINER_OF(deferred, struct sp_stream, report);

    if (stream->closing) {
        sim_stream_look(stream);
        return;
    }
    if (stream->connect_done) {
        stream->connect_done = false;
        stream->connect_cb(stream->connect_arg, stream, stream->connect_status);
    }
    tell_writes(&stream->completed, 0);
    tell_writes(&stream->failed, SPATE_ERR_CLOSED);
}

/* ---- reading --------------------------------------------------------------------------------- */

static void end_reading(struct sp_stream *stream)
{
    stream->reading = false;
    stream->ended = true;
    stream->reader->end(stream->reader_arg, SPATE_ERR_CLOSED);
}

static bool read_once(struct sp_stream *stream)
{
    struct sim_side *side = stream->side;
    uint8_t *bytes = NULL;
    size_t size = 0;

    if (side == NULL || (side->received_size == 0 && !side->broken && !side->end_received)) {
        return false;
    }
    stream->reader->room(stream->reader_arg, &bytes, &size);
    if (size == 0 || !stream->reading || stream->closing) {
        stream->reading = false;
        return false;
    }
    if (side->broken || side->received_size == 0) {
        end_reading(stream);
        return false;
    }
    size_t got = size < side->received_size ? size : side->received_size;
    if (sim_net.trickles && sim_one_in(&sim.rand_net, 4)) {
        got = sim_between(&sim.rand_net, 1, got);
    }
    memcpy(bytes, side->received + side->received_start, got);
    sim_side_consumed(side, got);
    stream->reader->read(stream->reader_arg, got);
    return true;
}

static void read_some(struct sp_stream *stream)
{
    for (unsigned i = 0; i < READS_PER_WAKEUP; i++) {
        if (stream->closing || !stream->reading || !read_once(stream)) {
            return;
        }
    }
    if (stream->reading && !stream->closing) {
        sim_stream_look(stream);
    }
}

int sp_stream_read_start(struct sp_stream *stream, const struct sp_stream_reader *reader, void *arg)
{
    if (stream->closing || stream->ended || stream->state == SIM_STREAM_FAILED) {
        return SPATE_ERR_CLOSED;
    }
    stream->reader = reader;
    stream->reader_arg = arg;
    stream->reading = true;
    update_hold(stream);
    sim_stream_look(stream);
    return 0;
}

void sp_stream_read_stop(struct sp_stream *stream)
{
    stream->reading = false;
    update_hold(stream);
}

/* ---- writing --------------------------------------------------------------------------------- */

static void break_connection(struct sp_stream *stream)
{
    stream->broken = true;
    stream->queued_bytes = 0;
    sp_list_move(&stream->failed, &stream->queued);
    sp_loop_defer(stream->loop, &stream->report);
}

static void flush(struct sp_stream *stream)
{
    while (!sp_list_empty(&stream->queued)) {
        struct sp_stream_write *write = first_write(&stream->queued);
        struct rest *rest = write->io;
        size_t left = rest->size - rest->sent;
        size_t window = sim_side_window(stream->side);
        size_t step = left < window ? left : window;

        if (step > 0) {
            sim_side_send(stream->side, rest->bytes + rest->sent, step, false);
        }
        rest->sent += step;
        stream->queued_bytes -= step;
        if (rest->sent < rest->size) {
            return;
        }
        sp_list_remove(&write->node);
        sp_list_append(&stream->completed, &write->node);
        sp_loop_defer(stream->loop, &stream->report);
    }
}

static struct rest *rest_of(const struct sp_iovec *pieces, unsigned count, size_t size)
{
    struct rest *rest = sp_mem_alloc(sizeof *rest + size + 1);

    if (rest == NULL) {
        return NULL;
    }
    *rest = (struct rest){ .size = size };
    size_t position = 0;
    for (unsigned i = 0; i < count; i++) {
        if (pieces[i].size > 0) {
            memcpy(rest->bytes + position, pieces[i].bytes, pieces[i].size);
        }
        position += pieces[i].size;
    }
    return rest;
}

int sp_stream_write(struct sp_stream *stream,
                    struct sp_stream_write *write,
                    const struct sp_iovec *pieces,
                    unsigned count,
                    sp_stream_write_cb cb)
{
    if (stream->closing || stream->broken || stream->state == SIM_STREAM_FAILED) {
        return SPATE_ERR_CLOSED;
    }
    if (stream->side != NULL && stream->side->broken) {
        break_connection(stream);
        return SPATE_ERR_CLOSED;
    }
    *write = (struct sp_stream_write){ .cb = cb };
    for (unsigned i = 0; i < count; i++) {
        write->size += pieces[i].size;
    }
    struct rest *rest = rest_of(pieces, count, write->size);
    if (rest == NULL) {
        return SPATE_ERR_NOMEM;
    }
    write->io = rest;
    stream->queued_bytes += rest->size;
    sp_list_init(&write->node);
    sp_list_append(&stream->queued, &write->node);
    if (stream->side != NULL) {
        if (sim_net.tap != NULL) {
            sim_net.tap(stream->side, rest->bytes, rest->size);
        }
        flush(stream);
    }
    update_hold(stream);
    return 0;
}

void sp_stream_bound_kernel(struct sp_stream *stream, size_t size_bytes)
{
    (void)stream;
    (void)size_bytes; /* what is written here is on the network at once */
}

void sp_stream_bound_unsent(struct sp_stream *stream, size_t size_bytes)
{
    (void)stream;
    (void)size_bytes; /* likewise */
}

size_t sp_stream_queued_bytes(const struct sp_stream *stream)
{
    return stream->queued_bytes;
}

/* ---- events ---------------------------------------------------------------------------------- */

static void on_ready(struct sim_ready *ready)
{
    struct sp_stream *stream = SP_CONTAINER_OF(ready, struct sp_stream, ready);

    if (stream->closing) {
        finish_close(stream);
        return;
    }
    if (stream->side != NULL && stream->side->broken && !stream->broken) {
        break_connection(stream);
    }
    if (stream->side != NULL && !stream->broken) {
        flush(stream);
    }
    read_some(stream);
    if (!stream->closing) {
        update_hold(stream);
    }
}

void sim_stream_look(struct sp_stream *stream)
{
    sim_loop_post(stream->loop, &stream->ready);
}

static struct sp_stream *stream_new(struct sp_loop *loop)
{
    struct sp_stream *stream = sp_mem_calloc(1, sizeof *stream);

    if (stream == NULL) {
        return NULL;
    }
    stream->loop = loop;
    sp_list_init(&stream->queued);
    sp_list_init(&stream->completed);
    sp_list_init(&stream->failed);
    sp_deferred_init(&stream->report, on_report);
    sim_ready_init(&stream->ready, on_ready);
    return stream;
}

static void attach(struct sp_stream *stream, struct sim_side *side)
{
    stream->side = side;
    side->stream = stream;
    stream->state = SIM_STREAM_OPEN;
}

void sim_stream_connected(struct sp_stream *stream, struct sim_side *side)
{
    attach(stream, side);
    stream->connect_done = true;
    stream->connect_status = 0;
    SP_LIST_EACH (node, &stream->queued) {
        struct rest *rest = SP_LIST_ENTRY(node, struct sp_stream_write, node)->io;
        if (sim_net.tap != NULL) {
            sim_net.tap(side, rest->bytes, rest->size);
        }
    }
    sp_loop_defer(stream->loop, &stream->report);
    sim_stream_look(stream);
    update_hold(stream);
}

void sim_stream_refused(struct sp_stream *stream)
{
    stream->state = SIM_STREAM_FAILED;
    stream->connect_done = true;
    stream->connect_status = SPATE_ERR_UNREACHABLE;
    stream->queued_bytes = 0;
    stream->reading = false;
    sp_list_move(&stream->failed, &stream->queued);
    sp_loop_defer(stream->loop, &stream->report);
    update_hold(stream);
}

/* A connection that waits to be accepted by its process. */
struct arrival {
    struct sim_ready ready;
    struct sp_listener *listener;
    struct sim_side *side;
};

static void on_accept(struct sim_ready *ready)
{
    struct arrival *arrival = SP_CONTAINER_OF(ready, struct arrival, ready);
    struct sp_listener *listener = arrival->listener;
    struct sim_side *side = arrival->side;
    struct sim_process *peer = side->conn->side[0].process;

    sp_mem_free(arrival);
    if (listener->closing) {
        sim_side_close(side);
        return;
    }
    struct sp_stream *stream = stream_new(listener->loop);
    SP_ASSERT(stream != NULL);
    (void)snprintf(stream->peer,
                   sizeof stream->peer,
                   "%s:%llu",
                   peer->host,
                   (unsigned long long)(32768 + side->conn->number % 28000));
    attach(stream, side);
    sim_stream_look(stream);
    listener->cb(listener->arg, stream);
}

void sim_stream_accepted(struct sp_listener *listener, struct sim_side *side)
{
    struct sim_process *before = sim_enter(side->process);
    struct arrival *arrival = sp_mem_calloc(1, sizeof *arrival);

    SP_ASSERT(arrival != NULL);
    sim_ready_init(&arrival->ready, on_accept);
    arrival->listener = listener;
    arrival->side = side;
    sim_loop_post(listener->loop, &arrival->ready);
    sim_leave(before);
}

/* ---- life ------------------------------------------------------------------------------------ */

const char *sp_stream_peer(const struct sp_stream *stream)
{
    return stream->peer;
}

enum sp_stream_trouble sp_stream_trouble(const struct sp_stream *stream)
{
    return stream->side != NULL ? SP_STREAM_TROUBLE_NONE : SP_STREAM_UNANSWERED;
}

int sp_stream_connect(struct sp_loop *loop,
                      const char *text,
                      sp_connect_cb cb,
                      void *arg,
                      struct sp_stream **out_stream)
{
    struct sp_address address;

    if (sp_address_parse(text, &address) != 0 || address.host[0] == '\0') {
        return SPATE_ERR_INVALID;
    }
    struct sp_stream *stream = stream_new(loop);
    if (stream == NULL) {
        return SPATE_ERR_NOMEM;
    }
    stream->connect_cb = cb;
    stream->connect_arg = arg;
    (void)snprintf(stream->peer, sizeof stream->peer, "%s", text);
    sim_net_connect(stream);
    update_hold(stream);
    *out_stream = stream;
    return 0;
}

void sp_stream_close(struct sp_stream *stream, void (*closed)(void *arg), void *arg)
{
    if (stream->closing) {
        return;
    }
    stream->closing = true;
    stream->reading = false;
    stream->closed_cb = closed;
    stream->closed_arg = arg;
    sim_net_forget_attempt(stream);
    if (stream->side != NULL) {
        sim_side_close(stream->side);
        stream->side = NULL;
    }
    update_hold(stream);
    sim_stream_look(stream);
}

/* ---- listening ------------------------------------------------------------------------------- */

static void on_listener_closed(struct sim_ready *ready)
{
    struct sp_listener *listener = SP_CONTAINER_OF(ready, struct sp_listener, closed);

    sim_loop_hold(listener->loop, -1);
    sp_mem_free(listener);
}

int sp_listener_open(struct sp_loop *loop,
                     const char *address,
                     sp_accept_cb cb,
                     void *arg,
                     struct sp_listener **out_listener)
{
    const struct sim_process *process = sim_loop_process(loop);
    struct sp_address parts;

    if (sp_address_parse(address, &parts) != 0 || strcmp(parts.host, process->host) != 0) {
        return SPATE_ERR_INVALID;
    }
    SP_LIST_EACH (node, &sim_net.listeners) {
        if (strcmp(SP_LIST_ENTRY(node, struct sp_listener, node)->address, address) == 0) {
            return SPATE_ERR_EXISTS;
        }
    }
    struct sp_listener *listener = sp_mem_calloc(1, sizeof *listener);
    if (listener == NULL) {
        return SPATE_ERR_NOMEM;
    }
    listener->loop = loop;
    listener->cb = cb;
    listener->arg = arg;
    listener->port = (uint16_t)strtoul(parts.port, NULL, 10);
    sim_ready_init(&listener->closed, on_listener_closed);
    (void)snprintf(listener->address, sizeof listener->address, "%s", address);
    sp_list_append(&sim_net.listeners, &listener->node);
    sim_loop_hold(loop, 1);
    *out_listener = listener;
    return 0;
}

uint16_t sp_listener_port(const struct sp_listener *listener)
{
    return listener->port;
}

void sp_listener_close(struct sp_listener *listener)
{
    if (listener == NULL || listener->closing) {
        return;
    }
    listener->closing = true;
    sp_list_remove(&listener->node);
    sim_loop_post(listener->loop, &listener->closed);
}
