#include "broker/coordinator_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/methods.h"
#include "spate/error.h"

#define SCAN_PAUSE_MS 50 /* sessions end so much late at the most */

static struct sp_coordinator *of_machine(struct sp_machine *machine)
{
    return SP_CONTAINER_OF(machine, struct sp_coordinator, machine);
}

static uint64_t now_ms(const struct sp_coordinator *coordinator)
{
    return sp_loop_now_ms(coordinator->broker->options.loop);
}

/* ---- machine --------------------------------------------------------------------------------- */

static int
apply(struct sp_machine *machine, const struct sp_log_frame *frame, const uint8_t *payload)
{
    struct sp_coordinator *coordinator = of_machine(machine);
    struct sp_consumer_group *group;
    int answer;

    if (frame->kind != SP_FRAME_COMMAND) {
        return 0;
    }
    answer = sp_consumer_groups_apply(
        coordinator->groups, payload, frame->length, frame->append_time_ms, &group);
    if (answer == SPATE_ERR_CORRUPT || answer == SPATE_ERR_NOMEM ||
        answer == SPATE_ERR_UNSUPPORTED) {
        return answer;
    }
    SP_LIST_EACH (node, &coordinator->jobs) {
        struct sp_coordinator_job *job = SP_LIST_ENTRY(node, struct sp_coordinator_job, node);
        if (job->submit.index == frame->index && job->submit.term == frame->term) {
            job->answer = answer;
            break;
        }
        if (job->submit.index > frame->index) {
            break;
        }
    }
    return 0;
}

static int checkpoint(struct sp_machine *machine, struct sp_buf *out)
{
    return sp_consumer_groups_checkpoint(of_machine(machine)->groups, out);
}

/* ---- leading --------------------------------------------------------------------------------- */

void sp_coordinator_touch(struct sp_coordinator *coordinator, struct sp_consumer_group *group)
{
    if (sp_list_empty(&group->touched)) {
        sp_list_append(&coordinator->touched, &group->touched);
    }
    sp_loop_defer(coordinator->broker->options.loop, &coordinator->advance);
}

static void touch_all(struct sp_coordinator *coordinator)
{
    struct sp_map_cursor cursor = { 0 };
    struct sp_consumer_group *group;

    while ((group = sp_consumer_groups_next(coordinator->groups, &cursor)) != NULL) {
        group->topics_changed = true;
        sp_coordinator_touch(coordinator, group);
    }
}

static void start_leading(struct sp_coordinator *coordinator)
{
    struct sp_map_cursor cursor = { 0 };
    struct sp_consumer_group *group;

    coordinator->leading = true;
    while ((group = sp_consumer_groups_next(coordinator->groups, &cursor)) != NULL) {
        group->submitted = 0;
        group->assigning = false;
        for (unsigned i = 0; i < group->member_count; i++) {
            group->members[i]->heard_ms = now_ms(coordinator);
            group->members[i]->unseen = true;
        }
        for (unsigned i = 0; i < group->share_count; i++) {
            group->shares[i].revoke_ms = 0;
        }
    }
    sp_coordinator_stall_start(coordinator);
    touch_all(coordinator);
    SP_TRACE_INFO("groups",
                  "coordinator leads",
                  "partition=%" PRIu32 " groups=%u",
                  coordinator->partition,
                  sp_consumer_groups_count(coordinator->groups));
}

static void stop_leading(struct sp_coordinator *coordinator)
{
    struct sp_map_cursor cursor = { 0 };
    struct sp_consumer_group *group;

    coordinator->leading = false;
    sp_timer_stop(&coordinator->timer);
    sp_timer_stop(&coordinator->stall_timer);
    while ((group = sp_consumer_groups_next(coordinator->groups, &cursor)) != NULL) {
        sp_group_waiters_abort(coordinator, group);
        sp_list_remove(&group->touched);
    }
    SP_ASSERT(coordinator->waiter_count == 0);
}

