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
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/list.h"
#include "io/file.h"
#include "spate/error.h"

enum {
    WORKERS = 4,
    PARTITIONS_MAX = 1000,
    PIECES_MAX = 1024,
    COMMIT_BYTES_MAX = 16 * 1024 * 1024,
    HALF_BYTES = 32 * 1024 * 1024,
    WRITE_BYTES_MIN = 4096,
    WRITE_BYTES_MAX = 64 * 1024,
    COPIES_MAX = 2 * HALF_BYTES / WRITE_BYTES_MIN, /* a half is written again when it has none */
    SAMPLES_MAX = 4 * 1000 * 1000,
    ROUNDS_MAX = 15,
    FEW_FILES = 8,                     /* synced one by one */
    WRITTEN_BYTES = 256 * 1024 * 1024, /* of all files that are written before */
    PATH_SIZE = 512,
};

struct partition {
    struct sp_list node; /* in `waiting` */
    struct sp_file *file;
    uint64_t position;
    double since;
    bool dirty[2]; /* has bytes that only this half of the journal has durably */
};

/* Bytes of the journal that go to their partition. */
struct copy {
    struct partition *partition;
    uint64_t position;
    unsigned half;
};

struct half {
    unsigned copies; /* that have not been written */
    bool full;       /* not to be written before the cleaner has been there */
};

struct figures {
    double rate;
    double cpu_us;
    double p50_ms;
    double p99_ms;
};

/* The lock guards all that changes but `journal_position` and what a partition has while nobody
 * else can find it. */
static struct {
    const char *directory;
    size_t write_size;
    uint64_t file_size; /* written before; 0: files grow */
    unsigned partition_count;
    unsigned batch_max;
    struct partition partitions[PARTITIONS_MAX];
    pthread_mutex_t lock;
    pthread_cond_t moved;
    struct sp_list waiting;
    bool ending;
    float *samples_ms;
    unsigned sample_count;
    struct sp_file *journal;
    uint64_t journal_position;
    unsigned current; /* half that is written */
    struct half halves[2];
    struct copy copies[COPIES_MAX]; /* a ring */
    uint64_t copies_begun;
    uint64_t copies_added;
} world = { .lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER };

static const uint8_t payload[WRITE_BYTES_MAX];
static const uint8_t header[48]; /* of a frame in the journal */

