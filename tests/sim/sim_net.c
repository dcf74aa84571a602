#include "sim_net.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/crc32c.h"

enum {
    RETRY_FIRST_US = 200 * 1000, /* as TCP's first retransmission */
    RETRY_MAX_US = 3 * 1000 * 1000,
    GIVE_UP_MIN_US = 3 * 1000 * 1000,
    GIVE_UP_MAX_US = 40 * 1000 * 1000,
    CONNECT_RETRY_US = 1000 * 1000,
    CONNECT_ATTEMPTS = 3,
    NOTICE_US_MAX = 8 * 1000 * 1000,
    BYTES_PER_US = 400,
};

struct sim_net sim_net;

static void pump(struct sim_side *side, uint64_t time_us);

static struct sim_side *other(struct sim_side *side)
{
    return &side->conn->side[side == &side->conn->side[0] ? 1 : 0];
}

/* The side's process is the one that made the connection. */
static bool lives(const struct sim_side *side)
{
    return side->process->alive && side->boot == side->process->boot;
}

/* ---- ways ------------------------------------------------------------------------------------ */

void sim_net_init(void)
{
    memset(&sim_net, 0, sizeof sim_net);
    sp_list_init(&sim_net.conns);
    sp_list_init(&sim_net.listeners);
}

void sim_net_draw_latencies(uint64_t usual_us)
{
    for (unsigned i = 0; i < SIM_PROCESSES_MAX; i++) {
        for (unsigned k = 0; k < SIM_PROCESSES_MAX; k++) {
            sim_net.latency_us[i][k] = sim_between(&sim.rand_net, usual_us / 2, usual_us * 2);
        }
    }
}

bool sim_net_blocked(const struct sim_process *from, const struct sim_process *to)
{
    return sim_net.blocked[from->id][to->id] > 0;
}

void sim_net_block(const struct sim_process *from, const struct sim_process *to, int change)
{
    unsigned *count = &sim_net.blocked[from->id][to->id];

    *count = (unsigned)((int)*count + change);
}

static uint64_t way_us(const struct sim_process *from, const struct sim_process *to)
{
    return 1 + sim_with_tail(&sim.rand_net, sim_net.latency_us[from->id][to->id]);
}

/* ---- breaking -------------------------------------------------------------------------------- */

static void drop_flight(struct sim_side *side)
{
    while (!sp_list_empty(&side->flight)) {
        struct sim_chunk *chunk = SP_LIST_ENTRY(side->flight.next, struct sim_chunk, node);
        sp_list_remove(&chunk->node);
        sim_free(chunk);
    }
    side->flight_bytes = 0;
}

/* This end learns that the connection is gone. */
static void break_side(struct sim_side *side)
{
    if (side->broken) {
        return;
    }
    side->broken = true;
    side->received_size = 0;
    drop_flight(side);
    if (side->stream != NULL && lives(side)) {
        sim_stream_look(side->stream);
    }
}

static void on_break(void *arg)
{
    break_side(arg);
}

void sim_net_cut(struct sim_conn *conn)
{
    for (unsigned i = 0; i < 2; i++) {
        struct sim_side *side = &conn->side[i];
        uint64_t after_us = sim_one_in(&sim.rand_net, 2)
                                ? sim_between(&sim.rand_net, 0, 2000)
                                : sim_between(&sim.rand_net, 0, NOTICE_US_MAX);
        (void)sim_at(sim.now_us + after_us, SIM_EVENT_ARRIVE, NULL, on_break, side);
    }
}

bool sim_net_cut_some(struct sp_rand *rand)
{
    uint64_t count = 0;
    struct sim_conn *chosen = NULL;

    SP_LIST_EACH (node, &sim_net.conns) {
        struct sim_conn *conn = SP_LIST_ENTRY(node, struct sim_conn, node);
        if (conn->side[0].stream != NULL && conn->side[1].stream != NULL) {
            count += 1;
            if (sp_rand_below(rand, count) == 0) {
                chosen = conn;
            }
        }
    }
    if (chosen != NULL) {
        sim_note("connection %s - %s is cut",
                 chosen->side[0].process->name,
                 chosen->side[1].process->name);
        sim_net_cut(chosen);
    }
    return chosen != NULL;
}

void sim_net_process_died(struct sim_process *process, enum sim_death death)
{
    while (!sp_list_empty(&process->sides)) {
        struct sim_side *side = SP_LIST_ENTRY(process->sides.next, struct sim_side, node);
        sp_list_remove(&side->node);
        side->stream = NULL;
        side->closed = true;
        if (death == SIM_DEATH_POWER) {
            drop_flight(side);
            side->broken = true;
        } else if (!side->broken) {
            /* The kernel closes it; whether the end is orderly depends on what was not read. */
            sim_side_send(side, NULL, 0, true);
        }
        sim_free(side->received);
        side->received = NULL;
        side->received_size = 0;
        side->received_capacity = 0;
    }
    SP_LIST_EACH_SAFE (node, &sim_net.listeners) {
        struct sp_listener *listener = SP_LIST_ENTRY(node, struct sp_listener, node);
        if (sim_loop_process(listener->loop) == process) {
            sp_list_remove(&listener->node);
        }
    }
}

