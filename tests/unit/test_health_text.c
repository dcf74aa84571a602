/* The words of `spate cluster health`: what is wrong, since when, what heals it, what to type. */
#include "expected_health.h"

#define DOWN(fields)                                                                               \
    "{'healthy': false, 'now_ms': 1700000125000, 'nodes_down': [3], 'down': [{'node': 3, "         \
    "'since_ms': 1700000000000, " fields "}]}"
#define DOWN_TEXT                                                                                  \
    "unhealthy\nnode down: 3, since 2023-11-14T22:13:20Z (2 min 5 s)\n"                            \
    "  start it: it catches up by itself; "

static void test_health_text_of_a_node_down(void **state)
{
    (void)state;
    expect(
        DOWN("'replicas': 12, 'without_place': 0, 'rebuild': 'waiting', 'rebuild_in_ms': 475900"),
        DOWN_TEXT "in 7 min 55 s its 12 replicas are made anew on other nodes; gone for good: "
                  "spate cluster drain 3 does that now, then spate cluster remove 3\n");
    expect(DOWN("'replicas': 12, 'without_place': 2, 'rebuild': 'due', 'rebuild_in_ms': 0"),
           DOWN_TEXT "its 12 replicas are being made anew on other nodes: spate cluster moves -w; "
                     "after that, if it is gone for good: spate cluster remove 3; 2 of them no "
                     "other node can take: start a further node\n");
    expect(DOWN("'replicas': 12, 'without_place': 0, 'rebuild': 'off', 'rebuild_in_ms': -1"),
           DOWN_TEXT "its 12 replicas wait for it, as node.replace.after.ms is 0; gone for good: "
                     "spate cluster drain 3, then spate cluster remove 3\n");
    expect(DOWN("'replicas': 12, 'without_place': 0, 'rebuild': 'no_controller'"),
           DOWN_TEXT "its 12 replicas wait until the controller has a leader\n");
    expect(DOWN("'replicas': 12, 'without_place': 0, 'rebuild': 'unsupported'"),
           DOWN_TEXT "its 12 replicas wait for it at this feature level\n");
    expect(DOWN("'replicas': 12, 'without_place': 12, 'rebuild': 'waiting', 'rebuild_in_ms': 9"),
           DOWN_TEXT "no other node can take its 12 replicas: if it is gone for good, start a "
                     "further node, then spate cluster drain 3\n");
    expect(DOWN("'replicas': 0, 'without_place': 0, 'rebuild': 'waiting', 'rebuild_in_ms': 9"),
           DOWN_TEXT "gone for good: spate cluster remove 3\n");
}

static void test_health_text_of_a_node_that_is_refused(void **state)
{
    (void)state;
    expect(DOWN("'replicas': 0, 'refused': 'node 3 has another data directory now', 'refused_by': "
                "1"),
           "unhealthy\nnode down: 3, since 2023-11-14T22:13:20Z (2 min 5 s)\n"
           "  it runs and is refused by node 1: node 3 has another data directory now\n"
           "  gone for good: spate cluster remove 3\n");
    expect(DOWN("'replicas': 0, 'refused': 'node 1 is not known here', 'refused_by': 3"),
           "unhealthy\nnode down: 3, since 2023-11-14T22:13:20Z (2 min 5 s)\n"
           "  it runs and refuses the node that was asked: node 1 is not known here\n"
           "  gone for good: spate cluster remove 3\n");
    expect("{'healthy': false, 'controller': false, 'groups': true, 'refusals': [{'node': 1, "
           "'reason': 'node 3 has another data directory now'}]}",
           "unhealthy\n"
           "refused: node 1 does not talk to the node that was asked: node 3 has another data "
           "directory now\n"
           "controller: it has no leader, or the asked node has not caught up with it\n"
           "  the others may have one: why they refuse this node stands above\n");
    expect("{'healthy': false, 'groups': true, 'doubles': [{'node': 3, 'reason': 'node id 3 is "
           "mine'}]}",
           "unhealthy\n"
           "two processes: a second one wants to be node 3 and is not let in: node id 3 is mine\n");
    expect(DOWN("'replicas': 0, 'refused': '', 'refused_by': -1"),
           DOWN_TEXT "gone for good: spate cluster remove 3\n");
}

