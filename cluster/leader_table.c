#include "cluster/leader_table.h"

#include "base/assert.h"
#include "base/map.h"
#include "base/mem.h"
#include "spate/error.h"

/* What is known of one group's leader, here or elsewhere. */
struct leader {
    uint64_t group_id;
    uint64_t term;
    uint32_t node_id;
    uint32_t lagging;      /* bit i: the i-th member lacks committed frames */
    uint64_t changed_ms;   /* since when `node_id` is what it is */
    uint64_t lagging_ms;   /* since when some member lags, or did lag last */
    uint64_t hidden_ms;    /* when a new leader took over that lag, and did not know it yet */
    uint64_t misplaced_ms; /* since when another node should lead; 0: none should */
    uint32_t said_by;      /* the node that spoke last of itself, also that it does not lead */
    uint32_t said_node;    /* said itself that it leads ... */
    uint64_t said_term;    /* ... in this term, and has not taken it back; 0: nobody */
    struct sp_list dirty;  /* in table->dirty while other nodes must be told */
};

struct sp_leader_table {
    struct sp_loop *loop;
    struct sp_transport *transport;
    uint32_t node_id;
    struct sp_map *entries; /* group id -> struct leader */
    struct sp_list dirty;
    struct sp_deferred spread;
    uint32_t up[SP_NODES_MAX]; /* linked nodes */
    bool untold[SP_NODES_MAX]; /* of each: some news could not be sent to it */
    unsigned up_count;
    uint64_t retold_ms;
    void (*changed)(void *arg, uint64_t group_id, uint32_t leader_node);
    void *changed_arg;
};

static struct leader *leader_entry(struct sp_leader_table *table, uint64_t group_id)
{
    struct leader *leader = sp_map_get_u64(table->entries, group_id);

    if (leader != NULL) {
        return leader;
    }
    leader = sp_mem_calloc(1, sizeof *leader);
    if (leader == NULL) {
        return NULL; /* metadata stays vague until the next change */
    }
    leader->group_id = group_id;
    leader->changed_ms = sp_loop_now_ms(table->loop);
    sp_list_init(&leader->dirty);
    if (sp_map_put_u64(table->entries, group_id, leader) != 0) {
        sp_mem_free(leader);
        return NULL;
    }
    return leader;
}

static void
set_leader(struct sp_leader_table *table, struct leader *leader, uint64_t term, uint32_t node_id)
{
    bool changed = leader->node_id != node_id;

    leader->term = term;
    leader->node_id = node_id;
    if (changed) {
        leader->changed_ms = sp_loop_now_ms(table->loop);
    }
    if (changed && table->changed != NULL) {
        table->changed(table->changed_arg, leader->group_id, node_id);
    }
}

/* A new leader finds out only after two looks who lags: until then nothing is known of it. */
#define UNKNOWN_MS_MAX 1000

/* `is_new`: it is the first word of a leader. */
static void
set_lagging(struct sp_leader_table *table, struct leader *leader, bool is_new, uint32_t lagging)
{
    uint64_t now_ms = sp_loop_now_ms(table->loop);

    if (lagging != 0 && leader->lagging == 0) {
        bool unknown = leader->hidden_ms != 0 && now_ms - leader->hidden_ms < UNKNOWN_MS_MAX;
        leader->lagging_ms = unknown ? leader->lagging_ms : now_ms;
    }
    if (lagging != 0) {
        leader->hidden_ms = 0;
    } else if (is_new) {
        leader->hidden_ms = leader->lagging != 0 ? now_ms : 0;
    }
    leader->lagging = lagging;
}