/* ---- bytes on their way ---------------------------------------------------------------------- */

size_t sim_side_window(const struct sim_side *side)
{
    const struct sim_side *to = &side->conn->side[side == &side->conn->side[0] ? 1 : 0];
    size_t used = side->flight_bytes + to->received_size;

    return used < SIM_WINDOW_BYTES ? SIM_WINDOW_BYTES - used : 0;
}

static void reset_back(struct sim_side *from)
{
    struct sim_side *to = other(from);

    if (!to->broken && !sim_net_blocked(from->process, to->process)) {
        (void)sim_at(
            sim.now_us + way_us(from->process, to->process), SIM_EVENT_ARRIVE, NULL, on_break, to);
    }
}

static void receive(struct sim_side *side, const struct sim_chunk *chunk)
{
    size_t end = side->received_start + side->received_size;

    if (side->received_size == 0) {
        side->received_start = 0;
        end = 0;
    }
    if (end + chunk->size > side->received_capacity && side->received_size > 0) {
        memmove(side->received, side->received + side->received_start, side->received_size);
        side->received_start = 0;
        end = side->received_size;
    }
    if (end + chunk->size > side->received_capacity) {
        side->received_capacity = 2 * (end + chunk->size);
        side->received = sim_grow(side->received, side->received_capacity);
    }
    memcpy(side->received + end, chunk->bytes, chunk->size);
    side->received_size += chunk->size;
    sim_net.bytes += chunk->size;
}

static void arrive(struct sim_side *from, const struct sim_chunk *chunk)
{
    struct sim_side *to = other(from);

    if (to->closed || to->broken || to->boot != to->process->boot) {
        if (chunk->size > 0) {
            reset_back(to); /* nobody here knows this connection */
        }
        return;
    }
    sim_hash(sp_crc32c(0, chunk->bytes, chunk->size));
    if (chunk->size > 0) {
        receive(to, chunk);
    }
    if (chunk->end) {
        to->end_received = true;
    }
    if (to->stream != NULL) {
        sim_stream_look(to->stream);
    }
}

/* Bytes cannot get through now: sent again later, given up in the end. */
static void retry(struct sim_side *side)
{
    if (side->stalled_since_us == 0) {
        side->stalled_since_us = sim.now_us;
        side->retry_us = RETRY_FIRST_US;
    }
    if (sim.now_us - side->stalled_since_us > side->conn->give_up_us) {
        break_side(side);
        return;
    }
    pump(side, sim.now_us + side->retry_us);
    side->retry_us = side->retry_us * 2 < RETRY_MAX_US ? side->retry_us * 2 : RETRY_MAX_US;
}

static void on_arrival(void *arg)
{
    struct sim_side *side = arg;
    struct sim_side *to = other(side);

    side->pumping = false;
    if (sp_list_empty(&side->flight)) {
        return;
    }
    if (!to->process->powered || sim_net_blocked(side->process, to->process)) {
        retry(side);
        return;
    }
    struct sim_chunk *chunk = SP_LIST_ENTRY(side->flight.next, struct sim_chunk, node);
    side->stalled_since_us = 0;
    sp_list_remove(&chunk->node);
    side->flight_bytes -= chunk->size;
    arrive(side, chunk);
    sim_free(chunk);
    if (!sp_list_empty(&side->flight)) {
        pump(side, SP_LIST_ENTRY(side->flight.next, struct sim_chunk, node)->arrival_us);
    }
}

static void pump(struct sim_side *side, uint64_t time_us)
{
    if (!side->pumping) {
        side->pumping = true;
        (void)sim_at(time_us, SIM_EVENT_ARRIVE, NULL, on_arrival, side);
    }
}

void sim_side_send(struct sim_side *side, const uint8_t *bytes, size_t size, bool end)
{
    struct sim_chunk *chunk = sim_alloc(sizeof *chunk + size);
    uint64_t arrival_us =
        sim.now_us + way_us(side->process, other(side)->process) + size / BYTES_PER_US;

    if (arrival_us < side->last_arrival_us) {
        arrival_us = side->last_arrival_us;
    }
    side->last_arrival_us = arrival_us;
    chunk->arrival_us = arrival_us;
    chunk->size = size;
    chunk->end = end;
    if (size > 0) {
        memcpy(chunk->bytes, bytes, size);
    }
    sp_list_init(&chunk->node);
    sp_list_append(&side->flight, &chunk->node);
    side->flight_bytes += size;
    pump(side, arrival_us);
}

void sim_side_close(struct sim_side *side)
{
    side->stream = NULL;
    side->closed = true;
    sp_list_remove(&side->node);
    if (!side->broken) {
        sim_side_send(side, NULL, 0, true);
    }
    side->received_size = 0;
}

void sim_side_consumed(struct sim_side *side, size_t size)
{
    struct sim_side *sender = other(side);
    bool was_full = sim_side_window(sender) == 0;

    SP_ASSERT(size <= side->received_size);
    side->received_start += size;
    side->received_size -= size;
    if (was_full && sender->stream != NULL && lives(sender)) {
        sim_stream_look(sender->stream);
    }
}

