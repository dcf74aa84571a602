/* The nodes of a scenario: the host loop around each guard, as short as it can be. */
#include <stdlib.h>
#include <string.h>

#include "raft_host.h"
#include "spate/error.h"

/* Fills what a guard wants of an entry; the encoding of a change is the caller's to raft_free. */
static void to_raft(const struct entry *entry, struct raft_entry *out)
{
    memset(out, 0, sizeof *out);
    out->term = entry->term;
    out->type = (enum raft_entry_type)entry->type;
    if (entry->type == RAFT_CHANGE) {
        struct raft_configuration configuration;

        mask_decode(entry->value, &configuration);
        if (raft_configuration_encode(&configuration, &out->buf) != 0) {
            abort();
        }
        raft_configuration_close(&configuration);
    }
}

static struct raft_entry *to_raft_array(const struct entry *entries, uint64_t count)
{
    struct raft_entry *array = calloc(count > 0 ? count : 1, sizeof *array);

    for (uint64_t i = 0; i < count; i++) {
        to_raft(&entries[i], &array[i]);
    }
    return array;
}

static void free_raft_array(struct raft_entry *array, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        raft_free(array[i].buf.base);
    }
    free(array);
}

/* --- callbacks of the guard --- */

static void write_meta(struct node *node)
{
    struct op op = { .kind = OP_META,
                     .term = raft_current_term(&node->guard.raft),
                     .vote = raft_voted_for(&node->guard.raft) };

    check_meta(node, op.term, op.vote);
    node->memory.term = op.term;
    node->memory.vote = op.vote;
    op.sequence = ++node->meta_issued;
    disk_queue(node, &op);
}

/* The value of the i-th entry of an update: the host knows where its own bytes are. */
static uint64_t value_of(const struct node *node, const struct raft_update *update, unsigned i)
{
    const struct raft_entry *entry = &update->entries.batch[i];
    struct raft_configuration configuration;
    mask value = 0;

    if (entry->type == RAFT_BARRIER) {
        return 0;
    }
    if (entry->type == RAFT_CHANGE) {
        if (raft_configuration_decode(&entry->buf, &configuration) == 0) {
            value = mask_encode(&configuration);
            raft_configuration_close(&configuration);
        }
        return value;
    }
    if (node->submitting != NULL) {
        return node->submitting[i];
    }
    uint64_t first = node->receiving->message.append_entries.prev_log_index + 1;
    return node->receiving->entries[update->entries.index + i - first].value;
}

static void write_entries(struct node *node, const struct raft_update *update)
{
    struct op op = { .kind = OP_WRITE,
                     .index = update->entries.index,
                     .count = update->entries.n,
                     .proves = update->entries.index + update->entries.n - 1 };

    check_write(node, op.index);
    if (op.proves >= LOG_MAX) {
        world_fail(node->world, "log too long for the scenario");
    }
    if (world_failed(node->world)) {
        return;
    }
    op.entries = calloc(op.count, sizeof *op.entries);
    for (unsigned i = 0; i < op.count; i++) {
        op.entries[i].term = update->entries.batch[i].term;
        op.entries[i].type = (int)update->entries.batch[i].type;
        op.entries[i].value = value_of(node, update, i);
    }
    world_observe(node, OBSERVED_QUEUED, &op);
    log_write(&node->memory, op.index, op.entries, op.count);
    disk_queue(node, &op);
}

static int on_update(void *arg, const struct raft_event *event, const struct raft_update *update)
{
    struct node *node = arg;

    (void)event;
    if (update->flags & (RAFT_UPDATE_CURRENT_TERM | RAFT_UPDATE_VOTED_FOR)) {
        write_meta(node);
    }
    if (update->flags & RAFT_UPDATE_ENTRIES) {
        write_entries(node, update);
    }
    if (update->flags & RAFT_UPDATE_SNAPSHOT) {
        const struct raft_snapshot_metadata *metadata = &update->snapshot.metadata;
        struct op op = { .kind = OP_INSTALL,
                         .snapshot = { metadata->index,
                                       metadata->term,
                                       metadata->configuration_index,
                                       mask_encode(&metadata->configuration) } };
        world_observe(node, OBSERVED_QUEUED, &op);
        log_install(&node->memory, &op.snapshot);
        disk_queue(node, &op);
    }
    check_leader(node);
    return world_failed(node->world) ? SPATE_ERR_INTERNAL : 0;
}

