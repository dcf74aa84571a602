/* Steady load for tests/bench/failover: so many numbered records a second, round robin over the
 * partitions of a topic, while nodes are killed, stopped and started.
 *
 *   failover_load SERVERS TOPIC PARTITIONS RATE
 *
 * A line on standard input is answered by one line of JSON, of the time since the last one:
 *
 *   {"acked", "failed", "gap_ms", "latency_ms"}
 *
 * gap_ms is the longest time in which a partition had records under way and acknowledged none,
 * latency_ms the longest that a record took. At the end of the input what is under way is waited
 * for, everything is read, and the last line is
 *
 *   {"written", "failed", "lost", "repeated"} */
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "spate/spate.h"

enum {
    PARTITIONS_MAX = 10000,
    RECORDS_MAX = 4 * 1000 * 1000,
    READ_SECONDS = 60, /* a run that takes longer to read to the end has failed */
    BATCH_MESSAGES = 1000,
    VALUE_SIZE = 100,
};

struct partition {
    uint64_t quiet_since_us; /* last acknowledgement, or first record after none was under way */
    uint32_t under_way;
};

static struct {
    struct spate_client *client;
    struct spate_producer *producer;
    const char *servers;
    const char *topic;
    uint32_t partition_count;
    struct partition partitions[PARTITIONS_MAX];
    uint32_t next;    /* number of the next record */
    uint32_t written; /* acknowledged */
    uint32_t failed;
    uint32_t acked_now; /* since the last answer */
    uint32_t failed_now;
    uint64_t gap_us;
    uint64_t latency_us;
    uint64_t *sent_us;    /* of each record */
    unsigned char *fates; /* of each record: ACKED, and how often it was read */
} load;

enum {
    ACKED = 0x80
};

static uint64_t now_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void end(const char *what, int code)
{
    fprintf(stderr,
            "failover_load: %s: %s: %s\n",
            what,
            spate_error_name(code),
            load.client == NULL ? "" : spate_client_error(load.client));
    exit(2);
}

static uint64_t longer(uint64_t left, uint64_t right)
{
    return left > right ? left : right;
}

/* ---- writing --------------------------------------------------------------------------------- */

static void on_delivery(void *arg, const struct spate_delivery *delivery)
{
    uint32_t number = (uint32_t)(uintptr_t)delivery->opaque;
    struct partition *partition = &load.partitions[number % load.partition_count];
    uint64_t now = now_us();

    (void)arg;
    partition->under_way -= 1;
    if (delivery->status != 0) {
        load.failed += 1;
        load.failed_now += 1;
        fprintf(stderr, "failover_load: %s\n", delivery->text);
        return;
    }
    load.gap_us = longer(load.gap_us, now - partition->quiet_since_us);
    load.latency_us = longer(load.latency_us, now - load.sent_us[number]);
    partition->quiet_since_us = now;
    load.fates[number] |= ACKED;
    load.written += 1;
    load.acked_now += 1;
}

/* False: there is no room for more at the moment. */
static bool send_one(void)
{
    unsigned char value[VALUE_SIZE] = { 0 };
    uint32_t number = load.next;
    struct partition *partition = &load.partitions[number % load.partition_count];
    struct spate_record record = {
        .topic = load.topic,
        .partition = (int32_t)(number % load.partition_count),
        .value = value,
        .value_size = sizeof value,
    };

    if (number == RECORDS_MAX) {
        return false;
    }
    memcpy(value, &number, sizeof number);
    int rv = spate_produce(load.producer, &record, (void *)(uintptr_t)number);
    if (rv == SPATE_ERR_BUSY) {
        return false;
    }
    if (rv != 0) {
        end("produce", rv);
    }
    load.sent_us[number] = now_us();
    if (partition->under_way++ == 0) {
        partition->quiet_since_us = load.sent_us[number];
    }
    load.next += 1;
    return true;
}

static void answer(void)
{
    uint64_t now = now_us();

    for (uint32_t i = 0; i < load.partition_count; i++) {
        if (load.partitions[i].under_way > 0) { /* a gap that lasts */
            load.gap_us = longer(load.gap_us, now - load.partitions[i].quiet_since_us);
        }
    }
    printf("{\"acked\": %u, \"failed\": %u, \"gap_ms\": %.1f, \"latency_ms\": %.1f}\n",
           load.acked_now,
           load.failed_now,
           (double)load.gap_us / 1000,
           (double)load.latency_us / 1000);
    (void)fflush(stdout);
    load.acked_now = 0;
    load.failed_now = 0;
    load.gap_us = 0;
    load.latency_us = 0;
}

