/* spate ping: all servers at once, each by a thread of its own.
 *
 *   ask --thread--> called twice: the first call connects, the second one is measured
 *     `-> await_all: until each has ended, or the deadline of all -> rows in the order given */
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/question.h"
#include "io/clock.h"
#include "io/thread.h"

enum {
    SERVER_SIZE = 300,
    TEXT_SIZE = 512,
    TIMEOUT_MS = 30000, /* the library's own, without --timeout */
    GRACE_MS = 200,     /* behind the deadline, for the library's own words about it */
};

struct ping {
    struct question question; /* its client and thread; asked by `ask` */
    char server[SERVER_SIZE];
    bool alive; /* it has answered once */
    bool done;  /* the thread has ended, or never began */
    int status;
    double ms;
    char text[TEXT_SIZE]; /* why it did not answer */
};

/* What the threads and the one that waits for them share. A thread may outlive the wait: then the
 * program ends under it, and nothing of this is given back. */
static struct {
    struct sp_monitor *monitor;
    unsigned count;
    struct ping list[SP_NODES_MAX]; /* as many servers as the library takes */
} pings;

/* ---- asking ---------------------------------------------------------------------------------- */

static int call(struct ping *ping)
{
    json_t *result = NULL;
    int rv = call_json(&ping->question.cli, "ping", NULL, &result);

    json_decref(result);
    return rv;
}

static void ask(void *arg)
{
    struct ping *ping = arg;
    int rv = call(ping);
    uint64_t begin_us = sp_clock_us();

    if (rv == 0) {
        sp_monitor_enter(pings.monitor);
        ping->alive = true;
        sp_monitor_leave(pings.monitor);
        rv = call(ping);
    }
    uint64_t end_us = sp_clock_us();
    sp_monitor_enter(pings.monitor);
    ping->done = true;
    ping->status = rv;
    ping->ms = (double)(end_us - begin_us) / 1000;
    if (rv != 0) { /* the text is this thread's */
        const char *text = spate_client_error(ping->question.cli.client);
        (void)snprintf(ping->text, sizeof ping->text, "%s", text);
    }
    sp_monitor_wake(pings.monitor);
    sp_monitor_leave(pings.monitor);
}

static void begin(struct cli *cli, struct ping *ping)
{
    struct question *question = &ping->question;

    *question = (struct question){ .address = ping->server, .method = "ping" };
    question_prepare(cli, question, cli->timeout_ms);
    int rv = question->cli.client == NULL ? question->status
                                          : sp_thread_start(ask, ping, &question->thread);
    ping->done = rv != 0;
    ping->status = rv;
}

static void begin_all(struct cli *cli)
{
    const char *at = setting_text(cli, SETTING_SERVERS);

    sp_monitor_enter(pings.monitor); /* a thread's answer waits until it is expected */
    while (*at != '\0' && pings.count < SP_NODES_MAX) {
        struct ping *ping = &pings.list[pings.count++];
        size_t size = strcspn(at, ",");
        (void)snprintf(ping->server, sizeof ping->server, "%.*s", (int)size, at);
        at += size + (at[size] == ',' ? 1 : 0);
        begin(cli, ping);
    }
    sp_monitor_leave(pings.monitor);
}

static bool all_done(void)
{
    unsigned done = 0;

    for (unsigned i = 0; i < pings.count; i++) {
        done += pings.list[i].done ? 1 : 0;
    }
    return done == pings.count;
}

/* Until each server has answered or failed: true; or until the time of all is over. */
static bool await_all(int64_t timeout_ms)
{
    uint64_t end_us = sp_clock_us() + (uint64_t)(timeout_ms + GRACE_MS) * 1000;
    uint64_t now_us;

    sp_monitor_enter(pings.monitor);
    while (!all_done() && (now_us = sp_clock_us()) < end_us) {
        sp_monitor_wait(pings.monitor, (end_us - now_us) / 1000 + 1);
    }
    for (unsigned i = 0; i < pings.count; i++) {
        struct ping *ping = &pings.list[i];
        if (!ping->done) { /* what its thread still does is seen by nobody */
            ping->status = SPATE_ERR_TIMEOUT;
            (void)snprintf(ping->text,
                           sizeof ping->text,
                           "%s within %lld ms",
                           ping->alive ? "it answered once, and then no more" : "no answer",
                           (long long)timeout_ms);
        }
    }
    bool ended = all_done();
    sp_monitor_leave(pings.monitor);
    return ended;
}

/* ---- telling --------------------------------------------------------------------------------- */

/* Adds a server; why it does not answer goes to stderr as well. */
static void
add_row(struct cli *cli, struct table *table, json_t *list, const struct ping *ping, int rv)
{
    char text[64];

    if (rv == 0) {
        (void)snprintf(text, sizeof text, "%.2f ms", ping->ms);
        (void)json_array_append_new(list,
                                    json_pack("{sssf}", "server", ping->server, "ms", ping->ms));
    } else {
        const char *name = spate_error_name(rv);
        (void)snprintf(text, sizeof text, "%s", name);
        json_t *said = json_string(ping->text); /* NULL: a long name is cut within a character */
        said = said != NULL ? said : json_string(spate_strerror(rv));
        (void)json_array_append_new(
            list, json_pack("{ssssso}", "server", ping->server, "error", name, "text", said));
        (void)tell_failure_text(cli, rv, ping->server, ping->text);
    }
    table_text(table, ping->server);
    table_text(table, text);
}

static int tell_all(struct cli *cli)
{
    struct table table = { .columns = 2, .headings = { "SERVER", "ANSWER" } };
    json_t *list = json_array();
    unsigned answered = 0;
    int last = 0;

    sp_monitor_enter(pings.monitor);
    for (unsigned i = 0; i < pings.count; i++) {
        int rv = pings.list[i].status;
        add_row(cli, &table, list, &pings.list[i], rv);
        answered += rv == 0 ? 1 : 0;
        last = rv != 0 ? rv : last;
    }
    sp_monitor_leave(pings.monitor);
    if (cli->json) {
        out_json(json_pack("{sO}", "servers", list));
    } else {
        table_print(&table);
    }
    table_free(&table);
    json_decref(list);
    if (last == 0) {
        return EXIT_OK;
    }
    return answered > 0 ? EXIT_PARTIAL : exit_code_of(last);
}

int command_ping(struct cli *cli, int argc, char **argv)
{
    struct option_parser parser = { 0 };

    if (next_option(cli, &parser, argc, argv) != -1) {
        return EXIT_USAGE;
    }
    int rv = sp_monitor_new(&pings.monitor);
    if (rv != 0) {
        return tell_failure(cli, rv, NULL);
    }
    begin_all(cli);
    bool ended = await_all(cli->timeout_ms > 0 ? cli->timeout_ms : TIMEOUT_MS);
    int code = tell_all(cli);
    for (unsigned i = 0; ended && i < pings.count; i++) {
        question_end(&pings.list[i].question);
    }
    if (ended) {
        sp_monitor_free(pings.monitor);
    }
    return code;
}
