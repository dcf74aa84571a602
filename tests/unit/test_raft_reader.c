/* Appends that wait for a link: their order, whom they are for, and that a heartbeat never waits.
 * Only the file itself is real; what it calls stands here. Every message takes two frames. */
#include "cluster/raft_group_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "spate/error.h"

enum {
    HEARTBEAT_MS = 50,
    PART_FRAMES = 2,
    SENT_MAX = 64,
    NODE = 2,
};

static struct {
    struct sp_raft_context context;
    struct sp_raft_group group;
    uint64_t now_ms;
    uint64_t term;   /* in which this replica leads */
    bool room;       /* of the link */
    uint64_t cached; /* frames from here on are in memory */
    uint64_t read_end;
    struct sp_list waiters;
    struct sp_log_read *reading;
    size_t reserved;
    struct {
        struct sp_peer_raft message;
        bool heartbeat;
    } sent[SENT_MAX];
    unsigned sent_count;
} world;

/* ---- what the file calls --------------------------------------------------------------------- */

uint64_t sp_raft_now_ms(const struct sp_raft_group *group)
{
    (void)group;
    return world.now_ms;
}

bool sp_raft_leads_in(const struct sp_raft_group *group, uint64_t term)
{
    (void)group;
    return term == world.term;
}

bool sp_raft_is_standby(const struct sp_raft_group *group, uint64_t replica_id)
{
    (void)group;
    (void)replica_id;
    return false;
}

bool sp_raft_has_frames(const struct sp_raft_outgoing *out)
{
    return out->end_index > out->message.index;
}

void sp_raft_drop_list(struct sp_list *list)
{
    while (!sp_list_empty(list)) {
        struct sp_raft_outgoing *out = SP_LIST_ENTRY(list->next, struct sp_raft_outgoing, node);
        sp_list_remove(&out->node);
        sp_mem_free(out);
    }
}

void sp_raft_note_frame_size(struct sp_raft_group *group, size_t size)
{
    (void)group;
    (void)size;
}

void sp_raft_stop_unreadable(struct sp_raft_group *group, int status, const char *text)
{
    (void)group;
    (void)status;
    (void)text;
    fail();
}

uint64_t sp_raft_guard_sent_index(const struct sp_raft_guard *guard, uint64_t server)
{
    (void)guard;
    (void)server;
    return 0;
}

void sp_log_keep_from(struct sp_log *log, uint64_t index)
{
    (void)log;
    (void)index;
}

static void fill(struct sp_log_read *read)
{
    uint64_t first = (uint64_t)read->start;

    world.read_end = first + PART_FRAMES - 1;
    world.read_end = world.read_end < read->index_max ? world.read_end : read->index_max;
    read->count = (unsigned)(world.read_end - first + 1);
    memset(read->frames, 0, read->count * sizeof read->frames[0]);
}

bool sp_log_read_cached(struct sp_log *log, struct sp_log_read *read)
{
    (void)log;
    if ((uint64_t)read->start < world.cached) {
        return false;
    }
    fill(read);
    return true;
}

int sp_log_read_start(struct sp_log *log, struct sp_log_read *read)
{
    (void)log;
    assert_null(world.reading);
    world.reading = read;
    return 0;
}

void sp_log_read_release(struct sp_log_read *read)
{
    (void)read;
}

int sp_log_frame_decode(const uint8_t *bytes, size_t size, struct sp_log_frame *out_frame)
{
    (void)bytes;
    (void)size;
    *out_frame = (struct sp_log_frame){ .index = world.read_end, .term = world.term };
    return 0;
}

enum sp_link_state sp_transport_link(const struct sp_transport *transport, uint32_t node_id)
{
    (void)transport;
    assert_int_equal(node_id, NODE);
    return SP_LINK_UP;
}

bool sp_transport_has_room(const struct sp_transport *transport, uint32_t node_id)
{
    (void)transport;
    (void)node_id;
    return world.room && sp_list_empty(&world.waiters);
}

int sp_transport_wait(struct sp_transport *transport,
                      uint32_t node_id,
                      struct sp_link_waiter *waiter)
{
    (void)transport;
    (void)node_id;
    sp_list_append(&world.waiters, &waiter->node);
    return 0;
}

