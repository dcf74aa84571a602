/* Parsing and formatting of socket addresses. */
#include "io/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spate/error.h"

enum {
    PORT_DIGITS_MAX = 5,
    PORT_MAX = 65535,
};

static bool port_valid(const char *text)
{
    size_t size = strlen(text);

    return size > 0 && size <= PORT_DIGITS_MAX && strspn(text, "0123456789") == size &&
           strtoul(text, NULL, 10) <= PORT_MAX;
}

int sp_address_parse(const char *text, struct sp_address *out_address)
{
    const char *colon = strrchr(text, ':');
    const char *host = text;

    if (strlen(text) >= SP_ADDRESS_SIZE_MAX || colon == NULL || !port_valid(colon + 1)) {
        return SPATE_ERR_INVALID;
    }
    size_t host_size = (size_t)(colon - text);
    if (*host == '[') {
        if (host_size < 2 || host[host_size - 1] != ']') {
            return SPATE_ERR_INVALID;
        }
        host += 1;
        host_size -= 2;
    } else if (memchr(host, ':', host_size) != NULL) {
        return SPATE_ERR_INVALID; /* IPv6 without brackets: where the port begins is a guess */
    }
    memcpy(out_address->host, host, host_size);
    out_address->host[host_size] = '\0';
    memcpy(out_address->port, colon + 1, strlen(colon + 1) + 1);
    return 0;
}

int sp_address_numeric(const struct sp_address *address, struct sockaddr_storage *out_address)
{
    uint16_t port = htons((uint16_t)strtoul(address->port, NULL, 10));
    struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = port };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = port };

    if (inet_pton(AF_INET, address->host, &v4.sin_addr) == 1) {
        memcpy(out_address, &v4, sizeof v4);
        return 0;
    }
    if (inet_pton(AF_INET6, address->host, &v6.sin6_addr) == 1) {
        memcpy(out_address, &v6, sizeof v6);
        return 0;
    }
    return SPATE_ERR_NOT_FOUND;
}

socklen_t sp_address_size(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                          : sizeof(struct sockaddr_in);
}

void sp_address_format(const struct sockaddr_storage *address, char out_text[SP_ADDRESS_SIZE_MAX])
{
    char host[INET6_ADDRSTRLEN] = "?";

    if (address->ss_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof v6);
        (void)inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof host); /* the buffer is enough */
        (void)snprintf(out_text, SP_ADDRESS_SIZE_MAX, "[%s]:%u", host, ntohs(v6.sin6_port));
    } else {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof v4);
        (void)inet_ntop(AF_INET, &v4.sin_addr, host, sizeof host); /* the buffer is enough */
        (void)snprintf(out_text, SP_ADDRESS_SIZE_MAX, "%s:%u", host, ntohs(v4.sin_port));
    }
}
