/* The seeds' agreement on a cluster id; the drawing is in the header.
 *
 * Events only record facts; advance() looks at all of them and takes the next step. */
#include "cluster/bootstrap.h"

#include <string.h>

#include "base/trace.h"

/* ---- facts ----------------------------------------------------------------------------------- */

static struct sp_bootstrap_seed *find_seed(struct sp_bootstrap *bootstrap, uint32_t node_id)
{
    for (unsigned i = 0; i < bootstrap->seed_count; i++) {
        if (bootstrap->seeds[i].node_id == node_id) {
            return &bootstrap->seeds[i];
        }
    }
    return NULL;
}

static bool same_id(const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, SP_CLUSTER_ID_SIZE) == 0;
}

static bool same_cluster(const struct sp_bootstrap *bootstrap, const struct sp_bootstrap_seed *seed)
{
    return same_id(seed->cluster_id, bootstrap->identity.cluster_id);
}

static uint32_t lowest_node(const struct sp_bootstrap *bootstrap)
{
    uint32_t lowest = bootstrap->identity.node_id;

    for (unsigned i = 0; i < bootstrap->seed_count; i++) {
        if (bootstrap->seeds[i].node_id < lowest) {
            lowest = bootstrap->seeds[i].node_id;
        }
    }
    return lowest;
}

static bool proposes(const struct sp_bootstrap *bootstrap)
{
    return lowest_node(bootstrap) == bootstrap->identity.node_id;
}

static const struct sp_bootstrap_seed *formed_seed(const struct sp_bootstrap *bootstrap)
{
    for (unsigned i = 0; i < bootstrap->seed_count; i++) {
        if (bootstrap->seeds[i].greeted && bootstrap->seeds[i].state == SP_IDENTITY_FORMED) {
            return &bootstrap->seeds[i];
        }
    }
    return NULL;
}

static bool all_greeted(const struct sp_bootstrap *bootstrap)
{
    for (unsigned i = 0; i < bootstrap->seed_count; i++) {
        if (!bootstrap->seeds[i].greeted) {
            return false;
        }
    }
    return true;
}

static bool all_form_ok(const struct sp_bootstrap *bootstrap)
{
    for (unsigned i = 0; i < bootstrap->seed_count; i++) {
        if (!bootstrap->seeds[i].form_ok) {
            return false;
        }
    }
    return true;
}

/* ---- being stuck ----------------------------------------------------------------------------- */

/* Someone must act; said once until something changes. */
static void trace_stuck(struct sp_bootstrap *bootstrap, const char *message, uint32_t other)
{
    if (!bootstrap->stuck) {
        bootstrap->stuck = true;
        SP_TRACE_ERROR(
            "bootstrap", message, "node=%u other=%u", bootstrap->identity.node_id, other);
    }
}

/* It forms nothing from now on. */
static void join_instead(struct sp_bootstrap *bootstrap, const char *message, uint32_t other)
{
    if (!bootstrap->joins) {
        bootstrap->joins = true;
        SP_TRACE_WARN("bootstrap", message, "node=%u other=%u", bootstrap->identity.node_id, other);
        bootstrap->handler->lost(bootstrap->arg);
    }
}

/* True if no step may be taken although all seeds may be here. */
static bool blocked(struct sp_bootstrap *bootstrap)
{
    const struct sp_bootstrap_seed *formed = formed_seed(bootstrap);

    if (formed != NULL && bootstrap->identity.state == SP_IDENTITY_EMPTY) {
        join_instead(bootstrap,
                     "this node's data directory is empty but the cluster is formed: it joins",
                     formed->node_id);
        return true;
    }
    if (formed != NULL && !same_cluster(bootstrap, formed)) {
        trace_stuck(bootstrap, "another seed is formed with another cluster id", formed->node_id);
        return true;
    }
    for (unsigned i = 0; i < bootstrap->seed_count; i++) {
        const struct sp_bootstrap_seed *seed = &bootstrap->seeds[i];
        if (seed->greeted && seed->state != SP_IDENTITY_FORMED &&
            seed->seeds_hash != bootstrap->seeds_hash) {
            trace_stuck(bootstrap, "another seed is configured with other seeds", seed->node_id);
            return true;
        }
    }
    return false;
}

