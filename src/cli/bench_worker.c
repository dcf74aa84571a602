/* One worker of `spate bench`: a client of its own that sends, reads, or both, turn by turn. */
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/rand.h"
#include "cli/bench.h"
#include "io/clock.h"

enum {
    FLUSH_US = 20000,    /* how often figures go to the share */
    BURST_RECORDS = 256, /* sent between two looks at the clock */
    CLOCK_RECORDS = 16,  /* deliveries of one turn that share a reading of the clock */
    BATCH_MESSAGES = 1000,
    WAIT_MS = 5,
    WAIT_US = WAIT_MS * 1000,
    DRAIN_MS = 10000,
};

/* A worker at work. Sent records carry the time at which they were due as their opaque pointer. */
struct work {
    struct bench_worker *worker;
    const struct bench_options *options;
    struct spate_client *client;
    struct spate_producer *producer;
    struct spate_consumer *consumer;
    struct sp_rand rand;
    struct bench_counts counts; /* since the last flush */
    uint64_t now_us;            /* as of the last look; 0: look again */
    unsigned looked;            /* deliveries since */
    uint64_t flushed_us;
    uint64_t measure_us; /* as in the share */
    uint64_t stop_us;
    bool measuring;
    uint64_t begin_us; /* of sending, for the schedule */
    uint64_t sent;
    uint64_t goal;     /* records to measure; 0: time decides */
    uint64_t measured; /* records sent, or read, since measuring began */
    uint64_t quiet_since_us;
    uint64_t last_us;
    unsigned char value[BENCH_VALUE_BYTES_MAX];
};

/* ---- figures --------------------------------------------------------------------------------- */

/* Hands the figures over and learns what the others know. Those of the warm-up are dropped. */
static void flush_counts(struct work *work, uint64_t now_us)
{
    struct bench_share *share = work->worker->share;

    sp_monitor_enter(share->monitor);
    if (work->measuring) {
        share->fresh.records += work->counts.records;
        share->fresh.bytes += work->counts.bytes;
        latency_merge(&share->fresh.latency, &work->counts.latency);
        share->last_us = work->last_us > share->last_us ? work->last_us : share->last_us;
    }
    share->fresh.failed += work->counts.failed;
    share->fresh.unknown += work->counts.unknown;
    work->measure_us = share->measure_us;
    work->stop_us = share->stop_us;
    sp_monitor_leave(share->monitor);
    memset(&work->counts, 0, sizeof work->counts);
    work->flushed_us = now_us;
}

/* Waits for the answers to what was sent, while there are any; what is left is reported as failed.
 */
static void drain(struct work *work)
{
    size_t before;

    do {
        before = spate_producer_pending(work->producer);
        (void)spate_producer_flush(work->producer, DRAIN_MS);
    } while (spate_producer_pending(work->producer) > 0 &&
             spate_producer_pending(work->producer) < before && !interrupted());
}

/* The figures of now; true while the work goes on. */
static bool tick(struct work *work)
{
    uint64_t now_us = sp_clock_us();

    if (now_us - work->flushed_us >= FLUSH_US) {
        flush_counts(work, now_us);
    }
    if (!work->measuring && work->measure_us != 0 && now_us >= work->measure_us) {
        if (work->goal > 0 && work->producer != NULL) {
            /* every record counts: none of the warm-up may be under way */
            drain(work);
        }
        flush_counts(work, now_us);
        work->measuring = true;
    }
    return now_us < work->stop_us && (work->goal == 0 || work->measured < work->goal);
}

/* The first record of any reader begins the measuring when no warm-up does. */
static void begin_measuring(struct work *work)
{
    struct bench_share *share = work->worker->share;

    sp_monitor_enter(share->monitor);
    if (share->measure_us == 0) {
        share->measure_us = sp_clock_us() + (uint64_t)work->options->warmup_ms * 1000;
        if (work->options->duration_ms > 0) {
            share->stop_us = share->measure_us + (uint64_t)work->options->duration_ms * 1000;
        }
    }
    sp_monitor_leave(share->monitor);
    flush_counts(work, sp_clock_us());
    (void)tick(work);
}

static void note_gap(struct work *work, uint64_t now_us)
{
    struct bench_share *share = work->worker->share;
    uint64_t length_us = now_us - work->quiet_since_us;
    uint64_t since_us = work->quiet_since_us;

    work->quiet_since_us = now_us;
    if (!work->measuring || length_us < BENCH_GAP_MS_MIN * 1000) {
        return;
    }
    sp_monitor_enter(share->monitor);
    if (length_us > share->longest_gap_us) {
        share->longest_gap_us = length_us;
    }
    if (share->gap_count < BENCH_GAPS_MAX && since_us >= share->measure_us) {
        share->gaps[share->gap_count++] =
            (struct bench_gap){ since_us - share->measure_us, length_us };
    }
    sp_monitor_leave(share->monitor);
}

