#include "moved_state.h"

#include "cluster/membership_command.h"
#include "cluster/proposal_command.h"

static void test_move_keeps_replicas_until_it_is_done(void **unused)
{
    static const uint32_t target[] = { 4, 2, 3 };
    struct sp_state *state = make_state();
    uint64_t first = the_partition(state)->replicas[0].replica_id;
    uint64_t second = the_partition(state)->replicas[1].replica_id;

    (void)unused;
    assert_int_equal(move_to(state, 3, target, false), 0);
    assert_int_equal(move_to(state, 3, target, false), SPATE_ERR_EXISTS);
    assert_int_equal(the_partition(state)->replicas[0].replica_id, first);
    assert_int_equal(the_move(state)->target[1].replica_id, second);
    assert_true(the_move(state)->target[0].replica_id > second);
    assert_true(sp_state_knows_replica(state, the_partition(state), first));
    assert_int_equal(sp_state_replicas_on(state, 1), 1);
    assert_int_equal(sp_state_replicas_on(state, 4), 1);
    assert_int_equal(end_move(state, the_move(state)), 0);
    assert_null(the_move(state));
    assert_true(the_partition(state)->moved);
    assert_int_equal(the_partition(state)->replicas[0].node_id, 4);
    assert_false(sp_state_knows_replica(state, the_partition(state), first));
    assert_int_equal(sp_state_replicas_on(state, 1), 0);
    sp_state_free(state);
}

static void test_move_end_of_another_target_is_refused(void **unused)
{
    static const uint32_t target[] = { 4, 2, 3 };
    static const uint32_t other[] = { 5, 2, 3 };
    struct sp_state *state = make_state();

    (void)unused;
    assert_int_equal(move_to(state, 3, target, false), 0);
    struct sp_state_move old = *the_move(state);
    assert_int_equal(move_to(state, 3, other, false), 0);
    assert_int_equal(end_move(state, &old), SPATE_ERR_NOT_FOUND);
    assert_true(sp_state_knows_replica(state, the_partition(state), old.target[0].replica_id));
    uint64_t ids[SP_STATE_KNOWN_MAX];
    assert_int_equal(sp_state_known_replicas(state, the_partition(state), ids), 7);
    assert_int_equal(ids[0], the_partition(state)->replicas[0].replica_id);
    assert_int_equal(ids[3], the_move(state)->target[0].replica_id);
    assert_int_equal(ids[6], old.target[0].replica_id);
    assert_int_equal(sp_state_replicas_on(state, 4), 1); /* leaving, but still there */
    assert_int_equal(end_move(state, the_move(state)), 0);
    assert_int_equal(sp_state_replicas_on(state, 4), 0);
    sp_state_free(state);
}

static int tell_end(struct sp_state *state, const struct sp_state_move *move, uint32_t mark)
{
    struct sp_membership_change change = { .kind = SP_MEMBERSHIP_MOVE_DONE,
                                           .topic_id = move->topic_id,
                                           .partition = move->partition,
                                           .count = move->target_count,
                                           .node_id = mark };
    char text[200] = "";
    struct sp_buf buf;

    for (unsigned i = 0; i < move->target_count; i++) {
        change.ids[i] = move->target[i].replica_id;
    }
    sp_buf_init(&buf, BYTES_MAX);
    int rv = sp_membership_command(state, &change, &buf, text, sizeof text);
    sp_buf_deinit(&buf);
    return rv;
}

/* The group has been at the other target meanwhile, whose replicas would be deleted. */
static void test_move_end_told_late_ends_no_later_move_to_the_same_target(void **unused)
{
    static const uint32_t target[] = { 4, 2, 3 };
    static const uint32_t other[] = { 5, 2, 3 };
    struct sp_state *state = make_state();

    (void)unused;
    now_ms = 100;
    assert_int_equal(move_to(state, 3, target, false), 0);
    struct sp_state_move old = *the_move(state);
    assert_int_equal(tell_end(state, &old, sp_membership_move_mark(&old)), 0);
    now_ms = 200;
    assert_int_equal(move_to(state, 3, other, false), 0);
    now_ms = 300;
    assert_int_equal(move_to(state, 3, target, false), 0);
    assert_int_equal(the_move(state)->target[0].replica_id, old.target[0].replica_id);
    assert_int_equal(tell_end(state, &old, sp_membership_move_mark(&old)), SPATE_ERR_NOT_FOUND);
    assert_int_equal(tell_end(state, &old, sp_membership_move_mark(the_move(state))), 0);
    assert_int_equal(tell_end(state, &old, 0), 0); /* of an older build */
    sp_state_free(state);
}

