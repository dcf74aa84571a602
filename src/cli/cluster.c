/* spate cluster: info and health. */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/health_text.h"
#include "cli/moves.h"
#include "cli/output.h"
#include "cli/value.h"
#include "cli/when.h"

enum {
    LOOK_EVERY_MS = 250,
    LOOK_TIMEOUT_MS = 2000, /* of one look while watching */
};

/* ---- info ------------------------------------------------------------------------------------ */

static void print_info(const json_t *result)
{
    const json_t *nodes = json_object_get(result, "nodes");
    struct table table = {
        .columns = 5,
        .headings = { "NODE", "ADDRESS", "RACK", "ALIVE", "CONTROLLER" },
    };
    json_int_t controller = json_integer_value(json_object_get(result, "controller"));

    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);
        const char *address = json_string_value(json_object_get(node, "address"));
        const char *rack = json_string_value(json_object_get(node, "rack"));
        json_int_t id = json_integer_value(json_object_get(node, "id"));
        table_number(&table, id);
        table_text(&table, address != NULL ? address : "-");
        table_text(&table, rack != NULL && *rack != '\0' ? rack : "-");
        table_text(&table, json_is_false(json_object_get(node, "alive")) ? "no" : "yes");
        table_text(&table, id == controller ? "yes" : "no");
    }
    table_print(&table);
}

int command_cluster_info(struct cli *cli, int argc, char **argv)
{
    json_t *result = NULL;
    int code = ask_method(cli, argc, argv, "cluster.info", &result);

    if (code != 0) {
        return code;
    }
    sort_by_id(json_object_get(result, "nodes"));
    if (cli->json) {
        out_json(result);
        return EXIT_OK;
    }
    const char *id = json_string_value(json_object_get(result, "cluster_id"));
    note(cli, "cluster %s", id != NULL ? id : "(not formed yet)");
    print_info(result);
    json_decref(result);
    return EXIT_OK;
}

/* ---- health ---------------------------------------------------------------------------------- */

struct health {
    struct cli *cli;
    bool watch;
    bool until_healthy;
    bool healthy;
    bool known;                  /* some look was answered */
    int failure;                 /* of the newest look; 0: it was answered */
    char told[HEALTH_TEXT_SIZE]; /* last, without times */
};

static bool is_same_row(const json_t *left, const json_t *right)
{
    return json_equal(json_object_get(left, "topic"), json_object_get(right, "topic")) &&
           json_equal(json_object_get(left, "partition"), json_object_get(right, "partition"));
}

/* Adds what another node says of moves that it leads and that do not progress. */
static void take_stuck(void *arg, const json_t *theirs)
{
    json_t *stuck = json_object_get(arg, "stuck");
    const json_t *rows = json_object_get(theirs, "stuck");

    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_t *row = json_array_get(rows, i);
        size_t place = 0;
        while (place < json_array_size(stuck) && !is_same_row(json_array_get(stuck, place), row)) {
            place += 1;
        }
        if (!value_has_text(row, "step")) {
            continue; /* it does not lead it either */
        }
        if (place < json_array_size(stuck)) {
            (void)json_array_set(stuck, place, row);
        } else {
            (void)json_array_append(stuck, row);
        }
    }
}

/* Only the leader of a partition knows where its move hangs. */
static void ask_about_moves(struct cli *cli, json_t *result)
{
    json_t *moves = NULL;

    if (value_number(result, "moves") == 0 || call_json(cli, "cluster.moves", NULL, &moves) != 0) {
        return;
    }
    ask_move_leaders(cli, json_object_get(moves, "moves"), "cluster.health", take_stuck, result);
    json_decref(moves);
}

/* Prints what is new since the last look. */
static void print_health(struct health *health, json_t *result)
{
    char text[HEALTH_TEXT_SIZE];

    health_text(result, true, text, sizeof text);
    if (strcmp(text, health->told) != 0) {
        memcpy(health->told, text, sizeof text);
        if (!health->cli->json) {
            health_text(result, false, text, sizeof text);
            out_text(text);
            out_flush();
        } else if (health->watch) {
            out_json_line(json_incref(result));
        } else {
            out_json(json_incref(result));
        }
    }
    json_decref(result);
}

static void look(struct health *health)
{
    json_t *result = NULL;
    int rv = call_json(health->cli, "cluster.health", NULL, &result);

    health->failure = rv;
    health->healthy = rv == 0 && json_is_true(json_object_get(result, "healthy"));
    if (rv == 0) {
        health->known = true;
        ask_about_moves(health->cli, result);
        print_health(health, result);
        return;
    }
    const char *text = spate_client_error(health->cli->client);
    if (health->watch && strcmp(text, health->told) != 0) {
        (void)snprintf(health->told, sizeof health->told, "%s", text);
        note(health->cli, "%s: %s", spate_error_name(rv), text);
    }
}

static int health_code(const struct health *health)
{
    if (health->healthy) {
        return EXIT_OK;
    }
    if (health->failure != 0 && !health->known) {
        return tell_failure(health->cli, health->failure, NULL);
    }
    return EXIT_UNHEALTHY;
}

static int watch(struct health *health, int64_t timeout_ms)
{
    uint64_t deadline_us = timeout_ms < 0 ? UINT64_MAX : clock_us() + (uint64_t)timeout_ms * 1000;

    catch_interrupt();
    for (;;) {
        look(health);
        if (interrupted()) {
            return EXIT_INTERRUPTED;
        }
        if ((health->until_healthy && health->healthy) || clock_us() >= deadline_us) {
            return health_code(health);
        }
        (void)poll(NULL, 0, LOOK_EVERY_MS); /* a sleep that ^C ends */
    }
}

int command_cluster_health(struct cli *cli, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    struct health health = { .cli = cli };
    int option;

    while ((option = next_option(cli, &parser, argc, argv)) != -1) {
        if (option == 'w') {
            health.watch = true;
        } else if (option == OPTION_LONG(1)) {
            health.watch = true;
            health.until_healthy = true;
        } else {
            return EXIT_USAGE;
        }
    }
    if (optind != argc) {
        return usage_error(cli, "no arguments are needed");
    }
    int64_t timeout_ms = cli->timeout_ms;
    if (health.watch && (timeout_ms < 0 || timeout_ms > LOOK_TIMEOUT_MS)) {
        cli->timeout_ms = LOOK_TIMEOUT_MS;
    }
    int code = connect_client(cli);
    if (code != 0) {
        return code;
    }
    if (health.watch) {
        return watch(&health, timeout_ms);
    }
    look(&health);
    return health_code(&health);
}
