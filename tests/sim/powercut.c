/* powercut: the storage layer alone, killed at one file call after the other and recovered.
 *
 *   open -> append, truncate, roll, checkpoint, vote ... -> death inside a call -> open -> check
 *
 * Each world lives several lives on one disk. What `persisted` and `meta_durable` have reported
 * must be there after every death; what lies above must be frames that were written at some time,
 * in an order that the log has had. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/crc32c.h"
#include "sim_disk.h"
#include "sim_net.h"
#include "sim_parts.h"
#include "sim_world.h"
#include "spate/error.h"
#include "storage/store.h"

enum {
    LIVES = 5,
    CALLS_MAX = 220,           /* file calls of one life: about what a life's work takes */
    CALLS_AFTER_KILL_MAX = 16, /* the opening's, and a few */
    INDEX_MAX = 1024,
    TERMS = 64, /* that are told apart */
    WORKERS = 4,
    GROUP = 7,
    REPLICA = 1025,
    STEP_US = 700,
    LIFE_US_MAX = 3 * 1000 * 1000,
    WORLDS_PER_CHILD = 50,
};

/* What the log has said, and what was written. */
static struct {
    struct sim_process *process;
    struct sp_loop *loop;
    struct sp_store *store;
    struct sp_log *log;
    struct sp_replica_open open;
    struct sp_log_read read;
    struct sp_rand rand;
    bool created;  /* the replica's registration was reported */
    bool opened;   /* in this life */
    bool verified; /* in this life */
    uint64_t term;
    uint64_t frames; /* written */
    uint64_t promised;
    uint64_t promised_before;    /* when the last life ended */
    uint64_t current[INDEX_MAX]; /* [index] term of the frame that the log has there */
    uint64_t vote_asked;         /* term of the newest vote asked for */
    uint64_t vote_sequence;
    uint64_t vote_durable;           /* term of the newest vote reported durable */
    uint32_t crcs[INDEX_MAX][TERMS]; /* [index][term % TERMS] of the newest writes there */
    uint64_t terms[INDEX_MAX][TERMS];
} test;

static void do_step(void *arg);

bool sim_trace_seen(enum sp_trace_level level,
                    const char *component,
                    const char *message,
                    const char *facts)
{
    (void)level;
    (void)component;
    (void)message;
    (void)facts;
    return true;
}

/* ---- reports --------------------------------------------------------------------------------- */

static void on_persisted(void *arg, uint64_t index)
{
    (void)arg;
    if (test.process->doomed == SIM_DEATH_NONE && index > test.promised) {
        test.promised = index;
    }
}

static void on_meta_durable(void *arg, uint64_t sequence)
{
    (void)arg;
    if (test.vote_sequence != 0 && sequence >= test.vote_sequence) {
        test.vote_durable = test.vote_asked;
        test.vote_sequence = 0;
    }
}

static void on_store_failed(void *arg, int status, const char *text)
{
    (void)arg;
    if (test.process->doomed == SIM_DEATH_NONE) {
        sim_fail("the store fails: %s: %s", spate_error_name(status), text);
    }
}

/* ---- checking -------------------------------------------------------------------------------- */

static void check_frame(const struct sp_slice *slice, uint64_t index)
{
    struct sp_log_frame frame;
    int rv = sp_log_frame_verify(slice->bytes, slice->size, &frame);

    if (rv != 0 || frame.index != index) {
        sim_fail("frame %llu cannot be read: %s", (unsigned long long)index, spate_error_name(rv));
        return;
    }
    uint32_t crc = sp_crc32c(0, sp_log_frame_payload(slice->bytes), frame.length);
    if (test.terms[index][frame.term % TERMS] != frame.term ||
        test.crcs[index][frame.term % TERMS] != crc) {
        sim_fail("frame %llu of term %llu was never written so",
                 (unsigned long long)index,
                 (unsigned long long)frame.term);
    }
    if (index <= test.promised_before && test.current[index] != frame.term) {
        sim_fail("frame %llu is of term %llu, promised was the one of term %llu",
                 (unsigned long long)index,
                 (unsigned long long)frame.term,
                 (unsigned long long)test.current[index]);
    }
    test.current[index] = frame.term;
}

