/* When a damaged replica of this node is given up for a new one, and when it keeps its place. */
#include "cluster/mover.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "cluster/state_moves.h"
#include "cluster/state_nodes.h"
#include "fake_loop.h"
#include "spate/error.h"

enum {
    SELF = 1,
    NODES = 3,
    TIMEOUT_MS = 300, /* of elections */
    BYTES_MAX = 4096,
};

static struct {
    struct sp_state *state;
    struct sp_mover *mover;
    bool damaged;
    struct sp_reconcile_damage damage;
    char refusal[256];
    unsigned refusal_count; /* how often it was another one than before */
    bool led;               /* another node leads the partition ... */
    uint64_t heard_ms;      /* ... and was heard of last */
    bool may_refill;
    unsigned asked;
    uint64_t asked_replica;
    bool leads;     /* this node does: the partition */
    bool cut_off;   /* from the controller */
    unsigned steps; /* of moves */
    unsigned drops; /* looks at standbys that nobody wants */
    uint64_t live_count;
} fake;

/* ---- what stands in for the controller, the group table and reconcile ------------------------ */

const struct sp_state *sp_controller_state(const struct sp_controller *controller)
{
    (void)controller;
    return fake.state;
}

bool sp_controller_is_confirmed(const struct sp_controller *controller)
{
    (void)controller;
    return true;
}

uint32_t sp_controller_self(const struct sp_controller *controller)
{
    (void)controller;
    return SELF;
}

bool sp_controller_is_current(const struct sp_controller *controller)
{
    (void)controller;
    return !fake.cut_off;
}

bool sp_controller_may_lead(const struct sp_controller *controller, uint32_t node_id)
{
    (void)controller;
    (void)node_id;
    return true;
}

/* Stays under way: the next look must not ask again. */
void sp_controller_propose(struct sp_controller *controller, struct sp_proposal *proposal)
{
    (void)controller;
    assert_int_equal(proposal->membership.kind, SP_MEMBERSHIP_LOST_REPLICA);
    proposal->state = SP_PROPOSAL_WAITING;
    fake.asked += 1;
    fake.asked_replica = proposal->membership.ids[0];
}

void sp_controller_cancel(struct sp_controller *controller, struct sp_proposal *proposal)
{
    (void)controller;
    (void)proposal;
}

struct sp_leader_table *sp_group_table_leaders(const struct sp_group_table *table)
{
    (void)table;
    return NULL;
}

uint32_t
sp_group_table_leader(const struct sp_group_table *table, uint64_t group_id, uint64_t *out_term)
{
    (void)table;
    (void)group_id;
    (void)out_term;
    return fake.leads ? SELF : 0;
}

struct sp_raft_group *sp_group_table_get(const struct sp_group_table *table, uint64_t group_id)
{
    (void)table;
    (void)group_id;
    return fake.leads ? (struct sp_raft_group *)(void *)&fake : NULL;
}

bool sp_leader_table_led_elsewhere(const struct sp_leader_table *table,
                                   uint64_t group_id,
                                   uint64_t heard_ms)
{
    (void)table;
    assert_int_equal(group_id, fake.damage.group_id);
    return fake.led && fake.heard_ms >= heard_ms;
}

int sp_raft_group_transfer_to(struct sp_raft_group *group, uint32_t node_id)
{
    (void)group;
    (void)node_id;
    return SPATE_ERR_BUSY;
}

int sp_raft_group_move(struct sp_raft_group *group,
                       const struct sp_raft_move_target *target,
                       struct sp_raft_move_progress *out)
{
    (void)group;
    (void)out;
    assert_int_equal(target->count, 2);
    fake.steps += 1;
    return SPATE_ERR_NOT_LEADER;
}

void sp_raft_group_drop_standby(struct sp_raft_group *group,
                                const struct sp_raft_move_target *target)
{
    (void)group;
    (void)target;
    fake.drops += 1;
}

int sp_raft_group_move_progress(struct sp_raft_group *group,
                                const struct sp_raft_move_target *target,
                                struct sp_raft_move_progress *out)
{
    return sp_raft_group_move(group, target, out);
}

bool sp_reconcile_next_damage(const struct sp_reconcile *reconcile,
                              struct sp_map_cursor *cursor,
                              struct sp_reconcile_damage *out)
{
    (void)reconcile;
    if (!fake.damaged || cursor->started != 0) {
        return false;
    }
    cursor->started = 1;
    *out = fake.damage;
    return true;
}

