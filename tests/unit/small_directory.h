/* A small data directory with one log of some segments, kept whole in memory, so that a test can
 * harm a file of it, look what a node makes of that, and put all back. Included once, by one
 * test. */
#ifndef SP_UNIT_SMALL_DIRECTORY_H
#define SP_UNIT_SMALL_DIRECTORY_H

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
    HEADER_SIZE = 4096,
    VOTES = 3,
};

#define LOG_FOLDER "replicas/1.7/"

struct image {
    char name[64];
    char path[1024];
    uint8_t *bytes;
    size_t size;
};

/* What the directory holds before any harm. */
struct golden {
    struct image files[FILES_MAX];
    unsigned file_count;
    uint64_t incarnation;
    uint64_t last_index;
    uint64_t last_synced; /* what the newest marker names: below it nothing may be cut off */
    uint32_t frames[FRAMES_MAX];
};

/* What becomes of it. */
enum verdict {
    REFUSED,  /* the node does not start, and says why */
    DETECTED, /* the replica stays closed */
    AT_READ,  /* a read says so */
    CUT,      /* taken for the torn end of the last write, which nothing proves to be synced */
    TRIMMED,  /* taken for what retention has let go of, from the front */
    HARMLESS,
    VERDICTS
};

static struct golden golden;

/* ---- its files ------------------------------------------------------------------------------- */

static char listed[FILES_MAX][64];
static unsigned listed_count;

static inline int note_file(void *arg, const char *name)
{
    (void)arg;
    assert_true(listed_count < FILES_MAX);
    (void)snprintf(listed[listed_count++], sizeof listed[0], "%s", name);
    return 0;
}

static inline void list_log(const struct test_store *test)
{
    char path[1024];

    listed_count = 0;
    (void)snprintf(path, sizeof path, "%s/" LOG_FOLDER, test->path);
    assert_int_equal(sp_dir_list(path, note_file, NULL), 0);
}

static inline void keep(const struct test_store *test, const char *below, const char *name)
{
    struct image *image = &golden.files[golden.file_count++];

    assert_true(golden.file_count <= FILES_MAX);
    (void)snprintf(image->name, sizeof image->name, "%.63s", name);
    (void)snprintf(image->path, sizeof image->path, "%s/%s%.63s", test->path, below, name);
    image->bytes = test_file_read(image->path, &image->size);
}

static inline void keep_all(const struct test_store *test)
{
    keep(test, "", "meta.a");
    keep(test, "", "meta.b");
    list_log(test);
    unsigned count = listed_count;
    for (unsigned i = 0; i < count; i++) {
        keep(test, LOG_FOLDER, listed[i]);
    }
    assert_true(count > 6); /* some of each kind */
}

/* Puts the directory back as it was. */
static inline void restore(const struct test_store *test)
{
    char path[1100];

    list_log(test);
    for (unsigned i = 0; i < listed_count; i++) {
        (void)snprintf(path, sizeof path, "%s/" LOG_FOLDER "%s", test->path, listed[i]);
        assert_int_equal(sp_path_remove(path), 0);
    }
    for (unsigned i = 0; i < golden.file_count; i++) {
        test_file_write(golden.files[i].path, golden.files[i].bytes, golden.files[i].size);
    }
}

static inline void forget_files(void)
{
    for (unsigned i = 0; i < golden.file_count; i++) {
        free(golden.files[i].bytes);
    }
    golden = (struct golden){ .file_count = 0 };
}

/* ---- writing and reading it ------------------------------------------------------------------ */

static inline void write_checkpoints(struct test_log *log)
{
    while (sp_log_checkpoint_wanted(log->log) != 0) {
        assert_int_equal(sp_log_checkpoint_write(log->log, (const uint8_t *)"state", 5), 0);
    }
}

struct filling {
    unsigned batches;      /* each a write of its own */
    unsigned checkpointed; /* so many of them get the checkpoints that are wanted */
    size_t value_size;     /* two to a batch */
};

/* Opens the store and fills it, with some votes too. The log is open then, and all is durable. */
static inline void
fill(struct test_store *test, struct test_log *log, const struct filling *filling)
{
    uint64_t sequence = 0;

    test_store_open(test);
    golden.incarnation = sp_store_identity(test->store)->incarnation;
    assert_int_equal(test_log_create(log, test, 1), 0);
    for (unsigned i = 0; i < filling->batches; i++) {
        golden.last_synced = sp_log_last_index(log->log);
        test_log_batch(log, 1, 2, filling->value_size, 100 + i);
        test_log_flush(log);
        if (i < filling->checkpointed) {
            write_checkpoints(log);
        }
    }
    for (uint64_t group = 1; group <= VOTES; group++) {
        sequence = sp_store_set_vote(test->store, group, TEST_REPLICA_ID, 10 + group, group);
    }
    test_store_wait_meta(test, sequence);
    golden.last_index = sp_log_last_index(log->log);
}

/* Reads frame by frame; false: a read has found damage. */
static inline bool read_frames(struct test_log *log, uint32_t *out_frames)
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

/* ---- looking --------------------------------------------------------------------------------- */

static inline void check_meta(struct test_store *test)
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

/* Each frame is the one that was written, or, where a log is not `whole`, cannot be read. */
static inline void check_frames(const struct test_log *log,
                                const uint32_t *frames,
                                bool whole,
                                const struct image *image,
                                size_t position)
{
    for (uint64_t i = sp_log_first_index(log->log); i <= sp_log_last_index(log->log); i++) {
        if (frames[i] != golden.frames[i] && (whole || frames[i] != 0)) {
            fail_msg("%s at %zu: frame %llu is read as it was never written",
                     image->name,
                     position,
                     (unsigned long long)i);
        }
    }
}

/* A node starts on what was done to the file, and reads all that it has. With a verdict from
 * AT_READ on the log is left open, and with one from DETECTED on the store. */
static inline enum verdict open_harmed(struct test_store *test,
                                       struct test_log *log,
                                       const struct image *image,
                                       size_t position)
{
    uint32_t frames[FRAMES_MAX] = { 0 };

    if (test_store_try_open(test) != 0) {
        assert_true(test->text[0] != '\0');
        return REFUSED;
    }
    check_meta(test);
    int status = test_log_open(log, test, 1);
    if (status != 0) {
        assert_int_equal(status, SPATE_ERR_CORRUPT);
        return DETECTED;
    }
    uint64_t last = sp_log_last_index(log->log);
    bool whole = read_frames(log, frames);
    assert_true(last <= golden.last_index);
    check_frames(log, frames, whole, image, position);
    if (!whole) {
        return AT_READ;
    }
    if (last < golden.last_index) {
        return CUT;
    }
    return sp_log_first_index(log->log) > 1 ? TRIMMED : HARMLESS;
}

static inline void close_harmed(struct test_store *test, struct test_log *log, enum verdict verdict)
{
    if (verdict >= AT_READ) {
        test_log_close(log);
    }
    if (verdict >= DETECTED) {
        test_store_close(test);
    }
    restore(test);
}

#endif /* SP_UNIT_SMALL_DIRECTORY_H */