/* ---- steps ----------------------------------------------------------------------------------- */

static void
persist(struct sp_bootstrap *bootstrap, enum sp_identity_state state, const uint8_t *cluster_id)
{
    bootstrap->wanted = bootstrap->identity;
    bootstrap->wanted.state = state;
    memcpy(bootstrap->wanted.cluster_id, cluster_id, SP_CLUSTER_ID_SIZE);
    bootstrap->sequence = bootstrap->handler->persist(bootstrap->arg, &bootstrap->wanted);
}

static void draw_cluster_id(struct sp_bootstrap *bootstrap, uint8_t *cluster_id)
{
    for (size_t i = 0; i < SP_CLUSTER_ID_SIZE; i += sizeof(uint64_t)) {
        uint64_t chance = bootstrap->handler->random(bootstrap->arg);
        memcpy(cluster_id + i, &chance, sizeof chance);
    }
    cluster_id[0] |= 1; /* never all zeros, which stand for none */
}

/* The id that a seed is FORMING with, or a new one. False when two seeds differ. */
static bool choose_cluster_id(struct sp_bootstrap *bootstrap, uint8_t *cluster_id)
{
    const struct sp_bootstrap_seed *found = NULL;

    for (unsigned i = 0; i < bootstrap->seed_count; i++) {
        const struct sp_bootstrap_seed *seed = &bootstrap->seeds[i];
        if (seed->state != SP_IDENTITY_FORMING) {
            continue;
        }
        if (found != NULL && !same_id(found->cluster_id, seed->cluster_id)) {
            trace_stuck(bootstrap, "two seeds were forming different clusters", seed->node_id);
            return false;
        }
        found = seed;
    }
    if (found != NULL) {
        memcpy(cluster_id, found->cluster_id, SP_CLUSTER_ID_SIZE);
    } else {
        draw_cluster_id(bootstrap, cluster_id);
    }
    return true;
}

static void step_empty(struct sp_bootstrap *bootstrap)
{
    /* A node alone needs nobody's promise. */
    enum sp_identity_state next =
        bootstrap->seed_count == 0 ? SP_IDENTITY_FORMED : SP_IDENTITY_FORMING;
    uint8_t cluster_id[SP_CLUSTER_ID_SIZE];

    if (bootstrap->joins || !all_greeted(bootstrap)) {
        return;
    }
    if (proposes(bootstrap)) {
        if (choose_cluster_id(bootstrap, cluster_id)) {
            persist(bootstrap, next, cluster_id);
        }
    } else if (bootstrap->proposed) {
        persist(bootstrap, next, bootstrap->proposal);
    }
}

/* FORM to all that have not said FORM_OK. */
static void send_form(struct sp_bootstrap *bootstrap)
{
    for (unsigned i = 0; i < bootstrap->seed_count; i++) {
        const struct sp_bootstrap_seed *seed = &bootstrap->seeds[i];
        if (seed->form_ok) {
            continue;
        }
        if (seed->state == SP_IDENTITY_FORMING && !same_cluster(bootstrap, seed)) {
            trace_stuck(bootstrap, "another seed is forming another cluster", seed->node_id);
            continue;
        }
        bootstrap->handler->send(
            bootstrap->arg, seed->node_id, SP_PEER_FORM, bootstrap->identity.cluster_id);
    }
}

static void answer_form(struct sp_bootstrap *bootstrap)
{
    if (!bootstrap->proposed) {
        return;
    }
    bootstrap->proposed = false;
    if (!same_id(bootstrap->proposal, bootstrap->identity.cluster_id)) {
        trace_stuck(bootstrap, "another seed is forming another cluster", lowest_node(bootstrap));
        return;
    }
    bootstrap->handler->send(
        bootstrap->arg, lowest_node(bootstrap), SP_PEER_FORM_OK, bootstrap->identity.cluster_id);
}

