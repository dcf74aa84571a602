#include "server/config_shards.h"

#include <string.h>

#include "base/mem.h"
#include "io/address.h"
#include "io/file.h"
#include "server/config_keys.h"
#include "spate/error.h"

enum {
    PORT_STEP = 2,      /* of client, outside and peer ports: two stand side by side */
    PORTS_MAX = 4,      /* of a node */
    RACK_MARK_SIZE = 3, /* "#99" */
};

#define REFUSE(error, ...)                                                                         \
    ((void)snprintf((error)->text, sizeof(error)->text, __VA_ARGS__), SPATE_ERR_CONFIG)

/* ---- addresses ------------------------------------------------------------------------------- */

/* Adds to the port of an address, in its own field; "" and port 0, which is any, stay. */
static int raise_port(const char *key,
                      char address[SP_ADDRESS_SIZE_MAX],
                      uint32_t step,
                      struct sp_config_error *error)
{
    const char *colon = strrchr(address, ':');
    char raised[SP_ADDRESS_SIZE_MAX + 16];
    uint32_t port = 0;

    if (address[0] == '\0' || step == 0) {
        return 0;
    }
    if (colon == NULL || !sp_config_parse_number(colon + 1, 0, UINT16_MAX, &port) ||
        port + step > UINT16_MAX) {
        return REFUSE(
            error, "%s: %s plus %u, as ports go up for each shard, is no port", key, address, step);
    }
    if (port == 0) {
        return 0;
    }
    (void)snprintf(raised, sizeof raised, "%.*s:%u", (int)(colon - address), address, port + step);
    if (strlen(raised) >= SP_ADDRESS_SIZE_MAX) {
        return REFUSE(error, "%s: the address is too long for shards", key);
    }
    memcpy(address, raised, strlen(raised) + 1);
    return 0;
}

static int raise_ports(struct sp_config *config, struct sp_config_error *error)
{
    const struct {
        const char *key;
        char *address;
        uint32_t step;
    } ports[] = {
        { "listen.client", config->listen_client, PORT_STEP },
        { "listen.peer", config->listen_peer, PORT_STEP },
        { "listen.outside", config->listen_outside, PORT_STEP },
        { "listen.http", config->listen_http, strcmp(config->listen_http, "none") == 0 ? 0 : 1 },
        { "advertise.client", config->advertise_client, PORT_STEP },
        { "advertise.outside", config->advertise_outside, PORT_STEP },
        { "advertise.peer", config->advertise_peer, PORT_STEP },
    };
    int rv = 0;

    for (size_t i = 0; i < sizeof ports / sizeof ports[0] && rv == 0; i++) {
        rv = raise_port(ports[i].key, ports[i].address, config->shard * ports[i].step, error);
    }
    return rv;
}

/* ---- cutting --------------------------------------------------------------------------------- */

/* An equal part; what is not 0, which may mean "no limit", does not become 0. */
static uint32_t part_of(uint32_t whole, uint32_t shards, uint32_t least)
{
    return whole == 0 ? 0 : whole / shards < least ? least : whole / shards;
}

/* Free space is the disk's, which they share: each keeps all of it free. */
static void cut_budgets(struct sp_config *config)
{
    uint32_t shards = config->shards;

    config->connections_max = part_of(config->connections_max, shards, 1);
    config->client_bytes_max = part_of(config->client_bytes_max, shards, SP_CLIENT_BYTES_MIN);
    config->spare_bytes = part_of(config->spare_bytes, shards, 1);
    config->compaction_bytes_per_s = part_of(config->compaction_bytes_per_s, shards, 1);
    config->compaction_memory_bytes =
        part_of(config->compaction_memory_bytes, shards, SP_COMPACTION_MEMORY_MIN);
    config->move_bytes_per_s = part_of(config->move_bytes_per_s, shards, 1);
}

bool sp_config_shard_directory(const struct sp_config *config,
                               unsigned shard,
                               char *out_path,
                               size_t size)
{
    int length = shard == 0 ? snprintf(out_path, size, "%s", config->data_dir)
                            : snprintf(out_path, size, "%s/shards/%u", config->data_dir, shard);

    return length >= 0 && (size_t)length < size;
}

