/* One health out of the answers of all nodes. */
#include "cli/health_merge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static struct health_merge merge;
static json_t *result;

/* `json` with ' for ". */
static json_t *parse(const char *json)
{
    char copy[2048];
    size_t size = strlen(json);

    assert_true(size < sizeof copy);
    for (size_t i = 0; i <= size; i++) {
        copy[i] = json[i] == '\'' ? '"' : json[i];
    }
    json_t *value = json_loads(copy, JSON_DECODE_ANY, NULL);
    assert_non_null(value);
    return value;
}

static void begin(const char *json)
{
    result = parse(json);
    health_merge_begin(&merge, result);
}

static void hear(int64_t node, const char *json)
{
    json_t *theirs = parse(json);
    json_t *before = json_deep_copy(theirs);

    health_merge_add(&merge, node, theirs);
    assert_true(json_equal(theirs, before));
    json_decref(before);
    json_decref(theirs);
}

static void expect(const char *key, const char *json)
{
    json_t *wanted = parse(json);

    if (!json_equal(json_object_get(result, key), wanted)) {
        fail_msg("%s is %s", key, json_dumps(json_object_get(result, key), JSON_ENCODE_ANY));
    }
    json_decref(wanted);
}

static void end(bool healthy)
{
    health_merge_end(&merge);
    expect("healthy", healthy ? "true" : "false");
    json_decref(result);
}

static void test_health_merge_of_healthy_nodes_is_healthy(void **state)
{
    (void)state;
    begin("{'node': 1, 'healthy': true, 'damaged': [], 'stuck': [], 'replicas_opening': 0}");
    hear(2, "{'node': 2, 'healthy': true, 'damaged': [], 'stuck': [], 'replicas_opening': 0}");
    health_merge_silent(&merge, 3, "c3:7700");
    expect("silent", "[{'node': 3, 'address': 'c3:7700'}]");
    expect("unhealthy_on", "[]");
    end(true); /* a node that does not answer is told, and is no fault */
}

static void test_health_merge_has_the_damage_of_every_node(void **state)
{
    (void)state;
    begin("{'node': 1, 'healthy': true, 'damaged': []}");
    hear(
        2,
        "{'healthy': false, 'damaged': [{'topic': 't', 'partition': 0, 'node': 2, 'replica': 7}]}");
    hear(3, "{'healthy': false, 'damaged': [{'topic': 't', 'partition': 0, 'replica': 8}]}");
    expect("damaged",
           "[{'topic': 't', 'partition': 0, 'node': 2, 'replica': 7}, {'topic': 't', 'partition': "
           "0, 'node': 3, 'replica': 8}]");
    expect("unhealthy_on", "[]"); /* why is told */
    end(false);
}

/* An older node does not say which it is, and is asked again as one of the others. */
/* Only who was asked to let it in knows of a second process. */
static void test_health_merge_has_the_doubles_of_every_node(void **state)
{
    (void)state;
    begin("{'node': 1, 'healthy': true, 'doubles': []}");
    hear(2, "{'node': 2, 'healthy': false, 'doubles': [{'node': 3, 'reason': 'a'}]}");
    hear(3, "{'node': 3, 'healthy': false, 'doubles': [{'node': 3, 'reason': 'b'}]}");
    expect("doubles", "[{'node': 3, 'reason': 'a'}]");
    expect("unhealthy_on", "[]");
    end(false);
}

static void test_health_merge_tells_nothing_twice(void **state)
{
    (void)state;
    begin("{'healthy': false, 'damaged': [{'topic': 't', 'partition': 0, 'replica': 7}]}");
    hear(1, "{'healthy': false, 'damaged': [{'topic': 't', 'partition': 0, 'replica': 7}]}");
    expect("damaged", "[{'topic': 't', 'partition': 0, 'replica': 7}]");
    end(false);
}

