#include "cluster/vigil.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "spate/error.h"

enum {
    MESSAGES_PER_TIMEOUT = 4, /* two may be late before anybody wakes */
    AGREED_TIMEOUTS = 2,      /* a leader gives up no earlier than with check-quorum */
    STEADY_TIMEOUTS = 8,
    TRACES_PER_SECOND_MAX = 1,
};

/* A set of quiet groups; both zero when it is empty. */
struct set {
    uint32_t count;
    uint64_t sum;
};

struct peer {
    uint32_t node_id;
    struct set sides[2]; /* by enum sp_vigil_side */
    uint64_t heard_ms;   /* that the sets agree, of those that this node follows */
    uint64_t agreed_ms;  /* the same of those that this node leads, as told by the other */
    uint64_t trouble_ms; /* the link changed, or was silent */
    uint64_t reset;      /* numbers up to this one are of an earlier link */
    uint64_t number;     /* of the last message to it */
    uint64_t unanswered; /* number of its last message, until it is answered; 0: none */
    bool answer_agrees;
};

struct sp_vigil {
    struct sp_vigil_options options;
    struct sp_timer timer;
    struct sp_trace_limit silent_limit;
    unsigned peer_count;
    struct peer peers[SP_NODES_MAX];
};

static uint64_t now_ms(const struct sp_vigil *vigil)
{
    return sp_loop_now_ms(vigil->options.loop);
}

/* The finisher of splitmix64: every bit of the result depends on every bit of `x`. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t hash(const struct sp_vigil_key *key)
{
    return mix(mix(mix(key->group_id + 0x9e3779b97f4a7c15u) + key->term) + key->follower);
}

static const struct peer *find(const struct sp_vigil *vigil, uint32_t node_id)
{
    for (unsigned i = 0; i < vigil->peer_count; i++) {
        if (vigil->peers[i].node_id == node_id) {
            return &vigil->peers[i];
        }
    }
    return NULL;
}

/* The peer, made if need be; NULL when there are too many. One without groups gives its place. */
static struct peer *peer_of(struct sp_vigil *vigil, uint32_t node_id)
{
    struct peer *unused = NULL;

    for (unsigned i = 0; i < vigil->peer_count; i++) {
        struct peer *peer = &vigil->peers[i];
        if (peer->node_id == node_id) {
            return peer;
        }
        if (peer->sides[0].count + peer->sides[1].count == 0) {
            unused = peer;
        }
    }
    if (vigil->peer_count < SP_NODES_MAX) {
        unused = &vigil->peers[vigil->peer_count];
        vigil->peer_count += 1;
    }
    if (unused != NULL) {
        *unused = (struct peer){ .node_id = node_id, .trouble_ms = now_ms(vigil) };
    }
    return unused;
}

static bool watches(const struct peer *peer)
{
    return peer->sides[SP_VIGIL_LED].count > 0 || peer->sides[SP_VIGIL_FOLLOWED].count > 0 ||
           peer->unanswered != 0;
}

static void keep_ticking(struct sp_vigil *vigil)
{
    for (unsigned i = 0; i < vigil->peer_count && !sp_timer_active(&vigil->timer); i++) {
        if (watches(&vigil->peers[i])) {
            /* The timer was given its place in the loop when the vigil was made. */
            (void)sp_timer_start(&vigil->timer,
                                 now_ms(vigil) +
                                     vigil->options.election_timeout_ms / MESSAGES_PER_TIMEOUT);
        }
    }
}

/* ---- time ------------------------------------------------------------------------------------ */

static bool is_silent(const struct sp_vigil *vigil, const struct peer *peer)
{
    uint64_t timeout_ms = vigil->options.election_timeout_ms;

    return (peer->sides[SP_VIGIL_FOLLOWED].count > 0 &&
            now_ms(vigil) - peer->heard_ms >= timeout_ms) ||
           (peer->sides[SP_VIGIL_LED].count > 0 &&
            now_ms(vigil) - peer->agreed_ms >= AGREED_TIMEOUTS * timeout_ms);
}

static void wake(struct sp_vigil *vigil, struct peer *peer)
{
    if (sp_trace_allowed(&vigil->silent_limit, now_ms(vigil), TRACES_PER_SECOND_MAX, NULL)) {
        SP_TRACE_INFO("vigil",
                      "quiet groups woken: a node is silent or disagrees",
                      "node=%u led=%u followed=%u",
                      peer->node_id,
                      peer->sides[SP_VIGIL_LED].count,
                      peer->sides[SP_VIGIL_FOLLOWED].count);
    }
    peer->trouble_ms = now_ms(vigil);
    vigil->options.silent(vigil->options.arg, peer->node_id);
}

