#include "cli/topic_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/several.h"
#include "cli/value.h"
#include "cli/when.h"

bool split_setting(char *text, struct spate_topic_setting *out_setting)
{
    char *equals = strchr(text, '=');

    if (equals == NULL || equals == text) {
        return false;
    }
    *equals = '\0';
    *out_setting = (struct spate_topic_setting){ text, equals + 1 };
    return true;
}

/* ---- alter ----------------------------------------------------------------------------------- */

/* What `topic alter` is told. */
struct alteration {
    json_t *set;
    json_t *unset;
    const char *replicas; /* as typed; NULL: they stay */
};

static int take_alter_options(struct cli *cli, struct alteration *wanted, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    int option;

    while ((option = next_option(cli, &parser, argc, argv)) != -1) {
        struct spate_topic_setting setting;

        if (option_is(cli, option, "set")) {
            if (!split_setting(optarg, &setting)) {
                return usage_error(cli, "--set %s: KEY=VALUE", optarg);
            }
            (void)json_object_set_new(wanted->set, setting.name, json_string(setting.value));
        } else if (option_is(cli, option, "unset")) {
            (void)json_array_append_new(wanted->unset, json_string(optarg));
        } else if (option == 'r') {
            wanted->replicas = optarg;
        } else {
            return EXIT_USAGE;
        }
    }
    bool keys = json_object_size(wanted->set) > 0 || json_array_size(wanted->unset) > 0;
    if (wanted->replicas != NULL && keys) {
        return usage_error(cli, "settings and --replicas are altered one after the other");
    }
    if (wanted->replicas != NULL) {
        return optind < argc ? 0 : usage_error(cli, "a topic is needed");
    }
    if (optind + 1 != argc) {
        return usage_error(cli, "one topic is needed");
    }
    return keys ? 0 : usage_error(cli, "--set KEY=VALUE, --unset KEY or --replicas N is needed");
}

static int alter(struct cli *cli, const char *topic, json_t *set, json_t *unset)
{
    json_t *result = NULL;
    int code = connect_client(cli);

    if (code != 0) {
        return code;
    }
    int rv = call_json(cli,
                       "topic.alter",
                       json_pack("{sssOsO}", "name", topic, "set", set, "unset", unset),
                       &result);
    if (rv != 0) {
        return tell_failure(cli, rv, topic);
    }
    if (cli->json) {
        out_json(result);
    } else {
        json_decref(result);
    }
    note(cli, "topic %s altered", topic);
    return EXIT_OK;
}

int command_topic_alter(struct cli *cli, int argc, char **argv)
{
    struct alteration wanted = { .set = json_object(), .unset = json_array() };
    int code = take_alter_options(cli, &wanted, argc, argv);

    if (code == 0) {
        code = wanted.replicas != NULL ? alter_replicas(cli, wanted.replicas, argc, argv)
                                       : alter(cli, argv[optind], wanted.set, wanted.unset);
    }
    json_decref(wanted.set);
    json_decref(wanted.unset);
    return code;
}

/* ---- truncate -------------------------------------------------------------------------------- */

struct truncation {
    struct cli *cli;
    const char *topic;
    const char *before; /* as typed */
    int64_t partition;  /* -1: all */
    int64_t offset;     /* >= 0, or SPATE_AT_END, or by at_ms */
    int64_t at_ms;      /* -1: by offset */
    bool yes;
};

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

static int take_truncate_options(struct truncation *truncation, int argc, char **argv)
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

/* The offset that becomes the first one of a partition, which its leader has. 0, or the exit code
 * of what has been told. */
