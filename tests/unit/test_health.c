/* cluster.health: each condition with its times, as one node sees it. */
#include "driven_health.h"

static void test_health_of_a_whole_cluster_has_nothing_to_say(void **unused)
{
    (void)unused;
    wait_ms(60000);
    assert_string_equal(
        answer(),
        "{now_ms=@61000 node=1 nodes_down=[] down=[] refusals=[] doubles=[] leaderless=[] "
        "under_replicated=[] "
        "lost=[] "
        "refusing=[] refilling=[] damaged=[] stalled=[] draining=[] conditions=[] stuck=[] "
        "misplaced=[] moves=0 "
        "voters={nodes=[1,2,3] down=[] wanted=3 since_ms=-1} "
        "features={level=1 newest=1 held=no behind=[] since_ms=-1} "
        "controller=yes controller_since_ms=-1 current=yes joining= groups=yes replicas_opening=0 "
        "opening_since_ms=-1 "
        "healthy=yes}");
}

static void test_health_node_down_tells_what_becomes_of_its_replicas(void **unused)
{
    (void)unused;
    wait_ms(4000);
    set_down(3);
    uint64_t down_ms = fake_loop.now_ms;
    fixture.rebuild = SP_REBUILD_WAITING;
    fixture.rest_ms = 12345;
    wait_ms(9000);
    for (unsigned i = 0; i < 2; i++) { /* asking changes nothing */
        expect("down=[{node=3 since_ms=@%llu replicas=1 without_place=0 rebuild=waiting "
               "rebuild_in_ms=12345 refused= refused_by=-1 not_found_at=}]",
               (unsigned long long)down_ms);
    }
    expect("nodes_down=[3]");
    expect("{topic=t partition=0 missing=[3] since_ms=@%llu}", (unsigned long long)down_ms);
    expect("voters={nodes=[1,2,3] down=[3] wanted=3 since_ms=@%llu}", (unsigned long long)down_ms);
    expect("healthy=no");
    fixture.rest_ms = 0;
    fixture.rebuild = SP_REBUILD_DUE;
    expect("rebuild=due rebuild_in_ms=0 ");
    fixture.rebuild = SP_REBUILD_OFF;
    expect("rebuild=off rebuild_in_ms=-1 ");
    fixture.rebuild = SP_REBUILD_NO_CONTROLLER;
    expect("rebuild=no_controller rebuild_in_ms=-1 ");
    fixture.rebuild = SP_REBUILD_UNSUPPORTED;
    expect("rebuild=unsupported rebuild_in_ms=-1 ");
    fixture.looks[3].refusal = "node 3 has another data directory now";
    expect("refused=node 3 has another data directory now refused_by=1 ");
    fixture.looks[3].refuses = true;
    expect("refused=node 3 has another data directory now refused_by=3 ");
    expect("refusals=[{node=3 reason=node 3 has another data directory now}]");
    fixture.looks[3].refusal = NULL;
    fixture.looks[3].refuses = false;
    expect("refused= refused_by=-1 not_found_at=}] refusals=[]");
    fixture.looks[3].not_found_at = "p3:1";
    expect("refused= refused_by=-1 not_found_at=p3:1}]");
    drain(4, true); /* the only node that could take it */
    expect("{node=3 since_ms=@%llu replicas=1 without_place=1", (unsigned long long)down_ms);
}

static void test_health_node_with_another_directory_is_down(void **unused)
{
    (void)unused;
    wait_ms(1000);
    expect("nodes_down=[]");
    expect("doubles=[]");
    fixture.empty[3] = true;
    expect("nodes_down=[3]");
    expect("refused=it has another data directory than the cluster knows, and is not let in yet: "
           "its trace says why refused_by=1 not_found_at=}");
    expect("healthy=no");
    fixture.empty[3] = false;
    fixture.doubled = 2;
    expect("nodes_down=[]");
    expect("doubles=[{node=2 reason=node id 2 is mine}]");
    expect("healthy=no");
    fixture.doubled = 0;
}

