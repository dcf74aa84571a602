#include "sim_observer.h"

#include "base/assert.h"
#include "base/mem.h"
#include "sim_cluster.h"
#include "sim_damage.h"
#include "sim_model.h"
#include "sim_promises.h"
#include "sim_quiet.h"
#include "sim_world.h"
#include "spate/error.h"

static struct sim_observer *observer_of(struct sp_machine *machine)
{
    return SP_CONTAINER_OF(machine, struct sim_observer, machine);
}

static int
apply(struct sp_machine *machine, const struct sp_log_frame *frame, const uint8_t *payload)
{
    struct sim_observer *observer = observer_of(machine);

    if (frame->index != observer->applied_index + 1) {
        sim_fail("%s group %llu applies index %llu after %llu",
                 observer->owner->process->name,
                 (unsigned long long)observer->group_id,
                 (unsigned long long)frame->index,
                 (unsigned long long)observer->applied_index);
    }
    observer->applied_index = frame->index;
    sim_model_applied(observer->owner->process->id, observer->group_id, frame, payload);
    int rv = observer->inner->type->apply(observer->inner, frame, payload);
    if (rv != 0) {
        sim_fail("%s group %llu: applying index %llu says %s",
                 observer->owner->process->name,
                 (unsigned long long)observer->group_id,
                 (unsigned long long)frame->index,
                 spate_error_name(rv));
    }
    return rv;
}

static int checkpoint(struct sp_machine *machine, struct sp_buf *out)
{
    struct sim_observer *observer = observer_of(machine);

    size_t before = out->size;
    int rv = observer->inner->type->checkpoint(observer->inner, out);

    if (rv == 0 && observer->applied_index != 0) {
        sim_model.counts.checkpoints += 1;
        sim_model_state(observer->owner->process->id,
                        observer->group_id,
                        observer->applied_index,
                        out->bytes + before,
                        out->size - before);
    }
    return rv;
}

static int restore(struct sp_machine *machine, const uint8_t *bytes, size_t size)
{
    struct sim_observer *observer = observer_of(machine);

    /* What it starts with is what somebody had after that index, and the next frame follows it. */
    observer->applied_index = sp_log_start_index(observer->log);
    if (observer->applied_index != 0) {
        sim_model_state(
            observer->owner->process->id, observer->group_id, observer->applied_index, bytes, size);
    }
    if (observer->group != NULL) {
        sim_model_refilled(observer->group_id); /* it runs: its log was replaced */
    }
    return observer->inner->type->restore(observer->inner, bytes, size);
}

static void look_at_role(const struct sim_observer *observer)
{
    struct sp_raft_group_status status;

    if (observer->group == NULL) {
        return;
    }
    sp_raft_group_status(observer->group, &status);
    if (status.role == SP_ROLE_LEADER) {
        sim_model_leads(observer->owner->process->id, observer->group_id, status.term);
    }
}

static void role_changed(struct sp_machine *machine)
{
    struct sim_observer *observer = observer_of(machine);

    look_at_role(observer);
    observer->inner->type->role_changed(observer->inner);
}

static void stopped(struct sp_machine *machine, int status, const char *text)
{
    struct sim_observer *observer = observer_of(machine);

    uint64_t replica_id = observer->group == NULL ? 0 : sp_raft_group_replica_id(observer->group);
    bool rotten =
        status == SPATE_ERR_CORRUPT &&
        sim_damage_touched(observer->owner->process->disk, observer->group_id, replica_id);

    if (!rotten && !sim_cluster_explains(observer->owner, status)) {
        sim_fail("%s group %llu stops itself: %s: %s",
                 observer->owner->process->name,
                 (unsigned long long)observer->group_id,
                 spate_error_name(status),
                 text);
    }
    observer->inner->type->stopped(observer->inner, status, text);
}

