/* JSON text, appended piece by piece; commas come by themselves. */
#ifndef SP_CLIENT_JSON_H
#define SP_CLIENT_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct sp_json {
    struct sp_buf buf;
    bool first; /* nothing stands yet in the innermost object or array */
    int status; /* of the first append that failed; the rest does nothing */
};

/* `name` NULL: an element of an array, or the whole. */
void sp_json_open(struct sp_json *json, const char *name, char bracket);
void sp_json_close(struct sp_json *json, char bracket);
void sp_json_number(struct sp_json *json, const char *name, int64_t value);
void sp_json_bool(struct sp_json *json, const char *name, bool value);

/* Bytes that are not printable ASCII are escaped, each as one character. */
void sp_json_text(struct sp_json *json, const char *name, const char *value);

#endif /* SP_CLIENT_JSON_H */
