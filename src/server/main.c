/* spated: reads its configuration, starts the node or its shards, ends them on SIGTERM. */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "io/file.h"
#include "io/standard.h"
#include "server/config.h"
#include "server/config_shards.h"
#include "server/force.h"
#include "server/shard.h"
#include "server/trace_sink.h"
#include "spate/error.h"

#define SETTINGS_MAX 64

enum {
    EXIT_RUNTIME = 1, /* the node could not start or had to stop */
    EXIT_USAGE = 2,   /* options or configuration */
};

/* glibc finds it by name */
SP_EXPORT const char *argp_program_version = "spated " SPATE_VERSION;

static const char doc[] =
    "One node of a Spate cluster.\v"
    "Examples:\n"
    "  spated                               # one node on 127.0.0.1:7700, in ./data\n"
    "  spated --config /etc/spate/spated.yaml\n"
    "  spated --config spated.yaml --set trace.level=debug\n"
    "  spated --config spated.yaml --shards 4\n"
    "  spated --config spated.yaml --check-config\n"
    "  SPATE_NODE_NODE_ID=2 spated --config spated.yaml\n"
    "  curl http://127.0.0.1:7780/readyz    # is it ready? also /metrics, /status\n"
    "\nEvery key can come from the file, from SPATE_NODE_<KEY> (dots as underscores), or from "
    "--set, later ones win. `spated --example` prints them all. Times and sizes take units: 250ms, "
    "30s, 12h, 5d; 64K, 64M, 10G. SIGTERM hands leadership over and "
    "ends the node cleanly.";

static const struct argp_option options[] = {
    { "config", 'c', "FILE", 0, "Read the configuration from FILE (YAML)", 0 },
    { "set", 's', "KEY=VALUE", 0, "Set one key; may be given several times", 0 },
    { "join", 'j', "HOST:PORT", 0, "Join the cluster of that node (its listen.peer)", 0 },
    { "shards", 'S', "N", 0, "Run N nodes in this process, each with a loop thread", 0 },
    { "check-config", 'n', NULL, 0, "Check the configuration, print it, and exit", 0 },
    { "example", 'e', NULL, 0, "Print a commented configuration file with all keys, and exit", 0 },
    { "force-membership",
      'f',
      "NODES",
      0,
      "Last resort, offline: go on with these nodes alone (3 or 2,3) when a majority is lost for "
      "good. Shows what would be done, and exits",
      0 },
    { "yes-lose-data",
      'y',
      NULL,
      0,
      "With --force-membership: do it. What only the lost nodes had is lost",
      0 },
    { 0 },
};

struct arguments {
    const char *config_path;
    const char *settings[SETTINGS_MAX];
    unsigned setting_count;
    char join[SP_ADDRESS_SIZE_MAX + 16];
    char shards[32];
    bool check_only;
    bool example;
    const char *forced_nodes;
    bool lose_data;
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct arguments *arguments = state->input;

    switch (key) {
    case 'c':
        arguments->config_path = text;
        return 0;
    case 's':
        if (arguments->setting_count == SETTINGS_MAX) {
            argp_error(state, "--set: at most %d", SETTINGS_MAX);
        }
        arguments->settings[arguments->setting_count] = text;
        arguments->setting_count += 1;
        return 0;
    case 'j':
        (void)snprintf(arguments->join, sizeof arguments->join, "cluster.join=%s", text);
        return 0;
    case 'S':
        (void)snprintf(arguments->shards, sizeof arguments->shards, "shards=%s", text);
        return 0;
    case 'n':
        arguments->check_only = true;
        return 0;
    case 'e':
        arguments->example = true;
        return 0;
    case 'f':
        arguments->forced_nodes = text;
        return 0;
    case 'y':
        arguments->lose_data = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument `%s`", text);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int read_config(const struct arguments *arguments,
                       struct sp_config *config,
                       struct sp_transport_options *transport,
                       struct sp_config_error *error)
{
    int rv = 0;

