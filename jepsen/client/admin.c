/* Changes what the controller keeps: creates and deletes topics beside the one under test, and
 * looks whether they are there afterwards. */
#include <inttypes.h>
#include <stdio.h>

#include "workload.h"

enum {
    NAME_MAX_SIZE = 250,
    PAUSE_NS = 500 * 1000 * 1000,
    PARTITIONS_MEAN = 3,
};

static const char *outcome_of(int rv)
{
    if (rv == 0) {
        return "ok";
    }
    return rv == SPATE_ERR_EXISTS || rv == SPATE_ERR_UNKNOWN_TOPIC ? "fail" : "info";
}

static int change(struct jep_client *client, const char *what, const char *name)
{
    struct jep_history *history = client->history;
    uint64_t number = jep_history_operation(history);
    uint32_t partitions = jep_draw(client, PARTITIONS_MEAN);
    bool create = what[0] == 'c';

    jep_history_line(history, number, "invoke %s topic=%s", what, name);
    jep_history_flush(history);
    int rv = create ? spate_topic_create(client->spate, name, partitions, 0)
                    : spate_topic_delete(client->spate, name);
    jep_history_line(
        history, number, "%s %s topic=%s e=%s", outcome_of(rv), what, name, spate_error_name(rv));
    return rv;
}

/* Is the topic there? Asked of whichever node answers, so one that lags may not know yet. */
static void look(struct jep_client *client, const char *name)
{
    struct jep_history *history = client->history;
    uint64_t number = jep_history_operation(history);
    uint32_t partitions = 0;

    jep_history_line(history, number, "invoke exists topic=%s", name);
    int rv = spate_topic_partitions(client->spate, name, &partitions);
    bool known = rv == 0 || rv == SPATE_ERR_UNKNOWN_TOPIC;
    jep_history_line(history,
                     number,
                     "%s exists topic=%s n=%" PRIu32 " e=%s",
                     known ? "ok" : "fail",
                     name,
                     partitions,
                     spate_error_name(rv));
}

int jep_admin(struct jep_client *client)
{
    char name[NAME_MAX_SIZE];

    for (uint32_t i = 0; jep_goes_on(client); i++) {
        (void)snprintf(name,
                       sizeof name,
                       "%.200s-admin-%" PRIu32 "-%" PRIu32,
                       client->options.topic,
                       client->options.id,
                       i);
        (void)change(client, "create", name); /* the history has the outcome */
        look(client, name);
        jep_wait(client, jep_now_ns() + PAUSE_NS);
        (void)change(client, "delete", name);
        jep_wait(client, jep_now_ns() + PAUSE_NS);
    }
    return 0;
}
