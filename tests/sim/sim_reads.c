/* Programs that ask for the end of partitions, over and over, by `offsets` and by `fetch`, both
 * linearizable: whatever was acknowledged to anybody before the question left is in the answer. */
#include "sim_reads.h"

#include <stdio.h>

#include "base/assert.h"
#include "sim_cluster.h"
#include "sim_fiber.h"
#include "sim_model.h"
#include "spate/spate.h"
#include "wire/client_api.h"

void sim_reads_draw(uint64_t seed, unsigned *out_programs, bool *out_racks)
{
    struct sp_rand rand;

    sp_rand_init(&rand, seed ^ 0x7265616473u);
    *out_programs = (unsigned)sim_between(&rand, 0, 2);
    *out_racks = sim_one_in(&rand, 2);
}

const char *sim_reads_rack(char *text)
{
    (void)snprintf(text, 24, "rack%u", (unsigned)sim_clients_draw(1, sim_cluster.node_count + 1));
    return text;
}

/* Asks the leader of a place. 0 with the end that it tells. */
static int
ask(struct spate_client *client, uint32_t place, const char *method, struct sp_buf *params)
{
    struct sp_fetch_response fetched;
    struct sp_offsets_response found;
    struct sp_cursor cursor;
    void *result = NULL;
    size_t size = 0;
    int64_t before = sim_model.places[place].acknowledged_end; /* when the question leaves */
    int64_t end = -1;
    bool fetches = method[0] == 'f';

    int rv = spate_call_leader(client,
                               sim_model.places[place].topic,
                               (uint32_t)sim_model.places[place].partition,
                               method,
                               params->bytes,
                               params->size,
                               &result,
                               &size);
    if (rv == 0) {
        sp_cursor_init(&cursor, result, size);
        rv = fetches ? sp_fetch_response_decode(&cursor, &fetched, NULL)
                     : sp_offsets_response_decode(&cursor, &found, NULL);
        SP_ASSERT(rv == 0);
        end = fetches ? fetched.high_watermark : found.offset;
        sim_model_end_told(place, before, end);
    }
    spate_free(result);
    return rv;
}

static int ask_offsets(struct spate_client *client, uint32_t place, struct sp_buf *params)
{
    struct sp_offsets_request request;
    struct sp_pack pack;

    sp_offsets_request_init(&request);
    request.topic = sp_bytes_text(sim_model.places[place].topic);
    request.partition = sim_model.places[place].partition;
    request.linearizable = true;
    sp_pack_init(&pack, params);
    sp_offsets_request_encode(&pack, &request);
    SP_ASSERT(sp_pack_status(&pack) == 0);
    return ask(client, place, "offsets", params);
}

static int ask_fetch(struct spate_client *client, uint32_t place, struct sp_buf *params)
{
    struct sp_fetch_request request;
    struct sp_pack pack;

    sp_fetch_request_init(&request);
    request.topic = sp_bytes_text(sim_model.places[place].topic);
    request.partition = sim_model.places[place].partition;
    request.offset = sim_model.places[place].acknowledged_end;
    request.max_bytes = 1;
    request.linearizable = true;
    sp_pack_init(&pack, params);
    sp_fetch_request_encode(&pack, &request);
    SP_ASSERT(sp_pack_status(&pack) == 0);
    return ask(client, place, "fetch", params);
}

/* A fetch may find its offset below the start where records go; it is asked of the others only. */
static void ask_some(struct spate_client *client)
{
    uint32_t place = (uint32_t)sim_clients_draw(0, sim_model.place_count - 1);
    bool fetches = place < sim_model.kept_count && sim_clients_draw(0, 1) == 0;
    struct sp_buf params;

    sp_buf_init(&params, 1024);
    int rv = fetches ? ask_fetch(client, place, &params) : ask_offsets(client, place, &params);
    sp_buf_deinit(&params);
    if (rv == SPATE_ERR_OFFSET_OUT_OF_RANGE) {
        sim_fail("place %u: a fetch at an acknowledged end is out of range", place);
    } else if (rv != 0) {
        sim_note("end: %s", spate_client_error(client));
    }
}

void sim_reads_main(void *arg)
{
    struct sim_client *own = arg;
    struct spate_client *client = sim_clients_connect(NULL);

    sim_clients_await_topics();
    while (!sim_clients.finishing) {
        sim_fiber_sleep(sim_with_tail(&own->rand, 30 * SIM_MS));
        ask_some(client);
    }
    own->done = true;
    spate_client_free(client);
}