/* The others ask shard 0 first, and those that it would have asked itself. */
static void join_through_first(struct sp_config *config, const struct sp_transport_options *first)
{
    char list[sizeof config->join];
    size_t length = (size_t)snprintf(list, sizeof list, "%s", first->advertise);

    for (unsigned i = 0; i < first->join_count && i + 1 < SP_JOIN_ADDRESSES_MAX; i++) {
        length += (size_t)snprintf(list + length, sizeof list - length, ",%s", first->join[i]);
    }
    memcpy(config->join, list, sizeof list);
}

int sp_config_cut(const struct sp_config *config,
                  const struct sp_transport_options *first,
                  unsigned shard,
                  struct sp_config *out_config,
                  struct sp_transport_options *out_transport,
                  struct sp_config_error *error)
{
    int rv;

    *out_config = *config;
    out_config->shard = shard;
    out_config->node_id = config->node_id + shard * SP_SHARD_NODE_STEP;
    if (!sp_config_shard_directory(
            config, shard, out_config->data_dir, sizeof out_config->data_dir)) {
        return REFUSE(error, "data.dir: the path is too long for shards");
    }
    (void)snprintf(out_config->rack,
                   sizeof out_config->rack,
                   "%.*s#%u",
                   (int)(sizeof out_config->rack - RACK_MARK_SIZE - 1),
                   config->rack,
                   config->node_id);
    cut_budgets(out_config);
    if (shard > 0) {
        (void)snprintf(
            out_config->advertise_peer, sizeof out_config->advertise_peer, "%s", first->advertise);
        join_through_first(out_config, first);
    }
    rv = raise_ports(out_config, error);
    return rv == 0 ? sp_config_finish_one(out_config, out_transport, error) : rv;
}

/* ---- checks ---------------------------------------------------------------------------------- */

static int check_written(const struct sp_config *config,
                         const struct sp_transport_options *first,
                         struct sp_config_error *error)
{
    const char *port = strrchr(first->advertise, ':');

    if (config->node_id >= SP_SHARD_NODE_STEP) {
        return REFUSE(error,
                      "node.id must be at most %d with shards, not %u: shard s is node node.id + "
                      "%d s",
                      SP_SHARD_NODE_STEP - 1,
                      config->node_id,
                      SP_SHARD_NODE_STEP);
    }
    for (unsigned i = 0; i < first->seed_count; i++) {
        if (first->seeds[i].node_id >= SP_SHARD_NODE_STEP) {
            return REFUSE(error,
                          "cluster.seeds: node %u with shards, which have the ids from %d on",
                          first->seeds[i].node_id,
                          SP_SHARD_NODE_STEP);
        }
    }
    if (strchr(config->rack, '#') != NULL ||
        strlen(config->rack) + RACK_MARK_SIZE >= sizeof config->rack) {
        return REFUSE(error,
                      "rack must have no # and be shorter than %zu bytes with shards, not `%s`",
                      sizeof config->rack - RACK_MARK_SIZE,
                      config->rack);
    }
    if (port != NULL && strcmp(port, ":0") == 0) {
        return REFUSE(error, "listen.peer needs a port with shards, which find each other by it");
    }
    if (config->client_bytes_max / config->shards < SP_CLIENT_BYTES_MIN) {
        return REFUSE(error,
                      "limits.client.bytes must be at least %u for %u shards, not %u",
                      config->shards * (unsigned)SP_CLIENT_BYTES_MIN,
                      config->shards,
                      config->client_bytes_max);
    }
    return 0;
}

struct port {
    const char *key;
    unsigned shard;
    char address[SP_ADDRESS_SIZE_MAX];
};

static unsigned list_ports(const struct sp_config *config, struct port *out_ports)
{
    char http[SP_ADDRESS_SIZE_MAX] = "";
    const struct {
        const char *key;
        const char *address;
    } all[PORTS_MAX] = {
        { "listen.client", config->listen_client },
        { "listen.peer", config->listen_peer },
        { "listen.outside", config->listen_outside },
        { "listen.http", sp_config_http_address(config, http) ? http : "" },
    };
    unsigned count = 0;

    for (unsigned i = 0; i < PORTS_MAX; i++) {
        size_t size = strlen(all[i].address);
        if (size < 2 || strcmp(all[i].address + size - 2, ":0") == 0) {
            continue;
        }
        struct port *port = &out_ports[count++];
        port->key = all[i].key;
        port->shard = config->shard;
        memcpy(port->address, all[i].address, size + 1);
    }
    return count;
}

