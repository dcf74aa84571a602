/* Questions for host names: threads, their answers, and what is left behind. */
#include "io/resolve.h"

#include <string.h>
#include <sys/socket.h>

#include "base/assert.h"
#include "base/mem.h"
#include "io/loop_body.h"
#include "io/thread.h"
#include "spate/error.h"

enum {
    KEPT_MS = 2000, /* an answer that nobody waited for any more serves the next attempt */
};

enum resolution_state {
    RESOLUTION_QUEUED,
    RESOLUTION_RUNNING, /* the thread alone has `status` and `addresses` */
    RESOLUTION_DONE,
};

struct sp_resolution {
    struct sp_list node;      /* in the resolver's list */
    struct sp_list told_node; /* in its list `finished` */
    struct sp_resolver *resolver;
    enum resolution_state state;
    struct sp_list waits; /* struct sp_resolve_wait */
    unsigned refs;        /* of waits */
    uint64_t done_ms;
    int status;                 /* of getaddrinfo */
    struct addrinfo *addresses; /* owned */
    struct sp_address address;
};

/* The lock guards `finished`, `ended` and `refs`; all else belongs to the loop's thread. */
struct sp_resolver {
    struct sp_loop *loop;
    uv_mutex_t lock;
    uv_async_t wake;     /* referenced while anybody waits */
    unsigned wait_count; /* that wait */
    unsigned running_count;
    struct sp_list resolutions;
    struct sp_list finished; /* to be told */
    unsigned refs;           /* of the loop, and of threads that run; the last one frees it */
    bool ended;              /* the loop is gone */
};

static void resolution_free(struct sp_resolution *resolution)
{
    if (resolution->addresses != NULL) {
        freeaddrinfo(resolution->addresses);
    }
    sp_mem_free(resolution);
}

/* Takes one reference away, inside the lock; true: it was the last. */
static bool let_go(struct sp_resolver *resolver)
{
    resolver->refs -= 1;
    return resolver->refs == 0;
}

static void resolver_destroy(struct sp_resolver *resolver)
{
    uv_mutex_destroy(&resolver->lock);
    sp_mem_free(resolver);
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void ask(struct sp_resolution *resolution)
{
    const struct sp_address *address = &resolution->address;
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };

    for (const char *at = address->host; *at != '\0'; at++) {
        if ((*at & 0x80) != 0) {
            hints.ai_flags = AI_IDN; /* needs a library that not every system has */
        }
    }
    resolution->status = getaddrinfo(address->host, address->port, &hints, &resolution->addresses);
    if (resolution->status != 0) {
        resolution->addresses = NULL;
    }
}

static void run(void *arg)
{
    struct sp_resolution *resolution = arg;
    struct sp_resolver *resolver = resolution->resolver;

    ask(resolution);
    uv_mutex_lock(&resolver->lock);
    bool ended = resolver->ended;
    if (!ended) {
        sp_list_append(&resolver->finished, &resolution->told_node);
        (void)uv_async_send(&resolver->wake); /* fails only for handles of another kind */
    }
    bool last = let_go(resolver);
    uv_mutex_unlock(&resolver->lock);
    if (ended) {
        resolution_free(resolution);
    }
    if (last) {
        resolver_destroy(resolver);
    }
}

/* ---- the loop -------------------------------------------------------------------------------- */

/* It is told in a later turn. */
static void tell_later(struct sp_resolver *resolver, struct sp_resolution *resolution)
{
    uv_mutex_lock(&resolver->lock);
    if (sp_list_empty(&resolution->told_node)) {
        sp_list_append(&resolver->finished, &resolution->told_node);
    }
    uv_mutex_unlock(&resolver->lock);
    (void)uv_async_send(&resolver->wake); /* as above */
}

static void start_thread(struct sp_resolver *resolver, struct sp_resolution *resolution)
{
    resolver->running_count += 1;
    resolution->state = RESOLUTION_RUNNING;
    uv_mutex_lock(&resolver->lock);
    resolver->refs += 1;
    uv_mutex_unlock(&resolver->lock);
    if (sp_thread_start_alone(run, resolution) == 0) {
        return;
    }
    resolution->status = EAI_MEMORY;
    uv_mutex_lock(&resolver->lock);
    (void)let_go(resolver); /* the loop has one, too */
    uv_mutex_unlock(&resolver->lock);
    tell_later(resolver, resolution);
}

