/* cluster.health as one node sees it: the controller, the transport and the store are the test's
 * own; the state and the table of leaders are real. Included once, by one test. */
#ifndef SP_UNIT_DRIVEN_HEALTH_H
#define SP_UNIT_DRIVEN_HEALTH_H

#include "broker/health.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "broker/methods.h"
#include "cluster/mover.h"
#include "cluster/state_moves.h"
#include "cluster/state_nodes.h"
#include "fake_loop.h"
#include "silent_send.h"
#include "wire/cursor.h"

enum {
    SELF = 1,
    NODES = 4,
    WALL_MS = 1000000, /* what the wall clock is ahead of the loop's */
    TEXT_SIZE = 16 * 1024,
};

static struct fixture {
    struct sp_broker broker;
    struct sp_state *state;
    struct sp_leader_table *leaders;
    struct sp_transport_look looks[NODES + 1];
    bool empty[NODES + 1]; /* it is linked with another directory than is registered */
    uint32_t doubled;      /* another process wants to be that node; 0: none */
    const char *roles[NODES + 1];
    bool follows;
    uint32_t members[NODES + 1]; /* voters by the membership of group 0 */
    unsigned member_count;
    uint32_t lacks_voter;
    enum sp_rebuild rebuild;
    uint64_t rest_ms;
    enum sp_space space;
    unsigned opening;
    struct sp_reconcile_damage damage; /* replica_id 0: none */
    struct sp_raft_move_progress progress;
    int progress_rv;
    char text[TEXT_SIZE];
    uint64_t live_count;
} fixture;

/* ---- in the place of io, cluster and storage ------------------------------------------------- */

int64_t sp_loop_wall_ms(const struct sp_loop *loop)
{
    (void)loop;
    return (int64_t)fake_loop.now_ms + WALL_MS;
}

const struct sp_state *sp_controller_state(const struct sp_controller *controller)
{
    (void)controller;
    return fixture.state;
}

bool sp_controller_is_confirmed(const struct sp_controller *controller)
{
    (void)controller;
    return true;
}

uint32_t sp_controller_leader(const struct sp_controller *controller)
{
    (void)controller;
    return sp_leader_table_get(fixture.leaders, SP_CONTROLLER_GROUP_ID, NULL);
}

const char *sp_controller_role_of(const struct sp_controller *controller, uint32_t node_id)
{
    (void)controller;
    return fixture.roles[node_id];
}

bool sp_controller_follows(const struct sp_controller *controller)
{
    (void)controller;
    return fixture.follows;
}

unsigned sp_controller_voters(const struct sp_controller *controller,
                              uint32_t *out_node_ids,
                              unsigned count_max)
{
    (void)controller;
    for (unsigned i = 0; i < fixture.member_count && i < count_max; i++) {
        out_node_ids[i] = fixture.members[i];
    }
    return fixture.member_count;
}

uint32_t sp_controller_lacks_voter(const struct sp_controller *controller)
{
    (void)controller;
    return fixture.lacks_voter;
}

enum sp_rebuild sp_controller_rebuild(const struct sp_controller *controller,
                                      uint32_t node_id,
                                      uint64_t down_ms,
                                      uint64_t *out_rest_ms)
{
    (void)controller;
    assert_int_equal(down_ms, fixture.looks[node_id].link_ms);
    *out_rest_ms = fixture.rest_ms;
    return fixture.rebuild;
}

const char *sp_controller_damage(const struct sp_controller *controller,
                                 uint64_t *out_voter_id,
                                 uint64_t *out_since_ms)
{
    (void)controller;
    (void)out_voter_id;
    (void)out_since_ms;
    return NULL;
}

bool sp_controller_sees(const struct sp_controller *controller, uint32_t node_id)
{
    (void)controller;
    return node_id == SELF || (fixture.looks[node_id].up && !fixture.empty[node_id]);
}

const char *
sp_transport_double(const struct sp_transport *transport, unsigned n, uint32_t *out_node_id)
{
    (void)transport;
    *out_node_id = fixture.doubled;
    return n == 0 && fixture.doubled != 0 ? "node id 2 is mine" : NULL;
}

bool sp_transport_look(const struct sp_transport *transport,
                       uint32_t node_id,
                       struct sp_transport_look *out_look)
{
    (void)transport;
    if (node_id == SELF || node_id > NODES) {
        return false;
    }
    *out_look = fixture.looks[node_id];
    return true;
}

bool sp_transport_may_lead(const struct sp_transport *transport, uint32_t node_id)
{
    (void)transport;
    return fixture.looks[node_id].up && fixture.looks[node_id].condition == 0;
}

struct sp_leader_table *sp_group_table_leaders(const struct sp_group_table *table)
{
    (void)table;
    return fixture.leaders;
}

