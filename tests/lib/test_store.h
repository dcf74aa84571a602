/* A loop, a data directory of its own and logs in it, for tests above and of storage.
 *
 * Every function asserts (cmocka) that what should work does, so that tests read as stories. */
#ifndef SP_TESTS_LIB_TEST_STORE_H
#define SP_TESTS_LIB_TEST_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "storage/store.h"

struct test_store {
    struct sp_loop *loop;
    struct sp_store *store; /* NULL while closed */
    char path[512];
    uint64_t segment_bytes; /* for the next opening; 0: the default */
    uint64_t spare_bytes;   /* the same; 0: none */
    uint64_t prefill_bytes; /* the same */
    bool counted;           /* the same: it is a run of a node */
    uint64_t meta_durable;  /* as reported last */
    bool failed;
    int failed_status;
    char text[512]; /* of a failed opening or of `failed` */
};

struct test_log {
    struct test_store *test;
    struct sp_log *log; /* NULL while closed */
    uint64_t persisted; /* as reported last; 0: nothing was */
    unsigned reports;   /* of persisted */
    char text[256];     /* of a failed opening */
};

/* A new empty directory, in $TMPDIR or where the system keeps such. */
void test_directory_make(char *out_path, size_t size);

/* A new empty directory and a loop, nothing opened. */
void test_store_begin(struct test_store *test);

/* Opens the store and returns its status. */
int test_store_try_open(struct test_store *test);

/* The same, and it must work. */
void test_store_open(struct test_store *test);

/* Closes the store; its logs are closed. */
void test_store_close(struct test_store *test);

/* Closes what is open and removes the directory. */
void test_store_end(struct test_store *test);

/* For cmocka: `*state` is a store that is open, with segments of this size (0: the default). */
int test_store_setup(void **state, uint64_t segment_bytes);
int test_store_teardown(void **state);

/* Runs the loop until `*flag`, at most ten seconds. */
void test_store_run(struct test_store *test, const bool *flag);

/* Runs the loop until meta requests up to `sequence` are durable. */
void test_store_wait_meta(struct test_store *test, uint64_t sequence);

/* Creates or opens the log of a replica; the status. */
int test_log_create(struct test_log *log, struct test_store *test, uint64_t group_id);
int test_log_create_with(struct test_log *log,
                         struct test_store *test,
                         uint64_t group_id,
                         const struct sp_slice *first);
int test_log_open(struct test_log *log, struct test_store *test, uint64_t group_id);

void test_log_close(struct test_log *log);

/* Opens a log, which must work. */
void test_log_open_whole(struct test_log *log, struct test_store *test, uint64_t group_id);

/* Closes the log and opens it again, which must work. */
void test_log_reopen(struct test_log *log);

/* The same with the whole store. */
void test_log_restart(struct test_log *log);

/* Appends a batch and returns its base offset. */
int64_t test_log_batch(
    struct test_log *log, uint64_t term, unsigned records, size_t value_size, int64_t timestamp_ms);

/* Appends a frame of another kind. */
void test_log_frame(struct test_log *log, enum sp_frame_kind kind, uint64_t term, const char *text);

/* Runs the loop until everything in the log is durable. */
void test_log_flush(struct test_log *log);

/* Reads from `start` on, from memory if it is there, else by a job; read->status says how it went.
 * No bound but the number of frames. The caller releases the read. */
void test_log_read(struct test_log *log,
                   enum sp_log_read_by by,
                   int64_t start,
                   struct sp_log_read *read);

/* The same by a job in any case. The bounds in `read` are the caller's. */
void test_log_read_slow(struct test_log *log, struct sp_log_read *read);

/* Path of a file of the log: BASE.SUFFIX. */
void test_log_path(const struct test_log *log, uint64_t base, const char *suffix, char *out_path);

/* The replica id that every test log has. */
#define TEST_REPLICA_ID 7

/* Reads a file whole; free() the bytes. Writes one whole. */
uint8_t *test_file_read(const char *path, size_t *out_size);
void test_file_write(const char *path, const uint8_t *bytes, size_t size);

/* Flips bits of the byte at a position; one below zero counts from the end. */
void test_file_flip(const char *path, int64_t position, uint8_t bits);

/* Takes bytes off the end. */
void test_file_cut(const char *path, size_t count);

#endif /* SP_TESTS_LIB_TEST_STORE_H */
