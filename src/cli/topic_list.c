/* Topics by name or by pattern. */
#include "cli/topic_list.h"

#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "cli/believed.h"

static int add(struct topic_list *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->names[i], name) == 0) {
            return 0;
        }
    }
    char **grown = realloc(list->names, (list->count + 1) * sizeof(char *));
    char *copy = grown == NULL ? NULL : strdup(name);
    list->names = grown != NULL ? grown : list->names;
    if (copy == NULL) {
        tell("out of memory");
        return EXIT_FAILED;
    }
    list->names[list->count++] = copy;
    return 0;
}

static int
add_matches(struct cli *cli, const char *pattern, const json_t *topics, struct topic_list *list)
{
    regex_t expression;
    char text[200];
    int code = 0;
    int rv = regcomp(&expression, pattern, REG_EXTENDED | REG_NOSUB);

    if (rv != 0) {
        (void)regerror(rv, &expression, text, sizeof text);
        return usage_error(cli, "-r %s: %s", pattern, text);
    }
    for (size_t i = 0; code == 0 && i < json_array_size(topics); i++) {
        const char *name = json_string_value(json_object_get(json_array_get(topics, i), "name"));
        if (name != NULL && regexec(&expression, name, 0, NULL, 0) == 0) {
            code = add(list, name);
        }
    }
    regfree(&expression);
    return code;
}

static int by_name(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

int topic_list_fill(
    struct cli *cli, bool regex, int count, char **words, struct topic_list *out_list)
{
    json_t *result = NULL;
    int code = regex ? believed_ask_told(cli, "topic.list", &result) : 0;

    for (int i = 0; code == 0 && i < count; i++) {
        code = regex ? add_matches(cli, words[i], json_object_get(result, "topics"), out_list)
                     : add(out_list, words[i]);
    }
    json_decref(result);
    if (regex && out_list->count > 0) {
        qsort(out_list->names, out_list->count, sizeof(char *), by_name);
    }
    if (code == 0 && out_list->count == 0) {
        tell("no topic matches");
        return EXIT_NOT_FOUND;
    }
    return code;
}

void topic_list_free(struct topic_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->names[i]);
    }
    free(list->names);
    *list = (struct topic_list){ 0 };
}
