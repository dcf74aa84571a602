/* A MessagePack value as JSON text. */
#ifndef SP_SERVER_JSON_TEXT_H
#define SP_SERVER_JSON_TEXT_H

#include "base/buf.h"
#include "wire/bytes.h"

#define SP_JSON_DEPTH_MAX 16

/* Appends one value of maps with texts as keys, arrays, texts, whole numbers, booleans and nil.
 * SPATE_ERR_MALFORMED or SPATE_ERR_INVALID: it holds something else, or is nested deeper than
 * SP_JSON_DEPTH_MAX; SPATE_ERR_TOO_LARGE, SPATE_ERR_NOMEM: as sp_buf_append. */
int sp_json_text(struct sp_bytes value, struct sp_buf *out);

#endif /* SP_SERVER_JSON_TEXT_H */
