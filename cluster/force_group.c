/* One replica of a forced membership: what its log says, who is left, what is appended. */
#include "cluster/force_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cluster/controller.h"
#include "cluster/raft_group_internal.h"
#include "spate/error.h"

#define NODES_TEXT_SIZE 400 /* SP_NODES_MAX numbers with their commas */
#define PAYLOAD_BYTES_MAX 65536

/* A replica at work. */
struct forced {
    struct sp_force *force;
    struct sp_replica_record record;
    struct sp_replica_open open;
    struct sp_log *log;
    struct raft_configuration before;
    struct raft_configuration after; /* its kept members */
    bool self;                       /* this replica is one of them, and votes */
    uint64_t index;                  /* of the last frame that was appended */
    bool opened;
    int status;
    bool closed;
};

/* Addresses are NODE.REPLICA, see raft_membership.c. */
static uint32_t node_of(const struct raft_server *server)
{
    return (uint32_t)strtoul(server->address, NULL, 10);
}

static void nodes_text(const struct raft_configuration *members, char *text)
{
    size_t used = 0;

    text[0] = '\0';
    for (unsigned i = 0; i < members->n && used + 1 < NODES_TEXT_SIZE; i++) {
        used += (size_t)snprintf(text + used,
                                 NODES_TEXT_SIZE - used,
                                 "%s%" PRIu32 "%s",
                                 i == 0 ? "" : ", ",
                                 node_of(&members->servers[i]),
                                 members->servers[i].role == RAFT_VOTER ? "" : " (does not vote)");
    }
}

static unsigned voters_of(const struct raft_configuration *members)
{
    unsigned count = 0;

    for (unsigned i = 0; i < members->n; i++) {
        count += members->servers[i].role == RAFT_VOTER ? 1 : 0;
    }
    return count;
}

static int keep_members(struct forced *forced)
{
    for (unsigned i = 0; i < forced->before.n; i++) {
        const struct raft_server *server = &forced->before.servers[i];
        if (!sp_force_is_kept(forced->force->options, node_of(server))) {
            continue;
        }
        if (raft_configuration_add(&forced->after, server->id, server->address, server->role) !=
            0) {
            return SPATE_ERR_NOMEM;
        }
        forced->self =
            forced->self || (server->id == forced->record.replica_id && server->role == RAFT_VOTER);
    }
    return 0;
}

/* ---- waiting --------------------------------------------------------------------------------- */

static void on_opened(struct sp_replica_open *open, int status)
{
    struct forced *forced = SP_CONTAINER_OF(open, struct forced, open);

    forced->opened = true;
    forced->status = status;
    forced->force->woken = true;
}

static void on_persisted(void *arg, uint64_t index)
{
    struct forced *forced = arg;

    (void)index;
    forced->force->woken = true;
}

static void on_closed(void *arg)
{
    struct forced *forced = arg;

    forced->closed = true;
    forced->force->woken = true;
}

static bool is_opened(void *arg)
{
    return ((const struct forced *)arg)->opened;
}

static bool is_persisted(void *arg)
{
    const struct forced *forced = arg;

    return sp_log_persisted_index(forced->log) >= forced->index;
}

static bool is_closed(void *arg)
{
    return ((const struct forced *)arg)->closed;
}

/* ---- changing -------------------------------------------------------------------------------- */

static int append(struct forced *forced, enum sp_frame_kind kind, uint64_t term, struct sp_buf *buf)
{
    const struct sp_iovec piece = { buf->bytes, buf->size };
    int64_t offset = 0;

    /* The time of the frame before, so that nodes with the same log append the same bytes. */
    return sp_log_build(
        forced->log, kind, term, sp_log_last_append_time_ms(forced->log), &piece, 1, &offset);
}

static int append_command(struct forced *forced, uint64_t term)
{
    const struct sp_force_options *options = forced->force->options;
    struct sp_buf buf;

    sp_buf_init(&buf, PAYLOAD_BYTES_MAX);
    int rv = sp_state_command_force_nodes(options->node_ids, options->node_count, &buf);
    if (rv == 0) {
        rv = append(forced, SP_FRAME_COMMAND, term, &buf);
    }
    sp_buf_deinit(&buf);
    return rv;
}

