/* Calls that come to nothing. Those of which nobody knows whether they were done are not made
 * again, and not said to be refused. */
#include "fake_cluster.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

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

/* ---- what is said of them -------------------------------------------------------------------- */

/* Takes `count` connections and then none: who asks for another one hears nothing. */
static int listen_full(char out_address[32], int *fds, unsigned count)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 0), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    for (unsigned i = 0; i < count; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fds[i], (struct sockaddr *)&address, sizeof address); /* EINPROGRESS, too */
    }
    (void)snprintf(out_address, 32, "127.0.0.1:%u", ntohs(address.sin_port));
    return fd;
}

static int fetch_of_nothing(void)
{
    const uint8_t no_fields[] = { 0x80 };
    void *result = NULL;
    size_t size = 0;

    return spate_call(cluster.client, "fetch", no_fields, sizeof no_fields, &result, &size);
}

static char silent_address[32];

static enum fake_action
refuses_and_is_gone(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)method;
    (void)count;
    c->refusal = SPATE_ERR_NOT_READY;
    memcpy(c->client->servers[0], silent_address, sizeof silent_address);
    return FAKE_REFUSE;
}

/* A refusal of long ago is not why a call fails when nobody has been there since. */
static void test_client_call_tells_of_silence_behind_a_refusal(void **state)
{
    static const char *const keys[] = { "timeout.ms", "700", NULL };
    int taken[3];

    (void)state;
    int fd = listen_full(silent_address, taken, 3);
    fake_start(&cluster, keys);
    cluster.script = refuses_and_is_gone;
    assert_int_equal(fetch_of_nothing(), SPATE_ERR_UNREACHABLE);
    assert_int_equal(cluster.fetch_count, 1);
    assert_non_null(strstr(spate_client_error(cluster.client), "no answer to an attempt"));
    assert_null(strstr(spate_client_error(cluster.client), "refused"));
    fake_stop(&cluster);
    for (unsigned i = 0; i < 3; i++) {
        (void)close(taken[i]);
    }
    (void)close(fd);
}

static enum fake_action names_another(struct fake_cluster *c, const char *method, unsigned count)
{
    (void)method;
    (void)count;
    c->refusal = SPATE_ERR_NOT_LEADER;
    return FAKE_REFUSE;
}

/* The only server that is known names a leader that is not there. */
static void test_client_call_tells_that_the_named_leader_is_not_there(void **state)
{
    static const char *const keys[] = { "timeout.ms", "500", NULL };

    (void)state;
    fake_start(&cluster, keys);
    cluster.leader = 1;
    memcpy(cluster.servers[1].address, "127.0.0.1:1", sizeof "127.0.0.1:1"); /* nobody listens */
    cluster.script = names_another;
    assert_int_equal(fetch_of_nothing(), SPATE_ERR_LEADER_UNKNOWN);
    assert_true(cluster.fetch_count > 1);
    assert_non_null(strstr(spate_client_error(cluster.client), "somebody else leads"));
    assert_non_null(strstr(spate_client_error(cluster.client), "127.0.0.1:1: connection refused"));
    fake_stop(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client_call_that_was_lost_once_stays_unknown),
        cmocka_unit_test(test_client_call_that_may_be_done_is_not_made_again),
        cmocka_unit_test(test_client_call_tells_of_silence_behind_a_refusal),
        cmocka_unit_test(test_client_call_tells_that_the_named_leader_is_not_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
