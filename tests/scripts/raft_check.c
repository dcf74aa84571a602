/* What must always hold in a scenario, checked at the moment when it could first be broken. */
#include <stdlib.h>
#include <string.h>

#include "raft_host.h"

/* A value that was seen at some index and term, on a disk or in a letter. */
struct sighting {
    struct entry entry;
    struct sighting *next;
};

void check_init(struct world *world, mask configuration)
{
    struct entry first = { .term = 1, .value = configuration, .type = RAFT_CHANGE };

    world->committed = calloc(LOG_MAX, sizeof *world->committed);
    world->sightings = calloc(LOG_MAX, sizeof(struct sighting *));
    world->committed[1].entry = first;
    world->committed_last = 1;
}

void check_deinit(struct world *world)
{
    for (unsigned i = 0; i < LOG_MAX; i++) {
        while (world->sightings[i] != NULL) {
            struct sighting *sighting = world->sightings[i];

            world->sightings[i] = sighting->next;
            free(sighting);
        }
    }
    free(world->sightings);
    free(world->committed);
}

/* Log matching: one value per index and term, anywhere. */
void check_entry(struct world *world, uint64_t index, const struct entry *entry)
{
    struct sighting **at = &world->sightings[index];

    for (struct sighting *seen = *at; seen != NULL; seen = seen->next) {
        if (seen->entry.term == entry->term) {
            if (seen->entry.value != entry->value) {
                world_fail(world,
                           "log matching: two values at index %lu term %lu",
                           (unsigned long)index,
                           (unsigned long)entry->term);
            }
            return;
        }
    }
    struct sighting *seen = malloc(sizeof *seen);
    seen->entry = *entry;
    seen->next = *at;
    *at = seen;
}

void check_meta(struct node *node, uint64_t term, uint64_t vote)
{
    const struct log *memory = &node->memory;

    if (term < memory->term) {
        world_fail(node->world, "node %u: term went back", node->number);
    }
    if (term == memory->term && memory->vote != 0 && vote != memory->vote) {
        world_fail(node->world, "node %u: vote changed in one term", node->number);
    }
}

void check_write(struct node *node, uint64_t index)
{
    const struct log *memory = &node->memory;

    if (index > memory->last + 1 || index < memory->start) {
        world_fail(node->world,
                   "node %u: write at %lu leaves a hole in [%lu, %lu]",
                   node->number,
                   (unsigned long)index,
                   (unsigned long)memory->start,
                   (unsigned long)memory->last);
    }
    if (index <= node->applied) {
        world_fail(node->world,
                   "node %u: write at %lu overwrites what is applied up to %lu",
                   node->number,
                   (unsigned long)index,
                   (unsigned long)node->applied);
    }
}

static bool same(const struct entry *a, const struct entry *b)
{
    return a->term == b->term && a->value == b->value;
}

/* Leader completeness: it has everything that was committed in earlier terms. */
static void check_completeness(struct node *node, uint64_t term)
{
    const struct world *world = node->world;

    for (uint64_t i = node->memory.start; i <= world->committed_last; i++) {
        const struct committed *committed = &world->committed[i];

        if (committed->in_term < term &&
            (i > node->memory.last || !same(&node->memory.entries[i], &committed->entry))) {
            world_fail(node->world,
                       "leader completeness: node %u lacks %lu",
                       node->number,
                       (unsigned long)i);
            return;
        }
    }
}

void check_leader(struct node *node)
{
    struct world *world = node->world;
    struct raft *raft = &node->guard.raft;
    uint64_t term = raft_current_term(raft);

    if (raft_state(raft) != RAFT_LEADER) {
        node->led = false;
        return;
    }
    if (node->led || world_failed(world)) {
        return;
    }
    node->led = true;
    if (raft_voted_for(raft) != raft->id) {
        world_fail(world, "node %u leads without its own vote", node->number);
    }
    if (term >= TERMS_MAX) {
        world_fail(world, "terms run away");
        return;
    }
    if (world->leader_of[term] != 0 && world->leader_of[term] != raft->id) {
        world_fail(world, "two leaders in term %lu", (unsigned long)term);
    }
    world->leader_of[term] = (unsigned)raft->id;
    check_completeness(node, term);
}

static bool is_durable(const struct node *node, uint64_t index, const struct entry *entry)
{
    const struct log *disk = &node->disk;

    return index <= disk->snapshot.index ||
           (index >= disk->start && index <= disk->last && same(&disk->entries[index], entry));
}

/* Durable before acknowledged: a leader commits what a majority of its voters has on disk. */
static void check_majority(struct node *node, uint64_t index, const struct entry *entry)
{
    struct world *world = node->world;
    mask configuration = node_configuration(node);
    unsigned have = 0;

    for (unsigned i = 0; i < world->node_count; i++) {
        have +=
            mask_role(configuration, i) == ROLE_VOTER && is_durable(&world->nodes[i], index, entry);
    }
    if (have <= mask_voters(configuration) / 2) {
        world_fail(world,
                   "node %u commits %lu, durable on %u of %u",
                   node->number,
                   (unsigned long)index,
                   have,
                   mask_voters(configuration));
    }
}

/* State machine safety: all replicas apply the same entry at each index. */
void check_apply(struct node *node, uint64_t index)
{
    struct world *world = node->world;

    if (index < node->memory.start || index > node->memory.last) {
        world_fail(world,
                   "node %u applies %lu outside its log [%lu, %lu]",
                   node->number,
                   (unsigned long)index,
                   (unsigned long)node->memory.start,
                   (unsigned long)node->memory.last);
        return;
    }
    const struct entry *entry = &node->memory.entries[index];
    if (index <= world->committed_last) {
        if (!same(entry, &world->committed[index].entry)) {
            world_fail(
                world, "node %u applies something else at %lu", node->number, (unsigned long)index);
        }
        return;
    }
    world->committed[index].entry = *entry;
    world->committed[index].in_term = raft_current_term(&node->guard.raft);
    world->committed_last = index;
    if (raft_state(&node->guard.raft) == RAFT_LEADER) {
        check_majority(node, index, entry);
    }
}