static void on_read(struct sp_log_read *read, int status);

static void read_from(uint64_t index)
{
    uint64_t last = sp_log_last_index(test.log);

    if (index > last) {
        test.verified = true;
        return;
    }
    memset(&test.read, 0, sizeof test.read);
    test.read.by = SP_LOG_READ_INDEX;
    test.read.start = (int64_t)index;
    test.read.index_max = last;
    test.read.bytes_max = 100000;
    test.read.frames_max = SP_APPEND_FRAMES_MAX;
    test.read.cb = on_read;
    int rv = sp_log_read_start(test.log, &test.read);
    SP_ASSERT(rv == 0);
}

static void on_read(struct sp_log_read *read, int status)
{
    uint64_t index = (uint64_t)read->start;

    if (status != 0) {
        if (test.process->doomed == SIM_DEATH_NONE) {
            sim_fail("reading from %llu: %s", (unsigned long long)index, spate_error_name(status));
        }
        return;
    }
    for (unsigned i = 0; i < read->count && !sim.failed; i++) {
        check_frame(&read->frames[i], index + i);
    }
    index += read->count;
    sp_log_read_release(read);
    read_from(index);
}

static void check_opened(void)
{
    uint64_t term = 0;
    uint64_t vote = 0;

    if (sp_log_last_index(test.log) < test.promised) {
        sim_fail("the log ends at %llu, promised was %llu",
                 (unsigned long long)sp_log_last_index(test.log),
                 (unsigned long long)test.promised);
    }
    sp_store_vote(test.store, GROUP, REPLICA, &term, &vote);
    if (term < test.vote_durable || term > test.vote_asked || vote != term * 3) {
        sim_fail("term %llu and vote %llu are found, durable was term %llu",
                 (unsigned long long)term,
                 (unsigned long long)vote,
                 (unsigned long long)test.vote_durable);
    }
    test.vote_asked = term;
    test.vote_durable = term;
    /* An open log answers for all that it has, whoever has written it. */
    on_persisted(NULL, sp_log_persisted_index(test.log));
    read_from(1);
}

/* ---- working --------------------------------------------------------------------------------- */

static uint64_t draw(uint64_t low, uint64_t high)
{
    return sim_between(&test.rand, low, high);
}

static void append(void)
{
    uint8_t payload[3000];
    size_t size = (size_t)draw(1, draw(0, 9) == 0 ? sizeof payload : 200);
    const struct sp_iovec piece = { payload, size };
    int64_t offset = 0;

    if (sp_log_last_index(test.log) + 1 >= INDEX_MAX) {
        return;
    }
    for (size_t i = 0; i < size; i++) {
        payload[i] = (uint8_t)sp_rand_next(&test.rand);
    }
    int rv = sp_log_build(test.log, SP_FRAME_COMMAND, test.term, 1000, &piece, 1, &offset);
    if (rv == 0) {
        uint64_t index = sp_log_last_index(test.log);
        test.crcs[index][test.term % TERMS] = sp_crc32c(0, payload, size);
        test.terms[index][test.term % TERMS] = test.term;
        test.current[index] = test.term;
        test.frames += 1;
    }
}

static void truncate_tail(void)
{
    uint64_t last = sp_log_last_index(test.log);
    uint64_t low = sp_log_checkpoint_index(test.log) + 1;

    if (low < sp_log_first_index(test.log)) {
        low = sp_log_first_index(test.log);
    }
    if (last <= low) {
        return;
    }
    uint64_t index = draw(last > low + 20 ? last - 20 : low + 1, last);
    if (sp_log_truncate(test.log, index) == 0) {
        test.promised = test.promised < index ? test.promised : index - 1;
        test.term += 1;
    }
}