static void tell(struct sp_vigil *vigil, struct peer *peer)
{
    const struct set *led = &peer->sides[SP_VIGIL_LED];
    struct sp_peer_message message = {
        .kind = SP_PEER_VIGIL,
        .u.vigil = { .number = peer->number + 1,
                     .led_sum = led->sum,
                     .led_count = led->count,
                     .answers = peer->unanswered,
                     .agrees = peer->unanswered != 0 && peer->answer_agrees },
    };

    peer->number += 1;
    peer->unanswered = 0; /* once only: a repeated answer would hide that nothing comes any more */
    /* lost: then the next one counts, or the silence */
    (void)sp_transport_send(vigil->options.transport, peer->node_id, &message, NULL, 0);
}

static void on_timer(struct sp_timer *timer)
{
    struct sp_vigil *vigil = SP_CONTAINER_OF(timer, struct sp_vigil, timer);

    for (unsigned i = 0; i < vigil->peer_count; i++) {
        struct peer *peer = &vigil->peers[i];
        if (is_silent(vigil, peer)) {
            wake(vigil, peer);
        }
        if (peer->sides[SP_VIGIL_LED].count > 0 || peer->unanswered != 0) {
            tell(vigil, peer);
        }
    }
    keep_ticking(vigil);
}

/* ---- events ---------------------------------------------------------------------------------- */

void sp_vigil_add(struct sp_vigil *vigil,
                  uint32_t node_id,
                  enum sp_vigil_side side,
                  const struct sp_vigil_key *key)
{
    struct peer *peer = peer_of(vigil, node_id);

    SP_ASSERT(peer != NULL); /* sp_vigil_steady has seen it */
    if (peer->sides[side].count == 0) {
        *(side == SP_VIGIL_LED ? &peer->agreed_ms : &peer->heard_ms) = now_ms(vigil);
    }
    peer->sides[side].count += 1;
    peer->sides[side].sum += hash(key);
    keep_ticking(vigil);
}

void sp_vigil_remove(struct sp_vigil *vigil,
                     uint32_t node_id,
                     enum sp_vigil_side side,
                     const struct sp_vigil_key *key)
{
    struct peer *peer = peer_of(vigil, node_id);

    SP_ASSERT(peer != NULL);
    SP_ASSERT(peer->sides[side].count > 0);
    peer->sides[side].count -= 1;
    peer->sides[side].sum -= hash(key);
    SP_ASSERT(peer->sides[side].count > 0 || peer->sides[side].sum == 0);
}

bool sp_vigil_steady(const struct sp_vigil *vigil, uint32_t node_id)
{
    const struct peer *peer = find(vigil, node_id);

    return peer != NULL && now_ms(vigil) - peer->trouble_ms >=
                               (uint64_t)STEADY_TIMEOUTS * vigil->options.election_timeout_ms;
}

uint64_t sp_vigil_heard_ms(const struct sp_vigil *vigil, uint32_t node_id)
{
    const struct peer *peer = find(vigil, node_id);

    return peer != NULL && peer->sides[SP_VIGIL_FOLLOWED].count > 0 ? peer->heard_ms
                                                                    : now_ms(vigil);
}

void sp_vigil_hear(struct sp_vigil *vigil, uint32_t node_id, const struct sp_peer_vigil *message)
{
    struct peer *peer = peer_of(vigil, node_id);

    if (peer == NULL) {
        return;
    }
    const struct set *followed = &peer->sides[SP_VIGIL_FOLLOWED];
    bool agrees = message->led_count == followed->count && message->led_sum == followed->sum;
    if (agrees) {
        peer->heard_ms = now_ms(vigil);
    }
    if (message->led_count > 0) {
        peer->unanswered = message->number;
        peer->answer_agrees = agrees;
    }
    if (message->agrees != 0 && message->answers > peer->reset &&
        message->answers <= peer->number) {
        peer->agreed_ms = now_ms(vigil);
    }
    keep_ticking(vigil);
}

void sp_vigil_link_changed(struct sp_vigil *vigil, uint32_t node_id)
{
    struct peer *peer = peer_of(vigil, node_id);

    if (peer != NULL) {
        peer->trouble_ms = now_ms(vigil);
        peer->reset = peer->number;
        peer->unanswered = 0;
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

int sp_vigil_new(const struct sp_vigil_options *options, struct sp_vigil **out_vigil)
{
    struct sp_vigil *vigil = sp_mem_calloc(1, sizeof *vigil);

    if (vigil == NULL) {
        return SPATE_ERR_NOMEM;
    }
    vigil->options = *options;
    sp_timer_init(&vigil->timer, options->loop, on_timer);
    if (sp_timer_start(&vigil->timer, sp_loop_now_ms(options->loop)) != 0) {
        sp_mem_free(vigil);
        return SPATE_ERR_NOMEM;
    }
    *out_vigil = vigil;
    return 0;
}

void sp_vigil_free(struct sp_vigil *vigil)
{
    if (vigil != NULL) {
        sp_timer_stop(&vigil->timer);
        sp_mem_free(vigil);
    }
}