static double now_s(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static double cpu_s(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void check(int rv, const char *what)
{
    if (rv != 0) {
        (void)fprintf(stderr, "journal: %s: %s\n", what, spate_error_name(rv));
        exit(1);
    }
}

/* ---- partitions ------------------------------------------------------------------------------ */

static void write_at(struct partition *partition, uint64_t position)
{
    const struct sp_iovec piece = { payload, world.write_size };

    position = world.file_size == 0 ? position : position % world.file_size;
    check(sp_file_write(partition->file, position, &piece, 1), "write");
}

/* One that waits, or NULL at the end. */
static struct partition *take_one(void)
{
    struct partition *partition = NULL;

    pthread_mutex_lock(&world.lock);
    while (sp_list_empty(&world.waiting) && !world.ending) {
        pthread_cond_wait(&world.moved, &world.lock);
    }
    if (!world.ending) {
        partition = SP_LIST_ENTRY(world.waiting.next, struct partition, node);
        sp_list_remove(&partition->node);
    }
    pthread_mutex_unlock(&world.lock);
    return partition;
}

/* All that wait, as many as fit; 0 at the end. */
static unsigned take_all(struct partition **out)
{
    unsigned count = 0;

    pthread_mutex_lock(&world.lock);
    while (sp_list_empty(&world.waiting) && !world.ending) {
        pthread_cond_wait(&world.moved, &world.lock);
    }
    while (!world.ending && !sp_list_empty(&world.waiting) && count < world.batch_max &&
           (count + 1) * world.write_size <= COMMIT_BYTES_MAX) {
        out[count] = SP_LIST_ENTRY(world.waiting.next, struct partition, node);
        sp_list_remove(&out[count]->node);
        count += 1;
    }
    pthread_mutex_unlock(&world.lock);
    return count;
}

/* Its write is durable: the next one waits. Inside the lock. */
static void note_durable(struct partition *partition)
{
    double now = now_s();

    if (world.sample_count < SAMPLES_MAX) {
        world.samples_ms[world.sample_count++] = (float)((now - partition->since) * 1000);
    }
    partition->since = now;
    sp_list_append(&world.waiting, &partition->node);
}

/* ---- each, together -------------------------------------------------------------------------- */

static void *run_each(void *arg)
{
    struct partition *partition;

    while ((partition = take_one()) != NULL) {
        write_at(partition, partition->position);
        partition->position += world.write_size;
        check(sp_file_sync(partition->file), "sync");
        pthread_mutex_lock(&world.lock);
        note_durable(partition);
        pthread_cond_signal(&world.moved);
        pthread_mutex_unlock(&world.lock);
    }
    return arg;
}

static void *run_grouped(void *arg)
{
    struct partition *taken[PIECES_MAX];
    unsigned count;

    while ((count = take_all(taken)) > 0) {
        for (unsigned i = 0; i < count; i++) {
            write_at(taken[i], taken[i]->position);
            taken[i]->position += world.write_size;
        }
        for (unsigned i = 0; i < count; i++) {
            check(sp_file_sync(taken[i]->file), "sync");
            pthread_mutex_lock(&world.lock);
            note_durable(taken[i]);
            pthread_cond_signal(&world.moved);
            pthread_mutex_unlock(&world.lock);
        }
    }
    return arg;
}

static void *run_together(void *arg)
{
    struct partition *taken[PIECES_MAX];
    unsigned count;

    while ((count = take_all(taken)) > 0) {
        for (unsigned i = 0; i < count; i++) {
            write_at(taken[i], taken[i]->position);
            taken[i]->position += world.write_size;
        }
        check(sp_path_sync_all(world.directory), "syncfs");
        pthread_mutex_lock(&world.lock);
        for (unsigned i = 0; i < count; i++) {
            note_durable(taken[i]);
        }
        pthread_mutex_unlock(&world.lock);
    }
    return arg;
}

/* ---- the journal ----------------------------------------------------------------------------- */

/* Finds room for so many bytes in one half: false at the end. */
static bool enter_half(size_t size)
{
    uint64_t end = (uint64_t)(world.current + 1) * HALF_BYTES;
    bool goes_on;

    pthread_mutex_lock(&world.lock);
    if (world.journal_position + size > end) {
        world.halves[world.current].full = true;
        world.current ^= 1;
        world.journal_position = (uint64_t)world.current * HALF_BYTES;
        pthread_cond_broadcast(&world.moved);
    }
    while (world.halves[world.current].full && !world.ending) {
        pthread_cond_wait(&world.moved, &world.lock);
    }
    goes_on = !world.ending;
    pthread_mutex_unlock(&world.lock);
    return goes_on;
}

static void note_committed(struct partition *const *taken, unsigned count)
{
    pthread_mutex_lock(&world.lock);
    for (unsigned i = 0; i < count; i++) {
        struct copy *copy = &world.copies[world.copies_added++ % COPIES_MAX];

        *copy = (struct copy){ taken[i], taken[i]->position, world.current };
        taken[i]->position += world.write_size;
        taken[i]->dirty[world.current] = true;
        note_durable(taken[i]);
    }
    world.halves[world.current].copies += count;
    pthread_cond_broadcast(&world.moved);
    pthread_mutex_unlock(&world.lock);
}

static void *run_committer(void *arg)
{
    struct partition *taken[PIECES_MAX];
    struct sp_iovec pieces[PIECES_MAX];
    unsigned count;

    while ((count = take_all(taken)) > 0) {
        size_t size = count * (sizeof header + world.write_size);

        if (!enter_half(size)) {
            break;
        }
        for (unsigned i = 0; i < count; i++) {
            pieces[2 * i] = (struct sp_iovec){ header, sizeof header };
            pieces[2 * i + 1] = (struct sp_iovec){ payload, world.write_size };
        }
        check(sp_file_write(world.journal, world.journal_position, pieces, 2 * count), "write");
        check(sp_file_sync(world.journal), "sync");
        world.journal_position += size;
        note_committed(taken, count);
    }
    return arg;
}

static void *run_copier(void *arg)
{
    pthread_mutex_lock(&world.lock);
    while (!world.ending) {
        if (world.copies_begun == world.copies_added) {
            pthread_cond_wait(&world.moved, &world.lock);
            continue;
        }
        struct copy copy = world.copies[world.copies_begun++ % COPIES_MAX];
        pthread_mutex_unlock(&world.lock);
        write_at(copy.partition, copy.position);
        pthread_mutex_lock(&world.lock);
        world.halves[copy.half].copies -= 1;
        if (world.halves[copy.half].copies == 0) {
            pthread_cond_broadcast(&world.moved);
        }
    }
    pthread_mutex_unlock(&world.lock);
    return arg;
}

/* All that the half alone has becomes durable where it belongs. Outside the lock. */
static void sync_files(struct partition *const *dirty, unsigned count)
{
    if (count > FEW_FILES) {
        check(sp_path_sync_all(world.directory), "syncfs");
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        check(sp_file_sync(dirty[i]->file), "sync");
    }
}

static void clean_half(unsigned number)
{
    static struct partition *dirty[PARTITIONS_MAX];
    unsigned count = 0;

    for (unsigned i = 0; i < world.partition_count; i++) {
        if (world.partitions[i].dirty[number]) {
            world.partitions[i].dirty[number] = false;
            dirty[count++] = &world.partitions[i];
        }
    }
    pthread_mutex_unlock(&world.lock);
    sync_files(dirty, count);
    pthread_mutex_lock(&world.lock);
    world.halves[number].full = false;
    pthread_cond_broadcast(&world.moved);
}

static void *run_cleaner(void *arg)
{
    pthread_mutex_lock(&world.lock);
    while (!world.ending) {
        unsigned number = 0;

        while (number < 2 && !(world.halves[number].full && world.halves[number].copies == 0)) {
            number += 1;
        }
        if (number < 2) {
            clean_half(number);
        } else {
            pthread_cond_wait(&world.moved, &world.lock);
        }
    }
    pthread_mutex_unlock(&world.lock);
    return arg;
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
