#include "cluster/group_table.h"

#include "base/assert.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/trace.h"
#include "cluster/raft_metrics.h"
#include "cluster/vigil.h"
#include "spate/error.h"

/* How often a drain asks again for transfers that were not possible yet. */
#define DRAIN_RETRY_MS 5

/* How often leaders look whether their followers lag, for health. */
#define WATCH_MS 250

struct sp_group_table {
    struct sp_raft_context context;
    uint32_t election_timeout_ms;
    uint32_t heartbeat_timeout_ms;
    struct sp_map *groups; /* group id -> struct sp_raft_group */
    struct sp_leader_table *leaders;
    struct sp_timer watch_timer;
    struct sp_timer drain_timer;
    uint64_t drain_until_ms;
    void (*drained)(void *arg);
    void *drained_arg;
    unsigned pending; /* openings and closings under way; while it closes, the table itself too */
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* ---- leaders --------------------------------------------------------------------------------- */

static void note_leader(struct sp_group_table *table, struct sp_raft_group *group)
{
    uint64_t group_id = sp_raft_group_id(group);
    struct sp_raft_group_status status;

    sp_raft_group_status(group, &status);
    if (status.stopped) {
        /* It leads no more, but it cannot say who else does. */
        if (sp_leader_table_get(table->leaders, group_id, &status.term) != table->context.node_id) {
            return;
        }
        status.leader_node = 0;
    }
    sp_leader_table_set(table->leaders, group_id, status.term, status.leader_node, status.lagging);
}

static void on_leader_changed(struct sp_raft_context *context, struct sp_raft_group *group)
{
    note_leader(SP_CONTAINER_OF(context, struct sp_group_table, context), group);
}

/* Which followers lag changes without an event: leaders look at it now and then. */
static void on_watch_timer(struct sp_timer *timer)
{
    struct sp_group_table *table = SP_CONTAINER_OF(timer, struct sp_group_table, watch_timer);
    struct sp_map_cursor cursor = { 0 };
    struct sp_raft_group *group;
    bool some_awake = table->context.quiet_count < sp_map_count(table->groups);

    while (some_awake && (group = sp_map_next(table->groups, &cursor)) != NULL) {
        if (!sp_raft_group_is_quiet(group) && /* then all have all */
            sp_leader_table_get(table->leaders, sp_raft_group_id(group), NULL) ==
                table->context.node_id) {
            note_leader(table, group);
            sp_raft_group_watch(group);
        }
    }
    sp_leader_table_retell(table->leaders);
    (void)sp_timer_start(timer, sp_loop_now_ms(table->context.loop) + WATCH_MS); /* it has room */
}

uint32_t sp_group_table_lagging(const struct sp_group_table *table, uint64_t group_id)
{
    return sp_leader_table_lagging(table->leaders, group_id);
}

struct sp_leader_table *sp_group_table_leaders(const struct sp_group_table *table)
{
    return table->leaders;
}

uint32_t
sp_group_table_leader(const struct sp_group_table *table, uint64_t group_id, uint64_t *out_term)
{
    return sp_leader_table_get(table->leaders, group_id, out_term);
}

void sp_group_table_forget(struct sp_group_table *table, uint64_t group_id)
{
    sp_leader_table_forget(table->leaders, group_id);
}

void sp_group_table_on_leader(struct sp_group_table *table,
                              void (*cb)(void *arg, uint64_t group_id, uint32_t leader_node),
                              void *arg)
{
    sp_leader_table_on_change(table->leaders, cb, arg);
}

/* ---- opening and removing -------------------------------------------------------------------- */

static void free_parts(struct sp_group_table *table)
{
    sp_vigil_free(table->context.vigil);
    sp_leader_table_free(table->leaders);
    sp_map_free(table->groups);
    sp_mem_free(table);
}

static void free_table(struct sp_group_table *table)
{
    void (*closed)(void *arg) = table->closed;
    void *arg = table->closed_arg;

    free_parts(table);
    closed(arg);
}

/* Something that the table waits for before it goes has come to its end. */
static void on_ended(void *arg)
{
    struct sp_group_table *table = arg;

    table->pending -= 1;
    if (table->pending == 0 && table->closing) {
        free_table(table);
    }
}

static void finish_open(struct sp_group_open *open, int status, struct sp_log *log)
{
    struct sp_group_table *table = open->table;
    struct sp_raft_group_options options = { .group_id = open->group_id,
                                             .replica_id = open->replica_id,
                                             .log = log,
                                             .machine = open->machine,
                                             .election_timeout_ms = table->election_timeout_ms,
                                             .heartbeat_timeout_ms = table->heartbeat_timeout_ms };

    if (status == 0 && table->closing) {
        status = SPATE_ERR_CANCELED;
    }
    if (status == 0) {
        status = sp_raft_group_open(&table->context, &options, &open->group);
    }
    if (status == 0) {
        status = sp_map_put_u64(table->groups, open->group_id, open->group);
        SP_ASSERT(status != SPATE_ERR_EXISTS);
        if (status != 0) {
            table->pending += 1;
            sp_raft_group_close(open->group, on_ended, table);
            log = NULL;
        }
    }
    if (status != 0 && log != NULL) {
        table->pending += 1;
        sp_log_close(log, on_ended, table);
    }
    if (status != 0) {
        open->group = NULL;
    }
    open->cb(open, status);
    on_ended(table);
}

static void on_replica_open(struct sp_replica_open *replica, int status)
{
    struct sp_group_open *open = SP_CONTAINER_OF(replica, struct sp_group_open, open);

    if (status != 0) {
        _Static_assert(sizeof open->text == sizeof replica->text, "texts are handed on");
        for (size_t i = 0; i < sizeof open->text; i++) {
            open->text[i] = replica->text[i];
        }
    }
    finish_open(open, status, status == 0 ? replica->log : NULL);
}

void sp_group_table_open(struct sp_group_table *table, struct sp_group_open *open)
{
    struct sp_replica_open *replica = &open->open;

    table->pending += 1;
    open->table = table;
    open->group = NULL;
    open->text[0] = '\0';
    *replica = (struct sp_replica_open){ .group_id = open->group_id,
                                         .replica_id = open->replica_id,
                                         .cb = on_replica_open };
    if (sp_store_has_replica(table->context.store, open->group_id, open->replica_id)) {
        sp_store_open_replica(table->context.store, replica);
        return;
    }
    if (open->places != NULL) {
        /* out of memory: an empty first slice makes the group fail to start, and be tried again */
        (void)sp_raft_first_frame(
            open->group_id, open->created_ms, open->places, open->place_count, &replica->first);
    }
    sp_store_create_replica(table->context.store, replica);
}

struct removal {
    struct sp_group_table *table;
    uint64_t group_id;
    uint64_t replica_id;
    bool remove;
    void (*closed)(void *arg);
    void *arg;
};

static void on_group_closed(void *arg)
{
    struct removal *removal = arg;
    struct sp_group_table *table = removal->table;

    if (removal->remove) {
        int rv =
            sp_store_delete_replica(table->context.store, removal->group_id, removal->replica_id);
        if (rv != 0) {
            SP_TRACE_WARN("raft",
                          "replica not removed from disk, tried again at the next start",
                          "group=%llu error=%s",
                          (unsigned long long)removal->group_id,
                          spate_error_name(rv));
        }
    }
    if (removal->closed != NULL) {
        removal->closed(removal->arg);
    }
    sp_mem_free(removal);
    on_ended(table);
}

void sp_group_table_remove(struct sp_group_table *table,
                           struct sp_raft_group *group,
                           bool remove,
                           void (*closed)(void *arg),
                           void *arg)
{
    struct removal *removal = sp_mem_calloc(1, sizeof *removal);
    uint64_t group_id = sp_raft_group_id(group);

    (void)sp_map_remove_u64(table->groups, group_id);
    if (remove) {
        sp_group_table_forget(table, group_id);
    } else {
        sp_leader_table_leave(table->leaders, group_id);
    }
    if (removal == NULL) {
        sp_raft_group_close(group, closed, arg); /* the disk is cleaned up at the next start */
        return;
    }
    *removal = (struct removal){ .table = table,
                                 .group_id = group_id,
                                 .replica_id = sp_raft_group_replica_id(group),
                                 .remove = remove,
                                 .closed = closed,
                                 .arg = arg };
    table->pending += 1;
    sp_raft_group_close(group, on_group_closed, removal);
}

struct sp_raft_group *sp_group_table_get(const struct sp_group_table *table, uint64_t group_id)
{
    /* while the table closes its groups go one by one */
    return table->closing ? NULL : sp_map_get_u64(table->groups, group_id);
}

void sp_group_table_each(const struct sp_group_table *table,
                         void (*each)(void *arg, struct sp_raft_group *group),
                         void *arg)
{
    struct sp_map_cursor cursor = { 0 };
    struct sp_raft_group *group;

    while (!table->closing && (group = sp_map_next(table->groups, &cursor)) != NULL) {
        each(arg, group);
    }
}

static void count_replica(void *arg, struct sp_raft_group *group)
{
    sp_raft_count_replica(arg, group);
}

void sp_group_table_expose(const struct sp_group_table *table, struct sp_exposition *exposition)
{
    struct sp_raft_replicas replicas = { 0 };

    sp_group_table_each(table, count_replica, &replicas);
    sp_raft_expose(&replicas, &table->context.counters, exposition);
}

/* ---- events ---------------------------------------------------------------------------------- */

void sp_group_table_message(struct sp_group_table *table,
                            uint32_t from_node,
                            struct sp_peer_message *message)
{
    struct sp_raft_group *group;

