#include "cluster/membership_command.h"

#include <stdio.h>

#include "cluster/machine_of.h"
#include "cluster/state_codec.h"
#include "spate/error.h"

/* Sets the text and returns `status`. */
#define REFUSE(status, text, text_size, ...)                                                       \
    ((void)snprintf((text), (text_size), __VA_ARGS__), (status))

/* ---- moves ----------------------------------------------------------------------------------- */

static int find_partition(const struct sp_state *state,
                          const struct sp_membership_change *change,
                          const struct sp_state_topic **out_topic,
                          char *text,
                          size_t text_size)
{
    const struct sp_state_topic *topic = sp_state_topic_by_id(state, change->topic_id);

    if (topic == NULL) {
        return REFUSE(SPATE_ERR_UNKNOWN_TOPIC, text, text_size, "the topic has been deleted");
    }
    if (change->partition >= topic->partition_count) {
        return REFUSE(SPATE_ERR_UNKNOWN_PARTITION,
                      text,
                      text_size,
                      "topic `%.200s` has %u partitions, from 0 on",
                      topic->name,
                      topic->partition_count);
    }
    *out_topic = topic;
    return 0;
}

static int check_wish(const struct sp_state *state,
                      const struct sp_membership_change *change,
                      unsigned i,
                      char *text,
                      size_t text_size)
{
    uint32_t node_id = change->wishes[i].node_id;

    if (sp_state_node(state, node_id) == NULL) {
        return REFUSE(SPATE_ERR_INVALID,
                      text,
                      text_size,
                      "there is no node %u: list them with `spate cluster nodes`",
                      node_id);
    }
    for (unsigned k = 0; k < i; k++) {
        if (change->wishes[k].node_id == node_id) {
            return REFUSE(SPATE_ERR_INVALID, text, text_size, "node %u is named twice", node_id);
        }
        if (sp_machine_of_id(state, change->wishes[k].node_id) ==
            sp_machine_of_id(state, node_id)) {
            return REFUSE(SPATE_ERR_INVALID,
                          text,
                          text_size,
                          "nodes %u and %u are shards of one process, on machine %u: replicas of a "
                          "partition must not fall together",
                          change->wishes[k].node_id,
                          node_id,
                          sp_machine_of_id(state, node_id));
        }
    }
    if (sp_state_replicas_on(state, node_id) >= SP_GROUPS_PER_NODE_MAX) {
        return REFUSE(SPATE_ERR_INVALID,
                      text,
                      text_size,
                      "node %u has %d replicas, which is the limit",
                      node_id,
                      SP_GROUPS_PER_NODE_MAX);
    }
    return 0;
}

/* What is acknowledged since would be lost with the replica in whose place another one came. */
static int check_anew(const struct sp_state *state,
                      const struct sp_state_topic *topic,
                      const struct sp_membership_change *change,
                      char *text,
                      size_t text_size)
{
    const struct sp_state_partition *partition = &topic->partitions[change->partition];
    uint32_t node_id = partition->replicas[0].node_id;

    for (unsigned i = 0; i < change->count && sp_state_began_anew(state, partition); i++) {
        if (change->wishes[i].node_id == node_id) {
            return REFUSE(SPATE_ERR_INVALID,
                          text,
                          text_size,
                          "partition %u began anew on node %u, whose disk was replaced, and must "
                          "leave it once: first spate partition move %.100s %u NODE, to another "
                          "node",
                          change->partition,
                          node_id,
                          topic->name,
                          change->partition);
        }
    }
    return 0;
}

