/* The commands that disturb: links, processes, disks, sleep. */
#include <string.h>

#include "script.h"

/* --- faults --- */

void script_isolate(struct words *words)
{
    world_isolate(words->script->world, words_node(words));
}

void script_join(struct words *words)
{
    world_join(words->script->world, words_node(words));
}

void script_cut(struct words *words)
{
    struct world *world = words->script->world;
    struct selection link;

    if (!words_at_link(words)) {
        struct node *one = words_node(words);

        world_cut(world, one, words_node(words));
        return;
    }
    words_selection(words, &link);
    for (unsigned from = 0; from < world->node_count; from++) {
        for (unsigned to = 0; to < world->node_count; to++) {
            world->cut[from][to] |= from != to && (link.from == NODES_MAX || link.from == from) &&
                                    (link.to == NODES_MAX || link.to == to);
        }
    }
}

void script_heal(struct words *words)
{
    world_heal(words->script->world);
}

void script_crash(struct words *words)
{
    struct script *script = words->script;
    struct node *node = words_node_up(words);
    bool keep = words_take_if(words, "keep");

    if (!keep) {
        (void)words_take_if(words, "lose");
    }
    script_say(script, "%u crashes", node->number + 1);
    for (unsigned i = 0; i < node->op_count && !keep; i++) {
        (void)fprintf(script->out, "   and loses ");
        script_print_op(script->out, &node->ops[i]);
        (void)fprintf(script->out, "\n");
    }
    node_crash(node, keep);
}

void script_restart(struct words *words)
{
    struct script *script = words->script;
    struct node *node = words_node(words);
    const struct log *disk = &node->disk;
    struct view *view = &script->views[node->number];
    uint64_t ignored = 0;

    if (node->up) {
        words_refuse(words, "node %u is up", node->number + 1);
    }
    script_say(script,
               "%u starts with term %lu, vote for %lu, log up to %lu^%lu",
               node->number + 1,
               (unsigned long)disk->term,
               (unsigned long)disk->vote,
               (unsigned long)disk->last,
               (unsigned long)log_term_at(disk, disk->last));
    memset(view, 0, sizeof *view);
    view->state = RAFT_FOLLOWER;
    view->term = disk->term;
    log_configuration(disk, disk->last, &view->configuration, &ignored);
    node_start(node);
}

void script_pause(struct words *words)
{
    words_node_up(words)->paused = true;
}

void script_resume(struct words *words)
{
    words_node_up(words)->paused = false;
}

/* disk NODE MS | stall MS | hold | go */
void script_disk(struct words *words)
{
    struct node *node = words_node(words);

    if (words_take_if(words, "hold")) {
        node->disk_held = true;
    } else if (words_take_if(words, "go")) {
        node->disk_held = false;
        disk_kick(node);
    } else if (words_take_if(words, "stall")) {
        node->stall_ms = words_number(words);
    } else {
        node->disk_ms = (unsigned)words_number(words);
        node->disk_least_ms = node->disk_ms;
    }
}

/* persist NODE [COUNT]: the oldest writes of a held disk become durable now. */
void script_persist(struct words *words)
{
    struct node *node = words_node_up(words);
    uint64_t count = words_number_or(words, node->op_count);

    if (!node->disk_held || node->flush_at_ms != 0) {
        words_refuse(words, "the disk of node %u is not held", node->number + 1);
    }
    if (count == 0 || count > node->op_count) {
        words_refuse(words, "node %u has %u writes pending", node->number + 1, node->op_count);
    }
    node->flush_count = (unsigned)count;
    disk_flush_done(node);
}

/* --- quiet groups --- */

void script_sleep(struct words *words)
{
    struct world *world = words->script->world;
    struct node *leader = world_leader(world);

    if (leader == NULL || !sp_raft_guard_may_sleep(&leader->guard)) {
        script_say(words->script, "the group may not sleep");
        return;
    }
    for (unsigned i = 0; i < world->node_count; i++) {
        world->nodes[i].asleep = true;
    }
}

void script_wake(struct words *words)
{
    struct node *node = words_node_up(words);

    node->asleep = false;
    sp_raft_guard_rearm(&node->guard, node->world->now_ms);
}
