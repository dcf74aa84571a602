/* The client: its life, its connections and what it knows about servers. */
#include "client/client.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "client/metadata.h"
#include "wire/client_api.h"

#define SP_CLIENT_SERVERS_KNOWN_MAX (SP_CLIENT_SERVERS_MAX + SP_NODES_MAX)

enum {
    HELLO_TIMEOUT_MS = 5000,
    HELLO_BYTES_MAX = 1024,
};

const char *spate_version(void)
{
    return SPATE_VERSION;
}

uint32_t spate_version_number(void)
{
    const char *text = SPATE_VERSION;
    uint32_t number = 0;

    for (unsigned part = 0; part < 3; part++) {
        char *end = NULL;
        number = number * 1000 + (uint32_t)strtoul(text, &end, 10);
        text = *end == '.' ? end + 1 : end;
    }
    return number;
}

void spate_free(void *pointer)
{
    sp_mem_free(pointer);
}

/* ---- errors ---------------------------------------------------------------------------------- */

const char *spate_client_error(const struct spate_client *client)
{
    if (client == NULL) {
        return "";
    }
    SP_CLIENT_HOLD(client);
    return sp_client_error_text(client);
}

const char *sp_client_error_text(const struct spate_client *client)
{
    return client->driver == NULL ? client->error : sp_driver_error(client->driver);
}

int sp_client_fail(struct spate_client *client, int code, const char *format, ...)
{
    char text[SP_CLIENT_ERROR_SIZE]; /* an argument may be the old text */
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    memcpy(client->driver == NULL ? client->error : sp_driver_error_new(client->driver),
           text,
           sizeof text);
    return code;
}

int sp_client_need(struct spate_client *client, const void *argument, const char *what)
{
    if (client == NULL) {
        return SPATE_ERR_INVALID;
    }
    return argument != NULL
               ? 0
               : sp_client_fail(client, SPATE_ERR_INVALID, "argument `%s` must not be NULL", what);
}

bool sp_client_status_moves(int status)
{
    return status == SPATE_ERR_CANCELED ||
           (status != SPATE_ERR_AGAIN && spate_error_retriable(status) != 0);
}

bool sp_client_status_uncertain(int status)
{
    return status == SPATE_ERR_CLOSED || status == SPATE_ERR_TIMEOUT ||
           status == SPATE_ERR_LEADER_CHANGED || status == SPATE_ERR_STOPPED ||
           status == SPATE_ERR_CANCELED;
}

bool sp_client_leader_hint(const char *text, char out_address[SP_ADDRESS_SIZE_MAX])
{
    char error[SP_CLIENT_ERROR_SIZE];
    struct sp_error_parts parts;

    (void)snprintf(error, sizeof error, "NOT_LEADER: %s", text);
    sp_error_parse(sp_bytes_text(error), &parts);
    if (parts.leader_id < 0 || parts.leader_address.bytes == NULL ||
        parts.leader_address.size >= SP_ADDRESS_SIZE_MAX) {
        return false;
    }
    memcpy(out_address, parts.leader_address.bytes, parts.leader_address.size);
    out_address[parts.leader_address.size] = '\0';
    return true;
}

/* ---- connections ----------------------------------------------------------------------------- */

static int connection_new(struct spate_client *client,
                          const char *key,
                          const char *address,
                          struct sp_connection **out_connection)
{
    struct sp_connection *connection = sp_mem_calloc(1, sizeof *connection);

    if (connection == NULL) {
        return SPATE_ERR_NOMEM;
    }
    connection->client = client;
    (void)snprintf(connection->key, sizeof connection->key, "%s", key); /* an address, so it fits */
    int rv = sp_rpc_new(client->loop, address, &connection->rpc);
    if (rv == 0) {
        rv = sp_map_put(client->connections, key, strlen(key), connection);
        if (rv != 0) {
            sp_rpc_close(connection->rpc);
        }
    }
    if (rv != 0) {
        sp_mem_free(connection);
        return rv;
    }
    *out_connection = connection;
    return 0;
}

/* Nobody waits for it and nobody has its pointer. */
static bool is_idle(const struct sp_connection *connection)
{
    return connection->view_count == 0 && sp_rpc_idle(connection->rpc);
}

