/* What this machine can do at best, in the parts of which a replicated log is made: writing with
 * fdatasync, TCP on loopback, copying, CRC-32C. `limits DIRECTORY` writes one JSON object; rates
 * are in bytes per second, CPU in seconds per 10^9 bytes, of user and system together.
 *
 * Each part runs for about a second. DIRECTORY gets one file of 64 MiB, removed at the end. */
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
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/crc32c.h"

enum {
    FILE_BYTES = 64 * 1024 * 1024,
    SYNC_SMALL = 4096,
    SYNC_LARGE = 1024 * 1024,
    SEND_BYTES = 128 * 1024,
    COPY_BYTES = 1024 * 1024,
    SAMPLES_MAX = 200000,
};

#define PART_SECONDS 1.0

struct part {
    double bytes;
    double seconds;
    double cpu_s;
    double p50_us; /* of one step; 0: not measured */
};

static uint8_t *memory; /* twice FILE_BYTES, touched */

static double now_s(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static double cpu_s(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

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
    return now_s() + part->seconds < PART_SECONDS;
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

/* Writes pieces of `size` over a file that has its bytes already, each followed by fdatasync. */
static struct part measure_sync(int fd, size_t size)
{
    static double samples[SAMPLES_MAX];
    size_t count = 0;
    off_t at = 0;
    struct part part = begin_part();

    while (goes_on(&part) && count < SAMPLES_MAX) {
        double begin_s = now_s();
        if (pwrite(fd, memory + at, size, at) != (ssize_t)size || fdatasync(fd) != 0) {
            give_up("write");
        }
        samples[count++] = (now_s() - begin_s) * 1e6;
        part.bytes += (double)size;
        at = (at + (off_t)size) % FILE_BYTES;
    }
    end_part(&part);
    qsort(samples, count, sizeof samples[0], by_value);
    part.p50_us = samples[count / 2];
    return part;
}

static int open_file(const char *directory, char *path, size_t path_size)
{
    (void)snprintf(path, path_size, "%s/limits-%d", directory, (int)getpid());
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0) {
        give_up(path);
    }
    for (off_t at = 0; at < FILE_BYTES; at += SYNC_LARGE) {
        if (pwrite(fd, memory + at, SYNC_LARGE, at) != SYNC_LARGE) {
            give_up(path);
        }
    }
    if (fsync(fd) != 0) {
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

static void print_part(const char *name, const struct part *part, const char *behind)
{
    printf("\"%s\":{\"bytes_per_s\":%.0f,\"cpu_s_per_gb\":%.4f,\"p50_us\":%.1f}%s",
           name,
           part->bytes / part->seconds,
           part->cpu_s / part->bytes * 1e9,
           part->p50_us,
           behind);
}

int main(int argc, char **argv)
{
    char path[4096];

    if (argc != 2) {
        fprintf(stderr, "usage: limits DIRECTORY\n");
        return 2;
    }
    memory = malloc((size_t)2 * FILE_BYTES);
    if (memory == NULL) {
        give_up("memory");
    }
    memset(memory, 0x5a, (size_t)2 * FILE_BYTES);
    int fd = open_file(argv[1], path, sizeof path);
    struct part small = measure_sync(fd, SYNC_SMALL);
    struct part large = measure_sync(fd, SYNC_LARGE);
    (void)close(fd);
    (void)unlink(path);
    struct part loopback = measure_loopback();
    struct part copy = measure_copy();
    struct part crc = measure_crc();
    printf("{");
    print_part("sync_4k", &small, ",");
    print_part("sync_1m", &large, ",");
    print_part("loopback", &loopback, ",");
    print_part("memcpy", &copy, ",");
    print_part("crc32c", &crc, "}\n");
    free(memory);
    return 0;
}
