/* The words of `spate cluster health` where a partition has no leader: what it waits for, and what
 * a person can do. */
#include "expected_health.h"

#define LEADERLESS(lists)                                                                          \
    "{'healthy': false, 'leaderless': [{'topic': 't', 'partition': 0, 'replicas': [3, 1, "         \
    "2], " lists "}"

#define ANEW(node, more)                                                                           \
    "  elects by itself when 1 of its replicas runs: start node " node                             \
    "; gone for good: no other node has its records; start node " node                             \
    " with an empty data directory, and it begins anew, empty, unless it was being moved" more     \
    "\n"

#define ONLY_LOST                                                                                  \
    "  its only replica is lost: it begins anew by itself within seconds, empty; if it does not, " \
    "since it was being moved: read the topic's other partitions, spate topic delete TOPIC, and "  \
    "make it anew; what else may be left, and how it is read: docs/operations.md, Mending by "     \
    "hand\n"

#define GIVE_UP "; or give all of the topic up: spate topic delete TOPIC"

/* What keeps each replica from voting, and as little as makes a majority. */
static void test_health_text_of_a_partition_without_a_leader(void **state)
{
    (void)state;
    expect(LEADERLESS("'down': [], 'lost': []") "]}",
           "unhealthy\nleaderless: t/0, replicas on node 3,1,2\n"
           "  elects by itself within seconds, a majority of its replicas runs; for longer: the "
           "traces of their nodes\n");
    expect(LEADERLESS("'down': [3, 1, 2], 'lost': []") "]}", /* nobody is left to go on */
           "unhealthy\nleaderless: t/0, replicas on node 3,1,2, down: node 1,2,3\n"
           "  elects by itself when 2 of its replicas run: start node 1,2,3; gone for good: no "
           "other node has its records; start node 1,2,3 with an empty data directory, and it "
           "begins anew, empty, unless it was being moved" GIVE_UP "\n");
    expect(LEADERLESS("'down': [3, 1], 'lost': []") "]}",
           "unhealthy\nleaderless: t/0, replicas on node 3,1,2, down: node 1,3\n"
           "  elects by itself when 2 of its replicas run: start node 1,3; gone for good: forced "
           "membership "
           "(docs/operations.md, Forced membership)\n");
    expect(LEADERLESS("'down': [3], 'lost': []") "], 'damaged': [{'topic': 't', 'partition': 0, "
                                                 "'node': 2, 'replica': 7, 'directory': "
                                                 "'replicas/9.7', 'reason': 'it waits'}, {'topic': "
                                                 "'t', 'partition': 1, 'node': 1, "
                                                 "'replica': 8, 'reason': 'another'}]}",
           "unhealthy\nleaderless: t/0, replicas on node 3,1,2, down: node 3, damaged: node 2\n"
           "  elects by itself when 2 of its replicas run: start node 3; gone for good: forced "
           "membership "
           "(docs/operations.md, Forced membership)\n"
           "damaged on node 2: t/0, replica 7 (replicas/9.7): it waits\n"
           "damaged on node 1: t/1, replica 8: another\n");
    expect(
        LEADERLESS("'down': [3], 'lost': [1]") "], 'damaged': [{'topic': 't', 'partition': 0, "
                                               "'node': 2, 'replica': 7, 'reason': "
                                               "'x'}]}",
        "unhealthy\nleaderless: t/0, replicas on node 3,1,2, down: node 3, damaged: node 2, lost "
        "with the disk: node 1\n"
        "  elects by itself when 2 of its replicas are whole and run: mend by hand what is damaged "
        "on "
        "node 2 (docs/operations.md, Mending by hand), start node 3; if nothing helps: forced "
        "membership (docs/operations.md, Forced membership)\n"
        "damaged on node 2: t/0, replica 7: x\n");
    expect(LEADERLESS("'down': [], 'lost': [1, 2]") "]}",
           "unhealthy\nleaderless: t/0, replicas on node 3,1,2, lost with the disk: node 1,2\n"
           "  too few are left to elect, a person has to decide: forced membership "
           "(docs/operations.md, Forced membership), or delete the topic and make it anew\n");
}

