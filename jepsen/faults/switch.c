/* jepsen-switch: an Ethernet switch in user space whose links can be slow, lossy or cut, each
 * direction on its own.
 *
 *   namespace 1 -- TAP --+
 *   namespace 2 -- TAP --+-- switch: frame from port S for D -> link[S][D] -> queue by time -> D
 *   namespace 3 -- TAP --+
 *
 * The kernel of this machine need not have netem. A port's address is 02:00:00:00:00:PORT; frames
 * for another address go to all ports. TAP devices are not persistent: they go with the process.
 *
 * Requests (see control.h):
 *   set from=S to=D delay_us= jitter_us= loss_ppm= dup_ppm= reorder_ppm= cut=
 *       corrupt_ppm= reset_ppm= data_delay_us=     (see struct link)
 *   stat                 S>D=forwarded,dropped,duplicated,reordered,delayed,corrupted,reset ...
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/rand.h"
#include "control.h"
#include "switch_tcp.h"

enum {
    PORTS_MAX = 16,
    FRAME_SIZE_MAX = 2048, /* bytes; the MTU of the devices is 1500 */
    FRAMES_MAX = 65536,    /* waiting at the same time: 64 MiB; more are dropped */
    READS_PER_TURN = 64,
    EVENTS_MAX = 32,
    MILLION = 1000 * 1000,
    ETHERNET_HEADER_SIZE = 14,
};

struct link_counts {
    uint64_t forwarded;
    uint64_t dropped;
    uint64_t duplicated;
    uint64_t reordered;
    uint64_t delayed;
    uint64_t corrupted;
    uint64_t reset;
};

struct link {
    uint64_t delay_us;
    uint64_t jitter_us; /* added to the delay, uniform in [0, jitter) */
    uint64_t loss_ppm;
    uint64_t dup_ppm;
    uint64_t reorder_ppm;   /* these frames overtake what was delayed before them */
    uint64_t corrupt_ppm;   /* a bit of a TCP payload flips, the checksum is set right again */
    uint64_t reset_ppm;     /* a segment arrives in part, then its connection is reset */
    uint64_t data_delay_us; /* of TCP segments with a payload: acknowledgements pass at once */
    bool cut;
    uint64_t last_data_due_us;
    uint64_t last_due_us; /* frames of a link keep their order, but for the reordered */
    struct link_counts counts;
};

struct frame {
    uint64_t due_us;
    uint64_t sequence; /* order among frames that are due at the same time */
    unsigned port;
    size_t size;
    uint8_t *bytes; /* owned */
};

struct network {
    unsigned port_count;
    int taps[PORTS_MAX];
    struct link links[PORTS_MAX][PORTS_MAX]; /* [from][to] */
    struct frame *heap;                      /* frames that wait, the first due one in front */
    size_t heap_count;
    uint64_t sequence;
    struct sp_rand rand;
    int epoll;
    int timer;
    int listener;
};

static uint64_t now_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this clock */
    return (uint64_t)now.tv_sec * MILLION + (uint64_t)now.tv_nsec / 1000;
}

/* ---- frames that wait ------------------------------------------------------------------------ */

static bool is_before(const struct frame *a, const struct frame *b)
{
    return a->due_us != b->due_us ? a->due_us < b->due_us : a->sequence < b->sequence;
}

static void heap_push(struct network *network, struct frame frame)
{
    size_t at = network->heap_count;

    network->heap_count += 1;
    while (at > 0 && is_before(&frame, &network->heap[(at - 1) / 2])) {
        network->heap[at] = network->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    network->heap[at] = frame;
}

static struct frame heap_pop(struct network *network)
{
    struct frame first = network->heap[0];
    size_t at = 0;

    network->heap_count -= 1;
    struct frame last = network->heap[network->heap_count];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= network->heap_count) {
            break;
        }
        if (child + 1 < network->heap_count &&
            is_before(&network->heap[child + 1], &network->heap[child])) {
            child += 1;
        }
        if (!is_before(&network->heap[child], &last)) {
            break;
        }
        network->heap[at] = network->heap[child];
        at = child;
    }
    network->heap[at] = last;
    return first;
}

/* ---- links ----------------------------------------------------------------------------------- */

static bool happens(struct network *network, uint64_t ppm)
{
    return ppm > 0 && sp_rand_below(&network->rand, MILLION) < ppm;
}

/* A port that takes no frame at the moment loses it, as a full queue of a real one does. */
static void deliver(struct network *network, const struct frame *frame)
{
    (void)!write(network->taps[frame->port], frame->bytes, frame->size);
}

/* When a frame that came now shall leave. `last_due_us` keeps the order of its kind. */
static uint64_t due_of(struct network *network,
                       struct link *link,
                       uint64_t delay_us,
                       uint64_t *last_due_us,
                       uint64_t now)
{
    uint64_t due = now + delay_us;

    if (link->jitter_us > 0) {
        due += sp_rand_below(&network->rand, link->jitter_us);
    }
    if (happens(network, link->reorder_ppm) && *last_due_us > now) {
        link->counts.reordered += 1;
        return now;
    }
    if (due < *last_due_us) {
        due = *last_due_us;
    }
    *last_due_us = due;
    return due;
}

