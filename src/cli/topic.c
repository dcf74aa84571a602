/* spate topic: create, list, describe, delete. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/output.h"
#include "cli/when.h"

/* ---- several names in one command ------------------------------------------------------------ */

/* What became of each name, for the exit code and for --json. */
struct tally {
    json_t *results;
    int done;
    int failed;
    int last_code;
};

static void tally_add(struct cli *cli, struct tally *tally, const char *name, int code)
{
    json_t *entry = json_pack("{ss}", "name", name);

    if (code == 0) {
        tally->done += 1;
    } else {
        tally->failed += 1;
        tally->last_code = tell_failure(cli, code, name);
        (void)json_object_set_new(entry, "error", json_string(spate_error_name(code)));
    }
    (void)json_array_append_new(tally->results, entry);
}

static int tally_end(struct cli *cli, struct tally *tally)
{
    if (cli->json) {
        out_json(json_pack("{so}", "topics", tally->results));
    } else {
        json_decref(tally->results);
    }
    if (tally->failed == 0) {
        return EXIT_OK;
    }
    return tally->done > 0 ? EXIT_PARTIAL : tally->last_code;
}

/* ---- create ---------------------------------------------------------------------------------- */

struct create {
    int64_t partitions; /* 0: the cluster's default */
    int64_t replicas;
    bool if_not_exists;
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
    struct tally tally = { .results = json_array() };
    for (int i = optind; i < argc; i++) {
        int rv = spate_topic_create(
            cli->client, argv[i], (uint32_t)create.partitions, (uint32_t)create.replicas);
        if (rv == SPATE_ERR_EXISTS && create.if_not_exists) {
            note(cli, "topic %s exists already", argv[i]);
            rv = 0;
        } else if (rv == 0) {
            note(cli, "topic %s created", argv[i]);
        }
        tally_add(cli, &tally, argv[i], rv);
    }
    return tally_end(cli, &tally);
}

/* ---- delete ---------------------------------------------------------------------------------- */

/* Asks on the terminal; without one, --yes is the only way. */
static int confirm(struct cli *cli, int count, char **names)
{
    char answer[8] = "";

    if (isatty(STDIN_FILENO) != 1) {
        return usage_error(cli, "this deletes all records: add --yes");
    }
    fprintf(stderr, "Delete");
    for (int i = 0; i < count; i++) {
        fprintf(stderr, " %s", names[i]);
    }
    fprintf(stderr, " with all records? [y/N] ");
    if (fgets(answer, sizeof answer, stdin) == NULL || (answer[0] != 'y' && answer[0] != 'Y')) {
        note(cli, "nothing was deleted");
        return EXIT_FAILED;
    }
    return 0;
}

int command_topic_delete(struct cli *cli, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    bool yes = false;
    int option;
    int code = 0;

    while ((option = next_option(cli, &parser, argc, argv)) != -1) {
        if (option != 'y') {
            return EXIT_USAGE;
        }
        yes = true;
    }
    if (optind == argc) {
        return usage_error(cli, "a name is needed");
    }
    if (!yes) {
        code = confirm(cli, argc - optind, argv + optind);
    }
    if (code == 0) {
        code = connect_client(cli);
    }
    if (code != 0) {
        return code;
    }
    struct tally tally = { .results = json_array() };
    for (int i = optind; i < argc; i++) {
        int rv = spate_topic_delete(cli->client, argv[i]);
        if (rv == 0) {
            note(cli, "topic %s deleted", argv[i]);
        }
        tally_add(cli, &tally, argv[i], rv);
    }
    return tally_end(cli, &tally);
}

/* ---- list ------------------------------------------------------------------------------------ */

static int64_t number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "-";
}

static void print_topics(const json_t *result)
{
    const json_t *topics = json_object_get(result, "topics");
    struct table table = { .columns = 4, .headings = { "NAME", "PARTITIONS", "REPLICAS", "ID" } };

    for (size_t i = 0; i < json_array_size(topics); i++) {
        const json_t *topic = json_array_get(topics, i);
        table_text(&table, text_of(topic, "name"));
        table_number(&table, number_of(topic, "partitions"));
        table_number(&table, number_of(topic, "replicas"));
        table_number(&table, number_of(topic, "id"));
    }
    table_print(&table);
}

int command_topic_list(struct cli *cli, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    json_t *result = NULL;

    if (next_option(cli, &parser, argc, argv) != -1) {
        return EXIT_USAGE;
    }
    if (optind != argc) {
        return usage_error(cli, "no arguments are needed");
    }
    int code = connect_client(cli);
    if (code != 0) {
        return code;
    }
    int rv = call_json(cli, "topic.list", NULL, &result);
    if (rv != 0) {
        return tell_failure(cli, rv, NULL);
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
        number_of(partition, "leader") >= 0) {
        table_number(table, number_of(partition, "leader"));
    } else {
        table_text(table, "none");
    }
}

static void print_partitions(const json_t *result)
{
    const json_t *partitions = json_object_get(result, "partitions");
    struct table table = {
        .columns = 7,
        .headings = { "PARTITION", "LEADER", "ADDRESS", "EPOCH", "REPLICAS", "START", "END" },
    };

    for (size_t i = 0; i < json_array_size(partitions); i++) {
        const json_t *partition = json_array_get(partitions, i);
        char replicas[128];
        table_number(&table, number_of(partition, "partition"));
        print_leader(&table, partition);
        table_text(&table, text_of(partition, "leader_address"));
        table_number(&table, number_of(partition, "epoch"));
        replicas_text(json_object_get(partition, "replicas"), replicas, sizeof replicas);
        table_text(&table, replicas);
        table_number(&table, number_of(partition, "log_start"));
        table_number(&table, number_of(partition, "high_watermark"));
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
    if (cli->json) {
        out_json(result);
        return EXIT_OK;
    }
    print_partitions(result);
    json_decref(result);
    return EXIT_OK;
}