/* Nobody is left to go on: forced membership would not help. */
static void test_health_text_of_an_only_replica_that_is_damaged(void **state)
{
    (void)state;
    expect("{'healthy': false, 'leaderless': [{'topic': 't', 'partition': 0, 'replicas': [1], "
           "'down': [], 'lost': []}], 'damaged': [{'topic': 't', 'partition': 0, 'node': 1, "
           "'replica': 7, 'reason': 'x'}]}",
           "unhealthy\nleaderless: t/0, replicas on node 1, damaged: node 1\n"
           "  elects by itself when 1 of its replicas is whole and runs: mend by hand what is "
           "damaged on node 1 (docs/operations.md, Mending by hand); if nothing helps: read what "
           "can be read (spate log dump), delete the topic, make it anew, and produce the records "
           "again; or give up what only this replica has: spate cluster drain 1, and when nothing "
           "else is left there start that node with an empty data directory: it begins anew, "
           "empty\n"
           "damaged on node 1: t/0, replica 7: x\n");
    expect("{'healthy': false, 'leaderless': [{'topic': '__groups', 'partition': 0, 'replicas': "
           "[1], 'down': [], 'lost': []}], 'damaged': [{'topic': '__groups', 'partition': 0, "
           "'node': 1, 'replica': 7, 'reason': 'x'}]}",
           "unhealthy\nleaderless: __groups/0, replicas on node 1, damaged: node 1\n"
           "  elects by itself when 1 of its replicas is whole and runs: mend by hand what is "
           "damaged on node 1 (docs/operations.md, Mending by hand); if nothing helps: give up "
           "what only this replica has: spate cluster drain 1, and when nothing else is left there "
           "start that node with an empty data directory: it begins anew, empty\n"
           "damaged on node 1: __groups/0, replica 7: x\n");
}

static void test_health_text_of_an_only_replica_that_is_lost(void **state)
{
    (void)state;
    expect(
        "{'healthy': false, 'leaderless': [{'topic': 't', 'partition': 0, 'replicas': [1], "
        "'down': [], 'lost': [1]}]}",
        "unhealthy\nleaderless: t/0, replicas on node 1, lost with the disk: node 1\n" ONLY_LOST);
}

static void test_health_text_of_replicas_that_are_all_lost(void **state)
{
    (void)state;
    expect(
        "{'healthy': false, 'leaderless': [{'topic': '__groups', 'partition': 0, 'replicas': "
        "[1, 2], 'down': [], 'lost': [1, 2]}]}",
        "unhealthy\nleaderless: __groups/0, replicas on node 1,2, lost with the disk: node 1,2\n"
        "  all its replicas are lost: it begins anew by itself within seconds, empty; if it does "
        "not: forced membership (docs/operations.md, Forced membership)\n");
    expect(
        "{'healthy': false, 'leaderless': [{'topic': 't', 'partition': 0, 'replicas': [1, 2], "
        "'down': [], 'lost': [1, 2]}], 'refilling': [{'topic': 't', 'partition': 0, 'node': "
        "1}]}",
        "unhealthy\nleaderless: t/0, replicas on node 1,2, lost with the disk: node 2, being "
        "made anew: node 1\n"
        "  all its replicas are lost: it begins anew by itself within seconds, empty; if it does "
        "not, since it was being moved: read the topic's other partitions, spate topic delete "
        "TOPIC, and make it anew; what else may be left, and how it is read: "
        "docs/operations.md, Mending by hand\n"
        "refilling: t/0 on node 1, whose replica was damaged or lost, waits for a leader of the "
        "partition\n");
}

static void test_health_text_of_a_node_down_with_an_only_replica(void **state)
{
    (void)state;
    expect("{'healthy': false, 'now_ms': 1700000125000, 'nodes_down': [3], 'down': [{'node': 3, "
           "'since_ms': -1, 'replicas': 12, 'without_place': 0, 'rebuild': 'due', "
           "'rebuild_in_ms': 0}], 'leaderless': [{'topic': 't', 'partition': 0, 'replicas': [3], "
           "'down': [3], 'lost': []}]}",
           "unhealthy\nnode down: 3\n"
           "  start it: it catches up by itself; its 12 replicas are being made anew on other "
           "nodes: spate cluster moves -w; after that, if it is gone for good: spate cluster "
           "remove 3; 1 of them wait until their partition has a leader, see leaderless\n"
           "leaderless: t/0, replicas on node 3, down: node 3\n" ANEW("3", GIVE_UP));
}

static void test_health_text_tells_nobody_to_delete_the_clusters_own_topic(void **state)
{
    (void)state;
    expect("{'healthy': false, 'leaderless': [{'topic': '__groups', 'partition': 0, 'replicas': "
           "[1], 'down': [1], 'lost': []}]}",
           "unhealthy\nleaderless: __groups/0, replicas on node 1, down: node 1\n" ANEW("1", ""));
    expect("{'healthy': false, 'leaderless': [{'topic': '__groups', 'partition': 0, 'replicas': "
           "[1], 'down': [], 'lost': [1]}]}",
           "unhealthy\nleaderless: __groups/0, replicas on node 1, lost with the disk: node 1\n"
           "  its only replica is lost: it begins anew by itself within seconds, empty; if it does "
           "not, since it was being moved: forced membership without node 1 begins it anew "
           "(docs/operations.md, Forced membership); before, spate cluster drain 1 moves away what "
           "else is there\n");
    expect("{'healthy': false, 'leaderless': [{'topic': '__groups', 'partition': 0, 'replicas': "
           "[1, 2], 'down': [], 'lost': [1]}]}",
           "unhealthy\nleaderless: __groups/0, replicas on node 1,2, lost with the disk: node 1\n"
           "  too few are left to elect, a person has to decide: forced membership "
           "(docs/operations.md, Forced membership)\n");
}

