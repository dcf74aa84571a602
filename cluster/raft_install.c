/* InstallSnapshot: the checkpoint at which the leader's log begins, for a follower below it (D3).
 *
 *   leader:    raft asks -> READING --image--> SENDING --last chunk answered--> gone
 *   follower:  chunks gathered -> checked as a whole -> raft -> log replaced and durable
 *              -> machine restored -> raft answers, ordinary appends follow
 *
 * One chunk at a time is on its way to a follower, which answers with the position that it wants
 * next: that bounds what is queued. A transfer that nobody answers for PATIENCE_MS is begun anew
 * when raft asks again; it then has another number, so that late chunks and answers of the one
 * before do not disturb it. */
#include "cluster/raft_group_internal.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "spate/error.h"
#include "storage/checkpoint.h"

/* Longer than what may be queued to a follower takes on a slow link. */
#define PATIENCE_MS 10000

/* The follower needs nothing of this checkpoint, or nothing more. */
#define POSITION_NONE UINT64_MAX

/* What a checkpoint holds besides the machine's state: its head, epochs and memberships. */
#define STATE_EXTRA_BYTES (16 * 1024 * 1024)

struct sp_raft_install {
    struct sp_raft_group *group;
    struct sp_log_image image; /* blob: NULL while it is read */
    struct sp_raft_outgoing out;
    uint64_t position; /* of the chunk that is on its way */
    uint64_t number;   /* of the transfer */
    uint64_t heard_ms; /* from the follower */
    bool reading;
    bool unsent; /* the link's queue was full: the chunk goes when raft asks again */
};

/* ---- the start of the log -------------------------------------------------------------------- */

/* Lets the log begin behind `index`, where it has a checkpoint. First raft must know that its
 * followers may need a checkpoint, then the files may go (D3). False: it stays as it is, until the
 * next checkpoint; advance tells of what is worse. */
static bool raise_start(struct sp_raft_group *group, uint64_t index)
{
    struct raft_snapshot_metadata metadata = { .index = index };

    if (metadata.index < 2) {
        return false; /* a replica that joins empty would never be sent anything */
    }
    metadata.term = sp_log_term_at(group->log, metadata.index);
    int rv = sp_raft_membership_at(
        group->log, metadata.index, &metadata.configuration_index, &metadata.configuration);
    if (rv == 0) {
        rv = sp_raft_guard_snapshot(&group->guard, sp_raft_now_ms(group), &metadata, 0);
        raft_configuration_close(&metadata.configuration);
    }
    if (rv == 0) {
        sp_log_trim(group->log, metadata.index);
    }
    return rv == 0;
}

/* The checkpoint at the start cannot be read: begins at the next one. False: there is none, or the
 * frames in between are not ours to drop. */
static bool leave_damaged(struct sp_raft_group *group)
{
    for (unsigned kept = group->checkpoints_kept; kept > 1; kept--) {
        if (raise_start(group, sp_log_trim_index(group->log, kept - 1))) {
            SP_TRACE_WARN("raft",
                          "damaged checkpoint left behind, the log begins at the next one",
                          "group=%llu first_index=%llu",
                          (unsigned long long)group->group_id,
                          (unsigned long long)sp_log_first_index(group->log));
            return true;
        }
    }
    return false;
}

/* A transfer that its follower still takes part in. */
static bool is_alive(const struct sp_raft_install *install)
{
    return install->reading || sp_raft_now_ms(install->group) < install->heard_ms + PATIENCE_MS;
}

/* The last index that is of no use any more; 0: all are. */
static uint64_t outlived_index(const struct sp_raft_group *group)
{
    if (group->checkpoints_kept > 0) {
        return sp_log_trim_index(group->log, group->checkpoints_kept);
    }
    const struct sp_machine_type *type = group->machine->type;
    return type->log_start == NULL
               ? 0
               : sp_log_trim_index_below(group->log, type->log_start(group->machine));
}

void sp_raft_trim(struct sp_raft_group *group)
{
    uint64_t index = outlived_index(group);

    if (index < sp_log_first_index(group->log)) {
        return;
    }
    for (unsigned i = 0; i < SP_RAFT_GUARD_SERVERS_MAX; i++) {
        if (group->installs[i] != NULL && is_alive(group->installs[i])) {
            return; /* what it needs next must still be there when it has taken this one over */
        }
    }
    (void)raise_start(group, index);
}

