/* Every file of a small data directory cut at several places, and removed: each time that is found
 * or mended, and nothing that is read is ever another than what was written. Once of a node that
 * was stopped in good order, and once of one that was killed. */
#include "small_directory.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "storage/log_frame.h"
#include "storage/log_verify.h"

enum {
    SEGMENT_BYTES = HEADER_SIZE + 200000, /* several places in each index */
    BATCHES = 24,
    BATCHES_PER_SEGMENT = 7,
    VALUE_SIZE = 15000,
    SIZES = 4,
    PATIENCE_MS = 10000,
};

enum file_kind {
    META,
    SEGMENT,
    CHECKPOINT,
    INDEX,
    REST,
    FILE_KINDS
};

static const char *const kind_names[] = {
    "metadata", "segments", "checkpoints", "indexes", "rest"
};

struct tally {
    unsigned count;
    unsigned of[VERDICTS];
};

static enum file_kind kind_of(const struct image *image)
{
    static const char *const parts[] = { "meta.", ".log", ".checkpoint", ".index", "rest" };

    for (unsigned kind = 0; kind < FILE_KINDS; kind++) {
        if (strstr(image->name, parts[kind]) != NULL) {
            return (enum file_kind)kind;
        }
    }
    fail();
    return FILE_KINDS;
}

/* Of all files with such an end. */
static const struct image *newest_of(enum file_kind kind)
{
    const struct image *newest = NULL;

    for (unsigned i = 0; i < golden.file_count; i++) {
        const struct image *image = &golden.files[i];

        if (kind_of(image) == kind && (newest == NULL || strcmp(image->name, newest->name) > 0)) {
            newest = image;
        }
    }
    assert_non_null(newest);
    return newest;
}

static void wait_ms(struct test_store *test, uint64_t ms)
{
    bool never = false;

    (void)sp_loop_run_until(test->loop, &never, sp_loop_now_ms(test->loop) + ms);
}

/* Until the checkpoint of the segment with this frame, or of a later one, is there. */
static void await_checkpoint(struct test_store *test, const struct test_log *log, uint64_t index)
{
    uint64_t until_ms = sp_loop_now_ms(test->loop) + PATIENCE_MS;

    while (sp_log_trim_index(log->log, 1) + BATCHES_PER_SEGMENT < index) {
        assert_true(sp_loop_now_ms(test->loop) < until_ms);
        wait_ms(test, 1);
    }
}

/* ---- the directory --------------------------------------------------------------------------- */

static void begin(struct test_store *test)
{
    test_store_begin(test);
    test->segment_bytes = SEGMENT_BYTES;
    test->counted = true;
}

static int set_up_stopped(void **state)
{
    const struct filling filling = { BATCHES, BATCHES, VALUE_SIZE };
    static struct test_store test;
    struct test_log log;

    begin(&test);
    fill(&test, &log, &filling);
    test_log_reopen(&log);
    assert_true(read_frames(&log, golden.frames));
    sp_log_keep_rest(log.log, golden.last_index, (const uint8_t *)"state", 5);
    test_log_close(&log);
    test_store_close(&test);
    keep_all(&test);
    *state = &test;
    return 0;
}

/* Another process: fills the directory, tells of what is durable, and dies with its files open. In
 * the middle of a write it would leave another end each time: the crash tests do that. */
static void write_until_killed(const char *path, const char *checkpointed)
{
    const struct filling filling = { BATCHES, (unsigned)atoi(checkpointed), VALUE_SIZE };
    struct test_store test = { .segment_bytes = SEGMENT_BYTES, .counted = true };
    struct test_log log;

    (void)snprintf(test.path, sizeof test.path, "%s", path);
    assert_int_equal(sp_loop_new(2, &test.loop), 0);
    fill(&test, &log, &filling);
    golden.last_synced = golden.last_index;
    assert_int_equal(write(STDOUT_FILENO, &golden, sizeof golden), (ssize_t)sizeof golden);
    await_checkpoint(&test, &log, filling.checkpointed);
    (void)kill(getpid(), SIGKILL);
}