static int move(const struct sp_state *state,
                const struct sp_membership_change *change,
                struct sp_buf *out,
                char *text,
                size_t text_size)
{
    const struct sp_state_topic *topic = NULL;
    int rv = find_partition(state, change, &topic, text, text_size);

    if (rv == 0 && change->count == 0) {
        rv = REFUSE(SPATE_ERR_INVALID, text, text_size, "a partition needs at least one replica");
    }
    for (unsigned i = 0; i < change->count && rv == 0; i++) {
        rv = check_wish(state, change, i, text, text_size);
    }
    if (rv == 0) {
        rv = check_anew(state, topic, change, text, text_size);
    }
    if (rv == 0) {
        const struct sp_state_partition *partition = &topic->partitions[change->partition];
        bool moving = sp_state_move(state, partition->group_id) != NULL;
        if (!moving && sp_state_move_count(state) >= SP_MOVES_MAX) {
            rv = REFUSE(SPATE_ERR_BUSY,
                        text,
                        text_size,
                        "%d partitions are being moved: wait until some are done",
                        SP_MOVES_MAX);
        }
    }
    return rv != 0 ? rv
                   : sp_state_command_move_begin(
                         change->topic_id, change->partition, change->wishes, change->count, out);
}

const struct sp_state_partition *sp_membership_only(const struct sp_state *state,
                                                    const struct sp_membership_change *change)
{
    const struct sp_state_topic *topic = sp_state_topic_by_id(state, change->topic_id);

    if (change->kind != SP_MEMBERSHIP_MOVE || topic == NULL ||
        change->partition >= topic->partition_count) {
        return NULL;
    }
    const struct sp_state_partition *partition = &topic->partitions[change->partition];
    return partition->replica_count == 1 && !sp_state_is_forsaken(state, partition) ? partition
                                                                                    : NULL;
}

int sp_membership_refuse_unled(const struct sp_state_partition *only, char *text, size_t text_size)
{
    return REFUSE(SPATE_ERR_INVALID,
                  text,
                  text_size,
                  "partition %u has one replica, on node %u, and no leader at the moment, which "
                  "alone could fill another one: see `spate cluster health`",
                  only->partition,
                  only->replicas[0].node_id);
}

uint32_t sp_membership_move_mark(const struct sp_state_move *move)
{
    uint32_t mark = (uint32_t)move->begun_ms;

    return mark == 0 ? 1 : mark;
}

/* After a forced membership a move may end where the partition began anew. As one that was moved it
 * would not run any more: the planner gives it another target. */
static bool stays_anew(const struct sp_state *state,
                       const struct sp_state_partition *partition,
                       const struct sp_membership_change *change)
{
    bool stays = false;

    for (unsigned i = 0; i < change->count; i++) {
        stays = stays || change->ids[i] == partition->replicas[0].replica_id;
    }
    return stays && sp_state_began_anew(state, partition);
}

static int move_done(const struct sp_state *state,
                     const struct sp_membership_change *change,
                     struct sp_buf *out,
                     char *text,
                     size_t text_size)
{
    const struct sp_state_topic *topic = NULL;
    int rv = find_partition(state, change, &topic, text, text_size);

    if (rv != 0) {
        return rv;
    }
    const struct sp_state_partition *partition = &topic->partitions[change->partition];
    const struct sp_state_move *under_way = sp_state_move(state, partition->group_id);
    bool same = under_way != NULL && under_way->target_count == change->count &&
                !stays_anew(state, partition, change) &&
                (change->node_id == 0 || change->node_id == sp_membership_move_mark(under_way));
    for (unsigned i = 0; same && i < change->count; i++) {
        same = under_way->target[i].replica_id == change->ids[i];
    }
    return same ? sp_state_command_move_done(under_way, out)
                : REFUSE(SPATE_ERR_NOT_FOUND, text, text_size, "there is no such move");
}

bool sp_membership_needs_replica(const struct sp_state *state,
                                 const struct sp_state_partition *partition,
                                 uint64_t replica_id,
                                 char *text,
                                 size_t text_size)
{
    if (sp_state_outlives(state, partition, replica_id)) {
        return false;
    }
    if (partition->replica_count == 1) {
        (void)snprintf(text,
                       text_size,
                       "it was the only replica, there is nothing to refill it from: mend it by "
                       "hand (docs/operations.md, Damage)");
    } else {
        (void)snprintf(text,
                       text_size,
                       "without it fewer than a majority of the %u replicas is left to refill it "
                       "from: mend one by hand, or force the membership (docs/operations.md, "
                       "Damage)",
                       partition->replica_count);
    }
    return true;
}

