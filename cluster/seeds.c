/* Sorts and sums the configured seeds. */
#include "cluster/seeds.h"

#include <stdbool.h>
#include <string.h>

#include "base/crc32c.h"
#include "spate/error.h"

/* Puts one seed in its place among those before it. */
static int insert(struct sp_seeds *seeds, uint32_t node_id, const char *address)
{
    size_t size = strnlen(address, SP_ADDRESS_SIZE_MAX);
    unsigned at = seeds->count;

    if (node_id == 0 || node_id > SP_NODE_ID_MAX || size == 0 || size == SP_ADDRESS_SIZE_MAX) {
        return SPATE_ERR_INVALID;
    }
    while (at > 0 && seeds->node_ids[at - 1] > node_id) {
        seeds->node_ids[at] = seeds->node_ids[at - 1];
        memcpy(seeds->addresses[at], seeds->addresses[at - 1], SP_ADDRESS_SIZE_MAX);
        at -= 1;
    }
    if (at > 0 && seeds->node_ids[at - 1] == node_id) {
        return SPATE_ERR_INVALID;
    }
    seeds->node_ids[at] = node_id;
    memcpy(seeds->addresses[at], address, size + 1);
    seeds->count += 1;
    return 0;
}

static uint32_t hash(const struct sp_seeds *seeds)
{
    uint32_t sum = 0;

    for (unsigned i = 0; i < seeds->count; i++) {
        const uint8_t id[] = { (uint8_t)seeds->node_ids[i], (uint8_t)(seeds->node_ids[i] >> 8) };

        sum = sp_crc32c(sum, id, sizeof id);
        sum = sp_crc32c(sum, seeds->addresses[i], strlen(seeds->addresses[i]) + 1);
    }
    return sum;
}

int sp_seeds_init(struct sp_seeds *seeds, const struct sp_transport_options *options)
{
    bool own = false;

    seeds->count = 0;
    if (options->seed_count > SP_NODES_MAX) {
        return SPATE_ERR_INVALID;
    }
    for (unsigned i = 0; i < options->seed_count; i++) {
        int rv = insert(seeds, options->seeds[i].node_id, options->seeds[i].address);
        if (rv != 0) {
            return rv;
        }
        own = own || options->seeds[i].node_id == options->node_id;
    }
    seeds->hash = hash(seeds);
    bool none = seeds->count == 0 && options->join_count > 0;
    return own || none ? 0 : SPATE_ERR_INVALID;
}
