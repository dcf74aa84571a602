#include "sim_members.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "sim_clients.h"
#include "sim_cluster.h"
#include "sim_fiber.h"
#include "sim_model.h"
#include "spate/spate.h"

/* What is known of the group's way through one place. */
static struct {
    bool *processed; /* [offset] */
    size_t capacity;
    int64_t done;      /* below it all is processed */
    int64_t committed; /* the highest offset whose commit was acknowledged */
} group_places[SIM_PARTITIONS_MAX];

/* One life of a member. */
struct member {
    struct sim_client *own;
    struct spate_client *client;
    struct spate_consumer *consumer;
    int64_t next[SIM_PARTITIONS_MAX]; /* -1: not its */
    bool by_hand;
    bool is_static; /* has a group.instance */
    unsigned starts;
    bool holds; /* a record that is not processed yet */
    uint32_t place;
    int64_t offset;
};

void sim_members_init(void)
{
    memset(group_places, 0, sizeof group_places);
}

/* ---- what the group has done ----------------------------------------------------------------- */

static void mark_processed(uint32_t place, int64_t offset)
{
    if ((uint64_t)offset >= group_places[place].capacity) {
        size_t capacity = 2 * (size_t)offset + 256;
        group_places[place].processed = sim_grow(group_places[place].processed, capacity);
        memset(group_places[place].processed + group_places[place].capacity,
               0,
               capacity - group_places[place].capacity);
        group_places[place].capacity = capacity;
    }
    sim_model.counts.processed_twice += group_places[place].processed[offset] ? 1 : 0;
    sim_model.counts.processed += 1;
    group_places[place].processed[offset] = true;
    while ((uint64_t)group_places[place].done < group_places[place].capacity &&
           group_places[place].processed[group_places[place].done]) {
        group_places[place].done += 1;
    }
}

static bool all_processed(void)
{
    for (uint32_t i = 0; i < sim_model.kept_count; i++) {
        const struct sim_group *group = sim_model.places[i].group;
        if (group != NULL && group_places[i].done < group->next_offset) {
            return false;
        }
    }
    return true;
}

/* A member goes on at `offset`, which the cluster says was committed (0: it says that nothing was).
 */
static void check_start(uint32_t place, int64_t offset)
{
    if (offset > group_places[place].done) {
        sim_fail("place %u: the group goes on at offset %lld, but offset %lld was never processed",
                 place,
                 (long long)offset,
                 (long long)group_places[place].done);
    } else if (offset < group_places[place].committed) {
        sim_fail("place %u: the group goes back to offset %lld, but a commit of %lld was "
                 "acknowledged",
                 place,
                 (long long)offset,
                 (long long)group_places[place].committed);
    }
}

/* What is sent is either refused or stored: waiting for a member that dies in between would show
 * less. */
void __wrap_sp_group_commit_request_encode(struct sp_pack *pack,
                                           const struct sp_group_commit_request *request)
{
    struct sp_cursor cursor = sp_cursor_of(request->offsets);
    uint32_t count = sp_cursor_array(&cursor);

    sim_model.counts.looks[SIM_LOOK_sp_group_commit_request_encode] += 1;
    for (uint32_t i = 0; i < count; i++) {
        struct sp_group_offset row;
        char topic[SP_TOPIC_NAME_SIZE_MAX + 1];
        int rv = sp_group_offset_read(&cursor, &row, NULL);

        SP_ASSERT(rv == 0 && row.topic.size < sizeof topic);
        memcpy(topic, row.topic.bytes, row.topic.size);
        topic[row.topic.size] = '\0';
        uint32_t place = sim_clients_place(topic, row.partition);
        if (place != UINT32_MAX && row.offset > group_places[place].done) {
            sim_fail("place %u: a member commits offset %lld, but offset %lld was never processed",
                     place,
                     (long long)row.offset,
                     (long long)group_places[place].done);
        }
    }
    __real_sp_group_commit_request_encode(pack, request);
}

/* ---- what one member does -------------------------------------------------------------------- */

static void on_event(void *arg, const struct spate_consumer_event *event)
{
    struct member *member = arg;

    for (size_t i = 0; i < event->count; i++) {
        uint32_t place =
            sim_clients_place(event->partitions[i].topic, event->partitions[i].partition);
        int64_t offset = event->partitions[i].offset < 0 ? 0 : event->partitions[i].offset;
        SP_ASSERT(place != UINT32_MAX);
        if (event->kind == SPATE_CONSUMER_ASSIGNED) {
            check_start(place, offset);
            member->next[place] = offset;
        } else if (event->kind != SPATE_CONSUMER_STALLED) {
            member->next[place] = -1;
        }
    }
    sim_model.counts.rebalances += event->kind == SPATE_CONSUMER_ASSIGNED ? 1 : 0;
    sim_note("event %d about %zu partitions", event->kind, event->count);
    if (event->kind == SPATE_CONSUMER_REVOKED && member->by_hand) {
        (void)spate_consumer_commit(
            member->consumer, NULL, 200); /* at least once, whatever it says */
    }
}

