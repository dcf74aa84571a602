#include "cli/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "cli/contexts.h"

static char path[64];

/* A folder of its own for the file of contexts; nothing of the environment counts. */
static int set_up(void **state)
{
    (void)state;
    (void)snprintf(path, sizeof path, "spate-test-contexts-XXXXXX");
    assert_non_null(mkdtemp(path));
    strcat(path, "/config.yaml");
    assert_int_equal(setenv("SPATE_CONFIG", path, 1), 0);
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        assert_int_equal(unsetenv(settings[i].environment), 0);
    }
    return unsetenv("NO_COLOR");
}

static int tear_down(void **state)
{
    char lock[sizeof path + 8];

    (void)state;
    (void)unlink(path); /* a test need not have written it */
    (void)snprintf(lock, sizeof lock, "%s.lock", path);
    (void)unlink(lock);
    *strrchr(path, '/') = '\0';
    return rmdir(path);
}

static void write_file(const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* ---- settings -------------------------------------------------------------------------------- */

static void test_settings_stronger_origins_win_in_any_order(void **state)
{
    struct cli cli = { 0 };

    (void)state;
    assert_int_equal(setting_set(&cli, SETTING_TIMEOUT, "3s", SETTING_FROM_FLAG, "--timeout"), 0);
    assert_int_equal(
        setting_set(&cli, SETTING_TIMEOUT, "2s", SETTING_FROM_ENVIRONMENT, "SPATE_TIMEOUT"), 0);
    assert_int_equal(setting_set(&cli, SETTING_TIMEOUT, "1s", SETTING_FROM_CONTEXT, "timeout"), 0);
    assert_string_equal(setting_text(&cli, SETTING_TIMEOUT), "3s");
    assert_int_equal(setting_set(&cli, SETTING_TIMEOUT, "4s", SETTING_FROM_FLAG, "--timeout"), 0);
    assert_string_equal(setting_text(&cli, SETTING_TIMEOUT), "4s"); /* the last of equals */
    assert_string_equal(setting_text(&cli, SETTING_SERVERS), "127.0.0.1:7700");
    assert_int_equal(settings_resolve(&cli, false), 0);
    assert_int_equal(cli.timeout_ms, 4000);
    assert_null(cli.servers);
    settings_free(&cli);
}

static void test_settings_every_one_has_a_variable(void **state)
{
    static const char *const values[SETTING_COUNT] = {
        "dev", "h:1",   "9s",   "yes",    "true", "1",    "never", "me",
        "r1",  "on",    "7",    "2048",   "lz4",  "3",    "65536", "4096",
        "0",   "65536", "1000", "till-7", "2000", "3000", "0",     "end",
    };
    struct cli cli = { 0 };

    (void)state;
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        assert_int_equal(setenv(settings[i].environment, values[i], 1), 0);
    }
    assert_int_equal(settings_from_environment(&cli), 0);
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        assert_string_equal(setting_text(&cli, i), values[i]);
        assert_int_equal(cli.settings[i].origin, SETTING_FROM_ENVIRONMENT);
    }
    assert_int_equal(settings_resolve(&cli, false), 0);
    assert_true(cli.json && cli.quiet && cli.verbose && !cli.color);
    settings_free(&cli);
    assert_int_equal(setenv("SPATE_JSON", "perhaps", 1), 0);
    assert_int_equal(settings_from_environment(&cli), EXIT_USAGE);
    settings_free(&cli);
}

static void test_settings_no_color_is_weaker_than_ours(void **state)
{
    struct cli cli = { 0 };

    (void)state;
    assert_int_equal(setenv("NO_COLOR", "1", 1), 0);
    assert_int_equal(settings_from_environment(&cli), 0);
    assert_string_equal(setting_text(&cli, SETTING_COLOR), "never");
    settings_free(&cli);
    assert_int_equal(setenv("SPATE_COLOR", "always", 1), 0);
    assert_int_equal(settings_from_environment(&cli), 0);
    assert_int_equal(settings_resolve(&cli, false), 0);
    assert_true(cli.color);
    settings_free(&cli);
}