static void test_health_lag_and_loss_of_a_leader_have_their_times(void **unused)
{
    (void)unused;
    wait_ms(1000);
    lead(group_of("t"), 1, 2, 4); /* the third by replica id, on node 3 */
    uint64_t lag_ms = fake_loop.now_ms;
    wait_ms(2000);
    expect("{topic=t partition=0 missing=[3] since_ms=@%llu}", (unsigned long long)lag_ms);
    expect("leaderless=[]");
    set_down(2);
    uint64_t lost_ms = fake_loop.now_ms;
    wait_ms(2000);
    expect("{topic=t partition=0 replicas=[2,1,3] down=[2] lost=[] since_ms=@%llu}",
           (unsigned long long)lost_ms);
    expect("{topic=t partition=0 missing=[2,3] since_ms=@%llu}", (unsigned long long)lag_ms);
    expect("controller=no controller_since_ms=@%llu", (unsigned long long)lost_ms);
    lead(group_of("t"), 2, 1, 4);
    wait_ms(2000);
    expect("leaderless=[{topic=__groups partition=0 replicas=[2] down=[2] lost=[] since_ms=@%llu}]",
           (unsigned long long)lost_ms);
    expect("{topic=t partition=0 missing=[2,3] since_ms=@%llu}", (unsigned long long)lag_ms);
}

/* Who lags is counted among the group's members, which the move is just changing. */
static void test_health_during_a_move_names_only_who_is_down(void **unused)
{
    (void)unused;
    move_to(2, 1, 4);
    lead(group_of("t"), 1, 2, 2); /* the second by replica id: that on node 1, or another one */
    expect("{topic=t partition=0 missing=[1] ");
    set_down(3);
    expect("{topic=t partition=0 missing=[3] ");
}

static void test_health_without_a_leader_knows_the_voters_of_the_membership(void **unused)
{
    (void)unused;
    sp_state_free(fixture.state); /* as after a restart: nothing is known to be committed */
    assert_int_equal(sp_state_new(&fixture.state), 0);
    fixture.follows = false;
    fixture.members[0] = 3;
    fixture.members[1] = 1;
    fixture.members[2] = 2;
    fixture.member_count = 3;
    set_down(3);
    expect("voters={nodes=[1,2,3] down=[3] wanted=");
    expect("current=no");
}

static void test_health_draining_node_tells_what_is_left(void **unused)
{
    (void)unused;
    wait_ms(3000);
    drain(3, true);
    wait_ms(500);
    uint64_t begun_ms = fake_loop.now_ms;
    wait_ms(5000);
    expect("draining=[{node=3 since_ms=@%llu replicas=1 without_place=0 removing=no}]",
           (unsigned long long)begun_ms);
    expect("healthy=yes");
    set_down(4); /* who was to take it */
    expect("draining=[{node=3 since_ms=@%llu replicas=1 without_place=1",
           (unsigned long long)begun_ms);
    drain(4, true);
    fixture.looks[4].up = true;
    wait_ms(500);
    expect("{node=4 since_ms=@%llu replicas=0 without_place=0",
           (unsigned long long)fake_loop.now_ms);
    drain(3, false);
    wait_ms(500);
    drain(3, true); /* another drain, another time */
    wait_ms(500);
    expect("{node=3 since_ms=@%llu replicas=1", (unsigned long long)fake_loop.now_ms);
}

static void test_health_conditions_of_nodes_are_notes(void **unused)
{
    (void)unused;
    fixture.looks[2].condition = SP_PEER_NO_SPACE | SP_PEER_NO_RECORDS;
    fixture.looks[2].condition_ms = 1234;
    fixture.looks[3].slow = true;
    fixture.looks[3].heard_ms = 1300;
    fixture.space = SP_SPACE_LOW;
    wait_ms(500);
    uint64_t low_ms = fake_loop.now_ms;
    lead(group_of("t"), 2, 3, 0); /* the one that has space; of the groups' topic none has */
    wait_ms(4000);
    expect("refusing=[]");
    expect("{node=1 condition=no_space since_ms=@%llu}", (unsigned long long)low_ms);
    expect("{node=2 condition=no_records since_ms=@1234}");
    expect("{node=3 condition=slow since_ms=@1300}");
    expect("healthy=yes");
    fixture.space = SP_SPACE_ENOUGH;
    fixture.looks[2].condition = SP_PEER_NO_SPACE;
    expect("conditions=[{node=2 condition=no_space since_ms=@1234},{node=3");
}

