#include "cluster/mover.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/trace.h"
#include "spate/error.h"

#define LOOK_MS 50          /* while there are moves */
#define LOOK_AROUND_MS 1000 /* at leaders and damage */

/* After so many election timeouts a leader that has lost its majority says that it leads no more: a
 * quiet one wakes within two (cluster/vigil.h), any gives up within two. */
#define DOUBT_TIMEOUTS 4

/* It takes that, a greeting and a look until the others are seen to lead. Later it is worth a line
 * in the trace. */
#define PATIENCE_MS 5000

/* Leaderships that are being handed over at once. Each takes some fsyncs on two nodes: on an idle
 * cluster a thousand take a second, and on a busy one they do not get in each other's way. */
#define HAND_OVERS_MAX 64

/* Ends that are on their way to the controller at once; the others wait for their turn. */
#define REPORTS_MAX 32

struct report {
    struct sp_proposal proposal;
    struct sp_mover *mover;
    uint64_t group_id;
};

struct sp_mover {
    struct sp_loop *loop;
    struct sp_controller *controller;
    struct sp_group_table *table;
    struct sp_reconcile *reconcile;
    uint32_t election_timeout_ms;
    struct sp_timer timer;
    uint64_t look_due_ms; /* at leaders and damage */
    struct sp_deferred advance;
    struct report reports[REPORTS_MAX];
};

/* ---- telling the controller ------------------------------------------------------------------ */

static void on_damage_told(struct sp_proposal *proposal, int status, const char *text)
{
    struct report *report = SP_CONTAINER_OF(proposal, struct report, proposal);

    if (status == 0) {
        SP_TRACE_INFO("move",
                      "damaged replica is replaced by a new one, which the others fill",
                      "group=%llu replica=%llu",
                      (unsigned long long)report->group_id,
                      (unsigned long long)proposal->membership.ids[0]);
    } else if (status == SPATE_ERR_INVALID &&
               sp_reconcile_note_refusal(report->mover->reconcile, report->group_id, text)) {
        SP_TRACE_ERROR("move",
                       "damaged replica is not refilled and stays closed",
                       "group=%llu replica=%llu reason=\"%s\"",
                       (unsigned long long)report->group_id,
                       (unsigned long long)proposal->membership.ids[0],
                       text);
    } /* else it is told again at the next look */
}

static void on_reported(struct sp_proposal *proposal, int status, const char *text)
{
    /* Not told: it is found again, as long as the move is there. */
    if (status != 0 && status != SPATE_ERR_NOT_FOUND && status != SPATE_ERR_CANCELED) {
        SP_TRACE_INFO("move",
                      "end of a move not told, tried again",
                      "topic_id=%llu partition=%u error=%s text=%s",
                      (unsigned long long)proposal->membership.topic_id,
                      proposal->membership.partition,
                      spate_error_name(status),
                      text);
    }
}

/* A slot for news of this group, or NULL: it is being told, or others are. */
static struct sp_membership_change *take_slot(struct sp_mover *mover, uint64_t group_id)
{
    struct report *slot = NULL;

    for (unsigned i = 0; i < REPORTS_MAX; i++) {
        bool idle = mover->reports[i].proposal.state == SP_PROPOSAL_IDLE;
        if (!idle && mover->reports[i].group_id == group_id) {
            return NULL;
        }
        slot = slot == NULL && idle ? &mover->reports[i] : slot;
    }
    if (slot == NULL) {
        return NULL;
    }
    slot->mover = mover;
    slot->group_id = group_id;
    slot->proposal = (struct sp_proposal){ .kind = SP_PROPOSAL_MEMBERSHIP, .cb = on_reported };
    return &slot->proposal.membership;
}

static void tell(struct sp_mover *mover, struct sp_membership_change *change)
{
    sp_controller_propose(mover->controller,
                          SP_CONTAINER_OF(change, struct sp_proposal, membership));
}

