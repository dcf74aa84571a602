/* What a client did and saw, a line for each event; docs/testing.md tells the lines.
 *
 *   <monotonic ns> <client> <operation> invoke|ok|fail|info <what> key=value...
 *
 * Lines wait in a buffer for at most 100 ms, as long as the program calls jep_history_idle; an
 * invocation that may have an effect is followed by jep_history_flush before the effect, so that a
 * client that is killed leaves no effect without its invocation. */
#ifndef JEP_HISTORY_H
#define JEP_HISTORY_H

#include <stddef.h>
#include <stdint.h>

struct jep_history;

/* Appends to the file `path`. NULL: it cannot be opened, errno tells. */
struct jep_history *jep_history_open(const char *path, uint32_t client);

/* CLOCK_MONOTONIC, the same for all processes of the machine. */
int64_t jep_now_ns(void);

/* A new number for an operation. */
uint64_t jep_history_operation(struct jep_history *history);

/* One line with the time of this call; `format` begins with "invoke send" or the like. */
void jep_history_line(struct jep_history *history, uint64_t operation, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Writes what waits, now. Ends the program with 2 when the disk refuses: a history with holes would
 * accuse the wrong one. */
void jep_history_flush(struct jep_history *history);

/* Writes what has waited for 100 ms. */
void jep_history_idle(struct jep_history *history);

void jep_history_close(struct jep_history *history);

/* ---- a line about records that were read, made of runs --------------------------------------- */

/* Consecutive records of one client at consecutive offsets are one run. */
struct jep_runs {
    char text[8192];
    size_t size;
    int64_t offset; /* of the current run */
    uint32_t client;
    uint32_t sequence;
    uint32_t count; /* 0: there is none */
};

void jep_runs_reset(struct jep_runs *runs);

/* Adds a record; 0, or -1 when the text is full: write the line, reset, add again. */
int jep_runs_add(struct jep_runs *runs, int64_t offset, uint32_t client, uint32_t sequence);

/* "OFFSET/CLIENT:SEQUENCE+COUNT,..."; "" when nothing was added. */
const char *jep_runs_text(struct jep_runs *runs);

#endif /* JEP_HISTORY_H */
