#include "broker/group_call.h"

#include <stdio.h>

#include "base/mem.h"
#include "spate/error.h"

void sp_group_call_free(struct sp_group_call *call)
{
    sp_timer_stop(&call->timer);
    sp_list_remove(&call->node);
    sp_group_set_deinit(&call->owned);
    sp_mem_free(call);
}

void sp_group_call_fail(struct sp_group_call *call, int code)
{
    if (code == SPATE_ERR_NOT_LEADER || code == SPATE_ERR_NOT_READY) {
        sp_group_not_leader(call->coordinator, &call->request);
    } else {
        sp_group_fail(&call->request, code, call->group);
    }
    sp_group_call_free(call);
}

/* ---- answering ------------------------------------------------------------------------------- */

bool sp_group_in_part(const struct sp_consumer_share *share,
                      const struct sp_consumer_member *member,
                      enum sp_group_part part)
{
    switch (part) {
    case SP_GROUP_ASSIGNED:
        return share->owner == member && share->target == member;
    case SP_GROUP_REVOKED:
        return share->owner == member && share->target != member;
    case SP_GROUP_PENDING:
        return share->owner != member && share->target == member;
    }
    return false;
}

/* A member that says it reads a partition that it got after all it has seen reads on from before:
 * it had lost the partition meanwhile, and has not noticed. It must give it up once; one that does
 * not say what it reads goes by the last answer, and has. */
static void note_left_over(const struct sp_group_call *call,
                           struct sp_consumer_group *group,
                           const struct sp_consumer_member *member)
{
    for (unsigned i = 0; i < group->share_count; i++) {
        struct sp_consumer_share *share = &group->shares[i];
        if (share->owner == member) {
            bool unseen = call->generation >= 0 && share->granted > call->generation;
            share->left_over = (unseen || share->left_over) &&
                               sp_group_set_has(&call->owned, share->topic_id, share->partition);
        }
    }
}

/* The generation that a member shall name from now on. While it reads on what it lost and regained
 * it stays behind: by its old generation, which commits and heartbeats name, the next leader knows
 * it, too. */
static int64_t generation_of(const struct sp_group_call *call,
                             const struct sp_consumer_group *group,
                             const struct sp_consumer_member *member)
{
    for (unsigned i = 0; call->generation >= 0 && i < group->share_count; i++) {
        if (group->shares[i].owner == member && group->shares[i].left_over) {
            return call->generation;
        }
    }
    return group->generation;
}

/* What the member reads, as it says, but must not. */
static bool is_stray(const struct sp_consumer_group *group,
                     const struct sp_consumer_member *member,
                     const struct sp_consumer_place *place)
{
    const struct sp_consumer_share *share =
        sp_consumer_group_share(group, place->topic_id, place->partition);

    return share == NULL || share->owner != member || (share->target == member && share->left_over);
}

/* The places of one part, in order; those revoked with what the member reads without right. */
static unsigned gather(const struct sp_group_call *call,
                       const struct sp_consumer_group *group,
                       const struct sp_consumer_member *member,
                       enum sp_group_part part,
                       struct sp_consumer_place *places)
{
    unsigned count = 0;

    for (unsigned i = 0; i < group->share_count; i++) {
        const struct sp_consumer_share *share = &group->shares[i];
        struct sp_consumer_place place = { share->topic_id, share->partition };
        if (sp_group_in_part(share, member, part) &&
            (part != SP_GROUP_ASSIGNED || !share->left_over)) {
            places[count++] = place;
        }
    }
    for (unsigned i = 0; part == SP_GROUP_REVOKED && i < call->owned.count; i++) {
        if (is_stray(group, member, &call->owned.places[i])) {
            places[count++] = call->owned.places[i];
        }
    }
    if (part == SP_GROUP_REVOKED) { /* the shares were in order */
        sp_group_places_sort(places, count);
    }
    return count;
}

static void answer(struct sp_group_call *call,
                   struct sp_consumer_group *group,
                   struct sp_consumer_member *member)
{
    static const char *const names[] = { "assigned", "revoke", "pending" };
    struct sp_consumer_place *places =
        sp_mem_calloc((size_t)group->share_count + call->owned.count + 1, sizeof *places);
    struct sp_buf buf;
    struct sp_pack pack;

