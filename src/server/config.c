#include "server/config.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/quantity.h"
#include "server/config_keys.h"
#include "server/feature_range.h"
#include "spate/error.h"

#define ENVIRONMENT_PREFIX "SPATE_NODE_"
#define FROM_HOSTNAME "from-hostname"

/* ---- the table of keys ----------------------------------------------------------------------- */

#define TEXT(name, field, default_, help)                                                          \
    {                                                                                              \
        name, SP_CONFIG_TEXT, offsetof(struct sp_config, field),                                   \
            sizeof(((struct sp_config *)0)->field), default_, 0, 0, NULL, help                     \
    }
#define NUMBER(name, field, default_, min, max, help)                                              \
    {                                                                                              \
        name, SP_CONFIG_NUMBER, offsetof(struct sp_config, field), 0, default_, min, max, NULL,    \
            help                                                                                   \
    }

static const struct sp_config_key keys[] = {
    { "node.id",
      SP_CONFIG_NODE_ID,
      offsetof(struct sp_config, node_id),
      0,
      "1",
      1,
      SP_NODE_ID_MAX,
      NULL,
      "Number of this node, unique in the cluster and the same for ever; or " FROM_HOSTNAME
      ": the number at the end of the host name plus one, as for pods spate-0, spate-1, ..." },
    NUMBER("shards",
           shards,
           "1",
           1,
           SP_SHARDS_MAX,
           "Nodes in this process, each with a loop thread: shard s is node node.id + 100 s."),
    TEXT("data.dir", data_dir, "./data", "Directory of this node's data; created when missing."),
    TEXT("listen.client", listen_client, "127.0.0.1:7700", "Where clients connect."),
    TEXT("listen.peer", listen_peer, "127.0.0.1:7701", "Where the other nodes connect."),
    TEXT("listen.http",
         listen_http,
         "",
         "Where metrics and health are served by HTTP; `none`: nowhere. Default: the port of "
         "listen.client plus 80, on its host if that is loopback, else on 127.0.0.1."),
    TEXT("advertise.client",
         advertise_client,
         "",
         "What clients are told to connect to; default: listen.client."),
    TEXT("listen.outside",
         listen_outside,
         "",
         "A second port for clients that reach the cluster under other addresses, as those outside "
         "a container network; default: none."),
    TEXT("advertise.outside",
         advertise_outside,
         "",
         "What clients of listen.outside are told to connect to; default: listen.outside."),
    TEXT("advertise.peer",
         advertise_peer,
         "",
         "What other nodes are told to connect to; default: this node's entry in cluster.seeds."),
    { "cluster.seeds",
      SP_CONFIG_LIST,
      offsetof(struct sp_config, seeds),
      sizeof(((struct sp_config *)0)->seeds),
      "",
      0,
      0,
      NULL,
      "The nodes that form the cluster at first boot, the same list on each: ID@HOST:PORT of "
      "listen.peer. Default: this node alone." },
    { "cluster.join",
      SP_CONFIG_LIST,
      offsetof(struct sp_config, join),
      sizeof(((struct sp_config *)0)->join),
      "",
      0,
      0,
      NULL,
      "Members of a cluster that this node joins, HOST:PORT of their listen.peer; two or three, as "
      "one must run whenever this node starts. Without effect for a node in cluster.seeds." },
    TEXT("rack", rack, "", "Where this node stands; for placement."),
    NUMBER("raft.election.timeout.ms",
           election_timeout_ms,
           "300",
           50,
           60000,
           "Followers wait this long for a silent leader before they elect another."),
    NUMBER("raft.heartbeat.ms",
           heartbeat_ms,
           "50",
           5,
           10000,
           "Leaders are heard of this often; well below the election timeout."),
    NUMBER("storage.segment.bytes",
           segment_bytes,
           "67108864",
           SP_SEGMENT_BYTES_MIN,
           SP_SEGMENT_BYTES_MAX,
           "A log rolls to a new file at this size, unless its topic says otherwise."),
    NUMBER("storage.min.free.bytes",
           free_bytes_min,
           "134217728",
           0,
           UINT32_MAX,
           "With less free space on the disk of data.dir this node takes no records until there is "
           "more."),
    NUMBER("storage.spare.bytes",
           spare_bytes,
           "0",
           0,
           UINT32_MAX,
           "So much of what retention lets go is kept to be written again, which costs less than "
           "fresh files."),
    NUMBER("storage.compaction.bytes.per.s",
           compaction_bytes_per_s,
           "33554432",
           0,
           UINT32_MAX,
           "What compaction reads and writes at most in a second; 0: no limit."),
    NUMBER(
        "storage.compaction.memory.bytes",
        compaction_memory_bytes,
        "16777216",
        SP_COMPACTION_MEMORY_MIN,
        1073741824,
        "Memory for the keys of a partition that is compacted, 24 bytes each; with more keys than "
        "fit it takes several passes."),
    NUMBER("limits.connections",
           connections_max,
           "10000",
           1,
           100000,
           "Client connections at the same time."),
    NUMBER("groups.offsets.retention.ms",
           group_retention_ms,
           "604800000",
           0,
           UINT32_MAX,
           "Offsets of a consumer group without members are kept so long after its last commit or "
           "member; 0: for ever."),
    NUMBER("groups.stalled.after.ms",
           group_stalled_ms,
           "60000",
           100,
           86400000,
           "A member of a consumer group that owns a partition, has something to read and commits "
           "nothing for so long is reported."),
    NUMBER("limits.client.bytes",
           client_bytes_max,
           "268435456",
           SP_CLIENT_BYTES_MIN,
           2147483648,
           "Memory for all that clients have sent or not yet taken; then their sockets wait."),
    NUMBER("node.replace.after.ms",
           node_replace_ms,
           "600000",
           0,
           UINT32_MAX,
           "A node that is down for so long has its replicas rebuilt on others; 0: never."),
    NUMBER(
        "moves.bytes.per.second",
        move_bytes_per_s,
        "67108864",
        0,
        UINT32_MAX,
        "Records sent to replicas that are being filled, by this node in a second; 0: no limit."),
    { "trace.level",
      SP_CONFIG_CHOICE,
      offsetof(struct sp_config, trace_level),
      sizeof(((struct sp_config *)0)->trace_level),
      "info",
      0,
      0,
      "error|warn|info|debug",
      "How much is traced on standard error." },
};

