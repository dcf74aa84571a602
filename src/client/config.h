/* The settings of a client, each with its range and its default. */
#ifndef SP_CLIENT_CONFIG_H
#define SP_CLIENT_CONFIG_H

#include "base/limits.h"
#include "spate/client.h"
#include "wire/batch.h"

#define SP_CLIENT_SERVERS_MAX SP_NODES_MAX /* more seeds than a cluster has nodes help nobody */
#define SP_CLIENT_PORT_DEFAULT "7700"

/* Where a consumer group begins that has not committed an offset. */
enum sp_offset_reset {
    SP_OFFSET_RESET_START,
    SP_OFFSET_RESET_END,
    SP_OFFSET_RESET_NONE, /* it is an error */
};

struct spate_config {
    char *servers; /* normalised: "host:port,host:port", owned */
    char client_name[SP_CLIENT_NAME_SIZE_MAX + 1];
    char client_rack[SP_CONSUMER_RACK_SIZE_MAX + 1];       /* "": not said */
    char producer_name[SP_PRODUCER_NAME_SIZE_MAX + 1];     /* "": producers have no name */
    char producer_layout[SP_PRODUCER_LAYOUT_SIZE_MAX + 1]; /* with a name only */
    uint32_t timeout_ms;
    uint32_t linger_ms;
    uint32_t batch_bytes;
    enum sp_compression compression;
    uint32_t in_flight_max; /* at most SP_PRODUCER_BATCHES_KEPT, else a retry could be forgotten */
    uint32_t buffer_bytes;
    uint32_t fetch_bytes;
    uint32_t fetch_wait_ms;
    uint32_t prefetch_bytes;
    uint32_t stall_ms;                                  /* 0: never told */
    char group_id[SP_CONSUMER_GROUP_NAME_SIZE_MAX + 1]; /* "": none */
    char group_instance[SP_CLIENT_NAME_SIZE_MAX + 1];   /* "": one made up for each consumer */
    uint32_t session_ms;
    uint32_t rebalance_ms;
    uint32_t commit_interval_ms; /* 0: by hand */
    enum sp_offset_reset offset_reset;
    spate_log_cb log_cb; /* NULL: nobody listens */
    void *log_arg;
    bool io_thread;    /* the client turns its loop on a thread of its own */
    bool linearizable; /* of offsets and fetches: nothing acknowledged before is left out */
};

/* Makes *out a copy of `config`; sp_config_deinit gives it back. SPATE_ERR_NOMEM. */
int sp_config_copy(const struct spate_config *config, struct spate_config *out);

/* Frees what the struct owns, not the struct. */
void sp_config_deinit(struct spate_config *config);

/* Sets `servers` from "a, b:7800", kept as "a:7700,b:7800". SPATE_ERR_INVALID, SPATE_ERR_NOMEM. */
int sp_config_set_servers(struct spate_config *config, const char *value);

/* Copies the first address of *list (as in `servers`) to `out` and moves *list behind it. False at
 * the end. */
bool sp_config_next_server(const char **list, char out[SP_ADDRESS_SIZE_MAX]);

#endif /* SP_CLIENT_CONFIG_H */