    if (message->kind == SP_PEER_RAFT) {
        group = sp_group_table_get(table, message->u.raft.group_id);
        if (group != NULL) {
            sp_raft_group_receive(group, from_node, &message->u.raft, &message->body);
        }
    } else if (message->kind == SP_PEER_STOPPED) {
        group = sp_group_table_get(table, message->u.stopped.group_id);
        if (group != NULL) {
            sp_raft_group_replica_stopped(group, message->u.stopped.replica_id);
        }
    } else if (message->kind == SP_PEER_COMPACTED) {
        group = sp_group_table_get(table, message->u.compacted.group_id);
        if (group != NULL) {
            sp_raft_group_hear_compacted(group, from_node, &message->u.compacted);
        }
    } else if (message->kind == SP_PEER_LEADERS) {
        sp_leader_table_hear(table->leaders, from_node, message);
    } else if (message->kind == SP_PEER_VIGIL) {
        sp_vigil_hear(table->context.vigil, from_node, &message->u.vigil);
    }
}

/* Quiet groups with a part there wake. */
static void on_silent(void *arg, uint32_t node_id)
{
    struct sp_group_table *table = arg;
    struct sp_map_cursor cursor = { 0 };
    struct sp_raft_group *group;

    while (!table->closing && (group = sp_map_next(table->groups, &cursor)) != NULL) {
        sp_raft_group_wake_for(group, node_id);
    }
}

void sp_group_table_set_level(struct sp_group_table *table, uint32_t level)
{
    table->context.quiet_allowed = level >= SP_FEATURE_QUIET_GROUPS;
}

/* The process is gone: nothing is led there any more, and its followers need not wait. */
static void node_dead(struct sp_group_table *table, uint32_t node_id)
{
    struct sp_map_cursor cursor = { 0 };
    struct sp_raft_group *group;

    while (!table->closing && (group = sp_map_next(table->groups, &cursor)) != NULL) {
        sp_raft_group_node_dead(group, node_id);
    }
    sp_leader_table_node_dead(table->leaders, node_id);
}

void sp_group_table_link(struct sp_group_table *table, uint32_t node_id, enum sp_link_state state)
{
    on_silent(table, node_id);
    sp_vigil_link_changed(table->context.vigil, node_id);
    sp_leader_table_node_down(table->leaders, node_id);
    switch (state) {
    case SP_LINK_UP:
        sp_leader_table_node_up(table->leaders, node_id);
        break;
    case SP_LINK_DOWN:
        break;
    case SP_LINK_DEAD:
        node_dead(table, node_id);
        break;
    }
}

void sp_group_table_meta_durable(struct sp_group_table *table, uint64_t sequence)
{
    struct sp_list waiting;

    sp_list_init(&waiting);
    sp_list_move(&waiting, &table->context.meta_waiters);
    while (!sp_list_empty(&waiting)) {
        struct sp_list *node = waiting.next;
        sp_list_remove(node);
        sp_list_append(&table->context.meta_waiters, node);
        sp_raft_group_meta_durable(sp_raft_group_of_waiter(node), sequence);
    }
}

/* ---- handing over ---------------------------------------------------------------------------- */

struct drain_count {
    unsigned led;
};

static void drain_one(void *arg, struct sp_raft_group *group)
{
    struct drain_count *count = arg;
    struct sp_raft_group_status status;

    sp_raft_group_status(group, &status);
    if (status.role == SP_ROLE_LEADER && sp_raft_group_transfer(group) != SPATE_ERR_NOT_FOUND) {
        count->led += 1; /* on its way, or asked again; without a majority nobody could take over */
    }
}

static void on_drain_timer(struct sp_timer *timer)
{
    struct sp_group_table *table = SP_CONTAINER_OF(timer, struct sp_group_table, drain_timer);
    struct drain_count count = { 0 };
    uint64_t now_ms = sp_loop_now_ms(table->context.loop);

    sp_group_table_each(table, drain_one, &count);
    if (count.led > 0 && now_ms < table->drain_until_ms &&
        sp_timer_start(timer, now_ms + DRAIN_RETRY_MS) == 0) {
        return;
    }
    SP_TRACE_INFO("raft", "leadership handed over", "remaining=%u", count.led);
    table->drained(table->drained_arg);
}

void sp_group_table_drain(struct sp_group_table *table,
                          uint32_t timeout_ms,
                          void (*done)(void *arg),
                          void *arg)
{
    table->drained = done;
    table->drained_arg = arg;
    table->drain_until_ms = sp_loop_now_ms(table->context.loop) + timeout_ms;
    if (sp_timer_start(&table->drain_timer, 0) != 0) {
        done(arg);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

static uint32_t election_timeout_ms(const struct sp_group_table_options *options)
{
    return options->election_timeout_ms == 0 ? 300 : options->election_timeout_ms;
}

int sp_group_table_new(const struct sp_group_table_options *options,
                       struct sp_group_table **out_table)
{
    struct sp_group_table *table = sp_mem_calloc(1, sizeof *table);
    const struct sp_vigil_options vigil = { .loop = options->loop,
                                            .transport = options->transport,
                                            .election_timeout_ms = election_timeout_ms(options),
                                            .silent = on_silent,
                                            .arg = table };

    if (table == NULL) {
        return SPATE_ERR_NOMEM;
    }
    table->context = (struct sp_raft_context){ .loop = options->loop,
                                               .store = options->store,
                                               .transport = options->transport,
                                               .node_id = options->node_id,
                                               .leader_changed = on_leader_changed,
                                               .has_others = options->has_others,
                                               .has_others_arg = options->arg };
    sp_rand_init(&table->context.rand, sp_loop_random(options->loop));
    table->context.install_chunk_bytes = SP_INSTALL_CHUNK_BYTES;
    table->context.fill_bytes_per_s = options->fill_bytes_per_s;
    table->context.fill_bytes_left = options->fill_bytes_per_s;
    table->context.filled_ms = sp_loop_now_ms(options->loop);
    sp_list_init(&table->context.meta_waiters);
    table->election_timeout_ms = options->election_timeout_ms;
    table->heartbeat_timeout_ms = options->heartbeat_timeout_ms;
    sp_timer_init(&table->drain_timer, options->loop, on_drain_timer);
    sp_timer_init(&table->watch_timer, options->loop, on_watch_timer);
    table->groups = sp_map_new();
    if (table->groups == NULL ||
        sp_leader_table_new(options->loop, options->transport, options->node_id, &table->leaders) !=
            0 ||
        sp_vigil_new(&vigil, &table->context.vigil) != 0 ||
        sp_timer_start(&table->watch_timer, sp_loop_now_ms(options->loop) + WATCH_MS) != 0) {
        free_parts(table);
        return SPATE_ERR_NOMEM;
    }
    *out_table = table;
    return 0;
}

void sp_group_table_close(struct sp_group_table *table, void (*closed)(void *arg), void *arg)
{
    struct sp_map_cursor cursor = { 0 };
    struct sp_raft_group *group;

    table->closing = true;
    table->closed = closed;
    table->closed_arg = arg;
    sp_timer_stop(&table->drain_timer);
    sp_timer_stop(&table->watch_timer);
    table->pending += 1; /* ourselves, until all have been asked to close */
    while ((group = sp_map_next(table->groups, &cursor)) != NULL) {
        table->pending += 1;
        sp_raft_group_close(group, on_ended, table);
    }
    on_ended(table);
}
