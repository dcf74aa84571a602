/* sim: runs simulated clusters by seed. Every seed runs in a process of its own, so that an abort
 * in production code fails that seed and no other. */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim_run.h"
#include "sim_world.h"

enum {
    OPTION_SEED = 1000,
    OPTION_SEEDS,
    OPTION_REPLAY,
    OPTION_CALM,
    OPTION_WITHOUT,
    OPTION_FAULT_MS,
    OPTION_JOBS,
    OPTION_SHRINK,
    OPTION_PROFILE,
    OPTION_FIRST,
    OPTION_REACH,
    OPTION_TWICE,
    OPTION_NAMED,
    SEEDS_NAMED_MAX = 1024,
    JOBS_MAX = 16,
    SECONDS_MAX = 120, /* of one seed; a healthy one takes less than one */
};

static const char doc[] = "Runs whole clusters under virtual time, each decided by one seed.\v"
                          "Examples:\n"
                          "  sim --seed 7              one run; prints its event hash\n"
                          "  sim --seed 7 --replay     the same with its timeline\n"
                          "  sim --seeds 1..300        many runs, and how often what was reached\n"
                          "  sim --seed 7 --shrink     fewer faults that still fail\n";

static const struct argp_option options[] = {
    { "seed", OPTION_SEED, "N", 0, "Run one seed", 0 },
    { "seeds", OPTION_SEEDS, "A..B", 0, "Run these seeds", 0 },
    { "replay", OPTION_REPLAY, NULL, 0, "Write the timeline to standard error", 0 },
    { "calm", OPTION_CALM, NULL, 0, "No faults", 0 },
    { "without", OPTION_WITHOUT, "FAULT", 0, "Leave one kind of fault out; may be repeated", 0 },
    { "fault-ms", OPTION_FAULT_MS, "N", 0, "End the fault phase after N milliseconds", 0 },
    { "jobs", OPTION_JOBS, "N", 0, "Seeds that run at once (2)", 0 },
    { "shrink", OPTION_SHRINK, NULL, 0, "Leave out what the failure does not need", 0 },
    { "first", OPTION_FIRST, NULL, 0, "Stop at the first seed that fails", 0 },
    { "reach", OPTION_REACH, NULL, 0, "Fail when some kind of event was never reached", 0 },
    { "twice", OPTION_TWICE, NULL, 0, "Run each seed twice; the hashes must be the same", 0 },
    { "named", OPTION_NAMED, "FILE", 0, "Run the seeds that stand first in the lines of FILE", 0 },
    { "profile", OPTION_PROFILE, NULL, 0, "Print speed and size of the run", 0 },
    { 0 },
};

struct arguments {
    uint64_t first;
    uint64_t last;
    unsigned jobs;
    bool shrink;
    bool profile;
    bool first_only;
    bool reach;
    bool twice;
    const char *named;
    struct sim_run_options run;
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    char *end = NULL;

    switch (key) {
    case OPTION_SEED:
        arguments->first = strtoull(text, NULL, 10);
        arguments->last = arguments->first;
        return 0;
    case OPTION_SEEDS:
        arguments->first = strtoull(text, &end, 10);
        if (strncmp(end, "..", 2) != 0) {
            argp_error(state, "--seeds: A..B");
        }
        arguments->last = strtoull(end + 2, NULL, 10);
        return 0;
    case OPTION_REPLAY:
        arguments->run.timeline = true;
        return 0;
    case OPTION_CALM:
        arguments->run.calm = true;
        return 0;
    case OPTION_WITHOUT:
        if (sim_fault_find(text) == SIM_FAULTS) {
            argp_error(state, "--without: no fault is called %s", text);
        }
        arguments->run.without |= 1u << sim_fault_find(text);
        return 0;
    case OPTION_FAULT_MS:
        arguments->run.fault_us_max = strtoull(text, NULL, 10) * SIM_MS;
        return 0;
    case OPTION_JOBS:
        arguments->jobs = (unsigned)strtoul(text, NULL, 10);
        return 0;
    case OPTION_SHRINK:
        arguments->shrink = true;
        return 0;
    case OPTION_REACH:
        arguments->reach = true;
        return 0;
    case OPTION_TWICE:
        arguments->twice = true;
        return 0;
    case OPTION_NAMED:
        arguments->named = text;
        return 0;
    case OPTION_FIRST:
        arguments->first_only = true;
        return 0;
    case OPTION_PROFILE:
        arguments->profile = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- one seed in a process of its own -------------------------------------------------------- */

struct child {
    pid_t pid; /* 0: free */
    int fd;
    uint64_t seed;
};

static void start_child(struct child *child, const struct sim_run_options *run)
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
        struct sim_result result;
        (void)close(fds[0]);
        (void)alarm(SECONDS_MAX);
        sim_run(run, &result);
        if (write(fds[1], &result, sizeof result) != (ssize_t)sizeof result) {
            _exit(2);
        }
        _exit(0);
    }
    (void)close(fds[1]);
}

