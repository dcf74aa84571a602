/* Encodes and strictly decodes the messages between nodes; the byte table is in the header. */
#include "wire/peer_api.h"

#include <string.h>

#include "base/assert.h"
#include "base/crc32c.h"
#include "spate/error.h"

enum {
    SIZE_AT = 0,
    CRC_AT = 4,
    VERSION_AT = 8,
    KIND_AT = 9,
    HEAD_SIZE_AT = 10,
    BODY_CRC_AT = 12,
    FIELDS_AT = SP_PEER_PREFIX_SIZE,
    FLAGS_KNOWN = SP_PEER_PRE_VOTE | SP_PEER_DISRUPT_LEADER | SP_PEER_GRANTED | SP_PEER_CHUNK_LAST,
    TEXT_SIZE_MAX = 1024,      /* why a connection was refused: a sentence */
    JOIN_SIZE_MAX = 64 * 1024, /* addresses of all nodes */
};

_Static_assert(FIELDS_AT + SP_PEER_RAFT_SIZE <= SP_PEER_HEAD_SIZE_MAX, "the largest head fits");

/* ---- little-endian numbers ------------------------------------------------------------------- */

static void put(uint8_t **at, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        (*at)[i] = (uint8_t)(value >> (8 * i));
    }
    *at += size;
}

static uint64_t get(const uint8_t **at, unsigned size)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < size; i++) {
        value |= (uint64_t)(*at)[i] << (8 * i);
    }
    *at += size;
    return value;
}

static uint32_t get_u32(const uint8_t **at)
{
    return (uint32_t)get(at, 4);
}

static uint32_t u32_at(const uint8_t *bytes, size_t position)
{
    const uint8_t *at = bytes + position;

    return get_u32(&at);
}

/* ---- entries --------------------------------------------------------------------------------- */

void sp_peer_raft_encode(const struct sp_peer_raft *raft, uint8_t *bytes)
{
    const uint64_t wide[] = { raft->group_id,   raft->from,         raft->to,
                              raft->term,       raft->request_term, raft->index,
                              raft->index_term, raft->commit,       raft->aux };
    const uint32_t narrow[] = { raft->kind, raft->flags, raft->protocol, raft->frame_count };

    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++) {
        put(&bytes, wide[i], 8);
    }
    for (size_t i = 0; i < sizeof narrow / sizeof narrow[0]; i++) {
        put(&bytes, narrow[i], 4);
    }
}

void sp_peer_raft_decode(const uint8_t *bytes, struct sp_peer_raft *out_raft)
{
    out_raft->group_id = get(&bytes, 8);
    out_raft->from = get(&bytes, 8);
    out_raft->to = get(&bytes, 8);
    out_raft->term = get(&bytes, 8);
    out_raft->request_term = get(&bytes, 8);
    out_raft->index = get(&bytes, 8);
    out_raft->index_term = get(&bytes, 8);
    out_raft->commit = get(&bytes, 8);
    out_raft->aux = get(&bytes, 8);
    out_raft->kind = get_u32(&bytes);
    out_raft->flags = get_u32(&bytes);
    out_raft->protocol = get_u32(&bytes);
    out_raft->frame_count = get_u32(&bytes);
}

void sp_peer_leader_encode(const struct sp_peer_leader *leader, uint8_t *bytes)
{
    put(&bytes, leader->group_id, 8);
    put(&bytes, leader->term, 8);
    put(&bytes, leader->node_id, 4);
    put(&bytes, leader->lagging, 4);
}

void sp_peer_leader_decode(const uint8_t *bytes, struct sp_peer_leader *out_leader)
{
    out_leader->group_id = get(&bytes, 8);
    out_leader->term = get(&bytes, 8);
    out_leader->node_id = get_u32(&bytes);
    out_leader->lagging = get_u32(&bytes);
}

/* Only appends carry frames, only installs and appends have a body at all. */
static bool raft_valid(const struct sp_peer_raft *raft, size_t body_size)
{
    if ((raft->flags & ~(uint32_t)FLAGS_KNOWN) != 0 || raft->frame_count > SP_APPEND_FRAMES_MAX) {
        return false;
    }
    switch (raft->kind) {
    case SP_PEER_APPEND:
        return (raft->frame_count > 0) == (body_size > 0);
    case SP_PEER_INSTALL:
        return raft->frame_count == 0;
    case SP_PEER_APPEND_RESULT:
    case SP_PEER_VOTE:
    case SP_PEER_VOTE_RESULT:
    case SP_PEER_TIMEOUT_NOW:
    case SP_PEER_INSTALL_RESULT:
    case SP_PEER_CONFIRM:
    case SP_PEER_CONFIRM_RESULT:
    case SP_PEER_QUIET:
    case SP_PEER_WAKE:
        return raft->frame_count == 0 && body_size == 0;
    default:
        return false; /* a number from the network, so the compiler cannot check the list */
    }
}

