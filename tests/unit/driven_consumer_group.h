/* Consumer groups that commands are applied to, one after the other. Included once, by one test. */
#ifndef SP_UNIT_DRIVEN_CONSUMER_GROUP_H
#define SP_UNIT_DRIVEN_CONSUMER_GROUP_H

#include "broker/consumer_group.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "spate/error.h"

#define TOPIC 7 /* an id */

static struct sp_consumer_groups *groups;
static struct sp_consumer_group *group; /* what the last command was about */
static int64_t now_ms;
static uint64_t live;

static inline int setup(void **state)
{
    (void)state;
    live = sp_mem_live_count();
    groups = sp_consumer_groups_new();
    now_ms = 1000;
    return groups == NULL ? -1 : 0;
}

static inline int teardown(void **state)
{
    (void)state;
    sp_mem_fail_at(0);
    sp_consumer_groups_free(groups);
    return sp_mem_live_count() == live ? 0 : -1;
}

/* ---- commands -------------------------------------------------------------------------------- */

static uint64_t log_index; /* of the last command */

static inline int apply(int rv, struct sp_buf *command)
{
    assert_int_equal(rv, 0);
    sp_consumer_groups_at(groups, ++log_index);
    rv = sp_consumer_groups_apply(groups, command->bytes, command->size, now_ms++, &group);
    sp_buf_deinit(command);
    return rv;
}

static inline struct sp_bytes text(const char *word)
{
    return sp_bytes_text(word);
}

static inline int join_as(const char *member,
                          const char *instance,
                          const struct sp_consumer_place *owned,
                          unsigned owned_count)
{
    struct sp_consumer_join join = { .group = text("g"),
                                     .member = text(member),
                                     .instance = text(instance),
                                     .client = text("till"),
                                     .session_ms = 10000,
                                     .rebalance_ms = 30000,
                                     .topics = sp_bytes_of("\x91\xa1t", 3),
                                     .owned = owned,
                                     .owned_count = owned_count };
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    return apply(sp_consumer_command_join(&join, &buf), &buf);
}

static inline int join(const char *member)
{
    return join_as(member, "", NULL, 0);
}

static inline int leave(const char *member)
{
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    return apply(sp_consumer_command_leave(text("g"), text(member), &buf), &buf);
}

/* Assigns the partitions of TOPIC from 0 on. */
static inline int assign_at(uint64_t version, const int32_t *members, uint32_t count, uint64_t gone)
{
    struct sp_consumer_target target = { TOPIC, count, members };
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    return apply(
        sp_consumer_command_assign(text("g"), version, &target, count > 0, &gone, gone != 0, &buf),
        &buf);
}

static inline int assign(const int32_t *members, uint32_t count)
{
    return assign_at(group->version, members, count, 0);
}

static inline int release(const char *member, int64_t generation, uint32_t partition)
{
    struct sp_consumer_place place = { TOPIC, partition };
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    return apply(sp_consumer_command_release(text("g"), text(member), generation, &place, 1, &buf),
                 &buf);
}

static inline int commit(const char *member, int64_t generation, uint32_t partition, int64_t offset)
{
    struct sp_consumer_commit commit = { { TOPIC, partition }, offset, text("note") };
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    return apply(sp_consumer_command_commit(text("g"), text(member), generation, &commit, 1, &buf),
                 &buf);
}

static inline int delete_at(int64_t changed_ms)
{
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    return apply(sp_consumer_command_delete(text("g"), changed_ms, &buf), &buf);
}

static const char *owner(uint32_t partition)
{
    const struct sp_consumer_share *share = sp_consumer_group_share(group, TOPIC, partition);

    return share == NULL || share->owner == NULL ? "" : share->owner->id;
}

static inline int64_t committed(uint32_t partition)
{
    const struct sp_consumer_offset *offset = sp_consumer_group_offset(group, TOPIC, partition);

    return offset == NULL ? -1 : offset->offset;
}

/* a has 0 and 1, b has 2, in generation 1 */
static inline void two_members(void)
{
    assert_int_equal(join("a"), 0);
    assert_int_equal(join("b"), 0);
    assert_int_equal(assign((int32_t[]){ 0, 0, 1 }, 3), 0);
}

#endif /* SP_UNIT_DRIVEN_CONSUMER_GROUP_H */
