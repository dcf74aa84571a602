/* An HTTP server, a loop that answers it, and sockets that ask. Included once, by one test. */
#ifndef SP_UNIT_SERVED_HTTP_H
#define SP_UNIT_SERVED_HTTP_H

#include "server/http.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/mem.h"
#include "io/doorbell.h"
#include "io/thread.h"
#include "spate/error.h"

#define ANSWER_SIZE 4096

struct fixture {
    struct sp_loop *loop;
    struct sp_http *http;
    struct sp_doorbell *bell;
    uint16_t port;
    bool over; /* the client is done */
    void (*client)(struct fixture *fixture);
    unsigned renders;
    size_t render_bytes; /* of a page; 0: a short text */
    int render_status;
    uint32_t request_ms; /* 0: 2000 */
    bool render_bad;
    uint64_t silent_ms;
    char failed[200]; /* what the client did not like: cmocka's asserts belong to its own thread */
};

#define EXPECT(fixture, condition)                                                                 \
    do {                                                                                           \
        if (!(condition) && (fixture)->failed[0] == '\0') {                                        \
            (void)snprintf(                                                                        \
                (fixture)->failed, sizeof(fixture)->failed, "line %d: %s", __LINE__, #condition);  \
        }                                                                                          \
    } while (0)

/* ---- the endpoint's side --------------------------------------------------------------------- */

static inline int render(void *arg, enum sp_http_page page, struct sp_buf *out, bool *out_good)
{
    struct fixture *fixture = arg;
    char text[64];
    uint8_t *room = NULL;
    int rv;

    fixture->renders += 1;
    *out_good = !fixture->render_bad;
    if (fixture->render_status != 0) {
        return fixture->render_status;
    }
    if (fixture->render_bytes > 0) {
        rv = sp_buf_reserve(out, fixture->render_bytes, &room);
        if (rv == 0) {
            memset(room, 'x', fixture->render_bytes);
            sp_buf_grow(out, fixture->render_bytes);
        }
        return rv;
    }
    (void)snprintf(text, sizeof text, "page %d render %u;", (int)page, fixture->renders);
    return sp_buf_append(out, text, strlen(text));
}

static inline int add(void *arg, enum sp_http_page page, struct sp_buf *out)
{
    const struct fixture *fixture = arg;

    (void)page;
    return fixture->render_bytes > 0 ? 0 : sp_buf_append(out, "added\n", 6);
}

static inline uint64_t silent_ms(void *arg)
{
    const struct fixture *fixture = arg;

    return fixture->silent_ms;
}

static const struct sp_http_handler handler = { render, add, silent_ms };

/* ---- the client's side ----------------------------------------------------------------------- */

static inline int dial(const struct fixture *fixture)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(fixture->port) };
    struct timeval patience = { .tv_sec = 20 };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        abort();
    }
    return fd;
}

static inline bool say(int fd, const char *text)
{
    return send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text);
}

/* Reads until the other side closes, or what fits; the size. */
static inline size_t hear(int fd, char answer[ANSWER_SIZE])
{
    size_t size = 0;
    ssize_t got;

    while (size < ANSWER_SIZE - 1 &&
           (got = recv(fd, answer + size, ANSWER_SIZE - 1 - size, 0)) > 0) {
        size += (size_t)got;
    }
    answer[size] = '\0';
    return size;
}

static inline void get(const struct fixture *fixture, const char *path, char answer[ANSWER_SIZE])
{
    char request[200];
    int fd = dial(fixture);

    (void)snprintf(
        request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path);
    (void)say(fd, request);
    (void)hear(fd, answer);
    (void)close(fd);
}

static inline bool begins(const char *text, const char *beginning)
{
    return strncmp(text, beginning, strlen(beginning)) == 0;
}

/* ---- running --------------------------------------------------------------------------------- */

static uint16_t free_port(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    (void)close(fd);
    return ntohs(address.sin_port);
}

static inline void on_over(void *arg)
{
    struct fixture *fixture = arg;

    fixture->over = true;
}

static inline void run_client(void *arg)
{
    struct fixture *fixture = arg;

    fixture->client(fixture);
    sp_doorbell_ring(fixture->bell);
}

static inline int open_http(struct fixture *fixture, const char *address)
{
    const struct sp_http_options options = { .loop = fixture->loop,
                                             .address = address,
                                             .handler = &handler,
                                             .arg = fixture,
                                             .idle_s = 20,
                                             .request_ms = fixture->request_ms == 0
                                                               ? 2000
                                                               : fixture->request_ms,
                                             .loop_ms = 700 };

    return sp_http_open(&options, &fixture->http);
}

/* Lets `client` talk to the endpoint; `with_loop`: the loop turns meanwhile. */
static inline void
converse(struct fixture *fixture, void (*client)(struct fixture *fixture), bool with_loop)
{
    uint64_t live = sp_mem_live_count();
    struct sp_thread *thread = NULL;
    char address[32];

    fixture->client = client;
    fixture->port = free_port();
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", fixture->port);
    assert_int_equal(sp_loop_new(0, &fixture->loop), 0);
    assert_int_equal(open_http(fixture, address), 0);
    assert_int_equal(sp_doorbell_open(fixture->loop, on_over, fixture, &fixture->bell), 0);
    assert_int_equal(sp_thread_start(run_client, fixture, &thread), 0);
    if (with_loop) {
        assert_true(sp_loop_run_until(
            fixture->loop, &fixture->over, sp_loop_now_ms(fixture->loop) + 60000));
    }
    sp_thread_join(thread);
    sp_http_close(fixture->http);
    sp_doorbell_close(fixture->bell);
    sp_loop_free(fixture->loop);
    assert_string_equal(fixture->failed, "");
    assert_int_equal(sp_mem_live_count(), live);
}

/* ---- clients that behave --------------------------------------------------------------------- */

static inline void ask_for_pages(struct fixture *fixture)
{
    char answer[ANSWER_SIZE];

    get(fixture, "/metrics", answer);
    EXPECT(fixture, begins(answer, "HTTP/1.1 200"));
    EXPECT(fixture, strstr(answer, "page 0 render 1;added\n") != NULL);
    get(fixture, "/metrics?partitions=1", answer);
    EXPECT(fixture, strstr(answer, "page 1 render 2;added\n") != NULL);
    get(fixture, "/readyz", answer);
    EXPECT(fixture, strstr(answer, "page 2 render 3;added\n") != NULL);
    get(fixture, "/status", answer);
    EXPECT(fixture, strstr(answer, "page 3 render 4;added\n") != NULL);
    EXPECT(fixture, strstr(answer, "application/json") != NULL);
    get(fixture, "/healthz", answer);
    EXPECT(fixture, begins(answer, "HTTP/1.1 200"));
    get(fixture, "/metrics/", answer);
    EXPECT(fixture, begins(answer, "HTTP/1.1 404"));
}

#endif /* SP_UNIT_SERVED_HTTP_H */
