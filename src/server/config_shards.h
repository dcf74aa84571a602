/* The configurations of a process's shards, which are nodes of their own, cut out of the written
 * one.
 *
 *            node id      client, outside, peer port   HTTP port   data directory    budgets
 *   shard s  id + 100 s   + 2 s                        + s         DATA/shards/s     a part of N
 *   shard 0  id           as written                   as written  DATA              a part of N
 *
 * Shard 0 forms or joins the cluster as is written; the others join through it. All tell the rack
 * with the mark of their machine (cluster/machine_of.h). */
#ifndef SP_SERVER_CONFIG_SHARDS_H
#define SP_SERVER_CONFIG_SHARDS_H

#include "server/config.h"

/* Fills *out_config and *out_transport, which borrows from it, for a shard of `config`. `first` is
 * what sp_config_finish has made of `config`, which it has found fit. SPATE_ERR_CONFIG. */
int sp_config_cut(const struct sp_config *config,
                  const struct sp_transport_options *first,
                  unsigned shard,
                  struct sp_config *out_config,
                  struct sp_transport_options *out_transport,
                  struct sp_config_error *error);

/* Can it be cut into shards? SPATE_ERR_CONFIG, SPATE_ERR_NOMEM. */
int sp_config_check_shards(const struct sp_config *config,
                           const struct sp_transport_options *first,
                           struct sp_config_error *error);

/* The directory of a shard. False: the path is too long. */
bool sp_config_shard_directory(const struct sp_config *config,
                               unsigned shard,
                               char *out_path,
                               size_t size);

/* SPATE_ERR_CONFIG if there is data of a shard that the configuration has no more: it would be
 * missed. */
int sp_config_check_left_over(const struct sp_config *config, struct sp_config_error *error);

/* Prints what the shards are, as comments below sp_config_print. */
void sp_config_print_shards(const struct sp_config *config,
                            const struct sp_transport_options *first,
                            FILE *out);

/* config_finish.c: checks and fills for one node. */
int sp_config_finish_one(const struct sp_config *config,
                         struct sp_transport_options *out_transport,
                         struct sp_config_error *error);

#endif /* SP_SERVER_CONFIG_SHARDS_H */