static int64_t log_start(struct sp_machine *machine)
{
    const struct sim_observer *observer = observer_of(machine);

    return observer->inner->type->log_start(observer->inner);
}

int __wrap_sp_raft_group_open(struct sp_raft_context *context,
                              const struct sp_raft_group_options *options,
                              struct sp_raft_group **out_group)
{
    struct sim_observer *observer = sp_mem_calloc(1, sizeof *observer);
    struct sp_raft_group_options observed = *options;

    SP_ASSERT(observer != NULL);
    sp_list_init(&observer->node);
    observer->type =
        (struct sp_machine_type){ apply,
                                  checkpoint,
                                  restore,
                                  role_changed,
                                  stopped,
                                  options->machine->type->checkpoints_kept,
                                  options->machine->type->log_start != NULL ? log_start : NULL };
    /* Fewer checkpoints in smaller pieces: more refills, and longer ones. */
    if (observer->type.checkpoints_kept > sim_cluster.shape.checkpoints_kept) {
        observer->type.checkpoints_kept = sim_cluster.shape.checkpoints_kept;
    }
    context->install_chunk_bytes = sim_cluster.shape.install_chunk_bytes;
    observer->machine.type = &observer->type;
    observer->inner = options->machine;
    observer->owner = sim.current->owner;
    observer->group_id = options->group_id;
    observer->log = options->log;
    observed.machine = &observer->machine;
    int rv = __real_sp_raft_group_open(context, &observed, out_group);
    if (rv != 0) {
        sp_mem_free(observer);
        return rv;
    }
    observer->group = *out_group;
    sim_promises_opened(sim.current->id, sp_raft_group_log(*out_group));
    sp_list_append(&observer->owner->observers, &observer->node);
    look_at_role(observer);
    return 0;
}

static void on_group_closed(void *arg)
{
    struct sim_observer *observer = arg;
    void (*closed)(void *closed_arg) = observer->closed;
    void *closed_arg = observer->closed_arg;

    sp_mem_free(observer);
    if (closed != NULL) {
        closed(closed_arg);
    }
}

/* The group may call its observer until it has closed. */
void __wrap_sp_raft_group_close(struct sp_raft_group *group, void (*closed)(void *arg), void *arg)
{
    struct sim_node *owner = sim.current->owner;

    SP_LIST_EACH (node, &owner->observers) {
        struct sim_observer *observer = SP_LIST_ENTRY(node, struct sim_observer, node);
        if (observer->group == group) {
            sp_list_remove(&observer->node);
            observer->group = NULL;
            observer->closed = closed;
            observer->closed_arg = arg;
            __real_sp_raft_group_close(group, on_group_closed, observer);
            return;
        }
    }
    SP_ASSERT(!"a group closes that was never opened");
}

/* ---- leaders that are told to clients -------------------------------------------------------- */

int __wrap_sp_leader_table_new(struct sp_loop *loop,
                               struct sp_transport *transport,
                               uint32_t node_id,
                               struct sp_leader_table **out_table)
{
    struct sim_node *owner = sim.current->owner;
    sim_model.counts.looks[SIM_LOOK_sp_leader_table_new] += 1;
    int rv = __real_sp_leader_table_new(loop, transport, node_id, out_table);

    if (rv == 0) {
        owner->leaders = *out_table;
    }
    return rv;
}

void __wrap_sp_leader_table_free(struct sp_leader_table *table)
{
    struct sim_node *owner = sim.current->owner;

    if (owner->leaders == table) {
        owner->leaders = NULL;
    }
    __real_sp_leader_table_free(table);
}

/* ---- submits --------------------------------------------------------------------------------- */

