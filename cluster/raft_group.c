/* The life of a replica: opening, submitting, looking, stopping, closing. */
#include "cluster/raft_group.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "cluster/raft_group_internal.h"
#include "spate/error.h"

uint64_t sp_raft_now_ms(const struct sp_raft_group *group)
{
    return sp_loop_now_ms(group->context->loop);
}

/* ---- stopping -------------------------------------------------------------------------------- */

static void tell_stopped(struct sp_raft_group *group)
{
    const struct raft_configuration *members = &group->guard.raft.configuration;
    struct sp_peer_message message = { .kind = SP_PEER_STOPPED,
                                       .u.stopped = { .group_id = group->group_id,
                                                      .replica_id = group->replica_id } };

    for (unsigned i = 0; i < members->n; i++) {
        uint32_t node_id = sp_raft_node_of(group, members->servers[i].id);
        if (node_id != 0 && node_id != group->context->node_id) {
            (void)sp_transport_send(
                group->context->transport, node_id, &message, NULL, 0); /* timeouts cover a loss */
        }
    }
}

void sp_raft_stop(struct sp_raft_group *group, int status, const char *text)
{
    if (group->stopped || group->closing) {
        return;
    }
    sp_raft_end_quiet(group);
    group->stopped = true;
    group->stop_status = status;
    group->stopped_ms = sp_raft_now_ms(group);
    sp_raft_note_standing(group, false);
    sp_timer_stop(&group->timer);
    SP_TRACE_ERROR("raft",
                   "replica stopped itself",
                   "group=%llu replica=%llu error=%s reason=\"%s\"",
                   (unsigned long long)group->group_id,
                   (unsigned long long)group->replica_id,
                   spate_error_name(status),
                   text);
    tell_stopped(group);
    sp_raft_send_drop_all(group);
    sp_raft_fail_submits(group, SPATE_ERR_STOPPED);
    group->machine->type->stopped(group->machine, status, text);
    group->context->leader_changed(group->context, group);
    sp_raft_confirm_fail(group, SPATE_ERR_STOPPED);
}

void sp_raft_stop_unreadable(struct sp_raft_group *group, int status, const char *text)
{
    if (status == SPATE_ERR_CORRUPT && !group->stopped && !group->closing) {
        sp_store_mark_damaged(group->context->store, group->group_id, group->replica_id, text);
    }
    sp_raft_stop(group, status, text);
}

/* ---- after every event ----------------------------------------------------------------------- */

static enum sp_role role_of(const struct sp_raft_group *group)
{
    int state = sp_raft_runs(group) ? sp_raft_state(group) : RAFT_FOLLOWER;

    if (state == RAFT_LEADER) {
        return SP_ROLE_LEADER;
    }
    return state == RAFT_CANDIDATE ? SP_ROLE_CANDIDATE : SP_ROLE_FOLLOWER;
}

uint64_t sp_raft_leader_replica(const struct sp_raft_group *group)
{
    raft_id id = 0;
    const char *address = NULL;

    if (!sp_raft_runs(group)) {
        return 0;
    }
    /* libraft's accessor takes a mutable pointer and only reads */
    raft_leader((struct raft *)(uintptr_t)&group->guard.raft, &id, &address);
    return id;
}

uint32_t sp_raft_leader_node(const struct sp_raft_group *group)
{
    uint64_t replica_id = sp_raft_leader_replica(group);

    return replica_id == group->replica_id ? group->context->node_id
                                           : sp_raft_node_of(group, replica_id);
}

bool sp_raft_is_ready(const struct sp_raft_group *group)
{
    return role_of(group) == SP_ROLE_LEADER &&
           sp_log_term_at(group->log, group->applied) == raft_current_term(&group->guard.raft);
}

