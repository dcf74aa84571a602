/* Every byte of a small data directory flipped, one after the other; then every file cut at several
 * places, and removed: each is found, mended or harmless, and nothing that is read is ever another
 * than what was written.
 *
 * All bytes of the metadata, each fifth of the frames, and each SPATE_FLIP_STEP-th of the others
 * (default 37; 1: really all). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "io/file.h"
#include "spate/error.h"
#include "tests/lib/test_store.h"

enum {
    FILES_MAX = 32,
    FRAMES_MAX = 64,
    STEP_DEFAULT = 37, /* of frames, whose fields are short, 5 at most */
    HEADER_SIZE = 4096,
    VOTES = 3,
};

struct image {
    char name[64];
    char path[1024];
    uint8_t *bytes;
    size_t size;
};

/* What the directory holds before any flip. */
struct golden {
    struct image files[FILES_MAX];
    unsigned file_count;
    uint64_t incarnation;
    uint64_t last_index;
    uint64_t last_synced; /* what the newest marker names: below it nothing may be cut off */
    uint32_t frames[FRAMES_MAX];
};

struct tally {
    unsigned count;
    unsigned refused;  /* the node does not start, and says why */
    unsigned detected; /* the replica stays closed */
    unsigned at_read;  /* a read says so */
    unsigned cut; /* taken for the torn end of the last write, which nothing proves to be synced */
    unsigned trimmed; /* taken for what retention has let go of, from the front */
    unsigned harmless;
};

static struct golden golden;

/* ---- the directory --------------------------------------------------------------------------- */

static char listed[FILES_MAX][64];
static unsigned listed_count;

static int note_file(void *arg, const char *name)
{
    (void)arg;
    assert_true(listed_count < FILES_MAX);
    (void)snprintf(listed[listed_count++], sizeof listed[0], "%s", name);
    return 0;
}

static void list(const struct test_store *test, const char *below)
{
    char path[1024];

    listed_count = 0;
    (void)snprintf(path, sizeof path, "%s/%s", test->path, below);
    assert_int_equal(sp_dir_list(path, note_file, NULL), 0);
}

static void keep(const struct test_store *test, const char *below, const char *name)
{
    struct image *image = &golden.files[golden.file_count++];

    assert_true(golden.file_count <= FILES_MAX);
    (void)snprintf(image->name, sizeof image->name, "%s", name);
    (void)snprintf(image->path, sizeof image->path, "%s/%s%s", test->path, below, name);
    image->bytes = test_file_read(image->path, &image->size);
}

/* Puts the directory back as it was. */
static void restore(const struct test_store *test)
{
    char path[1100];

    list(test, "replicas/1.7");
    for (unsigned i = 0; i < listed_count; i++) {
        (void)snprintf(path, sizeof path, "%s/replicas/1.7/%s", test->path, listed[i]);
        assert_int_equal(sp_path_remove(path), 0);
    }
    for (unsigned i = 0; i < golden.file_count; i++) {
        test_file_write(golden.files[i].path, golden.files[i].bytes, golden.files[i].size);
    }
}

static void write_checkpoints(struct test_log *log)
{
    while (sp_log_checkpoint_wanted(log->log) != 0) {
        assert_int_equal(sp_log_checkpoint_write(log->log, (const uint8_t *)"state", 5), 0);
    }
}

/* Reads frame by frame; false: a read has found damage. */
static bool read_frames(struct test_log *log, uint32_t *out_frames)
{
    bool whole = true;

    for (uint64_t i = sp_log_first_index(log->log); i <= sp_log_last_index(log->log); i++) {
        struct sp_log_read read = { .by = SP_LOG_READ_INDEX,
                                    .start = (int64_t)i,
                                    .index_max = i,
                                    .bytes_max = 1 << 20,
                                    .frames_max = 1 };
        assert_true(i < FRAMES_MAX);
        test_log_read_slow(log, &read);
        if (read.status == 0 && read.count == 1) {
            out_frames[i] = sp_crc32c(0, read.frames[0].bytes, read.frames[0].size);
        } else {
            assert_int_equal(read.status, SPATE_ERR_CORRUPT);
            whole = false;
        }
        sp_log_read_release(&read);
    }
    return whole;
}

