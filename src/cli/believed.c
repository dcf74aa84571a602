#include "cli/believed.h"

#include <stdio.h>
#include <string.h>

#include "cli/output.h"
#include "cli/question.h"
#include "cli/value.h"

enum {
    ASKED_MAX = 64,
    NODE_TIMEOUT_MS = 2000, /* of each node, when the first one is not believed */
};

/* Those that are asked when the first answer is not believed. */
struct asked {
    struct question list[ASKED_MAX];
    char addresses[ASKED_MAX][BELIEVED_ADDRESS_SIZE];
    unsigned count;
};

bool believed_follows(const json_t *answer)
{
    const json_t *current = json_object_get(answer, "current");

    return current != NULL ? json_is_true(current)
                           : !json_is_false(json_object_get(answer, "controller"));
}

/* How much a node knows that does not follow: an emptied one knows nobody. */
static size_t knowledge(const json_t *answer)
{
    return json_array_size(json_object_get(answer, "nodes")) +
           json_array_size(json_object_get(answer, "topics")) +
           json_array_size(json_object_get(answer, "groups")) +
           json_array_size(json_object_get(answer, "missing")) +
           json_array_size(json_object_get(json_object_get(answer, "voters"), "nodes"));
}

static bool is_better(const json_t *answer, const json_t *than)
{
    bool follows = believed_follows(answer);

    if (follows != believed_follows(than)) {
        return follows;
    }
    return !follows && knowledge(answer) > knowledge(than);
}

/* ---- whom to ask ----------------------------------------------------------------------------- */

static void add_address(struct asked *asked, const char *method, const char *address, size_t size)
{
    if (size == 0 || size >= BELIEVED_ADDRESS_SIZE || asked->count == ASKED_MAX) {
        return;
    }
    char *copy = asked->addresses[asked->count];
    memcpy(copy, address, size);
    copy[size] = '\0';
    for (unsigned i = 0; i < asked->count; i++) {
        if (strcmp(asked->addresses[i], copy) == 0) {
            return;
        }
    }
    asked->list[asked->count] = (struct question){ .address = copy, .method = method };
    asked->count += 1;
}

static void add_servers(const struct cli *cli, struct asked *asked, const char *method)
{
    const char *at = cli->servers != NULL ? cli->servers : setting_text(cli, SETTING_SERVERS);

    while (*at != '\0') {
        size_t size = strcspn(at, ",");
        add_address(asked, method, at, size);
        at += size + (at[size] == ',' ? 1 : 0);
    }
}

static void add_known(struct cli *cli, struct asked *asked, const char *method)
{
    json_t *info = NULL;

    if (call_json(cli, "cluster.info", NULL, &info) != 0) {
        return;
    }
    const json_t *nodes = json_object_get(info, "nodes");
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *row = json_array_get(nodes, i);
        if (value_has_text(row, "address")) {
            const char *address = value_text(row, "address");
            add_address(asked, method, address, strlen(address));
        }
    }
    json_decref(info);
}

/* ---- asking ---------------------------------------------------------------------------------- */

static void doubt(struct believed *believed, const json_t *answer)
{
    int64_t node = value_number(answer, "node");

    if (node <= 0 || believed_follows(answer)) {
        return;
    }
    for (size_t i = 0; i < json_array_size(believed->doubted); i++) {
        if (json_integer_value(json_array_get(believed->doubted, i)) == node) {
            return;
        }
    }
    (void)json_array_append_new(believed->doubted, json_integer(node));
}

static void take(struct believed *believed, struct question *question)
{
    question_end(question);
    if (question->status != 0) {
        return;
    }
    doubt(believed, question->answer);
    if (is_better(question->answer, believed->result)) {
        json_decref(believed->result);
        believed->result = json_incref(question->answer);
        (void)snprintf(believed->address, sizeof believed->address, "%s", question->address);
    }
    json_decref(question->answer);
}

static void
ask_others(struct cli *cli, const char *method, int64_t timeout_ms, struct believed *believed)
{
    static struct asked asked; /* too large for a stack; nobody else asks meanwhile */

    asked.count = 0;
    add_servers(cli, &asked, method);
    add_known(cli, &asked, method);
    for (unsigned i = 0; i < asked.count; i++) {
        question_prepare(cli, &asked.list[i], timeout_ms);
    }
    for (unsigned i = 0; i < asked.count; i++) {
        question_begin(&asked.list[i]);
    }
    for (unsigned i = 0; i < asked.count; i++) {
        take(believed, &asked.list[i]);
    }
}

int believed_ask(struct cli *cli, const char *method, int64_t timeout_ms, struct believed *out)
{
    *out = (struct believed){ .result = NULL };
    int rv = call_json(cli, method, NULL, &out->result);

    if (rv != 0) {
        return rv;
    }
    out->doubted = json_array();
    if (!believed_follows(out->result)) {
        doubt(out, out->result);
        ask_others(cli, method, timeout_ms, out);
    }
    return 0;
}

int believed_ask_again(struct cli *cli,
                       const struct believed *believed,
                       const char *method,
                       json_t **out_result)
{
    return believed->address[0] == '\0' ? call_json(cli, method, NULL, out_result)
                                        : call_node(cli, believed->address, method, out_result);
}

void believed_tell_outdated(const struct cli *cli, const json_t *result)
{
    if (json_is_false(json_object_get(result, "current"))) {
        note(cli,
             knowledge(result) > 0
                 ? "no node that answered follows the controller: this is what one of them knew "
                   "last; start the voters"
                 : "no node that answered follows the controller, or knows anything of the "
                   "cluster: start the voters");
    }
}

int believed_ask_told(struct cli *cli, const char *method, json_t **out_result)
{
    struct believed believed;
    int rv = believed_ask(cli, method, NODE_TIMEOUT_MS, &believed);

    if (rv != 0) {
        return tell_failure(cli, rv, NULL);
    }
    believed_tell_outdated(cli, believed.result);
    json_decref(believed.doubted);
    *out_result = believed.result;
    return 0;
}

int ask_method(struct cli *cli, int argc, char **argv, const char *method, json_t **out_result)
{
    struct option_parser parser = { 0 };

    if (next_option(cli, &parser, argc, argv) != -1) {
        return EXIT_USAGE;
    }
    if (optind != argc) {
        return usage_error(cli, "no arguments are needed");
    }
    int code = connect_client(cli);
    return code != 0 ? code : believed_ask_told(cli, method, out_result);
}

int ask_nodes(struct cli *cli, int argc, char **argv, const char *method, json_t **out_result)
{
    json_t *result = NULL;
    int code = ask_method(cli, argc, argv, method, &result);

    if (code != 0) {
        return code;
    }
    sort_by_id(json_object_get(result, "nodes"));
    if (cli->json) {
        out_json(result);
    } else {
        *out_result = result;
    }
    return 0;
}
