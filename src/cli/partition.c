/* spate partition move. */
#include <string.h>

#include "cli/cli.h"
#include "cli/output.h"
#include "cli/value.h"
#include "cli/when.h"

enum {
    REPLICAS_MAX = 7,
};

/* "1,2,3" as an array; NULL: it is not that. */
static json_t *parse_nodes(const char *text)
{
    json_t *nodes = json_array();
    char copy[256];
    char *rest = NULL;

    if (strlen(text) >= sizeof copy) {
        json_decref(nodes);
        return NULL;
    }
    memcpy(copy, text, strlen(text) + 1);
    for (char *word = strtok_r(copy, ",", &rest); word != NULL; word = strtok_r(NULL, ",", &rest)) {
        int64_t id = 0;
        if (!parse_number(word, 1, 1023, &id)) {
            json_decref(nodes);
            return NULL;
        }
        (void)json_array_append_new(nodes, json_integer(id));
    }
    if (json_array_size(nodes) < 1 || json_array_size(nodes) > REPLICAS_MAX) {
        json_decref(nodes);
        return NULL;
    }
    return nodes;
}

/* True if the partition has no leader, who would carry a move out; false also if that is not known.
 */
static bool lacks_leader(struct cli *cli, const char *topic, int64_t partition)
{
    json_t *result = NULL;
    bool lacks = false;

    if (call_json(cli, "topic.describe", json_pack("{ss}", "name", topic), &result) != 0) {
        return false;
    }
    const json_t *rows = json_object_get(result, "partitions");
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        lacks = lacks ||
                (value_number(row, "partition") == partition && value_number(row, "leader") < 0);
    }
    json_decref(result);
    return lacks;
}

int command_partition_move(struct cli *cli, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    json_t *result = NULL;
    int64_t partition = 0;

    if (next_option(cli, &parser, argc, argv) != -1) {
        return EXIT_USAGE;
    }
    if (argc - optind != 3) {
        return usage_error(cli, "TOPIC PARTITION NODE,NODE,... are needed");
    }
    if (!parse_number(argv[optind + 1], 0, 9999, &partition)) {
        return usage_error(cli, "%s is no partition", argv[optind + 1]);
    }
    json_t *nodes = parse_nodes(argv[optind + 2]);
    if (nodes == NULL) {
        return usage_error(cli, "%s: 1 to 7 node ids, as 1,2,3", argv[optind + 2]);
    }
    int code = connect_client(cli);
    if (code != 0) {
        json_decref(nodes);
        return code;
    }
    json_t *params = json_pack(
        "{sssIsO}", "topic", argv[optind], "partition", (json_int_t)partition, "replicas", nodes);
    int rv = call_json(cli, "partition.move", params, &result);
    if (rv != 0) {
        json_decref(nodes);
        return tell_failure(cli, rv, argv[optind]);
    }
    json_decref(result);
    if (cli->json) {
        out_json(json_pack("{sssIsO}",
                           "topic",
                           argv[optind],
                           "partition",
                           (json_int_t)partition,
                           "replicas",
                           nodes));
    }
    json_decref(nodes);
    if (lacks_leader(cli, argv[optind], partition)) {
        note(cli,
             "the move is taken down and begins only when the partition has a leader, which it has "
             "not now: see `spate cluster health`");
    } else {
        note(cli, "the move has begun: watch it with `spate cluster moves -w`");
    }
    return EXIT_OK;
}
