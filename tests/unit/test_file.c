#include "io/file.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "spate/error.h"

enum {
    PATH_SIZE = 1024,
    PIECES = 200, /* more than one system call takes */
};

static char root[PATH_SIZE / 2];
static char path_buffer[PATH_SIZE];

static const char *in_root(const char *name)
{
    (void)snprintf(path_buffer, sizeof path_buffer, "%s/%s", root, name);
    return path_buffer;
}

static int set_up(void **state)
{
    (void)state;
    char name[] = "test-file-XXXXXX";

    assert_non_null(mkdtemp(name));
    char *path = realpath(name, NULL);
    assert_non_null(path);
    assert_true(strlen(path) < sizeof root);
    strcpy(root, path);
    free(path);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(sp_path_remove_tree(root), 0);
    assert_false(sp_path_exists(root));
    assert_int_equal(sp_mem_live_count(), 0);
    return 0;
}

static void make_file(const char *name)
{
    struct sp_file *file = NULL;

    assert_int_equal(sp_file_open(in_root(name), SP_FILE_CREATE, &file), 0);
    sp_file_close(file);
}

static void test_file_pieces_come_back_as_written(void **state)
{
    static uint8_t bytes[PIECES * PIECES];
    static uint8_t back[sizeof bytes + 10];
    struct sp_iovec pieces[PIECES];
    struct sp_file *file = NULL;
    size_t used = 0;
    size_t got = 0;
    uint64_t size = 0;

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    }
    for (unsigned i = 0; i < PIECES; i++) {
        pieces[i] = (struct sp_iovec){ bytes + used, i };
        used += i;
    }
    assert_int_equal(sp_file_open(in_root("log"), SP_FILE_CREATE, &file), 0);
    assert_int_equal(sp_file_write(file, 100, pieces, PIECES), 0);
    assert_int_equal(sp_file_write(file, 0, NULL, 0), 0);
    assert_int_equal(sp_file_sync(file), 0);
    assert_int_equal(sp_file_size(file, &size), 0);
    assert_int_equal(size, 100 + used);
    sp_file_close(file);

    assert_int_equal(sp_file_open(in_root("log"), SP_FILE_READ, &file), 0);
    assert_int_equal(sp_file_read(file, 100, back, sizeof back, &got), 0);
    assert_int_equal(got, used);
    assert_memory_equal(back, bytes, used);
    assert_int_equal(sp_file_read(file, 100 + used, back, 1, &got), 0);
    assert_int_equal(got, 0);
    assert_int_equal(sp_file_read(file, UINT64_MAX, back, 1, &got), SPATE_ERR_IO);
    assert_int_equal(sp_file_write(file, 0, pieces, PIECES), SPATE_ERR_IO);
    sp_file_close(file);
}

static void test_file_truncate_cuts_and_extends(void **state)
{
    struct sp_iovec piece = { "abcdef", 6 };
    struct sp_file *file = NULL;
    char back[8] = "xxxxxxx";
    size_t got = 0;

    (void)state;
    assert_int_equal(sp_file_open(in_root("f"), SP_FILE_CREATE, &file), 0);
    assert_int_equal(sp_file_write(file, 0, &piece, 1), 0);
    assert_int_equal(sp_file_truncate(file, 2), 0);
    assert_int_equal(sp_file_truncate(file, 4), 0);
    assert_int_equal(sp_file_read(file, 0, back, sizeof back, &got), 0);
    assert_int_equal(got, 4);
    assert_memory_equal(back, "ab\0\0", 4);
    assert_int_equal(sp_file_truncate(file, UINT64_MAX), SPATE_ERR_IO);
    sp_file_close(file);
}

static uint64_t blocks_of(const char *path)
{
    struct stat status;

    assert_int_equal(stat(path, &status), 0);
    return (uint64_t)status.st_blocks * 512;
}

