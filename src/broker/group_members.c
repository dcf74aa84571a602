/* group.join, group.heartbeat, group.leave: a member comes, learns what to read, and goes.
 *
 *   join       -> JOIN    -> applied -> wait for the assignment -> answer
 *   heartbeat  -> RELEASE -> applied -> wait for news, at the most max_wait_ms -> answer
 *                 `- nothing to release: at once
 *   leave      -> LEAVE   -> applied -> answer */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "broker/group_call.h"
#include "spate/error.h"

/* A join is answered after so long even if no assignment could be made. */
#define JOIN_WAIT_MS 5000

/* Reads what the member owns, which the request holds until it is answered. */
static int read_owned(struct sp_group_call *call, struct sp_bytes owned, struct sp_api_error *error)
{
    int rv = sp_group_set_read(call->coordinator->broker, owned, &call->owned, error);

    if (rv == 0) {
        sp_request_charge(&call->request, call->owned.count * sizeof call->owned.places[0]);
    }
    return rv;
}

/* ---- join ------------------------------------------------------------------------------------ */

/* The machine takes no text with a zero byte, and no name longer than a topic can have. */
static bool texts_fit(const struct sp_group_join_request *join)
{
    const struct sp_bytes texts[] = { join->instance, join->client, join->rack };
    struct sp_cursor cursor = sp_cursor_of(join->topics);
    uint32_t count = sp_cursor_array(&cursor);

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (texts[i].size > 0 && memchr(texts[i].bytes, 0, texts[i].size) != NULL) {
            return false;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        if (sp_cursor_text(&cursor).size > SP_TOPIC_NAME_SIZE_MAX) {
            return false;
        }
    }
    return true;
}

/* What of a request to join is not allowed, or 0. */
static int check_join(const struct sp_group_join_request *join,
                      const struct sp_consumer_group *group,
                      struct sp_api_error *error)
{
    struct sp_cursor cursor = sp_cursor_of(join->topics);
    const struct sp_consumer_member *holder =
        group == NULL ? NULL : sp_consumer_group_instance(group, join->instance);

    error->text[0] = '\0';
    if (sp_cursor_array(&cursor) > SP_CONSUMER_TOPICS_MAX) {
        (void)snprintf(error->text,
                       sizeof error->text,
                       "group.join: at most %d topics per member",
                       SP_CONSUMER_TOPICS_MAX);
        return SPATE_ERR_INVALID;
    }
    if (!texts_fit(join)) {
        (void)snprintf(error->text,
                       sizeof error->text,
                       "group.join: a zero byte in `instance`, `client` or `rack`, or a topic name "
                       "of more than %d bytes",
                       SP_TOPIC_NAME_SIZE_MAX);
        return SPATE_ERR_INVALID;
    }
    if (join->member.bytes == NULL || join->member.size == 0) {
        return 0;
    }
    if (holder != NULL && !sp_bytes_equal_text(join->member, holder->id)) {
        return SPATE_ERR_GROUP_FENCED;
    }
    if (group == NULL || sp_consumer_group_member(group, join->member) == NULL) {
        return SPATE_ERR_UNKNOWN_MEMBER;
    }
    return 0;
}

static void submit_join(struct sp_group_call *call, const struct sp_group_join_request *request)
{
    struct sp_consumer_join join = {
        .group = sp_bytes_text(call->group),
        .member = sp_bytes_text(call->member),
        .instance = request->instance,
        .client = request->client,
        .rack = request->rack,
        .session_ms = (uint32_t)request->session_ms,
        .rebalance_ms = (uint32_t)request->rebalance_ms,
        .topics = request->topics,
        .owned = call->owned.places,
        .owned_count = call->owned.count,
    };
    struct sp_buf command;
    int rv;

    sp_buf_init(&command, SP_CONSUMER_COMMAND_BYTES_MAX);
    rv = sp_consumer_command_join(&join, &command);
    sp_group_call_submit(call, rv, &command);
}

/* A join that may be done: its member gets an id if it has none. */
static void start_join(struct sp_coordinator *coordinator,
                       struct sp_request request,
                       const char *name,
                       const struct sp_group_join_request *join)
{
    struct sp_loop *loop = coordinator->broker->options.loop;
    struct sp_group_call *call =
        sp_group_call_new(coordinator,
                          request,
                          name,
                          sp_bytes_of(join->member.bytes, join->member.size),
                          sp_group_call_changed);
    struct sp_api_error error;
    int rv;

    if (call == NULL) {
        return;
    }
    if (call->member[0] == '\0') {
        (void)snprintf(call->member, sizeof call->member, "%016" PRIx64, sp_loop_random(loop));
    }
    call->joining = true;
    call->generation = join->generation;
    call->deadline_ms = sp_loop_now_ms(loop) + JOIN_WAIT_MS;
    rv = read_owned(call, join->owned, &error);
    if (rv != 0) {
        sp_request_fail(&call->request, rv, error.text);
        sp_group_call_free(call);
        return;
    }
    submit_join(call, join);
}

void sp_method_group_join(struct sp_broker *broker,
                          struct sp_request request,
                          const struct sp_message *message)
{
    struct sp_group_join_request join;
    struct sp_coordinator *coordinator;
    struct sp_consumer_group *group;
    struct sp_api_error error;
    char name[SP_CONSUMER_GROUP_NAME_SIZE_MAX + 1];
    int rv = sp_group_join_request_decode(&message->params, &join, &error);

    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    coordinator = sp_group_coordinator(broker, &request, join.group, name);
    if (coordinator == NULL) {
        return;
    }
    group = sp_consumer_groups_find(coordinator->groups, join.group);
    rv = check_join(&join, group, &error);
    if (rv != 0 && error.text[0] != '\0') {
        sp_request_fail(&request, rv, error.text);
    } else if (rv != 0) {
        sp_group_fail(&request, rv, name);
    } else {
        start_join(coordinator, request, name, &join);
    }
}

