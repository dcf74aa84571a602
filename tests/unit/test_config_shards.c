/* One configuration, cut into those of its shards. */
#include "server/config_shards.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "spate/error.h"

static struct sp_config whole;
static struct sp_config cut;
static struct sp_transport_options first;
static struct sp_transport_options transport;
static struct sp_config_error error;

static void set(const char *assignment)
{
    assert_int_equal(sp_config_set(&whole, assignment, &error), 0);
}

static void begin(const char *shards)
{
    sp_config_init(&whole);
    set("node.id=7");
    set("cluster.seeds=7@h7:7701,8@h8:7701");
    set(shards);
}

static void cut_out(unsigned shard)
{
    assert_int_equal(sp_config_finish(&whole, &first, &error), 0);
    assert_int_equal(sp_config_cut(&whole, &first, shard, &cut, &transport, &error), 0);
}

static void expect_refused(const char *text)
{
    assert_int_equal(sp_config_finish(&whole, &first, &error), SPATE_ERR_CONFIG);
    if (strstr(error.text, text) == NULL) {
        fail_msg("%s", error.text);
    }
}

static void test_config_first_shard_is_the_node_as_written(void **unused)
{
    (void)unused;
    begin("shards=4");
    set("rack=a b");
    cut_out(0);
    assert_int_equal(cut.node_id, 7);
    assert_string_equal(cut.data_dir, "./data");
    assert_string_equal(cut.listen_client, "127.0.0.1:7700");
    assert_string_equal(cut.listen_peer, "127.0.0.1:7701");
    assert_string_equal(cut.rack, "a b#7");
    assert_int_equal(transport.seed_count, 2);
    assert_int_equal(transport.join_count, 0);
    assert_string_equal(transport.advertise, "h7:7701");
}

static void test_config_other_shards_have_ids_ports_and_a_directory_of_their_own(void **unused)
{
    char http[SP_ADDRESS_SIZE_MAX];

    (void)unused;
    begin("shards=4");
    set("data.dir=/srv/spate");
    set("listen.outside=[::1]:7800");
    set("advertise.client=h7:7700");
    cut_out(3);
    assert_int_equal(cut.node_id, 307);
    assert_string_equal(cut.data_dir, "/srv/spate/shards/3");
    assert_string_equal(cut.listen_client, "127.0.0.1:7706");
    assert_string_equal(cut.listen_peer, "127.0.0.1:7707");
    assert_string_equal(cut.listen_outside, "[::1]:7806");
    assert_string_equal(cut.advertise_client, "h7:7706");
    assert_string_equal(cut.advertise_outside, "");
    assert_string_equal(transport.advertise, "h7:7707");
    assert_string_equal(cut.rack, "#7");
    assert_true(sp_config_http_address(&cut, http));
    assert_string_equal(http, "127.0.0.1:7783");
    assert_string_equal(cut.listen_http, ""); /* still one that was not asked for */
    set("listen.http=0.0.0.0:9100");
    cut_out(3);
    assert_string_equal(cut.listen_http, "0.0.0.0:9103");
    set("listen.http=none");
    cut_out(3);
    assert_string_equal(cut.listen_http, "none");
}

/* Its own first one is always started with it. */
static void test_config_other_shards_join_through_the_first_one(void **unused)
{
    (void)unused;
    begin("shards=2");
    cut_out(1);
    assert_int_equal(transport.seed_count, 0);
    assert_int_equal(transport.join_count, 3);
    assert_string_equal(transport.join[0], "h7:7701");
    assert_string_equal(transport.join[2], "h8:7701");
    sp_config_init(&whole);
    set("shards=2");
    set("cluster.join=a:1,b:1,c:1,d:1,e:1,f:1,g:1,h:1");
    set("advertise.peer=me:7701");
    cut_out(1);
    assert_int_equal(transport.join_count, SP_JOIN_ADDRESSES_MAX);
    assert_string_equal(transport.join[0], "me:7701");
    assert_string_equal(transport.join[1], "a:1");
    sp_config_init(&whole);
    set("shards=2");
    cut_out(1); /* the only seed is the node itself */
    assert_int_equal(transport.join_count, 1);
    assert_string_equal(transport.join[0], "127.0.0.1:7701");
}

static void test_config_budgets_are_cut_into_equal_parts(void **unused)
{
    (void)unused;
    begin("shards=4");
    set("limits.connections=1001");
    set("limits.client.bytes=256M");
    set("storage.spare.bytes=1G");
    set("storage.min.free.bytes=1G");
    set("storage.compaction.bytes.per.s=0");
    set("storage.compaction.memory.bytes=128K");
    set("moves.bytes.per.second=3");
    cut_out(0);
    assert_int_equal(cut.connections_max, 250);
    assert_int_equal(cut.client_bytes_max, 64 << 20);
    assert_int_equal(cut.spare_bytes, 256 << 20);
    assert_int_equal(cut.free_bytes_min, 1 << 30);
    assert_int_equal(cut.compaction_bytes_per_s, 0); /* no limit, still */
    assert_int_equal(cut.compaction_memory_bytes, SP_COMPACTION_MEMORY_MIN);
    assert_int_equal(cut.move_bytes_per_s, 1);
}

