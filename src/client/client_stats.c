/* What a client tells about itself: figures as JSON, lines for a log, whether it is connected. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "client/client.h"
#include "client/json.h"
#include "client/metadata.h"

enum {
    JSON_BYTES_MAX = 1024 * 1024, /* 256 connections and thousands of producers */
    LOG_LINES_PER_SECOND = 20,
    LOG_LINE_SIZE = 800,
};

/* ---- JSON ------------------------------------------------------------------------------------ */

static void append(struct sp_json *json, const char *text)
{
    if (json->status == 0) {
        json->status = sp_buf_append(&json->buf, text, strlen(text));
    }
}

static void append_text(struct sp_json *json, const char *text)
{
    char escaped[8];

    append(json, "\"");
    for (; *text != '\0'; text++) {
        unsigned byte = (unsigned char)*text;
        if (byte < 0x20 || byte > 0x7e || byte == '"' || byte == '\\') {
            (void)snprintf(escaped, sizeof escaped, "\\u%04x", byte);
        } else {
            (void)snprintf(escaped, sizeof escaped, "%c", (char)byte);
        }
        append(json, escaped);
    }
    append(json, "\"");
}

static void begin(struct sp_json *json, const char *name)
{
    append(json, json->first ? "" : ",");
    json->first = false;
    if (name != NULL) {
        append_text(json, name);
        append(json, ":");
    }
}

void sp_json_open(struct sp_json *json, const char *name, char bracket)
{
    const char text[] = { bracket, '\0' };

    begin(json, name);
    append(json, text);
    json->first = true;
}

void sp_json_close(struct sp_json *json, char bracket)
{
    const char text[] = { bracket, '\0' };

    append(json, text);
    json->first = false;
}

void sp_json_number(struct sp_json *json, const char *name, int64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof text, "%lld", (long long)value);
    begin(json, name);
    append(json, text);
}

void sp_json_bool(struct sp_json *json, const char *name, bool value)
{
    begin(json, name);
    append(json, value ? "true" : "false");
}

void sp_json_text(struct sp_json *json, const char *name, const char *value)
{
    begin(json, name);
    append_text(json, value);
}

/* ---- figures --------------------------------------------------------------------------------- */

static void tell_connections(const struct spate_client *client, struct sp_json *json)
{
    struct sp_map_cursor cursor = { 0 };
    struct sp_connection *connection;

    sp_json_open(json, "connections", '[');
    while ((connection = sp_map_next(client->connections, &cursor)) != NULL) {
        sp_json_open(json, NULL, '{');
        sp_json_text(json, "address", sp_rpc_address(connection->rpc));
        sp_json_bool(json, "connected", sp_rpc_connected(connection->rpc));
        sp_json_close(json, '}');
    }
    sp_json_close(json, ']');
}

static void tell_parts(const struct spate_client *client, struct sp_json *json, const char *kind)
{
    sp_json_open(json, kind, '[');
    SP_LIST_EACH (node, &client->parts) {
        struct sp_client_part *part = SP_LIST_ENTRY(node, struct sp_client_part, node);
        if (strcmp(part->kind, kind) == 0) {
            sp_json_open(json, NULL, '{');
            part->tell(part, json);
            sp_json_close(json, '}');
        }
    }
    sp_json_close(json, ']');
}

int spate_client_stats(struct spate_client *client, char **out_json)
{
    struct sp_json json = { .first = true };

    if (client == NULL || out_json == NULL) {
        return SPATE_ERR_INVALID;
    }
    SP_CLIENT_HOLD(client);
    sp_buf_init(&json.buf, JSON_BYTES_MAX);
    sp_json_open(&json, NULL, '{');
    sp_json_text(&json, "version", spate_version());
    sp_json_bool(&json, "io_thread", client->driver != NULL);
    sp_json_number(&json, "descriptions", (int64_t)sp_metadata_completed(client->metadata));
    tell_connections(client, &json);
    tell_parts(client, &json, "producers");
    tell_parts(client, &json, "consumers");
    sp_json_close(&json, '}');
    if (json.status == 0) {
        json.status = sp_buf_append(&json.buf, "", 1);
    }
    if (json.status != 0) {
        sp_buf_deinit(&json.buf);
        return sp_client_fail(client, json.status, "%s", spate_strerror(json.status));
    }
    *out_json = (char *)json.buf.bytes; /* the buffer's memory changes its owner */
    return 0;
}

/* ---- log ------------------------------------------------------------------------------------- */

void sp_client_log(struct spate_client *client, int level, const char *format, ...)
{
    char text[LOG_LINE_SIZE];
    uint64_t dropped = 0;
    va_list arguments;

    if (client->config.log_cb == NULL ||
        !sp_trace_allowed(
            &client->log_limit, sp_loop_now_ms(client->loop), LOG_LINES_PER_SECOND, &dropped)) {
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    client->config.log_cb(client->config.log_arg, level, text);
}

/* ---- connecting ------------------------------------------------------------------------------ */

int spate_client_connect(struct spate_client *client, int timeout_ms)
{
    if (client == NULL) {
        return SPATE_ERR_INVALID;
    }
    SP_CLIENT_HOLD(client);
    int64_t limit_ms = timeout_ms < 0 ? (int64_t)client->config.timeout_ms : timeout_ms;

    return sp_metadata_wait_first(client->metadata, sp_client_deadline(client, limit_ms));
}
