/* What lives where: `pages[].ask` is shared, and guarded by the monitor; all else of struct sp_http
 * belongs to the HTTP thread while it runs. */
#include "server/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/trace.h"
#include "io/doorbell.h"
#include "io/socket.h"
#include "io/thread.h"
#include "spate/error.h"

#define SILENT_MS_MAX 10000 /* a loop that has not turned for so long is not alive */
#define IDLE_S_MAX 30       /* a connection over which nothing comes: scrapes are 15 s apart */
#define LOOK_MS 500         /* how often connections and old answers are looked at */

#define TEXT_TYPE "text/plain; charset=utf-8"
#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define JSON_TYPE "application/json"
#define PATHS_TEXT "there are /metrics, /metrics?partitions=1, /healthz, /readyz and /status\n"
#define CANNOT_TEXT                                                                                \
    "the node cannot answer now: its loop is busy, it is stopping, or too many answers wait to "   \
    "be "                                                                                          \
    "taken\n"

/* A question to the loop. */
struct ask {
    bool open; /* the loop has it */
    bool answered;
    struct sp_buf text;
    bool good;
    int status;
};

struct page {
    struct ask ask;
    struct MHD_Response *response; /* the last answer, while it is young; or NULL */
    unsigned code;
    uint64_t made_ms;
};

/* A request that waits for the loop, or for nothing more. */
struct request {
    struct sp_list node; /* in http->waiting while it waits */
    struct MHD_Connection *connection;
    enum sp_http_page page;
    uint64_t asked_ms;
    bool resumed;
};

struct connection {
    struct sp_list node;
    int fd;
    uint64_t begun_ms; /* when it was accepted, or had its last answer */
};

struct sp_http {
    struct sp_loop *loop;
    struct sp_http_handler handler;
    void *arg;
    struct sp_thread *thread;
    struct sp_monitor *monitor;
    struct sp_wakeup wakeup;
    struct sp_doorbell *doorbell;
    atomic_bool stopping;
    struct MHD_Daemon *daemon;
    struct page pages[SP_HTTP_PAGES];
    struct sp_list waiting;     /* struct request */
    struct sp_list connections; /* struct connection */
    size_t held_bytes;          /* of all answers that exist */
};

static uint64_t now_ms(const struct sp_http *http)
{
    return sp_loop_now_us(http->loop) / 1000;
}

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

static void forget_answer(struct page *page)
{
    if (page->response != NULL) {
        MHD_destroy_response(page->response); /* clients that take it hold it */
        page->response = NULL;
    }
}

/* ---- asking the loop ------------------------------------------------------------------------- */

/* On the loop's thread. */
static void on_ring(void *arg)
{
    struct sp_http *http = arg;

    for (unsigned i = 0; i < SP_HTTP_PAGES; i++) {
        struct ask *ask = &http->pages[i].ask;
        struct sp_buf text;
        bool good = false;
        bool open;

        sp_monitor_enter(http->monitor);
        open = ask->open && !ask->answered;
        sp_monitor_leave(http->monitor);
        if (!open) {
            continue;
        }
        sp_buf_init(&text, SP_HTTP_ANSWER_BYTES_MAX);
        int status = http->handler.render(http->arg, (enum sp_http_page)i, &text, &good);

        sp_monitor_enter(http->monitor);
        ask->text = text;
        ask->good = good;
        ask->status = status;
        ask->answered = true;
        sp_monitor_leave(http->monitor);
    }
    sp_wakeup_raise(&http->wakeup);
}

static void ask_loop(struct sp_http *http, enum sp_http_page page)
{
    struct ask *ask = &http->pages[page].ask;
    bool ring;

    sp_monitor_enter(http->monitor);
    ring = !ask->open;
    ask->open = true;
    sp_monitor_leave(http->monitor);
    if (ring) {
        sp_doorbell_ring(http->doorbell);
    }
}

/* Takes the loop's answer, if there is one, as the page's new one. */
static bool take_answer(struct sp_http *http, enum sp_http_page index)
{
    static const char *const types[SP_HTTP_PAGES] = {
        METRICS_TYPE, METRICS_TYPE, TEXT_TYPE, JSON_TYPE
    };
    struct page *page = &http->pages[index];
    struct ask ask;

    sp_monitor_enter(http->monitor);
    ask = page->ask;
    if (ask.answered) {
        page->ask = (struct ask){ .open = false };
    }
    sp_monitor_leave(http->monitor);
    if (!ask.answered) {
        return false;
    }
    if (ask.status == 0) {
        ask.status = http->handler.add(http->arg, index, &ask.text);
    }
    forget_answer(page);
    page->code = ask.good ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
    page->made_ms = now_ms(http);
    if (ask.status == 0) {
        page->response = response_of(http, &ask.text, types[index]);
    } else {
        sp_buf_deinit(&ask.text);
    }
    return true;
}