void sp_transport_reserve(struct sp_transport *transport, uint32_t node_id, size_t size_bytes)
{
    (void)transport;
    (void)node_id;
    world.reserved += size_bytes;
}

void sp_transport_release(struct sp_transport *transport, uint32_t node_id, size_t size_bytes)
{
    (void)transport;
    (void)node_id;
    world.reserved -= size_bytes;
}

static void note(const struct sp_peer_raft *message, bool heartbeat)
{
    assert_true(world.sent_count < SENT_MAX);
    world.sent[world.sent_count].message = *message;
    world.sent[world.sent_count].heartbeat = heartbeat;
    world.sent_count += 1;
}

int sp_transport_send(struct sp_transport *transport,
                      uint32_t node_id,
                      const struct sp_peer_message *message,
                      const struct sp_slice *pieces,
                      unsigned count)
{
    (void)transport;
    (void)node_id;
    (void)pieces;
    assert_int_equal(count, message->u.raft.frame_count);
    note(&message->u.raft, false);
    return 0;
}

int sp_transport_send_heartbeat(struct sp_transport *transport,
                                uint32_t node_id,
                                const struct sp_peer_raft *raft)
{
    (void)transport;
    (void)node_id;
    note(raft, true);
    return 0;
}

/* ---- fixture --------------------------------------------------------------------------------- */

static void begin(void)
{
    memset(&world, 0, sizeof world);
    sp_list_init(&world.waiters);
    world.term = 1;
    world.now_ms = 1000;
    world.group.context = &world.context;
    world.group.guard.heartbeat_ms = HEARTBEAT_MS;
}

/* Raft sends the frames behind `index` up to `end` to the replica `to`. */
static void append(uint64_t to, uint64_t index, uint64_t end)
{
    struct sp_raft_outgoing out = { .end_index = end, .node_id = NODE };

    out.message =
        (struct sp_peer_raft){ .to = to, .term = world.term, .index = index, .commit = 1000 };
    sp_raft_reader_send(&world.group, &out);
}

/* The link has room for one message of whoever waits first. */
static void give_turn(void)
{
    assert_false(sp_list_empty(&world.waiters));
    struct sp_link_waiter *waiter = SP_LIST_ENTRY(world.waiters.next, struct sp_link_waiter, node);
    sp_list_remove(&waiter->node);
    waiter->cb(waiter);
}

static void end_read(void)
{
    struct sp_log_read *read = world.reading;

    assert_non_null(read);
    world.reading = NULL;
    fill(read);
    read->cb(read, 0);
}

static void expect_sent(unsigned place, uint64_t to, uint64_t index, unsigned frames)
{
    assert_true(place < world.sent_count);
    const struct sp_peer_raft *message = &world.sent[place].message;
    assert_int_equal(message->to, to);
    assert_int_equal(message->term, world.term);
    assert_int_equal(message->index, index);
    assert_int_equal(message->frame_count, frames);
    assert_int_equal(world.sent[place].heartbeat, frames == 0);
}

