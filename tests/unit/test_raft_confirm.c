/* Whether a replica still leads: which answers count, and who is told when. Only the file itself is
 * real; what it calls stands here, and the voters answer by hand. */
#include "cluster/raft_group_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fake_loop.h"

enum {
    SELF = 11,
    STANDBY = 20,
    SENT_MAX = 64,
    TERM = 7,
};

static struct {
    struct sp_raft_context context;
    struct sp_raft_group group;
    struct raft_server servers[8];
    char addresses[8][16];
    bool ready;
    uint64_t committed;
    struct sp_peer_raft sent[SENT_MAX];
    unsigned sent_count;
} world;

/* ---- what the file calls --------------------------------------------------------------------- */

uint64_t sp_raft_now_ms(const struct sp_raft_group *group)
{
    (void)group;
    return fake_loop.now_ms;
}

bool sp_raft_leads_in(const struct sp_raft_group *group, uint64_t term)
{
    return sp_raft_state(group) == RAFT_LEADER && raft_current_term(&group->guard.raft) == term;
}

bool sp_raft_is_ready(const struct sp_raft_group *group)
{
    return world.ready && sp_raft_state(group) == RAFT_LEADER;
}

uint64_t sp_raft_guard_committed(const struct sp_raft_guard *guard)
{
    (void)guard;
    return world.committed;
}

uint32_t sp_raft_node_of(const struct sp_raft_group *group, uint64_t replica_id)
{
    (void)group;
    return (uint32_t)replica_id;
}

void sp_raft_send(struct sp_raft_group *group, struct sp_raft_outgoing *out)
{
    (void)group;
    assert_true(world.sent_count < SENT_MAX);
    world.sent[world.sent_count++] = out->message;
}

void sp_raft_wake(struct sp_raft_group *group, uint32_t told_by_node)
{
    (void)told_by_node;
    group->quiet = false;
}

/* What raft_group.c does after every event, as far as it matters here. */
void sp_raft_advance(struct sp_raft_group *group)
{
    if (sp_raft_state(group) != RAFT_LEADER) {
        sp_raft_confirm_fail(group, SPATE_ERR_NOT_LEADER);
    } else {
        sp_raft_confirm_advance(group);
    }
}

/* ---- fixture --------------------------------------------------------------------------------- */

/* Replica SELF of so many voters, which leads in TERM. */
static void begin(unsigned voters)
{
    memset(&world, 0, sizeof world);
    fake_loop_init();
    world.ready = true;
    world.committed = 100;
    world.group.applied = 100;
    world.group.context = &world.context;
    world.group.replica_id = SELF;
    world.group.guard.started = true;
    world.group.guard.heartbeat_ms = 50;
    world.group.guard.raft.state = RAFT_LEADER;
    world.group.guard.raft.current_term = TERM;
    world.group.guard.raft.configuration.servers = world.servers;
    world.group.guard.raft.configuration.n = voters;
    for (unsigned i = 0; i < voters; i++) {
        world.servers[i] = (struct raft_server){ .id = SELF + i, .role = RAFT_VOTER };
    }
}

static void add(uint64_t replica_id, int role)
{
    struct raft_configuration *members = &world.group.guard.raft.configuration;

    world.servers[members->n++] = (struct raft_server){ .id = replica_id, .role = role };
}

static void end(void)
{
    sp_raft_confirm_fail(&world.group, SPATE_ERR_CANCELED);
    sp_raft_confirm_free(&world.group);
}

struct asking {
    struct sp_confirm confirm;
    unsigned told;
    int status;
};

static void on_told(struct sp_confirm *confirm, int status)
{
    struct asking *asking = SP_CONTAINER_OF(confirm, struct asking, confirm);

    asking->told += 1;
    asking->status = status;
}

static void ask(struct asking *asking)
{
    *asking = (struct asking){ .confirm = { .cb = on_told } };
    world.group.quiet = true; /* asking wakes it */
    assert_int_equal(sp_raft_group_confirm(&world.group, &asking->confirm), 0);
    assert_false(world.group.quiet);
    assert_int_equal(asking->told, 0); /* never inside */
}

static void answer_as(uint64_t from, uint64_t request_term, uint64_t round)
{
    const struct sp_peer_raft message = { .kind = SP_PEER_CONFIRM_RESULT,
                                          .from = from,
                                          .term = request_term,
                                          .request_term = request_term,
                                          .aux = round };

    sp_raft_confirm_result(&world.group, &message);
    sp_raft_advance(&world.group);
    fake_turn();
}