static void tell_changes(struct sp_raft_group *group)
{
    enum sp_role role = role_of(group);
    uint64_t term = raft_current_term(&group->guard.raft);
    uint32_t leader = sp_raft_leader_node(group);
    bool ready = sp_raft_is_ready(group);
    bool lost =
        group->seen_role == SP_ROLE_LEADER && (role != SP_ROLE_LEADER || term != group->seen_term);
    bool leader_changed = leader != group->seen_leader || term != group->seen_term;

    if (role == group->seen_role && ready == group->seen_ready && !leader_changed) {
        return;
    }
    if (term != group->seen_term) {
        sp_raft_install_forget(group, term); /* its sender leads no more */
    }
    sp_raft_note_standing(group, role == SP_ROLE_CANDIDATE);
    sp_raft_count_changes(group, role, term, leader);
    group->seen_role = role;
    group->seen_term = term;
    group->seen_leader = leader;
    group->seen_ready = ready;
    if (lost) {
        sp_raft_install_drop_all(group);
        sp_raft_fail_submits(group, SPATE_ERR_LEADER_CHANGED);
    }
    if (leader_changed) { /* first: whoever is sent away by the machine is told where to go */
        group->context->leader_changed(group->context, group);
    }
    group->machine->type->role_changed(group->machine);
    if (lost) {
        sp_raft_confirm_fail(group, SPATE_ERR_NOT_LEADER);
    }
}

void sp_raft_rearm(struct sp_raft_group *group)
{
    uint64_t due_ms = sp_raft_guard_timeout_ms(&group->guard);
    uint64_t earliest_ms = sp_raft_now_ms(group) + 1;

    if (due_ms < earliest_ms) {
        due_ms = earliest_ms;
    }
    if (sp_timer_active(&group->timer) && group->timer.due_ms == due_ms) {
        return;
    }
    if (sp_timer_start(&group->timer, due_ms) != 0) {
        sp_raft_stop(group, SPATE_ERR_NOMEM, "its timer could not be started");
    }
}

void sp_raft_advance(struct sp_raft_group *group)
{
    group->again = true;
    if (group->advancing) {
        return;
    }
    group->advancing = true;
    while (group->again && sp_raft_runs(group)) {
        int failed = sp_raft_guard_failed(&group->guard);
        group->again = false;
        if (failed != 0) {
            sp_raft_stop(group, failed, "consensus could not go on");
            break;
        }
        tell_changes(group);
        sp_raft_apply(group);
        if (sp_raft_runs(group)) {
            sp_raft_check_begin(group);
        }
        if (sp_raft_runs(group)) {
            sp_raft_trim(group); /* the machine may have moved its start */
            tell_changes(group); /* applying may have made a leader ready */
            sp_raft_confirm_advance(group);
        }
    }
    if (sp_raft_runs(group) && !group->quiet) {
        sp_raft_rearm(group);
    }
    group->advancing = false;
}

static void on_timer(struct sp_timer *timer)
{
    struct sp_raft_group *group = SP_CONTAINER_OF(timer, struct sp_raft_group, timer);

    if (sp_raft_try_quiet(group)) {
        return;
    }
    int rv = sp_raft_time_out(group, timer->due_ms);

    SP_ASSERT(rv == 0 || sp_raft_guard_failed(&group->guard) != 0); /* advance tells of it */
    sp_raft_advance(group);
    sp_raft_hand_over_short(group);
}

/* ---- opening ------------------------------------------------------------------------------- */

int sp_raft_restore_machine(struct sp_raft_group *group)
{
    const uint8_t *bytes = NULL;
    size_t size = 0;

    if (sp_log_start_index(group->log) > 0) {
        sp_log_start_state(group->log, &bytes, &size);
    }
    return group->machine->type->restore(group->machine, bytes, size);
}

static int init_guard(struct sp_raft_group *group, const struct sp_raft_group_options *options)
{
    struct sp_raft_guard_options guard = {
        .id = options->replica_id,
        .seed = (unsigned)sp_rand_next(&group->context->rand),
        .election_timeout_ms =
            options->election_timeout_ms == 0 ? 300 : options->election_timeout_ms,
        .heartbeat_ms = options->heartbeat_timeout_ms == 0 ? 50 : options->heartbeat_timeout_ms,
        .install_timeout_ms = SP_RAFT_INSTALL_TIMEOUT_MS,
        .window_entries = SP_WINDOW_FRAMES_MIN,
        .pre_vote = true,
        .host = { .arg = group, .update = sp_raft_host_update, .send = sp_raft_host_send },
    };

    return sp_raft_guard_init(&group->guard, &guard);
}

int sp_raft_group_open(struct sp_raft_context *context,
                       const struct sp_raft_group_options *options,
                       struct sp_raft_group **out_group)
{
    static const struct sp_log_handler log_handler = { .persisted = sp_raft_host_persisted,
                                                       .checkpointed = sp_raft_host_checkpointed };
    struct sp_raft_group *group = sp_mem_calloc(1, sizeof *group);
    int rv;

