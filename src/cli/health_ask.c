#include "cli/health_ask.h"

#include <poll.h>

#include "base/limits.h"
#include "cli/health_merge.h"
#include "cli/value.h"
#include "cli/when.h"
#include "io/thread.h"

enum {
    AGREE_LOOKS_MAX = 4, /* besides the first one: they take a second together */
    AGREE_PAUSE_MS = 250,
    ASK_MS_MIN = 200,
    ASK_MS_MAX = 2000, /* a node that hangs does not keep the others' answers back for longer */
};

/* One question, in a thread of its own. */
struct question {
    struct cli cli; /* with a client of its own, so that no other node can answer */
    int64_t node;
    const char *address;
    struct sp_thread *thread;
    int status;
    json_t *answer;
};

struct questions {
    struct question list[SP_NODES_MAX];
    unsigned count;
};

static void ask(void *arg)
{
    struct question *question = arg;

    question->status = call_json(&question->cli, "cluster.health", NULL, &question->answer);
}

static void prepare(struct cli *cli, struct question *question, int64_t timeout_ms)
{
    question->cli = *cli;
    question->cli.client = NULL;
    question->cli.config = NULL;
    question->cli.servers = question->address;
    question->cli.timeout_ms = timeout_ms;
    question->status = SPATE_ERR_INVALID; /* an address that is none */
    (void)connect_client(&question->cli); /* it has told why not */
}

static void begin(struct question *question)
{
    if (question->cli.client != NULL) {
        question->status = sp_thread_start(ask, question, &question->thread);
    }
}

static void end(struct question *question, struct health_merge *merge)
{
    sp_thread_join(question->thread);
    if (question->status == 0) {
        health_merge_add(merge, question->node, question->answer);
        json_decref(question->answer);
    } else {
        health_merge_silent(merge, question->node, question->address);
    }
    spate_client_free(question->cli.client);
    spate_config_free(question->cli.config);
}

static bool is_down(const json_t *result, int64_t node)
{
    const json_t *down = json_object_get(result, "nodes_down");

    for (size_t i = 0; i < json_array_size(down); i++) {
        if (json_integer_value(json_array_get(down, i)) == node) {
            return true;
        }
    }
    return false;
}

/* All but the one that has answered, and those that are known to be down: a node that is cut off
 * from the controller itself is not believed. */
static void find_others(const json_t *info, const json_t *result, struct questions *questions)
{
    const json_t *nodes = json_object_get(info, "nodes");
    bool believed = json_is_true(json_object_get(result, "controller"));

    for (size_t i = 0; i < json_array_size(nodes) && questions->count < SP_NODES_MAX; i++) {
        const json_t *row = json_array_get(nodes, i);
        int64_t node = value_number(row, "id");
        if (node == value_number(result, "node") || !value_has_text(row, "address") ||
            (believed && is_down(result, node))) {
            continue;
        }
        questions->list[questions->count++] =
            (struct question){ .node = node, .address = value_text(row, "address") };
    }
}

/* What is left of the timeout for the others. */
static int64_t rest_ms(const struct cli *cli, uint64_t begun_us)
{
    int64_t spent_ms = (int64_t)((clock_us() - begun_us) / 1000);
    int64_t left_ms = cli->timeout_ms < 0 ? ASK_MS_MAX : cli->timeout_ms - spent_ms;

    return left_ms < ASK_MS_MIN ? ASK_MS_MIN : left_ms > ASK_MS_MAX ? ASK_MS_MAX : left_ms;
}

/* Every node once. */
static int look(struct cli *cli, uint64_t begun_us, json_t **out_result)
{
    struct questions questions = { .count = 0 };
    struct health_merge merge;
    json_t *result = NULL;
    json_t *info = NULL;
    int rv = call_json(cli, "cluster.health", NULL, &result);

    if (rv == 0) {
        rv = call_json(cli, "cluster.info", NULL, &info);
    }
    if (rv != 0) {
        json_decref(result);
        return rv;
    }
    find_others(info, result, &questions);
    int64_t timeout_ms = rest_ms(cli, begun_us);
    for (unsigned i = 0; i < questions.count; i++) {
        prepare(cli, &questions.list[i], timeout_ms);
    }
    for (unsigned i = 0; i < questions.count; i++) {
        begin(&questions.list[i]);
    }
    health_merge_begin(&merge, result);
    for (unsigned i = 0; i < questions.count; i++) {
        end(&questions.list[i], &merge);
    }
    health_merge_end(&merge);
    json_decref(info);
    *out_result = result;
    return 0;
}

/* News of a leader that has changed spread within a second, and until then nodes disagree about
 * what is over already: that is looked at again. */
int health_ask_all(struct cli *cli, json_t **out_result)
{
    uint64_t begun_us = clock_us();
    json_t *result = NULL;
    int rv = look(cli, begun_us, &result);

    for (unsigned i = 0; rv == 0 && i < AGREE_LOOKS_MAX && !interrupted() &&
                         json_array_size(json_object_get(result, "unhealthy_on")) > 0;
         i++) {
        json_decref(result);
        (void)poll(NULL, 0, AGREE_PAUSE_MS); /* a sleep that ^C ends */
        rv = look(cli, begun_us, &result);
    }
    if (rv == 0) {
        *out_result = result;
    }
    return rv;
}

int health_ask_one(struct cli *cli, int64_t node, json_t **out_result)
{
    json_t *info = NULL;
    int rv = call_json(cli, "cluster.info", NULL, &info);

    if (rv != 0) {
        return rv;
    }
    const json_t *nodes = json_object_get(info, "nodes");
    rv = SPATE_ERR_NOT_FOUND;
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *row = json_array_get(nodes, i);
        if (value_number(row, "id") == node && value_has_text(row, "address")) {
            rv = call_node(cli, value_text(row, "address"), "cluster.health", out_result);
        }
    }
    json_decref(info);
    return rv;
}
