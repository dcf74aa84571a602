/* Replicas whose first segment is missing: found once all that was committed is applied, and not
 * before, since a log that was trimmed looks the same until then. The other voter is this test. */
#include "one_replica.h"
#include "silent_transport.h"
#include "storage/disk.h"
#include "storage/log_frame.h"
#include "tests/lib/test_batch.h"

enum {
    SELF = 9,
    OTHER = 10,
    BATCHES = 150, /* some 65 fill a segment */
    VALUE_SIZE = 1000,
    FRAME_SIZE = SP_LOG_FRAME_HEADER_SIZE + SP_LOG_FRAME_ALIGNMENT,
    HOLD_MS = 10000, /* after that a checkpoint in doubt is sent all the same */
};

/* What was given up: the sum of all commands' first bytes. */
static int64_t given_up(struct sp_machine *machine)
{
    return (int64_t)adder_of(machine)->sum;
}

static const struct sp_machine_type giver_type = {
    adder_apply, adder_checkpoint, adder_restore, adder_role_changed, adder_stopped, 0, given_up
};

/* ---- the other voter ------------------------------------------------------------------------- */

static void say(struct fixture *fixture, struct sp_peer_raft message)
{
    const struct sp_slice nothing = { NULL, NULL, 0 };

    message.group_id = 4;
    message.from = OTHER;
    message.to = SELF;
    sp_raft_group_receive(fixture->group, 2, &message, &nothing);
}

/* It votes for this replica, whatever it stands for. */
static void elect(struct fixture *fixture)
{
    uint64_t until_ms = patience(fixture);
    bool never = false;

    while (status_of(fixture).role != SP_ROLE_LEADER) {
        assert_true(sp_loop_now_ms(fixture->loop) < until_ms);
        (void)sp_loop_run_until(fixture->loop, &never, sp_loop_now_ms(fixture->loop) + 1);
        if (!fixture->follows || status_of(fixture).role != SP_ROLE_CANDIDATE) {
            continue;
        }
        say(fixture,
            (struct sp_peer_raft){ .kind = SP_PEER_VOTE_RESULT,
                                   .term = status_of(fixture).term,
                                   .flags = SP_PEER_GRANTED | SP_PEER_PRE_VOTE });
        say(fixture,
            (struct sp_peer_raft){ .kind = SP_PEER_VOTE_RESULT,
                                   .term = status_of(fixture).term,
                                   .flags = SP_PEER_GRANTED });
    }
}

/* One turn, after which it has stored all that this replica has. */
static void turn(struct fixture *fixture)
{
    struct sp_raft_group_status status = status_of(fixture);
    bool never = false;

    if (fixture->follows && status.role == SP_ROLE_LEADER) {
        say(fixture,
            (struct sp_peer_raft){ .kind = SP_PEER_APPEND_RESULT,
                                   .term = status.term,
                                   .request_term = status.term,
                                   .index = status.persisted_index });
    }
    (void)sp_loop_run_until(fixture->loop, &never, sp_loop_now_ms(fixture->loop) + 1);
}

/* Turns until it serves, or has stopped itself. */
static void lead(struct fixture *fixture)
{
    uint64_t until_ms = patience(fixture);

    elect(fixture);
    while (!status_of(fixture).ready && !fixture->adder.stopped) {
        assert_true(sp_loop_now_ms(fixture->loop) < until_ms);
        turn(fixture);
    }
}

/* An append of one command, or of none, behind all that this replica has. */
static void hear(struct fixture *fixture, uint64_t term, bool command, uint64_t commit)
{
    uint8_t bytes[FRAME_SIZE] = { 0 };
    uint64_t last = status_of(fixture).last_index;
    struct sp_log_frame frame = {
        .kind = SP_FRAME_COMMAND,
        .length = 1,
        .group_id = 4,
        .term = term,
        .index = last + 1,
        .append_time_ms = sp_log_last_append_time_ms(fixture->open.log),
    };
    const struct sp_peer_raft message = { .group_id = 4,
                                          .from = OTHER,
                                          .to = SELF,
                                          .term = term,
                                          .index = last,
                                          .index_term = sp_log_term_at(fixture->open.log, last),
                                          .commit = commit,
                                          .kind = SP_PEER_APPEND,
                                          .frame_count = command ? 1 : 0 };

    sp_log_frame_seal(&frame, sp_log_chain(fixture->open.log), bytes);
    struct sp_blob *blob = sp_blob_copy(bytes, sizeof bytes);
    const struct sp_slice body = { blob, blob->bytes, command ? blob->size : 0 };
    sp_raft_group_receive(fixture->group, 2, &message, &body);
    sp_blob_unref(blob);
}