/* Its leader needs its reserve, and nobody else can lead; or too few store anything at all. */
static void test_health_partition_without_space_refuses_records(void **unused)
{
    (void)unused;
    fixture.looks[2].condition = SP_PEER_NO_SPACE;
    fixture.looks[2].condition_ms = 1234;
    wait_ms(500);
    expect("refusing=[{topic=t partition=0 leader=2 full=[2] since_ms=@1234}]");
    expect("healthy=no");
    fixture.looks[2].condition = 0;
    fixture.space = SP_SPACE_LAST;
    wait_ms(500);
    uint64_t last_ms = fake_loop.now_ms;
    expect("refusing=[]"); /* two of three store */
    expect("healthy=yes");
    fixture.looks[3].condition = SP_PEER_NO_SPACE | SP_PEER_NO_RECORDS;
    fixture.looks[3].condition_ms = 1300;
    wait_ms(500);
    expect("refusing=[{topic=t partition=0 leader=2 full=[1,3] since_ms=@%llu}]",
           (unsigned long long)last_ms);
    fixture.space = SP_SPACE_LOW; /* within its reserve it stores as a follower */
    wait_ms(500);
    expect("refusing=[]");
    lead(group_of("t"), 2, SELF, 0);
    expect("refusing=[{topic=t partition=0 leader=1 full=[1]");
    sp_leader_table_node_dead(fixture.leaders,
                              SELF); /* without a leader it is that which is told */
    expect("refusing=[]");
}

/* A node that joins again with an empty disk has lost what it had. */
static void lose_disk(uint32_t node_id)
{
    join_with(node_id, 10, SP_FEATURE_LEVEL_FIRST);
}

static void test_health_replica_of_a_replaced_disk_is_told(void **unused)
{
    static const uint32_t both[] = { 3, 4 };

    (void)unused;
    create("two", 2, both);
    lead(group_of("two"), 1, 3, 0);
    wait_ms(1000);
    lose_disk(4);
    expect("lost=[{topic=two partition=0 node=4 replica=");
    expect("reason=its disk was replaced, and the others are no majority");
    expect("{topic=two partition=0 missing=[4] since_ms=@%llu}",
           (unsigned long long)fake_loop.now_ms);
    expect("healthy=no");
    lead(group_of("two"), 2, 3, 0);
    sp_leader_table_node_dead(fixture.leaders, 3);
    uint64_t lost_ms = fake_loop.now_ms;
    wait_ms(2000);
    expect("{topic=two partition=0 replicas=[3,4] down=[] lost=[4] since_ms=@%llu}",
           (unsigned long long)lost_ms);
    expect("{topic=two partition=0 missing=[4] since_ms=@%llu}", (unsigned long long)lost_ms);
    lose_disk(1); /* of three, the others take another one in */
    expect("lost=[{topic=t partition=0 node=1 replica=");
    expect("reason=its disk was replaced: a new replica takes its place by itself}");
    move_to(2, 1, 3);
    expect("lost=[{topic=two");
    expect("refilling=[{topic=t partition=0 node=1");
}

/* Nobody could elect the one that would take another one in. */
static void test_health_promises_nothing_where_too_few_are_left(void **unused)
{
    (void)unused;
    lose_disk(1);
    expect("reason=its disk was replaced: a new replica takes its place by itself}");
    lose_disk(2);
    assert_null(strstr(answer(), "takes its place by itself"));
    expect("reason=its disk was replaced, and the others are no majority");
    lose_disk(3);
    assert_null(strstr(answer(), "the others are no majority"));
    expect("nothing is left of the partition: it begins anew by itself, empty}");
}

static void test_health_only_replica_that_is_lost_while_it_moves_is_told(void **unused)
{
    (void)unused;
    create("one", 1, &(const uint32_t){ 4 });
    move("one", &(const struct sp_state_wish){ 3, false }, 1);
    lose_disk(4);
    expect("lost=[{topic=one partition=0 node=4 replica=");
    expect("it was the only replica; it was moving to node 3, which has in replicas/%llu.%llu what",
           (unsigned long long)group_of("one"),
           (unsigned long long)sp_state_move(fixture.state, group_of("one"))->target[0].replica_id);
}

static void end_move_of(const char *name)
{
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    assert_int_equal(sp_state_command_move_done(sp_state_move(fixture.state, group_of(name)), &buf),
                     0);
    apply(&buf);
}

/* What was typed when all was lost has copied nothing. */
static void test_health_only_replica_that_was_moved_before_it_is_lost_leaves_nothing(void **unused)
{
    (void)unused;
    create("one", 1, &(const uint32_t){ 3 });
    move("one", &(const struct sp_state_wish){ 4, false }, 1);
    end_move_of("one");
    lose_disk(4);
    expect("lost=[{topic=one partition=0 node=4 replica=");
    expect("nothing is left of the partition: it begins anew by itself, empty}");
    move("one", &(const struct sp_state_wish){ 3, false }, 1); /* which has its heir */
    expect("nothing is left of the partition: it begins anew by itself, empty}");
}

/* It was never moved before: it begins anew, and runs on while it is moved. */
static void test_health_only_replica_that_began_anew_is_not_lost_while_it_moves(void **unused)
{
    (void)unused;
    create("one", 1, &(const uint32_t){ 4 });
    lose_disk(4);
    move("one", &(const struct sp_state_wish){ 3, false }, 1);
    expect("lost=[]");
}

