/* spate cluster: info and health. */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "cli/believed.h"
#include "cli/cli.h"
#include "cli/health_ask.h"
#include "cli/health_text.h"
#include "cli/output.h"
#include "cli/value.h"
#include "cli/when.h"
#include "io/clock.h"

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
    int code = ask_nodes(cli, argc, argv, "cluster.info", &result);

    if (code != 0 || result == NULL) {
        return code;
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
    int64_t node; /* the only one that is asked; 0: all are */
    bool watch;
    bool until_healthy;
    bool healthy;
    bool known;                  /* some look was answered */
    int failure;                 /* of the newest look; 0: it was answered */
    char told[HEALTH_TEXT_SIZE]; /* last, without times */
};

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

/* Why the newest look was not answered. */
static const char *failure_text(const struct health *health)
{
    const char *text = spate_client_error(health->cli->client);

    if (health->node > 0 && health->failure == SPATE_ERR_NOT_FOUND) {
        return "there is no such node: list them with `spate cluster nodes`";
    }
    return health->node > 0 && text[0] == '\0' ? "the node did not answer" : text;
}

static void look(struct health *health)
{
    json_t *result = NULL;
    int rv = health->node > 0 ? health_ask_one(health->cli, health->node, &result)
                              : health_ask_all(health->cli, &result);

    health->failure = rv;
    health->healthy = rv == 0 && json_is_true(json_object_get(result, "healthy"));
    if (rv == 0) {
        health->known = true;
        print_health(health, result);
        return;
    }
    const char *text = failure_text(health);
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
    if (health->failure != 0 && !health->known && health->node > 0) {
        tell("node %lld: %s: %s",
             (long long)health->node,
             spate_error_name(health->failure),
             failure_text(health));
        return exit_code_of(health->failure);
    }
    if (health->failure != 0 && !health->known) {
        return tell_failure(health->cli, health->failure, NULL);
    }
    return EXIT_UNHEALTHY;
}

static int watch(struct health *health, int64_t timeout_ms)
{
    uint64_t deadline_us =
        timeout_ms < 0 ? UINT64_MAX : sp_clock_us() + (uint64_t)timeout_ms * 1000;

    catch_interrupt();
    for (;;) {
        look(health);
        if (interrupted()) {
            return EXIT_INTERRUPTED;
        }
        if ((health->until_healthy && health->healthy) || sp_clock_us() >= deadline_us) {
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
        } else if (option_is(cli, option, "node")) {
            if (!parse_number(optarg, 1, SP_NODE_ID_MAX, &health.node)) {
                return usage_error(cli, "--node %s: the id of a node", optarg);
            }
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
