/* One outbound connection between nodes: keeping it up, and knowing soon when the other is gone. */
#include "cluster/link.h"

#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "cluster/link_parts.h"
#include "spate/error.h"

enum {
    PAUSE_MS_MIN = 20,
    PAUSE_MS_MAX = 500,
    CONNECT_MS_MAX = 1000,  /* a host that is off answers nothing; then a SYN lost is sent again */
    GREETING_MS_MAX = 1000, /* a stopped process accepts connections but says nothing */
    KEEPALIVE_MS = 1000,
    SILENCE_MS_MAX = 5000, /* TCP alone would hide a partition, and its end, for minutes */
    REFUSED_MS_MAX = 100,  /* a refusal comes within a round trip, a failing network later */
    HURRY_MS = 2,          /* between attempts while it is open whether the process has died */
    HURRIES_MAX = 10,
    TRACES_PER_SECOND_MAX = 2,
};

/* ---- states ---------------------------------------------------------------------------------- */

static void set_state(struct sp_link *link, enum sp_link_state state)
{
    static const char *const names[] = { "down", "up", "dead" };

    if (link->state == state || link->step == LINK_CLOSING) {
        return;
    }
    link->state = state;
    SP_TRACE_INFO("link",
                  "link changed",
                  "node=%u address=%s state=%s",
                  link->node_id,
                  sp_link_address(link),
                  names[state]);
    link->handler->changed(link->arg, link, state);
}

static void enter(struct sp_link *link, enum link_step step, uint64_t timeout_ms)
{
    uint64_t now_ms = sp_loop_now_ms(link->loop);

    link->step = step;
    link->step_began_ms = now_ms;
    /* Fails only when the loop has no place for one more timer; this one always had a place, and
     * should it be lost, a greeting from the other node connects as well. */
    (void)sp_timer_start(&link->timer, now_ms + timeout_ms);
}

static void wait_to_connect(struct sp_link *link)
{
    bool hurry = link->was_up && link->hurries < HURRIES_MAX;
    uint64_t pause_ms = HURRY_MS;

    if (hurry) {
        link->hurries += 1;
    } else {
        pause_ms = link->pause_ms / 2 + sp_rand_below(&link->rand, link->pause_ms);
        link->pause_ms = link->pause_ms * 2 < PAUSE_MS_MAX ? link->pause_ms * 2 : PAUSE_MS_MAX;
    }
    enter(link, LINK_WAITING, pause_ms);
}

/* Another one of its addresses: what happens there says nothing about the process that was at the
 * one before. */
static void choose_address(struct sp_link *link, unsigned address)
{
    if (link->address != address) {
        link->address = address;
        link->was_up = false;
    }
}

/* It is not at this address, or not any more: the next attempt goes to the next one, unless this
 * one was chosen meanwhile and not tried. */
static void go_on(struct sp_link *link)
{
    if (!link->untried && (!link->was_up || link->hurries == HURRIES_MAX)) {
        choose_address(link, (link->address + 1) % link->address_count);
    }
    wait_to_connect(link);
}

/* ---- greeting -------------------------------------------------------------------------------- */

static void say_hello(struct sp_link *link)
{
    struct sp_peer_message message = { .kind = SP_PEER_HELLO };

    link->handler->greeting(link->arg, &message.u.hello);
    if (sp_peer_send(link->conn, &message, NULL, 0) == SPATE_ERR_NOMEM) {
        sp_conn_close(link->conn, false); /* what follows would be out of order without it */
    }
}

/* Who refuses listens: it is not tried again in a hurry. */
static void note_refused(struct sp_link *link, const char *message, const char *text, size_t size)
{
    uint64_t now_ms = sp_loop_now_ms(link->loop);

    link->pause_ms = PAUSE_MS_MAX;
    link->hurries = HURRIES_MAX;
    if (sp_refusal_is_due(&link->refusals, text, size, now_ms) &&
        sp_trace_allowed(&link->refused_limit, now_ms, TRACES_PER_SECOND_MAX, NULL)) {
        SP_TRACE_WARN("link",
                      message,
                      "node=%u address=%s why=\"%.*s\"",
                      link->node_id,
                      sp_link_address(link),
                      (int)size,
                      text);
    }
}

static void on_hello(struct sp_link *link, const struct sp_peer_hello *hello)
{
    char text[SP_REFUSAL_SIZE] = "";
    struct sp_peer_hello self;

    if (link->handler->hello(link->arg, link, hello, text) != 0) {
        note_refused(link, "node refused", text, strlen(text));
        link->handler->greeting(link->arg, &self);
        sp_peer_refuse(link->conn, text, &self);
        return;
    }
    link->heard_ms = sp_loop_now_ms(link->loop);
    if (link->step == LINK_GREETING) {
        link->pause_ms = PAUSE_MS_MIN;
        link->hurries = 0;
        link->was_up = true;
        enter(link, LINK_UP, KEEPALIVE_MS);
        set_state(link, SP_LINK_UP);
    }
}

