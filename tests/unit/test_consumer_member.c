/* A consumer that is a member of a group, against a coordinator that does what each test says. */
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
    int join_status;
    int heartbeat_status;
    int commit_status;
    bool silent; /* joins and heartbeats get no answer of use */
    bool strays; /* each answer assigns a topic that nobody asked for, another one each time */
    unsigned stray_count;
    unsigned join_count;
    unsigned join_with_id_count;
    bool joined_with_id; /* the last time */
    unsigned leave_count;
    char instance[160];
    char trace[TRACE_SIZE]; /* what came in which order */
    char events[TRACE_SIZE];
} world;

static void note(char *text, const char *what)
{
    size_t size = strlen(text);

    assert_true(size + strlen(what) + 1 < TRACE_SIZE);
    (void)snprintf(text + size, TRACE_SIZE - size, "%s", what);
}

/* ---- the coordinator ------------------------------------------------------------------------- */

static void pack_places(struct sp_pack *pack, unsigned bits)
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

static unsigned read_places(struct sp_bytes places)
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

static int pack_assignment(struct sp_pack *pack)
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

static int on_join(const struct sp_cursor *params, struct sp_pack *pack)
{
    struct sp_group_join_request join;

    assert_int_equal(sp_group_join_request_decode(params, &join, NULL), 0);
    note(world.trace, "J");
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

static int on_heartbeat(const struct sp_cursor *params, struct sp_pack *pack)
{
    struct sp_group_heartbeat_request heartbeat;
    char what[16];

    assert_int_equal(sp_group_heartbeat_request_decode(params, &heartbeat, NULL), 0);
    unsigned owned = read_places(heartbeat.owned);
    if (owned != world.owned) {
        (void)snprintf(what, sizeof what, "H%x", owned);
        note(world.trace, what);
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

static int on_commit(const struct sp_cursor *params, struct sp_pack *pack)
{
    struct sp_group_commit_request commit;

    assert_int_equal(sp_group_commit_request_decode(params, &commit, NULL), 0);
    note(world.trace, "C");
    if (world.commit_status != 0) {
        return world.commit_status;
    }
    struct sp_cursor cursor = sp_cursor_of(commit.offsets);
    for (uint32_t count = sp_cursor_array(&cursor); count > 0; count--) {
        struct sp_group_offset offset;
        assert_int_equal(sp_group_offset_read(&cursor, &offset, NULL), 0);
        world.committed[offset.partition] = offset.offset;
    }
    sp_pack_map(pack, 0);
    return 0;
}

static void on_committed(struct sp_pack *pack)
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

static int coordinator(struct fake_cluster *cluster,
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
        on_committed(pack);
        return 0;
    }
    assert_int_equal(method, SP_METHOD_GROUP_LEAVE);
    note(world.trace, "L");
    world.leave_count += 1;
    sp_pack_map(pack, 0);
    return 0;
}

/* ---- the consumer ---------------------------------------------------------------------------- */

static void on_event(void *arg, const struct spate_consumer_event *event)
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
    note(world.events, what);
    note(world.trace, what);
}

#define COMMON "fetch.wait.ms", "10", "group.id", "g", "session.ms", "1000", "timeout.ms", "3000"
#define STATIC "group.instance", "till-7", "stall.ms", "60"

static const char *const keys[] = { COMMON, NULL };
static const char *const by_hand[] = { COMMON, STATIC, "commit.interval.ms", "0", NULL };

static void begin(const char *const *config, unsigned assigned)
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

static void subscribe(void)
{
    static const char *const topics[] = { "t" };

    assert_int_equal(spate_consumer_subscribe(world.consumer, topics, 1), 0);
}

static void end(void)
{
    spate_consumer_free(world.consumer);
    fake_stop(&world.cluster);
}

/* Reads `count` records of all partitions. */
static void read_records(unsigned count)
{
    struct spate_message message;

    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(spate_consumer_next(world.consumer, 5000, &message), 0);
    }
}

/* Asks for records until `text` stands at the end of the events; returns how many came. */
static unsigned await_event(const char *text)
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

