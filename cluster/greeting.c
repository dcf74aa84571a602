/* Reasons to refuse a node, each with its sentence. */
#include "cluster/greeting.h"

#include <stdio.h>
#include <string.h>

#include "spate/error.h"
#include "storage/store.h"

static bool other_cluster(const struct sp_greeting_facts *facts, const struct sp_peer_hello *hello)
{
    return facts->cluster_id != NULL && hello->identity_state == SP_IDENTITY_FORMED &&
           memcmp(hello->cluster_id, facts->cluster_id, SP_CLUSTER_ID_SIZE) != 0;
}

int sp_greeting_check(const struct sp_greeting_facts *facts,
                      const struct sp_peer_hello *hello,
                      char *text)
{
    uint32_t id = hello->node_id;

    if (id == facts->node_id) {
        (void)snprintf(text, SP_REFUSAL_SIZE, "node id %u is mine: give each node its own", id);
    } else if (facts->expected_node_id != 0 && id != facts->expected_node_id) {
        (void)snprintf(text,
                       SP_REFUSAL_SIZE,
                       "expected node %u at this address, found node %u",
                       facts->expected_node_id,
                       id);
    } else if (!facts->known) {
        (void)snprintf(text, SP_REFUSAL_SIZE, "node %u is not known here", id);
    } else if (hello->identity_state > SP_IDENTITY_FORMED || hello->incarnation == 0) {
        (void)snprintf(text, SP_REFUSAL_SIZE, "node %u has no valid identity", id);
    } else if (other_cluster(facts, hello)) {
        (void)snprintf(text, SP_REFUSAL_SIZE, "node %u belongs to another cluster", id);
        return SPATE_ERR_WRONG_CLUSTER;
    } else if (facts->connected_incarnation != 0 &&
               facts->connected_incarnation != hello->incarnation) {
        (void)snprintf(text, SP_REFUSAL_SIZE, "another process with node id %u is connected", id);
    } else {
        return 0;
    }
    return SPATE_ERR_INVALID;
}
