/* spate produce: records from a file or standard input into a topic. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/input.h"
#include "cli/progress.h"
#include "cli/resume.h"
#include "cli/when.h"

enum {
    HEADERS_MAX = 64,
    WAIT_MS = 5,        /* for input while answers are due */
    IDLE_MS = 100,      /* for input otherwise; a ^C is seen at once all the same */
    BUSY_MS = 20,       /* for room in the producer */
    TICK_RECORDS = 256, /* how often the clock is looked at */
    FAILURES_SHOWN = 5,
};

struct produce {
    struct cli *cli;
    struct spate_producer *producer;
    struct input_reader *input;
    struct progress progress;
    const char *topic;
    int32_t partition;
    const char *key;
    struct spate_header headers[HEADERS_MAX];
    size_t header_count;
    struct format format;
    bool format_set;
    char *delimiter;
    size_t delimiter_size;
    const char *file;
    const char *split;    /* -f or -K as given */
    struct resume resume; /* its name NULL: nothing is skipped */
    const char *compression;
    int64_t rate; /* records a second; 0: as fast as it goes */
    bool show_progress;
    const char *stats_path;
    int failure; /* the last code that a record failed with */
};

/* ---- options --------------------------------------------------------------------------------- */

static int take_header(struct produce *produce, const char *text)
{
    const char *colon = strchr(text, ':');

    if (colon == NULL || colon == text || produce->header_count == HEADERS_MAX) {
        return usage_error(
            produce->cli, "-H %s: a header is name:value, at most %d of them", text, HEADERS_MAX);
    }
    produce->headers[produce->header_count++] = (struct spate_header){
        .name = text,
        .name_size = (size_t)(colon - text),
        .value = colon + 1,
        .value_size = strlen(colon + 1),
    };
    return 0;
}

static int take_format(struct produce *produce, const char *text)
{
    const char *error = NULL;

    if (produce->format_set) {
        format_deinit(&produce->format);
    }
    produce->split = text;
    produce->format_set = format_parse(text, &produce->format, &error) == 0;
    if (produce->format_set) {
        error = format_readable(&produce->format);
    }
    return error == NULL ? 0 : usage_error(produce->cli, "-f %s: %s", text, error);
}

static int take_delimiter(struct produce *produce, const char *text)
{
    free(produce->delimiter);
    produce->delimiter = NULL;
    produce->split = text;
    if (format_unescape(text, &produce->delimiter, &produce->delimiter_size) != 0 ||
        produce->delimiter_size == 0) {
        return usage_error(produce->cli, "-K %s: a delimiter is some text, \\t, or \\xNN", text);
    }
    return 0;
}

static int take_rate(struct produce *produce, const char *text)
{
    char number[24];
    size_t size = strcspn(text, "/");

    if (size < sizeof number && (text[size] == '\0' || strcmp(text + size, "/s") == 0)) {
        memcpy(number, text, size);
        number[size] = '\0';
        if (parse_number(number, 1, 1000000000, &produce->rate)) {
            return 0;
        }
    }
    return usage_error(produce->cli, "--rate %s: records a second, for instance 5000", text);
}

static int take_partition(struct produce *produce, const char *text)
{
    int64_t number = 0;

    if (!parse_number(text, 0, INT32_MAX, &number)) {
        return usage_error(produce->cli, "-p %s: a partition is a number from 0", text);
    }
    produce->partition = (int32_t)number;
    return 0;
}

static int take_name(struct produce *produce, const char *text)
{
    size_t size = strlen(text);

    if (size == 0 || size > 249) {
        return usage_error(produce->cli, "-N %s: a name has 1 to 249 bytes", text);
    }
    produce->resume.name = text;
    return 0;
}

static int take_option(struct produce *produce, int option)
{
    switch (option) {
    case 'p':
        return take_partition(produce, optarg);
    case 'k':
        produce->key = optarg;
        return 0;
    case 'K':
        return take_delimiter(produce, optarg);
    case 'H':
        return take_header(produce, optarg);
    case 'z':
        produce->compression = optarg;
        return 0;
    case 'f':
        return take_format(produce, optarg);
    case 'F':
        produce->file = optarg;
        return 0;
    case 'N':
        return take_name(produce, optarg);
    case 'r':
        return take_rate(produce, optarg);
    case 'P':
        produce->show_progress = true;
        return 0;
    case 'S':
    case 'j':
        produce->stats_path = optarg;
        return 0;
    default:
        return EXIT_USAGE;
    }
}

static int take_options(struct produce *produce, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    int option;

    while ((option = next_option(produce->cli, &parser, argc, argv)) != -1) {
        int code = take_option(produce, option);
        if (code != 0) {
            return code;
        }
    }
    if (optind + 1 != argc) {
        return usage_error(produce->cli, "one topic is needed");
    }
    produce->topic = argv[optind];
    if (produce->format_set && produce->delimiter != NULL) {
        return usage_error(produce->cli, "-f and -K exclude each other");
    }
    if (produce->compression != NULL && strcmp(produce->compression, "lz4") != 0 &&
        strcmp(produce->compression, "none") != 0) {
        return usage_error(produce->cli, "-z %s: there are lz4 and none", produce->compression);
    }
    if (!produce->format_set) {
        const char *split = produce->split;
        int code = take_format(produce, "%v\\n");
        produce->split = split != NULL ? split : produce->split;
        return code;
    }
    return 0;
}

