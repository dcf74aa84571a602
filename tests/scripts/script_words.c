/* The words of one command. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "script.h"

#define EXIT_BAD_SCRIPT 2

void words_refuse(const struct words *words, const char *format, ...)
{
    va_list arguments;

    (void)fflush(NULL);
    (void)fprintf(stderr, "%s:%u:", words->script->path, words->script->line);
    for (unsigned i = 0; i < words->count; i++) {
        (void)fprintf(stderr, " %s", words->word[i]);
    }
    (void)fprintf(stderr, ": ");
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fprintf(stderr, "\n");
    _exit(EXIT_BAD_SCRIPT);
}

void words_split(struct words *words, struct script *script, char *line)
{
    char *rest = NULL;

    memset(words, 0, sizeof *words);
    words->script = script;
    for (char *word = strtok_r(line, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        if (words->count == WORDS_MAX) {
            words_refuse(words, "too many words");
        }
        words->word[words->count++] = word;
    }
}

bool words_more(const struct words *words)
{
    return words->next < words->count;
}

const char *words_take(struct words *words)
{
    if (!words_more(words)) {
        words_refuse(words, "a word is missing");
    }
    return words->word[words->next++];
}

bool words_take_if(struct words *words, const char *word)
{
    bool is = words_more(words) && strcmp(words->word[words->next], word) == 0;

    words->next += is;
    return is;
}

static bool to_number(const char *word, uint64_t *out)
{
    char *end = NULL;

    *out = strtoull(word, &end, 10);
    return *word >= '0' && *word <= '9' && *end == '\0';
}

uint64_t words_number(struct words *words)
{
    const char *word = words_take(words);
    uint64_t number = 0;

    if (!to_number(word, &number)) {
        words_refuse(words, "'%s' is no number", word);
    }
    return number;
}

uint64_t words_number_or(struct words *words, uint64_t otherwise)
{
    return words_more(words) ? words_number(words) : otherwise;
}

struct node *words_node(struct words *words)
{
    uint64_t id = words_number(words);
    struct world *world = words->script->world;

    if (world == NULL || id == 0 || id > world->node_count) {
        words_refuse(words, "there is no node %lu", (unsigned long)id);
    }
    return &world->nodes[id - 1];
}

struct node *words_node_up(struct words *words)
{
    struct node *node = words_node(words);

    if (!node->up) {
        words_refuse(words, "node %u is down", node->number + 1);
    }
    return node;
}

unsigned words_choice(struct words *words, const char *const *names)
{
    const char *word = words_take(words);

    for (unsigned i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], word) == 0) {
            return i;
        }
    }
    words_refuse(words, "'%s' is not known here", word);
}

mask words_configuration(struct words *words)
{
    mask configuration = 0;

    while (words_more(words)) {
        const char *word = words_take(words);
        bool standby = word[0] != '\0' && strcmp(word + 1, "s") == 0;

        if (word[0] < '1' || word[0] > '0' + NODES_MAX || (word[1] != '\0' && !standby)) {
            words_refuse(words, "a configuration is written as 1 2 3 4s");
        }
        configuration = mask_with(
            configuration, (unsigned)(word[0] - '1'), standby ? ROLE_STANDBY : ROLE_VOTER);
    }
    return configuration;
}

/* One end of a link. */
static unsigned to_end(const struct words *words, const char *text, size_t size)
{
    if (size == 1 && text[0] == '*') {
        return NODES_MAX;
    }
    if (size != 1 || text[0] < '1' || text[0] > '0' + NODES_MAX) {
        words_refuse(words, "a link is FROM->TO, each a node or *");
    }
    return (unsigned)(text[0] - '1');
}

bool words_at_link(const struct words *words)
{
    return words_more(words) && strstr(words->word[words->next], "->") != NULL;
}

void words_selection(struct words *words, struct selection *out)
{
    if (!words_at_link(words)) {
        words_refuse(words, "a link is FROM->TO, each a node or *");
    }
    const char *link = words_take(words);
    const char *arrow = strstr(link, "->");
    out->from = to_end(words, link, (size_t)(arrow - link));
    out->to = to_end(words, arrow + 2, strlen(arrow + 2));
    out->kind = KIND_ANY;
    if (words_more(words) &&
        (words->word[words->next][0] < '0' || words->word[words->next][0] > '9') &&
        strcmp(words->word[words->next], "all") != 0) {
        out->kind = (enum kind)words_choice(words, script_kind_names);
    }
}