static void
on_send(void *arg, const struct raft_message *message, const struct sp_raft_guard_stamp *stamp)
{
    net_post(arg, message, stamp);
}

/* --- node --- */

void node_settle(struct node *node)
{
    while (!world_failed(node->world) && node->applied < sp_raft_guard_committed(&node->guard)) {
        check_apply(node, node->applied + 1);
        node->applied += 1;
    }
    disk_kick(node);
    world_observe(node, OBSERVED_SETTLED, NULL);
}

static void start_guard(struct node *node)
{
    struct log *disk = &node->disk;
    uint64_t count = disk->last + 1 - disk->start;
    struct raft_snapshot_metadata metadata = { 0 };
    struct sp_raft_guard_start start = { .term = disk->term,
                                         .vote = disk->vote,
                                         .start_index = disk->start,
                                         .entry_count = (unsigned)count,
                                         .committed_index = node->known_committed };
    bool changed = false;

    start.entries = to_raft_array(&disk->entries[disk->start], count);
    if (disk->snapshot.index > 0) {
        metadata.index = disk->snapshot.index;
        metadata.term = disk->snapshot.term;
        metadata.configuration_index = disk->snapshot.configuration_index;
        start.snapshot = &metadata;
    }
    mask_decode(disk->snapshot.configuration, &metadata.configuration);
    int rv = sp_raft_guard_plan_start(&node->guard, &start, &changed);
    if (changed) {
        disk->term = start.term;
        disk->vote = start.vote;
    }
    node->memory.term = disk->term;
    node->memory.vote = disk->vote;
    if (rv == 0) {
        rv = sp_raft_guard_start(&node->guard, node->world->now_ms, &start);
    }
    if (rv != 0) {
        world_fail(node->world, "node %u: start gives %s", node->number, spate_error_name(rv));
    }
    raft_configuration_close(&metadata.configuration);
    free_raft_array(start.entries, count);
}

void node_start(struct node *node)
{
    struct world *world = node->world;
    struct log *disk = &node->disk;
    struct sp_raft_guard_options options = {
        .id = node->number + 1,
        .seed = (unsigned)world_random(world, 0, UINT32_MAX),
        .election_timeout_ms = world->election_ms,
        .heartbeat_ms = world->heartbeat_ms,
        .install_timeout_ms = 3000,
        .window_entries = world->window,
        .pre_vote = world->pre_vote,
        .no_votes_after_start = world->no_votes_after_start,
        .host = { node, on_update, on_send },
    };

    if (disk->last < disk->snapshot.index || disk->last + 1 < disk->start) {
        log_install(disk, &disk->snapshot);
    }
    struct entry *entries = node->memory.entries;
    memcpy(entries, disk->entries, (disk->last + 1) * sizeof *entries);
    node->memory = *disk;
    node->memory.entries = entries;
    node->meta_issued = node->meta_durable;
    node->applied = disk->snapshot.index;
    node->led = false;
    node->asleep = false;
    node->paused = false;
    node->up = true;
    if (sp_raft_guard_init(&node->guard, &options) != 0) {
        abort();
    }
    node->guard.disabled = world->disabled;
    start_guard(node);
    node_settle(node);
}

void node_crash(struct node *node, bool keep)
{
    if (!node->up) {
        return;
    }
    disk_crash(node, keep);
    net_drop_gated(node);
    sp_raft_guard_deinit(&node->guard);
    node->up = false;
}

int node_submit(struct node *node, unsigned count)
{
    struct raft_entry entries[SUBMIT_MAX] = { 0 };
    uint64_t values[SUBMIT_MAX];

    if (!node->up || count > SUBMIT_MAX || node->memory.last + SUBMIT_MAX >= LOG_MAX) {
        return SPATE_ERR_BUSY;
    }
    for (unsigned i = 0; i < count; i++) {
        entries[i].type = RAFT_COMMAND;
        values[i] = ++node->world->next_value;
    }
    node->submitting = values;
    int rv = sp_raft_guard_submit(&node->guard, node->world->now_ms, entries, count);
    node->submitting = NULL;
    node_settle(node);
    return rv;
}

int node_change(struct node *node, mask configuration)
{
    struct raft_configuration next;

    mask_decode(configuration, &next);
    int rv = sp_raft_guard_change(&node->guard, node->world->now_ms, &next);
    raft_configuration_close(&next);
    node_settle(node);
    return rv;
}

