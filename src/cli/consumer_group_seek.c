/* spate group seek: moves committed offsets.
 *
 *   what the group has, or -t -> rows -> refused if somebody reads one -> offsets of leaders
 *   -> shown -> group.seek row by row */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/output.h"
#include "cli/value.h"
#include "cli/when.h"

enum {
    TOPICS_MAX = 64,
};

struct seek {
    struct cli *cli;
    const char *name;
    const char *to;
    int64_t at;     /* SPATE_AT_* or ms; -3: `number` counts */
    int64_t number; /* the offset itself */
    const char *topics[TOPICS_MAX];
    size_t topic_count;
    bool dry_run;
    size_t owned;      /* partitions that a member reads: with dry_run alone, else it is refused */
    json_t *described; /* NULL: there is no such group yet */
    json_t *rows;      /* {topic, partition, before, after, error} */
};

#define AT_NUMBER (-3)

/* ---- options --------------------------------------------------------------------------------- */

static int take_to(struct seek *seek, const char *text)
{
    seek->to = text;
    seek->at = AT_NUMBER;
    if (strcmp(text, "start") == 0) {
        seek->at = SPATE_AT_START;
    } else if (strcmp(text, "end") == 0) {
        seek->at = SPATE_AT_END;
    } else if (*text == '@' ? !parse_time(text + 1, &seek->at)
                            : !parse_number(text, 0, INT64_MAX / 2, &seek->number)) {
        return usage_error(
            seek->cli, "--to %s: start, end, an offset or @TIME (ms, @-1h, @2026-01-31)", text);
    }
    return 0;
}

static int take_options(struct seek *seek, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    int option;

    while ((option = next_option(seek->cli, &parser, argc, argv)) != -1) {
        if (option == OPTION_LONG(0)) {
            int code = take_to(seek, optarg);
            if (code != 0) {
                return code;
            }
        } else if (option == 't' && seek->topic_count < TOPICS_MAX) {
            seek->topics[seek->topic_count++] = optarg;
        } else if (option == 't') {
            return usage_error(seek->cli, "-t: at most %d of them", TOPICS_MAX);
        } else if (option == 'n') {
            seek->dry_run = true;
        } else {
            return EXIT_USAGE;
        }
    }
    if (optind + 1 != argc) {
        return usage_error(seek->cli, "one consumer group is needed");
    }
    seek->name = argv[optind];
    return seek->to != NULL ? 0 : usage_error(seek->cli, "--to says where to");
}

/* ---- rows ------------------------------------------------------------------------------------ */

static const json_t *described_row(const struct seek *seek, const char *topic, int64_t partition)
{
    const json_t *rows = json_object_get(seek->described, "partitions");

    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        if (value_number(row, "partition") == partition &&
            strcmp(value_text(row, "topic"), topic) == 0) {
            return row;
        }
    }
    return NULL;
}

/* Adds a partition. An exit code: it is refused when a member reads it, unless nothing will be
 * changed anyway. */
static int add_row(struct seek *seek, const char *topic, int64_t partition)
{
    const json_t *row = described_row(seek, topic, partition);
    const char *owner = json_string_value(json_object_get(row, "owner"));
    int64_t before = row == NULL ? -1 : value_number(row, "committed");

    if (owner != NULL && seek->dry_run) {
        seek->owned += 1;
    } else if (owner != NULL) {
        tell("%s/%" PRId64 " is read by member %s of group %s: stop its members first",
             topic,
             partition,
             owner,
             seek->name);
        return EXIT_FAILED;
    }
    json_t *entry = json_pack("{sssIso}",
                              "topic",
                              topic,
                              "partition",
                              (json_int_t)partition,
                              "before",
                              before < 0 ? json_null() : json_integer(before));
    (void)json_array_append_new(seek->rows, entry);
    return 0;
}

/* Adds the rows of one -t. */
static int add_topic(struct seek *seek, const char *text)
{
    const char *colon = strrchr(text, ':');
    char topic[256];
    int64_t partition = -1;
    uint32_t count = 0;
    int code = 0;

    (void)snprintf(topic, sizeof topic, "%.*s", colon == NULL ? 255 : (int)(colon - text), text);
    if (colon != NULL && !parse_number(colon + 1, 0, INT32_MAX, &partition)) {
        return usage_error(seek->cli, "-t %s: TOPIC or TOPIC:PARTITION", text);
    }
    int rv = spate_topic_partitions(seek->cli->client, topic, &count);
    if (rv != 0) {
        return tell_failure(seek->cli, rv, NULL);
    }
    if (partition >= (int64_t)count) {
        tell("topic %s has %u partition%s, numbered from 0", topic, count, plural(count));
        return EXIT_NOT_FOUND;
    }
    if (partition >= 0) {
        return add_row(seek, topic, partition);
    }
    for (uint32_t i = 0; code == 0 && i < count; i++) {
        code = add_row(seek, topic, i);
    }
    return code;
}

static int add_rows(struct seek *seek)
{
    const json_t *rows = json_object_get(seek->described, "partitions");
    int code = 0;

    for (size_t i = 0; code == 0 && i < seek->topic_count; i++) {
        code = add_topic(seek, seek->topics[i]);
    }
    for (size_t i = 0; seek->topic_count == 0 && code == 0 && i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        code = add_row(seek, value_text(row, "topic"), value_number(row, "partition"));
    }
    return code;
}

