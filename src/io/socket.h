/* Listening sockets as plain descriptors, for those that do not live on the loop. */
#ifndef SP_IO_SOCKET_H
#define SP_IO_SOCKET_H

#include <stdint.h>

struct sp_loop;

/* Opens a listening socket, non-blocking, on "host:port"; a name is resolved, waiting, so nothing
 * may be served yet. Errors as sp_listener_open. */
int sp_socket_listen(struct sp_loop *loop, const char *address, int *out_fd, uint16_t *out_port);

/* Ends both directions of a connection whose descriptor somebody else will close. Any thread. */
void sp_socket_shut(int fd);

#endif /* SP_IO_SOCKET_H */