/* Lets go of the idle connection that was not asked for the longest; false: there is none. */
static bool evict(struct spate_client *client)
{
    struct sp_map_cursor cursor = { 0 };
    struct sp_connection *connection;
    struct sp_connection *oldest = NULL;

    while ((connection = sp_map_next(client->connections, &cursor)) != NULL) {
        if (is_idle(connection) && (oldest == NULL || connection->used < oldest->used)) {
            oldest = connection;
        }
    }
    if (oldest == NULL) {
        return false;
    }
    (void)sp_map_remove(client->connections, oldest->key, strlen(oldest->key)); /* it is there */
    sp_rpc_close(oldest->rpc);
    sp_mem_free(oldest);
    return true;
}

/* The connection that the map knows under `key`. */
static int connection_of(struct spate_client *client,
                         const char *key,
                         const char *address,
                         struct sp_connection **out_connection)
{
    struct sp_connection *connection = sp_map_get(client->connections, key, strlen(key));

    if (connection == NULL) {
        if (sp_map_count(client->connections) >= SP_CLIENT_CONNECTIONS_MAX && !evict(client)) {
            return SPATE_ERR_BUSY;
        }
        int rv = connection_new(client, key, address, &connection);
        if (rv != 0) {
            return rv;
        }
    }
    connection->used = ++client->connection_uses;
    *out_connection = connection;
    return 0;
}

int sp_client_connection(struct spate_client *client,
                         const char *address,
                         struct sp_connection **out_connection)
{
    return connection_of(client, address, address, out_connection);
}

int sp_client_connection_apart(struct spate_client *client,
                               const char *address,
                               struct sp_connection **out_connection)
{
    char key[SP_ADDRESS_SIZE_MAX + 1];

    (void)snprintf(key, sizeof key, "%s+", address);
    return connection_of(client, key, address, out_connection);
}

void sp_connection_point(struct sp_connection **pointer, struct sp_connection *connection)
{
    if (connection != NULL) {
        connection->view_count += 1;
    }
    if (*pointer != NULL) {
        (*pointer)->view_count -= 1;
    }
    *pointer = connection;
}

static void
on_hello(struct sp_rpc_call *call, int status, const uint8_t *result, size_t size, const char *text)
{
    (void)status; /* a server that does not care for names serves all the same */
    (void)result;
    (void)size;
    (void)text;
    SP_CONTAINER_OF(call, struct sp_connection, hello)->hello_running = false;
}

static void say_hello(struct sp_connection *connection)
{
    struct sp_hello_request request;
    struct sp_pack pack;
    struct sp_buf params;

    connection->hello_done = true;
    connection->hello = (struct sp_rpc_call){
        .method = "hello",
        .cb = on_hello,
        .timeout_ms = HELLO_TIMEOUT_MS,
    };
    sp_buf_init(&params, HELLO_BYTES_MAX);
    sp_pack_init(&pack, &params);
    sp_hello_request_init(&request);
    request.client = sp_bytes_text(connection->client->config.client_name);
    request.version = sp_bytes_text(spate_version());
    sp_hello_request_encode(&pack, &request);
    /* A courtesy: without it everything works, so that a failure is nobody's concern. */
    connection->hello_running =
        sp_pack_status(&pack) == 0 &&
        sp_rpc_call(connection->rpc, &connection->hello, params.bytes, params.size, NULL) == 0;
    sp_buf_deinit(&params);
}

/* Ticks only while there is something to free. */
static void watch_memory(struct spate_client *client)
{
    if (sp_mem_kept_bytes() > 0 && !sp_timer_active(&client->memory_timer)) {
        /* Out of memory: the next call tries again. */
        (void)sp_timer_start(&client->memory_timer, sp_loop_now_ms(client->loop) + SP_MEM_KEPT_MS);
    }
}

static void on_memory_timer(struct sp_timer *timer)
{
    struct spate_client *client = SP_CONTAINER_OF(timer, struct spate_client, memory_timer);

    sp_mem_age(sp_loop_now_ms(client->loop));
    watch_memory(client);
}

int sp_connection_call(struct sp_connection *connection,
                       struct sp_rpc_call *call,
                       struct sp_bytes params,
                       const struct sp_slice *body)
{
    watch_memory(connection->client);
    if (!connection->hello_done) {
        say_hello(connection);
    }
    return sp_rpc_call(connection->rpc, call, params.bytes, params.size, body);
}

/* A place for one more, which description `number` names; SP_CLIENT_SERVERS_KNOWN_MAX: none. */
static uint32_t place_for_server(struct spate_client *client, uint64_t number)
{
    uint32_t oldest = SP_CLIENT_SERVERS_KNOWN_MAX;

    if (client->server_count < SP_CLIENT_SERVERS_KNOWN_MAX) {
        return client->server_count++;
    }
    for (uint32_t i = 0; i < client->server_count; i++) {
        if (client->server_named[i] < number) {
            number = client->server_named[i];
            oldest = i;
        }
    }
    if (client->server_alive == oldest + 1) {
        client->server_alive = 0;
    }
    return oldest;
}