    if (group == NULL) {
        return SPATE_ERR_NOMEM;
    }
    group->context = context;
    group->machine = options->machine;
    group->log = options->log;
    group->group_id = options->group_id;
    group->replica_id = options->replica_id;
    group->checkpoints_kept = options->machine->type->checkpoints_kept;
    sp_timer_init(&group->timer, context->loop, on_timer);
    sp_list_init(&group->meta_node);
    sp_list_init(&group->gated);
    sp_list_init(&group->submits);
    rv = init_guard(group, options);
    if (rv != 0) {
        sp_mem_free(group);
        return rv;
    }
    rv = sp_raft_restore_machine(group);
    if (rv == 0) {
        rv = sp_raft_plan_start(group);
    }
    if (rv != 0) {
        sp_list_remove(&group->meta_node);
        sp_raft_forget_start(group);
        sp_raft_guard_deinit(&group->guard);
        sp_mem_free(group);
        return rv;
    }
    sp_log_forget_rest(group->log);
    sp_log_set_handler(group->log, &log_handler, group);
    *out_group = group;
    if (group->meta_issued <= sp_store_meta_durable(context->store)) {
        sp_raft_group_meta_durable(group, group->meta_issued);
    }
    return 0;
}

struct sp_raft_group *sp_raft_group_of_waiter(struct sp_list *node)
{
    return SP_LIST_ENTRY(node, struct sp_raft_group, meta_node);
}

void sp_raft_group_meta_durable(struct sp_raft_group *group, uint64_t sequence)
{
    if (group->closing || group->stopped || group->meta_issued > sequence) {
        return;
    }
    sp_list_remove(&group->meta_node);
    if (group->starting.pending) {
        int rv = sp_raft_start(group);
        if (rv != 0) {
            sp_raft_stop(group, rv, "consensus could not start");
        }
        return;
    }
    sp_raft_send_release_gated(group);
    if (group->persisted_waiting > 0) {
        sp_raft_host_persisted(group, group->persisted_waiting);
    }
}

/* ---- the window to followers ----------------------------------------------------------------- */

/* The size that counts grows at once and shrinks slowly: a few small frames between large ones must
 * not open the window for more of these. */
void sp_raft_note_frame_size(struct sp_raft_group *group, size_t size)
{
    if (size >= group->frame_bytes) {
        group->frame_bytes = size;
    } else {
        group->frame_bytes -= (group->frame_bytes - size) / 32;
    }
    size_t frames = SP_WINDOW_BYTES / (group->frame_bytes + 1);
    if (frames > SP_WINDOW_FRAMES_MAX) {
        frames = SP_WINDOW_FRAMES_MAX;
    }
    if (frames < SP_WINDOW_FRAMES_MIN) {
        frames = SP_WINDOW_FRAMES_MIN;
    }
    sp_raft_guard_set_window(&group->guard, (unsigned)frames);
}

/* ---- submitting ------------------------------------------------------------------------------ */

static int check_submit(const struct sp_raft_group *group, uint64_t size)
{
    if (group->stopped || group->closing) {
        return SPATE_ERR_STOPPED;
    }
    if (role_of(group) != SP_ROLE_LEADER) {
        return SPATE_ERR_NOT_LEADER;
    }
    if (!sp_raft_is_ready(group) || sp_raft_now_ms(group) < group->held_until_ms) {
        return SPATE_ERR_NOT_READY;
    }
    if (size > SP_BATCH_BYTES_MAX) {
        return SPATE_ERR_TOO_LARGE;
    }
    if (group->submit_count >= SP_GROUP_PENDING_ENTRIES_MAX ||
        group->submitted_bytes + size > SP_GROUP_PENDING_BYTES_MAX || sp_log_lags(group->log)) {
        return SPATE_ERR_BUSY;
    }
    return 0;
}

int sp_raft_group_submit(struct sp_raft_group *group,
                         enum sp_frame_kind kind,
                         const struct sp_iovec *pieces,
                         unsigned count,
                         struct sp_submit *submit)
{
    struct raft_entry entry = { .type = RAFT_COMMAND };
    uint64_t size = 0;
    int rv;

