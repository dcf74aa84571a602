/* The end of a consumer group that nobody uses, and what comes while that is on its way. The log
 * and the connection are the test's own; so is what looks after members and topics, of which there
 * are none. */
#include "broker/coordinator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "broker/coordinator_parts.h"
#include "broker/group_commit.h"
#include "broker/methods.h"
#include "fake_loop.h"
#include "spate/error.h"

enum {
    RETENTION_MS = 1000,
    SUBMITS_MAX = 8,
    COMMAND_BYTES_MAX = 512,
    ANSWERED_OK = 1,
};

/* A command that the log has and the machine has not. */
struct submitted {
    struct sp_submit *submit;
    struct sp_log_frame frame;
    uint8_t bytes[COMMAND_BYTES_MAX];
};

static struct fixture {
    struct sp_broker broker;
    struct sp_coordinator *coordinator;
    struct submitted list[SUBMITS_MAX];
    unsigned first; /* of the list, that is not applied */
    unsigned count;
    int answer; /* the last one: a code, or ANSWERED_OK */
    uint64_t live_before;
} fixture;

/* ---- in the place of the log, the connection and the rest of the coordinator ----------------- */

int sp_raft_group_submit(struct sp_raft_group *group,
                         enum sp_frame_kind kind,
                         const struct sp_iovec *pieces,
                         unsigned count,
                         struct sp_submit *submit)
{
    struct submitted *submitted = &fixture.list[fixture.count];

    (void)group;
    assert_int_equal(count, 1);
    assert_in_range(pieces[0].size, 1, COMMAND_BYTES_MAX);
    assert_true(fixture.count < SUBMITS_MAX);
    fixture.count += 1;
    submit->index = fixture.count;
    submit->term = 1;
    memcpy(submitted->bytes, pieces[0].bytes, pieces[0].size);
    submitted->submit = submit;
    submitted->frame = (struct sp_log_frame){
        .kind = kind,
        .length = (uint32_t)pieces[0].size,
        .term = submit->term,
        .index = submit->index,
        .append_time_ms = (int64_t)fake_loop.now_ms,
    };
    return 0;
}

void sp_raft_group_status(const struct sp_raft_group *group,
                          struct sp_raft_group_status *out_status)
{
    (void)group;
    *out_status = (struct sp_raft_group_status){ .ready = true, .applied_index = fixture.first };
}

int64_t sp_raft_group_append_time_ms(const struct sp_raft_group *group)
{
    (void)group;
    return (int64_t)fake_loop.now_ms;
}

void sp_request_fail(struct sp_request *request, int code, const char *text)
{
    (void)request;
    (void)text;
    fixture.answer = code;
}

void sp_request_begin(struct sp_request *request, struct sp_buf *buf, struct sp_pack *pack)
{
    (void)request;
    sp_buf_init(buf, SP_MESSAGE_BYTES_MAX);
    sp_pack_init(pack, buf);
}

void sp_request_finish(struct sp_request *request,
                       struct sp_buf *buf,
                       struct sp_pack *pack,
                       const struct sp_slice *tail,
                       unsigned tail_count)
{
    (void)request;
    (void)tail;
    assert_int_equal(tail_count, 0);
    assert_int_equal(sp_pack_status(pack), 0);
    sp_buf_deinit(buf);
    fixture.answer = ANSWERED_OK;
}

void sp_coordinator_assign(struct sp_coordinator *coordinator, struct sp_consumer_group *group)
{
    (void)coordinator;
    group->topics_changed = false; /* nobody is there who wants one */
    group->assigned = group->version;
}

void sp_coordinator_stall_init(struct sp_coordinator *coordinator)
{
    (void)coordinator;
}

void sp_coordinator_stall_start(struct sp_coordinator *coordinator)
{
    (void)coordinator;
}

void sp_coordinator_stall_watch(struct sp_coordinator *coordinator)
{
    (void)coordinator;
}

void sp_group_waiters_look(struct sp_coordinator *coordinator, struct sp_consumer_group *group)
{
    (void)coordinator;
    (void)group;
}

void sp_group_waiters_abort(struct sp_coordinator *coordinator, struct sp_consumer_group *group)
{
    (void)coordinator;
    (void)group;
}

