#include "cluster/machine_of.h"

#include <string.h>

#include "base/assert.h"

/* The number behind the last '#', without leading zeros; 0: there is none. */
static uint32_t number_of(const char *mark)
{
    uint32_t number = 0;

    for (const char *at = mark + 1; *at != '\0'; at++) {
        if (*at < '0' || *at > '9' || (number == 0 && *at == '0')) {
            return 0;
        }
        number = 10 * number + (uint32_t)(*at - '0');
        if (number >= SP_SHARD_NODE_STEP) {
            return 0;
        }
    }
    return number;
}

_Static_assert((SP_SHARDS_MAX - 1) * SP_SHARD_NODE_STEP + SP_SHARD_NODE_STEP - 1 <= SP_NODE_ID_MAX,
               "every shard has a node id");

/* Where the mark begins, or NULL. */
static const char *mark_of(const struct sp_state_node *node)
{
    const char *mark = strrchr(node->rack, '#');
    uint32_t number = mark == NULL ? 0 : number_of(mark);

    if (number == 0 || node->node_id % SP_SHARD_NODE_STEP != number ||
        node->node_id / SP_SHARD_NODE_STEP >= SP_SHARDS_MAX) {
        return NULL;
    }
    return mark;
}

bool sp_machine_has_shards(const struct sp_state_node *node)
{
    return mark_of(node) != NULL;
}

uint32_t sp_machine_of(const struct sp_state_node *node)
{
    return mark_of(node) == NULL ? node->node_id : node->node_id % SP_SHARD_NODE_STEP;
}

uint32_t sp_machine_of_id(const struct sp_state *state, uint32_t node_id)
{
    const struct sp_state_node *node = sp_state_node(state, node_id);

    return node == NULL ? node_id : sp_machine_of(node);
}

struct sp_bytes sp_machine_rack(const struct sp_state_node *node)
{
    const char *mark = mark_of(node);

    return sp_bytes_of(node->rack, mark == NULL ? strlen(node->rack) : (size_t)(mark - node->rack));
}

bool sp_machine_same_rack(const struct sp_state_node *left, const struct sp_state_node *right)
{
    struct sp_bytes left_rack = sp_machine_rack(left);
    struct sp_bytes right_rack = sp_machine_rack(right);

    return left_rack.size > 0 && sp_bytes_equal(left_rack, right_rack);
}

unsigned sp_machines_find(const struct sp_machines *machines, uint32_t machine)
{
    unsigned place = 0;

    while (place < machines->count && machines->numbers[place] != machine) {
        place += 1;
    }
    return place;
}

bool sp_machines_has(const struct sp_machines *machines, uint32_t machine)
{
    return sp_machines_find(machines, machine) < machines->count;
}

unsigned sp_machines_add(struct sp_machines *machines, uint32_t machine)
{
    unsigned place = sp_machines_find(machines, machine);

    if (place == machines->count) {
        SP_ASSERT(machines->count < SP_NODES_MAX);
        machines->numbers[machines->count++] = machine;
    }
    return place;
}