/* Everything that was delivered before is committed, and the answer says so. */
static void commit(struct member *member)
{
    int64_t due[SIM_PARTITIONS_MAX]; /* what the commit is about */

    memcpy(due, member->next, sizeof due);
    int rv = spate_consumer_commit(
        member->consumer, NULL, (int)sim_between(&member->own->rand, 1, 2000));

    if (rv != 0) {
        return; /* unknown, or another has the partition by now */
    }
    for (uint32_t i = 0; i < sim_model.kept_count; i++) {
        if (due[i] > group_places[i].committed && member->next[i] == due[i]) {
            group_places[i].committed = due[i];
        }
    }
    for (uint32_t i = 0; i < sim_model.kept_count; i++) {
        int64_t before = group_places[i].committed; /* when the question leaves */
        int64_t offset = 0;
        rv = spate_consumer_committed(
            member->consumer, sim_model.places[i].topic, sim_model.places[i].partition, &offset);
        if (rv == 0 && offset < before) {
            sim_fail("place %u: the committed offset goes back from %lld to %lld",
                     i,
                     (long long)before,
                     (long long)offset);
        } else if (rv == 0 && offset > group_places[i].committed) {
            group_places[i].committed = offset;
        }
    }
}

static void take(struct member *member, const struct spate_message *message)
{
    uint32_t place = sim_clients_place(message->topic, message->partition);

    SP_ASSERT(place != UINT32_MAX);
    if (member->next[place] < 0) {
        sim_fail("place %u: a member is given a record of a partition that is not its", place);
        return;
    }
    sim_model_read(place,
                   member->next[place],
                   message->offset,
                   message->value,
                   message->value_size,
                   message->high_watermark);
    member->next[place] = message->offset + 1;
    member->holds = true;
    member->place = place;
    member->offset = message->offset;
}

static void start(struct member *member)
{
    char text[16];
    const char *topics[SIM_TOPICS_MAX];
    const char *keys[] = { "group.id", "readers",    "commit.interval.ms",
                           text,       "session.ms", "1500",
                           NULL,       NULL,         NULL };

    member->by_hand = sim_one_in(&member->own->rand, 2);
    (void)snprintf(text,
                   sizeof text,
                   "%u",
                   member->by_hand ? 0 : (unsigned)sim_between(&member->own->rand, 10, 500));
    member->starts += 1;
    member->is_static = sim_one_in(&member->own->rand, 3);
    if (member->is_static) {
        keys[6] = "group.instance";
        keys[7] = member->own->process->name;
    }
    member->client = sim_clients_connect(keys);
    int rv = spate_consumer_new(member->client, &member->consumer);
    SP_ASSERT(rv == 0);
    rv = spate_consumer_on_event(member->consumer, on_event, member);
    SP_ASSERT(rv == 0);
    for (unsigned i = 0; i < sim_clients.kept_topic_count; i++) {
        topics[i] = sim_clients.topics[i].name;
    }
    rv = spate_consumer_subscribe(member->consumer, topics, sim_clients.kept_topic_count);
    SP_ASSERT(rv == 0);
    memset(member->next, 0xff, sizeof member->next);
}

/* Whether a member before this one had the same instance: its join may come late, behind that of
 * this one, and then counts as the newer process. */
static bool has_predecessor(const struct member *member)
{
    return member->is_static && (member->own->lives > 1 || member->starts > 1);
}

/* One record, or what stands in its way. False: this life has to end. */
static bool step(struct member *member)
{
    struct spate_message message;

    if (member->holds) {
        mark_processed(member->place, member->offset);
        member->holds = false;
    }
    int rv = spate_consumer_next(
        member->consumer, (int)sim_between(&member->own->rand, 0, 200), &message);
    if (rv == 0) {
        take(member, &message);
        if (member->by_hand && sim_one_in(&member->own->rand, sim_clients.finishing ? 200 : 20)) {
            mark_processed(member->place, member->offset);
            member->holds = false;
            commit(member);
        } else if (!sim_clients.finishing && sim_one_in(&member->own->rand, 10)) {
            /* Works on the record in hand. */
            (void)spate_poll(member->client, (int)sim_between(&member->own->rand, 0, 40));
        }
        return true;
    }
    if (rv == SPATE_ERR_AGAIN) {
        sim_fiber_sleep(1 * SIM_MS);
        return true;
    }
    bool fenced = rv == SPATE_ERR_GROUP_FENCED && has_predecessor(member);
    if (!fenced &&
        ((rv != SPATE_ERR_IO && rv != SPATE_ERR_CORRUPT) || !sim_cluster.errors_planned)) {
        sim_fail(
            "a member is told %s: %s", spate_error_name(rv), spate_client_error(member->client));
    }
    return false;
}

void sim_member_main(void *arg)
{
    struct member *member = sim_alloc(sizeof *member);

    member->own = arg;
    sim_clients_await_topics();
    start(member);
    for (;;) {
        uint64_t records = sim_between(&member->own->rand, 1, 3000);
        for (uint64_t i = 0; i < records; i++) {
            if (!step(member)) {
                sim_clients_kill(member->own); /* its partition is paused: a new life reads on */
                sim_fiber_sleep(SIM_SECOND);
            }
            member->own->done = sim_clients.finishing && all_processed();
        }
        if (sim_one_in(&member->own->rand, 3)) { /* goes and comes back as another */
            if (member->holds) {
                mark_processed(member->place, member->offset);
                member->holds = false;
            }
            (void)spate_consumer_close(member->consumer,
                                       (int)sim_between(&member->own->rand, 0, 3000));
            spate_consumer_free(member->consumer);
            spate_client_free(member->client);
            start(member);
        }
    }
}