bool sp_reconcile_note_refusal(struct sp_reconcile *reconcile, uint64_t group_id, const char *text)
{
    (void)reconcile;
    assert_int_equal(group_id, fake.damage.group_id);
    if (strcmp(fake.refusal, text) == 0) {
        return false;
    }
    (void)snprintf(fake.refusal, sizeof fake.refusal, "%s", text);
    fake.refusal_count += 1;
    return true;
}

bool sp_reconcile_may_refill(struct sp_reconcile *reconcile)
{
    (void)reconcile;
    return fake.may_refill;
}

/* ---- the state ------------------------------------------------------------------------------- */

static void apply(struct sp_buf *buf)
{
    int rv = sp_state_apply(fake.state, buf->bytes, buf->size, 7, NULL, NULL);

    sp_buf_deinit(buf);
    assert_int_equal(rv, 0);
}

static void register_node(uint32_t node_id)
{
    struct sp_state_node node = { .node_id = node_id,
                                  .incarnation = 9,
                                  .features = { SP_FEATURE_LEVEL_FIRST, SP_FEATURE_LEVEL_MAX } };
    struct sp_buf buf;

    (void)snprintf(node.client_address, sizeof node.client_address, "c%u:1", node_id);
    (void)snprintf(node.peer_address, sizeof node.peer_address, "p%u:1", node_id);
    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_join_node(&node, &buf), 0);
    apply(&buf);
}

static void raise_level(uint32_t level)
{
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_feature_level(level, &buf), 0);
    apply(&buf);
}

/* Makes a topic of one partition, whose replica on this node is damaged from now on. */
static void damage_one_of(uint32_t replicas)
{
    static const struct sp_topic_config config = { .set = 0 };
    static const uint32_t nodes[] = { SELF, 2, 3 };
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_create_topic("t", 1, replicas, nodes, &config, &buf), 0);
    apply(&buf);
    const struct sp_state_topic *topic = sp_state_topic(fake.state, "t");
    fake.damaged = true;
    fake.damage = (struct sp_reconcile_damage){
        .topic_id = topic->topic_id,
        .group_id = topic->partitions[0].group_id,
        .replica_id = topic->partitions[0].replicas[0].replica_id,
        .since_ms = fake_loop.now_ms,
    };
}

/* ---- driving --------------------------------------------------------------------------------- */

static int setup(void **unused)
{
    (void)unused;
    memset(&fake, 0, sizeof fake);
    fake_loop_init();
    fake.live_count = sp_mem_live_count();
    fake.may_refill = true;
    assert_int_equal(sp_state_new(&fake.state), 0);
    for (uint32_t i = 1; i <= NODES; i++) {
        register_node(i);
    }
    const struct sp_mover_options options = { .election_timeout_ms = TIMEOUT_MS };
    assert_int_equal(sp_mover_new(&options, &fake.mover), 0);
    return 0;
}

static int teardown(void **unused)
{
    (void)unused;
    sp_mover_free(fake.mover);
    sp_state_free(fake.state);
    return sp_mem_live_count() == fake.live_count ? 0 : -1;
}

/* Lets time pass; while the partition is led, its leader greets twice a second. */
static void wait_ms(unsigned duration_ms)
{
    sp_mover_wake(fake.mover);
    fake_turn();
    for (unsigned waited_ms = 0; waited_ms < duration_ms; waited_ms += 100) {
        if (fake.led && waited_ms % 500 == 0) {
            fake.heard_ms = fake_loop.now_ms;
        }
        fake_wait(100);
    }
}

/* The same as damage_one_of, while another node leads and the level can give replicas up. */
static void damage_while_led(uint32_t replicas)
{
    raise_level(SP_FEATURE_MEMBERSHIP);
    fake.led = true;
    damage_one_of(replicas);
}

/* The replica keeps its place, for this reason. */
static void assert_kept(const char *words)
{
    wait_ms(10000);
    assert_int_equal(fake.asked, 0);
    assert_non_null(strstr(fake.refusal, words));
}