static void await_owned(unsigned owned)
{
    struct spate_message message;

    for (unsigned i = 0; i < 300 && world.owned != owned; i++) {
        assert_int_equal(spate_consumer_next(world.consumer, 20, &message), SPATE_ERR_AGAIN);
    }
    assert_int_equal(world.owned, owned);
}

/* ---- what is asked of it --------------------------------------------------------------------- */

static void test_member_reads_commits_and_leaves(void **state)
{
    (void)state;
    begin(keys, 0x3);
    fake_fill(&world.cluster, 10, SP_COMPRESSION_NONE);
    subscribe();
    read_records(20);
    assert_string_equal(world.events, "A3");
    assert_int_equal(spate_consumer_close(world.consumer, 3000), 0);
    assert_string_equal(world.events, "A3R3");
    assert_int_equal(world.committed[0], 10);
    assert_int_equal(world.committed[1], 10);
    assert_int_equal(world.committed[2], -1);
    assert_int_equal(world.leave_count, 1);
    assert_non_null(strstr(world.trace, "R3CL")); /* in this order */
    assert_memory_equal(world.instance, "libspate-", 9);
    end();
}

static void test_member_goes_on_at_the_stored_offset(void **state)
{
    struct spate_message message;
    int64_t offset = 0;

    (void)state;
    begin(keys, 0x2);
    fake_fill(&world.cluster, 10, SP_COMPRESSION_NONE);
    world.committed[1] = 7;
    subscribe();
    assert_int_equal(spate_consumer_next(world.consumer, 5000, &message), 0);
    assert_int_equal(message.partition, 1);
    assert_int_equal(message.offset, 7);
    assert_int_equal(spate_consumer_committed(world.consumer, "t", 1, &offset), 0);
    assert_int_equal(offset, 7);
    assert_int_equal(spate_consumer_committed(world.consumer, "t", 0, &offset),
                     SPATE_ERR_NOT_FOUND);
    assert_int_equal(spate_consumer_position(world.consumer, "t", 1, &offset), 0);
    assert_int_equal(offset, 8);
    end();
}

static void test_member_begins_where_offset_reset_says(void **state)
{
    static const char *const from_end[] = { "group.id", "g", "offset.reset", "end", NULL };
    static const char *const nowhere[] = { "group.id", "g", "offset.reset", "none", NULL };
    struct spate_message message;

    (void)state;
    begin(from_end, 0x1);
    fake_fill(&world.cluster, 10, SP_COMPRESSION_NONE);
    subscribe();
    await_event("A1");
    assert_int_equal(spate_consumer_next(world.consumer, 50, &message), SPATE_ERR_AGAIN);
    fake_fill(&world.cluster, 1, SP_COMPRESSION_NONE);
    assert_int_equal(spate_consumer_next(world.consumer, 5000, &message), 0);
    assert_int_equal(message.offset, 10);
    end();
    begin(nowhere, 0x1);
    fake_fill(&world.cluster, 10, SP_COMPRESSION_NONE);
    subscribe();
    assert_int_equal(spate_consumer_next(world.consumer, 5000, &message), SPATE_ERR_NOT_FOUND);
    assert_int_equal(spate_consumer_next(world.consumer, 20, &message), SPATE_ERR_AGAIN);
    assert_int_equal(spate_consumer_seek(world.consumer, "t", 0, 3), 0);
    assert_int_equal(spate_consumer_next(world.consumer, 5000, &message), 0);
    assert_int_equal(message.offset, 3);
    end();
}

/* The record in hand is not processed before the next call. */
static void test_member_record_in_hand_is_not_committed(void **state)
{
    static const char *const often[] = { "group.id", "g", "commit.interval.ms", "1", NULL };
    struct spate_message message;

    (void)state;
    begin(often, 0x1);
    fake_fill(&world.cluster, 3, SP_COMPRESSION_NONE);
    subscribe();
    read_records(2);
    for (unsigned i = 0; i < 20; i++) {
        (void)spate_poll(world.cluster.client, 5);
    }
    assert_int_equal(world.committed[0], 1);
    read_records(1);
    assert_int_equal(spate_consumer_next(world.consumer, 100, &message), SPATE_ERR_AGAIN);
    assert_int_equal(spate_consumer_next(world.consumer, 100, &message), SPATE_ERR_AGAIN);
    assert_int_equal(world.committed[0], 3);
    end();
}

