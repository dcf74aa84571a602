/* The command's side of the library: configuration, client, messages, exit codes, ^C. */
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/attr.h"
#include "cli/cli.h"
#include "cli/value.h"

enum {
    PARAMS_BYTES_MAX = 16 * 1024 * 1024,
    SEEN_ATTEMPTS_MAX = 100, /* somebody comes between again and again */
    SEEN_PAUSE_MS = 20,
};

/* ---- messages -------------------------------------------------------------------------------- */

SP_PRINTF(1, 0) static void tell_list(const char *format, va_list arguments)
{
    fprintf(stderr, "spate: ");
    (void)vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
}

void tell(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    tell_list(format, arguments);
    va_end(arguments);
}

void note(const struct cli *cli, const char *format, ...)
{
    va_list arguments;

    if (cli->quiet) {
        return;
    }
    va_start(arguments, format);
    tell_list(format, arguments);
    va_end(arguments);
}

int exit_code_of(int code)
{
    switch (code) {
    case 0:
        return EXIT_OK;
    case SPATE_ERR_NOT_FOUND:
    case SPATE_ERR_UNKNOWN_TOPIC:
    case SPATE_ERR_UNKNOWN_PARTITION:
        return EXIT_NOT_FOUND;
    case SPATE_ERR_UNREACHABLE:
        return EXIT_UNREACHABLE;
    case SPATE_ERR_TIMEOUT:
    case SPATE_ERR_LEADER_UNKNOWN: /* waited for, as long as a call may take */
        return EXIT_TIMEOUT;
    case SPATE_ERR_CANCELED:
        return EXIT_INTERRUPTED;
    default:
        return EXIT_FAILED;
    }
}

int tell_failure(const struct cli *cli, int code, const char *what)
{
    return tell_failure_text(
        cli, code, what, cli->client == NULL ? "" : spate_client_error(cli->client));
}

int tell_failure_text(const struct cli *cli, int code, const char *what, const char *text)
{
    tell("%s%s%s%s: %s%s",
         what != NULL ? what : "",
         what != NULL ? ": " : "",
         cli->color ? "\033[31m" : "",
         spate_error_name(code),
         text[0] != '\0' ? text : spate_strerror(code),
         cli->color ? "\033[0m" : "");
    return exit_code_of(code);
}

/* ---- the client ------------------------------------------------------------------------------ */

/* -v: one line per trace on stderr. */
/* A line of the library's log; it may come from a thread of the library. */
static void print_log(void *arg, int level, const char *text)
{
    (void)arg;
    (void)level;
    fprintf(stderr, "spate: %s\n", text);
}

static int make_config(struct cli *cli)
{
    if (cli->config != NULL) {
        return 0;
    }
    cli->config = spate_config_new();
    if (cli->config == NULL) {
        tell("out of memory");
        return EXIT_FAILED;
    }
    settings_configure(cli, cli->config);
    return 0;
}

void configure(struct cli *cli, const char *key, const char *value)
{
    if (make_config(cli) != 0 || spate_config_set(cli->config, key, value) != 0) {
        tell("%s=%s is not a setting", key, value);
        exit(EXIT_USAGE);
    }
}

int connect_client(struct cli *cli)
{
    char timeout[24];

    if (cli->client != NULL) {
        return 0;
    }
    if (make_config(cli) != 0) {
        return EXIT_FAILED;
    }
    if (cli->servers != NULL && spate_config_set(cli->config, "servers", cli->servers) != 0) {
        return usage_error(cli, "-s %s: servers are host:port,host:port", cli->servers);
    }
    configure(cli, "io.thread", cli->threaded ? "on" : "off"); /* as a rule one polls anyway */
    if (cli->timeout_ms > 0) {
        (void)snprintf(timeout, sizeof timeout, "%lld", (long long)cli->timeout_ms);
        if (spate_config_set(cli->config, "timeout.ms", timeout) != 0) {
            return usage_error(cli, "--timeout: between 1ms and 1d");
        }
    }
    if (cli->verbose) {
        spate_config_set_log(cli->config, print_log, NULL);
    }
    int rv = spate_client_new(cli->config, &cli->client);
    return rv == 0 ? 0 : tell_failure(cli, rv, NULL);
}

