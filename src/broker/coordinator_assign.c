/* The assignment of a consumer group, from its members and the controller's state. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/trace.h"
#include "broker/assign.h"
#include "broker/coordinator_parts.h"
#include "broker/methods.h"
#include "cluster/machine_of.h"
#include "spate/error.h"

#define GONE_MAX 4096 /* topics deleted since: the rest goes with the next assignment */

/* One topic on its way through the assignment. */
struct entry {
    const struct sp_state_topic *topic;
    bool *wanted;     /* by member */
    int32_t *members; /* by partition */
    int32_t *racks;   /* by partition; NULL while no member has a rack */
};

struct plan {
    struct sp_coordinator *coordinator;
    struct sp_consumer_group *group;
    const struct sp_state *state;
    struct sp_map *by_id;   /* topic id -> struct entry, while they are gathered */
    struct entry **entries; /* in order of topic id */
    struct sp_map *by_rack; /* rack -> its first member; NULL while no member has a rack */
    int32_t *racks;         /* by member: number of its rack */
    unsigned entry_count;
    unsigned partition_count;
    uint64_t gone[GONE_MAX];
    unsigned gone_count;
};

static void entry_free(struct entry *entry)
{
    if (entry != NULL) {
        sp_mem_free(entry->wanted);
        sp_mem_free(entry->members);
        sp_mem_free(entry->racks);
        sp_mem_free(entry);
    }
}

static void plan_free(struct plan *plan)
{
    struct sp_map_cursor cursor = { 0 };
    struct entry *entry;

    while (plan->by_id != NULL && (entry = sp_map_next(plan->by_id, &cursor)) != NULL) {
        entry_free(entry);
    }
    sp_map_free(plan->by_id);
    sp_mem_free(plan->entries);
    sp_map_free(plan->by_rack);
    sp_mem_free(plan->racks);
    sp_mem_free(plan);
}

/* ---- gathering ------------------------------------------------------------------------------- */

static struct entry *entry_new(struct plan *plan, const struct sp_state_topic *topic)
{
    struct entry *entry = sp_mem_calloc(1, sizeof *entry);

    if (entry == NULL) {
        return NULL;
    }
    entry->topic = topic;
    entry->wanted = sp_mem_calloc(plan->group->member_count, sizeof *entry->wanted);
    entry->members = sp_mem_calloc(topic->partition_count, sizeof *entry->members);
    if (entry->wanted == NULL || entry->members == NULL ||
        sp_map_put_u64(plan->by_id, topic->topic_id, entry) != 0) {
        entry_free(entry);
        return NULL;
    }
    for (uint32_t i = 0; i < topic->partition_count; i++) {
        entry->members[i] = SP_ASSIGN_NOBODY;
    }
    plan->partition_count += topic->partition_count;
    return entry;
}

/* Notes that the member at `position` wants a topic. One that does not exist (yet) is passed over,
 * and so is what is too much for one group. */
static int want(struct plan *plan, unsigned position, struct sp_bytes name)
{
    char text[SP_TOPIC_NAME_SIZE_MAX + 1];
    const struct sp_state_topic *topic = NULL;
    struct entry *entry;

    if (sp_broker_copy_text(name, text, sizeof text) && !sp_state_is_internal(text)) {
        topic = sp_state_topic(plan->state, text);
    }
    if (topic == NULL) {
        return 0;
    }
    entry = sp_map_get_u64(plan->by_id, topic->topic_id);
    if (entry == NULL) {
        if (sp_map_count(plan->by_id) >= SP_CONSUMER_GROUP_TOPICS_MAX ||
            plan->partition_count + topic->partition_count > SP_CONSUMER_PARTITIONS_MAX) {
            SP_TRACE_WARN("groups",
                          "topic not assigned, the group has too many partitions",
                          "group=%s topic=%s",
                          plan->group->name,
                          topic->name);
            return 0;
        }
        entry = entry_new(plan, topic);
    }
    if (entry == NULL) {
        return SPATE_ERR_NOMEM;
    }
    entry->wanted[position] = true;
    return 0;
}

static int gather(struct plan *plan)
{
    for (unsigned i = 0; i < plan->group->member_count; i++) {
        struct sp_consumer_member *member = plan->group->members[i];
        struct sp_cursor cursor = sp_cursor_of(sp_bytes_of(member->topics, member->topics_size));
        uint32_t count = sp_cursor_array(&cursor);
        member->position = i;
        for (uint32_t j = 0; j < count; j++) {
            int rv = want(plan, i, sp_cursor_text(&cursor));
            if (rv != 0) {
                return rv;
            }
        }
    }
    return 0;
}

static int compare_entries(const void *left_pointer, const void *right_pointer)
{
    const struct entry *left = *(struct entry *const *)left_pointer;
    const struct entry *right = *(struct entry *const *)right_pointer;

    return left->topic->topic_id < right->topic->topic_id
               ? -1
               : left->topic->topic_id > right->topic->topic_id;
}