/* A node of an older build sends neither times nor what becomes of the replicas. */
static void test_health_text_of_a_new_voter_is_no_move(void **state)
{
    (void)state;
    expect("{'healthy': false, 'refilling': [{'topic': '', 'partition': 0, 'node': 2}]}",
           "unhealthy\nrefilling: the controller gets a voter on node 2\n"
           "  ends by itself: spate cluster nodes\n");
}

static void test_health_text_of_a_node_that_is_elsewhere(void **state)
{
    (void)state;
    expect(
        DOWN("'replicas': 0, 'not_found_at': 'c3:7701'"),
        "unhealthy\nnode down: 3, since 2023-11-14T22:13:20Z (2 min 5 s)\n"
        "  it runs and reaches the node that was asked, but is not found at c3:7701: correct its "
        "advertise.peer, or cluster.seeds on the other nodes, and restart; gone for good: "
        "spate cluster remove 3\n");
}

static void test_health_text_of_nodes_that_follow_nobody(void **state)
{
    (void)state;
    expect(
        "{'healthy': true, 'controller': true, 'current': true, 'not_believed': [1]}",
        "healthy\nnot believed: node 1 does not follow the controller, what it says of others is "
        "left out\n  catches up by itself, if it was not removed: then stop it, and take it out "
        "of the servers\n");
    expect("{'healthy': false, 'node': 1, 'controller': true, 'current': false}",
           "unhealthy\noutdated: node 1 does not follow the controller, what it says of others may "
           "be old\n  it was removed, is cut off or catches up: ask the other nodes too, spate -s "
           "HOST:PORT,...\n");
    expect(
        "{'healthy': false, 'node': 4, 'controller': false, 'joining': 'no member answers at "
        "c1:7701: UNREACHABLE'}",
        "unhealthy\njoining: node 4 is no member yet: no member answers at c1:7701: UNREACHABLE\n"
        "  tried again by itself: correct cluster.join there if the address is wrong\n");
}

static void test_health_text_of_an_older_node(void **state)
{
    (void)state;
    expect("{'healthy': false, 'nodes_down': [3], 'leaderless': [], 'under_replicated': [{'topic': "
           "'t', 'partition': 0, 'missing': [3, 1]}], 'refilling': [], 'damaged': [], 'stalled': "
           "[], 'controller': true, 'groups': true, 'replicas_opening': 0}",
           "unhealthy\nnode down: 3\nunder-replicated: t/0 missing on node 3,1\n"
           "  catches up by itself while those nodes run; for longer: their disk and trace, and "
           "spate cluster moves\n");
    expect("{'healthy': true}", "healthy\n");
}

static void test_health_text_of_partitions_and_the_controller(void **state)
{
    (void)state;
    expect("{'healthy': false, 'now_ms': 1700003600000, 'leaderless': [{'topic': 't', 'partition': "
           "1, 'since_ms': 1700000000000}], 'refilling': [{'topic': 't', 'partition': 2, 'node': "
           "4, 'since_ms': 1700003599000}, {'topic': '', 'partition': 0, 'node': 2, 'since_ms': "
           "1700003599000}], 'damaged': [{'topic': 't', 'partition': 0, 'replica': 1031, 'reason': "
           "'no majority', 'since_ms': 1699900000000}], 'controller': false, "
           "'controller_since_ms': 1700003599000, 'replicas_opening': 5, 'opening_since_ms': "
           "1700003599000, 'groups': false}",
           "unhealthy\n"
           "leaderless: t/1, since 2023-11-14T22:13:20Z (1 h 0 min)\n"
           "  elects by itself when a majority of its replicas runs: start their nodes; which: "
           "spate topic describe TOPIC\n"
           "refilling: t/2 on node 4, whose replica was damaged or lost, since "
           "2023-11-14T23:13:19Z (1 s)\n"
           "refilling: the controller gets a voter on node 2, since 2023-11-14T23:13:19Z (1 s)\n"
           "  ends by itself: spate cluster moves -w\n"
           "damaged on the asked node: t/0, replica 1031: no majority, since 2023-11-13T18:26:40Z "
           "(1 d 4 h)\n"
           "controller: it has no leader, or the asked node has not caught up with it, since "
           "2023-11-14T23:13:19Z (1 s)\n"
           "  elects by itself when a majority of its voters runs: start their nodes; who they "
           "are: spate cluster nodes\n"
           "replicas still opening on the asked node: 5, since 2023-11-14T23:13:19Z (1 s)\n"
           "consumer groups: not ready, their topic is made once all seeds run\n");
}