void sp_client_learn_server(struct spate_client *client, struct sp_bytes address, uint64_t number)
{
    uint32_t place = 0;

    if (address.bytes == NULL || address.size == 0 || address.size >= SP_ADDRESS_SIZE_MAX) {
        return;
    }
    while (place < client->server_count && !sp_bytes_equal_text(address, client->servers[place])) {
        place += 1;
    }
    if (place == client->server_count) {
        place = place_for_server(client, number);
        if (place == SP_CLIENT_SERVERS_KNOWN_MAX) {
            return;
        }
        memcpy(client->servers[place], address.bytes, address.size);
        client->servers[place][address.size] = '\0';
        client->server_named[place] = 0;
    }
    if (client->server_named[place] < number) {
        client->server_named[place] = number;
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

static int set_up(struct spate_client *client)
{
    const char *list = client->config.servers;
    int rv = sp_loop_new(0, &client->loop);

    if (rv != 0) {
        return rv;
    }
    sp_timer_init(&client->tick, client->loop, sp_client_on_tick);
    sp_timer_init(&client->memory_timer, client->loop, on_memory_timer);
    client->connections = sp_map_new();
    client->servers = sp_mem_calloc(SP_CLIENT_SERVERS_KNOWN_MAX, sizeof client->servers[0]);
    client->server_named = sp_mem_calloc(SP_CLIENT_SERVERS_KNOWN_MAX, sizeof(uint64_t));
    if (client->connections == NULL || client->servers == NULL || client->server_named == NULL) {
        return SPATE_ERR_NOMEM;
    }
    while (sp_config_next_server(&list, client->servers[client->server_count])) {
        client->server_named[client->server_count++] = UINT64_MAX;
    }
    rv = sp_metadata_cache_new(client, &client->metadata);
    if (rv == 0 && client->config.io_thread) {
        rv = sp_driver_new(client->loop, sp_client_before_leave, client, &client->driver);
    }
    return rv;
}

int spate_client_new(const struct spate_config *config, struct spate_client **out_client)
{
    if (out_client == NULL) {
        return SPATE_ERR_INVALID;
    }
    struct spate_config *defaults = config == NULL ? spate_config_new() : NULL;
    struct spate_client *client = sp_mem_calloc(1, sizeof *client);
    int rv = SPATE_ERR_NOMEM;

    if (client != NULL) {
        client->ready.fd = -1;
    }
    if (client != NULL && (config != NULL || defaults != NULL)) {
        sp_list_init(&client->dispatchers);
        sp_list_init(&client->parts);
        sp_list_init(&client->callbacks);
        rv = sp_config_copy(config != NULL ? config : defaults, &client->config);
        if (rv == 0) {
            rv = set_up(client);
        }
    }
    spate_config_free(defaults);
    if (rv != 0) {
        spate_client_free(client);
        return rv;
    }
    *out_client = client;
    return 0;
}

static void close_connections(struct spate_client *client)
{
    struct sp_map_cursor cursor = { 0 };
    struct sp_connection *connection;

    while ((connection = sp_map_next(client->connections, &cursor)) != NULL) {
        sp_rpc_close(connection->rpc);
    }
    sp_loop_run(client->loop); /* ends when the last of them is gone */
    cursor = (struct sp_map_cursor){ 0 };
    while ((connection = sp_map_next(client->connections, &cursor)) != NULL) {
        sp_mem_free(connection);
    }
}

void spate_client_free(struct spate_client *client)
{
    if (client == NULL) {
        return;
    }
    sp_driver_free(client->driver);
    client->driver = NULL; /* from here on this thread turns the loop */
    sp_wakeup_close(&client->ready);
    sp_metadata_cache_free(client->metadata);
    if (client->loop != NULL) {
        sp_timer_stop(&client->tick);
        sp_timer_stop(&client->memory_timer);
    }
    if (client->connections != NULL) {
        close_connections(client);
    }
    sp_map_free(client->connections);
    sp_loop_free(client->loop);
    sp_mem_free(client->servers);
    sp_mem_free(client->server_named);
    sp_config_deinit(&client->config);
    sp_mem_free(client);
    sp_mem_free_kept(); /* other clients of the process have theirs back soon */
}