static void test_move_back_to_a_node_that_is_leaving_takes_its_replica(void **unused)
{
    static const uint32_t there[] = { 4, 2, 3 };
    static const uint32_t elsewhere[] = { 5, 2, 3 };
    struct sp_state *state = make_state();

    (void)unused;
    assert_int_equal(move_to(state, 3, there, false), 0);
    uint64_t replica_id = the_move(state)->target[0].replica_id;
    assert_int_equal(move_to(state, 3, elsewhere, false), 0);
    const struct sp_replica_place *place = sp_state_place_on(state, the_partition(state), 4);
    assert_int_equal(place->replica_id, replica_id); /* it runs on: it may be a voter */
    assert_int_equal(move_to(state, 3, there, false), 0);
    assert_int_equal(the_move(state)->target[0].replica_id, replica_id);
    assert_int_equal(the_move(state)->leaving_count, 1);
    sp_state_free(state);
}

static void test_move_fresh_and_lost_replicas_get_new_ids(void **unused)
{
    static const uint32_t same[] = { 1, 2, 3 };
    struct sp_state *state = make_state();
    struct sp_state_node renewed = make_node(2, "");

    (void)unused;
    uint64_t damaged = the_partition(state)->replicas[0].replica_id;
    uint64_t lost = the_partition(state)->replicas[1].replica_id;
    assert_int_equal(move_to(state, 3, same, true), 0);
    assert_int_not_equal(the_move(state)->target[0].replica_id, damaged);
    assert_int_equal(the_move(state)->target[1].replica_id, lost);
    renewed.incarnation = 999;
    uint64_t voter_id = sp_state_member(state, 2).voter_id;
    assert_int_equal(join(state, &renewed), 0);
    assert_int_not_equal(sp_state_member(state, 2).voter_id, voter_id);
    assert_true(sp_state_is_lost(state, &the_partition(state)->replicas[1]));
    assert_int_equal(move_to(state, 3, same, false), 0);
    assert_int_not_equal(the_move(state)->target[1].replica_id, lost);
    assert_false(sp_state_is_lost(state, &the_move(state)->target[1]));
    sp_state_free(state);
}

/* With it, forgetful, and one that lacks records, a majority could be without them. */
static void test_move_lost_replica_runs_only_where_it_is_alone(void **unused)
{
    static const uint32_t target[] = { 1, 4 };
    struct sp_state *state = make_state();
    const struct sp_state_partition *of[5];

    (void)unused;
    for (unsigned count = 1; count <= 4; count++) {
        char name[] = { (char)('0' + count), '\0' };
        of[count] = add_topic(state, name, count);
        assert_true(sp_state_may_run(state, of[count], &of[count]->replicas[0]));
    }
    lose_disk(state, 1);
    for (unsigned count = 1; count <= 4; count++) {
        assert_int_equal(sp_state_may_run(state, of[count], &of[count]->replicas[0]), count == 1);
    }
    assert_true(sp_state_may_run(state, of[3], &of[3]->replicas[1]));
    assert_false(sp_state_may_run(state, the_partition(state), &the_partition(state)->replicas[0]));
    assert_int_equal(move_to(state, 2, target, false), 0);
    assert_true(sp_state_may_run(state, the_partition(state), &the_move(state)->target[0]));
    sp_state_free(state);
}

static int move_one(struct sp_state *state, unsigned count, const uint32_t *nodes)
{
    struct sp_state_wish wishes[SP_REPLICAS_MAX] = { 0 };
    struct sp_buf buf;

    for (unsigned i = 0; i < count; i++) {
        wishes[i].node_id = nodes[i];
    }
    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(
        sp_state_command_move_begin(sp_state_topic(state, "one")->topic_id, 0, wishes, count, &buf),
        0);
    return apply(state, &buf);
}

/* Whether the controller's leader lets it pass. */
static int propose_one(struct sp_state *state, unsigned count, const uint32_t *nodes)
{
    struct sp_membership_change change = { .kind = SP_MEMBERSHIP_MOVE,
                                           .topic_id = sp_state_topic(state, "one")->topic_id,
                                           .count = count };
    char text[200] = "";
    struct sp_buf buf;

    for (unsigned i = 0; i < count; i++) {
        change.wishes[i].node_id = nodes[i];
    }
    sp_buf_init(&buf, BYTES_MAX);
    int rv = sp_membership_command(state, &change, &buf, text, sizeof text);
    sp_buf_deinit(&buf);
    assert_true(rv == 0 || strstr(text, "first spate partition move one 0 NODE") != NULL);
    return rv;
}

