/* The coordinator of a consumer group that does what each test says, for a consumer of a fake
 * cluster, and what such a test does with its consumer. */
#ifndef SP_UNIT_FAKE_COORDINATOR_H
#define SP_UNIT_FAKE_COORDINATOR_H

#include "client/consumer.h"
#include "client/metadata.h"
#include "fake_cluster.h"

#define TRACE_SIZE 4096

static struct {
    struct fake_cluster cluster;
    struct spate_consumer *consumer;
    unsigned assigned; /* bits: what the member shall read */
    unsigned revoke;   /* what it must give up */
    unsigned owned;    /* what its last heartbeat said */
    int64_t generation;
    int64_t committed[FAKE_PARTITIONS_MAX]; /* -1: nothing */
    int64_t committed_topic_id;             /* of which topic, as the last commit says */
    unsigned gone;                          /* bits: what commits are told to be there no more */
    unsigned committed_bits;                /* what the last commit named */
    int64_t changed;         /* the index of the last commit; 0: as a node that compares nothing */
    int64_t asked_seen;      /* by the last commit */
    bool never_seen;         /* whatever a commit has seen, it is not stored */
    unsigned compared_count; /* commits that were not stored for that */
    int join_status;
    int heartbeat_status;
    int commit_status;
    bool silent; /* joins and heartbeats get no answer of use */
    bool strays; /* each answer assigns a topic that nobody asked for, another one each time */
    bool singly; /* offsets of several topics at once are more than an answer holds */
    unsigned asked_topics; /* whose offsets were asked for the last time */
    unsigned asked_count;
    unsigned stray_count;
    unsigned join_count;
    unsigned join_with_id_count;
    bool joined_with_id; /* the last time */
    unsigned leave_count;
    char instance[160];
    char trace[TRACE_SIZE]; /* what came in which order */
    char events[TRACE_SIZE];
} world;

static inline void note_down(char *text, const char *what)
{
    size_t size = strlen(text);

    assert_true(size + strlen(what) + 1 < TRACE_SIZE);
    (void)snprintf(text + size, TRACE_SIZE - size, "%s", what);
}

/* ---- the coordinator ------------------------------------------------------------------------- */

static inline void pack_places(struct sp_pack *pack, unsigned bits)
{
    char name[24];

    sp_pack_array(pack, (bits == 0 ? 0U : 1U) + (world.strays ? 1U : 0U));
    if (world.strays) {
        (void)snprintf(name, sizeof name, "stray-%u", world.stray_count++);
        sp_pack_map(pack, 2);
        sp_pack_text(pack, "topic");
        sp_pack_text(pack, name);
        sp_pack_text(pack, "partitions");
        sp_pack_array(pack, 1);
        sp_pack_uint(pack, 0);
    }
    if (bits != 0) {
        sp_pack_map(pack, 2);
        sp_pack_text(pack, "topic");
        sp_pack_text(pack, "t");
        sp_pack_text(pack, "partitions");
        sp_pack_array(pack, (size_t)__builtin_popcount(bits));
        for (unsigned i = 0; i < FAKE_PARTITIONS_MAX; i++) {
            if ((bits >> i & 1) != 0) {
                sp_pack_uint(pack, i);
            }
        }
    }
}

static inline unsigned read_places(struct sp_bytes places)
{
    struct sp_cursor cursor = sp_cursor_of(places);
    unsigned bits = 0;

    for (uint32_t topics = sp_cursor_array(&cursor); topics > 0; topics--) {
        struct sp_group_places row;
        assert_int_equal(sp_group_places_read(&cursor, &row, NULL), 0);
        struct sp_cursor numbers = sp_cursor_of(row.partitions);
        for (uint32_t count = sp_cursor_array(&numbers); count > 0; count--) {
            bits |= 1u << sp_cursor_int(&numbers, 0, FAKE_PARTITIONS_MAX - 1);
        }
    }
    return bits;
}

static inline int pack_assignment(struct sp_pack *pack)
{
    const struct sp_group_member_response response = {
        .member = sp_bytes_text("m1"),
        .generation = world.generation,
        .heartbeat_ms = 20,
    };
    struct sp_buf places[2];
    struct sp_group_member_response full = response;
    int rv = 0;

    for (unsigned i = 0; i < 2; i++) {
        struct sp_pack inner;
        sp_buf_init(&places[i], 1024);
        sp_pack_init(&inner, &places[i]);
        pack_places(&inner, i == 0 ? world.assigned : world.revoke);
        rv = rv != 0 ? rv : sp_pack_status(&inner);
    }
    full.assigned = sp_bytes_of(places[0].bytes, places[0].size);
    full.revoke = sp_bytes_of(places[1].bytes, places[1].size);
    sp_group_member_response_encode(pack, &full);
    sp_buf_deinit(&places[0]);
    sp_buf_deinit(&places[1]);
    return rv;
}