static void test_settings_pairs_are_checked(void **state)
{
    static const char *const bad[] = { "linger.ms",  "linger.m=1",  "linger.ms=x", "timeout=0",
                                       "timeout=2d", "servers=a b", "color=red",   "=1",
                                       "json=",      "context=a b" };
    struct cli cli = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(setting_set_pair(&cli, bad[i]), EXIT_USAGE);
    }
    assert_int_equal(setting_set_pair(&cli, "servers=a:1,b:2"), 0);
    assert_true(cli.settings[SETTING_SERVERS].by_key);
    assert_string_equal(setting_nearest("linger.m"), "linger.ms");
    assert_string_equal(setting_nearest("compresion"), "compression");
    assert_null(setting_nearest("banana"));
    settings_free(&cli);
}

/* ---- contexts -------------------------------------------------------------------------------- */

static void test_contexts_round_trip(void **state)
{
    struct contexts contexts = { 0 };

    (void)state;
    assert_int_equal(contexts_load_to_change(&contexts), 0); /* no file yet */
    for (int i = 0; i < 3; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "c%d", i);
        struct context *context = contexts_add(&contexts, name);
        assert_non_null(context);
        context->values[SETTING_SERVERS] = strdup("[::1]:7700,h:2");
        context->values[SETTING_LIBRARY] = strdup("it's: \"odd\" # no");
    }
    contexts.current = strdup("c1");
    assert_int_equal(contexts_save(&contexts), 0);
    contexts_free(&contexts);
    assert_int_equal(contexts_load(&contexts), 0);
    assert_int_equal(contexts.count, 3);
    assert_string_equal(contexts.current, "c1");
    const struct context *context = contexts_find(&contexts, "c2");
    assert_string_equal(context->values[SETTING_SERVERS], "[::1]:7700,h:2");
    assert_string_equal(context->values[SETTING_LIBRARY], "it's: \"odd\" # no");
    assert_null(context->values[SETTING_TIMEOUT]);
    contexts_remove(&contexts, contexts_find(&contexts, "c1"));
    assert_null(contexts.current);
    assert_non_null(contexts_find(&contexts, "c0"));
    assert_non_null(contexts_find(&contexts, "c2"));
    assert_string_equal(contexts_nearest(&contexts, "c22"), "c2");
    contexts_free(&contexts);
}

static void test_contexts_values_are_weaker_than_the_environment(void **state)
{
    struct cli cli = { 0 };

    (void)state;
    write_file("current: dev\ncontexts:\n  dev: { servers: [a:1, b:2], timeout: 5s }\n  empty:\n");
    assert_int_equal(setenv("SPATE_TIMEOUT", "9s", 1), 0);
    assert_int_equal(settings_from_environment(&cli), 0);
    assert_int_equal(settings_resolve(&cli, true), 0);
    assert_string_equal(cli.servers, "a:1,b:2");
    assert_int_equal(cli.timeout_ms, 9000);
    settings_free(&cli);
    assert_int_equal(setting_set(&cli, SETTING_CONTEXT, "empty", SETTING_FROM_FLAG, "c"), 0);
    assert_int_equal(settings_resolve(&cli, true), 0);
    assert_null(cli.servers);
    settings_free(&cli);
    assert_int_equal(setting_set(&cli, SETTING_CONTEXT, "none", SETTING_FROM_FLAG, "c"), 0);
    assert_int_equal(settings_resolve(&cli, true), EXIT_USAGE);
    settings_free(&cli);
}

static void test_contexts_wrong_files_are_refused(void **state)
{
    static const char *const bad[] = {
        "contexts: [",
        "- a",
        "context: {}",
        "contexts: 3",
        "contexts: { a: 3 }",
        "contexts: { 'a b': {} }",
        "contexts: { a: { server: x } }",
        "contexts: { a: { context: b } }",
        "contexts: { a: { servers: 'a b' } }",
        "contexts: { a: { servers: { b: c } } }",
        "contexts: { a: { servers: [[a]] } }",
        "contexts: { a: { timeout: 1s, timeout: 2s } }",
        "contexts: { a: {}, a: {} }",
        "current: []",
        "? [a]\n: b\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct contexts contexts = { 0 };
        write_file(bad[i]);
        assert_int_equal(contexts_load(&contexts), EXIT_USAGE);
        contexts_free(&contexts);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_settings_stronger_origins_win_in_any_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_settings_every_one_has_a_variable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_settings_no_color_is_weaker_than_ours, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_settings_pairs_are_checked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_contexts_round_trip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_contexts_values_are_weaker_than_the_environment, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_contexts_wrong_files_are_refused, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
