/* The list of contexts, and which is in effect. */
#include "cli/contexts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"
#include "cli/cli.h"

bool context_name_valid(const char *name)
{
    size_t size = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

    return size > 0 && size <= 100 && name[size] == '\0' && name[0] != '-';
}

struct context *contexts_find(const struct contexts *contexts, const char *name)
{
    for (size_t i = 0; i < contexts->count; i++) {
        if (strcmp(contexts->list[i].name, name) == 0) {
            return &contexts->list[i];
        }
    }
    return NULL;
}

struct context *contexts_add(struct contexts *contexts, const char *name)
{
    struct context *grown =
        contexts->count == CONTEXTS_MAX
            ? NULL
            : realloc(contexts->list, (contexts->count + 1) * sizeof(struct context));
    char *copy = grown == NULL ? NULL : strdup(name);

    contexts->list = grown != NULL ? grown : contexts->list;
    if (copy == NULL) {
        tell("no memory for another context, or there are %d of them", CONTEXTS_MAX);
        return NULL;
    }
    struct context *context = &contexts->list[contexts->count++];
    *context = (struct context){ .name = copy };
    return context;
}

static void free_context(struct context *context)
{
    free(context->name);
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        free(context->values[i]);
    }
}

void contexts_remove(struct contexts *contexts, struct context *context)
{
    size_t behind = (size_t)(contexts->list + contexts->count - (context + 1));

    if (contexts->current != NULL && strcmp(contexts->current, context->name) == 0) {
        free(contexts->current);
        contexts->current = NULL;
    }
    free_context(context);
    memmove(context, context + 1, behind * sizeof *context);
    contexts->count -= 1;
}

void contexts_free(struct contexts *contexts)
{
    for (size_t i = 0; i < contexts->count; i++) {
        free_context(&contexts->list[i]);
    }
    contexts_unlock(contexts);
    free(contexts->list);
    free(contexts->current);
    contexts->list = NULL;
    contexts->current = NULL;
    contexts->count = 0;
}

const char *contexts_nearest(const struct contexts *contexts, const char *name)
{
    const char *names[CONTEXTS_MAX];

    for (size_t i = 0; i < contexts->count; i++) {
        names[i] = contexts->list[i].name;
    }
    return sp_nearest(name, names, contexts->count);
}

int contexts_unknown(const struct contexts *contexts, const char *name)
{
    const char *near = contexts_nearest(contexts, name);

    tell("there is no context '%s' in %s%s%s%s (spate context list)",
         name,
         contexts->path[0] != '\0' ? contexts->path : "any file",
         near != NULL ? ": did you mean '" : "",
         near != NULL ? near : "",
         near != NULL ? "'?" : "");
    return EXIT_NOT_FOUND;
}

bool contexts_dangling(const struct contexts *contexts)
{
    return contexts->current != NULL && contexts_find(contexts, contexts->current) == NULL;
}

int contexts_tell_dangling(const struct contexts *contexts)
{
    tell("%s says `current: %s`, and has no such context: spate context use NAME, or spate context "
         "create %s",
         contexts->path,
         contexts->current,
         contexts->current);
    return EXIT_USAGE;
}

static int apply(struct cli *cli, struct contexts *contexts)
{
    const struct setting_value *wanted = &cli->settings[SETTING_CONTEXT];
    const char *name = wanted->text != NULL ? wanted->text : contexts->current;
    int code = 0;

    if (name == NULL) {
        return 0;
    }
    const struct context *context = contexts_find(contexts, name);
    if (context == NULL && wanted->text == NULL) {
        return contexts_tell_dangling(contexts);
    }
    if (context == NULL) {
        (void)contexts_unknown(contexts, name);
        return EXIT_USAGE;
    }
    if (wanted->text == NULL) {
        code = setting_set(cli, SETTING_CONTEXT, name, SETTING_FROM_CONTEXT, "context");
    }
    for (size_t i = 0; code == 0 && i < SETTING_COUNT; i++) {
        if (context->values[i] != NULL) {
            code = setting_set(cli, i, context->values[i], SETTING_FROM_CONTEXT, settings[i].key);
        }
    }
    return code;
}

int contexts_apply(struct cli *cli)
{
    struct contexts contexts = { 0 };
    int code = contexts_load(&contexts);

    if (code == 0) {
        code = apply(cli, &contexts);
    }
    contexts_free(&contexts);
    return code;
}
