/* A node's configuration: one table of keys, read from YAML, the environment and --set.
 *
 *   defaults < file (YAML, nested or dotted keys) < SPATE_NODE_* < --set key=value
 *
 * Errors name where the value came from (file and line, variable, or option), the key, and what is
 * allowed. */
#ifndef SP_SERVER_CONFIG_H
#define SP_SERVER_CONFIG_H

#include <stdbool.h>
#include <stdio.h>

#include "cluster/transport.h"

struct sp_config {
    uint32_t node_id;
    uint32_t shards;
    uint32_t shard; /* no key: the one that this configuration is of, see config_shards.h */
    char data_dir[4096];
    char listen_client[SP_ADDRESS_SIZE_MAX];
    char listen_peer[SP_ADDRESS_SIZE_MAX];
    char listen_http[SP_ADDRESS_SIZE_MAX];       /* "": beside listen_client; "none" */
    char advertise_client[SP_ADDRESS_SIZE_MAX];  /* "": as listen_client */
    char listen_outside[SP_ADDRESS_SIZE_MAX];    /* "": no second client port */
    char advertise_outside[SP_ADDRESS_SIZE_MAX]; /* "": as listen_outside */
    char advertise_peer[SP_ADDRESS_SIZE_MAX];    /* "": as in the seed list, else as listen_peer */
    char rack[64];
    char seeds[SP_NODES_MAX * (SP_ADDRESS_SIZE_MAX + 8)];         /* "1@host:port,2@host:port" */
    char join[SP_JOIN_ADDRESSES_MAX * (SP_ADDRESS_SIZE_MAX + 1)]; /* "host:port,host:port" */
    char trace_level[16];
    uint32_t election_timeout_ms;
    uint32_t heartbeat_ms;
    uint32_t segment_bytes;
    uint32_t free_bytes_min;
    uint32_t spare_bytes;
    uint32_t prefill_bytes;
    uint32_t compaction_bytes_per_s;
    uint32_t compaction_memory_bytes;
    uint32_t connections_max;
    uint32_t group_retention_ms;
    uint32_t group_stalled_ms;
    uint32_t client_bytes_max;
    uint32_t node_replace_ms;
    uint32_t move_bytes_per_s;
    struct sp_feature_range features; /* no key: what the build knows */
};

/* A text for the operator; empty when there is nothing to say. */
struct sp_config_error {
    char text[768];
};

void sp_config_init(struct sp_config *config);

/* SPATE_ERR_NOT_FOUND: no such file; SPATE_ERR_CONFIG. *error says what and where. */
int sp_config_read_file(struct sp_config *config, const char *path, struct sp_config_error *error);

/* Values of SPATE_NODE_* in `environment` (as environ). A variable with that prefix that names no
 * key is an error, since it is most likely misspelt. */
int sp_config_read_environment(struct sp_config *config,
                               char *const *environment,
                               struct sp_config_error *error);

/* One "key=value". */
int sp_config_set(struct sp_config *config, const char *assignment, struct sp_config_error *error);

/* Checks what concerns several keys, and fills *out_transport (which borrows from `config`). */
int sp_config_finish(const struct sp_config *config,
                     struct sp_transport_options *out_transport,
                     struct sp_config_error *error);

/* Where the HTTP endpoint listens (of SP_ADDRESS_SIZE_MAX bytes); false: nowhere. */
bool sp_config_http_address(const struct sp_config *config, char *out_address);

/* What the cluster is told of this node's client ports: "inside" or "inside,outside". */
void sp_config_client_address(const struct sp_config *config, char out[SP_ADDRESS_SIZE_MAX]);

/* The node id that a host name stands for: the number at its end plus one, as a StatefulSet counts
 * its pods from 0; what follows a dot is left away. False: it ends in no number, or in one too
 * large. */
bool sp_config_id_of_host(const char *host, uint32_t *out_node_id);

/* Prints every key with its default and meaning, as a configuration file. */
void sp_config_print_example(FILE *out);

/* Prints every key with its value in force. */
void sp_config_print(const struct sp_config *config, FILE *out);

#endif /* SP_SERVER_CONFIG_H */