static void test_health_text_of_what_is_lost_or_refused(void **state)
{
    (void)state;
    expect("{'healthy': false, 'now_ms': 1700000125000, 'lost': [{'topic': 't', 'partition': 1, "
           "'node': 2, 'replica': 7, 'reason': 'its disk was replaced'}], 'refusing': [{'topic': "
           "'t', 'partition': 0, 'leader': 2, 'full': [2], 'since_ms': 1700000000000}, {'topic': "
           "'u', 'partition': 3, 'leader': 2, 'full': [1, 3], 'since_ms': 1700000000000}]}",
           "unhealthy\n"
           "refuses records: t/0, led by node 2 whose disk is below its reserve, since "
           "2023-11-14T22:13:20Z (2 min 5 s)\n"
           "refuses records: u/3, led by node 2, too few disks have room: all but full is that of "
           "node 1,3, since 2023-11-14T22:13:20Z (2 min 5 s)\n"
           "  goes on by itself when there is space: free some on that disk, spate topic truncate, "
           "a shorter retention (spate topic alter TOPIC --set retention.ms=...), or delete "
           "topics\n"
           "lost on node 2: t/1, replica 7: its disk was replaced\n");
}

/* Of each node what is not told as damaged or lost; and who was not asked. */
static void test_health_text_of_several_nodes(void **state)
{
    (void)state;
    expect("{'healthy': false, 'now_ms': 1700000125000, 'replicas_opening': 8, 'opening': "
           "[{'node': 1, 'replicas': 2, 'since_ms': 1700000000000}, {'node': 2, 'replicas': 6, "
           "'since_ms': -1}], 'damaged': [{'topic': 't', 'partition': 0, 'node': 1, 'replica': 7, "
           "'reason': 'x'}, {'topic': '', 'partition': 0, 'node': 2, 'replica': 2, 'directory': "
           "'replicas/0.2', 'reason': 'y'}], 'lost': [{'topic': 't', 'partition': 1, 'node': 1, "
           "'replica': 8, 'reason': 'z'}], 'unhealthy_on': [4], 'silent': [{'node': 3, 'address': "
           "'c3:7700'}]}",
           "unhealthy\n"
           "damaged on node 1: t/0, replica 7: x\n"
           "damaged on node 2: its replica of the controller (replicas/0.2): y\n"
           "lost on node 1: t/1, replica 8: z\n"
           "unhealthy as node 4 sees it: spate cluster health --node 4\n"
           "not asked: node 3 did not answer at c3:7700, what it alone knows is not told here\n"
           "replicas still opening on node 2: 6\n");
}

static void test_health_text_of_voters(void **state)
{
    (void)state;
    expect("{'healthy': false, 'now_ms': 1700000001000, 'voters': {'nodes': [1, 2, 3], 'down': "
           "[2], 'wanted': 3, 'since_ms': 1700000000000}}",
           "unhealthy\ncontroller: 2 of 3 voters run, down: node 2, since 2023-11-14T22:13:20Z (1 "
           "s)\n  it works while 2 of them run: start the node; if it is away for "
           "node.replace.after.ms another node takes its place, if there is one\n");
    expect(
        "{'healthy': false, 'now_ms': 1700000001000, 'voters': {'nodes': [1, 2, 3], 'down': "
        "[1, 2], 'wanted': 3, 'since_ms': 1700000000000}}",
        "unhealthy\ncontroller: 1 of 3 voters run, down: node 1,2, since 2023-11-14T22:13:20Z (1 "
        "s)\n  it works while 2 of them run: start the nodes; gone for good: forced membership "
        "(docs/operations.md, Forced membership)\n");
    expect("{'healthy': false, 'now_ms': 1700000001000, 'voters': {'nodes': [1], 'down': [], "
           "'wanted': 3, 'since_ms': 1700000000000}}",
           "unhealthy\ncontroller: voters: 1 of 3 that there could be, since 2023-11-14T22:13:20Z "
           "(1 s)\n  gets further ones by itself while the nodes run: spate cluster nodes\n");
    expect("{'healthy': true, 'voters': {'nodes': [1, 2, 3], 'down': [], 'wanted': 1}}",
           "healthy\n");
}