static void run_until_killed(const struct test_store *test, unsigned checkpointed)
{
    char number[16];
    int pipe_ends[2];
    int status = 0;
    size_t size = 0;

    (void)snprintf(number, sizeof number, "%u", checkpointed);
    assert_int_equal(pipe(pipe_ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)dup2(pipe_ends[1], STDOUT_FILENO);
        (void)execl("/proc/self/exe", "test_cuts", test->path, number, (char *)NULL);
        _exit(127);
    }
    (void)close(pipe_ends[1]);
    while (size < sizeof golden) {
        ssize_t more = read(pipe_ends[0], (uint8_t *)&golden + size, sizeof golden - size);
        assert_true(more > 0);
        size += (size_t)more;
    }
    (void)close(pipe_ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static int set_up_killed(void **state, unsigned checkpointed)
{
    static struct test_store test;
    struct test_log log;

    begin(&test);
    run_until_killed(&test, checkpointed);
    keep_all(&test);
    test_store_open(&test);
    check_meta(&test);
    test_log_open_whole(&log, &test, 1);
    golden.last_index = sp_log_last_index(log.log);
    assert_true(golden.last_index >= golden.last_synced); /* durable is durable */
    assert_true(read_frames(&log, golden.frames));
    test_log_close(&log);
    test_store_close(&test);
    restore(&test);
    *state = &test;
    return 0;
}

static int set_up_checkpointed(void **state)
{
    return set_up_killed(state, BATCHES);
}

static int set_up_late(void **state)
{
    return set_up_killed(state, BATCHES / 2);
}

static int tear_down(void **state)
{
    forget_files();
    test_store_end(*state);
    return 0;
}

/* ---- is it as it was? ------------------------------------------------------------------------ */

/* A vote and a batch more, and the checkpoints that are missing. */
static void write_on(struct test_store *test, struct test_log *log)
{
    test_store_wait_meta(test, sp_store_set_vote(test->store, VOTES + 1, TEST_REPLICA_ID, 20, 2));
    test_log_batch(log, 1, 2, VALUE_SIZE, 300);
    test_log_flush(log);
    write_checkpoints(log);
    await_checkpoint(test, log, sp_log_last_index(log->log));
}

/* A checkpoint that has a newer one is left as it is: it goes with the records before it. */
static void fail_of_finding(void *arg, const struct sp_verify_finding *finding)
{
    const struct image *image = arg;

    if (finding->kind == SP_VERIFY_HEALS && strcmp(finding->file, image->name) == 0 &&
        image != newest_of(CHECKPOINT)) {
        return;
    }
    fail_msg("%s is not mended: %s at %llu: %s",
             image->name,
             finding->file,
             (unsigned long long)finding->position,
             finding->text);
}

/* Nothing is left of what was done to the file: with one more write, each copy alone will do. */
static void check_mended(struct test_store *test, struct test_log *log, const struct image *image)
{
    const struct image *other = &golden.files[image == &golden.files[0] ? 1 : 0];
    const struct sp_verify_options options = { .found = fail_of_finding,
                                               .arg = (void *)(uintptr_t)image };
    uint32_t frames[FRAMES_MAX] = { 0 };
    struct sp_verify_report report;
    char path[1024];
    uint64_t term = 0;
    uint64_t vote = 0;

    write_on(test, log);
    uint64_t last = sp_log_last_index(log->log);
    test_log_close(log);
    test_store_close(test);
    assert_int_equal(sp_path_remove(other->path), 0);
    (void)snprintf(path, sizeof path, "%s/" LOG_FOLDER, test->path);
    assert_int_equal(sp_log_verify(path, &options, &report), 0);
    test_store_open(test);
    check_meta(test);
    sp_store_vote(test->store, VOTES + 1, TEST_REPLICA_ID, &term, &vote);
    assert_int_equal(term, 20);
    assert_int_equal(vote, 2);
    test_log_open_whole(log, test, 1);
    assert_int_equal(sp_log_last_index(log->log), last);
    assert_true(read_frames(log, frames));
    assert_memory_equal(frames, golden.frames, last * sizeof frames[0]);
}

/* ---- harm ------------------------------------------------------------------------------------ */

/* The last frame that ends in so many bytes of the newest segment. */
static uint64_t last_within(const struct image *image, size_t size)
{
    uint64_t last = strtoull(image->name, NULL, 10) - 1;

    for (size_t position = HEADER_SIZE; position < size;) {
        struct sp_log_frame frame;

        if (sp_log_frame_verify(image->bytes + position, size - position, &frame) != 0) {
            break;
        }
        position += sp_log_frame_size(frame.length);
        last = frame.kind == SP_FRAME_MARKER ? last : frame.index;
    }
    return last;
}

/* `size`: what is left of it. */
static void
look_at(struct test_store *test, const struct image *image, size_t size, struct tally *tally)
{
    struct test_log log;
    enum verdict verdict = open_harmed(test, &log, image, size);

    if (verdict == CUT) {
        assert_ptr_equal(image, newest_of(SEGMENT));
        assert_int_equal(sp_log_last_index(log.log), last_within(image, size));
    }
    if (verdict == HARMLESS) {
        check_mended(test, &log, image);
    }
    close_harmed(test, &log, verdict);
    tally->count += 1;
    tally->of[verdict] += 1;
}

/* Nothing, half of it, all but its last sector, all but its last byte. */
static void cut_one(struct test_store *test, const struct image *image, struct tally *tally)
{
    const size_t sizes[SIZES] = {
        0, image->size / 2, (image->size - 1) / 512 * 512, image->size - 1
    };

    for (unsigned i = 0; i < SIZES; i++) {
        test_file_write(image->path, image->bytes, sizes[i]);
        look_at(test, image, sizes[i], tally);
    }
}

static void print_tally(const char *kind, const char *what, const struct tally *tally)
{
    (void)printf(
        "%s %s %u times: %u found at start, %u by a read, %u cut off as the unfinished last "
        "write, %u mended or harmless, %u taken for trimmed\n",
        kind,
        what,
        tally->count,
        tally->of[DETECTED],
        tally->of[AT_READ],
        tally->of[CUT],
        tally->of[HARMLESS],
        tally->of[TRIMMED]);
    assert_int_equal(tally->of[REFUSED], 0); /* there are two copies of the metadata */
}

static void harm_all(struct test_store *test, struct tally *cuts, struct tally *gone)
{
    for (unsigned i = 0; i < golden.file_count; i++) {
        const struct image *image = &golden.files[i];
        enum file_kind kind = kind_of(image);

        cut_one(test, image, &cuts[kind]);
        assert_int_equal(sp_path_remove(image->path), 0);
        look_at(test, image, 0, &gone[kind]);
    }
    for (unsigned kind = 0; kind < FILE_KINDS; kind++) {
        print_tally(kind_names[kind], "cut", &cuts[kind]);
        print_tally(kind_names[kind], "removed", &gone[kind]);
        if (kind != SEGMENT) {
            assert_int_equal(cuts[kind].of[HARMLESS], cuts[kind].count);
            assert_int_equal(gone[kind].of[HARMLESS], gone[kind].count);
        }
    }
    assert_int_equal(gone[SEGMENT].of[TRIMMED], 1);
}

/* All but those that are taken for the end of a write are found at the start. */
static void check_segments(const struct tally *cuts, const struct tally *gone)
{
    assert_int_equal(cuts[SEGMENT].of[DETECTED] + cuts[SEGMENT].of[CUT], cuts[SEGMENT].count);
    assert_int_equal(gone[SEGMENT].of[DETECTED] + gone[SEGMENT].of[CUT] + 1, gone[SEGMENT].count);
}

static void test_cuts_after_a_stop_are_found_or_mended(void **state)
{
    struct tally cuts[FILE_KINDS] = { { 0 } };
    struct tally gone[FILE_KINDS] = { { 0 } };

    harm_all(*state, cuts, gone);
    check_segments(cuts, gone);
    assert_int_equal(cuts[SEGMENT].of[CUT], 0); /* `rest` says where the log ended */
    assert_int_equal(gone[SEGMENT].of[CUT], 0);
    assert_int_equal(cuts[REST].count, SIZES);
}

/* Nothing says where the log ended: what is cut off its last segment is the end of a write, but
 * not its header, which had to be there before its checkpoint. */
static void test_cuts_after_a_crash_are_found_or_mended(void **state)
{
    struct tally cuts[FILE_KINDS] = { { 0 } };
    struct tally gone[FILE_KINDS] = { { 0 } };

    harm_all(*state, cuts, gone);
    check_segments(cuts, gone);
    assert_int_equal(cuts[SEGMENT].of[CUT], SIZES - 1);
    assert_int_equal(gone[SEGMENT].of[CUT], 0);
    assert_int_equal(cuts[REST].count, 0);
}

/* The last segment has no checkpoint: nothing says that it was ever made. */
static void test_cuts_after_a_crash_without_a_late_checkpoint_are_found_or_mended(void **state)
{
    struct tally cuts[FILE_KINDS] = { { 0 } };
    struct tally gone[FILE_KINDS] = { { 0 } };

    harm_all(*state, cuts, gone);
    check_segments(cuts, gone);
    assert_int_equal(cuts[SEGMENT].of[CUT], SIZES);
    assert_int_equal(gone[SEGMENT].of[CUT], 1);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_cuts_after_a_stop_are_found_or_mended, set_up_stopped, tear_down),
        cmocka_unit_test_setup_teardown(
            test_cuts_after_a_crash_are_found_or_mended, set_up_checkpointed, tear_down),
        cmocka_unit_test_setup_teardown(
            test_cuts_after_a_crash_without_a_late_checkpoint_are_found_or_mended,
            set_up_late,
            tear_down),
    };

    if (argc == 3) {
        write_until_killed(argv[1], argv[2]);
        return EXIT_FAILURE;
    }
    return cmocka_run_group_tests_name("storage/cuts", tests, NULL, NULL);
}
