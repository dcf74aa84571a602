/* Answers that must not be stale: the request waits until this node is confirmed to lead, and is
 * then run again from the start, when all that was committed before it came is applied. */
#include <string.h>

#include "base/mem.h"
#include "broker/methods.h"
#include "spate/error.h"

struct confirmation {
    struct sp_confirm confirm;
    struct sp_broker *broker;
    struct sp_request request;
    uint64_t group_id;
    struct sp_message message; /* but for `params` nobody needs it any more */
    uint8_t params[];          /* a copy: the message itself goes */
};

/* Whoever has lost leadership finds out by running it, too, and answers who leads. */
static void on_confirmed(struct sp_confirm *confirm, int status)
{
    struct confirmation *waiting = SP_CONTAINER_OF(confirm, struct confirmation, confirm);

    if (!sp_request_alive(&waiting->request)) {
        sp_request_fail(&waiting->request, SPATE_ERR_CLOSED, NULL);
    } else if (status == SPATE_ERR_CANCELED) {
        sp_request_fail(
            &waiting->request, SPATE_ERR_LEADER_UNKNOWN, "the replica is closing: try again");
    } else {
        waiting->request.confirmed = status == 0 ? waiting->group_id : 0;
        sp_broker_run(waiting->broker, waiting->request, &waiting->message);
    }
    sp_mem_free(waiting);
}

static struct confirmation *confirmation_new(struct sp_broker *broker,
                                             const struct sp_request *request,
                                             const struct sp_message *message)
{
    const struct sp_cursor *params = &message->params;
    struct confirmation *waiting = sp_mem_alloc(sizeof *waiting + params->size);

    if (waiting == NULL) {
        return NULL;
    }
    *waiting = (struct confirmation){ .confirm = { .cb = on_confirmed },
                                      .broker = broker,
                                      .request = *request,
                                      .message = { .type = message->type, .params = *params } };
    if (params->size > 0) {
        memcpy(waiting->params, params->bytes, params->size);
    }
    waiting->message.params.bytes = waiting->params;
    return waiting;
}

bool sp_broker_confirm(struct sp_broker *broker,
                       struct sp_request *request,
                       const struct sp_message *message,
                       struct sp_raft_group *group)
{
    struct confirmation *waiting;
    int rv;

    if (request->confirmed == sp_raft_group_id(group) ||
        sp_broker_lacks_feature(broker, SP_FEATURE_CONFIRM, NULL, NULL)) {
        return true;
    }
    waiting = confirmation_new(broker, request, message);
    if (waiting != NULL) {
        waiting->group_id = sp_raft_group_id(group);
    }
    rv = waiting == NULL ? SPATE_ERR_NOMEM : sp_raft_group_confirm(group, &waiting->confirm);
    if (rv != 0) {
        sp_request_fail(request, rv == SPATE_ERR_NOT_LEADER ? SPATE_ERR_LEADER_UNKNOWN : rv, NULL);
        sp_mem_free(waiting);
    }
    return false;
}
