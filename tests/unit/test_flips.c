/* Every byte of a small data directory flipped, one after the other: each is found, mended or
 * harmless, and nothing that is read is ever another than what was written.
 *
 * All bytes of the metadata, each fifth of the frames, and each SPATE_FLIP_STEP-th of the others
 * (default 37; 1: really all). */
#include "small_directory.h"

enum {
    STEP_DEFAULT = 37, /* of frames, whose fields are short, 5 at most */
};

struct tally {
    unsigned count;
    unsigned of[VERDICTS];
};

static void
flip_one(struct test_store *test, const struct image *image, size_t position, struct tally *tally)
{
    struct test_log log;

    image->bytes[position] ^= (uint8_t)(1U << (position % 8));
    test_file_write(image->path, image->bytes, image->size);
    image->bytes[position] ^= (uint8_t)(1U << (position % 8));
    enum verdict verdict = open_harmed(test, &log, image, position);
    if (verdict >= AT_READ) {
        assert_true(sp_log_last_index(log.log) >= golden.last_synced);
    }
    close_harmed(test, &log, verdict);
    tally->count += 1;
    tally->of[verdict] += 1;
}

/* The node has crashed behind the last sync. */
static int set_up(void **state)
{
    const struct filling filling = { .batches = 12, .checkpointed = 12, .value_size = 60 };
    static struct test_store test;
    struct test_log log;

    test_store_begin(&test);
    test.segment_bytes = HEADER_SIZE + 600;
    fill(&test, &log, &filling);
    test_log_close(&log);
    assert_int_equal(test_log_open(&log, &test, 1), 0);
    assert_true(read_frames(&log, golden.frames));
    test_log_close(&log);
    test_store_close(&test);
    keep_all(&test);
    *state = &test;
    return 0;
}

static int tear_down(void **state)
{
    forget_files();
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
        tally.of[DETECTED] + tally.of[REFUSED],
        tally.of[DETECTED],
        tally.of[REFUSED],
        tally.of[AT_READ],
        tally.of[CUT],
        tally.of[HARMLESS]);
    assert_true(tally.count > 500 && tally.of[DETECTED] > 0 && tally.of[AT_READ] > 0);
    assert_true(tally.of[HARMLESS] > 0);
    assert_int_equal(tally.of[TRIMMED], 0);
    assert_int_equal(tally.of[REFUSED], 0); /* there are two copies of the metadata */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_flips_are_found_mended_or_harmless, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("storage/flips", tests, NULL, NULL);
}
