/* The ways by which writes become durable. */
#include "journal.h"

#include "measured.h"
#include "spate/error.h"

enum {
    COMMIT_BYTES_MAX = 16 * 1024 * 1024,
    FEW_FILES = 8, /* synced one by one */
};

static const uint8_t header[48]; /* of a frame in the journal */

/* ---- partitions ------------------------------------------------------------------------------ */

void write_at(struct partition *partition, uint64_t position)
{
    const struct sp_iovec piece = { payload, world.write_size };

    position = world.file_size == 0 ? position : position % world.file_size;
    check(sp_file_write(partition->file, position, &piece, 1), "write");
}

static void write_all(struct partition *const *taken, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        write_at(taken[i], taken[i]->position);
        taken[i]->position += world.write_size;
    }
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

/* The same, and whoever waits for one may take it. */
static void tell_durable(struct partition *partition)
{
    pthread_mutex_lock(&world.lock);
    note_durable(partition);
    pthread_cond_signal(&world.moved);
    pthread_mutex_unlock(&world.lock);
}

/* ---- each, together -------------------------------------------------------------------------- */

void *run_each(void *arg)
{
    struct partition *partition;

    while ((partition = take_one()) != NULL) {
        write_all(&partition, 1);
        check(sp_file_sync(partition->file), "sync");
        tell_durable(partition);
    }
    return arg;
}

/* What has gathered is written at once, then made durable by `sync_all`. */
static void *run_gathered(void *arg, void (*sync_all)(struct partition **taken, unsigned count))
{
    struct partition *taken[PIECES_MAX];
    unsigned count;

    while ((count = take_all(taken)) > 0) {
        write_all(taken, count);
        sync_all(taken, count);
    }
    return arg;
}

static void sync_each(struct partition **taken, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        check(sp_file_sync(taken[i]->file), "sync");
        tell_durable(taken[i]);
    }
}

static void sync_file_system(struct partition **taken, unsigned count)
{
    check(sp_path_sync_all(world.directory), "syncfs");
    pthread_mutex_lock(&world.lock);
    for (unsigned i = 0; i < count; i++) {
        note_durable(taken[i]);
    }
    pthread_mutex_unlock(&world.lock);
}

void *run_grouped(void *arg)
{
    return run_gathered(arg, sync_each);
}

void *run_together(void *arg)
{
    return run_gathered(arg, sync_file_system);
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

void *run_committer(void *arg)
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

void *run_copier(void *arg)
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

void *run_cleaner(void *arg)
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
