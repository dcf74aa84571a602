/* spate consume: records of a topic to standard output. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/format.h"
#include "cli/output.h"
#include "cli/when.h"

enum {
    WAIT_MS = 100, /* for records; a ^C is seen so soon */
    END_WAIT_MS = 10,
    END_CHECK_RECORDS = 64,
};

struct consume {
    struct cli *cli;
    struct spate_consumer *consumer;
    const char *topic;
    const char *partitions; /* "0,1"; NULL: all */
    const char *from;       /* NULL: by what -e says */
    int64_t count_max;      /* -1: no bound */
    bool until_end;
    struct format format;
    bool format_set;
};

/* ---- options --------------------------------------------------------------------------------- */

static int take_format(struct consume *consume, const char *text)
{
    const char *error = NULL;

    if (consume->format_set) {
        format_deinit(&consume->format);
    }
    consume->format_set = format_parse(text, &consume->format, &error) == 0;
    return consume->format_set ? 0 : usage_error(consume->cli, "-f %s: %s", text, error);
}

static int take_option(struct consume *consume, int option)
{
    switch (option) {
    case 'p':
        consume->partitions = optarg;
        return 0;
    case 'o':
        consume->from = optarg;
        return 0;
    case 'n':
        if (!parse_number(optarg, 0, INT64_MAX / 2, &consume->count_max)) {
            return usage_error(consume->cli, "-n %s: a count of records", optarg);
        }
        return 0;
    case 'e':
        consume->until_end = true;
        return 0;
    case 'f':
        return take_format(consume, optarg);
    default:
        return EXIT_USAGE;
    }
}

static int take_options(struct consume *consume, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    int option;

    while ((option = next_option(consume->cli, &parser, argc, argv)) != -1) {
        int code = take_option(consume, option);
        if (code != 0) {
            return code;
        }
    }
    if (optind + 1 != argc) {
        return usage_error(consume->cli, "one topic is needed");
    }
    consume->topic = argv[optind];
    if (consume->from == NULL) {
        consume->from = consume->until_end ? "start" : "end";
    }
    return consume->format_set ? 0 : take_format(consume, "%v\\n");
}

/* ---- where to begin -------------------------------------------------------------------------- */

/* `count` records before the end, but not before the start. */
static int before_end(struct consume *consume, uint32_t partition, int64_t count, int64_t *out)
{
    struct spate_client *client = consume->cli->client;
    int64_t start = 0;
    int64_t end = 0;
    int rv = spate_offsets(client, consume->topic, partition, SPATE_AT_START, &start);

    if (rv == 0) {
        rv = spate_offsets(client, consume->topic, partition, SPATE_AT_END, &end);
    }
    if (rv == 0) {
        *out = end - count > start ? end - count : start;
    }
    return rv == 0 ? 0 : tell_failure(consume->cli, rv, NULL);
}

/* An exit code, 0 with the offset. */
static int begin_offset(struct consume *consume, uint32_t partition, int64_t *out_offset)
{
    const char *from = consume->from;
    int64_t number = 0;

    if (strcmp(from, "start") == 0 || strcmp(from, "beginning") == 0) {
        *out_offset = SPATE_OFFSET_START;
        return 0;
    }
    if (strcmp(from, "end") == 0) {
        *out_offset = SPATE_OFFSET_END;
        return 0;
    }
    if (*from == '@' && parse_time(from + 1, &number)) {
        int rv = spate_offsets(consume->cli->client, consume->topic, partition, number, out_offset);
        return rv == 0 ? 0 : tell_failure(consume->cli, rv, NULL);
    }
    if (*from != '@' && parse_number(from, -INT64_MAX / 2, INT64_MAX / 2, &number)) {
        if (number < 0 || *from == '-') {
            return before_end(consume, partition, -number, out_offset);
        }
        *out_offset = number;
        return 0;
    }
    return usage_error(
        consume->cli,
        "-o %s: start, end, an offset, -N for the last N, @TIME (ms, @-1h, @2026-01-31)",
        from);
}

static int assign(struct consume *consume, uint32_t partition)
{
    int64_t offset = 0;
    int code = begin_offset(consume, partition, &offset);

    if (code != 0) {
        return code;
    }
    int rv = spate_consumer_assign(consume->consumer, consume->topic, (int32_t)partition, offset);
    return rv == 0 ? 0 : tell_failure(consume->cli, rv, NULL);
}