    if (places == NULL) {
        sp_group_call_fail(call, SPATE_ERR_NOMEM);
        return;
    }
    note_left_over(call, group, member);
    sp_request_begin(&call->request, &buf, &pack);
    sp_pack_map(&pack, 7);
    sp_pack_text(&pack, "member");
    sp_pack_text(&pack, member->id);
    sp_pack_text(&pack, "generation");
    sp_pack_int(&pack, generation_of(call, group, member));
    sp_pack_text(&pack, "state");
    sp_pack_text(&pack, sp_consumer_group_state(group));
    for (unsigned part = SP_GROUP_ASSIGNED; part <= SP_GROUP_PENDING; part++) {
        unsigned count = gather(call, group, member, (enum sp_group_part)part, places);
        sp_pack_text(&pack, names[part]);
        sp_group_places_pack(call->coordinator->broker, &pack, places, count);
    }
    sp_pack_text(&pack, "heartbeat_ms");
    sp_pack_uint(&pack, member->session_ms / 3);
    sp_request_finish(&call->request, &buf, &pack, NULL, 0);
    member->unseen = false;
    sp_mem_free(places);
    sp_group_call_free(call);
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* Is there something that the member does not know? */
static bool has_news(const struct sp_group_call *call,
                     const struct sp_consumer_group *group,
                     const struct sp_consumer_member *member)
{
    if (call->joining) {
        return group->version == group->assigned;
    }
    if (call->generation != group->generation || member->unseen) {
        return true;
    }
    for (unsigned i = 0; call->says_owned && i < group->share_count; i++) {
        const struct sp_consumer_share *share = &group->shares[i];
        if (sp_group_in_part(share, member, SP_GROUP_ASSIGNED) &&
            !sp_group_set_has(&call->owned, share->topic_id, share->partition)) {
            return true;
        }
    }
    return false;
}

static void leave_waiters(struct sp_group_call *call)
{
    if (!sp_list_empty(&call->node)) {
        sp_list_remove(&call->node);
        sp_request_end_wait(&call->patience);
        call->coordinator->waiter_count -= 1;
    }
}

/* Answers, or waits on. */
void sp_group_call_look(struct sp_group_call *call)
{
    struct sp_coordinator *coordinator = call->coordinator;
    struct sp_consumer_group *group =
        sp_consumer_groups_find(coordinator->groups, sp_bytes_text(call->group));
    struct sp_consumer_member *member =
        group == NULL ? NULL : sp_consumer_group_member(group, sp_bytes_text(call->member));
    uint64_t now_ms = sp_loop_now_ms(coordinator->broker->options.loop);

    leave_waiters(call);
    if (member != NULL && call->joining) {
        member->heard_ms = now_ms;
    }
    if (!coordinator->leading) {
        sp_group_call_fail(call, SPATE_ERR_NOT_LEADER);
    } else if (!sp_request_alive(&call->request)) {
        sp_group_call_fail(call, SPATE_ERR_CLOSED);
    } else if (member == NULL) {
        sp_group_call_fail(call, SPATE_ERR_UNKNOWN_MEMBER);
    } else if (has_news(call, group, member) || now_ms >= call->deadline_ms) {
        answer(call, group, member);
    } else if (coordinator->waiter_count >= SP_COORDINATOR_WAITERS_MAX ||
               sp_timer_start(&call->timer, call->deadline_ms) != 0) {
        sp_group_call_fail(call, SPATE_ERR_BUSY);
    } else {
        sp_list_append(&group->waiters, &call->node);
        sp_request_begin_wait(&call->request, &call->patience, false);
        coordinator->waiter_count += 1;
    }
}

static void on_gone(struct sp_request_wait *patience)
{
    struct sp_group_call *call = SP_CONTAINER_OF(patience, struct sp_group_call, patience);

    leave_waiters(call);
    sp_group_call_fail(call, SPATE_ERR_CLOSED);
}

static void on_timer(struct sp_timer *timer)
{
    sp_group_call_look(SP_CONTAINER_OF(timer, struct sp_group_call, timer));
}

void sp_group_waiters_look(struct sp_coordinator *coordinator, struct sp_consumer_group *group)
{
    struct sp_list waiting;

    (void)coordinator; /* each knows its own */
    sp_list_init(&waiting);
    sp_list_move(&waiting, &group->waiters);
    while (!sp_list_empty(&waiting)) { /* each leaves the list, some for the group's own */
        sp_group_call_look(SP_LIST_ENTRY(waiting.next, struct sp_group_call, node));
    }
}

void sp_group_waiters_abort(struct sp_coordinator *coordinator, struct sp_consumer_group *group)
{
    (void)coordinator;
    while (!sp_list_empty(&group->waiters)) {
        struct sp_group_call *call = SP_LIST_ENTRY(group->waiters.next, struct sp_group_call, node);
        leave_waiters(call);
        sp_group_call_fail(call, SPATE_ERR_NOT_LEADER);
    }
}

/* ---- starting -------------------------------------------------------------------------------- */

struct sp_group_call *sp_group_call_new(struct sp_coordinator *coordinator,
                                        struct sp_request request,
                                        const char *group,
                                        struct sp_bytes member,
                                        void (*done)(struct sp_coordinator_job *job, int status))
{
    struct sp_group_call *call = sp_mem_calloc(1, sizeof *call);

    if (call == NULL) {
        sp_request_fail(&request, SPATE_ERR_NOMEM, NULL);
        return NULL;
    }
    sp_list_init(&call->node);
    sp_request_init_wait(&call->patience, NULL, on_gone);
    sp_timer_init(&call->timer, coordinator->broker->options.loop, on_timer);
    call->coordinator = coordinator;
    call->request = request;
    call->job.done = done;
    call->job.changes_members = true;
    (void)snprintf(call->group, sizeof call->group, "%s", group);
    if (!sp_broker_copy_text(member, call->member, sizeof call->member)) {
        sp_group_call_fail(call, SPATE_ERR_UNKNOWN_MEMBER);
        return NULL;
    }
    return call;
}

/* The command of a call is on its way, or the call is answered. */
void sp_group_call_submit(struct sp_group_call *call, int rv, struct sp_buf *command)
{
    rv = sp_coordinator_submit(call->coordinator, &call->job, call->group, rv, command);
    if (rv != 0) {
        sp_group_call_fail(call, rv);
    }
}

/* JOIN or RELEASE is applied. */
void sp_group_call_changed(struct sp_coordinator_job *job, int status)
{
    struct sp_group_call *call = SP_CONTAINER_OF(job, struct sp_group_call, job);

    status = status != 0 ? status : job->answer;
    if (status != 0) {
        sp_group_call_fail(call, status);
    } else {
        sp_group_call_look(call);
    }
}
