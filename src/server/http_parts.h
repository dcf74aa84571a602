/* What the files of the HTTP endpoint share.
 *
 *   http.c          the thread, its connections, the question to the loop
 *   http_request.c  one request: what is asked, and its answer
 *
 * `pages[].ask` is shared with the loop's thread, and guarded by the monitor; all else belongs to
 * the HTTP thread while it runs. */
#ifndef SP_SERVER_HTTP_PARTS_H
#define SP_SERVER_HTTP_PARTS_H

#include <microhttpd.h>
#include <stdatomic.h>

#include "base/limits.h"
#include "base/list.h"
#include "io/doorbell.h"
#include "io/thread.h"
#include "server/http.h"

/* A question to the loop. */
struct sp_http_ask {
    bool open; /* the loop has it */
    bool answered;
    struct sp_buf text;
    bool good;
    int status;
};

struct sp_http_shown {
    struct sp_http_ask ask;
    struct MHD_Response *response; /* the last answer, while it is young; or NULL */
    unsigned code;
    uint64_t made_ms;
};

/* A request that waits for the loop, or for nothing more. */
struct sp_http_request {
    struct sp_list node; /* in http->waiting while it waits */
    struct MHD_Connection *connection;
    enum sp_http_page page;
    uint64_t asked_ms;
    bool resumed;
};

struct sp_http_connection {
    struct sp_list node;
    int fd;
    uint64_t begun_ms; /* when it was accepted, or had its last answer */
};

struct sp_http {
    struct sp_http_options options; /* without zeros; `handler` is below */
    struct sp_http_handler handler;
    struct sp_thread *thread;
    struct sp_monitor *monitor;
    struct sp_wakeup wakeup;
    struct sp_doorbell *doorbell;
    atomic_bool stopping;
    atomic_bool anew; /* no answer is given twice */
    struct MHD_Daemon *daemon;
    struct sp_http_shown pages[SP_HTTP_PAGES];
    struct sp_list waiting;     /* struct sp_http_request */
    struct sp_list connections; /* struct sp_http_connection */
    bool closed_some;           /* connections, in this run of libmicrohttpd */
    size_t held_bytes;          /* of all answers that exist */
};

/* Milliseconds of the loop's clock. */
uint64_t sp_http_now_ms(const struct sp_http *http);

/* http.c: lets the loop render a page, unless it has been asked to. */
void sp_http_ask_loop(struct sp_http *http, enum sp_http_page page);

/* http_request.c: the page's answer is `text` from now on, which is taken; NULL: there is none. */
void sp_http_show(struct sp_http *http, enum sp_http_page page, struct sp_buf *text);
void sp_http_forget(struct sp_http_shown *shown);

/* http_request.c: callbacks of libmicrohttpd. */
enum MHD_Result sp_http_on_request(void *arg,
                                   struct MHD_Connection *connection,
                                   const char *path,
                                   const char *method,
                                   const char *version,
                                   const char *body,
                                   size_t *body_size,
                                   void **context);
void sp_http_on_completed(void *arg,
                          struct MHD_Connection *connection,
                          void **context,
                          enum MHD_RequestTerminationCode code);

#endif /* SP_SERVER_HTTP_PARTS_H */