/* Another one is or was a voter with it, and may not have heard that it is none any more. */
static void test_move_lost_replica_that_was_not_always_alone_does_not_run(void **unused)
{
    static const uint32_t alone[] = { 1 };
    static const uint32_t other[] = { 4 };
    struct sp_state *state = make_state();
    const struct sp_state_partition *partition = the_partition(state);

    (void)unused;
    assert_int_equal(move_to(state, 1, alone, false), 0);
    assert_int_equal(end_move(state, the_move(state)), 0);
    lose_disk(state, 1);
    assert_int_equal(partition->replica_count, 1);
    assert_false(sp_state_may_run(state, partition, &partition->replicas[0]));
    sp_state_free(state);

    state = make_state();
    partition = add_topic(state, "one", 1);
    assert_int_equal(move_one(state, 1, other), 0);
    lose_disk(state, 1); /* the other one may have everything, and vote */
    assert_false(sp_state_may_run(state, partition, &partition->replicas[0]));
    assert_int_equal(move_one(state, 1, &(const uint32_t){ 5 }), 0);
    assert_false(sp_state_may_run(state, partition, &partition->replicas[0])); /* it is leaving */
    sp_state_free(state);
}

/* What was acknowledged since it began anew is on it alone. */
static void test_move_only_replica_that_began_anew_runs_on_while_it_leaves(void **unused)
{
    static const uint32_t other[] = { 4 };
    static const uint32_t more[] = { 2, 4, 1 };
    struct sp_state *state = make_state();
    const struct sp_state_partition *partition = add_topic(state, "one", 1);
    const struct sp_replica_place *only = &partition->replicas[0];

    (void)unused;
    assert_int_equal(propose_one(state, 3, more), 0);
    lose_disk(state, 1);
    assert_true(sp_state_may_run(state, partition, only));
    assert_int_equal(propose_one(state, 3, more), SPATE_ERR_INVALID);
    assert_int_equal(propose_one(state, 1, other), 0);
    assert_int_equal(move_one(state, 1, other), 0);
    assert_true(sp_state_may_run(state, partition, only));
    assert_int_equal(propose_one(state, 1, &(const uint32_t){ 1 }), SPATE_ERR_INVALID);
    assert_int_equal(move_one(state, 1, &(const uint32_t){ 5 }), 0);
    assert_true(sp_state_may_run(state, partition, only));
    assert_int_equal(end_move(state, sp_state_move(state, partition->group_id)), 0);
    assert_false(sp_state_began_anew(state, partition));
    assert_int_equal(propose_one(state, 3, more), 0);
    sp_state_free(state);
}

static int report_lost(struct sp_state *state, uint64_t replica_id)
{
    const struct sp_membership_change change = {
        .kind = SP_MEMBERSHIP_LOST_REPLICA, .topic_id = 1, .count = 1, .ids = { replica_id }
    };
    char text[200] = "";
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    int rv = sp_membership_command(state, &change, &buf, text, sizeof text);
    if (rv != 0) {
        sp_buf_deinit(&buf);
        return rv;
    }
    return apply(state, &buf);
}

/* Two damaged replicas of three: the second one is not given up before the first is refilled, not
 * even by a command that was proposed without knowing of the first. */
static void test_move_gives_no_majority_up(void **unused)
{
    static const uint32_t second_first[] = { 2, 1, 3 };
    struct sp_state *state = make_state();
    uint64_t first = the_partition(state)->replicas[0].replica_id;
    uint64_t second = the_partition(state)->replicas[1].replica_id;

    (void)unused;
    assert_true(sp_state_outlives(state, the_partition(state), first));
    assert_int_equal(report_lost(state, first), 0);
    assert_int_equal(report_lost(state, first), SPATE_ERR_EXISTS);
    assert_true(sp_state_outlives(state, the_partition(state), first));
    assert_false(sp_state_outlives(state, the_partition(state), second));
    assert_int_equal(report_lost(state, second), SPATE_ERR_INVALID);
    assert_int_equal(move_to(state, 3, second_first, true), SPATE_ERR_INVALID);
    /* the new one may be damaged in turn */
    uint64_t renewed = the_move(state)->target[0].replica_id;
    assert_int_equal(report_lost(state, renewed), 0);
    assert_true(the_move(state)->target[0].replica_id > renewed);
    assert_int_equal(end_move(state, the_move(state)), 0);
    assert_int_equal(report_lost(state, second), 0);
    sp_state_free(state);
}

/* A replica that stands for a damaged one goes on when its node is to have none any more. */
static void test_move_away_keeps_the_newer_of_two(void **unused)
{
    static const uint32_t away[] = { 4, 2, 3 };
    struct sp_state *state = make_state();
    uint64_t damaged = the_partition(state)->replicas[0].replica_id;

    (void)unused;
    assert_int_equal(report_lost(state, damaged), 0);
    uint64_t renewed = the_move(state)->target[0].replica_id;
    assert_int_equal(sp_state_place_on(state, the_partition(state), 1)->replica_id, renewed);
    assert_int_equal(move_to(state, 3, away, false), 0);
    assert_int_equal(sp_state_place_on(state, the_partition(state), 1)->replica_id, renewed);
    sp_state_free(state);
}

