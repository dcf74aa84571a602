/* What concerns several keys of the configuration: the seeds, and who is told which address. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "io/address.h"
#include "server/config_keys.h"
#include "server/config_shards.h"
#include "spate/error.h"

enum {
    HTTP_PORTS_ABOVE = 80, /* 7780 beside 7700 */
};

bool sp_config_id_of_host(const char *host, uint32_t *out_node_id)
{
    size_t end = strcspn(host, ".");
    size_t start = end;
    char digits[16];
    uint32_t number;

    while (start > 0 && isdigit((unsigned char)host[start - 1])) {
        start -= 1;
    }
    if (end - start >= sizeof digits) {
        return false;
    }
    memcpy(digits, host + start, end - start);
    digits[end - start] = '\0';
    if (!sp_config_parse_number(digits, 0, SP_NODE_ID_MAX - 1, &number)) {
        return false;
    }
    *out_node_id = number + 1;
    return true;
}

static int parse_seed(const char *text,
                      size_t size,
                      uint32_t *out_node_id,
                      char *out_address,
                      struct sp_config_error *error)
{
    const char *at = memchr(text, '@', size);
    char number[16];
    size_t digits = at == NULL ? 0 : (size_t)(at - text);
    size_t address_size = at == NULL ? 0 : size - digits - 1;

    if (digits == 0 || digits >= sizeof number || address_size == 0 ||
        address_size >= SP_ADDRESS_SIZE_MAX || memchr(at + 1, ':', address_size) == NULL) {
        (void)snprintf(error->text,
                       sizeof error->text,
                       "cluster.seeds: `%.*s` must look like ID@HOST:PORT",
                       (int)size,
                       text);
        return SPATE_ERR_CONFIG;
    }
    memcpy(number, text, digits);
    number[digits] = '\0';
    if (!sp_config_parse_number(number, 1, SP_NODE_ID_MAX, out_node_id)) {
        (void)snprintf(error->text,
                       sizeof error->text,
                       "cluster.seeds: `%s` must be a node id from 1 to %d",
                       number,
                       SP_NODE_ID_MAX);
        return SPATE_ERR_CONFIG;
    }
    memcpy(out_address, at + 1, address_size);
    out_address[address_size] = '\0';
    return 0;
}

static int parse_seeds(const struct sp_config *config,
                       struct sp_transport_options *out,
                       struct sp_config_error *error)
{
    const char *at = config->seeds;

    while (*at != '\0') {
        size_t size = strcspn(at, ",");
        unsigned n = out->seed_count;
        int rv;
        if (n == SP_NODES_MAX) {
            (void)snprintf(
                error->text, sizeof error->text, "cluster.seeds: at most %d", SP_NODES_MAX);
            return SPATE_ERR_CONFIG;
        }
        rv = parse_seed(at, size, &out->seeds[n].node_id, out->seeds[n].address, error);
        if (rv != 0) {
            return rv;
        }
        for (unsigned i = 0; i < n; i++) {
            if (out->seeds[i].node_id == out->seeds[n].node_id) {
                (void)snprintf(error->text,
                               sizeof error->text,
                               "cluster.seeds: node %u is listed twice",
                               out->seeds[n].node_id);
                return SPATE_ERR_CONFIG;
            }
        }
        out->seed_count += 1;
        at += size + (at[size] == ',' ? 1 : 0);
    }
    return 0;
}

static int parse_join(const struct sp_config *config,
                      struct sp_transport_options *out,
                      struct sp_config_error *error)
{
    const char *at = config->join;

    while (*at != '\0') {
        size_t size = strcspn(at, ",");
        if (size == 0 || size >= SP_ADDRESS_SIZE_MAX || memchr(at, ':', size) == NULL ||
            out->join_count == SP_JOIN_ADDRESSES_MAX) {
            (void)snprintf(error->text,
                           sizeof error->text,
                           "cluster.join: `%.*s` must look like HOST:PORT, and at most %d of them",
                           (int)size,
                           at,
                           SP_JOIN_ADDRESSES_MAX);
            return SPATE_ERR_CONFIG;
        }
        memcpy(out->join[out->join_count], at, size);
        out->join[out->join_count][size] = '\0';
        out->join_count += 1;
        at += size + (at[size] == ',' ? 1 : 0);
    }
    return 0;
}

static bool is_seed(const struct sp_transport_options *options)
{
    for (unsigned i = 0; i < options->seed_count; i++) {
        if (options->seeds[i].node_id == options->node_id) {
            return true;
        }
    }
    return false;
}