/* A damaged replica: the same nodes, with a new one in its place. */
static int lost_replica(const struct sp_state *state,
                        const struct sp_membership_change *change,
                        struct sp_buf *out,
                        char *text,
                        size_t text_size)
{
    struct sp_state_wish wishes[SP_REPLICAS_MAX];
    const struct sp_state_topic *topic = NULL;
    bool found = false;
    int rv = find_partition(state, change, &topic, text, text_size);

    if (rv != 0) {
        return rv;
    }
    const struct sp_state_partition *partition = &topic->partitions[change->partition];
    const struct sp_state_move *under_way = sp_state_move(state, partition->group_id);
    unsigned count = under_way != NULL ? under_way->target_count : partition->replica_count;
    const struct sp_replica_place *places =
        under_way != NULL ? under_way->target : partition->replicas;
    for (unsigned i = 0; i < count; i++) {
        bool lost = change->count == 1 && places[i].replica_id == change->ids[0];
        wishes[i] = (struct sp_state_wish){ .node_id = places[i].node_id, .fresh = lost };
        found = found || lost;
    }
    if (!found) {
        return REFUSE(SPATE_ERR_EXISTS, text, text_size, "another replica stands in its place");
    }
    if (sp_membership_needs_replica(state, partition, change->ids[0], text, text_size)) {
        return SPATE_ERR_INVALID;
    }
    return sp_state_command_move_begin(change->topic_id, change->partition, wishes, count, out);
}

/* ---- nodes ----------------------------------------------------------------------------------- */

/* The command is read back, since apply stops every replica when it meets one that it cannot read.
 */
static int join_node(const struct sp_state *state,
                     const struct sp_membership_change *change,
                     struct sp_buf *out,
                     char *text,
                     size_t text_size)
{
    const struct sp_state_node *known = sp_state_node(state, change->node.node_id);
    struct sp_state_node node;
    struct sp_cursor cursor;
    int rv = sp_state_command_join_node(&change->node, out);

    if (rv != 0) {
        return rv;
    }
    sp_cursor_init(&cursor, out->bytes, out->size);
    (void)sp_cursor_array(&cursor); /* sticky, here and below */
    sp_cursor_skip(&cursor);
    sp_state_node_read(&cursor, &node);
    if (sp_cursor_finish(&cursor) != 0 || node.incarnation == 0 || node.node_id == 0 ||
        node.node_id > SP_NODE_ID_MAX || node.client_address[0] == '\0' ||
        node.peer_address[0] == '\0') {
        return REFUSE(SPATE_ERR_INVALID,
                      text,
                      text_size,
                      "node %u has a bad id, incarnation, address or rack",
                      change->node.node_id);
    }
    /* Looked at again: another one may have been let in since. Who is let in with an empty
     * directory has a replica only once its incarnation is known. */
    if (known != NULL && known->incarnation != node.incarnation && change->count > 0 &&
        change->ids[0] != 0) {
        return REFUSE(SPATE_ERR_INVALID,
                      text,
                      text_size,
                      "node %u has another data directory now, and this is an earlier one: bring "
                      "that one back, or start it with an empty one",
                      node.node_id);
    }
    if (known != NULL && known->incarnation != node.incarnation &&
        sp_machine_of(known) != sp_machine_of(&node)) {
        return REFUSE(SPATE_ERR_INVALID,
                      text,
                      text_size,
                      "node %u is known on machine %u and this one is on machine %u: remove that "
                      "node first, or number the nodes so that no id is another's plus %d",
                      node.node_id,
                      sp_machine_of(known),
                      sp_machine_of(&node),
                      SP_SHARD_NODE_STEP);
    }
    if (known != NULL && sp_state_same_node(known, &node)) {
        return SPATE_ERR_EXISTS; /* it asks again: who asked it has not applied that yet */
    }
    if (known == NULL && sp_state_node_count(state) >= SP_CONTROLLER_MEMBERS_MAX) {
        return REFUSE(SPATE_ERR_INVALID,
                      text,
                      text_size,
                      "the cluster has %u nodes, which is the limit",
                      sp_state_node_count(state));
    }
    return 0;
}