static int append_configuration(struct forced *forced, uint64_t term)
{
    struct raft_buffer encoded;
    struct sp_buf buf;

    if (raft_configuration_encode(&forced->after, &encoded) != 0) {
        return SPATE_ERR_NOMEM;
    }
    sp_buf_init(&buf, PAYLOAD_BYTES_MAX);
    int rv = sp_buf_append(&buf, encoded.base, encoded.len);
    raft_free(encoded.base);
    if (rv == 0) {
        rv = append(forced, SP_FRAME_CONFIGURATION, term, &buf);
    }
    sp_buf_deinit(&buf);
    return rv;
}

/* Durable before the frames: where the configuration stands, everything does. A run that was killed
 * in between has left exactly this term and no vote; nothing but a forced membership has run
 * since. */
static int raise_term(struct forced *forced, uint64_t term)
{
    struct sp_force *force = forced->force;
    uint64_t voted_term = 0;
    uint64_t vote = 0;

    sp_store_vote(
        force->store, forced->record.group_id, forced->record.replica_id, &voted_term, &vote);
    bool again = sp_store_forcing(force->store) != 0 && voted_term == term && vote == 0;
    if ((term <= voted_term && !again) || term > INT32_MAX) {
        return sp_force_refuse(force,
                               SPATE_ERR_INVALID,
                               "raft group %" PRIu64 ": its term %" PRIu64
                               " leaves no room for a forced membership",
                               forced->record.group_id,
                               voted_term);
    }
    uint64_t sequence = sp_store_set_vote(
        force->store, forced->record.group_id, forced->record.replica_id, term, 0);
    return sequence == 0 ? SPATE_ERR_NOMEM : sp_force_wait_meta(force, sequence);
}

/* The configuration is last. */
static int change(struct forced *forced)
{
    bool controller = forced->record.group_id == SP_CONTROLLER_GROUP_ID;
    uint64_t term = sp_log_last_term(forced->log) + SP_FORCE_TERM_STEP;
    int rv = raise_term(forced, controller ? term + 1 : term);

    if (rv == 0 && controller) {
        /* Two frames, two terms: where one node has the command another, whose log is shorter by
         * one, has the configuration, and a pair (index, term) must not mean both. */
        rv = append_command(forced, term);
        term += 1;
    }
    if (rv == 0) {
        rv = append_configuration(forced, term);
    }
    if (rv != 0) {
        return rv;
    }
    forced->index = sp_log_last_index(forced->log);
    return sp_force_wait(forced->force, is_persisted, forced);
}

/* ---- deciding -------------------------------------------------------------------------------- */

/* Group 0 tells who the members of the cluster are. */
static int check_controller(struct forced *forced, const char *before)
{
    const struct sp_force_options *options = forced->force->options;

    for (unsigned i = 0; i < options->node_count; i++) {
        const struct raft_server *member = NULL;
        for (unsigned j = 0; j < forced->before.n; j++) {
            const struct raft_server *server = &forced->before.servers[j];
            member = node_of(server) == options->node_ids[i] ? server : member;
        }
        if (member == NULL) {
            return sp_force_refuse(forced->force,
                                   SPATE_ERR_INVALID,
                                   "node %" PRIu32 " is no member: the members are %s",
                                   options->node_ids[i],
                                   before);
        }
        if (member->role != RAFT_VOTER && forced->self) {
            return sp_force_refuse(forced->force,
                                   SPATE_ERR_INVALID,
                                   "node %" PRIu32
                                   " does not vote in the controller's group, and cannot be kept: "
                                   "the members are %s",
                                   options->node_ids[i],
                                   before);
        }
    }
    if (!forced->self) {
        return sp_force_refuse(forced->force,
                               SPATE_ERR_INVALID,
                               "this node does not vote in the controller's group: keep a node "
                               "that does, and run this there");
    }
    return 0;
}

