#include "cli/topic_config.h"

#include <string.h>

#include "cli/cli.h"
#include "cli/output.h"

/* The value that a key was given before, or NULL. */
static const char *given(const struct topic_settings *typed, const char *key)
{
    for (size_t i = 0; i < typed->count; i++) {
        if (strcmp(typed->list[i].name, key) == 0) {
            return typed->list[i].value;
        }
    }
    return NULL;
}

int take_topic_setting(struct cli *cli,
                       const char *option,
                       char *text,
                       struct topic_settings *typed)
{
    char *equals = strchr(text, '=');

    if (equals == NULL || equals == text) {
        return usage_error(cli, "%s %s: KEY=VALUE, as retention.ms=7d", option, text);
    }
    if (typed->count == TOPIC_SETTINGS_MAX) {
        return usage_error(cli, "%s: at most %d settings", option, TOPIC_SETTINGS_MAX);
    }
    *equals = '\0';
    const char *before = given(typed, text);
    if (before != NULL) {
        return usage_error(
            cli, "%s is given twice: %s=%s and %s=%s", text, text, before, text, equals + 1);
    }
    typed->list[typed->count++] = (struct spate_topic_setting){ text, equals + 1 };
    return 0;
}

/* ---- alter ----------------------------------------------------------------------------------- */

/* What `topic alter` is told. */
struct alteration {
    struct topic_settings settings;
    json_t *set;
    json_t *unset;
    const char *replicas; /* as typed; NULL: they stay */
};

/* KEY of --unset. */
static int take_unset(struct cli *cli, struct alteration *wanted, const char *key)
{
    if (strchr(key, '=') != NULL) {
        return usage_error(
            cli, "--unset %s: KEY alone; it goes back to its default (-c sets a value)", key);
    }
    return json_array_append_new(wanted->unset, json_string(key)) == 0
               ? 0
               : usage_error(cli, "--unset: the name of a setting");
}

static int take_alter_option(struct cli *cli, struct alteration *wanted, int option)
{
    if (option == 'c') {
        return take_topic_setting(cli, "-c", optarg, &wanted->settings);
    }
    if (option_is(cli, option, "set")) {
        return take_topic_setting(cli, "--set", optarg, &wanted->settings);
    }
    if (option_is(cli, option, "unset")) {
        return take_unset(cli, wanted, optarg);
    }
    if (option == 'r') {
        wanted->replicas = optarg;
        return 0;
    }
    return EXIT_USAGE;
}

/* The settings as JSON, none of which is to be unset as well. */
static int collect(struct cli *cli, const struct alteration *wanted)
{
    for (size_t i = 0; i < wanted->settings.count; i++) {
        const struct spate_topic_setting *setting = &wanted->settings.list[i];
        if (json_object_set_new(wanted->set, setting->name, json_string(setting->value)) != 0) {
            return usage_error(cli, "%s: a text in UTF-8 is needed", setting->name);
        }
    }
    for (size_t i = 0; i < json_array_size(wanted->unset); i++) {
        const char *key = json_string_value(json_array_get(wanted->unset, i));
        const char *value = given(&wanted->settings, key);
        if (value != NULL) {
            return usage_error(cli, "%s is set to %s and unset: one of both", key, value);
        }
    }
    return 0;
}

static int take_alter_options(struct cli *cli, struct alteration *wanted, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    int option;

    while ((option = next_option(cli, &parser, argc, argv)) != -1) {
        int code = take_alter_option(cli, wanted, option);
        if (code != 0) {
            return code;
        }
    }
    bool keys = wanted->settings.count > 0 || json_array_size(wanted->unset) > 0;
    if (wanted->replicas != NULL && keys) {
        return usage_error(cli, "settings and --replicas are altered one after the other");
    }
    if (wanted->replicas != NULL) {
        return optind < argc ? 0 : usage_error(cli, "a topic is needed");
    }
    if (optind + 1 != argc) {
        return usage_error(cli, "one topic is needed");
    }
    return keys ? collect(cli, wanted)
                : usage_error(cli, "-c KEY=VALUE, --unset KEY or --replicas N is needed");
}

static int alter(struct cli *cli, const char *topic, json_t *set, json_t *unset)
{
    json_t *result = NULL;
    int code = connect_client(cli);

    if (code != 0) {
        return code;
    }
    int rv = call_json(cli,
                       "topic.alter",
                       json_pack("{sssOsO}", "name", topic, "set", set, "unset", unset),
                       &result);
    if (rv != 0) {
        return tell_failure(cli, rv, topic);
    }
    if (cli->json) {
        out_json(result);
    } else {
        json_decref(result);
    }
    note(cli, "topic %s altered", topic);
    return EXIT_OK;
}

int command_topic_alter(struct cli *cli, int argc, char **argv)
{
    struct alteration wanted = { .set = json_object(), .unset = json_array() };
    int code = take_alter_options(cli, &wanted, argc, argv);

    if (code == 0) {
        code = wanted.replicas != NULL ? alter_replicas(cli, wanted.replicas, argc, argv)
                                       : alter(cli, argv[optind], wanted.set, wanted.unset);
    }
    json_decref(wanted.set);
    json_decref(wanted.unset);
    return code;
}
