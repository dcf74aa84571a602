/* jepsen-client: one client process of fault injection. It works until its time is over or SIGTERM
 * comes, and writes what it did and saw. Exit code 0: ended in order; 1: the final read did not
 * reach the end; 2: it could not work. */
#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "value.h"
#include "workload.h"

static const struct jep_workload workloads[] = {
    { "produce", false, jep_produce },    { "consume", false, jep_consume },
    { "mixed", false, jep_mixed },        { "group", false, jep_group },
    { "observe", false, jep_observe },    { "admin", false, jep_admin },
    { "read", false, jep_read },          { "raw", true, jep_raw },
    { "raw-group", true, jep_raw_group }, { "trim", false, jep_trim },
    { "reread", false, jep_reread },
};

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
}

bool jep_goes_on(const struct jep_client *client)
{
    return !stopping && jep_now_ns() < client->end_ns;
}

void jep_wait(struct jep_client *client, int64_t due_ns)
{
    while (jep_goes_on(client) && jep_now_ns() < due_ns) {
        int64_t left_ns = due_ns - jep_now_ns();
        struct timespec pause = { .tv_nsec = left_ns < 20000000 ? left_ns : 20000000 };
        if (left_ns > 0) {
            (void)nanosleep(&pause, NULL); /* woken early: the loop looks again */
        }
        jep_history_idle(client->history);
    }
}

_Noreturn void jep_die(const struct jep_client *client, const char *what, int code)
{
    fprintf(stderr,
            "jepsen-client %u: %s: %s: %s\n",
            client->options.id,
            what,
            code == 0 ? strerror(errno) : spate_error_name(code),
            client->spate == NULL ? "" : spate_client_error(client->spate));
    if (client->history != NULL) {
        jep_history_flush(client->history);
    }
    exit(2);
}

uint32_t jep_draw(struct jep_client *client, uint32_t mean)
{
    uint32_t drawn = 1 + (uint32_t)sp_rand_below(&client->rand, 2 * (uint64_t)mean - 1);

    return drawn < JEP_BURST_MAX ? drawn : JEP_BURST_MAX;
}

int64_t jep_pace(const struct jep_client *client, int64_t last_due_ns, uint32_t records)
{
    int64_t now_ns = jep_now_ns();
    int64_t due_ns = last_due_ns + (int64_t)(1e9 * records / client->options.rate);

    /* After a standstill the missed work is not made up for in one flood. */
    return due_ns > now_ns - 1000000000 ? due_ns : now_ns;
}

/* ---- options --------------------------------------------------------------------------------- */

enum option_key {
    OPTION_BROKERS = 256,
    OPTION_TOPIC,
    OPTION_PARTITIONS,
    OPTION_ID,
    OPTION_SEED,
    OPTION_TIME,
    OPTION_HISTORY,
    OPTION_RATE,
    OPTION_BURST,
    OPTION_SIZE,
    OPTION_TIMEOUT,
    OPTION_GROUP,
    OPTION_INSTANCE,
    OPTION_SESSION,
    OPTION_COMMIT,
    OPTION_FROM,
    OPTION_KEEP,
    OPTION_KEYS,
    OPTION_DELETE,
};