static void start_threads(struct sp_resolver *resolver)
{
    SP_LIST_EACH (node, &resolver->resolutions) {
        struct sp_resolution *resolution = SP_LIST_ENTRY(node, struct sp_resolution, node);
        if (resolver->running_count == SP_RESOLVER_THREADS_MAX) {
            return;
        }
        if (resolution->state == RESOLUTION_QUEUED) {
            start_thread(resolver, resolution);
        }
    }
}

static void wait_begins(struct sp_resolver *resolver)
{
    resolver->wait_count += 1;
    uv_ref((uv_handle_t *)&resolver->wake);
}

static void wait_ends(struct sp_resolver *resolver, struct sp_resolve_wait *wait)
{
    sp_list_remove(&wait->node);
    wait->waiting = false;
    resolver->wait_count -= 1;
    if (resolver->wait_count == 0) {
        uv_unref((uv_handle_t *)&resolver->wake);
    }
}

static void discard(struct sp_resolution *resolution)
{
    sp_list_remove(&resolution->node);
    resolution_free(resolution);
}

/* Each of those that wait has a reference: it is there until the last of them was told. */
static void tell(struct sp_resolver *resolver, struct sp_resolution *resolution)
{
    struct sp_list batch;

    if (resolution->state == RESOLUTION_RUNNING) {
        resolver->running_count -= 1;
        resolution->state = RESOLUTION_DONE;
        resolution->done_ms = sp_loop_now_ms(resolver->loop);
    }
    sp_list_init(&batch);
    sp_list_move(&batch, &resolution->waits);
    while (!sp_list_empty(&batch)) {
        struct sp_resolve_wait *wait = SP_LIST_ENTRY(batch.next, struct sp_resolve_wait, node);
        wait_ends(resolver, wait);
        wait->cb(wait); /* may release it, and others of the batch */
    }
}

static void on_wake(uv_async_t *wake)
{
    struct sp_resolver *resolver = wake->data;
    struct sp_resolution *resolution;

    do {
        resolution = NULL;
        uv_mutex_lock(&resolver->lock);
        if (!sp_list_empty(&resolver->finished)) {
            resolution = SP_LIST_ENTRY(resolver->finished.next, struct sp_resolution, told_node);
            sp_list_remove(&resolution->told_node);
        }
        uv_mutex_unlock(&resolver->lock);
        if (resolution != NULL) {
            tell(resolver, resolution);
        }
    } while (resolution != NULL);
    start_threads(resolver);
}

/* Nobody has it and nobody will be told. */
static bool is_unused(struct sp_resolution *resolution)
{
    return resolution->refs == 0 && resolution->state == RESOLUTION_DONE &&
           sp_list_empty(&resolution->told_node);
}

/* The question for this name, asked already and not answered for long. */
static struct sp_resolution *find(struct sp_resolver *resolver, const struct sp_address *address)
{
    uint64_t now_ms = sp_loop_now_ms(resolver->loop);
    struct sp_resolution *found = NULL;

    SP_LIST_EACH_SAFE (node, &resolver->resolutions) {
        struct sp_resolution *resolution = SP_LIST_ENTRY(node, struct sp_resolution, node);
        bool old = resolution->state == RESOLUTION_DONE && now_ms - resolution->done_ms >= KEPT_MS;
        if (old && is_unused(resolution)) {
            discard(resolution);
        } else if (!old && strcmp(resolution->address.host, address->host) == 0 &&
                   strcmp(resolution->address.port, address->port) == 0) {
            found = resolution;
        }
    }
    return found;
}

static int resolver_new(struct sp_loop *loop)
{
    struct sp_resolver *resolver = sp_mem_calloc(1, sizeof *resolver);

    if (resolver == NULL) {
        return SPATE_ERR_NOMEM;
    }
    resolver->loop = loop;
    resolver->refs = 1;
    sp_list_init(&resolver->resolutions);
    sp_list_init(&resolver->finished);
    if (uv_mutex_init(&resolver->lock) != 0) {
        sp_mem_free(resolver);
        return SPATE_ERR_INTERNAL;
    }
    if (uv_async_init(&loop->uv, &resolver->wake, on_wake) != 0) {
        resolver_destroy(resolver);
        return SPATE_ERR_INTERNAL;
    }
    resolver->wake.data = resolver;
    uv_unref((uv_handle_t *)&resolver->wake);
    loop->resolver = resolver;
    return 0;
}

