/* Reads topics as a member of a consumer group, and commits what it has worked on.
 *
 *     group_consumer SERVERS GROUP TOPIC... < /dev/null
 *
 * Start it several times: the members share the partitions, and when one ends, however it ends, the
 * others go on where it committed last. This one ends after IDLE_MS without a record. */
#include <stdio.h>
#include <stdlib.h>

#include <spate/spate.h>

enum {
    IDLE_MS = 5000,
    BATCH = 100,
};

static int fail(const struct spate_client *client, const char *what, int code)
{
    fprintf(stderr, "%s: %s: %s\n", what, spate_error_name(code), spate_client_error(client));
    return code;
}

/* Partitions come and go; runs inside spate_consumer_batch and spate_client_close. */
static void on_event(void *arg, const struct spate_consumer_event *event)
{
    static const char *const words[] = {
        [SPATE_CONSUMER_ASSIGNED] = "assigned",
        [SPATE_CONSUMER_REVOKED] = "revoked", /* the last moment to commit by hand */
        [SPATE_CONSUMER_LOST] = "lost",       /* another member has them already */
        [SPATE_CONSUMER_STALLED] = "stalled",
        [SPATE_CONSUMER_SKIPPED] = "records are gone, goes on",
    };

    (void)arg;
    if (event->count == 0) {
        fprintf(stderr, "%s: %s\n", words[event->kind], event->text);
    }
    for (size_t i = 0; i < event->count; i++) {
        fprintf(stderr,
                "%s %s/%d at offset %lld\n",
                words[event->kind],
                event->partitions[i].topic,
                event->partitions[i].partition,
                (long long)event->partitions[i].offset);
    }
}

static int run(struct spate_client *client, struct spate_consumer *consumer)
{
    struct spate_message messages[BATCH];
    int count;

    while ((count = spate_consumer_batch(consumer, IDLE_MS, messages, BATCH)) > 0) {
        for (int i = 0; i < count; i++) {
            printf("%s %d %lld %.*s\n",
                   messages[i].topic,
                   messages[i].partition,
                   (long long)messages[i].offset,
                   (int)messages[i].value_size,
                   messages[i].value == NULL ? "" : (const char *)messages[i].value);
        }
        fflush(stdout);
        /* All of it has been worked on: others need not do it again. Without waiting: a commit that
         * fails is repeated with the next one. */
        int rv = spate_consumer_commit(consumer, &messages[count - 1], 0);
        if (rv != 0 && rv != SPATE_ERR_GROUP_FENCED) {
            return fail(client, "commit", rv);
        }
    }
    return count == SPATE_ERR_AGAIN ? 0 : fail(client, "reading", count);
}

int main(int argc, char **argv)
{
    struct spate_config *config = spate_config_new();
    struct spate_client *client = NULL;
    struct spate_consumer *consumer = NULL;

    if (argc < 4 || config == NULL) {
        fprintf(stderr, "usage: group_consumer SERVERS GROUP TOPIC...\n");
        return 2;
    }
    if (spate_config_set(config, "servers", argv[1]) != 0 ||
        spate_config_set(config, "group.id", argv[2]) != 0) {
        fprintf(stderr, "%s %s: no servers, or no name of a group\n", argv[1], argv[2]);
        return 2;
    }
    int rv = spate_client_new(config, &client);
    spate_config_free(config);
    if (rv == 0) {
        rv = spate_consumer_new(client, &consumer);
    }
    if (rv == 0) {
        rv = spate_consumer_on_event(consumer, on_event, NULL);
    }
    if (rv == 0) {
        rv =
            spate_consumer_subscribe(consumer, (const char *const *)(argv + 3), (size_t)(argc - 3));
    }
    if (rv != 0) {
        (void)fail(client, argv[2], rv);
    } else {
        rv = run(client, consumer);
    }
    /* Commits, leaves the group, so that the others need not wait for session.ms, and frees all. */
    int closed = spate_client_close(client, 5000);
    return rv == 0 && closed == 0 ? 0 : 1;
}
