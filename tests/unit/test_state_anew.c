/* Partitions whose replicas were lost with their disks: what begins anew, and who founds it. */
#include "moved_state.h"

#include "cluster/membership_command.h"
#include "cluster/proposal_command.h"

static uint64_t topic_id_of(const struct sp_state *state, const char *name)
{
    return sp_state_topic(state, name)->topic_id;
}

static int move_of(struct sp_state *state, const char *name, unsigned count, const uint32_t *nodes)
{
    struct sp_state_wish wishes[SP_REPLICAS_MAX] = { 0 };
    struct sp_buf buf;

    for (unsigned i = 0; i < count; i++) {
        wishes[i].node_id = nodes[i];
    }
    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_move_begin(topic_id_of(state, name), 0, wishes, count, &buf),
                     0);
    return apply(state, &buf);
}

static void lose_disk_again(struct sp_state *state, uint32_t node_id, uint64_t incarnation)
{
    struct sp_state_node renewed = make_node(node_id, "");

    renewed.incarnation = incarnation;
    assert_int_equal(join(state, &renewed), 0);
}

static int force(struct sp_state *state, const uint32_t *kept, unsigned count)
{
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_force_nodes(kept, count, &buf), 0);
    return apply(state, &buf);
}

static const struct sp_state_move *move_in(const struct sp_state *state,
                                           const struct sp_state_partition *partition)
{
    return sp_state_move(state, partition->group_id);
}

static uint64_t heir_of(const struct sp_state *state, const struct sp_state_partition *partition)
{
    const struct sp_replica_place *heir = sp_state_heir(state, partition);

    return heir == NULL ? 0 : heir->replica_id;
}

/* A topic with one replica on node 1, which it has been moved to. */
static const struct sp_state_partition *make_moved(struct sp_state *state)
{
    const struct sp_state_partition *one = add_topic(state, "one", 1);

    assert_int_equal(move_of(state, "one", 1, &(const uint32_t){ 2 }), 0);
    assert_int_equal(end_move(state, move_in(state, one)), 0);
    assert_int_equal(move_of(state, "one", 1, &(const uint32_t){ 1 }), 0);
    assert_int_equal(end_move(state, move_in(state, one)), 0);
    assert_int_equal(one->replicas[0].node_id, 1);
    return one;
}

static void test_anew_heir_of_an_only_replica_that_was_moved_is_the_first_one_since(void **unused)
{
    static const uint32_t target[] = { 4, 5 };
    struct sp_state *state = make_state();
    const struct sp_state_partition *one = make_moved(state);

    (void)unused;
    assert_false(sp_state_is_forsaken(state, one));
    assert_int_equal(heir_of(state, one), 0);
    lose_disk(state, 1);
    assert_true(sp_state_is_forsaken(state, one));
    assert_int_equal(heir_of(state, one), 0);
    assert_int_equal(move_of(state, "one", 1, &(const uint32_t){ 1 }), 0);
    uint64_t heir = move_in(state, one)->target[0].replica_id;
    assert_int_equal(heir_of(state, one), heir);
    assert_false(sp_state_is_forsaken(state, one));
    assert_int_equal(sp_state_place_on(state, one, 1)->replica_id, heir);
    assert_false(sp_state_may_run(state, one, &one->replicas[0]));
    assert_true(sp_state_may_run(state, one, &move_in(state, one)->target[0]));
    /* with another target it may have records already: nobody else may found the group */
    assert_int_equal(move_of(state, "one", 2, target), 0);
    assert_int_equal(heir_of(state, one), heir);
    assert_int_equal(sp_state_place_on(state, one, 1)->replica_id, heir);
    assert_int_equal(end_move(state, move_in(state, one)), 0);
    assert_int_equal(heir_of(state, one), 0);
    sp_state_free(state);
}

/* To the other one something was copied, perhaps all of it, and it may vote. */
static void test_anew_nobody_inherits_what_was_moving_when_it_was_lost(void **unused)
{
    struct sp_state *state = make_state();
    const struct sp_state_partition *one = make_moved(state);

    (void)unused;
    assert_int_equal(move_of(state, "one", 1, &(const uint32_t){ 4 }), 0);
    lose_disk(state, 1);
    assert_false(sp_state_is_forsaken(state, one));
    assert_int_equal(heir_of(state, one), 0);
    assert_int_equal(move_of(state, "one", 1, &(const uint32_t){ 5 }), 0);
    assert_int_equal(heir_of(state, one), 0); /* it is leaving */
    lose_disk(state, 4);                      /* now nothing is left of it */
    assert_false(sp_state_is_forsaken(state, one));
    assert_int_equal(heir_of(state, one), 0); /* node 4 could have filled the one on node 5 */
    lose_disk(state, 5);
    assert_true(sp_state_is_forsaken(state, one));
    assert_int_equal(move_of(state, "one", 1, &(const uint32_t){ 5 }), 0);
    assert_int_equal(heir_of(state, one), move_in(state, one)->target[0].replica_id);
    sp_state_free(state);
}

