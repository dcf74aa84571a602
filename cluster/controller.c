#include "cluster/controller.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "cluster/controller_parts.h"
#include "spate/error.h"

#define REGISTRATION_PAUSE_MS 1000

void sp_controller_wake(struct sp_controller *controller)
{
    sp_loop_defer(controller->options.loop, &controller->advance);
}

void sp_controller_fail(struct sp_controller *controller, int status, const char *text)
{
    if (controller->fail_status != 0) {
        return;
    }
    controller->failed = true;
    controller->fail_status = status;
    (void)snprintf(controller->fail_text, sizeof controller->fail_text, "%s", text);
    sp_controller_wake(controller);
}

static void fail(struct sp_controller *controller, int status, const char *reason)
{
    char text[256];

    (void)snprintf(text, sizeof text, "the controller's replica: %.200s", reason);
    sp_controller_fail(controller, status, text);
}

/* ---- group 0's machine ----------------------------------------------------------------------- */

static struct sp_controller *of_machine(struct sp_machine *machine)
{
    return SP_CONTAINER_OF(machine, struct sp_controller, machine);
}

/* What one command gives to whoever proposed it. */
struct applied {
    struct sp_controller *controller;
    struct sp_controller_outcome outcome;
};

/* Another disk has taken the place of this one: what it has is of an earlier time. True once the
 * controller has failed for that, or for something else. */
static bool fails_as_outdated(struct sp_controller *controller)
{
    const struct sp_state_node *known =
        sp_state_node(controller->state, controller->options.self.node_id);

    if (controller->confirmed && known != NULL &&
        known->incarnation != controller->options.self.incarnation) {
        sp_controller_fail(
            controller,
            SPATE_ERR_INVALID,
            "this node has another data directory now, and this is an earlier one: bring that one "
            "back, or start it with an empty one");
    }
    return controller->fail_status != 0;
}

static void on_change(void *arg, const struct sp_state_change *change)
{
    struct applied *applied = arg;
    struct sp_controller *controller = applied->controller;

    applied->outcome.producer_id_first = change->producer_id_first;
    applied->outcome.producer_epoch = change->producer_epoch;
    if (fails_as_outdated(controller)) {
        return; /* nothing is to be done with this state any more */
    }
    if (change->kind == SP_STATE_NODE_CHANGED && controller->confirmed && !controller->stopped) {
        sp_controller_hint(controller, change->node);
    }
    if (change->kind == SP_STATE_NODE_REMOVED && controller->confirmed && !controller->stopped) {
        sp_transport_remove_node(controller->options.transport, change->node_id);
    }
    if (!controller->stopped) {
        controller->handler.changed(controller->arg, change);
    }
}

static int
apply(struct sp_machine *machine, const struct sp_log_frame *frame, const uint8_t *payload)
{
    struct sp_controller *controller = of_machine(machine);
    struct applied applied = { .controller = controller };

    if (frame->kind == SP_FRAME_COMMAND) {
        int answer = sp_state_apply(
            controller->state, payload, frame->length, frame->append_time_ms, on_change, &applied);
        if (answer == SPATE_ERR_UNSUPPORTED) {
            sp_controller_fail_outdated(controller, frame->index);
        }
        if (answer == SPATE_ERR_CORRUPT || answer == SPATE_ERR_NOMEM ||
            answer == SPATE_ERR_UNSUPPORTED) {
            return answer;
        }
        applied.outcome.answer = answer;
        sp_controller_job_applied(controller, frame->index, frame->term, &applied.outcome);
    }
    sp_controller_wake(controller);
    return 0;
}

static int checkpoint(struct sp_machine *machine, struct sp_buf *out)
{
    return sp_state_checkpoint(of_machine(machine)->state, out);
}

static int restore(struct sp_machine *machine, const uint8_t *bytes, size_t size)
{
    struct sp_controller *controller = of_machine(machine);

    int rv = sp_state_restore(controller->state, bytes, size);
    if (rv == 0) {
        controller->confirmation_due = controller->confirmed;
        sp_controller_wake(controller);
    }
    return rv;
}

