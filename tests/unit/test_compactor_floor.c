/* What a replica says of itself after its passes: up to where no older record is left. Only the
 * file that says so and the topic's configuration are real. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "broker/methods.h"
#include "spate/error.h"

static struct {
    struct sp_broker broker;
    struct sp_partition partition;
    struct sp_log_span span; /* the one finished segment */
    bool stopped;
    bool begun;
    int status; /* of the beginning */
    struct sp_compaction_order order;
    int64_t reported;
} world;

/* ---- what the file calls --------------------------------------------------------------------- */

struct sp_log *sp_raft_group_log(const struct sp_raft_group *group)
{
    (void)group;
    return (struct sp_log *)&world;
}

int64_t sp_raft_group_append_time_ms(const struct sp_raft_group *group)
{
    (void)group;
    return 1000000;
}

void sp_raft_group_status(const struct sp_raft_group *group,
                          struct sp_raft_group_status *out_status)
{
    (void)group;
    *out_status = (struct sp_raft_group_status){ .stopped = world.stopped, .applied_index = 1000 };
}

int64_t sp_raft_group_compaction_floor(const struct sp_raft_group *group)
{
    (void)group;
    return 0;
}

void sp_raft_group_compacted(struct sp_raft_group *group, int64_t offset)
{
    (void)group;
    world.reported = offset;
}

void sp_raft_group_report_compacted(struct sp_raft_group *group)
{
    (void)group;
}

void sp_raft_group_read_failed(struct sp_raft_group *group, int status)
{
    (void)group;
    (void)status;
    fail(); /* nothing here is damaged */
}

bool sp_log_finished_span(const struct sp_log *log, uint64_t index, struct sp_log_span *out_span)
{
    (void)log;
    *out_span = world.span;
    return index <= world.span.last_index;
}

enum sp_space sp_store_space(const struct sp_store *store)
{
    (void)store;
    return SP_SPACE_ENOUGH;
}

bool sp_broker_lacks_feature(const struct sp_broker *broker,
                             enum sp_feature feature,
                             const char *what,
                             struct sp_request *request)
{
    (void)broker;
    (void)feature;
    (void)what;
    (void)request;
    return false;
}

int sp_compactor_begin(struct sp_compactor *compactor, const struct sp_compaction_order *order)
{
    (void)compactor;
    world.begun = true;
    world.order = *order;
    return world.status;
}

/* ---- fixture --------------------------------------------------------------------------------- */

static void begin(void)
{
    sp_map_free(world.broker.partitions);
    memset(&world, 0, sizeof world);
    world.span = (struct sp_log_span){
        .first_index = 1, .last_index = 100, .end_offset = 100, .size_bytes = 1 << 20
    };
    world.partition.broker = &world.broker;
    world.partition.group_id = 9;
    world.partition.group = (struct sp_raft_group *)&world;
    world.partition.config.set |= 1U << SP_TOPIC_CLEANUP_POLICY;
    world.partition.config.values[SP_TOPIC_CLEANUP_POLICY] = SP_TOPIC_COMPACT;
    world.broker.partitions = sp_map_new();
    assert_non_null(world.broker.partitions);
    assert_int_equal(sp_map_put_u64(world.broker.partitions, 9, &world.partition), 0);
}

static bool look(void)
{
    world.begun = false;
    sp_compactor_look(&world.broker);
    return world.begun;
}

/* Whole pass up to `map_end`. */
static void pass(int64_t map_end, bool unclean)
{
    world.span.end_offset = map_end;
    world.span.last_index = (uint64_t)map_end;
    assert_true(look());
    world.broker.compactor.order = world.order;
    world.broker.compactor.pass = (struct sp_compact_pass){ .map_end = map_end,
                                                            .tombstone_min = INT64_MAX,
                                                            .unclean = unclean };
    sp_compactor_ended(&world.broker, 0);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_compactor_floor_rises_with_each_pass(void **state)
{
    (void)state;
    begin();
    pass(100, false);
    assert_int_equal(world.reported, 100);
    pass(200, false);
    assert_int_equal(world.reported, 200);
}

/* An old value that could not be taken out is there still when the next pass is through, and that
 * one does not see it: the later record of its key is not in its table. */
static void test_compactor_floor_rests_for_ever_on_a_batch_that_did_not_shrink(void **state)
{
    (void)state;
    begin();
    pass(100, false);
    pass(200, true);
    assert_int_equal(world.reported, 100);
    pass(300, false);
    assert_int_equal(world.reported, 100);
}

/* Its files are evidence, and perhaps all that there is of the partition: they stay as they are. */
static void test_compactor_leaves_a_replica_alone_that_has_stopped(void **state)
{
    (void)state;
    begin();
    world.stopped = true;
    assert_false(look());
    world.stopped = false;
    assert_true(look());
}

/* The others, whose segments may be smaller, have their turn meanwhile. */
static void test_compactor_that_cannot_begin_tries_that_partition_later(void **state)
{
    (void)state;
    begin();
    world.status = SPATE_ERR_NO_SPACE;
    assert_true(look());
    assert_false(look());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compactor_floor_rises_with_each_pass),
        cmocka_unit_test(test_compactor_floor_rests_for_ever_on_a_batch_that_did_not_shrink),
        cmocka_unit_test(test_compactor_leaves_a_replica_alone_that_has_stopped),
        cmocka_unit_test(test_compactor_that_cannot_begin_tries_that_partition_later),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
