#include "storage/ballast.h"

#include "base/trace.h"
#include "io/file.h"
#include "spate/error.h"
#include "storage/disk.h"

static uint64_t bytes_of(uint64_t reserve_bytes)
{
    uint64_t bytes = reserve_bytes / SP_BALLAST_PART;

    if (bytes < SP_BALLAST_BYTES_MIN) {
        return 0;
    }
    return bytes < SP_BALLAST_BYTES_MAX ? bytes : SP_BALLAST_BYTES_MAX;
}

/* Once a run: it is tried again, and again. */
static void tell_failure(struct sp_ballast *ballast, const char *step, int status)
{
    if (!ballast->told_failure) {
        ballast->told_failure = true;
        SP_TRACE_WARN("storage",
                      "the ballast for a full disk fails, the node goes on without it",
                      "data=%s step=%s error=%s",
                      ballast->directory,
                      step,
                      spate_error_name(status));
    }
}

/* Cuts the file, durably: file systems let go of blocks only then. */
static int cut(const struct sp_ballast *ballast, uint64_t size)
{
    char path[SP_DISK_PATH_SIZE];
    struct sp_file *file = NULL;

    sp_disk_path(path, ballast->directory, SP_BALLAST_NAME);
    int rv = sp_file_open(path, SP_FILE_WRITE, &file);
    if (rv == 0) {
        rv = sp_file_truncate(file, size);
    }
    if (rv == 0) {
        rv = sp_file_sync(file);
    }
    sp_file_close(file);
    return rv;
}

static int size_of_file(const char *path, uint64_t *out_size)
{
    struct sp_file *file = NULL;
    int rv = sp_file_open(path, SP_FILE_READ, &file);

    *out_size = 0;
    if (rv == 0) {
        rv = sp_file_size(file, out_size);
    }
    sp_file_close(file);
    return rv == SPATE_ERR_NOT_FOUND ? 0 : rv;
}

/* Cut and synced, which makes the room, before it is removed, which tells whoever tends it: one who
 * finds it missing is later than that, and one who finds it empty waits for the sync. */
void sp_ballast_spend(const char *directory)
{
    const struct sp_ballast ballast = { .directory = directory };
    char path[SP_DISK_PATH_SIZE];
    uint64_t size = 0;

    sp_disk_path(path, directory, SP_BALLAST_NAME);
    (void)size_of_file(path, &size); /* for the trace alone */
    int rv = cut(&ballast, 0);
    if (rv == SPATE_ERR_NOT_FOUND) {
        return;
    }
    (void)sp_disk_remove(path);
    if (size > 0) {
        SP_TRACE_WARN("storage",
                      "a write has found no space: the ballast is given back",
                      "data=%s ballast_bytes=%llu error=%s",
                      directory,
                      (unsigned long long)size,
                      spate_error_name(rv));
    }
}

bool sp_ballast_stands(const char *directory)
{
    char path[SP_DISK_PATH_SIZE];
    uint64_t size = 0;

    sp_disk_path(path, directory, SP_BALLAST_NAME);
    return size_of_file(path, &size) == 0 && size > 0;
}

/* A file that is not there any more, or cannot be cut, is cut again at the next start. */
static void give_back(struct sp_ballast *ballast, uint64_t free_bytes)
{
    int rv = cut(ballast, 0);

    if (rv == 0) {
        SP_TRACE_WARN("storage",
                      "the disk is all but full: the ballast is given back",
                      "data=%s free_bytes=%llu ballast_bytes=%llu",
                      ballast->directory,
                      (unsigned long long)free_bytes,
                      (unsigned long long)ballast->size);
    } else if (rv != SPATE_ERR_NOT_FOUND) {
        tell_failure(ballast, "giving it back", rv);
    }
    if (rv == 0 || rv == SPATE_ERR_NOT_FOUND) {
        ballast->size = 0;
        ballast->whole = false;
    }
}