void sp_raft_host_checkpointed(void *arg, uint64_t index)
{
    struct sp_raft_group *group = arg;

    (void)index;
    if (!group->stopped && !group->closing && group->guard.started) {
        sp_raft_trim(group);
        sp_raft_advance(group);
    }
}

/* ---- the leader ------------------------------------------------------------------------------ */

static void free_install(struct sp_raft_install *install)
{
    struct sp_raft_group *group = install->group;

    for (unsigned i = 0; i < SP_RAFT_GUARD_SERVERS_MAX; i++) {
        if (group->installs[i] == install) {
            group->installs[i] = NULL;
        }
    }
    sp_blob_unref(install->image.blob);
    sp_mem_free(install);
}

static struct sp_raft_install *install_to(const struct sp_raft_group *group, uint64_t replica_id)
{
    for (unsigned i = 0; i < SP_RAFT_GUARD_SERVERS_MAX; i++) {
        if (group->installs[i] != NULL && group->installs[i]->out.message.to == replica_id) {
            return group->installs[i];
        }
    }
    return NULL;
}

static void send_chunk(struct sp_raft_install *install)
{
    struct sp_peer_message message = { .kind = SP_PEER_RAFT, .u.raft = install->out.message };
    uint64_t left = install->image.blob->size - install->position;
    uint64_t chunk = install->group->context->install_chunk_bytes;
    uint64_t size = left < chunk ? left : chunk;
    struct sp_slice piece = { install->image.blob,
                              install->image.blob->bytes + install->position,
                              (size_t)size };

    message.u.raft.index = install->image.index;
    message.u.raft.index_term = install->image.term;
    message.u.raft.commit = install->position;
    message.u.raft.aux = install->number;
    message.u.raft.flags = size == left ? SP_PEER_CHUNK_LAST : 0;
    int rv = sp_transport_send(
        install->group->context->transport, install->out.node_id, &message, &piece, 1);
    install->unsent = rv == SPATE_ERR_BUSY;
    if (rv != 0 && rv != SPATE_ERR_BUSY) {
        free_install(install); /* raft asks again */
    }
}

static void on_image(struct sp_log_image *image, int status)
{
    struct sp_raft_install *install = SP_CONTAINER_OF(image, struct sp_raft_install, image);
    struct sp_raft_group *group = install->group;
    uint64_t term = install->out.message.term;

    install->reading = false;
    install->heard_ms = sp_raft_now_ms(group);
    if (status == 0 && sp_raft_leads_in(group, term)) {
        send_chunk(install);
        return;
    }
    free_install(install);
    if (status == SPATE_ERR_IO || (status == SPATE_ERR_CORRUPT && !leave_damaged(group))) {
        sp_raft_stop_unreadable(
            group, status, "the checkpoint at the start of its log could not be read");
    }
}

void sp_raft_install_begin(struct sp_raft_group *group, const struct sp_raft_outgoing *out)
{
    struct sp_raft_install *install = install_to(group, out->message.to);
    struct sp_raft_install **slot = NULL;

    if (install != NULL && install->unsent) {
        send_chunk(install);
        return;
    }
    if (install != NULL && is_alive(install)) {
        return; /* under way */
    }
    if (install != NULL) {
        free_install(install);
    }
    for (unsigned i = 0; i < SP_RAFT_GUARD_SERVERS_MAX && slot == NULL; i++) {
        slot = group->installs[i] == NULL ? &group->installs[i] : NULL;
    }
    install = slot != NULL ? sp_mem_calloc(1, sizeof *install) : NULL;
    if (install == NULL) {
        return; /* raft asks again */
    }
    install->group = group;
    install->out = *out;
    install->image.cb = on_image;
    install->number = sp_rand_next(&group->context->rand);
    install->reading = true;
    *slot = install;
    if (sp_log_image_start(group->log, &install->image) != 0) {
        free_install(install);
        return;
    }
    SP_TRACE_INFO("raft",
                  "follower is below the log, sending it a checkpoint",
                  "group=%llu node=%u index=%llu",
                  (unsigned long long)group->group_id,
                  out->node_id,
                  (unsigned long long)install->image.index);
}

