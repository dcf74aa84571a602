/* A checkpoint on its way: the code of both sides, over a link that is first slow, then fast. Only
 * the file itself is real; what it calls stands here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/mem.h"
#include "cluster/raft_group_internal.h"
#include "spate/error.h"
#include "storage/checkpoint.h"

enum {
    CHUNK = 1000,
    WAY_MAX = 4096,
    ASK_EVERY_MS = 50, /* each heartbeat that is rejected makes raft ask */
};

/* A message on its way, in the order of sending. */
struct letter {
    uint64_t due_ms;
    struct sp_peer_raft raft;
    struct sp_slice body;
};

struct way {
    struct letter letters[WAY_MAX];
    unsigned first;
    unsigned end;
};

static struct {
    uint64_t now_ms;
    uint64_t delay_ms; /* from leader to follower */
    struct way down;
    struct way up;
    struct sp_raft_context leader_context;
    struct sp_raft_context follower_context;
    struct sp_raft_group leader;
    struct sp_raft_group follower;
    struct sp_log_image *reading;
    struct sp_blob *blob;
    int image_status;
    int send_status;
    size_t most; /* gathered by the follower at any time */
    unsigned chunks;
    unsigned stopped;
    unsigned trimmed;
    int64_t log_start;
    uint64_t trim_index;
    bool arrived;
    uint64_t live_before;
} world;

/* ---- what the file calls --------------------------------------------------------------------- */

uint64_t sp_raft_now_ms(const struct sp_raft_group *group)
{
    (void)group;
    return world.now_ms;
}

bool sp_raft_leads_in(const struct sp_raft_group *group, uint64_t term)
{
    (void)group;
    return term == 1;
}

static void post(struct way *way, uint64_t due_ms, const struct sp_peer_raft *raft)
{
    if (way->end > way->first && way->letters[way->end - 1].due_ms > due_ms) {
        due_ms = way->letters[way->end - 1].due_ms;
    }
    assert_true(way->end < WAY_MAX);
    way->letters[way->end] = (struct letter){ .due_ms = due_ms, .raft = *raft };
    way->end += 1;
}

int sp_transport_send(struct sp_transport *transport,
                      uint32_t node_id,
                      const struct sp_peer_message *message,
                      const struct sp_slice *pieces,
                      unsigned count)
{
    (void)transport;
    assert_int_equal(node_id, 2);
    assert_int_equal(count, 1);
    if (world.send_status != 0) {
        return world.send_status;
    }
    post(&world.down, world.now_ms + world.delay_ms, &message->u.raft);
    world.down.letters[world.down.end - 1].body = *pieces;
    world.chunks += 1;
    return 0;
}

int sp_transport_send_heartbeat(struct sp_transport *transport,
                                uint32_t node_id,
                                const struct sp_peer_raft *raft)
{
    (void)transport;
    assert_int_equal(node_id, 1);
    post(&world.up, world.now_ms + 1, raft);
    return 0;
}

int sp_log_image_start(struct sp_log *log, struct sp_log_image *image)
{
    (void)log;
    assert_null(world.reading);
    image->index = 100;
    image->term = 1;
    world.reading = image;
    return 0;
}

bool sp_raft_guard_wants_install(const struct sp_raft_guard *guard,
                                 uint64_t term,
                                 uint64_t last_index,
                                 uint64_t last_term)
{
    (void)guard;
    return !world.arrived && term == 1 && last_index == 100 && last_term == 1;
}

bool sp_raft_guard_installing(const struct sp_raft_guard *guard)
{
    (void)guard;
    return false;
}

int sp_raft_guard_receive_install(struct sp_raft_guard *guard,
                                  uint64_t now_ms,
                                  uint64_t from,
                                  const struct sp_raft_guard_install *install)
{
    (void)guard;
    (void)now_ms;
    (void)from;
    (void)install;
    return 0;
}

/* The whole has arrived; what comes of it is not of interest here. */
int sp_checkpoint_decode(const uint8_t *bytes, size_t size, struct sp_checkpoint *out_checkpoint)
{
    (void)out_checkpoint;
    assert_int_equal(size, world.blob->size);
    assert_memory_equal(bytes, world.blob->bytes, size);
    world.arrived = true;
    return SPATE_ERR_CORRUPT;
}

void sp_raft_stop(struct sp_raft_group *group, int status, const char *text)
{
    (void)group;
    (void)text;
    assert_int_equal(status, SPATE_ERR_CORRUPT);
    world.stopped += 1;
}

void sp_raft_stop_unreadable(struct sp_raft_group *group, int status, const char *text)
{
    sp_raft_stop(group, status, text);
}

uint64_t sp_log_trim_index(const struct sp_log *log, unsigned checkpoints_kept)
{
    (void)log;
    return checkpoints_kept == 1 ? world.trim_index : 0;
}

