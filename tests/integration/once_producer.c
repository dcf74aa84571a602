/* One producer of test_exactly_once.py, with nothing set but where the servers are:
 * `once_producer SERVERS TOPIC NUMBER COUNT ACKS`.
 *
 * On standard input come numbers of 8 bytes, machine order: so many records may be written in all.
 * What is reported is appended to the file ACKS (once_record.h). Ends with 0 when all records are
 * reported, whatever became of them: the test judges. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "once_record.h"
#include "spate/spate.h"

enum {
    POLL_MS = 10,
    ALLOWANCES_MAX = 64,
};

static struct {
    struct spate_client *client;
    struct spate_producer *producer;
    const char *topic;
    uint32_t number;
    uint64_t count;
    uint64_t allowed;
    uint64_t written;
    uint64_t reported;
    FILE *acks;
} all;

static void fail(const char *what, int code)
{
    fprintf(stderr,
            "producer %" PRIu32 ": %s: %s: %s\n",
            all.number,
            what,
            spate_error_name(code),
            spate_client_error(all.client));
    exit(2);
}

static void on_delivery(void *arg, const struct spate_delivery *delivery)
{
    struct once_ack ack = {
        .sequence = (uint32_t)(uintptr_t)delivery->opaque,
        .status = delivery->status,
        .offset = delivery->offset,
        .partition = (uint32_t)delivery->partition,
    };

    (void)arg;
    if (delivery->status != 0) {
        fprintf(stderr,
                "producer %" PRIu32 ": record %" PRIu32 ": %s: %s\n",
                all.number,
                ack.sequence,
                spate_error_name(delivery->status),
                delivery->text);
    }
    if (fwrite(&ack, sizeof ack, 1, all.acks) != 1) {
        fail("writing acks", 0);
    }
    all.reported += 1;
}

/* What the test allows by now; all of it once the test has closed the pipe. */
static void read_allowance(void)
{
    uint64_t numbers[ALLOWANCES_MAX];
    ssize_t size = read(STDIN_FILENO, numbers, sizeof numbers);

    if (size == 0) {
        all.allowed = all.count;
    } else if (size > 0) {
        all.allowed = numbers[(size_t)size / sizeof numbers[0] - 1];
    } else if (errno != EAGAIN && errno != EINTR) {
        fail("reading the allowance", 0);
    }
}

static void write_one(void)
{
    char key[ONCE_KEY_SIZE + 1];
    char value[ONCE_VALUE_SIZE + 1];
    uint32_t sequence = (uint32_t)all.written;
    int rv;

    once_key(all.number, sequence, key);
    once_value(all.number, sequence, value);
    struct spate_record record = {
        .topic = all.topic,
        .partition = SPATE_PARTITION_ANY,
        .key = key,
        .key_size = ONCE_KEY_SIZE,
        .value = value,
        .value_size = ONCE_VALUE_SIZE,
    };
    while ((rv = spate_produce(all.producer, &record, (void *)(uintptr_t)sequence)) ==
           SPATE_ERR_BUSY) {
        (void)spate_poll(all.client, POLL_MS);
    }
    if (rv != 0) {
        fail("produce", rv);
    }
    all.written += 1;
}

static void write_all(void)
{
    while (all.reported < all.count) {
        read_allowance();
        while (all.written < all.allowed) {
            write_one();
        }
        int rv = spate_poll(all.client, POLL_MS);
        if (rv < 0) {
            fail("poll", rv);
        }
        if (fflush(all.acks) != 0) {
            fail("writing acks", 0);
        }
    }
}

static void set_up(const char *servers, const char *acks)
{
    struct spate_config *config = spate_config_new();
    int rv = config == NULL ? SPATE_ERR_NOMEM : spate_config_set(config, "servers", servers);

    if (rv == 0) {
        rv = spate_client_new(config, &all.client);
    }
    spate_config_free(config);
    if (rv == 0) {
        rv = spate_producer_new(all.client, on_delivery, NULL, &all.producer);
    }
    if (rv != 0) {
        fail("start", rv);
    }
    all.acks = fopen(acks, "ab");
    if (all.acks == NULL || fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK) != 0) {
        fail("start", 0);
    }
    (void)signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: once_producer SERVERS TOPIC NUMBER COUNT ACKS\n");
        return 2;
    }
    all.topic = argv[2];
    all.number = (uint32_t)strtoul(argv[3], NULL, 10);
    all.count = strtoull(argv[4], NULL, 10);
    set_up(argv[1], argv[5]);
    write_all();
    int rv = spate_client_close(all.client, -1);
    if (rv != 0) {
        fprintf(stderr, "producer %" PRIu32 ": close: %s\n", all.number, spate_error_name(rv));
    }
    return rv == 0 && fclose(all.acks) == 0 ? 0 : 1;
}