static void test_move_and_members_survive_a_checkpoint(void **unused)
{
    static const uint32_t target[] = { 4, 2 };
    static const uint32_t other[] = { 5, 2 };
    struct sp_state *state = make_state();
    struct sp_state *copy = NULL;
    struct sp_buf first;
    struct sp_buf second;

    (void)unused;
    assert_int_equal(move_to(state, 2, target, false), 0);
    assert_int_equal(move_to(state, 2, other, false), 0);
    assert_int_equal(drain(state, 3, true), 0);
    sp_buf_init(&first, BYTES_MAX);
    sp_buf_init(&second, BYTES_MAX);
    assert_int_equal(sp_state_checkpoint(state, &first), 0);
    assert_int_equal(sp_state_new(&copy), 0);
    assert_int_equal(sp_state_restore(copy, first.bytes, first.size), 0);
    assert_int_equal(sp_state_checkpoint(copy, &second), 0);
    assert_int_equal(second.size, first.size);
    assert_memory_equal(second.bytes, first.bytes, first.size);
    assert_true(sp_state_member(copy, 3).draining);
    assert_int_equal(the_move(copy)->leaving_count, 1);
    assert_int_equal(end_move(copy, the_move(copy)), 0);
    sp_buf_deinit(&first);
    sp_buf_deinit(&second);
    sp_state_free(copy);
    sp_state_free(state);
}

static int force(struct sp_state *state, const uint32_t *kept, unsigned count)
{
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_force_nodes(kept, count, &buf), 0);
    return apply(state, &buf);
}

static void restore_copy(const struct sp_state *state)
{
    struct sp_state *copy = NULL;
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_new(&copy), 0);
    assert_int_equal(sp_state_checkpoint(state, &buf), 0);
    assert_int_equal(sp_state_restore(copy, buf.bytes, buf.size), 0);
    sp_buf_deinit(&buf);
    sp_state_free(copy);
}

static void test_move_goes_on_among_the_nodes_that_a_forced_membership_keeps(void **unused)
{
    static const uint32_t target[] = { 1, 4, 5 };
    static const uint32_t kept[] = { 1, 2, 4 };
    static const uint32_t last[] = { 2 };
    struct sp_state *state = make_state();

    (void)unused;
    assert_int_equal(move_to(state, 3, target, false), 0);
    const struct sp_state_partition *partition = &sp_state_topic(state, "t")->partitions[0];
    uint64_t filled = sp_state_move(state, partition->group_id)->target[1].replica_id;
    assert_int_equal(force(state, kept, 3), 0);
    assert_int_equal(partition->replica_count, 2);
    const struct sp_state_move *move = sp_state_move(state, partition->group_id);
    assert_int_equal(move->target_count, 2);
    assert_int_equal(move->target[1].replica_id, filled);
    assert_true(sp_state_knows_replica(state, partition, filled));
    assert_null(sp_state_node(state, 3));
    assert_null(sp_state_node(state, 5));
    assert_int_equal(sp_state_replicas_on(state, 4), 1);
    restore_copy(state);
    /* nothing is left of the target: what the partition has becomes it */
    assert_int_equal(force(state, last, 1), 0);
    assert_int_equal(partition->replica_count, 1);
    assert_null(sp_state_move(state, partition->group_id));
    assert_int_equal(sp_state_replicas_on(state, 2), 1);
    assert_int_equal(sp_state_node_count(state), 1);
    restore_copy(state);
    sp_state_free(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_move_keeps_replicas_until_it_is_done),
        cmocka_unit_test(test_move_end_of_another_target_is_refused),
        cmocka_unit_test(test_move_end_told_late_ends_no_later_move_to_the_same_target),
        cmocka_unit_test(test_move_back_to_a_node_that_is_leaving_takes_its_replica),
        cmocka_unit_test(test_move_fresh_and_lost_replicas_get_new_ids),
        cmocka_unit_test(test_move_lost_replica_runs_only_where_it_is_alone),
        cmocka_unit_test(test_move_lost_replica_that_was_not_always_alone_does_not_run),
        cmocka_unit_test(test_move_only_replica_that_began_anew_runs_on_while_it_leaves),
        cmocka_unit_test(test_move_gives_no_majority_up),
        cmocka_unit_test(test_move_away_keeps_the_newer_of_two),
        cmocka_unit_test(test_move_and_members_survive_a_checkpoint),
        cmocka_unit_test(test_move_goes_on_among_the_nodes_that_a_forced_membership_keeps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