static inline int on_join(const struct sp_cursor *params, struct sp_pack *pack)
{
    struct sp_group_join_request join;

    assert_int_equal(sp_group_join_request_decode(params, &join, NULL), 0);
    note_down(world.trace, "J");
    world.join_count += 1;
    world.joined_with_id = join.member.size > 0;
    world.join_with_id_count += world.joined_with_id ? 1 : 0;
    (void)snprintf(world.instance,
                   sizeof world.instance,
                   "%.*s",
                   (int)join.instance.size,
                   (const char *)join.instance.bytes);
    if (join.member.size > 0 && world.join_status != 0) {
        return world.join_status;
    }
    return pack_assignment(pack);
}

static inline int on_heartbeat(const struct sp_cursor *params, struct sp_pack *pack)
{
    struct sp_group_heartbeat_request heartbeat;
    char what[16];

    assert_int_equal(sp_group_heartbeat_request_decode(params, &heartbeat, NULL), 0);
    unsigned owned = read_places(heartbeat.owned);
    if (owned != world.owned) {
        (void)snprintf(what, sizeof what, "H%x", owned);
        note_down(world.trace, what);
    }
    world.owned = owned;
    if (world.heartbeat_status != 0) {
        return world.heartbeat_status;
    }
    if (heartbeat.generation == world.generation) {
        world.revoke &= owned;
    }
    return pack_assignment(pack);
}

static inline void pack_gone(struct sp_pack *pack, unsigned bits)
{
    sp_pack_text(pack, "refused");
    sp_pack_array(pack, (size_t)__builtin_popcount(bits));
    for (unsigned i = 0; i < FAKE_PARTITIONS_MAX; i++) {
        if ((bits >> i & 1) != 0) {
            sp_pack_map(pack, 4);
            sp_pack_text(pack, "topic");
            sp_pack_text(pack, "t");
            sp_pack_text(pack, "partition");
            sp_pack_uint(pack, i);
            sp_pack_text(pack, "offset");
            sp_pack_uint(pack, 1);
            sp_pack_text(pack, "error");
            sp_pack_text(pack, "UNKNOWN_TOPIC");
        }
    }
}

static inline int on_commit(const struct sp_cursor *params, struct sp_pack *pack)
{
    struct sp_group_commit_request commit;

    assert_int_equal(sp_group_commit_request_decode(params, &commit, NULL), 0);
    note_down(world.trace, "C");
    if (world.commit_status != 0) {
        return world.commit_status;
    }
    world.asked_seen = commit.seen;
    if (commit.seen < world.changed || world.never_seen) {
        const struct sp_group_commit_response late = { .stored = false, .seen = world.changed };
        sp_group_commit_response_encode(pack, &late);
        world.compared_count += 1;
        return 0;
    }
    struct sp_cursor cursor = sp_cursor_of(commit.offsets);
    world.committed_bits = 0;
    for (uint32_t count = sp_cursor_array(&cursor); count > 0; count--) {
        struct sp_group_offset offset;
        assert_int_equal(sp_group_offset_read(&cursor, &offset, NULL), 0);
        world.committed_bits |= 1u << offset.partition;
        if (commit.partly && (world.gone >> offset.partition & 1) != 0) {
            continue;
        }
        world.committed_topic_id = offset.topic_id;
        if (offset.topic_id >= 0 && offset.topic_id != world.cluster.topic_id) {
            return SPATE_ERR_UNKNOWN_TOPIC;
        }
        world.committed[offset.partition] = offset.offset;
    }
    if (world.changed > 0) {
        world.changed += 1;
        const struct sp_group_commit_response stored = { .stored = true, .seen = world.changed };
        sp_group_commit_response_encode(pack, &stored);
        return 0;
    }
    sp_pack_map(pack, 1);
    pack_gone(pack, world.gone & world.committed_bits);
    return 0;
}

static inline void on_committed(struct sp_pack *pack)
{
    size_t count = 0;

    for (unsigned i = 0; i < FAKE_PARTITIONS_MAX; i++) {
        count += world.committed[i] >= 0 ? 1 : 0;
    }
    sp_pack_map(pack, 1);
    sp_pack_text(pack, "offsets");
    sp_pack_array(pack, count);
    for (unsigned i = 0; i < FAKE_PARTITIONS_MAX; i++) {
        if (world.committed[i] >= 0) {
            sp_pack_map(pack, 4);
            sp_pack_text(pack, "topic");
            sp_pack_text(pack, "t");
            sp_pack_text(pack, "partition");
            sp_pack_uint(pack, i);
            sp_pack_text(pack, "offset");
            sp_pack_int(pack, world.committed[i]);
            sp_pack_text(pack, "committed_ms");
            sp_pack_int(pack, 1);
        }
    }
}

