/* What this machine can do at best, in the parts of which a replicated log is made: writing with
 * fdatasync (one file, and three at once, as three nodes of one machine do), TCP on loopback (a
 * stream, and round trips), copying, CRC-32C. `limits DIRECTORY [SECONDS]` writes one JSON object;
 * rates are in bytes per second, CPU in seconds per 10^9 bytes, of user and system together.
 *
 * Each part runs for SECONDS (1). DIRECTORY gets three files of 64 MiB, removed at the end. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "measured.h"

enum {
    FILE_BYTES = 64 * 1024 * 1024,
    SYNC_SMALL = 4096,
    SYNC_LARGE = 1024 * 1024,
    SEND_BYTES = 128 * 1024,
    COPY_BYTES = 1024 * 1024,
    PING_BYTES = 1024,
    SAMPLES_MAX = 200000,
    FILES = 3,
};

struct part {
    double bytes;
    double seconds;
    double cpu_s;
    double p50_us; /* of one step; 0: not measured */
};

static uint8_t *memory; /* twice FILE_BYTES, touched */
static double part_seconds = 1;

static void give_up(const char *what)
{
    fprintf(stderr, "limits: %s: %s\n", what, strerror(errno));
    exit(1);
}

static struct part begin_part(void)
{
    return (struct part){ .seconds = -now_s(), .cpu_s = -cpu_s() };
}

static bool goes_on(const struct part *part)
{
    return now_s() + part->seconds < part_seconds;
}

static void end_part(struct part *part)
{
    part->seconds += now_s();
    part->cpu_s += cpu_s();
}

/* ---- disk ------------------------------------------------------------------------------------ */

static int by_value(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;

    return left < right ? -1 : left > right ? 1 : 0;
}

/* The middle one of so many times, in microseconds. */
static double middle_of(double *samples, size_t count)
{
    qsort(samples, count, sizeof samples[0], by_value);
    return count > 0 ? samples[count / 2] : 0;
}

/* What one thread does with one file, which has its bytes already. */
struct writer {
    pthread_t thread;
    int fd;
    size_t size; /* of each piece */
    const struct part *part;
    double *samples; /* SAMPLES_MAX, in microseconds */
    size_t count;
};

/* Writes pieces over the file, each followed by fdatasync. */
static void *write_all(void *arg)
{
    struct writer *writer = arg;
    off_t at = 0;

    while (goes_on(writer->part) && writer->count < SAMPLES_MAX) {
        double begin_s = now_s();
        if (pwrite(writer->fd, memory + at, writer->size, at) != (ssize_t)writer->size ||
            fdatasync(writer->fd) != 0) {
            give_up("write");
        }
        writer->samples[writer->count++] = (now_s() - begin_s) * 1e6;
        at = (at + (off_t)writer->size) % FILE_BYTES;
    }
    return NULL;
}

/* `count` files at once. */
static struct part measure_sync(const int *fds, size_t count, size_t size)
{
    static double samples[FILES][SAMPLES_MAX];
    struct writer writers[FILES];
    struct part part = begin_part();

    for (size_t i = 0; i < count; i++) {
        writers[i] =
            (struct writer){ .fd = fds[i], .size = size, .part = &part, .samples = samples[i] };
        if (pthread_create(&writers[i].thread, NULL, write_all, &writers[i]) != 0) {
            give_up("thread");
        }
    }
    for (size_t i = 0; i < count; i++) {
        (void)pthread_join(writers[i].thread, NULL);
        part.bytes += (double)(writers[i].count * size);
    }
    end_part(&part);
    part.p50_us = middle_of(samples[0], writers[0].count);
    return part;
}

/* A file with all of its bytes, which has no name any more. */
static int open_file(const char *directory)
{
    char path[4096];

    (void)snprintf(path, sizeof path, "%s/limits-%d", directory, (int)getpid());
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0) {
        give_up(path);
    }
    for (off_t at = 0; at < FILE_BYTES; at += SYNC_LARGE) {
        if (pwrite(fd, memory + at, SYNC_LARGE, at) != SYNC_LARGE) {
            give_up(path);
        }
    }
    if (fsync(fd) != 0 || unlink(path) != 0) {
        give_up(path);
    }
    return fd;
}

/* ---- loopback -------------------------------------------------------------------------------- */

static void *receive_all(void *arg)
{
    int fd = *(int *)arg;
    uint8_t *buffer = malloc(SEND_BYTES);

    while (buffer != NULL && read(fd, buffer, SEND_BYTES) > 0) {
    }
    free(buffer);
    return NULL;
}

static void connect_pair(int fds[2])
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) != 0 ||
        listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0) {
        give_up("listen");
    }
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fds[0] < 0 || connect(fds[0], (struct sockaddr *)&address, size) != 0) {
        give_up("connect");
    }
    fds[1] = accept(listener, NULL, NULL);
    if (fds[1] < 0) {
        give_up("accept");
    }
    (void)close(listener);
}

static struct part measure_loopback(void)
{
    int fds[2];
    pthread_t reader;

