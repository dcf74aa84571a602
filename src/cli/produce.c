/* spate produce: records from a file or standard input into a topic. */
#include "cli/produce.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/output.h"
#include "cli/produce_failures.h"
#include "cli/produce_report.h"
#include "io/clock.h"
#include "wire/client_api.h"

enum {
    WAIT_MS = 5,        /* for input while answers are due */
    IDLE_MS = 100,      /* for input otherwise; a ^C is seen at once all the same */
    BUSY_MS = 20,       /* for room in the producer */
    TICK_RECORDS = 256, /* how often the clock is looked at */
    REASON_SIZE = TOPIC_SIZE + 100,
};

/* ---- deliveries ------------------------------------------------------------------------------ */

static void on_delivery(void *arg, const struct spate_delivery *delivery)
{
    struct produce *produce = arg;
    struct progress *progress = &produce->progress;

    if (produce->cli->json) {
        report_delivery(delivery);
    }
    if (delivery->status == 0) {
        progress->acked += 1;
        progress->bytes += (uintptr_t)delivery->opaque;
        return;
    }
    progress->failed += 1;
    progress->failing = true;
    progress->unknown += delivery->status == SPATE_ERR_TIMEOUT ? 1 : 0;
    produce->failure = delivery->status;
    failure_of_delivery(produce, delivery);
}

static void refresh(struct produce *produce)
{
    struct progress *progress = &produce->progress;

    failures_tell_first(produce);
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
    out_flush();
    refresh(produce);
}

/* ---- records --------------------------------------------------------------------------------- */

/* The topic of a record: the command's, or its own. */
static const char *topic_of(struct produce *produce, const struct format_record *input)
{
    if (input->topic == NULL) {
        return produce->topic;
    }
    (void)snprintf(produce->named_topic,
                   sizeof produce->named_topic,
                   "%.*s",
                   input->topic_size < TOPIC_SIZE ? (int)input->topic_size : TOPIC_SIZE,
                   (const char *)input->topic);
    return produce->named_topic;
}

/* Puts the headers of a record behind those of -H; how many there are in all. */
static size_t join_headers(struct produce *produce, const struct format_record *input)
{
    for (size_t i = 0; i < input->header_count; i++) {
        produce->headers[produce->header_count + i] = input->headers[i];
    }
    return produce->header_count + input->header_count;
}

static int hand_over(struct produce *produce, const struct format_record *input)
{
    const char *key = produce->key;
    bool nil = produce->empty_is_nil && input->value_size == 0;
    struct spate_record record = {
        .topic = topic_of(produce, input),
        .partition = input->partition >= 0 ? input->partition : produce->partition,
        .timestamp_ms = input->timestamp_ms,
        .key = key != NULL ? (const void *)key : input->key,
        .key_size = key != NULL ? strlen(key) : input->key_size,
        .value = nil ? NULL : input->value,
        .value_size = input->value_size,
        .headers = produce->headers,
        .header_count = join_headers(produce, input),
    };
    if (produce->resume.name != NULL && resume_skips(&produce->resume, &record)) {
        return 0;
    }
    if (produce->topic == NULL && missing_has(&produce->missing, record.topic)) {
        return SPATE_ERR_UNKNOWN_TOPIC;
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
        uint64_t now_us = sp_clock_us();
        if (now_us >= due_us || interrupted()) {
            return;
        }
        work(produce, (int)((due_us - now_us) / 1000 + 1));
    }
}

static void report(const struct produce *produce, const struct spate_delivery *refusal)
{
    if (produce->cli->json) {
        report_delivery(refusal);
    }
}

/* May the records behind one that failed so be better? Those that have no topic, or partition, of
 * their own are not. */
static bool is_its_own(const struct produce *produce, int rv)
{
    bool named = produce->topic == NULL;
    bool placed = named || produce->partition < 0;

    return rv == SPATE_ERR_TOO_LARGE || rv == SPATE_ERR_INVALID ||
           (named && rv == SPATE_ERR_UNKNOWN_TOPIC) ||
           (placed && rv == SPATE_ERR_UNKNOWN_PARTITION);
}

