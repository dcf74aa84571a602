#include "io/socket.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "io/address.h"
#include "io/loop_body.h"
#include "io/standard.h"
#include "spate/error.h"

enum {
    BACKLOG = 1024, /* clients of a whole cluster may come back at once after a failover */
};

/* Resolves an address to listen on, waiting if it is a name: nothing is served yet. */
static int find_address(struct sp_loop *loop, const char *text, struct sockaddr_storage *out)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
    uv_getaddrinfo_t resolver;
    struct sp_address address;

    if (sp_address_parse(text, &address) != 0) {
        return SPATE_ERR_INVALID;
    }
    if (sp_address_numeric(&address, out) == 0) {
        return 0;
    }
    const char *host = address.host[0] == '\0' ? NULL : address.host;
    int rv = uv_getaddrinfo(&loop->uv, &resolver, NULL, host, address.port, &hints);
    if (rv != 0) {
        return rv == UV_ENOMEM ? SPATE_ERR_NOMEM : SPATE_ERR_INVALID;
    }
    SP_ASSERT(resolver.addrinfo->ai_addrlen <= sizeof *out);
    memcpy(out, resolver.addrinfo->ai_addr, resolver.addrinfo->ai_addrlen);
    uv_freeaddrinfo(resolver.addrinfo);
    return 0;
}

static int error_of_listen(int number)
{
    switch (number) {
    case EADDRINUSE:
        return SPATE_ERR_EXISTS;
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
    case EACCES:
        return SPATE_ERR_INVALID;
    case ENOMEM:
    case ENOBUFS:
        return SPATE_ERR_NOMEM;
    default:
        return SPATE_ERR_INTERNAL;
    }
}

/* A listening socket on `address`, whose port is filled in. */
static int open_socket(struct sockaddr_storage *address, int *out_fd)
{
    socklen_t size = sp_address_size(address);
    int on = 1;
    int fd = sp_standard_avoid(
        socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));

    if (fd < 0) {
        return error_of_listen(errno);
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, (struct sockaddr *)address, size) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)address, &size) != 0) {
        int rv = error_of_listen(errno);
        (void)close(fd); /* nothing was sent */
        return rv;
    }
    *out_fd = fd;
    return 0;
}

static uint16_t port_of(const struct sockaddr_storage *address)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    if (address->ss_family == AF_INET6) {
        memcpy(&v6, address, sizeof v6);
        return ntohs(v6.sin6_port);
    }
    memcpy(&v4, address, sizeof v4);
    return ntohs(v4.sin_port);
}

int sp_socket_listen(struct sp_loop *loop, const char *address, int *out_fd, uint16_t *out_port)
{
    struct sockaddr_storage local = { 0 };
    int rv = find_address(loop, address, &local);

    if (rv == 0) {
        rv = open_socket(&local, out_fd);
    }
    if (rv == 0) {
        *out_port = port_of(&local);
    }
    return rv;
}

void sp_socket_shut(int fd)
{
    (void)shutdown(fd, SHUT_RDWR); /* fails only when the peer has gone before */
}
