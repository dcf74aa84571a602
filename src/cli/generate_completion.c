/* spate generate completion, candidates: what a shell offers while a command is typed.
 *
 *   shell's script -> spate generate candidates -- WORD... -> the table of commands, and names that
 *   the cluster tells within half a second -> one candidate per line, a tab, what it is */
#include <stdio.h>
#include <string.h>

#include "cli/believed.h"
#include "cli/cli.h"
#include "cli/contexts.h"
#include "cli/help.h"
#include "cli/output.h"
#include "cli/value.h"
#include "cluster/topic_config.h"
#include "wire/client_api.h"

/* Somebody waits with a finger on the key. */
#define NAMES_TIMEOUT "500ms"
#define NAMES_OTHERS_MS 300 /* of all others at once, when the first one is not believed */

/* ---- scripts --------------------------------------------------------------------------------- */

static const char bash_script[] =
    "# bash completion for spate: source <(spate generate completion bash)\n"
    "_spate()\n"
    "{\n"
    "    local IFS=$'\\n' line word lead before rest=${COMP_LINE:0:COMP_POINT} i\n"
    "    local -a words=()\n"
    "    COMPREPLY=()\n"
    "    # bash parts words at = and :, they are put together again\n"
    "    for ((i = 0; i <= COMP_CWORD; i++)); do\n"
    "        word=${COMP_WORDS[i]} lead=${rest%%[![:space:]]*} "
    "rest=${rest#\"${rest%%[![:space:]]*}\"}\n"
    "        if ((i > 0)) && [[ -z $lead ]]; then\n"
    "            words[${#words[@]}-1]+=$word\n"
    "        else\n"
    "            words+=(\"$word\")\n"
    "        fi\n"
    "        rest=${rest#\"$word\"}\n"
    "    done\n"
    "    word=${words[${#words[@]}-1]} before=${word%\"${word##*[=:]}\"}\n"
    "    while read -r line; do\n"
    "        line=${line%%$'\\t'*} line=${line#\"$before\"}\n"
    "        [[ $line == *[!A-Za-z0-9_.,:=/@%+-]* ]] && printf -v line %q \"$line\"\n"
    "        COMPREPLY+=(\"$line\")\n"
    "    done < <(\"${words[0]}\" generate candidates -- \"${words[@]:1}\" 2>/dev/null)\n"
    "    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace\n"
    "    return 0\n"
    "}\n"
    "complete -o default -F _spate spate\n";

static const char zsh_script[] =
    "#compdef spate\n"
    "# zsh completion for spate: write it to _spate in a folder of fpath\n"
    "_spate()\n"
    "{\n"
    "    local -a candidates open # these go on behind =\n"
    "    local line entry tab=$'\\t'\n"
    "    for line in \"${(@f)$(\"${words[1]}\" generate candidates -- "
    "\"${(@)words[2,CURRENT]}\" 2>/dev/null)}\"; do\n"
    "        entry=\"${${line%%$tab*}//:/\\\\:}:${line#*$tab}\"\n"
    "        if [[ ${line%%$tab*} == *= ]]; then\n"
    "            open+=(\"$entry\")\n"
    "        elif [[ -n $line ]]; then\n"
    "            candidates+=(\"$entry\")\n"
    "        fi\n"
    "    done\n"
    "    if (( ${#candidates} + ${#open} )); then\n"
    "        _describe spate candidates -- open -S ''\n"
    "    else\n"
    "        compset -P '--*='\n"
    "        _files\n"
    "    fi\n"
    "}\n"
    "if [[ ${funcstack[1]} == _spate ]]; then\n"
    "    _spate \"$@\"\n"
    "else\n"
    "    compdef _spate spate\n"
    "fi\n";

static const char fish_script[] =
    "# fish completion for spate: write it to ~/.config/fish/completions/spate.fish\n"
    "function __spate_candidates\n"
    "    set -l words (commandline -opc) (commandline -ct)\n"
    "    set -l found ($words[1] generate candidates -- $words[2..-1] 2>/dev/null)\n"
    "    if test (count $found) -gt 0\n"
    "        printf '%s\\n' $found\n"
    "    else\n"
    "        __fish_complete_path (commandline -ct)\n"
    "    end\n"
    "end\n"
    "complete -c spate -f -a '(__spate_candidates)'\n";