/* Of several records at once only those up to the one that is committed are done with. */
static void test_member_rest_of_a_batch_is_not_committed(void **state)
{
    static const char *const often[] = { "group.id", "g", "commit.interval.ms", "1", NULL };
    struct spate_message messages[10];

    (void)state;
    begin(often, 0x1);
    fake_fill(&world.cluster, 10, SP_COMPRESSION_NONE);
    subscribe();
    assert_int_equal(spate_consumer_batch(world.consumer, 5000, messages, 10), 10);
    assert_int_equal(spate_consumer_commit(world.consumer, &messages[3], 1000), 0);
    for (unsigned i = 0; i < 20; i++) {
        (void)spate_poll(world.cluster.client, 5);
    }
    assert_int_equal(world.committed[0], 4);
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 1000), 0);
    assert_int_equal(world.committed[0], 10);
    end();
}

/* REVOKED, then the commit, and only then the heartbeat that gives it up. */
static void test_member_gives_up_after_its_last_commit(void **state)
{
    (void)state;
    begin(keys, 0x3);
    fake_fill(&world.cluster, 10, SP_COMPRESSION_NONE);
    subscribe();
    read_records(20);
    await_owned(0x3);
    world.assigned = 0x1;
    world.revoke = 0x2;
    world.generation = 2;
    await_owned(0x1);
    assert_int_equal(world.committed[1], 10);
    assert_int_equal(world.committed[0], -1); /* that one is not interrupted */
    assert_non_null(strstr(world.trace, "R2CH1"));
    fake_fill(&world.cluster, 1, SP_COMPRESSION_NONE);
    read_records(1);
    assert_string_equal(world.events, "A3R2");
    end();
}

/* Taken away and given back before the user heard of either. */
static void test_member_may_get_back_what_was_revoked(void **state)
{
    (void)state;
    begin(keys, 0x3);
    fake_fill(&world.cluster, 10, SP_COMPRESSION_NONE);
    subscribe();
    read_records(20);
    world.assigned = 0x1;
    world.revoke = 0x2;
    world.generation = 2;
    for (unsigned i = 0; i < 20; i++) {
        (void)spate_poll(world.cluster.client, 10);
    }
    world.assigned = 0x3;
    world.revoke = 0;
    world.generation = 3;
    for (unsigned i = 0; i < 20; i++) {
        (void)spate_poll(world.cluster.client, 10);
    }
    fake_fill(&world.cluster, 1, SP_COMPRESSION_NONE);
    read_records(2);
    assert_string_equal(world.events, "A3");
    end();
}

static void test_member_unknown_loses_all_and_joins_again(void **state)
{
    (void)state;
    begin(keys, 0x1);
    fake_fill(&world.cluster, 10, SP_COMPRESSION_NONE);
    subscribe();
    read_records(10);
    world.heartbeat_status = SPATE_ERR_UNKNOWN_MEMBER;
    world.join_status = SPATE_ERR_UNKNOWN_MEMBER;
    await_event("L1");
    world.heartbeat_status = 0;
    unsigned count = await_event("A1");
    assert_string_equal(world.events, "A1L1A1");
    assert_int_equal(world.committed[0], -1); /* nothing can be committed of what is lost */
    assert_true(world.join_with_id_count >= 1);
    assert_true(world.join_count > world.join_with_id_count + 1);
    read_records(10 - count); /* from the start again */
    end();
}

/* Another process with the same group.instance: this one is told, and stays out. */
static void test_member_fenced_is_told(void **state)
{
    struct spate_message message;
    int rv = 0;

    (void)state;
    begin(by_hand, 0x1);
    subscribe();
    await_event("A1");
    assert_string_equal(world.instance, "till-7");
    world.heartbeat_status = SPATE_ERR_UNKNOWN_MEMBER;
    world.join_status = SPATE_ERR_GROUP_FENCED;
    for (unsigned i = 0; i < 100 && (rv == 0 || rv == SPATE_ERR_AGAIN); i++) {
        rv = spate_consumer_next(world.consumer, 20, &message);
    }
    assert_int_equal(rv, SPATE_ERR_GROUP_FENCED);
    assert_int_equal(spate_consumer_next(world.consumer, 20, &message), SPATE_ERR_GROUP_FENCED);
    unsigned joins = world.join_count;
    for (unsigned i = 0; i < 30; i++) {
        (void)spate_poll(world.cluster.client, 10);
    }
    assert_int_equal(world.join_count, joins);
    end();
}

