/* A load generator for other servers, of the shape of `spate bench`: one thread, one connection.
 *
 *   load.c: schedule, window, figures --publish, begin_reading--> a protocol (nats.c,
 *   rabbit.c) --bytes--> the socket; its answers --load_acknowledged, load_received--> load.c
 *
 * A latency runs from the moment at which a record was due (with a rate: by the schedule; else when
 * it was handed over) to its acknowledgement. Any failure ends the program with a message. */
#ifndef SPATE_BENCH_LOAD_H
#define SPATE_BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/rand.h"
#include "cli/latency_histogram.h"

enum {
    LOAD_SERVERS_MAX = 8,
    LOAD_WINDOW_MAX = 65536,       /* a power of two */
    LOAD_POOL_BYTES = 1024 * 1024, /* values begin anywhere in the first, end in the second */
    LOAD_SIZE_MAX = LOAD_POOL_BYTES,
    LOAD_OUT_BYTES = 4 * 1024 * 1024,
    LOAD_IN_BYTES = 32 * 1024 * 1024,
};

struct load;

/* What speaks with one kind of server. Record ids count up from 1. */
struct load_protocol {
    const char *name;

    /* Logs in; makes the stream if `make`. Connected to load->ports[0] when it begins. */
    void (*open)(struct load *load, bool make);

    /* Puts `count` records into the output; `load_value` gives their bytes. */
    void (*publish)(struct load *load, uint64_t first_id, unsigned count);

    /* Asks for all records from the first one on, and for more as they come. */
    void (*begin_reading)(struct load *load);

    /* Takes one whole message from the front of `size` bytes of input: how many it took; 0: there
     * is no whole one yet. */
    size_t (*take)(struct load *load, const uint8_t *bytes, size_t size);

    void (*drop)(struct load *load); /* the stream */
};

extern const struct load_protocol load_nats;
extern const struct load_protocol load_rabbit;

struct load {
    const struct load_protocol *protocol;
    const char *stream;
    uint16_t ports[LOAD_SERVERS_MAX]; /* on loopback, in the order of their names */
    size_t port_count;
    int64_t servers[LOAD_SERVERS_MAX]; /* process ids */
    size_t server_count;
    size_t size;     /* bytes of a value */
    uint64_t window; /* records without an answer at most */
    unsigned burst;  /* records handed over together when no rate is set */
    uint64_t rate;   /* records a second; 0: as fast as the window allows */
    uint64_t count;  /* records in all; 0: `seconds` decides */
    double seconds;  /* measured */
    double warmup_s; /* before that */
    bool consume;    /* read a stream of `count` records, again and again, for `seconds` */
    bool keep;       /* the stream stays */

    int fd;
    uint8_t *out; /* LOAD_OUT_BYTES */
    size_t out_begin;
    size_t out_end;
    uint8_t *in; /* LOAD_IN_BYTES */
    size_t in_begin;
    size_t in_end;
    uint8_t *pool; /* twice LOAD_POOL_BYTES of values */
    struct sp_rand rand;

    uint64_t sent;
    uint64_t done;     /* answered */
    uint64_t received; /* of this pass of reading */
    bool answered;     /* for protocols: a call of theirs has its answer */
    uint64_t *due_us;  /* of each record of the window, by id */
    uint64_t now_us;   /* when the input came */
    bool measuring;
    uint64_t records;
    uint64_t failed;
    struct latency_histogram latency;
};

/* Reads the arguments of the program; wrong ones end it. */
void load_take_arguments(struct load *load, int argc, char **argv);

/* ---- for protocols --------------------------------------------------------------------------- */

SP_NORETURN void load_give_up(const struct load *load, const char *what);

/* (Re)connects to the server on this port of loopback; what was to be sent or read is forgotten. */
void load_connect(struct load *load, uint16_t port);

/* Room for `size` bytes at the end of the output, which the caller fills. */
uint8_t *load_room(struct load *load, size_t size);

/* The bytes of the next record. */
const uint8_t *load_value(struct load *load);

/* Sends and takes until load->answered, a minute at most. */
void load_wait(struct load *load);

/* The same for at most `wait_us`; was it answered? */
bool load_wait_for(struct load *load, uint64_t wait_us);

void load_acknowledged(struct load *load, uint64_t id);
void load_failed(struct load *load, const char *why, size_t size);
void load_received(struct load *load, uint64_t records);

#endif /* SPATE_BENCH_LOAD_H */