static void end(void)
{
    sp_raft_reader_drop_all(&world.group);
    assert_int_equal(world.reserved, 0);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_raft_reader_sends_at_once_what_has_room(void **state)
{
    (void)state;
    begin();
    world.room = true;
    append(7, 10, 13);
    assert_int_equal(world.sent_count, 2);
    expect_sent(0, 7, 10, 2);
    expect_sent(1, 7, 12, 1);
    assert_int_equal(world.sent[0].message.commit, 12); /* not beyond what it carries */
    end();
}

static void test_raft_reader_joins_what_waits_and_takes_turns(void **state)
{
    (void)state;
    begin();
    append(7, 10, 11);
    append(7, 11, 12);
    append(7, 12, 13);
    assert_int_equal(world.sent_count, 0);
    give_turn();
    assert_int_equal(world.sent_count, 1);
    expect_sent(0, 7, 10, 2);
    give_turn();
    expect_sent(1, 7, 12, 1);
    assert_true(sp_list_empty(&world.waiters));
    end();
}

/* Behind all that was sent: further on it would be refused, and taken for a loss. */
static void test_raft_reader_heartbeat_does_not_wait(void **state)
{
    (void)state;
    begin();
    append(7, 10, 20);
    give_turn();
    append(7, 20, 20);
    assert_int_equal(world.sent_count, 1); /* something has just gone */
    world.now_ms += HEARTBEAT_MS;
    append(7, 20, 20);
    assert_int_equal(world.sent_count, 2);
    expect_sent(1, 7, 12, 0);
    end();
}

/* Deposed and elected again while it waits: what is left of the earlier term goes nowhere, and the
 * follower hears of the new one at once. */
static void test_raft_reader_new_term_does_not_wait_behind_an_earlier_one(void **state)
{
    (void)state;
    begin();
    append(7, 10, 20);
    world.term = 3;
    world.now_ms += HEARTBEAT_MS;
    append(7, 20, 21);
    assert_int_equal(world.sent_count, 1);
    expect_sent(0, 7, 20, 0);
    give_turn();
    expect_sent(1, 7, 20, 1);
    assert_true(sp_list_empty(&world.waiters));
    assert_int_equal(world.sent_count, 2);
    end();
}

static void test_raft_reader_new_term_does_not_wait_for_a_read_of_an_earlier_one(void **state)
{
    (void)state;
    begin();
    world.room = true;
    world.cached = 100;
    append(7, 10, 20);
    assert_non_null(world.reading);
    world.term = 3;
    world.now_ms += HEARTBEAT_MS;
    append(7, 120, 121);
    expect_sent(0, 7, 120, 0);
    end_read();
    assert_int_equal(world.sent_count, 2);
    expect_sent(1, 7, 120, 1);
    end();
}

static void test_raft_reader_goes_back_where_raft_does(void **state)
{
    (void)state;
    begin();
    append(7, 10, 20);
    append(7, 5, 8);
    give_turn();
    expect_sent(0, 7, 5, 2);
    give_turn();
    expect_sent(1, 7, 7, 1);
    assert_true(sp_list_empty(&world.waiters)); /* raft sends the rest behind it */
    end();
}

/* One in whose place its node runs another is sent to as well, until it is taken out. */
static void test_raft_reader_two_replicas_of_a_node_do_not_share(void **state)
{
    (void)state;
    begin();
    append(9, 500, 502);
    append(7, 100, 102);
    give_turn();
    give_turn();
    assert_int_equal(world.sent_count, 2);
    expect_sent(0, 9, 500, 2);
    expect_sent(1, 7, 100, 2);
    world.now_ms += HEARTBEAT_MS;
    append(9, 502, 504);
    append(7, 102, 104);
    world.now_ms += HEARTBEAT_MS;
    append(9, 504, 504);
    append(7, 104, 104);
    expect_sent(2, 9, 502, 0);
    expect_sent(3, 7, 102, 0);
    end();
}

static void test_raft_reader_reads_what_is_not_in_memory(void **state)
{
    (void)state;
    begin();
    world.room = true;
    world.cached = 12;
    append(7, 10, 14);
    assert_int_equal(world.sent_count, 0);
    assert_true(world.reserved > 0);
    append(7, 14, 15);
    end_read();
    assert_int_equal(world.reserved, 0);
    assert_int_equal(world.sent_count, 3);
    expect_sent(0, 7, 10, 2);
    expect_sent(1, 7, 12, 2);
    expect_sent(2, 7, 14, 1);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raft_reader_sends_at_once_what_has_room),
        cmocka_unit_test(test_raft_reader_joins_what_waits_and_takes_turns),
        cmocka_unit_test(test_raft_reader_heartbeat_does_not_wait),
        cmocka_unit_test(test_raft_reader_new_term_does_not_wait_behind_an_earlier_one),
        cmocka_unit_test(test_raft_reader_new_term_does_not_wait_for_a_read_of_an_earlier_one),
        cmocka_unit_test(test_raft_reader_goes_back_where_raft_does),
        cmocka_unit_test(test_raft_reader_two_replicas_of_a_node_do_not_share),
        cmocka_unit_test(test_raft_reader_reads_what_is_not_in_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