/* ---- heartbeat ------------------------------------------------------------------------------- */

/* What the member must give up and reads no more; one that does not say what it reads has stopped
 * with all that was revoked in the generation that it has seen. */
static unsigned released(const struct sp_group_call *call,
                         const struct sp_consumer_group *group,
                         const struct sp_consumer_member *member,
                         struct sp_consumer_place *places)
{
    unsigned count = 0;

    for (unsigned i = 0; i < group->share_count; i++) {
        const struct sp_consumer_share *share = &group->shares[i];
        if (sp_group_in_part(share, member, SP_GROUP_REVOKED) &&
            !sp_group_set_has(&call->owned, share->topic_id, share->partition)) {
            places[count++] = (struct sp_consumer_place){ share->topic_id, share->partition };
        }
    }
    return count;
}

static void
submit_release(struct sp_group_call *call, const struct sp_consumer_place *places, unsigned count)
{
    struct sp_buf command;
    int rv;

    sp_buf_init(&command, SP_CONSUMER_COMMAND_BYTES_MAX);
    rv = sp_consumer_command_release(sp_bytes_text(call->group),
                                     sp_bytes_text(call->member),
                                     call->generation,
                                     places,
                                     count,
                                     &command);
    sp_group_call_submit(call, rv, &command);
}

static void run_heartbeat(struct sp_group_call *call,
                          const struct sp_consumer_group *group,
                          const struct sp_consumer_member *member)
{
    struct sp_consumer_place *places;
    unsigned count;

    if (call->generation != group->generation || !sp_consumer_member_revoking(group, member)) {
        sp_group_call_look(call);
        return;
    }
    places = sp_mem_calloc((size_t)group->share_count, sizeof *places);
    if (places == NULL) {
        sp_group_call_fail(call, SPATE_ERR_NOMEM);
        return;
    }
    count = released(call, group, member, places);
    if (count == 0) {
        sp_group_call_look(call);
    } else {
        submit_release(call, places, count);
    }
    sp_mem_free(places);
}

static void start_heartbeat(struct sp_coordinator *coordinator,
                            struct sp_request request,
                            const char *name,
                            const struct sp_group_heartbeat_request *heartbeat)
{
    struct sp_loop *loop = coordinator->broker->options.loop;
    struct sp_consumer_group *group =
        sp_consumer_groups_find(coordinator->groups, heartbeat->group);
    struct sp_consumer_member *member =
        group == NULL ? NULL : sp_consumer_group_member(group, heartbeat->member);
    struct sp_api_error error;
    struct sp_group_call *call;
    uint32_t wait_ms;
    int rv;

    if (member == NULL) {
        sp_group_fail(&request, SPATE_ERR_UNKNOWN_MEMBER, name);
        return;
    }
    member->heard_ms = sp_loop_now_ms(loop);
    call = sp_group_call_new(coordinator, request, name, heartbeat->member, sp_group_call_changed);
    if (call == NULL) {
        return;
    }
    call->generation = heartbeat->generation;
    call->says_owned = heartbeat->owned.bytes != NULL;
    rv = read_owned(call, heartbeat->owned, &error);
    if (rv != 0) {
        sp_request_fail(&call->request, rv, error.text);
        sp_group_call_free(call);
        return;
    }
    wait_ms = (uint32_t)heartbeat->max_wait_ms; /* at most half the session, to be heard in time */
    wait_ms = wait_ms > member->session_ms / 2 ? member->session_ms / 2 : wait_ms;
    call->deadline_ms = sp_loop_now_ms(loop) + wait_ms;
    run_heartbeat(call, group, member);
}

void sp_method_group_heartbeat(struct sp_broker *broker,
                               struct sp_request request,
                               const struct sp_message *message)
{
    struct sp_group_heartbeat_request heartbeat;
    struct sp_coordinator *coordinator;
    struct sp_api_error error;
    char name[SP_CONSUMER_GROUP_NAME_SIZE_MAX + 1];
    int rv = sp_group_heartbeat_request_decode(&message->params, &heartbeat, &error);

    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    coordinator = sp_group_coordinator(broker, &request, heartbeat.group, name);
    if (coordinator != NULL) {
        start_heartbeat(coordinator, request, name, &heartbeat);
    }
}

/* ---- leave ----------------------------------------------------------------------------------- */

static void on_left(struct sp_coordinator_job *job, int status)
{
    struct sp_group_call *call = SP_CONTAINER_OF(job, struct sp_group_call, job);

    status = status != 0 ? status : job->answer;
    if (status != 0) {
        sp_group_call_fail(call, status);
        return;
    }
    sp_request_ok(&call->request);
    sp_group_call_free(call);
}

void sp_method_group_leave(struct sp_broker *broker,
                           struct sp_request request,
                           const struct sp_message *message)
{
    struct sp_group_leave_request leave;
    struct sp_coordinator *coordinator;
    struct sp_api_error error;
    struct sp_buf command;
    struct sp_group_call *call;
    char name[SP_CONSUMER_GROUP_NAME_SIZE_MAX + 1];
    int rv = sp_group_leave_request_decode(&message->params, &leave, &error);

    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
        return;
    }
    coordinator = sp_group_coordinator(broker, &request, leave.group, name);
    if (coordinator == NULL) {
        return;
    }
    call = sp_group_call_new(coordinator, request, name, leave.member, on_left);
    if (call == NULL) {
        return;
    }
    sp_buf_init(&command, SP_CONSUMER_COMMAND_BYTES_MAX);
    rv = sp_consumer_command_leave(leave.group, leave.member, &command);
    sp_group_call_submit(call, rv, &command);
}