uint32_t
sp_group_table_leader(const struct sp_group_table *table, uint64_t group_id, uint64_t *out_term)
{
    (void)table;
    return sp_leader_table_get(fixture.leaders, group_id, out_term);
}

uint32_t sp_group_table_lagging(const struct sp_group_table *table, uint64_t group_id)
{
    (void)table;
    return sp_leader_table_lagging(fixture.leaders, group_id);
}

int sp_mover_progress(const struct sp_mover *mover,
                      const struct sp_state_move *move,
                      struct sp_raft_move_progress *out)
{
    (void)mover;
    (void)move;
    *out = fixture.progress;
    return fixture.progress_rv;
}

enum sp_space sp_store_space(const struct sp_store *store)
{
    (void)store;
    return fixture.space;
}

unsigned sp_reconcile_missing_count(const struct sp_reconcile *reconcile)
{
    (void)reconcile;
    return fixture.opening;
}

bool sp_reconcile_next_damage(const struct sp_reconcile *reconcile,
                              struct sp_map_cursor *cursor,
                              struct sp_reconcile_damage *out)
{
    (void)reconcile;
    if (fixture.damage.replica_id == 0 || cursor->started != 0) {
        return false;
    }
    cursor->started = 1;
    *out = fixture.damage;
    return true;
}

/* ---- the state ------------------------------------------------------------------------------- */

static void apply(struct sp_buf *buf)
{
    int rv = sp_state_apply(fixture.state, buf->bytes, buf->size, 7, NULL, NULL);

    sp_buf_deinit(buf);
    assert_int_equal(rv, 0);
}

static void join_with(uint32_t node_id, uint64_t incarnation, uint32_t level)
{
    struct sp_state_node node = { .node_id = node_id,
                                  .incarnation = incarnation,
                                  .features = { SP_FEATURE_LEVEL_FIRST, level } };
    struct sp_buf buf;

    (void)snprintf(node.client_address, sizeof node.client_address, "c%u:1", node_id);
    (void)snprintf(node.peer_address, sizeof node.peer_address, "p%u:1", node_id);
    sp_buf_init(&buf, 4096);
    assert_int_equal(sp_state_command_join_node(&node, &buf), 0);
    apply(&buf);
}

static void register_node(uint32_t node_id, uint32_t level)
{
    join_with(node_id, 9, level);
}

static void create(const char *name, uint32_t replicas, const uint32_t *nodes)
{
    static const struct sp_topic_config config = { .set = 0 };
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    assert_int_equal(sp_state_command_create_topic(name, 1, replicas, nodes, &config, &buf), 0);
    apply(&buf);
}

static void drain(uint32_t node_id, bool draining)
{
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    assert_int_equal(sp_state_command_drain_node(node_id, draining, &buf), 0);
    apply(&buf);
}

/* Of topic "t", whose id is 1 or 2: see setup. */
static void move(const char *name, const struct sp_state_wish *wishes, unsigned count)
{
    const struct sp_state_topic *topic = sp_state_topic(fixture.state, name);
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    assert_int_equal(sp_state_command_move_begin(topic->topic_id, 0, wishes, count, &buf), 0);
    apply(&buf);
}

static void move_to(uint32_t first, uint32_t second, uint32_t third)
{
    const struct sp_state_wish wishes[] = { { first, false }, { second, false }, { third, false } };

    move("t", wishes, 3);
}

static uint64_t group_of(const char *topic)
{
    return sp_state_topic(fixture.state, topic)->partitions[0].group_id;
}

static void lead(uint64_t group_id, uint64_t term, uint32_t node_id, uint32_t lagging)
{
    const struct sp_peer_leader leader = {
        .group_id = group_id, .term = term, .node_id = node_id, .lagging = lagging
    };
    uint8_t bytes[SP_PEER_LEADER_SIZE];
    struct sp_peer_message message = { .kind = SP_PEER_LEADERS, .u.count = 1 };

    sp_peer_leader_encode(&leader, bytes);
    message.body = (struct sp_slice){ .bytes = bytes, .size = sizeof bytes };
    sp_leader_table_hear(fixture.leaders, node_id, &message);
}

static void set_down(uint32_t node_id)
{
    fixture.looks[node_id] = (struct sp_transport_look){ .link_ms = fake_loop.now_ms };
    sp_leader_table_node_dead(fixture.leaders, node_id);
}

/* ---- driving --------------------------------------------------------------------------------- */

/* Nodes 1 to 4; "t" on 2, 1 and 3, led by 2; the consumer groups' topic on 2; the controller is 2.
 */