static void write_checkpoint(void)
{
    uint64_t wanted = sp_log_checkpoint_wanted(test.log);
    uint8_t state[100] = { 0 };

    if (wanted != 0 && wanted <= test.promised) {
        (void)sp_log_checkpoint_write(test.log, state, sizeof state); /* no memory: again later */
    }
}

static void vote(void)
{
    if (test.vote_sequence == 0) {
        test.vote_asked += 1;
        test.vote_sequence =
            sp_store_set_vote(test.store, GROUP, REPLICA, test.vote_asked, test.vote_asked * 3);
    }
}

static void do_step(void *arg)
{
    (void)arg;
    if (test.opened && test.verified) {
        uint64_t what = draw(0, 99);
        for (uint64_t i = draw(0, 6); what < 80 && i > 0; i--) {
            append();
        }
        if (what >= 80 && what < 87) {
            truncate_tail();
        } else if (what >= 87 && what < 90) {
            sp_log_roll(test.log);
        } else if (what >= 90) {
            vote();
        }
        write_checkpoint();
        sim_loops_kick(test.process);
    }
    (void)sim_at(sim.now_us + STEP_US, SIM_EVENT_WORLD, test.process, do_step, NULL);
}

/* ---- lives ----------------------------------------------------------------------------------- */

static void on_open(struct sp_replica_open *open, int status)
{
    static const struct sp_log_handler handler = { .persisted = on_persisted };

    if (test.process->doomed != SIM_DEATH_NONE) {
        return;
    }
    if (status != 0) {
        sim_fail("the log does not open: %s: %s", spate_error_name(status), open->text);
        return;
    }
    test.created = true;
    test.opened = true;
    test.log = open->log;
    sp_log_set_handler(test.log, &handler, NULL);
    check_opened();
}

static void open_log(void)
{
    memset(&test.open, 0, sizeof test.open);
    test.open.group_id = GROUP;
    test.open.replica_id = REPLICA;
    test.open.cb = on_open;
    if (sp_store_has_replica(test.store, GROUP, REPLICA)) {
        sp_store_open_replica(test.store, &test.open);
    } else if (test.created) {
        sim_fail("the replica was registered and is not any more");
    } else {
        sp_store_create_replica(test.store, &test.open);
    }
}

static void begin_life(uint64_t calls, bool by_kill)
{
    static const struct sp_store_handler handler = { on_meta_durable, on_store_failed };
    const struct sp_store_options options = {
        .path = "/data", .node_id = 1, .segment_bytes = 65536, .prefill_bytes = 16384
    };
    char text[300] = "";

    test.promised_before = test.promised;
    test.opened = false;
    test.verified = false;
    test.vote_sequence = 0;
    test.term += 1;
    sim_process_start(test.process);
    test.process->disk->death_in = calls;
    test.process->disk->death_is_kill = by_kill;
    struct sim_process *before = sim_enter(test.process);
    int rv = sp_loop_new(WORKERS, &test.loop);
    SP_ASSERT(rv == 0);
    rv = sp_store_open(test.loop, &options, &handler, NULL, text, sizeof text, &test.store);
    if (rv == 0) {
        open_log();
        (void)sim_at(sim.now_us + STEP_US, SIM_EVENT_WORLD, test.process, do_step, NULL);
    } else if (test.process->doomed == SIM_DEATH_NONE) {
        sim_fail("the store does not open: %s: %s", spate_error_name(rv), text);
    }
    sim_loops_kick(test.process);
    sim_leave(before);
}

