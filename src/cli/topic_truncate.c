/* spate topic truncate: gives up the records before an offset or a moment.
 *
 *   --before -> a row per partition: start, end, new start -> shown, or asked about
 *   -> topic.truncate at the leader of each partition that loses something */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/several.h"
#include "cli/value.h"
#include "cli/when.h"

/* A partition: what it has, and where it shall start. */
struct cut {
    uint32_t partition;
    int64_t start;
    int64_t end;
    int64_t log_start;
};

struct truncation {
    struct cli *cli;
    const char *topic;
    int64_t topic_id;   /* the one that was looked at: a namesake made meanwhile is not meant */
    const char *before; /* as typed */
    int64_t partition;  /* -1: all */
    int64_t offset;     /* >= 0, or SPATE_AT_END, or by at_ms */
    int64_t at_ms;      /* -1: by offset */
    bool dry_run;
    bool yes;
    struct cut *cuts;
    uint32_t count;
    int64_t doomed; /* records of all cuts; and how many there are */
    int64_t records;
};

/* ---- options --------------------------------------------------------------------------------- */

static int take_before(struct truncation *truncation, const char *text)
{
    truncation->before = text;
    if (strcmp(text, "end") == 0) {
        truncation->offset = SPATE_AT_END;
    } else if (*text == '@' ? !parse_time(text + 1, &truncation->at_ms)
                            : !parse_number(text, 0, INT64_MAX, &truncation->offset)) {
        return usage_error(
            truncation->cli, "--before %s: an offset, end, or @TIME (ms, @-1h, @2026-01-31)", text);
    }
    return 0;
}

static int take_options(struct truncation *truncation, int argc, char **argv)
{
    struct cli *cli = truncation->cli;
    struct option_parser parser = { 0 };
    int option;
    int code = 0;

    while (code == 0 && (option = next_option(cli, &parser, argc, argv)) != -1) {
        if (option == 'b') {
            code = take_before(truncation, optarg);
        } else if (option == 'p') {
            if (!parse_number(optarg, 0, 9999, &truncation->partition)) {
                code = usage_error(cli, "-p %s: a number from 0", optarg);
            }
        } else if (option == 'n') {
            truncation->dry_run = true;
        } else if (option == 'y') {
            truncation->yes = true;
        } else {
            code = EXIT_USAGE;
        }
    }
    if (code == 0 && (optind + 1 != argc || truncation->before == NULL)) {
        code = usage_error(cli, "one topic and --before WHERE are needed");
    }
    truncation->topic = code == 0 ? argv[optind] : NULL;
    return code;
}

/* ---- sums ------------------------------------------------------------------------------------ */

/* Records from one offset to another. Offsets are what servers say: none, if they go back. */
static int64_t records_between(int64_t from, int64_t to)
{
    if (to <= from) {
        return 0;
    }
    return from < 0 && to > INT64_MAX + from ? INT64_MAX : to - from;
}

static void add_records(int64_t *sum, int64_t from, int64_t to)
{
    int64_t records = records_between(from, to);

    *sum = *sum > INT64_MAX - records ? INT64_MAX : *sum + records;
}

/* ---- the plan -------------------------------------------------------------------------------- */