static int read_result(struct cli *cli, void *result, size_t size, json_t **out_result)
{
    struct sp_cursor cursor;

    (void)cli;
    sp_cursor_init(&cursor, result, size);
    *out_result = value_read(&cursor);
    spate_free(result);
    return *out_result == NULL ? SPATE_ERR_MALFORMED : 0;
}

/* Packs `params` (taken; NULL: an empty object). A SPATE_ERR_* code. */
static int pack_params(json_t *params, struct sp_buf *out)
{
    json_t *object = params != NULL ? params : json_object();
    struct sp_pack pack;

    sp_pack_init(&pack, out);
    value_pack(&pack, object);
    json_decref(object);
    return sp_pack_status(&pack);
}

int call_leader_json(struct cli *cli,
                     const char *topic,
                     uint32_t partition,
                     const char *method,
                     json_t *params,
                     json_t **out_result)
{
    struct sp_buf buf;
    void *result = NULL;
    size_t size = 0;

    sp_buf_init(&buf, PARAMS_BYTES_MAX);
    int rv = pack_params(params, &buf);
    if (rv == 0) {
        rv = spate_call_leader(
            cli->client, topic, partition, method, buf.bytes, buf.size, &result, &size);
    }
    sp_buf_deinit(&buf);
    return rv != 0 ? rv : read_result(cli, result, size, out_result);
}

int call_json(struct cli *cli, const char *method, json_t *params, json_t **out_result)
{
    struct sp_buf buf;
    void *result = NULL;
    size_t size = 0;

    sp_buf_init(&buf, PARAMS_BYTES_MAX);
    int rv = pack_params(params, &buf);
    if (rv == 0) {
        rv = spate_call(cli->client, method, buf.bytes, buf.size, &result, &size);
    }
    sp_buf_deinit(&buf);
    return rv != 0 ? rv : read_result(cli, result, size, out_result);
}

int call_seen(struct cli *cli, const char *method, json_t *params, const char *done)
{
    int64_t seen = 0;
    int rv = SPATE_ERR_BUSY;

    for (unsigned i = 0; i < SEEN_ATTEMPTS_MAX; i++) {
        json_t *result = NULL;
        (void)json_object_set_new(params, "seen", json_integer(seen));
        rv = call_json(cli, method, json_incref(params), &result);
        bool overtaken = rv == 0 && json_is_false(json_object_get(result, done));
        int64_t next = rv == 0 ? value_number(result, "seen") : 0;
        json_decref(result);
        if (!overtaken) {
            break;
        }
        if (next == seen) { /* by what is on its way still */
            (void)poll(NULL, 0, SEEN_PAUSE_MS);
        }
        seen = next;
        rv = SPATE_ERR_BUSY;
    }
    json_decref(params);
    return rv;
}

int call_node(struct cli *cli, const char *address, const char *method, json_t **out_result)
{
    struct spate_client *client = cli->client;
    const char *servers = cli->servers;

    cli->client = NULL;
    cli->servers = address;
    int rv =
        connect_client(cli) == 0 ? call_json(cli, method, NULL, out_result) : SPATE_ERR_INVALID;
    spate_client_free(cli->client);
    cli->client = client;
    cli->servers = servers;
    return rv;
}

/* ---- ^C -------------------------------------------------------------------------------------- */

static volatile sig_atomic_t interrupts_seen;
static volatile sig_atomic_t interrupts_borne = 1;

static void on_interrupt(int number)
{
    (void)number;
    if (interrupts_seen >= interrupts_borne) {
        _exit(EXIT_INTERRUPTED); /* this one does not ask */
    }
    interrupts_seen += 1;
}

void catch_interrupt(void)
{
    struct sigaction action = { .sa_handler = on_interrupt };
    struct sigaction before = { .sa_handler = SIG_DFL };

    (void)sigaction(SIGINT, &action, NULL); /* without SA_RESTART, so that waits end */
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGHUP, NULL, &before);
    if (before.sa_handler != SIG_IGN) { /* else nohup: it is to go on */
        (void)sigaction(SIGHUP, &action, NULL);
    }
}

void bear_interrupts(int count)
{
    interrupts_borne = count;
}

bool interrupted(void)
{
    return interrupts_seen > 0;
}

bool interrupted_again(void)
{
    return interrupts_seen > 1;
}