/* It has founded the group, and filled another one, before it is lost in turn. */
static void test_anew_heir_that_is_lost_has_no_heir_among_those_that_it_filled(void **unused)
{
    static const uint32_t both[] = { 4, 5 };
    struct sp_state *state = make_state();
    const struct sp_state_partition *one = make_moved(state);

    (void)unused;
    lose_disk(state, 1);
    assert_int_equal(move_of(state, "one", 2, both), 0);
    assert_int_equal(heir_of(state, one), move_in(state, one)->target[0].replica_id);
    lose_disk(state, 4);
    assert_int_equal(heir_of(state, one), 0);
    assert_false(sp_state_is_forsaken(state, one));
    lose_disk(state, 5);
    assert_true(sp_state_is_forsaken(state, one));
    lose_disk_again(state, 1, 1000);
    assert_true(sp_state_is_forsaken(state, one));
    assert_int_equal(move_of(state, "one", 2, both), 0);
    assert_int_equal(heir_of(state, one), move_in(state, one)->target[0].replica_id);
    sp_state_free(state);
}

static void test_anew_of_several_replicas_all_must_be_lost(void **unused)
{
    static const uint32_t all[] = { 1, 2, 3 };
    struct sp_state *state = make_state();
    const struct sp_state_partition *t = the_partition(state);

    (void)unused;
    lose_disk(state, 1);
    lose_disk(state, 2);
    assert_false(sp_state_is_forsaken(state, t));
    assert_int_equal(move_to(state, 3, all, false), 0);
    assert_int_equal(heir_of(state, t), 0);
    lose_disk(state, 3);
    assert_int_equal(heir_of(state, t), 0); /* node 3 may have filled those on 1 and 2 */
    sp_state_free(state);

    state = make_state();
    t = the_partition(state);
    for (unsigned i = 0; i < 3; i++) {
        lose_disk(state, all[i]);
    }
    assert_true(sp_state_is_forsaken(state, t));
    assert_int_equal(move_to(state, 3, all, false), 0);
    assert_int_equal(heir_of(state, t), move_in(state, t)->target[0].replica_id);
    sp_state_free(state);
}

/* It begins anew with the replica that it has. */
static void test_anew_an_only_replica_that_was_never_moved_has_no_heir(void **unused)
{
    struct sp_state *state = make_state();
    const struct sp_state_partition *one = add_topic(state, "one", 1);

    (void)unused;
    lose_disk(state, 1);
    assert_true(sp_state_began_anew(state, one));
    assert_false(sp_state_is_forsaken(state, one));
    assert_int_equal(move_of(state, "one", 1, &(const uint32_t){ 4 }), 0);
    assert_int_equal(heir_of(state, one), 0);
    assert_true(sp_state_began_anew(state, one));
    sp_state_free(state);
}

/* A leader of an older build lets a move begin that keeps its node while that joins with another
 * disk. What was acknowledged between the two stays on record, for a person to decide. */
static void test_anew_what_began_anew_is_not_inherited_by_the_one_that_put_it_out(void **unused)
{
    static const uint32_t more[] = { 1, 4, 5 };
    struct sp_state *state = make_state();
    const struct sp_state_partition *one = add_topic(state, "one", 1);

    (void)unused;
    lose_disk(state, 1);
    assert_true(sp_state_began_anew(state, one));
    assert_int_equal(move_of(state, "one", 3, more), 0);
    assert_int_not_equal(sp_state_place_on(state, one, 1)->replica_id, one->replicas[0].replica_id);
    assert_int_equal(heir_of(state, one), 0);
    assert_false(sp_state_is_forsaken(state, one));
    assert_true(sp_state_knows_replica(state, one, one->replicas[0].replica_id));
    lose_disk_again(state, 1, 1000); /* now it is lost in turn */
    lose_disk(state, 4);
    lose_disk(state, 5);
    assert_true(sp_state_is_forsaken(state, one));
    sp_state_free(state);
}

/* Of replicas from before it the state may know too little. */
static void test_anew_nobody_inherits_by_a_move_from_before_a_forced_membership(void **unused)
{
    static const uint32_t all[] = { 1, 2, 3 };
    static const uint32_t kept[] = { 1 };
    struct sp_state *state = make_state();
    const struct sp_state_partition *t = the_partition(state);

    (void)unused;
    lose_disk(state, 1);
    assert_int_equal(move_to(state, 3, all, false), 0); /* the others fill a new one on node 1 */
    assert_int_equal(force(state, kept, 1), 0);
    assert_int_equal(t->replica_count, 1);
    assert_int_equal(move_in(state, t)->target[0].node_id, 1);
    assert_int_equal(heir_of(state, t), 0);
    /* nor does it run on with the lost one, in whose place its node has the new one */
    assert_false(sp_state_began_anew(state, t));
    assert_false(sp_state_may_run(state, t, &t->replicas[0]));
    assert_true(sp_state_may_run(state, t, sp_state_place_on(state, t, 1)));
    sp_state_free(state);
}

