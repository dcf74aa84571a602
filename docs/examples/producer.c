/* Sends each line of standard input as a record, and prints where it was stored.
 *
 *     producer SERVERS TOPIC < FILE
 *
 * Records are sent in batches while the program goes on; what became of each is reported to a
 * callback, which runs inside the library's calls on this very thread. */
#define _POSIX_C_SOURCE 200809L /* getline, where the compiler is told -std=c11 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <spate/spate.h>

struct counts {
    unsigned long stored;
    unsigned long failed;
};

static void on_delivery(void *arg, const struct spate_delivery *delivery)
{
    struct counts *counts = arg;
    unsigned long line = (unsigned long)(size_t)delivery->opaque;

    if (delivery->status == 0) {
        counts->stored += 1;
        printf("line %lu: partition %d, offset %lld\n",
               line,
               delivery->partition,
               (long long)delivery->offset);
    } else {
        /* SPATE_ERR_TIMEOUT: it may be stored or not. Any other code: it is not stored. */
        counts->failed += 1;
        fprintf(
            stderr, "line %lu: %s: %s\n", line, spate_error_name(delivery->status), delivery->text);
    }
}

static int fail(const struct spate_client *client, const char *what, int code)
{
    fprintf(stderr, "%s: %s: %s\n", what, spate_error_name(code), spate_client_error(client));
    return 1;
}

static int send_lines(struct spate_client *client, struct spate_producer *producer, char *topic)
{
    char *line = NULL;
    size_t room = 0;
    size_t number = 0;
    ssize_t size;
    int rv = 0;

    while (rv == 0 && (size = getline(&line, &room, stdin)) > 0) {
        struct spate_record record = {
            .topic = topic,
            .partition = SPATE_PARTITION_ANY,
            .value = line,
            .value_size = (size_t)size - (line[size - 1] == '\n' ? 1 : 0),
        };
        number += 1;
        /* The record is copied, so that `line` is free again at once. BUSY means that as much is
         * waiting as buffer.bytes allows: let answers come, then try again. */
        while ((rv = spate_produce(producer, &record, (void *)number)) == SPATE_ERR_BUSY) {
            (void)spate_poll(client, 100);
        }
    }
    free(line);
    return rv;
}

int main(int argc, char **argv)
{
    struct spate_config *config = spate_config_new();
    struct spate_client *client = NULL;
    struct spate_producer *producer = NULL;
    struct counts counts = { 0, 0 };

    if (argc != 3 || config == NULL) {
        fprintf(stderr, "usage: producer SERVERS TOPIC < FILE\n");
        return 2;
    }
    if (spate_config_set(config, "servers", argv[1]) != 0 ||
        spate_config_set(config, "linger.ms", "20") != 0) {
        fprintf(stderr, "%s: not a list of host:port\n", argv[1]);
        return 2;
    }
    int rv = spate_client_new(config, &client);
    spate_config_free(config);
    if (rv != 0) {
        return fail(client, "client", rv);
    }
    rv = spate_producer_new(client, on_delivery, &counts, &producer);
    if (rv == 0) {
        rv = send_lines(client, producer, argv[2]);
    }
    if (rv != 0) {
        (void)fail(client, argv[2], rv);
    }
    /* Waits until every record is reported, and frees the producer and the client. */
    (void)spate_client_close(client, -1);
    fprintf(stderr, "%lu stored, %lu failed\n", counts.stored, counts.failed);
    return rv == 0 && counts.failed == 0 ? 0 : 1;
}
