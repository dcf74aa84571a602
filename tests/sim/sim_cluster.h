/* The nodes of the simulated cluster: real sp_node objects, restarted on their disks. */
#ifndef SP_SIM_CLUSTER_H
#define SP_SIM_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "server/config.h"
#include "sim_world.h"

#define SIM_NODES_MAX 7u
/* Memory of a node under any of these loads, but for what is queued to other nodes. */
#define SIM_NODE_BYTES_MAX (64ull * 1024 * 1024)

struct sp_leader_table;
struct sp_node;
struct sp_raft_group;
struct sp_raft_group_status;

struct sim_node {
    struct sim_process *process;
    uint32_t node_id;
    uint32_t machine; /* nodes of one machine are shards of one program: they die together */
    struct sp_config config;
    struct sp_transport_options transport;
    struct sp_loop *loop;
    struct sp_node *node;
    bool stopping;
    bool replica_closed; /* a replica has stopped or did not open: it waits for a restart */
    struct sp_leader_table *leaders; /* whom it tells clients; NULL: not made yet */
    struct sp_list observers;        /* of its running groups, struct sim_observer */
    struct sp_list submissions;      /* not yet completed, struct sim_submission */
    uint64_t dies_after_start_in;    /* disk calls after its next start; 0: not */
    uint64_t away_until_us;          /* it is not started before */
};

struct sim_cluster_shape {
    unsigned node_count;
    unsigned joiner_count; /* of them: the last ones join what the others have formed */
    bool shards;           /* they are second shards of the first ones */
    uint32_t segment_bytes;
    uint32_t free_bytes_min;
    uint32_t election_timeout_ms;
    uint32_t heartbeat_ms;
    uint32_t replace_ms;          /* node.replace.after.ms; 0: as usual */
    unsigned checkpoints_kept;    /* of a log that nobody reads, at most */
    uint32_t install_chunk_bytes; /* of a checkpoint in one message */
};

struct sim_cluster {
    struct sim_cluster_shape shape;
    struct sim_node nodes[SIM_NODES_MAX];
    unsigned node_count;
    uint64_t restart_min_us;
    uint64_t restart_max_us;
    bool errors_planned; /* disk errors are among the faults */
};

extern struct sim_cluster sim_cluster;

/* Makes the nodes' processes and disks; nothing runs yet. */
void sim_cluster_init(const struct sim_cluster_shape *shape);

/* Configures a double of `node`, which listens on its own address: with a copy of its file, so that
 * it tells the node's address, or with a file of its own that has the node's id and joins. */
void sim_cluster_configure_double(struct sim_node *twin, const struct sim_node *node, bool copied);

/* The node with that id, its place, and the id of the node at a place. */
struct sim_node *sim_cluster_node(uint32_t node_id);
unsigned sim_cluster_place(uint32_t node_id);
uint32_t sim_cluster_id(unsigned place);

/* Starts a node that is down; tries again by itself as long as it does not come up. */
void sim_cluster_start(struct sim_node *node);

/* Starts it after a while drawn from the faults' stream. */
void sim_cluster_restart_later(struct sim_node *node);

/* Asks it to stop in good order; it is restarted later. */
void sim_cluster_stop(struct sim_node *node);

/* Kills it, and the others of its machine, and restarts them later. */
void sim_cluster_kill(struct sim_node *node, enum sim_death death);

/* It dies at the n-th change of its disk from now, and is restarted later. */
void sim_cluster_die_in_call(struct sim_node *node, uint64_t calls, bool by_kill);

/* Starts every node that is down, now, and restarts those that have given up a replica, as their
 * operator would. */
void sim_cluster_start_all(void);

/* "10.0.0.1:7700,..." of all nodes. */
void sim_cluster_addresses(char *out, size_t size);

/* A call of its disk has failed since it was started, or its disk was full: it may refuse. */
bool sim_cluster_disk_suspect(const struct sim_node *node);

/* Whether what was done to its disk since it was started explains that it fails with `status`. */
bool sim_cluster_explains(const struct sim_node *node, int status);

/* ---- looking into the groups ----------------------------------------------------------------- */

/* The running replica of a group on a node, or NULL. */
struct sp_raft_group *sim_cluster_group(struct sim_node *node, uint64_t group_id);

/* The status of that replica; false: there is none. */
bool sim_cluster_group_status(struct sim_node *node,
                              uint64_t group_id,
                              struct sp_raft_group_status *out_status);

/* The node that leads the group and serves, or NULL. */
struct sim_node *sim_cluster_leader(uint64_t group_id);

/* No node has ever held more memory than it may. */
void sim_cluster_check_bounds(void);

/* True when every group has one serving leader and all replicas have applied all there is;
 * *out_why says what is missing. */
bool sim_cluster_settled(char *out_why, unsigned size);

/* Lets a leader of some group hand over. */
void sim_cluster_transfer_some(struct sp_rand *rand);

#endif /* SP_SIM_CLUSTER_H */
