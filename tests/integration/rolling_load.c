/* A program of users under load while nodes are stopped and started one after the other; called by
 * test_upgrade.py as `rolling_load SERVERS TOPIC`.
 *
 *   1 writes one record at a time   1 writes in batches   1 reads   2 members of a group   1 admin
 *
 * Each has a client of its own, and every call that fails is a failed request of a user: it is
 * told on standard error and counted. It ends when standard input does; then what was written is
 * read to its end, and one line of JSON tells the rest:
 *
 *   {"written", "read", "shared", "commits", "admin", "failed", "gap_ms", "admin_gap_ms"} */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "spate/spate.h"

enum {
    PARTITIONS = 4,
    MEMBERS = 2,
    RECORDS_MAX = 4 * 1000 * 1000, /* of both writers together, more than any run writes */
    COMMIT_EVERY = 200,
    END_SECONDS = 60, /* a run that takes longer to read to the end has failed */
};

static struct {
    const char *servers;
    const char *topic;
    atomic_bool stop; /* writers and admin end */
    atomic_bool read_to_end;
    atomic_uint next;    /* number of the next record */
    atomic_uint written; /* acknowledged */
    atomic_uint read;
    atomic_uint shared; /* read by the group, each record once */
    atomic_uint commits;
    atomic_uint admin;
    atomic_uint failed;
    atomic_ullong gap_us; /* the longest time without an acknowledgement */
    atomic_ullong admin_gap_us;
    atomic_uchar *reads;  /* of each record, by the reader */
    atomic_uchar *shares; /* likewise by the group */
} all;

static uint64_t now_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void pause_ms(long ms)
{
    struct timespec pause = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

    (void)nanosleep(&pause, NULL);
}

static void fail(struct spate_client *client, const char *what, int code)
{
    fprintf(stderr,
            "failed: %s: %s: %s\n",
            what,
            spate_error_name(code),
            client == NULL ? "" : spate_client_error(client));
    atomic_fetch_add(&all.failed, 1);
}

static void note_gap(atomic_ullong *gap, uint64_t began_us)
{
    uint64_t took_us = now_us() - began_us;

    if (took_us > atomic_load(gap)) {
        atomic_store(gap, took_us); /* one thread writes each of them */
    }
}

static struct spate_client *connect_client(const char *group)
{
    struct spate_config *config = spate_config_new();
    struct spate_client *client = NULL;
    int rv = spate_config_set(config, "servers", all.servers);

    if (rv == 0 && group != NULL) {
        rv = spate_config_set(config, "group.id", group);
    }
    if (rv == 0 && group != NULL) {
        rv = spate_config_set(config, "commit.interval.ms", "0");
    }
    if (rv == 0) {
        rv = spate_client_new(config, &client);
    }
    spate_config_free(config);
    if (rv != 0) {
        fprintf(stderr, "no client: %s\n", spate_error_name(rv));
        exit(2);
    }
    return client;
}

/* ---- writing --------------------------------------------------------------------------------- */

static struct spate_record record_of(uint32_t *number)
{
    *number = atomic_fetch_add(&all.next, 1);
    return (struct spate_record){
        .topic = all.topic,
        .partition = (int32_t)(*number % PARTITIONS),
        .value = number,
        .value_size = sizeof *number,
    };
}

static void *write_one_by_one(void *arg)
{
    struct spate_client *client = connect_client(NULL);
    struct spate_producer *producer = NULL;
    int rv = spate_producer_new(client, NULL, NULL, &producer);

    (void)arg;
    while (rv == 0 && !atomic_load(&all.stop) && atomic_load(&all.next) < RECORDS_MAX / 2) {
        uint64_t began_us = now_us();
        uint32_t number;
        int64_t offset = -1;
        struct spate_record record = record_of(&number);
        rv = spate_produce_wait(producer, &record, &offset);
        note_gap(&all.gap_us, began_us);
        if (rv == 0) {
            atomic_fetch_add(&all.written, 1);
        }
    }
    if (rv != 0) {
        fail(client, "produce_wait", rv);
    }
    spate_producer_free(producer);
    spate_client_free(client);
    return NULL;
}

static void on_delivery(void *arg, const struct spate_delivery *delivery)
{
    (void)arg;
    if (delivery->status == 0) {
        atomic_fetch_add(&all.written, 1);
    } else {
        fprintf(stderr, "delivery: %s\n", delivery->text);
        fail(NULL, "delivery", delivery->status);
    }
}

