/* The disk of a scenario node: operations are queued, flushed together and become durable in order.
 */
#include <stdlib.h>
#include <string.h>

#include "raft_host.h"

uint64_t log_term_at(const struct log *log, uint64_t index)
{
    if (index == log->snapshot.index) {
        return log->snapshot.term;
    }
    return index < log->start || index > log->last ? 0 : log->entries[index].term;
}

void log_write(struct log *log, uint64_t index, const struct entry *entries, uint64_t count)
{
    memcpy(&log->entries[index], entries, count * sizeof *entries);
    log->last = index + count - 1;
}

void log_install(struct log *log, const struct snapshot *snapshot)
{
    log->snapshot = *snapshot;
    log->start = snapshot->index + 1;
    log->last = snapshot->index;
}

void log_configuration(const struct log *log, uint64_t index, mask *out, uint64_t *out_index)
{
    for (uint64_t i = index < log->last ? index : log->last; i >= log->start && i > 0; i--) {
        if (log->entries[i].type == RAFT_CHANGE) {
            *out = log->entries[i].value;
            *out_index = i;
            return;
        }
    }
    *out = log->snapshot.configuration;
    *out_index = log->snapshot.configuration_index;
}

/* Takes back what earlier writes prove, from `index` on. */
static void unprove(struct op *ops, unsigned count, uint64_t index)
{
    for (unsigned i = 0; i < count; i++) {
        if (ops[i].kind == OP_WRITE && ops[i].proves >= index) {
            ops[i].proves = index - 1;
        }
    }
}

void disk_queue(struct node *node, const struct op *op)
{
    if (op->kind == OP_WRITE) {
        unprove(node->ops, node->op_count, op->index);
    } else if (op->kind == OP_INSTALL) {
        unprove(node->ops, node->op_count, 1);
    }
    if (node->op_count == node->op_capacity) {
        node->op_capacity = node->op_capacity == 0 ? 16 : 2 * node->op_capacity;
        node->ops = realloc(node->ops, node->op_capacity * sizeof *node->ops);
    }
    node->ops[node->op_count++] = *op;
}

void disk_kick(struct node *node)
{
    if (node->up && node->op_count > 0 && node->flush_at_ms == 0 && !node->disk_held) {
        node->flush_at_ms = node->world->now_ms +
                            world_random(node->world, node->disk_least_ms, node->disk_ms) +
                            node->stall_ms;
        node->stall_ms = 0;
        node->flush_count = node->op_count;
    }
}

static void make_durable(struct node *node, const struct op *op)
{
    struct log *disk = &node->disk;

    switch (op->kind) {
    case OP_META:
        disk->term = op->term;
        disk->vote = op->vote;
        break;
    case OP_WRITE:
        for (uint64_t i = 0; i < op->count; i++) {
            check_entry(node->world, op->index + i, &op->entries[i]);
        }
        log_write(disk, op->index, op->entries, op->count);
        break;
    case OP_INSTALL:
        log_install(disk, &op->snapshot);
        break;
    case OP_FLOOR:
        if (op->snapshot.index > disk->snapshot.index) {
            disk->snapshot = op->snapshot;
        }
        if (op->start > disk->start) {
            disk->start = op->start;
        }
        break;
    }
}

static void report_install(struct node *node, const struct snapshot *snapshot)
{
    struct raft_snapshot_metadata metadata = {
        .index = snapshot->index,
        .term = snapshot->term,
        .configuration_index = snapshot->configuration_index,
    };

    if (node->applied < snapshot->index) {
        node->applied = snapshot->index;
    }
    mask_decode(snapshot->configuration, &metadata.configuration);
    if (sp_raft_guard_persisted_snapshot(&node->guard, node->world->now_ms, &metadata) != 0) {
        world_fail(node->world, "node %u: persisted snapshot failed", node->number);
    }
    raft_configuration_close(&metadata.configuration);
    node_settle(node);
}

static void report(struct node *node, const struct op *op)
{
    switch (op->kind) {
    case OP_META:
        node->meta_durable = op->sequence;
        net_release(node);
        break;
    case OP_WRITE:
        if (op->proves >= op->index &&
            sp_raft_guard_persisted(&node->guard, node->world->now_ms, op->proves) != 0) {
            world_fail(node->world, "node %u: persisted failed", node->number);
        }
        node_settle(node);
        break;
    case OP_INSTALL:
        report_install(node, &op->snapshot);
        break;
    case OP_FLOOR:
        break;
    }
}

/* Reports in order. While a step runs it may queue a truncation, which still takes back what the
 * ops behind this one prove: so they stay in the queue until their own turn. */
void disk_flush_done(struct node *node)
{
    unsigned count = node->flush_count;

    node->flush_at_ms = 0;
    for (unsigned i = 0; i < count; i++) {
        make_durable(node, &node->ops[i]);
    }
    for (unsigned i = 0; i < count && !world_failed(node->world); i++) {
        struct op op = node->ops[0];

        node->op_count -= 1;
        memmove(node->ops, node->ops + 1, node->op_count * sizeof *node->ops);
        node->flush_count -= 1;
        world_observe(node, OBSERVED_DURABLE, &op);
        report(node, &op);
        free(op.entries);
    }
    disk_kick(node);
}

void disk_crash(struct node *node, bool keep)
{
    unsigned kept = keep ? (unsigned)world_random(node->world, 0, node->op_count) : 0;

    for (unsigned i = 0; i < node->op_count; i++) {
        if (i < kept) {
            make_durable(node, &node->ops[i]);
        }
        free(node->ops[i].entries);
    }
    node->op_count = 0;
    node->flush_at_ms = 0;
    node->flush_count = 0;
}