#define KEY_COUNT (sizeof keys / sizeof keys[0])

static const struct sp_config_key *find_key(const char *name)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        if (strcmp(keys[i].name, name) == 0) {
            return &keys[i];
        }
    }
    return NULL;
}

/* ---- setting --------------------------------------------------------------------------------- */

static int refuse(struct sp_config_error *error,
                  const char *where,
                  const struct sp_config_key *key,
                  const char *value)
{
    switch (key->type) {
    case SP_CONFIG_NODE_ID:
        (void)snprintf(error->text,
                       sizeof error->text,
                       "%s: %s must be a whole number from %" PRIu32 " to %" PRIu32
                       ", or " FROM_HOSTNAME " on a host whose name ends in one, not `%.64s`",
                       where,
                       key->name,
                       key->min,
                       key->max,
                       value);
        break;
    case SP_CONFIG_NUMBER:
        (void)snprintf(error->text,
                       sizeof error->text,
                       "%s: %s must be a number from %" PRIu32 " to %" PRIu32 "%s, not `%.64s`",
                       where,
                       key->name,
                       key->min,
                       key->max,
                       sp_quantity_form(sp_quantity_of(key->name)),
                       value);
        break;
    case SP_CONFIG_CHOICE:
        (void)snprintf(error->text,
                       sizeof error->text,
                       "%s: %s must be one of %s, not `%.64s`",
                       where,
                       key->name,
                       key->choices,
                       value);
        break;
    case SP_CONFIG_TEXT:
    case SP_CONFIG_LIST:
        (void)snprintf(error->text,
                       sizeof error->text,
                       "%s: %s must be shorter than %zu bytes",
                       where,
                       key->name,
                       key->size);
        break;
    }
    return SPATE_ERR_CONFIG;
}

