/* The answer of group.committed and its bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "broker/group_methods.h"
#include "spate/error.h"
#include "wire/client_api.h"

#define TOPICS 2

/* Two topics of as many partitions and as long a name as there may be, and a group that has stored
 * an offset with the longest metadata in each. */
struct world {
    struct sp_state *state;
    struct sp_consumer_group group;
    char names[TOPICS][SP_TOPIC_NAME_SIZE_MAX + 1];
    char metadata[SP_CONSUMER_METADATA_SIZE_MAX + 1];
};

static void apply(struct world *world, struct sp_buf *command)
{
    assert_int_equal(sp_state_apply(world->state, command->bytes, command->size, 0, NULL, NULL), 0);
    sp_buf_deinit(command);
}

static void make_topic(struct world *world, char *name, char letter)
{
    uint32_t *nodes = calloc(SP_PARTITIONS_PER_TOPIC_MAX, sizeof *nodes);
    const struct sp_topic_config config = { .set = 0 };
    struct sp_buf command;

    assert_non_null(nodes);
    memset(name, letter, SP_TOPIC_NAME_SIZE_MAX);
    for (uint32_t i = 0; i < SP_PARTITIONS_PER_TOPIC_MAX; i++) {
        nodes[i] = 1;
    }
    sp_buf_init(&command, 16 * 1024 * 1024);
    assert_int_equal(sp_state_command_create_topic(
                         name, SP_PARTITIONS_PER_TOPIC_MAX, 1, nodes, &config, &command),
                     0);
    apply(world, &command);
    free(nodes);
    uint64_t topic_id = sp_state_topic(world->state, name)->topic_id;
    for (uint32_t i = 0; i < SP_PARTITIONS_PER_TOPIC_MAX; i++) {
        world->group.offsets[world->group.offset_count++] =
            (struct sp_consumer_offset){ .topic_id = topic_id,
                                         .partition = i,
                                         .offset = INT64_C(1) << 52,
                                         .commit_ms = INT64_C(1) << 52,
                                         .metadata = world->metadata };
    }
}

static int setup(void **state)
{
    const struct sp_state_node node = { .node_id = 1,
                                        .incarnation = 9,
                                        .client_address = "127.0.0.1:7700",
                                        .peer_address = "127.0.0.1:7701" };
    struct world *world = calloc(1, sizeof *world);
    struct sp_buf command;

    assert_non_null(world);
    memset(world->metadata, 'm', SP_CONSUMER_METADATA_SIZE_MAX);
    assert_int_equal(sp_state_new(&world->state), 0);
    sp_buf_init(&command, 4096);
    assert_int_equal(sp_state_command_register_node(&node, &command), 0);
    apply(world, &command);
    world->group.offsets =
        calloc((size_t)TOPICS * SP_PARTITIONS_PER_TOPIC_MAX, sizeof *world->group.offsets);
    assert_non_null(world->group.offsets);
    make_topic(world, world->names[0], 'a');
    make_topic(world, world->names[1], 'b');
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;

    sp_state_free(world->state);
    free(world->group.offsets);
    free(world);
    return 0;
}

/* Asks for one topic (NULL: all); the offsets in the answer, or the failure of the pack. */
static int ask(const struct world *world, const char *topic)
{
    struct sp_buf names;
    struct sp_buf answer;
    struct sp_pack pack;
    struct sp_group_committed_response response;
    int rv;

    sp_buf_init(&names, 1024);
    sp_pack_init(&pack, &names);
    sp_pack_array(&pack, 1);
    sp_pack_text(&pack, topic != NULL ? topic : "");
    sp_buf_init(&answer, SP_MESSAGE_BYTES_MAX);
    sp_pack_init(&pack, &answer);
    sp_message_response_ok(&pack, 7);
    sp_group_committed_pack(world->state,
                            &world->group,
                            topic != NULL ? sp_bytes_of(names.bytes, names.size) : sp_bytes_null(),
                            &pack);
    rv = sp_pack_status(&pack);
    if (rv == 0) {
        struct sp_cursor cursor;
        sp_cursor_init(&cursor, answer.bytes, answer.size);
        assert_int_equal(sp_cursor_array(&cursor), 4);
        for (unsigned i = 0; i < 3; i++) {
            sp_cursor_skip(&cursor);
        }
        assert_int_equal(sp_group_committed_response_decode(&cursor, &response, NULL), 0);
        struct sp_cursor offsets = sp_cursor_of(response.offsets);
        rv = (int)sp_cursor_array(&offsets);
    }
    sp_buf_deinit(&names);
    sp_buf_deinit(&answer);
    return rv;
}

static void test_group_committed_of_one_topic_fits_an_answer(void **state)
{
    const struct world *world = *state;

    assert_int_equal(ask(world, world->names[0]), SP_PARTITIONS_PER_TOPIC_MAX);
    assert_int_equal(ask(world, world->names[1]), SP_PARTITIONS_PER_TOPIC_MAX);
    assert_int_equal(ask(world, "c"), 0);
    assert_int_equal(ask(world, NULL), SPATE_ERR_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_group_committed_of_one_topic_fits_an_answer, setup, teardown),
    };
    return cmocka_run_group_tests_name("broker/group_committed", tests, NULL, NULL);
}
