#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "raw.h"
#include "wire/frame.h"

enum {
    MESSAGE_MAX = 20 * 1024 * 1024,
    ELEMENTS_MAX = 1000000,
    CONNECT_MS = 1000,
    READ_BYTES = 65536,
};

struct connection {
    char address[JEP_ADDRESS_MAX];
    int socket; /* -1: closed */
};

struct jep_raw {
    struct jep_client *client;
    struct connection connections[JEP_NODES_MAX];
    unsigned seed; /* number of the node of --brokers that is asked next */
    uint32_t msgid;
    struct sp_buf request;
    struct sp_pack pack;
    struct sp_buf answer;
    struct sp_message message;
};

struct jep_raw *jep_raw_new(struct jep_client *client)
{
    struct jep_raw *raw = calloc(1, sizeof *raw);

    if (raw == NULL) {
        jep_die(client, "memory", SPATE_ERR_NOMEM);
    }
    raw->client = client;
    raw->seed = client->options.id;
    sp_buf_init(&raw->request, MESSAGE_MAX);
    sp_buf_init(&raw->answer, MESSAGE_MAX);
    for (unsigned i = 0; i < JEP_NODES_MAX; i++) {
        raw->connections[i].socket = -1;
    }
    return raw;
}

static void drop(struct connection *connection)
{
    if (connection->socket >= 0) {
        (void)close(connection->socket); /* it is given up */
    }
    connection->socket = -1;
}

void jep_raw_free(struct jep_raw *raw)
{
    for (unsigned i = 0; i < JEP_NODES_MAX; i++) {
        drop(&raw->connections[i]);
    }
    sp_buf_deinit(&raw->request);
    sp_buf_deinit(&raw->answer);
    free(raw);
}

struct jep_client *jep_raw_client(struct jep_raw *raw)
{
    return raw->client;
}

void jep_raw_any(struct jep_raw *raw, char address[JEP_ADDRESS_MAX])
{
    const char *brokers = raw->client->options.brokers;
    unsigned count = 1;

    for (const char *at = brokers; *at != '\0'; at++) {
        count += *at == ',';
    }
    unsigned wanted = raw->seed++ % count;
    for (; wanted > 0; wanted--) {
        brokers = strchr(brokers, ',') + 1;
    }
    size_t size = strcspn(brokers, ",");
    if (size >= JEP_ADDRESS_MAX) {
        jep_die(raw->client, "an address is too long", SPATE_ERR_INVALID);
    }
    memcpy(address, brokers, size);
    address[size] = '\0';
}

/* ---- sockets --------------------------------------------------------------------------------- */

static bool wait_for(int socket, short events, int64_t deadline_ns)
{
    int64_t left_ms = (deadline_ns - jep_now_ns()) / 1000000;
    struct pollfd entry = { .fd = socket, .events = events };

    return left_ms > 0 && poll(&entry, 1, (int)left_ms) > 0;
}

static int connect_to(const char *address)
{
    char host[JEP_ADDRESS_MAX];
    const char *port = strrchr(address, ':');
    struct addrinfo *info = NULL;
    const struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM };
    int one = 1;
    int error = 0;
    socklen_t size = sizeof error;

    if (port == NULL) {
        return -1;
    }
    memcpy(host, address, (size_t)(port - address));
    host[port - address] = '\0';
    if (getaddrinfo(host, port + 1, &hints, &info) != 0) {
        return -1;
    }
    int made = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (made >= 0) {
        bool fine = connect(made, info->ai_addr, info->ai_addrlen) == 0;
        fine = fine || (errno == EINPROGRESS &&
                        wait_for(made, POLLOUT, jep_now_ns() + (int64_t)CONNECT_MS * 1000000) &&
                        getsockopt(made, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0);
        if (!fine) {
            (void)close(made); /* nothing was sent */
            made = -1;
        } else {
            (void)setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* only faster */
        }
    }
    freeaddrinfo(info);
    return made;
}

static struct connection *connection_to(struct jep_raw *raw, const char *address)
{
    struct connection *free_one = &raw->connections[raw->msgid % JEP_NODES_MAX];

    for (unsigned i = 0; i < JEP_NODES_MAX; i++) {
        struct connection *connection = &raw->connections[i];
        if (connection->socket >= 0 && strcmp(connection->address, address) == 0) {
            return connection;
        }
        free_one = connection->socket < 0 ? connection : free_one;
    }
    drop(free_one);
    (void)stpncpy(free_one->address, address, JEP_ADDRESS_MAX - 1);
    free_one->address[JEP_ADDRESS_MAX - 1] = '\0';
    free_one->socket = connect_to(address);
    return free_one->socket < 0 ? NULL : free_one;
}

static int send_all(int socket, const uint8_t *bytes, size_t size, int64_t deadline_ns)
{
    while (size > 0) {
        ssize_t sent = send(socket, bytes, size, MSG_NOSIGNAL);
        if (sent > 0) {
            bytes += sent;
            size -= (size_t)sent;
        } else if (errno != EAGAIN && errno != EINTR) {
            return SPATE_ERR_CLOSED;
        } else if (!wait_for(socket, POLLOUT, deadline_ns)) {
            return SPATE_ERR_TIMEOUT;
        }
    }
    return 0;
}

