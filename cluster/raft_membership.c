/* Memberships: who votes in a group, as libraft encodes it, and the first frame of a new group. */
#include "cluster/raft_group.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "cluster/raft_group_internal.h"
#include "cluster/raft_guard_support.h"
#include "spate/error.h"

static int make_configuration(const struct sp_replica_place *places,
                              unsigned count,
                              struct raft_configuration *out)
{
    raft_configuration_init(out);
    for (unsigned i = 0; i < count; i++) {
        char address[48];
        (void)snprintf(address,
                       sizeof address,
                       "%u.%llu",
                       places[i].node_id,
                       (unsigned long long)places[i].replica_id);
        if (raft_configuration_add(out, places[i].replica_id, address, RAFT_VOTER) != 0) {
            raft_configuration_close(out);
            return SPATE_ERR_NOMEM;
        }
    }
    return 0;
}

int sp_raft_membership_encode(const struct sp_replica_place *places,
                              unsigned count,
                              struct sp_buf *out)
{
    struct raft_configuration configuration;
    struct raft_buffer encoded;
    int rv;

    SP_ASSERT(count > 0);
    sp_raft_guard_use_heap();
    rv = make_configuration(places, count, &configuration);
    if (rv != 0) {
        return rv;
    }
    rv = raft_configuration_encode(&configuration, &encoded) == 0 ? 0 : SPATE_ERR_NOMEM;
    raft_configuration_close(&configuration);
    if (rv == 0) {
        rv = sp_buf_append(out, encoded.base, encoded.len);
        raft_free(encoded.base);
    }
    return rv;
}

int sp_raft_first_frame(uint64_t group_id,
                        int64_t append_time_ms,
                        const struct sp_replica_place *places,
                        unsigned count,
                        struct sp_slice *out_frame)
{
    struct sp_buf payload;
    struct sp_blob *blob = NULL;
    int rv;

    sp_buf_init(&payload, 64 * 1024);
    rv = sp_raft_membership_encode(places, count, &payload);
    if (rv == 0) {
        blob = sp_blob_new(sp_log_frame_size((uint32_t)payload.size));
        rv = blob == NULL ? SPATE_ERR_NOMEM : 0;
    }
    if (rv == 0) {
        struct sp_log_frame frame = { .kind = SP_FRAME_CONFIGURATION,
                                      .length = (uint32_t)payload.size,
                                      .group_id = group_id,
                                      .term = 1,
                                      .index = 1,
                                      .append_time_ms = append_time_ms };
        memcpy(blob->bytes + SP_LOG_FRAME_HEADER_SIZE, payload.bytes, payload.size);
        sp_log_frame_seal(&frame, 0, blob->bytes);
        *out_frame = sp_slice_of(blob, 0, blob->size);
    }
    sp_blob_unref(blob);
    sp_buf_deinit(&payload);
    return rv;
}

int sp_raft_membership_at(const struct sp_log *log,
                          uint64_t index,
                          raft_index *out_index,
                          struct raft_configuration *out)
{
    struct raft_buffer buffer = { .base = NULL };

    for (unsigned n = 0; n < sp_log_configuration_count(log); n++) {
        const uint8_t *bytes;
        size_t size;
        uint64_t set_at;
        sp_log_configuration(log, n, &set_at, &bytes, &size);
        if (set_at > index) {
            break;
        }
        *out_index = set_at;
        buffer.base = (void *)(uintptr_t)bytes; /* libraft's decoder only reads */
        buffer.len = size;
    }
    if (buffer.base == NULL || sp_raft_guard_check_configuration(&buffer) != 0) {
        return SPATE_ERR_CORRUPT;
    }
    return raft_configuration_decode(&buffer, out) == 0 ? 0 : SPATE_ERR_NOMEM;
}

enum sp_member sp_raft_group_member(const struct sp_raft_group *group, uint64_t replica_id)
{
    switch (sp_raft_support_role(&group->guard.raft.configuration, replica_id)) {
    case RAFT_VOTER:
        return SP_MEMBER_VOTER;
    case RAFT_STANDBY:
        return SP_MEMBER_STANDBY;
    default:
        return SP_MEMBER_NONE;
    }
}

/* Place of a voter among all, by rising id: what the controller's state can count as well. */
static unsigned rank_of_voter(const struct raft_configuration *members, raft_id id)
{
    unsigned rank = 0;

    for (unsigned i = 0; i < members->n; i++) {
        rank += members->servers[i].role == RAFT_VOTER && members->servers[i].id < id ? 1 : 0;
    }
    return rank;
}

void sp_raft_count_voters(const struct sp_raft_group *group, struct sp_raft_group_status *status)
{
    const struct raft_configuration *members = &group->guard.raft.configuration;

    for (unsigned i = 0; i < members->n; i++) {
        raft_index match = 0;
        if (members->servers[i].role != RAFT_VOTER) {
            continue;
        }
        status->voters += 1;
        if (status->role != SP_ROLE_LEADER || members->servers[i].id == group->replica_id) {
            continue;
        }
        if (sp_transport_link(group->context->transport,
                              sp_raft_node_of(group, members->servers[i].id)) != SP_LINK_UP ||
            raft_match_index(&group->guard.raft, members->servers[i].id, &match) != 0) {
            match = 0;
        }
        if (match < group->watched_commit) {
            status->lagging |= 1U << rank_of_voter(members, members->servers[i].id);
        }
    }
}
