/* What a Raft group replicates: a state machine that applies committed frames in order (D3).
 *
 *   restore(checkpoint) -> apply(frame) ... apply(frame) -> checkpoint -> apply(frame) ...
 *
 * The group calls; the machine answers and never blocks. Apply must be deterministic: the same
 * frames give the same state and the same checkpoint bytes on every replica; time comes from
 * frame->append_time_ms alone. Embedded by its owner (broker/partition, cluster/controller), found
 * again with SP_CONTAINER_OF. */
#ifndef SP_CLUSTER_MACHINE_H
#define SP_CLUSTER_MACHINE_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "storage/log_frame.h"

struct sp_machine;

struct sp_machine_type {
    /* One committed frame of any kind but markers; `payload` is borrowed until return. An error
     * stops the replica (SPATE_ERR_CORRUPT: its state contradicts the frame). */
    int (*apply)(struct sp_machine *machine,
                 const struct sp_log_frame *frame,
                 const uint8_t *payload);
    /* Appends the whole state to `out`. */
    int (*checkpoint)(struct sp_machine *machine, struct sp_buf *out);
    /* Replaces the whole state; size 0: the state before the first frame. SPATE_ERR_CORRUPT. */
    int (*restore)(struct sp_machine *machine, const uint8_t *bytes, size_t size);
    /* Role, term, leader or readiness changed: look with sp_raft_group_status. Called at the end of
     * the step that changed it. */
    void (*role_changed)(struct sp_machine *machine);
    /* The replica has stopped itself and will do nothing more; `text` says why. */
    void (*stopped)(struct sp_machine *machine, int status, const char *text);
    /* The log begins at the oldest of so many checkpoints, since nobody reads it but replicas that
     * catch up; 0: see log_start. */
    unsigned checkpoints_kept;
    /* For a log of records: the offset below which the machine has given them up, by a command that
     * was applied. Whole segments below it go. NULL: none do. */
    int64_t (*log_start)(struct sp_machine *machine);
};

struct sp_machine {
    const struct sp_machine_type *type;
};

#endif /* SP_CLUSTER_MACHINE_H */
