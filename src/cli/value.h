/* MessagePack to JSON and back, for results on the screen and parameters from the keyboard.
 *
 *   bin that is no text <-> {"$bin": "base64"}      ext -> {"$ext": "base64"}, only to be seen
 *   map keys that are not text become their JSON text */
#ifndef SPATE_CLI_VALUE_H
#define SPATE_CLI_VALUE_H

#include <stdbool.h>

#include <jansson.h>

#include "wire/cursor.h"
#include "wire/pack.h"

#define VALUE_DEPTH_MAX 32 /* deeper than any answer; keeps recursion bounded */

/* Packs `value`; the pack's status tells failures, SPATE_ERR_INVALID for a "$bin" that is no base64
 * or for too much depth. */
void value_pack(struct sp_pack *pack, const json_t *value);

/* Reads the next value; NULL when it is malformed, too deep, or memory is out. */
json_t *value_read(struct sp_cursor *cursor);

/* Text with NUL, to be freed; ends the program when memory is out. */
char *base64_encode(const void *bytes, size_t size);

/* The bytes of `text`, to be freed; NULL when it is not base64. */
uint8_t *base64_decode(const char *text, size_t *out_size);

/* A member of an object: its number (0: none), its text ("-": none or empty), whether there is a
 * text. */
int64_t value_number(const json_t *object, const char *key);
const char *value_text(const json_t *object, const char *key);
bool value_has_text(const json_t *object, const char *key);

#endif /* SPATE_CLI_VALUE_H */
