/* Writes JSON to a file, in straight lines. */
#ifndef JEP_CHECK_JSON_H
#define JEP_CHECK_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct jep_json {
    FILE *file;
    bool comma; /* something stands before the next value */
};

/* `name` NULL: an element of an array. */
void jep_json_begin(struct jep_json *json, const char *name, char bracket);
void jep_json_end(struct jep_json *json, char bracket);
void jep_json_text(struct jep_json *json, const char *name, const char *text);
void jep_json_int(struct jep_json *json, const char *name, int64_t value);
void jep_json_double(struct jep_json *json, const char *name, double value);

#endif /* JEP_CHECK_JSON_H */