static void test_health_damaged_replica_is_told_with_its_place(void **unused)
{
    (void)unused;
    fixture.damage = (struct sp_reconcile_damage){
        .topic_id = sp_state_topic(fixture.state, "t")->topic_id,
        .group_id = group_of("t"),
        .replica_id = 1031,
        .refusal = "no majority",
        .since_ms = 1100,
    };
    expect("damaged=[{topic=t partition=0 node=1 replica=1031 directory=replicas/%llu.1031 "
           "reason=no majority since_ms=@1100}]",
           (unsigned long long)group_of("t"));
}

static void test_health_missing_voters_are_told(void **unused)
{
    (void)unused;
    fixture.roles[3] = "standby";
    fixture.roles[1] = "standby";
    fixture.lacks_voter = 1;
    wait_ms(500);
    uint64_t since_ms = fake_loop.now_ms;
    wait_ms(4000);
    expect("voters={nodes=[2] down=[] wanted=3 since_ms=@%llu}", (unsigned long long)since_ms);
    expect("refilling=[{topic= partition=0 node=1 since_ms=@%llu}]", (unsigned long long)since_ms);
    expect("healthy=no");
    fixture.opening = 2;
    wait_ms(5000); /* all replicas are looked at so often */
    since_ms = fixture.broker.watch.opening_ms;
    assert_in_range(since_ms, fake_loop.now_ms - 5000, fake_loop.now_ms);
    wait_ms(4000);
    expect("replicas_opening=2 opening_since_ms=@%llu", (unsigned long long)since_ms);
}

static void test_health_names_nodes_that_hold_the_feature_level_back(void **unused)
{
    struct sp_buf buf;

    (void)unused;
    register_node(1, SP_FEATURE_LEVEL_MAX);
    register_node(4, SP_FEATURE_LEVEL_MAX);
    wait_ms(500);
    uint64_t since_ms = fake_loop.now_ms;
    wait_ms(4000);
    answer();
    const char *behind = strstr(fixture.text, "behind=[");
    assert_non_null(behind);
    assert_true(strncmp(behind, "behind=[2,3]", 12) == 0 ||
                strncmp(behind, "behind=[3,2]", 12) == 0);
    expect("features={level=1 newest=%u held=no", SP_FEATURE_LEVEL_MAX);
    expect("since_ms=@%llu} controller=yes", (unsigned long long)since_ms);
    register_node(2, SP_FEATURE_LEVEL_MAX);
    register_node(3, SP_FEATURE_LEVEL_MAX);
    sp_buf_init(&buf, 64);
    assert_int_equal(sp_state_command_feature_hold(true, &buf), 0);
    apply(&buf);
    expect("features={level=1 newest=%u held=yes behind=[] since_ms=@%llu}",
           SP_FEATURE_LEVEL_MAX,
           (unsigned long long)since_ms);
    expect("healthy=yes");
}

static void test_health_move_is_stuck_when_nothing_has_happened_for_long(void **unused)
{
    (void)unused;
    move_to(2, 1, 4);
    wait_ms(500);
    expect("stuck=[] misplaced=[] moves=1");
    fixture.progress_rv = 0; /* it is led here */
    fixture.progress = (struct sp_raft_move_progress){ .step = SP_RAFT_MOVE_FILLING,
                                                       .node_id = 4,
                                                       .stored_index = 7,
                                                       .goal_index = 9,
                                                       .since_ms = fake_loop.now_ms };
    uint64_t still_ms = fake_loop.now_ms;
    wait_ms(59500);
    expect("stuck=[]");
    wait_ms(500);
    expect(
        "stuck=[{topic=t partition=0 since_ms=@%llu node=4 step=filling reason=node 4 has stored "
        "nothing new: it has 7 of 9 frames}]",
        (unsigned long long)still_ms);
    expect("healthy=yes");
    fixture.progress.step = SP_RAFT_MOVE_WAITING;
    expect(
        "step=waiting reason=its change of membership is not done: too few of its replicas answer");
    fixture.progress.since_ms = fake_loop.now_ms;
    expect("stuck=[]");
    set_down(4); /* with a cause it takes less */
    uint64_t down_ms = fake_loop.now_ms;
    wait_ms(4500);
    expect("stuck=[]");
    wait_ms(500);
    expect("since_ms=@%llu node=4 step=waiting reason=node 4 is down}",
           (unsigned long long)down_ms);
}