    sp_config_init(config);
    if (arguments->config_path != NULL) {
        rv = sp_config_read_file(config, arguments->config_path, error);
    }
    if (rv == 0) {
        rv = sp_config_read_environment(config, environ, error);
    }
    for (unsigned i = 0; i < arguments->setting_count && rv == 0; i++) {
        rv = sp_config_set(config, arguments->settings[i], error);
    }
    if (rv == 0 && arguments->join[0] != '\0') {
        rv = sp_config_set(config, arguments->join, error);
    }
    if (rv == 0 && arguments->shards[0] != '\0') {
        rv = sp_config_set(config, arguments->shards, error);
    }
    if (rv == 0) {
        rv = sp_config_finish(config, transport, error);
    }
    return rv;
}

/* ---- running --------------------------------------------------------------------------------- */

enum {
    MEMORY_LOOK_MS = 1000,
    MEMORY_KEPT_BYTES = 16 * 1024 * 1024, /* so little more than is used is not worth the work */
};

/* What one of several shards is configured with. */
struct cut {
    struct sp_config config;
    struct sp_transport_options transport;
};

/* The first shard runs on the main thread; its loop also serves what the process has once. */
struct program {
    struct sp_shard *shards[SP_SHARDS_MAX];
    struct cut *cuts[SP_SHARDS_MAX]; /* NULL: there is one shard, with the program's own */
    unsigned shard_count;
    struct sp_timer memory_timer;
    uint64_t memory_peak; /* bytes, since some were given back */
};

/* After a burst the allocator keeps what was freed: the system gets it back once no more than half
 * of the peak is in use. */
static void on_memory_timer(struct sp_timer *timer)
{
    struct program *program = SP_CONTAINER_OF(timer, struct program, memory_timer);
    uint64_t used = sp_mem_live_bytes();

    sp_mem_age(sp_loop_now_ms(timer->loop));
    if (used > program->memory_peak) {
        program->memory_peak = used;
    }
    if (used < program->memory_peak / 2 && program->memory_peak - used > MEMORY_KEPT_BYTES) {
        sp_mem_trim();
        program->memory_peak = used;
    }
    /* Without memory for it nothing is given back: the node has other worries then. */
    (void)sp_timer_start(timer, sp_loop_now_ms(timer->loop) + MEMORY_LOOK_MS);
}

static void on_terminate(void *arg)
{
    struct program *program = arg;

    SP_TRACE_INFO("node", "stopping", "reason=signal");
    for (unsigned i = 0; i < program->shard_count; i++) {
        sp_shard_stop(program->shards[i]);
    }
}

static int watch_signals(struct program *program)
{
    return sp_loop_on_terminate(sp_shard_loop(program->shards[0]), on_terminate, program);
}

/* Each log that is written to and each connection holds a descriptor; 1024 is a common default. A
 * log that finds none would end the node, so connections leave some over. */
static uint64_t provide_files(struct sp_config *config)
{
    uint64_t files_max = sp_file_raise_limit();
    uint64_t kept = (uint64_t)SP_FILES_KEPT * config->shards;

    kept = files_max > 2 * kept ? kept : files_max / 2;
    if (config->connections_max > files_max - kept) {
        config->connections_max = files_max - kept == 0 ? 1 : (uint32_t)(files_max - kept);
        SP_TRACE_WARN("node",
                      "fewer connections than limits.connections: raise the hard limit of open "
                      "files (ulimit -Hn, LimitNOFILE)",
                      "connections_max=%u files_max=%llu",
                      config->connections_max,
                      (unsigned long long)files_max);
    }
    return files_max;
}

static int refuse(const struct sp_config *config, int status, const char *text)
{
    char shard[48] = "";

    if (config->shards > 1) {
        (void)snprintf(shard, sizeof shard, "shard %u (node %u): ", config->shard, config->node_id);
    }
    (void)fprintf(stderr,
                  "spated: cannot start: %s%s: %s\n",
                  shard,
                  spate_error_name(status),
                  text[0] == '\0' ? spate_strerror(status) : text);
    return status;
}

static int open_shard(struct program *program,
                      const struct sp_config *config,
                      const struct sp_transport_options *transport,
                      uint64_t files_max)
{
    struct sp_shard_options asked = { .config = config,
                                      .transport = transport,
                                      .files_max = files_max,
                                      .failed_code = EXIT_RUNTIME };
    unsigned number = program->shard_count;
    char text[512] = "";

    if (config->shards > 1) {
        struct cut *cut = sp_mem_calloc(1, sizeof *cut); /* on failure the process ends */
        struct sp_config_error error = { "" };
        int rv =
            cut == NULL
                ? SPATE_ERR_NOMEM
                : sp_config_cut(config, transport, number, &cut->config, &cut->transport, &error);
        if (rv != 0) {
            return refuse(config, rv, error.text);
        }
        program->cuts[number] = cut;
        asked.config = &cut->config;
        asked.transport = &cut->transport;
    }
    int rv = sp_shard_new(&asked, &program->shards[number]);
    if (rv == 0) {
        program->shard_count += 1;
        rv = number > 0 ? 0 : watch_signals(program); /* from the first moment on */
    }
    if (rv == 0) {
        rv = sp_shard_open(program->shards[number], text, sizeof text);
    }
    return rv == 0 ? 0 : refuse(asked.config, rv, text);
}

/* The directory of the shards, in that of the first one, which has made and locked it. */
static int make_shards_directory(const struct sp_config *config)
{
    char path[sizeof config->data_dir + 16];
    char text[sizeof path + 64];

    (void)snprintf(path, sizeof path, "%s/shards", config->data_dir);
    int rv = sp_dir_create(path);
    if (rv == 0 || rv == SPATE_ERR_EXISTS) {
        rv = sp_dir_sync(config->data_dir);
    }
    if (rv != 0) {
        (void)snprintf(text, sizeof text, "%s cannot be made: %s", path, spate_strerror(rv));
        return refuse(config, rv, text);
    }
    return 0;
}

/* All are open before any runs: a port that is taken, or a directory that is not a node's, stops
 * the process before it has said anything to anybody. */
static int open_all(struct program *program,
                    struct sp_config *config,
                    const struct sp_transport_options *transport)
{
    uint64_t files_max = provide_files(config);
    int rv = 0;

    for (unsigned i = 0; i < config->shards && rv == 0; i++) {
        rv = i == 1 ? make_shards_directory(config) : 0;
        rv = rv == 0 ? open_shard(program, config, transport, files_max) : rv;
    }
    if (rv != 0 || config->shards == 1) {
        return rv;
    }
    sp_shard_answer_for(program->shards[0], program->shards + 1, program->shard_count - 1);
    for (unsigned i = 1; i < program->shard_count && rv == 0; i++) {
        rv = sp_shard_run_apart(program->shards[i]);
    }
    return rv == 0 ? 0 : refuse(config, rv, "no thread");
}

static int run(struct sp_config *config, const struct sp_transport_options *transport)
{
    struct program program = { .shard_count = 0 };
    struct sp_config_error error;

    if (sp_config_check_left_over(config, &error) != 0) {
        (void)fprintf(stderr, "spated: cannot start: %s\n", error.text);
        return EXIT_USAGE;
    }
    if (open_all(&program, config, transport) != 0) {
        return EXIT_RUNTIME; /* the process ends: what runs already is as after a crash */
    }
    sp_timer_init(&program.memory_timer, sp_shard_loop(program.shards[0]), on_memory_timer);
    on_memory_timer(&program.memory_timer);
    if (!sp_shard_run(program.shards[0])) {
        return EXIT_RUNTIME; /* nothing is flushed or closed: the disk is not to be trusted */
    }
    sp_timer_stop(&program.memory_timer);
    for (unsigned i = program.shard_count; i > 0; i--) {
        sp_shard_free(program.shards[i - 1]);
        sp_mem_free(program.cuts[i - 1]);
    }
    return EXIT_SUCCESS;
}

static int force(const struct sp_config *config, const struct arguments *arguments)
{
    if (config->shards > 1) {
        (void)fprintf(
            stderr,
            "spated: --force-membership works on one node's directory: run it for the shard that "
            "votes in the controller, with --shards 1 for shard 0, and also --set node.id=ID --set "
            "data.dir=DIRECTORY --set cluster.seeds= for another one, as --check-config shows "
            "them; what else to know: docs/operations.md, Forced membership\n");
        return EXIT_USAGE;
    }
    return sp_force_run(config, arguments->forced_nodes, arguments->lose_data);
}

int main(int argc, char **argv)
{
    static const struct argp parser = { options, parse_option, NULL, doc, NULL, NULL, NULL };
    static struct sp_config config;
    static struct sp_transport_options transport;
    struct arguments arguments = { .config_path = NULL };
    struct sp_config_error error = { "" };

    sp_standard_open(false); /* else files and sockets would receive the traces */
    argp_err_exit_status = EXIT_USAGE;
    (void)argp_parse(&parser, argc, argv, 0, NULL, &arguments); /* exits on its own errors */
    if (arguments.lose_data && arguments.forced_nodes == NULL) {
        (void)fprintf(stderr, "spated: --yes-lose-data belongs to --force-membership\n");
        return EXIT_USAGE;
    }
    if (arguments.example) {
        sp_config_print_example(stdout);
        return EXIT_SUCCESS;
    }
    if (read_config(&arguments, &config, &transport, &error) != 0) {
        (void)fprintf(stderr, "spated: %s\n", error.text);
        return EXIT_USAGE;
    }
    if (arguments.check_only) {
        if (sp_config_check_left_over(&config, &error) != 0) {
            (void)fprintf(stderr, "spated: %s\n", error.text);
            return EXIT_USAGE;
        }
        sp_config_print(&config, stdout);
        sp_config_print_shards(&config, &transport, stdout);
        return EXIT_SUCCESS;
    }
    sp_trace_sink_install(config.trace_level);
    if (arguments.forced_nodes != NULL) {
        return force(&config, &arguments);
    }
    return run(&config, &transport);
}
