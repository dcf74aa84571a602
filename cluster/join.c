#include "cluster/join.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "cluster/link.h"
#include "spate/error.h"

enum {
    ANSWER_MS_MAX = 8000, /* the controller may have to elect a leader first */
    PAUSE_MS = 300,
};

/* IDLE -> PAUSING -> CONNECTING -> ASKING -> (answer) CREATING -> DONE --renew--> IDLE
 *            ^            |          |                             |
 *            '------------'----------'  failed: the next address   |
 *            '-----------------------------------------------------'  a stranger has greeted */
enum join_step {
    JOIN_IDLE,
    JOIN_PAUSING,
    JOIN_CONNECTING,
    JOIN_ASKING,
    JOIN_CREATING,
    JOIN_DONE,
};

struct sp_join {
    struct sp_join_options options;
    enum join_step step;
    unsigned address; /* which one is asked */
    struct sp_stream *stream;
    struct sp_conn *conn;
    struct sp_timer timer;
    struct sp_deferred finish;
    struct sp_replica_open create;
    struct sp_join_answer answer;
    uint64_t lost_voter; /* damaged, to be replaced; 0: none */
    struct sp_trace_limit refused_limit;
    struct sp_refusals refusals;
    uint64_t answered_ms; /* the last time; 0: never */
    uint64_t begun_ms;    /* since when nobody has answered; 0: it does not ask */
    char waits[SP_ADDRESS_SIZE_MAX + SP_REFUSAL_SIZE + 32]; /* sp_join_waits */
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

static void find_voter(void *arg, const struct sp_replica_record *record)
{
    uint64_t *voter_id = arg;

    if (record->group_id == SP_CONTROLLER_GROUP_ID && record->replica_id > *voter_id) {
        *voter_id = record->replica_id;
    }
}

uint64_t sp_join_voter_id(const struct sp_store *store)
{
    uint64_t voter_id = 0;

    sp_store_replicas(store, find_voter, &voter_id);
    return voter_id;
}

/* ---- addresses ------------------------------------------------------------------------------- */

/* The n-th address to ask, or NULL: those to join first, then the other seeds, then whoever has a
 * link. */
static const char *address_at(const struct sp_join *join, unsigned n)
{
    const struct sp_transport_options *addresses = join->options.addresses;

    if (n < addresses->join_count) {
        return addresses->join[n];
    }
    n -= addresses->join_count;
    for (unsigned i = 0; i < addresses->seed_count; i++) {
        if (addresses->seeds[i].node_id == addresses->node_id) {
            continue;
        }
        if (n == 0) {
            return addresses->seeds[i].address;
        }
        n -= 1;
    }
    return sp_transport_address(join->options.transport, n);
}

static void pause_for(struct sp_join *join, uint64_t pause_ms)
{
    join->step = JOIN_PAUSING;
    /* A timer without room is started by the next sp_join_start. */
    (void)sp_timer_start(&join->timer, sp_loop_now_ms(join->options.loop) + pause_ms);
}

static void pause_then_next(struct sp_join *join)
{
    join->address += 1;
    if (address_at(join, join->address) == NULL) {
        join->address = 0;
    }
    pause_for(join, PAUSE_MS);
}

static bool is_member(const struct sp_join *join)
{
    return sp_store_identity(join->options.store)->state == SP_IDENTITY_FORMED;
}

/* It is in the cluster and asks only where the others are. */
static bool is_inside(const struct sp_join *join)
{
    return is_member(join) && join->lost_voter == 0;
}

const char *sp_join_waits(const struct sp_join *join)
{
    return join->step == JOIN_DONE || is_inside(join) ? "" : join->waits;
}

/* The address in turn is dead, or says nothing. */
static void tell_silent(struct sp_join *join, int status)
{
    const char *address = address_at(join, join->address);
    uint64_t now_ms = sp_loop_now_ms(join->options.loop);

    if (is_inside(join) || address == NULL || now_ms - join->begun_ms < SP_JOIN_SILENT_MS) {
        return; /* those that start together do not answer at once */
    }
    (void)snprintf(join->waits,
                   sizeof join->waits,
                   "no member answers at %s: %s",
                   address,
                   status == SPATE_ERR_NOT_FOUND ? "its host name is not known"
                                                 : spate_error_name(status));
    if (sp_refusal_is_due(&join->refusals, join->waits, strlen(join->waits), now_ms) &&
        sp_trace_allowed(&join->refused_limit, now_ms, 1, NULL)) {
        SP_TRACE_WARN("join",
                      "no member answers, tried again",
                      "address=%s error=%s",
                      address,
                      spate_error_name(status));
    }
}

static void tell_refused(struct sp_join *join, const char *address, const char *text)
{
    bool member = is_inside(join);
    uint64_t now_ms = sp_loop_now_ms(join->options.loop);

    join->begun_ms = now_ms; /* somebody has answered */
    (void)snprintf(join->waits,
                   sizeof join->waits,
                   "not let in%s%s: %s",
                   address == NULL ? "" : " by the node at ",
                   address == NULL ? "" : address,
                   text);
    if (sp_refusal_is_due(&join->refusals, text, strlen(text), now_ms) &&
        sp_trace_allowed(&join->refused_limit, now_ms, 1, NULL)) {
        SP_TRACE_WARN("join",
                      member ? "not told where the other nodes are, asked again"
                             : "not let in, tried again",
                      "address=%s why=\"%s\"",
                      address == NULL ? "" : address,
                      text);
    }
}

/* ---- let in ---------------------------------------------------------------------------------- */

static void finish_join(struct sp_join *join)
{
    bool renewed = join->lost_voter != 0;
    bool member = is_member(join);

    join->step = JOIN_DONE;
    join->begun_ms = 0;
    join->waits[0] = '\0';
    join->answered_ms = sp_loop_now_ms(join->options.loop);
    join->lost_voter = 0;
    for (unsigned i = 0; i < join->answer.node_count; i++) {
        int rv = sp_transport_set_node(join->options.transport,
                                       join->answer.nodes[i].node_id,
                                       join->answer.nodes[i].peer_address);
        if (rv != 0) {
            SP_TRACE_WARN("join",
                          "link to a node not set up",
                          "node=%u error=%s",
                          join->answer.nodes[i].node_id,
                          spate_error_name(rv));
        }
    }
    if (renewed) {
        SP_TRACE_INFO("join",
                      "new replica of the controller in place of the damaged one",
                      "node=%u voter_id=%llu",
                      join->options.self.node_id,
                      (unsigned long long)join->answer.voter_id);
        join->options.renewed(join->options.arg);
        return;
    }
    if (member) {
        return;
    }
    sp_transport_adopt(join->options.transport, join->answer.cluster_id);
    SP_TRACE_INFO("join",
                  "member of the cluster",
                  "node=%u voter_id=%llu nodes=%u",
                  join->options.self.node_id,
                  (unsigned long long)join->answer.voter_id,
                  join->answer.node_count);
}

static void on_created(struct sp_replica_open *open, int status)
{
    struct sp_join *join = SP_CONTAINER_OF(open, struct sp_join, create);

    if (status == 0) {
        sp_log_close(open->log, NULL, NULL); /* the controller opens it */
    }
    if (join->closing) {
        sp_loop_defer(join->options.loop, &join->finish);
    } else if (status == 0) {
        finish_join(join);
    } else {
        tell_refused(join, NULL, open->text);
        pause_then_next(join);
    }
}

static void let_in(struct sp_join *join)
{
    uint64_t voter_id = sp_join_voter_id(join->options.store);

    if (join->lost_voter != 0 && join->answer.voter_id <= join->lost_voter) {
        pause_then_next(join); /* that was the answer to an earlier question */
        return;
    }
    if ((is_member(join) && join->lost_voter == 0) || voter_id == join->answer.voter_id) {
        finish_join(join);
        return;
    }
    join->step = JOIN_CREATING;
    join->create = (struct sp_replica_open){ .group_id = SP_CONTROLLER_GROUP_ID,
                                             .replica_id = join->answer.voter_id,
                                             .cb = on_created };
    sp_store_create_replica(join->options.store, &join->create);
}

/* ---- asking ---------------------------------------------------------------------------------- */

static void take_answer(struct sp_join *join, const struct sp_peer_message *message)
{
    const struct sp_identity *identity = sp_store_identity(join->options.store);

    if (sp_join_answer_decode(message->body.bytes, message->body.size, &join->answer) != 0) {
        return; /* the connection ends, and it is tried again */
    }
    if (join->answer.status != 0) {
        tell_refused(join, address_at(join, join->address), join->answer.text);
        return;
    }
    if (identity->state == SP_IDENTITY_FORMED &&
        memcmp(identity->cluster_id, join->answer.cluster_id, SP_CLUSTER_ID_SIZE) != 0) {
        tell_refused(join,
                     address_at(join, join->address),
                     "this node belongs to another cluster: give it an empty data directory");
        return;
    }
    let_in(join);
}

static void
on_message(void *arg, struct sp_conn *conn, struct sp_blob *blob, size_t position, size_t size)
{
    struct sp_join *join = arg;
    struct sp_peer_message message;

    if (join->step == JOIN_ASKING && sp_peer_message_decode(blob, position, size, &message) == 0) {
        if (message.kind == SP_PEER_JOINED) {
            take_answer(join, &message);
        } else if (message.kind == SP_PEER_REFUSED) {
            char text[SP_REFUSAL_SIZE]; /* ends before who says so */
            (void)snprintf(text,
                           sizeof text,
                           "%.*s",
                           (int)message.body.size,
                           (const char *)message.body.bytes);
            tell_refused(join, address_at(join, join->address), text);
        }
    }
    sp_conn_close(conn, false);
}

static void on_closed(void *arg, struct sp_conn *conn, int status)
{
    struct sp_join *join = arg;

    (void)conn;
    join->conn = NULL;
    if (join->closing) {
        sp_loop_defer(join->options.loop, &join->finish);
    } else if (join->step == JOIN_ASKING) {
        tell_silent(join, status == 0 ? SPATE_ERR_CLOSED : status);
        pause_then_next(join);
    }
}

static const struct sp_conn_handler conn_handler = { .message = on_message, .closed = on_closed };

static int send_request(struct sp_join *join)
{
    const struct sp_identity *identity = sp_store_identity(join->options.store);
    struct sp_peer_message message = { .kind = SP_PEER_JOIN };
    struct sp_join_request request = { .node = join->options.self,
                                       .formed = identity->state == SP_IDENTITY_FORMED,
                                       .voter_id = sp_join_voter_id(join->options.store),
                                       .lost = join->lost_voter != 0 };
    struct sp_buf body;

    memcpy(request.cluster_id, identity->cluster_id, SP_CLUSTER_ID_SIZE);
    sp_buf_init(&body, 4096);
    int rv = sp_join_request_encode(&request, &body);
    struct sp_blob *blob = rv == 0 ? sp_blob_copy(body.bytes, body.size) : NULL;
    sp_buf_deinit(&body);
    if (blob == NULL) {
        return SPATE_ERR_NOMEM;
    }
    struct sp_slice piece = sp_slice_of(blob, 0, blob->size);
    rv = sp_peer_send(join->conn, &message, &piece, 1);
    sp_slice_unref(&piece);
    sp_blob_unref(blob);
    return rv;
}

static void on_connect(void *arg, struct sp_stream *stream, int status)
{
    struct sp_join *join = arg;

    join->stream = NULL;
    if (status != 0) {
        sp_stream_close(stream, NULL, NULL);
        tell_silent(join, status);
        pause_then_next(join);
        return;
    }
    if (sp_conn_new(
            join->options.loop, stream, &sp_conn_node_messages, &conn_handler, join, &join->conn) !=
        0) {
        join->conn = NULL;
        pause_then_next(join);
        return;
    }
    join->step = JOIN_ASKING;
    if (send_request(join) != 0) {
        sp_conn_close(join->conn, false);
    }
}

static void ask(struct sp_join *join)
{
    const char *address = address_at(join, join->address);

    if (address == NULL) { /* there were more of them */
        join->address = 0;
        address = address_at(join, 0);
    }
    if (address == NULL) {
        join->step = JOIN_IDLE; /* a node alone, until one greets */
        return;
    }
    join->step = JOIN_CONNECTING;
    if (join->begun_ms == 0) {
        join->begun_ms = sp_loop_now_ms(join->options.loop);
    }
    (void)sp_timer_start(&join->timer, sp_loop_now_ms(join->options.loop) + ANSWER_MS_MAX);
    if (sp_stream_connect(join->options.loop, address, on_connect, join, &join->stream) != 0) {
        join->stream = NULL;
        tell_silent(join, SPATE_ERR_UNREACHABLE);
        pause_then_next(join);
    }
}

static void on_timer(struct sp_timer *timer)
{
    struct sp_join *join = SP_CONTAINER_OF(timer, struct sp_join, timer);

    switch (join->step) {
    case JOIN_PAUSING:
        ask(join);
        break;
    case JOIN_CONNECTING:
        sp_stream_close(join->stream, NULL, NULL);
        join->stream = NULL;
        tell_silent(join, SPATE_ERR_TIMEOUT);
        pause_then_next(join);
        break;
    case JOIN_ASKING:
        sp_conn_close(join->conn, false);
        break;
    case JOIN_IDLE:
    case JOIN_CREATING:
    case JOIN_DONE:
        break;
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

static void on_finish(struct sp_deferred *deferred)
{
    struct sp_join *join = SP_CONTAINER_OF(deferred, struct sp_join, finish);
    void (*closed)(void *arg) = join->closed;
    void *arg = join->closed_arg;

    sp_mem_free(join);
    closed(arg);
}

int sp_join_new(const struct sp_join_options *options, struct sp_join **out_join)
{
    struct sp_join *join = sp_mem_calloc(1, sizeof *join);

    if (join == NULL) {
        return SPATE_ERR_NOMEM;
    }
    join->options = *options;
    sp_timer_init(&join->timer, options->loop, on_timer);
    sp_deferred_init(&join->finish, on_finish);
    *out_join = join;
    return 0;
}

void sp_join_start(struct sp_join *join)
{
    if (!join->closing && (join->step == JOIN_IDLE ||
                           (join->step == JOIN_PAUSING && !sp_timer_active(&join->timer)))) {
        ask(join);
    }
}

void sp_join_met_stranger(struct sp_join *join)
{
    uint64_t now_ms = sp_loop_now_ms(join->options.loop);
    bool again = join->answered_ms != 0 && now_ms < join->answered_ms + SP_JOIN_AGAIN_MS;

    if (!join->closing && (join->step == JOIN_IDLE || join->step == JOIN_DONE)) {
        pause_for(join,
                  again ? join->answered_ms + SP_JOIN_AGAIN_MS - now_ms : SP_JOIN_STRANGER_MS);
    }
}

void sp_join_renew(struct sp_join *join, uint64_t voter_id, const char *text)
{
    bool asks = address_at(join, 0) != NULL;

    if (join->closing) {
        return;
    }
    SP_TRACE_ERROR(
        "join",
        asks ? "this node's replica of the controller is damaged: it asks the others "
               "for a new one"
             : "this node's replica of the controller is damaged, and there is nobody "
               "to ask: start it with --join, or, if there is no other node, mend it by hand",
        "replica=%llu text=\"%s\"",
        (unsigned long long)voter_id,
        text);
    join->lost_voter = voter_id;
    if (join->step == JOIN_DONE) {
        join->step = JOIN_IDLE;
    }
    sp_join_start(join);
}

void sp_join_close(struct sp_join *join, void (*closed)(void *arg), void *arg)
{
    SP_ASSERT(!join->closing);
    join->closing = true;
    join->closed = closed;
    join->closed_arg = arg;
    sp_timer_stop(&join->timer);
    if (join->stream != NULL) {
        sp_stream_close(join->stream, NULL, NULL);
        join->stream = NULL;
    }
    if (join->conn != NULL) {
        sp_conn_close(join->conn, false);
    } else if (join->step != JOIN_CREATING) {
        sp_loop_defer(join->options.loop, &join->finish);
    }
}
