/* Which partition is compacted next, and what may go: minimum lag, the age of the floor, what was
 * compacted before; and what a replica says of itself after its passes: up to where no older record
 * is left. Only the file itself and the topic's configuration are real. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "broker/methods.h"
#include "spate/error.h"

enum {
    SPANS_MAX = 8,
    MIB = 1 << 20,
};

static struct {
    struct sp_broker broker;
    struct sp_partition partition;
    struct sp_log_span spans[SPANS_MAX]; /* finished segments */
    unsigned span_count;
    uint64_t applied;
    int64_t now_ms;
    int64_t floor;
    bool stopped;
    bool begun;
    int begin_status;
    struct sp_compaction_order order;
    int64_t reported;
    int failed_read;
    enum sp_space space;
    uint32_t level;
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
    return world.now_ms;
}

void sp_raft_group_status(const struct sp_raft_group *group,
                          struct sp_raft_group_status *out_status)
{
    (void)group;
    *out_status =
        (struct sp_raft_group_status){ .stopped = world.stopped, .applied_index = world.applied };
}

int64_t sp_raft_group_compaction_floor(const struct sp_raft_group *group)
{
    (void)group;
    return world.floor;
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
    world.failed_read = status;
}

bool sp_log_finished_span(const struct sp_log *log, uint64_t index, struct sp_log_span *out_span)
{
    (void)log;
    for (unsigned i = 0; i < world.span_count; i++) {
        if (world.spans[i].last_index >= index) {
            *out_span = world.spans[i];
            return true;
        }
    }
    return false;
}

enum sp_space sp_store_space(const struct sp_store *store)
{
    (void)store;
    return world.space;
}

bool sp_broker_lacks_feature(const struct sp_broker *broker,
                             enum sp_feature feature,
                             const char *what,
                             struct sp_request *request)
{
    (void)broker;
    (void)what;
    (void)request;
    return (uint32_t)feature > world.level;
}

int sp_compactor_begin(struct sp_compactor *compactor, const struct sp_compaction_order *order)
{
    (void)compactor;
    world.begun = true;
    world.order = *order;
    return world.begin_status;
}

/* ---- fixture --------------------------------------------------------------------------------- */

static void set(enum sp_topic_key key, int64_t value)
{
    world.partition.config.set |= 1U << key;
    world.partition.config.values[key] = value;
}

/* A finished segment of 100 frames with a record each, the last of them appended at `time_ms`. */
static void add_span(int64_t time_ms, uint64_t size_bytes)
{
    uint64_t first = 1 + 100 * (uint64_t)world.span_count;

    world.spans[world.span_count++] = (struct sp_log_span){
        .first_index = first,
        .last_index = first + 99,
        .first_offset = (int64_t)first - 1,
        .end_offset = (int64_t)first + 99,
        .append_time_ms = time_ms,
        .size_bytes = size_bytes,
    };
}

static void begin(void)
{
    sp_map_free(world.broker.partitions);
    memset(&world, 0, sizeof world);
    world.level = SP_FEATURE_LEVEL_MAX;
    world.space = SP_SPACE_ENOUGH;
    world.now_ms = 100000;
    world.applied = 1000;
    world.partition.broker = &world.broker;
    world.partition.group_id = 9;
    world.partition.group = (struct sp_raft_group *)&world;
    world.broker.partitions = sp_map_new();
    assert_non_null(world.broker.partitions);
    assert_int_equal(sp_map_put_u64(world.broker.partitions, 9, &world.partition), 0);
    set(SP_TOPIC_CLEANUP_POLICY, SP_TOPIC_COMPACT);
    set(SP_TOPIC_TOMBSTONE_MS, 5000);
}

static bool look(void)
{
    world.begun = false;
    sp_compactor_look(&world.broker);
    return world.begun;
}

/* The pass of the last look has ended. */
static void end(int64_t map_end, int64_t tombstone_min, int status)
{
    world.broker.compactor.order = world.order;
    world.broker.compactor.pass = (struct sp_compact_pass){ .map_end = map_end,
                                                            .floor = world.order.floor,
                                                            .tombstone_min = tombstone_min };
    sp_compactor_ended(&world.broker, status);
}