/* ---- what the tests do ----------------------------------------------------------------------- */

static bool group_is_there(void)
{
    return sp_consumer_groups_find(fixture.coordinator->groups, sp_bytes_text("g")) != NULL;
}

/* One more command is committed. */
static void apply_next(void)
{
    struct sp_machine *machine = &fixture.coordinator->machine;
    const struct submitted *next = &fixture.list[fixture.first];

    assert_true(fixture.first < fixture.count);
    assert_int_equal(machine->type->apply(machine, &next->frame, next->bytes), 0);
    fixture.first += 1;
    next->submit->cb(next->submit, 0);
    fake_turn();
}

static void apply_all(void)
{
    while (fixture.first < fixture.count) {
        apply_next();
    }
}

/* Somebody outside commits `count` offsets, 0 or 1. */
static void commit(unsigned count)
{
    struct sp_request request = { .session = NULL };
    struct sp_group_commit *commit = sp_group_commit_new(&request, "g", count);

    assert_non_null(commit);
    commit->count = count;
    if (count > 0) {
        commit->commits[0] = (struct sp_consumer_commit){ { 7, 0 }, 10, sp_bytes_text("") };
    }
    fixture.answer = 0;
    sp_group_commit_submit(fixture.coordinator, commit, sp_bytes_null(), -1);
}

static unsigned on_their_way(void)
{
    return fixture.count - fixture.first;
}

static int setup(void **state)
{
    static int raft_group; /* an address of one, which nobody looks into */
    const struct sp_state_partition place = { .group_id = 4 };

    (void)state;
    fixture = (struct fixture){ .live_before = sp_mem_live_count() };
    fake_loop_init();
    fixture.broker.options.group_retention_ms = RETENTION_MS;
    assert_int_equal(sp_coordinator_new(&fixture.broker, &place, &fixture.coordinator), 0);
    sp_coordinator_opened(fixture.coordinator, (struct sp_raft_group *)(void *)&raft_group);
    commit(1);
    apply_all();
    assert_true(group_is_there());
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    apply_all();
    sp_coordinator_closing(fixture.coordinator);
    sp_coordinator_free(fixture.coordinator);
    return sp_mem_live_count() == fixture.live_before ? 0 : -1;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_coordinator_deletes_a_group_that_nobody_uses(void **state)
{
    (void)state;
    fake_wait(RETENTION_MS - 100);
    assert_int_equal(on_their_way(), 0);
    fake_wait(200);
    assert_int_equal(on_their_way(), 1);
    apply_all();
    assert_false(group_is_there());
}

static void test_coordinator_bare_commit_behind_the_end_makes_no_group(void **state)
{
    (void)state;
    fake_wait(RETENTION_MS + 100);
    assert_int_equal(on_their_way(), 1);
    commit(0);
    assert_int_equal(fixture.answer, SPATE_ERR_NOT_FOUND);
    apply_all();
    assert_false(group_is_there());
}

static void test_coordinator_commit_behind_the_end_makes_the_group_anew(void **state)
{
    (void)state;
    fake_wait(RETENTION_MS + 100);
    commit(1);
    commit(0);
    apply_all();
    assert_int_equal(fixture.answer, ANSWERED_OK);
    assert_true(group_is_there());
}

/* The end would come to nothing behind that commit, and no group be gone. */
static void test_coordinator_waits_with_the_end_for_a_commit_on_its_way(void **state)
{
    (void)state;
    fake_wait(RETENTION_MS - 100);
    commit(1);
    fake_wait(200);
    assert_int_equal(on_their_way(), 1);
    commit(0);
    apply_all();
    assert_int_equal(fixture.answer, ANSWERED_OK);
    assert_true(group_is_there());
    fake_wait(RETENTION_MS + 100);
    apply_all();
    assert_false(group_is_there());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_coordinator_deletes_a_group_that_nobody_uses, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_coordinator_bare_commit_behind_the_end_makes_no_group, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_coordinator_commit_behind_the_end_makes_the_group_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_coordinator_waits_with_the_end_for_a_commit_on_its_way, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
