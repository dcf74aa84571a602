/* Puts messages between nodes on a connection, whichever end it is. */
#include <string.h>

#include "base/crc32c.h"
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

void sp_peer_refuse(struct sp_conn *conn, const char *text)
{
    const struct sp_peer_message refused = { .kind = SP_PEER_REFUSED };
    struct sp_blob *blob = sp_blob_copy(text, strlen(text));

    if (blob != NULL) {
        struct sp_slice piece = { blob, blob->bytes, blob->size };
        (void)sp_peer_send(conn, &refused, &piece, 1); /* it is closed with or without the reason */
        sp_blob_unref(blob);
    }
    sp_conn_close(conn, true);
}