/* As a node whose answer about several topics would be too large. */
static inline int on_committed_asked(const struct sp_cursor *params, struct sp_pack *pack)
{
    struct sp_group_committed_request asked;

    assert_int_equal(sp_group_committed_request_decode(params, &asked, NULL), 0);
    struct sp_cursor topics = sp_cursor_of(asked.topics);
    world.asked_topics = sp_cursor_array(&topics);
    world.asked_count += 1;
    if (world.singly && world.asked_topics > 1) {
        return SPATE_ERR_TOO_LARGE;
    }
    on_committed(pack);
    return 0;
}

static inline int coordinator(struct fake_cluster *cluster,
                              enum sp_method method,
                              const struct sp_cursor *params,
                              struct sp_pack *pack)
{
    (void)cluster;
    if (world.silent) {
        return SPATE_ERR_NOT_READY;
    }
    if (method == SP_METHOD_GROUP_JOIN) {
        return on_join(params, pack);
    }
    if (method == SP_METHOD_GROUP_HEARTBEAT) {
        return on_heartbeat(params, pack);
    }
    if (method == SP_METHOD_GROUP_COMMIT) {
        return on_commit(params, pack);
    }
    if (method == SP_METHOD_GROUP_COMMITTED) {
        return on_committed_asked(params, pack);
    }
    assert_int_equal(method, SP_METHOD_GROUP_LEAVE);
    note_down(world.trace, "L");
    world.leave_count += 1;
    sp_pack_map(pack, 0);
    return 0;
}

/* ---- the consumer ---------------------------------------------------------------------------- */

static inline void on_event(void *arg, const struct spate_consumer_event *event)
{
    static const char kinds[] = "?ARLS";
    char what[32];
    unsigned bits = 0;

    (void)arg;
    for (size_t i = 0; i < event->count; i++) {
        assert_string_equal(event->partitions[i].topic, "t");
        bits |= 1u << event->partitions[i].partition;
    }
    (void)snprintf(what, sizeof what, "%c%x", kinds[event->kind], bits);
    note_down(world.events, what);
    note_down(world.trace, what);
}

#define COMMON "fetch.wait.ms", "10", "group.id", "g", "session.ms", "1000", "timeout.ms", "3000"
#define STATIC "group.instance", "till-7", "stall.ms", "60"

static const char *const keys[] = { COMMON, NULL };
static const char *const by_hand[] = { COMMON, STATIC, "commit.interval.ms", "0", NULL };

static inline void begin(const char *const *config, unsigned assigned)
{
    memset(&world, 0, sizeof world);
    for (unsigned i = 0; i < FAKE_PARTITIONS_MAX; i++) {
        world.committed[i] = -1;
    }
    world.assigned = assigned;
    world.generation = 1;
    fake_start(&world.cluster, config);
    world.cluster.coordinator = coordinator;
    world.cluster.partition_count = 4;
    assert_int_equal(spate_consumer_new(world.cluster.client, &world.consumer), 0);
    assert_int_equal(spate_consumer_on_event(world.consumer, on_event, NULL), 0);
}

static inline void subscribe(void)
{
    static const char *const topics[] = { "t" };

    assert_int_equal(spate_consumer_subscribe(world.consumer, topics, 1), 0);
}

/* A member of a group whose partitions have ten records. */
static inline void begin_member(const char *const *config, unsigned assigned)
{
    begin(config, assigned);
    fake_log_fill(&world.cluster.log, 10, SP_COMPRESSION_NONE);
    subscribe();
}

static inline void poll_times(unsigned count, int timeout_ms)
{
    for (unsigned i = 0; i < count; i++) {
        (void)spate_poll(world.cluster.client, timeout_ms);
    }
}

static inline void end(void)
{
    spate_consumer_free(world.consumer);
    fake_stop(&world.cluster);
}

/* Reads `count` records of all partitions. */
static inline void read_records(unsigned count)
{
    struct spate_message message;

    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(spate_consumer_next(world.consumer, 5000, &message), 0);
    }
}

/* Asks for records until `text` stands at the end of the events; returns how many came. */
static inline unsigned await_event(const char *text)
{
    struct spate_message message;
    unsigned count = 0;

    for (unsigned i = 0; i < 300; i++) {
        size_t size = strlen(world.events);
        if (size >= strlen(text) && strcmp(world.events + size - strlen(text), text) == 0) {
            return count;
        }
        int rv = spate_consumer_next(world.consumer, 20, &message);
        assert_true(rv == 0 || rv == SPATE_ERR_AGAIN);
        count += rv == 0 ? 1 : 0;
    }
    fail_msg("events are %s, not ...%s", world.events, text);
    return 0;
}

static inline void await_owned(unsigned owned)
{
    struct spate_message message;

    for (unsigned i = 0; i < 300 && world.owned != owned; i++) {
        assert_int_equal(spate_consumer_next(world.consumer, 20, &message), SPATE_ERR_AGAIN);
    }
    assert_int_equal(world.owned, owned);
}

#endif /* SP_UNIT_FAKE_COORDINATOR_H */