int command_generate_completion(struct cli *cli, int argc, char **argv)
{
    static const struct {
        const char *shell;
        const char *script;
    } scripts[] = { { "bash", bash_script }, { "zsh", zsh_script }, { "fish", fish_script } };
    struct option_parser parser = { 0 };

    if (next_option(cli, &parser, argc, argv) != -1) {
        return EXIT_USAGE;
    }
    for (size_t i = 0; optind + 1 == argc && i < sizeof scripts / sizeof scripts[0]; i++) {
        if (strcmp(argv[optind], scripts[i].shell) == 0 && cli->json) {
            out_json(json_pack("{ssss}", "shell", scripts[i].shell, "script", scripts[i].script));
            return EXIT_OK;
        }
        if (strcmp(argv[optind], scripts[i].shell) == 0) {
            out_text(scripts[i].script);
            out_flush();
            return EXIT_OK;
        }
    }
    return usage_error(cli, "one shell is needed: bash, zsh or fish");
}

/* ---- the words so far ------------------------------------------------------------------------ */

struct completion {
    struct cli *cli;
    const char *noun;
    const struct command *command;       /* NULL: not known yet */
    const struct command_option *option; /* whose value comes next; NULL: none */
    unsigned arguments;                  /* complete ones */
    const char *argument;                /* the last of these; NULL: none */
    bool options_over;                   /* behind -- */
    const char *current;                 /* the word that is typed, or the value in it, */
    const char *begun;                   /* behind the first `begun_size` bytes of this: --NAME= */
    int begun_size;
    json_t *list; /* for --json, else NULL */
};

/* The option that a word begins with, or NULL; *out_value: what follows it in the word, or NULL. */
static const struct command_option *
find_option(const struct completion *completion, const char *word, const char **out_value)
{
    const struct command_option *tables[] = {
        completion->command != NULL ? completion->command->options : NULL, global_table
    };
    bool is_long = word[1] == '-';
    size_t size = strcspn(word, "=");

    for (size_t i = 0; i < 2; i++) {
        for (const struct command_option *o = tables[i]; o != NULL && o->name != NULL; o++) {
            if (is_long ? strlen(o->name) + 2 == size && strncmp(word + 2, o->name, size - 2) == 0
                        : o->letter != 0 && o->letter == word[1]) {
                const char *rest = is_long ? word + size : word + 2;
                *out_value = *rest == '\0' ? NULL : rest + (is_long ? 1 : 0);
                return o;
            }
        }
    }
    return NULL;
}

/* Servers and contexts that are named so far count for the names that are looked up. */
static void take_value(struct cli *cli, const struct command_option *option, const char *value)
{
    size_t place = setting_find(option->name);

    if (strcmp(option->name, "set") == 0) {
        (void)setting_set_pair(cli, value); /* a wrong one is not used */
    } else if (place < SETTING_COUNT && option->value != NULL) {
        (void)setting_set(cli, place, value, SETTING_FROM_FLAG, option->name); /* the same */
    }
}

static void take_word(struct completion *completion, const char *word)
{
    const char *value = NULL;

    if (completion->option != NULL) {
        take_value(completion->cli, completion->option, word);
        completion->option = NULL;
    } else if (!completion->options_over && word[0] == '-' && word[1] != '\0') {
        const struct command_option *option = find_option(completion, word, &value);
        completion->options_over = strcmp(word, "--") == 0;
        if (option != NULL && option->value != NULL && value == NULL) {
            completion->option = option;
        } else if (option != NULL && option->value != NULL) {
            take_value(completion->cli, option, value);
        }
    } else if (completion->command != NULL) {
        completion->arguments += 1;
        completion->argument = word;
    } else if (completion->noun == NULL && is_noun(word)) {
        completion->noun = word;
    } else {
        completion->command = find_command(completion->noun, word);
    }
}

/* ---- candidates ------------------------------------------------------------------------------ */

/* Offers a word if it begins with what is typed. */
static void offer(struct completion *completion, const char *word, const char *what)
{
    size_t size = strcspn(what, "\n");

    if (strncmp(word, completion->current, strlen(completion->current)) != 0) {
        return;
    }
    if (completion->list != NULL) {
        json_t *help = json_stringn(what, size);
        json_t *entry = json_pack(
            "{ss#+so}", "word", completion->begun, completion->begun_size, word, "help", help);
        (void)json_array_append_new(completion->list, entry);
        return;
    }
    out_write(completion->begun, (size_t)completion->begun_size);
    out_text(word);
    out_text("\t");
    out_write(what, size);
    out_text("\n");
}

