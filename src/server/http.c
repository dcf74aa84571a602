/* The thread of the HTTP endpoint, and what it shares with the loop. */
#include "server/http.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/mem.h"
#include "base/trace.h"
#include "io/socket.h"
#include "server/http_parts.h"
#include "spate/error.h"

#define LOOK_MS 500 /* how often connections and old answers are looked at */

uint64_t sp_http_now_ms(const struct sp_http *http)
{
    return sp_loop_now_us(http->options.loop) / 1000;
}

/* ---- asking the loop ------------------------------------------------------------------------- */

/* On the loop's thread. */
static void on_ring(void *arg)
{
    struct sp_http *http = arg;

    for (unsigned i = 0; i < SP_HTTP_PAGES; i++) {
        struct sp_http_ask *ask = &http->pages[i].ask;
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
        int status = http->handler.render(http->options.arg, (enum sp_http_page)i, &text, &good);

        sp_monitor_enter(http->monitor);
        ask->text = text;
        ask->good = good;
        ask->status = status;
        ask->answered = true;
        sp_monitor_leave(http->monitor);
    }
    sp_wakeup_raise(&http->wakeup);
}

void sp_http_ask_loop(struct sp_http *http, enum sp_http_page page)
{
    struct sp_http_ask *ask = &http->pages[page].ask;
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
    struct sp_http_shown *page = &http->pages[index];
    struct sp_http_ask ask;

    sp_monitor_enter(http->monitor);
    ask = page->ask;
    if (ask.answered) {
        page->ask = (struct sp_http_ask){ .open = false };
    }
    sp_monitor_leave(http->monitor);
    if (!ask.answered) {
        return false;
    }
    if (ask.status == 0) {
        ask.status = http->handler.add(http->options.arg, index, &ask.text);
    }
    page->code = ask.good ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
    sp_http_show(http, index, ask.status == 0 ? &ask.text : NULL);
    if (ask.status != 0) {
        sp_buf_deinit(&ask.text);
    }
    return true;
}

/* ---- connections ----------------------------------------------------------------------------- */

static void on_connection(void *arg,
                          struct MHD_Connection *mhd,
                          void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct sp_http *http = arg;
    struct sp_http_connection *connection = *context;

    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        http->closed_some = true;
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
    connection->begun_ms = sp_http_now_ms(http);
    sp_list_append(&http->connections, &connection->node);
    *context = connection;
}

/* Ends connections that are too slow, and drops answers that are too old. */
static void look_after(struct sp_http *http)
{
    uint64_t now = sp_http_now_ms(http);

    SP_LIST_EACH (node, &http->connections) {
        struct sp_http_connection *connection =
            SP_LIST_ENTRY(node, struct sp_http_connection, node);

        if (now - connection->begun_ms > http->options.request_ms) {
            sp_socket_shut(connection->fd);
        }
    }
    for (unsigned i = 0; i < SP_HTTP_PAGES; i++) {
        if (now - http->pages[i].made_ms >= SP_METRICS_AGE_MS) {
            sp_http_forget(&http->pages[i]);
        }
    }
}

static void resume(struct sp_http_request *request)
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
    uint64_t now = sp_http_now_ms(http);

    for (unsigned i = 0; i < SP_HTTP_PAGES; i++) {
        answered[i] = take_answer(http, (enum sp_http_page)i);
    }
    SP_LIST_EACH_SAFE (node, &http->waiting) {
        struct sp_http_request *request = SP_LIST_ENTRY(node, struct sp_http_request, node);

        if (answered[request->page] || stopping ||
            now - request->asked_ms > http->options.loop_ms) {
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

/* libmicrohttpd forgets closed connections at the end of a run, and only the next one accepts those
 * that wait for their places. */
static void run_daemon(struct sp_http *http)
{
    do {
        http->closed_some = false;
        (void)MHD_run(http->daemon); /* fails only for daemons of another kind */
    } while (http->closed_some);
}

static void run(void *arg)
{
    struct sp_http *http = arg;
    int fd = epoll_fd(http->daemon);

    while (!atomic_load(&http->stopping)) {
        sp_wakeup_wait(&http->wakeup, fd, sleep_ms(http));
        resume_waiting(http);
        run_daemon(http);
        look_after(http);
    }
    resume_waiting(http);
    run_daemon(http);
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
                            sp_http_on_request,
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
                            http->options.idle_s,
                            MHD_OPTION_NOTIFY_COMPLETED,
                            sp_http_on_completed,
                            http,
                            MHD_OPTION_NOTIFY_CONNECTION,
                            on_connection,
                            http,
                            MHD_OPTION_END);
}

static int open_parts(struct sp_http *http)
{
    uint16_t port;
    int fd = -1;
    int rv = sp_socket_listen(http->options.loop, http->options.address, &fd, &port);

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
        rv = sp_doorbell_open(http->options.loop, on_ring, http, &http->doorbell);
    }
    return rv == 0 ? sp_thread_start(run, http, &http->thread) : rv;
}

static uint32_t or_default(uint32_t given, uint32_t default_)
{
    return given == 0 ? default_ : given;
}

int sp_http_open(const struct sp_http_options *options, struct sp_http **out_http)
{
    struct sp_http *http = sp_mem_calloc(1, sizeof *http);
    int rv;

    if (http == NULL) {
        return SPATE_ERR_NOMEM;
    }
    http->options = *options;
    http->options.idle_s = or_default(options->idle_s, SP_HTTP_IDLE_S_MAX);
    http->options.request_ms = or_default(options->request_ms, SP_HTTP_REQUEST_MS_MAX);
    http->options.loop_ms = or_default(options->loop_ms, SP_HTTP_LOOP_MS_MAX);
    http->handler = *options->handler;
    http->wakeup.fd = -1;
    atomic_init(&http->stopping, false);
    atomic_init(&http->anew, false);
    sp_list_init(&http->waiting);
    sp_list_init(&http->connections);
    rv = open_parts(http);
    if (rv != 0) {
        sp_http_close(http);
        return rv;
    }
    *out_http = http;
    return 0;
}

void sp_http_answer_anew(struct sp_http *http)
{
    if (http != NULL) {
        atomic_store(&http->anew, true);
    }
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
        sp_http_forget(&http->pages[i]);
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