static void role_changed(struct sp_machine *machine)
{
    struct sp_controller *controller = of_machine(machine);

    sp_controller_hurry_proposals(controller);
    sp_controller_wake(controller);
}

static void stopped(struct sp_machine *machine, int status, const char *text)
{
    fail(of_machine(machine), status, text);
}

static const struct sp_machine_type machine_type = {
    apply, checkpoint, restore, role_changed, stopped, SP_MACHINE_CHECKPOINTS_KEPT, NULL
};

/* ---- registration ---------------------------------------------------------------------------- */

static bool is_registered(const struct sp_controller *controller)
{
    const struct sp_state_node *self =
        sp_state_node(controller->state, controller->options.self.node_id);

    return self != NULL && sp_state_same_node(self, &controller->options.self);
}

static void on_registered(struct sp_proposal *proposal, int status, const char *text)
{
    struct sp_controller *controller =
        SP_CONTAINER_OF(proposal, struct sp_controller, registration);

    if (status == 0) {
        SP_TRACE_INFO("controller",
                      "node registered",
                      "node=%" PRIu32 " address=%s",
                      controller->options.self.node_id,
                      controller->options.self.client_address);
        return;
    }
    if (status == SPATE_ERR_UNSUPPORTED || status == SPATE_ERR_CORRUPT) {
        sp_controller_fail(controller, status, text);
        return;
    }
    controller->registration_due_ms =
        sp_loop_now_ms(controller->options.loop) + REGISTRATION_PAUSE_MS;
    if (!controller->stopped) {
        SP_TRACE_WARN("controller",
                      "node not registered, tried again",
                      "error=%s text=%s",
                      spate_error_name(status),
                      text);
    }
}

static void register_self(struct sp_controller *controller)
{
    if (!controller->confirmed || controller->registration.state != SP_PROPOSAL_IDLE ||
        is_registered(controller) ||
        sp_loop_now_ms(controller->options.loop) < controller->registration_due_ms) {
        return;
    }
    controller->registration = (struct sp_proposal){ .kind = SP_PROPOSAL_REGISTER_NODE,
                                                     .self = controller->options.self,
                                                     .cb = on_registered };
    sp_controller_propose(controller, &controller->registration);
}

/* ---- internal topic -------------------------------------------------------------------------- */

/* Whether this node leads and consumer groups have nowhere to live. */
static bool lacks_internal_topic(const struct sp_controller *controller)
{
    return controller->options.coordinators > 0 && controller->confirmed &&
           controller->ready_since_ms != 0 &&
           sp_state_topic(controller->state, SP_STATE_GROUPS_TOPIC) == NULL;
}

static void on_internal_topic(struct sp_proposal *proposal, int status, const char *text)
{
    struct sp_controller *controller =
        SP_CONTAINER_OF(proposal, struct sp_controller, internal_topic);

    controller->internal_due_ms = sp_loop_now_ms(controller->options.loop) + REGISTRATION_PAUSE_MS;
    if (status != 0 && status != SPATE_ERR_EXISTS && !controller->stopped) {
        SP_TRACE_INFO("controller",
                      "topic of the consumer groups not created, tried again",
                      "error=%s text=%s",
                      spate_error_name(status),
                      text);
    }
}

/* An ordinary proposal: it waits until all nodes have registered that its replicas need. */
static void create_internal_topic(struct sp_controller *controller)
{
    struct sp_proposal *proposal = &controller->internal_topic;

    if (!lacks_internal_topic(controller) || proposal->state != SP_PROPOSAL_IDLE ||
        sp_loop_now_ms(controller->options.loop) < controller->internal_due_ms) {
        return;
    }
    *proposal = (struct sp_proposal){ .kind = SP_PROPOSAL_CREATE_TOPIC,
                                      .partitions = controller->options.coordinators,
                                      .cb = on_internal_topic };
    (void)snprintf(proposal->topic, sizeof proposal->topic, "%s", SP_STATE_GROUPS_TOPIC);
    sp_controller_propose(controller, proposal);
}

