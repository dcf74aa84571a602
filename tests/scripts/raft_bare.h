/* One guard by itself, with a host that takes note and nothing more: for tests that feed it by
 * hand. */
#ifndef SP_TESTS_RAFT_BARE_H
#define SP_TESTS_RAFT_BARE_H

#include "cluster/raft_guard.h"

struct bare {
    struct sp_raft_guard guard;
    int update_error; /* what host.update answers */
    unsigned updates;
    bool install; /* a SNAPSHOT update has come ... */
    struct raft_snapshot_metadata
        snapshot; /* ... with this; its configuration is the test's to close */
};

/* Initialises and starts a guard with raft id 1 at time 1000. Returns what plan_start or start
 * gave; sp_raft_guard_deinit must follow in any case. */
int bare_start(struct bare *bare, struct sp_raft_guard_start *start);

/* A follower in term 3 with the log {1^1 change to voters 1 2 3, 2^2, 3^3}. */
void bare_start_follower(struct bare *bare);

#endif /* SP_TESTS_RAFT_BARE_H */
