#include "cluster/topic_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "cluster/state.h"
#include "io/file.h"
#include "spate/error.h"
#include "storage/checkpoint.h"
#include "storage/disk.h"
#include "storage/segment.h"

#define BYTES_MAX (1024 * 1024)

/* A controller's log of three segments, each with one command: a node; topic `one` with groups 1
 * and 2; topic `two` with group 3. A checkpoint stands in front of the second and of the third. */
struct fixture {
    char directory[512];
    struct sp_state *state;
    struct sp_log_point point;
};

/* A segment that holds `command` alone, which it takes. */
static void add_segment(struct fixture *fixture, struct sp_buf *command)
{
    const struct sp_segment_header header = { .marker_key = 7, .before = fixture->point };
    struct sp_log_frame frame = {
        .kind = SP_FRAME_COMMAND,
        .length = (uint32_t)command->size,
        .term = 1,
        .index = fixture->point.index + 1,
        .append_time_ms = 5,
    };
    size_t size = sp_log_frame_size(frame.length);
    uint8_t *bytes = calloc(1, size);
    struct sp_file *file = NULL;

    assert_non_null(bytes);
    memcpy(bytes + SP_LOG_FRAME_HEADER_SIZE, command->bytes, command->size);
    sp_log_frame_seal(&frame, fixture->point.chain, bytes);
    const struct sp_iovec piece = { bytes, size };
    assert_int_equal(sp_segment_create(fixture->directory, &header, &piece, 1, &file), 0);
    sp_file_close(file);
    assert_int_equal(sp_log_point_follow(&fixture->point, 0, &frame, bytes, &fixture->point), 0);
    assert_int_equal(sp_state_apply(fixture->state, command->bytes, command->size, 5, NULL, NULL),
                     0);
    free(bytes);
    sp_buf_deinit(command);
}

static void add_checkpoint(struct fixture *fixture)
{
    const struct sp_epoch epoch = { 1, 1 };
    struct sp_buf state;

    sp_buf_init(&state, BYTES_MAX);
    assert_int_equal(sp_state_checkpoint(fixture->state, &state), 0);
    struct sp_blob *image =
        sp_checkpoint_encode(0, &fixture->point, &epoch, 1, NULL, 0, state.bytes, state.size);
    assert_non_null(image);
    assert_int_equal(sp_checkpoint_save(fixture->directory, fixture->point.index + 1, image), 0);
    sp_blob_unref(image);
    sp_buf_deinit(&state);
}

static void add_topic(struct fixture *fixture, const char *name, uint32_t partitions)
{
    const uint32_t nodes[] = { 1, 1 };
    const struct sp_topic_config config = { .set = 0 };
    struct sp_buf command;

    sp_buf_init(&command, BYTES_MAX);
    assert_int_equal(sp_state_command_create_topic(name, partitions, 1, nodes, &config, &command),
                     0);
    add_segment(fixture, &command);
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    const struct sp_state_node node = { .node_id = 1,
                                        .incarnation = 9,
                                        .client_address = "127.0.0.1:7700",
                                        .peer_address = "127.0.0.1:7701" };
    const char *parent = getenv("TMPDIR");
    struct sp_buf command;

    (void)snprintf(fixture->directory,
                   sizeof fixture->directory,
                   "%s/spate-names-XXXXXX",
                   parent != NULL ? parent : "/tmp");
    assert_non_null(mkdtemp(fixture->directory));
    assert_int_equal(sp_state_new(&fixture->state), 0);
    sp_buf_init(&command, BYTES_MAX);
    assert_int_equal(sp_state_command_register_node(&node, &command), 0);
    add_segment(fixture, &command);
    add_checkpoint(fixture);
    add_topic(fixture, "one", 2);
    add_checkpoint(fixture);
    add_topic(fixture, "two", 1);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    sp_state_free(fixture->state);
    assert_int_equal(sp_path_remove_tree(fixture->directory), 0);
    free(fixture);
    return 0;
}

static void path_of(const struct fixture *fixture, uint64_t base, const char *suffix, char *out)
{
    sp_disk_base_path(out, fixture->directory, base, suffix);
}

static void flip(const struct fixture *fixture, uint64_t base, const char *suffix, uint64_t place)
{
    char path[SP_DISK_PATH_SIZE];
    struct sp_file *file = NULL;
    uint8_t byte = 0;
    size_t size = 0;

    path_of(fixture, base, suffix, path);
    assert_int_equal(sp_file_open(path, SP_FILE_WRITE, &file), 0);
    assert_int_equal(sp_file_read(file, place, &byte, 1, &size), 0);
    byte ^= 0x10;
    const struct sp_iovec piece = { &byte, 1 };
    assert_int_equal(sp_file_write(file, place, &piece, 1), 0);
    sp_file_close(file);
}

