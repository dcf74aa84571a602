#include "sim_child.h"

#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "sim_world.h"

enum {
    CPU_SECONDS_MAX = 600, /* of one seed; most take less than one, with fast links up to 60 */
    HUGE_PAGE_SIZE = 2 << 20,
    MOVED_BY = 3 * 4096 + 16 * 7,
    MOVED_FILL = 0x5a,
    HEAP_SIZE = 256 << 20, /* address space; what a seed does not touch costs nothing */
};

static int result_fd;

/* Says when and where before the process ends; the assertion itself is on standard error. */
static void on_death(int number)
{
    static struct sim_result result;

    result.failed = true;
    result.time_us = sim.now_us;
    result.events = sim.events;
    (void)snprintf(result.failure,
                   sizeof result.failure,
                   "the program died in %s (signal %d)",
                   sim.current != NULL ? sim.current->name : "the world",
                   number);
    (void)fprintf(stderr, "(seed %llu)\n", (unsigned long long)sim.seed);
    (void)!write(result_fd, &result, sizeof result); /* else the parent sees a death only */
    _exit(2);
}

/* Lets the heap be made of huge pages and keep what is freed: a seed touches some 50 MiB once, and
 * half of its time went into page faults. What the system or a sanitizer's heap does not support
 * stays as it was. */
static void prepare_heap(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, HEAP_SIZE / 8);
    (void)mallopt(M_TRIM_THRESHOLD, HEAP_SIZE);
    (void)mallopt(M_TOP_PAD, HEAP_SIZE);

    uintptr_t first = ((uintptr_t)sbrk(0) + HUGE_PAGE_SIZE - 1) / HUGE_PAGE_SIZE * HUGE_PAGE_SIZE;
    void *volatile grown = malloc(HEAP_SIZE / 16); /* more than is left of the heap */
    free(grown);
    uintptr_t end = (uintptr_t)sbrk(0);
    if (end > first) {
        (void)madvise((void *)first, end - first, MADV_HUGEPAGE); /* NOLINT: an address of sbrk */
    }
}

/* What a run does may not depend on addresses, nor on what fresh memory happens to hold; the
 * children of one process would all have the same. */
static void move_memory(void)
{
    (void)mallopt(M_PERTURB, MOVED_FILL);

    void *volatile kept = malloc(MOVED_BY);
    (void)kept;
}

void sim_child_start(struct sim_child *child, const struct sim_run_options *run)
{
    int fds[2];

    (void)fflush(NULL);
    if (pipe(fds) != 0 || (child->pid = fork()) < 0) {
        perror("sim");
        exit(2);
    }
    child->seed = run->seed;
    child->fd = fds[0];
    if (child->pid == 0) {
        struct rlimit limit = { CPU_SECONDS_MAX, CPU_SECONDS_MAX + 10 };
        struct sim_result result;
        (void)close(fds[0]);
        (void)setrlimit(RLIMIT_CPU, &limit); /* not wall time: a busy machine is no bug */
        result_fd = fds[1];
        (void)signal(SIGABRT, on_death);
        (void)signal(SIGSEGV, on_death);
        prepare_heap();
        if (run->moved) {
            move_memory();
        }
        sim_run(run, &result);
        if (write(fds[1], &result, sizeof result) != (ssize_t)sizeof result) {
            _exit(2);
        }
        _exit(0);
    }
    (void)close(fds[1]);
}

struct sim_child *sim_child_wait(struct sim_child *children, unsigned count)
{
    for (;;) {
        struct pollfd fds[SIM_CHILDREN_MAX];

        SP_ASSERT(count <= SIM_CHILDREN_MAX);
        for (unsigned i = 0; i < count; i++) {
            fds[i] = (struct pollfd){ .fd = children[i].pid == 0 ? -1 : children[i].fd,
                                      .events = POLLIN };
        }
        (void)poll(fds, count, -1); /* interrupted: again */
        for (unsigned i = 0; i < count; i++) {
            if (fds[i].fd >= 0 && fds[i].revents != 0) {
                return &children[i];
            }
        }
    }
}

void sim_child_finish(struct sim_child *child, struct sim_result *out_result)
{
    int status = 0;
    ssize_t got = read(child->fd, out_result, sizeof *out_result);

    (void)close(child->fd);
    (void)waitpid(child->pid, &status, 0);
    child->pid = 0;
    if (got != (ssize_t)sizeof *out_result) {
        memset(out_result, 0, sizeof *out_result);
        out_result->failed = true;
        (void)snprintf(out_result->failure,
                       sizeof out_result->failure,
                       WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU
                           ? "does not end (signal %d)"
                           : "the program died (signal %d)",
                       WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    }
}

void sim_child_run(const struct sim_run_options *run, struct sim_result *out_result)
{
    struct sim_child child = { 0 };

    sim_child_start(&child, run);
    sim_child_finish(&child, out_result);
}

/* ---- shrinking ------------------------------------------------------------------------------- */

/* One try of the shrinking: does it still fail, and in the same way? */
static bool still_fails(const struct sim_run_options *run, struct sim_result *result)
{
    static const char *const ways[] = { "liveness", "the program died", "does not end" };
    struct sim_result again;

    sim_child_run(run, &again);
    (void)fprintf(stderr, again.failed ? "+" : ".");
    if (!again.failed) {
        return false;
    }
    for (unsigned i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        size_t size = strlen(ways[i]);
        if ((strncmp(result->failure, ways[i], size) == 0) !=
            (strncmp(again.failure, ways[i], size) == 0)) {
            return false;
        }
    }
    *result = again;
    return true;
}

void sim_shrink(struct sim_run_options *run, struct sim_result *result)
{
    uint64_t low_us = 0;
    uint64_t high_us = result->fault_us > 0 ? result->fault_us : 30 * SIM_SECOND;

    for (unsigned i = 0; i < SIM_FAULTS; i++) {
        struct sim_run_options fewer = *run;
        fewer.without |= 1u << i;
        if (still_fails(&fewer, result)) {
            *run = fewer;
        }
    }
    while (high_us - low_us > 50 * SIM_MS) {
        struct sim_run_options shorter = *run;
        shorter.fault_us_max = (low_us + high_us) / 2;
        if (still_fails(&shorter, result)) {
            high_us = shorter.fault_us_max;
            *run = shorter;
        } else {
            low_us = shorter.fault_us_max;
        }
    }
    (void)fprintf(stderr, "\n");
}