static void test_file_allocate_fills_holes_and_keeps_what_is_there(void **state)
{
    struct sp_iovec piece = { "abcdef", 6 };
    struct sp_file *file = NULL;
    char back[7] = "";
    uint64_t size = 0;
    size_t got = 0;

    (void)state;
    assert_int_equal(sp_file_open(in_root("f"), SP_FILE_CREATE, &file), 0);
    assert_int_equal(sp_file_write(file, 0, &piece, 1), 0);
    assert_int_equal(sp_file_truncate(file, 1 << 20), 0);
    assert_true(blocks_of(in_root("f")) < 1 << 20);
    assert_int_equal(sp_file_allocate(file, 2 << 20), 0);
    assert_true(blocks_of(in_root("f")) >= 2 << 20);
    assert_int_equal(sp_file_allocate(file, 1 << 20), 0);
    assert_int_equal(sp_file_size(file, &size), 0);
    assert_int_equal(size, 2 << 20);
    assert_int_equal(sp_file_read(file, 0, back, 6, &got), 0);
    assert_string_equal(back, "abcdef");
    assert_int_equal(sp_file_truncate(file, 0), 0);
    assert_int_equal(sp_file_sync(file), 0);
    assert_true(blocks_of(in_root("f")) < 1 << 20);
    assert_int_equal(sp_file_allocate(file, UINT64_MAX), SPATE_ERR_IO);
    sp_file_close(file);
}

static void test_file_open_tells_causes_apart(void **state)
{
    struct sp_file *file = NULL;

    (void)state;
    assert_int_equal(sp_file_open(in_root("f"), SP_FILE_WRITE, &file), SPATE_ERR_NOT_FOUND);
    assert_int_equal(sp_file_open(in_root("no/f"), SP_FILE_CREATE, &file), SPATE_ERR_NOT_FOUND);
    make_file("f");
    assert_int_equal(sp_file_open(in_root("f"), SP_FILE_CREATE, &file), SPATE_ERR_EXISTS);
    assert_int_equal(sp_file_open(root, SP_FILE_WRITE, &file), SPATE_ERR_IO);
    sp_mem_fail_at(1);
    assert_int_equal(sp_file_open(in_root("f"), SP_FILE_READ, &file), SPATE_ERR_NOMEM);
    assert_null(file);
    sp_file_close(NULL);
}

static void test_file_full_device_has_no_space(void **state)
{
    struct sp_iovec piece = { "a", 1 };
    struct sp_file *file = NULL;

    (void)state;
    if (!sp_path_exists("/dev/full")) {
        skip();
    }
    assert_int_equal(sp_file_open("/dev/full", SP_FILE_WRITE, &file), 0);
    assert_int_equal(sp_file_write(file, 0, &piece, 1), SPATE_ERR_NO_SPACE);
    sp_file_close(file);
}

/* What the next syncs end with; 0: they are done. */
static int sync_error;

static int sync_with(long number, int fd)
{
    if (sync_error == 0) {
        return (int)syscall(number, fd);
    }
    errno = sync_error;
    return -1;
}

