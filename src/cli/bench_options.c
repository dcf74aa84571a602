/* The options of `spate bench`. */
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/when.h"

const char *bench_kind_name(enum bench_kind kind)
{
    switch (kind) {
    case BENCH_PRODUCE:
        return "produce";
    case BENCH_CONSUME:
        return "consume";
    case BENCH_E2E:
        return "e2e";
    case BENCH_LATENCY:
        return "latency";
    case BENCH_FAILOVER:
        return "failover";
    }
    return "";
}

/* "100", "1k", "16KiB", "1M": k and M are 1024 and 1024 * 1024 for sizes, powers of ten else. */
static bool parse_scaled(const char *text, int64_t kilo, int64_t max, int64_t *out)
{
    char *end = NULL;
    long long number = strtoll(text, &end, 10);
    int64_t scale = 1;

    if (end == text || number < 0 || number > max) {
        return false;
    }
    if (*end == 'k' || *end == 'K') {
        scale = kilo;
        end++;
    } else if (*end == 'M') {
        scale = kilo * kilo;
        end++;
    }
    if (strcmp(end, "iB") == 0 && scale == 1) {
        return false;
    }
    if (*end != '\0' && strcmp(end, "iB") != 0) {
        return false;
    }
    *out = number * scale;
    return *out <= max;
}

static int take_servers(const struct cli *cli, struct bench_options *options, char *text)
{
    char *rest = NULL;

    for (char *word = strtok_r(text, ",", &rest); word != NULL; word = strtok_r(NULL, ",", &rest)) {
        if (options->server_count == BENCH_SERVERS_MAX ||
            !parse_number(word, 1, INT32_MAX, &options->servers[options->server_count])) {
            return usage_error(
                cli, "--server-pids %s: at most %d process ids", word, BENCH_SERVERS_MAX);
        }
        options->server_count += 1;
    }
    return 0;
}

/* Options that are numbers; false: not one of them, or a wrong number (*out_code says which). */
static bool
take_number(const struct cli *cli, struct bench_options *options, int option, int *out_code)
{
    bool good;

    *out_code = 0;
    if (option == 's') {
        good = parse_scaled(optarg, 1024, BENCH_VALUE_BYTES_MAX, &options->size);
    } else if (option == 'n') {
        good =
            parse_scaled(optarg, 1000, INT64_MAX / 1000000, &options->count) && options->count > 0;
    } else if (option == 'p') {
        good = parse_number(optarg, 1, 10000, &options->partitions);
    } else if (option_is(cli, option, "replicas")) {
        good = parse_number(optarg, 1, 7, &options->replicas);
    } else if (option_is(cli, option, "keys")) {
        good = parse_scaled(optarg, 1000, INT32_MAX, &options->keys);
    } else if (option == 'c') {
        good = parse_number(optarg, 1, BENCH_CLIENTS_MAX, &options->clients);
    } else if (option == 'i') {
        good = parse_scaled(optarg, 1000, INT32_MAX, &options->in_flight);
    } else if (option == 'r') {
        good = parse_rate(optarg, &options->rate);
    } else if (option == 'd') {
        good = parse_duration(optarg, &options->duration_ms) && options->duration_ms > 0;
    } else if (option == 'w') {
        good = parse_duration(optarg, &options->warmup_ms);
    } else if (option_is(cli, option, "interval")) {
        good = parse_duration(optarg, &options->interval_ms) && options->interval_ms >= 10;
    } else {
        return false;
    }
    if (!good) {
        *out_code = usage_error(cli,
                                "%s is not what this option takes: see spate help bench %s",
                                optarg,
                                bench_kind_name(options->kind));
    }
    return true;
}

static int take_option(struct cli *cli, struct bench_options *options, int option)
{
    int code = 0;

    if (option == '?') {
        return EXIT_USAGE;
    }
    if (take_number(cli, options, option, &code)) {
        return code;
    }
    if (option == 't') {
        options->topic = optarg;
    } else if (option == 'z') {
        options->compression = optarg;
    } else if (option_is(cli, option, "batch")) {
        options->batch = optarg;
    } else if (option_is(cli, option, "linger")) {
        options->linger = optarg;
    } else if (option_is(cli, option, "payload")) {
        options->random = strcmp(optarg, "random") == 0;
        if (!options->random && strcmp(optarg, "compressible") != 0) {
            return usage_error(cli, "--payload %s: there are random and compressible", optarg);
        }
    } else if (option_is(cli, option, "durability")) {
        options->durability = optarg;
    } else if (option_is(cli, option, "acks")) {
        if (strcmp(optarg, "majority") != 0) {
            return usage_error(cli,
                               "--acks %s: a record is acknowledged when it is on the disks of a "
                               "majority; there is no other choice",
                               optarg);
        }
    } else if (option_is(cli, option, "csv")) {
        options->csv = optarg;
    } else if (option_is(cli, option, "svg")) {
        options->svg = optarg;
    } else if (option_is(cli, option, "keep")) {
        options->keep = true;
    } else if (option_is(cli, option, "server-pids")) {
        return take_servers(cli, options, optarg);
    }
    return 0;
}

/* What each kind does unless told otherwise. */
static void complete(struct bench_options *options)
{
    bool paced = options->kind == BENCH_FAILOVER || options->kind == BENCH_E2E;

    if (options->kind == BENCH_LATENCY && options->in_flight == 0 && options->rate == 0) {
        options->in_flight = 1;
    }
    if (paced && options->rate == 0) {
        options->rate = 1000;
    }
    if (options->linger == NULL && (paced || options->kind == BENCH_LATENCY)) {
        options->linger = "0";
    }
    if (options->count == 0 && options->duration_ms == 0) {
        options->duration_ms = options->kind == BENCH_FAILOVER ? 30000 : 10000;
    }
    if (options->warmup_ms < 0) {
        options->warmup_ms = options->kind == BENCH_CONSUME ? 0 : 1000;
    }
}

int bench_take_options(struct cli *cli, struct bench_options *options, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    int option;

    options->size = 1024;
    options->clients = 1;
    options->random = true;
    options->warmup_ms = -1;
    options->interval_ms = 500;
    while ((option = next_option(cli, &parser, argc, argv)) != -1) {
        int code = take_option(cli, options, option);
        if (code != 0) {
            return code;
        }
    }
    if (optind < argc) {
        return usage_error(cli, "%s: a topic is named by -t", argv[optind]);
    }
    if (options->kind == BENCH_E2E && options->size < 8) {
        return usage_error(cli, "-s: values of e2e hold their time and have at least 8 bytes");
    }
    if (options->compression != NULL && strcmp(options->compression, "lz4") != 0 &&
        strcmp(options->compression, "none") != 0) {
        return usage_error(cli, "-z %s: there are lz4 and none", options->compression);
    }
    complete(options);
    bool produces = options->kind != BENCH_CONSUME || options->topic == NULL;
    return produces ? settings_check_producing(cli) : 0;
}