/* Asks the leader of a partition. 0, or the exit code of what has been told. */
static int plan_one(const struct truncation *truncation, struct cut *cut)
{
    struct cli *cli = truncation->cli;
    struct spate_client *client = cli->client;
    char name[SP_TOPIC_NAME_SIZE_MAX + 16];
    int rv = spate_offsets(client, truncation->topic, cut->partition, SPATE_AT_START, &cut->start);

    (void)snprintf(name, sizeof name, "%s/%u", truncation->topic, cut->partition);
    if (rv == 0) {
        rv = spate_offsets(client, truncation->topic, cut->partition, SPATE_AT_END, &cut->end);
    }
    cut->log_start = truncation->offset == SPATE_AT_END ? cut->end : truncation->offset;
    if (rv == 0 && truncation->at_ms >= 0) {
        rv = spate_offsets(
            client, truncation->topic, cut->partition, truncation->at_ms, &cut->log_start);
    }
    if (rv != 0) {
        return tell_failure(cli, rv, name);
    }
    if (truncation->at_ms < 0 && cut->log_start > cut->end) {
        tell("%s: OFFSET_OUT_OF_RANGE: offset %" PRId64 " is above its end, %" PRId64,
             name,
             cut->log_start,
             cut->end);
        return exit_code_of(SPATE_ERR_OFFSET_OUT_OF_RANGE);
    }
    cut->log_start = cut->log_start < cut->start ? cut->start : cut->log_start;
    return 0;
}

/* A SPATE_ERR_* code. */
static int find_id(struct truncation *truncation)
{
    json_t *result = NULL;
    json_t *params = json_pack("{s[s]}", "topics", truncation->topic);
    int rv = call_json(truncation->cli, "metadata", params, &result);

    if (rv == 0) {
        const json_t *topic = json_array_get(json_object_get(result, "topics"), 0);
        truncation->topic_id = topic == NULL ? -1 : value_number(topic, "id");
        json_decref(result);
    }
    return rv;
}

/* All partitions are looked at before the first one loses a record: each has a leader that answers,
 * and the offset. */
static int plan(struct truncation *truncation)
{
    struct cli *cli = truncation->cli;
    bool all = truncation->partition < 0;
    uint32_t count = 0;
    int rv = spate_topic_partitions(cli->client, truncation->topic, &count);
    int code = 0;

    rv = rv == 0 ? find_id(truncation) : rv;
    if (rv != 0) {
        return tell_failure(cli, rv, truncation->topic);
    }
    truncation->count = all ? count : 1;
    truncation->cuts = calloc(truncation->count, sizeof *truncation->cuts);
    if (truncation->cuts == NULL) {
        return tell_failure(cli, SPATE_ERR_NOMEM, truncation->topic);
    }
    for (uint32_t i = 0; code == 0 && i < truncation->count; i++) {
        struct cut *cut = &truncation->cuts[i];
        cut->partition = all ? i : (uint32_t)truncation->partition;
        code = plan_one(truncation, cut);
        add_records(&truncation->doomed, cut->start, cut->log_start);
        add_records(&truncation->records, cut->start, cut->end);
    }
    if (code != 0) {
        tell("nothing was truncated");
    }
    return code;
}

/* ---- doing it -------------------------------------------------------------------------------- */

/* "3 of 10 records of orders" */
static void summary(const struct truncation *truncation, char *room, size_t size)
{
    bool all = truncation->doomed > 0 && truncation->doomed == truncation->records;

    (void)snprintf(room,
                   size,
                   "%" PRId64 " of %" PRId64 " record%s of %s%s",
                   truncation->doomed,
                   truncation->records,
                   plural(truncation->records),
                   truncation->topic,
                   all ? ", all there are" : "");
}

static int confirm(const struct truncation *truncation)
{
    char consequence[SP_TOPIC_NAME_SIZE_MAX + 80];

    summary(truncation, consequence, sizeof consequence);
    int code = begin_question(truncation->cli, consequence);
    if (code != 0) {
        return code;
    }
    fprintf(stderr, "Delete");
    return end_question(truncation->cli, consequence);
}

/* A SPATE_ERR_* code. */
static int truncate_one(const struct truncation *truncation, struct cut *cut)
{
    json_t *result = NULL;
    json_t *params = json_pack("{sssIsIsI}",
                               "topic",
                               truncation->topic,
                               "topic_id",
                               (json_int_t)truncation->topic_id,
                               "partition",
                               (json_int_t)cut->partition,
                               "before",
                               (json_int_t)cut->log_start);
    int rv = call_leader_json(
        truncation->cli, truncation->topic, cut->partition, "topic.truncate", params, &result);

    if (rv != 0) {
        return rv;
    }
    cut->log_start = value_number(result, "log_start"); /* retention may have been further */
    json_decref(result);
    note(truncation->cli,
         "%s/%u starts at %" PRId64 ": %" PRId64 " record%s deleted",
         truncation->topic,
         cut->partition,
         cut->log_start,
         records_between(cut->start, cut->log_start),
         plural(records_between(cut->start, cut->log_start)));
    return 0;
}