static bool is_choice(const char *choices, const char *value)
{
    size_t size = strlen(value);

    if (size == 0 || strchr(value, '|') != NULL) {
        return false;
    }
    for (const char *at = choices; at != NULL; at = strchr(at, '|')) {
        at += *at == '|' ? 1 : 0;
        if (strncmp(at, value, size) == 0 && (at[size] == '|' || at[size] == '\0')) {
            return true;
        }
    }
    return false;
}

bool sp_config_parse_number(const char *text, uint32_t min, uint32_t max, uint32_t *out)
{
    char *end = NULL;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)text[0]) || *end != '\0' || errno != 0 || value < min ||
        value > max) {
        return false;
    }
    *out = (uint32_t)value;
    return true;
}

static bool parse_node_id(const struct sp_config_key *key, const char *value, uint32_t *out)
{
    char host[256] = "";

    if (strcmp(value, FROM_HOSTNAME) != 0) {
        return sp_config_parse_number(value, key->min, key->max, out);
    }
    return gethostname(host, sizeof host - 1) == 0 && sp_config_id_of_host(host, out);
}

static bool parse_quantity(const struct sp_config_key *key, const char *value, uint32_t *out)
{
    int64_t number = 0;

    if (!sp_quantity_read(sp_quantity_of(key->name), value, strlen(value), &number) ||
        number < key->min || number > key->max) {
        return false;
    }
    *out = (uint32_t)number;
    return true;
}

static int set_value(struct sp_config *config,
                     const struct sp_config_key *key,
                     const char *value,
                     const char *where,
                     struct sp_config_error *error)
{
    char *field = (char *)config + key->offset;

    if (key->type == SP_CONFIG_NUMBER || key->type == SP_CONFIG_NODE_ID) {
        uint32_t number;
        if (key->type == SP_CONFIG_NODE_ID ? !parse_node_id(key, value, &number)
                                           : !parse_quantity(key, value, &number)) {
            return refuse(error, where, key, value);
        }
        memcpy(field, &number, sizeof number);
        return 0;
    }
    if (strlen(value) >= key->size ||
        (key->type == SP_CONFIG_CHOICE && !is_choice(key->choices, value))) {
        return refuse(error, where, key, value);
    }
    memcpy(field, value, strlen(value) + 1);
    return 0;
}

/* The key that shares most with a misspelt one: letters in common at the start and at the end. */
static const char *nearest_key(const char *name)
{
    size_t best = 0;
    size_t best_score = 0;

    for (size_t i = 0; i < KEY_COUNT; i++) {
        size_t front = 0;
        size_t back = 0;
        size_t length = strlen(name);
        size_t key_length = strlen(keys[i].name);
        while (front < length && front < key_length && name[front] == keys[i].name[front]) {
            front += 1;
        }
        while (back < length - front && back < key_length - front &&
               name[length - 1 - back] == keys[i].name[key_length - 1 - back]) {
            back += 1;
        }
        if (front + back > best_score) {
            best = i;
            best_score = front + back;
        }
    }
    return keys[best].name;
}

int sp_config_set_at(struct sp_config *config,
                     const char *name,
                     const char *value,
                     const char *where,
                     struct sp_config_error *error)
{
    const struct sp_config_key *key = find_key(name);

    if (key == NULL) {
        (void)snprintf(error->text,
                       sizeof error->text,
                       "%s: no key `%.64s`: did you mean `%s`? `spated --example` lists all keys",
                       where,
                       name,
                       nearest_key(name));
        return SPATE_ERR_CONFIG;
    }
    return set_value(config, key, value, where, error);
}

bool sp_config_is_list(const char *name)
{
    const struct sp_config_key *key = find_key(name);

    return key != NULL && key->type == SP_CONFIG_LIST;
}

int sp_config_set(struct sp_config *config, const char *assignment, struct sp_config_error *error)
{
    const char *equals = strchr(assignment, '=');
    char name[64];

    if (equals == NULL || (size_t)(equals - assignment) >= sizeof name) {
        (void)snprintf(
            error->text, sizeof error->text, "--set %.64s: must look like key=value", assignment);
        return SPATE_ERR_CONFIG;
    }
    memcpy(name, assignment, (size_t)(equals - assignment));
    name[equals - assignment] = '\0';
    return sp_config_set_at(config, name, equals + 1, "--set", error);
}

