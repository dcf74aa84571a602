/* Client programs of the simulated world: they use libspate as anybody would, each on its fiber. */
#ifndef SP_SIM_CLIENTS_H
#define SP_SIM_CLIENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "sim_world.h"

#define SIM_CLIENTS_MAX 24u
#define SIM_TOPICS_MAX 8u

struct spate_client;
struct spate_producer;

enum sim_client_kind {
    SIM_CLIENT_ADMIN,
    SIM_CLIENT_PRODUCER,
    SIM_CLIENT_CONSUMER,
    SIM_CLIENT_CHURNER,        /* creates and deletes topics that nobody uses */
    SIM_CLIENT_MEMBER,         /* of the consumer group that reads all topics */
    SIM_CLIENT_NAMED,          /* a producer with a name, see sim_named.h */
    SIM_CLIENT_TRIMMER,        /* truncates, see sim_trim.h */
    SIM_CLIENT_MOVER,          /* moves partitions, see sim_moves.h */
    SIM_CLIENT_READER,         /* asks for ends, see sim_reads.h */
    SIM_CLIENT_COMPACT_WRITER, /* see sim_compact.h */
    SIM_CLIENT_COMPACT_READER,
};

struct sim_client {
    struct sim_process *process;
    enum sim_client_kind kind;
    bool done;       /* has done all that was asked for since `finishing` */
    uint32_t writer; /* of this life */
    unsigned stream; /* NAMED: which */
    struct sp_rand rand;
    uint64_t lives;
};

struct sim_clients {
    struct sim_client clients[SIM_CLIENTS_MAX];
    unsigned count;
    char servers[512];
    struct {
        char name[32];
        uint32_t partitions;
        uint32_t first_place;
        bool created;
    } topics[SIM_TOPICS_MAX];
    unsigned topic_count;
    unsigned kept_topic_count; /* the first so many: all of their records stay */
    uint32_t replicas;
    bool racks;       /* consumers read from the nearest replica */
    unsigned churned; /* topics that churners have asked for */
    unsigned churn_max;
    uint64_t pause_us; /* of a producer between bursts, usually */
    uint32_t burst_max;
    uint32_t value_size_max;
    bool finishing; /* no new records: deliver and read all there is */
};

extern struct sim_clients sim_clients;

struct sim_clients_shape {
    unsigned producers;
    unsigned consumers;
    unsigned topics;
    uint32_t partitions;
    uint32_t replicas;
    unsigned churners;
    unsigned members;
    unsigned streams;             /* of producers with names */
    unsigned programs_per_stream; /* that carry each on */
    unsigned trimmed_topics;      /* besides `topics`: their records go */
    unsigned trimmers;
    bool moves;               /* of partitions, and nodes are drained */
    unsigned readers;         /* that ask for ends */
    bool racks;               /* consumers read from the nearest replica */
    unsigned compact_writers; /* of a compacted topic, besides all others */
    unsigned compact_readers;
};

void sim_clients_init(const struct sim_clients_shape *shape);

/* Starts the first life of all. */
void sim_clients_start(void);

/* In a client's fiber: a number from `low` to `high`. */
uint64_t sim_clients_draw(uint64_t low, uint64_t high);

/* Kills a client and starts its next life soon. */
void sim_clients_kill(struct sim_client *client);

/* Consumers begin anew, from the start. */
void sim_clients_read_again(void);

bool sim_clients_topics_created(void);

/* In a client's fiber: waits until all topics of the seed have been made. */
void sim_clients_await_topics(void);

/* A client of the cluster with settings drawn for the program that runs, and `keys`: pairs that end
 * with NULL, or NULL. */
struct spate_client *sim_clients_connect(const char *const *keys);

/* In a client's fiber: produces a record of a size that chance decides, whose value says which it
 * is. As spate_produce. */
int sim_clients_send(struct spate_producer *producer,
                     uint32_t writer,
                     uint32_t place,
                     uint32_t number,
                     void *opaque);

/* The place of a partition; UINT32_MAX: none. */
uint32_t sim_clients_place(const char *topic, int32_t partition);

/* True when every client has delivered and read all; else *out_why says who has not. */
bool sim_clients_done(char *out_why, unsigned size);

#endif /* SP_SIM_CLIENTS_H */
