/* spate call, version: the small ones. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/output.h"

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
