/* Many threads on one client against real nodes, one of which dies meanwhile; called by
 * test_threads.py as `client_threads SERVERS TOPIC RECORDS`.
 *
 *   4 writers (two share a producer) -> topic -> 2 readers, a group of 2    all on one client,
 *   1 that polls, 1 with admin calls, 1 with errors, 1 waiting    which is closed at the end
 *
 * Prints "half" when half of the records are written. Ends with 0 if each record was reported once,
 * every stored one was read once and no other one more than once. */
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "spate/spate.h"

enum {
    WRITERS = 4,
    READERS = 2,
    MEMBERS = 2,
    PARTITIONS = 4,
    VALUE_SIZE = 100,
    END_SECONDS = 90, /* a run that takes longer has failed */
};

struct record_fate {
    atomic_uint reports;
    atomic_int status;
    atomic_uint reads;
    atomic_uint shared; /* times read by the members of the group */
};

static struct {
    struct spate_client *client;
    struct spate_producer *producers[WRITERS];
    const char *topic;
    unsigned records; /* of each writer */
    struct record_fate *fates;
    atomic_uint written;
    atomic_uint read;
    atomic_uint shared;
    atomic_uint reported;
    atomic_uint stored;
    atomic_bool stop;
    atomic_uint problems;
    atomic_uint callbacks_running[WRITERS]; /* of each producer */
} all;

static void problem(const char *what, int code)
{
    fprintf(stderr,
            "problem: %s: %s: %s\n",
            what,
            spate_error_name(code),
            spate_client_error(all.client));
    atomic_fetch_add(&all.problems, 1);
}

/* ---- writing --------------------------------------------------------------------------------- */

static void on_delivery(void *arg, const struct spate_delivery *delivery)
{
    struct record_fate *fate = &all.fates[(uintptr_t)delivery->opaque];
    atomic_uint *running = arg;

    if (atomic_fetch_add(running, 1) != 0) {
        fprintf(stderr, "problem: two callbacks of one producer at the same time\n");
        atomic_fetch_add(&all.problems, 1);
    }
    atomic_store(&fate->status, delivery->status);
    atomic_fetch_add(&fate->reports, 1);
    atomic_fetch_add(&all.reported, 1);
    if (delivery->status == 0) {
        atomic_fetch_add(&all.stored, 1);
        if (atomic_load(&all.stored) % 1000 == 0) { /* a callback may call the library */
            (void)spate_producer_pending(all.producers[0]);
        }
    }
    atomic_fetch_sub(running, 1);
}

static void *write_records(void *arg)
{
    unsigned writer = (unsigned)(uintptr_t)arg;
    struct spate_producer *producer = all.producers[writer];
    char value[VALUE_SIZE];

    memset(value, 'x', sizeof value);
    for (unsigned i = 0; i < all.records; i++) {
        uintptr_t number = (uintptr_t)writer * all.records + i;
        (void)snprintf(value, sizeof value, "%" PRIuPTR, number);
        struct spate_record record = {
            .topic = all.topic,
            .partition = SPATE_PARTITION_ANY,
            .key = i % 2 == 0 ? &number : NULL,
            .key_size = i % 2 == 0 ? sizeof number : 0,
            .value = value,
            .value_size = sizeof value,
        };
        int rv;
        while ((rv = spate_produce(producer, &record, (void *)number)) == SPATE_ERR_BUSY) {
            (void)spate_poll(all.client, 10);
        }
        if (rv != 0) {
            problem("produce", rv);
            break;
        }
        if (atomic_fetch_add(&all.written, 1) + 1 == WRITERS * all.records / 2) {
            printf("half\n");
            (void)fflush(stdout);
        }
        if (i % 64 == 0) { /* about five seconds in all, so that a node can die meanwhile */
            struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };
            (void)nanosleep(&pause, NULL);
        }
    }
    int rv = spate_producer_flush(producer, -1);
    if (rv != 0) {
        problem("flush", rv);
    }
    return NULL;
}

