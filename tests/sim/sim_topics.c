#include "sim_topics.h"

#include <stdio.h>

#include "base/assert.h"
#include "sim_clients.h"
#include "sim_fiber.h"
#include "sim_trim.h"
#include "spate/spate.h"
#include "wire/client_api.h"

/* ---- those that all use ---------------------------------------------------------------------- */

void sim_topics_main(void *arg)
{
    struct sim_client *own = arg;
    struct spate_client *client = sim_clients_connect(NULL);
    struct spate_topic_setting settings[SIM_TRIM_SETTINGS_MAX];

    for (unsigned i = 0; i < sim_clients.topic_count; i++) {
        size_t count = i < sim_clients.kept_topic_count ? 0 : sim_trim_settings(settings);
        int rv;
        do {
            rv = spate_topic_create_with(client,
                                         sim_clients.topics[i].name,
                                         sim_clients.topics[i].partitions,
                                         sim_clients.replicas,
                                         settings,
                                         count);
            if (rv != 0 && rv != SPATE_ERR_EXISTS) {
                sim_note("topic create: %s", spate_client_error(client));
                sim_fiber_sleep(100 * SIM_MS);
            }
        } while (rv != 0 && rv != SPATE_ERR_EXISTS);
        sim_clients.topics[i].created = true;
        sim_note("topic %s exists", sim_clients.topics[i].name);
    }
    own->done = true;
    spate_client_free(client);
}

/* ---- those that nobody uses ------------------------------------------------------------------ */

/* Creates it without waiting for its leader, as spate_topic_create does. */
static int create_at_once(struct spate_client *client, const char *name)
{
    struct sp_topic_create_request request;
    struct sp_pack pack;
    struct sp_buf params;
    void *result = NULL;
    size_t result_size = 0;

    sp_topic_create_request_init(&request);
    request.name = sp_bytes_text(name);
    request.partitions = 1;
    request.replicas = (int32_t)sim_clients.replicas;
    sp_buf_init(&params, 1024);
    sp_pack_init(&pack, &params);
    sp_topic_create_request_encode(&pack, &request);
    SP_ASSERT(sp_pack_status(&pack) == 0);
    int rv = spate_call(client, "topic.create", params.bytes, params.size, &result, &result_size);
    sp_buf_deinit(&params);
    spate_free(result);
    return rv;
}

/* Tries until the answer is certain. libspate repeats calls itself, so that the second try may find
 * what the first one has done. */
static void churn_one(struct spate_client *client, const char *name)
{
    bool patient = sim_clients_draw(0, 3) == 0;
    int rv;

    do {
        rv = patient ? spate_topic_create(client, name, 1, sim_clients.replicas)
                     : create_at_once(client, name);
        if (rv != 0 && rv != SPATE_ERR_EXISTS) {
            sim_note("topic create: %s", spate_client_error(client));
            sim_fiber_sleep(50 * SIM_MS);
        }
    } while (rv != 0 && rv != SPATE_ERR_EXISTS);
    sim_note("topic %s exists", name);
    sim_fiber_sleep(patient ? sim_clients_draw(1, 400 * SIM_MS) : 1);
    do {
        rv = spate_topic_delete(client, name);
        if (rv != 0 && rv != SPATE_ERR_UNKNOWN_TOPIC) {
            sim_note("topic delete: %s", spate_client_error(client));
            sim_fiber_sleep(50 * SIM_MS);
        }
    } while (rv != 0 && rv != SPATE_ERR_UNKNOWN_TOPIC);
}

void sim_churner_main(void *arg)
{
    struct sim_client *own = arg;
    struct spate_client *client = sim_clients_connect(NULL);

    sim_clients_await_topics();
    while (!sim_clients.finishing && sim_clients.churned < sim_clients.churn_max) {
        char name[32];
        (void)snprintf(name, sizeof name, "churn%u", sim_clients.churned);
        sim_clients.churned += 1;
        churn_one(client, name);
        sim_fiber_sleep(sim_with_tail(&own->rand, 30 * SIM_MS));
    }
    own->done = true;
    spate_client_free(client);
}
