/* The client: its life, its turns, its connections and what it knows about servers. */
#include "client/client.h"

#include <stdarg.h>
#include <stdio.h>
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

bool sp_client_status_moves(int status)
{
    return status != SPATE_ERR_AGAIN && spate_error_retriable(status) != 0;
}

bool sp_client_status_uncertain(int status)
{
    return status == SPATE_ERR_CLOSED || status == SPATE_ERR_TIMEOUT ||
           status == SPATE_ERR_LEADER_CHANGED;
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

/* ---- turns ----------------------------------------------------------------------------------- */

static void on_tick(struct sp_timer *timer)
{
    SP_CONTAINER_OF(timer, struct spate_client, tick)->ticked = true;
}

void sp_client_turn(struct spate_client *client)
{
    if (client->driver != NULL) {
        sp_driver_kick(client->driver);
        return;
    }
    client->ticked = false;
    if (sp_timer_start(&client->tick, sp_loop_now_ms(client->loop)) == 0) {
        (void)sp_loop_run_until(client->loop, &client->ticked, UINT64_MAX);
    }
}

int sp_client_run(struct spate_client *client, uint64_t deadline_ms)
{
    if (client->driver != NULL) {
        if (!client->closing) {
            sp_driver_wait(client->driver, deadline_ms);
        }
        return sp_client_check_open(client);
    }
    client->woken = false;
    if (deadline_ms <= sp_loop_now_ms(client->loop)) {
        sp_client_turn(client);
    } else {
        (void)sp_loop_run_until(client->loop, &client->woken, deadline_ms);
    }
    return sp_client_check_open(client);
}

void sp_client_wake(struct spate_client *client)
{
    client->woken = true;
    if (client->driver != NULL) {
        sp_driver_wake(client->driver);
    }
}

int sp_client_check_open(struct spate_client *client)
{
    return client->closing
               ? sp_client_fail(client, SPATE_ERR_CANCELED, "the client is being closed")
               : 0;
}

unsigned sp_client_suspend(struct spate_client *client)
{
    return client->driver == NULL ? 0 : sp_driver_suspend(client->driver);
}

void sp_client_resume(struct spate_client *client, unsigned depth)
{
    if (client->driver != NULL) {
        sp_driver_resume(client->driver, depth);
    }
}

uint64_t sp_client_thread(const struct spate_client *client)
{
    return client->driver == NULL ? 0 : sp_thread_self();
}

uint64_t sp_client_deadline(const struct spate_client *client, int64_t timeout_ms)
{
    return timeout_ms < 0 ? UINT64_MAX : sp_loop_now_ms(client->loop) + (uint64_t)timeout_ms;
}

static unsigned dispatch(struct spate_client *client)
{
    unsigned count = 0;

    SP_LIST_EACH (node, &client->dispatchers) {
        struct sp_dispatcher *dispatcher = SP_LIST_ENTRY(node, struct sp_dispatcher, node);
        if (dispatcher->ready(dispatcher)) {
            count += dispatcher->dispatch(dispatcher);
        }
    }
    return count;
}

int spate_poll(struct spate_client *client, int timeout_ms)
{
    if (client == NULL) {
        return SPATE_ERR_INVALID;
    }
    SP_CLIENT_HOLD(client);
    uint64_t deadline_ms = sp_client_deadline(client, timeout_ms);

    sp_client_turn(client);
    unsigned count = dispatch(client);
    while (count == 0 && sp_loop_now_ms(client->loop) < deadline_ms) {
        int rv = sp_client_run(client, deadline_ms);
        if (rv != 0) {
            return rv;
        }
        count = dispatch(client);
    }
    return (int)count;
}

/* ---- inside another loop --------------------------------------------------------------------- */

static bool anything_ready(const struct spate_client *client)
{
    SP_LIST_EACH (node, &client->parts) {
        struct sp_client_part *part = SP_LIST_ENTRY(node, struct sp_client_part, node);
        if (part->ready(part)) {
            return true;
        }
    }
    return false;
}

static void refresh_ready(struct spate_client *client)
{
    bool ready = anything_ready(client);

    client->ready_wakes = client->driver->wakes;
    if (ready && !client->ready_raised) {
        sp_wakeup_raise(&client->ready);
    } else if (!ready && client->ready_raised) {
        sp_wakeup_lower(&client->ready);
    }
    client->ready_raised = ready;
}

/* The driver's: after each turn and each call. What is ready is made so with a wake, and is looked
 * at again only while it is. */
static void before_leave(void *arg)
{
    struct spate_client *client = arg;

    if (client->closing) {
        sp_driver_wake(client->driver); /* spate_client_close counts those that are left */
    }
    if (client->ready.fd >= 0 &&
        (client->ready_raised || client->ready_wakes != client->driver->wakes)) {
        refresh_ready(client);
    }
}

int spate_client_fd(struct spate_client *client)
{
    if (client == NULL) {
        return SPATE_ERR_INVALID;
    }
    SP_CLIENT_HOLD(client);
    int rv = 0;

    if (client->driver == NULL) {
        return sp_loop_fd(client->loop);
    }
    if (client->ready.fd < 0) {
        rv = sp_wakeup_open(&client->ready);
        if (rv != 0) {
            return sp_client_fail(client, rv, "no descriptor is left");
        }
        refresh_ready(client);
    }
    return client->ready.fd;
}

int spate_client_wait_ms(struct spate_client *client)
{
    if (client == NULL) {
        return SPATE_ERR_INVALID;
    }
    SP_CLIENT_HOLD(client);

    if (anything_ready(client)) {
        return 0;
    }
    return client->driver == NULL ? sp_loop_wait_ms(client->loop) : -1;
}

/* ---- connections ----------------------------------------------------------------------------- */

static int connection_new(struct spate_client *client,
                          const char *address,
                          struct sp_connection **out_connection)
{
    struct sp_connection *connection = sp_mem_calloc(1, sizeof *connection);

    if (connection == NULL) {
        return SPATE_ERR_NOMEM;
    }
    connection->client = client;
    int rv = sp_rpc_new(client->loop, address, &connection->rpc);
    if (rv == 0) {
        rv = sp_map_put(client->connections, address, strlen(address), connection);
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

int sp_client_connection(struct spate_client *client,
                         const char *address,
                         struct sp_connection **out_connection)
{
    struct sp_connection *connection = sp_map_get(client->connections, address, strlen(address));

    if (connection != NULL) {
        *out_connection = connection;
        return 0;
    }
    if (sp_map_count(client->connections) >= SP_CLIENT_CONNECTIONS_MAX) {
        return SPATE_ERR_BUSY;
    }
    return connection_new(client, address, out_connection);
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

int sp_connection_call(struct sp_connection *connection,
                       struct sp_rpc_call *call,
                       struct sp_bytes params,
                       const struct sp_slice *body)
{
    if (!connection->hello_done) {
        say_hello(connection);
    }
    return sp_rpc_call(connection->rpc, call, params.bytes, params.size, body);
}

void sp_client_learn_server(struct spate_client *client, struct sp_bytes address)
{
    if (address.bytes == NULL || address.size == 0 || address.size >= SP_ADDRESS_SIZE_MAX ||
        client->server_count >= SP_CLIENT_SERVERS_KNOWN_MAX) {
        return;
    }
    for (uint32_t i = 0; i < client->server_count; i++) {
        if (sp_bytes_equal_text(address, client->servers[i])) {
            return;
        }
    }
    memcpy(client->servers[client->server_count], address.bytes, address.size);
    client->servers[client->server_count][address.size] = '\0';
    client->server_count += 1;
}

/* ---- life ------------------------------------------------------------------------------------ */

static int set_up(struct spate_client *client)
{
    const char *list = client->config.servers;
    int rv = sp_loop_new(0, &client->loop);

    if (rv != 0) {
        return rv;
    }
    sp_timer_init(&client->tick, client->loop, on_tick);
    client->connections = sp_map_new();
    client->servers = sp_mem_calloc(SP_CLIENT_SERVERS_KNOWN_MAX, sizeof client->servers[0]);
    if (client->connections == NULL || client->servers == NULL) {
        return SPATE_ERR_NOMEM;
    }
    while (sp_config_next_server(&list, client->servers[client->server_count])) {
        client->server_count += 1;
    }
    rv = sp_metadata_cache_new(client, &client->metadata);
    if (rv == 0 && client->config.io_thread) {
        rv = sp_driver_new(client->loop, before_leave, client, &client->driver);
    }
    return rv;
}

int spate_client_new(const struct spate_config *config, struct spate_client **out_client)
{
    struct spate_config *defaults = config == NULL ? spate_config_new() : NULL;
    struct spate_client *client = sp_mem_calloc(1, sizeof *client);
    int rv = SPATE_ERR_NOMEM;

    if (client != NULL) {
        client->ready.fd = -1;
    }
    if (client != NULL && (config != NULL || defaults != NULL)) {
        sp_list_init(&client->dispatchers);
        sp_list_init(&client->parts);
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
    }
    if (client->connections != NULL) {
        close_connections(client);
    }
    sp_map_free(client->connections);
    sp_loop_free(client->loop);
    sp_mem_free(client->servers);
    sp_config_deinit(&client->config);
    sp_mem_free(client);
}

/* ---- closing --------------------------------------------------------------------------------- */

static struct sp_client_part *busy_part(const struct spate_client *client)
{
    SP_LIST_EACH (node, &client->parts) {
        struct sp_client_part *part = SP_LIST_ENTRY(node, struct sp_client_part, node);
        if (part->busy != NULL && part->busy(part)) {
            return part;
        }
    }
    return NULL;
}

/* Others may call meanwhile, so that the list is looked at anew each time. */
static int flush_parts(struct spate_client *client, int timeout_ms)
{
    uint64_t deadline_ms = sp_client_deadline(client, timeout_ms);
    struct sp_client_part *part;
    int rv = 0;

    while (rv == 0 && (part = busy_part(client)) != NULL) {
        uint64_t now_ms = sp_loop_now_ms(client->loop);
        uint64_t left_ms = deadline_ms > now_ms ? deadline_ms - now_ms : 0;
        rv = part->flush(part, timeout_ms < 0 ? -1 : (int)left_ms);
    }
    return rv;
}

static void cancel_parts(struct spate_client *client)
{
    client->closing = true;
    SP_LIST_EACH (node, &client->parts) {
        struct sp_client_part *part = SP_LIST_ENTRY(node, struct sp_client_part, node);
        if (part->cancel != NULL) {
            part->cancel(part);
        }
    }
    sp_client_wake(client);
    while (client->driver != NULL && sp_driver_calls(client->driver) > 1) {
        sp_driver_wait(client->driver, UINT64_MAX);
    }
}

static int close_parts(struct spate_client *client, int timeout_ms)
{
    SP_CLIENT_HOLD(client);
    int rv = flush_parts(client, timeout_ms);

    cancel_parts(client);
    while (!sp_list_empty(&client->parts)) {
        struct sp_client_part *part =
            SP_LIST_ENTRY(client->parts.next, struct sp_client_part, node);
        part->free(part);
    }
    return rv;
}

int spate_client_close(struct spate_client *client, int timeout_ms)
{
    if (client == NULL) {
        return 0;
    }
    int rv = close_parts(client, timeout_ms);
    spate_client_free(client);
    return rv;
}