/* ---- requests -------------------------------------------------------------------------------- */

static enum MHD_Result answer_health(struct sp_http *http, struct MHD_Connection *connection)
{
    uint64_t silent_ms = http->handler.silent_ms(http->arg);
    char text[100];

    if (silent_ms <= SILENT_MS_MAX) {
        return answer_text(connection, MHD_HTTP_OK, "alive\n");
    }
    (void)snprintf(
        text, sizeof text, "the loop has not turned for %llu ms\n", (unsigned long long)silent_ms);
    return answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, text);
}

static enum MHD_Result answer_page(struct sp_http *http, const struct request *request)
{
    const struct page *page = &http->pages[request->page];

    if (page->response == NULL || page->made_ms < request->asked_ms) {
        return answer_text(request->connection, MHD_HTTP_SERVICE_UNAVAILABLE, CANNOT_TEXT);
    }
    return MHD_queue_response(request->connection, page->code, page->response);
}

static enum MHD_Result ask_for_page(struct sp_http *http, struct request *request)
{
    const struct page *page = &http->pages[request->page];

    request->asked_ms = now_ms(http);
    if (page->response != NULL && request->asked_ms - page->made_ms < SP_METRICS_AGE_MS) {
        return MHD_queue_response(request->connection, page->code, page->response);
    }
    if (http->held_bytes > SP_HTTP_ANSWERS_BYTES_MAX - SP_HTTP_ANSWER_BYTES_MAX ||
        atomic_load(&http->stopping)) {
        return answer_text(request->connection, MHD_HTTP_SERVICE_UNAVAILABLE, CANNOT_TEXT);
    }
    sp_list_append(&http->waiting, &request->node);
    ask_loop(http, request->page);
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

static enum MHD_Result dispatch(struct sp_http *http, struct request *request, const char *path)
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
static enum MHD_Result on_request(void *arg,
                                  struct MHD_Connection *connection,
                                  const char *path,
                                  const char *method,
                                  const char *version,
                                  const char *body,
                                  size_t *body_size,
                                  void **context)
{
    struct request *request = *context;

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

static void on_completed(void *arg,
                         struct MHD_Connection *connection,
                         void **context,
                         enum MHD_RequestTerminationCode code)
{
    const struct sp_http *http = arg;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct request *request = *context;

    (void)code;
    if (request != NULL) {
        sp_list_remove(&request->node);
        sp_mem_free(request);
        *context = NULL;
    }
    if (info != NULL && info->socket_context != NULL) {
        ((struct connection *)info->socket_context)->begun_ms = now_ms(http);
    }
}

/* ---- connections ----------------------------------------------------------------------------- */

static void on_connection(void *arg,
                          struct MHD_Connection *mhd,
                          void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct sp_http *http = arg;
    struct connection *connection = *context;

    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (connection != NULL) {
            sp_list_remove(&connection->node);
            sp_mem_free(connection);
        }
        return;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);

    connection = info == NULL ? NULL : sp_mem_calloc(1, sizeof *connection);
    if (connection == NULL) {
        if (info != NULL) {
            sp_socket_shut(info->connect_fd); /* nobody would look after it */
        }
        return;
    }
    connection->fd = info->connect_fd;
    connection->begun_ms = now_ms(http);
    sp_list_append(&http->connections, &connection->node);
    *context = connection;
}

/* Ends connections that are too slow, and drops answers that are too old. */
static void look_after(struct sp_http *http)
{
    uint64_t now = now_ms(http);

    SP_LIST_EACH (node, &http->connections) {
        struct connection *connection = SP_LIST_ENTRY(node, struct connection, node);

        if (now - connection->begun_ms > SP_HTTP_REQUEST_MS_MAX) {
            sp_socket_shut(connection->fd);
        }
    }
    for (unsigned i = 0; i < SP_HTTP_PAGES; i++) {
        if (now - http->pages[i].made_ms >= SP_METRICS_AGE_MS) {
            forget_answer(&http->pages[i]);
        }
    }
}

static void resume(struct request *request)
{
    sp_list_remove(&request->node);
    request->resumed = true;
    MHD_resume_connection(request->connection);
}

/* Lets those go on who have their answer, or have waited for too long. */
static void resume_waiting(struct sp_http *http)
{
    bool answered[SP_HTTP_PAGES];
    bool stopping = atomic_load(&http->stopping);
    uint64_t now = now_ms(http);

    for (unsigned i = 0; i < SP_HTTP_PAGES; i++) {
        answered[i] = take_answer(http, (enum sp_http_page)i);
    }
    SP_LIST_EACH_SAFE (node, &http->waiting) {
        struct request *request = SP_LIST_ENTRY(node, struct request, node);

        if (answered[request->page] || stopping || now - request->asked_ms > SP_HTTP_LOOP_MS_MAX) {
            resume(request);
        }
    }
}

/* ---- the thread ------------------------------------------------------------------------------ */

static int epoll_fd(struct MHD_Daemon *daemon)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD);

    return info == NULL ? -1 : info->epoll_fd;
}

