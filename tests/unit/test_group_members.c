/* A heartbeat is answered, once, whatever memory is missing. The group, the log and the connection
 * are the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "broker/group_call.h"
#include "fake_loop.h"
#include "spate/error.h"

static struct {
    struct sp_broker broker;
    struct sp_coordinator coordinator;
    struct sp_consumer_group group;
    struct sp_consumer_member member;
    struct sp_consumer_share share; /* of the member, which must give it up */
    unsigned answers;
    int failed;         /* status of the last one; 0: none */
    unsigned submitted; /* RELEASEs */
} fixture;

/* ---- in the place of the group, the log and the connection ----------------------------------- */

struct sp_coordinator *sp_group_coordinator(struct sp_broker *broker,
                                            struct sp_request *request,
                                            struct sp_bytes group,
                                            char name[SP_CONSUMER_GROUP_NAME_SIZE_MAX + 1])
{
    (void)broker;
    (void)request;
    (void)group;
    memcpy(name, "g", sizeof "g");
    return &fixture.coordinator;
}

struct sp_consumer_group *sp_consumer_groups_find(const struct sp_consumer_groups *groups,
                                                  struct sp_bytes name)
{
    (void)groups;
    (void)name;
    return &fixture.group;
}

struct sp_consumer_member *sp_consumer_group_member(const struct sp_consumer_group *group,
                                                    struct sp_bytes id)
{
    (void)group;
    (void)id;
    return &fixture.member;
}

bool sp_consumer_member_revoking(const struct sp_consumer_group *group,
                                 const struct sp_consumer_member *member)
{
    return group->shares[0].owner == member && group->shares[0].target != member;
}

static void answer(int status)
{
    fixture.answers += 1;
    fixture.failed = status;
}

void sp_request_fail(struct sp_request *request, int code, const char *text)
{
    (void)request;
    (void)text;
    answer(code);
}

void sp_group_fail(struct sp_request *request, int code, const char *group)
{
    (void)request;
    (void)group;
    answer(code);
}

void sp_request_charge(struct sp_request *request, size_t bytes)
{
    (void)request;
    (void)bytes;
}

void sp_group_call_submit(struct sp_group_call *call, int rv, struct sp_buf *command)
{
    fixture.submitted += rv == 0;
    sp_buf_deinit(command);
    if (rv != 0) {
        sp_group_call_fail(call, rv);
        return;
    }
    answer(0);
    sp_group_call_free(call);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void heartbeat(void)
{
    const struct sp_group_heartbeat_request request = { .group = sp_bytes_text("g"),
                                                        .member = sp_bytes_text("m"),
                                                        .generation = 3 };
    struct sp_message message = { 0 };
    struct sp_buf buf;
    struct sp_pack pack;

    sp_buf_init(&buf, 4096);
    sp_pack_init(&pack, &buf);
    sp_pack_array(&pack, 1);
    sp_group_heartbeat_request_encode(&pack, &request);
    assert_int_equal(sp_pack_status(&pack), 0);
    message.params = sp_cursor_of((struct sp_bytes){ buf.bytes, buf.size });
    fixture.answers = 0;
    fixture.failed = 0;
    sp_method_group_heartbeat(&fixture.broker, (struct sp_request){ 0 }, &message);
    sp_buf_deinit(&buf);
}

static void test_group_heartbeat_is_answered_whatever_allocation_fails(void **state)
{
    uint64_t live = sp_mem_live_count();
    unsigned refused = 0;

    (void)state;
    fake_loop_init();
    fixture.coordinator.broker = &fixture.broker;
    fixture.share.owner = &fixture.member;
    fixture.group =
        (struct sp_consumer_group){ .generation = 3, .shares = &fixture.share, .share_count = 1 };
    fixture.member.session_ms = 1000;
    for (uint64_t n = 1; fixture.submitted == 0; n++) {
        assert_in_range(n, 1, 20);
        sp_mem_fail_at(n + 1); /* the first one is the test's */
        heartbeat();
        sp_mem_fail_at(0);
        assert_int_equal(fixture.answers, 1);
        assert_int_equal(fixture.failed, fixture.submitted == 0 ? SPATE_ERR_NOMEM : 0);
        assert_int_equal(sp_mem_live_count(), live);
        refused += fixture.failed != 0;
    }
    assert_true(refused >= 2); /* the call, what is released */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_group_heartbeat_is_answered_whatever_allocation_fails),
    };

    return cmocka_run_group_tests_name("broker/group_members", tests, NULL, NULL);
}