/* "node.id" is SPATE_NODE_NODE_ID. */
static void environment_name(const char *key, char *out, size_t size)
{
    size_t at = 0;

    for (; key[at] != '\0' && at + 1 < size; at++) {
        out[at] = key[at] == '.' ? '_' : (char)toupper((unsigned char)key[at]);
    }
    out[at] = '\0';
}

int sp_config_read_environment(struct sp_config *config,
                               char *const *environment,
                               struct sp_config_error *error)
{
    size_t prefix = strlen(ENVIRONMENT_PREFIX);

    for (; *environment != NULL; environment++) {
        const char *equals = strchr(*environment, '=');
        const struct sp_config_key *found = NULL;
        char where[128];
        if (equals == NULL || strncmp(*environment, ENVIRONMENT_PREFIX, prefix) != 0) {
            continue;
        }
        (void)snprintf(
            where, sizeof where, "environment %.*s", (int)(equals - *environment), *environment);
        for (size_t i = 0; i < KEY_COUNT && found == NULL; i++) {
            char name[64];
            environment_name(keys[i].name, name, sizeof name);
            size_t length = (size_t)(equals - *environment) - prefix;
            found = strlen(name) == length && strncmp(*environment + prefix, name, length) == 0
                        ? &keys[i]
                        : NULL;
        }
        if (found == NULL) {
            (void)snprintf(error->text,
                           sizeof error->text,
                           "%s: names no key: `spated --example` lists all keys",
                           where);
            return SPATE_ERR_CONFIG;
        }
        int rv = set_value(config, found, equals + 1, where, error);
        if (rv != 0) {
            return rv;
        }
    }
    return 0;
}

void sp_config_init(struct sp_config *config)
{
    struct sp_config_error error;

    memset(config, 0, sizeof *config);
    config->features = sp_feature_range_built();
    for (size_t i = 0; i < KEY_COUNT; i++) {
        (void)set_value(config, &keys[i], keys[i].default_value, "default", &error); /* all valid */
    }
}

/* ---- printing -------------------------------------------------------------------------------- */

void sp_config_print_example(FILE *out)
{
    (void)fprintf(out,
                  "# Times are numbers%s.\n# Sizes are numbers%s.\n\n",
                  sp_quantity_form(SP_QUANTITY_MS),
                  sp_quantity_form(SP_QUANTITY_BYTES));
    for (size_t i = 0; i < KEY_COUNT; i++) {
        char name[64];
        environment_name(keys[i].name, name, sizeof name);
        (void)fprintf(out, "# %s\n# Environment: %s%s", keys[i].help, ENVIRONMENT_PREFIX, name);
        if (keys[i].type == SP_CONFIG_NUMBER || keys[i].type == SP_CONFIG_NODE_ID) {
            (void)fprintf(out, ". Allowed: %" PRIu32 " to %" PRIu32, keys[i].min, keys[i].max);
        } else if (keys[i].type == SP_CONFIG_CHOICE) {
            (void)fprintf(out, ". Allowed: %s", keys[i].choices);
        }
        if (keys[i].type == SP_CONFIG_LIST) {
            (void)fprintf(out, "\n#%s: [1@127.0.0.1:7701]\n\n", keys[i].name);
        } else {
            const char *value = keys[i].default_value;
            (void)fprintf(out, "\n#%s:%s%s\n\n", keys[i].name, value[0] == '\0' ? "" : " ", value);
        }
    }
}

void sp_config_print(const struct sp_config *config, FILE *out)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        const char *field = (const char *)config + keys[i].offset;
        if (keys[i].type == SP_CONFIG_NUMBER || keys[i].type == SP_CONFIG_NODE_ID) {
            uint32_t number;
            memcpy(&number, field, sizeof number);
            (void)fprintf(out, "%s: %" PRIu32 "\n", keys[i].name, number);
        } else {
            (void)fprintf(out, "%s: %s\n", keys[i].name, field);
        }
    }
}
