/* How a member leaves its consumer group, also one that is still joining it.
 *
 *   stop -> a join is out that may have been done --answer: the id--> leave
 *        '-> a member with an id -------------------------------------'
 *        '-> nothing: out */
#include "client/consumer.h"
#include "wire/client_api.h"

/* A join is out that may have made a member whose id nobody knows yet. */
static bool may_have_joined(const struct spate_consumer *consumer)
{
    const struct sp_member *member = &consumer->member;
    const struct sp_request *request = &member->request;

    return member->running && member->joining && member->id[0] == '\0' &&
           consumer->client->config.group_instance[0] == '\0' &&
           (request->uncertain || (request->calling && request->call.sent));
}

void sp_member_stop(struct spate_consumer *consumer)
{
    struct sp_member *member = &consumer->member;

    member->leaving = may_have_joined(consumer);
    if (!member->leaving) {
        sp_member_cancel(member);
    }
    sp_timer_stop(&member->timer);
    member->state = SP_MEMBER_OUT;
}

/* Until the member that leaves knows who it is. SPATE_ERR_TIMEOUT: it cannot be known. */
static int wait_for_join(struct spate_consumer *consumer, uint64_t deadline_ms)
{
    struct sp_member *member = &consumer->member;
    int rv = 0;

    while (rv == 0 && member->leaving && member->running &&
           sp_consumer_now_ms(consumer) < deadline_ms) {
        rv = sp_client_run(consumer->client, deadline_ms);
        rv = rv == 0 ? sp_consumer_check_alive(consumer) : rv;
    }
    if (rv != 0 || !member->leaving) { /* another thread closes it, too */
        return rv;
    }
    bool unknown = member->running || (member->id[0] == '\0' && member->request.uncertain);
    sp_member_cancel(member);
    member->leaving = false;
    return unknown ? sp_client_fail(consumer->client,
                                    SPATE_ERR_TIMEOUT,
                                    "the group was being joined, and did not answer in time")
                   : 0;
}

int sp_member_leave(struct spate_consumer *consumer, uint64_t deadline_ms)
{
    struct sp_member *member = &consumer->member;
    struct sp_pack pack;

    sp_buf_clear(&member->topics);
    int rv = wait_for_join(consumer, deadline_ms);
    const struct sp_group_leave_request leave = {
        .group = sp_bytes_text(consumer->client->config.group_id),
        .member = sp_bytes_text(member->id),
    };
    if (rv == 0 && member->id[0] != '\0' && consumer->client->config.group_instance[0] == '\0') {
        sp_buf_clear(&member->params);
        sp_pack_init(&pack, &member->params);
        sp_group_leave_request_encode(&pack, &leave);
        struct sp_request request = sp_member_request(consumer, "group.leave");
        request.params = sp_bytes_of(member->params.bytes, member->params.size);
        request.deadline_ms = deadline_ms;
        request.attempt_ms = SP_GROUP_QUESTION_MS;
        rv = sp_pack_status(&pack);
        rv = rv != 0 ? rv : sp_request_wait(&request, NULL, NULL);
    }
    member->id[0] = '\0';
    return rv == SPATE_ERR_UNKNOWN_MEMBER ? 0 : rv; /* it is out already */
}
