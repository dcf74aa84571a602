/* Runs a scenario with a guard and without it: with it all must be right, without it something
 * wrong.
 *
 * Without a guard libraft may abort or never come back, so that half runs in a child process. A
 * complaint of a check, a wrong outcome, an abort and a stall all count as wrong. */
#ifndef SP_TESTS_RAFT_EXPECT_H
#define SP_TESTS_RAFT_EXPECT_H

#include "raft_host.h"

/* True if everything went as it should with the guards in `disabled` (SP_RAFT_GUARD_*) switched
 * off. */
typedef bool (*scenario)(unsigned disabled);

/* Fails the running cmocka test unless the scenario is right with all guards. */
void expect_right(scenario run);

/* Fails the running cmocka test unless the scenario goes wrong without `guard`. */
void expect_wrong(scenario run, unsigned guard);

/* Both. */
void expect_needed(scenario run, unsigned guard);

/* Three voters on a fast network. */
struct world *make_three(unsigned disabled, uint64_t seed);

/* One voter that leads, and a second node that is its standby. */
struct world *make_sole_and_standby(unsigned disabled, uint64_t seed);

/* The leader, once one is elected and all have heard of it. */
struct node *settled_leader(struct world *world);

/* Ends a scenario: frees the world. `right` and no complaint; a complaint is printed. */
bool finish(struct world *world, bool right);

/* A letter with an AppendEntries made by hand; `entries` are borrowed. */
struct letter make_append(uint64_t term,
                          uint64_t prev_index,
                          uint64_t prev_term,
                          struct entry *entries,
                          unsigned count,
                          uint64_t commit);

/* A letter with an answer to an AppendEntries of the same term made by hand. */
struct letter make_result(uint64_t term, uint64_t rejected, uint64_t last_index);

/* The node that is neither of the two (of three). */
struct node *third(struct world *world, const struct node *a, const struct node *b);

/* The node after this one. */
struct node *next_node(struct world *world, const struct node *node);

#endif /* SP_TESTS_RAFT_EXPECT_H */
