/* sim: runs simulated clusters by seed. */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim_child.h"
#include "sim_counts.h"
#include "sim_run.h"
#include "sim_world.h"

#define SEED_MAX (UINT64_MAX / 64)

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
    VACUOUS_PERCENT_MAX = 10,
};

#define FAULT_NAME(name, text) " " #text
static const char doc[] =
    "Runs whole clusters under virtual time, each decided by one seed.\v"
    "Examples:\n"
    "  sim --seed 8              one run; prints its event hash\n"
    "  sim --seed 8 --replay     the same with its timeline\n"
    "  sim --seeds 1..300        many runs, and how often what was reached\n"
    "  sim --seed 8 --shrink     fewer faults that still fail\n"
    "Faults:" SIM_FAULT_LIST(
        FAULT_NAME) "\n"
                    "Ends with 0 when nothing failed, 1 when a seed did (or, with --shrink, "
                    "did not), 2 when the arguments make no sense.\n";
#undef FAULT_NAME

static const struct argp_option options[] = {
    { "seed", OPTION_SEED, "N", 0, "Run one seed", 0 },
    { "seeds", OPTION_SEEDS, "A..B", 0, "Run these seeds", 0 },
    { "replay", OPTION_REPLAY, NULL, 0, "Write the timeline to standard error", 0 },
    { "calm", OPTION_CALM, NULL, 0, "No faults, but perhaps the power cut at the end", 0 },
    { "without", OPTION_WITHOUT, "FAULT", 0, "Leave one kind of fault out; may be repeated", 0 },
    { "fault-ms", OPTION_FAULT_MS, "N", 0, "End the fault phase N milliseconds after it began", 0 },
    { "jobs", OPTION_JOBS, "N", 0, "Seeds that run at once (2)", 0 },
    { "shrink", OPTION_SHRINK, NULL, 0, "Leave out what the failure does not need", 0 },
    { "first", OPTION_FIRST, NULL, 0, "Stop at the first seed that fails", 0 },
    { "reach", OPTION_REACH, NULL, 0, "Fail when some kind of event was never reached", 0 },
    { "twice",
      OPTION_TWICE,
      NULL,
      0,
      "Run each seed twice, the second time with its memory "
      "elsewhere; the hashes must be the same",
      0 },
    { "named", OPTION_NAMED, "FILE", 0, "Run the seeds that stand first in the lines of FILE", 0 },
    { "profile", OPTION_PROFILE, NULL, 0, "Print what one run has reached", 0 },
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

/* A whole number between `min` and `max`; anything else ends the program. */
static uint64_t parse_number(
    struct argp_state *state, const char *option, const char *text, uint64_t min, uint64_t max)
{
    char *end = NULL;

    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != '\0' || number < min ||
        number > max) {
        argp_error(state,
                   "--%s: `%s` is not a number from %llu to %llu",
                   option,
                   text,
                   (unsigned long long)min,
                   (unsigned long long)max);
    }
    return number;
}