static void remove_file(const struct fixture *fixture, uint64_t base, const char *suffix)
{
    char path[SP_DISK_PATH_SIZE];

    path_of(fixture, base, suffix, path);
    assert_int_equal(sp_path_remove(path), 0);
}

/* The names of groups 1 to 3 in a row: "one/0 one/1 two/0", "-" for one that is not known. */
static void check_names(const struct fixture *fixture, const char *expected)
{
    struct sp_topic_names *names = NULL;
    char text[128] = "";

    assert_int_equal(sp_topic_names_read(fixture->directory, &names), 0);
    for (uint64_t group_id = 1; group_id <= 3; group_id++) {
        const char *topic = NULL;
        uint32_t partition = 0;
        size_t used = strlen(text);
        if (sp_topic_names_find(names, group_id, &topic, &partition)) {
            (void)snprintf(text + used, sizeof text - used, " %s/%u", topic, partition);
        } else {
            (void)snprintf(text + used, sizeof text - used, " -");
        }
    }
    assert_string_equal(text + 1, expected);
    sp_topic_names_free(names);
}

static void test_topic_names_come_from_checkpoint_and_log(void **state)
{
    struct fixture *fixture = *state;

    check_names(fixture, "one/0 one/1 two/0");
    remove_file(fixture, 1, SP_SEGMENT_SUFFIX); /* what retention leaves */
    remove_file(fixture, 2, SP_SEGMENT_SUFFIX);
    remove_file(fixture, 2, SP_CHECKPOINT_SUFFIX);
    check_names(fixture, "one/0 one/1 two/0");
    remove_file(fixture, 3, SP_SEGMENT_SUFFIX);
    check_names(fixture, "one/0 one/1 -");
    remove_file(fixture, 3, SP_CHECKPOINT_SUFFIX);
    struct sp_topic_names *names = NULL;
    assert_int_equal(sp_topic_names_read(fixture->directory, &names), SPATE_ERR_NOT_FOUND);
}

static void test_topic_names_without_the_newest_checkpoints(void **state)
{
    struct fixture *fixture = *state;

    flip(fixture, 3, SP_CHECKPOINT_SUFFIX, 90);
    check_names(fixture, "one/0 one/1 two/0");
    remove_file(fixture, 2, SP_CHECKPOINT_SUFFIX);
    check_names(fixture, "one/0 one/1 two/0");
}

/* What is damaged, and all behind it, is left out: nothing is guessed. */
static void test_topic_names_end_at_damage(void **state)
{
    struct fixture *fixture = *state;

    flip(fixture, 3, SP_SEGMENT_SUFFIX, SP_SEGMENT_HEADER_SIZE + 60);
    check_names(fixture, "one/0 one/1 -");
    flip(fixture, 3, SP_SEGMENT_SUFFIX, SP_SEGMENT_HEADER_SIZE + 60);
    flip(fixture, 3, SP_CHECKPOINT_SUFFIX, 90);
    flip(fixture, 2, SP_SEGMENT_SUFFIX, SP_SEGMENT_HEADER_SIZE + 60);
    check_names(fixture, "- - -");
    flip(fixture, 2, SP_SEGMENT_SUFFIX, SP_SEGMENT_HEADER_SIZE + 60);
    flip(fixture, 2, SP_SEGMENT_SUFFIX, 30); /* its header */
    check_names(fixture, "- - -");
}

static void test_topic_names_survive_failing_allocations(void **state)
{
    struct fixture *fixture = *state;
    int rv = SPATE_ERR_NOMEM;

    for (uint64_t n = 1; rv != 0; n++) {
        struct sp_topic_names *names = NULL;
        uint64_t live = sp_mem_live_count();

        sp_mem_fail_at(n);
        rv = sp_topic_names_read(fixture->directory, &names);
        sp_mem_fail_at(0);
        assert_true(rv == 0 || rv == SPATE_ERR_NOMEM);
        sp_topic_names_free(names);
        assert_int_equal(sp_mem_live_count(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_topic_names_come_from_checkpoint_and_log, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_topic_names_without_the_newest_checkpoints, setup, teardown),
        cmocka_unit_test_setup_teardown(test_topic_names_end_at_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_topic_names_survive_failing_allocations, setup, teardown),
    };
    return cmocka_run_group_tests_name("cluster/topic_names", tests, NULL, NULL);
}
