/* spate offsets: where partitions begin and end. */
#include <string.h>

#include "cli/cli.h"
#include "cli/output.h"
#include "cli/when.h"

struct offsets {
    struct cli *cli;
    const char *topic;
    int64_t partition; /* -1: all */
    bool one;          /* `at` is asked for; otherwise both ends */
    int64_t at;
};

static int take_at(struct offsets *offsets, const char *text)
{
    offsets->one = true;
    if (strcmp(text, "start") == 0) {
        offsets->at = SPATE_AT_START;
    } else if (strcmp(text, "end") == 0) {
        offsets->at = SPATE_AT_END;
    } else if (*text != '@' || !parse_time(text + 1, &offsets->at)) {
        return usage_error(
            offsets->cli, "--at %s: start, end or @TIME (ms, @-1h, @2026-01-31)", text);
    }
    return 0;
}

static int take_options(struct offsets *offsets, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    int option;

    while ((option = next_option(offsets->cli, &parser, argc, argv)) != -1) {
        if (option == 'p') {
            if (!parse_number(optarg, 0, 9999, &offsets->partition)) {
                return usage_error(offsets->cli, "-p %s: a number from 0", optarg);
            }
        } else if (option == 'a') {
            int code = take_at(offsets, optarg);
            if (code != 0) {
                return code;
            }
        } else if (option_is(offsets->cli, option, "linearizable")) {
            int code = setting_set(offsets->cli,
                                   setting_find("linearizable"),
                                   "on",
                                   SETTING_FROM_FLAG,
                                   "--linearizable");
            if (code != 0) {
                return code;
            }
        } else {
            return EXIT_USAGE;
        }
    }
    if (optind + 1 != argc) {
        return usage_error(offsets->cli, "one topic is needed");
    }
    offsets->topic = argv[optind];
    return 0;
}

/* Asks for one partition and adds it to both forms of output. A SPATE_ERR_* code. */
static int ask(struct offsets *offsets, uint32_t partition, struct table *table, json_t *list)
{
    struct spate_client *client = offsets->cli->client;
    int64_t first = 0;
    int64_t second = 0;
    int rv = spate_offsets(
        client, offsets->topic, partition, offsets->one ? offsets->at : SPATE_AT_START, &first);

    if (rv == 0 && !offsets->one) {
        rv = spate_offsets(client, offsets->topic, partition, SPATE_AT_END, &second);
    }
    if (rv != 0) {
        return rv;
    }
    table_number(table, partition);
    table_number(table, first);
    json_t *entry = json_pack("{si}", "partition", (int)partition);
    if (offsets->one) {
        (void)json_object_set_new(entry, "offset", json_integer(first));
    } else {
        table_number(table, second);
        (void)json_object_set_new(entry, "start", json_integer(first));
        (void)json_object_set_new(entry, "end", json_integer(second));
    }
    return json_array_append_new(list, entry) == 0 ? 0 : SPATE_ERR_NOMEM;
}

static int run(struct offsets *offsets)
{
    struct cli *cli = offsets->cli;
    struct table table = {
        .columns = offsets->one ? 2 : 3,
        .headings = { "PARTITION", offsets->one ? "OFFSET" : "START", "END" },
    };
    uint32_t count = 0;
    json_t *list = json_array();
    int rv = spate_topic_partitions(cli->client, offsets->topic, &count);
    uint32_t first = offsets->partition >= 0 ? (uint32_t)offsets->partition : 0;
    uint32_t end = offsets->partition >= 0 ? first + 1 : count;

    for (uint32_t i = first; rv == 0 && i < end; i++) {
        rv = ask(offsets, i, &table, list);
    }
    if (rv == 0 && cli->json) {
        out_json(json_pack("{sssO}", "topic", offsets->topic, "partitions", list));
    } else if (rv == 0) {
        table_print(&table);
    }
    table_free(&table);
    json_decref(list);
    return rv == 0 ? EXIT_OK : tell_failure(cli, rv, NULL);
}

int command_offsets(struct cli *cli, int argc, char **argv)
{
    struct offsets offsets = { .cli = cli, .partition = -1 };
    int code = take_options(&offsets, argc, argv);

    if (code == 0) {
        code = connect_client(cli);
    }
    return code == 0 ? run(&offsets) : code;
}
