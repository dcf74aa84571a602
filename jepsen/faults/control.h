/* How the harness commands its programs: a SOCK_SEQPACKET Unix socket, one request per message, one
 * answer per request. A request is a word and `key=number` words: `set from=1 to=2 loss_ppm=200`;
 * an answer begins with `ok` or `error`. */
#ifndef JEPSEN_CONTROL_H
#define JEPSEN_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CONTROL_SIZE_MAX = 16 * 1024
}; /* bytes of a request or an answer */

/* Listens at `path`, which must not exist. Returns a descriptor, or -1 with errno set. */
int control_listen(const char *path);

/* The next harness that connected, or -1. */
int control_accept(int listener);

/* Reads one request from `fd`, has `answer` write its reply into `out`, sends it.
 * Returns false when the other side has closed or failed: `fd` is the caller's to close. */
bool control_serve(int fd,
                   void (*answer)(void *arg, const char *request, char *out, size_t out_size),
                   void *arg);

/* Whether the first word of the request is `word`. */
bool control_is(const char *request, const char *word);

/* The number of `key=number` in the request, `fallback` without it. */
int64_t control_number(const char *request, const char *key, int64_t fallback);

/* Copies the word of `key=word` into `out`; false without it, or when it does not fit. */
bool control_word(const char *request, const char *key, char *out, size_t out_size);

#endif /* JEPSEN_CONTROL_H */
