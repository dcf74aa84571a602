/* What a journal in front of many logs would bring: `journal DIRECTORY [SECONDS [ROUNDS]]`.
 *
 * 1, 10, 100 and 1,000 partitions have one write each under way, always; what is durable is
 * followed by the next. The same bytes become durable in turns
 *   each       by a write and an fdatasync of the partition's own file, as the log does it: four
 *              threads, one partition at a time each
 *   written    the same into files whose blocks have been written before, round and round
 *   grouped    by a write into each file that has something to write, and then an fdatasync of
 *              each: four threads, which share what waits
 *   together   by a write into each file that has something to write, and one syncfs for all
 *   journal    by one write into a file of 64 MiB, which was written before, and one fdatasync for
 *              all that waits; three threads then write the same bytes to the partitions' files,
 *              and one makes these durable before that half of the journal is written again
 * and of each is printed: writes a second, MB/s, CPU of this process for a write and a GB, p50 and
 * p99 of a write, medians of the rounds, and the ratio of the rate to that of `each`. */
#include "journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "measured.h"
#include "spate/error.h"

enum {
    WORKERS = 4,
    ROUNDS_MAX = 15,
    WRITTEN_BYTES = 256 * 1024 * 1024, /* of all files that are written before */
    PATH_SIZE = 512,
};

struct figures {
    double rate;
    double cpu_us;
    double p50_ms;
    double p99_ms;
};

struct world world = { .lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER };

const uint8_t payload[WRITE_BYTES_MAX];

void check(int rv, const char *what)
{
    if (rv != 0) {
        (void)fprintf(stderr, "journal: %s: %s\n", what, spate_error_name(rv));
        exit(1);
    }
}

/* ---- runs ------------------------------------------------------------------------------------ */

typedef void *(*run_fn)(void *arg);

static const struct mode {
    const char *name;
    bool written;
    unsigned batch_part; /* of all partitions, that one thread takes at most */
    run_fn threads[WORKERS + 1];
} modes[] = {
    { "each", false, 1, { run_each, run_each, run_each, run_each } },
    { "written", true, 1, { run_each, run_each, run_each, run_each } },
    { "grouped", false, WORKERS, { run_grouped, run_grouped, run_grouped, run_grouped } },
    { "together", false, 1, { run_together } },
    { "journal", false, 1, { run_committer, run_copier, run_copier, run_copier, run_cleaner } },
};

enum {
    MODES = sizeof modes / sizeof modes[0],
};

static void path_of(char *path, unsigned number)
{
    (void)snprintf(path, PATH_SIZE, "%s/partition.%u", world.directory, number);
}

static void open_files(void)
{
    char path[PATH_SIZE];

    sp_list_init(&world.waiting);
    for (unsigned i = 0; i < world.partition_count; i++) {
        struct partition *partition = &world.partitions[i];

        *partition = (struct partition){ .position = 0 };
        path_of(path, i);
        check(sp_file_open(path, SP_FILE_CREATE, &partition->file), "create");
        for (uint64_t at = 0; at < world.file_size; at += world.write_size) {
            write_at(partition, at);
        }
        sp_list_append(&world.waiting, &partition->node);
    }
    check(sp_path_sync_all(world.directory), "syncfs");
}

static void close_files(void)
{
    char path[PATH_SIZE];

    for (unsigned i = 0; i < world.partition_count; i++) {
        sp_file_close(world.partitions[i].file);
        path_of(path, i);
        check(sp_path_remove(path), "remove");
    }
    check(sp_path_sync_all(world.directory), "syncfs");
}

static void make_journal(void)
{
    char path[PATH_SIZE];
    struct sp_iovec piece = { payload, sizeof payload };

    (void)snprintf(path, PATH_SIZE, "%s/journal", world.directory);
    check(sp_file_open(path, SP_FILE_CREATE, &world.journal), "create");
    for (uint64_t position = 0; position < 2 * HALF_BYTES; position += sizeof payload) {
        check(sp_file_write(world.journal, position, &piece, 1), "write");
    }
    check(sp_file_sync(world.journal), "sync");
    check(sp_path_remove(path), "remove");
}

static int compare(const void *a, const void *b)
{
    float left = *(const float *)a;
    float right = *(const float *)b;

    return left < right ? -1 : left > right;
}

static void reset(void)
{
    world.ending = false;
    world.sample_count = 0;
    world.journal_position = 0;
    world.current = 0;
    world.halves[0] = world.halves[1] = (struct half){ .copies = 0 };
    world.copies_begun = world.copies_added = 0;
}