static int tell_end(struct sp_state *state, const struct sp_state_move *move)
{
    struct sp_membership_change change = { .kind = SP_MEMBERSHIP_MOVE_DONE,
                                           .topic_id = move->topic_id,
                                           .partition = move->partition,
                                           .count = move->target_count,
                                           .node_id = sp_membership_move_mark(move) };
    char text[200] = "";
    struct sp_buf buf;

    for (unsigned i = 0; i < move->target_count; i++) {
        change.ids[i] = move->target[i].replica_id;
    }
    sp_buf_init(&buf, BYTES_MAX);
    int rv = sp_membership_command(state, &change, &buf, text, sizeof text);
    if (rv == 0) {
        return apply(state, &buf);
    }
    sp_buf_deinit(&buf);
    return rv;
}

/* What was acknowledged since it began anew is on it alone, also when a forced membership has left
 * of its move only a target that was given up. */
static void test_anew_a_move_that_a_forced_membership_cut_does_not_end_where_it_began(void **unused)
{
    static const uint32_t kept[] = { 1, 4 };
    struct sp_state *state = make_state();
    const struct sp_state_partition *one = add_topic(state, "one", 1);

    (void)unused;
    lose_disk(state, 1);
    assert_int_equal(move_of(state, "one", 1, &(const uint32_t){ 4 }), 0);
    assert_int_equal(move_of(state, "one", 1, &(const uint32_t){ 5 }), 0);
    assert_int_equal(force(state, kept, 2), 0);
    assert_int_equal(move_in(state, one)->target[0].replica_id, one->replicas[0].replica_id);
    assert_true(sp_state_may_run(state, one, &one->replicas[0]));
    assert_int_equal(tell_end(state, move_in(state, one)), SPATE_ERR_NOT_FOUND);
    assert_true(sp_state_may_run(state, one, &one->replicas[0]));
    assert_int_equal(move_of(state, "one", 1, &(const uint32_t){ 4 }), 0);
    assert_int_equal(tell_end(state, move_in(state, one)), 0);
    assert_true(sp_state_may_run(state, one, &one->replicas[0]));
    assert_int_equal(one->replicas[0].node_id, 4);
    sp_state_free(state);
}

static void raise_level(struct sp_state *state)
{
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_feature_level(SP_FEATURE_LEVEL_MAX, &buf), 0);
    assert_int_equal(apply(state, &buf), 0);
}

static bool is_led(void *arg, uint64_t group_id)
{
    return group_id != *(const uint64_t *)arg;
}

/* A move that cannot go on would keep the partition from beginning anew. */
static void test_anew_an_only_replica_that_leads_nothing_is_not_moved(void **unused)
{
    struct sp_state *state = make_state();
    const struct sp_state_partition *one = make_moved(state);
    uint64_t unled = one->group_id;
    const struct sp_proposal_view view = { .state = state, .led = is_led, .arg = &unled };
    struct sp_proposal proposal = { .kind = SP_PROPOSAL_MEMBERSHIP };
    char text[256];

    (void)unused;
    raise_level(state);
    proposal.membership = (struct sp_membership_change){ .kind = SP_MEMBERSHIP_MOVE,
                                                         .topic_id = topic_id_of(state, "one"),
                                                         .count = 1,
                                                         .wishes = { { .node_id = 4 } } };
    for (unsigned i = 0; i < 3; i++) {
        struct sp_buf buf;
        sp_buf_init(&buf, BYTES_MAX);
        int rv = sp_proposal_command(&view, &proposal, &buf, text, sizeof text);
        sp_buf_deinit(&buf);
        if (i == 0) {
            assert_int_equal(rv, SPATE_ERR_INVALID);
            assert_non_null(strstr(text, "has one replica, on node 1, and no leader"));
            unled = 0;
        } else {
            assert_int_equal(rv, 0);
            unled = one->group_id;
            lose_disk(state, 1); /* now there is nothing to wait for */
        }
    }
    sp_state_free(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_anew_heir_of_an_only_replica_that_was_moved_is_the_first_one_since),
        cmocka_unit_test(test_anew_nobody_inherits_what_was_moving_when_it_was_lost),
        cmocka_unit_test(test_anew_heir_that_is_lost_has_no_heir_among_those_that_it_filled),
        cmocka_unit_test(test_anew_of_several_replicas_all_must_be_lost),
        cmocka_unit_test(test_anew_an_only_replica_that_leads_nothing_is_not_moved),
        cmocka_unit_test(test_anew_an_only_replica_that_was_never_moved_has_no_heir),
        cmocka_unit_test(test_anew_what_began_anew_is_not_inherited_by_the_one_that_put_it_out),
        cmocka_unit_test(test_anew_nobody_inherits_by_a_move_from_before_a_forced_membership),
        cmocka_unit_test(test_anew_a_move_that_a_forced_membership_cut_does_not_end_where_it_began),
    };

    return cmocka_run_group_tests_name("cluster/state_anew", tests, NULL, NULL);
}