/* ---- what the replica has -------------------------------------------------------------------- */

static void on_stored(struct sp_submit *submit, int status)
{
    assert_int_equal(status, 0);
    SP_CONTAINER_OF(submit, struct command, submit)->fixture->committed += 1;
}

static void submit(struct fixture *fixture, enum sp_frame_kind kind, const void *bytes, size_t size)
{
    static struct command command;
    const struct sp_iovec piece = { bytes, size };
    uint64_t until_ms = patience(fixture);

    command = (struct command){ .submit = { .cb = on_stored }, .fixture = fixture };
    unsigned before = fixture->committed;
    int rv = sp_raft_group_submit(fixture->group, kind, &piece, 1, &command.submit);
    assert_int_equal(rv, 0);
    while (fixture->committed == before) {
        assert_true(sp_loop_now_ms(fixture->loop) < until_ms);
        turn(fixture);
    }
}

static void give_up(struct fixture *fixture, int64_t count)
{
    const uint8_t payload = (uint8_t)count;

    assert_in_range(count, 1, UINT8_MAX);
    submit(fixture, SP_FRAME_COMMAND, &payload, 1);
}

/* Starts, leads, and has BATCHES records in three segments. */
static void fill(struct fixture *fixture)
{
    static uint8_t batch[2 * VALUE_SIZE];

    fixture->type = &giver_type;
    start(fixture);
    lead(fixture);
    size_t size = test_batch_make(batch, 1, VALUE_SIZE, 1000, 1);
    for (int i = 0; i < BATCHES; i++) {
        submit(fixture, SP_FRAME_BATCH, batch, size);
    }
    assert_int_equal(sp_log_end_offset(fixture->open.log), BATCHES);
    assert_int_equal(sp_log_first_offset(fixture->open.log), 0);
    assert_int_equal(sp_log_segment_count(fixture->open.log), 3);
}

static void directory_of(const struct fixture *fixture, char *out, size_t size)
{
    (void)snprintf(out, size, "%s/replicas/4.9", fixture->path);
}

static void remove_file(const struct fixture *fixture, const char *name)
{
    char path[SP_DISK_PATH_SIZE];
    char directory[96];

    directory_of(fixture, directory, sizeof directory);
    sp_disk_path(path, directory, name);
    assert_int_equal(remove(path), 0);
}

static void stop_and_lose_first_segment(struct fixture *fixture)
{
    stop(fixture);
    remove_file(fixture, "00000000000000000001.log");
}

static bool is_marked(const struct fixture *fixture)
{
    char path[160];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/replicas/4.9/damaged", fixture->path);
    file = fopen(path, "r");
    if (file != NULL) {
        (void)fclose(file);
    }
    return file != NULL;
}

