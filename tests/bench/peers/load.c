#include "load.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/clock.h"
#include "io/process.h"

enum {
    AHEAD_BYTES = 512 * 1024, /* of output made before it is sent */
    WAIT_US = 5000,
    STALL_US = 20 * 1000 * 1000, /* without an answer: the server is gone */
    ANSWER_US = 60 * 1000 * 1000,
    SOCKET_BYTES = 1024 * 1024,
};

void load_give_up(const struct load *load, const char *what)
{
    fprintf(stderr, "peer_load: %s: %s\n", load->protocol->name, what);
    exit(1);
}

/* ---- the socket ------------------------------------------------------------------------------ */

void load_connect(struct load *load, uint16_t port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const int on = 1;
    const int buffer_bytes = SOCKET_BYTES;

    if (load->fd >= 0) {
        (void)close(load->fd);
    }
    load->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (load->fd < 0 || connect(load->fd, (struct sockaddr *)&address, sizeof address) != 0) {
        load_give_up(load, strerror(errno));
    }
    (void)setsockopt(load->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(load->fd, SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof buffer_bytes);
    load->out_begin = load->out_end = 0;
    load->in_begin = load->in_end = 0;
}

uint8_t *load_room(struct load *load, size_t size)
{
    size_t pending = load->out_end - load->out_begin;

    if (load->out_end + size > LOAD_OUT_BYTES) {
        memmove(load->out, load->out + load->out_begin, pending);
        load->out_begin = 0;
        load->out_end = pending;
    }
    if (load->out_end + size > LOAD_OUT_BYTES) {
        load_give_up(load, "a message is larger than the output");
    }
    uint8_t *room = load->out + load->out_end;
    load->out_end += size;
    return room;
}

static bool flush_out(struct load *load)
{
    if (load->out_begin == load->out_end) {
        return false;
    }
    ssize_t sent = send(load->fd,
                        load->out + load->out_begin,
                        load->out_end - load->out_begin,
                        MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        load_give_up(load, strerror(errno));
    }
    if (sent <= 0) {
        return false;
    }
    load->out_begin += (size_t)sent;
    if (load->out_begin == load->out_end) {
        load->out_begin = load->out_end = 0;
    }
    return true;
}

static void take_all(struct load *load)
{
    size_t taken;

    do {
        taken =
            load->protocol->take(load, load->in + load->in_begin, load->in_end - load->in_begin);
        load->in_begin += taken;
    } while (taken > 0 && load->in_begin < load->in_end);
    if (load->in_begin == load->in_end) {
        load->in_begin = load->in_end = 0;
    } else if (load->in_begin > LOAD_IN_BYTES / 2) {
        memmove(load->in, load->in + load->in_begin, load->in_end - load->in_begin);
        load->in_end -= load->in_begin;
        load->in_begin = 0;
    }
}

static bool fill_in(struct load *load)
{
    if (load->in_end == LOAD_IN_BYTES) {
        load_give_up(load, "a message is larger than the input");
    }
    ssize_t got =
        recv(load->fd, load->in + load->in_end, LOAD_IN_BYTES - load->in_end, MSG_DONTWAIT);
    if (got == 0) {
        load_give_up(load, "the server closed the connection");
    }
    if (got < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            load_give_up(load, strerror(errno));
        }
        return false;
    }
    load->in_end += (size_t)got;
    load->now_us = sp_clock_us();
    take_all(load);
    return true;
}

/* Sends and takes what there is; waits when there is neither. */
static void turn(struct load *load, uint64_t wait_us)
{
    bool sent = flush_out(load);
    bool got = fill_in(load);
    short events = load->out_begin < load->out_end ? POLLIN | POLLOUT : POLLIN;
    struct pollfd ready = { .fd = load->fd, .events = events };
    struct timespec wait = { .tv_sec = (time_t)(wait_us / 1000000),
                             .tv_nsec = (long)(wait_us % 1000000) * 1000 };

    if (!sent && !got && wait_us > 0) {
        (void)ppoll(&ready, 1, &wait, NULL); /* what came of it is seen by the next turn */
    }
}

bool load_wait_for(struct load *load, uint64_t wait_us)
{
    uint64_t end_us = sp_clock_us() + wait_us;

    while (!load->answered && sp_clock_us() < end_us) {
        turn(load, WAIT_US);
    }
    bool answered = load->answered;
    load->answered = false;
    return answered;
}