/* Nobody answers for a whole session: others may read the partition by now. The member comes back
 * under a new id, so that a commit that was under way all the time is refused. */
static void test_member_cut_off_stops_reading(void **state)
{
    struct spate_message message;

    (void)state;
    begin(keys, 0x1);
    fake_fill(&world.cluster, 10, SP_COMPRESSION_NONE);
    subscribe();
    read_records(10);
    world.silent = true;
    await_event("L1");
    fake_fill(&world.cluster, 10, SP_COMPRESSION_NONE);
    assert_int_equal(spate_consumer_next(world.consumer, 100, &message), SPATE_ERR_AGAIN);
    world.silent = false;
    read_records(20 - await_event("A1"));
    assert_int_equal(world.join_with_id_count, 1);
    assert_false(world.joined_with_id);
    end();
}

/* The same while it joins again for other topics. */
static void test_member_cut_off_while_it_subscribes_stops_reading(void **state)
{
    (void)state;
    begin(keys, 0x1);
    fake_fill(&world.cluster, 10, SP_COMPRESSION_NONE);
    subscribe();
    read_records(10);
    world.silent = true;
    subscribe();
    await_event("L1");
    world.silent = false;
    read_records(10 - await_event("A1"));
    assert_false(world.joined_with_id);
    end();
}

/* It was out when it subscribed again: others may have read on, the group's offset says how far. */
static void test_member_unknown_while_it_subscribes_begins_anew(void **state)
{
    struct spate_message message;

    (void)state;
    begin(keys, 0x1);
    fake_fill(&world.cluster, 10, SP_COMPRESSION_NONE);
    subscribe();
    read_records(5);
    world.join_status = SPATE_ERR_UNKNOWN_MEMBER;
    world.committed[0] = 8;
    subscribe();
    (void)await_event("L1");
    assert_int_equal(spate_consumer_next(world.consumer, 5000, &message), 0);
    assert_string_equal(world.events, "A1L1A1");
    assert_int_equal(message.offset, 8);
    end();
}

static void test_member_commits_by_hand(void **state)
{
    struct spate_message message;

    (void)state;
    begin(by_hand, 0x3);
    fake_fill(&world.cluster, 10, SP_COMPRESSION_NONE);
    subscribe();
    assert_int_equal(spate_consumer_next(world.consumer, 5000, &message), 0);
    int32_t first = message.partition;
    assert_int_equal(spate_consumer_commit(world.consumer, &message, 1000), 0);
    assert_int_equal(world.committed[first], 1);
    read_records(19);
    assert_int_equal(world.committed[first], 1); /* never by itself */
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 1000), 0);
    assert_int_equal(world.committed[0], 10); /* the last one delivered, too */
    assert_int_equal(world.committed[1], 10);
    message.partition = 3;
    assert_int_equal(spate_consumer_commit(world.consumer, &message, 1000), SPATE_ERR_GROUP_FENCED);
    fake_fill(&world.cluster, 1, SP_COMPRESSION_NONE);
    read_records(2);
    world.commit_status = SPATE_ERR_GROUP_FENCED;
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 1000), SPATE_ERR_GROUP_FENCED);
    world.commit_status = 0;
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 0), 0); /* does not wait */
    for (unsigned i = 0; i < 50 && world.committed[0] != 11; i++) {
        (void)spate_poll(world.cluster.client, 10);
    }
    assert_int_equal(world.committed[0], 11);
    assert_int_equal(world.committed[1], 11);
    world.commit_status = SPATE_ERR_NOT_READY;
    fake_fill(&world.cluster, 1, SP_COMPRESSION_NONE);
    read_records(2);
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 100), SPATE_ERR_TIMEOUT);
    world.commit_status = 0;
    assert_int_equal(spate_consumer_close(world.consumer, 1000), 0);
    assert_int_equal(world.committed[0], 12); /* what was wanted once is not forgotten */
    assert_int_equal(world.leave_count, 0);   /* a static member only restarts */
    end();
}