/* An honest answer to the question that was sent last. */
static void answer(uint64_t from)
{
    answer_as(from, TERM, world.sent[world.sent_count - 1].aux);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_raft_confirm_sole_voter_is_told_at_the_end_of_the_turn(void **state)
{
    struct asking asking;

    (void)state;
    begin(1);
    ask(&asking);
    fake_turn();
    assert_int_equal(asking.told, 1);
    assert_int_equal(asking.status, 0);
    assert_int_equal(world.sent_count, 0);
    end();
}

static void test_raft_confirm_one_round_serves_all_of_a_turn(void **state)
{
    struct asking asking[3];

    (void)state;
    begin(3);
    for (unsigned i = 0; i < 3; i++) {
        ask(&asking[i]);
    }
    fake_turn();
    assert_int_equal(world.sent_count, 2); /* one to each other voter */
    assert_int_equal(world.sent[0].kind, SP_PEER_CONFIRM);
    assert_int_equal(world.sent[0].term, TERM);
    answer(SELF + 2);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(asking[i].told, 1);
        assert_int_equal(asking[i].status, 0);
    }
    end();
}

/* The answer may have been on its way when another leader was elected. */
static void test_raft_confirm_round_in_flight_does_not_serve_later_requests(void **state)
{
    struct asking first;
    struct asking second;

    (void)state;
    begin(3);
    ask(&first);
    fake_turn();
    uint64_t round = world.sent[0].aux;
    ask(&second);
    fake_turn();
    assert_int_equal(world.sent_count, 2);
    answer_as(SELF + 1, TERM, round);
    assert_int_equal(first.told, 1);
    assert_int_equal(second.told, 0);
    assert_int_equal(world.sent_count, 4); /* its own round has begun */
    answer_as(SELF + 2, TERM, round);      /* the late answer to the other one */
    answer_as(SELF + 1, TERM, round);      /* and one that comes twice */
    assert_int_equal(second.told, 0);
    answer(SELF + 2);
    assert_int_equal(second.told, 1);
    end();
}

static void test_raft_confirm_only_a_majority_of_voters_counts(void **state)
{
    struct asking asking;

    (void)state;
    begin(5);
    add(STANDBY, RAFT_STANDBY);
    ask(&asking);
    fake_turn();
    assert_int_equal(world.sent_count, 4); /* a standby is not even asked */
    answer(STANDBY);
    answer(99); /* no member at all */
    answer(SELF + 1);
    answer(SELF + 1);
    assert_int_equal(asking.told, 0);
    answer(SELF + 4);
    assert_int_equal(asking.told, 1);
    end();
}

static void test_raft_confirm_membership_counts_as_it_is_when_answers_come(void **state)
{
    struct asking asking;

    (void)state;
    begin(3);
    ask(&asking);
    fake_turn();
    add(SELF + 3, RAFT_VOTER); /* four now: two are no majority any more */
    answer(SELF + 1);
    assert_int_equal(asking.told, 0);
    fake_wait(51); /* who has not answered is asked again, the new one too */
    assert_int_equal(world.sent_count, 4);
    assert_int_equal(world.sent[3].to, SELF + 3);
    answer(SELF + 3);
    assert_int_equal(asking.told, 1);
    end();
}

static void test_raft_confirm_answers_of_other_terms_and_rounds_do_not_count(void **state)
{
    struct asking asking;

    (void)state;
    begin(3);
    ask(&asking);
    fake_turn();
    uint64_t round = world.sent[0].aux;
    answer_as(SELF + 1, TERM - 1, round);
    answer_as(SELF + 1, TERM + 1, round);
    answer_as(SELF + 1, TERM, round + 1);
    answer_as(SELF + 1, TERM, round - 1);
    assert_int_equal(asking.told, 0);
    end();
    assert_int_equal(asking.status, SPATE_ERR_CANCELED);
}

static void test_raft_confirm_waits_until_the_index_is_applied(void **state)
{
    struct asking asking;

    (void)state;
    begin(3);
    world.committed = 110;
    ask(&asking);
    fake_turn();
    world.committed = 120; /* after the round began: not asked for */
    answer(SELF + 1);
    assert_int_equal(asking.told, 0);
    world.group.applied = 110;
    sp_raft_advance(&world.group);
    assert_int_equal(asking.told, 1);
    end();
}

static void test_raft_confirm_needs_a_commit_of_the_own_term(void **state)
{
    struct asking asking = { .confirm = { .cb = on_told } };

    (void)state;
    begin(3);
    world.ready = false;
    assert_int_equal(sp_raft_group_confirm(&world.group, &asking.confirm), SPATE_ERR_NOT_READY);
    world.group.guard.raft.state = RAFT_FOLLOWER;
    assert_int_equal(sp_raft_group_confirm(&world.group, &asking.confirm), SPATE_ERR_NOT_LEADER);
    world.group.stopped = true;
    assert_int_equal(sp_raft_group_confirm(&world.group, &asking.confirm), SPATE_ERR_STOPPED);
    end();
}