static void on_refused(struct sp_link *link, const struct sp_slice *body)
{
    struct sp_peer_refusal refusal;

    sp_peer_refusal_decode(body->bytes, body->size, &refusal);
    note_refused(link, "refused by node", refusal.text, refusal.text_size);
    link->handler->refused(link->arg, link, &refusal);
    sp_conn_close(link->conn, false);
}

static void
on_message(void *arg, struct sp_conn *conn, struct sp_blob *blob, size_t position, size_t size)
{
    struct sp_link *link = arg;
    struct sp_peer_message message;

    if (sp_peer_message_decode(blob, position, size, &message) != 0) {
        sp_conn_close(conn, false);
    } else if (message.kind == SP_PEER_HELLO) {
        on_hello(link, &message.u.hello);
    } else if (message.kind == SP_PEER_REFUSED) {
        on_refused(link, &message.body);
    } else {
        sp_conn_close(conn, false); /* nothing else belongs on this connection */
    }
}

/* ---- connecting ------------------------------------------------------------------------------ */

static void drop_stream(struct sp_stream **stream)
{
    if (*stream != NULL) {
        sp_stream_close(*stream, NULL, NULL);
        *stream = NULL;
    }
}

static void on_closed(void *arg, struct sp_conn *conn, int status)
{
    struct sp_link *link = arg;
    bool was_up = link->step == LINK_UP;

    (void)conn;
    (void)status; /* whatever it was, the connection is gone */
    link->conn = NULL;
    sp_buf_clear(&link->heartbeats);
    if (link->step == LINK_CLOSING) {
        sp_loop_defer(link->loop, &link->finish);
        return;
    }
    drop_stream(&link->probe); /* it may be of an address that is left now */
    go_on(link);
    sp_link_wake_waiters(link);
    if (was_up || link->untried) {
        sp_link_connect(link);
    }
    if (was_up) {
        set_state(link, SP_LINK_DOWN);
    }
}

static void on_drained(void *arg, struct sp_conn *conn)
{
    (void)conn;
    sp_link_wake_waiters(arg);
}

static const struct sp_conn_handler link_conn_handler = {
    .message = on_message,
    .closed = on_closed,
    .drained = on_drained,
};

/* The other side's fault; the name of a host that is gone may go with it. */
static bool is_refusal(int status)
{
    return status == SPATE_ERR_UNREACHABLE || status == SPATE_ERR_NOT_FOUND;
}

static void on_connect(void *arg, struct sp_stream *stream, int status)
{
    struct sp_link *link = arg;

    if (status != 0) {
        /* A quick refusal means that nobody listens there any more. */
        bool dead = link->was_up && is_refusal(status) &&
                    sp_loop_now_ms(link->loop) - link->step_began_ms <= REFUSED_MS_MAX;

        drop_stream(&link->stream);
        link->was_up = link->was_up && !dead;
        go_on(link);
        if (dead) {
            set_state(link, SP_LINK_DEAD);
        }
        return;
    }
    link->stream = NULL;
    if (sp_conn_new(
            link->loop, stream, &sp_conn_node_messages, &link_conn_handler, link, &link->conn) !=
        0) {
        wait_to_connect(link);
        return;
    }
    sp_conn_bound_kernel(link->conn, SP_LINK_KERNEL_BYTES);
    link->written_bytes = 0;
    enter(link, LINK_GREETING, GREETING_MS_MAX);
    say_hello(link);
}

void sp_link_connect(struct sp_link *link)
{
    if (link->step != LINK_NEW && link->step != LINK_WAITING) {
        return;
    }
    link->untried = false;
    enter(link, LINK_CONNECTING, CONNECT_MS_MAX);
    if (sp_stream_connect(link->loop, sp_link_address(link), on_connect, link, &link->stream) !=
        0) {
        link->stream = NULL;
        go_on(link);
    }
}

/* ---- suspicion ------------------------------------------------------------------------------- */

static void on_probe(void *arg, struct sp_stream *stream, int status)
{
    struct sp_link *link = arg;

    (void)stream;
    drop_stream(&link->probe);
    if (is_refusal(status) && link->step == LINK_UP) {
        sp_conn_close(link->conn, false); /* connecting again will tell whether it is dead */
    }
}

void sp_link_suspect(struct sp_link *link)
{
    sp_link_connect(link);
    if (link->step != LINK_UP || link->probe != NULL) {
        return;
    }
    if (sp_stream_connect(link->loop, sp_link_address(link), on_probe, link, &link->probe) != 0) {
        link->probe = NULL; /* then silence will tell */
    }
}

/* A slow peer that works off a long queue cannot answer what stands at its end. An empty queue says
 * nothing: the kernel takes small messages for a dead peer too. */
static bool makes_progress(struct sp_link *link)
{
    uint64_t before = link->written_bytes;

    link->written_bytes = sp_conn_written_bytes(link->conn);
    return sp_conn_queued_bytes(link->conn) > 0 && link->written_bytes > before;
}

