/* Serves the kernel's requests: see disk_serve.h.
 *
 * libfuse's own loop is not used for one reason. Its table of names, which a power cut goes past,
 * keeps names that are gone; a rename onto one of them locks that node, and when the kernel forgets
 * the last file below it in the same moment, libfuse (3.14) ends the process: "delete_node:
 * Assertion `node->treelock == 0' failed". So no rename goes on while something is forgotten. */
#define FUSE_USE_VERSION 31
#include "disk_serve.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    THREADS = 32, /* calls that wait, of disks that are slow, at the same time */
};

static pthread_mutex_t names_lock = PTHREAD_MUTEX_INITIALIZER; /* renames and forgets */

static bool needs_names_lock(const struct fuse_buf *buf)
{
    struct fuse_in_header header;

    memcpy(&header, buf->mem, sizeof header);
    return header.opcode == FUSE_RENAME || header.opcode == FUSE_RENAME2 ||
           header.opcode == FUSE_FORGET || header.opcode == FUSE_BATCH_FORGET;
}

static void *serve(void *arg)
{
    struct fuse_session *session = arg;
    struct fuse_buf buf = { .mem = NULL };

    while (!fuse_session_exited(session)) {
        int size = fuse_session_receive_buf(session, &buf);
        if (size == -EINTR) {
            continue;
        }
        if (size <= 0) {
            break; /* unmounted */
        }
        bool is_locked = needs_names_lock(&buf);
        if (is_locked) {
            (void)pthread_mutex_lock(&names_lock); /* fails only when it is not a mutex */
        }
        fuse_session_process_buf(session, &buf);
        if (is_locked) {
            (void)pthread_mutex_unlock(&names_lock);
        }
    }
    free(buf.mem);
    (void)kill(getpid(), SIGTERM); /* for serve_until_end() */
    return NULL;
}

/* Returns 0 or an errno. */
static int serve_until_end(struct fuse_session *session)
{
    sigset_t ends;
    pthread_t thread;
    int number;

    (void)sigemptyset(&ends); /* none of these can fail: the signals exist */
    (void)sigaddset(&ends, SIGTERM);
    (void)sigaddset(&ends, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &ends, NULL);
    for (unsigned i = 0; i < THREADS; i++) {
        int rv = pthread_create(&thread, NULL, serve, session);
        if (rv != 0) {
            return rv;
        }
    }
    return sigwait(&ends, &number);
}

int disk_serve(char *program, const char *mounted, const struct fuse_operations *operations)
{
    char *words[] = { program, (char[]){ "-ofsname=jepsen" }, NULL };
    struct fuse_args arguments = FUSE_ARGS_INIT(2, words);
    struct fuse *fuse = fuse_new(&arguments, operations, sizeof *operations, NULL);

    if (fuse == NULL || fuse_mount(fuse, mounted) != 0) {
        return 1; /* libfuse has said why */
    }
    int rv = serve_until_end(fuse_get_session(fuse));
    if (rv != 0) {
        (void)fprintf(stderr, "jepsen-disk: %s\n", strerror(rv));
    }
    fuse_unmount(fuse);
    return rv == 0 ? 0 : 1;
}
