/* The network of a scenario: letters with a delivery time, per-link order unless told otherwise. */
#include <stdlib.h>
#include <string.h>

#include "raft_host.h"

static bool earlier(const struct letter *a, const struct letter *b)
{
    return a->at_ms < b->at_ms || (a->at_ms == b->at_ms && a->sequence < b->sequence);
}

static void push(struct world *world, struct letter *letter)
{
    if (world->letter_count == world->letter_capacity) {
        world->letter_capacity = world->letter_capacity == 0 ? 256 : 2 * world->letter_capacity;
        world->letters = realloc(world->letters, world->letter_capacity * sizeof *world->letters);
    }
    unsigned i = world->letter_count++;
    for (; i > 0 && earlier(letter, world->letters[(i - 1) / 2]); i = (i - 1) / 2) {
        world->letters[i] = world->letters[(i - 1) / 2];
    }
    world->letters[i] = letter;
}

struct letter *net_take(struct world *world)
{
    struct letter *first = world->letters[0];
    struct letter *last = world->letters[--world->letter_count];
    unsigned i = 0;

    for (unsigned child = 1; child < world->letter_count; child = 2 * i + 1) {
        if (child + 1 < world->letter_count &&
            earlier(world->letters[child + 1], world->letters[child])) {
            child += 1;
        }
        if (!earlier(world->letters[child], last)) {
            break;
        }
        world->letters[i] = world->letters[child];
        i = child;
    }
    world->letters[i] = last;
    return first;
}

uint64_t net_next_ms(const struct world *world)
{
    return world->letter_count > 0 ? world->letters[0]->at_ms : UINT64_MAX;
}

void net_free(struct letter *letter)
{
    free(letter->entries);
    free(letter);
}

struct letter *net_copy(const struct letter *letter)
{
    struct letter *copied = malloc(sizeof *copied);
    unsigned count =
        letter->message.type == RAFT_APPEND_ENTRIES ? letter->message.append_entries.n_entries : 0;

    *copied = *letter;
    copied->entries = NULL;
    if (count > 0) {
        copied->entries = malloc(count * sizeof *copied->entries);
        memcpy(copied->entries, letter->entries, count * sizeof *copied->entries);
    }
    return copied;
}

static void deliver_at(struct world *world, struct letter *letter, uint64_t at_ms)
{
    letter->at_ms = at_ms;
    letter->sequence = ++world->letter_sequence;
    push(world, letter);
}

void net_deliver(struct world *world, struct letter *letter, uint64_t after_ms)
{
    deliver_at(world, letter, world->now_ms + after_ms);
}

static void leave(struct world *world, struct letter *letter)
{
    if (letter->to >= world->node_count) {
        net_free(letter); /* an answer of a follower that has forgotten its leader */
        return;
    }
    if (world->cut[letter->from][letter->to] || world_chance(world, world->loss_percent)) {
        world_observe(&world->nodes[letter->from], OBSERVED_LOST, letter);
        net_free(letter);
        return;
    }
    if (world->filter != NULL && !world->filter(letter, world->filter_arg)) {
        net_free(letter);
        return;
    }
    if (world_chance(world, world->duplicate_percent)) {
        deliver_at(world,
                   net_copy(letter),
                   world->now_ms + world_random(world, 1, 20 * (uint64_t)world->net_ms));
    }
    uint64_t *last_at_ms = &world->last_at_ms[letter->from][letter->to];
    uint64_t at_ms = world->now_ms + world_random(world, world->net_least_ms, world->net_ms);
    if (world->reorder_percent > 0) {
        if (world_chance(world, world->reorder_percent)) {
            at_ms = world->now_ms + world_random(world, 1, 30 * (uint64_t)world->net_ms);
        }
    } else if (at_ms < *last_at_ms) {
        at_ms = *last_at_ms;
    }
    *last_at_ms = at_ms;
    deliver_at(world, letter, at_ms);
}

void net_release(struct node *node)
{
    while (node->gated != NULL && node->gated->needs_meta <= node->meta_durable) {
        struct letter *letter = node->gated;

        node->gated = letter->next;
        if (node->gated == NULL) {
            node->gated_end = &node->gated;
        }
        leave(node->world, letter);
    }
}

void net_drop_gated(struct node *node)
{
    while (node->gated != NULL) {
        struct letter *letter = node->gated;

        node->gated = letter->next;
        net_free(letter);
    }
    node->gated_end = &node->gated;
}

/* Copies the entries that an append announces out of the sender's log. */
static void load_entries(struct node *node, struct letter *letter)
{
    struct raft_append_entries *append = &letter->message.append_entries;
    uint64_t first = append->prev_log_index + 1;

    append->entries = NULL;
    if (append->n_entries == 0) {
        return;
    }
    if (first < node->memory.start || first + append->n_entries - 1 > node->memory.last) {
        world_fail(node->world, "node %u sends entries outside its log", node->number);
        append->n_entries = 0;
        return;
    }
    letter->entries = malloc(append->n_entries * sizeof *letter->entries);
    memcpy(
        letter->entries, &node->memory.entries[first], append->n_entries * sizeof *letter->entries);
    for (unsigned i = 0; i < append->n_entries; i++) {
        check_entry(node->world, first + i, &letter->entries[i]);
    }
}

void net_post(struct node *node,
              const struct raft_message *message,
              const struct sp_raft_guard_stamp *stamp)
{
    struct letter *letter = calloc(1, sizeof *letter);

    letter->from = node->number;
    letter->to = (unsigned)message->server_id - 1;
    letter->needs_meta = node->meta_issued;
    letter->message = *message;
    letter->stamp = *stamp;
    if (message->type == RAFT_APPEND_ENTRIES) {
        load_entries(node, letter);
    } else if (message->type == RAFT_INSTALL_SNAPSHOT) {
        if (message->install_snapshot.last_index != node->memory.snapshot.index) {
            world_fail(node->world, "node %u sends a snapshot it has not got", node->number);
        }
        letter->configuration = node->memory.snapshot.configuration;
    }
    *node->gated_end = letter;
    node->gated_end = &letter->next;
    if (letter->needs_meta > node->meta_durable && letter->to < node->world->node_count) {
        world_observe(node, OBSERVED_GATED, letter);
    }
    net_release(node);
}

void world_isolate(struct world *world, const struct node *node)
{
    for (unsigned i = 0; i < world->node_count; i++) {
        if (i != node->number) {
            world->cut[node->number][i] = true;
            world->cut[i][node->number] = true;
        }
    }
}

void world_join(struct world *world, const struct node *node)
{
    for (unsigned i = 0; i < world->node_count; i++) {
        world->cut[node->number][i] = false;
        world->cut[i][node->number] = false;
    }
}

void world_heal(struct world *world)
{
    memset(world->cut, 0, sizeof world->cut);
}

void world_cut(struct world *world, const struct node *a, const struct node *b)
{
    world->cut[a->number][b->number] = true;
    world->cut[b->number][a->number] = true;
}