static void report_done(struct sp_mover *mover, const struct sp_state_move *move)
{
    struct sp_membership_change *change = take_slot(mover, move->group_id);

    if (change == NULL) {
        return; /* the next look finds it again */
    }
    *change = (struct sp_membership_change){ .kind = SP_MEMBERSHIP_MOVE_DONE,
                                             .topic_id = move->topic_id,
                                             .partition = move->partition,
                                             .count = move->target_count,
                                             .node_id = sp_membership_move_mark(move) };
    for (unsigned i = 0; i < move->target_count; i++) {
        change->ids[i] = move->target[i].replica_id;
    }
    tell(mover, change);
}

/* Keeps the damaged replica, for the reason `text`, which is traced once. */
static void
keep_damaged(struct sp_mover *mover, const struct sp_reconcile_damage *damage, const char *text)
{
    if (sp_reconcile_note_refusal(mover->reconcile, damage->group_id, text)) {
        SP_TRACE_ERROR("move",
                       "damaged replica is not refilled and stays closed",
                       "group=%llu replica=%llu reason=\"%s\"",
                       (unsigned long long)damage->group_id,
                       (unsigned long long)damage->replica_id,
                       text);
    }
}

/* When a leader that had needed the replica for its majority has noticed that it has stopped. */
static uint64_t proven_ms(const struct sp_mover *mover, const struct sp_reconcile_damage *damage)
{
    return damage->since_ms + (uint64_t)DOUBT_TIMEOUTS * mover->election_timeout_ms;
}

/* True if the damaged replica has to stay as no leader goes on without it. */
static bool is_missed(struct sp_mover *mover, const struct sp_reconcile_damage *damage)
{
    uint64_t since_ms = proven_ms(mover, damage);

    if (sp_leader_table_led_elsewhere(
            sp_group_table_leaders(mover->table), damage->group_id, since_ms)) {
        return false;
    }
    if (sp_loop_now_ms(mover->loop) >= since_ms + PATIENCE_MS) {
        keep_damaged(mover, damage, SP_RECONCILE_WAITS_FOR_LEADER);
    }
    return true;
}

/* True if the damaged replica has to stay for another reason, which is noted. */
static bool is_kept(struct sp_mover *mover, const struct sp_reconcile_damage *damage)
{
    const struct sp_state *state = sp_controller_state(mover->controller);
    const struct sp_state_topic *topic = sp_state_topic_by_id(state, damage->topic_id);
    char text[256];

    if (topic == NULL) {
        return true; /* it is about to go */
    }
    if (!sp_state_has_feature(state, SP_FEATURE_MEMBERSHIP)) {
        (void)snprintf(text,
                       sizeof text,
                       "replicas are made anew from feature level %d on: upgrade all nodes",
                       SP_FEATURE_MEMBERSHIP);
    } else if (!sp_membership_needs_replica(state,
                                            &topic->partitions[damage->partition],
                                            damage->replica_id,
                                            text,
                                            sizeof text)) {
        if (sp_reconcile_may_refill(mover->reconcile)) {
            return false;
        }
        (void)snprintf(text,
                       sizeof text,
                       "%d damaged replicas lie in quarantine/: delete them, or replace the disk",
                       SP_QUARANTINE_MAX);
    }
    keep_damaged(mover, damage, text);
    return true;
}

static void report_damage(struct sp_mover *mover)
{
    struct sp_map_cursor cursor = { 0 };
    struct sp_reconcile_damage damage;

    while (sp_reconcile_next_damage(mover->reconcile, &cursor, &damage)) {
        bool stays = is_kept(mover, &damage) || is_missed(mover, &damage);
        struct sp_membership_change *change = stays ? NULL : take_slot(mover, damage.group_id);
        if (change != NULL) {
            SP_CONTAINER_OF(change, struct sp_proposal, membership)->cb = on_damage_told;
            *change = (struct sp_membership_change){ .kind = SP_MEMBERSHIP_LOST_REPLICA,
                                                     .topic_id = damage.topic_id,
                                                     .partition = damage.partition,
                                                     .count = 1,
                                                     .ids = { damage.replica_id } };
            tell(mover, change);
        }
    }
}

