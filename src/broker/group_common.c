#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/mem.h"
#include "broker/group_methods.h"
#include "spate/error.h"

/* ---- finding --------------------------------------------------------------------------------- */

const struct sp_state_topic *sp_group_place(struct sp_broker *broker,
                                            struct sp_request *request,
                                            struct sp_bytes group,
                                            uint32_t *out_partition)
{
    const struct sp_state_topic *topic =
        sp_state_topic(sp_controller_state(broker->options.controller), SP_STATE_GROUPS_TOPIC);

    if (!sp_consumer_group_name_valid(group)) {
        sp_request_fail(request,
                        SPATE_ERR_INVALID,
                        "the name of a group has 1 to 249 bytes and no control characters");
        return NULL;
    }
    if (topic == NULL) {
        sp_request_fail(request,
                        SPATE_ERR_NOT_READY,
                        "consumer groups are set up once all nodes of the cluster have registered: "
                        "try again");
        return NULL;
    }
    *out_partition = sp_crc32c(0, group.bytes, group.size) % topic->partition_count;
    return topic;
}

struct sp_coordinator *sp_group_coordinator(struct sp_broker *broker,
                                            struct sp_request *request,
                                            struct sp_bytes group,
                                            char name[SP_CONSUMER_GROUP_NAME_SIZE_MAX + 1])
{
    uint32_t partition;
    const struct sp_state_topic *topic = sp_group_place(broker, request, group, &partition);
    struct sp_coordinator *coordinator;

    if (topic == NULL) {
        return NULL;
    }
    (void)sp_broker_copy_text(group, name, SP_CONSUMER_GROUP_NAME_SIZE_MAX + 1); /* it is valid */
    coordinator = sp_map_get_u64(broker->coordinators, topic->partitions[partition].group_id);
    if (coordinator == NULL || !coordinator->leading) {
        sp_broker_not_leader(
            broker, request, topic->name, partition, topic->partitions[partition].group_id);
        return NULL;
    }
    return coordinator;
}

struct sp_coordinator *sp_group_current_coordinator(struct sp_broker *broker,
                                                    struct sp_request *request,
                                                    const struct sp_message *message,
                                                    struct sp_bytes group,
                                                    char name[SP_CONSUMER_GROUP_NAME_SIZE_MAX + 1])
{
    struct sp_coordinator *coordinator = sp_group_coordinator(broker, request, group, name);

    if (coordinator == NULL || !sp_broker_confirm(broker, request, message, coordinator->group)) {
        return NULL;
    }
    return coordinator;
}

void sp_group_not_leader(const struct sp_coordinator *coordinator, struct sp_request *request)
{
    sp_broker_not_leader(coordinator->broker,
                         request,
                         SP_STATE_GROUPS_TOPIC,
                         coordinator->partition,
                         coordinator->group_id);
}

/* What the caller can do about it; NULL: the code says it. */
static const char *advice(int code)
{
    switch (code) {
    case SPATE_ERR_UNKNOWN_MEMBER:
        return "it does not know this member (any more): join again";
    case SPATE_ERR_GROUP_FENCED:
        return "another member has taken the place or the partition: heartbeat, and go on with "
               "what "
               "is assigned";
    case SPATE_ERR_NOT_FOUND:
        return "there is no such group: look at the list of groups";
    case SPATE_ERR_BUSY:
        return "a limit of groups, members, offsets or waiting requests is reached";
    case SPATE_ERR_LEADER_CHANGED:
        return "leadership moved before the outcome was known: ask again";
    default: /* the code's own meaning will do */
        return NULL;
    }
}

void sp_group_fail(struct sp_request *request, int code, const char *group)
{
    const char *what = advice(code);
    char text[SP_CONSUMER_GROUP_NAME_SIZE_MAX + 160];

    (void)snprintf(
        text, sizeof text, "group `%s`: %s", group, what == NULL ? spate_strerror(code) : what);
    sp_request_fail(request, code, text);
}

/* ---- sets of partitions ---------------------------------------------------------------------- */

static int compare_places(const void *left_pointer, const void *right_pointer)
{
    const struct sp_consumer_place *left = left_pointer;
    const struct sp_consumer_place *right = right_pointer;

    if (left->topic_id != right->topic_id) {
        return left->topic_id < right->topic_id ? -1 : 1;
    }
    return left->partition < right->partition ? -1 : left->partition > right->partition;
}

static int add_topic(const struct sp_broker *broker,
                     const struct sp_group_places *places,
                     struct sp_group_set *set,
                     struct sp_api_error *error)
{
    struct sp_cursor cursor = sp_cursor_of(places->partitions);
    uint32_t count = sp_cursor_array(&cursor);
    const struct sp_state_topic *topic = NULL;
    char name[SP_TOPIC_NAME_SIZE_MAX + 1];

