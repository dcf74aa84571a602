/* The stand-ins of what a connection does beside sending, in tests whose clients are legal.
 * Included once, by one test. */
#ifndef SP_UNIT_LEGAL_CONN_H
#define SP_UNIT_LEGAL_CONN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/conn.h"

uint64_t sp_conn_written_bytes(const struct sp_conn *conn)
{
    (void)conn;
    return 0;
}

void sp_conn_bound_unsent(struct sp_conn *conn, size_t size_bytes)
{
    (void)conn;
    (void)size_bytes;
}

const char *sp_conn_peer(const struct sp_conn *conn)
{
    (void)conn;
    return "client:1";
}

void sp_conn_close(struct sp_conn *conn, bool flush)
{
    (void)conn;
    (void)flush;
    fail_msg("no connection is illegal here");
}

#endif /* SP_UNIT_LEGAL_CONN_H */