void sp_raft_install_drop_all(struct sp_raft_group *group)
{
    for (unsigned i = 0; i < SP_RAFT_GUARD_SERVERS_MAX; i++) {
        if (group->installs[i] != NULL && !group->installs[i]->reading) {
            free_install(group->installs[i]);
        }
    }
    sp_raft_install_forget(group, UINT64_MAX);
}

void sp_raft_install_stored(struct sp_raft_group *group, uint64_t replica_id)
{
    struct sp_raft_install *install = install_to(group, replica_id);
    raft_index match = 0;

    if (install != NULL && !install->reading &&
        raft_match_index(&group->guard.raft, replica_id, &match) == 0 &&
        match >= install->image.index) {
        free_install(install); /* it has it, from whomever */
    }
}

void sp_raft_install_answered(struct sp_raft_group *group, const struct sp_peer_raft *message)
{
    struct sp_raft_install *install = install_to(group, message->from);

    if (install == NULL || install->reading || message->aux != install->number) {
        return; /* of an earlier transfer */
    }
    if (message->commit >= install->image.blob->size) {
        free_install(install);
        return;
    }
    install->position = message->commit;
    install->heard_ms = sp_raft_now_ms(group);
    send_chunk(install);
}

/* ---- the follower ---------------------------------------------------------------------------- */

/* A checkpoint that arrives in chunks. */
struct sp_raft_incoming {
    uint64_t number; /* the sender's */
    uint64_t from;
    uint64_t term;
    uint64_t index;
    uint64_t index_term;
    struct sp_buf bytes;
};

void sp_raft_install_forget(struct sp_raft_group *group, uint64_t below_term)
{
    if (group->incoming != NULL && group->incoming->term < below_term) {
        sp_buf_deinit(&group->incoming->bytes);
        sp_mem_free(group->incoming);
        group->incoming = NULL;
    }
}

static void answer(struct sp_raft_group *group, const struct sp_peer_raft *chunk, uint64_t position)
{
    const struct sp_peer_raft message = { .group_id = group->group_id,
                                          .from = group->replica_id,
                                          .to = chunk->from,
                                          .kind = SP_PEER_INSTALL_RESULT,
                                          .term = chunk->term,
                                          .index = chunk->index,
                                          .aux = chunk->aux,
                                          .commit = position };

    (void)sp_transport_send_heartbeat(
        group->context->transport, group->last_from_node, &message); /* lost: it begins anew */
}

/* We have all that is in it: raft tells the leader so. */
static int decline(struct sp_raft_group *group, const struct sp_peer_raft *chunk)
{
    const struct sp_raft_guard_install install = {
        .term = chunk->term,
        .last_index = chunk->index,
        .last_term = chunk->index_term,
        .configuration = &group->guard.raft.configuration,
    };

    if (sp_raft_guard_installing(&group->guard)) {
        return 0;
    }
    answer(group, chunk, POSITION_NONE);
    return sp_raft_guard_receive_install(
        &group->guard, sp_raft_now_ms(group), chunk->from, &install);
}

/* Begins to gather at the first chunk. NULL: this chunk is not the one that is wanted next. */
static struct sp_raft_incoming *incoming_for(struct sp_raft_group *group,
                                             const struct sp_peer_raft *chunk)
{
    struct sp_raft_incoming *incoming = group->incoming;

    if (chunk->commit == 0) {
        sp_raft_install_forget(group, UINT64_MAX);
        incoming = sp_mem_calloc(1, sizeof *incoming);
        if (incoming == NULL) {
            return NULL;
        }
        *incoming = (struct sp_raft_incoming){ .number = chunk->aux,
                                               .from = chunk->from,
                                               .term = chunk->term,
                                               .index = chunk->index,
                                               .index_term = chunk->index_term };
        sp_buf_init(&incoming->bytes, SP_STATE_BYTES_MAX + STATE_EXTRA_BYTES);
        group->incoming = incoming;
    }
    if (incoming == NULL || incoming->number != chunk->aux || incoming->from != chunk->from ||
        incoming->term != chunk->term || incoming->index != chunk->index ||
        incoming->index_term != chunk->index_term || incoming->bytes.size != chunk->commit) {
        return NULL;
    }
    return incoming;
}

static int newest_membership(const struct sp_checkpoint *checkpoint,
                             raft_index *out_index,
                             struct raft_configuration *out)
{
    const uint8_t *cursor = checkpoint->memberships;
    struct sp_membership membership = { .index = 0 };
    struct raft_buffer buffer;