static int restore(struct sp_machine *machine, const uint8_t *bytes, size_t size)
{
    struct sp_coordinator *coordinator = of_machine(machine);

    if (coordinator->leading) {
        stop_leading(coordinator); /* nobody may wait in a state that goes */
    }
    return sp_consumer_groups_restore(coordinator->groups, bytes, size);
}

/* Follows the role at once: what a follower applies, or restores, must find nobody waiting. */
static void look_at_role(struct sp_coordinator *coordinator)
{
    struct sp_raft_group_status status = { .ready = false };

    if (coordinator->group != NULL) {
        sp_raft_group_status(coordinator->group, &status);
    }
    if (status.ready && !coordinator->leading) {
        start_leading(coordinator);
    } else if (!status.ready && coordinator->leading) {
        stop_leading(coordinator);
    }
}

static void role_changed(struct sp_machine *machine)
{
    look_at_role(of_machine(machine));
}

static void stopped(struct sp_machine *machine, int status, const char *text)
{
    (void)status; /* raft_group has traced both */
    (void)text;
    if (of_machine(machine)->leading) {
        stop_leading(of_machine(machine));
    }
}

static const struct sp_machine_type machine_type = {
    apply, checkpoint, restore, role_changed, stopped, SP_MACHINE_CHECKPOINTS_KEPT, NULL
};

bool sp_coordinator_is(const struct sp_machine *machine)
{
    return machine->type == &machine_type;
}

/* ---- commands -------------------------------------------------------------------------------- */

static void on_submitted(struct sp_submit *submit, int status)
{
    struct sp_coordinator_job *job = SP_CONTAINER_OF(submit, struct sp_coordinator_job, submit);
    struct sp_coordinator *coordinator = job->coordinator;
    struct sp_consumer_group *group =
        sp_consumer_groups_find(coordinator->groups, sp_bytes_text(job->group));

    sp_list_remove(&job->node);
    coordinator->coming_bytes -= job->growth_bytes;
    if (group != NULL && job->assigns) {
        group->assigning = false;
    } else if (group != NULL && job->changes_members && group->submitted > 0) {
        group->submitted -= 1; /* 0: the group is a new one of that name */
    }
    if (group != NULL && coordinator->leading &&
        (job->assigns || job->changes_members || group->member_count == 0)) { /* 0: it may end */
        sp_coordinator_touch(coordinator, group);
    }
    job->done(job, status);
}

int sp_coordinator_submit(struct sp_coordinator *coordinator,
                          struct sp_coordinator_job *job,
                          const char *group_name,
                          int rv,
                          struct sp_buf *command)
{
    struct sp_consumer_group *group =
        sp_consumer_groups_find(coordinator->groups, sp_bytes_text(group_name));
    struct sp_iovec piece = { command->bytes, command->size };

    job->submit.cb = on_submitted;
    job->coordinator = coordinator;
    job->answer = SPATE_ERR_INTERNAL;
    (void)snprintf(job->group, sizeof job->group, "%s", group_name);
    job->growth_bytes = 0;
    sp_list_append(&coordinator->jobs, &job->node);
    if (rv == 0) {
        rv = sp_consumer_groups_admit(coordinator->groups,
                                      sp_bytes_of(command->bytes, command->size),
                                      coordinator->coming_bytes,
                                      &job->growth_bytes);
    }
    if (rv == 0) {
        rv = sp_raft_group_submit(coordinator->group, SP_FRAME_COMMAND, &piece, 1, &job->submit);
    }
    sp_buf_deinit(command);
    if (rv != 0) {
        sp_list_remove(&job->node);
        return rv;
    }
    coordinator->coming_bytes += job->growth_bytes;
    if (group != NULL && job->assigns) {
        group->assigning = true;
    } else if (group != NULL && job->changes_members) {
        group->submitted += 1;
    }
    return 0;
}

