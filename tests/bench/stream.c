/* What a stream of records costs its client: `stream SERVERS TOPIC produce|consume RECORDS SIZE
 * [KEY=VALUE]...` writes so many records of SIZE bytes to partition 0, or reads them from its
 * start. Called by stream.py.
 *
 * Prints "seconds CPU_SECONDS PAGE_FAULTS PEAK_KIB" of the stream alone, and ends with 0 if all of
 * it went well. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "spate/spate.h"

enum {
    MESSAGES_MAX = 1000,
    WAIT_MS = 10000,
    VALUE_SIZE_MAX = 1024 * 1024,
    WARM_SHARE = 10, /* the first tenth is not measured: connections, first memory */
};

struct figures {
    double seconds;
    double cpu_seconds;
    long faults;
};

static struct figures figures_now(void)
{
    struct rusage usage;
    struct timespec now;

    (void)getrusage(RUSAGE_SELF, &usage);
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (struct figures){
        .seconds = (double)now.tv_sec + (double)now.tv_nsec / 1e9,
        .cpu_seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6,
        .faults = usage.ru_minflt,
    };
}

/* A status that ends the program, with the reason. */
static int check(struct spate_client *client, const char *what, int rv)
{
    if (rv < 0) {
        fprintf(stderr, "%s: %s: %s\n", what, spate_error_name(rv), spate_client_error(client));
    }
    return rv;
}

static void on_delivery(void *arg, const struct spate_delivery *delivery)
{
    long *failed = arg;

    *failed += delivery->status != 0;
}

static int produce(struct spate_client *client,
                   const char *topic,
                   long count,
                   size_t size,
                   struct figures *out_begin)
{
    static char value[VALUE_SIZE_MAX];
    struct spate_producer *producer = NULL;
    struct spate_record record = { .topic = topic, .value = value, .value_size = size };
    long failed = 0;
    int rv = check(client, "producer", spate_producer_new(client, on_delivery, &failed, &producer));

    for (long i = 0; i < count && rv == 0; i++) {
        if (i == count / WARM_SHARE) {
            *out_begin = figures_now();
        }
        (void)snprintf(value, sizeof value, "%ld", i);
        while ((rv = spate_produce(producer, &record, NULL)) == SPATE_ERR_BUSY) {
            (void)spate_poll(client, 1);
        }
        (void)check(client, "produce", rv);
    }
    if (rv == 0) {
        rv = check(client, "flush", spate_producer_flush(producer, WAIT_MS));
    }
    return failed > 0 ? SPATE_ERR_INTERNAL : rv;
}

static int
consume(struct spate_client *client, const char *topic, long count, struct figures *out_begin)
{
    static struct spate_message messages[MESSAGES_MAX];
    struct spate_consumer *consumer = NULL;
    long taken = 0;
    int rv = check(client, "consumer", spate_consumer_new(client, &consumer));

    if (rv == 0) {
        rv = check(client, "assign", spate_consumer_assign(consumer, topic, 0, SPATE_OFFSET_START));
    }
    while (rv >= 0 && taken < count) {
        if (taken < count / WARM_SHARE) {
            *out_begin = figures_now();
        }
        rv = check(
            client, "consume", spate_consumer_batch(consumer, WAIT_MS, messages, MESSAGES_MAX));
        taken += rv > 0 ? rv : 0;
    }
    return rv < 0 ? rv : 0;
}

static struct spate_client *open_client(const char *servers, char **settings)
{
    struct spate_config *config = spate_config_new();
    struct spate_client *client = NULL;
    int rv = config == NULL ? SPATE_ERR_NOMEM : spate_config_set(config, "servers", servers);

    for (char **setting = settings; rv == 0 && *setting != NULL; setting++) {
        char *value = strchr(*setting, '=');
        if (value == NULL) {
            rv = SPATE_ERR_INVALID;
            break;
        }
        *value = '\0';
        rv = spate_config_set(config, *setting, value + 1);
    }
    if (rv == 0) {
        rv = spate_client_new(config, &client);
    }
    if (rv != 0) {
        fprintf(stderr, "client: %s\n", spate_error_name(rv));
    }
    spate_config_free(config);
    return client;
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        fprintf(stderr, "stream SERVERS TOPIC produce|consume RECORDS SIZE [KEY=VALUE]...\n");
        return 2;
    }
    long count = strtol(argv[4], NULL, 10);
    size_t size = strtoul(argv[5], NULL, 10);
    struct figures begin = { .faults = 0 };
    struct rusage usage;

    if (count < WARM_SHARE || size < sizeof "9223372036854775807" || size > VALUE_SIZE_MAX) {
        fprintf(stderr, "RECORDS or SIZE is out of range\n");
        return 2;
    }
    struct spate_client *client = open_client(argv[1], argv + 6);
    if (client == NULL) {
        return 1;
    }
    int rv = strcmp(argv[3], "produce") == 0 ? produce(client, argv[2], count, size, &begin)
                                             : consume(client, argv[2], count, &begin);
    struct figures end = figures_now();
    (void)getrusage(RUSAGE_SELF, &usage);
    printf("%.6f %.6f %ld %ld\n",
           end.seconds - begin.seconds,
           end.cpu_seconds - begin.cpu_seconds,
           end.faults - begin.faults,
           usage.ru_maxrss);
    (void)spate_client_close(client, 0);
    return rv == 0 ? 0 : 1;
}