static void tell_plan(const struct forced *forced, const char *before, const char *after)
{
    sp_force_tell(forced->force,
                  "raft group %" PRIu64 ": members %s -> %s; last index %" PRIu64
                  " of term %" PRIu64 ", next offset %" PRId64,
                  forced->record.group_id,
                  before,
                  after,
                  sp_log_last_index(forced->log),
                  sp_log_last_term(forced->log),
                  sp_log_end_offset(forced->log));
}

static int decide(struct forced *forced)
{
    struct sp_force *force = forced->force;
    char before[NODES_TEXT_SIZE];
    char after[NODES_TEXT_SIZE];
    int rv = 0;

    nodes_text(&forced->before, before);
    nodes_text(&forced->after, after);
    if (forced->record.group_id == SP_CONTROLLER_GROUP_ID) {
        rv = check_controller(forced, before);
    }
    if (rv != 0) {
        return rv;
    }
    if (forced->after.n == forced->before.n) {
        sp_force_tell(force,
                      "raft group %" PRIu64 ": members %s, all of them kept: nothing to do",
                      forced->record.group_id,
                      before);
        return 0;
    }
    if (voters_of(&forced->after) == 0) {
        force->lost_count += 1;
        sp_force_tell(force,
                      "raft group %" PRIu64 ": LOST, none of its members %s that vote is kept",
                      forced->record.group_id,
                      before);
        return 0;
    }
    force->planned_count += 1;
    tell_plan(forced, before, after);
    return force->options->change ? change(forced) : 0;
}

/* Made for a move that has not sent it anything yet: it is no member, and has nothing to lose. */
static bool is_empty(const struct forced *forced)
{
    return forced->record.group_id != SP_CONTROLLER_GROUP_ID &&
           sp_log_last_index(forced->log) == 0 && sp_log_configuration_count(forced->log) == 0;
}

static int work(struct forced *forced)
{
    raft_index set_at = 0;

    if (is_empty(forced)) {
        sp_force_tell(forced->force,
                      "raft group %" PRIu64 ": nothing is stored here yet: nothing to do",
                      forced->record.group_id);
        return 0;
    }
    int rv = sp_raft_membership_at(
        forced->log, sp_log_last_index(forced->log), &set_at, &forced->before);
    if (rv != 0) {
        return sp_force_refuse(forced->force,
                               rv,
                               "raft group %" PRIu64 ": its membership cannot be read",
                               forced->record.group_id);
    }
    raft_configuration_init(&forced->after);
    rv = keep_members(forced);
    if (rv == 0) {
        rv = decide(forced);
    }
    raft_configuration_close(&forced->before);
    raft_configuration_close(&forced->after);
    return rv;
}

static int cannot_open(struct forced *forced)
{
    if (forced->record.group_id == SP_CONTROLLER_GROUP_ID) {
        return sp_force_refuse(forced->force,
                               forced->status,
                               "the controller's replica cannot be opened: %s",
                               forced->open.text);
    }
    forced->force->lost_count += 1;
    sp_force_tell(forced->force,
                  "raft group %" PRIu64 ": LOST on this node, left as it is: %s",
                  forced->record.group_id,
                  forced->open.text);
    return 0;
}

int sp_force_group(struct sp_force *force, const struct sp_replica_record *record)
{
    static const struct sp_log_handler handler = { on_persisted, NULL };
    struct forced forced = {
        .force = force,
        .record = *record,
        .open = { .group_id = record->group_id, .replica_id = record->replica_id, .cb = on_opened }
    };

    sp_raft_guard_use_heap();
    sp_store_open_replica(force->store, &forced.open);
    int rv = sp_force_wait(force, is_opened, &forced);
    if (rv != 0) {
        return rv;
    }
    if (forced.status != 0) {
        return cannot_open(&forced);
    }
    forced.log = forced.open.log;
    sp_log_set_handler(forced.log, &handler, &forced);
    rv = work(&forced);
    if (rv != 0) {
        return rv;
    }
    sp_log_close(forced.log, on_closed, &forced);
    return sp_force_wait(force, is_closed, &forced);
}