void sp_ballast_open(struct sp_ballast *ballast,
                     const char *directory,
                     uint64_t reserve_bytes,
                     uint64_t free_bytes)
{
    char path[SP_DISK_PATH_SIZE];
    int rv;

    *ballast = (struct sp_ballast){ .directory = directory,
                                    .reserve_bytes = reserve_bytes,
                                    .bytes = bytes_of(reserve_bytes) };
    sp_disk_path(path, directory, SP_BALLAST_NAME);
    if (ballast->bytes == 0) {
        rv = sp_disk_remove(path);
    } else {
        rv = size_of_file(path, &ballast->size);
    }
    if (rv == 0 && ballast->size > 0 && free_bytes < ballast->bytes) {
        give_back(ballast, free_bytes);
    } else if (rv == 0 && ballast->size > ballast->bytes) { /* of a larger reserve */
        rv = cut(ballast, ballast->bytes);
        ballast->size = rv == 0 ? ballast->bytes : ballast->size;
    }
    if (rv != 0) {
        tell_failure(ballast, "opening", rv);
    }
}

static int allocate(const char *path, uint64_t bytes)
{
    struct sp_file *file = NULL;
    int rv = sp_file_open(path, SP_FILE_WRITE, &file);

    if (rv == SPATE_ERR_NOT_FOUND) {
        rv = sp_file_open(path, SP_FILE_CREATE, &file);
    }
    if (rv == 0) {
        rv = sp_file_allocate(file, bytes);
    }
    if (rv != 0 && file != NULL) {
        (void)sp_file_truncate(file, 0); /* a part may be there; else the next start cuts it */
    }
    sp_file_close(file);
    return rv;
}

/* Not synced: a file that a power cut takes away is made again. */
static void make(struct sp_ballast *ballast, uint64_t now_ms)
{
    char path[SP_DISK_PATH_SIZE];

    sp_disk_path(path, ballast->directory, SP_BALLAST_NAME);
    int rv = allocate(path, ballast->bytes);
    if (rv == 0) {
        ballast->size = ballast->bytes;
        ballast->whole = true;
        SP_TRACE_INFO("storage",
                      "a ballast is held for a full disk",
                      "file=%s bytes=%llu",
                      path,
                      (unsigned long long)ballast->bytes);
        return;
    }
    ballast->size = 0;
    ballast->retry_ms = now_ms + SP_BALLAST_RETRY_MS;
    tell_failure(ballast, "allocating", rv);
}

static void tell_room(struct sp_ballast *ballast, uint64_t free_bytes)
{
    if (!ballast->told_room && ballast->size == 0) {
        ballast->told_room = true;
        SP_TRACE_INFO("storage",
                      "there is no room for a ballast: it is made once there is",
                      "data=%s free_bytes=%llu ballast_bytes=%llu storage.min.free.bytes=%llu",
                      ballast->directory,
                      (unsigned long long)free_bytes,
                      (unsigned long long)ballast->bytes,
                      (unsigned long long)ballast->reserve_bytes);
    }
}

bool sp_ballast_tend(struct sp_ballast *ballast, uint64_t free_bytes, uint64_t now_ms)
{
    char path[SP_DISK_PATH_SIZE];
    uint64_t before = ballast->size;

    if (ballast->bytes == 0) {
        return false;
    }
    sp_disk_path(path, ballast->directory, SP_BALLAST_NAME);
    if (ballast->size > 0 && !sp_path_exists(path)) { /* somebody has needed the room */
        ballast->size = 0;
        ballast->whole = false;
    }
    if (ballast->size > 0 && sp_ballast_is_low(ballast, free_bytes)) {
        give_back(ballast, free_bytes);
    } else if (!ballast->whole && free_bytes < ballast->reserve_bytes + ballast->bytes) {
        tell_room(ballast, free_bytes);
    } else if (!ballast->whole && now_ms >= ballast->retry_ms) {
        make(ballast, now_ms);
    }
    return ballast->size != before;
}
