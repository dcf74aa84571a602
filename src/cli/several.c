/* Several names in one command. */
#include "cli/several.h"

#include <stdio.h>
#include <unistd.h>

#include "cli/output.h"

void tally_add(struct cli *cli, struct tally *tally, const char *name, int code)
{
    if (code != 0) {
        (void)tell_failure(cli, code, name);
    }
    tally_add_told(tally, name, code);
}

void tally_add_told(struct tally *tally, const char *name, int code)
{
    json_t *entry = json_pack("{ss}", "name", name);

    if (tally->results == NULL) {
        tally->results = json_array();
    }
    if (code == 0) {
        tally->done += 1;
    } else {
        tally->failed += 1;
        tally->last_code = exit_code_of(code);
        (void)json_object_set_new(entry, "error", json_string(spate_error_name(code)));
    }
    (void)json_array_append_new(tally->results, entry);
}

int tally_end(struct cli *cli, struct tally *tally, const char *key)
{
    if (cli->json) {
        out_json(json_pack("{sO}", key, tally->results));
    }
    json_decref(tally->results);
    tally->results = NULL;
    if (tally->failed == 0) {
        return EXIT_OK;
    }
    return tally->done > 0 ? EXIT_PARTIAL : tally->last_code;
}

int begin_question(struct cli *cli, const char *consequence)
{
    return isatty(STDIN_FILENO) == 1 ? 0
                                     : usage_error(cli, "this deletes %s: add --yes", consequence);
}

int end_question(struct cli *cli, const char *consequence)
{
    char answer[8] = "";

    fprintf(stderr, " %s? [y/N] ", consequence);
    if (fgets(answer, sizeof answer, stdin) == NULL || (answer[0] != 'y' && answer[0] != 'Y')) {
        note(cli, "nothing was deleted");
        return EXIT_FAILED;
    }
    return 0;
}

static int confirm_deletion(struct cli *cli, const char *consequence, int count, char **names)
{
    int code = begin_question(cli, consequence);

    if (code != 0) {
        return code;
    }
    fprintf(stderr, "Delete");
    for (int i = 0; i < count; i++) {
        fprintf(stderr, " %s", names[i]);
    }
    fprintf(stderr, " with");
    return end_question(cli, consequence);
}

int begin_deletion(struct cli *cli, int argc, char **argv, const char *consequence)
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
        code = confirm_deletion(cli, consequence, argc - optind, argv + optind);
    }
    return code != 0 ? code : connect_client(cli);
}
