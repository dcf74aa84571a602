/* A controller that leads and is asked who may join, with its stand-ins. Included once, by one
 * test. */
#ifndef SP_UNIT_DRIVEN_ADMIT_H
#define SP_UNIT_DRIVEN_ADMIT_H

#include "cluster/admit.h"
#include "driven_controller.h"

static struct sp_identity identity = { .state = SP_IDENTITY_FORMED, .cluster_id = { 9 } };
static struct sp_join_answer answer; /* the last one */
static unsigned answer_count;
static struct sp_admit *admit;

const struct sp_identity *sp_store_identity(const struct sp_store *store)
{
    (void)store;
    return &identity;
}

static unsigned double_count; /* processes that were not let in, as another one has their node id */

void sp_transport_note_double(struct sp_transport *transport,
                              uint32_t node_id,
                              uint64_t incarnation,
                              const char *text)
{
    (void)transport;
    assert_int_not_equal(node_id, 0);
    assert_int_not_equal(incarnation, 0);
    assert_int_not_equal(text[0], '\0');
    double_count += 1;
}

static unsigned foreign_count;

void sp_transport_note_foreign(struct sp_transport *transport,
                               const char *address,
                               const char *text)
{
    (void)transport;
    assert_string_equal(address, "p5");
    assert_int_not_equal(text[0], '\0');
    foreign_count += 1;
}

void sp_transport_answer_guest(struct sp_transport *transport,
                               uint64_t guest,
                               const struct sp_slice *body)
{
    (void)transport;
    assert_int_equal(guest, 77);
    assert_int_equal(sp_join_answer_decode(body->bytes, body->size, &answer), 0);
    answer_count += 1;
}

/* Node 1 leads, nodes 1 to 3 are members; node 9 is no member of group 0. */
static inline void begin_leading(void)
{
    level_most = SP_FEATURE_LEVEL_MAX;
    begin();
    fake_members.stranger = 9;
    fake.status.leader_node = SELF;
    change_role(SP_ROLE_LEADER, true, SELF);
    commit_submits(); /* the level rises */
    assert_int_equal(sp_state_feature_level(sp_controller_state(fake.controller)),
                     SP_FEATURE_LEVEL_MAX);
    assert_int_equal(sp_admit_new(fake.controller, NULL, NULL, &admit), 0);
    answer_count = 0;
}

static inline void end_leading(void)
{
    sp_admit_free(admit);
    end();
    level_most = 0;
    fake_members.stranger = 0;
}

/* How many commands that has cost. */
static inline unsigned ask_with(const struct sp_join_request *request)
{
    unsigned before = fake.submit_count;
    unsigned answers = answer_count;
    struct sp_buf body;

    sp_buf_init(&body, 4096);
    assert_int_equal(sp_join_request_encode(request, &body), 0);
    const struct sp_slice slice = { .bytes = body.bytes, .size = body.size };
    sp_admit_request(admit, 77, &slice);
    fake_turn();
    commit_submits();
    sp_buf_deinit(&body);
    assert_int_equal(answer_count, answers + 1);
    return fake.submit_count - before;
}

static inline struct sp_join_request request_of(const struct sp_state_node *node, uint64_t voter_id)
{
    struct sp_join_request request = { .node = *node, .voter_id = voter_id };

    request.formed = voter_id != 0;
    memcpy(request.cluster_id, identity.cluster_id, sizeof request.cluster_id);
    return request;
}

static inline unsigned ask_in(const struct sp_state_node *node, uint64_t voter_id)
{
    const struct sp_join_request request = request_of(node, voter_id);

    return ask_with(&request);
}

static inline uint64_t incarnation_of(uint32_t node_id)
{
    return sp_state_node(sp_controller_state(fake.controller), node_id)->incarnation;
}

#endif /* SP_UNIT_DRIVEN_ADMIT_H */
