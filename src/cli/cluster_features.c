/* spate cluster features: the feature level, and what each node knows. */
#include <string.h>

#include "cli/cli.h"
#include "cli/output.h"

static void print_features(struct cli *cli, const json_t *result)
{
    const json_t *nodes = json_object_get(result, "nodes");
    json_int_t level = json_integer_value(json_object_get(result, "level"));
    bool held = json_is_true(json_object_get(result, "held"));
    struct table table = { .columns = 3, .headings = { "NODE", "LEAST", "MOST" } };

    note(cli,
         "feature level %" JSON_INTEGER_FORMAT "%s",
         level,
         held ? ", held: `spate cluster features release` lets it rise" : "");
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);
        table_number(&table, json_integer_value(json_object_get(node, "id")));
        table_number(&table, json_integer_value(json_object_get(node, "least")));
        table_number(&table, json_integer_value(json_object_get(node, "most")));
    }
    table_print(&table);
}

int command_cluster_features(struct cli *cli, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    json_t *params = NULL;
    json_t *result = NULL;

    if (next_option(cli, &parser, argc, argv) != -1) {
        return EXIT_USAGE;
    }
    if (argc - optind > 1) {
        return usage_error(cli, "one of hold and release, or nothing");
    }
    if (optind < argc) {
        if (strcmp(argv[optind], "hold") != 0 && strcmp(argv[optind], "release") != 0) {
            return usage_error(cli, "%s: hold or release", argv[optind]);
        }
        params = json_pack("{s:s}", "action", argv[optind]);
    }
    int code = optind < argc && params == NULL ? tell_failure(cli, SPATE_ERR_NOMEM, NULL)
                                               : connect_client(cli);
    if (code != 0) {
        json_decref(params);
        return code;
    }
    int rv = call_json(cli, "cluster.features", params, &result);
    if (rv != 0) {
        return tell_failure(cli, rv, NULL);
    }
    sort_by_id(json_object_get(result, "nodes"));
    if (cli->json) {
        out_json(result);
        return EXIT_OK;
    }
    print_features(cli, result);
    json_decref(result);
    return EXIT_OK;
}