/* `stopped`: the node was stopped in good order; else it has crashed behind the last sync. */
static void make_golden(struct test_store *test, bool stopped)
{
    struct test_log log;

    test->segment_bytes = 4096 + 600;
    test->counted = stopped;
    test_store_open(test);
    golden.incarnation = sp_store_identity(test->store)->incarnation;
    assert_int_equal(test_log_create(&log, test, 1), 0);
    for (unsigned i = 0; i < 12; i++) {
        golden.last_synced = sp_log_last_index(log.log);
        test_log_batch(&log, 1, 2, 60, 100 + i);
        test_log_flush(&log);
        write_checkpoints(&log);
    }
    uint64_t sequence = 0;
    for (uint64_t group = 1; group <= VOTES; group++) {
        sequence = sp_store_set_vote(test->store, group, TEST_REPLICA_ID, 10 + group, group);
    }
    test_store_wait_meta(test, sequence);
    golden.last_index = sp_log_last_index(log.log);
    test_log_close(&log);
    assert_int_equal(test_log_open(&log, test, 1), 0);
    assert_true(read_frames(&log, golden.frames));
    if (stopped) {
        sp_log_keep_rest(log.log, golden.last_index, (const uint8_t *)"state", 5);
    }
    test_log_close(&log);
    test_store_close(test);
    keep(test, "", "meta.a");
    keep(test, "", "meta.b");
    list(test, "replicas/1.7");
    unsigned count = listed_count;
    for (unsigned i = 0; i < count; i++) {
        keep(test, "replicas/1.7/", listed[i]);
    }
    assert_true(count > 6); /* some of each kind */
}

/* ---- one flip -------------------------------------------------------------------------------- */

static void check_meta(struct test_store *test)
{
    assert_int_equal(sp_store_identity(test->store)->incarnation, golden.incarnation);
    assert_true(sp_store_has_replica(test->store, 1, TEST_REPLICA_ID));
    for (uint64_t group = 1; group <= VOTES; group++) {
        uint64_t term = 0;
        uint64_t vote = 0;
        sp_store_vote(test->store, group, TEST_REPLICA_ID, &term, &vote);
        assert_int_equal(term, 10 + group);
        assert_int_equal(vote, group);
    }
}

static void
check_log(struct test_store *test, const struct image *image, size_t position, struct tally *tally)
{
    uint32_t frames[FRAMES_MAX] = { 0 };
    struct test_log log;
    int status = test_log_open(&log, test, 1);

    if (status != 0) {
        assert_int_equal(status, SPATE_ERR_CORRUPT);
        tally->detected += 1;
        return;
    }
    uint64_t last = sp_log_last_index(log.log);
    bool whole = read_frames(&log, frames);
    assert_true(last <= golden.last_index);
    assert_true(last >= golden.last_synced);
    for (uint64_t i = sp_log_first_index(log.log); i <= last; i++) {
        if (frames[i] != golden.frames[i] && (whole || frames[i] != 0)) {
            print_message("%s at %zu: frame %llu is read as it was never written\n",
                          image->name,
                          position,
                          (unsigned long long)i);
            fail();
        }
    }
    tally->at_read += !whole;
    tally->cut += whole && last < golden.last_index;
    tally->trimmed += sp_log_first_index(log.log) > 1;
    tally->harmless += whole && last == golden.last_index && sp_log_first_index(log.log) == 1;
    test_log_close(&log);
}

/* A node starts on what was done to the file, and reads all that it has. */
static void
look_at(struct test_store *test, const struct image *image, size_t position, struct tally *tally)
{
    tally->count += 1;
    if (test_store_try_open(test) != 0) {
        assert_true(test->text[0] != '\0');
        tally->refused += 1;
    } else {
        check_meta(test);
        check_log(test, image, position, tally);
        test_store_close(test);
    }
    restore(test);
}

static void
flip_one(struct test_store *test, const struct image *image, size_t position, struct tally *tally)
{
    image->bytes[position] ^= (uint8_t)(1U << (position % 8));
    test_file_write(image->path, image->bytes, image->size);
    image->bytes[position] ^= (uint8_t)(1U << (position % 8));
    look_at(test, image, position, tally);
}

static int set_up(void **state, bool stopped)
{
    static struct test_store test;

    golden = (struct golden){ .file_count = 0 };
    test_store_begin(&test);
    make_golden(&test, stopped);
    *state = &test;
    return 0;
}