static void assert_given_up(void)
{
    wait_ms(2000);
    assert_int_equal(fake.asked, 1);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_mover_gives_a_damaged_replica_up_once_another_leads(void **unused)
{
    (void)unused;
    raise_level(SP_FEATURE_MEMBERSHIP);
    damage_one_of(3);
    wait_ms(60000);
    assert_int_equal(fake.asked, 0);
    assert_string_equal(fake.refusal, SP_RECONCILE_WAITS_FOR_LEADER);
    assert_int_equal(fake.refusal_count, 1);
    fake.led = true;
    assert_given_up();
    assert_int_equal(fake.asked_replica, fake.damage.replica_id);
}

static void test_mover_is_quick_while_the_others_lead(void **unused)
{
    (void)unused;
    damage_while_led(3);
    wait_ms(3000);
    assert_int_equal(fake.asked, 1);
    assert_int_equal(fake.refusal_count, 0);
}

/* It has led with this replica, and may not know yet that it is gone. */
static void test_mover_believes_no_leader_that_was_heard_of_too_early(void **unused)
{
    (void)unused;
    damage_while_led(3);
    wait_ms(2 * TIMEOUT_MS);
    assert_int_equal(fake.asked, 0);
    fake.led = false;
    wait_ms(30000);
    assert_int_equal(fake.asked, 0);
    fake.led = true; /* nothing new has been heard of it */
    sp_mover_wake(fake.mover);
    fake_wait(2000);
    assert_int_equal(fake.asked, 0);
}

static void test_mover_keeps_what_too_few_others_could_refill(void **unused)
{
    (void)unused;
    damage_while_led(2);
    assert_kept("fewer than a majority of the 2 replicas");
    assert_int_equal(fake.refusal_count, 1);
}

/* What it knows of a move may be of an earlier time: the target, and who is kept until its end. */
static void test_mover_goes_on_with_moves_only_while_it_follows_a_controller(void **unused)
{
    static const struct sp_state_wish wishes[] = { { .node_id = 2 }, { .node_id = 3 } };
    struct sp_buf buf;

    (void)unused;
    raise_level(SP_FEATURE_MEMBERSHIP);
    damage_one_of(1);
    fake.damaged = false;
    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_move_begin(fake.damage.topic_id, 0, wishes, 2, &buf), 0);
    apply(&buf);
    fake.leads = true;
    wait_ms(1000);
    assert_true(fake.steps > 0);
    fake.cut_off = true;
    fake.steps = 0;
    wait_ms(10000);
    assert_int_equal(fake.steps, 0);
    fake.cut_off = false; /* nothing but the time tells it */
    fake_wait(1000);
    assert_true(fake.steps > 0);
}

/* Of partitions that are not being moved; by a state of the controller that is not an old one. */
static void test_mover_looks_for_standbys_that_nobody_wants(void **unused)
{
    (void)unused;
    raise_level(SP_FEATURE_MEMBERSHIP);
    damage_one_of(3);
    fake.damaged = false;
    wait_ms(3000);
    assert_int_equal(fake.drops, 0); /* it leads nothing */
    fake.leads = true;
    wait_ms(3000);
    assert_in_range(fake.drops, 1, 100);
    fake.cut_off = true;
    fake.drops = 0;
    wait_ms(3000);
    assert_int_equal(fake.drops, 0);
}

static void test_mover_keeps_an_only_replica(void **unused)
{
    (void)unused;
    damage_while_led(1);
    assert_kept("the only replica");
}

static void test_mover_waits_for_room_in_quarantine(void **unused)
{
    (void)unused;
    fake.may_refill = false;
    damage_while_led(3);
    assert_kept("quarantine");
    fake.may_refill = true;
    assert_given_up();
}

static void test_mover_asks_for_nothing_that_the_level_does_not_have(void **unused)
{
    (void)unused;
    fake.led = true;
    damage_one_of(3);
    assert_kept("feature level");
    raise_level(SP_FEATURE_MEMBERSHIP);
    assert_given_up();
}

#define MOVER_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        MOVER_TEST(test_mover_gives_a_damaged_replica_up_once_another_leads),
        MOVER_TEST(test_mover_is_quick_while_the_others_lead),
        MOVER_TEST(test_mover_believes_no_leader_that_was_heard_of_too_early),
        MOVER_TEST(test_mover_keeps_what_too_few_others_could_refill),
        MOVER_TEST(test_mover_goes_on_with_moves_only_while_it_follows_a_controller),
        MOVER_TEST(test_mover_looks_for_standbys_that_nobody_wants),
        MOVER_TEST(test_mover_keeps_an_only_replica),
        MOVER_TEST(test_mover_waits_for_room_in_quarantine),
        MOVER_TEST(test_mover_asks_for_nothing_that_the_level_does_not_have),
    };

    return cmocka_run_group_tests_name("cluster/mover", tests, NULL, NULL);
}
