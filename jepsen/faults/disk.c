/* jepsen-disk: a FUSE filesystem that forgets what was not synced when its power is cut, and whose
 * calls fail, wait or find no space on request. See disk.h for the model.
 *
 *   jepsen-disk BACKING MOUNTPOINT CONTROL_SOCKET
 *
 * Requests besides those of disk_faults.c:
 *   cut seed=N   the power fails: what was not durable may be lost; with all=1 it is
 *   on           power is back
 *
 * The kernel sends no fsync for writes through a descriptor with O_DSYNC: they are synced here. */
#define FUSE_USE_VERSION 31
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "control.h"
#include "disk.h"
#include "disk_serve.h"

enum {
    WRITE_SIZE_MAX = 1 << 20,
    DEAD_DELAY_NS = 20 * 1000 * 1000, /* who calls a dead disk is killed meanwhile */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool is_dead; /* under the lock */
static int listener;

static int fd_of(const struct fuse_file_info *info)
{
    return (int)info->fh;
}

/* Every call that may fail begins here: waits, takes the lock. Not 0: it ends with that error, and
 * the lock is free. */
static int begin(enum disk_operation operation)
{
    disk_faults_delay(operation);
    (void)pthread_mutex_lock(&lock); /* fails only when it is not a mutex */
    int rv = is_dead ? -EIO : disk_faults_error(operation);
    if (rv != 0) {
        bool was_dead = is_dead;
        (void)pthread_mutex_unlock(&lock);
        if (was_dead) {
            struct timespec wait = { .tv_nsec = DEAD_DELAY_NS };
            (void)nanosleep(&wait, NULL); /* early is fine */
        }
    }
    return rv;
}

static int end(int rv)
{
    (void)pthread_mutex_unlock(&lock);
    return rv;
}

/* ---- names ----------------------------------------------------------------------------------- */

static int on_getattr(const char *path, struct stat *status, struct fuse_file_info *info)
{
    char real[DISK_PATH_MAX];

    if (info != NULL) {
        return fstat(fd_of(info), status) == 0 ? 0 : -errno;
    }
    if (path == NULL || !disk_names_path(path, real)) {
        return -ENAMETOOLONG;
    }
    return lstat(real, status) == 0 ? 0 : -errno;
}

/* An open directory is known by the path it had then: `fh` owns a copy. */
static const char *path_of(const struct fuse_file_info *info)
{
    return (const char *)(uintptr_t)info->fh;
}

static int on_opendir(const char *path, struct fuse_file_info *info)
{
    char *copy = strdup(path);

    info->fh = (uint64_t)(uintptr_t)copy;
    return copy == NULL ? -ENOMEM : 0;
}

static int on_releasedir(const char *path, struct fuse_file_info *info)
{
    (void)path;
    free((void *)(uintptr_t)info->fh);
    return 0;
}

static int on_readdir(const char *path,
                      void *buffer,
                      fuse_fill_dir_t fill,
                      off_t offset,
                      struct fuse_file_info *info,
                      enum fuse_readdir_flags flags)
{
    char real[DISK_PATH_MAX];
    struct dirent *entry;