static int assign_listed(struct consume *consume, uint32_t count)
{
    const char *at = consume->partitions;

    for (;;) {
        char text[12];
        size_t size = strcspn(at, ",");
        int64_t number = -1;
        (void)snprintf(text, sizeof text, "%.*s", (int)size, at);
        if (size >= sizeof text || !parse_number(text, 0, INT32_MAX, &number)) {
            return usage_error(consume->cli, "-p %s: numbers with commas", consume->partitions);
        }
        if ((uint64_t)number >= count) {
            tell("topic %s has %u partitions, numbered from 0: there is no partition %" PRId64,
                 consume->topic,
                 count,
                 number);
            return EXIT_NOT_FOUND;
        }
        int code = assign(consume, (uint32_t)number);
        if (code != 0 || at[size] == '\0') {
            return code;
        }
        at += size + 1;
    }
}

static int assign_all(struct consume *consume)
{
    uint32_t count = 0;
    int rv = spate_topic_partitions(consume->cli->client, consume->topic, &count);

    if (rv != 0) {
        return tell_failure(consume->cli, rv, NULL);
    }
    if (consume->partitions != NULL) {
        return assign_listed(consume, count);
    }
    for (uint32_t i = 0; i < count; i++) {
        int code = assign(consume, i);
        if (code != 0) {
            return code;
        }
    }
    return 0;
}

/* ---- records --------------------------------------------------------------------------------- */

static void print_json(const struct spate_message *message)
{
    char numbers[160];

    out_text("{\"topic\":");
    out_json_bytes(message->topic, strlen(message->topic));
    (void)snprintf(numbers,
                   sizeof numbers,
                   ",\"partition\":%d,\"offset\":%" PRId64 ",\"timestamp\":%" PRId64 ",\"key\":",
                   message->partition,
                   message->offset,
                   message->timestamp_ms);
    out_text(numbers);
    out_json_bytes(message->key, message->key_size);
    out_text(",\"value\":");
    out_json_bytes(message->value, message->value_size);
    out_text(",\"headers\":[");
    for (size_t i = 0; i < message->header_count; i++) {
        out_text(i == 0 ? "[" : ",[");
        out_json_bytes(message->headers[i].name, message->headers[i].name_size);
        out_text(",");
        out_json_bytes(message->headers[i].value, message->headers[i].value_size);
        out_text("]");
    }
    out_text("]}\n");
}

static void print(struct consume *consume, const struct spate_message *message)
{
    if (consume->cli->json) {
        print_json(message);
    } else {
        format_print(&consume->format, message, out_write);
    }
}

static bool at_end(const struct consume *consume)
{
    return consume->until_end && spate_consumer_at_end(consume->consumer) == 1;
}

/* Reads on until enough was read. What has been printed leaves whenever nothing more is there. */
static int stream(struct consume *consume)
{
    struct spate_message message;
    int64_t left = consume->count_max;
    uint64_t count = 0;
    int wait_ms = 0;

    if (at_end(consume)) {
        return EXIT_OK; /* nothing is assigned; also tells the library that the end is wanted */
    }
    while (left != 0 && !interrupted()) {
        int rv = spate_consumer_next(consume->consumer, wait_ms, &message);
        if (rv == 0) {
            print(consume, &message);
            left -= left > 0 ? 1 : 0;
            wait_ms = 0;
            count += 1;
            if (count % END_CHECK_RECORDS == 0 && at_end(consume)) {
                break; /* more keeps coming, but what was there at first is read */
            }
            continue;
        }
        if (rv != SPATE_ERR_AGAIN) {
            out_flush();
            return tell_failure(consume->cli, rv, NULL);
        }
        if (at_end(consume)) {
            break;
        }
        out_flush();
        wait_ms = consume->until_end ? END_WAIT_MS : WAIT_MS;
    }
    out_flush();
    return interrupted() ? EXIT_INTERRUPTED : EXIT_OK;
}

int command_consume(struct cli *cli, int argc, char **argv)
{
    struct consume consume = { .cli = cli, .count_max = -1 };
    int code = take_options(&consume, argc, argv);

    if (code == 0) {
        code = connect_client(cli);
    }
    if (code == 0) {
        int rv = spate_consumer_new(cli->client, &consume.consumer);
        code = rv == 0 ? 0 : tell_failure(cli, rv, NULL);
    }
    if (code == 0) {
        code = assign_all(&consume);
    }
    if (code == 0) {
        catch_interrupt();
        code = stream(&consume);
    }
    spate_consumer_free(consume.consumer);
    if (consume.format_set) {
        format_deinit(&consume.format);
    }
    return code;
}