static const struct argp_option option_table[] = {
    { "brokers", OPTION_BROKERS, "HOST:PORT,...", 0, "where to ask first", 0 },
    { "topic", OPTION_TOPIC, "NAME", 0, "it must exist", 0 },
    { "partitions", OPTION_PARTITIONS, "N", 0, "of the topic, 1 to 256", 0 },
    { "id", OPTION_ID, "K", 0, "never used before in this run", 0 },
    { "seed", OPTION_SEED, "S", 0, "of all choices", 0 },
    { "time", OPTION_TIME, "SECONDS", 0, "how long to work (60)", 0 },
    { "history", OPTION_HISTORY, "FILE", 0, "is appended to", 0 },
    { "rate", OPTION_RATE, "N", 0, "records a second (500)", 0 },
    { "burst", OPTION_BURST, "N", 0, "mean records of an operation (50)", 0 },
    { "size", OPTION_SIZE, "BYTES", 0, "of a value (100)", 0 },
    { "timeout", OPTION_TIMEOUT, "SECONDS", 0, "deadline of a delivery (10)", 0 },
    { "group", OPTION_GROUP, "NAME", 0, "consumer group", 0 },
    { "instance", OPTION_INSTANCE, "NAME", 0, "group.instance of a member", 0 },
    { "session", OPTION_SESSION, "MS", 0, "session of a member (6000)", 0 },
    { "commit", OPTION_COMMIT, "hand|auto", 0, "who commits (hand)", 0 },
    { "from", OPTION_FROM, "0", 0, "final reads begin at the start", 0 },
    { "keep", OPTION_KEEP, "N", 0, "records that the limits of the topic leave at least", 0 },
    { "keys", OPTION_KEYS, "N", 0, "the topic is compacted, and each client has N keys", 0 },
    { "delete", OPTION_DELETE, "MS", 0, "its delete.retention.ms, if clocks are right", 0 },
    { 0 },
};

static uint64_t number(struct argp_state *state, const char *text, uint64_t min, uint64_t max)
{
    char *end;

    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || end == text || value < min || value > max) {
        argp_error(state, "%s is not a number from %lu to %lu", text, min, max);
    }
    return value;
}

static double seconds(struct argp_state *state, const char *text)
{
    char *end;
    double value = strtod(text, &end);

    if (*end != '\0' || end == text || !(value > 0 && value < 1e9)) {
        argp_error(state, "%s is not a number above 0", text);
    }
    return value;
}

static bool parse_text(struct jep_options *options, int key, const char *text)
{
    const char **place = key == OPTION_BROKERS    ? &options->brokers
                         : key == OPTION_TOPIC    ? &options->topic
                         : key == OPTION_HISTORY  ? &options->history
                         : key == OPTION_GROUP    ? &options->group
                         : key == OPTION_INSTANCE ? &options->instance
                                                  : NULL;

    if (place != NULL) {
        *place = text;
    }
    return place != NULL;
}

