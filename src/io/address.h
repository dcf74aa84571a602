/* Text addresses "host:port" and "[v6]:port", and the system's form of them. */
#ifndef SP_IO_ADDRESS_H
#define SP_IO_ADDRESS_H

#include <sys/socket.h>

#include "base/limits.h"

struct sp_address {
    char host[SP_ADDRESS_SIZE_MAX]; /* without brackets; may be empty */
    char port[8];                   /* decimal, 0 to 65535 */
};

/* Splits `text`. SPATE_ERR_INVALID when it has no valid port or is too long. */
int sp_address_parse(const char *text, struct sp_address *out_address);

/* The system's form when the host is numeric. SPATE_ERR_NOT_FOUND when it is a name. */
int sp_address_numeric(const struct sp_address *address, struct sockaddr_storage *out_address);

/* Size of the used part of an IPv4 or IPv6 address. */
socklen_t sp_address_size(const struct sockaddr_storage *address);

/* Writes "host:port" of an IPv4 or IPv6 address. */
void sp_address_format(const struct sockaddr_storage *address, char out_text[SP_ADDRESS_SIZE_MAX]);

#endif /* SP_IO_ADDRESS_H */
