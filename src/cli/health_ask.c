#include "cli/health_ask.h"

#include <poll.h>

#include "base/limits.h"
#include "cli/believed.h"
#include "cli/health_merge.h"
#include "cli/question.h"
#include "cli/value.h"
#include "io/clock.h"

enum {
    AGREE_LOOKS_MAX = 4, /* besides the first one: they take a second together */
    AGREE_PAUSE_MS = 250,
    ASK_MS_MIN = 200,
    ASK_MS_MAX = 2000, /* a node that hangs does not keep the others' answers back for longer */
};

struct questions {
    struct question list[SP_NODES_MAX];
    unsigned count;
};

static void end(struct question *question, struct health_merge *merge)
{
    question_end(question);
    if (question->status == 0) {
        health_merge_add(merge, question->node, question->answer);
        json_decref(question->answer);
    } else {
        health_merge_silent(merge, question->node, question->address);
    }
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
    bool believed = believed_follows(result);

    for (size_t i = 0; i < json_array_size(nodes) && questions->count < SP_NODES_MAX; i++) {
        const json_t *row = json_array_get(nodes, i);
        int64_t node = value_number(row, "id");
        if (node == value_number(result, "node") || !value_has_text(row, "address") ||
            (believed && is_down(result, node))) {
            continue;
        }
        questions->list[questions->count++] = (struct question){
            .node = node,
            .address = value_text(row, "address"),
            .method = "cluster.health",
        };
    }
}

/* What is left of the timeout for the others. */
static int64_t rest_ms(const struct cli *cli, uint64_t begun_us)
{
    int64_t spent_ms = (int64_t)((sp_clock_us() - begun_us) / 1000);
    int64_t left_ms = cli->timeout_ms < 0 ? ASK_MS_MAX : cli->timeout_ms - spent_ms;

    return left_ms < ASK_MS_MIN ? ASK_MS_MIN : left_ms > ASK_MS_MAX ? ASK_MS_MAX : left_ms;
}

/* Everybody else that the result's node knows. */
static void merge_others(struct cli *cli, const json_t *info, uint64_t begun_us, json_t *result)
{
    struct questions questions = { .count = 0 };
    struct health_merge merge;

    find_others(info, result, &questions);
    int64_t timeout_ms = rest_ms(cli, begun_us);
    for (unsigned i = 0; i < questions.count; i++) {
        question_prepare(cli, &questions.list[i], timeout_ms);
    }
    for (unsigned i = 0; i < questions.count; i++) {
        question_begin(&questions.list[i]);
    }
    health_merge_begin(&merge, result);
    for (unsigned i = 0; i < questions.count; i++) {
        end(&questions.list[i], &merge);
    }
    health_merge_end(&merge);
}

/* Every node once. */
static int look(struct cli *cli, uint64_t begun_us, json_t **out_result)
{
    struct believed believed;
    json_t *info = NULL;
    int rv = believed_ask(cli, "cluster.health", rest_ms(cli, begun_us), &believed);

    if (rv == 0) {
        rv = believed_ask_again(cli, &believed, "cluster.info", &info);
    }
    if (rv == 0) {
        bool doubts = believed_follows(believed.result);
        (void)json_object_set_new(
            believed.result, "not_believed", doubts ? json_incref(believed.doubted) : json_array());
        merge_others(cli, info, begun_us, believed.result);
        *out_result = json_incref(believed.result);
    }
    json_decref(info);
    json_decref(believed.result);
    json_decref(believed.doubted);
    return rv;
}

/* News of a leader that has changed spread within a second, and until then nodes disagree about
 * what is over already: that is looked at again. */
int health_ask_all(struct cli *cli, json_t **out_result)
{
    uint64_t begun_us = sp_clock_us();
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