/* Ends the run of all; `client` may be NULL. */
static void fail(struct bench_share *share, struct spate_client *client, int code, const char *what)
{
    const char *text = client != NULL ? spate_client_error(client) : "";

    sp_monitor_enter(share->monitor);
    if (share->failure == 0) {
        share->failure = code;
        (void)snprintf(share->failure_text,
                       sizeof share->failure_text,
                       "%s: %s: %s",
                       what,
                       spate_error_name(code),
                       text[0] != '\0' ? text : spate_strerror(code));
    }
    share->stop_us = 0;
    sp_monitor_leave(share->monitor);
}

/* ---- sending --------------------------------------------------------------------------------- */

static void on_delivery(void *arg, const struct spate_delivery *delivery)
{
    struct work *work = arg;
    uint64_t due_us = (uintptr_t)delivery->opaque;

    if (work->now_us == 0 || work->looked++ % CLOCK_RECORDS == 0) {
        work->now_us = sp_clock_us();
        note_gap(work, work->now_us);
    }
    if (delivery->status != 0) {
        work->counts.failed += 1;
        work->counts.unknown += delivery->status == SPATE_ERR_TIMEOUT ? 1 : 0;
        return;
    }
    if (work->consumer != NULL || !work->measuring || work->now_us >= work->stop_us) {
        return; /* e2e counts what is read */
    }
    work->counts.records += 1;
    work->counts.bytes += (uint64_t)work->options->size;
    work->last_us = work->now_us;
    latency_add(&work->counts.latency, work->now_us > due_us ? work->now_us - due_us : 0);
}

static void poll_client(struct work *work)
{
    work->now_us = 0;
    work->looked = 0;
    (void)spate_poll(work->client, 0); /* counts callbacks, cannot fail here */
}

/* When the next record is due; `now_us` without a rate. */
static uint64_t due_time(const struct work *work, uint64_t now_us)
{
    const struct bench_options *options = work->options;

    if (options->rate == 0) {
        return now_us;
    }
    /* the clients share the rate, each shifted against the others */
    uint64_t place = work->sent * (uint64_t)options->clients + work->worker->number;
    return work->begin_us + place * 1000000 / (uint64_t)options->rate;
}

static int send_one(struct work *work, uint64_t due_us)
{
    const struct bench_options *options = work->options;
    uint64_t chance = sp_rand_next(&work->rand);
    const unsigned char *bytes = work->worker->pool + chance % BENCH_VALUE_BYTES_MAX;
    size_t size = (size_t)options->size;
    char key[24];
    struct spate_record record = {
        .topic = work->worker->topic,
        .partition = SPATE_PARTITION_ANY,
        .value = bytes,
        .value_size = size,
    };
    if (options->keys > 0) {
        int written = snprintf(
            key, sizeof key, "%" PRIu64, sp_rand_below(&work->rand, (uint64_t)options->keys));
        record.key = key;
        record.key_size = (size_t)written;
    }
    if (work->consumer != NULL) {
        memcpy(work->value, &due_us, sizeof due_us); /* read by this very process */
        memcpy(work->value + sizeof due_us, bytes, size - sizeof due_us);
        record.value = work->value;
    }
    if (spate_producer_pending(work->producer) == 0) {
        work->quiet_since_us = sp_clock_us();
    }
    int rv = spate_produce(work->producer, &record, (void *)(uintptr_t)due_us);
    if (rv == 0) {
        work->sent += 1;
        work->measured += work->measuring && work->consumer == NULL ? 1 : 0;
    }
    return rv;
}

/* Waits for the client's work, or until the next record is due: to the microsecond, since a late
 * sender would be taken for a slow cluster. */
static void wait_for_client(struct work *work, int64_t wait_us)
{
    int client_ms = spate_client_wait_ms(work->client);
    int64_t limit_us = client_ms < 0 ? WAIT_US : (int64_t)client_ms * 1000;
    int64_t least_us = wait_us < limit_us ? wait_us : limit_us;
    struct timespec wait = { .tv_nsec = (long)(least_us < WAIT_US ? least_us : WAIT_US) * 1000 };
    struct pollfd ready = { .fd = spate_client_fd(work->client), .events = POLLIN };

    if (wait.tv_nsec > 0) {
        (void)ppoll(&ready, 1, &wait, NULL); /* what came of it is seen by the next call */
    }
}

/* Sends what is due, at most a burst. Returns for how long nothing is to be sent, in microseconds
 * (0: at once again), or a code. */
static int64_t send_due(struct work *work)
{
    const struct bench_options *options = work->options;
    uint64_t now_us = sp_clock_us();

    for (unsigned i = 0; i < BURST_RECORDS; i++) {
        uint64_t due_us = due_time(work, now_us);
        if (due_us > now_us) {
            return (int64_t)(due_us - now_us);
        }
        if (options->in_flight > 0 &&
            spate_producer_pending(work->producer) >= (size_t)options->in_flight) {
            return WAIT_US;
        }
        if (work->goal > 0 && work->measured >= work->goal) {
            return 0;
        }
        int rv = send_one(work, due_us);
        if (rv == SPATE_ERR_BUSY) {
            return WAIT_US;
        }
        if (rv != 0) {
            return rv;
        }
    }
    return 0;
}

