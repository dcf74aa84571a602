/* Calls of which nobody knows whether they were done: they are not made again, and not said to be
 * refused. */
#include "fake_cluster.h"

#include "wire/pack.h"

static struct fake_cluster cluster;

static enum fake_action
lost_then_refused(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)c;
    (void)method;
    return count == 1 ? FAKE_DROP_AFTER : FAKE_REFUSE;
}

/* Refusals of later tries do not say what became of the first one. */
static void test_client_call_that_was_lost_once_stays_unknown(void **state)
{
    static const char *const keys[] = { "timeout.ms", "500", NULL };
    struct sp_buf params;
    struct sp_pack pack;
    void *result = NULL;
    size_t size = 0;

    (void)state;
    sp_buf_init(&params, 100);
    sp_pack_init(&pack, &params);
    sp_pack_map(&pack, 3);
    sp_pack_text(&pack, "topic");
    sp_pack_text(&pack, "t");
    sp_pack_text(&pack, "partition");
    sp_pack_uint(&pack, 0);
    sp_pack_text(&pack, "offset");
    sp_pack_uint(&pack, 0);
    for (unsigned i = 0; i < 2; i++) {
        fake_start(&cluster, keys);
        cluster.script = lost_then_refused;
        cluster.refusal = SPATE_ERR_NOT_READY;
        int rv =
            i == 0 ? spate_call_leader(
                         cluster.client, "t", 0, "fetch", params.bytes, params.size, &result, &size)
                   : spate_call(cluster.client, "fetch", params.bytes, params.size, &result, &size);
        assert_int_equal(rv, SPATE_ERR_TIMEOUT);
        assert_true(cluster.fetch_count > 1);
        fake_stop(&cluster);
    }
    sp_buf_deinit(&params);
}

static enum fake_action refused_once(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)c;
    (void)method;
    return count == 1 ? FAKE_REFUSE : FAKE_SERVE;
}

/* A replica that stops or closes fails what it has submitted, which may be stored all the same. */
static void test_client_call_that_may_be_done_is_not_made_again(void **state)
{
    static const int codes[] = { SPATE_ERR_STOPPED, SPATE_ERR_CANCELED, SPATE_ERR_LEADER_CHANGED };
    static const char *const methods[] = { "produce", "fetch" };
    const uint8_t params[] = { 0x83, 0xa5, 't', 'o', 'p', 'i', 'c', 0xa1, 't', 0xa9,
                               'p',  'a',  'r', 't', 'i', 't', 'i', 'o',  'n', 0,
                               0xa6, 'o',  'f', 'f', 's', 'e', 't', 0 };
    void *result = NULL;
    size_t size = 0;

    (void)state;
    for (unsigned i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        for (unsigned again = 0; again < 2; again++) {
            fake_start(&cluster, NULL);
            cluster.script = refused_once;
            cluster.refusal = codes[i];
            int rv = spate_call_leader(
                cluster.client, "t", 0, methods[again], params, sizeof params, &result, &size);
            assert_int_equal(rv, again == 0 ? codes[i] : 0);
            assert_int_equal(cluster.produce_count, again == 0 ? 1 : 0);
            assert_int_equal(cluster.fetch_count, again == 0 ? 0 : 2);
            spate_free(result);
            result = NULL;
            fake_stop(&cluster);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client_call_that_was_lost_once_stays_unknown),
        cmocka_unit_test(test_client_call_that_may_be_done_is_not_made_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
