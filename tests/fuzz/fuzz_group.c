/* Arbitrary bytes as commands of consumer groups, and as their checkpoint. A state that accepts
 * them must have a checkpoint that restores to the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "broker/consumer_group.h"
#include "spate/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check(int condition)
{
    if (!condition) {
        abort();
    }
}

static void check_round_trip(struct sp_consumer_groups *groups)
{
    struct sp_buf first;
    struct sp_buf second;

    sp_buf_init(&first, 64 * 1024 * 1024);
    sp_buf_init(&second, 64 * 1024 * 1024);
    check(sp_consumer_groups_checkpoint(groups, &first) == 0);
    check(sp_consumer_groups_restore(groups, first.bytes, first.size) == 0);
    check(sp_consumer_groups_checkpoint(groups, &second) == 0);
    check(first.size == second.size && memcmp(first.bytes, second.bytes, first.size) == 0);
    sp_buf_deinit(&first);
    sp_buf_deinit(&second);
}

/* Two members with partitions, so that short inputs reach deep. */
static void prepare(struct sp_consumer_groups *groups)
{
    static const char *const names[] = { "a", "b" };
    static const int32_t members[] = { 0, 1, 0, 1 };
    struct sp_consumer_target target = { 1, 4, members };
    struct sp_consumer_group *group;
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    for (unsigned i = 0; i < 2; i++) {
        struct sp_consumer_join join = { .group = sp_bytes_text("g"),
                                         .member = sp_bytes_text(names[i]),
                                         .session_ms = 1000,
                                         .topics = sp_bytes_of("\x90", 1) };
        check(sp_consumer_command_join(&join, &buf) == 0);
        check(sp_consumer_groups_apply(groups, buf.bytes, buf.size, 1, &group) == 0);
        sp_buf_clear(&buf);
    }
    check(sp_consumer_command_assign(sp_bytes_text("g"), 2, &target, 1, NULL, 0, &buf) == 0);
    check(sp_consumer_groups_apply(groups, buf.bytes, buf.size, 1, &group) == 0);
    sp_buf_deinit(&buf);
}

/* The input is a run of commands, each behind its size in one byte. */
static void apply_all(struct sp_consumer_groups *groups, const uint8_t *bytes, size_t size)
{
    struct sp_consumer_group *group;

    while (size > 1) {
        size_t command_size = bytes[0] < size - 1 ? bytes[0] : size - 1;
        int rv = sp_consumer_groups_apply(groups, bytes + 1, command_size, (int64_t)size, &group);
        check(rv == 0 || rv == SPATE_ERR_CORRUPT || rv == SPATE_ERR_UNKNOWN_MEMBER ||
              rv == SPATE_ERR_GROUP_FENCED || rv == SPATE_ERR_AGAIN || rv == SPATE_ERR_NOT_FOUND ||
              rv == SPATE_ERR_BUSY);
        bytes += 1 + command_size;
        size -= 1 + command_size;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct sp_consumer_groups *groups = sp_consumer_groups_new();

    check(groups != NULL);
    prepare(groups);
    apply_all(groups, bytes, size);
    check_round_trip(groups);
    int rv = sp_consumer_groups_restore(groups, bytes, size);
    check(rv == 0 || rv == SPATE_ERR_CORRUPT);
    check_round_trip(groups);
    sp_consumer_groups_free(groups);
    return 0;
}