static void on_submitted(struct sp_submit *submit, int status)
{
    struct sim_node *owner = sim.current->owner;

    SP_LIST_EACH_SAFE (node, &owner->submissions) {
        struct sim_submission *submission = SP_LIST_ENTRY(node, struct sim_submission, node);
        if (submission->submit != submit) {
            continue;
        }
        sp_list_remove(&submission->node);
        sp_submit_cb cb = submission->cb;
        if (status == 0) {
            sim_model_completed(
                submission->group_id, submission->index, submission->term, submit->fsynced);
        }
        sp_mem_free(submission);
        submit->cb = cb;
        cb(submit, status);
        return;
    }
    SP_ASSERT(!"a submit completes that was never made");
}

int __wrap_sp_raft_group_submit(struct sp_raft_group *group,
                                enum sp_frame_kind kind,
                                const struct sp_iovec *pieces,
                                unsigned count,
                                struct sp_submit *submit)
{
    struct sim_node *owner = sim.current->owner;
    struct sp_raft_group_status status;
    sim_model.counts.looks[SIM_LOOK_sp_raft_group_submit] += 1;
    int rv = __real_sp_raft_group_submit(group, kind, pieces, count, submit);

    if (rv != 0) {
        return rv;
    }
    sim_quiet_submitted(group);
    struct sim_submission *submission = sp_mem_calloc(1, sizeof *submission);
    SP_ASSERT(submission != NULL);
    sp_raft_group_status(group, &status);
    sp_list_init(&submission->node);
    submission->submit = submit;
    submission->cb = submit->cb;
    submission->group_id = sp_raft_group_id(group);
    submission->index = status.last_index;
    submission->term = status.term;
    submit->cb = on_submitted;
    sp_list_append(&owner->submissions, &submission->node);
    return 0;
}

/* The group that was asked for an append time last: the one whose batch is being judged. */
static const struct sp_raft_group *asked_last;

int64_t __wrap_sp_raft_group_append_time_ms(const struct sp_raft_group *group)
{
    asked_last = group;
    return __real_sp_raft_group_append_time_ms(group);
}

static const struct sim_observer *observer_asked_last(void)
{
    const struct sim_node *owner = sim.current->owner;

    SP_LIST_EACH (node, &owner->observers) {
        const struct sim_observer *observer = SP_LIST_ENTRY(node, struct sim_observer, node);
        if (observer->group == asked_last) {
            return observer;
        }
    }
    return NULL;
}

static bool in_flight(const struct sp_list *flights, const struct sp_batch_header *header)
{
    SP_LIST_EACH (node, flights) {
        const struct sp_flight *flight = SP_LIST_ENTRY(node, struct sp_flight, node);
        if (flight->producer_id == header->producer_id &&
            flight->producer_epoch == header->producer_epoch &&
            flight->batch.base_sequence == header->base_sequence &&
            flight->batch.record_count == header->record_count) {
            return true;
        }
    }
    return false;
}

/* A batch that was sent before must be recognised by every leader that serves. */
void __wrap_sp_sequences_judge(const struct sp_producers *producers,
                               const struct sp_list *flights,
                               const struct sp_batch_header *header,
                               int64_t append_time_ms,
                               struct sp_judgement *out_judgement)
{
    const struct sim_observer *observer = observer_asked_last();

    sim_model.counts.looks[SIM_LOOK_sp_sequences_judge] += 1;
    __real_sp_sequences_judge(producers, flights, header, append_time_ms, out_judgement);
    bool recognised = out_judgement->verdict == SP_VERDICT_STORED ||
                      out_judgement->verdict == SP_VERDICT_IN_FLIGHT;
    bool known = in_flight(flights, header) ||
                 (observer != NULL && sim_model_has_batch(observer->group_id,
                                                          observer->applied_index,
                                                          header->producer_id,
                                                          header->producer_epoch,
                                                          header->base_sequence,
                                                          header->record_count));
    sim_model.counts.duplicates += recognised;
    if (known && !recognised) {
        sim_fail("%s: a batch of producer %lld with sequence %d that is stored or in flight is not "
                 "recognised",
                 sim.current->name,
                 (long long)header->producer_id,
                 header->base_sequence);
    }
}
