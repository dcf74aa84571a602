/* Puts messages between nodes on a connection, whichever end it is. */
#include <string.h>

#include "base/crc32c.h"
#include "cluster/greeting.h"
#include "cluster/link.h"
#include "spate/error.h"

int sp_peer_send(struct sp_conn *conn,
                 const struct sp_peer_message *message,
                 const struct sp_slice *pieces,
                 unsigned count)
{
    struct sp_slice all[1 + SP_APPEND_FRAMES_MAX];
    struct sp_peer_message sealed = *message;
    uint8_t head[SP_PEER_HEAD_SIZE_MAX];
    size_t body_size = 0;

    if (count > SP_APPEND_FRAMES_MAX) {
        return SPATE_ERR_TOO_LARGE;
    }
    sealed.body_crc = 0;
    for (unsigned i = 0; i < count; i++) {
        body_size += pieces[i].size;
        if (message->kind != SP_PEER_RAFT) {
            sealed.body_crc = sp_crc32c(sealed.body_crc, pieces[i].bytes, pieces[i].size);
        }
        all[1 + i] = pieces[i];
    }
    if (body_size > SP_PEER_MESSAGE_BYTES_MAX - SP_PEER_HEAD_SIZE_MAX) {
        return SPATE_ERR_TOO_LARGE;
    }
    size_t head_size = sp_peer_head_encode(&sealed, body_size, head);
    struct sp_blob *blob = sp_blob_copy(head, head_size);
    if (blob == NULL) {
        return SPATE_ERR_NOMEM;
    }
    all[0] = (struct sp_slice){ blob, blob->bytes, head_size };
    int rv = sp_conn_send(conn, all, 1 + count);
    sp_blob_unref(blob);
    return rv;
}

/* Queues one message with a copy of `bytes` as its body. */
static int send_copy(struct sp_conn *conn,
                     const struct sp_peer_message *message,
                     const void *bytes,
                     size_t size)
{
    struct sp_blob *blob = sp_blob_copy(bytes, size);

    if (blob == NULL) {
        return SPATE_ERR_NOMEM;
    }
    struct sp_slice piece = { blob, blob->bytes, blob->size };
    int rv = sp_peer_send(conn, message, &piece, 1);
    sp_blob_unref(blob);
    return rv;
}

int sp_peer_send_heartbeats(struct sp_conn *conn, const uint8_t *entries, size_t size)
{
    const struct sp_peer_message message = { .kind = SP_PEER_HEARTBEATS,
                                             .u.count = (uint32_t)(size / SP_PEER_RAFT_SIZE) };

    return send_copy(conn, &message, entries, size);
}

void sp_peer_refuse(struct sp_conn *conn, const char *text, const struct sp_peer_hello *self)
{
    const struct sp_peer_message message = { .kind = SP_PEER_REFUSED };
    uint8_t body[SP_REFUSAL_SIZE + SP_PEER_REFUSER_SIZE];
    size_t size = strnlen(text, SP_REFUSAL_SIZE);

    memcpy(body, text, size);
    sp_peer_refuser_encode(self->node_id, self->incarnation, body + size);
    size += SP_PEER_REFUSER_SIZE;
    (void)send_copy(conn, &message, body, size); /* it is closed with or without a reason */
    sp_conn_close(conn, true);
}