/* False at the end of the input. */
static bool take_lines(void)
{
    struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
    char bytes[64];

    if (poll(&input, 1, 0) <= 0) {
        return true;
    }
    ssize_t count = read(STDIN_FILENO, bytes, sizeof bytes);
    for (ssize_t i = 0; i < count; i++) {
        if (bytes[i] == '\n') {
            answer();
        }
    }
    return count > 0;
}

static void write_on(uint32_t rate)
{
    uint64_t begin_us = now_us();
    uint64_t place = 0;

    while (take_lines()) {
        uint64_t due = (now_us() - begin_us) * rate / 1000000;
        while (place < due && send_one()) {
            place += 1;
        }
        (void)spate_poll(load.client, 1); /* counts callbacks, cannot fail here */
    }
    int rv = spate_producer_flush(load.producer, -1);
    if (rv != 0) {
        end("flush", rv);
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

static void note(const struct spate_message *message)
{
    uint32_t number = UINT32_MAX;

    if (message->value_size == VALUE_SIZE) {
        memcpy(&number, message->value, sizeof number);
    }
    if (number >= load.next) {
        end("a record that nobody wrote", 0);
    }
    if ((load.fates[number] & ~ACKED) < 2) {
        load.fates[number] += 1;
    }
}

static void read_all(void)
{
    static struct spate_message messages[BATCH_MESSAGES];
    struct spate_consumer *consumer = NULL;
    uint64_t deadline_us = now_us() + (uint64_t)READ_SECONDS * 1000000;
    int rv = spate_consumer_new(load.client, &consumer);

    for (uint32_t i = 0; rv == 0 && i < load.partition_count; i++) {
        rv = spate_consumer_assign(consumer, load.topic, (int32_t)i, SPATE_OFFSET_START);
    }
    while (rv >= 0 && spate_consumer_at_end(consumer) != 1) {
        rv = spate_consumer_batch(consumer, 100, messages, BATCH_MESSAGES);
        for (int i = 0; i < rv; i++) {
            note(&messages[i]);
        }
        rv = rv == SPATE_ERR_AGAIN ? 0 : rv;
        if (now_us() > deadline_us) {
            rv = SPATE_ERR_TIMEOUT;
        }
    }
    if (rv < 0) {
        end("read", rv);
    }
    spate_consumer_free(consumer);
}

static void judge(void)
{
    uint32_t lost = 0;
    uint32_t repeated = 0;

    for (uint32_t i = 0; i < load.next; i++) {
        lost += load.fates[i] == ACKED;
        repeated += (load.fates[i] & ~ACKED) > 1;
    }
    printf("{\"written\": %u, \"failed\": %u, \"lost\": %u, \"repeated\": %u}\n",
           load.written,
           load.failed,
           lost,
           repeated);
}

int main(int argc, char **argv)
{
    if (argc != 5 || strtoul(argv[3], NULL, 10) == 0 ||
        strtoul(argv[3], NULL, 10) > PARTITIONS_MAX) {
        fprintf(stderr, "usage: failover_load SERVERS TOPIC PARTITIONS RATE\n");
        return 2;
    }
    struct spate_config *config = spate_config_new();
    load.servers = argv[1];
    load.topic = argv[2];
    load.partition_count = (uint32_t)strtoul(argv[3], NULL, 10);
    load.sent_us = calloc(RECORDS_MAX, sizeof *load.sent_us);
    load.fates = calloc(RECORDS_MAX, sizeof *load.fates);
    if (config == NULL || load.sent_us == NULL || load.fates == NULL) {
        return 2;
    }
    int rv = spate_config_set(config, "servers", load.servers);
    rv = rv == 0 ? spate_config_set(config, "linger.ms", "0") : rv;
    rv = rv == 0 ? spate_client_new(config, &load.client) : rv;
    rv = rv == 0 ? spate_producer_new(load.client, on_delivery, NULL, &load.producer) : rv;
    spate_config_free(config);
    if (rv != 0) {
        end("client", rv);
    }
    write_on((uint32_t)strtoul(argv[4], NULL, 10));
    read_all();
    judge();
    spate_producer_free(load.producer);
    spate_client_free(load.client);
    return 0;
}