static int find_offset(const struct truncation *truncation, uint32_t partition, int64_t *out_offset)
{
    struct cli *cli = truncation->cli;
    int64_t at = truncation->at_ms >= 0 ? truncation->at_ms : SPATE_AT_END;
    int64_t found = 0;
    char name[SP_TOPIC_NAME_SIZE_MAX + 16];
    int rv = spate_offsets(cli->client, truncation->topic, partition, at, &found);

    (void)snprintf(name, sizeof name, "%s/%u", truncation->topic, partition);
    if (rv != 0) {
        return tell_failure(cli, rv, name);
    }
    if (truncation->at_ms >= 0 || truncation->offset == SPATE_AT_END) {
        *out_offset = found;
        return 0;
    }
    if (truncation->offset > found) {
        tell("%s: OFFSET_OUT_OF_RANGE: offset %lld is above its end, %lld",
             name,
             (long long)truncation->offset,
             (long long)found);
        return exit_code_of(SPATE_ERR_OFFSET_OUT_OF_RANGE);
    }
    *out_offset = truncation->offset;
    return 0;
}

/* Truncates one partition. A SPATE_ERR_* code. */
static int
truncate_one(const struct truncation *truncation, uint32_t partition, int64_t before, json_t *list)
{
    struct cli *cli = truncation->cli;
    json_t *result = NULL;
    json_t *params = json_pack("{sssIsI}",
                               "topic",
                               truncation->topic,
                               "partition",
                               (json_int_t)partition,
                               "before",
                               (json_int_t)before);
    int rv = call_leader_json(cli, truncation->topic, partition, "topic.truncate", params, &result);

    if (rv != 0) {
        return rv;
    }
    note(cli,
         "%s/%u starts at %lld",
         truncation->topic,
         partition,
         (long long)value_number(result, "log_start"));
    (void)json_object_set_new(result, "partition", json_integer(partition));
    return json_array_append_new(list, result) == 0 ? 0 : SPATE_ERR_NOMEM;
}

/* `count` partitions from `first` on, each at its own of `offsets`. */
static int truncate_checked(const struct truncation *truncation,
                            uint32_t first,
                            uint32_t count,
                            const int64_t *offsets)
{
    struct cli *cli = truncation->cli;
    json_t *list = json_array();
    int rv = 0;

    for (uint32_t i = 0; rv == 0 && i < count; i++) {
        rv = truncate_one(truncation, first + i, offsets[i], list);
    }
    if (rv == 0 && cli->json) {
        out_json(json_pack("{sssO}", "topic", truncation->topic, "partitions", list));
    }
    json_decref(list);
    return rv == 0 ? EXIT_OK : tell_failure(cli, rv, truncation->topic);
}

/* All partitions are looked at before the first one loses a record: each has a leader that answers,
 * and the offset. */
static int truncate_all(const struct truncation *truncation)
{
    struct cli *cli = truncation->cli;
    bool all = truncation->partition < 0;
    uint32_t first = all ? 0 : (uint32_t)truncation->partition;
    uint32_t count = 0;
    int rv = spate_topic_partitions(cli->client, truncation->topic, &count);
    int code = 0;

    if (rv != 0) {
        return tell_failure(cli, rv, truncation->topic);
    }
    count = all ? count : 1;
    int64_t *offsets = calloc(count, sizeof *offsets);
    if (offsets == NULL) {
        return tell_failure(cli, SPATE_ERR_NOMEM, truncation->topic);
    }
    for (uint32_t i = 0; code == 0 && i < count; i++) {
        code = find_offset(truncation, first + i, &offsets[i]);
    }
    if (code == 0) {
        code = truncate_checked(truncation, first, count, offsets);
    } else {
        tell("nothing was truncated");
    }
    free(offsets);
    return code;
}

static int confirm(const struct truncation *truncation)
{
    char consequence[128];

    (void)snprintf(consequence, sizeof consequence, "records before %.60s", truncation->before);
    int code = begin_question(truncation->cli, consequence);
    if (code != 0) {
        return code;
    }
    fprintf(stderr, "Delete from %s the", truncation->topic);
    return end_question(truncation->cli, consequence);
}

int command_topic_truncate(struct cli *cli, int argc, char **argv)
{
    struct truncation truncation = { .cli = cli, .partition = -1, .at_ms = -1 };
    int code = take_truncate_options(&truncation, argc, argv);

    if (code == 0 && !truncation.yes) {
        code = confirm(&truncation);
    }
    if (code == 0) {
        code = connect_client(cli);
    }
    return code == 0 ? truncate_all(&truncation) : code;
}
