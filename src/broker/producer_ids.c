/* producer.init: ids for producers, from blocks of the controller, or the id of a name. */
#include "broker/methods.h"

#include "base/mem.h"
#include "spate/error.h"

/* Clients that wait for a block of producer ids. */
#define PRODUCER_WAITERS_MAX 4096

struct waiter {
    struct sp_list node;
    struct sp_request request;
};

static void answer(struct sp_request *request, int64_t producer_id, int16_t producer_epoch)
{
    struct sp_producer_init_response response;
    struct sp_buf buf;
    struct sp_pack pack;

    sp_producer_init_response_init(&response);
    response.producer_id = producer_id;
    response.producer_epoch = producer_epoch;
    sp_request_begin(request, &buf, &pack);
    sp_producer_init_response_encode(&pack, &response);
    sp_request_finish(request, &buf, &pack, NULL, 0);
}

/* ---- without a name: the next of the block in hand ------------------------------------------- */

static void answer_producer(struct sp_broker *broker, struct sp_request *request)
{
    answer(request, broker->producer_id_next, 0);
    broker->producer_id_next += 1;
}

static void on_block(struct sp_proposal *proposal, int status, const char *text);

static void ask_for_block(struct sp_broker *broker)
{
    broker->producer_asking = true;
    broker->producer_proposal =
        (struct sp_proposal){ .kind = SP_PROPOSAL_PRODUCER_BLOCK, .cb = on_block };
    sp_controller_propose(broker->options.controller, &broker->producer_proposal);
}

static void on_block(struct sp_proposal *proposal, int status, const char *text)
{
    struct sp_broker *broker = SP_CONTAINER_OF(proposal, struct sp_broker, producer_proposal);

    broker->producer_asking = false;
    if (status == 0) {
        broker->producer_id_next = (int64_t)proposal->producer_id_first;
        broker->producer_id_end = broker->producer_id_next + SP_PRODUCER_ID_BLOCK;
    }
    while (!sp_list_empty(&broker->producer_waiters) &&
           (status != 0 || broker->producer_id_next < broker->producer_id_end)) {
        struct waiter *waiter = SP_LIST_ENTRY(broker->producer_waiters.next, struct waiter, node);
        sp_list_remove(&waiter->node);
        if (status == 0) {
            answer_producer(broker, &waiter->request);
        } else {
            sp_request_fail(&waiter->request, status, text);
        }
        sp_mem_free(waiter);
    }
    if (!sp_list_empty(&broker->producer_waiters)) {
        ask_for_block(broker);
    }
}

static void take_anonymous(struct sp_broker *broker, struct sp_request *request)
{
    struct waiter *waiter;
    unsigned waiting = 0;

    if (broker->producer_id_next < broker->producer_id_end) {
        answer_producer(broker, request);
        return;
    }
    SP_LIST_EACH (node, &broker->producer_waiters) {
        waiting += 1;
    }
    waiter = waiting < PRODUCER_WAITERS_MAX ? sp_mem_calloc(1, sizeof *waiter) : NULL;
    if (waiter == NULL) {
        sp_request_fail(
            request, SPATE_ERR_BUSY, "too many producers ask for an id at once: try again");
        return;
    }
    waiter->request = *request;
    sp_list_append(&broker->producer_waiters, &waiter->node);
    if (!broker->producer_asking) {
        ask_for_block(broker);
    }
}

/* ---- with a name: the controller keeps its id and counts its epochs -------------------------- */

struct naming {
    struct sp_proposal proposal;
    struct sp_request request;
};

static void on_named(struct sp_proposal *proposal, int status, const char *text)
{
    struct naming *naming = SP_CONTAINER_OF(proposal, struct naming, proposal);

    if (status == 0) {
        answer(&naming->request, (int64_t)proposal->producer_id_first, proposal->producer_epoch);
    } else {
        sp_request_fail(&naming->request, status, text);
    }
    sp_mem_free(naming);
}

static bool text_is_plain(struct sp_bytes text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.bytes[i] < 0x20 || text.bytes[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

static void take_named(struct sp_broker *broker,
                       struct sp_request *request,
                       const struct sp_producer_init_request *init)
{
    struct naming *naming;

    if (init->name.size == 0 || !text_is_plain(init->name) || !text_is_plain(init->layout)) {
        sp_request_fail(request,
                        SPATE_ERR_INVALID,
                        "the name of a producer has 1 to 249 bytes, its layout at most 249, and "
                        "neither has control characters");
        return;
    }
    naming = sp_mem_calloc(1, sizeof *naming);
    if (naming == NULL) {
        sp_request_fail(request, SPATE_ERR_NOMEM, NULL);
        return;
    }
    naming->request = *request;
    naming->proposal.kind = SP_PROPOSAL_PRODUCER_NAME;
    naming->proposal.cb = on_named;
    (void)sp_broker_copy_text(init->name,
                              naming->proposal.producer_name,
                              sizeof naming->proposal.producer_name); /* both fit, and are plain */
    (void)sp_broker_copy_text(
        init->layout, naming->proposal.producer_layout, sizeof naming->proposal.producer_layout);
    sp_controller_propose(broker->options.controller, &naming->proposal);
}

void sp_method_producer_init(struct sp_broker *broker,
                             struct sp_request request,
                             const struct sp_message *message)
{
    struct sp_producer_init_request init;
    struct sp_api_error error;
    int rv = sp_producer_init_request_decode(&message->params, &init, &error);

    if (rv != 0) {
        sp_request_fail(&request, rv, error.text);
    } else if (init.name.bytes == NULL) {
        take_anonymous(broker, &request);
    } else {
        take_named(broker, &request, &init);
    }
}