    (void)path;
    (void)offset;
    (void)flags;
    DIR *dir = disk_names_path(path_of(info), real) ? opendir(real) : NULL;
    if (dir == NULL) {
        return -errno;
    }
    while ((entry = readdir(dir)) != NULL) {
        if (fill(buffer, entry->d_name, NULL, 0, 0) != 0) {
            break;
        }
    }
    (void)closedir(dir); /* nothing was written through it */
    return 0;
}

static int on_mkdir(const char *path, mode_t mode)
{
    char real[DISK_PATH_MAX];
    int rv = begin(DISK_NAME);

    if (rv != 0) {
        return rv;
    }
    if (!disk_names_path(path, real) || mkdir(real, mode) != 0) {
        return end(-errno);
    }
    return end(disk_names_created(path));
}

static int on_unlink(const char *path)
{
    char real[DISK_PATH_MAX];
    struct stat status = { .st_size = 0 };
    int rv = begin(DISK_NAME);

    if (rv != 0) {
        return rv;
    }
    if (disk_names_path(path, real) && lstat(real, &status) == 0) {
        disk_faults_give_space((uint64_t)status.st_size);
    }
    return end(disk_names_remove(path));
}

static int on_rmdir(const char *path)
{
    int rv = begin(DISK_NAME);

    return rv != 0 ? rv : end(disk_names_remove_directory(path));
}

static int on_rename(const char *from, const char *to, unsigned flags)
{
    int rv = begin(DISK_NAME);

    if (rv != 0) {
        return rv;
    }
    return end(flags != 0 ? -EINVAL : disk_names_rename(from, to));
}

static int on_fsyncdir(const char *path, int is_data, struct fuse_file_info *info)
{
    (void)path;
    (void)is_data;
    int rv = begin(DISK_NAME);
    if (rv != 0) {
        return rv;
    }
    if (!disk_faults_is_lying()) {
        disk_names_synced(path_of(info));
    }
    return end(0);
}

/* ---- files ----------------------------------------------------------------------------------- */

/* Reading is needed to save what is overwritten; syncing and caching are decided here. */
static int real_flags(int flags)
{
    int kept = flags & ~(O_ACCMODE | O_DIRECT | O_SYNC | O_DSYNC | O_APPEND | O_TRUNC);

    return kept | O_CLOEXEC | ((flags & O_ACCMODE) == O_RDONLY ? O_RDONLY : O_RDWR);
}

static int open_real(const char *path, int flags, mode_t mode, struct fuse_file_info *info)
{
    char real[DISK_PATH_MAX];

    if (!disk_names_path(path, real)) {
        return -ENAMETOOLONG;
    }
    int fd = open(real, real_flags(flags), mode);
    if (fd < 0) {
        return -errno;
    }
    info->fh = (uint64_t)fd;
    info->direct_io = 1; /* no second cache: every read and write comes here */
    return 0;
}

static int on_open(const char *path, struct fuse_file_info *info)
{
    (void)pthread_mutex_lock(&lock);
    return end(is_dead ? -EIO : open_real(path, info->flags, 0, info));
}

static int on_create(const char *path, mode_t mode, struct fuse_file_info *info)
{
    int rv = begin(DISK_NAME);

    if (rv != 0) {
        return rv;
    }
    if (disk_faults_space() == 0) {
        return end(disk_faults_take_space(1));
    }
    rv = open_real(path, info->flags | O_CREAT | O_EXCL, mode, info);
    if (rv == -EEXIST && (info->flags & O_EXCL) == 0) {
        return end(open_real(path, info->flags, mode, info));
    }
    return end(rv != 0 ? rv : disk_names_created(path));
}

static int on_release(const char *path, struct fuse_file_info *info)
{
    (void)path;
    (void)close(fd_of(info)); /* what had to last was synced */
    return 0;
}

static int
on_read(const char *path, char *bytes, size_t size, off_t position, struct fuse_file_info *info)
{
    (void)path;
    int rv = begin(DISK_READ);
    if (rv != 0) {
        return rv;
    }
    ssize_t got = pread(fd_of(info), bytes, size, position);
    if (got < 0) {
        return end(-errno);
    }
    disk_faults_touched(fd_of(info), (uint64_t)position, (uint64_t)got, false);
    return end((int)got);
}

/* Takes the space by which the file will grow; `end_position` is the first byte after the write. */
static int take_growth(int fd, uint64_t end_position)
{
    struct stat status;

    if (disk_faults_space() < 0 || fstat(fd, &status) != 0 ||
        end_position <= (uint64_t)status.st_size) {
        return 0;
    }
    return disk_faults_take_space(end_position - (uint64_t)status.st_size);
}

static int on_write(
    const char *path, const char *bytes, size_t size, off_t position, struct fuse_file_info *info)
{
    (void)path;
    int fd = fd_of(info);
    int rv = begin(DISK_WRITE);
    if (rv != 0) {
        return rv;
    }
    rv = take_growth(fd, (uint64_t)position + size);
    if (rv == 0) {
        rv = disk_data_before_write(fd, (uint64_t)position, size);
    }
    if (rv != 0) {
        return end(rv);
    }
    ssize_t done = pwrite(fd, bytes, size, position);
    if (done < 0) {
        return end(-errno);
    }
    disk_faults_touched(fd, (uint64_t)position, (uint64_t)done, true);
    if ((info->flags & O_DSYNC) != 0 && !disk_faults_is_lying()) {
        disk_data_synced(fd);
    }
    return end((int)done);
}

static int on_fsync(const char *path, int is_data, struct fuse_file_info *info)
{
    (void)path;
    (void)is_data;
    int rv = begin(DISK_SYNC);
    if (rv != 0) {
        return rv;
    }
    if (!disk_faults_is_lying()) {
        disk_data_synced(fd_of(info));
    }
    return end(0);
}

static int truncate_fd(int fd, off_t size)
{
    struct stat status;

    if (fstat(fd, &status) != 0) {
        return -errno;
    }
    int rv = take_growth(fd, (uint64_t)size);
    if (rv == 0) {
        rv = disk_data_before_truncate(fd, (uint64_t)size);
    }
    if (rv != 0) {
        return rv;
    }
    if (size < status.st_size) {
        uint64_t cut = (uint64_t)(status.st_size - size);
        disk_faults_give_space(cut);
        disk_faults_touched(fd, (uint64_t)size, cut, true);
    }
    return ftruncate(fd, size) == 0 ? 0 : -errno;
}

static int on_truncate(const char *path, off_t size, struct fuse_file_info *info)
{
    char real[DISK_PATH_MAX];
    int rv = begin(DISK_WRITE);

    if (rv != 0) {
        return rv;
    }
    if (info != NULL) {
        return end(truncate_fd(fd_of(info), size));
    }
    int fd = disk_names_path(path, real) ? open(real, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) {
        return end(-errno);
    }
    rv = truncate_fd(fd, size);
    (void)close(fd); /* durable only after a sync anyway */
    return end(rv);
}

static int on_statfs(const char *path, struct statvfs *status)
{
    char real[DISK_PATH_MAX];

    (void)path;
    if (!disk_names_path("/", real) || statvfs(real, status) != 0) {
        return -errno;
    }
    int64_t space = disk_faults_space();
    if (space >= 0) {
        status->f_bavail = (uint64_t)space / status->f_frsize;
        status->f_bfree = status->f_bavail;
    }
    return 0;
}

/* ---- control --------------------------------------------------------------------------------- */

static void power_cut(const char *request, char *out, size_t out_size)
{
    struct disk_cut_counts counts = { 0 };
    struct sp_rand rand;

    sp_rand_init(&rand, (uint64_t)control_number(request, "seed", 1));
    is_dead = true;
    counts.is_total = control_number(request, "all", 0) != 0;
    disk_data_cut(&rand, &counts);
    disk_names_cut(&rand, &counts);
    (void)snprintf(out,
                   out_size,
                   "ok files=%lu sectors=%lu kept=%lu lost=%lu torn=%lu names=%lu names_undone=%lu",
                   counts.files,
                   counts.sectors,
                   counts.kept,
                   counts.lost,
                   counts.torn,
                   counts.names,
                   counts.names_undone);
}

static void answer(void *arg, const char *request, char *out, size_t out_size)
{
    (void)arg;
    (void)pthread_mutex_lock(&lock);
    if (control_is(request, "cut")) {
        power_cut(request, out, out_size);
    } else if (control_is(request, "on")) {
        is_dead = false;
        (void)snprintf(out, out_size, "ok");
    } else if (!disk_faults_answer(request, out, out_size)) {
        (void)snprintf(out, out_size, "error unknown request");
    }
    (void)pthread_mutex_unlock(&lock);
}

/* One harness after the other. */
static void *control_main(void *arg)
{
    for (;;) {
        int fd = control_accept(listener);
        if (fd < 0) {
            return arg;
        }
        while (control_serve(fd, answer, NULL)) {
        }
        (void)close(fd); /* it is gone */
    }
}

static void *on_init(struct fuse_conn_info *connection, struct fuse_config *config)
{
    static pthread_t thread;

    connection->max_write = WRITE_SIZE_MAX;
    connection->want &= ~(unsigned)FUSE_CAP_SPLICE_READ; /* see disk_serve.h */
    config->hard_remove = 1; /* an open file that is removed keeps its content and no name */
    config->nullpath_ok = 1;
    config->use_ino = 1;
    config->attr_timeout = 0; /* a power cut changes everything behind the kernel's back */
    config->entry_timeout = 0;
    config->negative_timeout = 0;
    if (pthread_create(&thread, NULL, control_main, NULL) != 0) {
        abort();
    }
    return NULL;
}

static const struct fuse_operations operations = {
    .init = on_init,
    .getattr = on_getattr,
    .opendir = on_opendir,
    .releasedir = on_releasedir,
    .readdir = on_readdir,
    .mkdir = on_mkdir,
    .unlink = on_unlink,
    .rmdir = on_rmdir,
    .rename = on_rename,
    .fsyncdir = on_fsyncdir,
    .open = on_open,
    .create = on_create,
    .release = on_release,
    .read = on_read,
    .write = on_write,
    .fsync = on_fsync,
    .truncate = on_truncate,
    .statfs = on_statfs,
};

int main(int argc, char **argv)
{
    char path[DISK_PATH_MAX];

    if (argc != 4) {
        (void)fprintf(stderr, "usage: jepsen-disk BACKING MOUNTPOINT CONTROL_SOCKET\n");
        return 2;
    }
    disk_names_init(argv[1]);
    disk_faults_init();
    (void)mkdir(argv[1], 0750); /* there already is fine, other failures show below */
    (void)snprintf(path, sizeof path, "%s/trash", argv[1]);
    (void)mkdir(path, 0750);
    if (!disk_names_path("", path) || (mkdir(path, 0750) != 0 && errno != EEXIST)) {
        (void)fprintf(stderr, "jepsen-disk: %s: %s\n", path, strerror(errno));
        return 1;
    }
    listener = control_listen(argv[3]);
    if (listener < 0) {
        (void)fprintf(stderr, "jepsen-disk: %s: %s\n", argv[3], strerror(errno));
        return 1;
    }
    return disk_serve(argv[0], argv[2], &operations);
}
