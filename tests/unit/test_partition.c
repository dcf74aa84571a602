#include "broker/partition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "broker/methods.h"
#include "broker/partition_command.h"
#include "spate/error.h"
#include "wire/batch.h"

/* A replica's machine alone: frames in, state out. */
struct fixture {
    struct sp_partition *partition;
    int64_t term;
    int64_t offset;
};

static struct sp_broker broker; /* only the totals of its topics */

static struct sp_partition *partition_new(void)
{
    const struct sp_state_topic topic = { .topic_id = 1, .name = "t" };
    const struct sp_state_partition place = { .group_id = 9 };
    struct sp_partition *partition = NULL;

    assert_int_equal(sp_partition_new(&broker, &topic, &place, &partition), 0);
    return partition;
}

static int apply(struct sp_partition *partition,
                 enum sp_frame_kind kind,
                 int64_t term,
                 const uint8_t *payload,
                 size_t size)
{
    const struct sp_log_frame frame = {
        .kind = kind, .term = (uint64_t)term, .length = (uint32_t)size, .append_time_ms = 1000
    };

    return partition->machine.type->apply(&partition->machine, &frame, payload);
}

static void append(struct fixture *fixture, int records)
{
    struct sp_batch_builder builder;
    struct sp_buf batch;

    sp_buf_init(&batch, 64 * 1024);
    sp_batch_builder_init(&builder, 64 * 1024, SP_COMPRESSION_NONE);
    for (int i = 0; i < records; i++) {
        const struct sp_record record = { .value = sp_bytes_text("v"), .timestamp_ms = 5 };
        assert_int_equal(sp_batch_builder_add(&builder, &record), 0);
    }
    assert_int_equal(sp_batch_builder_finish(&builder, -1, -1, -1, &batch), 0);
    sp_batch_set_offset(batch.bytes, fixture->offset, (int32_t)fixture->term);
    assert_int_equal(
        apply(fixture->partition, SP_FRAME_BATCH, fixture->term, batch.bytes, batch.size), 0);
    fixture->offset += records;
    sp_batch_builder_deinit(&builder);
    sp_buf_deinit(&batch);
}

static int trim(struct sp_partition *partition, int64_t offset)
{
    const struct sp_partition_command command = { .kind = SP_PARTITION_TRIM, .offset = offset };
    struct sp_buf bytes;

    sp_buf_init(&bytes, SP_PARTITION_COMMAND_BYTES_MAX);
    assert_int_equal(sp_partition_command_encode(&command, &bytes), 0);
    int rv = apply(partition, SP_FRAME_COMMAND, 1, bytes.bytes, bytes.size);
    sp_buf_deinit(&bytes);
    return rv;
}

static int64_t log_start(struct sp_partition *partition)
{
    return partition->machine.type->log_start(&partition->machine);
}

/* Two truncations may be on their way at once: the later one need not be the farther one. */
static void test_partition_start_never_goes_back(void **state)
{
    struct fixture fixture = { partition_new(), 1, 0 };

    (void)state;
    append(&fixture, 10);
    assert_int_equal(log_start(fixture.partition), 0);
    assert_int_equal(trim(fixture.partition, 7), 0);
    assert_int_equal(log_start(fixture.partition), 7);
    assert_int_equal(trim(fixture.partition, 3), 0);
    assert_int_equal(log_start(fixture.partition), 7);
    assert_int_equal(trim(fixture.partition, 10), 0);
    assert_int_equal(log_start(fixture.partition), 10);
    assert_int_equal(fixture.partition->next_offset, 10);
    sp_partition_free(fixture.partition);
}

static void test_partition_start_above_the_end_stops_the_replica(void **state)
{
    struct fixture fixture = { partition_new(), 1, 0 };

    (void)state;
    append(&fixture, 10);
    assert_int_equal(trim(fixture.partition, 11), SPATE_ERR_CORRUPT);
    assert_int_equal(log_start(fixture.partition), 0);
    sp_partition_free(fixture.partition);
}

static void test_partition_start_survives_a_checkpoint(void **state)
{
    struct fixture fixture = { partition_new(), 1, 0 };
    struct sp_partition *other = partition_new();
    struct sp_machine *machine = &fixture.partition->machine;
    struct sp_buf first;
    struct sp_buf second;

    (void)state;
    append(&fixture, 4);
    fixture.term = 2;
    append(&fixture, 4);
    fixture.term = 5;
    append(&fixture, 4);
    assert_int_equal(fixture.partition->epoch_count, 3);
    assert_int_equal(trim(fixture.partition, 7), 0); /* within the second: the first is over */
    assert_int_equal(fixture.partition->epoch_count, 2);
    assert_int_equal(fixture.partition->epochs[0].epoch, 2);
    sp_buf_init(&first, 64 * 1024);
    sp_buf_init(&second, 64 * 1024);
    assert_int_equal(machine->type->checkpoint(machine, &first), 0);
    assert_int_equal(other->machine.type->restore(&other->machine, first.bytes, first.size), 0);
    assert_int_equal(log_start(other), 7);
    assert_int_equal(other->next_offset, 12);
    assert_int_equal(other->epoch_count, 2);
    assert_int_equal(machine->type->checkpoint(&other->machine, &second), 0);
    assert_int_equal(first.size, second.size);
    assert_memory_equal(first.bytes, second.bytes, first.size);
    assert_int_equal(trim(other, 12), 0);
    assert_int_equal(other->epoch_count, 1);
    sp_buf_deinit(&first);
    sp_buf_deinit(&second);
    sp_partition_free(other);
    sp_partition_free(fixture.partition);
}

static int make_broker(void **state)
{
    (void)state;
    broker.totals = sp_map_new();
    return broker.totals == NULL ? -1 : 0;
}

static int free_broker(void **state)
{
    (void)state;
    sp_map_free(broker.totals);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_partition_start_never_goes_back),
        cmocka_unit_test(test_partition_start_above_the_end_stops_the_replica),
        cmocka_unit_test(test_partition_start_survives_a_checkpoint),
    };
    return cmocka_run_group_tests_name("broker/partition", tests, make_broker, free_broker);
}
