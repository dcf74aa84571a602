#include "cli/topic_config.h"

#include <string.h>

#include "cli/cli.h"
#include "cli/output.h"

bool split_setting(char *text, struct spate_topic_setting *out_setting)
{
    char *equals = strchr(text, '=');

    if (equals == NULL || equals == text) {
        return false;
    }
    *equals = '\0';
    *out_setting = (struct spate_topic_setting){ text, equals + 1 };
    return true;
}

/* ---- alter ----------------------------------------------------------------------------------- */

/* What `topic alter` is told. */
struct alteration {
    json_t *set;
    json_t *unset;
    const char *replicas; /* as typed; NULL: they stay */
};

static int take_alter_options(struct cli *cli, struct alteration *wanted, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    int option;

    while ((option = next_option(cli, &parser, argc, argv)) != -1) {
        struct spate_topic_setting setting;

        if (option_is(cli, option, "set")) {
            if (!split_setting(optarg, &setting)) {
                return usage_error(cli, "--set %s: KEY=VALUE", optarg);
            }
            (void)json_object_set_new(wanted->set, setting.name, json_string(setting.value));
        } else if (option_is(cli, option, "unset")) {
            (void)json_array_append_new(wanted->unset, json_string(optarg));
        } else if (option == 'r') {
            wanted->replicas = optarg;
        } else {
            return EXIT_USAGE;
        }
    }
    bool keys = json_object_size(wanted->set) > 0 || json_array_size(wanted->unset) > 0;
    if (wanted->replicas != NULL && keys) {
        return usage_error(cli, "settings and --replicas are altered one after the other");
    }
    if (wanted->replicas != NULL) {
        return optind < argc ? 0 : usage_error(cli, "a topic is needed");
    }
    if (optind + 1 != argc) {
        return usage_error(cli, "one topic is needed");
    }
    return keys ? 0 : usage_error(cli, "--set KEY=VALUE, --unset KEY or --replicas N is needed");
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