int fdatasync(int fd)
{
    return sync_with(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    return sync_with(SYS_fsync, fd);
}

int syncfs(int fd)
{
    return sync_with(SYS_syncfs, fd);
}

/* Delayed allocation, quotas and other machines' disks make it so. What was written is in doubt
 * then; nobody may take that for a write that can be made again. */
static void test_file_sync_without_space_is_no_lack_of_space(void **state)
{
    static const int errors[] = { ENOSPC, EDQUOT, ENOMEM, EIO };
    struct sp_file *file = NULL;

    (void)state;
    assert_int_equal(sp_file_open(in_root("f"), SP_FILE_CREATE, &file), 0);
    for (unsigned i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        sync_error = errors[i];
        assert_int_equal(sp_file_sync(file), SPATE_ERR_IO);
        assert_int_equal(sp_dir_sync(root), SPATE_ERR_IO);
        int rv = sp_path_sync_all(root);
        assert_true(rv == SPATE_ERR_IO || rv == SPATE_ERR_UNSUPPORTED);
        sync_error = 0;
    }
    assert_int_equal(sp_file_sync(file), 0);
    sp_file_close(file);
}

/* A limit on the size makes the system write a part first, and refuse the rest when asked again. */
static void test_file_short_write_goes_on_behind_what_was_written(void **state)
{
    static const uint8_t bytes[3000] = { 1 };
    struct sp_iovec pieces[2] = { { bytes, 1000 }, { bytes, 2000 } };
    struct rlimit unlimited;
    struct sp_file *file = NULL;
    uint64_t size = 0;

    (void)state;
    assert_int_equal(sp_file_open(in_root("f"), SP_FILE_CREATE, &file), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
    struct rlimit limit = { .rlim_cur = 1500, .rlim_max = unlimited.rlim_max };
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    int rv = sp_file_write(file, 0, pieces, 2);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
    assert_int_equal(rv, SPATE_ERR_IO);
    assert_int_equal(sp_file_size(file, &size), 0);
    assert_int_equal(size, 1500);
    sp_file_close(file);
}

static void test_file_lock_refused_for_second_open(void **state)
{
    struct sp_file *first = NULL;
    struct sp_file *second = NULL;

    (void)state;
    make_file("LOCK");
    assert_int_equal(sp_file_open(in_root("LOCK"), SP_FILE_WRITE, &first), 0);
    assert_int_equal(sp_file_open(in_root("LOCK"), SP_FILE_WRITE, &second), 0);
    assert_int_equal(sp_file_lock(first), 0);
    assert_int_equal(sp_file_lock(first), 0);
    assert_int_equal(sp_file_lock(second), SPATE_ERR_LOCKED);
    sp_file_close(first);
    assert_int_equal(sp_file_lock(second), 0);
    sp_file_close(second);
}

static char listed[PATH_SIZE];

static int note_name(void *arg, const char *name)
{
    (void)strncat(listed, name, sizeof listed - strlen(listed) - 1);
    (void)strncat(listed, " ", sizeof listed - strlen(listed) - 1);
    return arg != NULL && strcmp(arg, name) == 0 ? SPATE_ERR_CORRUPT : 0;
}

static void test_dir_list_is_sorted_and_ends_on_request(void **state)
{
    static const char *const names[] = { "b", "a", "B", "10", "9", "a0", ".x" };
    char last[] = "B";

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        make_file(names[i]);
    }
    listed[0] = '\0';
    assert_int_equal(sp_dir_list(root, note_name, NULL), 0);
    assert_string_equal(listed, ".x 10 9 B a a0 b ");
    listed[0] = '\0';
    assert_int_equal(sp_dir_list(root, note_name, last), SPATE_ERR_CORRUPT);
    assert_string_equal(listed, ".x 10 9 B ");
    assert_int_equal(sp_dir_list(in_root("none"), note_name, NULL), SPATE_ERR_NOT_FOUND);
    assert_int_equal(sp_dir_list(in_root("a"), note_name, NULL), SPATE_ERR_NOT_FOUND);
}

static void test_dir_list_survives_every_failing_allocation(void **state)
{
    char name[16];
    int rv = SPATE_ERR_NOMEM;
    uint64_t n = 0;

    (void)state;
    for (unsigned i = 0; i < 40; i++) {
        (void)snprintf(name, sizeof name, "f%02u", i);
        make_file(name);
    }
    while (rv == SPATE_ERR_NOMEM) {
        n += 1;
        listed[0] = '\0';
        sp_mem_fail_at(n);
        rv = sp_dir_list(root, note_name, NULL);
        assert_true(rv == 0 || (listed[0] == '\0' && sp_mem_live_count() == 0));
    }
    sp_mem_fail_at(0);
    assert_int_equal(rv, 0);
    assert_true(n > 40);
}

static void test_dir_create_rename_and_sync(void **state)
{
    char from[PATH_SIZE];

    (void)state;
    assert_int_equal(sp_dir_create(in_root("d")), 0);
    assert_int_equal(sp_dir_create(in_root("d")), SPATE_ERR_EXISTS);
    assert_int_equal(sp_dir_create(in_root("x/y")), SPATE_ERR_NOT_FOUND);
    make_file("d/f");
    assert_int_equal(sp_path_remove(in_root("d")), SPATE_ERR_EXISTS);
    (void)snprintf(from, sizeof from, "%s", in_root("d/f"));
    assert_int_equal(sp_path_rename(from, in_root("d/g")), 0);
    assert_false(sp_path_exists(from));
    assert_true(sp_path_exists(in_root("d/g")));
    assert_int_equal(sp_dir_sync(in_root("d")), 0);
    assert_int_equal(sp_dir_sync(in_root("none")), SPATE_ERR_NOT_FOUND);
    assert_int_equal(sp_path_remove(in_root("d/g")), 0);
    assert_int_equal(sp_path_remove(in_root("d")), 0);
    assert_int_equal(sp_path_remove(in_root("d")), SPATE_ERR_NOT_FOUND);
}

static void test_path_sync_all_of_a_file_system_or_not_at_all(void **state)
{
    (void)state;
    make_file("s");
    int rv = sp_path_sync_all(in_root(""));
    assert_true(rv == 0 || rv == SPATE_ERR_UNSUPPORTED); /* as the temporary directory's is */
    assert_int_equal(sp_path_sync_all(in_root("none")), SPATE_ERR_NOT_FOUND);
    assert_int_equal(sp_path_sync_all(in_root("s")), SPATE_ERR_NOT_FOUND); /* no directory */
    assert_int_equal(sp_path_sync_all("/proc"), SPATE_ERR_UNSUPPORTED);
    assert_int_equal(sp_path_remove(in_root("s")), 0);
}

static void test_path_remove_tree_does_not_follow_links(void **state)
{
    char outside[PATH_SIZE];

    (void)state;
    assert_int_equal(sp_dir_create(in_root("keep")), 0);
    make_file("keep/precious");
    (void)snprintf(outside, sizeof outside, "%s", in_root("keep"));
    assert_int_equal(sp_dir_create(in_root("tree")), 0);
    assert_int_equal(sp_dir_create(in_root("tree/a")), 0);
    assert_int_equal(sp_dir_create(in_root("tree/a/b")), 0);
    make_file("tree/a/b/f");
    make_file("tree/a/g");
    assert_int_equal(symlink(outside, in_root("tree/a/link")), 0);
    assert_int_equal(symlink(outside, in_root("link")), 0);

    assert_int_equal(sp_path_remove_tree(in_root("tree")), 0);
    assert_false(sp_path_exists(in_root("tree")));
    assert_true(sp_path_exists(in_root("keep/precious")));
    assert_true(sp_path_remove_tree(in_root("link")) != 0);
    assert_true(sp_path_exists(in_root("keep/precious")));
    assert_int_equal(sp_path_remove_tree(in_root("none")), SPATE_ERR_NOT_FOUND);
}

static void test_path_remove_tree_refuses_depth_without_limit(void **state)
{
    char deep[PATH_SIZE] = "deep";

    (void)state;
    assert_int_equal(sp_dir_create(in_root(deep)), 0);
    for (unsigned i = 0; i < 16; i++) {
        (void)strcat(deep, "/d");
        assert_int_equal(sp_dir_create(in_root(deep)), 0);
    }
    assert_int_equal(sp_path_remove_tree(in_root("deep")), SPATE_ERR_IO);
    assert_int_equal(sp_path_remove(in_root(deep)), 0);
    deep[strlen(deep) - 2] = '\0';
    assert_int_equal(sp_path_remove(in_root(deep)), 0);
}

static void test_path_free_bytes_of_disk(void **state)
{
    uint64_t bytes = 0;

    (void)state;
    assert_int_equal(sp_path_free_bytes(root, &bytes), 0);
    assert_true(bytes > 0);
    assert_int_equal(sp_path_free_bytes(in_root("none"), &bytes), SPATE_ERR_NOT_FOUND);
}

#define FILE_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

static void test_file_raise_limit_reaches_what_the_system_allows(void **state)
{
    struct rlimit limit;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    const struct rlimit less = { .rlim_cur = 50, .rlim_max = limit.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &less), 0);
    assert_int_equal(sp_file_raise_limit(), limit.rlim_max);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(limit.rlim_cur, limit.rlim_max);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_TEST(test_file_pieces_come_back_as_written),
        FILE_TEST(test_file_truncate_cuts_and_extends),
        FILE_TEST(test_file_allocate_fills_holes_and_keeps_what_is_there),
        FILE_TEST(test_file_open_tells_causes_apart),
        FILE_TEST(test_file_full_device_has_no_space),
        FILE_TEST(test_file_sync_without_space_is_no_lack_of_space),
        FILE_TEST(test_file_short_write_goes_on_behind_what_was_written),
        FILE_TEST(test_file_lock_refused_for_second_open),
        cmocka_unit_test(test_file_raise_limit_reaches_what_the_system_allows),
        FILE_TEST(test_dir_list_is_sorted_and_ends_on_request),
        FILE_TEST(test_dir_list_survives_every_failing_allocation),
        FILE_TEST(test_dir_create_rename_and_sync),
        FILE_TEST(test_path_sync_all_of_a_file_system_or_not_at_all),
        FILE_TEST(test_path_remove_tree_does_not_follow_links),
        FILE_TEST(test_path_remove_tree_refuses_depth_without_limit),
        FILE_TEST(test_path_free_bytes_of_disk),
    };
    return cmocka_run_group_tests_name("io/file", tests, NULL, NULL);
}