static int sort(struct plan *plan)
{
    struct sp_map_cursor cursor = { 0 };
    struct entry *entry;

    plan->entries = sp_mem_calloc(sp_map_count(plan->by_id) + 1, sizeof(struct entry *));
    if (plan->entries == NULL) {
        return SPATE_ERR_NOMEM;
    }
    while ((entry = sp_map_next(plan->by_id, &cursor)) != NULL) {
        plan->entries[plan->entry_count++] = entry;
    }
    qsort(plan->entries, plan->entry_count, sizeof(struct entry *), compare_entries);
    return 0;
}

/* A topic that shares or offsets name and the state has not: deleted, or (false) not known here
 * yet. */
static bool note_gone(struct plan *plan, uint64_t topic_id)
{
    if (sp_state_topic_by_id(plan->state, topic_id) != NULL ||
        (plan->gone_count > 0 && plan->gone[plan->gone_count - 1] == topic_id)) {
        return true;
    }
    if (topic_id >= sp_state_next_topic_id(plan->state)) {
        return false;
    }
    if (plan->gone_count < GONE_MAX) {
        plan->gone[plan->gone_count++] = topic_id;
    }
    return true;
}

/* Who has what now, and which topics are gone. False: this node's view of the cluster is older than
 * the group's; it will be asked again when it has caught up. */
static bool note_shares(struct plan *plan)
{
    const struct sp_consumer_group *group = plan->group;

    for (unsigned i = 0; i < group->share_count; i++) {
        const struct sp_consumer_share *share = &group->shares[i];
        struct entry *entry = sp_map_get_u64(plan->by_id, share->topic_id);
        const struct sp_consumer_member *member =
            share->target != NULL ? share->target : share->owner;
        if (entry == NULL) {
            if (!note_gone(plan, share->topic_id)) {
                return false;
            }
        } else if (share->partition < entry->topic->partition_count) {
            entry->members[share->partition] = (int32_t)member->position;
        }
    }
    for (unsigned i = 0; i < group->offset_count; i++) {
        if (!note_gone(plan, group->offsets[i].topic_id)) {
            return false;
        }
    }
    return true;
}

/* ---- racks ----------------------------------------------------------------------------------- */

/* The number of a rack: the first member that is in it. */
static int32_t rack_number(const struct plan *plan, struct sp_bytes rack)
{
    const struct sp_consumer_member *first =
        rack.size == 0 ? NULL : sp_map_get(plan->by_rack, rack.bytes, rack.size);

    return first == NULL ? SP_ASSIGN_NO_RACK : (int32_t)first->position;
}

/* The rack that a partition is read from: its leader's, or while none is known the one of its first
 * replica, which leads when all is well. */
static struct sp_bytes rack_of(const struct plan *plan, const struct sp_state_partition *partition)
{
    uint32_t node_id =
        sp_group_table_leader(plan->coordinator->broker->options.table, partition->group_id, NULL);
    const struct sp_state_node *node;

    if (node_id == 0 && partition->replica_count > 0) {
        node_id = partition->replicas[0].node_id;
    }
    node = sp_state_node(plan->state, node_id);
    return node == NULL ? sp_bytes_null() : sp_machine_rack(node);
}

static int note_topic_racks(const struct plan *plan, struct entry *entry)
{
    entry->racks = sp_mem_calloc(entry->topic->partition_count, sizeof *entry->racks);
    if (entry->racks == NULL) {
        return SPATE_ERR_NOMEM;
    }
    for (uint32_t i = 0; i < entry->topic->partition_count; i++) {
        entry->racks[i] = rack_number(plan, rack_of(plan, &entry->topic->partitions[i]));
    }
    return 0;
}

static int note_member_racks(struct plan *plan)
{
    const struct sp_consumer_group *group = plan->group;

    plan->by_rack = sp_map_new();
    plan->racks = sp_mem_calloc(group->member_count, sizeof *plan->racks);
    if (plan->by_rack == NULL || plan->racks == NULL) {
        return SPATE_ERR_NOMEM;
    }
    for (unsigned i = 0; i < group->member_count; i++) {
        const char *rack = group->members[i]->rack;
        if (rack[0] != '\0' && sp_map_get(plan->by_rack, rack, strlen(rack)) == NULL &&
            sp_map_put(plan->by_rack, rack, strlen(rack), group->members[i]) != 0) {
            return SPATE_ERR_NOMEM;
        }
        plan->racks[i] = rack_number(plan, sp_bytes_text(rack));
    }
    return 0;
}

static int note_racks(struct plan *plan)
{
    bool any = false;
    int rv;

    for (unsigned i = 0; i < plan->group->member_count; i++) {
        any = any || plan->group->members[i]->rack[0] != '\0';
    }
    if (!any) {
        return 0;
    }
    rv = note_member_racks(plan);
    for (unsigned i = 0; i < plan->entry_count && rv == 0; i++) {
        rv = note_topic_racks(plan, plan->entries[i]);
    }
    return rv;
}