/* With cluster.join: a node beside the seeds, or one that would otherwise be alone. A seed among
 * others forms the cluster with them, or hears from them that it is formed, and joins then. */
static bool forms_nothing(const struct sp_transport_options *options)
{
    return !is_seed(options) || options->seed_count == 1;
}

/* A node beside the seeds forms nothing with them; they are members to ask, as far as there is
 * room. */
static void join_through_seeds(struct sp_transport_options *options)
{
    for (unsigned i = 0; i < options->seed_count && options->join_count < SP_JOIN_ADDRESSES_MAX;
         i++) {
        if (options->seeds[i].node_id == options->node_id) {
            continue;
        }
        memcpy(options->join[options->join_count],
               options->seeds[i].address,
               sizeof options->seeds[i].address);
        options->join_count += 1;
    }
    options->seed_count = 0;
}

/* "Listen on every address" is nothing that a client could connect to. */
static bool is_wildcard(const char *address)
{
    return strncmp(address, "0.0.0.0:", 8) == 0 || strncmp(address, "[::]:", 5) == 0;
}

static const char *told_of(const char *advertised, const char *listening)
{
    return advertised[0] == '\0' ? listening : advertised;
}

static int check_address(const char *key, const char *told, struct sp_config_error *error)
{
    if (strchr(told, ',') != NULL) {
        (void)snprintf(error->text, sizeof error->text, "%s: one address, not `%s`", key, told);
        return SPATE_ERR_CONFIG;
    }
    if (!is_wildcard(told)) {
        return 0;
    }
    (void)snprintf(error->text,
                   sizeof error->text,
                   "%s: clients cannot connect to %s: set it to the address under which they reach "
                   "this node",
                   key,
                   told);
    return SPATE_ERR_CONFIG;
}

/* Nodes on one machine have client ports of their own, so this one is theirs alone, too. Shards
 * have every second client port, and these one after the other. */
static bool default_http_address(const struct sp_config *config, char *out_address)
{
    struct sp_address client;
    bool loopback;
    uint32_t port;

    if (sp_address_parse(config->listen_client, &client) != 0 ||
        !sp_config_parse_number(client.port, 1, UINT16_MAX - HTTP_PORTS_ABOVE, &port)) {
        return false;
    }
    loopback = strncmp(client.host, "127.", 4) == 0 || strcmp(client.host, "localhost") == 0;
    return snprintf(out_address,
                    SP_ADDRESS_SIZE_MAX,
                    "%s:%u",
                    loopback ? client.host : "127.0.0.1",
                    port + HTTP_PORTS_ABOVE - config->shard) < SP_ADDRESS_SIZE_MAX;
}

bool sp_config_http_address(const struct sp_config *config, char *out_address)
{
    if (config->listen_http[0] == '\0') {
        return default_http_address(config, out_address);
    }
    if (strcmp(config->listen_http, "none") == 0) {
        return false;
    }
    memcpy(out_address, config->listen_http, sizeof config->listen_http);
    return true;
}

static int check_http(const struct sp_config *config, struct sp_config_error *error)
{
    struct sp_address address;
    char text[SP_ADDRESS_SIZE_MAX];

    if (!sp_config_http_address(config, text) || sp_address_parse(text, &address) == 0) {
        return 0;
    }
    (void)snprintf(error->text,
                   sizeof error->text,
                   "listen.http must look like HOST:PORT, or be `none`, not `%.64s`",
                   text);
    return SPATE_ERR_CONFIG;
}

/* Two ports of one node cannot be the same one; port 0 is another one each time. */
static int check_listening(const struct sp_config *config, struct sp_config_error *error)
{
    char http[SP_ADDRESS_SIZE_MAX] = "";
    const struct {
        const char *key;
        const char *address;
    } ports[] = {
        { "listen.client", config->listen_client },
        { "listen.peer", config->listen_peer },
        { "listen.outside", config->listen_outside },
        { "listen.http", sp_config_http_address(config, http) ? http : "" },
    };
    const size_t count = sizeof ports / sizeof ports[0];

    for (size_t i = 0; i < count; i++) {
        size_t size = strlen(ports[i].address);
        bool any = size == 0 || (size >= 2 && strcmp(ports[i].address + size - 2, ":0") == 0);
        for (size_t j = i + 1; !any && j < count; j++) {
            if (strcmp(ports[i].address, ports[j].address) == 0) {
                (void)snprintf(error->text,
                               sizeof error->text,
                               "%s and %s are both %.64s: each needs a port of its own",
                               ports[i].key,
                               ports[j].key,
                               ports[i].address);
                return SPATE_ERR_CONFIG;
            }
        }
    }
    return 0;
}