/* Waits for the child; a death without a result is a failure too. */
static void finish_child(struct child *child, struct sim_result *out_result)
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
                       WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM
                           ? "does not end (signal %d)"
                           : "the program died (signal %d)",
                       WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    }
}

static void run_one(const struct sim_run_options *run, struct sim_result *out_result)
{
    struct child child = { 0 };

    start_child(&child, run);
    finish_child(&child, out_result);
}

/* ---- printing -------------------------------------------------------------------------------- */

static void print_failure(uint64_t seed, const struct sim_result *result)
{
    (void)printf("seed %llu FAILED at %llu.%03llu s: %s\n",
                 (unsigned long long)seed,
                 (unsigned long long)(result->time_us / SIM_SECOND),
                 (unsigned long long)(result->time_us % SIM_SECOND / SIM_MS),
                 result->failure);
    (void)fflush(stdout);
}

static void add_counts(struct sim_counts *sum, const struct sim_counts *counts)
{
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)counts;

    uint64_t peak = sum->memory_peak_bytes > counts->memory_peak_bytes ? sum->memory_peak_bytes
                                                                       : counts->memory_peak_bytes;

    for (size_t i = 0; i < sizeof *sum / sizeof *to; i++) {
        to[i] += from[i];
    }
    sum->memory_peak_bytes = peak;
}

static void print_counts(const struct sim_counts *c)
{
    (void)printf("  elections=%llu truncations=%llu checkpoints=%llu refills=%llu torn_tails=%llu "
                 "resent=%llu duplicates=%llu transfers=%llu\n",
                 (unsigned long long)c->elections,
                 (unsigned long long)c->truncations,
                 (unsigned long long)c->checkpoints,
                 (unsigned long long)c->refills,
                 (unsigned long long)c->torn_tails,
                 (unsigned long long)c->resent,
                 (unsigned long long)c->duplicates,
                 (unsigned long long)c->transfers);
    (void)printf("  kills=%llu power_cuts=%llu power_cuts_of_all=%llu stops=%llu pauses=%llu "
                 "partitions=%llu cuts=%llu disk_errors=%llu slow_disks=%llu clock_jumps=%llu "
                 "client_deaths=%llu bit_flips=%llu deaths_in_call=%llu\n",
                 (unsigned long long)c->kills,
                 (unsigned long long)c->power_cuts,
                 (unsigned long long)c->power_cuts_all,
                 (unsigned long long)c->stops,
                 (unsigned long long)c->pauses,
                 (unsigned long long)c->partitions,
                 (unsigned long long)c->cuts,
                 (unsigned long long)c->disk_errors,
                 (unsigned long long)c->slow_disks,
                 (unsigned long long)c->clock_jumps,
                 (unsigned long long)c->client_deaths,
                 (unsigned long long)c->bit_flips,
                 (unsigned long long)c->deaths_in_call);
    (void)printf("  frames=%llu records=%llu acknowledged=%llu unknown=%llu refused=%llu read=%llu "
                 "node_peak_kib=%llu\n",
                 (unsigned long long)c->committed_frames,
                 (unsigned long long)c->committed_records,
                 (unsigned long long)c->acknowledged,
                 (unsigned long long)c->unknown,
                 (unsigned long long)c->refused,
                 (unsigned long long)c->read,
                 (unsigned long long)(c->memory_peak_bytes / 1024));
}

