/* A client whose server is a host name that nobody knows, or that nobody says anything about. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "io/thread.h"
#include "slow_names.h"
#include "spate/spate.h"

enum {
    WATCHED_MS = 10000,
};

static const char *const switches[] = { "on", "off" };

static struct spate_client *client_new(const char *io_thread, const char *servers)
{
    const char *const keys[] = { "servers", servers, "timeout.ms", "500", "io.thread", io_thread };
    struct spate_config *config = spate_config_new();
    struct spate_client *client = NULL;

    assert_non_null(config);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i += 2) {
        assert_int_equal(spate_config_set(config, keys[i], keys[i + 1]), 0);
    }
    assert_int_equal(spate_client_new(config, &client), 0);
    spate_config_free(config);
    return client;
}

static int ping(struct spate_client *client)
{
    static const uint8_t no_fields[] = { 0x80 };
    void *result = NULL;
    size_t size = 0;

    return spate_call(client, "ping", no_fields, 1, &result, &size);
}

/* ---- a silent name server -------------------------------------------------------------------- */

/* Lets the name server answer in the end, so that a close that waits for it fails a test and does
 * not hang it. */
struct watch {
    struct sp_wakeup done;
    struct sp_thread *thread;
};

static void watch(void *arg)
{
    struct watch *watched = arg;

    sp_wakeup_wait(&watched->done, watched->done.fd, WATCHED_MS);
    slow_names_be_silent(false);
}

static void watch_begin(struct watch *watched)
{
    slow_names_answer(EAI_NONAME);
    slow_names_be_silent(true);
    assert_int_equal(sp_wakeup_open(&watched->done), 0);
    assert_int_equal(sp_thread_start(watch, watched, &watched->thread), 0);
}

static void watch_end(struct watch *watched)
{
    assert_true(slow_names_are_silent());
    sp_wakeup_raise(&watched->done);
    sp_thread_join(watched->thread);
    sp_wakeup_close(&watched->done);
}

static void close_it(struct spate_client *client)
{
    assert_int_equal(spate_client_close(client, 100), 0);
}

static void check_end(const char *io_thread, void (*end)(struct spate_client *client))
{
    struct spate_client *client = client_new(io_thread, "host.test:7700");
    struct watch watched;

    watch_begin(&watched);
    /* Long enough to ask for the name, far from long enough to hear of it. */
    assert_int_not_equal(ping(client), 0);
    slow_names_wait_asked(1);
    end(client);
    watch_end(&watched);
}

static void test_client_close_does_not_wait_for_a_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        check_end(switches[i], close_it);
    }
}

static void test_client_free_does_not_wait_for_a_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        check_end(switches[i], spate_client_free);
    }
}

static void test_client_says_that_a_name_could_not_be_looked_up(void **state)
{
    static const char words[] = "host name \"host.test\" could not be looked up in time";

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct spate_client *client = client_new(switches[i], "host.test:7700,127.0.0.1:1");
        struct watch watched;
        watch_begin(&watched);
        assert_int_equal(ping(client), SPATE_ERR_UNREACHABLE);
        assert_non_null(strstr(spate_client_error(client), words));
        spate_client_free(client);
        watch_end(&watched);
    }
}

static void test_client_says_that_the_name_server_gave_up(void **state)
{
    struct spate_client *client = client_new("on", "host.test:7700");

    (void)state;
    slow_names_answer(EAI_AGAIN);
    assert_int_equal(ping(client), SPATE_ERR_UNREACHABLE);
    assert_non_null(strstr(spate_client_error(client), "could not be looked up in time"));
    spate_client_free(client);
}

/* ---- an unknown name ------------------------------------------------------------------------- */

static void check_words(struct spate_client *client)
{
    int64_t offset = 0;

    assert_int_equal(ping(client), SPATE_ERR_UNREACHABLE);
    assert_non_null(strstr(spate_client_error(client), "host name \"host.test\" is not known"));
    assert_int_equal(spate_offsets(client, "t", 0, SPATE_AT_END, &offset), SPATE_ERR_UNREACHABLE);
    assert_non_null(strstr(spate_client_error(client), "host name \"host.test\" is not known"));
}

static void test_client_names_the_host_that_nobody_knows(void **state)
{
    (void)state;
    slow_names_answer(EAI_NONAME);
    for (size_t i = 0; i < 2; i++) {
        struct spate_client *client = client_new(switches[i], "127.0.0.1:1,host.test:7700");
        check_words(client);
        spate_client_free(client);
    }
}

static void test_client_says_nothing_of_names_when_nobody_listens(void **state)
{
    struct spate_client *client = client_new("on", "host.test:1");

    (void)state;
    slow_names_answer(0);
    assert_int_equal(ping(client), SPATE_ERR_UNREACHABLE);
    assert_null(strstr(spate_client_error(client), "host name"));
    assert_non_null(strstr(spate_client_error(client), "(connection refused)"));
    spate_client_free(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client_close_does_not_wait_for_a_name),
        cmocka_unit_test(test_client_free_does_not_wait_for_a_name),
        cmocka_unit_test(test_client_says_that_a_name_could_not_be_looked_up),
        cmocka_unit_test(test_client_says_that_the_name_server_gave_up),
        cmocka_unit_test(test_client_names_the_host_that_nobody_knows),
        cmocka_unit_test(test_client_says_nothing_of_names_when_nobody_listens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