/* ---- advance --------------------------------------------------------------------------------- */

static void wake_at(struct sp_coordinator *coordinator, uint64_t due_ms)
{
    uint64_t soonest_ms = now_ms(coordinator) + SCAN_PAUSE_MS;

    due_ms = due_ms < soonest_ms ? soonest_ms : due_ms;
    if (!sp_timer_active(&coordinator->timer) || due_ms < coordinator->timer.due_ms) {
        (void)sp_timer_start(&coordinator->timer, due_ms); /* without memory: with the next look */
    }
}

static void on_timer(struct sp_timer *timer)
{
    struct sp_coordinator *coordinator = SP_CONTAINER_OF(timer, struct sp_coordinator, timer);
    struct sp_map_cursor cursor = { 0 };
    struct sp_consumer_group *group;

    while ((group = sp_consumer_groups_next(coordinator->groups, &cursor)) != NULL) {
        sp_coordinator_scan(coordinator, group);
        if (sp_coordinator_wants_assignment(group)) {
            sp_coordinator_touch(coordinator, group);
        }
        wake_at(coordinator, sp_coordinator_due_ms(coordinator, group));
    }
}

static void advance(struct sp_deferred *deferred)
{
    struct sp_coordinator *coordinator = SP_CONTAINER_OF(deferred, struct sp_coordinator, advance);

    while (coordinator->leading && !sp_list_empty(&coordinator->touched)) {
        struct sp_consumer_group *group =
            SP_LIST_ENTRY(coordinator->touched.next, struct sp_consumer_group, touched);
        sp_list_remove(&group->touched);
        sp_coordinator_stall_watch(coordinator);
        sp_coordinator_note(coordinator, group);
        if (sp_coordinator_wants_assignment(group)) {
            sp_coordinator_assign(coordinator, group);
        }
        sp_group_waiters_look(coordinator, group);
        wake_at(coordinator, sp_coordinator_due_ms(coordinator, group));
    }
}

void sp_coordinator_topics_changed(struct sp_coordinator *coordinator)
{
    if (coordinator->leading) {
        touch_all(coordinator);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

void sp_coordinator_opened(struct sp_coordinator *coordinator, struct sp_raft_group *group)
{
    coordinator->group = group;
    look_at_role(coordinator);
}

void sp_coordinator_closing(struct sp_coordinator *coordinator)
{
    coordinator->group = NULL;
    look_at_role(coordinator);
}

int sp_coordinator_new(struct sp_broker *broker,
                       const struct sp_state_partition *place,
                       struct sp_coordinator **out_coordinator)
{
    struct sp_coordinator *coordinator = sp_mem_calloc(1, sizeof *coordinator);

    if (coordinator == NULL) {
        return SPATE_ERR_NOMEM;
    }
    coordinator->groups = sp_consumer_groups_new();
    if (coordinator->groups == NULL) {
        sp_mem_free(coordinator);
        return SPATE_ERR_NOMEM;
    }
    coordinator->machine.type = &machine_type;
    coordinator->broker = broker;
    coordinator->group_id = place->group_id;
    coordinator->partition = place->partition;
    sp_list_init(&coordinator->jobs);
    sp_list_init(&coordinator->touched);
    sp_deferred_init(&coordinator->advance, advance);
    sp_timer_init(&coordinator->timer, broker->options.loop, on_timer);
    sp_coordinator_stall_init(coordinator);
    *out_coordinator = coordinator;
    return 0;
}

void sp_coordinator_free(struct sp_coordinator *coordinator)
{
    SP_ASSERT(sp_list_empty(&coordinator->jobs));
    SP_ASSERT(!coordinator->leading);
    sp_timer_stop(&coordinator->timer);
    sp_timer_stop(&coordinator->stall_timer);
    sp_deferred_cancel(&coordinator->advance);
    sp_consumer_groups_free(coordinator->groups);
    sp_mem_free(coordinator);
}
