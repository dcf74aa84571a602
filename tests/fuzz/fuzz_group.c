/* Arbitrary bytes as commands of consumer groups, and as their checkpoint. A state that accepts
 * them must have a checkpoint that restores to the same bytes, and a replica that is restored from
 * its checkpoint after every command must answer, and end, as one that never was, down to what the
 * state weighs. */
#include <stdlib.h>
#include <string.h>

#include "broker/consumer_parts.h"
#include "spate/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check(int condition)
{
    if (!condition) {
        abort();
    }
}

static void pack(const struct sp_consumer_groups *groups, struct sp_buf *out)
{
    sp_buf_init(out, 64 * 1024 * 1024);
    check(sp_consumer_groups_checkpoint(groups, out) == 0);
}

static void restart(struct sp_consumer_groups *groups)
{
    struct sp_buf buf;

    pack(groups, &buf);
    check(sp_consumer_groups_restore(groups, buf.bytes, buf.size) == 0);
    sp_buf_deinit(&buf);
}

static void check_same(const struct sp_consumer_groups *left,
                       const struct sp_consumer_groups *right)
{
    struct sp_buf first;
    struct sp_buf second;

    pack(left, &first);
    pack(right, &second);
    check(first.size == second.size && memcmp(first.bytes, second.bytes, first.size) == 0);
    check(left->bytes == right->bytes); /* decides between BUSY and not */
    sp_buf_deinit(&first);
    sp_buf_deinit(&second);
}

static void check_round_trip(struct sp_consumer_groups *groups)
{
    struct sp_consumer_groups *copy = sp_consumer_groups_new();
    struct sp_buf buf;

    check(copy != NULL);
    pack(groups, &buf);
    check(sp_consumer_groups_restore(copy, buf.bytes, buf.size) == 0);
    sp_buf_deinit(&buf);
    check_same(groups, copy);
    sp_consumer_groups_free(copy);
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

/* I1 and I3 of consumer_group.h, and no offset or share twice. */
static void check_group(const struct sp_consumer_group *group)
{
    for (unsigned i = 0; i < group->share_count; i++) {
        const struct sp_consumer_share *share = &group->shares[i];
        check(share->owner != NULL && !share->marked);
        check(i == 0 ||
              sp_consumer_place_compare(
                  share[-1].topic_id, share[-1].partition, share->topic_id, share->partition) < 0);
    }
    for (unsigned i = 1; i < group->offset_count; i++) {
        const struct sp_consumer_offset *offset = &group->offsets[i];
        check(sp_consumer_place_compare(
                  offset[-1].topic_id, offset[-1].partition, offset->topic_id, offset->partition) <
              0);
    }
}

/* The input is a run of commands, each behind its size in one byte; ends with the first that would
 * stop a replica. */
static void apply_all(struct sp_consumer_groups *steady,
                      struct sp_consumer_groups *restarted,
                      const uint8_t *bytes,
                      size_t size)
{
    struct sp_consumer_group *group;
    int rv = 0;

    while (size > 1 && rv != SPATE_ERR_CORRUPT && rv != SPATE_ERR_UNSUPPORTED) {
        size_t command_size = bytes[0] < size - 1 ? bytes[0] : size - 1;
        rv = sp_consumer_groups_apply(steady, bytes + 1, command_size, (int64_t)size, &group);
        check(rv == 0 || rv == SPATE_ERR_CORRUPT || rv == SPATE_ERR_UNSUPPORTED ||
              rv == SPATE_ERR_UNKNOWN_MEMBER || rv == SPATE_ERR_GROUP_FENCED ||
              rv == SPATE_ERR_AGAIN || rv == SPATE_ERR_NOT_FOUND || rv == SPATE_ERR_BUSY);
        if (group != NULL) {
            check_group(group);
        }
        check(rv ==
              sp_consumer_groups_apply(restarted, bytes + 1, command_size, (int64_t)size, &group));
        restart(restarted);
        bytes += 1 + command_size;
        size -= 1 + command_size;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct sp_consumer_groups *steady = sp_consumer_groups_new();
    struct sp_consumer_groups *restarted = sp_consumer_groups_new();

    check(steady != NULL && restarted != NULL);
    prepare(steady);
    prepare(restarted);
    apply_all(steady, restarted, bytes, size);
    check_same(steady, restarted);
    int rv = sp_consumer_groups_restore(steady, bytes, size);
    check(rv == 0 || rv == SPATE_ERR_CORRUPT || rv == SPATE_ERR_UNSUPPORTED);
    check_round_trip(steady);
    sp_consumer_groups_free(steady);
    sp_consumer_groups_free(restarted);
    return 0;
}