static int find_node(const struct sp_state *state, uint32_t node_id, char *text, size_t text_size)
{
    return sp_state_node(state, node_id) != NULL
               ? 0
               : REFUSE(SPATE_ERR_NOT_FOUND,
                        text,
                        text_size,
                        "there is no node %u: list them with `spate cluster nodes`",
                        node_id);
}

static int drain_node(const struct sp_state *state,
                      const struct sp_membership_change *change,
                      struct sp_buf *out,
                      char *text,
                      size_t text_size)
{
    int rv = find_node(state, change->node_id, text, text_size);

    if (rv == 0 && sp_state_member(state, change->node_id).draining == change->flag) {
        rv = REFUSE(SPATE_ERR_EXISTS,
                    text,
                    text_size,
                    "node %u is %s already",
                    change->node_id,
                    change->flag ? "draining" : "no longer draining");
    }
    return rv != 0 ? rv : sp_state_command_drain_node(change->node_id, change->flag, out);
}

static int remove_node(const struct sp_state *state,
                       const struct sp_membership_change *change,
                       struct sp_buf *out,
                       char *text,
                       size_t text_size)
{
    uint32_t replicas = sp_state_replicas_on(state, change->node_id);
    int rv = find_node(state, change->node_id, text, text_size);

    if (rv == 0 && replicas > 0) {
        rv = REFUSE(SPATE_ERR_BUSY,
                    text,
                    text_size,
                    "node %u has %u replica%s: drain it first with `spate cluster drain %u`",
                    change->node_id,
                    replicas,
                    replicas == 1 ? "" : "s",
                    change->node_id);
    }
    return rv != 0 ? rv : sp_state_command_remove_node(change->node_id, out);
}

int sp_membership_command(const struct sp_state *state,
                          const struct sp_membership_change *change,
                          struct sp_buf *out,
                          char *text,
                          size_t text_size)
{
    switch (change->kind) {
    case SP_MEMBERSHIP_MOVE:
        return move(state, change, out, text, text_size);
    case SP_MEMBERSHIP_MOVE_DONE:
        return move_done(state, change, out, text, text_size);
    case SP_MEMBERSHIP_JOIN_NODE:
        return join_node(state, change, out, text, text_size);
    case SP_MEMBERSHIP_DRAIN_NODE:
        return drain_node(state, change, out, text, text_size);
    case SP_MEMBERSHIP_REMOVE_NODE:
        return remove_node(state, change, out, text, text_size);
    case SP_MEMBERSHIP_NODE_GONE:
        return sp_state_command_node_gone(change->node_id, out);
    case SP_MEMBERSHIP_RENEW_VOTER:
        return sp_state_command_renew_voter(change->node_id, change->ids[0], out);
    case SP_MEMBERSHIP_LOST_REPLICA:
        return lost_replica(state, change, out, text, text_size);
    }
    return SPATE_ERR_INTERNAL;
}

void sp_membership_explain(const struct sp_membership_change *change,
                           int answer,
                           char *text,
                           size_t text_size)
{
    const char *reason = spate_strerror(answer);

    if (answer == SPATE_ERR_EXISTS) {
        reason = "it is so already";
    } else if (answer == SPATE_ERR_BUSY && change->kind == SP_MEMBERSHIP_MOVE) {
        reason = "too many partitions are being moved, or this one got too many other targets: "
                 "wait until it is done";
    } else if (answer == SPATE_ERR_INVALID && change->kind == SP_MEMBERSHIP_REMOVE_NODE) {
        reason = "the node has replicas: drain it first";
    } else if (answer == SPATE_ERR_INVALID && change->kind == SP_MEMBERSHIP_LOST_REPLICA) {
        reason = "without it no majority of the replicas is left to refill it from";
    } else if (answer == SPATE_ERR_INVALID) {
        reason = "a node is not known, named twice, or one too many";
    }
    (void)snprintf(text, text_size, "%s", answer == 0 ? "" : reason);
}