static void test_health_move_led_elsewhere_tells_the_causes_that_show(void **unused)
{
    (void)unused;
    move_to(2, 1, 4);
    wait_ms(60000);
    expect("stuck=[]");
    fixture.looks[4].condition = SP_PEER_NO_SPACE | SP_PEER_NO_RECORDS;
    fixture.looks[4].condition_ms = fake_loop.now_ms;
    uint64_t full_ms = fake_loop.now_ms;
    wait_ms(5000);
    expect("stuck=[{topic=t partition=0 since_ms=@%llu node=4 step= reason=the disk of node 4 is "
           "full}]",
           (unsigned long long)full_ms);
    fixture.looks[4].condition = 0;
    set_down(2);
    uint64_t lost_ms = fake_loop.now_ms;
    wait_ms(5000);
    expect("since_ms=@%llu node=-1 step= reason=the partition has no leader}",
           (unsigned long long)lost_ms);
}

static void test_health_leader_is_misplaced_only_after_a_while(void **unused)
{
    (void)unused;
    wait_ms(60000);
    lead(group_of("t"), 2, 3, 0);
    wait_ms(5000);
    uint64_t seen_ms = fake_loop.now_ms;
    wait_ms(29500);
    expect("misplaced=[]");
    wait_ms(5500);
    answer();
    const char *row =
        strstr(fixture.text, "misplaced=[{topic=t partition=0 leader=3 should_lead=2");
    assert_non_null(row);
    const char *since = strstr(row, "since_ms=@");
    assert_non_null(since);
    assert_in_range(strtoull(since + 10, NULL, 10), seen_ms - 5000, seen_ms);
    expect("healthy=yes");
    lead(group_of("t"), 2, 3, 1 << 1); /* the second by id, on node 1, lags: that changes nothing */
    expect("should_lead=2");
    lead(group_of("t"), 2, 3, 1); /* but the one that should lead must not */
    expect("leader=3 should_lead=1");
    drain(1, true);
    expect("misplaced=[]");
    drain(1, false);
    fixture.looks[1].up = false;
    expect("misplaced=[]");
    fixture.looks[1].up = true;
    lead(group_of("t"), 3, 2, 0);
    expect("misplaced=[]");
    fixture.looks[2].condition = SP_PEER_NO_SPACE; /* it is the first one, but must not lead */
    wait_ms(60000);
    expect("misplaced=[{topic=t partition=0 leader=2 should_lead=1");
    fixture.looks[2].condition = 0;
    wait_ms(60000);
    lead(group_of("t"), 4, 3, 0); /* another time begins */
    wait_ms(20000);
    expect("misplaced=[]");
    move_to(1, 3, 4);
    wait_ms(60000);
    expect("misplaced=[] moves=1"); /* the move will end with another leader */
}

#define HEALTH_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        HEALTH_TEST(test_health_of_a_whole_cluster_has_nothing_to_say),
        HEALTH_TEST(test_health_node_down_tells_what_becomes_of_its_replicas),
        HEALTH_TEST(test_health_node_with_another_directory_is_down),
        HEALTH_TEST(test_health_lag_and_loss_of_a_leader_have_their_times),
        HEALTH_TEST(test_health_during_a_move_names_only_who_is_down),
        HEALTH_TEST(test_health_without_a_leader_knows_the_voters_of_the_membership),
        HEALTH_TEST(test_health_draining_node_tells_what_is_left),
        HEALTH_TEST(test_health_conditions_of_nodes_are_notes),
        HEALTH_TEST(test_health_partition_without_space_refuses_records),
        HEALTH_TEST(test_health_replica_of_a_replaced_disk_is_told),
        HEALTH_TEST(test_health_promises_nothing_where_too_few_are_left),
        HEALTH_TEST(test_health_only_replica_that_is_lost_while_it_moves_is_told),
        HEALTH_TEST(test_health_only_replica_that_was_moved_before_it_is_lost_leaves_nothing),
        HEALTH_TEST(test_health_only_replica_that_began_anew_is_not_lost_while_it_moves),
        HEALTH_TEST(test_health_damaged_replica_is_told_with_its_place),
        HEALTH_TEST(test_health_missing_voters_are_told),
        HEALTH_TEST(test_health_names_nodes_that_hold_the_feature_level_back),
        HEALTH_TEST(test_health_move_is_stuck_when_nothing_has_happened_for_long),
        HEALTH_TEST(test_health_move_led_elsewhere_tells_the_causes_that_show),
        HEALTH_TEST(test_health_leader_is_misplaced_only_after_a_while),
    };

    return cmocka_run_group_tests_name("broker/health", tests, NULL, NULL);
}
