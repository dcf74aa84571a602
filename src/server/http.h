/* The HTTP endpoint: a few pages by GET, on a thread of its own.
 *
 *   client -> HTTP thread: a young answer is at hand?  yes: it is given again
 *                |             no: ask, and let the connection wait
 *                v                                      ^
 *             doorbell -> loop: render into a buffer ---' wake-up
 *
 * The loop does nothing but render, at most once for each page in SP_METRICS_AGE_MS; nothing waits
 * for a client there. Clients cost bounded memory: SP_HTTP_CONNECTIONS_MAX connections, each with
 * SP_HTTP_REQUEST_BYTES_MAX for its request and SP_HTTP_REQUEST_MS_MAX until its answer is taken,
 * and SP_HTTP_ANSWERS_BYTES_MAX of answers.
 *
 * Calls on the loop's thread. The simulator does not link it. */
#ifndef SP_SERVER_HTTP_H
#define SP_SERVER_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "io/loop.h"

struct sp_http;

enum sp_http_page {
    SP_HTTP_METRICS,
    SP_HTTP_METRICS_PARTITIONS, /* with those of single partitions */
    SP_HTTP_READY,
    SP_HTTP_STATUS,
    SP_HTTP_PAGES,
};

struct sp_http_handler {
    /* On the loop's thread: the page's text into `out`. *out_good: all is well, else it is sent
     * with 503. Errors: SPATE_ERR_TOO_LARGE, SPATE_ERR_NOMEM, SPATE_ERR_NOT_READY. */
    int (*render)(void *arg, enum sp_http_page page, struct sp_buf *out, bool *out_good);
    /* On the HTTP thread: adds to a page what costs system calls. The same errors. */
    int (*add)(void *arg, enum sp_http_page page, struct sp_buf *out);
    /* On the HTTP thread: for how many milliseconds the loop has not turned. */
    uint64_t (*silent_ms)(void *arg);
};

struct sp_http_options {
    struct sp_loop *loop;
    const char *address;                   /* borrowed until sp_http_open returns */
    const struct sp_http_handler *handler; /* copied */
    void *arg;
    uint32_t idle_s;     /* a connection over which nothing comes; 0: SP_HTTP_IDLE_S_MAX */
    uint32_t request_ms; /* 0: SP_HTTP_REQUEST_MS_MAX */
    uint32_t loop_ms;    /* 0: SP_HTTP_LOOP_MS_MAX */
};

/* Listens and starts the thread. SPATE_ERR_EXISTS: the address is in use; SPATE_ERR_INVALID: it is
 * none of this machine; SPATE_ERR_NOMEM, SPATE_ERR_BUSY, SPATE_ERR_INTERNAL. */
int sp_http_open(const struct sp_http_options *options, struct sp_http **out_http);

/* From now on no answer is given twice, however young: what they say has changed, and for good.
 * NULL is fine. */
void sp_http_answer_anew(struct sp_http *http);

/* Ends the thread and all connections, waiting for it: milliseconds. NULL is fine. */
void sp_http_close(struct sp_http *http);

#endif /* SP_SERVER_HTTP_H */
