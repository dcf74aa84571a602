/* What it would bring to recycle segment files: `segments DIRECTORY WRITE_BYTES SEGMENTS`.
 *
 * Writes segments of 64 MiB as the log does, WRITE_BYTES and an fdatasync at a time, in turns:
 *   fresh      a new file; the oldest one is removed
 *   recycled   the oldest file, renamed, and written over from its beginning
 * and prints of each: MB/s, CPU-seconds a GB, p50 and p99 of a write with its sync, and what the
 * change of files takes. The first segment of each is not counted. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "measured.h"

enum {
    SEGMENT_BYTES = 64 * 1024 * 1024,
    KEPT = 4, /* segments that stay behind the newest one */
    PATH_SIZE = 512,
};

struct mode {
    const char *name;
    bool recycles;
    unsigned made;
    double *took_ms;
    unsigned took_count;
    double seconds;
    double cpu_seconds;
    double change_ms;
    uint64_t bytes;
};

static void check(int rv, const char *what)
{
    if (rv != 0) {
        (void)fprintf(stderr, "%s: %d\n", what, rv);
        exit(1);
    }
}

static void path_of(char *path, const char *directory, const struct mode *mode, unsigned number)
{
    (void)snprintf(path, PATH_SIZE, "%s/%s.%u", directory, mode->name, number);
}

/* Opens the next segment's file and lets the oldest one go, durably. */
static struct sp_file *change(const char *directory, struct mode *mode)
{
    char path[PATH_SIZE];
    char oldest[PATH_SIZE];
    struct sp_file *file = NULL;
    bool full = mode->made > KEPT;

    path_of(path, directory, mode, mode->made);
    path_of(oldest, directory, mode, mode->made - (full ? KEPT + 1 : 0));
    if (mode->recycles && full) {
        check(sp_path_rename(oldest, path), "rename");
        check(sp_file_open(path, SP_FILE_WRITE, &file), "open");
    } else {
        check(sp_file_open(path, SP_FILE_CREATE, &file), "create");
        check(full ? sp_path_remove(oldest) : 0, "remove");
    }
    check(sp_dir_sync(directory), "sync of the directory");
    mode->made += 1;
    return file;
}

static void write_segment(const char *directory, struct mode *mode, const void *bytes, size_t size)
{
    bool counts = mode->made > KEPT + 1;
    double begun = now_s();
    double cpu_begun = cpu_s();
    struct sp_file *file = change(directory, mode);
    double changed = now_s();

    for (uint64_t position = 0; position + size <= SEGMENT_BYTES; position += size) {
        const struct sp_iovec piece = { bytes, size };
        double write_begun = now_s();
        check(sp_file_write(file, position, &piece, 1), "write");
        check(sp_file_sync(file), "sync");
        if (counts) {
            mode->took_ms[mode->took_count++] = (now_s() - write_begun) * 1000;
        }
    }
    sp_file_close(file);
    if (counts) {
        mode->seconds += now_s() - begun;
        mode->cpu_seconds += cpu_s() - cpu_begun;
        mode->change_ms += (changed - begun) * 1000;
        mode->bytes += SEGMENT_BYTES;
    }
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;

    return left < right ? -1 : left > right;
}

static void report(const struct mode *mode)
{
    double gigabytes = (double)mode->bytes / 1e9;

    qsort(mode->took_ms, mode->took_count, sizeof mode->took_ms[0], compare);
    (void)printf(
        "%-9s %6.0f MB/s  %5.2f CPU-s/GB  write p50 %.3f ms  p99 %.3f ms  change %.2f ms\n",
        mode->name,
        gigabytes * 1000 / mode->seconds,
        mode->cpu_seconds / gigabytes,
        mode->took_ms[mode->took_count / 2],
        mode->took_ms[mode->took_count * 99 / 100],
        mode->change_ms * SEGMENT_BYTES / (double)mode->bytes);
}

int main(int argc, char **argv)
{
    struct mode modes[] = { { .name = "fresh" }, { .name = "recycled", .recycles = true } };

    if (argc != 4) {
        (void)fprintf(stderr, "usage: segments DIRECTORY WRITE_BYTES SEGMENTS\n");
        return 2;
    }
    size_t size = strtoul(argv[2], NULL, 10);
    unsigned segments = (unsigned)strtoul(argv[3], NULL, 10) + KEPT + 2;
    char *bytes = malloc(size);
    if (size == 0 || size > SEGMENT_BYTES || bytes == NULL || segments > 10000) {
        return 2;
    }
    memset(bytes, 'x', size);
    for (unsigned i = 0; i < 2; i++) {
        modes[i].took_ms = calloc((size_t)segments * (SEGMENT_BYTES / size), sizeof(double));
        if (modes[i].took_ms == NULL) {
            return 1;
        }
    }
    for (unsigned k = 0; k < segments; k++) {
        for (unsigned i = 0; i < 2; i++) {
            write_segment(argv[1], &modes[i], bytes, size);
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        report(&modes[i]);
        for (unsigned k = modes[i].made - KEPT - 1; k < modes[i].made; k++) {
            char path[PATH_SIZE];
            path_of(path, argv[1], &modes[i], k);
            (void)sp_path_remove(path);
        }
        free(modes[i].took_ms);
    }
    free(bytes);
    return 0;
}