/* Reads one whole message into raw->answer. */
static int receive(struct jep_raw *raw, int socket, int64_t deadline_ns)
{
    struct sp_frame frame;
    bool complete = false;

    sp_frame_init(&frame, MESSAGE_MAX, ELEMENTS_MAX);
    sp_buf_clear(&raw->answer);
    while (!complete) {
        uint8_t *place = NULL;
        size_t used = 0;
        if (!wait_for(socket, POLLIN, deadline_ns)) {
            return SPATE_ERR_TIMEOUT;
        }
        if (sp_buf_reserve(&raw->answer, READ_BYTES, &place) != 0) {
            return SPATE_ERR_TOO_LARGE;
        }
        ssize_t size = recv(socket, place, READ_BYTES, 0);
        if (size <= 0) {
            return SPATE_ERR_CLOSED;
        }
        sp_buf_grow(&raw->answer, (size_t)size);
        if (sp_frame_feed(&frame, place, (size_t)size, &used, &complete) != 0 ||
            (complete && used != (size_t)size)) { /* nothing else was asked for */
            return SPATE_ERR_MALFORMED;
        }
    }
    return 0;
}

/* ---- calls ----------------------------------------------------------------------------------- */

struct sp_pack *jep_raw_begin(struct jep_raw *raw, const char *method)
{
    sp_buf_clear(&raw->request);
    sp_pack_init(&raw->pack, &raw->request);
    sp_message_request(&raw->pack, ++raw->msgid, method);
    return &raw->pack;
}

bool jep_raw_nothing_done(int code)
{
    return code != SPATE_ERR_LEADER_CHANGED && code != SPATE_ERR_TIMEOUT &&
           code != SPATE_ERR_STOPPED && code != SPATE_ERR_CANCELED && code != SPATE_ERR_CLOSED;
}

static int exchange(struct jep_raw *raw, struct connection *connection, int64_t deadline_ns)
{
    int rv = send_all(connection->socket, raw->request.bytes, raw->request.size, deadline_ns);

    if (rv == 0) {
        rv = receive(raw, connection->socket, deadline_ns);
    }
    if (rv == 0) {
        rv = sp_message_decode(raw->answer.bytes, raw->answer.size, &raw->message);
    }
    if (rv == 0 && (raw->message.type != SP_MESSAGE_RESPONSE || raw->message.msgid != raw->msgid)) {
        rv = SPATE_ERR_MALFORMED;
    }
    if (rv == SPATE_ERR_MALFORMED || rv == SPATE_ERR_TOO_LARGE || rv == SPATE_ERR_INVALID) {
        jep_die(raw->client, "an answer that is none", rv);
    }
    if (rv != 0) {
        drop(connection); /* its answer may still come, and must not be taken for another */
    }
    return rv;
}

int jep_raw_call_again(struct jep_raw *raw,
                       char address[JEP_ADDRESS_MAX],
                       int timeout_ms,
                       struct sp_cursor *out_result)
{
    struct connection *connection = connection_to(raw, address);
    struct sp_error_parts parts;

    if (connection == NULL) {
        jep_raw_any(raw, address);
        return SPATE_ERR_UNREACHABLE;
    }
    int rv = exchange(raw, connection, jep_now_ns() + (int64_t)timeout_ms * 1000000);
    if (rv != 0) {
        jep_raw_any(raw, address);
        return rv;
    }
    if (raw->message.error.bytes == NULL) {
        *out_result = raw->message.result;
        return 0;
    }
    sp_error_parse(raw->message.error, &parts);
    if (parts.leader_address.bytes != NULL && parts.leader_address.size < JEP_ADDRESS_MAX) {
        memcpy(address, parts.leader_address.bytes, parts.leader_address.size);
        address[parts.leader_address.size] = '\0';
    } else {
        jep_raw_any(raw, address);
    }
    return parts.code;
}

int jep_raw_call(struct jep_raw *raw,
                 char address[JEP_ADDRESS_MAX],
                 int timeout_ms,
                 struct sp_cursor *out_result)
{
    int rv = sp_pack_status(&raw->pack);

    if (rv != 0) {
        jep_die(raw->client, "a request that cannot be made", rv);
    }
    return jep_raw_call_again(raw, address, timeout_ms, out_result);
}

bool jep_raw_key(struct sp_cursor *cursor, uint32_t *left, const char *name)
{
    while (*left > 0) {
        struct sp_bytes key = sp_cursor_text(cursor);
        *left -= 1;
        if (key.bytes == NULL) {
            return false;
        }
        if (key.size == strlen(name) && memcmp(key.bytes, name, key.size) == 0) {
            return true;
        }
        sp_cursor_skip(cursor);
    }
    return false;
}