static bool sends_checkpoint(const struct fixture *fixture)
{
    for (unsigned i = 0; i < SP_RAFT_GUARD_SERVERS_MAX; i++) {
        if (fixture->group->installs[i] != NULL) {
            return true;
        }
    }
    return false;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_raft_begin_leader_without_its_first_records_stops(void **state)
{
    struct fixture *fixture = *state;

    fixture->follows = true;
    fill(fixture);
    stop_and_lose_first_segment(fixture);
    start(fixture);
    assert_in_range(sp_log_first_offset(fixture->open.log), 1, BATCHES);
    lead(fixture);
    assert_true(fixture->adder.stopped);
    assert_false(status_of(fixture).ready);
    assert_int_equal(status_of(fixture).stop_status, SPATE_ERR_CORRUPT);
    stop(fixture);
    assert_true(is_marked(fixture));
}

/* Before it leads: it may be the next to do so. */
static void test_raft_begin_follower_without_its_first_records_stops(void **state)
{
    struct fixture *fixture = *state;
    uint64_t until_ms;

    fixture->follows = true;
    fill(fixture);
    stop_and_lose_first_segment(fixture);
    start(fixture);
    uint64_t last = status_of(fixture).last_index;
    uint64_t term = sp_log_last_term(fixture->open.log) + 5;
    hear(fixture, term, true, last);
    until_ms = patience(fixture);
    while (status_of(fixture).applied_index < last) {
        assert_true(sp_loop_now_ms(fixture->loop) < until_ms);
        turn(fixture);
    }
    assert_false(fixture->adder.stopped); /* more may be committed */
    while (!fixture->adder.stopped) {
        assert_true(sp_loop_now_ms(fixture->loop) < until_ms);
        hear(fixture, term, false, last + 1);
        turn(fixture);
    }
    stop(fixture);
    assert_true(is_marked(fixture));
}

/* The state that it starts with is older than the command by which a segment went. */
static void test_raft_begin_of_a_trimmed_log_is_right(void **state)
{
    struct fixture *fixture = *state;

    fixture->follows = true;
    fill(fixture);
    give_up(fixture, 100);
    give_up(fixture, 1);
    int64_t first = sp_log_first_offset(fixture->open.log);
    assert_in_range(first, 1, 100);
    stop(fixture);
    start(fixture);
    assert_true(given_up(&fixture->adder.machine) < first);
    lead(fixture);
    assert_false(fixture->adder.stopped);
    assert_int_equal(given_up(&fixture->adder.machine), 101);
    stop(fixture);
    assert_false(is_marked(fixture));
}

/* The other voter says that it has next to nothing. */
static void lag_behind(struct fixture *fixture)
{
    struct sp_raft_group_status status = status_of(fixture);
    bool never = false;

    say(fixture,
        (struct sp_peer_raft){ .kind = SP_PEER_APPEND_RESULT,
                               .term = status.term,
                               .request_term = status.term,
                               .commit = status.last_index - 1,
                               .index = 1,
                               .index_term = 1 });
    (void)sp_loop_run_until(fixture->loop, &never, sp_loop_now_ms(fixture->loop) + 1);
}

/* A follower that is below the log of a leader whose first records are missing loses nothing. */
static void test_raft_begin_that_is_in_doubt_is_not_sent(void **state)
{
    struct fixture *fixture = *state;

    fixture->follows = true;
    fill(fixture);
    stop_and_lose_first_segment(fixture);
    start(fixture);
    elect(fixture);
    assert_false(status_of(fixture).ready);
    for (unsigned i = 0; i < 20; i++) {
        lag_behind(fixture);
        assert_false(sends_checkpoint(fixture));
    }
    assert_false(fixture->adder.stopped);
    stop(fixture);
}

/* It may be the one without which nothing is ever committed. */
static void test_raft_begin_that_stays_in_doubt_is_sent_after_a_while(void **state)
{
    struct fixture *fixture = *state;
    uint64_t until_ms;

    fixture->follows = true;
    fill(fixture);
    stop_and_lose_first_segment(fixture);
    start(fixture);
    elect(fixture);
    until_ms = patience(fixture);
    while (fixture->group->begin_asked_term == 0) { /* raft wants to send it */
        assert_true(sp_loop_now_ms(fixture->loop) < until_ms);
        lag_behind(fixture);
    }
    assert_false(sends_checkpoint(fixture));
    fixture->group->begin_asked_ms = sp_loop_now_ms(fixture->loop) - HOLD_MS + 5000;
    uint64_t held_until_ms = fixture->group->begin_asked_ms + HOLD_MS;
    while (!sends_checkpoint(fixture)) {
        assert_true(sp_loop_now_ms(fixture->loop) < held_until_ms + HOLD_MS);
        lag_behind(fixture);
    }
    assert_true(sp_loop_now_ms(fixture->loop) >= held_until_ms);
    assert_false(fixture->adder.stopped);
    stop(fixture);
}

/* Nobody could fill another one: it serves what is left, and says so until that was given up. */
static void test_raft_begin_of_an_only_replica_is_served_without(void **state)
{
    struct fixture *fixture = *state;

    fill(fixture);
    stop_and_lose_first_segment(fixture);
    start(fixture);
    lead(fixture);
    assert_false(fixture->adder.stopped);
    assert_true(sp_raft_group_short_since_ms(fixture->group) > 0);
    assert_false(sp_raft_vouches_for_begin(fixture->group));
    give_up(fixture, sp_log_first_offset(fixture->open.log));
    assert_int_equal(sp_raft_group_short_since_ms(fixture->group), 0);
    assert_true(sp_raft_vouches_for_begin(fixture->group));
    stop(fixture);
    assert_false(is_marked(fixture));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_raft_begin_leader_without_its_first_records_stops, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_raft_begin_follower_without_its_first_records_stops, setup, teardown),
        cmocka_unit_test_setup_teardown(test_raft_begin_of_a_trimmed_log_is_right, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_raft_begin_that_is_in_doubt_is_not_sent, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_raft_begin_that_stays_in_doubt_is_sent_after_a_while, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_raft_begin_of_an_only_replica_is_served_without, setup, teardown),
    };

    return cmocka_run_group_tests_name("cluster/raft_begin", tests, NULL, NULL);
}