static bool parse_number(struct jep_options *options, int key, char *text, struct argp_state *state)
{
    const struct {
        int key;
        uint32_t min;
        uint32_t max;
        uint32_t *place;
    } numbers[] = {
        { OPTION_PARTITIONS, 1, JEP_PARTITIONS_MAX, &options->partitions },
        { OPTION_ID, 0, 999999999, &options->id },
        { OPTION_BURST, 1, JEP_BURST_MAX, &options->burst },
        { OPTION_SIZE, JEP_VALUE_MIN, JEP_VALUE_MAX, &options->size },
        { OPTION_SESSION, 100, 600000, &options->session_ms },
        { OPTION_KEYS, 1, JEP_KEYS_MAX, &options->keys },
        { OPTION_DELETE, 0, 600000000, &options->delete_ms },
    };

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (numbers[i].key == key) {
            *numbers[i].place = (uint32_t)number(state, text, numbers[i].min, numbers[i].max);
            return true;
        }
    }
    return false;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct jep_client *client = state->input;
    struct jep_options *options = &client->options;

    if (parse_text(options, key, text) || parse_number(options, key, text, state)) {
        return 0;
    }
    if (key == ARGP_KEY_ARG && options->workload == NULL) {
        options->workload = text;
    } else if (key == OPTION_SEED) {
        options->seed = number(state, text, 0, UINT64_MAX);
    } else if (key == OPTION_TIME) {
        options->seconds = seconds(state, text);
    } else if (key == OPTION_RATE) {
        options->rate = seconds(state, text);
    } else if (key == OPTION_TIMEOUT) {
        options->timeout_ms = (uint32_t)(seconds(state, text) * 1000);
    } else if (key == OPTION_COMMIT) {
        options->commit_by_hand = strcmp(text, "auto") != 0;
    } else if (key == OPTION_KEEP) {
        options->keep = (int64_t)number(state, text, 0, INT32_MAX);
    } else if (key == OPTION_FROM) {
        (void)number(state, text, 0, 0);
    } else {
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

static int configure(struct jep_client *client, struct spate_config *config)
{
    char timeout[16];
    char session[16];

    (void)snprintf(timeout, sizeof timeout, "%u", client->options.timeout_ms);
    (void)snprintf(session, sizeof session, "%u", client->options.session_ms);
    const struct {
        const char *key;
        const char *value;
    } settings[] = {
        { "servers", client->options.brokers },
        { "client.name", "jepsen-client" },
        { "timeout.ms", timeout },
        { "group.id", client->options.group },
        { "group.instance", client->options.instance },
        { "session.ms", session },
        { "commit.interval.ms", client->options.commit_by_hand ? "0" : "500" },
    };
    int rv = 0;
    for (size_t i = 0; rv == 0 && i < sizeof settings / sizeof settings[0]; i++) {
        rv = spate_config_set(config, settings[i].key, settings[i].value);
    }
    return rv;
}

static void connect_library(struct jep_client *client)
{
    struct spate_config *config = spate_config_new();
    int rv = config == NULL ? SPATE_ERR_NOMEM : configure(client, config);

    if (rv == 0) {
        rv = spate_client_new(config, &client->spate);
    }
    spate_config_free(config);
    if (rv != 0) {
        jep_die(client, "start", rv);
    }
}

static const struct jep_workload *find_workload(const char *name)
{
    for (size_t i = 0; i < sizeof workloads / sizeof workloads[0]; i++) {
        if (strcmp(workloads[i].name, name) == 0) {
            return &workloads[i];
        }
    }
    return NULL;
}

static void start(struct jep_client *client, const struct jep_workload *workload)
{
    const struct jep_options *options = &client->options;

    client->history = jep_history_open(options->history, options->id);
    if (client->history == NULL) {
        jep_die(client, options->history, 0);
    }
    sp_rand_init(&client->rand, options->seed + options->id * 0x9e3779b97f4a7c15u);
    client->end_ns = jep_now_ns() + (int64_t)(options->seconds * 1e9);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGTERM, on_signal);
    (void)signal(SIGINT, on_signal);
    if (!workload->raw) {
        connect_library(client);
    }
    jep_history_line(client->history,
                     0,
                     "ok start topic=%s workload=%s group=%s commit=%s keys=%u delete_ms=%u",
                     options->topic,
                     workload->name,
                     options->group[0] == '\0' ? "-" : options->group,
                     options->commit_by_hand ? "hand" : "auto",
                     options->keys,
                     options->delete_ms);
    jep_history_flush(client->history);
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        .options = option_table,
        .parser = parse,
        .args_doc = "produce|consume|mixed|group|observe|admin|trim|read|reread|raw|raw-group",
        .doc = "A client that writes down what it does, for jepsen-check.",
    };
    struct jep_client client = {
        .options = { .group = "",
                     .instance = "",
                     .seconds = 60,
                     .rate = 500,
                     .burst = 50,
                     .size = 100,
                     .keep = -1,
                     .timeout_ms = 10000,
                     .session_ms = 6000,
                     .commit_by_hand = true },
    };

    if (argp_parse(&argp, argc, argv, 0, NULL, &client) != 0) {
        return 2;
    }
    const struct jep_options *options = &client.options;
    const struct jep_workload *workload =
        options->workload == NULL ? NULL : find_workload(options->workload);
    if (workload == NULL || options->brokers == NULL || options->topic == NULL ||
        options->history == NULL || options->partitions == 0) {
        fprintf(stderr, "jepsen-client WORKLOAD --brokers --topic --partitions --id --history\n");
        return 2;
    }
    start(&client, workload);
    int code = workload->run(&client);
    spate_client_free(client.spate);
    jep_history_line(client.history, 0, "ok end code=%d", code);
    jep_history_close(client.history);
    return code;
}
