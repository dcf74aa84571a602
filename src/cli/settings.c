/* Settings and where their values come from. */
#include "cli/settings.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/nearest.h"
#include "cli/cli.h"
#include "cli/contexts.h"
#include "cli/when.h"
#include "cluster/topic_config.h"

const struct setting settings[SETTING_COUNT] = {
    [SETTING_CONTEXT] = { "context", "SPATE_CONTEXT", "(none)", "values under a name" },
    [SETTING_SERVERS] = { "servers",
                          "SPATE_SERVERS",
                          "127.0.0.1:7700",
                          "host:port,... to ask first" },
    [SETTING_TIMEOUT] = { "timeout", "SPATE_TIMEOUT", "30s", "how long a call may take" },
    [SETTING_JSON] = { "json", "SPATE_JSON", "no", "results as JSON" },
    [SETTING_QUIET] = { "quiet", "SPATE_QUIET", "no", "no notes on stderr" },
    [SETTING_VERBOSE] = { "verbose", "SPATE_VERBOSE", "no", "what the library does" },
    [SETTING_COLOR] = { "color", "SPATE_COLOR", "auto", "auto, always or never" },
    [SETTING_LIBRARY] = { "client.name", "SPATE_CLIENT_NAME", "spate", "shown by the servers" },
    { "client.rack", "SPATE_CLIENT_RACK", "", "reads from replicas in this rack" },
    { "linearizable",
      "SPATE_LINEARIZABLE",
      "off",
      "on: reads leave out nothing acknowledged before" },
    { "linger.ms", "SPATE_LINGER_MS", "5", "how long a batch waits for more records" },
    { "batch.bytes", "SPATE_BATCH_BYTES", "524288", "a batch is sent at this size" },
    { "compression", "SPATE_COMPRESSION", "none", "of batches: none or lz4" },
    { "max.in.flight", "SPATE_MAX_IN_FLIGHT", "5", "batches of a partition without an answer" },
    { "buffer.bytes", "SPATE_BUFFER_BYTES", "33554432", "records that wait to be sent" },
    { "fetch.bytes", "SPATE_FETCH_BYTES", "2097152", "asked for per fetch" },
    { "fetch.wait.ms", "SPATE_FETCH_WAIT_MS", "500", "how long a server may hold a fetch" },
    { "prefetch.bytes", "SPATE_PREFETCH_BYTES", "16777216", "records that wait to be read" },
    { "stall.ms", "SPATE_STALL_MS", "60000", "a partition that gives nothing for so long is told" },
    { "group.instance", "SPATE_GROUP_INSTANCE", "", "this reader's place in its group" },
    { "session.ms", "SPATE_SESSION_MS", "10000", "a member not heard of for so long is out" },
    { "rebalance.ms", "SPATE_REBALANCE_MS", "30000", "so long may giving up a partition take" },
    { "commit.interval.ms", "SPATE_COMMIT_INTERVAL_MS", "5000", "between commits of a group" },
    { "offset.reset", "SPATE_OFFSET_RESET", "start", "where a group begins: start, end or none" },
};

size_t setting_find(const char *key)
{
    size_t place = 0;

    while (place < SETTING_COUNT && strcmp(settings[place].key, key) != 0) {
        place += 1;
    }
    return place;
}

const char *setting_nearest(const char *key)
{
    const char *keys[SETTING_COUNT];

    for (size_t i = 0; i < SETTING_COUNT; i++) {
        keys[i] = settings[i].key;
    }
    return sp_nearest(key, keys, SETTING_COUNT);
}

/* ---- values ---------------------------------------------------------------------------------- */

static bool parse_switch(const char *text, bool *out_on)
{
    static const char *const words[] = { "yes", "true", "on", "1", "no", "false", "off", "0" };

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(text, words[i]) == 0) {
            *out_on = i < 4;
            return true;
        }
    }
    return false;
}

static bool library_takes(const char *key, const char *text)
{
    struct spate_config *config = spate_config_new();
    bool takes = config != NULL && spate_config_set(config, key, text) == 0;

    spate_config_free(config);
    return takes;
}

static bool parse_timeout(const char *text, int64_t *out_ms)
{
    return parse_duration(text, out_ms) && *out_ms >= 1 && *out_ms <= 86400000;
}

/* What libspate takes for a key. */
static const char *library_problem(const char *key, char room[SETTING_PROBLEM_SIZE])
{
    return spate_config_allowed(key, room, SETTING_PROBLEM_SIZE) == 0 ? room : "not a value of it";
}

const char *setting_problem(size_t place, const char *text, char room[SETTING_PROBLEM_SIZE])
{
    bool on;
    int64_t ms;

    switch (place) {
    case SETTING_CONTEXT:
        return context_name_valid(text) ? NULL : "a name of letters, digits, - _ and .";
    case SETTING_SERVERS:
        return library_takes("servers", text) ? NULL : "servers are host:port,host:port";
    case SETTING_TIMEOUT:
        return parse_timeout(text, &ms) ? NULL
                                        : "a time with its unit: 500ms, 30s or 2m, up to a day";
    case SETTING_JSON:
    case SETTING_QUIET:
    case SETTING_VERBOSE:
        return parse_switch(text, &on) ? NULL : "yes or no";
    case SETTING_COLOR:
        return strcmp(text, "auto") == 0 || strcmp(text, "always") == 0 ||
                       strcmp(text, "never") == 0
                   ? NULL
                   : "auto, always or never";
    default:
        return library_takes(settings[place].key, text)
                   ? NULL
                   : library_problem(settings[place].key, room);
    }
}