void load_wait(struct load *load)
{
    if (!load_wait_for(load, ANSWER_US)) {
        load_give_up(load, "no answer in a minute");
    }
}

/* ---- records --------------------------------------------------------------------------------- */

const uint8_t *load_value(struct load *load)
{
    return load->pool + sp_rand_next(&load->rand) % LOAD_POOL_BYTES;
}

void load_acknowledged(struct load *load, uint64_t id)
{
    uint64_t due_us = load->due_us[id % LOAD_WINDOW_MAX];

    load->done += 1;
    if (load->measuring) {
        load->records += 1;
        latency_add(&load->latency, load->now_us > due_us ? load->now_us - due_us : 0);
    }
}

void load_failed(struct load *load, const char *why, size_t size)
{
    if (load->failed == 0) {
        fprintf(stderr, "peer_load: %s: %.*s\n", load->protocol->name, (int)size, why);
    }
    load->failed += 1;
    load->done += 1;
}

void load_received(struct load *load, uint64_t records)
{
    load->received += records;
    load->records += load->measuring ? records : 0;
}

/* Hands over what is due and the window allows. Returns for how long there is nothing to do. */
static uint64_t send_due(struct load *load, uint64_t begin_us)
{
    uint64_t now_us = sp_clock_us();

    while (load->out_end - load->out_begin < AHEAD_BYTES) {
        uint64_t room = load->window - (load->sent - load->done);
        uint64_t left = load->count > 0 ? load->count - load->sent : UINT64_MAX;
        uint64_t many = load->rate > 0 ? 1 : load->burst;
        uint64_t due_us = load->rate > 0 ? begin_us + load->sent * 1000000 / load->rate : now_us;

        many = many < left ? many : left;
        if (due_us > now_us) {
            return due_us - now_us;
        }
        if (many == 0 || room < many) {
            break;
        }
        for (uint64_t i = 1; i <= many; i++) {
            load->due_us[(load->sent + i) % LOAD_WINDOW_MAX] = due_us;
        }
        load->protocol->publish(load, load->sent + 1, (unsigned)many);
        load->sent += many;
    }
    return WAIT_US;
}

/* ---- runs ------------------------------------------------------------------------------------ */

struct costs {
    double client_s;
    double servers_s;
    uint64_t at_us;
};

static struct costs costs_now(const struct load *load)
{
    struct costs costs = { .at_us = sp_clock_us() };
    uint64_t used_ns = 0;

    (void)sp_process_cpu_ns(0, &used_ns); /* cannot fail: this process is there */
    costs.client_s = (double)used_ns / 1e9;
    for (size_t i = 0; i < load->server_count; i++) {
        if (load->servers[i] <= 0 || sp_process_cpu_ns(load->servers[i], &used_ns) != 0) {
            load_give_up(load, "a process of --server-pids is not there");
        }
        costs.servers_s += (double)used_ns / 1e9;
    }
    return costs;
}

static void check_progress(struct load *load, uint64_t *seen, uint64_t *since_us)
{
    uint64_t now_us = sp_clock_us();

    if (load->done + load->received != *seen || *since_us == 0) {
        *seen = load->done + load->received;
        *since_us = now_us;
    } else if (now_us - *since_us > STALL_US && load->sent > load->done) {
        load_give_up(load, "no answer in twenty seconds");
    }
}

/* Sends until `count` or the time is reached, and waits for the answers. */
static void send_all(struct load *load, struct costs *begin, struct costs *end)
{
    uint64_t begin_us = sp_clock_us();
    uint64_t measure_us = begin_us + (uint64_t)(load->warmup_s * 1e6);
    uint64_t stop_us = load->count > 0 ? UINT64_MAX : measure_us + (uint64_t)(load->seconds * 1e6);
    uint64_t seen = 0;
    uint64_t since_us = 0;

    *begin = (struct costs){ 0 };
    while (load->count == 0 || load->done < load->count) {
        uint64_t now_us = sp_clock_us();
        if (begin->at_us == 0 && now_us >= measure_us) {
            *begin = costs_now(load);
            load->measuring = true;
        }
        if (now_us >= stop_us) {
            break;
        }
        turn(load, send_due(load, begin_us));
        check_progress(load, &seen, &since_us);
    }
    *end = costs_now(load);
    load->measuring = false;
    while (load->done < load->sent) {
        turn(load, WAIT_US);
        check_progress(load, &seen, &since_us);
    }
}

