/* Where other nodes can be reached, as this node's own log says: hints, before anything of it is
 * known to be committed.
 *
 * After all nodes have stopped nobody can commit before they reach each other, and a node that
 * joined stands in no list of seeds. So addresses are taken from the newest checkpoint and from the
 * frames behind it. A wrong hint costs an attempt to connect: greetings check who is there. */
#include "cluster/controller_parts.h"

#include "base/mem.h"
#include "base/trace.h"
#include "cluster/state_codec.h"
#include "spate/error.h"

#define READ_BYTES (256 * 1024)

struct sp_controller_hints {
    struct sp_controller *controller;
    struct sp_log_read read;
};

void sp_controller_hint(struct sp_controller *controller, const struct sp_state_node *node)
{
    if (node->node_id == controller->options.self.node_id) {
        return;
    }
    int rv =
        sp_transport_set_node(controller->options.transport, node->node_id, node->peer_address);
    if (rv != 0) {
        SP_TRACE_WARN("controller",
                      "link to a node not set up, tried again when it changes",
                      "node=%u error=%s",
                      node->node_id,
                      spate_error_name(rv));
    }
    /* It has been that, committed or not, so an older copy of its directory must not vote. */
    sp_transport_set_registered(controller->options.transport,
                                node->node_id,
                                &(struct sp_life){ node->incarnation, node->run });
}

void sp_controller_hint_all(struct sp_controller *controller)
{
    struct sp_map_cursor cursor = { 0 };
    const struct sp_state_node *node = NULL;

    while ((node = sp_state_node_next(controller->state, &cursor)) != NULL) {
        sp_controller_hint(controller, node);
    }
}

static void read_frame(struct sp_controller *controller, const struct sp_slice *slice)
{
    struct sp_log_frame frame;
    struct sp_state_node node;
    struct sp_cursor cursor;

    if (sp_log_frame_decode(slice->bytes, slice->size, &frame) != 0 ||
        frame.kind != SP_FRAME_COMMAND) {
        return;
    }
    sp_cursor_init(&cursor, sp_log_frame_payload(slice->bytes), frame.length);
    uint32_t elements = sp_cursor_array(&cursor);
    uint64_t kind = sp_cursor_uint(&cursor, UINT32_MAX);
    if (elements != 2 || (kind != SP_STATE_REGISTER_NODE && kind != SP_STATE_JOIN_NODE)) {
        return;
    }
    sp_state_node_read(&cursor, &node);
    if (sp_cursor_finish(&cursor) == 0) {
        sp_controller_hint(controller, &node);
    }
}

static void read_on(struct sp_controller_hints *hints, uint64_t index);

static void on_read(struct sp_log_read *read, int status)
{
    struct sp_controller_hints *hints = SP_CONTAINER_OF(read, struct sp_controller_hints, read);
    struct sp_controller *controller = hints->controller;
    uint64_t next = (uint64_t)read->start + read->count;
    /* Once the state is confirmed it says more than frames that it has applied. */
    bool more = status == 0 && read->count > 0 && controller != NULL && !controller->confirmed;

    for (unsigned i = 0; more && i < read->count; i++) {
        read_frame(controller, &read->frames[i]);
    }
    sp_log_read_release(read);
    if (more && controller->hints == hints) {
        read_on(hints, next);
        return;
    }
    if (controller != NULL && controller->hints == hints) {
        controller->hints = NULL;
    }
    sp_mem_free(hints);
}

static void read_on(struct sp_controller_hints *hints, uint64_t index)
{
    struct sp_controller *controller = hints->controller;
    struct sp_log *log = sp_raft_group_log(controller->group);

    hints->read = (struct sp_log_read){ .by = SP_LOG_READ_INDEX,
                                        .start = (int64_t)index,
                                        .index_max = sp_log_last_index(log),
                                        .bytes_max = READ_BYTES,
                                        .frames_max = SP_APPEND_FRAMES_MAX,
                                        .cb = on_read };
    if (index > sp_log_last_index(log) || sp_log_read_start(log, &hints->read) != 0) {
        controller->hints = NULL;
        sp_mem_free(hints);
    }
}

void sp_controller_read_hints(struct sp_controller *controller)
{
    struct sp_controller_hints *hints = sp_mem_calloc(1, sizeof *hints);
    struct sp_raft_group_status status;

    sp_controller_hint_all(controller);
    if (hints == NULL) {
        return; /* seeds and addresses to join remain */
    }
    sp_raft_group_status(controller->group, &status);
    hints->controller = controller;
    controller->hints = hints;
    read_on(hints, status.applied_index + 1);
}

void sp_controller_forget_hints(struct sp_controller *controller)
{
    if (controller->hints != NULL) {
        controller->hints->controller = NULL; /* its read ends it */
        controller->hints = NULL;
    }
}