/* ---- targets --------------------------------------------------------------------------------- */

/* The offset that a partition's reading shall go on at; a number outside the log becomes its end
 * or start. A SPATE_ERR_* code. */
static int target(const struct seek *seek, const char *topic, uint32_t partition, int64_t *out)
{
    struct spate_client *client = seek->cli->client;
    int64_t start = 0;
    int64_t end = 0;

    if (seek->at != AT_NUMBER) {
        return spate_offsets(client, topic, partition, seek->at, out);
    }
    int rv = spate_offsets(client, topic, partition, SPATE_AT_START, &start);
    if (rv == 0) {
        rv = spate_offsets(client, topic, partition, SPATE_AT_END, &end);
    }
    if (rv != 0) {
        return rv;
    }
    *out = seek->number < start ? start : seek->number > end ? end : seek->number;
    if (*out != seek->number) {
        note(seek->cli,
             "%s/%u holds offsets from %" PRId64 " to %" PRId64 ": %" PRId64 " it is",
             topic,
             partition,
             start,
             end,
             *out);
    }
    return 0;
}

static int find_targets(struct seek *seek)
{
    for (size_t i = 0; i < json_array_size(seek->rows); i++) {
        json_t *row = json_array_get(seek->rows, i);
        int64_t after = 0;
        int rv = target(
            seek, value_text(row, "topic"), (uint32_t)value_number(row, "partition"), &after);
        if (rv != 0) {
            return tell_failure(seek->cli, rv, NULL);
        }
        (void)json_object_set_new(row, "after", json_integer(after));
    }
    return 0;
}

/* ---- doing it -------------------------------------------------------------------------------- */

/* An exit code. What fails is told and noted in its row; the others are done all the same. */
static int apply(struct seek *seek)
{
    size_t failed = 0;
    int code = EXIT_OK;

    for (size_t i = 0; i < json_array_size(seek->rows); i++) {
        json_t *row = json_array_get(seek->rows, i);
        char what[300];
        int rv = call_seen(seek->cli,
                           "group.seek",
                           json_pack("{sssssIsI}",
                                     "group",
                                     seek->name,
                                     "topic",
                                     value_text(row, "topic"),
                                     "partition",
                                     (json_int_t)value_number(row, "partition"),
                                     "to",
                                     (json_int_t)value_number(row, "after")),
                           "stored");
        if (rv == 0) {
            continue;
        }
        (void)snprintf(what,
                       sizeof what,
                       "%s/%" PRId64,
                       value_text(row, "topic"),
                       value_number(row, "partition"));
        failed += 1;
        code = tell_failure(seek->cli, rv, what);
        (void)json_object_set_new(row, "error", json_string(spate_error_name(rv)));
    }
    return failed > 0 && failed < json_array_size(seek->rows) ? EXIT_PARTIAL : code;
}

static void print_rows(const struct seek *seek)
{
    struct table table = { .columns = 4, .headings = { "TOPIC", "PARTITION", "BEFORE", "AFTER" } };

    for (size_t i = 0; i < json_array_size(seek->rows); i++) {
        const json_t *row = json_array_get(seek->rows, i);
        const json_t *before = json_object_get(row, "before");
        const char *error = json_string_value(json_object_get(row, "error"));
        table_text(&table, value_text(row, "topic"));
        table_number(&table, value_number(row, "partition"));
        if (json_is_integer(before)) {
            table_number(&table, json_integer_value(before));
        } else {
            table_text(&table, "-");
        }
        if (error != NULL) {
            table_text(&table, error);
        } else {
            table_number(&table, value_number(row, "after"));
        }
    }
    table_print(&table);
}

static void show(struct seek *seek)
{
    if (seek->cli->json) {
        out_json(json_pack("{sssbsO}",
                           "group",
                           seek->name,
                           "dry_run",
                           seek->dry_run ? 1 : 0,
                           "offsets",
                           seek->rows));
    } else {
        print_rows(seek);
    }
    if (seek->dry_run && !seek->cli->json) {
        note(seek->cli, "nothing was changed: --dry-run");
    }
    if (seek->owned > 0) {
        note(seek->cli,
             "members read %zu of these partitions: without --dry-run that is refused, stop them "
             "first",
             seek->owned);
    }
}

static int run(struct seek *seek)
{
    struct cli *cli = seek->cli;
    int rv =
        call_json(cli, "group.describe", json_pack("{ss}", "group", seek->name), &seek->described);

    if (rv != 0 && (rv != SPATE_ERR_NOT_FOUND || seek->topic_count == 0)) {
        return tell_failure(cli, rv, seek->name);
    }
    if (rv != 0) {
        note(cli, "group %s does not exist yet", seek->name);
    }
    int code = add_rows(seek);
    if (code == 0) {
        code = find_targets(seek);
    }
    if (code != 0) {
        return code;
    }
    if (!seek->dry_run) {
        code = apply(seek);
    }
    show(seek);
    return code;
}

int command_group_seek(struct cli *cli, int argc, char **argv)
{
    struct seek seek = { .cli = cli, .rows = json_array() };
    int code = take_options(&seek, argc, argv);

    if (code == 0) {
        code = connect_client(cli);
    }
    if (code == 0) {
        code = run(&seek);
    }
    json_decref(seek.described);
    json_decref(seek.rows);
    return code;
}
