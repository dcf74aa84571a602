/* spate topic: create, list, describe, delete. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/quantity.h"
#include "cli/believed.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/several.h"
#include "cli/topic_config.h"
#include "cli/topic_held.h"
#include "cli/value.h"
#include "cli/when.h"

/* ---- create ---------------------------------------------------------------------------------- */

struct create {
    int64_t partitions; /* 0: the cluster's default */
    int64_t replicas;
    bool if_not_exists;
    struct topic_settings settings;
};

static int take_create_options(struct cli *cli, struct create *create, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    int option;

    while ((option = next_option(cli, &parser, argc, argv)) != -1) {
        switch (option) {
        case 'p':
            if (!parse_number(optarg, 1, 10000, &create->partitions)) {
                return usage_error(cli, "-p %s: 1 to 10000 partitions", optarg);
            }
            break;
        case 'r':
            if (!parse_number(optarg, 1, 7, &create->replicas)) {
                return usage_error(cli, "-r %s: 1 to 7 replicas", optarg);
            }
            break;
        case OPTION_LONG(2):
            create->if_not_exists = true;
            break;
        case 'c':
            if (take_topic_setting(cli, "-c", optarg, &create->settings) != 0) {
                return EXIT_USAGE;
            }
            break;
        default:
            return EXIT_USAGE;
        }
    }
    return optind < argc ? 0 : usage_error(cli, "a name is needed");
}

int command_topic_create(struct cli *cli, int argc, char **argv)
{
    struct create create = { 0 };
    int code = take_create_options(cli, &create, argc, argv);

    if (code == 0) {
        code = connect_client(cli);
    }
    if (code != 0) {
        return code;
    }
    struct tally tally = { 0 };
    for (int i = optind; i < argc; i++) {
        int rv = spate_topic_create_with(cli->client,
                                         argv[i],
                                         (uint32_t)create.partitions,
                                         (uint32_t)create.replicas,
                                         create.settings.list,
                                         create.settings.count);
        if (rv == SPATE_ERR_EXISTS && create.if_not_exists) {
            note(cli, "topic %s exists already", argv[i]);
            rv = 0;
        } else if (rv == 0) {
            note(cli, "topic %s created", argv[i]);
        }
        tally_add(cli, &tally, argv[i], rv);
    }
    return tally_end(cli, &tally, "topics");
}

/* ---- delete ---------------------------------------------------------------------------------- */

int command_topic_delete(struct cli *cli, int argc, char **argv)
{
    int code = begin_deletion(cli, argc, argv, "all records");

    if (code != 0) {
        return code;
    }
    struct tally tally = { 0 };
    for (int i = optind; i < argc; i++) {
        int rv = spate_topic_delete(cli->client, argv[i]);
        if (rv == 0) {
            note(cli, "topic %s deleted", argv[i]);
        }
        tally_add(cli, &tally, argv[i], rv);
    }
    return tally_end(cli, &tally, "topics");
}

/* ---- list ------------------------------------------------------------------------------------ */

static void print_topics(const json_t *result)
{
    const json_t *topics = json_object_get(result, "topics");
    struct table table = { .columns = 4, .headings = { "NAME", "PARTITIONS", "REPLICAS", "ID" } };

    for (size_t i = 0; i < json_array_size(topics); i++) {
        const json_t *topic = json_array_get(topics, i);
        table_text(&table, value_text(topic, "name"));
        table_number(&table, value_number(topic, "partitions"));
        table_number(&table, value_number(topic, "replicas"));
        table_number(&table, value_number(topic, "id"));
    }
    table_print(&table);
}

int command_topic_list(struct cli *cli, int argc, char **argv)
{
    json_t *result = NULL;
    int code = ask_method(cli, argc, argv, "topic.list", &result);

    if (code != 0) {
        return code;
    }
    if (cli->json) {
        out_json(result);
        return EXIT_OK;
    }
    print_topics(result);
    json_decref(result);
    return EXIT_OK;
}

/* ---- describe -------------------------------------------------------------------------------- */

static void replicas_text(const json_t *replicas, char *text, size_t size)
{
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < json_array_size(replicas) && used + 16 < size; i++) {
        int added = snprintf(text + used,
                             size - used,
                             "%s%" JSON_INTEGER_FORMAT,
                             i == 0 ? "" : ",",
                             json_integer_value(json_array_get(replicas, i)));
        used += added > 0 ? (size_t)added : 0;
    }
}

