/* Bytes as JSON text. */
#ifndef SPATE_CLI_JSON_TEXT_H
#define SPATE_CLI_JSON_TEXT_H

#include <stddef.h>

/* Writes a JSON string of these bytes with its quotes when they are UTF-8, else {"$bin":"base64"};
 * null for NULL. */
void json_print_bytes(const void *bytes,
                      size_t size,
                      void (*write)(const void *bytes, size_t size));

#endif /* SPATE_CLI_JSON_TEXT_H */