static int sleep_ms(const struct sp_http *http)
{
    MHD_UNSIGNED_LONG_LONG timeout = 0;
    int bound = sp_list_empty(&http->connections) ? -1 : LOOK_MS;

    for (unsigned i = 0; i < SP_HTTP_PAGES; i++) {
        bound = http->pages[i].response == NULL ? bound : LOOK_MS;
    }
    if (MHD_get_timeout(http->daemon, &timeout) == MHD_YES &&
        (bound < 0 || timeout < (MHD_UNSIGNED_LONG_LONG)bound)) {
        return (int)timeout;
    }
    return bound;
}

static void run(void *arg)
{
    struct sp_http *http = arg;
    int fd = epoll_fd(http->daemon);

    while (!atomic_load(&http->stopping)) {
        sp_wakeup_wait(&http->wakeup, fd, sleep_ms(http));
        resume_waiting(http);
        (void)MHD_run(http->daemon); /* fails only for daemons of another kind */
        look_after(http);
    }
    resume_waiting(http);
    (void)MHD_run(http->daemon); /* as above */
}

/* ---- life ------------------------------------------------------------------------------------ */

static void SP_PRINTF(2, 0) on_log(void *arg, const char *format, va_list arguments)
{
    char text[256];

    (void)arg;
    (void)vsnprintf(text, sizeof text, format, arguments);
    text[strcspn(text, "\n")] = '\0';
    SP_TRACE_DEBUG("http", "libmicrohttpd", "text=\"%s\"", text);
}

static struct MHD_Daemon *start_daemon(struct sp_http *http, int fd)
{
    return MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG,
                            0,
                            NULL,
                            NULL,
                            on_request,
                            http,
                            MHD_OPTION_EXTERNAL_LOGGER,
                            on_log,
                            NULL,
                            MHD_OPTION_LISTEN_SOCKET,
                            fd,
                            MHD_OPTION_CONNECTION_LIMIT,
                            (unsigned)SP_HTTP_CONNECTIONS_MAX,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                            (size_t)SP_HTTP_REQUEST_BYTES_MAX,
                            MHD_OPTION_CONNECTION_TIMEOUT,
                            (unsigned)IDLE_S_MAX,
                            MHD_OPTION_NOTIFY_COMPLETED,
                            on_completed,
                            http,
                            MHD_OPTION_NOTIFY_CONNECTION,
                            on_connection,
                            http,
                            MHD_OPTION_END);
}

static int open_parts(struct sp_http *http, const char *address)
{
    uint16_t port;
    int fd = -1;
    int rv = sp_socket_listen(http->loop, address, &fd, &port);

    if (rv != 0) {
        return rv;
    }
    http->daemon = start_daemon(http, fd);
    if (http->daemon == NULL) {
        (void)close(fd); /* nothing was sent */
        return SPATE_ERR_INTERNAL;
    }
    rv = sp_monitor_new(&http->monitor);
    if (rv == 0) {
        rv = sp_wakeup_open(&http->wakeup);
    }
    if (rv == 0) {
        rv = sp_doorbell_open(http->loop, on_ring, http, &http->doorbell);
    }
    return rv == 0 ? sp_thread_start(run, http, &http->thread) : rv;
}

int sp_http_open(struct sp_loop *loop,
                 const char *address,
                 const struct sp_http_handler *handler,
                 void *arg,
                 struct sp_http **out_http)
{
    struct sp_http *http = sp_mem_calloc(1, sizeof *http);
    int rv;

    if (http == NULL) {
        return SPATE_ERR_NOMEM;
    }
    http->loop = loop;
    http->handler = *handler;
    http->arg = arg;
    http->wakeup.fd = -1;
    atomic_init(&http->stopping, false);
    sp_list_init(&http->waiting);
    sp_list_init(&http->connections);
    rv = open_parts(http, address);
    if (rv != 0) {
        sp_http_close(http);
        return rv;
    }
    *out_http = http;
    return 0;
}

void sp_http_close(struct sp_http *http)
{
    if (http == NULL) {
        return;
    }
    atomic_store(&http->stopping, true);
    if (http->thread != NULL) {
        sp_wakeup_raise(&http->wakeup);
        sp_thread_join(http->thread);
    }
    for (unsigned i = 0; i < SP_HTTP_PAGES; i++) {
        forget_answer(&http->pages[i]);
        sp_buf_deinit(&http->pages[i].ask.text);
    }
    if (http->daemon != NULL) {
        MHD_stop_daemon(http->daemon); /* closes the listening socket, too */
    }
    sp_doorbell_close(http->doorbell);
    sp_wakeup_close(&http->wakeup);
    sp_monitor_free(http->monitor);
    sp_mem_free(http);
}