    connect_pair(fds);
    if (pthread_create(&reader, NULL, receive_all, &fds[1]) != 0) {
        give_up("thread");
    }
    struct part part = begin_part();
    while (goes_on(&part)) {
        ssize_t sent = send(fds[0], memory, SEND_BYTES, MSG_NOSIGNAL);
        if (sent < 0) {
            give_up("send");
        }
        part.bytes += (double)sent;
    }
    (void)shutdown(fds[0], SHUT_WR);
    (void)pthread_join(reader, NULL);
    end_part(&part);
    (void)close(fds[0]);
    (void)close(fds[1]);
    return part;
}

static void *send_back(void *arg)
{
    int fd = *(int *)arg;
    uint8_t buffer[PING_BYTES];

    while (recv(fd, buffer, sizeof buffer, MSG_WAITALL) == (ssize_t)sizeof buffer &&
           send(fd, buffer, sizeof buffer, MSG_NOSIGNAL) == (ssize_t)sizeof buffer) {
    }
    return NULL;
}

/* Round trips of PING_BYTES. */
static struct part measure_ping(void)
{
    static double samples[SAMPLES_MAX];
    uint8_t buffer[PING_BYTES] = { 0 };
    size_t count = 0;
    pthread_t peer;
    int fds[2];

    connect_pair(fds);
    if (pthread_create(&peer, NULL, send_back, &fds[1]) != 0) {
        give_up("thread");
    }
    struct part part = begin_part();
    while (goes_on(&part) && count < SAMPLES_MAX) {
        double begin_s = now_s();
        if (send(fds[0], buffer, sizeof buffer, MSG_NOSIGNAL) != (ssize_t)sizeof buffer ||
            recv(fds[0], buffer, sizeof buffer, MSG_WAITALL) != (ssize_t)sizeof buffer) {
            give_up("ping");
        }
        samples[count++] = (now_s() - begin_s) * 1e6;
        part.bytes += 2 * PING_BYTES;
    }
    (void)shutdown(fds[0], SHUT_WR);
    (void)pthread_join(peer, NULL);
    end_part(&part);
    (void)close(fds[0]);
    (void)close(fds[1]);
    part.p50_us = middle_of(samples, count);
    return part;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static struct part measure_copy(void)
{
    struct part part = begin_part();

    for (size_t i = 0; goes_on(&part); i = (i + 1) % 8) {
        memcpy(memory + FILE_BYTES + i * COPY_BYTES, memory + i * COPY_BYTES, COPY_BYTES);
        __asm__ volatile("" ::: "memory"); /* the copy is wanted */
        part.bytes += COPY_BYTES;
    }
    end_part(&part);
    return part;
}

static struct part measure_crc(void)
{
    static volatile uint32_t sum;
    struct part part = begin_part();

    while (goes_on(&part)) {
        sum = sp_crc32c(sum, memory, COPY_BYTES);
        part.bytes += COPY_BYTES;
    }
    end_part(&part);
    return part;
}

/* ---- output ---------------------------------------------------------------------------------- */

static void print_part(const char *before, const char *name, const struct part *part)
{
    printf("%s\"%s\":{\"bytes_per_s\":%.0f,\"cpu_s_per_gb\":%.4f,\"p50_us\":%.1f}",
           before,
           name,
           part->bytes / part->seconds,
           part->cpu_s / part->bytes * 1e9,
           part->p50_us);
}

static void take_arguments(int argc, char **argv)
{
    char *end = NULL;

    if (argc == 3) {
        part_seconds = strtod(argv[2], &end);
    }
    if (argc < 2 || argc > 3 || (end != NULL && *end != '\0') || !(part_seconds > 0)) {
        fprintf(stderr, "usage: limits DIRECTORY [SECONDS]\n");
        exit(2);
    }
}

int main(int argc, char **argv)
{
    int fds[FILES];

    take_arguments(argc, argv);
    memory = malloc((size_t)2 * FILE_BYTES);
    if (memory == NULL) {
        give_up("memory");
    }
    memset(memory, 0x5a, (size_t)2 * FILE_BYTES);
    for (size_t i = 0; i < FILES; i++) {
        fds[i] = open_file(argv[1]);
    }
    struct part parts[] = {
        measure_sync(fds, 1, SYNC_SMALL),
        measure_sync(fds, 1, SYNC_LARGE),
        measure_sync(fds, FILES, SYNC_SMALL),
        measure_sync(fds, FILES, SYNC_LARGE),
        measure_loopback(),
        measure_ping(),
        measure_copy(),
        measure_crc(),
    };
    static const char *const names[] = { "sync_4k",      "sync_1m",  "sync_3_files_4k",
                                         "sync_3_files", "loopback", "round_trip",
                                         "memcpy",       "crc32c" };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        print_part(i == 0 ? "{" : ",", names[i], &parts[i]);
    }
    printf("}\n");
    for (size_t i = 0; i < FILES; i++) {
        (void)close(fds[i]);
    }
    free(memory);
    return 0;
}
