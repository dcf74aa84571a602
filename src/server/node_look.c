/* What the HTTP endpoint asks of a node. */
#include <stdio.h>

#include "base/metrics.h"
#include "broker/broker.h"
#include "broker/health.h"
#include "cluster/group_table.h"
#include "server/node_parts.h"
#include "spate/error.h"
#include "wire/pack.h"

#define READY_TEXT_SIZE 512 /* of what a node waits for */

void sp_node_expose(const struct sp_node *node, struct sp_exposition *exposition, bool partitions)
{
    struct sp_health health;
    char text[READY_TEXT_SIZE];

    if (node->closing) {
        return;
    }
    sp_health_look(node->broker, &health);
    sp_exposition_gauge(exposition,
                        "spate_ready",
                        "1 if this node serves and is not behind, as /readyz says.",
                        !node->stopping && sp_health_is_ready(&health, text, sizeof text));
    sp_store_expose(node->store, exposition);
    sp_group_table_expose(node->table, exposition);
    sp_broker_expose(node->broker, &health, exposition, partitions);
}

bool sp_node_is_ready(const struct sp_node *node, char *text, size_t text_size)
{
    struct sp_health health;

    if (node->stopping || node->failed) {
        (void)snprintf(text, text_size, "this node is stopping\n");
        return false;
    }
    sp_health_look(node->broker, &health);
    return sp_health_is_ready(&health, text, text_size);
}

int sp_node_pack_status(const struct sp_node *node, struct sp_pack *pack)
{
    if (node->closing || node->failed) {
        return SPATE_ERR_NOT_READY;
    }
    sp_broker_pack_status(node->broker, pack);
    return sp_pack_status(pack);
}
