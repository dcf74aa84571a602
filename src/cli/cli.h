/* What the commands of `spate` share: the global options, the table of commands, exit codes.
 *
 *   argv -> global options -> command (one or two words) -> its options -> run -> exit code
 *
 * Data goes to stdout, everything else to stderr. Commands return an exit code and have told the
 * reason by then. */
#ifndef SPATE_CLI_H
#define SPATE_CLI_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/attr.h"
#include "cli/settings.h"
#include "spate/spate.h"

enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NOT_FOUND = 3,
    EXIT_UNREACHABLE = 4,
    EXIT_UNHEALTHY = 5,
    EXIT_TIMEOUT = 6, /* also: a partition had no leader for that long */
    EXIT_PARTIAL = 7,
    EXIT_INTERRUPTED = 130,
};

struct cli {
    struct setting_value settings[SETTING_COUNT];
    const char *servers; /* from here to color: what the settings come to; NULL: the default */
    int64_t timeout_ms;  /* -1: not given */
    bool json;
    bool quiet;
    bool verbose;
    bool color;
    bool threaded; /* the client works also while this program does not call it */
    struct spate_config *config;
    struct spate_client *client;
    const struct command *command; /* the one that runs */
};

/* An option of a command; `value` names its argument in the help, NULL: it has none. */
struct command_option {
    char letter; /* 0: only the long form */
    const char *name;
    const char *value;
    const char *help;
};

struct command {
    const char *noun; /* NULL: the command is one word */
    const char *verb;
    const char *alias; /* of the verb, or NULL */
    const char *arguments;
    const char *summary;
    const struct command_option *options; /* ends with an entry without a name; NULL: none */
    const char *examples;
    int (*run)(struct cli *cli, int argc, char **argv); /* argv[0] is the verb */
};

/* ---- commands.c ---- */

extern const struct command commands[];
extern const size_t command_count;
extern const struct command_option global_table[]; /* options of every command, of options.c */

int command_ping(struct cli *cli, int argc, char **argv);
int command_version(struct cli *cli, int argc, char **argv);
int command_help(struct cli *cli, int argc, char **argv);
int command_call(struct cli *cli, int argc, char **argv);
int command_offsets(struct cli *cli, int argc, char **argv);
int command_produce(struct cli *cli, int argc, char **argv);
int command_consume(struct cli *cli, int argc, char **argv);
int command_topic_create(struct cli *cli, int argc, char **argv);
int command_topic_list(struct cli *cli, int argc, char **argv);
int command_topic_describe(struct cli *cli, int argc, char **argv);
int command_topic_alter(struct cli *cli, int argc, char **argv);
int command_topic_truncate(struct cli *cli, int argc, char **argv);
int command_topic_delete(struct cli *cli, int argc, char **argv);
int command_log_dump(struct cli *cli, int argc, char **argv);
int command_log_verify(struct cli *cli, int argc, char **argv);
int command_log_index_rebuild(struct cli *cli, int argc, char **argv);
int command_group_list(struct cli *cli, int argc, char **argv);
int command_group_describe(struct cli *cli, int argc, char **argv);
int command_group_seek(struct cli *cli, int argc, char **argv);
int command_group_delete(struct cli *cli, int argc, char **argv);
int command_bench_produce(struct cli *cli, int argc, char **argv);
int command_bench_consume(struct cli *cli, int argc, char **argv);
int command_bench_e2e(struct cli *cli, int argc, char **argv);
int command_bench_latency(struct cli *cli, int argc, char **argv);
int command_bench_failover(struct cli *cli, int argc, char **argv);
int command_context_create(struct cli *cli, int argc, char **argv);
int command_context_list(struct cli *cli, int argc, char **argv);
int command_context_use(struct cli *cli, int argc, char **argv);
int command_context_show(struct cli *cli, int argc, char **argv);
int command_context_edit(struct cli *cli, int argc, char **argv);
int command_context_remove(struct cli *cli, int argc, char **argv);
int command_generate_completion(struct cli *cli, int argc, char **argv);
int command_generate_candidates(struct cli *cli, int argc, char **argv);
int command_generate_man(struct cli *cli, int argc, char **argv);
int command_lab(struct cli *cli, int argc, char **argv);
int command_cluster_info(struct cli *cli, int argc, char **argv);
int command_cluster_health(struct cli *cli, int argc, char **argv);
int command_cluster_nodes(struct cli *cli, int argc, char **argv);
int command_cluster_moves(struct cli *cli, int argc, char **argv);
int command_cluster_drain(struct cli *cli, int argc, char **argv);
int command_cluster_undrain(struct cli *cli, int argc, char **argv);
int command_cluster_remove(struct cli *cli, int argc, char **argv);
int command_cluster_rebalance(struct cli *cli, int argc, char **argv);
int command_partition_move(struct cli *cli, int argc, char **argv);
int command_cluster_features(struct cli *cli, int argc, char **argv);