static void test_health_merge_adds_up_what_is_opening(void **state)
{
    (void)state;
    begin("{'node': 1, 'healthy': false, 'replicas_opening': 2, 'opening_since_ms': 900}");
    hear(2, "{'healthy': false, 'replicas_opening': 5, 'opening_since_ms': 800}");
    hear(3, "{'healthy': true, 'replicas_opening': 0, 'opening_since_ms': -1}");
    expect("replicas_opening", "7");
    expect("opening_since_ms", "800");
    expect("opening",
           "[{'node': 1, 'replicas': 2, 'since_ms': 900}, {'node': 2, 'replicas': 5, 'since_ms': "
           "800}]");
    end(false);
}

static void test_health_merge_asks_each_for_its_groups_and_moves(void **state)
{
    (void)state;
    begin("{'node': 1, 'healthy': true, 'stalled': [{'group': 'a', 'partitions': 1}], 'stuck': "
          "[{'topic': 't', 'partition': 0, 'step': ''}]}");
    hear(2,
         "{'healthy': true, 'stalled': [{'group': 'b', 'partitions': 2}], 'stuck': [{'topic': 't', "
         "'partition': 0, 'step': 'filling'}, {'topic': 't', 'partition': 1, 'step': ''}]}");
    expect("stalled",
           "[{'group': 'a', 'partitions': 1, 'node': 1}, {'group': 'b', 'partitions': 2, 'node': "
           "2}]");
    expect("stuck", "[{'topic': 't', 'partition': 0, 'step': 'filling'}]");
    end(true);
}

/* Two nodes that are cut off from each other alone: a third one sees both. */
static void test_health_merge_tells_who_sees_it_otherwise(void **state)
{
    (void)state;
    begin("{'node': 1, 'healthy': true}");
    hear(2, "{'healthy': false, 'nodes_down': [3]}");
    hear(3, "{'healthy': false, 'nodes_down': [2]}");
    expect("unhealthy_on", "[2, 3]");
    end(false);
    begin("{'node': 1, 'healthy': false, 'nodes_down': [3]}");
    hear(2, "{'healthy': false, 'nodes_down': [3]}");
    expect("unhealthy_on", "[]"); /* it is told already */
    end(false);
}

/* As many as a message holds, all of them different: each beside each would take minutes. */
static void test_health_merge_of_many_rows_is_quick(void **state)
{
    enum {
        ROWS = 30000,
    };
    json_t *theirs = json_object();
    json_t *damaged = json_array();
    json_t *stuck = json_array();
    clock_t begun = clock();

    (void)state;
    for (int i = 0; i < ROWS; i++) {
        const char *format = "{sssisi}";
        (void)json_array_append_new(
            damaged, json_pack(format, "topic", "t", "partition", i, "replica", 2 * i));
        (void)json_array_append_new(
            stuck, json_pack("{sssiss}", "topic", "t", "partition", i, "step", "filling"));
    }
    (void)json_object_set_new(theirs, "damaged", damaged);
    (void)json_object_set_new(theirs, "stuck", stuck);
    begin("{'healthy': true, 'node': 1}");
    for (int64_t node = 2; node <= 4; node++) {
        health_merge_add(&merge, node, theirs);
    }
    assert_int_equal(json_array_size(json_object_get(result, "damaged")), ROWS);
    assert_int_equal(json_array_size(json_object_get(result, "stuck")), ROWS);
    assert_true((clock() - begun) / CLOCKS_PER_SEC < 20); /* of this process alone */
    json_decref(theirs);
    end(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_health_merge_of_healthy_nodes_is_healthy),
        cmocka_unit_test(test_health_merge_has_the_damage_of_every_node),
        cmocka_unit_test(test_health_merge_has_the_doubles_of_every_node),
        cmocka_unit_test(test_health_merge_tells_nothing_twice),
        cmocka_unit_test(test_health_merge_adds_up_what_is_opening),
        cmocka_unit_test(test_health_merge_asks_each_for_its_groups_and_moves),
        cmocka_unit_test(test_health_merge_of_many_rows_is_quick),
        cmocka_unit_test(test_health_merge_tells_who_sees_it_otherwise),
    };

    return cmocka_run_group_tests_name("cli/health_merge", tests, NULL, NULL);
}