static int check_advertised(const struct sp_config *config, struct sp_config_error *error)
{
    const char *inside = told_of(config->advertise_client, config->listen_client);
    const char *outside = told_of(config->advertise_outside, config->listen_outside);
    int rv = check_address("advertise.client", inside, error);

    if (rv != 0) {
        return rv;
    }
    if (config->listen_outside[0] == '\0' && outside[0] != '\0') {
        (void)snprintf(error->text,
                       sizeof error->text,
                       "advertise.outside is set and listen.outside is not: nobody could connect");
        return SPATE_ERR_CONFIG;
    }
    if (strlen(inside) + 1 + strlen(outside) >= SP_ADDRESS_SIZE_MAX) {
        (void)snprintf(error->text,
                       sizeof error->text,
                       "advertise.client and advertise.outside must be shorter than %d bytes "
                       "together",
                       SP_ADDRESS_SIZE_MAX - 1);
        return SPATE_ERR_CONFIG;
    }
    return check_address("advertise.outside", outside, error);
}

void sp_config_client_address(const struct sp_config *config, char out[SP_ADDRESS_SIZE_MAX])
{
    const char *inside = told_of(config->advertise_client, config->listen_client);
    const char *outside = told_of(config->advertise_outside, config->listen_outside);
    char joined[2 * SP_ADDRESS_SIZE_MAX + 1];

    (void)snprintf(joined, sizeof joined, "%s%s%s", inside, outside[0] == '\0' ? "" : ",", outside);
    joined[SP_ADDRESS_SIZE_MAX - 1] = '\0'; /* sp_config_finish has seen that both fit */
    memcpy(out, joined, SP_ADDRESS_SIZE_MAX);
}

int sp_config_finish_one(const struct sp_config *config,
                         struct sp_transport_options *out_transport,
                         struct sp_config_error *error)
{
    int rv;

    memset(out_transport, 0, sizeof *out_transport);
    out_transport->node_id = config->node_id;
    out_transport->listen = config->listen_peer;
    out_transport->features = config->features;
    out_transport->advertise =
        config->advertise_peer[0] == '\0' ? config->listen_peer : config->advertise_peer;
    if (config->heartbeat_ms * 2 > config->election_timeout_ms) {
        (void)snprintf(error->text,
                       sizeof error->text,
                       "raft.heartbeat.ms (%u) must be at most half of raft.election.timeout.ms "
                       "(%u)",
                       config->heartbeat_ms,
                       config->election_timeout_ms);
        return SPATE_ERR_CONFIG;
    }
    rv = check_advertised(config, error);
    if (rv == 0) {
        rv = check_http(config, error);
    }
    if (rv == 0) {
        rv = check_listening(config, error);
    }
    if (rv != 0) {
        return rv;
    }
    rv = parse_seeds(config, out_transport, error);
    if (rv == 0) {
        rv = parse_join(config, out_transport, error);
    }
    if (rv != 0) {
        return rv;
    }
    if (out_transport->join_count > 0 && forms_nothing(out_transport)) {
        join_through_seeds(out_transport);
        return 0;
    }
    out_transport->join_count = 0;
    if (out_transport->seed_count == 0) {
        out_transport->seed_count = 1;
        out_transport->seeds[0].node_id = config->node_id;
        (void)snprintf(out_transport->seeds[0].address,
                       sizeof out_transport->seeds[0].address,
                       "%s",
                       out_transport->advertise);
        return 0;
    }
    for (unsigned i = 0; i < out_transport->seed_count; i++) {
        if (out_transport->seeds[i].node_id == config->node_id &&
            config->advertise_peer[0] == '\0') {
            out_transport->advertise = out_transport->seeds[i].address;
        }
    }
    if (!is_seed(out_transport)) {
        (void)snprintf(error->text,
                       sizeof error->text,
                       "cluster.seeds does not list this node (node.id is %u): every node that "
                       "forms the cluster stands in the list; others need cluster.join as well",
                       config->node_id);
        return SPATE_ERR_CONFIG;
    }
    return 0;
}

int sp_config_finish(const struct sp_config *config,
                     struct sp_transport_options *out_transport,
                     struct sp_config_error *error)
{
    int rv = sp_config_finish_one(config, out_transport, error);

    return rv == 0 && config->shards > 1 ? sp_config_check_shards(config, out_transport, error)
                                         : rv;
}