/* ---- advance --------------------------------------------------------------------------------- */

/* Reads what the replica knows; the state is confirmed once and for all. */
static void look(struct sp_controller *controller)
{
    struct sp_raft_group_status status;

    if (controller->group == NULL) {
        return;
    }
    sp_raft_group_status(controller->group, &status);
    controller->applied_index = status.applied_index;
    controller->voters = status.voters;
    if (!status.ready) {
        controller->ready_since_ms = 0;
    } else if (controller->ready_since_ms == 0) {
        controller->ready_since_ms = sp_loop_now_ms(controller->options.loop);
    }
    if (status.confirmed && !controller->confirmed) {
        controller->confirmed = true;
        controller->confirmation_due = true;
        SP_TRACE_INFO("controller",
                      "state confirmed",
                      "index=%" PRIu64 " topics=%u nodes=%u",
                      status.applied_index,
                      sp_state_topic_count(controller->state),
                      sp_state_node_count(controller->state));
    }
}

static void tell_confirmed(struct sp_controller *controller)
{
    if (!controller->confirmation_due) {
        return;
    }
    controller->confirmation_due = false;
    if (!fails_as_outdated(controller)) {
        sp_controller_hint_all(controller);
        controller->handler.confirmed(controller->arg);
    }
}

/* Looks again soon, while anything is open that no event may announce. */
static void schedule_tick(struct sp_controller *controller)
{
    uint64_t now_ms = sp_loop_now_ms(controller->options.loop);
    bool needed = (controller->group != NULL && !controller->confirmed) ||
                  !sp_list_empty(&controller->proposals) ||
                  (controller->confirmed && !is_registered(controller)) ||
                  lacks_internal_topic(controller) || sp_controller_raise_is_due(controller) ||
                  controller->ready_since_ms != 0;
    bool soon = !sp_list_empty(&controller->proposals) || controller->ready_since_ms == 0 ||
                sp_controller_raise_is_due(controller);
    uint64_t pause_ms = soon ? SP_CONTROLLER_TICK_MS : SP_CONTROLLER_LEADER_TICK_MS;

    if (!needed || sp_timer_active(&controller->tick)) {
        return;
    }
    if (sp_timer_start(&controller->tick, now_ms + pause_ms) != 0) {
        fail(controller, SPATE_ERR_NOMEM, spate_strerror(SPATE_ERR_NOMEM));
    }
}

static void advance(struct sp_deferred *deferred)
{
    struct sp_controller *controller = SP_CONTAINER_OF(deferred, struct sp_controller, advance);

    if (controller->failed) {
        controller->failed = false;
        controller->handler.failed(controller->arg, controller->fail_status, controller->fail_text);
    }
    if (!controller->stopped && controller->fail_status == 0) {
        look(controller);
        tell_confirmed(controller);
    }
    if (!controller->stopped && controller->fail_status == 0) {
        register_self(controller);
        create_internal_topic(controller);
        sp_controller_raise_level(controller);
        sp_controller_keep_members(controller);
        sp_controller_plan(controller);
    }
    if (!controller->stopped) {
        sp_controller_run_proposals(controller);
        schedule_tick(controller);
    }
    sp_controller_deliver(controller);
}

static void on_tick(struct sp_timer *timer)
{
    sp_controller_wake(SP_CONTAINER_OF(timer, struct sp_controller, tick));
}

/* ---- life ------------------------------------------------------------------------------------ */

int sp_controller_new(const struct sp_controller_options *options,
                      const struct sp_controller_handler *handler,
                      void *arg,
                      struct sp_controller **out_controller)
{
    struct sp_controller *controller = sp_mem_calloc(1, sizeof *controller);