/* False: they could not be sent, and must be told again. */
static bool send_leaders(struct sp_leader_table *table,
                         uint32_t node_id,
                         const struct sp_peer_leader *leaders,
                         unsigned count)
{
    struct sp_peer_message message = { .kind = SP_PEER_LEADERS, .u.count = count };
    struct sp_blob *blob = sp_blob_new((size_t)count * SP_PEER_LEADER_SIZE);
    struct sp_slice body;
    int rv;

    if (blob == NULL) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        sp_peer_leader_encode(&leaders[i], blob->bytes + (size_t)i * SP_PEER_LEADER_SIZE);
    }
    body = sp_slice_of(blob, 0, blob->size);
    rv = sp_transport_send(table->transport, node_id, &message, &body, 1);
    sp_slice_unref(&body);
    sp_blob_unref(blob);
    return rv == 0;
}

#define LEADERS_PER_MESSAGE 1024

/* Everything is told again so often: a replica that was moved away, and did not know it yet, may
 * have missed its leader, and nothing but this would tell its node who leads. */
#define RETELL_MS 10000

static void spread(struct sp_deferred *deferred)
{
    struct sp_leader_table *table = SP_CONTAINER_OF(deferred, struct sp_leader_table, spread);
    struct sp_peer_leader batch[LEADERS_PER_MESSAGE];

    while (!sp_list_empty(&table->dirty)) {
        unsigned count = 0;
        while (!sp_list_empty(&table->dirty) && count < LEADERS_PER_MESSAGE) {
            struct leader *leader = SP_LIST_ENTRY(table->dirty.next, struct leader, dirty);
            sp_list_remove(&leader->dirty);
            batch[count] = (struct sp_peer_leader){ .group_id = leader->group_id,
                                                    .term = leader->term,
                                                    .node_id = leader->node_id,
                                                    .lagging = leader->lagging };
            count += 1;
        }
        for (unsigned i = 0; i < table->up_count; i++) {
            if (!send_leaders(table, table->up[i], batch, count)) {
                table->untold[i] = true;
            }
        }
    }
}

/* Tells a linked node everything that is led here, and what nobody is known to lead: it may believe
 * that this node still does. */
static void tell_all(struct sp_leader_table *table, unsigned place)
{
    uint32_t node_id = table->up[place];
    struct sp_peer_leader batch[LEADERS_PER_MESSAGE];
    struct sp_map_cursor cursor = { 0 };
    struct leader *leader;
    unsigned count = 0;
    bool told = true;

    while ((leader = sp_map_next(table->entries, &cursor)) != NULL) {
        if (leader->node_id != table->node_id && leader->node_id != 0) {
            continue;
        }
        batch[count] = (struct sp_peer_leader){ .group_id = leader->group_id,
                                                .term = leader->term,
                                                .node_id = leader->node_id,
                                                .lagging = leader->lagging };
        count += 1;
        if (count == LEADERS_PER_MESSAGE) {
            told = send_leaders(table, node_id, batch, count) && told;
            count = 0;
        }
    }
    if (count > 0) {
        told = send_leaders(table, node_id, batch, count) && told;
    }
    table->untold[place] = !told;
}

void sp_leader_table_retell(struct sp_leader_table *table)
{
    uint64_t now_ms = sp_loop_now_ms(table->loop);
    bool all = now_ms - table->retold_ms >= RETELL_MS;

    table->retold_ms = all ? now_ms : table->retold_ms;
    for (unsigned i = 0; i < table->up_count; i++) {
        if (all || table->untold[i]) {
            tell_all(table, i);
        }
    }
}

/* What nodes say of themselves is kept also while a local replica knows better by a newer term. */
static void note_said(struct leader *leader, uint32_t from_node, const struct sp_peer_leader *heard)
{
    bool resigns = heard->node_id == 0;

    if (heard->term >= leader->said_term && (!resigns || leader->said_node == from_node)) {
        leader->said_by = from_node;
        leader->said_node = heard->node_id;
        leader->said_term = heard->term;
    }
}

/* The terms of a group begin anew when the disk of its only replica was replaced: what its node
 * said before is of the lost one. What one node says arrives in order, and the terms of a group
 * that goes on only rise. */
