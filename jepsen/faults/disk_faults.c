/* Errors, delays, lack of space and flipped bits: see disk.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "control.h"
#include "disk.h"

enum {
    FLIPS_MAX = 64,
    FLIP_MARKS = 8,
    MILLION = 1000 * 1000,
};

struct fault {
    int number;        /* errno, 0: none */
    int64_t ppm;       /* how often */
    int64_t left;      /* how many times more, -1: until it is healed */
    uint64_t delay_us; /* read without the lock: a stale value delays one call wrongly */
    uint64_t calls;
    uint64_t failed;
    uint64_t delayed;
};

struct flip {
    uint64_t inode;
    uint64_t position;
    uint8_t mask;
    uint8_t mark;             /* by which reads are counted */
    char path[DISK_PATH_MAX]; /* below cur/ */
};

static const char *const operation_names[DISK_OPERATIONS] = { "read", "write", "sync", "name" };
static struct fault faults[DISK_OPERATIONS];
static struct flip flips[FLIPS_MAX];
static unsigned flip_count;
static uint64_t flips_read[FLIP_MARKS];
static int64_t space_bytes = -1;
static uint64_t space_refused;
static bool is_lying;
static struct sp_rand chance;

void disk_faults_init(void)
{
    sp_rand_init(&chance, 1);
}

void disk_faults_delay(enum disk_operation operation)
{
    struct fault *fault = &faults[operation];
    uint64_t delay_us = __atomic_load_n(&fault->delay_us, __ATOMIC_RELAXED);

    if (delay_us == 0) {
        return;
    }
    (void)__atomic_add_fetch(&fault->delayed, 1, __ATOMIC_RELAXED);
    struct timespec wait = { .tv_sec = (time_t)(delay_us / MILLION),
                             .tv_nsec = (long)(delay_us % MILLION) * 1000 };
    (void)nanosleep(&wait, NULL); /* a signal ends the process */
}

int disk_faults_error(enum disk_operation operation)
{
    struct fault *fault = &faults[operation];

    fault->calls += 1;
    if (fault->number == 0 || fault->left == 0 ||
        (int64_t)sp_rand_below(&chance, MILLION) >= fault->ppm) {
        return 0;
    }
    fault->left -= fault->left > 0;
    fault->failed += 1;
    return -fault->number;
}

int disk_faults_take_space(uint64_t size)
{
    if (space_bytes < 0 || size == 0) {
        return 0;
    }
    if (size > (uint64_t)space_bytes) {
        space_refused += 1;
        return -ENOSPC;
    }
    space_bytes -= (int64_t)size;
    return 0;
}

void disk_faults_give_space(uint64_t size)
{
    if (space_bytes >= 0) {
        space_bytes += (int64_t)size;
    }
}

int64_t disk_faults_space(void)
{
    return space_bytes;
}

bool disk_faults_is_lying(void)
{
    return is_lying;
}

/* ---- flipped bits ---------------------------------------------------------------------------- */

static uint64_t inode_of(int fd)
{
    struct stat status = { .st_ino = 0 };

    (void)fstat(fd, &status); /* fails only for a descriptor that is not open */
    return (uint64_t)status.st_ino;
}

static bool flip_bit(int fd, uint64_t position, uint8_t mask)
{
    uint8_t byte;

    if (pread(fd, &byte, 1, (off_t)position) != 1) {
        return false;
    }
    byte ^= mask;
    return pwrite(fd, &byte, 1, (off_t)position) == 1;
}

void disk_faults_touched(int fd, uint64_t position, uint64_t size, bool is_write)
{
    if (flip_count == 0) {
        return;
    }
    uint64_t inode = inode_of(fd);
    for (unsigned i = 0; i < flip_count; i++) {
        if (flips[i].inode != inode || flips[i].position < position ||
            flips[i].position - position >= size) {
            continue;
        }
        if (is_write) {
            flip_count -= 1;
            flips[i] = flips[flip_count];
            i -= 1;
        } else {
            flips_read[flips[i].mark] += 1;
        }
    }
}

