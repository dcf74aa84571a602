/* topic.describe at the first node --> rows without a replica --> their leaders, all at once
 *                                                                   `-> rows, the rest null */
#include "cli/topic_held.h"

#include <string.h>

#include "base/limits.h"
#include "cli/output.h"
#include "cli/question.h"
#include "cli/value.h"

enum {
    LEADER_TIMEOUT_MS = 2000, /* as of other nodes that a command asks of its own accord */
};

const char *const topic_held_keys[TOPIC_HELD_COUNT] = {
    "log_start", "high_watermark", "size_bytes", "segments"
};

/* The leaders to ask. */
static struct {
    struct question list[SP_NODES_MAX];
    unsigned count;
} leaders;

static bool is_held(const json_t *partition)
{
    return json_object_get(partition, "size_bytes") != NULL;
}

/* The address stays the partition's. */
static void add_leader(const char *topic, const char *address)
{
    for (unsigned i = 0; i < leaders.count; i++) {
        if (strcmp(leaders.list[i].address, address) == 0) {
            return;
        }
    }
    if (leaders.count < SP_NODES_MAX) {
        leaders.list[leaders.count++] =
            (struct question){ .address = address, .method = "topic.describe", .name = topic };
    }
}

static void add_leaders(const char *topic, const json_t *partitions)
{
    leaders.count = 0;
    for (size_t i = 0; i < json_array_size(partitions); i++) {
        const json_t *partition = json_array_get(partitions, i);
        if (!is_held(partition) && value_has_text(partition, "leader_address")) {
            add_leader(topic, value_text(partition, "leader_address"));
        }
    }
}

/* Takes what `answer` says of the partitions that its node leads, in the eyes of the first one. */
static void take(json_t *result, const json_t *answer, const char *address)
{
    json_t *partitions = json_object_get(result, "partitions");
    const json_t *rows = json_object_get(answer, "partitions");

    if (value_number(answer, "id") != value_number(result, "id")) {
        return; /* a namesake, made or deleted meanwhile */
    }
    for (size_t i = 0; i < json_array_size(partitions) && i < json_array_size(rows); i++) {
        json_t *partition = json_array_get(partitions, i);
        const json_t *row = json_array_get(rows, i);
        bool wanted = !is_held(partition) && is_held(row) &&
                      value_number(partition, "partition") == value_number(row, "partition") &&
                      strcmp(value_text(partition, "leader_address"), address) == 0;
        for (size_t k = 0; k < TOPIC_HELD_COUNT && wanted; k++) {
            (void)json_object_set(
                partition, topic_held_keys[k], json_object_get(row, topic_held_keys[k]));
        }
    }
}

static void ask_leaders(const struct cli *cli, json_t *result)
{
    bool hurry = cli->timeout_ms > 0 && cli->timeout_ms < LEADER_TIMEOUT_MS;
    int64_t timeout_ms = hurry ? cli->timeout_ms : LEADER_TIMEOUT_MS;

    for (unsigned i = 0; i < leaders.count; i++) {
        question_prepare(cli, &leaders.list[i], timeout_ms);
    }
    for (unsigned i = 0; i < leaders.count; i++) {
        question_begin(&leaders.list[i]);
    }
    for (unsigned i = 0; i < leaders.count; i++) {
        struct question *question = &leaders.list[i];
        question_end(question);
        if (question->status == 0) {
            take(result, question->answer, question->address);
            json_decref(question->answer);
        }
    }
}

/* What is not known is null, and no 0. How many partitions that concerns. */
static size_t set_unknown(json_t *partitions)
{
    size_t unknown = 0;

    for (size_t i = 0; i < json_array_size(partitions); i++) {
        json_t *partition = json_array_get(partitions, i);
        unknown += is_held(partition) ? 0 : 1;
        for (size_t k = 0; k < TOPIC_HELD_COUNT; k++) {
            if (json_object_get(partition, topic_held_keys[k]) == NULL) {
                (void)json_object_set_new(partition, topic_held_keys[k], json_null());
            }
        }
    }
    return unknown;
}

void topic_held_complete(const struct cli *cli, const char *topic, json_t *result)
{
    json_t *partitions = json_object_get(result, "partitions");
    bool any = false;

    for (size_t i = 0; i < json_array_size(partitions) && !any; i++) {
        any = is_held(json_array_get(partitions, i));
    }
    if (!any) {
        (void)json_object_set_new(result, "size_bytes", json_null());
        (void)json_object_set_new(result, "segments", json_null());
    }
    add_leaders(topic, partitions);
    ask_leaders(cli, result);
    size_t unknown = set_unknown(partitions);
    if (unknown > 0) {
        note(cli,
             "where %zu partition%s begin%s and end%s is not known: the node that was asked has no "
             "replica, and no leader answered it",
             unknown,
             plural((int64_t)unknown),
             unknown == 1 ? "s" : "",
             unknown == 1 ? "s" : "");
    }
}
