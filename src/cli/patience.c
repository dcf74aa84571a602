/* Silence, and whose fault it is. */
#include "cli/patience.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/believed.h"
#include "cli/value.h"
#include "io/clock.h"

enum {
    TIMEOUT_DEFAULT_MS = 30000, /* libspate's own */
    ASK_MS = 1000,
    NAMED_MAX = 8, /* partitions, the others are counted */
    NAMES_SIZE = 4096,
    TROUBLE_SIZE = NAMES_SIZE + 400,
    LOOKS = 4, /* within the time after which silence ends the command */
    AGAIN = 2, /* times that long: the next look while all is well, and the next word if not */
};

void patience_begin(struct patience *patience)
{
    int64_t timeout_ms = patience->cli->timeout_ms;

    timeout_ms = timeout_ms > 0 ? timeout_ms : TIMEOUT_DEFAULT_MS;
    patience->ask_ms = timeout_ms > 4 * ASK_MS ? ASK_MS : timeout_ms / 4 + 1;
    patience->wait_ms = timeout_ms - patience->ask_ms;
    patience->pause_us = (uint64_t)patience->wait_ms * 1000 / LOOKS;
    patience->told_us = 0;
    patience_renew(patience);
    patience->looked_us = patience->since_us;
}

void patience_renew(struct patience *patience)
{
    patience->since_us = sp_clock_us();
    patience->led_us = patience->since_us;
}

/* ---- who leads ------------------------------------------------------------------------------- */

/* Is it one of those that are read? */
static bool is_wanted(const struct patience *patience, const char *topic, int64_t partition)
{
    int64_t position = 0;
    int rv = spate_consumer_position(*patience->consumer, topic, (int32_t)partition, &position);

    return rv == 0;
}

static bool has_leader(const json_t *partition)
{
    const json_t *leader = json_object_get(partition, "leader");

    return json_is_integer(leader) && json_integer_value(leader) > 0;
}

static void add_name(char names[NAMES_SIZE], unsigned count, const char *topic, int64_t partition)
{
    size_t used = strlen(names);

    if (count < NAMED_MAX) {
        (void)snprintf(names + used,
                       NAMES_SIZE - used,
                       "%s%s/%" PRId64,
                       used == 0 ? "" : ", ",
                       topic,
                       partition);
    }
}

/* "topic/partition" for each partition of the answer that is read and has no leader; "": none. */
static void
name_leaderless(const struct patience *patience, const json_t *metadata, char names[NAMES_SIZE])
{
    const json_t *topics = json_object_get(metadata, "topics");
    unsigned count = 0;

    names[0] = '\0';
    for (size_t i = 0; i < json_array_size(topics); i++) {
        const json_t *topic = json_array_get(topics, i);
        const json_t *partitions = json_object_get(topic, "partitions");
        for (size_t j = 0; j < json_array_size(partitions); j++) {
            const json_t *row = json_array_get(partitions, j);
            int64_t number = value_number(row, "partition");
            if (!has_leader(row) && is_wanted(patience, value_text(topic, "name"), number)) {
                add_name(names, count, value_text(topic, "name"), number);
                count += 1;
            }
        }
    }
    if (count > NAMED_MAX) {
        size_t used = strlen(names);
        (void)snprintf(names + used, NAMES_SIZE - used, " and %u more", count - NAMED_MAX);
    }
}

/* Asks with a client of its own: the deadline of the other one is longer than what is left. */
static int
ask(const struct patience *patience, const char *method, json_t *params, json_t **out_result)
{
    struct cli *cli = patience->cli;
    struct spate_client *client = cli->client;
    int64_t before_ms = cli->timeout_ms;

    cli->client = NULL;
    cli->timeout_ms = patience->ask_ms;
    int rv = connect_client(cli) != 0 ? SPATE_ERR_INVALID
                                      : call_json(cli, method, json_incref(params), out_result);
    spate_client_free(cli->client);
    json_decref(params);
    cli->client = client;
    cli->timeout_ms = before_ms;
    return rv;
}

static int ask_metadata(const struct patience *patience, json_t **out_metadata)
{
    json_t *names = json_array();

    for (size_t i = 0; i < patience->topics->count; i++) {
        (void)json_array_append_new(names, json_string(patience->topics->names[i]));
    }
    return ask(patience, "metadata", json_pack("{so}", "topics", names), out_metadata);
}

/* Has the consumer group nobody who answers for it? */
static bool lacks_coordinator(const struct patience *patience)
{
    json_t *found = NULL;
    bool lacks = false;

    if (patience->group != NULL &&
        ask(patience, "group.find", json_pack("{ss}", "group", patience->group), &found) == 0) {
        lacks = !has_leader(found);
        json_decref(found);
    }
    return lacks;
}

/* Why there is silence, as the first server that answers sees it; "": for no reason that can be
 * seen. False: none answers. */
