/* Outbound MessagePack-RPC calls to one address: correlation, deadlines, reconnection.
 *
 *   IDLE --call--> CONNECTING --ok--> READY --lost--> WAITING (20 ms .. 1 s) --> CONNECTING
 *
 * A call made while not connected waits for the connection within its deadline; one that is
 * `at_once` begins an attempt to connect and waits for that alone. When a connection is lost, calls
 * that were sent fail with SPATE_ERR_CLOSED (the outcome is unknown), calls that were not sent stay
 * queued. All calls on the loop thread. */
#ifndef SP_NET_RPC_H
#define SP_NET_RPC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/list.h"
#include "io/loop.h"
#include "io/stream.h"

struct sp_rpc;
struct sp_rpc_call;

/* `status` 0: `result` (one MessagePack value, borrowed) is the answer, which lies in call->answer:
 * whoever takes a reference of that blob may keep the bytes. Negative: what went wrong;
 * `text` (may be empty, borrowed) is what the server said, without the code; for
 * SPATE_ERR_NOT_LEADER with a known leader it begins with "NODE HOST:PORT ". At the deadline a call
 * that was sent gets SPATE_ERR_TIMEOUT (the outcome is unknown), one that never was gets
 * SPATE_ERR_UNREACHABLE, with the text of sp_rpc_trouble. */
typedef void (*sp_rpc_cb)(
    struct sp_rpc_call *call, int status, const uint8_t *result, size_t size, const char *text);

/* A call in progress, embedded by its caller. Fill the first part; the rest is rpc's. */
struct sp_rpc_call {
    const char *method;
    sp_rpc_cb cb;
    uint32_t timeout_ms;
    bool at_once; /* SPATE_ERR_UNREACHABLE as soon as an attempt to connect has failed */
    struct sp_list node;
    struct sp_timer timer;
    struct sp_rpc *rpc;
    uint32_t msgid;
    bool sent;
    enum sp_stream_trouble trouble; /* with SPATE_ERR_UNREACHABLE, while `cb` runs */
    struct sp_slice request;
    struct sp_slice body;
    struct sp_blob *answer; /* borrowed, while `cb` runs with status 0 */
};

/* Nothing connects before the first call. `address` is copied. SPATE_ERR_INVALID: it is too long;
 * SPATE_ERR_NOMEM. */
int sp_rpc_new(struct sp_loop *loop, const char *address, struct sp_rpc **out_rpc);

/* Calls with `params` = one MessagePack value, a map (copied into the array that the protocol
 * wants). `body` (may be NULL; a reference is taken) is appended behind it as raw bytes: the last
 * value of the map, whose bin header `params` ends with. `cb` runs exactly once, later.
 * SPATE_ERR_TOO_LARGE: above SP_MESSAGE_BYTES_MAX; SPATE_ERR_NOMEM; SPATE_ERR_CANCELED: the rpc is
 * closed. */
int sp_rpc_call(struct sp_rpc *rpc,
                struct sp_rpc_call *call,
                const uint8_t *params,
                size_t size,
                const struct sp_slice *body);

/* Gives up waiting for a call whose `cb` has not run; it will not run any more. */
void sp_rpc_cancel(struct sp_rpc_call *call);

bool sp_rpc_connected(const struct sp_rpc *rpc);

#define SP_RPC_TROUBLE_SIZE (SP_ADDRESS_SIZE_MAX + 48)

/* Why there is no connection, in words as well ("connection refused"): as the last attempt that has
 * ended found, and before that as the first one stands. After one that succeeded none. */
enum sp_stream_trouble sp_rpc_trouble(const struct sp_rpc *rpc, char out_text[SP_RPC_TROUBLE_SIZE]);

/* No call waits, has been sent, or is about to end. */
bool sp_rpc_idle(const struct sp_rpc *rpc);

/* For how long nothing has come although something was asked, be it given up by now; 0: all was
 * answered. A call after a second of that, with nobody left who waits, is made on a new connection;
 * so is one after five seconds in which a call was given up, which ends those that wait with
 * SPATE_ERR_CLOSED. */
uint64_t sp_rpc_silent_ms(const struct sp_rpc *rpc);
const char *sp_rpc_address(const struct sp_rpc *rpc);

/* Fails all calls with SPATE_ERR_CANCELED (their cb runs inside), closes, frees itself later. */
void sp_rpc_close(struct sp_rpc *rpc);

#endif /* SP_NET_RPC_H */