static void step_forming(struct sp_bootstrap *bootstrap)
{
    if (formed_seed(bootstrap) != NULL) {
        persist(bootstrap, SP_IDENTITY_FORMED, bootstrap->identity.cluster_id); /* I2 */
    } else if (!all_greeted(bootstrap)) {
        return;
    } else if (!proposes(bootstrap)) {
        answer_form(bootstrap);
    } else if (all_form_ok(bootstrap)) {
        persist(bootstrap, SP_IDENTITY_FORMED, bootstrap->identity.cluster_id);
    } else {
        send_form(bootstrap);
    }
}

/* Whether the seed waits for somebody to say FORMED. */
static bool waits_for_formed(const struct sp_bootstrap *bootstrap,
                             const struct sp_bootstrap_seed *seed)
{
    return seed->greeted && seed->state == SP_IDENTITY_FORMING && same_cluster(bootstrap, seed);
}

static void step_formed(struct sp_bootstrap *bootstrap)
{
    for (unsigned i = 0; i < bootstrap->seed_count; i++) {
        const struct sp_bootstrap_seed *seed = &bootstrap->seeds[i];
        if (waits_for_formed(bootstrap, seed)) {
            bootstrap->handler->send(
                bootstrap->arg, seed->node_id, SP_PEER_FORMED, bootstrap->identity.cluster_id);
        }
    }
}

static void advance(struct sp_bootstrap *bootstrap)
{
    if (bootstrap->sequence != 0) {
        return; /* I1 */
    }
    switch (bootstrap->identity.state) {
    case SP_IDENTITY_EMPTY:
        if (!blocked(bootstrap)) {
            step_empty(bootstrap);
        }
        break;
    case SP_IDENTITY_FORMING:
        if (!blocked(bootstrap)) {
            step_forming(bootstrap);
        }
        break;
    case SP_IDENTITY_FORMED:
        step_formed(bootstrap);
        break;
    }
}

/* ---- events ---------------------------------------------------------------------------------- */

void sp_bootstrap_init(struct sp_bootstrap *bootstrap,
                       const struct sp_identity *identity,
                       const uint32_t *node_ids,
                       unsigned count,
                       uint32_t seeds_hash,
                       const struct sp_bootstrap_handler *handler,
                       void *arg)
{
    *bootstrap = (struct sp_bootstrap){
        .handler = handler,
        .arg = arg,
        .identity = *identity,
        .seeds_hash = seeds_hash,
    };
    for (unsigned i = 0; i < count; i++) {
        if (node_ids[i] != identity->node_id) {
            bootstrap->seeds[bootstrap->seed_count].node_id = node_ids[i];
            bootstrap->seed_count += 1;
        }
    }
}

void sp_bootstrap_start(struct sp_bootstrap *bootstrap)
{
    if (bootstrap->identity.state == SP_IDENTITY_FORMED) {
        bootstrap->handler->formed(bootstrap->arg, false);
    }
    advance(bootstrap);
}

void sp_bootstrap_adopt(struct sp_bootstrap *bootstrap,
                        const uint8_t cluster_id[SP_CLUSTER_ID_SIZE])
{
    if (bootstrap->identity.state == SP_IDENTITY_EMPTY && bootstrap->sequence == 0) {
        persist(bootstrap, SP_IDENTITY_FORMED, cluster_id);
    }
}

/* The sender is durably in `state` with this cluster id. */
static void
learn(struct sp_bootstrap_seed *seed, enum sp_identity_state state, const uint8_t *cluster_id)
{
    if (state > seed->state) {
        seed->state = state;
        memcpy(seed->cluster_id, cluster_id, SP_CLUSTER_ID_SIZE);
    }
}

