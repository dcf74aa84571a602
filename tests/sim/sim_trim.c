/* Programs that truncate, over and over: to any offset that there is, to one above the end, to one
 * below the start. What the answer says must hold for good. */
#include "sim_trim.h"

#include <stdio.h>

#include "base/assert.h"
#include "sim_fiber.h"
#include "sim_model.h"
#include "wire/client_api.h"

static struct sim_trim_limits limits;
static char bytes_text[24];
static char age_text[24];

void sim_trim_draw(uint64_t seed, unsigned *out_topics, unsigned *out_programs)
{
    struct sp_rand rand;

    sp_rand_init(&rand, seed ^ 0x7472696du);
    *out_topics = sim_one_in(&rand, 2) ? 1 : 0;
    *out_programs = *out_topics > 0 ? (unsigned)sim_between(&rand, 0, 2) : 0;
    limits.bytes = sim_one_in(&rand, 4) ? -1 : (int64_t)sim_between(&rand, 1, 200000);
    limits.ms = sim_one_in(&rand, 2) ? -1 : (int64_t)sim_between(&rand, 500, 8000);
    (void)snprintf(bytes_text, sizeof bytes_text, "%lld", (long long)limits.bytes);
    (void)snprintf(age_text, sizeof age_text, "%lld", (long long)limits.ms);
}

struct sim_trim_limits sim_trim_limits(void)
{
    return limits;
}

uint32_t sim_trim_draw_reserve(uint64_t seed)
{
    struct sp_rand rand;

    sp_rand_init(&rand, seed ^ 0x73706163u);
    return sim_one_in(&rand, 2) ? 0 : (uint32_t)sim_between(&rand, 20000, 2000000);
}

size_t sim_trim_settings(struct spate_topic_setting *out_settings)
{
    out_settings[0] = (struct spate_topic_setting){ "retention.bytes", bytes_text };
    out_settings[1] = (struct spate_topic_setting){ "retention.ms", age_text };
    return SIM_TRIM_SETTINGS_MAX;
}

static int
truncate_at(struct spate_client *client, uint32_t place, int64_t before, int64_t *out_start)
{
    struct sp_topic_truncate_request request;
    struct sp_topic_truncate_response response;
    struct sp_cursor cursor;
    struct sp_pack pack;
    struct sp_buf params;
    void *result = NULL;
    size_t size = 0;

    sp_topic_truncate_request_init(&request);
    request.topic = sp_bytes_text(sim_model.places[place].topic);
    request.partition = sim_model.places[place].partition;
    request.before = before;
    sp_buf_init(&params, 1024);
    sp_pack_init(&pack, &params);
    sp_topic_truncate_request_encode(&pack, &request);
    SP_ASSERT(sp_pack_status(&pack) == 0);
    int rv = spate_call_leader(client,
                               sim_model.places[place].topic,
                               (uint32_t)sim_model.places[place].partition,
                               "topic.truncate",
                               params.bytes,
                               params.size,
                               &result,
                               &size);
    sp_buf_deinit(&params);
    if (rv == 0) {
        sp_cursor_init(&cursor, result, size);
        rv = sp_topic_truncate_response_decode(&cursor, &response, NULL);
        *out_start = response.log_start;
    }
    spate_free(result);
    return rv;
}

/* One try; what it says is checked against the reference. */
static void truncate_some(struct spate_client *client, uint32_t place)
{
    const struct sim_group *group = sim_model.places[place].group;
    int64_t end = group == NULL ? 0 : group->next_offset;
    int64_t start = group == NULL ? 0 : group->log_start;
    /* Seldom beyond the end, which must be refused; also below the start, which changes nothing. */
    bool beyond = sim_clients_draw(0, 9) == 0;
    int64_t before = beyond ? end + 1000000 : (int64_t)sim_clients_draw(0, (uint64_t)end);
    int64_t told = 0;

    sim_model_truncation_asked(place, beyond ? 0 : before);
    int rv = truncate_at(client, place, before, &told);
    if (rv == 0) {
        sim_model_truncated(place, before, start, told);
    } else if (beyond && rv == SPATE_ERR_OFFSET_OUT_OF_RANGE) {
        return;
    } else if (rv == SPATE_ERR_OFFSET_OUT_OF_RANGE) {
        /* a leader that has not applied the end yet would say NOT_READY */
        sim_fail("place %u: truncation before %lld is out of range, %lld was committed",
                 place,
                 (long long)before,
                 (long long)end);
    } else {
        sim_note("truncate: %s", spate_client_error(client));
    }
}

void sim_trim_main(void *arg)
{
    struct sim_client *own = arg;
    struct spate_client *client = sim_clients_connect(NULL);

    sim_clients_await_topics();
    while (!sim_clients.finishing) {
        sim_fiber_sleep(sim_with_tail(&own->rand, 400 * SIM_MS));
        truncate_some(client,
                      (uint32_t)sim_clients_draw(sim_model.kept_count, sim_model.place_count - 1));
    }
    own->done = true;
    spate_client_free(client);
}