/* A pass over all that there is, with as much again since the last one. */
static void pass(bool unclean)
{
    unsigned segments = world.span_count > 0 ? world.span_count : 1;

    add_span(1000, segments * (uint64_t)MIB);
    assert_true(look());
    world.broker.compactor.order = world.order;
    world.broker.compactor.pass =
        (struct sp_compact_pass){ .map_end = world.spans[world.span_count - 1].end_offset,
                                  .tombstone_min = INT64_MAX,
                                  .unclean = unclean };
    sp_compactor_ended(&world.broker, 0);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_compactor_look_takes_what_is_finished_and_applied(void **state)
{
    (void)state;
    begin();
    assert_false(look()); /* nothing is finished */
    add_span(1000, MIB);
    add_span(2000, MIB);
    add_span(3000, MIB);
    world.applied = 250; /* the third is not applied whole */
    assert_true(look());
    assert_int_equal(world.order.first_index, 1);
    assert_int_equal(world.order.last_index, 200);
    assert_int_equal(world.order.first_dirty, 0);
    assert_true(world.order.packs);
}

static void test_compactor_look_leaves_other_topics_alone(void **state)
{
    (void)state;
    begin();
    add_span(1000, MIB);
    set(SP_TOPIC_CLEANUP_POLICY, SP_TOPIC_DELETE);
    assert_false(look());
    set(SP_TOPIC_CLEANUP_POLICY, SP_TOPIC_COMPACT);
    world.space = SP_SPACE_LAST;
    assert_false(look());
    world.space = SP_SPACE_ENOUGH;
    world.level = 2;
    assert_false(look());
    world.level = 3;
    assert_true(look());
    assert_false(world.order.packs); /* an older build could not read runs */
    world.partition.group = NULL;
    assert_false(look());
}

static void test_compactor_look_waits_for_the_minimum_lag(void **state)
{
    (void)state;
    begin();
    set(SP_TOPIC_COMPACTION_LAG_MS, 60000);
    add_span(30000, MIB);
    add_span(50000, MIB);
    assert_true(look());
    assert_int_equal(world.order.last_index, 100); /* the second is 50 s old */
    world.now_ms = 109999;
    assert_true(look());
    assert_int_equal(world.order.last_index, 100);
    world.now_ms = 110000;
    assert_true(look());
    assert_int_equal(world.order.last_index, 200);
    begin();
    set(SP_TOPIC_COMPACTION_LAG_MS, 60000);
    add_span(50000, MIB);
    add_span(1000, MIB);
    assert_false(look()); /* nothing behind one that is too young */
}

static void test_compactor_look_waits_until_there_is_as_much_as_before(void **state)
{
    (void)state;
    begin();
    set(SP_TOPIC_TOMBSTONE_MS, 1000000);
    add_span(1000, 2 * MIB);
    assert_true(look());
    end(100, INT64_MAX, 0);
    assert_int_equal(world.reported, 100);
    assert_false(look()); /* nothing is new */
    add_span(90000, MIB);
    assert_false(look()); /* half as much is */
    add_span(91000, MIB);
    assert_true(look());
    assert_int_equal(world.order.first_dirty, 100);
    assert_int_equal(world.order.first_index, 101);
    assert_int_equal(world.order.last_index, 300);
    end(300, INT64_MAX, 0);
    add_span(92000, 1000);
    assert_false(look());
    world.now_ms = 92000 + 1000000; /* a little is enough once it has waited */
    assert_true(look());
}

/* What has no records left is not read again, so it need not be made up for. */
static void test_compactor_look_segment_without_records_counts_for_nothing(void **state)
{
    (void)state;
    begin();
    set(SP_TOPIC_TOMBSTONE_MS, 1000000);
    add_span(1000, 2 * MIB);
    assert_true(look());
    end(100, INT64_MAX, 0);
    add_span(90000, MIB);
    assert_false(look());
    world.spans[0].bare = true;
    assert_true(look());
    assert_int_equal(world.order.first_index, 101);
}

static void test_compactor_look_tombstones_go_when_the_floor_is_old_enough(void **state)
{
    (void)state;
    begin();
    add_span(1000, MIB);
    assert_true(look());
    assert_int_equal(world.order.floor, 0);
    end(100, 40, 0); /* a tombstone at 40 stays */
    assert_false(look());
    world.floor = 100; /* all members are clean up to there */
    assert_false(look());
    world.now_ms += 4999;
    assert_false(look());
    world.now_ms += 1;
    assert_true(look());
    assert_int_equal(world.order.floor, 100);
    assert_true(world.order.first_index > world.order.last_index); /* no key is noted again */
    end(100, INT64_MAX, 0);
    assert_false(look()); /* and none is left */
}

/* A floor that rises while an earlier one grows old does not make that one younger. */
static void test_compactor_look_floor_that_rises_does_not_begin_anew(void **state)
{
    (void)state;
    begin();
    add_span(1000, MIB);
    assert_true(look());
    end(100, 10, 0);
    world.floor = 50;
    assert_false(look());
    world.now_ms += 3000;
    world.floor = 100;
    assert_false(look());
    world.now_ms += 2000;
    assert_true(look());
    assert_int_equal(world.order.floor, 50);
    end(100, 60, 0);
    assert_false(look());
    world.now_ms += 5000;
    assert_true(look());
    assert_int_equal(world.order.floor, 100);
}

static void test_compactor_look_pass_that_failed_is_tried_again_later(void **state)
{
    (void)state;
    begin();
    add_span(1000, MIB);
    assert_true(look());
    end(100, INT64_MAX, SPATE_ERR_NOMEM);
    assert_int_equal(world.reported, 0);
    assert_int_equal(world.failed_read, 0);
    assert_false(look());
    world.now_ms += 10000;
    assert_true(look());
    assert_int_equal(world.order.first_dirty, 0);
}

/* The others, whose segments may be smaller, have their turn meanwhile. */
static void test_compactor_look_pass_that_cannot_begin_is_tried_again_later(void **state)
{
    (void)state;
    begin();
    add_span(1000, MIB);
    world.begin_status = SPATE_ERR_NO_SPACE;
    assert_true(look());
    assert_false(look());
}

/* Its files are evidence, and perhaps all that there is of the partition: they stay as they are. */
static void test_compactor_look_leaves_a_replica_alone_that_has_stopped(void **state)
{
    (void)state;
    begin();
    add_span(1000, MIB);
    world.stopped = true;
    assert_false(look());
    world.stopped = false;
    assert_true(look());
}

static void test_compactor_look_unclean_pass_is_not_reported(void **state)
{
    (void)state;
    begin();
    pass(true);
    assert_int_equal(world.reported, 0);
}

static void test_compactor_look_floor_rises_with_each_pass(void **state)
{
    (void)state;
    begin();
    pass(false);
    assert_int_equal(world.reported, 100);
    pass(false);
    assert_int_equal(world.reported, 200);
}

/* An old value that could not be taken out is there still when the next pass is through, and that
 * one does not see it: the later record of its key is not in its table. */
static void test_compactor_look_floor_rests_for_ever_on_a_batch_that_did_not_shrink(void **state)
{
    (void)state;
    begin();
    pass(false);
    pass(true);
    assert_int_equal(world.reported, 100);
    pass(false);
    assert_int_equal(world.reported, 100);
}

static void test_compactor_look_frame_that_cannot_be_read_ends_the_replica(void **state)
{
    (void)state;
    begin();
    add_span(1000, MIB);
    assert_true(look());
    world.broker.compactor.unreadable = true;
    end(0, INT64_MAX, SPATE_ERR_CORRUPT);
    assert_int_equal(world.failed_read, SPATE_ERR_CORRUPT);
    assert_int_equal(world.reported, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compactor_look_takes_what_is_finished_and_applied),
        cmocka_unit_test(test_compactor_look_leaves_other_topics_alone),
        cmocka_unit_test(test_compactor_look_waits_for_the_minimum_lag),
        cmocka_unit_test(test_compactor_look_waits_until_there_is_as_much_as_before),
        cmocka_unit_test(test_compactor_look_segment_without_records_counts_for_nothing),
        cmocka_unit_test(test_compactor_look_tombstones_go_when_the_floor_is_old_enough),
        cmocka_unit_test(test_compactor_look_floor_that_rises_does_not_begin_anew),
        cmocka_unit_test(test_compactor_look_pass_that_failed_is_tried_again_later),
        cmocka_unit_test(test_compactor_look_pass_that_cannot_begin_is_tried_again_later),
        cmocka_unit_test(test_compactor_look_leaves_a_replica_alone_that_has_stopped),
        cmocka_unit_test(test_compactor_look_unclean_pass_is_not_reported),
        cmocka_unit_test(test_compactor_look_floor_rises_with_each_pass),
        cmocka_unit_test(test_compactor_look_floor_rests_for_ever_on_a_batch_that_did_not_shrink),
        cmocka_unit_test(test_compactor_look_frame_that_cannot_be_read_ends_the_replica),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