/* ---- commands -------------------------------------------------------------------------------- */

static int command_one(const struct arguments *arguments)
{
    struct sim_run_options run = arguments->run;
    struct sim_result result;

    run.seed = arguments->first;
    run_one(&run, &result);
    (void)printf("seed=%llu hash=%016llx events=%llu time_ms=%llu\n",
                 (unsigned long long)run.seed,
                 (unsigned long long)result.hash,
                 (unsigned long long)result.events,
                 (unsigned long long)(result.time_us / SIM_MS));
    if (arguments->profile) {
        print_counts(&result.counts);
    }
    if (result.failed) {
        print_failure(run.seed, &result);
    }
    return result.failed ? 1 : 0;
}

/* What many runs came to. */
struct sum {
    struct sim_counts counts;
    uint64_t ended;
    uint64_t failures;
    uint64_t events;
    uint64_t time_us;
};

static void add_result(struct sum *sum, uint64_t seed, const struct sim_result *result)
{
    sum->ended += 1;
    sum->events += result->events;
    sum->time_us += result->time_us;
    add_counts(&sum->counts, &result->counts);
    if (result->failed) {
        sum->failures += 1;
        print_failure(seed, result);
    }
}

/* The runs of a seed that is run twice must have one hash. */
static void compare_hash(struct sum *sum, uint64_t seed, uint64_t first, uint64_t second)
{
    if (first != second) {
        sum->failures += 1;
        (void)printf("seed %llu FAILED: run twice, its hashes are %016llx and %016llx\n",
                     (unsigned long long)seed,
                     (unsigned long long)first,
                     (unsigned long long)second);
    }
}

static bool reached(const struct sim_counts *c)
{
    const struct {
        const char *name;
        uint64_t count;
    } needed[] = {
        { "election", c->elections },     { "truncation", c->truncations },
        { "refill", c->refills },         { "torn tail", c->torn_tails },
        { "power cut", c->power_cuts },   { "kill", c->kills },
        { "partition", c->partitions },   { "duplicate", c->duplicates },
        { "checkpoint", c->checkpoints }, { "disk error", c->disk_errors },
        { "bit flip", c->bit_flips },     { "pause", c->pauses },
        { "transfer", c->transfers },
    };
    bool all = true;

    for (unsigned i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        if (needed[i].count == 0) {
            (void)printf("never reached: %s\n", needed[i].name);
            all = false;
        }
    }
    return all;
}

static void
run_seeds(const struct arguments *arguments, const uint64_t *seeds, uint64_t count, struct sum *sum)
{
    struct child children[JOBS_MAX] = { 0 };
    uint64_t hashes[JOBS_MAX] = { 0 };
    /* Two at a time are the two runs of one seed. */
    unsigned jobs = arguments->twice ? 2 : arguments->jobs < JOBS_MAX ? arguments->jobs : JOBS_MAX;
    uint64_t runs = arguments->twice ? 2 * count : count;

    for (uint64_t i = 0; i < runs + jobs; i++) {
        struct child *child = &children[i % jobs];
        struct sim_run_options run = arguments->run;
        struct sim_result result;

        if (child->pid != 0) {
            uint64_t seed = child->seed;
            finish_child(child, &result);
            add_result(sum, seed, &result);
            if (arguments->twice && i % 2 == 1) {
                compare_hash(sum, seed, hashes[0], result.hash);
            }
            hashes[i % jobs] = result.hash;
        }
        if (i < runs && !(arguments->first_only && sum->failures > 0)) {
            run.seed = seeds[arguments->twice ? i / 2 : i];
            start_child(child, &run);
        }
    }
}