/* ---- deliveries ------------------------------------------------------------------------------ */

static void on_delivery(void *arg, const struct spate_delivery *delivery)
{
    struct produce *produce = arg;
    struct progress *progress = &produce->progress;

    if (delivery->status == 0) {
        progress->acked += 1;
        progress->bytes += (uintptr_t)delivery->opaque;
        return;
    }
    progress->failed += 1;
    progress->unknown += delivery->status == SPATE_ERR_TIMEOUT ? 1 : 0;
    produce->failure = delivery->status;
    if (progress->failed <= FAILURES_SHOWN) {
        tell("a record for %s/%d failed: %s: %s",
             delivery->topic,
             delivery->partition,
             spate_error_name(delivery->status),
             delivery->text);
    }
}

static void refresh(struct produce *produce)
{
    struct progress *progress = &produce->progress;

    progress->pending = spate_producer_pending(produce->producer);
    progress->in_flight = spate_producer_in_flight(produce->producer);
    progress->retried = spate_producer_retries(produce->producer);
    progress_tick(progress);
}

/* Lets the library work; what it reports ends a silence. */
static void work(struct produce *produce, int timeout_ms)
{
    uint64_t before = produce->progress.acked;

    (void)spate_poll(produce->cli->client, timeout_ms); /* counts callbacks, cannot fail here */
    if (produce->progress.acked != before) {
        progress_answered(&produce->progress);
    }
    refresh(produce);
}

/* ---- records --------------------------------------------------------------------------------- */

static int hand_over(struct produce *produce, const struct format_record *input)
{
    const char *key = produce->key;
    struct spate_record record = {
        .topic = produce->topic,
        .partition = input->partition >= 0 ? input->partition : produce->partition,
        .timestamp_ms = input->timestamp_ms,
        .key = key != NULL ? (const void *)key : input->key,
        .key_size = key != NULL ? strlen(key) : input->key_size,
        .value = input->value,
        .value_size = input->value_size,
        .headers = produce->headers,
        .header_count = produce->header_count,
    };
    if (produce->resume.name != NULL && resume_skips(&produce->resume, &record)) {
        return 0;
    }
    uintptr_t size = record.key_size + record.value_size;
    uint64_t acked = produce->progress.acked;
    int rv;

    while ((rv = spate_produce(produce->producer, &record, (void *)size)) == SPATE_ERR_BUSY) {
        work(produce, BUSY_MS);
        if (interrupted()) {
            return SPATE_ERR_CANCELED;
        }
    }
    if (produce->progress.acked != acked) {
        progress_answered(&produce->progress);
    }
    if (rv == 0) {
        progress_produced(&produce->progress, spate_producer_pending(produce->producer) - 1);
    }
    return rv;
}

/* Waits for the moment of the next record when a rate is asked for. */
static void pace(struct produce *produce)
{
    const struct progress *progress = &produce->progress;

    if (produce->rate == 0) {
        return;
    }
    for (;;) {
        uint64_t due_us =
            progress->begin_us + progress->produced * 1000000 / (uint64_t)produce->rate;
        uint64_t now_us = clock_us();
        if (now_us >= due_us || interrupted()) {
            return;
        }
        work(produce, (int)((due_us - now_us) / 1000 + 1));
    }
}

/* A record that cannot be taken is told; only what concerns all of them ends the command. */
static bool goes_on(struct produce *produce, int rv)
{
    if (rv == 0) {
        return true;
    }
    produce->failure = rv;
    produce->progress.failed += 1;
    if (rv == SPATE_ERR_CANCELED) {
        return false;
    }
    tell("record %" PRIu64 ": %s",
         produce->progress.produced + produce->progress.failed,
         spate_client_error(produce->cli->client));
    /* Under a name nothing may follow a record that is not stored: the count would not tell. */
    return rv == SPATE_ERR_TOO_LARGE && produce->resume.name == NULL;
}

/* Under a name the first failure ends it all: run again, it goes on there. */
static bool has_stopped(const struct produce *produce)
{
    return produce->resume.name != NULL && produce->failure != 0;
}

/* False when the command has to end with an error. */
static bool stream(struct produce *produce)
{
    struct format_record record;

    while (!interrupted() && !has_stopped(produce)) {
        switch (input_next(produce->input, &record)) {
        case INPUT_RECORD:
            pace(produce);
            if (!goes_on(produce, hand_over(produce, &record))) {
                return false;
            }
            if (produce->progress.produced % TICK_RECORDS == 0) {
                refresh(produce);
            }
            break;
        case INPUT_WAIT:
            work(produce, 0);
            input_wait(produce->input, produce->progress.pending > 0 ? 0 : IDLE_MS);
            if (produce->progress.pending > 0) {
                work(produce, WAIT_MS);
            }
            break;
        case INPUT_END:
            return true;
        case INPUT_FAILED:
            produce->failure = SPATE_ERR_INVALID;
            return false;
        }
    }
    return !has_stopped(produce);
}