static bool heartbeats_valid(const uint8_t *bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct sp_peer_raft raft;

        sp_peer_raft_decode(bytes + (size_t)i * SP_PEER_RAFT_SIZE, &raft);
        if (raft.kind == SP_PEER_INSTALL || !raft_valid(&raft, 0)) {
            return false;
        }
    }
    return true;
}

/* ---- fields of the kinds --------------------------------------------------------------------- */

enum {
    HELLO_FIELDS_SIZE_MIN = 40, /* without `run` */
    HELLO_FIELDS_SIZE_RUN = 48, /* without `condition` */
    HELLO_FIELDS_SIZE = 52,
};

/* Size of the fields behind the prefix; SIZE_MAX for a kind that does not exist. */
static size_t fields_size(unsigned kind)
{
    switch (kind) {
    case SP_PEER_HELLO:
        return HELLO_FIELDS_SIZE;
    case SP_PEER_FORM:
    case SP_PEER_FORM_OK:
    case SP_PEER_FORMED:
    case SP_PEER_STOPPED:
    case SP_PEER_CALL:
    case SP_PEER_REPLY:
        return 16;
    case SP_PEER_REFUSED:
    case SP_PEER_JOIN:
    case SP_PEER_JOINED:
        return 0;
    case SP_PEER_VIGIL:
        return 32;
    case SP_PEER_COMPACTED:
        return 40;
    case SP_PEER_RAFT:
        return SP_PEER_RAFT_SIZE;
    case SP_PEER_HEARTBEATS:
    case SP_PEER_LEADERS:
        return 4;
    default:
        return SIZE_MAX;
    }
}

/* HELLO may be an older build's, which ends before `run` or `condition`, or a newer one's, with
 * more behind it: it is what tells builds apart. */
static bool fields_fit(unsigned kind, size_t size)
{
    return kind == SP_PEER_HELLO ? size >= HELLO_FIELDS_SIZE_MIN : size == fields_size(kind);
}

static void put_hello(uint8_t **at, const struct sp_peer_hello *hello)
{
    put(at, hello->node_id, 4);
    put(at, hello->feature_most, 1);
    put(at, hello->feature_least, 1);
    put(at, hello->feature_active, 2);
    put(at, hello->incarnation, 8);
    memcpy(*at, hello->cluster_id, sizeof hello->cluster_id);
    *at += sizeof hello->cluster_id;
    put(at, hello->identity_state, 4);
    put(at, hello->seeds_hash, 4);
    put(at, hello->run, 8);
    put(at, hello->condition, 4);
}

static void get_hello(const uint8_t **at, size_t size, struct sp_peer_hello *out_hello)
{
    out_hello->node_id = get_u32(at);
    out_hello->feature_most = (uint8_t)get(at, 1);
    out_hello->feature_least = (uint8_t)get(at, 1);
    out_hello->feature_active = (uint16_t)get(at, 2);
    out_hello->incarnation = get(at, 8);
    memcpy(out_hello->cluster_id, *at, sizeof out_hello->cluster_id);
    *at += sizeof out_hello->cluster_id;
    out_hello->identity_state = get_u32(at);
    out_hello->seeds_hash = get_u32(at);
    out_hello->run = size < HELLO_FIELDS_SIZE_RUN ? 0 : get(at, 8);
    out_hello->condition = size < HELLO_FIELDS_SIZE ? 0 : get_u32(at);
}

static void put_fields(const struct sp_peer_message *message, uint8_t *at)
{
    switch (message->kind) {
    case SP_PEER_HELLO:
        put_hello(&at, &message->u.hello);
        break;
    case SP_PEER_FORM:
    case SP_PEER_FORM_OK:
    case SP_PEER_FORMED:
        memcpy(at, message->u.form.cluster_id, sizeof message->u.form.cluster_id);
        break;
    case SP_PEER_REFUSED:
    case SP_PEER_JOIN:
    case SP_PEER_JOINED:
        break;
    case SP_PEER_RAFT:
        sp_peer_raft_encode(&message->u.raft, at);
        break;
    case SP_PEER_HEARTBEATS:
    case SP_PEER_LEADERS:
        put(&at, message->u.count, 4);
        break;
    case SP_PEER_STOPPED:
        put(&at, message->u.stopped.group_id, 8);
        put(&at, message->u.stopped.replica_id, 8);
        break;
    case SP_PEER_CALL:
    case SP_PEER_REPLY:
        put(&at, message->u.call.call_id, 8);
        put(&at, message->u.call.method, 4);
        put(&at, (uint32_t)message->u.call.status, 4);
        break;
    case SP_PEER_VIGIL:
        put(&at, message->u.vigil.number, 8);
        put(&at, message->u.vigil.led_sum, 8);
        put(&at, message->u.vigil.led_count, 4);
        put(&at, message->u.vigil.agrees, 4);
        put(&at, message->u.vigil.answers, 8);
        break;
    case SP_PEER_COMPACTED:
        put(&at, message->u.compacted.group_id, 8);
        put(&at, message->u.compacted.replica_id, 8);
        put(&at, message->u.compacted.term, 8);
        put(&at, (uint64_t)message->u.compacted.offset, 8);
        put(&at, (uint64_t)message->u.compacted.floor, 8);
        break;
    }
}

