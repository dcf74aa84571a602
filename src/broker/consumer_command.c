/* Commands to bytes, and the parts of them that checkpoints have as well back. */
#include <string.h>

#include "broker/consumer_parts.h"
#include "spate/error.h"
#include "wire/pack.h"

static void begin(struct sp_pack *pack,
                  struct sp_buf *out,
                  enum sp_consumer_command type,
                  struct sp_bytes group,
                  size_t fields)
{
    sp_pack_init(pack, out);
    sp_pack_array(pack, 3 + fields);
    sp_pack_int(pack, SP_CONSUMER_COMMAND_VERSION);
    sp_pack_int(pack, type);
    sp_pack_str(pack, group);
}

/* [topic id, partition, topic id, partition, ...] */
static void
pack_places(struct sp_pack *pack, const struct sp_consumer_place *places, unsigned count)
{
    sp_pack_array(pack, 2 * (size_t)count);
    for (unsigned i = 0; i < count; i++) {
        sp_pack_uint(pack, places[i].topic_id);
        sp_pack_uint(pack, places[i].partition);
    }
}

/* [1, JOIN, group, member, instance, client, session, rebalance, topics, owned, rack]; without the
 * rack when there is none, as nodes that know of no racks have it. */
int sp_consumer_command_join(const struct sp_consumer_join *join, struct sp_buf *out)
{
    struct sp_pack pack;

    begin(&pack, out, SP_CONSUMER_JOIN, join->group, join->rack.size == 0 ? 7 : 8);
    sp_pack_str(&pack, join->member);
    sp_pack_str(&pack, sp_bytes_of(join->instance.bytes, join->instance.size)); /* never nil */
    sp_pack_str(&pack, sp_bytes_of(join->client.bytes, join->client.size));
    sp_pack_uint(&pack, join->session_ms);
    sp_pack_uint(&pack, join->rebalance_ms);
    sp_pack_raw(&pack, join->topics);
    pack_places(&pack, join->owned, join->owned_count);
    if (join->rack.size > 0) {
        sp_pack_str(&pack, join->rack);
    }
    return sp_pack_status(&pack);
}

/* [1, LEAVE, group, member] */
int sp_consumer_command_leave(struct sp_bytes group, struct sp_bytes member, struct sp_buf *out)
{
    struct sp_pack pack;

    begin(&pack, out, SP_CONSUMER_LEAVE, group, 1);
    sp_pack_str(&pack, member);
    return sp_pack_status(&pack);
}

/* [1, ASSIGN, group, version, [topic id, [member, ...], ...], [topic id, ...]] */
int sp_consumer_command_assign(struct sp_bytes group,
                               uint64_t version,
                               const struct sp_consumer_target *targets,
                               unsigned target_count,
                               const uint64_t *gone,
                               unsigned gone_count,
                               struct sp_buf *out)
{
    struct sp_pack pack;

    begin(&pack, out, SP_CONSUMER_ASSIGN, group, 3);
    sp_pack_uint(&pack, version);
    sp_pack_array(&pack, 2 * (size_t)target_count);
    for (unsigned i = 0; i < target_count; i++) {
        sp_pack_uint(&pack, targets[i].topic_id);
        sp_pack_array(&pack, targets[i].partition_count);
        for (uint32_t j = 0; j < targets[i].partition_count; j++) {
            sp_pack_int(&pack, targets[i].members[j]);
        }
    }
    sp_pack_array(&pack, gone_count);
    for (unsigned i = 0; i < gone_count; i++) {
        sp_pack_uint(&pack, gone[i]);
    }
    return sp_pack_status(&pack);
}

/* [1, RELEASE, group, member, generation, places] */
int sp_consumer_command_release(struct sp_bytes group,
                                struct sp_bytes member,
                                int64_t generation,
                                const struct sp_consumer_place *places,
                                unsigned count,
                                struct sp_buf *out)
{
    struct sp_pack pack;

    begin(&pack, out, SP_CONSUMER_RELEASE, group, 3);
    sp_pack_str(&pack, member);
    sp_pack_int(&pack, generation);
    pack_places(&pack, places, count < SP_CONSUMER_PLACES_MAX ? count : SP_CONSUMER_PLACES_MAX);
    return sp_pack_status(&pack);
}

/* [1, COMMIT, group, member or nil, generation, [topic id, partition, offset, metadata or nil,
 * ...]] */
int sp_consumer_command_commit(struct sp_bytes group,
                               struct sp_bytes member,
                               int64_t generation,
                               const struct sp_consumer_commit *commits,
                               unsigned count,
                               struct sp_buf *out)
{
    struct sp_pack pack;

    begin(&pack, out, SP_CONSUMER_COMMIT, group, 3);
    sp_pack_str(&pack, member);
    sp_pack_int(&pack, generation);
    sp_pack_array(&pack, 4 * (size_t)count);
    for (unsigned i = 0; i < count; i++) {
        sp_pack_uint(&pack, commits[i].place.topic_id);
        sp_pack_uint(&pack, commits[i].place.partition);
        sp_pack_int(&pack, commits[i].offset);
        sp_pack_str(&pack, commits[i].metadata);
    }
    return sp_pack_status(&pack);
}

/* [1, DELETE, group, changed_ms] */
int sp_consumer_command_delete(struct sp_bytes group, int64_t changed_ms, struct sp_buf *out)
{
    struct sp_pack pack;

    begin(&pack, out, SP_CONSUMER_DELETE, group, 1);
    sp_pack_int(&pack, changed_ms);
    return sp_pack_status(&pack);
}

/* ---- reading --------------------------------------------------------------------------------- */

void sp_consumer_text_read(struct sp_cursor *cursor, char *text, size_t size)
{
    struct sp_bytes bytes = sp_cursor_text(cursor);

    if (bytes.bytes == NULL || bytes.size >= size ||
        (bytes.size > 0 && memchr(bytes.bytes, 0, bytes.size) != NULL)) {
        sp_cursor_fail(cursor, SPATE_ERR_CORRUPT);
        text[0] = '\0';
        return;
    }
    memcpy(text, bytes.bytes, bytes.size);
    text[bytes.size] = '\0';
}

struct sp_bytes sp_consumer_topics_read(struct sp_cursor *cursor)
{
    struct sp_cursor inside = *cursor;
    uint32_t count = sp_cursor_array(&inside);

    if (count > SP_CONSUMER_TOPICS_MAX) {
        sp_cursor_fail(cursor, SPATE_ERR_CORRUPT);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (sp_cursor_text(&inside).size > SP_TOPIC_NAME_SIZE_MAX) {
            sp_cursor_fail(cursor, SPATE_ERR_CORRUPT);
        }
    }
    if (inside.status != 0) {
        sp_cursor_fail(cursor, SPATE_ERR_CORRUPT);
    }
    return sp_cursor_raw(cursor);
}