static void test_config_that_cannot_be_cut_is_refused(void **unused)
{
    (void)unused;
    begin("shards=2");
    set("cluster.seeds=107@h7:7701,8@h8:7701");
    set("node.id=107");
    expect_refused("node.id must be at most 99 with shards, not 107");
    begin("shards=2");
    set("cluster.seeds=7@h7:7701,108@h8:7701");
    expect_refused("cluster.seeds: node 108 with shards");
    begin("shards=2");
    set("rack=a#1");
    expect_refused("rack must have no #");
    begin("shards=2");
    set("listen.outside=127.0.0.1:7702");
    expect_refused("are both 127.0.0.1:7702");
    begin("shards=3");
    set("listen.http=127.0.0.1:7703");
    expect_refused("shard 2: listen.peer and listen.http are both 127.0.0.1:7705");
    set("listen.http=127.0.0.1:7705");
    expect_refused("listen.http of shard 0 and listen.peer of shard 2 are both 127.0.0.1:7705");
    begin("shards=10");
    set("limits.client.bytes=1G");
    set("listen.client=127.0.0.1:65520");
    expect_refused("listen.client: 127.0.0.1:65520 plus 16, as ports");
    begin("shards=2");
    set("cluster.seeds=");
    set("listen.peer=127.0.0.1:0");
    expect_refused("listen.peer needs a port with shards");
    begin("shards=5");
    expect_refused("limits.client.bytes must be at least 335544320 for 5 shards");
    assert_int_equal(sp_config_set(&whole, "shards=11", &error), SPATE_ERR_CONFIG);
    assert_int_equal(sp_config_set(&whole, "shards=0", &error), SPATE_ERR_CONFIG);
}

/* With one shard a rack may hold what it likes, and ids go as far as they do. */
static void test_config_of_one_shard_is_not_touched(void **unused)
{
    (void)unused;
    sp_config_init(&whole);
    set("node.id=1023");
    set("rack=a#1");
    assert_int_equal(sp_config_finish(&whole, &first, &error), 0);
    assert_int_equal(whole.shards, 1);
    assert_string_equal(whole.rack, "a#1");
}

static void test_config_data_of_a_shard_too_many_is_not_left_over(void **unused)
{
    char directory[] = "config-shards-XXXXXX"; /* in the working directory */
    char path[64];
    char assignment[64];

    (void)unused;
    assert_non_null(mkdtemp(directory));
    begin("shards=1");
    (void)snprintf(assignment, sizeof assignment, "data.dir=%s", directory);
    set(assignment);
    assert_int_equal(sp_config_check_left_over(&whole, &error), 0);
    (void)snprintf(path, sizeof path, "%s/shards", directory);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof path, "%s/shards/2", directory);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(sp_config_check_left_over(&whole, &error), SPATE_ERR_CONFIG);
    assert_non_null(strstr(error.text, "holds shard 2, node 207: start with shards=3"));
    *strrchr(path, '/') = '\0';
    (void)snprintf(path + strlen(path), sizeof path - strlen(path), "/1");
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(sp_config_check_left_over(&whole, &error), SPATE_ERR_CONFIG);
    assert_non_null(strstr(error.text, "start with shards=3")); /* with 2 it would not start */
    assert_int_equal(rmdir(path), 0);
    path[strlen(path) - 1] = '2';
    set("shards=2");
    assert_int_equal(sp_config_check_left_over(&whole, &error), SPATE_ERR_CONFIG);
    set("shards=3");
    assert_int_equal(sp_config_check_left_over(&whole, &error), 0);
    assert_int_equal(rmdir(path), 0);
    *strrchr(path, '/') = '\0';
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_first_shard_is_the_node_as_written),
        cmocka_unit_test(test_config_other_shards_have_ids_ports_and_a_directory_of_their_own),
        cmocka_unit_test(test_config_other_shards_join_through_the_first_one),
        cmocka_unit_test(test_config_budgets_are_cut_into_equal_parts),
        cmocka_unit_test(test_config_that_cannot_be_cut_is_refused),
        cmocka_unit_test(test_config_of_one_shard_is_not_touched),
        cmocka_unit_test(test_config_data_of_a_shard_too_many_is_not_left_over),
    };
    return cmocka_run_group_tests_name("server/config_shards", tests, NULL, NULL);
}