/* Waits until the last record is reported; a second ^C is not needed: deadlines end it. */
static void drain(struct produce *produce)
{
    while (spate_producer_pending(produce->producer) > 0 && !interrupted()) {
        uint64_t before = produce->progress.acked;
        (void)spate_producer_flush(produce->producer, 50); /* a timeout means: go round again */
        if (produce->progress.acked != before) {
            progress_answered(&produce->progress);
        }
        refresh(produce);
    }
}

/* ---- the command ----------------------------------------------------------------------------- */

static int outcome(struct produce *produce, bool streamed)
{
    const struct progress *progress = &produce->progress;

    if (interrupted()) {
        note(produce->cli,
             "interrupted: %" PRIu64 " records stored, %zu without an answer",
             progress->acked,
             progress->pending);
        return EXIT_INTERRUPTED;
    }
    if (produce->resume.name != NULL && produce->resume.skipped > 0) {
        note(produce->cli,
             "%" PRIu64 " records were stored already and skipped, %" PRIu64 " more are stored now",
             produce->resume.skipped,
             progress->acked);
    }
    if (progress->failed == 0 && streamed && produce->resume.name != NULL) {
        return resume_end(&produce->resume);
    }
    if (progress->failed == 0) {
        return streamed ? EXIT_OK : EXIT_FAILED;
    }
    tell("%" PRIu64 " of %" PRIu64 " records failed, %" PRIu64 " of these may be stored",
         progress->failed,
         progress->failed + progress->acked,
         progress->unknown);
    return progress->acked > 0 ? EXIT_PARTIAL : exit_code_of(produce->failure);
}

/* The client again, now that the number of partitions is known, for producers with the name. */
static int take_the_name(struct produce *produce)
{
    struct cli *cli = produce->cli;
    struct resume_rules rules = {
        produce->topic, produce->resume.partitions, produce->partition, produce->key, produce->split
    };
    char layout[250];

    resume_layout(layout, sizeof layout, &rules);
    spate_client_free(cli->client);
    cli->client = NULL;
    configure(cli, "producer.name", produce->resume.name);
    configure(cli, "producer.layout", layout);
    return connect_client(cli);
}

/* The one partition that all records go to, or -1. */
static int32_t only_partition(const struct produce *produce)
{
    for (size_t i = 0; i < produce->format.count; i++) {
        if (produce->format.items[i].field == 'p') {
            return -1;
        }
    }
    return produce->partition;
}

static int run(struct produce *produce)
{
    uint32_t partitions = 0;
    int code = 0;
    int rv = spate_topic_partitions(produce->cli->client, produce->topic, &partitions);

    produce->resume.partitions = partitions;
    if (rv == 0 && produce->resume.name != NULL) {
        code = take_the_name(produce);
        if (code != 0) {
            return code;
        }
    }
    if (rv == 0) {
        rv = spate_producer_new(produce->cli->client, on_delivery, produce, &produce->producer);
    }
    if (rv != 0) {
        return tell_failure(produce->cli, rv, NULL);
    }
    if (produce->partition >= 0 && (uint32_t)produce->partition >= partitions) {
        tell("topic %s has %u partitions, numbered from 0", produce->topic, partitions);
        return EXIT_NOT_FOUND;
    }
    produce->input =
        input_open(produce->file, &produce->format, produce->delimiter, produce->delimiter_size);
    if (produce->input == NULL) {
        return EXIT_FAILED;
    }
    if (produce->resume.name != NULL) {
        code = resume_begin(&produce->resume,
                            produce->cli,
                            produce->producer,
                            produce->topic,
                            only_partition(produce));
        if (code != 0) {
            return code;
        }
    }
    catch_interrupt();
    progress_begin(&produce->progress, produce->show_progress, produce->stats_path);
    bool streamed = stream(produce);
    drain(produce);
    refresh(produce);
    bool saved = progress_end(&produce->progress);
    code = outcome(produce, streamed);
    return code == EXIT_OK && !saved ? EXIT_FAILED : code;
}

int command_produce(struct cli *cli, int argc, char **argv)
{
    struct produce produce = { .cli = cli, .partition = SPATE_PARTITION_ANY };
    int code = take_options(&produce, argc, argv);

    if (code == 0 && produce.compression != NULL) {
        configure(cli, "compression", produce.compression);
    }
    if (code == 0) {
        code = connect_client(cli);
    }
    if (code == 0) {
        code = run(&produce);
    }
    input_close(produce.input);
    spate_producer_free(produce.producer);
    if (produce.format_set) {
        format_deinit(&produce.format);
    }
    resume_deinit(&produce.resume);
    free(produce.delimiter);
    return code;
}