static void get_fields(const uint8_t *at, size_t size, struct sp_peer_message *message)
{
    switch (message->kind) {
    case SP_PEER_HELLO:
        get_hello(&at, size, &message->u.hello);
        break;
    case SP_PEER_FORM:
    case SP_PEER_FORM_OK:
    case SP_PEER_FORMED:
        memcpy(message->u.form.cluster_id, at, sizeof message->u.form.cluster_id);
        break;
    case SP_PEER_REFUSED:
    case SP_PEER_JOIN:
    case SP_PEER_JOINED:
        break;
    case SP_PEER_RAFT:
        sp_peer_raft_decode(at, &message->u.raft);
        break;
    case SP_PEER_HEARTBEATS:
    case SP_PEER_LEADERS:
        message->u.count = get_u32(&at);
        break;
    case SP_PEER_STOPPED:
        message->u.stopped.group_id = get(&at, 8);
        message->u.stopped.replica_id = get(&at, 8);
        break;
    case SP_PEER_CALL:
    case SP_PEER_REPLY:
        message->u.call.call_id = get(&at, 8);
        message->u.call.method = get_u32(&at);
        message->u.call.status = (int32_t)get_u32(&at);
        break;
    case SP_PEER_VIGIL:
        message->u.vigil.number = get(&at, 8);
        message->u.vigil.led_sum = get(&at, 8);
        message->u.vigil.led_count = get_u32(&at);
        message->u.vigil.agrees = get_u32(&at);
        message->u.vigil.answers = get(&at, 8);
        break;
    case SP_PEER_COMPACTED:
        message->u.compacted.group_id = get(&at, 8);
        message->u.compacted.replica_id = get(&at, 8);
        message->u.compacted.term = get(&at, 8);
        message->u.compacted.offset = (int64_t)get(&at, 8);
        message->u.compacted.floor = (int64_t)get(&at, 8);
        break;
    }
}

static bool count_valid(uint32_t count, uint32_t count_max, size_t entry_size, size_t body_size)
{
    return count > 0 && count <= count_max && body_size == count * entry_size;
}

/* Whether a body of `body_size` bytes can belong to this head. */
static bool fields_valid(const struct sp_peer_message *message, size_t body_size)
{
    switch (message->kind) {
    case SP_PEER_HELLO:
    case SP_PEER_FORM:
    case SP_PEER_FORM_OK:
    case SP_PEER_FORMED:
    case SP_PEER_STOPPED:
        return body_size == 0;
    case SP_PEER_COMPACTED:
        return body_size == 0 && message->u.compacted.offset >= 0 &&
               message->u.compacted.floor >= 0;
    case SP_PEER_REFUSED:
        return body_size <= TEXT_SIZE_MAX;
    case SP_PEER_JOIN:
    case SP_PEER_JOINED:
        return body_size > 0 && body_size <= JOIN_SIZE_MAX;
    case SP_PEER_RAFT:
        return message->body_crc == 0 && raft_valid(&message->u.raft, body_size);
    case SP_PEER_HEARTBEATS:
        return count_valid(message->u.count, SP_PEER_HEARTBEATS_MAX, SP_PEER_RAFT_SIZE, body_size);
    case SP_PEER_LEADERS:
        return count_valid(message->u.count, SP_PEER_LEADERS_MAX, SP_PEER_LEADER_SIZE, body_size);
    case SP_PEER_VIGIL:
        return body_size == 0 && message->u.vigil.number > 0 && message->u.vigil.agrees <= 1 &&
               (message->u.vigil.agrees == 0 || message->u.vigil.answers > 0);
    case SP_PEER_CALL:
        return message->u.call.status == 0;
    case SP_PEER_REPLY:
        return message->u.call.status <= 0;
    }
    return false;
}

/* ---- refusals -------------------------------------------------------------------------------- */

void sp_peer_refuser_encode(uint32_t node_id, uint64_t incarnation, uint8_t *at)
{
    put(&at, 0, 1);
    put(&at, node_id, 4);
    put(&at, incarnation, 8);
}

