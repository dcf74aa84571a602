/* A member of a group of which no server is heard. Nobody listens at its address. */
#include "spate/spate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct {
    unsigned stalls;
    unsigned lines;
} told;

static void on_event(void *arg, const struct spate_consumer_event *event)
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
    static const char *const keys[] = { "servers",  "127.0.0.1:1", "group.id",  "g",
                                        "stall.ms", "300",         "io.thread", "off" };
    const char *topic = "t";
    struct spate_config *config = spate_config_new();
    struct spate_client *client = NULL;
    struct spate_consumer *consumer = NULL;
    struct spate_message message;

    (void)state;
    assert_non_null(config);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i += 2) {
        assert_int_equal(spate_config_set(config, keys[i], keys[i + 1]), 0);
    }
    spate_config_set_log(config, on_line, NULL);
    assert_int_equal(spate_client_new(config, &client), 0);
    spate_config_free(config);
    assert_int_equal(spate_consumer_new(client, &consumer), 0);
    assert_int_equal(spate_consumer_on_event(consumer, on_event, NULL), 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_member_without_servers_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