    for (unsigned i = 0; i < count; i++) {
        size += pieces[i].size;
    }
    rv = check_submit(group, size);
    if (rv != 0) {
        return rv;
    }
    sp_raft_wake(group, 0);
    sp_raft_note_frame_size(group, size);
    group->submit_kind = kind;
    group->submit_pieces = pieces;
    group->submit_piece_count = count;
    rv = sp_raft_guard_submit(&group->guard, sp_raft_now_ms(group), &entry, 1);
    group->submit_pieces = NULL;
    if (rv != 0) {
        sp_raft_advance(group); /* a failed disk or memory stops the replica */
        return rv;
    }
    submit->index = sp_log_last_index(group->log);
    submit->term = raft_current_term(&group->guard.raft);
    submit->base_offset = group->submit_offset;
    submit->size_bytes = size;
    submit->begun_us = sp_loop_now_us(group->context->loop);
    submit->fsynced = 0;
    sp_list_append(&group->submits, &submit->node);
    group->submit_count += 1;
    group->submitted_bytes += size;
    /* Nothing else is done here: if the replica stopped now, the callback would run inside. */
    if (sp_timer_active(&group->timer)) {
        sp_raft_rearm(group);
    }
    return 0;
}

unsigned sp_raft_group_fill_percent(const struct sp_raft_group *group)
{
    uint64_t of_bytes = group->submitted_bytes * 100 / SP_GROUP_PENDING_BYTES_MAX;
    uint64_t of_entries = (uint64_t)group->submit_count * 100 / SP_GROUP_PENDING_ENTRIES_MAX;

    return (unsigned)(of_bytes > of_entries ? of_bytes : of_entries);
}

/* ---- looking --------------------------------------------------------------------------------- */

void sp_raft_group_status(const struct sp_raft_group *group,
                          struct sp_raft_group_status *out_status)
{
    struct sp_raft_group_status status = { .stopped = group->stopped,
                                           .stop_status = group->stop_status,
                                           .first_index = sp_log_first_index(group->log),
                                           .last_index = sp_log_last_index(group->log),
                                           .persisted_index = sp_log_persisted_index(group->log),
                                           .applied_index = group->applied };

    if (sp_raft_runs(group)) {
        status.role = role_of(group);
        status.ready = sp_raft_is_ready(group);
        status.confirmed =
            status.ready || (group->confirm_index != 0 && group->applied >= group->confirm_index);
        status.term = raft_current_term(&group->guard.raft);
        status.leader_node = sp_raft_leader_node(group);
        status.commit_index = sp_raft_guard_committed(&group->guard);
        status.election_timeout_ms = group->guard.raft.election_timeout;
        sp_raft_count_voters(group, &status);
    }
    *out_status = status;
}

/* ---- closing --------------------------------------------------------------------------------- */

static void on_log_closed(void *arg)
{
    struct sp_raft_group *group = arg;
    void (*closed)(void *arg) = group->closed;
    void *closed_arg = group->closed_arg;

    sp_raft_send_drop_all(group);
    sp_mem_free(group);
    if (closed != NULL) {
        closed(closed_arg);
    }
}

/* What is applied need not be read and applied again at the next start. */
static void keep_rest(struct sp_raft_group *group)
{
    struct sp_buf state;

    if (!sp_raft_runs(group) || group->applied == 0 || !sp_log_wants_rest(group->log) ||
        sp_raft_guard_failed(&group->guard) != 0 || sp_raft_guard_installing(&group->guard)) {
        return;
    }
    sp_buf_init(&state, SP_STATE_BYTES_MAX);
    if (group->machine->type->checkpoint(group->machine, &state) == 0 && state.size > 0) {
        sp_log_keep_rest(group->log, group->applied, state.bytes, state.size);
    }
    sp_buf_deinit(&state);
}

void sp_raft_group_close(struct sp_raft_group *group, void (*closed)(void *arg), void *arg)
{
    SP_ASSERT(!group->closing);
    keep_rest(group);
    sp_raft_end_quiet(group);
    group->closing = true;
    sp_raft_note_standing(group, false);
    group->closed = closed;
    group->closed_arg = arg;
    sp_timer_stop(&group->timer);
    sp_list_remove(&group->meta_node);
    sp_raft_fail_submits(group, SPATE_ERR_CANCELED);
    sp_raft_confirm_fail(group, SPATE_ERR_CANCELED);
    sp_raft_confirm_free(group);
    sp_raft_send_drop_all(group);
    sp_raft_forget_start(group);
    sp_raft_guard_deinit(&group->guard);
    sp_log_close(group->log, on_log_closed, group);
}