static enum fake_action loses_answers(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)c;
    return strcmp(method, "group.commit") == 0 && count <= 2 ? FAKE_DROP_AFTER : FAKE_SERVE;
}

static void test_member_commit_is_repeated_after_a_lost_answer(void **state)
{
    (void)state;
    begin(by_hand, 0x1);
    fake_fill(&world.cluster, 10, SP_COMPRESSION_NONE);
    world.cluster.script = loses_answers;
    subscribe();
    read_records(10);
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 3000), 0);
    assert_int_equal(world.committed[0], 10);
    assert_true(world.cluster.commit_count >= 3);
    end();
}

/* Not that of an earlier one that nobody waited for; and not 0 when the session ends meanwhile. */
static void test_member_commit_tells_its_own_outcome(void **state)
{
    (void)state;
    begin(by_hand, 0x1);
    fake_fill(&world.cluster, 10, SP_COMPRESSION_NONE);
    subscribe();
    read_records(10);
    world.commit_status = SPATE_ERR_GROUP_FENCED;
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 0), 0);
    for (unsigned i = 0; i < 100 && strchr(world.trace, 'C') == NULL; i++) {
        (void)spate_poll(world.cluster.client, 10);
    }
    (void)spate_poll(world.cluster.client, 20);
    world.commit_status = 0;
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 1000), 0);
    assert_int_equal(world.committed[0], 10);
    fake_fill(&world.cluster, 1, SP_COMPRESSION_NONE);
    read_records(1);
    world.silent = true;
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 10000), SPATE_ERR_GROUP_FENCED);
    assert_non_null(strstr(spate_client_error(world.cluster.client), "no longer"));
    assert_int_equal(world.committed[0], 10);
    end();
}

/* Neither read nor kept in mind, however many a server makes up. */
static void test_member_takes_no_topic_that_it_did_not_ask_for(void **state)
{
    (void)state;
    begin(keys, 0x1);
    world.strays = true;
    fake_fill(&world.cluster, 10, SP_COMPRESSION_NONE);
    subscribe();
    read_records(10);
    await_owned(0x1);
    assert_true(world.stray_count > 2);
    assert_null(sp_metadata_find(world.cluster.client->metadata, sp_bytes_text("stray-0")));
    assert_string_equal(world.events, "A1");
    end();
}

/* ---- without membership ---------------------------------------------------------------------- */

static void test_member_assigned_partitions_may_use_stored_offsets(void **state)
{
    struct spate_message message;

    (void)state;
    begin(keys, 0);
    fake_fill(&world.cluster, 10, SP_COMPRESSION_NONE);
    world.committed[2] = 4;
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 2, SPATE_OFFSET_STORED), 0);
    assert_int_equal(spate_consumer_next(world.consumer, 5000, &message), 0);
    assert_int_equal(message.offset, 4);
    assert_int_equal(spate_consumer_close(world.consumer, 1000), 0);
    assert_int_equal(world.committed[2], 5);
    assert_int_equal(world.join_count, 0);
    end();
}

static enum fake_action unknown_topic(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)count;
    c->refusal = SPATE_ERR_UNKNOWN_TOPIC;
    c->refusal_text = "no such topic";
    return strcmp(method, "fetch") == 0 ? FAKE_REFUSE : FAKE_SERVE;
}

/* How far a topic was read that is no more says nothing of the one that was made in its place. */
static void test_member_commits_nothing_to_a_namesake(void **state)
{
    struct spate_message message;

    (void)state;
    begin(keys, 0);
    fake_fill(&world.cluster, 10, SP_COMPRESSION_NONE);
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, SPATE_OFFSET_STORED), 0);
    read_records(10);
    world.cluster.topic_id = 8;
    world.cluster.script = unknown_topic;
    assert_int_equal(spate_consumer_next(world.consumer, 5000, &message), SPATE_ERR_UNKNOWN_TOPIC);
    assert_int_equal(spate_consumer_commit(world.consumer, NULL, 1000), 0);
    assert_int_equal(spate_consumer_close(world.consumer, 1000), 0);
    assert_int_equal(world.committed[0], -1);
    end();
}