static struct sp_resolution *resolution_new(struct sp_resolver *resolver,
                                            const struct sp_address *address)
{
    struct sp_resolution *resolution = sp_mem_calloc(1, sizeof *resolution);

    if (resolution == NULL) {
        return NULL;
    }
    resolution->resolver = resolver;
    resolution->address = *address;
    sp_list_init(&resolution->told_node);
    sp_list_init(&resolution->waits);
    sp_list_append(&resolver->resolutions, &resolution->node);
    return resolution;
}

int sp_resolve_start(struct sp_loop *loop,
                     const struct sp_address *address,
                     struct sp_resolve_wait *wait,
                     sp_resolve_cb cb)
{
    int rv = loop->resolver == NULL ? resolver_new(loop) : 0;

    if (rv != 0) {
        return rv;
    }
    struct sp_resolver *resolver = loop->resolver;
    struct sp_resolution *resolution = find(resolver, address);
    if (resolution == NULL) {
        resolution = resolution_new(resolver, address);
    }
    if (resolution == NULL) {
        return SPATE_ERR_NOMEM;
    }
    resolution->refs += 1;
    *wait = (struct sp_resolve_wait){ .cb = cb, .resolution = resolution, .waiting = true };
    sp_list_append(&resolution->waits, &wait->node);
    wait_begins(resolver);
    if (resolution->state == RESOLUTION_DONE) {
        tell_later(resolver, resolution);
    }
    start_threads(resolver);
    sp_loop_unsettle(loop);
    return 0;
}

const struct addrinfo *sp_resolve_addresses(const struct sp_resolve_wait *wait)
{
    return wait->resolution->addresses;
}

int sp_resolve_status(const struct sp_resolve_wait *wait)
{
    switch (wait->resolution->status) {
    case 0:
        return 0;
    case EAI_NONAME:
    case EAI_NODATA:
    case EAI_ADDRFAMILY:
    case EAI_IDN_ENCODE:
        return SPATE_ERR_NOT_FOUND;
    case EAI_AGAIN:
    case EAI_MEMORY:
    case EAI_SYSTEM:
        return SPATE_ERR_BUSY;
    default:
        return SPATE_ERR_UNREACHABLE;
    }
}

void sp_resolve_release(struct sp_resolve_wait *wait)
{
    struct sp_resolution *resolution = wait->resolution;

    if (resolution == NULL) {
        return;
    }
    wait->resolution = NULL;
    if (wait->waiting) {
        wait_ends(resolution->resolver, wait);
    }
    resolution->refs -= 1;
    if (resolution->refs == 0 &&
        (resolution->state == RESOLUTION_QUEUED || is_unused(resolution))) {
        discard(resolution);
    }
}

void sp_resolver_attend(struct sp_resolver *resolver, bool attended)
{
    if (resolver == NULL) {
        return;
    }
    if (attended) {
        uv_ref((uv_handle_t *)&resolver->wake);
    } else if (resolver->wait_count == 0) {
        uv_unref((uv_handle_t *)&resolver->wake);
    }
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Whose threads run, they will free. */
static void leave_behind(struct sp_resolver *resolver)
{
    while (!sp_list_empty(&resolver->finished)) {
        struct sp_resolution *resolution =
            SP_LIST_ENTRY(resolver->finished.next, struct sp_resolution, told_node);
        sp_list_remove(&resolution->told_node);
        resolution->state = RESOLUTION_DONE;
    }
    while (!sp_list_empty(&resolver->resolutions)) {
        struct sp_resolution *resolution =
            SP_LIST_ENTRY(resolver->resolutions.next, struct sp_resolution, node);
        sp_list_remove(&resolution->node);
        if (resolution->state != RESOLUTION_RUNNING) {
            resolution_free(resolution);
        }
    }
}

void sp_resolver_end(struct sp_resolver *resolver)
{
    if (resolver == NULL) {
        return;
    }
    SP_ASSERT(resolver->wait_count == 0);
    uv_mutex_lock(&resolver->lock);
    resolver->ended = true;
    leave_behind(resolver);
    uv_mutex_unlock(&resolver->lock);
    uv_close((uv_handle_t *)&resolver->wake, NULL);
}

void sp_resolver_free(struct sp_resolver *resolver)
{
    if (resolver == NULL) {
        return;
    }
    uv_mutex_lock(&resolver->lock);
    bool last = let_go(resolver);
    uv_mutex_unlock(&resolver->lock);
    if (last) {
        resolver_destroy(resolver);
    }
}