/* ---- dispatch.c ---- */

/* The command of these words (noun NULL: it is one word; the verb may be an alias), or NULL. */
const struct command *find_command(const char *noun, const char *verb);

/* True when commands of two words begin with it. */
bool is_noun(const char *word);

/* Runs the command that argv begins with; its exit code. */
int run_command(struct cli *cli, int argc, char **argv);

/* ---- options.c ---- */

/* Where the parsing of one command's options stands. Zero-initialise. */
struct option_parser {
    bool started;
    char letters[128];
    struct option longs[48];
};

/* The next option of the running command: its letter, or 256 + its place in the command's table for
 * one without a letter; its argument is in `optarg`. -1: no more, arguments begin at `optind`.
 * Global options are taken on the way, and settings worked out at the end. '?' after a message. */
int next_option(struct cli *cli, struct option_parser *parser, int argc, char **argv);

/* Reads the line of a command that has one switch and no arguments, and connects; 0 or the code to
 * exit with. */
int begin_with_switch(struct cli *cli, int argc, char **argv, int letter, bool *out_given);

#define OPTION_LONG(place) (256 + (place))

/* True when what next_option returned is the running command's option of this long name. */
bool option_is(const struct cli *cli, int option, const char *name);

/* True when the command has an option of its own with this letter, or this long name. */
bool command_has_letter(const struct command *command, int letter);
bool command_has_long(const struct command *command, const char *name);

/* Takes the global options at the front of argv; the command begins at `optind`. -1 after a
 * message.
 */
int global_options(struct cli *cli, int argc, char **argv);

/* ---- help.c ---- */

/* Prints the help of the running command, or of everything when there is none. */
void print_help(const struct cli *cli);

/* Says what is wrong with the call of the running command; returns EXIT_USAGE. */
int usage_error(const struct cli *cli, const char *format, ...) SP_PRINTF(2, 3);

/* ---- client side ---- */

/* Makes cli->client if there is none yet; an exit code. */
int connect_client(struct cli *cli);

/* Sets a key of the configuration; a programmer's error if it is refused. */
void configure(struct cli *cli, const char *key, const char *value);

/* Calls a method with a JSON object as parameters (taken; NULL: an empty one). Returns 0 and the
 * result as JSON (owned by the caller), or a SPATE_ERR_* code, untold. */
int call_json(struct cli *cli, const char *method, json_t *params, json_t **out_result);

/* The same for a method that is given what its caller has `seen`, and does nothing where somebody
 * has come between: `done` in the result is false then, and it is called again. So it does nothing
 * when a network delivers it long after this program has ended. */
int call_seen(struct cli *cli, const char *method, json_t *params, const char *done);

/* call_json at the leader of a partition. */
int call_leader_json(struct cli *cli,
                     const char *topic,
                     uint32_t partition,
                     const char *method,
                     json_t *params,
                     json_t **out_result);

/* The same without parameters on one node, with a client of its own so that no other can answer. */
int call_node(struct cli *cli, const char *address, const char *method, json_t **out_result);

/* Tells a failed library call and returns its exit code. `what` may be NULL. */
int tell_failure(const struct cli *cli, int code, const char *what);

/* The same with a text other than this thread's last one of cli->client; "": the code's own. */
int tell_failure_text(const struct cli *cli, int code, const char *what, const char *text);

/* The exit code of a library's code. */
int exit_code_of(int code);

/* A message on stderr, after "spate: ". */
void tell(const char *format, ...) SP_PRINTF(1, 2);

/* The same unless --quiet. */
void note(const struct cli *cli, const char *format, ...) SP_PRINTF(2, 3);

/* What makes a word fit a count: "", or "s". */
static inline const char *plural(int64_t count)
{
    return count == 1 ? "" : "s";
}

/* True once ^C was pressed, or SIGTERM or SIGHUP came, after catch_interrupt; and once that was so
 * again, which ends the program at once unless more are borne: 1 at first. A SIGHUP that was
 * ignored before (nohup) stays so. */
void catch_interrupt(void);
bool interrupted(void);
void bear_interrupts(int count);
bool interrupted_again(void);

#endif /* SPATE_CLI_H */