static void offer_commands(struct completion *completion)
{
    const char *last = "";

    for (size_t i = 0; i < command_count; i++) {
        const struct command *command = &commands[i];
        if (completion->noun == NULL && command->noun != NULL) {
            if (strcmp(last, command->noun) != 0) {
                offer(completion, command->noun, "commands of two words");
            }
            last = command->noun;
        } else if (completion->noun == NULL ||
                   (command->noun != NULL && strcmp(command->noun, completion->noun) == 0)) {
            offer(completion, command->verb, command->summary);
        }
    }
}

static void offer_options(struct completion *completion)
{
    const struct command_option *tables[] = {
        completion->command != NULL ? completion->command->options : NULL, global_table
    };
    char word[64];

    for (size_t i = 0; i < 2; i++) {
        for (const struct command_option *o = tables[i]; o != NULL && o->name != NULL; o++) {
            (void)snprintf(word, sizeof word, "--%s", o->name);
            offer(completion, word, o->help);
        }
    }
}

/* Names that the cluster knows; nothing when it does not answer at once. */
static void
offer_names(struct completion *completion, const char *method, const char *list, const char *key)
{
    struct cli *cli = completion->cli;
    struct believed believed;

    (void)setting_set(cli, SETTING_TIMEOUT, NAMES_TIMEOUT, SETTING_FROM_FLAG, "timeout");
    if (settings_resolve(cli, true) != 0 || connect_client(cli) != 0 ||
        believed_ask(cli, method, NAMES_OTHERS_MS, &believed) != 0) {
        return;
    }
    const json_t *entries = json_object_get(believed.result, list);
    for (size_t i = 0; i < json_array_size(entries); i++) {
        const json_t *name = json_object_get(json_array_get(entries, i), key);
        char number[24];
        (void)snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(name));
        if (!json_is_integer(name) && !json_is_string(name)) {
            continue;
        }
        offer(completion, json_is_integer(name) ? number : json_string_value(name), key);
    }
    json_decref(believed.doubted);
    json_decref(believed.result);
}

static void offer_contexts(struct completion *completion)
{
    struct contexts contexts = { 0 };

    (void)contexts_load(&contexts); /* what can be read of it */
    for (size_t i = 0; i < contexts.count; i++) {
        const char *servers = contexts.list[i].values[SETTING_SERVERS];
        offer(completion, contexts.list[i].name, servers != NULL ? servers : "context");
    }
    contexts_free(&contexts);
}

/* The words of "one|another", each behind "KEY=". */
static void offer_values(struct completion *completion, const char *key, const char *values)
{
    char word[96];

    while (*values != '\0') {
        int size = (int)strcspn(values, "|");
        (void)snprintf(word, sizeof word, "%s=%.*s", key, size, values);
        offer(completion, word, "");
        values += values[size] == '|' ? size + 1 : size;
    }
}

static bool value_begun(const struct completion *completion)
{
    return strchr(completion->current, '=') != NULL;
}

static void offer_setting_values(struct completion *completion)
{
    offer_values(completion, "json", "yes|no");
    offer_values(completion, "quiet", "yes|no");
    offer_values(completion, "verbose", "yes|no");
    offer_values(completion, "color", "auto|always|never");
    offer_values(completion, "linearizable", "on|off");
    offer_values(completion, "compression", "none|lz4");
    offer_values(completion, "offset.reset", "start|end|none");
}

static void offer_settings(struct completion *completion)
{
    char word[64];

    if (value_begun(completion)) {
        offer_setting_values(completion);
        return;
    }
    for (size_t i = SETTING_SERVERS; i < SETTING_COUNT; i++) {
        (void)snprintf(word, sizeof word, "%s=", settings[i].key);
        offer(completion, word, settings[i].help);
    }
}

/* Settings of topics: with what follows a name, "=", or without. */
static void offer_topic_settings(struct completion *completion, const char *behind)
{
    struct sp_topic_key_text text;
    char word[64];

    for (unsigned i = 0; value_begun(completion) && i < SP_TOPIC_KEY_COUNT; i++) {
        const char *value;
        for (unsigned k = 0; (value = sp_topic_key_choice((enum sp_topic_key)i, k)) != NULL; k++) {
            offer_values(completion, sp_topic_key_name((enum sp_topic_key)i), value);
        }
    }
    for (unsigned i = 0; !value_begun(completion) && i < SP_TOPIC_KEY_COUNT; i++) {
        sp_topic_key_explain((enum sp_topic_key)i, &text);
        (void)snprintf(word, sizeof word, "%s%s", sp_topic_key_name((enum sp_topic_key)i), behind);
        offer(completion, word, text.allowed);
    }
}