/* Why the record was not taken. */
static const char *reason_of(struct produce *produce, int rv, char text[REASON_SIZE])
{
    const char *name = produce->named_topic;

    if (produce->topic != NULL || rv != SPATE_ERR_UNKNOWN_TOPIC) {
        return spate_client_error(produce->cli->client);
    }
    if (!missing_has(&produce->missing, name)) {
        missing_add(&produce->missing, name);
    }
    (void)snprintf(text, REASON_SIZE, SP_NO_TOPIC_TEXT, name);
    return text;
}

/* Sends a record. One that cannot be taken is told; only what concerns all of them ends the
 * command: false. */
static bool send_record(struct produce *produce, const struct format_record *record)
{
    char text[REASON_SIZE];
    int rv = hand_over(produce, record);

    produce->read += 1;
    if (rv == 0) {
        return true;
    }
    produce->failure = rv;
    produce->progress.failed += 1;
    if (rv == SPATE_ERR_CANCELED) {
        return false;
    }
    const struct spate_delivery refusal = {
        .status = rv,
        .topic = produce->topic != NULL ? produce->topic : produce->named_topic,
        .partition = record->partition >= 0 ? record->partition : produce->partition,
        .offset = -1,
        .text = reason_of(produce, rv, text),
    };
    report(produce, &refusal);
    failure_of_record(produce, rv, refusal.text);
    produce->stopped = !is_its_own(produce, rv) || produce->resume.name != NULL;
    return !produce->stopped;
}

/* The next record cannot be read, and where those behind it begin is not known. */
static void stop_reading(struct produce *produce)
{
    struct spate_delivery refusal = { .topic = produce->topic, .partition = -1, .offset = -1 };

    refusal.status = input_failure(produce->input, &refusal.text);
    produce->failure = SPATE_ERR_INVALID;
    produce->read += 1;
    produce->stopped = true;
    report(produce, &refusal);
    tell("%s", refusal.text);
}

/* Under a name the first failure ends it all: run again, it goes on there. */
static bool has_stopped(const struct produce *produce)
{
    return produce->resume.name != NULL && produce->failure != 0;
}