/* ---- proposing ------------------------------------------------------------------------------- */

/* Is it other than what the group has? */
static bool differs(const struct plan *plan)
{
    const struct sp_consumer_group *group = plan->group;
    unsigned same = 0;
    unsigned given = 0;
    unsigned targets = 0;

    for (unsigned i = 0; i < plan->entry_count; i++) {
        const struct entry *entry = plan->entries[i];
        for (uint32_t j = 0; j < entry->topic->partition_count; j++) {
            const struct sp_consumer_share *share =
                sp_consumer_group_share(group, entry->topic->topic_id, j);
            given += entry->members[j] != SP_ASSIGN_NOBODY;
            same += entry->members[j] != SP_ASSIGN_NOBODY && share != NULL &&
                    share->target != NULL && (int32_t)share->target->position == entry->members[j];
        }
    }
    for (unsigned i = 0; i < group->share_count; i++) {
        targets += group->shares[i].target != NULL;
    }
    return group->version != group->assigned || plan->gone_count > 0 || same != given ||
           same != targets;
}

static void on_done(struct sp_coordinator_job *job, int status)
{
    (void)status; /* the group is looked at again, and assigned again if need be */
    sp_mem_free(job);
}

static int propose(struct plan *plan, const struct sp_assign_topic *topics)
{
    struct sp_consumer_target *targets =
        sp_mem_calloc((size_t)plan->entry_count + 1, sizeof *targets);
    struct sp_coordinator_job *job = sp_mem_calloc(1, sizeof *job);
    struct sp_buf command;
    int rv;

    if (targets == NULL || job == NULL) {
        sp_mem_free(targets);
        sp_mem_free(job);
        return SPATE_ERR_NOMEM;
    }
    for (unsigned i = 0; i < plan->entry_count; i++) {
        targets[i] = (struct sp_consumer_target){ plan->entries[i]->topic->topic_id,
                                                  topics[i].partition_count,
                                                  topics[i].members };
    }
    job->done = on_done;
    job->assigns = true;
    sp_buf_init(&command, SP_CONSUMER_COMMAND_BYTES_MAX);
    rv = sp_consumer_command_assign(sp_bytes_text(plan->group->name),
                                    plan->group->version,
                                    targets,
                                    plan->entry_count,
                                    plan->gone,
                                    plan->gone_count,
                                    &command);
    rv = sp_coordinator_submit(plan->coordinator, job, plan->group->name, rv, &command);
    if (rv != 0) {
        sp_mem_free(job);
    }
    sp_mem_free(targets);
    return rv;
}

static int assign_and_propose(struct plan *plan)
{
    struct sp_assign_topic *topics = sp_mem_calloc((size_t)plan->entry_count + 1, sizeof *topics);
    int rv;

    if (topics == NULL) {
        return SPATE_ERR_NOMEM;
    }
    for (unsigned i = 0; i < plan->entry_count; i++) {
        topics[i] = (struct sp_assign_topic){ plan->entries[i]->topic->partition_count,
                                              plan->entries[i]->wanted,
                                              plan->entries[i]->members,
                                              plan->entries[i]->racks };
    }
    rv = sp_assign(topics, plan->entry_count, plan->racks, plan->group->member_count);
    if (rv == 0 && differs(plan)) {
        rv = propose(plan, topics);
    }
    sp_mem_free(topics);
    return rv;
}

static int run(struct plan *plan)
{
    int rv = gather(plan);

    if (rv == 0) {
        rv = sort(plan);
    }
    if (rv == 0) {
        rv = note_racks(plan);
    }
    if (rv == 0 && note_shares(plan)) {
        rv = assign_and_propose(plan);
    }
    return rv;
}

void sp_coordinator_assign(struct sp_coordinator *coordinator, struct sp_consumer_group *group)
{
    struct plan *plan = sp_mem_calloc(1, sizeof *plan);
    int rv = SPATE_ERR_NOMEM;

    if (plan != NULL) {
        plan->coordinator = coordinator;
        plan->group = group;
        plan->state = sp_controller_state(coordinator->broker->options.controller);
        plan->by_id = sp_map_new();
        rv = plan->by_id == NULL ? SPATE_ERR_NOMEM : run(plan);
        plan_free(plan);
    }
    group->topics_changed = rv != 0;
    if (rv != 0 && sp_trace_allowed(&coordinator->broker->trace_limit,
                                    sp_loop_now_ms(coordinator->broker->options.loop),
                                    10,
                                    NULL)) {
        SP_TRACE_WARN("groups",
                      "assignment not made, tried again",
                      "group=%s error=%s",
                      group->name,
                      spate_error_name(rv));
    }
}