#define DRAINING(fields)                                                                           \
    "{'healthy': true, 'now_ms': 1700000001000, 'draining': [{'node': 3, 'since_ms': "             \
    "1700000000000, " fields "}]}"

static void test_health_text_of_draining_nodes(void **state)
{
    (void)state;
    expect(DRAINING("'replicas': 7, 'without_place': 0, 'removing': false"),
           "healthy\ndraining: node 3, replicas still to move: 7, since 2023-11-14T22:13:20Z (1 s)"
           "\n  goes on by itself: spate cluster moves -w\n");
    expect(DRAINING("'replicas': 8, 'without_place': 7, 'removing': false"),
           "healthy\ndraining: node 3, replicas still to move: 8, since 2023-11-14T22:13:20Z (1 s)"
           "\n  goes on by itself: spate cluster moves -w; 7 of them no other node can take: start "
           "a further node, or spate cluster undrain 3\n");
    expect(DRAINING("'replicas': 7, 'without_place': 7, 'removing': false"),
           "healthy\ndraining: node 3, replicas still to move: 7, since 2023-11-14T22:13:20Z (1 s)"
           "\n  7 of them no other node can take: start a further node, or spate cluster undrain "
           "3\n");
    expect(DRAINING("'replicas': 0, 'without_place': 0, 'removing': false"),
           "healthy\ndrained: node 3, replicas still to move: none, since 2023-11-14T22:13:20Z (1 "
           "s)\n  it may go now: spate cluster remove 3, then stop it; to keep it: spate cluster "
           "undrain 3\n");
    expect(DRAINING("'replicas': 0, 'without_place': 0, 'removing': true"),
           "healthy\nremoving: node 3 leaves the cluster, since 2023-11-14T22:13:20Z (1 s)\n");
}

static void test_health_text_of_moves_and_leaders(void **state)
{
    (void)state;
    expect("{'healthy': true, 'now_ms': 1700000061000, 'moves': 2, 'stuck': [{'topic': 't', "
           "'partition': 0, 'since_ms': 1700000000000, 'node': 4, 'step': 'filling', 'reason': "
           "'node 4 is down'}, {'topic': 't', 'partition': 1, 'since_ms': 1700000000000, 'node': "
           "-1, 'step': '', 'reason': 'the partition has no leader'}]}",
           "healthy\nmoves under way: 2, see spate cluster moves -w\n"
           "move without progress: t/0, filling node 4: node 4 is down, since "
           "2023-11-14T22:13:20Z (1 min 1 s)\n"
           "move without progress: t/1: the partition has no leader, since 2023-11-14T22:13:20Z (1 "
           "min 1 s)\n"
           "  goes on by itself when the cause is gone; to other nodes: spate partition move TOPIC "
           "PARTITION NODE,...\n");
    expect("{'healthy': true, 'now_ms': 1700000061000, 'misplaced': [{'topic': 't', 'partition': "
           "0, 'leader': 2, 'should_lead': 1, 'since_ms': 1700000000000}]}",
           "healthy\nleaders unbalanced: t/0 is led by node 2 instead of node 1, since "
           "2023-11-14T22:13:20Z (1 min 1 s)\n"
           "  handed over by itself once the other node has all of the log: look at the load and "
           "the disk of both\n");
}