static void note_anew(struct sp_leader_table *table,
                      struct leader *leader,
                      uint32_t from_node,
                      const struct sp_peer_leader *heard)
{
    bool nobody_else = leader->node_id == 0 || leader->node_id == from_node;

    if (heard->node_id == from_node && heard->term < leader->term && nobody_else &&
        leader->said_by == from_node && leader->said_term == leader->term) {
        leader->said_term = heard->term;
        set_leader(table, leader, heard->term, 0);
    }
}

void sp_leader_table_hear(struct sp_leader_table *table,
                          uint32_t from_node,
                          const struct sp_peer_message *message)
{
    const uint8_t *bytes = message->body.bytes;

    for (uint32_t i = 0; i < message->u.count; i++) {
        struct sp_peer_leader heard;
        struct leader *leader;
        sp_peer_leader_decode(bytes + (size_t)i * SP_PEER_LEADER_SIZE, &heard);
        if (heard.node_id != 0 && heard.node_id != from_node) {
            continue; /* nodes speak for themselves only */
        }
        if (heard.node_id == 0 && sp_map_get_u64(table->entries, heard.group_id) == NULL) {
            continue; /* forgotten: told on, it would live for ever on all nodes */
        }
        leader = leader_entry(table, heard.group_id);
        if (leader == NULL) {
            continue;
        }
        bool is_new = heard.term != leader->said_term || heard.node_id != leader->said_node;
        note_anew(table, leader, from_node, &heard);
        note_said(leader, from_node, &heard);
        if (heard.term < leader->term || (heard.node_id == 0 && leader->node_id != from_node)) {
            continue;
        }
        set_lagging(table, leader, is_new, heard.lagging);
        set_leader(table, leader, heard.term, heard.node_id);
    }
}

void sp_leader_table_set(struct sp_leader_table *table,
                         uint64_t group_id,
                         uint64_t term,
                         uint32_t leader_node,
                         uint32_t lagging)
{
    struct leader *leader = leader_entry(table, group_id);
    bool news;

    if (leader == NULL || term < leader->term) {
        return;
    }
    news = leader->term != term || leader->node_id != leader_node ||
           (leader_node == table->node_id && leader->lagging != lagging);
    news = news && (leader->node_id == table->node_id || leader_node == table->node_id);
    if (leader_node == table->node_id) {
        set_lagging(table, leader, term != leader->term || leader->node_id != leader_node, lagging);
    }
    set_leader(table, leader, term, leader_node);
    if (news && sp_list_empty(&leader->dirty)) {
        sp_list_append(&table->dirty, &leader->dirty);
        sp_loop_defer(table->loop, &table->spread);
    }
}

void sp_leader_table_leave(struct sp_leader_table *table, uint64_t group_id)
{
    struct leader *leader = sp_map_get_u64(table->entries, group_id);

    if (leader == NULL) {
        return;
    }
    if (leader->node_id == table->node_id) {
        sp_leader_table_set(table, group_id, leader->term, 0, 0);
    } else if (leader->node_id == 0) {
        /* Also back to an older term: the replica may have stood for election, in terms that its
         * group has never seen, since it did not know that it was no member any more. */
        set_leader(table, leader, leader->said_term, leader->said_node);
    }
}

uint32_t sp_leader_table_lagging(const struct sp_leader_table *table, uint64_t group_id)
{
    const struct leader *leader = sp_map_get_u64(table->entries, group_id);

    return leader == NULL ? 0 : leader->lagging;
}

/* A local replica's knowledge does not count: one that has stopped may have stood for election in
 * terms that its group has never seen. */
bool sp_leader_table_led_elsewhere(const struct sp_leader_table *table,
                                   uint64_t group_id,
                                   uint64_t heard_ms)
{
    const struct leader *leader = sp_map_get_u64(table->entries, group_id);
    struct sp_transport_look look;

    return leader != NULL && leader->said_node != 0 && leader->said_node != table->node_id &&
           sp_transport_look(table->transport, leader->said_node, &look) && look.up &&
           look.heard_ms >= heard_ms;
}