/* What is known of a seed only grows, as two connections may bring its hellos out of order; a new
 * incarnation is a new disk and starts from nothing. */
void sp_bootstrap_hello(struct sp_bootstrap *bootstrap, const struct sp_peer_hello *hello)
{
    struct sp_bootstrap_seed *seed = find_seed(bootstrap, hello->node_id);

    if (seed == NULL || hello->identity_state > SP_IDENTITY_FORMED) {
        return;
    }
    if (!seed->greeted || seed->incarnation != hello->incarnation) {
        *seed = (struct sp_bootstrap_seed){ .node_id = hello->node_id };
        bootstrap->stuck = false;
    }
    if (hello->seeds_hash != seed->seeds_hash || hello->identity_state > (uint32_t)seed->state) {
        bootstrap->stuck = false;
    }
    learn(seed, (enum sp_identity_state)hello->identity_state, hello->cluster_id);
    seed->greeted = true;
    seed->incarnation = hello->incarnation;
    seed->seeds_hash = hello->seeds_hash;
    advance(bootstrap);
}

void sp_bootstrap_met(struct sp_bootstrap *bootstrap, uint32_t node_id)
{
    if (bootstrap->identity.state == SP_IDENTITY_EMPTY && bootstrap->sequence == 0) {
        join_instead(bootstrap,
                     "this node's data directory is empty but a node that is no seed knows it as a "
                     "member of its cluster: it forms none, and joins",
                     node_id);
    }
}

void sp_bootstrap_message(struct sp_bootstrap *bootstrap,
                          uint32_t node_id,
                          enum sp_peer_kind kind,
                          const uint8_t cluster_id[SP_CLUSTER_ID_SIZE])
{
    struct sp_bootstrap_seed *seed = find_seed(bootstrap, node_id);

    if (seed == NULL || !seed->greeted) {
        return;
    }
    if (kind == SP_PEER_FORM && node_id == lowest_node(bootstrap)) {
        learn(seed, SP_IDENTITY_FORMING, cluster_id);
        bootstrap->proposed = true;
        memcpy(bootstrap->proposal, cluster_id, SP_CLUSTER_ID_SIZE);
    } else if (kind == SP_PEER_FORM_OK && bootstrap->identity.state == SP_IDENTITY_FORMING &&
               proposes(bootstrap) && same_id(cluster_id, bootstrap->identity.cluster_id)) {
        learn(seed, SP_IDENTITY_FORMING, cluster_id);
        seed->form_ok = true;
    } else if (kind == SP_PEER_FORMED) {
        learn(seed, SP_IDENTITY_FORMED, cluster_id);
    }
    advance(bootstrap);
}

void sp_bootstrap_durable(struct sp_bootstrap *bootstrap, uint64_t sequence)
{
    if (bootstrap->sequence == 0 || sequence < bootstrap->sequence) {
        return;
    }
    bootstrap->sequence = 0;
    bootstrap->identity = bootstrap->wanted;
    bootstrap->handler->changed(bootstrap->arg);
    if (bootstrap->identity.state == SP_IDENTITY_FORMED) {
        SP_TRACE_INFO("bootstrap",
                      "the cluster is formed",
                      "node=%u seeds=%u",
                      bootstrap->identity.node_id,
                      bootstrap->seed_count + 1);
        bootstrap->handler->formed(bootstrap->arg, true);
    }
    advance(bootstrap);
}

void sp_bootstrap_tick(struct sp_bootstrap *bootstrap)
{
    advance(bootstrap);
}

bool sp_bootstrap_busy(const struct sp_bootstrap *bootstrap)
{
    if (bootstrap->identity.state != SP_IDENTITY_FORMED) {
        return true;
    }
    for (unsigned i = 0; i < bootstrap->seed_count; i++) {
        if (waits_for_formed(bootstrap, &bootstrap->seeds[i])) {
            return true;
        }
    }
    return false;
}