static void test_health_text_of_conditions_and_features(void **state)
{
    (void)state;
    expect("{'healthy': true, 'conditions': [{'node': 1, 'condition': 'slow', 'since_ms': -1}, "
           "{'node': 2, 'condition': 'no_space', 'since_ms': -1}, {'node': 3, 'condition': "
           "'no_records', 'since_ms': -1}]}",
           "healthy\nslow: node 1 is connected and says nothing\n"
           "  gets no leaders meanwhile: look at its load and its disk\n"
           "no space: the disk of node 2 is below its reserve, it leads nothing\n"
           "  goes on by itself when there is space: free some, or delete topics\n"
           "no space: the disk of node 3 is all but full, it stores no records\n"
           "  goes on by itself when there is space: free some, or delete topics\n");
    expect("{'healthy': true, 'features': {'level': 2, 'newest': 3, 'held': false, 'behind': [1, "
           "2], 'since_ms': -1}}",
           "healthy\nfeature level: 2 of 3, the build of these nodes is older: 1,2\n"
           "  install the newer build there; then it rises by itself: spate cluster features\n");
    expect("{'healthy': true, 'features': {'level': 2, 'newest': 3, 'held': true, 'behind': [], "
           "'since_ms': -1}}",
           "healthy\nfeature level: 2 of 3, it is held\n"
           "  every node knows more: spate cluster features release lets it rise\n");
    expect("{'healthy': true, 'features': {'level': 2, 'newest': 3, 'held': true, 'behind': [1], "
           "'since_ms': -1}}",
           "healthy\nfeature level: 2 of 3, the build of these nodes is older: 1\n"
           "  install the newer build there, then spate cluster features release: spate cluster "
           "features\n");
    expect("{'healthy': true, 'features': {'level': 3, 'newest': 3, 'held': true, 'behind': []}}",
           "healthy\n");
}

/* Watching prints again when something has changed, and time alone is nothing. */
static void test_health_text_without_times_stays_the_same(void **state)
{
    static const char *const later =
        "{'healthy': false, 'now_ms': 1700000126000, 'nodes_down': [3], 'down': [{'node': 3, "
        "'since_ms': 1700000000001, 'replicas': 12, 'without_place': 0, 'rebuild': 'waiting', "
        "'rebuild_in_ms': 474900}]}";
    static char before[HEALTH_TEXT_SIZE];

    (void)state;
    (void)snprintf(before,
                   sizeof before,
                   "%s",
                   words(DOWN("'replicas': 12, 'without_place': 0, 'rebuild': 'waiting', "
                              "'rebuild_in_ms': 475900"),
                         true));
    assert_string_equal(words(later, true), before);
    assert_string_not_equal(words(later, false), before);
    assert_non_null(strstr(before, "node down: 3\n"));
}

/* Twenty of a kind are named, the others counted; a text that is too long is cut. */
static void test_health_text_is_bounded(void **state)
{
    json_t *rows = json_array();
    char name[250];
    char small[64];

    (void)state;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    for (int i = 0; i < 500; i++) {
        assert_int_equal(
            json_array_append_new(rows, json_pack("{sssi}", "topic", name, "partition", i)), 0);
    }
    json_t *result = json_pack("{sOsO}", "leaderless", rows, "under_replicated", rows);
    health_text(result, false, text, sizeof text);
    assert_null(strstr(text, "/20"));
    assert_non_null(strstr(text, "/19\n"));
    assert_non_null(strstr(text, "leaderless: and 480 more\n"));
    assert_non_null(strstr(text, "under-replicated: and 480 more\n"));
    health_text(result, false, small, sizeof small);
    assert_int_equal(strlen(small), sizeof small - 1);
    json_decref(result);
    json_decref(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_health_text_of_a_node_down),
        cmocka_unit_test(test_health_text_of_a_node_that_is_refused),
        cmocka_unit_test(test_health_text_of_a_new_voter_is_no_move),
        cmocka_unit_test(test_health_text_of_a_node_that_is_elsewhere),
        cmocka_unit_test(test_health_text_of_nodes_that_follow_nobody),
        cmocka_unit_test(test_health_text_of_an_older_node),
        cmocka_unit_test(test_health_text_of_partitions_and_the_controller),
        cmocka_unit_test(test_health_text_of_what_is_lost_or_refused),
        cmocka_unit_test(test_health_text_of_several_nodes),
        cmocka_unit_test(test_health_text_of_voters),
        cmocka_unit_test(test_health_text_of_draining_nodes),
        cmocka_unit_test(test_health_text_of_moves_and_leaders),
        cmocka_unit_test(test_health_text_of_conditions_and_features),
        cmocka_unit_test(test_health_text_without_times_stays_the_same),
        cmocka_unit_test(test_health_text_is_bounded),
    };

    return cmocka_run_group_tests_name("cli/health_text", tests, NULL, NULL);
}
