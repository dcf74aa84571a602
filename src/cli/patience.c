/* Silence, and whose fault it is. */
#include "cli/patience.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/value.h"
#include "cli/when.h"

enum {
    TIMEOUT_DEFAULT_MS = 30000, /* libspate's own */
    ASK_MS = 1000,
    NAMES_SIZE = 200,
    TROUBLE_SIZE = NAMES_SIZE + 100,
    LOOKS = 4, /* within the time after which silence ends the command */
};

void patience_begin(struct patience *patience, const struct cli *cli, bool counted)
{
    int64_t timeout_ms = cli->timeout_ms > 0 ? cli->timeout_ms : TIMEOUT_DEFAULT_MS;

    patience->ask_ms = timeout_ms > 4 * ASK_MS ? ASK_MS : timeout_ms / 4 + 1;
    patience->wait_ms = timeout_ms - patience->ask_ms;
    patience->ends = counted && setting_is_on(cli, setting_find("linearizable"));
    patience_renew(patience);
}

void patience_renew(struct patience *patience)
{
    patience->since_us = clock_us();
    patience->looked_us = patience->since_us;
    patience->led_us = patience->since_us;
    patience->told = false;
}

/* Adds "topic/partition" for each partition of the answer without a leader, as far as there is
 * room. */
static void name_leaderless(const json_t *metadata, char names[NAMES_SIZE])
{
    const json_t *topics = json_object_get(metadata, "topics");

    for (size_t i = 0; i < json_array_size(topics); i++) {
        const json_t *topic = json_array_get(topics, i);
        const json_t *partitions = json_object_get(topic, "partitions");
        for (size_t j = 0; j < json_array_size(partitions); j++) {
            const json_t *partition = json_array_get(partitions, j);
            const json_t *leader = json_object_get(partition, "leader");
            size_t used = strlen(names);
            if (json_is_integer(leader) && json_integer_value(leader) > 0) {
                continue;
            }
            (void)snprintf(names + used,
                           NAMES_SIZE - used,
                           "%s%s/%" PRId64,
                           used == 0 ? "" : ", ",
                           value_text(topic, "name"),
                           value_number(partition, "partition"));
        }
    }
}

/* Asks with a client of its own: the deadline of the other one is longer than what is left. */
static int ask(struct cli *cli, int64_t timeout_ms, const struct topic_list *topics, json_t **out)
{
    struct spate_client *client = cli->client;
    int64_t before_ms = cli->timeout_ms;
    json_t *names = json_array();

    for (size_t i = 0; i < topics->count; i++) {
        (void)json_array_append_new(names, json_string(topics->names[i]));
    }
    cli->client = NULL;
    cli->timeout_ms = timeout_ms;
    int rv = connect_client(cli) != 0
                 ? SPATE_ERR_INVALID
                 : call_json(cli, "metadata", json_pack("{sO}", "topics", names), out);
    spate_client_free(cli->client);
    json_decref(names);
    cli->client = client;
    cli->timeout_ms = before_ms;
    return rv;
}

int patience_check(const struct patience *patience,
                   struct cli *cli,
                   const struct topic_list *topics)
{
    json_t *metadata = NULL;
    char names[NAMES_SIZE] = "";

    if (clock_us() - patience->since_us < (uint64_t)patience->wait_ms * 1000) {
        return 0;
    }
    if (ask(cli, patience->ask_ms, topics, &metadata) != 0) {
        tell("TIMEOUT: no record for %" PRId64 " ms before the end was reached, and no server "
             "answers: are the nodes running?",
             patience->wait_ms);
        return EXIT_TIMEOUT;
    }
    name_leaderless(metadata, names);
    json_decref(metadata);
    if (names[0] != '\0') {
        tell("TIMEOUT: partitions without a leader: %s: are most of their replicas running? "
             "(spate cluster health)",
             names);
    } else {
        tell("TIMEOUT: no record for %" PRId64 " ms before the end was reached: does the leader "
             "hang? (spate cluster health)",
             patience->wait_ms);
    }
    return EXIT_TIMEOUT;
}

/* Why there is silence; "": for no reason that can be seen. */
static void find_trouble(const struct patience *patience,
                         struct cli *cli,
                         const struct topic_list *topics,
                         char trouble[TROUBLE_SIZE])
{
    json_t *metadata = NULL;
    char names[NAMES_SIZE] = "";

    trouble[0] = '\0';
    if (ask(cli, patience->ask_ms, topics, &metadata) != 0) {
        (void)snprintf(trouble, TROUBLE_SIZE, "no server answers");
        return;
    }
    name_leaderless(metadata, names);
    json_decref(metadata);
    if (names[0] != '\0') {
        (void)snprintf(trouble,
                       TROUBLE_SIZE,
                       "partitions without a leader: %s: are most of their replicas running? "
                       "(spate cluster health)",
                       names);
    }
}

int patience_tell(struct patience *patience, struct cli *cli, const struct topic_list *topics)
{
    uint64_t now_us = clock_us();
    uint64_t wait_us = (uint64_t)patience->wait_ms * 1000;
    char trouble[TROUBLE_SIZE];

    if ((patience->told && !patience->ends) ||
        now_us - patience->looked_us < (patience->ends ? wait_us / LOOKS : wait_us)) {
        return 0;
    }
    patience->looked_us = now_us;
    find_trouble(patience, cli, topics, trouble);
    if (trouble[0] == '\0') {
        patience->led_us = now_us;
    } else if (!patience->told) {
        note(cli, "waiting: %s", trouble);
    }
    patience->told = trouble[0] != '\0' || !patience->ends;
    if (!patience->ends || now_us - patience->led_us < wait_us) {
        return 0;
    }
    tell("TIMEOUT: for %" PRId64 " ms no majority of the replicas has answered, without which "
         "nothing is read linearizably: %s",
         patience->wait_ms,
         trouble);
    return EXIT_TIMEOUT;
}