void sp_peer_refusal_decode(const uint8_t *bytes, size_t size, struct sp_peer_refusal *out)
{
    const uint8_t *end = size == 0 ? NULL : memchr(bytes, 0, size);

    *out = (struct sp_peer_refusal){ .text = (const char *)bytes, .text_size = size };
    if (end == NULL) {
        return;
    }
    out->text_size = (size_t)(end - bytes);
    if (size - out->text_size == SP_PEER_REFUSER_SIZE) {
        end += 1;
        out->node_id = get_u32(&end);
        out->incarnation = get(&end, 8);
    }
}

/* ---- messages -------------------------------------------------------------------------------- */

size_t sp_peer_head_encode(const struct sp_peer_message *message, size_t body_size, uint8_t *head)
{
    size_t head_size = FIELDS_AT + fields_size(message->kind);
    uint8_t *at = head;

    SP_ASSERT(head_size <= SP_PEER_HEAD_SIZE_MAX);
    SP_ASSERT(body_size <= SP_PEER_MESSAGE_BYTES_MAX - head_size);
    put(&at, head_size + body_size, 4);
    put(&at, 0, 4);
    put(&at, SP_PEER_VERSION, 1);
    put(&at, (uint64_t)message->kind, 1);
    put(&at, head_size, 2);
    put(&at, message->body_crc, 4);
    put_fields(message, at);
    at = head + CRC_AT;
    put(&at, sp_crc32c(0, head + VERSION_AT, head_size - VERSION_AT), 4);
    return head_size;
}

size_t sp_peer_head_size(const uint8_t *bytes)
{
    const uint8_t *at = bytes + HEAD_SIZE_AT;

    return (size_t)get(&at, 2);
}

int sp_peer_message_size(const uint8_t *bytes, size_t size, size_t *out_size)
{
    if (size < SP_PEER_PREFIX_SIZE) {
        return SPATE_ERR_AGAIN;
    }
    size_t message_size = u32_at(bytes, SIZE_AT);
    size_t head_size = sp_peer_head_size(bytes);
    if (message_size > SP_PEER_MESSAGE_BYTES_MAX) {
        return SPATE_ERR_TOO_LARGE;
    }
    if (head_size < SP_PEER_PREFIX_SIZE || head_size > SP_PEER_HEAD_SIZE_MAX ||
        head_size > message_size) {
        return SPATE_ERR_MALFORMED;
    }
    if (bytes[VERSION_AT] != SP_PEER_VERSION && message_size > SP_PEER_FOREIGN_SIZE_MAX) {
        return SPATE_ERR_MALFORMED;
    }
    *out_size = message_size;
    return 0;
}

/* Reads a head whose sizes are possible; the body is not looked at. */
static int decode_head(const uint8_t *head, struct sp_peer_message *out)
{
    size_t head_size = sp_peer_head_size(head);
    struct sp_peer_message message = { 0 };

    if (u32_at(head, CRC_AT) != sp_crc32c(0, head + VERSION_AT, head_size - VERSION_AT)) {
        return SPATE_ERR_MALFORMED;
    }
    if (head[VERSION_AT] != SP_PEER_VERSION) {
        return SPATE_ERR_UNSUPPORTED;
    }
    if (!fields_fit(head[KIND_AT], head_size - FIELDS_AT)) {
        return SPATE_ERR_MALFORMED;
    }
    message.kind = (enum sp_peer_kind)head[KIND_AT];
    message.body_crc = u32_at(head, BODY_CRC_AT);
    get_fields(head + FIELDS_AT, head_size - FIELDS_AT, &message);
    if (!fields_valid(&message, u32_at(head, SIZE_AT) - head_size)) {
        return SPATE_ERR_MALFORMED;
    }
    *out = message;
    return 0;
}

int sp_peer_head_check(const uint8_t *head)
{
    struct sp_peer_message message;

    return decode_head(head, &message);
}

int sp_peer_message_decode(struct sp_blob *blob,
                           size_t position,
                           size_t size,
                           struct sp_peer_message *out)
{
    const uint8_t *bytes = blob->bytes + position;
    struct sp_peer_message message;
    size_t message_size = 0;

    SP_ASSERT(position <= blob->size);
    SP_ASSERT(size <= blob->size - position);
    if (sp_peer_message_size(bytes, size, &message_size) != 0 || message_size != size) {
        return SPATE_ERR_MALFORMED;
    }
    int rv = decode_head(bytes, &message);
    if (rv != 0) {
        return rv;
    }
    size_t head_size = sp_peer_head_size(bytes);
    message.body = (struct sp_slice){ blob, bytes + head_size, size - head_size };
    if (message.kind != SP_PEER_RAFT &&
        sp_crc32c(0, message.body.bytes, message.body.size) != message.body_crc) {
        return SPATE_ERR_MALFORMED;
    }
    if (message.kind == SP_PEER_HEARTBEATS &&
        !heartbeats_valid(message.body.bytes, message.u.count)) {
        return SPATE_ERR_MALFORMED;
    }
    *out = message;
    return 0;
}