static void print_leader(struct table *table, const json_t *partition)
{
    if (json_is_integer(json_object_get(partition, "leader")) &&
        value_number(partition, "leader") >= 0) {
        table_number(table, value_number(partition, "leader"));
    } else {
        table_text(table, "none");
    }
}

static void print_held(struct table *table, const json_t *value)
{
    if (json_is_integer(value)) {
        table_number(table, json_integer_value(value));
    } else {
        table_text(table, "-");
    }
}

static void print_partitions(const json_t *result)
{
    const json_t *partitions = json_object_get(result, "partitions");
    struct table table = {
        .columns = 9,
        .headings = { "PARTITION",
                      "LEADER",
                      "ADDRESS",
                      "EPOCH",
                      "REPLICAS",
                      "START",
                      "END",
                      "BYTES",
                      "SEGMENTS" },
    };

    for (size_t i = 0; i < json_array_size(partitions); i++) {
        const json_t *partition = json_array_get(partitions, i);
        char replicas[128];
        table_number(&table, value_number(partition, "partition"));
        print_leader(&table, partition);
        table_text(&table, value_text(partition, "leader_address"));
        table_number(&table, value_number(partition, "epoch"));
        replicas_text(json_object_get(partition, "replicas"), replicas, sizeof replicas);
        table_text(&table, replicas);
        for (size_t k = 0; k < TOPIC_HELD_COUNT; k++) {
            print_held(&table, json_object_get(partition, topic_held_keys[k]));
        }
    }
    table_print(&table);
}

/* Which directory of each node holds a replica: of an older node that is not known. */
static void print_directories(const json_t *result)
{
    const json_t *partitions = json_object_get(result, "partitions");
    struct table table = { .columns = 4,
                           .headings = { "PARTITION", "NODE", "REPLICA", "DIRECTORY" } };

    for (size_t i = 0; i < json_array_size(partitions); i++) {
        const json_t *partition = json_array_get(partitions, i);
        const json_t *nodes = json_object_get(partition, "replicas");
        const json_t *ids = json_object_get(partition, "replica_ids");
        for (size_t k = 0; k < json_array_size(nodes) && k < json_array_size(ids); k++) {
            json_int_t id = json_integer_value(json_array_get(ids, k));
            char directory[64];
            (void)snprintf(directory,
                           sizeof directory,
                           "replicas/%" PRId64 ".%" JSON_INTEGER_FORMAT,
                           value_number(partition, "raft_group"),
                           id);
            table_number(&table, value_number(partition, "partition"));
            table_number(&table, json_integer_value(json_array_get(nodes, k)));
            table_number(&table, id);
            table_text(&table, directory);
        }
    }
    table_print(&table);
}

/* A number with its unit: "7d". */
static const char *meaning(const char *key, const char *value, char text[SP_QUANTITY_TEXT_SIZE])
{
    int64_t number = 0;

    if (value == NULL || !parse_number(value, INT64_MIN / 2, INT64_MAX, &number)) {
        return "-";
    }
    if (number < 0) {
        return "no limit";
    }
    return sp_quantity_print(sp_quantity_of(key), number, text) ? text : "-";
}

static void print_settings(const json_t *result)
{
    char text[SP_QUANTITY_TEXT_SIZE];
    const json_t *sources = json_object_get(result, "sources");
    struct table table = { .columns = 4, .headings = { "SETTING", "VALUE", "SOURCE", "MEANS" } };
    const char *key = NULL;
    json_t *value = NULL;

    json_object_foreach(json_object_get(result, "config"), key, value)
    {
        table_text(&table, key);
        table_text(&table, json_string_value(value));
        table_text(&table, value_text(sources, key));
        table_text(&table, meaning(key, json_string_value(value), text));
    }
    table_print(&table);
}

int command_topic_describe(struct cli *cli, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    json_t *result = NULL;

    if (next_option(cli, &parser, argc, argv) != -1) {
        return EXIT_USAGE;
    }
    if (optind + 1 != argc) {
        return usage_error(cli, "one name is needed");
    }
    int code = connect_client(cli);
    if (code != 0) {
        return code;
    }
    int rv = call_json(cli, "topic.describe", json_pack("{ss}", "name", argv[optind]), &result);
    if (rv != 0) {
        return tell_failure(cli, rv, NULL);
    }
    topic_held_complete(cli, argv[optind], result);
    if (cli->json) {
        out_json(result);
        return EXIT_OK;
    }
    print_partitions(result);
    if (cli->verbose) {
        print_directories(result);
    }
    print_settings(result);
    json_decref(result);
    return EXIT_OK;
}
