/* The three messages of MessagePack-RPC, around whatever the method says.
 *
 *   request       [0, msgid, method, [params]]         msgid: 32 bits, opaque to the server
 *   response      [1, msgid, error, result]            error: nil, or the string "CODE: text"
 *   notification  [2, method, [params]]                never answered
 *
 * params is an array that holds one map; an empty array, or nil in place of the map, mean an empty
 * map. An error names a code of spate/error.h; NOT_LEADER also names the leader:
 *
 *   "NOT_LEADER: 2 127.0.0.1:7800 partition orders/3 is led by node 2"
 *
 * Source: MessagePack-RPC specification; DESIGN D8. Any thread. */
#ifndef SP_WIRE_MESSAGE_H
#define SP_WIRE_MESSAGE_H

#include "wire/cursor.h"
#include "wire/pack.h"

enum sp_message_type {
    SP_MESSAGE_REQUEST = 0,
    SP_MESSAGE_RESPONSE = 1,
    SP_MESSAGE_NOTIFICATION = 2,
};

/* A decoded message; all views point into its bytes. */
struct sp_message {
    enum sp_message_type type;
    uint32_t msgid;          /* request, response */
    struct sp_bytes method;  /* request, notification */
    struct sp_cursor params; /* request, notification: for sp_<method>_request_decode */
    struct sp_bytes error;   /* response: null means success; for sp_error_parse */
    struct sp_cursor result; /* response: for sp_<method>_response_decode */
};

/* Takes one complete message apart. Its structure is checked to the last byte; params may still be
 * anything, so that its decoder can answer with an error that names the fault.
 * SPATE_ERR_MALFORMED or SPATE_ERR_INVALID: it is no such message, close the connection. */
int sp_message_decode(const uint8_t *bytes, size_t size, struct sp_message *out_message);

/* Packs everything of a request, or notification, before its parameter map, which must follow. */
void sp_message_request(struct sp_pack *pack, uint32_t msgid, const char *method);
void sp_message_notification(struct sp_pack *pack, const char *method);

/* Packs everything of a successful response before its result, which must follow. */
void sp_message_response_ok(struct sp_pack *pack, uint32_t msgid);

/* Packs a whole response that reports `code` (a negative SPATE_ERR_*). `text` may hold anything and
 * be of any length: it is cut at 1 KiB, and bytes that are not UTF-8 or not printable become '?'.
 * NULL or "" stand for spate_strerror(code). */
void sp_message_response_error(struct sp_pack *pack, uint32_t msgid, int code, const char *text);

/* The same with SPATE_ERR_NOT_LEADER; `leader_id` below 0, or no address: LEADER_UNKNOWN. */
void sp_message_response_not_leader(struct sp_pack *pack,
                                    uint32_t msgid,
                                    int32_t leader_id,
                                    const char *leader_address,
                                    const char *text);

/* An error string taken apart. */
struct sp_error_parts {
    int code;                       /* SPATE_ERR_INTERNAL when the name is not known here */
    struct sp_bytes text;           /* what follows the code, and the leader; never null */
    int32_t leader_id;              /* NOT_LEADER: the node to try next; else -1 */
    struct sp_bytes leader_address; /* "HOST:PORT" to it; else null */
};

/* Takes apart sp_message.error. Never fails: a string of another shape is all text. */
void sp_error_parse(struct sp_bytes error, struct sp_error_parts *out_parts);

#endif /* SP_WIRE_MESSAGE_H */