/* ---- moving ---------------------------------------------------------------------------------- */

static struct sp_raft_move_target target_of(const struct sp_mover *mover,
                                            const struct sp_state_move *move)
{
    const struct sp_state *state = sp_controller_state(mover->controller);
    const struct sp_state_topic *topic = sp_state_topic_by_id(state, move->topic_id);

    return (struct sp_raft_move_target){
        .places = move->target,
        .count = move->target_count,
        .voters_min = topic == NULL ? 0 : topic->partitions[move->partition].replica_count,
        .state = state,
    };
}

static void step(struct sp_mover *mover, const struct sp_state_move *move)
{
    struct sp_raft_group *group = sp_group_table_get(mover->table, move->group_id);
    struct sp_raft_move_target target = target_of(mover, move);
    struct sp_raft_move_progress progress;

    if (group != NULL && sp_raft_group_move(group, &target, &progress) == 0 &&
        progress.step == SP_RAFT_MOVE_DONE) {
        report_done(mover, move);
    }
}

/* ---- leaders --------------------------------------------------------------------------------- */

/* A node that may be handed leaderships: it is neither slow nor short of space. */
static bool may_lead(const struct sp_mover *mover, uint32_t node_id)
{
    return !sp_state_member(sp_controller_state(mover->controller), node_id).draining &&
           sp_controller_may_lead(mover->controller, node_id);
}

/* The node that should lead the partition instead of this one; 0: none. */
static uint32_t better_leader(const struct sp_mover *mover,
                              const struct sp_state_partition *partition)
{
    uint32_t self = sp_controller_self(mover->controller);
    bool leaves = sp_state_member(sp_controller_state(mover->controller), self).draining ||
                  !sp_controller_may_lead(mover->controller, self);

    for (unsigned i = 0; i < partition->replica_count; i++) {
        uint32_t node_id = partition->replicas[i].node_id;
        if (node_id == self && !leaves) {
            return 0; /* the first one that may lead does */
        }
        if (node_id != self && may_lead(mover, node_id)) {
            return node_id;
        }
    }
    return 0;
}

static void drop_standby(struct sp_mover *mover, const struct sp_state_partition *partition)
{
    struct sp_raft_group *group = sp_group_table_get(mover->table, partition->group_id);
    const struct sp_raft_move_target target = { .places = partition->replicas,
                                                .count = partition->replica_count,
                                                .voters_min = partition->replica_count };

    if (group != NULL && sp_controller_is_current(mover->controller)) {
        sp_raft_group_drop_standby(group, &target);
    }
}

enum hand_over {
    STAYS,
    WAITS, /* its successor has not all of the log yet */
    UNDER_WAY,
};

/* Begins to hand a partition's leadership to the node that should have it, or goes on with it. */
static enum hand_over hand_over(struct sp_mover *mover, const struct sp_state_partition *partition)
{
    struct sp_raft_group *group = sp_group_table_get(mover->table, partition->group_id);
    uint32_t to = group == NULL ? 0 : better_leader(mover, partition);

    if (to == 0) {
        return STAYS;
    }
    return sp_raft_group_transfer_to(group, to) == SPATE_ERR_BUSY ? WAITS : UNDER_WAY;
}

/* Looks at partitions that are led here and not being moved. Leaders are balanced when the first
 * replica of each partition that may lead leads it. A node that has not got all of the log, because
 * it is slow, is handed nothing (raft_transfer.c). Returns whether there is more to do soon. */