/* ---- reading --------------------------------------------------------------------------------- */

static void *read_records(void *arg)
{
    unsigned reader = (unsigned)(uintptr_t)arg;
    struct spate_consumer *consumer = NULL;
    struct spate_message message;
    int rv = spate_consumer_new(all.client, &consumer);

    for (int32_t i = 0; rv == 0 && i < PARTITIONS; i++) {
        if ((unsigned)i % READERS == reader) {
            rv = spate_consumer_assign(consumer, all.topic, i, SPATE_OFFSET_START);
        }
    }
    if (rv != 0) {
        problem("assign", rv);
        return NULL;
    }
    while (!atomic_load(&all.stop)) {
        rv = spate_consumer_next(consumer, 100, &message);
        if (rv == 0) {
            unsigned long number = strtoul(message.value, NULL, 10);
            if (message.value_size != VALUE_SIZE || number >= WRITERS * all.records) {
                problem("a record that nobody wrote", 0);
                continue;
            }
            atomic_fetch_add(&all.fates[number].reads, 1);
            atomic_fetch_add(&all.read, 1);
        } else if (rv != SPATE_ERR_AGAIN) {
            problem("read", rv);
            break;
        }
    }
    spate_consumer_free(consumer);
    return NULL;
}

/* A member of a group, whose callback calls the library while other threads do. */
static void on_event(void *arg, const struct spate_consumer_event *event)
{
    if (event->kind == SPATE_CONSUMER_REVOKED) {
        int rv = spate_consumer_commit(arg, NULL, 5000);
        if (rv != 0) {
            problem("commit", rv);
        }
    }
}

static void *share_records(void *arg)
{
    struct spate_consumer *consumer = NULL;
    struct spate_message message;
    int rv = spate_consumer_new(all.client, &consumer);

    (void)arg;
    if (rv == 0) {
        rv = spate_consumer_on_event(consumer, on_event, consumer);
    }
    if (rv == 0) {
        rv = spate_consumer_subscribe(consumer, &all.topic, 1);
    }
    while (rv == 0 && !atomic_load(&all.stop)) {
        rv = spate_consumer_next(consumer, 100, &message);
        if (rv == 0) {
            unsigned long number = strtoul(message.value, NULL, 10);
            if (number < WRITERS * all.records) {
                bool fresh = atomic_fetch_add(&all.fates[number].shared, 1) == 0;
                atomic_fetch_add(&all.shared, fresh ? 1 : 0);
            }
            if (number % 100 == 0) {
                rv = spate_consumer_commit(consumer, &message, 0);
                rv = rv == SPATE_ERR_GROUP_FENCED ? 0 : rv; /* an event will tell */
            }
        }
        rv = rv == SPATE_ERR_AGAIN ? 0 : rv;
    }
    if (rv != 0) {
        problem("share", rv);
    }
    return NULL; /* the client's end closes it */
}

/* ---- the others ------------------------------------------------------------------------------ */

static void *poll_client(void *arg)
{
    (void)arg;
    while (!atomic_load(&all.stop)) {
        int rv = spate_poll(all.client, 20);
        if (rv < 0) {
            problem("poll", rv);
            return NULL;
        }
    }
    return NULL;
}

static void *make_topics(void *arg)
{
    (void)arg;
    for (unsigned i = 0; !atomic_load(&all.stop); i++) {
        char name[64];
        uint32_t partitions = 0;
        int64_t end = 0;
        (void)snprintf(name, sizeof name, "%s-%u", all.topic, i);
        int rv = spate_topic_create(all.client, name, 1, 1);
        if (rv == 0) {
            rv = spate_topic_partitions(all.client, name, &partitions);
        }
        /* A topic with one replica is gone for a while when that node is killed: no problem. */
        if (rv == 0 && partitions != 1) {
            problem("partitions", rv);
        }
        (void)spate_topic_delete(all.client, name);
        rv = spate_offsets(all.client, all.topic, i % PARTITIONS, SPATE_AT_END, &end);
        if (rv != 0) {
            problem("offsets", rv);
        }
    }
    return NULL;
}

