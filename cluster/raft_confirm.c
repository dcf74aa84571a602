/* Whether this replica still leads: what reads must know that may not be stale (Ongaro's
 * dissertation, section 6.4, "ReadIndex").
 *
 *   request -> waiting -> asked -> known -> told
 *                |          |        '- applied up to the commit index of the round's beginning
 *                |          '- a majority of the voters has answered this round
 *                '- a round begins at the end of the turn, when none is under way
 *
 * Invariants:
 *  C1  A round begins after every request that it serves. One in flight serves nobody who comes
 *      later: an answer may have been on its way when the other leader was elected.
 *  C2  An answer repeats the term and the number of its round, and no number is used twice: late,
 *      doubled and reordered ones count for no other round.
 *  C3  A voter answers only while its own term is the round's, so it had voted for no later leader
 *      when the question came. A later leader elected before the request has a majority behind it
 *      that does not answer; the two majorities would share a voter. A change of the membership
 *      moves one server at a time, after a commit of the own term (G5), so this holds while one is
 *      under way, too.
 *  C4  The index is taken while a frame of the own term is committed and applied, so it covers all
 *      that earlier leaders committed.
 * No clock is involved: a leader that was paused has to ask like any other. */
#include "cluster/raft_group_internal.h"

#include "base/mem.h"
#include "spate/error.h"

struct sp_raft_confirms {
    struct sp_raft_group *group;
    struct sp_list waiting; /* struct sp_confirm, for the next round */
    struct sp_list asked;   /* those that the round under way serves */
    struct sp_list known;   /* confirmed, in order of index, not applied so far yet */
    unsigned count;         /* in all three */
    uint64_t round;         /* the newest */
    uint64_t term;          /* it was asked in */
    uint64_t index;         /* committed when it began */
    bool under_way;
    uint64_t answered[SP_RAFT_GUARD_SERVERS_MAX]; /* replicas that have answered it */
    unsigned answered_count;
    struct sp_deferred begin;
    struct sp_timer again; /* messages get lost */
};

/* ---- the voters ------------------------------------------------------------------------------ */

static bool has_answered(const struct sp_raft_confirms *confirms, uint64_t replica_id)
{
    if (replica_id == confirms->group->replica_id) {
        return true;
    }
    for (unsigned i = 0; i < confirms->answered_count; i++) {
        if (confirms->answered[i] == replica_id) {
            return true;
        }
    }
    return false;
}

/* By the newest membership, as libraft counts. Standbys count for nothing. */
static bool has_majority(const struct sp_raft_confirms *confirms)
{
    const struct raft_configuration *members = &confirms->group->guard.raft.configuration;
    unsigned voters = 0;
    unsigned answers = 0;

    for (unsigned i = 0; i < members->n; i++) {
        if (members->servers[i].role == RAFT_VOTER) {
            voters += 1;
            answers += has_answered(confirms, members->servers[i].id);
        }
    }
    return answers > voters / 2;
}

static void ask(struct sp_raft_confirms *confirms)
{
    struct sp_raft_group *group = confirms->group;
    const struct raft_configuration *members = &group->guard.raft.configuration;

    for (unsigned i = 0; i < members->n; i++) {
        uint64_t replica_id = members->servers[i].id;
        struct sp_raft_outgoing out = {
            .message = { .group_id = group->group_id,
                         .from = group->replica_id,
                         .to = replica_id,
                         .kind = SP_PEER_CONFIRM,
                         .term = confirms->term,
                         .aux = confirms->round },
            .node_id = sp_raft_node_of(group, replica_id),
        };
        if (members->servers[i].role == RAFT_VOTER && !has_answered(confirms, replica_id) &&
            out.node_id != 0) {
            sp_raft_send(group, &out);
        }
    }
}

/* ---- rounds ---------------------------------------------------------------------------------- */

/* Without memory for the timer the next event of the group tries again. */
static void ask_again_later(struct sp_raft_confirms *confirms)
{
    struct sp_raft_group *group = confirms->group;

    (void)sp_timer_start(&confirms->again, sp_raft_now_ms(group) + group->guard.heartbeat_ms);
}

static void begin_round(struct sp_raft_confirms *confirms)
{
    struct sp_raft_group *group = confirms->group;

    confirms->round += 1;
    confirms->term = raft_current_term(&group->guard.raft);
    confirms->index = sp_raft_guard_committed(&group->guard);
    confirms->answered_count = 0;
    confirms->under_way = true;
    sp_list_move(&confirms->asked, &confirms->waiting);
    ask(confirms);
    ask_again_later(confirms);
}

static void end_round(struct sp_raft_confirms *confirms)
{
    confirms->under_way = false;
    sp_timer_stop(&confirms->again);
    SP_LIST_EACH (node, &confirms->asked) {
        SP_LIST_ENTRY(node, struct sp_confirm, node)->index = confirms->index;
    }
    sp_list_move(&confirms->known, &confirms->asked);
}

static void tell_known(struct sp_raft_confirms *confirms)
{
    struct sp_raft_group *group = confirms->group;

    while (!group->closing && !sp_list_empty(&confirms->known)) {
        struct sp_confirm *confirm = SP_LIST_ENTRY(confirms->known.next, struct sp_confirm, node);
        if (confirm->index > group->applied) {
            return;
        }
        sp_list_remove(&confirm->node);
        confirms->count -= 1;
        confirm->cb(confirm, 0);
    }
}

