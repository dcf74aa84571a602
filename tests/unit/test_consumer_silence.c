/* What a member of a group hears when it has nothing to read: no server is there, or no topic. */
#include "fake_coordinator.h"

/* ---- nobody listens at its address ----------------------------------------------------------- */

static struct {
    unsigned stalls;
    unsigned lines;
} told;

static void on_silence(void *arg, const struct spate_consumer_event *event)
{
    (void)arg;
    assert_int_equal(event->kind, SPATE_CONSUMER_STALLED);
    assert_int_equal(event->count, 0);
    assert_non_null(strstr(event->text, "not a member of group g: "));
    assert_non_null(strstr(event->text, "no server could be reached at 127.0.0.1:1"));
    told.stalls += 1;
}

static void on_line(void *arg, int level, const char *text)
{
    (void)arg;
    if (strstr(text, "member of group g: no server could be reached") != NULL) {
        assert_int_equal(level, SPATE_LOG_WARN);
        told.lines += 1;
    }
}

/* Once each, however long it lasts. */
static void test_member_without_servers_is_told(void **state)
{
    static const char *const settings[] = { "servers",  "127.0.0.1:1", "group.id",  "g",
                                            "stall.ms", "300",         "io.thread", "off" };
    const char *topic = "t";
    struct spate_config *config = spate_config_new();
    struct spate_client *client = NULL;
    struct spate_consumer *consumer = NULL;
    struct spate_message message;

    (void)state;
    assert_non_null(config);
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i += 2) {
        assert_int_equal(spate_config_set(config, settings[i], settings[i + 1]), 0);
    }
    spate_config_set_log(config, on_line, NULL);
    assert_int_equal(spate_client_new(config, &client), 0);
    spate_config_free(config);
    assert_int_equal(spate_consumer_new(client, &consumer), 0);
    assert_int_equal(spate_consumer_on_event(consumer, on_silence, NULL), 0);
    assert_int_equal(spate_consumer_subscribe(consumer, &topic, 1), 0);
    for (unsigned i = 0; i < 100 && (told.stalls == 0 || told.lines == 0); i++) {
        assert_int_equal(spate_consumer_next(consumer, 200, &message), SPATE_ERR_AGAIN);
    }
    assert_int_equal(spate_consumer_next(consumer, 3500, &message), SPATE_ERR_AGAIN);
    assert_int_equal(told.stalls, 1);
    assert_int_equal(told.lines, 1);
    spate_consumer_free(consumer);
    spate_client_free(client);
}

/* ---- its topic goes -------------------------------------------------------------------------- */

static void test_member_is_told_once_that_its_topic_was_deleted(void **state)
{
    struct spate_message message;

    (void)state;
    begin_member(keys, 0x3);
    read_records(20);
    world.cluster.topic_exists = false;
    world.assigned = 0;
    world.generation = 2;
    await_event("L3S0");
    assert_int_equal(spate_consumer_next(world.consumer, 300, &message), SPATE_ERR_AGAIN);
    assert_string_equal(world.events, "A3L3S0");
    world.cluster.topic_exists = true;
    world.assigned = 0x3;
    world.generation = 3;
    await_event("A3L3S0A3");
    end();
}

static void test_member_that_loses_partitions_hears_of_no_deletion(void **state)
{
    struct spate_message message;

    (void)state;
    begin_member(keys, 0x3);
    read_records(20);
    world.assigned = 0x1;
    world.generation = 2;
    await_event("L2");
    assert_int_equal(spate_consumer_next(world.consumer, 300, &message), SPATE_ERR_AGAIN);
    assert_string_equal(world.events, "A3L2");
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_member_without_servers_is_told),
        cmocka_unit_test(test_member_is_told_once_that_its_topic_was_deleted),
        cmocka_unit_test(test_member_that_loses_partitions_hears_of_no_deletion),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