bool sp_leader_table_since(const struct sp_leader_table *table,
                           uint64_t group_id,
                           struct sp_leader_since *out_since)
{
    const struct leader *leader = sp_map_get_u64(table->entries, group_id);

    if (leader == NULL) {
        return false;
    }
    *out_since = (struct sp_leader_since){ leader->changed_ms,
                                           leader->lagging == 0 ? 0 : leader->lagging_ms,
                                           leader->misplaced_ms };
    return true;
}

void sp_leader_table_misplaced(struct sp_leader_table *table, uint64_t group_id, bool misplaced)
{
    struct leader *leader = sp_map_get_u64(table->entries, group_id);

    if (leader != NULL && misplaced != (leader->misplaced_ms != 0)) {
        leader->misplaced_ms = misplaced ? sp_loop_now_ms(table->loop) : 0;
    }
}

uint32_t
sp_leader_table_get(const struct sp_leader_table *table, uint64_t group_id, uint64_t *out_term)
{
    const struct leader *leader = sp_map_get_u64(table->entries, group_id);

    if (out_term != NULL) {
        *out_term = leader == NULL ? 0 : leader->term;
    }
    return leader == NULL ? 0 : leader->node_id;
}

void sp_leader_table_forget(struct sp_leader_table *table, uint64_t group_id)
{
    struct leader *leader = sp_map_remove_u64(table->entries, group_id);

    if (leader != NULL) {
        sp_list_remove(&leader->dirty);
        sp_mem_free(leader);
    }
}

void sp_leader_table_on_change(struct sp_leader_table *table,
                               void (*cb)(void *arg, uint64_t group_id, uint32_t leader_node),
                               void *arg)
{
    table->changed = cb;
    table->changed_arg = arg;
}

void sp_leader_table_node_up(struct sp_leader_table *table, uint32_t node_id)
{
    SP_ASSERT(table->up_count < SP_NODES_MAX);
    table->up[table->up_count] = node_id;
    table->up_count += 1;
    tell_all(table, table->up_count - 1);
}

void sp_leader_table_node_down(struct sp_leader_table *table, uint32_t node_id)
{
    for (unsigned i = 0; i < table->up_count; i++) {
        if (table->up[i] == node_id) {
            table->up_count -= 1;
            table->up[i] = table->up[table->up_count];
            table->untold[i] = table->untold[table->up_count];
            return;
        }
    }
}

void sp_leader_table_node_dead(struct sp_leader_table *table, uint32_t node_id)
{
    struct sp_map_cursor cursor = { 0 };
    struct leader *leader;

    while ((leader = sp_map_next(table->entries, &cursor)) != NULL) {
        if (leader->said_node == node_id) {
            leader->said_node = 0;
        }
        if (leader->node_id == node_id) {
            set_leader(table, leader, leader->term, 0);
        }
    }
}

int sp_leader_table_new(struct sp_loop *loop,
                        struct sp_transport *transport,
                        uint32_t node_id,
                        struct sp_leader_table **out_table)
{
    struct sp_leader_table *table = sp_mem_calloc(1, sizeof *table);

    if (table == NULL) {
        return SPATE_ERR_NOMEM;
    }
    table->entries = sp_map_new();
    if (table->entries == NULL) {
        sp_mem_free(table);
        return SPATE_ERR_NOMEM;
    }
    table->loop = loop;
    table->transport = transport;
    table->node_id = node_id;
    sp_list_init(&table->dirty);
    sp_deferred_init(&table->spread, spread);
    *out_table = table;
    return 0;
}

void sp_leader_table_free(struct sp_leader_table *table)
{
    struct sp_map_cursor cursor = { 0 };
    struct leader *leader;

    if (table == NULL) {
        return;
    }
    while ((leader = sp_map_next(table->entries, &cursor)) != NULL) {
        sp_mem_free(leader);
    }
    sp_deferred_cancel(&table->spread);
    sp_map_free(table->entries);
    sp_mem_free(table);
}