static struct figures run(const struct mode *mode, double seconds)
{
    pthread_t threads[WORKERS + 1];
    unsigned count = 0;
    struct timespec pause = { (time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9) };

    reset();
    world.batch_max = (world.partition_count + mode->batch_part - 1) / mode->batch_part;
    world.batch_max = world.batch_max < PIECES_MAX / 2 ? world.batch_max : PIECES_MAX / 2;
    world.file_size = mode->written ? WRITTEN_BYTES / world.partition_count : 0;
    world.file_size -= world.file_size % WRITE_BYTES_MAX;
    open_files();
    double begun = now_s();
    double cpu_begun = cpu_s();
    for (unsigned i = 0; i < world.partition_count; i++) {
        world.partitions[i].since = begun;
    }
    while (count <= WORKERS && mode->threads[count] != NULL) {
        if (pthread_create(&threads[count], NULL, mode->threads[count], NULL) != 0) {
            check(SPATE_ERR_NOMEM, "thread");
        }
        count += 1;
    }
    (void)nanosleep(&pause, NULL);
    pthread_mutex_lock(&world.lock);
    world.ending = true;
    pthread_cond_broadcast(&world.moved);
    double took = now_s() - begun;
    double cpu = cpu_s() - cpu_begun;
    unsigned samples = world.sample_count;
    pthread_mutex_unlock(&world.lock);
    for (unsigned i = 0; i < count; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    close_files();
    qsort(world.samples_ms, samples, sizeof world.samples_ms[0], compare);
    if (samples == 0) {
        return (struct figures){ .rate = 0 };
    }
    return (struct figures){
        .rate = samples / took,
        .cpu_us = cpu * 1e6 / samples,
        .p50_ms = (double)world.samples_ms[samples / 2],
        .p99_ms = (double)world.samples_ms[(size_t)samples * 99 / 100],
    };
}

static int compare_rates(const void *a, const void *b)
{
    double left = ((const struct figures *)a)->rate;
    double right = ((const struct figures *)b)->rate;

    return left < right ? -1 : left > right;
}

static void measure(double seconds, unsigned rounds)
{
    static struct figures taken[MODES][ROUNDS_MAX];
    double base = 0;

    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < MODES; i++) {
            taken[i][round] = run(&modes[i], seconds);
        }
    }
    for (unsigned i = 0; i < MODES; i++) {
        qsort(taken[i], rounds, sizeof taken[i][0], compare_rates);
        const struct figures *median = &taken[i][rounds / 2];
        double mb = (double)world.write_size / 1e6;

        base = i == 0 ? median->rate : base;
        (void)printf("%10u %8zu %-9s %9.0f %7.1f %8.1f %8.2f %8.2f %8.2f %6.2f\n",
                     world.partition_count,
                     world.write_size,
                     modes[i].name,
                     median->rate,
                     median->rate * mb,
                     median->cpu_us,
                     median->cpu_us / (mb * 1000),
                     median->p50_ms,
                     median->p99_ms,
                     base > 0 ? median->rate / base : 0);
        (void)fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    static const unsigned counts[] = { 1, 10, 100, PARTITIONS_MAX };
    static const size_t sizes[] = { WRITE_BYTES_MIN, WRITE_BYTES_MAX };
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 2;
    unsigned rounds = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 3;

    if (argc < 2 || seconds <= 0 || rounds < 1 || rounds > ROUNDS_MAX) {
        (void)fprintf(stderr, "usage: journal DIRECTORY [SECONDS [ROUNDS]]\n");
        return 2;
    }
    (void)sp_file_raise_limit();
    world.directory = argv[1];
    world.samples_ms = malloc(SAMPLES_MAX * sizeof world.samples_ms[0]);
    check(world.samples_ms == NULL ? SPATE_ERR_NOMEM : 0, "memory");
    make_journal();
    (void)printf("partitions    bytes way        writes/s    MB/s   CPU us CPU-s/GB   p50 ms   p99 "
                 "ms  ratio\n");
    for (unsigned i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        for (unsigned j = 0; j < sizeof sizes / sizeof sizes[0]; j++) {
            world.partition_count = counts[i];
            world.write_size = sizes[j];
            measure(seconds, rounds);
        }
    }
    sp_file_close(world.journal);
    free(world.samples_ms);
    return 0;
}