static void *write_batches(void *arg)
{
    struct spate_client *client = connect_client(NULL);
    struct spate_producer *producer = NULL;
    int rv = spate_producer_new(client, on_delivery, NULL, &producer);

    (void)arg;
    while (rv == 0 && !atomic_load(&all.stop) && atomic_load(&all.next) < RECORDS_MAX / 2) {
        for (int i = 0; rv == 0 && i < 50; i++) {
            uint32_t number;
            struct spate_record record = record_of(&number);
            while ((rv = spate_produce(producer, &record, NULL)) == SPATE_ERR_BUSY) {
                (void)spate_poll(client, 10);
            }
        }
        int events = spate_poll(client, 20);
        rv = rv == 0 && events < 0 ? events : rv;
    }
    if (rv == 0) {
        rv = spate_producer_flush(producer, -1);
    }
    if (rv != 0) {
        fail(client, "produce", rv);
    }
    spate_producer_free(producer);
    spate_client_free(client);
    return NULL;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Counts a record that was read; the first time it counts into `total`. */
static void count(atomic_uchar *fates, const struct spate_message *message, atomic_uint *total)
{
    uint32_t number = UINT32_MAX;

    if (message->value_size == sizeof number) {
        memcpy(&number, message->value, sizeof number);
    }
    if (number >= RECORDS_MAX) {
        fail(NULL, "a record that nobody wrote", 0);
    } else if (atomic_fetch_add(&fates[number], 1) == 0) {
        atomic_fetch_add(total, 1);
    }
}

static bool to_be_read(const atomic_uint *total)
{
    return !atomic_load(&all.read_to_end) || atomic_load(total) < atomic_load(&all.written);
}

static void *read_all(void *arg)
{
    struct spate_client *client = connect_client(NULL);
    struct spate_consumer *consumer = NULL;
    struct spate_message message;
    int rv = spate_consumer_new(client, &consumer);

    (void)arg;
    for (int32_t i = 0; rv == 0 && i < PARTITIONS; i++) {
        rv = spate_consumer_assign(consumer, all.topic, i, SPATE_OFFSET_START);
    }
    while (rv == 0 && to_be_read(&all.read)) {
        rv = spate_consumer_next(consumer, 100, &message);
        if (rv == 0) {
            count(all.reads, &message, &all.read);
        }
        rv = rv == SPATE_ERR_AGAIN ? 0 : rv;
    }
    if (rv != 0) {
        fail(client, "read", rv);
    }
    spate_consumer_free(consumer);
    spate_client_free(client);
    return NULL;
}

static void *share(void *arg)
{
    struct spate_client *client = connect_client(all.topic);
    struct spate_consumer *consumer = NULL;
    struct spate_message message;
    unsigned since_commit = 0;
    int rv = spate_consumer_new(client, &consumer);

    (void)arg;
    if (rv == 0) {
        rv = spate_consumer_subscribe(consumer, &all.topic, 1);
    }
    while (rv == 0 && to_be_read(&all.shared)) {
        rv = spate_consumer_next(consumer, 100, &message);
        if (rv == 0) {
            count(all.shares, &message, &all.shared);
            since_commit += 1;
        }
        if (rv == 0 && since_commit >= COMMIT_EVERY) {
            rv = spate_consumer_commit(consumer, NULL, 30000);
            since_commit = 0;
            atomic_fetch_add(&all.commits, rv == 0 ? 1 : 0);
        }
        rv = rv == SPATE_ERR_AGAIN ? 0 : rv;
    }
    if (rv != 0) {
        fail(client, "share", rv);
    }
    spate_consumer_free(consumer);
    spate_client_free(client);
    return NULL;
}

/* ---- looking after --------------------------------------------------------------------------- */

static void one_admin_round(struct spate_client *client, unsigned round)
{
    char name[128];
    uint32_t partitions = 0;
    int64_t end = 0;
    void *result = NULL;
    size_t size = 0;

    (void)snprintf(name, sizeof name, "%s-%u", all.topic, round);
    int rv = spate_topic_create(client, name, 1, 3);
    const char *what = "topic create";
    if (rv == 0) {
        what = "partitions";
        rv = spate_topic_partitions(client, name, &partitions);
    }
    if (rv == 0) {
        what = "topic delete";
        rv = spate_topic_delete(client, name);
    }
    if (rv == 0) {
        what = "offsets";
        rv = spate_offsets(client, all.topic, round % PARTITIONS, SPATE_AT_END, &end);
    }
    if (rv == 0) {
        what = "cluster.info";
        rv = spate_call(client, "cluster.info", "\x80", 1, &result, &size);
        spate_free(result);
    }
    if (rv != 0) {
        fail(client, what, rv);
    } else {
        atomic_fetch_add(&all.admin, 5);
    }
}

static void *look_after(void *arg)
{
    struct spate_client *client = connect_client(NULL);

    (void)arg;
    for (unsigned round = 0; !atomic_load(&all.stop); round++) {
        uint64_t began_us = now_us();
        one_admin_round(client, round);
        note_gap(&all.admin_gap_us, began_us);
        pause_ms(20);
    }
    spate_client_free(client);
    return NULL;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void start(pthread_t *thread, void *(*run)(void *arg))
{
    if (pthread_create(thread, NULL, run, NULL) != 0) {
        fprintf(stderr, "no thread\n");
        exit(2);
    }
}

static void make_topic(void)
{
    struct spate_client *client = connect_client(NULL);
    int rv = spate_topic_create(client, all.topic, PARTITIONS, 3);

    if (rv != 0) {
        fail(client, "topic", rv);
        exit(2);
    }
    spate_client_free(client);
}

static bool all_is_read(void)
{
    for (unsigned i = 0; i < END_SECONDS * 100; i++) {
        if (atomic_load(&all.read) >= atomic_load(&all.written) &&
            atomic_load(&all.shared) >= atomic_load(&all.written)) {
            return true;
        }
        pause_ms(10);
    }
    return false;
}

static void check_fates(void)
{
    for (unsigned i = 0; i < atomic_load(&all.next); i++) {
        if (atomic_load(&all.reads[i]) != 1 || atomic_load(&all.shares[i]) < 1) {
            fprintf(stderr,
                    "record %u: read %u times, by the group %u times\n",
                    i,
                    atomic_load(&all.reads[i]),
                    atomic_load(&all.shares[i]));
            fail(NULL, "a record is missing or repeated", 0);
            return;
        }
    }
}

int main(int argc, char **argv)
{
    pthread_t writers[3];
    pthread_t readers[1 + MEMBERS];
    char byte;

    if (argc != 3) {
        fprintf(stderr, "usage: rolling_load SERVERS TOPIC\n");
        return 2;
    }
    all.servers = argv[1];
    all.topic = argv[2];
    all.reads = calloc(RECORDS_MAX, sizeof *all.reads);
    all.shares = calloc(RECORDS_MAX, sizeof *all.shares);
    if (all.reads == NULL || all.shares == NULL) {
        return 2;
    }
    make_topic();
    start(&writers[0], write_one_by_one);
    start(&writers[1], write_batches);
    start(&writers[2], look_after);
    start(&readers[0], read_all);
    for (unsigned i = 0; i < MEMBERS; i++) {
        start(&readers[1 + i], share);
    }
    printf("running\n");
    (void)fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0) {
        ;
    }
    atomic_store(&all.stop, true);
    for (unsigned i = 0; i < 3; i++) {
        (void)pthread_join(writers[i], NULL);
    }
    atomic_store(&all.read_to_end, true);
    if (!all_is_read()) {
        fail(NULL, "not all is read", 0);
        _exit(1); /* the readers would wait for it for ever */
    }
    for (unsigned i = 0; i < 1 + MEMBERS; i++) {
        (void)pthread_join(readers[i], NULL);
    }
    check_fates();
    printf("{\"written\": %u, \"read\": %u, \"shared\": %u, \"commits\": %u, \"admin\": %u, "
           "\"failed\": %u, \"gap_ms\": %.1f, \"admin_gap_ms\": %.1f}\n",
           atomic_load(&all.written),
           atomic_load(&all.read),
           atomic_load(&all.shared),
           atomic_load(&all.commits),
           atomic_load(&all.admin),
           atomic_load(&all.failed),
           (double)atomic_load(&all.gap_us) / 1000,
           (double)atomic_load(&all.admin_gap_us) / 1000);
    return atomic_load(&all.failed) == 0 ? 0 : 1;
}