static int setup(void **unused)
{
    static const uint32_t places[] = { 2, 1, 3 };

    (void)unused;
    memset(&fixture, 0, sizeof fixture);
    fake_loop_init();
    fixture.live_count = sp_mem_live_count();
    assert_int_equal(sp_state_new(&fixture.state), 0);
    assert_int_equal(sp_leader_table_new(NULL, NULL, SELF, &fixture.leaders), 0);
    fixture.broker.options.node_id = SELF;
    fixture.broker.coordinators = sp_map_new();
    fixture.broker.partitions = sp_map_new();
    fixture.broker.reconcile = (const struct sp_reconcile *)(const void *)&fixture;
    fixture.broker.mover = (const struct sp_mover *)(const void *)&fixture;
    fixture.progress_rv = SPATE_ERR_NOT_LEADER;
    fixture.follows = true;
    for (uint32_t i = 1; i <= NODES; i++) {
        register_node(i, SP_FEATURE_LEVEL_FIRST);
        fixture.looks[i] = (struct sp_transport_look){ .up = true, .link_ms = fake_loop.now_ms };
        fixture.roles[i] = i == 2 ? "leader" : i == 4 ? "standby" : "voter";
    }
    create(SP_STATE_GROUPS_TOPIC, 1, places);
    create("t", 3, places);
    lead(SP_CONTROLLER_GROUP_ID, 1, 2, 0);
    lead(group_of(SP_STATE_GROUPS_TOPIC), 1, 2, 0);
    lead(group_of("t"), 1, 2, 0);
    sp_health_begin(&fixture.broker);
    sp_health_watch(&fixture.broker);
    return 0;
}

static int teardown(void **unused)
{
    (void)unused;
    sp_map_free(fixture.broker.coordinators);
    sp_map_free(fixture.broker.partitions);
    sp_leader_table_free(fixture.leaders);
    sp_state_free(fixture.state);
    return sp_mem_live_count() == fixture.live_count ? 0 : -1;
}

/* As the node does: a look twice a second. */
static void wait_ms(unsigned duration_ms)
{
    for (unsigned waited_ms = 0; waited_ms < duration_ms; waited_ms += 500) {
        fake_wait(duration_ms - waited_ms < 500 ? duration_ms - waited_ms : 500);
        sp_health_watch(&fixture.broker);
    }
}

static void add(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void add(const char *format, ...)
{
    size_t used = strlen(fixture.text);
    va_list arguments;

    va_start(arguments, format);
    int size = vsnprintf(fixture.text + used, TEXT_SIZE - used, format, arguments);
    va_end(arguments);
    assert_true(size >= 0 && (size_t)size < TEXT_SIZE - used);
}

/* One value as text; times after the start of the clock become "@" and the loop's time. */
static void render(struct sp_cursor *cursor, unsigned depth)
{
    enum sp_cursor_type type = sp_cursor_peek(cursor);
    uint32_t count;

    assert_true(depth < 8);
    if (type == SP_CURSOR_INT) {
        int64_t number = sp_cursor_int(cursor, INT64_MIN, INT64_MAX);
        add(number >= WALL_MS ? "@%lld" : "%lld",
            (long long)(number >= WALL_MS ? number - WALL_MS : number));
    } else if (type == SP_CURSOR_BOOL) {
        add("%s", sp_cursor_bool(cursor) ? "yes" : "no");
    } else if (type == SP_CURSOR_STR) {
        struct sp_bytes text = sp_cursor_text(cursor);
        add("%.*s", (int)text.size, (const char *)text.bytes);
    } else if (type == SP_CURSOR_ARRAY) {
        count = sp_cursor_array(cursor);
        for (uint32_t i = 0; i < count; i++) {
            add("%s", i == 0 ? "[" : ",");
            render(cursor, depth + 1);
        }
        add("%s", count == 0 ? "[]" : "]");
    } else {
        count = sp_cursor_map(cursor);
        for (uint32_t i = 0; i < count; i++) {
            add("%s", i == 0 ? "{" : " ");
            render(cursor, depth + 1);
            add("=");
            render(cursor, depth + 1);
        }
        add("}");
    }
}

/* The whole answer as text. */
static const char *answer(void)
{
    struct sp_buf buf;
    struct sp_pack pack;

    sp_buf_init(&buf, TEXT_SIZE);
    sp_pack_init(&pack, &buf);
    sp_health_pack(&fixture.broker, &pack);
    assert_int_equal(sp_pack_status(&pack), 0);
    struct sp_cursor cursor = sp_cursor_of(sp_bytes_of(buf.bytes, buf.size));
    fixture.text[0] = '\0';
    render(&cursor, 0);
    assert_int_equal(sp_cursor_finish(&cursor), 0);
    sp_buf_deinit(&buf);
    return fixture.text;
}

static void expect(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The answer holds this text. */
static void expect(const char *format, ...)
{
    char wanted[512];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(wanted, sizeof wanted, format, arguments);
    va_end(arguments);
    if (strstr(answer(), wanted) == NULL) {
        fail_msg("no \"%s\" in %s", wanted, fixture.text);
    }
}

#endif /* SP_UNIT_DRIVEN_HEALTH_H */