    if (sp_broker_copy_text(places->topic, name, sizeof name)) {
        topic = sp_state_topic(sp_controller_state(broker->options.controller), name);
    }
    if (set->count + count > 2 * SP_CONSUMER_PARTITIONS_MAX) {
        (void)snprintf(error->text, sizeof error->text, "owned: too many partitions");
        return SPATE_ERR_INVALID;
    }
    struct sp_consumer_place *grown =
        sp_mem_realloc(set->places, ((size_t)set->count + count + 1) * sizeof *grown);
    if (grown == NULL) {
        return SPATE_ERR_NOMEM;
    }
    set->places = grown;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t partition = (uint32_t)sp_cursor_int(&cursor, 0, INT32_MAX);
        if (topic != NULL) {
            grown[set->count++] = (struct sp_consumer_place){ topic->topic_id, partition };
        }
    }
    if (cursor.status != 0) {
        (void)snprintf(
            error->text, sizeof error->text, "owned: partitions must be an array of numbers");
        return SPATE_ERR_INVALID;
    }
    return 0;
}

void sp_group_places_sort(struct sp_consumer_place *places, unsigned count)
{
    qsort(places, count, sizeof places[0], compare_places);
}

static void sort_set(struct sp_group_set *set)
{
    unsigned kept = 0;

    if (set->count == 0) {
        return;
    }
    sp_group_places_sort(set->places, set->count);
    for (unsigned i = 1; i < set->count; i++) {
        if (compare_places(&set->places[kept], &set->places[i]) != 0) {
            set->places[++kept] = set->places[i];
        }
    }
    set->count = kept + 1;
}

/* Gives back what was taken for places that were named more than once. */
static void fit(struct sp_group_set *set)
{
    struct sp_consumer_place *places = set->places;

    if (places != NULL) {
        places = sp_mem_realloc(places, ((size_t)set->count + 1) * sizeof *places);
    }
    set->places = places != NULL ? places : set->places;
}

int sp_group_set_read(const struct sp_broker *broker,
                      struct sp_bytes encoded,
                      struct sp_group_set *out,
                      struct sp_api_error *error)
{
    struct sp_group_set set = { NULL, 0 };
    struct sp_cursor cursor = sp_cursor_of(encoded);
    uint32_t count = encoded.bytes == NULL ? 0 : sp_cursor_array(&cursor);
    int rv = 0;

    error->text[0] = '\0';
    if (encoded.bytes != NULL && cursor.status != 0) {
        (void)snprintf(error->text,
                       sizeof error->text,
                       "field `owned` must be an array of { topic, partitions }");
        rv = SPATE_ERR_INVALID;
    }
    for (uint32_t i = 0; i < count && rv == 0; i++) {
        struct sp_group_places places;
        rv = sp_group_places_read(&cursor, &places, error);
        if (rv == 0) {
            rv = add_topic(broker, &places, &set, error);
        }
    }
    if (rv != 0) {
        sp_group_set_deinit(&set);
        return rv;
    }
    sort_set(&set);
    fit(&set);
    *out = set;
    return 0;
}

bool sp_group_set_has(const struct sp_group_set *set, uint64_t topic_id, uint32_t partition)
{
    struct sp_consumer_place place = { topic_id, partition };

    return set->count > 0 &&
           bsearch(&place, set->places, set->count, sizeof set->places[0], compare_places) != NULL;
}

void sp_group_set_deinit(struct sp_group_set *set)
{
    sp_mem_free(set->places);
    *set = (struct sp_group_set){ NULL, 0 };
}

/* How many places from `first` on belong to the same topic. */
static unsigned run_of(const struct sp_consumer_place *places, unsigned first, unsigned count)
{
    unsigned end = first;

    while (end < count && places[end].topic_id == places[first].topic_id) {
        end += 1;
    }
    return end - first;
}

void sp_group_places_pack(const struct sp_broker *broker,
                          struct sp_pack *pack,
                          const struct sp_consumer_place *places,
                          unsigned count)
{
    const struct sp_state *state = sp_controller_state(broker->options.controller);
    unsigned topics = 0;

    for (unsigned i = 0; i < count; i += run_of(places, i, count)) {
        topics += sp_state_topic_by_id(state, places[i].topic_id) != NULL;
    }
    sp_pack_array(pack, topics);
    for (unsigned i = 0; i < count; i += run_of(places, i, count)) {
        const struct sp_state_topic *topic = sp_state_topic_by_id(state, places[i].topic_id);
        unsigned partitions = run_of(places, i, count);
        if (topic == NULL) {
            continue;
        }
        sp_pack_map(pack, 2);
        sp_pack_text(pack, "topic");
        sp_pack_text(pack, topic->name);
        sp_pack_text(pack, "partitions");
        sp_pack_array(pack, partitions);
        for (unsigned j = 0; j < partitions; j++) {
            sp_pack_uint(pack, places[i + j].partition);
        }
    }
}

void sp_group_partition_pack(struct sp_pack *pack,
                             const struct sp_state_topic *topic,
                             uint32_t partition)
{
    sp_pack_text(pack, "topic");
    sp_pack_text(pack, topic->name);
    sp_pack_text(pack, "partition");
    sp_pack_uint(pack, partition);
}