static void read_all(struct load *load, struct costs *begin, struct costs *end)
{
    uint64_t stop_us = UINT64_MAX;
    uint64_t give_up_us = sp_clock_us() + STALL_US;

    *begin = (struct costs){ 0 };
    load->received = 0;
    load->protocol->begin_reading(load);
    while (sp_clock_us() < stop_us) {
        turn(load, WAIT_US);
        if (!load->measuring && load->received > 0) {
            *begin = costs_now(load);
            load->measuring = true;
            stop_us = begin->at_us + (uint64_t)(load->seconds * 1e6);
            give_up_us = stop_us + STALL_US;
        }
        if (load->received >= load->count) {
            load->received = 0;
            load->protocol->begin_reading(load);
        }
        if (sp_clock_us() > give_up_us) {
            load_give_up(load, "nothing to read");
        }
    }
    *end = costs_now(load);
    load->measuring = false;
}

/* ---- output ---------------------------------------------------------------------------------- */

static void print_ms(const char *name, const struct load *load, double share)
{
    if (load->latency.total == 0) {
        printf("\"%s\":null,", name);
    } else {
        printf("\"%s\":%.3f,", name, (double)latency_percentile_us(&load->latency, share) / 1000);
    }
}

static void print_result(const struct load *load, struct costs begin, struct costs end)
{
    double seconds = (double)(end.at_us - begin.at_us) / 1e6;
    double millions = (double)load->records / 1e6;
    double gigabytes = (double)load->records * (double)load->size / 1e9;
    double client_s = end.client_s - begin.client_s;
    double servers_s = end.servers_s - begin.servers_s;

    if (load->records == 0) {
        load_give_up(load, "no record was measured");
    }
    printf("{\"kind\":\"%s\",\"size_bytes\":%zu,\"seconds\":%.3f,\"records\":%" PRIu64
           ",\"failed\":%" PRIu64 ",\"records_per_s\":%.1f,\"mb_per_s\":%.3f,",
           load->consume ? "consume" : "produce",
           load->size,
           seconds,
           load->records,
           load->failed,
           (double)load->records / seconds,
           gigabytes * 1000 / seconds);
    print_ms("p50_ms", load, 0.5);
    print_ms("p99_ms", load, 0.99);
    print_ms("p999_ms", load, 0.999);
    printf("\"client_cpu_s_per_million\":%.4f,\"server_cpu_s_per_million\":%.4f,"
           "\"cpu_s_per_gb\":%.4f}\n",
           client_s / millions,
           servers_s / millions,
           (client_s + servers_s) / gigabytes);
}

/* --- the program ------------------------------------------------------------------------------ */

static void have_memory(struct load *load)
{
    load->out = malloc(LOAD_OUT_BYTES);
    load->in = malloc(LOAD_IN_BYTES);
    load->pool = malloc((size_t)2 * LOAD_POOL_BYTES);
    load->due_us = calloc(LOAD_WINDOW_MAX, sizeof *load->due_us);
    if (load->out == NULL || load->in == NULL || load->pool == NULL || load->due_us == NULL) {
        load_give_up(load, "no memory");
    }
    sp_rand_init(&load->rand, 1);
    for (size_t i = 0; i < (size_t)2 * LOAD_POOL_BYTES; i++) {
        load->pool[i] = (uint8_t)sp_rand_next(&load->rand); /* as spate bench does */
    }
}

int main(int argc, char **argv)
{
    static struct load load = { .stream = "compare",
                                .size = 1024,
                                .window = 1000,
                                .burst = 1,
                                .seconds = 5,
                                .warmup_s = 1,
                                .fd = -1 };
    struct costs begin;
    struct costs end;

    load_take_arguments(&load, argc, argv);
    have_memory(&load);
    load_connect(&load, load.ports[0]);
    load.protocol->open(&load, true);
    if (load.consume) {
        load.warmup_s = 0;
        send_all(&load, &begin, &end);
        load.records = 0;
        memset(&load.latency, 0, sizeof load.latency);
        read_all(&load, &begin, &end);
    } else {
        send_all(&load, &begin, &end);
    }
    print_result(&load, begin, end);
    if (!load.keep) {
        load.protocol->drop(&load);
    }
    (void)close(load.fd);
    free(load.out);
    free(load.in);
    free(load.pool);
    free(load.due_us);
    return 0;
}
