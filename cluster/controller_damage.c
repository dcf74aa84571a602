/* A damaged replica of group 0: what this node says of it, and the one that takes its place. */
#include "cluster/controller_parts.h"

#define OLDER_MAX 4 /* more of them wait for the next start */

/* Replicas of group 0 that were damaged, in whose place this node was given another one. */
struct older {
    const struct sp_controller *controller;
    uint64_t voter_id;
    uint64_t ids[OLDER_MAX];
    unsigned count;
};

static void note_older(void *arg, const struct sp_replica_record *record)
{
    struct older *older = arg;

    if (record->group_id == SP_CONTROLLER_GROUP_ID && record->replica_id < older->voter_id &&
        older->count < OLDER_MAX) {
        older->ids[older->count++] = record->replica_id;
    }
}

void sp_controller_retire_older(struct sp_controller *controller, uint64_t voter_id)
{
    struct older older = { .controller = controller, .voter_id = voter_id };

    sp_store_replicas(controller->options.store, note_older, &older);
    for (unsigned i = 0; i < older.count; i++) {
        (void)sp_store_retire_replica(
            controller->options.store, SP_CONTROLLER_GROUP_ID, older.ids[i]); /* or next time */
    }
}

static void note_newest(void *arg, const struct sp_replica_record *record)
{
    uint64_t *voter_id = arg;

    if (record->group_id == SP_CONTROLLER_GROUP_ID && record->replica_id > *voter_id) {
        *voter_id = record->replica_id;
    }
}

void sp_controller_renewed(void *arg)
{
    struct sp_controller *controller = arg;
    uint64_t voter_id = 0;

    sp_store_replicas(controller->options.store, note_newest, &voter_id);
    if (!controller->stopped) {
        sp_controller_start(controller, voter_id, NULL, 0);
    }
}

const char *sp_controller_damage(const struct sp_controller *controller,
                                 uint64_t *out_voter_id,
                                 uint64_t *out_since_ms)
{
    if (!controller->damaged) {
        return NULL;
    }
    *out_voter_id = controller->open.replica_id;
    *out_since_ms = controller->damaged_ms;
    return controller->open.text;
}
