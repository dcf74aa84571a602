#include "json.h"

#include <inttypes.h>

static void write_text(FILE *file, const char *text)
{
    putc('"', file);
    for (; *text != '\0'; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte == '"' || byte == '\\') {
            putc('\\', file);
            putc(byte, file);
        } else if (byte < 0x20 || byte >= 0x7f) { /* lines of a history are ASCII */
            fprintf(file, "\\u%04x", byte);
        } else {
            putc(byte, file);
        }
    }
    putc('"', file);
}

static void begin_value(struct jep_json *json, const char *name)
{
    if (json->comma) {
        putc(',', json->file);
    }
    if (name != NULL) {
        write_text(json->file, name);
        putc(':', json->file);
    }
    json->comma = true;
}

void jep_json_begin(struct jep_json *json, const char *name, char bracket)
{
    begin_value(json, name);
    putc(bracket, json->file);
    json->comma = false;
}

void jep_json_end(struct jep_json *json, char bracket)
{
    putc(bracket, json->file);
    json->comma = true;
}

void jep_json_text(struct jep_json *json, const char *name, const char *text)
{
    begin_value(json, name);
    write_text(json->file, text);
}

void jep_json_int(struct jep_json *json, const char *name, int64_t value)
{
    begin_value(json, name);
    fprintf(json->file, "%" PRId64, value);
}

void jep_json_double(struct jep_json *json, const char *name, double value)
{
    begin_value(json, name);
    fprintf(json->file, "%.6g", value);
}
