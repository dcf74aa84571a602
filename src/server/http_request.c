#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "server/http_parts.h"

#define SILENT_MS_MAX 10000 /* a loop that has not turned for so long is not alive */

#define TEXT_TYPE "text/plain; charset=utf-8"
#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define JSON_TYPE "application/json"
#define PATHS_TEXT "there are /metrics, /metrics?partitions=1, /healthz, /readyz and /status\n"
#define CANNOT_TEXT                                                                                \
    "the node cannot answer now: its loop is busy, it is stopping, or too many answers wait to "   \
    "be "                                                                                          \
    "taken\n"

/* ---- answers --------------------------------------------------------------------------------- */

/* The bytes of one answer, until the last client has taken them. */
struct held {
    struct sp_http *http;
    uint8_t *bytes;
    size_t size;
};

static void free_held(void *arg)
{
    struct held *held = arg;

    held->http->held_bytes -= held->size;
    sp_mem_free(held->bytes);
    sp_mem_free(held);
}

static void set_type(struct MHD_Response *response, const char *type)
{
    /* Without memory for a header the answer is as good. */
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    (void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
}

/* A response of `text`, which is taken; NULL: memory is out. */
static struct MHD_Response *response_of(struct sp_http *http, struct sp_buf *text, const char *type)
{
    struct held *held = sp_mem_alloc(sizeof *held);
    struct MHD_Response *response = NULL;

    if (held != NULL) {
        *held = (struct held){ .http = http, .bytes = text->bytes, .size = text->size };
        response = MHD_create_response_from_buffer_with_free_callback_cls(
            text->size, text->bytes, free_held, held);
    }
    if (response == NULL) {
        sp_mem_free(held);
        sp_buf_deinit(text);
        return NULL;
    }
    http->held_bytes += text->size;
    set_type(response, type);
    return response;
}

/* Answers with a constant or formatted text, which is copied. */
static enum MHD_Result
answer_text(struct MHD_Connection *connection, unsigned code, const char *text)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result result = MHD_NO;

    if (response != NULL) {
        set_type(response, TEXT_TYPE);
        if (code == MHD_HTTP_METHOD_NOT_ALLOWED) {
            (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
        }
        result = MHD_queue_response(connection, code, response);
        MHD_destroy_response(response);
    }
    return result;
}

void sp_http_forget(struct sp_http_shown *page)
{
    if (page->response != NULL) {
        MHD_destroy_response(page->response); /* clients that take it hold it */
        page->response = NULL;
    }
}

void sp_http_show(struct sp_http *http, enum sp_http_page page, struct sp_buf *text)
{
    static const char *const types[SP_HTTP_PAGES] = {
        METRICS_TYPE, METRICS_TYPE, TEXT_TYPE, JSON_TYPE
    };

    sp_http_forget(&http->pages[page]);
    http->pages[page].made_ms = sp_http_now_ms(http);
    if (text != NULL) {
        http->pages[page].response = response_of(http, text, types[page]);
    }
}

/* ---- requests -------------------------------------------------------------------------------- */

static enum MHD_Result answer_health(struct sp_http *http, struct MHD_Connection *connection)
{
    uint64_t silent_ms = http->handler.silent_ms(http->options.arg);
    char text[100];

    if (silent_ms <= SILENT_MS_MAX) {
        return answer_text(connection, MHD_HTTP_OK, "alive\n");
    }
    (void)snprintf(
        text, sizeof text, "the loop has not turned for %llu ms\n", (unsigned long long)silent_ms);
    return answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, text);
}

static enum MHD_Result answer_page(struct sp_http *http, const struct sp_http_request *request)
{
    const struct sp_http_shown *page = &http->pages[request->page];

    if (page->response == NULL || page->made_ms < request->asked_ms) {
        return answer_text(request->connection, MHD_HTTP_SERVICE_UNAVAILABLE, CANNOT_TEXT);
    }
    return MHD_queue_response(request->connection, page->code, page->response);
}

static enum MHD_Result ask_for_page(struct sp_http *http, struct sp_http_request *request)
{
    const struct sp_http_shown *page = &http->pages[request->page];

    request->asked_ms = sp_http_now_ms(http);
    if (page->response != NULL && request->asked_ms - page->made_ms < SP_METRICS_AGE_MS &&
        !atomic_load(&http->anew)) {
        return MHD_queue_response(request->connection, page->code, page->response);
    }
    if (http->held_bytes > SP_HTTP_ANSWERS_BYTES_MAX - SP_HTTP_ANSWER_BYTES_MAX ||
        atomic_load(&http->stopping)) {
        return answer_text(request->connection, MHD_HTTP_SERVICE_UNAVAILABLE, CANNOT_TEXT);
    }
    sp_list_append(&http->waiting, &request->node);
    sp_http_ask_loop(http, request->page);
    MHD_suspend_connection(request->connection);
    return MHD_YES;
}

/* The page of a path that the loop renders, or SP_HTTP_PAGES. */
static enum sp_http_page page_of(struct MHD_Connection *connection, const char *path)
{
    const char *partitions;

    if (strcmp(path, "/readyz") == 0) {
        return SP_HTTP_READY;
    }
    if (strcmp(path, "/status") == 0) {
        return SP_HTTP_STATUS;
    }
    if (strcmp(path, "/metrics") != 0) {
        return SP_HTTP_PAGES;
    }
    partitions = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "partitions");
    return partitions != NULL && strcmp(partitions, "1") == 0 ? SP_HTTP_METRICS_PARTITIONS
                                                              : SP_HTTP_METRICS;
}

static enum MHD_Result
dispatch(struct sp_http *http, struct sp_http_request *request, const char *path)
{
    if (request->resumed) {
        return answer_page(http, request);
    }
    if (strcmp(path, "/healthz") == 0) {
        return answer_health(http, request->connection);
    }
    request->page = page_of(request->connection, path);
    if (request->page == SP_HTTP_PAGES) {
        return answer_text(request->connection, MHD_HTTP_NOT_FOUND, PATHS_TEXT);
    }
    return ask_for_page(http, request);
}

/* libmicrohttpd calls it once with the headers, then with each piece of a body, and again after a
 * suspension. */
enum MHD_Result sp_http_on_request(void *arg,
                                   struct MHD_Connection *connection,
                                   const char *path,
                                   const char *method,
                                   const char *version,
                                   const char *body,
                                   size_t *body_size,
                                   void **context)
{
    struct sp_http_request *request = *context;

    (void)version; /* libmicrohttpd has looked at it */
    (void)body;
    if (request == NULL) {
        if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
            return answer_text(
                connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD are served\n");
        }
        request = sp_mem_calloc(1, sizeof *request);
        if (request == NULL) {
            return MHD_NO;
        }
        sp_list_init(&request->node);
        request->connection = connection;
        *context = request;
        return MHD_YES;
    }
    if (*body_size > 0) {
        *body_size = 0; /* nobody needs it, and it has to end in time */
        return MHD_YES;
    }
    return dispatch(arg, request, path);
}

void sp_http_on_completed(void *arg,
                          struct MHD_Connection *connection,
                          void **context,
                          enum MHD_RequestTerminationCode code)
{
    const struct sp_http *http = arg;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct sp_http_request *request = *context;

    (void)code;
    if (request != NULL) {
        sp_list_remove(&request->node);
        sp_mem_free(request);
        *context = NULL;
    }
    if (info != NULL && info->socket_context != NULL) {
        ((struct sp_http_connection *)info->socket_context)->begun_ms = sp_http_now_ms(http);
    }
}
