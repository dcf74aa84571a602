/* What a data directory remembers beside its logs: identity, feature level, votes. */
#include "storage/store_state.h"

const struct sp_identity *sp_store_identity(const struct sp_store *store)
{
    return sp_meta_identity(store->meta);
}

uint64_t sp_store_set_identity(struct sp_store *store, const struct sp_identity *identity)
{
    return sp_meta_set_identity(store->meta, identity);
}

uint32_t sp_store_feature_level(const struct sp_store *store)
{
    return sp_meta_feature_level(store->meta);
}

uint64_t sp_store_set_feature_level(struct sp_store *store, uint32_t level)
{
    return sp_meta_set_feature_level(store->meta, level);
}

uint64_t sp_store_set_vote(
    struct sp_store *store, uint64_t group_id, uint64_t replica_id, uint64_t term, uint64_t vote)
{
    const struct sp_replica_record replica = { group_id, replica_id };

    return sp_meta_set_vote(store->meta, &replica, term, vote);
}

void sp_store_vote(const struct sp_store *store,
                   uint64_t group_id,
                   uint64_t replica_id,
                   uint64_t *out_term,
                   uint64_t *out_vote)
{
    const struct sp_replica_record replica = { group_id, replica_id };

    sp_meta_vote(store->meta, &replica, out_term, out_vote);
}

uint64_t sp_store_meta_durable(const struct sp_store *store)
{
    return sp_meta_durable(store->meta);
}

uint64_t sp_store_run(const struct sp_store *store)
{
    return store->run;
}

uint64_t sp_store_forcing(const struct sp_store *store)
{
    return sp_meta_forcing(store->meta);
}

uint64_t sp_store_set_forcing(struct sp_store *store, uint64_t mark)
{
    return sp_meta_set_forcing(store->meta, mark);
}