static void test_member_pause_seek_and_unassign(void **state)
{
    struct spate_partition places[4];
    struct spate_message messages[20];
    size_t count = 0;

    (void)state;
    begin(keys, 0);
    fake_fill(&world.cluster, 10, SP_COMPRESSION_LZ4);
    fake_fill(&world.cluster, 10, SP_COMPRESSION_NONE);
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, 0), 0);
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 1, 0), 0);
    assert_int_equal(spate_consumer_pause(world.consumer, "t", 1), 0);
    assert_int_equal(spate_consumer_batch(world.consumer, 5000, messages, 20), 10);
    assert_int_equal(messages[9].offset, 9);
    assert_memory_equal(messages[0].value, "value-0", 7);
    assert_memory_equal(messages[9].value, "value-9", 7);
    assert_int_equal(spate_consumer_batch(world.consumer, 5000, messages, 4), 4);
    assert_int_equal(spate_consumer_batch(world.consumer, 5000, messages, 20), 6);
    assert_int_equal(messages[5].partition, 0);
    assert_int_equal(spate_consumer_batch(world.consumer, 50, messages, 20), SPATE_ERR_AGAIN);
    assert_int_equal(spate_consumer_seek(world.consumer, "t", 0, 18), 0);
    assert_int_equal(spate_consumer_batch(world.consumer, 5000, messages, 20), 2);
    assert_int_equal(messages[0].offset, 18);
    assert_int_equal(spate_consumer_resume(world.consumer, "t", 1), 0);
    assert_int_equal(spate_consumer_batch(world.consumer, 5000, messages, 20), 10);
    assert_int_equal(messages[0].partition, 1);
    assert_int_equal(spate_consumer_assignment(world.consumer, places, 4, &count), 0);
    assert_int_equal(count, 2);
    assert_int_equal(places[1].offset, 10);
    assert_int_equal(spate_consumer_unassign(world.consumer, "t", 1), 0);
    assert_int_equal(spate_consumer_unassign(world.consumer, "t", 1), SPATE_ERR_NOT_FOUND);
    assert_int_equal(spate_consumer_batch(world.consumer, 50, messages, 20), SPATE_ERR_AGAIN);
    end();
}

static enum fake_action no_fetch(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)count;
    c->refusal = SPATE_ERR_LEADER_UNKNOWN;
    c->refusal_text = "an election is on";
    return strcmp(method, "fetch") == 0 ? FAKE_REFUSE : FAKE_SERVE;
}

static void test_member_stall_is_told_once(void **state)
{
    struct spate_message message;

    (void)state;
    begin(by_hand, 0x1);
    fake_fill(&world.cluster, 10, SP_COMPRESSION_NONE);
    world.cluster.script = no_fetch;
    subscribe();
    await_event("S1");
    assert_int_equal(spate_consumer_next(world.consumer, 200, &message), SPATE_ERR_AGAIN);
    assert_string_equal(world.events, "A1S1");
    world.cluster.script = NULL;
    read_records(10);
    end();
}

static void on_stall_seek(void *arg, const struct spate_consumer_event *event)
{
    (void)arg;
    note(world.events, event->kind == SPATE_CONSUMER_STALLED ? "S" : "-");
    assert_int_equal(spate_consumer_seek(world.consumer, "t", 0, 0), 0);
    if (event->kind == SPATE_CONSUMER_STALLED) {
        assert_string_equal(event->text, "LEADER_UNKNOWN: an election is on");
    }
}

/* What an event says stays as it is while the program acts upon it. */
static void test_member_event_text_outlives_a_seek(void **state)
{
    (void)state;
    begin(by_hand, 0x1);
    assert_int_equal(spate_consumer_on_event(world.consumer, on_stall_seek, NULL), 0);
    world.cluster.script = no_fetch;
    subscribe();
    await_event("S");
    end();
}