/* A SPATE_ERR_* code. */
static int truncate_all(const struct truncation *truncation)
{
    int rv = 0;

    for (uint32_t i = 0; rv == 0 && i < truncation->count; i++) {
        struct cut *cut = &truncation->cuts[i];
        rv = cut->log_start == cut->start ? 0 : truncate_one(truncation, cut);
    }
    return rv;
}

/* ---- output ---------------------------------------------------------------------------------- */

static void print_json(const struct truncation *truncation)
{
    json_t *list = json_array();
    int64_t records = 0;

    for (uint32_t i = 0; i < truncation->count; i++) {
        const struct cut *cut = &truncation->cuts[i];
        add_records(&records, cut->start, cut->log_start);
        (void)json_array_append_new(
            list,
            json_pack("{sIsIsIsIsI}",
                      "partition",
                      (json_int_t)cut->partition,
                      "start",
                      (json_int_t)cut->start,
                      "end",
                      (json_int_t)cut->end,
                      "log_start",
                      (json_int_t)cut->log_start,
                      "records",
                      (json_int_t)records_between(cut->start, cut->log_start)));
    }
    out_json(json_pack("{sssbsIso}",
                       "topic",
                       truncation->topic,
                       "dry_run",
                       (int)truncation->dry_run,
                       "records",
                       (json_int_t)records,
                       "partitions",
                       list));
}

static void print_plan(const struct truncation *truncation)
{
    struct table table = { .columns = 5,
                           .headings = { "PARTITION", "START", "END", "NEW START", "RECORDS" } };

    for (uint32_t i = 0; i < truncation->count; i++) {
        const struct cut *cut = &truncation->cuts[i];
        table_number(&table, cut->partition);
        table_number(&table, cut->start);
        table_number(&table, cut->end);
        table_number(&table, cut->log_start);
        table_number(&table, records_between(cut->start, cut->log_start));
    }
    table_print(&table);
}

static void show(const struct truncation *truncation)
{
    char text[SP_TOPIC_NAME_SIZE_MAX + 80];

    if (truncation->cli->json) {
        print_json(truncation);
    } else if (truncation->dry_run) {
        print_plan(truncation);
    }
    summary(truncation, text, sizeof text);
    if (truncation->dry_run) {
        note(truncation->cli, "would delete %s: --dry-run", text);
    } else if (truncation->doomed == 0) {
        note(
            truncation->cli, "no record of %s is before %s", truncation->topic, truncation->before);
    } else {
        note(truncation->cli, "deleted %s", text);
    }
}

static int run(struct truncation *truncation)
{
    int code = plan(truncation);

    if (code == 0 && !truncation->dry_run && !truncation->yes && truncation->doomed > 0) {
        code = confirm(truncation);
    }
    if (code != 0) {
        return code;
    }
    int rv = truncation->dry_run ? 0 : truncate_all(truncation);
    if (rv != 0) {
        return tell_failure(truncation->cli, rv, truncation->topic);
    }
    show(truncation);
    return EXIT_OK;
}

int command_topic_truncate(struct cli *cli, int argc, char **argv)
{
    struct truncation truncation = { .cli = cli, .partition = -1, .at_ms = -1 };
    int code = take_options(&truncation, argc, argv);

    if (code == 0) {
        code = connect_client(cli);
    }
    if (code == 0) {
        code = run(&truncation);
    }
    free(truncation.cuts);
    return code;
}