uint64_t sp_log_trim_index_below(const struct sp_log *log, int64_t offset)
{
    (void)log;
    return offset == world.log_start ? world.trim_index : 0;
}

void sp_log_trim(struct sp_log *log, uint64_t index)
{
    (void)log;
    assert_int_equal(index, world.trim_index);
    world.trimmed += 1;
}

uint64_t sp_log_first_index(const struct sp_log *log)
{
    (void)log;
    return world.trimmed > 0 ? world.trim_index + 1 : 1;
}

uint64_t sp_log_term_at(const struct sp_log *log, uint64_t index)
{
    (void)log;
    (void)index;
    return 1;
}

int sp_raft_membership_at(const struct sp_log *log,
                          uint64_t index,
                          raft_index *out_index,
                          struct raft_configuration *out)
{
    (void)log;
    *out_index = index;
    raft_configuration_init(out);
    return 0;
}

int sp_raft_guard_snapshot(struct sp_raft_guard *guard,
                           uint64_t now_ms,
                           const struct raft_snapshot_metadata *metadata,
                           unsigned trailing)
{
    (void)guard;
    (void)now_ms;
    assert_int_equal(metadata->index, world.trim_index);
    assert_int_equal(trailing, 0);
    return 0;
}

void sp_raft_advance(struct sp_raft_group *group)
{
    (void)group;
}

/* Never come to here. */
struct sp_membership sp_checkpoint_membership(const uint8_t **cursor)
{
    (void)cursor;
    fail();
    return (struct sp_membership){ .index = 0 };
}

int sp_raft_guard_check_configuration(const struct raft_buffer *buffer)
{
    (void)buffer;
    fail();
    return 0;
}

int sp_raft_restore_machine(struct sp_raft_group *group)
{
    (void)group;
    fail();
    return 0;
}

void sp_raft_doubt_begin(struct sp_raft_group *group)
{
    (void)group;
    fail();
}

uint64_t sp_log_checkpoint_index(const struct sp_log *log)
{
    (void)log;
    fail();
    return 0;
}

int sp_raft_guard_persisted_snapshot(struct sp_raft_guard *guard,
                                     uint64_t now_ms,
                                     const struct raft_snapshot_metadata *metadata)
{
    (void)guard;
    (void)now_ms;
    (void)metadata;
    fail();
    return 0;
}

/* ---- the world ------------------------------------------------------------------------------- */

static void begin(size_t size)
{
    memset(&world, 0, sizeof world);
    world.live_before = sp_mem_live_count();
    world.leader_context.install_chunk_bytes = CHUNK;
    sp_rand_init(&world.leader_context.rand, 1);
    world.leader.context = &world.leader_context;
    world.follower.context = &world.follower_context;
    world.leader.group_id = world.follower.group_id = 5;
    world.leader.replica_id = 1;
    world.follower.replica_id = 2;
    world.leader.guard.started = true;
    world.leader.checkpoints_kept = 3;
    world.follower.last_from_node = 1;
    world.delay_ms = 1;
    world.blob = sp_blob_new(size);
    for (size_t i = 0; i < size; i++) {
        world.blob->bytes[i] = (uint8_t)(i * 7);
    }
}

static void end(void)
{
    if (world.reading != NULL) {
        world.reading->cb(world.reading, SPATE_ERR_CANCELED);
    }
    sp_raft_install_drop_all(&world.leader);
    sp_raft_install_drop_all(&world.follower);
    sp_blob_unref(world.blob);
    assert_int_equal(sp_mem_live_count(), world.live_before);
}

static void ask(void)
{
    const struct sp_raft_outgoing out = {
        .message = { .kind = SP_PEER_INSTALL, .group_id = 5, .from = 1, .to = 2, .term = 1 },
        .node_id = 2,
    };

    sp_raft_install_begin(&world.leader, &out);
}

static void end_reading(void)
{
    struct sp_log_image *image = world.reading;

    if (image == NULL) {
        return;
    }
    world.reading = NULL;
    image->blob = world.image_status == 0 ? sp_blob_ref(world.blob) : NULL;
    image->cb(image, world.image_status);
}

static struct letter *next_letter(struct way *way)
{
    if (way->first == way->end || way->letters[way->first].due_ms > world.now_ms) {
        return NULL;
    }
    way->first += 1;
    return &way->letters[way->first - 1];
}

