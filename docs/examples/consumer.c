/* Prints the records of all partitions of a topic from the start on, inside an event loop.
 *
 *     consumer SERVERS TOPIC [COUNT]
 *
 * The loop is poll(2) over the client's descriptor and standard input: it ends with the end of the
 * input, or after COUNT records. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <spate/spate.h>

static int fail(const struct spate_client *client, const char *what, int code)
{
    fprintf(stderr, "%s: %s: %s\n", what, spate_error_name(code), spate_client_error(client));
    return code;
}

static int assign_all(struct spate_client *client, struct spate_consumer *consumer, char *topic)
{
    uint32_t count = 0;
    int rv = spate_topic_partitions(client, topic, &count);

    for (uint32_t i = 0; rv == 0 && i < count; i++) {
        rv = spate_consumer_assign(consumer, topic, (int32_t)i, SPATE_OFFSET_START);
    }
    return rv == 0 ? 0 : fail(client, topic, rv);
}

/* Takes what is there without waiting. 0: nothing is left for now. */
static int print_records(struct spate_client *client, struct spate_consumer *consumer, long *left)
{
    struct spate_message message;
    int rv = 0;

    while (*left > 0 && (rv = spate_consumer_next(consumer, 0, &message)) == 0) {
        /* The bytes belong to the consumer until its next call. */
        printf("%d %lld %.*s\n",
               message.partition,
               (long long)message.offset,
               (int)message.value_size,
               message.value == NULL ? "" : (const char *)message.value);
        *left -= 1;
    }
    fflush(stdout);
    /* Trouble with the network is not reported: it is met by trying again. What is reported
     * concerns one partition, which then rests. */
    return rv == 0 || rv == SPATE_ERR_AGAIN ? 0 : fail(client, "reading", rv);
}

static int run(struct spate_client *client, struct spate_consumer *consumer, long left)
{
    struct pollfd watched[2] = {
        { .fd = spate_client_fd(client), .events = POLLIN },
        { .fd = STDIN_FILENO, .events = POLLIN },
    };
    char input[512];
    int rv;

    /* First take all there is, then wait: the descriptor tells of what comes after that. */
    while ((rv = print_records(client, consumer, &left)) == 0 && left > 0) {
        if (poll(watched, 2, spate_client_wait_ms(client)) < 0) {
            return SPATE_ERR_IO;
        }
        if (watched[1].revents != 0 && read(STDIN_FILENO, input, sizeof input) <= 0) {
            return 0;
        }
    }
    return rv;
}

int main(int argc, char **argv)
{
    struct spate_config *config = spate_config_new();
    struct spate_client *client = NULL;
    struct spate_consumer *consumer = NULL;

    if (argc < 3 || config == NULL) {
        fprintf(stderr, "usage: consumer SERVERS TOPIC [COUNT]\n");
        return 2;
    }
    if (spate_config_set(config, "servers", argv[1]) != 0) {
        fprintf(stderr, "%s: not a list of host:port\n", argv[1]);
        return 2;
    }
    int rv = spate_client_new(config, &client);
    spate_config_free(config);
    if (rv == 0) {
        rv = spate_consumer_new(client, &consumer);
    }
    if (rv == 0) {
        rv = assign_all(client, consumer, argv[2]);
    }
    if (rv == 0) {
        rv = run(client, consumer, argc > 3 ? atol(argv[3]) : 0x7fffffff);
    }
    (void)spate_client_close(client, 0); /* nothing is on its way that anybody would miss */
    return rv == 0 ? 0 : 1;
}
