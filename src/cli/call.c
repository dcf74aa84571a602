/* spate call, ping, version: the small ones. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/output.h"
#include "cli/when.h"

/* ---- call ------------------------------------------------------------------------------------ */

static int parse_params(struct cli *cli, const char *text, json_t **out_params)
{
    json_error_t error;

    *out_params = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (*out_params == NULL) {
        return usage_error(
            cli, "the parameters are no JSON: %s (column %d)", error.text, error.column);
    }
    if (!json_is_object(*out_params)) {
        json_decref(*out_params);
        return usage_error(cli, "the parameters are one JSON object: {\"name\": value, ...}");
    }
    return 0;
}

int command_call(struct cli *cli, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    json_t *params = NULL;
    json_t *result = NULL;
    int code = 0;

    if (next_option(cli, &parser, argc, argv) != -1) {
        return EXIT_USAGE;
    }
    if (optind == argc || optind + 2 < argc) {
        return usage_error(cli, "a method is needed, and its parameters if it has any");
    }
    if (optind + 1 < argc) {
        code = parse_params(cli, argv[optind + 1], &params);
    }
    if (code == 0) {
        code = connect_client(cli);
        if (code != 0) {
            json_decref(params);
        }
    }
    if (code != 0) {
        return code;
    }
    int rv = call_json(cli, argv[optind], params, &result);
    if (rv != 0) {
        return tell_failure(cli, rv, NULL);
    }
    out_json(result);
    return EXIT_OK;
}

/* ---- ping ------------------------------------------------------------------------------------ */

/* Pings one server with a client of its own, so that no other can answer. A SPATE_ERR_* code. */
static int ping_one(struct cli *cli, const char *server, double *out_ms)
{
    json_t *result = NULL;
    uint64_t begin_us;

    cli->servers = server;
    if (connect_client(cli) != 0) {
        return SPATE_ERR_INVALID;
    }
    int rv = call_json(cli, "ping", NULL, &result); /* connects */
    if (rv != 0) {
        return rv;
    }
    json_decref(result);
    begin_us = clock_us();
    rv = call_json(cli, "ping", NULL, &result);
    *out_ms = (double)(clock_us() - begin_us) / 1000;
    if (rv == 0) {
        json_decref(result);
    }
    return rv;
}

/* Adds a server; why it does not answer goes to stderr as well. */
static void
add_ping(struct cli *cli, struct table *table, json_t *list, const char *server, int rv, double ms)
{
    char text[64];

    if (rv == 0) {
        (void)snprintf(text, sizeof text, "%.2f ms", ms);
        (void)json_array_append_new(list, json_pack("{sssf}", "server", server, "ms", ms));
    } else {
        (void)snprintf(text, sizeof text, "%s", spate_error_name(rv));
        const char *why = cli->client == NULL ? "" : spate_client_error(cli->client);
        json_t *said = json_string(why); /* NULL: a long name in it is cut within a character */
        said = said != NULL ? said : json_string(spate_strerror(rv));
        (void)json_array_append_new(
            list,
            json_pack("{ssssso}", "server", server, "error", spate_error_name(rv), "text", said));
        (void)tell_failure(cli, rv, server);
    }
    table_text(table, server);
    table_text(table, text);
}

int command_ping(struct cli *cli, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    struct table table = { .columns = 2, .headings = { "SERVER", "ANSWER" } };
    const char *at;
    int answered = 0;
    int failed = 0;
    int last = 0;

    if (next_option(cli, &parser, argc, argv) != -1) {
        return EXIT_USAGE;
    }
    at = setting_text(cli, SETTING_SERVERS);
    json_t *list = json_array();
    while (*at != '\0') {
        char server[300];
        double ms = 0;
        size_t size = strcspn(at, ",");
        (void)snprintf(server, sizeof server, "%.*s", (int)size, at);
        at += size + (at[size] == ',' ? 1 : 0);
        int rv = ping_one(cli, server, &ms);
        add_ping(cli, &table, list, server, rv, ms);
        spate_client_free(cli->client);
        cli->client = NULL;
        answered += rv == 0 ? 1 : 0;
        failed += rv != 0 ? 1 : 0;
        last = rv != 0 ? rv : last;
    }
    if (cli->json) {
        out_json(json_pack("{sO}", "servers", list));
    } else {
        table_print(&table);
    }
    table_free(&table);
    json_decref(list);
    if (failed == 0) {
        return EXIT_OK;
    }
    return answered > 0 ? EXIT_PARTIAL : exit_code_of(last);
}

/* ---- version --------------------------------------------------------------------------------- */

int command_version(struct cli *cli, int argc, char **argv)
{
    struct option_parser parser = { 0 };

    if (next_option(cli, &parser, argc, argv) != -1) {
        return EXIT_USAGE;
    }
    if (cli->json) {
        out_json(json_pack("{ss}", "version", spate_version()));
    } else {
        out_text("spate ");
        out_text(spate_version());
        out_text("\n");
        out_flush();
    }
    return EXIT_OK;
}