/* Each thread is told its own failures, however many others fail at the same time. */
static void *make_errors(void *arg)
{
    char key[32];
    char want[64];

    (void)snprintf(key, sizeof key, "no/such/topic/%u", (unsigned)(uintptr_t)arg);
    (void)snprintf(want, sizeof want, "%s: no topic can have this name", key);
    while (!atomic_load(&all.stop)) {
        uint32_t partitions = 0;
        int rv = spate_topic_partitions(all.client, key, &partitions);
        struct timespec pause = { .tv_nsec = 1000 * 1000 };
        (void)nanosleep(&pause, NULL);
        if (rv != SPATE_ERR_INVALID || strcmp(spate_client_error(all.client), want) != 0) {
            problem(key, rv);
        }
    }
    return NULL;
}

/* Waits for a record that never comes until the client is closed. */
static void *wait_for_ever(void *arg)
{
    struct spate_consumer *consumer = NULL;
    struct spate_message message;
    int rv = spate_consumer_new(all.client, &consumer);

    if (rv == 0) {
        rv = spate_consumer_assign(consumer, all.topic, 0, SPATE_OFFSET_END);
    }
    while (rv == 0) {
        rv = spate_consumer_next(consumer, -1, &message);
    }
    *(int *)arg = rv;
    return NULL;
}

static void on_one(void *arg, const struct spate_delivery *delivery)
{
    *(int *)arg = delivery->status == 0 ? 1 : -1;
}

/* Everything of a record's way happens without a call, and the descriptor tells of its end. */
static void check_descriptor(void)
{
    struct spate_producer *producer = NULL;
    struct pollfd watched = { .fd = spate_client_fd(all.client), .events = POLLIN };
    char topic[64];
    int told = 0;

    (void)snprintf(topic, sizeof topic, "%s-fd", all.topic);
    struct spate_record record = { .topic = topic, .value = "x", .value_size = 1 };
    int rv = spate_topic_create(all.client, topic, 1, 3);
    if (rv == 0) {
        rv = spate_producer_new(all.client, on_one, &told, &producer);
    }
    for (int i = 0; rv == 0 && i < 3; i++) {
        told = 0;
        struct timespec pause = { .tv_nsec = 300 * 1000 * 1000 };
        (void)nanosleep(&pause, NULL); /* so that the client's thread sleeps without a limit */
        rv = spate_produce(producer, &record, NULL);
        if (rv != 0 || poll(&watched, 1, 10000) != 1 || told != 0) {
            problem("the descriptor says nothing", rv);
        }
        if (spate_poll(all.client, 0) != 1 || told != 1 || poll(&watched, 1, 0) != 0) {
            problem("the descriptor says too much", rv);
        }
    }
    if (rv != 0) {
        problem("descriptor", rv);
    }
    spate_producer_free(producer);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static bool wait_until_read(void)
{
    for (unsigned i = 0; i < END_SECONDS * 100; i++) {
        if (atomic_load(&all.reported) == WRITERS * all.records &&
            atomic_load(&all.read) >= atomic_load(&all.stored) &&
            atomic_load(&all.shared) >= atomic_load(&all.stored)) {
            return true;
        }
        struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };
        (void)nanosleep(&pause, NULL);
    }
    return false;
}

static unsigned check_fates(void)
{
    unsigned bad = 0;

    for (unsigned i = 0; i < WRITERS * all.records; i++) {
        unsigned reports = atomic_load(&all.fates[i].reports);
        unsigned reads = atomic_load(&all.fates[i].reads);
        int status = atomic_load(&all.fates[i].status);
        /* A group delivers at least once: twice when a commit was lost with the node. */
        unsigned shared = atomic_load(&all.fates[i].shared);
        bool stored = status == 0 && reads == 1 && shared >= 1;
        bool good = reports == 1 && (stored || (status == SPATE_ERR_TIMEOUT && reads <= 1));
        if (!good && bad++ < 5) {
            fprintf(stderr,
                    "record %u: %u reports, the last %s, read %u times, by the group %u times\n",
                    i,
                    reports,
                    spate_error_name(status),
                    reads,
                    shared);
        }
    }
    return bad;
}