    if (controller == NULL) {
        return SPATE_ERR_NOMEM;
    }
    int rv = sp_state_new(&controller->state);
    if (rv != 0) {
        sp_mem_free(controller);
        return rv;
    }
    if (options->self.features.most != 0) {
        sp_state_set_level_max(controller->state, options->self.features.most);
    }
    controller->options = *options;
    controller->handler = *handler;
    controller->arg = arg;
    controller->machine.type = &machine_type;
    /* Replies to calls of an earlier run of this node must not be taken for ours. */
    controller->call_id_next = sp_loop_random(options->loop) >> 1;
    sp_list_init(&controller->proposals);
    sp_list_init(&controller->finished);
    sp_list_init(&controller->jobs);
    sp_deferred_init(&controller->advance, advance);
    sp_timer_init(&controller->tick, options->loop, on_tick);
    *out_controller = controller;
    return 0;
}

static void on_open(struct sp_group_open *open, int status)
{
    struct sp_controller *controller = open->arg;

    if (controller->stopped) {
        return; /* the table closes what was opened, and cancels what was not */
    }
    if (status == SPATE_ERR_CORRUPT) {
        controller->damaged = true;
        controller->damaged_ms = sp_loop_now_ms(controller->options.loop);
        controller->handler.damaged(controller->arg, open->replica_id, open->text);
    } else if (status != 0) {
        fail(controller, status, open->text[0] != '\0' ? open->text : spate_strerror(status));
    } else {
        controller->group = open->group;
        sp_controller_read_hints(controller);
    }
    sp_controller_wake(controller);
}

static int compare_places(const void *left_pointer, const void *right_pointer)
{
    const struct sp_replica_place *left = left_pointer;
    const struct sp_replica_place *right = right_pointer;

    return left->node_id < right->node_id ? -1 : left->node_id > right->node_id;
}

void sp_controller_start(struct sp_controller *controller,
                         uint64_t voter_id,
                         const uint32_t *members,
                         unsigned count)
{
    SP_ASSERT(count <= SP_NODES_MAX);
    controller->damaged = false;
    sp_controller_retire_older(controller, voter_id);
    for (unsigned i = 0; i < count; i++) {
        controller->places[i] =
            (struct sp_replica_place){ .replica_id = members[i], .node_id = members[i] };
    }
    qsort(controller->places, count, sizeof controller->places[0], compare_places);
    /* The time is fixed, so that all founding members write the very same first frame. */
    controller->open = (struct sp_group_open){
        .group_id = SP_CONTROLLER_GROUP_ID,
        .replica_id = voter_id != 0 ? voter_id : controller->options.self.node_id,
        .places = voter_id == 0 && count > 0 ? controller->places : NULL,
        .place_count = voter_id == 0 ? count : 0,
        .created_ms = 0,
        .machine = &controller->machine,
        .cb = on_open,
        .arg = controller,
    };
    sp_group_table_open(controller->options.table, &controller->open);
}

void sp_controller_stop(struct sp_controller *controller)
{
    controller->stopped = true;
    sp_controller_forget_hints(controller);
    controller->group = NULL;
    sp_timer_stop(&controller->tick);
    sp_controller_cancel_proposals(controller);
}

void sp_controller_free(struct sp_controller *controller)
{
    if (controller == NULL) {
        return;
    }
    sp_controller_stop(controller);
    SP_ASSERT(controller->job_count == 0);
    sp_deferred_cancel(&controller->advance);
    sp_state_free(controller->state);
    sp_mem_free(controller);
}

/* ---- messages -------------------------------------------------------------------------------- */

void sp_controller_message(struct sp_controller *controller,
                           uint32_t from_node,
                           const struct sp_peer_message *message)
{
    if (controller->stopped) {
        return;
    }
    if (message->kind == SP_PEER_CALL) {
        sp_controller_call(controller, from_node, message);
    } else if (message->kind == SP_PEER_REPLY) {
        sp_controller_reply(controller, from_node, message);
    }
}
