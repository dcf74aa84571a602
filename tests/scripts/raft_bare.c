#include "raft_bare.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "raft_host.h"

static int on_update(void *arg, const struct raft_event *event, const struct raft_update *update)
{
    struct bare *bare = arg;

    (void)event;
    bare->updates += 1;
    if (update->flags & RAFT_UPDATE_SNAPSHOT) {
        bare->install = true;
        bare->snapshot = update->snapshot.metadata;
        mask_decode(0x111, &bare->snapshot.configuration);
    }
    return bare->update_error;
}

static void
on_send(void *arg, const struct raft_message *message, const struct sp_raft_guard_stamp *stamp)
{
    (void)arg;
    (void)message;
    (void)stamp;
}

int bare_start(struct bare *bare, struct sp_raft_guard_start *start)
{
    const struct sp_raft_guard_options options = {
        .id = 1,
        .seed = 1,
        .election_timeout_ms = 1000,
        .heartbeat_ms = 100,
        .install_timeout_ms = 1000,
        .window_entries = 32,
        .pre_vote = true,
        .host = { bare, on_update, on_send },
    };
    bool changed = false;

    memset(bare, 0, sizeof *bare);
    assert_int_equal(sp_raft_guard_init(&bare->guard, &options), 0);
    int rv = sp_raft_guard_plan_start(&bare->guard, start, &changed);
    return rv != 0 ? rv : sp_raft_guard_start(&bare->guard, 1000, start);
}

void bare_start_follower(struct bare *bare)
{
    struct raft_configuration configuration;
    struct raft_entry entries[3] = { { .term = 1, .type = RAFT_CHANGE },
                                     { .term = 2, .type = RAFT_COMMAND },
                                     { .term = 3, .type = RAFT_COMMAND } };
    struct sp_raft_guard_start start = {
        .term = 3, .start_index = 1, .entries = entries, .entry_count = 3
    };

    sp_raft_guard_use_heap();
    mask_decode(0x111, &configuration);
    assert_int_equal(raft_configuration_encode(&configuration, &entries[0].buf), 0);
    raft_configuration_close(&configuration);
    assert_int_equal(bare_start(bare, &start), 0);
    raft_free(entries[0].buf.base);
}
