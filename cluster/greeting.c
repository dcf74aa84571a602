/* Reasons to refuse a node, each with its sentence. */
#include "cluster/greeting.h"

#include <stdio.h>
#include <string.h>

#include "base/crc32c.h"
#include "spate/error.h"
#include "storage/store.h"

static bool other_cluster(const struct sp_greeting_facts *facts, const struct sp_peer_hello *hello)
{
    return facts->cluster_id != NULL && hello->identity_state == SP_IDENTITY_FORMED &&
           memcmp(hello->cluster_id, facts->cluster_id, SP_CLUSTER_ID_SIZE) != 0;
}

void sp_greeting_tell_levels(const struct sp_greeting_levels *levels, struct sp_peer_hello *hello)
{
    hello->feature_most = (uint8_t)levels->known.most;
    hello->feature_least = (uint8_t)levels->known.least;
    hello->feature_active = (uint16_t)levels->active;
}

/* Of two members of the same cluster, whose levels do not fit each other. What a HELLO says of the
 * cluster's level is one node's word, so it costs that node its connection and nothing else: a node
 * stops for the level that its own controller state has. */
static int
check_levels(const struct sp_greeting_facts *facts, const struct sp_peer_hello *hello, char *text)
{
    const struct sp_feature_range *known = &facts->levels->known;
    uint32_t active = facts->levels->active;
    uint32_t most = sp_feature_level_said(hello->feature_most);
    uint32_t least = sp_feature_level_said(hello->feature_least);

    if (known->most == 0 || facts->cluster_id == NULL ||
        hello->identity_state != SP_IDENTITY_FORMED) {
        return 0;
    }
    if (hello->feature_active > known->most) {
        (void)snprintf(text,
                       SP_REFUSAL_SIZE,
                       "this node knows feature levels up to %u, the cluster is at %u, says node "
                       "%u: install the newer build on this node",
                       known->most,
                       hello->feature_active,
                       hello->node_id);
        return SPATE_ERR_INVALID;
    }
    if (most < active) {
        (void)snprintf(text,
                       SP_REFUSAL_SIZE,
                       "node %u knows feature levels up to %u, the cluster is at %u: install the "
                       "newer build on it",
                       hello->node_id,
                       most,
                       active);
        return SPATE_ERR_INVALID;
    }
    if (active != 0 && least > active) {
        (void)snprintf(text,
                       SP_REFUSAL_SIZE,
                       "node %u knows feature levels from %u on, the cluster is at %u: upgrade one "
                       "release at a time",
                       hello->node_id,
                       least,
                       active);
        return SPATE_ERR_INVALID;
    }
    return 0;
}

/* Another directory than the controller knows. A node that is about to join is not FORMED before
 * the controller knows it. */
static bool is_other_directory(const struct sp_greeting_facts *facts,
                               const struct sp_peer_hello *hello)
{
    return facts->registered != NULL && facts->registered->incarnation != 0 &&
           facts->registered->incarnation != hello->incarnation;
}

/* The directory of an earlier time: another one has taken its place. */
static bool is_outdated(const struct sp_greeting_facts *facts, const struct sp_peer_hello *hello)
{
    return facts->current && facts->cluster_id != NULL &&
           hello->identity_state == SP_IDENTITY_FORMED && is_other_directory(facts, hello);
}

/* Another process is connected, and it is not the one that has to give way. */
static bool is_second(const struct sp_greeting_facts *facts, const struct sp_peer_hello *hello)
{
    bool goes_first =
        facts->registered != NULL && facts->registered->incarnation == hello->incarnation;

    return facts->connected_incarnation != 0 &&
           facts->connected_incarnation != hello->incarnation && !goes_first;
}

static bool is_old_copy(const struct sp_greeting_facts *facts, const struct sp_peer_hello *hello)
{
    const struct sp_life life = { hello->incarnation, hello->run };

    return facts->registered != NULL && sp_life_is_stale(&life, facts->registered);
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
        bool member = facts->cluster_id != NULL && hello->identity_state == SP_IDENTITY_FORMED &&
                      !other_cluster(facts, hello);
        (void)snprintf(text,
                       SP_REFUSAL_SIZE,
                       "node %u is not known here%s",
                       id,
                       member ? ": if it was removed it has to come back with an empty directory"
                              : "");
    } else if (hello->identity_state > SP_IDENTITY_FORMED || hello->incarnation == 0) {
        (void)snprintf(text, SP_REFUSAL_SIZE, "node %u has no valid identity", id);
    } else if (other_cluster(facts, hello)) {
        if (memcmp(hello->cluster_id, facts->cluster_id, SP_CLUSTER_ID_KEPT_SIZE) == 0) {
            (void)snprintf(text,
                           SP_REFUSAL_SIZE,
                           "node %u is of this cluster, but on the other side of a forced "
                           "membership: the node that was left out must come back empty",
                           id);
        } else {
            (void)snprintf(text, SP_REFUSAL_SIZE, "node %u belongs to another cluster", id);
        }
        return SPATE_ERR_WRONG_CLUSTER;
    } else if (is_outdated(facts, hello)) {
        (void)snprintf(text,
                       SP_REFUSAL_SIZE,
                       "node %u has another data directory now, and this is an earlier one: bring "
                       "that one back, or start it with an empty one",
                       id);
    } else if (is_second(facts, hello)) {
        (void)snprintf(text, SP_REFUSAL_SIZE, "another process with node id %u is connected", id);
    } else if (is_old_copy(facts, hello)) {
        (void)snprintf(
            text,
            SP_REFUSAL_SIZE,
            "node %u runs on an older copy of its data directory, which does not know what "
            "it has promised since: it must come back empty",
            id);
    } else {
        return check_levels(facts, hello, text);
    }
    return SPATE_ERR_INVALID;
}

bool sp_refusal_is_due(struct sp_refusals *refusals, const char *text, size_t size, uint64_t now_ms)
{
    uint32_t crc = sp_crc32c(0, text, size);
    unsigned oldest = 0;

    for (unsigned i = 0; i < SP_REFUSAL_REASONS_MAX; i++) {
        if (refusals->reasons[i].crc == crc && now_ms < refusals->reasons[i].due_ms) {
            return false;
        }
        if (refusals->reasons[i].due_ms < refusals->reasons[oldest].due_ms) {
            oldest = i;
        }
    }
    refusals->reasons[oldest].crc = crc;
    refusals->reasons[oldest].due_ms = now_ms + SP_REFUSAL_PAUSE_MS;
    return true;
}