/* ---- connecting ------------------------------------------------------------------------------ */

/* An attempt on its way; belongs to the world, since the stream may vanish meanwhile. */
struct sim_attempt {
    struct sim_process *process;
    uint64_t boot;
    struct sp_stream *stream; /* NULL: closed meanwhile; gone too when its process is */
    unsigned tries;
    struct sim_side *side; /* when accepted */
    char address[SP_ADDRESS_SIZE_MAX];
};

static struct sim_process *process_at(const char *address)
{
    const char *colon = strrchr(address, ':');

    SP_LIST_EACH (node, &sim.processes) {
        struct sim_process *process = SP_LIST_ENTRY(node, struct sim_process, node);
        size_t size = strlen(process->host);
        if ((size_t)(colon - address) == size && memcmp(address, process->host, size) == 0) {
            return process;
        }
    }
    return NULL;
}

static struct sp_listener *listener_at(const char *address)
{
    SP_LIST_EACH (node, &sim_net.listeners) {
        struct sp_listener *listener = SP_LIST_ENTRY(node, struct sp_listener, node);
        if (strcmp(listener->address, address) == 0) {
            return listener;
        }
    }
    return NULL;
}

static void side_init(struct sim_side *side, struct sim_conn *conn, struct sim_process *process)
{
    side->conn = conn;
    side->process = process;
    side->boot = process->boot;
    sp_list_init(&side->flight);
    sp_list_init(&side->node);
    sp_list_append(&process->sides, &side->node);
}

static struct sim_conn *conn_new(struct sim_process *from, struct sim_process *to)
{
    struct sim_conn *conn = sim_alloc(sizeof *conn);

    conn->number = sim_net.conn_count;
    sim_net.conn_count += 1;
    conn->give_up_us = sim_between(&sim.rand_net, GIVE_UP_MIN_US, GIVE_UP_MAX_US);
    side_init(&conn->side[0], conn, from);
    side_init(&conn->side[1], conn, to);
    sp_list_init(&conn->node);
    sp_list_append(&sim_net.conns, &conn->node);
    return conn;
}

static void on_outcome(void *arg)
{
    struct sim_attempt *attempt = arg;
    struct sp_stream *stream = attempt->stream;

    if (stream == NULL) {
        if (attempt->side != NULL) {
            sim_side_close(attempt->side);
        }
    } else {
        stream->attempt = NULL;
        if (attempt->side != NULL) {
            sim_stream_connected(stream, attempt->side);
        } else {
            sim_stream_refused(stream);
        }
    }
    sim_free(attempt);
}

void sim_net_forget_attempt(struct sp_stream *stream)
{
    if (stream->attempt != NULL) {
        stream->attempt->stream = NULL;
        stream->attempt = NULL;
    }
}

static void conclude(struct sim_attempt *attempt, struct sim_side *side, uint64_t after_us)
{
    attempt->side = side;
    (void)sim_at(sim.now_us + after_us, SIM_EVENT_CONNECT, attempt->process, on_outcome, attempt);
}

static void on_attempt(void *arg)
{
    struct sim_attempt *attempt = arg;
    struct sim_process *target = process_at(attempt->address);
    struct sp_listener *listener = listener_at(attempt->address);

    if (attempt->boot != attempt->process->boot) {
        sim_free(attempt);
        return;
    }
    if (target == NULL || !target->powered || sim_net_blocked(attempt->process, target) ||
        sim_net_blocked(target, attempt->process)) {
        attempt->tries += 1;
        if (attempt->stream == NULL || attempt->tries > CONNECT_ATTEMPTS) {
            conclude(attempt, NULL, 0);
        } else {
            uint64_t pause_us = (uint64_t)CONNECT_RETRY_US << (attempt->tries - 1);
            (void)sim_at(sim.now_us + pause_us, SIM_EVENT_CONNECT, NULL, on_attempt, attempt);
        }
        return;
    }
    uint64_t back_us = way_us(target, attempt->process);
    if (listener == NULL) {
        conclude(attempt, NULL, back_us);
        return;
    }
    struct sim_conn *conn = conn_new(attempt->process, target);
    sim_stream_accepted(listener, &conn->side[1]);
    conclude(attempt, &conn->side[0], back_us);
}

void sim_net_connect(struct sp_stream *stream)
{
    struct sim_attempt *attempt = sim_alloc(sizeof *attempt);
    struct sim_process *process = sim_loop_process(stream->loop);
    struct sim_process *target = process_at(stream->peer);

    attempt->process = process;
    attempt->boot = process->boot;
    attempt->stream = stream;
    attempt->tries = 1;
    stream->attempt = attempt;
    memcpy(attempt->address, stream->peer, sizeof attempt->address);
    uint64_t there_us = target == NULL ? 1 : way_us(process, target);
    (void)sim_at(sim.now_us + there_us, SIM_EVENT_CONNECT, NULL, on_attempt, attempt);
}
