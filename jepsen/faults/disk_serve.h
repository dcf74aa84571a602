/* The threads of jepsen-disk. */
#ifndef JEPSEN_DISK_SERVE_H
#define JEPSEN_DISK_SERVE_H

#include <fuse.h>

/* Mounts a filesystem of these operations, whose requests come in memory (they must not want
 * FUSE_CAP_SPLICE_READ), and serves it until it is unmounted or the process gets SIGTERM or SIGINT;
 * threads go on until the process ends. Returns an exit status and has said what was wrong. */
int disk_serve(char *program, const char *mounted, const struct fuse_operations *operations);

#endif /* JEPSEN_DISK_SERVE_H */