int node_snapshot(struct node *node, uint64_t index, unsigned trailing)
{
    struct op op = { .kind = OP_FLOOR };
    struct raft_snapshot_metadata metadata = { .index = index };

    op.snapshot.index = index;
    op.snapshot.term = log_term_at(&node->memory, index);
    log_configuration(
        &node->memory, index, &op.snapshot.configuration, &op.snapshot.configuration_index);
    metadata.term = op.snapshot.term;
    metadata.configuration_index = op.snapshot.configuration_index;
    mask_decode(op.snapshot.configuration, &metadata.configuration);
    int rv = index > node->applied
                 ? SPATE_ERR_INVALID
                 : sp_raft_guard_snapshot(&node->guard, node->world->now_ms, &metadata, trailing);
    raft_configuration_close(&metadata.configuration);
    if (rv == 0) {
        op.start = node->guard.raft.trail.offset + 1;
        node->memory.snapshot = op.snapshot;
        node->memory.start = op.start;
        disk_queue(node, &op);
        node_settle(node);
    }
    return rv;
}

int node_transfer(struct node *node, const struct node *to)
{
    int rv =
        sp_raft_guard_transfer(&node->guard, node->world->now_ms, to != NULL ? to->number + 1 : 0);

    node_settle(node);
    return rv;
}

/* --- messages --- */

static int receive_append(struct node *node, uint64_t from, const struct letter *letter)
{
    const struct raft_append_entries *message = &letter->message.append_entries;
    struct sp_raft_guard_append append = { .term = message->term,
                                           .prev_index = message->prev_log_index,
                                           .prev_term = message->prev_log_term,
                                           .commit = message->leader_commit,
                                           .entry_count = message->n_entries };

    append.entries = to_raft_array(letter->entries, message->n_entries);
    int rv = sp_raft_guard_receive_append(&node->guard, node->world->now_ms, from, &append);
    free_raft_array(append.entries, message->n_entries);
    return rv;
}

static int receive_result(struct node *node, uint64_t from, const struct letter *letter)
{
    const struct raft_append_entries_result *message = &letter->message.append_entries_result;
    struct sp_raft_guard_append_result result = { .term = message->term,
                                                  .rejected = message->rejected,
                                                  .last_index = message->last_log_index,
                                                  .request_term = letter->stamp.request_term,
                                                  .hint_term = letter->stamp.hint_term };

    return sp_raft_guard_receive_append_result(&node->guard, node->world->now_ms, from, &result);
}

static int receive_install(struct node *node, uint64_t from, const struct letter *letter)
{
    const struct raft_install_snapshot *message = &letter->message.install_snapshot;
    struct raft_configuration configuration;
    struct sp_raft_guard_install install = { .term = message->term,
                                             .last_index = message->last_index,
                                             .last_term = message->last_term,
                                             .configuration_index = message->conf_index,
                                             .configuration = &configuration };

    mask_decode(letter->configuration, &configuration);
    int rv = sp_raft_guard_receive_install(&node->guard, node->world->now_ms, from, &install);
    raft_configuration_close(&configuration);
    return rv;
}

int node_receive(struct node *node, unsigned from, const struct letter *letter)
{
    uint64_t now_ms = node->world->now_ms;
    uint64_t id = from + 1;
    int rv = 0;

    node->receiving = letter;
    switch (letter->message.type) {
    case RAFT_APPEND_ENTRIES:
        rv = receive_append(node, id, letter);
        break;
    case RAFT_APPEND_ENTRIES_RESULT:
        rv = receive_result(node, id, letter);
        break;
    case RAFT_REQUEST_VOTE:
        rv = sp_raft_guard_receive_vote(&node->guard, now_ms, id, &letter->message.request_vote);
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        rv = sp_raft_guard_receive_vote_result(
            &node->guard, now_ms, id, &letter->message.request_vote_result);
        break;
    case RAFT_INSTALL_SNAPSHOT:
        rv = receive_install(node, id, letter);
        break;
    case RAFT_TIMEOUT_NOW:
        rv = sp_raft_guard_receive_timeout_now(
            &node->guard, now_ms, id, &letter->message.timeout_now);
        break;
    }
    node->receiving = NULL;
    node_settle(node);
    return rv;
}
