/* Arbitrary bytes as a command, as a checkpoint, and as bodies of calls between nodes. A state that
 * accepts them must have a checkpoint that restores to the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "cluster/node_call.h"
#include "cluster/state.h"
#include "spate/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check(int condition)
{
    if (!condition) {
        abort();
    }
}

static void add_node(struct sp_state *state, uint32_t node_id)
{
    struct sp_state_node node = { .node_id = node_id, .client_address = "c", .peer_address = "p" };
    struct sp_buf buf;

    sp_buf_init(&buf, 4096);
    check(sp_state_command_register_node(&node, &buf) == 0);
    check(sp_state_apply(state, buf.bytes, buf.size, 0, NULL, NULL) == 0);
    sp_buf_deinit(&buf);
}

/* The checkpoint restores, and to the same bytes. */
static void check_round_trip(struct sp_state *state)
{
    struct sp_buf first;
    struct sp_buf second;

    sp_buf_init(&first, 64 * 1024 * 1024);
    sp_buf_init(&second, 64 * 1024 * 1024);
    check(sp_state_checkpoint(state, &first) == 0);
    check(sp_state_restore(state, first.bytes, first.size) == 0);
    check(sp_state_checkpoint(state, &second) == 0);
    check(first.size == second.size && memcmp(first.bytes, second.bytes, first.size) == 0);
    sp_buf_deinit(&first);
    sp_buf_deinit(&second);
}

/* The input is a run of commands, each behind its size in one byte. */
static void apply_all(struct sp_state *state, const uint8_t *bytes, size_t size)
{
    while (size > 1) {
        size_t command_size = bytes[0] < size - 1 ? bytes[0] : size - 1;
        int rv = sp_state_apply(state, bytes + 1, command_size, (int64_t)size, NULL, NULL);
        check(rv == 0 || rv == SPATE_ERR_CORRUPT || rv == SPATE_ERR_INVALID ||
              rv == SPATE_ERR_EXISTS || rv == SPATE_ERR_UNKNOWN_TOPIC ||
              rv == SPATE_ERR_NOT_FOUND || rv == SPATE_ERR_BUSY || rv == SPATE_ERR_UNSUPPORTED);
        bytes += 1 + command_size;
        size -= 1 + command_size;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct sp_state *state = NULL;
    struct sp_proposal proposal;
    struct sp_node_reply reply = { 0 };

    check(sp_state_new(&state) == 0);
    add_node(state, 1);
    add_node(state, 2);
    apply_all(state, bytes, size);
    check_round_trip(state);
    int rv = sp_state_restore(state, bytes, size);
    check(rv == 0 || rv == SPATE_ERR_CORRUPT || rv == SPATE_ERR_UNSUPPORTED);
    check_round_trip(state);
    sp_state_free(state);
    (void)sp_node_call_decode(bytes, size, &proposal); /* may refuse, must not crash */
    (void)sp_node_reply_decode(bytes, size, &reply);
    return 0;
}
