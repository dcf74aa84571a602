/* What stands in for the group table, the replica and the transport in a test of the controller. */
#ifndef SP_UNIT_FAKE_CONTROLLER_H
#define SP_UNIT_FAKE_CONTROLLER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "cluster/controller.h"
#include "fake_loop.h"

#define SELF 1 /* the node under test */
#define SENT_MAX 700

static struct {
    struct sp_group_open *open;
    uint64_t damaged_voter;         /* as told by the handler */
    struct sp_replica_record older; /* a replica in the registry; group_id 1: none */
    uint64_t retired;
    struct sp_raft_group_status status;
    uint32_t leader;
    uint64_t leader_ms; /* since when; 0: it was never heard of */
    int submit_result;
    struct {
        struct sp_submit *submit;
        uint8_t *bytes;
        size_t size;
        bool applied;
    } submits[SENT_MAX];
    unsigned submit_count;
    struct {
        uint32_t node_id;
        struct sp_peer_message message;
        uint8_t body[1024];
        size_t size;
    } sent[SENT_MAX];
    unsigned sent_count;
    enum sp_link_state link;
    uint64_t link_ms; /* since when */
    uint64_t
        connected_incarnation;  /* of the process that is connected as any other node; 0: none */
    uint64_t found_incarnation; /* of the one that is found where the node is looked for */
    uint32_t unfit;             /* a node that is slow or short of space */
    int send_result;
    unsigned set_node_count;
    unsigned set_life_count; /* directories that are known, before anything is confirmed */
    unsigned confirmed_count;
    unsigned changed_count;
    int failed;
    struct sp_controller *controller;
    uint64_t live_count; /* pieces of memory when the test began */
} fake;

void sp_store_replicas(const struct sp_store *store,
                       void (*each)(void *arg, const struct sp_replica_record *record),
                       void *arg)
{
    (void)store;
    each(arg, &fake.older);
}

int sp_store_retire_replica(struct sp_store *store, uint64_t group_id, uint64_t replica_id)
{
    (void)store;
    assert_int_equal(group_id, SP_CONTROLLER_GROUP_ID);
    fake.retired = replica_id;
    return 0;
}

/* Never looked into: only its address is used. */
static char fake_group;

void sp_group_table_open(struct sp_group_table *table, struct sp_group_open *open)
{
    (void)table;
    fake.open = open;
}

uint32_t
sp_group_table_leader(const struct sp_group_table *table, uint64_t group_id, uint64_t *out_term)
{
    (void)table;
    if (group_id != SP_CONTROLLER_GROUP_ID) {
        return 1; /* all partitions have a leader */
    }
    *out_term = fake.status.term;
    return fake.leader;
}

struct sp_leader_table *sp_group_table_leaders(const struct sp_group_table *table)
{
    (void)table;
    return NULL;
}

bool sp_leader_table_since(const struct sp_leader_table *table,
                           uint64_t group_id,
                           struct sp_leader_since *out_since)
{
    (void)table;
    assert_int_equal(group_id, 0);
    out_since->leader_ms = fake.leader_ms;
    return fake.leader_ms != 0;
}

void sp_raft_group_status(const struct sp_raft_group *group,
                          struct sp_raft_group_status *out_status)
{
    assert_ptr_equal(group, &fake_group);
    *out_status = fake.status;
}

bool sp_raft_group_is_current(const struct sp_raft_group *group)
{
    assert_ptr_equal(group, &fake_group);
    return fake.status.leader_node != 0 && fake.status.applied_index >= fake.status.commit_index;
}

int64_t sp_raft_group_append_time_ms(const struct sp_raft_group *group)
{
    assert_ptr_equal(group, &fake_group);
    return 0;
}

int sp_raft_group_submit(struct sp_raft_group *group,
                         enum sp_frame_kind kind,
                         const struct sp_iovec *pieces,
                         unsigned count,
                         struct sp_submit *submit)
{
    assert_ptr_equal(group, &fake_group);
    assert_int_equal(kind, SP_FRAME_COMMAND);
    assert_int_equal(count, 1);
    if (fake.submit_result != 0) {
        return fake.submit_result;
    }
    fake.status.last_index += 1;
    submit->index = fake.status.last_index;
    submit->term = fake.status.term;
    fake.submits[fake.submit_count].submit = submit;
    fake.submits[fake.submit_count].bytes = sp_mem_dup(pieces[0].bytes, pieces[0].size);
    fake.submits[fake.submit_count].size = pieces[0].size;
    fake.submits[fake.submit_count].applied = false;
    fake.submit_count += 1;
    return 0;
}

int sp_transport_send(struct sp_transport *transport,
                      uint32_t node_id,
                      const struct sp_peer_message *message,
                      const struct sp_slice *pieces,
                      unsigned count)
{
    (void)transport;
    assert_int_equal(count, 1);
    if (fake.send_result != 0) {
        return fake.send_result;
    }
    fake.sent[fake.sent_count].node_id = node_id;
    fake.sent[fake.sent_count].message = *message;
    memcpy(fake.sent[fake.sent_count].body, pieces[0].bytes, pieces[0].size);
    fake.sent[fake.sent_count].size = pieces[0].size;
    fake.sent_count += 1;
    return 0;
}

enum sp_link_state sp_transport_link(const struct sp_transport *transport, uint32_t node_id)
{
    (void)transport;
    (void)node_id;
    return fake.link;
}

bool sp_transport_look(const struct sp_transport *transport,
                       uint32_t node_id,
                       struct sp_transport_look *out_look)
{
    (void)transport;
    (void)node_id;
    *out_look =
        (struct sp_transport_look){ .up = fake.link == SP_LINK_UP, .link_ms = fake.link_ms };
    return true;
}

bool sp_transport_is_up(const struct sp_transport *transport,
                        uint32_t node_id,
                        uint64_t incarnation)
{
    (void)transport;
    (void)node_id;
    (void)incarnation;
    return fake.link == SP_LINK_UP;
}

uint64_t sp_transport_incarnation(const struct sp_transport *transport, uint32_t node_id)
{
    (void)transport;
    (void)node_id;
    return fake.connected_incarnation;
}

bool sp_transport_is_found(struct sp_transport *transport, uint32_t node_id, uint64_t incarnation)
{
    (void)transport;
    (void)node_id;
    return fake.found_incarnation == incarnation;
}

bool sp_transport_may_lead(const struct sp_transport *transport, uint32_t node_id)
{
    (void)transport;
    return node_id == SELF || (fake.link == SP_LINK_UP && node_id != fake.unfit);
}

int sp_transport_set_node(struct sp_transport *transport, uint32_t node_id, const char *address)
{
    (void)transport;
    assert_int_not_equal(node_id, SELF);
    assert_int_not_equal(address[0], '\0');
    fake.set_node_count += 1;
    return 0;
}

void sp_transport_set_registered(struct sp_transport *transport,
                                 uint32_t node_id,
                                 const struct sp_life *life)
{
    (void)transport;
    assert_int_not_equal(node_id, SELF);
    assert_int_not_equal(life->incarnation, 0);
    fake.set_life_count += 1;
}

#endif /* SP_UNIT_FAKE_CONTROLLER_H */