static void test_raft_confirm_loss_of_leadership_ends_all(void **state)
{
    struct asking known;
    struct asking asked;
    struct asking waiting;

    (void)state;
    begin(3);
    world.committed = 110;
    ask(&known);
    fake_turn();
    answer(SELF + 1);
    ask(&asked);
    fake_turn();
    ask(&waiting);
    world.group.guard.raft.state = RAFT_FOLLOWER;
    sp_raft_advance(&world.group);
    assert_int_equal(known.status, SPATE_ERR_NOT_LEADER);
    assert_int_equal(asked.status, SPATE_ERR_NOT_LEADER);
    assert_int_equal(waiting.status, SPATE_ERR_NOT_LEADER);
    fake_turn();
    fake_wait(200); /* nobody is asked any more */
    assert_int_equal(world.sent_count, 4);
    end();
}

static void test_raft_confirm_lost_questions_are_asked_again(void **state)
{
    struct asking asking;

    (void)state;
    begin(3);
    ask(&asking);
    fake_turn();
    fake_wait(120);
    assert_int_equal(world.sent_count, 6);
    answer(SELF + 1);
    assert_int_equal(asking.told, 1);
    fake_wait(200);
    assert_int_equal(world.sent_count, 6);
    end();
}

static void test_raft_confirm_full_queue_answers_busy(void **state)
{
    static struct asking asking[SP_GROUP_CONFIRMS_MAX];
    struct asking one_more = { .confirm = { .cb = on_told } };

    (void)state;
    begin(3);
    for (unsigned i = 0; i < SP_GROUP_CONFIRMS_MAX; i++) {
        ask(&asking[i]);
    }
    assert_int_equal(sp_raft_group_confirm(&world.group, &one_more.confirm), SPATE_ERR_BUSY);
    fake_turn();
    answer(SELF + 1);
    assert_int_equal(asking[SP_GROUP_CONFIRMS_MAX - 1].told, 1);
    ask(&one_more);
    end();
    assert_int_equal(one_more.status, SPATE_ERR_CANCELED);
}

static void test_raft_confirm_voter_answers_in_the_same_term_only(void **state)
{
    struct sp_peer_raft question = {
        .kind = SP_PEER_CONFIRM, .from = SELF + 1, .term = TERM, .aux = 5
    };

    (void)state;
    begin(3);
    world.group.guard.raft.state = RAFT_FOLLOWER;
    sp_raft_confirm_receive(&world.group, &question);
    assert_int_equal(world.sent_count, 1);
    assert_int_equal(world.sent[0].kind, SP_PEER_CONFIRM_RESULT);
    assert_int_equal(world.sent[0].to, SELF + 1);
    assert_int_equal(world.sent[0].request_term, TERM);
    assert_int_equal(world.sent[0].aux, 5);
    question.term = TERM - 1; /* a leader that is over */
    sp_raft_confirm_receive(&world.group, &question);
    question.term = TERM + 1; /* one that was not heard of yet */
    sp_raft_confirm_receive(&world.group, &question);
    assert_int_equal(world.sent_count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raft_confirm_sole_voter_is_told_at_the_end_of_the_turn),
        cmocka_unit_test(test_raft_confirm_one_round_serves_all_of_a_turn),
        cmocka_unit_test(test_raft_confirm_round_in_flight_does_not_serve_later_requests),
        cmocka_unit_test(test_raft_confirm_only_a_majority_of_voters_counts),
        cmocka_unit_test(test_raft_confirm_membership_counts_as_it_is_when_answers_come),
        cmocka_unit_test(test_raft_confirm_answers_of_other_terms_and_rounds_do_not_count),
        cmocka_unit_test(test_raft_confirm_waits_until_the_index_is_applied),
        cmocka_unit_test(test_raft_confirm_needs_a_commit_of_the_own_term),
        cmocka_unit_test(test_raft_confirm_loss_of_leadership_ends_all),
        cmocka_unit_test(test_raft_confirm_lost_questions_are_asked_again),
        cmocka_unit_test(test_raft_confirm_full_queue_answers_busy),
        cmocka_unit_test(test_raft_confirm_voter_answers_in_the_same_term_only),
    };

    return cmocka_run_group_tests_name("cluster/raft_confirm", tests, NULL, NULL);
}