/* Queues a copy of the frame, or delivers it at once when nothing is to wait for. */
static void send_at(struct network *network, struct link *link, const struct frame *frame)
{
    uint64_t now = now_us();
    struct frame copy = *frame;

    if (copy.due_us <= now && network->heap_count == 0) {
        deliver(network, frame);
        return;
    }
    copy.bytes = network->heap_count < FRAMES_MAX ? malloc(frame->size) : NULL;
    if (copy.bytes == NULL) {
        link->counts.dropped += 1;
        return;
    }
    memcpy(copy.bytes, frame->bytes, frame->size);
    link->counts.delayed += copy.due_us > now;
    copy.sequence = network->sequence;
    network->sequence += 1;
    heap_push(network, copy);
}

/* The stream ends in the middle of a segment: its first bytes arrive, then a reset. */
static void cut_connection(struct network *network,
                           struct link *link,
                           const struct tcp_segment *segment,
                           struct frame *frame)
{
    size_t keep = (size_t)sp_rand_below(&network->rand, segment->payload_size);

    link->counts.reset += 1;
    if (keep > 0) {
        frame->size = tcp_shorten(segment, frame->bytes, keep);
        send_at(network, link, frame);
    }
    frame->size = tcp_reset(segment, frame->bytes, keep);
    send_at(network, link, frame);
}

/* Sends a frame, whose bytes may be changed, over a link that lets it through. */
static void send_frame(struct network *network, struct link *link, struct frame *frame)
{
    struct tcp_segment segment;
    uint64_t now = now_us();
    bool has_data = tcp_parse(frame->bytes, frame->size, &segment);

    if (has_data && link->data_delay_us > 0) {
        uint64_t delay_us = link->delay_us + link->data_delay_us;
        frame->due_us = due_of(network, link, delay_us, &link->last_data_due_us, now);
    } else {
        frame->due_us = due_of(network, link, link->delay_us, &link->last_due_us, now);
    }
    if (has_data && happens(network, link->corrupt_ppm)) {
        tcp_corrupt(&segment, &network->rand);
        link->counts.corrupted += 1;
    }
    if (has_data && happens(network, link->reset_ppm)) {
        cut_connection(network, link, &segment, frame);
        return;
    }
    send_at(network, link, frame);
}

/* Takes a frame of its own: what one link does to it must not reach the others. */
static void forward(struct network *network, unsigned from, struct frame frame)
{
    struct link *link = &network->links[from][frame.port];
    uint8_t bytes[FRAME_SIZE_MAX];

    if (link->cut || happens(network, link->loss_ppm)) {
        link->counts.dropped += 1;
        return;
    }
    memcpy(bytes, frame.bytes, frame.size);
    frame.bytes = bytes;
    link->counts.forwarded += 1;
    if (happens(network, link->dup_ppm)) {
        link->counts.duplicated += 1;
        frame.due_us = due_of(network, link, link->delay_us, &link->last_due_us, now_us());
        send_at(network, link, &frame);
    }
    send_frame(network, link, &frame);
}

static void on_frames(struct network *network, unsigned from)
{
    uint8_t bytes[FRAME_SIZE_MAX];

    for (unsigned i = 0; i < READS_PER_TURN; i++) {
        ssize_t size = read(network->taps[from], bytes, sizeof bytes);
        if (size < ETHERNET_HEADER_SIZE) {
            return;
        }
        struct frame frame = { .size = (size_t)size, .bytes = bytes };
        bool is_known = bytes[0] == 2 && bytes[5] < network->port_count;
        for (unsigned port = 0; port < network->port_count; port++) {
            if (port != from && (!is_known || bytes[5] == port)) {
                frame.port = port;
                forward(network, from, frame);
            }
        }
    }
}

/* Delivers what is due and sets the timer to the next one. */
static void deliver_due(struct network *network)
{
    uint64_t now = now_us();

    while (network->heap_count > 0 && network->heap[0].due_us <= now) {
        struct frame frame = heap_pop(network);
        deliver(network, &frame);
        free(frame.bytes);
    }
    if (network->heap_count > 0) {
        uint64_t due = network->heap[0].due_us;
        struct itimerspec at = { .it_value = { .tv_sec = (time_t)(due / MILLION),
                                               .tv_nsec = (long)(due % MILLION) * 1000 } };
        (void)timerfd_settime(network->timer, TFD_TIMER_ABSTIME, &at, NULL); /* a valid time */
    }
}

/* ---- requests -------------------------------------------------------------------------------- */

