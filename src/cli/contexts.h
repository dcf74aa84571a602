/* Contexts: values of settings under a name, in one YAML file of the user's.
 *
 *   current: dev                              the one in effect when nothing names another
 *   contexts:
 *     dev:
 *       servers: ["127.0.0.1:7700", "127.0.0.1:7800"]      or "host:port,host:port"
 *       timeout: 5s
 *       linger.ms: 0                          any key of a setting but `context`
 *
 * The file is SPATE_CONFIG, else $XDG_CONFIG_HOME/spate/config.yaml, else ~/.config/spate/... . It
 * is written beside and renamed; comments in it are lost then. Who changes it holds the lock of a
 * file beside it, FILE.lock, which stays. */
#ifndef SPATE_CLI_CONTEXTS_H
#define SPATE_CLI_CONTEXTS_H

#include "cli/settings.h"

#define CONTEXTS_MAX 256
#define CONTEXTS_PATH_SIZE 4096

struct context {
    char *name;
    char *values[SETTING_COUNT]; /* NULL: not set */
};

struct contexts {
    char path[CONTEXTS_PATH_SIZE]; /* "": the user has no home */
    char *current;                 /* NULL: none */
    struct context *list;
    size_t count;
    bool locked; /* nobody else changes the file */
    int lock;    /* descriptor of the lock's file, if so */
};

struct cli;

/* Reads the file; none is like an empty one. 0, or EXIT_USAGE after a message that names file and
 * line. Free in any case. */
int contexts_load(struct contexts *contexts);
void contexts_free(struct contexts *contexts);

/* The same for who will save it: waits a moment for others, then keeps them out until it is freed.
 * Also EXIT_FAILED after a message. */
int contexts_load_to_change(struct contexts *contexts);
void contexts_unlock(struct contexts *contexts);

/* Of what contexts_load_to_change has loaded. 0, or EXIT_FAILED after a message. */
int contexts_save(const struct contexts *contexts);

struct context *contexts_find(const struct contexts *contexts, const char *name);

/* A new context without values, or NULL after a message. */
struct context *contexts_add(struct contexts *contexts, const char *name);
void contexts_remove(struct contexts *contexts, struct context *context);

/* The context nearest to a wrong name, or NULL. */
const char *contexts_nearest(const struct contexts *contexts, const char *name);

/* Takes the values of the context in effect into the settings. 0, or EXIT_USAGE after a message:
 * the file is wrong, or there is no such context. */
int contexts_apply(struct cli *cli);

/* Says that there is no context of this name; EXIT_NOT_FOUND. */
int contexts_unknown(const struct contexts *contexts, const char *name);

/* True if `current` names a context that is not in the file: a user has written so there. */
bool contexts_dangling(const struct contexts *contexts);

/* Says so; EXIT_USAGE. */
int contexts_tell_dangling(const struct contexts *contexts);

bool context_name_valid(const char *name);

#endif /* SPATE_CLI_CONTEXTS_H */