static void test_member_misuse_is_refused(void **state)
{
    static const char *const topics[] = { "t" };
    static const char *const nothing[] = { "" };
    static const char *const no_group[] = { NULL };
    struct spate_message message = { .topic = "t" };

    (void)state;
    begin(no_group, 0);
    assert_int_equal(spate_consumer_subscribe(world.consumer, topics, 1), SPATE_ERR_INVALID);
    assert_non_null(strstr(spate_client_error(world.cluster.client), "group.id"));
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, SPATE_OFFSET_STORED),
                     SPATE_ERR_INVALID);
    assert_int_equal(spate_consumer_commit(world.consumer, &message, 0), SPATE_ERR_INVALID);
    end();
    begin(keys, 0);
    assert_int_equal(spate_consumer_subscribe(world.consumer, topics, 0), SPATE_ERR_INVALID);
    assert_int_equal(spate_consumer_subscribe(world.consumer, NULL, 1), SPATE_ERR_INVALID);
    assert_int_equal(spate_consumer_subscribe(world.consumer, nothing, 1), SPATE_ERR_INVALID);
    assert_int_equal(spate_consumer_subscribe(NULL, topics, 1), SPATE_ERR_INVALID);
    assert_int_equal(spate_consumer_batch(world.consumer, 0, &message, 0), SPATE_ERR_INVALID);
    assert_int_equal(spate_consumer_next(NULL, 0, &message), SPATE_ERR_INVALID);
    assert_int_equal(spate_consumer_seek(world.consumer, "t", 0, 0), SPATE_ERR_NOT_FOUND);
    assert_int_equal(spate_consumer_pause(world.consumer, NULL, 0), SPATE_ERR_NOT_FOUND);
    subscribe();
    assert_int_equal(spate_consumer_assign(world.consumer, "t", 0, 0), SPATE_ERR_INVALID);
    assert_int_equal(spate_consumer_unassign(world.consumer, "t", 0), SPATE_ERR_INVALID);
    assert_int_equal(spate_consumer_close(NULL, 0), SPATE_ERR_INVALID);
    end();
}

/* Each allocation fails once: whatever happens, nothing is lost and nothing leaks. */
static void test_member_survives_failed_allocations(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 120; n++) {
        struct spate_message message;
        unsigned read = 0;

        begin(keys, 0x3);
        fake_fill(&world.cluster, 5, SP_COMPRESSION_LZ4);
        subscribe();
        sp_mem_fail_at(n);
        for (unsigned i = 0; i < 2000 && read < 10; i++) {
            read += spate_consumer_next(world.consumer, 20, &message) == 0 ? 1 : 0;
        }
        sp_mem_fail_at(0);
        assert_int_equal(read, 10);
        assert_int_equal(spate_consumer_close(world.consumer, 3000), 0);
        assert_int_equal(world.committed[0], 5);
        assert_int_equal(world.committed[1], 5);
        end();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_member_reads_commits_and_leaves),
        cmocka_unit_test(test_member_goes_on_at_the_stored_offset),
        cmocka_unit_test(test_member_begins_where_offset_reset_says),
        cmocka_unit_test(test_member_record_in_hand_is_not_committed),
        cmocka_unit_test(test_member_rest_of_a_batch_is_not_committed),
        cmocka_unit_test(test_member_gives_up_after_its_last_commit),
        cmocka_unit_test(test_member_may_get_back_what_was_revoked),
        cmocka_unit_test(test_member_unknown_loses_all_and_joins_again),
        cmocka_unit_test(test_member_fenced_is_told),
        cmocka_unit_test(test_member_cut_off_stops_reading),
        cmocka_unit_test(test_member_cut_off_while_it_subscribes_stops_reading),
        cmocka_unit_test(test_member_unknown_while_it_subscribes_begins_anew),
        cmocka_unit_test(test_member_commits_by_hand),
        cmocka_unit_test(test_member_commit_is_repeated_after_a_lost_answer),
        cmocka_unit_test(test_member_commit_tells_its_own_outcome),
        cmocka_unit_test(test_member_assigned_partitions_may_use_stored_offsets),
        cmocka_unit_test(test_member_takes_no_topic_that_it_did_not_ask_for),
        cmocka_unit_test(test_member_commits_nothing_to_a_namesake),
        cmocka_unit_test(test_member_pause_seek_and_unassign),
        cmocka_unit_test(test_member_stall_is_told_once),
        cmocka_unit_test(test_member_event_text_outlives_a_seek),
        cmocka_unit_test(test_member_misuse_is_refused),
        cmocka_unit_test(test_member_survives_failed_allocations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
