/* What holds for every command: where the servers are, how long to wait, how to print; and the
 * library's own keys. Each value comes from one of four places, the strongest that has one:
 *
 *   flag  >  environment  >  context  >  default
 *
 * They arrive in any order; each keeps the rank of its origin. */
#ifndef SPATE_CLI_SETTINGS_H
#define SPATE_CLI_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

enum setting_place {
    SETTING_CONTEXT,
    SETTING_SERVERS,
    SETTING_TIMEOUT,
    SETTING_JSON,
    SETTING_QUIET,
    SETTING_VERBOSE,
    SETTING_COLOR,
    SETTING_LIBRARY, /* the first of those that are given to libspate as they are */
    SETTING_COUNT = SETTING_LIBRARY + 17,
};

enum setting_origin {
    SETTING_FROM_DEFAULT,
    SETTING_FROM_CONTEXT,
    SETTING_FROM_ENVIRONMENT,
    SETTING_FROM_FLAG,
};

struct setting {
    const char *key;
    const char *environment;
    const char *initial; /* what holds without a value, for people */
    const char *help;
};

struct setting_value {
    char *text; /* owned; NULL: the default */
    enum setting_origin origin;
    const char *source; /* the variable of the environment; else NULL */
    bool by_key;        /* given as -X KEY=VALUE */
};

struct cli;

extern const struct setting settings[SETTING_COUNT];

/* The place of a key, or SETTING_COUNT. */
size_t setting_find(const char *key);

/* The key nearest to a wrong one, or NULL. */
const char *setting_nearest(const char *key);

#define SETTING_PROBLEM_SIZE 128

/* NULL, or what a value of this setting has to look like; `room` is for that. */
const char *setting_problem(size_t place, const char *text, char room[SETTING_PROBLEM_SIZE]);

/* Sets a value unless one of higher rank is there. `where` names the giver in a message: "-s",
 * "SPATE_TIMEOUT". 0, or EXIT_USAGE after one. */
int setting_set(
    struct cli *cli, size_t place, const char *text, enum setting_origin origin, const char *where);

/* Takes "KEY=VALUE" of -X. */
int setting_set_pair(struct cli *cli, const char *pair);

/* Takes what the environment says. 0, or EXIT_USAGE after a message. */
int settings_from_environment(struct cli *cli);

/* Once all options are known: takes the values of the context that is in effect, if `context`, and
 * works them all out for the commands (cli->servers and so on). 0, or EXIT_USAGE after a
 * message. */
int settings_resolve(struct cli *cli, bool context);

/* For a command that produces: 0, or EXIT_USAGE after a message when --timeout is longer than a
 * producer takes. */
int settings_check_producing(const struct cli *cli);

/* The value in effect, for people. */
const char *setting_text(const struct cli *cli, size_t place);

/* Of a switch. */
bool setting_is_on(const struct cli *cli, size_t place);

/* Gives all values to a new configuration of libspate. */
struct spate_config;
void settings_configure(const struct cli *cli, struct spate_config *config);

void settings_free(struct cli *cli);

#endif /* SPATE_CLI_SETTINGS_H */