/* What helps several partitions is told once. */
static void test_health_text_of_partitions_that_one_thing_helps(void **state)
{
    (void)state;
    expect(
        "{'healthy': false, 'leaderless': [{'topic': 't', 'partition': 0, 'replicas': [1], "
        "'down': [1]}, {'topic': 't', 'partition': 1, 'replicas': [1], 'down': [1]}, {'topic': "
        "'t', 'partition': 2, 'replicas': [2], 'down': [2]}]}",
        "unhealthy\nleaderless: t/0, replicas on node 1, down: node 1\n"
        "leaderless: t/1, replicas on node 1, down: node 1\n" ANEW(
            "1", GIVE_UP) "leaderless: t/2, replicas on node 2, down: node 2\n" ANEW("2", GIVE_UP));
}

static void test_health_text_promises_nothing_without_a_leader(void **state)
{
    (void)state;
    expect(LEADERLESS("'down': [], 'lost': []") "], 'under_replicated': [{'topic': 't', "
                                                "'partition': 0, 'missing': [1]}], 'refilling': "
                                                "[{'topic': 't', 'partition': 0, 'node': 1}]}",
           "unhealthy\nleaderless: t/0, replicas on node 3,1,2, being made anew: node 1\n"
           "  elects by itself within seconds, a majority of its replicas runs; for longer: the "
           "traces of their nodes\n"
           "under-replicated: t/0 missing on node 1\n"
           "refilling: t/0 on node 1, whose replica was damaged or lost, waits for a leader of the "
           "partition\n");
}

/* A move begins, and goes on, by the partition's leader alone. */
static void test_health_text_of_moves_that_nobody_leads(void **state)
{
    (void)state;
    expect("{'healthy': false, 'leaderless': [{'topic': 't', 'partition': 0, 'replicas': [1], "
           "'down': [], 'lost': [1]}], 'moves': 1, 'stuck': [{'topic': 't', 'partition': 0, "
           "'since_ms': -1, 'node': -1, 'step': '', 'reason': 'the partition has no leader'}]}",
           "unhealthy\nleaderless: t/0, replicas on node 1, lost with the disk: node 1\n" ONLY_LOST
           "moves under way: 1, see spate cluster moves -w\n"
           "move without progress: t/0: the partition has no leader\n"
           "  where too few replicas are left to elect it does not go on by itself, nor to other "
           "nodes: do what leaderless says\n");
    expect(
        "{'healthy': false, 'leaderless': [{'topic': '__groups', 'partition': 0, 'replicas': "
        "[1], 'down': [1], 'lost': []}], 'moves': 1, 'stuck': [{'topic': '__groups', "
        "'partition': 0, 'since_ms': -1, 'node': -1, 'step': '', 'reason': 'the partition has "
        "no leader'}]}",
        "unhealthy\nleaderless: __groups/0, replicas on node 1, down: node 1\n" ANEW(
            "1",
            "") "moves under way: 1, see spate cluster moves -w\n"
                "move without progress: __groups/0: the partition has no leader\n"
                "  without a leader it goes on once there is one, not sooner to other nodes: see "
                "leaderless\n");
    expect("{'healthy': false, 'leaderless': [{'topic': '__groups', 'partition': 0, 'replicas': "
           "[3], 'down': [3], 'lost': []}], 'draining': [{'node': 3, 'since_ms': -1, 'replicas': "
           "7, 'without_place': 0, 'removing': false}]}",
           "unhealthy\nleaderless: __groups/0, replicas on node 3, down: node 3\n" ANEW(
               "3", "") "draining: node 3, replicas still to move: 7\n"
                        "  goes on by itself: spate cluster moves -w; 1 of them wait until their "
                        "partition has "
                        "a leader, see leaderless\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_health_text_of_a_partition_without_a_leader),
        cmocka_unit_test(test_health_text_of_an_only_replica_that_is_damaged),
        cmocka_unit_test(test_health_text_of_an_only_replica_that_is_lost),
        cmocka_unit_test(test_health_text_of_replicas_that_are_all_lost),
        cmocka_unit_test(test_health_text_of_a_node_down_with_an_only_replica),
        cmocka_unit_test(test_health_text_tells_nobody_to_delete_the_clusters_own_topic),
        cmocka_unit_test(test_health_text_of_partitions_that_one_thing_helps),
        cmocka_unit_test(test_health_text_promises_nothing_without_a_leader),
        cmocka_unit_test(test_health_text_of_moves_that_nobody_leads),
    };

    return cmocka_run_group_tests_name("cli/health_leaderless", tests, NULL, NULL);
}