static int check_ports(const struct port *ports, unsigned count, struct sp_config_error *error)
{
    for (unsigned i = 0; i < count; i++) {
        for (unsigned k = 0; k < i; k++) {
            if (strcmp(ports[i].address, ports[k].address) == 0) {
                return REFUSE(error,
                              "%s of shard %u and %s of shard %u are both %.64s: client, outside "
                              "and peer ports go up by %d for each shard, the HTTP port by 1",
                              ports[k].key,
                              ports[k].shard,
                              ports[i].key,
                              ports[i].shard,
                              ports[i].address,
                              PORT_STEP);
            }
        }
    }
    return 0;
}

/* All that is needed to try it: too large for a stack. */
struct trial {
    struct sp_config config;
    struct sp_transport_options transport;
    struct port ports[SP_SHARDS_MAX * PORTS_MAX];
    unsigned port_count;
};

int sp_config_check_shards(const struct sp_config *config,
                           const struct sp_transport_options *first,
                           struct sp_config_error *error)
{
    struct trial *trial = sp_mem_calloc(1, sizeof *trial);
    int rv;

    if (trial == NULL) {
        return SPATE_ERR_NOMEM;
    }
    rv = check_written(config, first, error);
    for (unsigned shard = 0; shard < config->shards && rv == 0; shard++) {
        struct sp_config_error of_shard = { "" };
        rv = sp_config_cut(config, first, shard, &trial->config, &trial->transport, &of_shard);
        if (rv != 0) {
            (void)REFUSE(error, "shard %u: %.700s", shard, of_shard.text);
        } else {
            trial->port_count += list_ports(&trial->config, trial->ports + trial->port_count);
        }
    }
    rv = rv == 0 ? check_ports(trial->ports, trial->port_count, error) : rv;
    sp_mem_free(trial);
    return rv;
}

int sp_config_check_left_over(const struct sp_config *config, struct sp_config_error *error)
{
    char path[sizeof config->data_dir + 32];

    for (unsigned shard = SP_SHARDS_MAX - 1; shard >= config->shards; shard--) { /* all at once */
        uint32_t node_id = config->node_id + shard * SP_SHARD_NODE_STEP;
        if (!sp_config_shard_directory(config, shard, path, sizeof path) || !sp_path_exists(path)) {
            continue;
        }
        return REFUSE(error,
                      "shards is %u, but %.300s holds shard %u, node %u: start with shards=%u; to "
                      "have fewer, `spate cluster drain %u`, `spate cluster remove %u` once it has "
                      "no replicas, stop, delete that directory (at once, if `spate cluster nodes` "
                      "has never listed it)",
                      config->shards,
                      path,
                      shard,
                      node_id,
                      shard + 1,
                      node_id,
                      node_id);
    }
    return 0;
}

/* ---- printing -------------------------------------------------------------------------------- */

void sp_config_print_shards(const struct sp_config *config,
                            const struct sp_transport_options *first,
                            FILE *out)
{
    struct trial *trial = config->shards > 1 ? sp_mem_calloc(1, sizeof *trial) : NULL;
    struct sp_config_error error;

    if (trial == NULL) {
        return;
    }
    for (unsigned shard = 0; shard < config->shards; shard++) {
        char http[SP_ADDRESS_SIZE_MAX] = "none";
        if (sp_config_cut(config, first, shard, &trial->config, &trial->transport, &error) != 0) {
            break;
        }
        (void)sp_config_http_address(&trial->config, http);
        (void)fprintf(out,
                      "# shard %u: node %u, client %s, peer %s, http %s, data %s\n",
                      shard,
                      trial->config.node_id,
                      trial->config.listen_client,
                      trial->config.listen_peer,
                      http,
                      trial->config.data_dir);
    }
    sp_mem_free(trial);
}