static const char *add_flip(const char *request)
{
    struct flip flip = { .mask = (uint8_t)(1 << (control_number(request, "bit", 0) & 7)),
                         .mark = (uint8_t)(control_number(request, "mark", 0) % FLIP_MARKS) };
    char real[DISK_PATH_MAX];
    const char *problem = NULL;

    if (flip_count == FLIPS_MAX || !control_word(request, "path", flip.path, sizeof flip.path) ||
        !disk_names_path(flip.path, real)) {
        return "too many flips, or no path";
    }
    int fd = open(real, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return "no such file";
    }
    flip.position = (uint64_t)control_number(request, "position", 0);
    flip.inode = inode_of(fd);
    if (disk_data_is_pending(fd, flip.position)) {
        problem = "not synced";
    } else if (!flip_bit(fd, flip.position, flip.mask)) {
        problem = "beyond the end";
    } else {
        flips[flip_count] = flip;
        flip_count += 1;
    }
    (void)close(fd); /* the byte is in the page cache, where all see it */
    return problem;
}

/* Flips back what is still there. Returns how many. */
static unsigned remove_flips(void)
{
    unsigned mended = 0;

    for (unsigned i = 0; i < flip_count; i++) {
        char real[DISK_PATH_MAX];
        int fd = disk_names_path(flips[i].path, real) ? open(real, O_RDWR | O_CLOEXEC) : -1;
        if (fd < 0) {
            continue; /* removed since */
        }
        if (inode_of(fd) == flips[i].inode) {
            mended += flip_bit(fd, flips[i].position, flips[i].mask);
        }
        (void)close(fd); /* as above */
    }
    flip_count = 0;
    return mended;
}

/* ---- requests -------------------------------------------------------------------------------- */

static struct fault *fault_of(const char *request)
{
    char name[16];

    if (control_word(request, "op", name, sizeof name)) {
        for (unsigned i = 0; i < DISK_OPERATIONS; i++) {
            if (strcmp(name, operation_names[i]) == 0) {
                return &faults[i];
            }
        }
    }
    return NULL;
}

static void set_fault(struct fault *fault, const char *request, bool is_delay)
{
    if (is_delay) {
        uint64_t delay_us = (uint64_t)control_number(request, "delay_us", 0);
        __atomic_store_n(&fault->delay_us, delay_us, __ATOMIC_RELAXED);
        return;
    }
    fault->number = (int)control_number(request, "errno", EIO);
    fault->ppm = control_number(request, "ppm", MILLION);
    fault->left = control_number(request, "count", -1);
}

static void heal(void)
{
    for (unsigned i = 0; i < DISK_OPERATIONS; i++) {
        faults[i].number = 0;
        __atomic_store_n(&faults[i].delay_us, 0, __ATOMIC_RELAXED);
    }
    space_bytes = -1;
    is_lying = false;
}

static void answer_stat(char *out, size_t out_size)
{
    int used = snprintf(out, out_size, "ok flips=%u space_refused=%lu", flip_count, space_refused);

    for (unsigned i = 0; i < FLIP_MARKS; i++) {
        used +=
            snprintf(out + used, out_size - (size_t)used, " flips_read_%u=%lu", i, flips_read[i]);
    }
    for (unsigned i = 0; i < DISK_OPERATIONS; i++) {
        const char *name = operation_names[i];
        used += snprintf(out + used,
                         out_size - (size_t)used,
                         " %s=%lu %s_failed=%lu %s_delayed=%lu",
                         name,
                         faults[i].calls,
                         name,
                         faults[i].failed,
                         name,
                         faults[i].delayed);
    }
}

bool disk_faults_answer(const char *request, char *out, size_t out_size)
{
    bool is_delay = control_is(request, "slow");

    if (control_is(request, "stat")) {
        answer_stat(out, out_size);
    } else if (control_is(request, "heal")) {
        heal();
        (void)snprintf(out, out_size, "ok");
    } else if (control_is(request, "lie")) {
        is_lying = true;
        (void)snprintf(out, out_size, "ok");
    } else if (control_is(request, "space")) {
        space_bytes = control_number(request, "bytes", -1);
        (void)snprintf(out, out_size, "ok");
    } else if (control_is(request, "flip")) {
        const char *problem = add_flip(request);
        (void)snprintf(out, out_size, problem == NULL ? "ok" : "error %s", problem);
    } else if (control_is(request, "forget")) {
        flip_count = 0;
        (void)snprintf(out, out_size, "ok");
    } else if (control_is(request, "unflip")) {
        (void)snprintf(out, out_size, "ok mended=%u", remove_flips());
    } else if (is_delay || control_is(request, "fault")) {
        struct fault *fault = fault_of(request);
        if (fault != NULL) {
            set_fault(fault, request, is_delay);
        }
        (void)snprintf(out, out_size, fault == NULL ? "error no such operation" : "ok");
    } else {
        return false;
    }
    return true;
}