static void produce(struct work *work)
{
    work->begin_us = sp_clock_us();
    while (tick(work)) {
        int64_t wait_us = send_due(work);
        if (wait_us < 0) {
            fail(work->worker->share, work->client, (int)wait_us, "produce");
            return;
        }
        wait_for_client(work, wait_us);
        poll_client(work);
    }
    drain(work);
}

/* ---- reading --------------------------------------------------------------------------------- */

static void count_message(struct work *work, const struct spate_message *message)
{
    if (!work->measuring || (work->goal > 0 && work->measured >= work->goal)) {
        return;
    }
    work->counts.records += 1;
    work->counts.bytes += message->key_size + message->value_size;
    work->measured += 1;
    work->last_us = work->now_us;
    if (work->producer != NULL && message->value_size >= sizeof(uint64_t)) {
        uint64_t due_us;
        memcpy(&due_us, message->value, sizeof due_us);
        latency_add(&work->counts.latency, work->now_us > due_us ? work->now_us - due_us : 0);
    }
}

/* Takes what has come; how many records, or a code. */
static int read_batch(struct work *work, int timeout_ms)
{
    struct spate_message messages[BATCH_MESSAGES];
    int count = spate_consumer_batch(work->consumer, timeout_ms, messages, BATCH_MESSAGES);

    if (count == SPATE_ERR_AGAIN) {
        return 0;
    }
    work->now_us = sp_clock_us();
    for (int i = 0; i < count; i++) {
        count_message(work, &messages[i]);
    }
    return count;
}

/* Each reader has the partitions whose number is its own, counted in rounds. */
static int for_partitions(struct work *work,
                          int (*call)(struct spate_consumer *consumer,
                                      const char *topic,
                                      int32_t partition,
                                      int64_t offset),
                          int64_t offset)
{
    uint32_t step = (uint32_t)work->options->clients;
    int rv = 0;

    for (uint32_t i = work->worker->number % work->worker->partitions;
         i < work->worker->partitions && rv == 0;
         i += step) {
        rv = call(work->consumer, work->worker->topic, (int32_t)i, offset);
    }
    return rv;
}

static void consume(struct work *work)
{
    int rv = for_partitions(work, spate_consumer_assign, SPATE_OFFSET_START);
    bool begun = false;

    while (rv >= 0 && tick(work)) {
        rv = read_batch(work, WAIT_MS);
        if (rv > 0 && !begun) {
            begun = true;
            begin_measuring(work);
        }
        if (rv == 0 && begun && spate_consumer_at_end(work->consumer) == 1) {
            rv = for_partitions(work, spate_consumer_seek, SPATE_OFFSET_START); /* once more */
        }
    }
    if (rv < 0) {
        fail(work->worker->share, work->client, rv, "consume");
    }
}

static void send_and_read(struct work *work)
{
    int rv = for_partitions(work, spate_consumer_assign, SPATE_OFFSET_START);

    work->begin_us = sp_clock_us();
    while (rv >= 0 && tick(work)) {
        int64_t wait_us = send_due(work);
        if (wait_us < 0) {
            fail(work->worker->share, work->client, (int)wait_us, "produce");
            return;
        }
        wait_for_client(work, wait_us);
        rv = read_batch(work, 0);
        poll_client(work);
    }
    if (rv < 0) {
        fail(work->worker->share, work->client, rv, "consume");
    }
    drain(work);
}

/* ---- the thread ------------------------------------------------------------------------------ */

static int open_work(struct work *work)
{
    enum bench_kind kind = work->options->kind;
    int rv = spate_client_new(work->worker->config, &work->client);

    if (rv == 0 && kind != BENCH_CONSUME) {
        rv = spate_producer_new(work->client, on_delivery, work, &work->producer);
    }
    if (rv == 0 && (kind == BENCH_CONSUME || kind == BENCH_E2E)) {
        rv = spate_consumer_new(work->client, &work->consumer);
    }
    return rv;
}

static uint64_t goal_of(const struct bench_worker *worker)
{
    uint64_t clients = (uint64_t)worker->options->clients;
    uint64_t count = (uint64_t)worker->options->count;

    return count / clients + (worker->number < count % clients ? 1 : 0);
}

void bench_work(void *arg)
{
    struct bench_worker *worker = arg;
    struct work *work = calloc(1, sizeof *work);

    if (work != NULL) {
        work->worker = worker;
        work->options = worker->options;
        work->goal = goal_of(worker);
        sp_rand_init(&work->rand, worker->number + 1);
        flush_counts(work, sp_clock_us());
    }
    int rv = work == NULL ? SPATE_ERR_NOMEM : open_work(work);
    if (rv != 0) {
        fail(worker->share, work != NULL ? work->client : NULL, rv, "client");
    } else if (work->options->kind == BENCH_CONSUME) {
        consume(work);
    } else if (work->consumer != NULL) {
        send_and_read(work);
    } else {
        produce(work);
    }
    if (work != NULL) {
        spate_consumer_free(work->consumer);
        spate_producer_free(work->producer); /* reports what is left */
        flush_counts(work, sp_clock_us());
        spate_client_free(work->client);
    }
    sp_monitor_enter(worker->share->monitor);
    worker->share->running -= 1;
    sp_monitor_leave(worker->share->monitor);
    free(work);
}
