#include "cluster/mover.h"

#include "base/mem.h"
#include "base/trace.h"
#include "spate/error.h"

#define LOOK_MS 50

/* Ends that are on their way to the controller at once; the others wait for their turn. */
#define REPORTS_MAX 32

struct report {
    struct sp_proposal proposal;
    uint64_t group_id;
};

struct sp_mover {
    struct sp_loop *loop;
    struct sp_controller *controller;
    struct sp_group_table *table;
    struct sp_timer timer;
    struct sp_deferred advance;
    struct report reports[REPORTS_MAX];
};

/* ---- telling the controller ------------------------------------------------------------------ */

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

static void report(struct sp_mover *mover, const struct sp_state_move *move)
{
    struct report *slot = NULL;

    for (unsigned i = 0; i < REPORTS_MAX; i++) {
        bool idle = mover->reports[i].proposal.state == SP_PROPOSAL_IDLE;
        if (!idle && mover->reports[i].group_id == move->group_id) {
            return;
        }
        slot = slot == NULL && idle ? &mover->reports[i] : slot;
    }
    if (slot == NULL) {
        return;
    }
    slot->group_id = move->group_id;
    slot->proposal = (struct sp_proposal){ .kind = SP_PROPOSAL_MEMBERSHIP, .cb = on_reported };
    slot->proposal.membership = (struct sp_membership_change){ .kind = SP_MEMBERSHIP_MOVE_DONE,
                                                               .topic_id = move->topic_id,
                                                               .partition = move->partition,
                                                               .count = move->target_count };
    for (unsigned i = 0; i < move->target_count; i++) {
        slot->proposal.membership.ids[i] = move->target[i].replica_id;
    }
    sp_controller_propose(mover->controller, &slot->proposal);
}

/* ---- moving ---------------------------------------------------------------------------------- */

static struct sp_raft_move_target target_of(const struct sp_mover *mover,
                                            const struct sp_state_move *move)
{
    const struct sp_state_topic *topic =
        sp_state_topic_by_id(sp_controller_state(mover->controller), move->topic_id);

    return (struct sp_raft_move_target){
        .places = move->target,
        .count = move->target_count,
        .voters_min = topic == NULL ? 0 : topic->partitions[move->partition].replica_count,
    };
}

static void step(struct sp_mover *mover, const struct sp_state_move *move)
{
    struct sp_raft_group *group = sp_group_table_get(mover->table, move->group_id);
    struct sp_raft_move_target target = target_of(mover, move);
    struct sp_raft_move_progress progress;

    if (group != NULL && sp_raft_group_move(group, &target, &progress) == 0 &&
        progress.step == SP_RAFT_MOVE_DONE) {
        report(mover, move);
    }
}

static void advance(struct sp_deferred *deferred)
{
    struct sp_mover *mover = SP_CONTAINER_OF(deferred, struct sp_mover, advance);
    const struct sp_state *state = sp_controller_state(mover->controller);
    const struct sp_state_move *move = NULL;
    struct sp_map_cursor cursor = { 0 };

    if (!sp_controller_is_confirmed(mover->controller)) {
        return; /* it will be told */
    }
    while ((move = sp_state_move_next(state, &cursor)) != NULL) {
        step(mover, move);
    }
    if (sp_state_move_count(state) > 0 && !sp_timer_active(&mover->timer)) {
        /* Without room for it the next change of the state goes on. */
        (void)sp_timer_start(&mover->timer, sp_loop_now_ms(mover->loop) + LOOK_MS);
    }
}

static void on_timer(struct sp_timer *timer)
{
    sp_mover_wake(SP_CONTAINER_OF(timer, struct sp_mover, timer));
}

void sp_mover_wake(struct sp_mover *mover)
{
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

int sp_mover_new(struct sp_loop *loop,
                 struct sp_controller *controller,
                 struct sp_group_table *table,
                 struct sp_mover **out_mover)
{
    struct sp_mover *mover = sp_mem_calloc(1, sizeof *mover);

    if (mover == NULL) {
        return SPATE_ERR_NOMEM;
    }
    mover->loop = loop;
    mover->controller = controller;
    mover->table = table;
    sp_timer_init(&mover->timer, loop, on_timer);
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