static void parse_range(struct argp_state *state, char *text, struct arguments *arguments)
{
    char *dots = strstr(text, "..");

    if (dots == NULL) {
        argp_error(state, "--seeds: `%s` is not of the form FIRST..LAST, as in 1..300", text);
        return;
    }
    *dots = '\0';
    arguments->first = parse_number(state, "seeds", text, 0, SEED_MAX);
    arguments->last = parse_number(state, "seeds", dots + 2, arguments->first, SEED_MAX);
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct arguments *arguments = state->input;

    switch (key) {
    case OPTION_SEED:
        arguments->first = parse_number(state, "seed", text, 0, SEED_MAX);
        arguments->last = arguments->first;
        return 0;
    case OPTION_SEEDS:
        parse_range(state, text, arguments);
        return 0;
    case OPTION_REPLAY:
        arguments->run.timeline = true;
        return 0;
    case OPTION_CALM:
        arguments->run.calm = true;
        return 0;
    case OPTION_WITHOUT:
        if (sim_fault_find(text) == SIM_FAULTS) {
            argp_error(state, "--without: no fault is called %s, see --help", text);
        }
        arguments->run.without |= 1u << sim_fault_find(text);
        return 0;
    case OPTION_FAULT_MS:
        arguments->run.fault_us_max =
            parse_number(state, "fault-ms", text, 1, 3600 * 1000) * SIM_MS;
        return 0;
    case OPTION_JOBS:
        arguments->jobs = (unsigned)parse_number(state, "jobs", text, 1, SIM_CHILDREN_MAX);
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

/* ---- commands -------------------------------------------------------------------------------- */

static int command_one(const struct arguments *arguments)
{
    struct sim_run_options run = arguments->run;
    struct sim_result result;

    run.seed = arguments->first;
    sim_child_run(&run, &result);
    (void)printf("seed=%llu hash=%016llx events=%llu time_ms=%llu\n",
                 (unsigned long long)run.seed,
                 (unsigned long long)result.hash,
                 (unsigned long long)result.events,
                 (unsigned long long)(result.time_us / SIM_MS));
    if (arguments->profile) {
        sim_counts_print(&result.counts);
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
    uint64_t vacuous; /* no record was committed: what else happened proves nothing */
    uint64_t events;
    uint64_t time_us;
};

static void add_result(struct sum *sum, uint64_t seed, const struct sim_result *result)
{
    sum->ended += 1;
    sum->events += result->events;
    sum->time_us += result->time_us;
    if (result->counts.committed_records == 0) {
        sum->vacuous += 1;
    } else {
        sim_counts_add(&sum->counts, &result->counts);
    }
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

/* Runs as many at a time as there are children, two runs of each seed if `twice`. */
static void
run_seeds(const struct arguments *arguments, const uint64_t *seeds, uint64_t count, struct sum *sum)
{
    struct sim_child children[SIM_CHILDREN_MAX] = { 0 };
    uint64_t hashes[2] = { 0 };
    unsigned jobs = arguments->twice ? 2 : arguments->jobs;
    uint64_t runs = arguments->twice ? 2 * count : count;
    uint64_t begun = 0;
    unsigned running = 0;

    for (;;) {
        bool goes_on =
            !(arguments->first_only && sum->failures > 0) && !(arguments->twice && running > 0);
        for (unsigned i = 0; i < jobs && begun < runs && goes_on; i++) {
            struct sim_run_options run = arguments->run;
            if (children[i].pid != 0) {
                continue;
            }
            run.seed = seeds[arguments->twice ? begun / 2 : begun];
            run.moved = arguments->twice && i == 1;
            sim_child_start(&children[i], &run);
            begun += 1;
            running += 1;
        }
        if (running == 0) {
            return;
        }
        struct sim_child *child = sim_child_wait(children, jobs);
        struct sim_result result;
        sim_child_finish(child, &result);
        running -= 1;
        add_result(sum, child->seed, &result);
        hashes[(child - children) % 2] = result.hash;
        if (arguments->twice && running == 0) {
            compare_hash(sum, child->seed, hashes[0], hashes[1]);
        }
    }
}

static int command_many(const struct arguments *arguments, const uint64_t *seeds, uint64_t count)
{
    struct sum sum = { .ended = 0 };
    bool good = true;

    run_seeds(arguments, seeds, count, &sum);
    (void)printf("%llu seeds, %llu failed, %llu without a record; %llu simulated seconds, %llu "
                 "events\n",
                 (unsigned long long)sum.ended,
                 (unsigned long long)sum.failures,
                 (unsigned long long)sum.vacuous,
                 (unsigned long long)(sum.time_us / SIM_SECOND),
                 (unsigned long long)sum.events);
    sim_counts_print(&sum.counts);
    if (arguments->reach) {
        good = sim_counts_reached(&sum.counts);
        if (sum.vacuous * 100 > sum.ended * VACUOUS_PERCENT_MAX) {
            (void)printf("too many runs without a record\n");
            good = false;
        }
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
    while (fgets(line, sizeof line, file) != NULL) {
        char *end = line;
        if (line[0] == '#' || line[0] == '\n') {
            continue;
        }
        if (count < SEEDS_NAMED_MAX) {
            seeds[count] = strtoull(line, &end, 10);
        }
        if (end == line || *end != ' ') {
            (void)fprintf(stderr, "sim: %s: `%.40s...` is no seed\n", arguments->named, line);
            return 2;
        }
        count += 1;
    }
    (void)fclose(file);
    if (count == 0) {
        (void)fprintf(stderr, "sim: %s names no seed\n", arguments->named);
        return 2;
    }
    return command_many(arguments, seeds, count);
}

static int command_shrink(const struct arguments *arguments)
{
    struct sim_run_options run = arguments->run;
    struct sim_result result;

    run.seed = arguments->first;
    sim_child_run(&run, &result);
    if (!result.failed) {
        (void)printf("seed %llu does not fail\n", (unsigned long long)run.seed);
        return 1;
    }
    print_failure(run.seed, &result);
    sim_shrink(&run, &result);
    (void)printf("%s --seed %llu --replay", program_invocation_name, (unsigned long long)run.seed);
    if (run.fault_us_max > 0) {
        (void)printf(" --fault-ms %llu", (unsigned long long)(run.fault_us_max / SIM_MS));
    }
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
    if (arguments.shrink && (arguments.named != NULL || arguments.first != arguments.last)) {
        (void)fprintf(stderr, "sim: --shrink takes one --seed\n");
        return 2;
    }
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
    if (arguments.first == arguments.last && !arguments.twice && !arguments.reach) {
        return command_one(&arguments);
    }
    return command_range(&arguments);
}
