/* Scenario scripts: text files of commands for a world of raft_host.h, with their recorded output.
 *
 *     figure8.txt --> script.c: blocks of commands ---> script_act.c   worlds, elections, clients
 *         ^                     | compare, rewrite      script_fault.c links, processes, disks
 *         |                     v                       script_ask.c   status, log, expect, await
 *         |                                             script_mail.c  hold, deliver, copy, drop
 *         '------- recorded output <--- script_show.c: what the world's observer is told of
 *
 * A script decides the whole schedule: delays are fixed, elections are called for, letters can be
 * held back one by one. So the output is the same wherever it runs. docs/testing.md lists the
 * commands. Nodes are written as their raft ids, entries as index^term. */
#ifndef SP_TESTS_SCRIPT_H
#define SP_TESTS_SCRIPT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "raft_host.h"

#define WORDS_MAX 24

/* Letters as scripts name them; KIND_ANY stands for all. */
enum kind {
    KIND_APPEND,
    KIND_HEARTBEAT, /* an append without entries */
    KIND_STORED,    /* results of appends and installs */
    KIND_REJECT,
    KIND_VOTE, /* requests, with pre-votes */
    KIND_VOTE_RESULT,
    KIND_INSTALL,
    KIND_TIMEOUT_NOW,
    KIND_ANY
};

/* What is shown, by class; SHOW_QUIET is left when a command is prefixed with `quiet`. */
enum {
    SHOW_ROLE = 1 << 0,
    SHOW_COMMIT = 1 << 1,
    SHOW_LOG = 1 << 2, /* appends of leaders, truncations, installations, configurations */
    SHOW_APPEND = 1 << 3,
    SHOW_VOTE = 1 << 4, /* and timeout-now */
    SHOW_LOST = 1 << 5,
    SHOW_HEARTBEAT = 1 << 6, /* appends and results that tell nobody anything */
    SHOW_DISK = 1 << 7,      /* every write of a follower, everything that becomes durable */
    SHOW_LEADS = 1 << 8,     /* who has won an election */
    SHOW_QUIET = SHOW_LEADS,
    SHOW_DEFAULT =
        SHOW_LEADS | SHOW_ROLE | SHOW_COMMIT | SHOW_LOG | SHOW_APPEND | SHOW_VOTE | SHOW_LOST
};

/* What was last shown of a node. */
struct view {
    unsigned state;
    bool pre_vote;
    uint64_t term;
    uint64_t leader;
    uint64_t committed;
    mask configuration;
};

struct script {
    struct world *world; /* NULL before the command `nodes` */
    FILE *out;           /* output of the block that runs */
    const char *path;    /* of the script, and the line that runs */
    unsigned line;
    uint64_t began_ms; /* of the block */
    unsigned shown;
    bool failed;             /* an expectation was not met */
    bool complained;         /* the world's failure has been shown ... */
    bool complaint_expected; /* ... and is what the script is about */
    struct view views[NODES_MAX];
    char lost[NODES_MAX][NODES_MAX][160]; /* last lost letter shown in this block */
    bool holds[NODES_MAX][NODES_MAX][KIND_ANY];
    struct letter *held; /* oldest first */
    unsigned counts[NODES_MAX][NODES_MAX][KIND_ANY];
};

/* One command, read from the left. A word that is missing or makes no sense ends the program. */
struct words {
    struct script *script;
    char *word[WORDS_MAX];
    unsigned count;
    unsigned next;
};

/* Letters that a command is about; from or to NODES_MAX means any. */
struct selection {
    unsigned from;
    unsigned to;
    enum kind kind;
};

/* --- script_words.c --- */

/* Splits `line` in place. */
void words_split(struct words *words, struct script *script, char *line);
bool words_more(const struct words *words);
const char *words_take(struct words *words);
/* Takes the next word if it is `word`. */
bool words_take_if(struct words *words, const char *word);
uint64_t words_number(struct words *words);
uint64_t words_number_or(struct words *words, uint64_t otherwise);
struct node *words_node(struct words *words);
/* As words_node, for a node that runs. */
struct node *words_node_up(struct words *words);
/* Whether the next word is a link: FROM->TO, each a raft id or *, for words_selection. */
bool words_at_link(const struct words *words);
/* A link and optionally a kind. */
void words_selection(struct words *words, struct selection *out);
/* Takes all that follow: a configuration, as 1 2 3 4s. */
mask words_configuration(struct words *words);
/* The index of the next word in `names` (ends with NULL). */
unsigned words_choice(struct words *words, const char *const *names);
__attribute__((noreturn, format(printf, 2, 3))) void
words_refuse(const struct words *words, const char *format, ...);

/* --- script_act.c --- */

/* Runs one command, which may be any of the language. */
void script_command(struct words *words);
/* Ends the world, with all it holds. */
void script_end_world(struct script *script);

/* --- script_fault.c --- */

void script_isolate(struct words *words);
void script_join(struct words *words);
void script_cut(struct words *words);
void script_heal(struct words *words);
void script_crash(struct words *words);
void script_restart(struct words *words);
void script_pause(struct words *words);
void script_resume(struct words *words);
void script_disk(struct words *words);
void script_persist(struct words *words);
void script_sleep(struct words *words);
void script_wake(struct words *words);

/* --- script_ask.c --- */

void script_status(struct words *words);
void script_log(struct words *words);
void script_expect(struct words *words);
void script_await(struct words *words);

/* --- script_mail.c --- */

void script_hold(struct words *words);
void script_open(struct words *words);
void script_release(struct words *words);
void script_deliver(struct words *words);
void script_copy(struct words *words);
void script_drop(struct words *words);
void script_count(struct words *words);
/* The world's filter: keeps what is held. */
bool script_filter(const struct letter *letter, void *arg);
enum kind script_kind(const struct letter *letter);
extern const char *const script_kind_names[];

/* --- script_show.c --- */

/* One line of output, with the milliseconds since the block began. */
__attribute__((format(printf, 2, 3))) void
script_say(struct script *script, const char *format, ...);
void script_print_letter(FILE *out, const struct letter *letter);
void script_print_configuration(FILE *out, mask configuration);
/* first^term.. of `count` entries, those with the same term and no news together. */
void script_print_entries(FILE *out, uint64_t first, const struct entry *entries, uint64_t count);
void script_print_op(FILE *out, const struct op *op);
/* A line about a letter: `prefix` and the letter. */
void script_say_letter(struct script *script, const char *prefix, const struct letter *letter);
/* Takes note of a node as it is, without a word. */
void script_view(struct script *script, const struct node *node);
/* The world's observer. */
void script_observe(void *arg, enum observed observed, const struct node *node, const void *what);

#endif /* SP_TESTS_SCRIPT_H */