int setting_set(
    struct cli *cli, size_t place, const char *text, enum setting_origin origin, const char *where)
{
    struct setting_value *value = &cli->settings[place];
    char room[SETTING_PROBLEM_SIZE];
    const char *problem = setting_problem(place, text, room);

    if (problem != NULL) {
        return usage_error(cli, "%s=%s: %s", where, text, problem);
    }
    if (value->text != NULL && value->origin > origin) {
        return 0;
    }
    char *copy = strdup(text);
    if (copy == NULL) {
        tell("out of memory");
        return EXIT_USAGE;
    }
    free(value->text);
    *value = (struct setting_value){ .text = copy, .origin = origin };
    return 0;
}

int setting_set_pair(struct cli *cli, const char *pair)
{
    size_t size = strcspn(pair, "=");
    char key[64];

    if (pair[size] == '\0' || size >= sizeof key) {
        return usage_error(cli, "-X %s: KEY=VALUE", pair);
    }
    memcpy(key, pair, size);
    key[size] = '\0';
    size_t place = setting_find(key);
    if (place == SETTING_COUNT && sp_topic_key_find(sp_bytes_text(key)) != SP_TOPIC_KEY_COUNT) {
        return usage_error(cli,
                           "%s is a setting of topics, not of this program: spate topic create or "
                           "alter, -c %s",
                           key,
                           pair);
    }
    if (place == SETTING_COUNT) {
        const char *near = setting_nearest(key);
        return usage_error(cli,
                           "-X %s: there is no setting '%s'%s%s%s",
                           pair,
                           key,
                           near != NULL ? ": did you mean '" : "",
                           near != NULL ? near : "",
                           near != NULL ? "'?" : "");
    }
    int code = setting_set(cli, place, pair + size + 1, SETTING_FROM_FLAG, key);
    cli->settings[place].by_key = code == 0;
    return code;
}

int settings_from_environment(struct cli *cli)
{
    const char *no_color = getenv("NO_COLOR");
    int code = 0;

    for (size_t i = 0; code == 0 && i < SETTING_COUNT; i++) {
        const char *text = getenv(settings[i].environment);
        if (text == NULL || *text == '\0') {
            continue;
        }
        code = setting_set(cli, i, text, SETTING_FROM_ENVIRONMENT, settings[i].environment);
        cli->settings[i].source = settings[i].environment;
    }
    if (code == 0 && no_color != NULL && *no_color != '\0' &&
        cli->settings[SETTING_COLOR].text == NULL) {
        code = setting_set(cli, SETTING_COLOR, "never", SETTING_FROM_ENVIRONMENT, "NO_COLOR");
        cli->settings[SETTING_COLOR].source = "NO_COLOR";
    }
    return code;
}

/* ---- in effect ------------------------------------------------------------------------------- */

const char *setting_text(const struct cli *cli, size_t place)
{
    const char *text = cli->settings[place].text;

    return text != NULL ? text : settings[place].initial;
}

bool setting_is_on(const struct cli *cli, size_t place)
{
    bool on = false;

    return parse_switch(setting_text(cli, place), &on) && on;
}

int settings_resolve(struct cli *cli, bool context)
{
    int code = context ? contexts_apply(cli) : 0;
    const char *color = setting_text(cli, SETTING_COLOR);

    if (code != 0) {
        return code;
    }
    cli->servers = cli->settings[SETTING_SERVERS].text;
    cli->timeout_ms = -1;
    if (cli->settings[SETTING_TIMEOUT].text != NULL) {
        (void)parse_timeout(cli->settings[SETTING_TIMEOUT].text, &cli->timeout_ms); /* checked */
    }
    cli->json = setting_is_on(cli, SETTING_JSON);
    cli->quiet = setting_is_on(cli, SETTING_QUIET);
    cli->verbose = setting_is_on(cli, SETTING_VERBOSE);
    cli->color =
        strcmp(color, "always") == 0 || (strcmp(color, "auto") == 0 && isatty(STDERR_FILENO) == 1);
    return 0;
}

int settings_check_producing(const struct cli *cli)
{
    const struct setting_value *value = &cli->settings[SETTING_TIMEOUT];

    if (cli->timeout_ms <= SP_PRODUCER_RETRY_MS_MAX) {
        return 0;
    }
    return usage_error(cli,
                       "%s=%s: up to %dm where records are produced",
                       value->origin == SETTING_FROM_FLAG ? "--timeout"
                       : value->source != NULL            ? value->source
                                                          : "timeout",
                       value->text,
                       SP_PRODUCER_RETRY_MS_MAX / 60000);
}

void settings_configure(const struct cli *cli, struct spate_config *config)
{
    for (size_t i = SETTING_LIBRARY; i < SETTING_COUNT; i++) {
        /* Cannot be refused: values were tried when they came, and client.name has one here. */
        if (i == SETTING_LIBRARY || cli->settings[i].text != NULL) {
            (void)spate_config_set(config, settings[i].key, setting_text(cli, i));
        }
    }
}

void settings_free(struct cli *cli)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        free(cli->settings[i].text);
        cli->settings[i] = (struct setting_value){ 0 };
    }
}