static bool look_at_led(struct sp_mover *mover)
{
    const struct sp_state *state = sp_controller_state(mover->controller);
    const struct sp_state_topic *topic = NULL;
    struct sp_map_cursor cursor = { 0 };
    uint32_t self = sp_controller_self(mover->controller);
    unsigned count = 0;
    bool more = false;

    while ((topic = sp_state_topic_next(state, &cursor)) != NULL) {
        for (uint32_t i = 0; i < topic->partition_count && count < HAND_OVERS_MAX; i++) {
            const struct sp_state_partition *partition = &topic->partitions[i];
            if (sp_group_table_leader(mover->table, partition->group_id, NULL) == self &&
                sp_state_move(state, partition->group_id) == NULL) {
                enum hand_over step = hand_over(mover, partition);
                drop_standby(mover, partition);
                count += step == UNDER_WAY ? 1 : 0;
                more = more || step != STAYS;
            }
        }
    }
    return more;
}

static void advance(struct sp_deferred *deferred)
{
    struct sp_mover *mover = SP_CONTAINER_OF(deferred, struct sp_mover, advance);
    const struct sp_state *state = sp_controller_state(mover->controller);
    const struct sp_state_move *move = NULL;
    struct sp_map_cursor cursor = { 0 };
    uint64_t now_ms = sp_loop_now_ms(mover->loop);

    if (!sp_controller_is_confirmed(mover->controller)) {
        return; /* it will be told */
    }
    /* Without a controller the target may be of an earlier time, whose replicas are not kept. */
    while (sp_controller_is_current(mover->controller) &&
           (move = sp_state_move_next(state, &cursor)) != NULL) {
        step(mover, move);
    }
    if (now_ms >= mover->look_due_ms) {
        bool more = look_at_led(mover);
        mover->look_due_ms = now_ms + (more ? LOOK_MS : LOOK_AROUND_MS);
        report_damage(mover);
    }
    if (!sp_timer_active(&mover->timer)) {
        uint64_t due_ms = sp_state_move_count(state) > 0 ? now_ms + LOOK_MS : mover->look_due_ms;
        /* Without room for it the next change of the state goes on. */
        (void)sp_timer_start(&mover->timer, due_ms);
    }
}

static void on_timer(struct sp_timer *timer)
{
    sp_mover_wake(SP_CONTAINER_OF(timer, struct sp_mover, timer));
}

void sp_mover_wake(struct sp_mover *mover)
{
    if (sp_timer_active(&mover->timer) && mover->timer.due_ms == mover->look_due_ms) {
        sp_timer_stop(&mover->timer); /* there may be moves now */
    }
    sp_loop_defer(mover->loop, &mover->advance);
}

int sp_mover_progress(const struct sp_mover *mover,
                      const struct sp_state_move *move,
                      struct sp_raft_move_progress *out)
{
    struct sp_raft_group *group = sp_group_table_get(mover->table, move->group_id);
    struct sp_raft_move_target target = target_of(mover, move);

    return group == NULL ? SPATE_ERR_NOT_LEADER : sp_raft_group_move_progress(group, &target, out);
}

/* ---- life ------------------------------------------------------------------------------------ */

int sp_mover_new(const struct sp_mover_options *options, struct sp_mover **out_mover)
{
    struct sp_mover *mover = sp_mem_calloc(1, sizeof *mover);

    if (mover == NULL) {
        return SPATE_ERR_NOMEM;
    }
    mover->loop = options->loop;
    mover->controller = options->controller;
    mover->table = options->table;
    mover->reconcile = options->reconcile;
    mover->election_timeout_ms = options->election_timeout_ms;
    sp_timer_init(&mover->timer, mover->loop, on_timer);
    sp_deferred_init(&mover->advance, advance);
    *out_mover = mover;
    return 0;
}

void sp_mover_free(struct sp_mover *mover)
{
    if (mover == NULL) {
        return;
    }
    sp_timer_stop(&mover->timer);
    sp_deferred_cancel(&mover->advance);
    for (unsigned i = 0; i < REPORTS_MAX; i++) {
        sp_controller_cancel(mover->controller, &mover->reports[i].proposal);
    }
    sp_mem_free(mover);
}
