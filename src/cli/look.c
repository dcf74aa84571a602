#include "cli/look.h"

#include <string.h>

#include "cli/believed.h"
#include "io/clock.h"
#include "io/thread.h"

enum {
    SLICE_MS = 1000, /* of a question: then it is asked again, unless nobody wants to know */
    BETTER_MS = 500, /* at most, for each question whom else to ask */
};

bool look_has_leader(const json_t *partition)
{
    const json_t *leader = json_object_get(partition, "leader");

    return json_is_integer(leader) && json_integer_value(leader) > 0;
}

/* ---- the thread ------------------------------------------------------------------------------ */

static int ask_metadata(const struct look *look, struct cli *cli, json_t **out_metadata)
{
    json_t *names = json_array();

    for (size_t i = 0; i < look->topics->count; i++) {
        (void)json_array_append_new(names, json_string(look->topics->names[i]));
    }
    return call_json(cli, "metadata", json_pack("{so}", "topics", names), out_metadata);
}

/* Asks with the client of `cli`. False: no server has answered; what was known stays. */
static bool ask(struct look *look, struct cli *cli)
{
    json_t *metadata = NULL;
    json_t *found = NULL;
    int rv;

    do {
        rv = ask_metadata(look, cli, &metadata);
    } while ((rv == SPATE_ERR_TIMEOUT || rv == SPATE_ERR_UNREACHABLE) &&
             !atomic_load(&look->dropped) && sp_clock_us() < look->end_us);
    if (rv != 0) {
        return false;
    }
    json_decref(look->metadata);
    look->metadata = metadata;
    look->lacks_coordinator = false;
    if (look->group != NULL && !atomic_load(&look->dropped) &&
        call_json(cli, "group.find", json_pack("{ss}", "group", look->group), &found) == 0) {
        look->lacks_coordinator = !look_has_leader(found);
        json_decref(found);
    }
    return true;
}

static bool all_led(const struct look *look)
{
    const json_t *topics = json_object_get(look->metadata, "topics");

    for (size_t i = 0; i < json_array_size(topics); i++) {
        const json_t *partitions = json_object_get(json_array_get(topics, i), "partitions");
        for (size_t j = 0; j < json_array_size(partitions); j++) {
            if (!look_has_leader(json_array_get(partitions, j))) {
                return false;
            }
        }
    }
    return !look->lacks_coordinator;
}

static void own_client(struct cli *cli)
{
    cli->client = NULL;
    cli->config = NULL;
    cli->threaded = false;
}

static void free_client(struct cli *cli)
{
    spate_client_free(cli->client);
    spate_config_free(cli->config);
    cli->client = NULL;
    cli->config = NULL;
}

/* A node that was removed or is cut off knows of no leaders. Somebody else who follows the
 * controller; "": nobody, or whom a look asks first does. */
static void find_better(const struct look *look, char address[BELIEVED_ADDRESS_SIZE])
{
    struct cli cli = look->cli;
    struct believed believed;

    address[0] = '\0';
    own_client(&cli);
    cli.timeout_ms = look->cli.timeout_ms / 2 + 1;
    cli.timeout_ms = cli.timeout_ms < BETTER_MS ? cli.timeout_ms : BETTER_MS;
    if (connect_client(&cli) == 0 &&
        believed_ask(&cli, "cluster.info", cli.timeout_ms, &believed) == 0) {
        if (believed_follows(believed.result)) {
            memcpy(address, believed.address, BELIEVED_ADDRESS_SIZE);
        }
        json_decref(believed.doubted);
        json_decref(believed.result);
    }
    free_client(&cli);
}

static void ask_better(struct look *look)
{
    struct cli cli = look->cli;
    char address[BELIEVED_ADDRESS_SIZE];

    find_better(look, address);
    if (address[0] == '\0' || atomic_load(&look->dropped)) {
        return;
    }
    own_client(&cli);
    cli.servers = address;
    if (connect_client(&cli) == 0) {
        (void)ask(look, &cli); /* else the first answer stands */
    }
    free_client(&cli);
}

static void run(void *arg)
{
    struct look *look = arg;

    if (ask(look, &look->cli) && !all_led(look) && !atomic_load(&look->dropped)) {
        ask_better(look);
    }
    atomic_store(&look->ended, true);
}

/* ---- whoever wants to know ------------------------------------------------------------------- */

void look_begin(struct look *look, const struct cli *cli, int64_t ask_ms)
{
    look_drop(look);
    look->cli = *cli;
    own_client(&look->cli);
    look->cli.timeout_ms = ask_ms < SLICE_MS ? ask_ms : SLICE_MS;
    look->end_us = sp_clock_us() + (uint64_t)ask_ms * 1000;
    look->running = true;
    atomic_store(&look->dropped, false);
    atomic_store(&look->ended, false);
    if (connect_client(&look->cli) != 0) { /* it has told why */
        atomic_store(&look->ended, true);
    } else if (sp_thread_start(run, look, &look->thread) != 0) {
        run(look); /* late is better than never */
    }
}

bool look_ended(const struct look *look)
{
    return atomic_load(&look->ended);
}

void look_end(struct look *look)
{
    sp_thread_join(look->thread);
    look->thread = NULL;
    free_client(&look->cli);
    look->running = false;
}

void look_drop(struct look *look)
{
    if (look->running) {
        atomic_store(&look->dropped, true);
        look_end(look);
    }
    json_decref(look->metadata);
    look->metadata = NULL;
    look->lacks_coordinator = false;
}
