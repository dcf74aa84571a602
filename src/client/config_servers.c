/* The list of servers that a configuration names. */
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "client/config.h"

bool sp_config_next_server(const char **list, char out[SP_ADDRESS_SIZE_MAX])
{
    size_t size = strcspn(*list, ",");

    if (size == 0 || size >= SP_ADDRESS_SIZE_MAX) {
        return false;
    }
    memcpy(out, *list, size);
    out[size] = '\0';
    *list += size + ((*list)[size] == ',' ? 1 : 0);
    return true;
}

static bool port_valid(const char *text, size_t size)
{
    unsigned port = 0;

    if (size == 0 || size > 5) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
        port = port * 10 + (unsigned)(text[i] - '0');
    }
    return port >= 1 && port <= 65535;
}

/* Where the port begins in "host:port" or "[v6]:port"; `size` when there is none. A host without
 * brackets may hold only one colon. */
static bool split_port(const char *text, size_t size, size_t *out_port)
{
    const char *close = text[0] == '[' ? memchr(text, ']', size) : NULL;
    size_t host = close == NULL ? 0 : (size_t)(close - text) + 1;

    if (text[0] == '[' && close == NULL) {
        return false;
    }
    const char *colon = memchr(text + host, ':', size - host);
    if (colon == NULL) {
        *out_port = size;
        return close == NULL || host == size;
    }
    *out_port = (size_t)(colon - text) + 1;
    return *out_port > 1 && (close == NULL || colon == text + host) &&
           port_valid(text + *out_port, size - *out_port);
}

static int add_server(struct sp_buf *out, const char *text, size_t size)
{
    size_t port = 0;
    int rv = 0;

    if (size == 0 || size + sizeof ":65535" > SP_ADDRESS_SIZE_MAX) {
        return SPATE_ERR_INVALID;
    }
    if (!split_port(text, size, &port)) {
        return SPATE_ERR_INVALID;
    }
    if (out->size > 0) {
        rv = sp_buf_append(out, ",", 1);
    }
    if (rv == 0) {
        rv = sp_buf_append(out, text, size);
    }
    if (rv == 0 && port == size) {
        rv = sp_buf_append(out, ":" SP_CLIENT_PORT_DEFAULT, sizeof SP_CLIENT_PORT_DEFAULT);
    }
    return rv;
}

/* Rewrites "a, b:7800" to "a:7700,b:7800". */
static int normalise_servers(const char *value, struct sp_buf *out)
{
    unsigned count = 0;
    int rv = 0;

    do {
        value += strspn(value, " \t");
        size_t size = strcspn(value, ", \t");
        rv = add_server(out, value, size);
        value += size;
        value += strspn(value, " \t");
        count += 1;
        if (rv == 0 && (count > SP_CLIENT_SERVERS_MAX || (*value != '\0' && *value != ','))) {
            rv = SPATE_ERR_INVALID;
        }
    } while (rv == 0 && *value++ == ',');
    return rv == 0 ? sp_buf_append(out, "", 1) : rv;
}

int sp_config_set_servers(struct spate_config *config, const char *value)
{
    struct sp_buf list;

    sp_buf_init(&list, (size_t)SP_CLIENT_SERVERS_MAX * SP_ADDRESS_SIZE_MAX);
    int rv = normalise_servers(value, &list);
    if (rv != 0) {
        sp_buf_deinit(&list);
        return rv == SPATE_ERR_TOO_LARGE ? SPATE_ERR_INVALID : rv;
    }
    sp_mem_free(config->servers);
    config->servers = (char *)list.bytes; /* the buffer's memory changes its owner */
    return 0;
}