static void keep_alive(struct sp_link *link)
{
    if (makes_progress(link)) {
        link->heard_ms = sp_loop_now_ms(link->loop);
    }
    if (sp_loop_now_ms(link->loop) - link->heard_ms >= SILENCE_MS_MAX) {
        sp_conn_close(link->conn, false);
        return;
    }
    say_hello(link);
    (void)sp_timer_start(&link->timer, sp_loop_now_ms(link->loop) + KEEPALIVE_MS); /* as in enter */
}

static void on_timer(struct sp_timer *timer)
{
    struct sp_link *link = SP_CONTAINER_OF(timer, struct sp_link, timer);

    switch (link->step) {
    case LINK_CONNECTING:
        drop_stream(&link->stream);
        go_on(link);
        break;
    case LINK_GREETING:
        sp_conn_close(link->conn, false);
        break;
    case LINK_UP:
        keep_alive(link);
        break;
    case LINK_WAITING:
        sp_link_connect(link);
        break;
    case LINK_NEW:
    case LINK_CLOSING:
        break;
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

void sp_link_greet(struct sp_link *link)
{
    if (link->step == LINK_GREETING || link->step == LINK_UP) {
        sp_link_flush_heartbeats(link);
        say_hello(link);
    }
}

static void on_finish(struct sp_deferred *deferred)
{
    struct sp_link *link = SP_CONTAINER_OF(deferred, struct sp_link, finish);
    void (*closed)(void *arg) = link->closed;
    void *closed_arg = link->closed_arg;

    sp_buf_deinit(&link->heartbeats);
    sp_mem_free(link);
    if (closed != NULL) {
        closed(closed_arg);
    }
}

static unsigned find_address(const struct sp_link *link, const char *address)
{
    unsigned i = 0;

    while (i < link->address_count && strcmp(link->addresses[i], address) != 0) {
        i += 1;
    }
    return i;
}

/* Notes the address, in the place of one that was told long ago if there is no other, and sets
 * *out_place. */
static int add_address(struct sp_link *link, const char *address, unsigned *out_place)
{
    unsigned place = find_address(link, address);
    size_t size = strlen(address);

    if (size >= sizeof link->addresses[0]) {
        return SPATE_ERR_INVALID;
    }
    if (place == SP_LINK_ADDRESSES_MAX) {
        place = link->address + 1 < place ? link->address + 1 : 1; /* the first one stays */
    } else if (place == link->address_count) {
        link->address_count += 1;
    }
    memcpy(link->addresses[place], address, size + 1);
    *out_place = place;
    return 0;
}

int sp_link_new(struct sp_loop *loop,
                uint32_t node_id,
                const char *address,
                const struct sp_link_handler *handler,
                void *arg,
                struct sp_link **out_link)
{
    struct sp_link *link = sp_mem_calloc(1, sizeof *link);

    if (link == NULL || add_address(link, address, &link->address) != 0) {
        sp_mem_free(link);
        return link == NULL ? SPATE_ERR_NOMEM : SPATE_ERR_INVALID;
    }
    link->loop = loop;
    link->handler = handler;
    link->arg = arg;
    link->node_id = node_id;
    link->pause_ms = PAUSE_MS_MIN;
    sp_rand_init(&link->rand, sp_loop_random(loop));
    sp_timer_init(&link->timer, loop, on_timer);
    sp_link_init_sending(link);
    sp_deferred_init(&link->finish, on_finish);
    *out_link = link;
    return 0;
}

/* A node that answers is not left: who says otherwise may know something older. */
int sp_link_set_address(struct sp_link *link, const char *address)
{
    unsigned place = link->address;
    int rv = add_address(link, address, &place);

    if (rv != 0 || place == link->address || link->step == LINK_UP) {
        return rv;
    }
    choose_address(link, place);
    link->untried = true;
    if (link->conn != NULL) {
        sp_conn_close(link->conn, false); /* nobody has answered there */
    } else if (link->step == LINK_CONNECTING) {
        drop_stream(&link->stream);
        link->step = LINK_WAITING;
    }
    sp_link_connect(link);
    return 0;
}

uint32_t sp_link_node_id(const struct sp_link *link)
{
    return link->node_id;
}

const char *sp_link_address(const struct sp_link *link)
{
    return link->addresses[link->address];
}

enum sp_link_state sp_link_state(const struct sp_link *link)
{
    return link->state;
}

void sp_link_close(struct sp_link *link, void (*closed)(void *arg), void *arg)
{
    SP_ASSERT(link->step != LINK_CLOSING);
    if (link->conn != NULL) {
        sp_link_flush_heartbeats(link);
    }
    link->step = LINK_CLOSING;
    link->closed = closed;
    link->closed_arg = arg;
    sp_timer_stop(&link->timer);
    sp_link_end_sending(link);
    drop_stream(&link->stream);
    drop_stream(&link->probe);
    if (link->conn != NULL) {
        sp_conn_close(link->conn, true);
    } else {
        sp_loop_defer(link->loop, &link->finish);
    }
}
