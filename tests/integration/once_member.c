/* One member of the group of test_exactly_once.py:
 * `once_member SERVERS TOPIC GROUP INSTANCE COMMITS SESSION_MS ROWS`.
 *
 *   batch -> each record: its row is appended to ROWS -> commit as COMMITS says -> next batch
 *
 * COMMITS is `auto` (by the library alone), `hand` (by this program alone, waiting for the answer)
 * or `both` (by the library, and by hand without waiting). INSTANCE `-`: none.
 * SIGTERM: gives up everything in order and ends with 0. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "once_record.h"
#include "spate/spate.h"

enum {
    BATCH_MAX = 256,
    WAIT_MS = 100,
    COMMIT_EVERY = 8, /* batches */
    COMMIT_MS = 20000,
    CLOSE_MS = 20000,
};

static volatile sig_atomic_t stopping;

static struct {
    struct spate_client *client;
    struct spate_consumer *consumer;
    int rows;
    bool by_hand;
    bool waits; /* for the answer of its commits */
    unsigned batches;
} all;

static void fail(const char *what, int code)
{
    fprintf(stderr,
            "member: %s: %s: %s\n",
            what,
            spate_error_name(code),
            all.client == NULL ? "" : spate_client_error(all.client));
    exit(2);
}

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
}

/* ---- processing ------------------------------------------------------------------------------ */

/* A record is processed when its row is in the file, which outlives this process. */
static void process(const struct spate_message *message)
{
    struct timespec now;
    struct once_row row = {
        .offset = message->offset,
        .partition = (uint32_t)message->partition,
    };

    if (!once_parse(message->value, message->value_size, &row.producer, &row.sequence)) {
        fail("a record that nobody wrote", SPATE_ERR_CORRUPT);
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    row.time_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    if (write(all.rows, &row, sizeof row) != (ssize_t)sizeof row) {
        fail("writing rows", 0);
    }
}

/* Behind `message`, or with NULL behind all that was delivered. */
static void commit(const struct spate_message *message)
{
    int rv = spate_consumer_commit(all.consumer, message, all.waits ? COMMIT_MS : 0);

    if (rv != 0 && rv != SPATE_ERR_GROUP_FENCED) { /* of that an event tells */
        fail("commit", rv);
    }
}

static void on_event(void *arg, const struct spate_consumer_event *event)
{
    (void)arg;
    if (event->kind == SPATE_CONSUMER_REVOKED && all.by_hand) {
        commit(NULL);
    } else if (event->kind == SPATE_CONSUMER_LOST) {
        fprintf(stderr, "lost %zu partitions\n", event->count);
    }
}

static void read_batch(void)
{
    struct spate_message messages[BATCH_MAX];
    int count = spate_consumer_batch(all.consumer, WAIT_MS, messages, BATCH_MAX);

    bool commits = all.by_hand && count > 0 && ++all.batches % COMMIT_EVERY == 0;
    for (int i = 0; i < count; i++) {
        process(&messages[i]);
        if (commits && i == (all.waits ? count - 1 : count / 2)) {
            commit(&messages[i]); /* those behind it are not processed yet */
        }
    }
    if (count == SPATE_ERR_AGAIN && all.by_hand) {
        commit(NULL);
    } else if (count < 0 && count != SPATE_ERR_AGAIN) {
        fail("read", count);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

static int configure(struct spate_config *config, char **argv)
{
    const struct {
        const char *key;
        const char *value;
    } settings[] = {
        { "servers", argv[1] },
        { "group.id", argv[3] },
        { "group.instance", strcmp(argv[4], "-") == 0 ? "" : argv[4] },
        { "commit.interval.ms", strcmp(argv[5], "hand") == 0 ? "0" : "250" },
        { "session.ms", argv[6] },
    };
    int rv = config == NULL ? SPATE_ERR_NOMEM : 0;

    for (size_t i = 0; rv == 0 && i < sizeof settings / sizeof settings[0]; i++) {
        rv = spate_config_set(config, settings[i].key, settings[i].value);
    }
    return rv;
}

static void set_up(char **argv)
{
    const char *topic = argv[2];
    struct spate_config *config = spate_config_new();
    int rv = configure(config, argv);

    all.by_hand = strcmp(argv[5], "auto") != 0;
    all.waits = strcmp(argv[5], "hand") == 0;
    all.rows = open(argv[7], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (all.rows < 0) {
        fail("opening rows", 0);
    }
    if (rv == 0) {
        rv = spate_client_new(config, &all.client);
    }
    spate_config_free(config);
    if (rv == 0) {
        rv = spate_consumer_new(all.client, &all.consumer);
    }
    if (rv == 0) {
        rv = spate_consumer_on_event(all.consumer, on_event, NULL);
    }
    if (rv == 0) {
        rv = spate_consumer_subscribe(all.consumer, &topic, 1);
    }
    if (rv != 0) {
        fail("start", rv);
    }
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGTERM, on_signal);
}

int main(int argc, char **argv)
{
    if (argc != 8) {
        fprintf(stderr,
                "usage: once_member SERVERS TOPIC GROUP INSTANCE auto|hand|both SESSION_MS ROWS\n");
        return 2;
    }
    set_up(argv);
    while (!stopping) {
        read_batch();
    }
    int rv = spate_consumer_close(all.consumer, CLOSE_MS);
    if (rv != 0) {
        fail("close", rv);
    }
    spate_consumer_free(all.consumer);
    spate_client_free(all.client);
    return close(all.rows) == 0 ? 0 : 1;
}