/* The lower-case words of "start|end|@TIME|N". */
static void offer_words(struct completion *completion, const char *place)
{
    while (*place != '\0') {
        size_t size = strcspn(place, "| ");
        char word[32];
        if (*place >= 'a' && *place <= 'z' && size < sizeof word) {
            memcpy(word, place, size);
            word[size] = '\0';
            offer(completion, word, "");
        }
        if (place[size] != '|') {
            return;
        }
        place += size + 1;
    }
}

static void offer_methods(struct completion *completion)
{
    for (unsigned i = 0; i < SP_METHOD_COUNT; i++) {
        offer(completion, sp_method_name((enum sp_method)i), "");
    }
}

/* What help can be asked for: `completion->argument` may be the first of two words. */
static void offer_helped(struct completion *completion)
{
    completion->noun = completion->arguments == 1 ? completion->argument : NULL;
    if (completion->arguments == 0 || is_noun(completion->argument)) {
        offer_commands(completion);
    }
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* True if the option whose value comes next is a command's own, and the command is about settings
 * of topics. */
static bool is_of_topics(const struct completion *completion)
{
    const struct command *command = completion->command;
    bool own = false;

    if (command == NULL || !takes_topic_settings(command)) {
        return false;
    }
    for (const struct command_option *o = command->options; o->name != NULL; o++) {
        own = own || o == completion->option;
    }
    return own;
}

/* What may stand in a place that the table calls `place`. */
static void offer_place(struct completion *completion, const char *place)
{
    place += *place == '[' ? 1 : 0;
    if (begins(place, "TOPIC")) {
        offer_names(completion, "topic.list", "topics", "name");
    } else if (begins(place, "GROUP")) {
        offer_names(completion, "group.list", "groups", "group");
    } else if (begins(place, "CONTEXT")) {
        offer_contexts(completion);
    } else if (begins(place, "NODE")) {
        offer_names(completion, "cluster.info", "nodes", "id");
    } else if (begins(place, "METHOD")) {
        offer_methods(completion);
    } else if (begins(place, "COMMAND")) {
        offer_helped(completion);
    } else if (begins(place, "KEY=VALUE") && is_of_topics(completion)) {
        offer_topic_settings(completion, "=");
    } else if (begins(place, "KEY=VALUE")) {
        offer_settings(completion);
    } else if (begins(place, "KEY") && is_of_topics(completion)) {
        offer_topic_settings(completion, "");
    } else if (begins(place, "FROM") || begins(place, "WHERE")) {
        offer_words(completion, "start|end");
    } else {
        offer_words(completion, place);
    }
}

/* The table says by "..." that there may be more arguments than one. */
static bool takes_argument(const struct completion *completion)
{
    const char *place = completion->command->arguments;

    return completion->arguments == 0 || begins(place + strcspn(place, ". "), "...") ||
           (begins(place, "[COMMAND") && completion->arguments == 1);
}

/* Whether the word is --NAME=VALUE: its value is what is typed then. */
static void look_into_word(struct completion *completion)
{
    const char *value = NULL;

    if (completion->option != NULL || completion->options_over ||
        !begins(completion->current, "--")) {
        return;
    }
    const struct command_option *option = find_option(completion, completion->current, &value);
    if (option != NULL && option->value != NULL && value != NULL) {
        completion->option = option;
        completion->begun_size = (int)(value - completion->current);
        completion->begun = completion->current;
        completion->current = value;
    }
}

static void offer_all(struct completion *completion)
{
    look_into_word(completion);
    if (completion->option != NULL) {
        offer_place(completion, completion->option->value);
    } else if (!completion->options_over && completion->current[0] == '-') {
        offer_options(completion);
    } else if (completion->command == NULL) {
        offer_commands(completion);
    } else if (takes_argument(completion)) {
        offer_place(completion, completion->command->arguments);
    }
}

int command_generate_candidates(struct cli *cli, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    struct completion completion = { .cli = cli, .begun = "" };

    if (next_option(cli, &parser, argc, argv) != -1) {
        return EXIT_USAGE;
    }
    if (optind == argc) {
        return usage_error(cli, "the words so far are needed, the last may be empty");
    }
    completion.current = argv[argc - 1];
    completion.list = cli->json ? json_array() : NULL;
    for (int i = optind; i + 1 < argc; i++) {
        take_word(&completion, argv[i]);
    }
    offer_all(&completion);
    if (completion.list != NULL) {
        out_json(json_pack("{so}", "candidates", completion.list));
    }
    out_flush();
    return EXIT_OK;
}