void sp_raft_confirm_advance(struct sp_raft_group *group)
{
    struct sp_raft_confirms *confirms = group->confirms;

    if (confirms == NULL || confirms->count == 0 || !sp_raft_is_ready(group)) {
        return;
    }
    if (confirms->under_way && sp_raft_leads_in(group, confirms->term) && has_majority(confirms)) {
        end_round(confirms);
    }
    if (confirms->under_way && !sp_timer_active(&confirms->again)) {
        ask_again_later(confirms);
    }
    if (!confirms->under_way && !sp_list_empty(&confirms->waiting)) {
        sp_loop_defer(group->context->loop, &confirms->begin);
    }
    tell_known(confirms);
}

static void on_begin(struct sp_deferred *deferred)
{
    struct sp_raft_confirms *confirms = SP_CONTAINER_OF(deferred, struct sp_raft_confirms, begin);

    if (sp_list_empty(&confirms->waiting) || !sp_raft_is_ready(confirms->group)) {
        return; /* whoever waits is sent away when the loss of leadership is noticed */
    }
    if (!confirms->under_way) {
        begin_round(confirms);
    }
    sp_raft_advance(confirms->group); /* a sole voter has a majority at once */
}

static void on_again(struct sp_timer *timer)
{
    struct sp_raft_confirms *confirms = SP_CONTAINER_OF(timer, struct sp_raft_confirms, again);

    if (confirms->under_way && sp_raft_leads_in(confirms->group, confirms->term)) {
        ask(confirms);
        ask_again_later(confirms);
    }
}

/* ---- messages -------------------------------------------------------------------------------- */

/* A voter that knows a later term keeps silent: the other leader's heartbeats tell the sender. One
 * that has not heard of this term yet is asked again. */
void sp_raft_confirm_receive(struct sp_raft_group *group, const struct sp_peer_raft *message)
{
    struct sp_raft_outgoing out = {
        .message = { .group_id = group->group_id,
                     .from = group->replica_id,
                     .to = message->from,
                     .kind = SP_PEER_CONFIRM_RESULT,
                     .term = message->term,
                     .request_term = message->term,
                     .aux = message->aux },
        .node_id = group->last_from_node,
    };

    if (message->term == raft_current_term(&group->guard.raft)) {
        sp_raft_send(group, &out);
    }
}

void sp_raft_confirm_result(struct sp_raft_group *group, const struct sp_peer_raft *message)
{
    struct sp_raft_confirms *confirms = group->confirms;

    if (confirms == NULL || !confirms->under_way || message->aux != confirms->round ||
        message->request_term != confirms->term || !sp_raft_leads_in(group, confirms->term)) {
        return; /* late, doubled, or an answer to another leader's question */
    }
    if (!has_answered(confirms, message->from) &&
        confirms->answered_count < SP_RAFT_GUARD_SERVERS_MAX) {
        confirms->answered[confirms->answered_count++] = message->from;
    }
}

/* ---- requests -------------------------------------------------------------------------------- */

static struct sp_raft_confirms *confirms_of(struct sp_raft_group *group)
{
    struct sp_raft_confirms *confirms = group->confirms;

    if (confirms == NULL) {
        confirms = sp_mem_calloc(1, sizeof *confirms);
    }
    if (confirms != NULL && group->confirms == NULL) {
        confirms->group = group;
        sp_list_init(&confirms->waiting);
        sp_list_init(&confirms->asked);
        sp_list_init(&confirms->known);
        sp_deferred_init(&confirms->begin, on_begin);
        sp_timer_init(&confirms->again, group->context->loop, on_again);
        group->confirms = confirms;
    }
    return confirms;
}

int sp_raft_group_confirm(struct sp_raft_group *group, struct sp_confirm *confirm)
{
    struct sp_raft_confirms *confirms;

    if (group->stopped || group->closing) {
        return SPATE_ERR_STOPPED;
    }
    if (!group->guard.started || sp_raft_state(group) != RAFT_LEADER) {
        return SPATE_ERR_NOT_LEADER;
    }
    if (!sp_raft_is_ready(group)) {
        return SPATE_ERR_NOT_READY;
    }
    confirms = confirms_of(group);
    if (confirms == NULL) {
        return SPATE_ERR_NOMEM;
    }
    if (confirms->count == SP_GROUP_CONFIRMS_MAX) {
        return SPATE_ERR_BUSY;
    }
    sp_raft_wake(group, 0); /* asking is traffic */
    sp_list_append(&confirms->waiting, &confirm->node);
    confirms->count += 1;
    sp_loop_defer(group->context->loop, &confirms->begin);
    return 0;
}

void sp_raft_confirm_fail(struct sp_raft_group *group, int status)
{
    struct sp_raft_confirms *confirms = group->confirms;
    struct sp_list failed;

    if (confirms == NULL) {
        return;
    }
    sp_list_init(&failed);
    sp_list_move(&failed, &confirms->known);
    sp_list_move(&failed, &confirms->asked);
    sp_list_move(&failed, &confirms->waiting);
    confirms->count = 0;
    confirms->under_way = false;
    sp_timer_stop(&confirms->again);
    while (!sp_list_empty(&failed)) {
        struct sp_confirm *confirm = SP_LIST_ENTRY(failed.next, struct sp_confirm, node);
        sp_list_remove(&confirm->node);
        confirm->cb(confirm, status);
    }
}

void sp_raft_confirm_free(struct sp_raft_group *group)
{
    if (group->confirms != NULL) {
        sp_deferred_cancel(&group->confirms->begin);
        sp_timer_stop(&group->confirms->again);
        sp_mem_free(group->confirms);
        group->confirms = NULL;
    }
}
