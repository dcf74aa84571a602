/* Whom to ask about a partition, by its description. */
#include "client/metadata_servers.h"

#include <string.h>

static struct sp_connection *connection_to(struct spate_client *client, struct sp_bytes address)
{
    struct sp_connection *connection = NULL;
    char text[SP_ADDRESS_SIZE_MAX];

    if (address.bytes == NULL || address.size == 0 || address.size >= sizeof text) {
        return NULL;
    }
    memcpy(text, address.bytes, address.size);
    text[address.size] = '\0';
    return sp_client_connection(client, text, &connection) == 0 ? connection : NULL;
}

struct sp_connection *sp_metadata_leader(struct spate_client *client,
                                         const struct sp_metadata *metadata,
                                         const struct sp_metadata_partition *partition)
{
    struct sp_bytes address = partition->leader_address;
    const struct sp_metadata_node *node = sp_metadata_node_find(metadata, partition->leader);

    if (partition->leader < 0) {
        return NULL;
    }
    return connection_to(client, address.bytes == NULL && node != NULL ? node->address : address);
}

static bool is_near(const struct spate_client *client, const struct sp_metadata_node *node)
{
    return node != NULL && sp_bytes_equal_text(node->rack, client->config.client_rack);
}

struct sp_connection *sp_metadata_near(struct spate_client *client,
                                       const struct sp_metadata *metadata,
                                       const struct sp_metadata_partition *partition)
{
    const struct sp_metadata_node *near[SP_REPLICAS_MAX];
    uint32_t count = 0;

    if (client->config.client_rack[0] == '\0' ||
        is_near(client, sp_metadata_node_find(metadata, partition->leader))) {
        return NULL;
    }
    for (uint32_t i = 0; i < partition->replica_count; i++) {
        const struct sp_metadata_node *node =
            sp_metadata_node_find(metadata, partition->replicas[i]);
        if (is_near(client, node)) {
            near[count++] = node;
        }
    }
    return count == 0
               ? NULL
               : connection_to(client, near[(uint32_t)partition->partition % count]->address);
}