static bool look(const struct patience *patience, char trouble[TROUBLE_SIZE])
{
    static const char advice[] = "replicas running? (spate cluster health)";
    json_t *metadata = NULL;
    char names[NAMES_SIZE];

    trouble[0] = '\0';
    if (ask_metadata(patience, &metadata) != 0) {
        (void)snprintf(trouble, TROUBLE_SIZE, "no server answers: are the nodes running?");
        return false;
    }
    name_leaderless(patience, metadata, names);
    json_decref(metadata);
    if (names[0] != '\0') {
        (void)snprintf(trouble,
                       TROUBLE_SIZE,
                       "partitions without a leader: %s: are most of their %s",
                       names,
                       advice);
    } else if (lacks_coordinator(patience)) {
        (void)snprintf(trouble,
                       TROUBLE_SIZE,
                       "the coordinator of group %.249s has no leader: are most of its %s",
                       patience->group,
                       advice);
    }
    return true;
}

/* A node that was removed or is cut off knows of no leaders. Somebody else who follows the
 * controller; "": nobody, or whom a look asks first does. */
static void find_better(const struct patience *patience, char address[BELIEVED_ADDRESS_SIZE])
{
    struct cli *cli = patience->cli;
    struct spate_client *client = cli->client;
    int64_t before_ms = cli->timeout_ms;
    struct believed believed;

    address[0] = '\0';
    cli->client = NULL;
    cli->timeout_ms = patience->ask_ms / 2 + 1;
    if (connect_client(cli) == 0 &&
        believed_ask(cli, "cluster.info", cli->timeout_ms, &believed) == 0) {
        if (believed_follows(believed.result)) {
            memcpy(address, believed.address, BELIEVED_ADDRESS_SIZE);
        }
        json_decref(believed.doubted);
        json_decref(believed.result);
    }
    spate_client_free(cli->client);
    cli->client = client;
    cli->timeout_ms = before_ms;
}

/* Why there is silence; "": for no reason that can be seen. */
static void find_trouble(const struct patience *patience, char trouble[TROUBLE_SIZE])
{
    struct cli *cli = patience->cli;
    const char *servers = cli->servers;
    char better[BELIEVED_ADDRESS_SIZE];

    if (!look(patience, trouble) || trouble[0] == '\0') {
        return;
    }
    find_better(patience, better);
    if (better[0] != '\0') {
        cli->servers = better;
        (void)look(patience, trouble);
        cli->servers = servers != NULL ? servers : setting_text(cli, SETTING_SERVERS);
    }
}

/* ---- silence --------------------------------------------------------------------------------- */

int patience_check(const struct patience *patience)
{
    char trouble[TROUBLE_SIZE];

    if (sp_clock_us() - patience->since_us < (uint64_t)patience->wait_ms * 1000) {
        return 0;
    }
    find_trouble(patience, trouble);
    tell("TIMEOUT: no record for %" PRId64 " ms before the end was reached: %s",
         patience->wait_ms,
         trouble[0] != '\0' ? trouble : "does the leader hang? (spate cluster health)");
    return EXIT_TIMEOUT;
}

/* Silence that has begun is looked into early, all else now and then. */
static bool looks_now(const struct patience *patience, uint64_t now_us)
{
    uint64_t first_us = (uint64_t)patience->wait_ms * 1000 / LOOKS;
    bool fresh = patience->looked_us <= patience->since_us;

    return now_us - patience->looked_us >= patience->pause_us ||
           (fresh && now_us - patience->since_us >= first_us);
}

static void note_waiting(struct patience *patience, const char *trouble, uint64_t now_us)
{
    time_t since =
        (time_t)(sp_clock_wall_ms() / 1000) - (time_t)((now_us - patience->since_us) / 1000000);
    struct tm parts;
    char text[32] = "";

    if (gmtime_r(&since, &parts) != NULL) {
        (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    }
    note(patience->cli, "waiting: %s: no record since %s", trouble, text);
    patience->told_us = now_us;
}

static void all_is_well(struct patience *patience, uint64_t now_us)
{
    uint64_t most_us = (uint64_t)patience->wait_ms * 1000 * AGAIN;
    bool keen = patience->ends || patience->told_us != 0;

    if (patience->told_us != 0) {
        note(patience->cli, "goes on: there is somebody to read from again");
    }
    patience->told_us = 0;
    patience->led_us = now_us;
    if (!keen) { /* who watches a quiet topic for days need not ask all the time */
        patience->pause_us = patience->pause_us < most_us / 2 ? 2 * patience->pause_us : most_us;
    }
}

int patience_tell(struct patience *patience)
{
    uint64_t now_us = sp_clock_us();
    uint64_t wait_us = (uint64_t)patience->wait_ms * 1000;
    char trouble[TROUBLE_SIZE];

    if (!looks_now(patience, now_us)) {
        return 0;
    }
    find_trouble(patience, trouble);
    patience->looked_us = now_us;
    if (trouble[0] == '\0') {
        all_is_well(patience, now_us);
        return 0;
    }
    patience->pause_us = wait_us / LOOKS;
    if (patience->told_us == 0 || now_us - patience->told_us >= AGAIN * wait_us) {
        note_waiting(patience, trouble, now_us);
    }
    if (!patience->ends || now_us - patience->led_us < wait_us) {
        return 0;
    }
    tell("TIMEOUT: for %" PRId64 " ms no majority of the replicas has answered: %s",
         patience->wait_ms,
         trouble);
    return EXIT_TIMEOUT;
}