/* Lives until it dies; returns false after a failure. */
static bool live(uint64_t calls, bool by_kill)
{
    uint64_t end_us = sim.now_us + LIFE_US_MAX;

    begin_life(calls, by_kill);
    while (!sim.failed && test.process->alive && sim.now_us < end_us) {
        sim_run_until(sim.now_us + 5 * SIM_MS);
    }
    if (!sim.failed && test.process->alive) {
        if (calls != 0) {
            sim_fail("a life of %llu calls did not end", (unsigned long long)calls);
        }
        sim_process_kill(test.process, SIM_DEATH_POWER);
    }
    return !sim.failed;
}

static bool run_world(uint64_t seed)
{
    sim_world_init(seed);
    sim_net_init();
    memset(&test, 0, sizeof test);
    sp_rand_init(&test.rand, seed * 77 + 5);
    test.process = sim_process_new("disk", "10.0.0.1");
    sim_disk_new(test.process)->syncs_each = seed % 2 == 0;
    bool by_kill = false;
    /* The first deaths go through all calls in turn, the later ones are drawn; after a kill they
     * come early, before new writes have synced what the killed one has left. */
    for (unsigned i = 0; i < LIVES; i++) {
        uint64_t drawn = draw(1, by_kill ? CALLS_AFTER_KILL_MAX : CALLS_MAX);
        by_kill = draw(0, 2) == 0;
        if (!live(i == 0 ? 1 + seed % CALLS_MAX : drawn, by_kill)) {
            (void)printf("world %llu, life %u: %s\n", (unsigned long long)seed, i + 1, sim.failure);
            return false;
        }
    }
    return true;
}

/* Counts of all children, in memory that they share. */
static struct shared {
    uint64_t frames;
    uint64_t lost_sectors;
    uint64_t torn_sectors;
} * shared;

static void add_counts(void)
{
    shared->frames += test.frames;
    shared->lost_sectors += test.process->disk->lost_sectors;
    shared->torn_sectors += test.process->disk->torn_sectors;
}

/* Worlds leave their memory behind, so each few of them have a process of their own. */
static int run_child(uint64_t first, uint64_t count)
{
    pid_t pid;
    int status = 0;

    (void)fflush(NULL);
    pid = fork();
    if (pid == 0) {
        int failed = 0;
        for (uint64_t seed = first; seed < first + count; seed++) {
            failed |= run_world(seed) ? 0 : 1;
            add_counts();
        }
        (void)fflush(NULL);
        _exit(failed);
    }
    (void)waitpid(pid, &status, 0);
    if (WIFSIGNALED(status)) {
        (void)printf(
            "worlds from %llu on: signal %d\n", (unsigned long long)first, WTERMSIG(status));
    }
    return status != 0;
}

static uint64_t argument(int argc, char **argv, int number, uint64_t otherwise)
{
    char *end = NULL;

    if (argc <= number) {
        return otherwise;
    }
    unsigned long long value = strtoull(argv[number], &end, 10);
    if (argv[number][0] < '0' || argv[number][0] > '9' || *end != '\0' || value == 0) {
        (void)fprintf(stderr,
                      "usage: powercut [WORLDS (2000) [FIRST (1)]]\n"
                      "Kills the storage layer alone, %d times in each world, and recovers it.\n",
                      (int)LIVES);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv)
{
    uint64_t worlds = argument(argc, argv, 1, 2000);
    uint64_t first = argument(argc, argv, 2, 1);
    int failed = 0;

    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    SP_ASSERT(shared != MAP_FAILED);
    for (uint64_t i = 0; i < worlds; i += WORLDS_PER_CHILD) {
        uint64_t count = worlds - i < WORLDS_PER_CHILD ? worlds - i : WORLDS_PER_CHILD;
        failed |= run_child(first + i, count);
    }
    (void)printf(
        "%llu deaths of the storage layer, %llu frames written, %llu sectors lost, %llu torn: "
        "%s\n",
        (unsigned long long)(worlds * LIVES),
        (unsigned long long)shared->frames,
        (unsigned long long)shared->lost_sectors,
        (unsigned long long)shared->torn_sectors,
        failed ? "FAILED" : "all recovered");
    return failed;
}