static void run_until(uint64_t end_ms)
{
    for (; world.now_ms < end_ms && !world.arrived; world.now_ms++) {
        struct letter *letter;

        if (world.now_ms % ASK_EVERY_MS == 0) {
            ask();
        }
        end_reading();
        while (!world.arrived && (letter = next_letter(&world.down)) != NULL) {
            (void)sp_raft_install_receive(&world.follower, &letter->raft, &letter->body);
        }
        while ((letter = next_letter(&world.up)) != NULL) {
            sp_raft_install_answered(&world.leader, &letter->raft);
        }
    }
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_raft_install_arrives_in_order(void **state)
{
    (void)state;
    begin(10 * CHUNK + 1);
    run_until(1000);
    assert_true(world.arrived);
    assert_int_equal(world.chunks, 11);
    end();
}

/* One chunk takes longer than the leader waits. Its answer, when it comes at last, must not set off
 * a second chain of chunks beside the one that was begun meanwhile. */
static void test_raft_install_survives_one_long_delay(void **state)
{
    (void)state;
    begin(40 * CHUNK);
    run_until(20);
    world.delay_ms = 11000;
    run_until(12000);
    world.delay_ms = 1;
    run_until(40000);
    assert_true(world.arrived);
    assert_true(world.chunks < 3 * 40);
    end();
}

/* A link whose queue is full costs a pause, not what has been sent. */
static void test_raft_install_goes_on_after_a_full_queue(void **state)
{
    (void)state;
    begin(20 * CHUNK);
    run_until(20);
    world.send_status = SPATE_ERR_BUSY;
    run_until(500);
    world.send_status = 0;
    run_until(1000);
    assert_true(world.arrived);
    assert_int_equal(world.chunks, 20);
    end();
}

/* While a follower is on its way, and for ten seconds after its last word, the log keeps what it
 * needs next. */
static void test_raft_install_under_way_keeps_the_log(void **state)
{
    (void)state;
    begin(40 * CHUNK);
    world.leader.checkpoints_kept = 1;
    world.trim_index = 200;
    run_until(20);
    sp_raft_host_checkpointed(&world.leader, 300);
    assert_int_equal(world.trimmed, 0);
    assert_true(world.chunks > 1 && !world.arrived);
    world.now_ms += 9900; /* nobody answers any more */
    sp_raft_host_checkpointed(&world.leader, 300);
    assert_int_equal(world.trimmed, 0);
    world.now_ms += 100;
    sp_raft_host_checkpointed(&world.leader, 300);
    assert_int_equal(world.trimmed, 1);
    end();
}

static void test_raft_install_damaged_start_is_left_behind(void **state)
{
    (void)state;
    begin(CHUNK);
    world.image_status = SPATE_ERR_CORRUPT;
    world.trim_index = 200;
    ask();
    end_reading();
    assert_int_equal(world.trimmed, 1);
    assert_int_equal(world.stopped, 0);
    world.trim_index = 0; /* there is no other */
    ask();
    end_reading();
    assert_int_equal(world.stopped, 1);
    end();
}

/* A chunk of another transfer, or at another place, is not mixed in. */
static void test_raft_install_foreign_chunks_are_refused(void **state)
{
    struct sp_peer_raft chunk = { .kind = SP_PEER_INSTALL,
                                  .group_id = 5,
                                  .from = 1,
                                  .to = 2,
                                  .term = 1,
                                  .index = 100,
                                  .index_term = 1,
                                  .aux = 7 };
    struct sp_slice body;

    (void)state;
    begin(4 * CHUNK);
    body = (struct sp_slice){ world.blob, world.blob->bytes, CHUNK };
    assert_int_equal(sp_raft_install_receive(&world.follower, &chunk, &body), 0);
    chunk.commit = CHUNK;
    chunk.aux = 8;
    chunk.flags = SP_PEER_CHUNK_LAST;
    assert_int_equal(sp_raft_install_receive(&world.follower, &chunk, &body), 0);
    chunk.aux = 7;
    chunk.commit = 2 * CHUNK;
    assert_int_equal(sp_raft_install_receive(&world.follower, &chunk, &body), 0);
    assert_false(world.arrived);
    assert_int_equal(world.up.letters[1].raft.commit, 0); /* begin anew, it says */
    chunk.index = 0;
    assert_int_equal(sp_raft_install_receive(&world.follower, &chunk, &body), SPATE_ERR_MALFORMED);
    chunk.index = 100;
    chunk.aux = 9; /* a transfer that is begun anew drops what was gathered of the one before */
    chunk.flags = 0;
    for (chunk.commit = 0; chunk.commit < 2 * CHUNK; chunk.commit += CHUNK) {
        assert_int_equal(sp_raft_install_receive(&world.follower, &chunk, &body), 0);
    }
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raft_install_arrives_in_order),
        cmocka_unit_test(test_raft_install_survives_one_long_delay),
        cmocka_unit_test(test_raft_install_goes_on_after_a_full_queue),
        cmocka_unit_test(test_raft_install_under_way_keeps_the_log),
        cmocka_unit_test(test_raft_install_damaged_start_is_left_behind),
        cmocka_unit_test(test_raft_install_foreign_chunks_are_refused),
    };
    return cmocka_run_group_tests_name("cluster/raft_install", tests, NULL, NULL);
}
