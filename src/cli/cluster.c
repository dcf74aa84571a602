/* spate cluster: info and health. */
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/output.h"
#include "cli/when.h"

enum {
    LOOK_EVERY_MS = 250,
    LOOK_TIMEOUT_MS = 2000, /* of one look while watching */
    NAMED_MAX = 20,         /* partitions of one kind that are named; the others are counted */
    REASON_SIZE = 4096,
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
    bool known;  /* some look was answered */
    int failure; /* of the newest look; 0: it was answered */
    char told[REASON_SIZE];
};

/* Adds to a text that is cut at its size. */
static void SP_PRINTF(2, 3) add(char *text, const char *format, ...);

static void add(char *text, const char *format, ...)
{
    size_t used = strlen(text);
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text + used, REASON_SIZE - used, format, arguments);
    va_end(arguments);
}

static void add_partitions(char *text, const char *title, const json_t *partitions)
{
    size_t count = json_array_size(partitions);

    for (size_t i = 0; i < count && i < NAMED_MAX; i++) {
        const json_t *partition = json_array_get(partitions, i);
        const json_t *missing = json_object_get(partition, "missing");
        const char *topic = json_string_value(json_object_get(partition, "topic"));
        add(text,
            "%s: %s/%" JSON_INTEGER_FORMAT,
            title,
            topic != NULL ? topic : "?",
            json_integer_value(json_object_get(partition, "partition")));
        for (size_t j = 0; j < json_array_size(missing); j++) {
            add(text,
                "%s%" JSON_INTEGER_FORMAT,
                j == 0 ? " missing on node " : ",",
                json_integer_value(json_array_get(missing, j)));
        }
        add(text, "\n");
    }
    if (count > NAMED_MAX) {
        add(text, "%s: and %zu more\n", title, count - NAMED_MAX);
    }
}

/* What heals a problem by itself, and what a person types if it does not. */
static void advise(char *text, bool wanted, const char *words)
{
    if (wanted) {
        add(text, "  %s\n", words);
    }
}

/* What concerns the whole cluster, or the node that was asked. */
static void describe_node(const json_t *result, char *text)
{
    json_int_t opening = json_integer_value(json_object_get(result, "replicas_opening"));

    if (json_is_false(json_object_get(result, "controller"))) {
        add(text, "controller: it has no leader, or the asked node has not caught up with it\n");
        advise(text,
               true,
               "elects by itself when a majority of its voters runs: start their nodes; who they "
               "are: spate cluster nodes");
    }
    if (opening > 0) {
        add(text, "replicas still opening on the asked node: %" JSON_INTEGER_FORMAT "\n", opening);
    }
    if (json_is_false(json_object_get(result, "groups"))) {
        add(text, "consumer groups: not ready, their topic is made once all seeds run\n");
    }
}

/* Damage: what is being refilled anywhere, and what stays closed on the asked node. */
static void add_damage(char *text, const json_t *refilling, const json_t *damaged)
{
    for (size_t i = 0; i < json_array_size(refilling); i++) {
        const json_t *row = json_array_get(refilling, i);
        const char *topic = json_string_value(json_object_get(row, "topic"));
        if (topic != NULL && topic[0] == '\0') {
            add(text,
                "refilling: the controller gets a voter on node %" JSON_INTEGER_FORMAT "\n",
                json_integer_value(json_object_get(row, "node")));
            continue;
        }
        add(text,
            "refilling: %s/%" JSON_INTEGER_FORMAT " on node %" JSON_INTEGER_FORMAT
            ", whose replica was damaged or lost; watch it with `spate cluster moves -w`\n",
            topic != NULL ? topic : "?",
            json_integer_value(json_object_get(row, "partition")),
            json_integer_value(json_object_get(row, "node")));
    }
    for (size_t i = 0; i < json_array_size(damaged); i++) {
        const json_t *row = json_array_get(damaged, i);
        const char *topic = json_string_value(json_object_get(row, "topic"));
        const char *reason = json_string_value(json_object_get(row, "reason"));
        if (topic != NULL && topic[0] == '\0') {
            add(text, "damaged on the asked node: its replica of the controller: ");
        } else {
            add(text,
                "damaged on the asked node: %s/%" JSON_INTEGER_FORMAT
                ", replica %" JSON_INTEGER_FORMAT ": ",
                topic != NULL ? topic : "?",
                json_integer_value(json_object_get(row, "partition")),
                json_integer_value(json_object_get(row, "replica")));
        }
        add(text, "%s\n", reason != NULL ? reason : "");
    }
}

/* Warnings: the cluster is healthy all the same. */
static void add_stalled(char *text, const json_t *stalled)
{
    for (size_t i = 0; i < json_array_size(stalled); i++) {
        const json_t *row = json_array_get(stalled, i);
        const char *name = json_string_value(json_object_get(row, "group"));
        add(text,
            "consumer group does not progress: %s, %" JSON_INTEGER_FORMAT " partitions\n",
            name != NULL ? name : "?",
            json_integer_value(json_object_get(row, "partitions")));
    }
}

static void describe(const json_t *result, char *text)
{
    const json_t *down = json_object_get(result, "nodes_down");

    text[0] = '\0';
    add(text, "%s\n", json_is_true(json_object_get(result, "healthy")) ? "healthy" : "unhealthy");
    for (size_t i = 0; i < json_array_size(down); i++) {
        add(text,
            "node down: %" JSON_INTEGER_FORMAT "\n",
            json_integer_value(json_array_get(down, i)));
    }
    advise(text,
           json_array_size(down) > 0,
           "start it: it catches up by itself; if it is away for node.replace.after.ms its "
           "replicas are made anew on others, if there are others; gone for good: spate cluster "
           "remove N");
    add_partitions(text, "leaderless", json_object_get(result, "leaderless"));
    advise(text,
           json_array_size(json_object_get(result, "leaderless")) > 0,
           "elects by itself when a majority of its replicas runs: start their nodes; which: spate "
           "topic describe TOPIC");
    add_partitions(text, "under-replicated", json_object_get(result, "under_replicated"));
    advise(
        text,
        json_array_size(json_object_get(result, "under_replicated")) > 0,
        "catches up by itself while those nodes run; for longer: their disk and trace, and spate "
        "cluster moves");
    add_damage(text, json_object_get(result, "refilling"), json_object_get(result, "damaged"));
    describe_node(result, text);
    add_stalled(text, json_object_get(result, "stalled"));
}

/* Prints what is new since the last look. */
static void print_health(struct health *health, json_t *result)
{
    char text[REASON_SIZE];

    describe(result, text);
    if (strcmp(text, health->told) != 0) {
        memcpy(health->told, text, sizeof text);
        if (!health->cli->json) {
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