/* False when the command has to end with an error. */
static bool stream(struct produce *produce)
{
    struct format_record record = { .partition = -1 };

    if (produce->tombstone) {
        return send_record(produce, &record);
    }
    while (!interrupted() && !has_stopped(produce)) {
        switch (input_next(produce->input, &record)) {
        case INPUT_RECORD:
            pace(produce);
            if (!send_record(produce, &record)) {
                return false;
            }
            if (produce->read % TICK_RECORDS == 0) {
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
            stop_reading(produce);
            return false;
        }
    }
    produce->stopped = has_stopped(produce);
    return true;
}

/* Waits until the last record is reported; a second ^C is not needed: deadlines end it. */
static void drain(struct produce *produce)
{
    while (spate_producer_pending(produce->producer) > 0 && !interrupted()) {
        uint64_t before = produce->progress.acked;
        (void)spate_producer_flush(produce->producer, 50); /* a timeout means: go round again */
        out_flush();
        if (produce->progress.acked != before) {
            progress_answered(&produce->progress);
        }
        refresh(produce);
    }
}

/* ---- the command ----------------------------------------------------------------------------- */

static void note_interrupt(const struct produce *produce)
{
    const struct progress *progress = &produce->progress;
    char failed[80] = "";

    if (progress->failed > 0) {
        (void)snprintf(failed,
                       sizeof failed,
                       ", %" PRIu64 " failed (%" PRIu64 " of these may be stored)",
                       progress->failed,
                       progress->unknown);
    }
    note(produce->cli,
         "interrupted: %" PRIu64 " record%s stored%s, %zu without an answer",
         progress->acked,
         plural((int64_t)progress->acked),
         failed,
         progress->pending);
}

static int outcome(struct produce *produce, bool streamed)
{
    const struct progress *progress = &produce->progress;

    if (interrupted()) {
        note_interrupt(produce);
        return EXIT_INTERRUPTED;
    }
    if (produce->stopped && !produce->tombstone) {
        tell("stopped at record %" PRIu64 ", the rest of the input was not sent", produce->read);
    }
    bool complete = progress->failed == 0 && streamed && produce->resume.name != NULL;
    int code = complete ? resume_end(&produce->resume) : EXIT_OK;
    if (code == EXIT_OK && produce->resume.name != NULL && produce->resume.skipped > 0) {
        note(produce->cli,
             "%" PRIu64 " record%s stored already and skipped, %" PRIu64 " more %s stored now",
             produce->resume.skipped,
             produce->resume.skipped == 1 ? " was" : "s were",
             progress->acked,
             progress->acked == 1 ? "is" : "are");
    }
    if (complete) {
        return code;
    }
    if (progress->failed == 0) {
        return streamed ? EXIT_OK : EXIT_FAILED;
    }
    tell("%" PRIu64 " of %" PRIu64 " record%s failed, %" PRIu64 " of these may be stored",
         progress->failed,
         progress->failed + progress->acked,
         plural((int64_t)(progress->failed + progress->acked)),
         progress->unknown);
    int reason = produce->fenced ? SPATE_ERR_PRODUCER_FENCED : produce->failure;
    return progress->acked > 0 ? EXIT_PARTIAL : exit_code_of(reason);
}

/* Is there such a topic and partition? An exit code, told. */
static int check_topic(struct produce *produce)
{
    uint32_t partitions = 0;

    if (produce->topic == NULL) {
        return 0; /* each record will tell */
    }
    int rv = spate_topic_partitions(produce->cli->client, produce->topic, &partitions);
    if (rv != 0) {
        return tell_failure(produce->cli, rv, NULL);
    }
    if (produce->partition >= 0 && (uint32_t)produce->partition >= partitions) {
        tell("topic %s has %u partition%s, numbered from 0",
             produce->topic,
             partitions,
             plural(partitions));
        return EXIT_NOT_FOUND;
    }
    produce->resume.partitions = partitions;
    return 0;
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

/* On a terminal the counters show unless the records are typed there or --quiet; -P wants them
 * everywhere. */
static bool shows_progress(const struct produce *produce)
{
    bool typed = produce->file == NULL && isatty(STDIN_FILENO) == 1;
    bool mixed = produce->cli->json && out_is_terminal();

    return produce->show_progress || (isatty(STDERR_FILENO) == 1 && !typed && !mixed &&
                                      !produce->tombstone && !produce->cli->quiet);
}

static int run(struct produce *produce)
{
    int code = check_topic(produce);

    if (code == 0 && produce->resume.name != NULL) {
        code = take_the_name(produce);
    }
    if (code != 0) {
        return code;
    }
    int rv = spate_producer_new(produce->cli->client, on_delivery, produce, &produce->producer);
    if (rv != 0) {
        return tell_failure(produce->cli, rv, NULL);
    }
    if (!produce->tombstone) {
        produce->input = input_open(
            produce->file, &produce->format, produce->delimiter, produce->delimiter_size);
    }
    if (produce->input == NULL && !produce->tombstone) {
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
    out_outlive_reader(); /* what reads the reports decides nothing about the records */
    progress_begin(&produce->progress, shows_progress(produce), produce->stats_path);
    bool streamed = stream(produce);
    drain(produce);
    refresh(produce);
    bool saved = progress_end(&produce->progress);
    code = outcome(produce, streamed);
    out_flush();
    return code == EXIT_OK && (!saved || out_failed()) ? EXIT_FAILED : code;
}

int command_produce(struct cli *cli, int argc, char **argv)
{
    struct produce produce = { .cli = cli, .partition = SPATE_PARTITION_ANY };
    int code = produce_options(&produce, argc, argv);

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