static int set_up_crashed(void **state)
{
    return set_up(state, false);
}

static int set_up_stopped(void **state)
{
    return set_up(state, true);
}

static int tear_down(void **state)
{
    for (unsigned i = 0; i < golden.file_count; i++) {
        free(golden.files[i].bytes);
    }
    test_store_end(*state);
    return 0;
}

static void test_flips_are_found_mended_or_harmless(void **state)
{
    const char *wish = getenv("SPATE_FLIP_STEP");
    size_t step = wish == NULL ? STEP_DEFAULT : (size_t)strtoul(wish, NULL, 10);
    struct tally tally = { 0 };

    assert_true(step > 0);
    for (unsigned i = 0; i < golden.file_count; i++) {
        const struct image *image = &golden.files[i];
        bool meta = strncmp(image->name, "meta.", 5) == 0;
        bool segment = strstr(image->name, ".log") != NULL;
        for (size_t position = i % step; position < image->size;) {
            flip_one(*state, image, position, &tally);
            position += meta                                 ? 1
                        : segment && position >= HEADER_SIZE ? (step < 5 ? step : 5)
                                                             : step;
        }
    }
    (void)printf(
        "%u bytes flipped: %u found at start (%u replicas closed, %u nodes refused), %u by "
        "a read, %u cut off as the unfinished last write, %u mended or harmless\n",
        tally.count,
        tally.detected + tally.refused,
        tally.detected,
        tally.refused,
        tally.at_read,
        tally.cut,
        tally.harmless);
    assert_true(tally.count > 500 && tally.detected > 0 && tally.at_read > 0 && tally.harmless > 0);
    assert_int_equal(tally.refused, 0); /* there are two copies of the metadata */
}

/* ---- files that are cut or missing ----------------------------------------------------------- */

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

/* Nothing, half of it, all but its last sector, all but its last byte. */
static void cut_one(struct test_store *test, const struct image *image, struct tally *tally)
{
    const size_t sizes[] = { 0, image->size / 2, (image->size - 1) / 512 * 512, image->size - 1 };

    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        test_file_write(image->path, image->bytes, sizes[i]);
        look_at(test, image, sizes[i], tally);
    }
}

static void print_tally(const char *kind, const char *what, const struct tally *tally)
{
    (void)printf("%s %s %u times: %u found at start, %u by a read, %u mended or harmless, %u taken "
                 "for trimmed\n",
                 kind,
                 what,
                 tally->count,
                 tally->detected,
                 tally->at_read,
                 tally->harmless,
                 tally->trimmed);
    assert_true(tally->count > 0);
    assert_int_equal(tally->refused, 0); /* there are two copies of the metadata */
    assert_int_equal(tally->cut, 0);     /* `rest` says where the log ended */
}

static void test_flips_files_that_are_cut_or_missing_are_found_or_mended(void **state)
{
    struct tally cuts[FILE_KINDS] = { { 0 } };
    struct tally gone[FILE_KINDS] = { { 0 } };

    for (unsigned i = 0; i < golden.file_count; i++) {
        const struct image *image = &golden.files[i];
        enum file_kind kind = kind_of(image);

        cut_one(*state, image, &cuts[kind]);
        assert_int_equal(sp_path_remove(image->path), 0);
        look_at(*state, image, 0, &gone[kind]);
    }
    for (unsigned kind = 0; kind < FILE_KINDS; kind++) {
        print_tally(kind_names[kind], "cut", &cuts[kind]);
        print_tally(kind_names[kind], "removed", &gone[kind]);
        bool holds_frames = kind == SEGMENT;
        assert_int_equal(cuts[kind].harmless, holds_frames ? 0 : cuts[kind].count);
        assert_int_equal(gone[kind].harmless, holds_frames ? 0 : gone[kind].count);
        assert_int_equal(gone[kind].trimmed, holds_frames ? 1 : 0);
        assert_int_equal(gone[kind].detected, holds_frames ? gone[kind].count - 1 : 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_flips_are_found_mended_or_harmless, set_up_crashed, tear_down),
        cmocka_unit_test_setup_teardown(
            test_flips_files_that_are_cut_or_missing_are_found_or_mended,
            set_up_stopped,
            tear_down),
    };
    return cmocka_run_group_tests_name("storage/flips", tests, NULL, NULL);
}