static int command_many(const struct arguments *arguments, const uint64_t *seeds, uint64_t count)
{
    struct sum sum = { .ended = 0 };
    bool good = true;

    run_seeds(arguments, seeds, count, &sum);
    (void)printf("%llu seeds, %llu failed; %llu simulated seconds, %llu events\n",
                 (unsigned long long)sum.ended,
                 (unsigned long long)sum.failures,
                 (unsigned long long)(sum.time_us / SIM_SECOND),
                 (unsigned long long)sum.events);
    print_counts(&sum.counts);
    if (arguments->reach) {
        good = reached(&sum.counts);
    }
    return good && sum.failures == 0 ? 0 : 1;
}

static int command_range(const struct arguments *arguments)
{
    uint64_t count = arguments->last - arguments->first + 1;
    uint64_t *seeds = sim_alloc(count * sizeof *seeds);

    for (uint64_t i = 0; i < count; i++) {
        seeds[i] = arguments->first + i;
    }
    return command_many(arguments, seeds, count);
}

static int command_named(const struct arguments *arguments)
{
    static uint64_t seeds[SEEDS_NAMED_MAX];
    char line[1024];
    uint64_t count = 0;
    FILE *file = fopen(arguments->named, "r");

    if (file == NULL) {
        perror(arguments->named);
        return 2;
    }
    while (count < SEEDS_NAMED_MAX && fgets(line, sizeof line, file) != NULL) {
        char *end = line;
        seeds[count] = strtoull(line, &end, 10);
        count += end != line;
    }
    (void)fclose(file);
    return command_many(arguments, seeds, count);
}

/* Leaves out kinds of faults, then shortens the fault phase, as long as the seed still fails. */
static int command_shrink(const struct arguments *arguments)
{
    struct sim_run_options run = arguments->run;
    struct sim_result result;

    run.seed = arguments->first;
    run_one(&run, &result);
    if (!result.failed) {
        (void)printf("seed %llu does not fail\n", (unsigned long long)run.seed);
        return 1;
    }
    for (unsigned i = 0; i < SIM_FAULTS; i++) {
        struct sim_run_options fewer = run;
        struct sim_result again;
        fewer.without |= 1u << i;
        run_one(&fewer, &again);
        if (again.failed) {
            run = fewer;
            result = again;
        }
    }
    uint64_t low_us = 0;
    uint64_t high_us = result.fault_us > 0 ? result.fault_us : 30 * SIM_SECOND;
    while (high_us - low_us > 50 * SIM_MS) {
        struct sim_run_options shorter = run;
        struct sim_result again;
        shorter.fault_us_max = (low_us + high_us) / 2;
        run_one(&shorter, &again);
        if (again.failed) {
            high_us = shorter.fault_us_max;
            run = shorter;
            result = again;
        } else {
            low_us = shorter.fault_us_max;
        }
    }
    (void)printf("sim --seed %llu --fault-ms %llu",
                 (unsigned long long)run.seed,
                 (unsigned long long)(high_us / SIM_MS));
    for (unsigned i = 0; i < SIM_FAULTS; i++) {
        if ((run.without >> i & 1) != 0) {
            (void)printf(" --without %s", sim_fault_name((enum sim_fault)i));
        }
    }
    (void)printf("\n");
    print_failure(run.seed, &result);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct argp parser = { options, parse_option, NULL, doc, NULL, NULL, NULL };
    struct arguments arguments = { .first = 1, .last = 0, .jobs = 2 };

    argp_err_exit_status = 2;
    (void)argp_parse(&parser, argc, argv, 0, NULL, &arguments); /* exits on its own errors */
    if (arguments.named != NULL) {
        return command_named(&arguments);
    }
    if (arguments.last < arguments.first) {
        (void)fprintf(stderr, "sim: name a seed: --seed N or --seeds A..B\n");
        return 2;
    }
    if (arguments.shrink) {
        return command_shrink(&arguments);
    }
    if (arguments.first == arguments.last && !arguments.twice) {
        return command_one(&arguments);
    }
    return command_range(&arguments);
}