static void answer_set(struct network *network, const char *request, char *out, size_t out_size)
{
    uint64_t from = (uint64_t)control_number(request, "from", PORTS_MAX);
    uint64_t to = (uint64_t)control_number(request, "to", PORTS_MAX);

    if (from >= network->port_count || to >= network->port_count) {
        (void)snprintf(out, out_size, "error no such port");
        return;
    }
    struct link *link = &network->links[from][to];
    link->delay_us = (uint64_t)control_number(request, "delay_us", 0);
    link->jitter_us = (uint64_t)control_number(request, "jitter_us", 0);
    link->loss_ppm = (uint64_t)control_number(request, "loss_ppm", 0);
    link->dup_ppm = (uint64_t)control_number(request, "dup_ppm", 0);
    link->reorder_ppm = (uint64_t)control_number(request, "reorder_ppm", 0);
    link->corrupt_ppm = (uint64_t)control_number(request, "corrupt_ppm", 0);
    link->reset_ppm = (uint64_t)control_number(request, "reset_ppm", 0);
    link->data_delay_us = (uint64_t)control_number(request, "data_delay_us", 0);
    link->cut = control_number(request, "cut", 0) != 0;
    (void)snprintf(out, out_size, "ok");
}

static void answer_stat(struct network *network, char *out, size_t out_size)
{
    int used = snprintf(out, out_size, "ok");

    for (unsigned from = 0; from < network->port_count; from++) {
        for (unsigned to = 0; to < network->port_count && (size_t)used < out_size; to++) {
            const struct link_counts *counts = &network->links[from][to].counts;
            used += snprintf(out + used,
                             out_size - (size_t)used,
                             " %u>%u=%lu,%lu,%lu,%lu,%lu,%lu,%lu",
                             from,
                             to,
                             counts->forwarded,
                             counts->dropped,
                             counts->duplicated,
                             counts->reordered,
                             counts->delayed,
                             counts->corrupted,
                             counts->reset);
        }
    }
}

static void answer(void *arg, const char *request, char *out, size_t out_size)
{
    struct network *network = arg;

    if (control_is(request, "set")) {
        answer_set(network, request, out, out_size);
    } else if (control_is(request, "stat")) {
        answer_stat(network, out, out_size);
    } else {
        (void)snprintf(out, out_size, "error unknown request");
    }
}

/* ---- start and turns ------------------------------------------------------------------------- */

static int open_tap(const char *prefix, unsigned port)
{
    struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI };
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0) {
        return -1;
    }
    (void)snprintf(request.ifr_name, sizeof request.ifr_name, "%.8s%u", prefix, port);
    if (ioctl(fd, TUNSETIFF, &request) != 0) {
        (void)close(fd); /* nothing went through it */
        return -1;
    }
    return fd;
}

static bool watch(struct network *network, int fd, uint32_t tag)
{
    struct epoll_event event = { .events = EPOLLIN, .data.u32 = tag };

    return fd >= 0 && epoll_ctl(network->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* Tags of descriptors: ports from 0 on, then these, then descriptors of connections. */
enum {
    TAG_TIMER = 100,
    TAG_LISTENER = 101,
    TAG_CONNECTION = 1000
};

static bool start(struct network *network, const char *prefix, const char *control_path)
{
    network->epoll = epoll_create1(EPOLL_CLOEXEC);
    network->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    network->heap = malloc((size_t)FRAMES_MAX * sizeof *network->heap);
    if (network->epoll < 0 || network->heap == NULL || !watch(network, network->timer, TAG_TIMER)) {
        return false;
    }
    for (unsigned port = 0; port < network->port_count; port++) {
        network->taps[port] = open_tap(prefix, port);
        if (!watch(network, network->taps[port], port)) {
            return false;
        }
    }
    network->listener = control_listen(control_path);
    return watch(network, network->listener, TAG_LISTENER);
}

static void on_control(struct network *network, uint32_t tag)
{
    int fd = (int)(tag - TAG_CONNECTION);

    if (!control_serve(fd, answer, network)) {
        (void)close(fd); /* that harness is gone */
    }
}

static void on_event(struct network *network, uint32_t tag)
{
    uint64_t expirations;

    if (tag < PORTS_MAX) {
        on_frames(network, tag);
    } else if (tag == TAG_TIMER) {
        (void)!read(network->timer, &expirations, sizeof expirations);
    } else if (tag == TAG_LISTENER) {
        int fd = control_accept(network->listener);
        if (fd >= 0 && !watch(network, fd, TAG_CONNECTION + (uint32_t)fd)) {
            (void)close(fd); /* nobody would read it */
        }
    } else {
        on_control(network, tag);
    }
}

int main(int argc, char **argv)
{
    static struct network network;

    if (argc != 5 || atoi(argv[1]) < 1 || atoi(argv[1]) > PORTS_MAX) {
        (void)fprintf(stderr, "usage: jepsen-switch PORTS(1-16) TAP_PREFIX SEED CONTROL_SOCKET\n");
        return 2;
    }
    network.port_count = (unsigned)atoi(argv[1]);
    sp_rand_init(&network.rand, strtoull(argv[3], NULL, 10));
    if (!start(&network, argv[2], argv[4])) {
        (void)fprintf(stderr, "jepsen-switch: %s\n", strerror(errno));
        return 1;
    }
    (void)printf("ready\n");
    (void)fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS_MAX];
        int count = epoll_wait(network.epoll, events, EVENTS_MAX, -1);
        if (count < 0 && errno != EINTR) {
            return 1;
        }
        for (int i = 0; i < count; i++) {
            on_event(&network, events[i].data.u32);
        }
        deliver_due(&network);
    }
}