    for (uint32_t i = 0; i < checkpoint->membership_count; i++) {
        membership = sp_checkpoint_membership(&cursor);
    }
    if (membership.index == 0) {
        return SPATE_ERR_MALFORMED;
    }
    buffer.base = (void *)(uintptr_t)membership.bytes; /* libraft's decoder only reads */
    buffer.len = membership.size;
    int rv = sp_raft_guard_check_configuration(&buffer);
    if (rv != 0) {
        return rv;
    }
    *out_index = membership.index;
    return raft_configuration_decode(&buffer, out) == 0 ? 0 : SPATE_ERR_NOMEM;
}

/* All of it is there. */
static int install(struct sp_raft_group *group, const struct sp_raft_incoming *incoming)
{
    struct sp_raft_guard_install install = { .term = incoming->term,
                                             .last_index = incoming->index,
                                             .last_term = incoming->index_term };
    struct raft_configuration configuration;
    struct sp_checkpoint checkpoint;
    raft_index configuration_index = 0;
    int rv = sp_checkpoint_decode(incoming->bytes.bytes, incoming->bytes.size, &checkpoint);

    if (rv != 0 || checkpoint.group_id != group->group_id ||
        checkpoint.point.index != incoming->index ||
        checkpoint.point.term != incoming->index_term) {
        return SPATE_ERR_MALFORMED;
    }
    rv = newest_membership(&checkpoint, &configuration_index, &configuration);
    if (rv != 0) {
        return rv;
    }
    install.configuration = &configuration;
    install.configuration_index = configuration_index;
    group->staged_checkpoint = &incoming->bytes;
    rv = sp_raft_guard_receive_install(
        &group->guard, sp_raft_now_ms(group), incoming->from, &install);
    group->staged_checkpoint = NULL;
    raft_configuration_close(&configuration);
    return rv;
}

int sp_raft_install_receive(struct sp_raft_group *group,
                            const struct sp_peer_raft *chunk,
                            const struct sp_slice *body)
{
    struct sp_raft_incoming *incoming;

    if (chunk->index == 0 || chunk->index_term == 0 || body->size == 0) {
        return SPATE_ERR_MALFORMED;
    }
    if (chunk->term < raft_current_term(&group->guard.raft)) {
        return 0; /* its sender hears of the new term by itself */
    }
    if (!sp_raft_guard_wants_install(&group->guard, chunk->term, chunk->index, chunk->index_term)) {
        sp_raft_install_forget(group, UINT64_MAX);
        return decline(group, chunk);
    }
    incoming = incoming_for(group, chunk);
    if (incoming == NULL) {
        answer(group, chunk, 0);
        return 0;
    }
    int rv = sp_buf_append(&incoming->bytes, body->bytes, body->size);
    if (rv != 0) {
        sp_raft_install_forget(group, UINT64_MAX);
        return rv;
    }
    answer(group, chunk, incoming->bytes.size);
    if ((chunk->flags & SP_PEER_CHUNK_LAST) != 0) {
        rv = install(group, incoming);
        sp_raft_install_forget(group, UINT64_MAX);
    }
    return rv;
}

/* The new log is durable: the machine takes its state, raft goes on behind it. */
int sp_raft_install_finish(struct sp_raft_group *group)
{
    struct raft_snapshot_metadata metadata = { .index = sp_log_checkpoint_index(group->log) };
    int rv = sp_raft_restore_machine(group);

    if (rv != 0) {
        return rv;
    }
    metadata.term = sp_log_term_at(group->log, metadata.index);
    rv = sp_raft_membership_at(
        group->log, metadata.index, &metadata.configuration_index, &metadata.configuration);
    if (rv != 0) {
        return rv;
    }
    group->applied = metadata.index;
    sp_raft_doubt_begin(group);
    group->context->counters.checkpoints_installed += 1;
    SP_TRACE_INFO("raft",
                  "log replaced by the leader's checkpoint",
                  "group=%llu index=%llu",
                  (unsigned long long)group->group_id,
                  (unsigned long long)metadata.index);
    rv = sp_raft_guard_persisted_snapshot(&group->guard, sp_raft_now_ms(group), &metadata);
    raft_configuration_close(&metadata.configuration);
    return rv;
}