static void start(pthread_t *thread, void *(*run)(void *arg), void *arg)
{
    if (pthread_create(thread, NULL, run, arg) != 0) {
        fprintf(stderr, "no thread\n");
        exit(2);
    }
}

static void set_up(const char *servers)
{
    struct spate_config *config = spate_config_new();
    int rv = spate_config_set(config, "servers", servers);

    if (rv == 0) {
        rv = spate_config_set(config, "io.thread", "on");
    }
    if (rv == 0) {
        rv = spate_config_set(config, "group.id", all.topic);
    }
    if (rv == 0) { /* the readers by assignment have nothing to commit beside the group's members */
        rv = spate_config_set(config, "commit.interval.ms", "0");
    }
    if (rv == 0) {
        rv = spate_client_new(config, &all.client);
    }
    spate_config_free(config);
    if (rv == 0) {
        rv = spate_topic_create(all.client, all.topic, PARTITIONS, 3);
    }
    for (unsigned i = 0; rv == 0 && i < WRITERS; i++) {
        if (i == 1) {
            all.producers[1] = all.producers[0];
            continue;
        }
        rv = spate_producer_new(
            all.client, on_delivery, &all.callbacks_running[i], &all.producers[i]);
    }
    if (rv != 0) {
        fprintf(stderr, "%s: %s\n", spate_error_name(rv), spate_client_error(all.client));
        exit(2);
    }
    all.fates = calloc((size_t)WRITERS * all.records, sizeof *all.fates);
}

int main(int argc, char **argv)
{
    pthread_t writers[WRITERS];
    pthread_t others[READERS + 4 + MEMBERS];
    pthread_t waiting;
    int waited = 0;

    if (argc != 4) {
        fprintf(stderr, "usage: client_threads SERVERS TOPIC RECORDS\n");
        return 2;
    }
    all.topic = argv[2];
    all.records = (unsigned)strtoul(argv[3], NULL, 10);
    set_up(argv[1]);
    check_descriptor();
    start(&waiting, wait_for_ever, &waited);
    for (uintptr_t i = 0; i < READERS; i++) {
        start(&others[i], read_records, (void *)i);
    }
    start(&others[READERS], poll_client, NULL);
    start(&others[READERS + 1], make_topics, NULL);
    start(&others[READERS + 2], make_errors, (void *)1);
    start(&others[READERS + 3], make_errors, (void *)2);
    for (unsigned i = 0; i < MEMBERS; i++) {
        start(&others[READERS + 4 + i], share_records, NULL);
    }
    for (uintptr_t i = 0; i < WRITERS; i++) {
        start(&writers[i], write_records, (void *)i);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        (void)pthread_join(writers[i], NULL);
    }
    bool complete = wait_until_read();
    atomic_store(&all.stop, true);
    for (unsigned i = 0; i < READERS + 4 + MEMBERS; i++) {
        (void)pthread_join(others[i], NULL);
    }
    int closed = spate_client_close(all.client, 5000);
    (void)pthread_join(waiting, NULL);
    unsigned bad = check_fates();
    printf("written %u reported %u stored %u read %u; problems %u bad %u; close %s, wait %s\n",
           atomic_load(&all.written),
           atomic_load(&all.reported),
           atomic_load(&all.stored),
           atomic_load(&all.read),
           atomic_load(&all.problems),
           bad,
           spate_error_name(closed),
           spate_error_name(waited));
    free(all.fates);
    return complete && bad == 0 && atomic_load(&all.problems) == 0 && closed == 0 &&
                   waited == SPATE_ERR_CANCELED
               ? 0
               : 1;
}
