#include "server/shard.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/trace.h"
#include "io/doorbell.h"
#include "io/thread.h"
#include "server/node.h"
#include "server/trace_sink.h"
#include "server/watch.h"
#include "spate/error.h"

struct sp_shard {
    struct sp_shard_options options;
    struct sp_loop *loop;
    struct sp_node *node; /* NULL once it has stopped */
    struct sp_watch *watch;
    struct sp_doorbell *bell; /* rung to stop it */
    struct sp_thread *thread; /* NULL: it runs on the caller's */
    bool failed;
    struct sp_timer ready_timer;    /* of one that another one answers for */
    atomic_bool ready;              /* as it was a moment ago; read by the one that answers */
    struct sp_shard *const *others; /* that this one answers for */
    unsigned other_count;
};

enum {
    READY_LOOK_MS = 200,
};

/* ---- events of the node ---------------------------------------------------------------------- */

static void on_failed(void *arg, int status, const char *text)
{
    struct sp_shard *shard = arg;

    SP_TRACE_ERROR(
        "node",
        "this node stops itself: what was acknowledged is on the disks of a majority of replicas",
        "error=%s reason=\"%s\"",
        spate_error_name(status),
        text);
    if (shard->options.config->shards > 1) {
        _exit(shard->options.failed_code); /* nothing is flushed: the disk is not to be trusted */
    }
    shard->failed = true;
    sp_loop_stop(shard->loop);
}

static void on_stopped(void *arg)
{
    struct sp_shard *shard = arg;

    shard->node = NULL;
    sp_watch_close(shard->watch);
    shard->watch = NULL;
    sp_timer_stop(&shard->ready_timer);
    sp_loop_stop(shard->loop);
}

static void on_bell(void *arg)
{
    struct sp_shard *shard = arg;

    atomic_store(&shard->ready, false);
    if (shard->node != NULL) {
        sp_node_stop(shard->node);
        sp_watch_node_stops(shard->watch);
    }
}

/* ---- readiness of all ------------------------------------------------------------------------ */

static void on_ready_timer(struct sp_timer *timer)
{
    struct sp_shard *shard = SP_CONTAINER_OF(timer, struct sp_shard, ready_timer);
    char text[512]; /* its own /readyz tells it */

    atomic_store(&shard->ready, sp_node_is_ready(shard->node, text, sizeof text));
    if (sp_timer_start(timer, sp_loop_now_ms(shard->loop) + READY_LOOK_MS) != 0) {
        atomic_store(&shard->ready, false); /* nobody looks any more */
    }
}

static bool others_are_ready(void *arg, char *text, size_t text_size)
{
    const struct sp_shard *shard = arg;

    for (unsigned i = 0; i < shard->other_count; i++) {
        const struct sp_shard *other = shard->others[i];
        if (!atomic_load(&other->ready)) {
            (void)snprintf(text,
                           text_size,
                           "shard %u, node %u, is not ready: its own /readyz says why\n",
                           other->options.config->shard,
                           other->options.config->node_id);
            return false;
        }
    }
    return true;
}

void sp_shard_answer_for(struct sp_shard *shard, struct sp_shard *const *others, unsigned count)
{
    shard->others = others;
    shard->other_count = count;
    sp_watch_ask_also(shard->watch, others_are_ready, shard);
    for (unsigned i = 0; i < count; i++) {
        on_ready_timer(&others[i]->ready_timer);
    }
}

/* ---- starting -------------------------------------------------------------------------------- */

static int open_node(struct sp_shard *shard, char *text, size_t text_size)
{
    static const struct sp_node_handler handler = { on_failed, on_stopped };
    int rv = sp_node_start(shard->loop,
                           shard->options.config,
                           shard->options.transport,
                           &handler,
                           shard,
                           text,
                           text_size,
                           &shard->node);

    if (rv != 0) {
        return rv;
    }
    rv = sp_watch_open(shard->loop, shard->options.config, shard->node, &shard->watch);
    if (rv != 0) {
        char address[SP_ADDRESS_SIZE_MAX] = "";
        (void)sp_config_http_address(shard->options.config, address);
        (void)snprintf(text, text_size, "listen.http %s", address);
    }
    return rv;
}

int sp_shard_new(const struct sp_shard_options *options, struct sp_shard **out_shard)
{
    struct sp_shard *shard = sp_mem_calloc(1, sizeof *shard);

    if (shard == NULL) {
        return SPATE_ERR_NOMEM;
    }
    shard->options = *options;
    atomic_init(&shard->ready, false);
    int rv = sp_loop_new(SP_WORKERS_PER_SHARD, &shard->loop);
    if (rv == 0) {
        sp_timer_init(&shard->ready_timer, shard->loop, on_ready_timer);
        rv = sp_doorbell_open(shard->loop, on_bell, shard, &shard->bell);
    }
    if (rv != 0) {
        sp_loop_free(shard->loop);
        sp_mem_free(shard);
        return rv;
    }
    *out_shard = shard;
    return 0;
}

int sp_shard_open(struct sp_shard *shard, char *text, size_t text_size)
{
    const struct sp_config *config = shard->options.config;

    text[0] = '\0';
    sp_trace_sink_shard(config->shards, config->shard);
    int rv = open_node(shard, text, text_size);
    if (rv == 0) {
        SP_TRACE_INFO("node",
                      "started",
                      "version=%s node=%u client=%s peer=%s data=%s files_max=%llu",
                      SPATE_VERSION,
                      config->node_id,
                      config->listen_client,
                      config->listen_peer,
                      config->data_dir,
                      (unsigned long long)shard->options.files_max);
    }
    return rv;
}

/* ---- running --------------------------------------------------------------------------------- */

struct sp_loop *sp_shard_loop(const struct sp_shard *shard)
{
    return shard->loop;
}

bool sp_shard_run(struct sp_shard *shard)
{
    const struct sp_config *config = shard->options.config;

    sp_trace_sink_shard(config->shards, config->shard);
    sp_loop_run(shard->loop);
    if (!shard->failed) {
        SP_TRACE_INFO("node", "stopped", "node=%u", config->node_id);
    }
    return !shard->failed;
}

static void run_thread(void *arg)
{
    (void)sp_shard_run(arg); /* it has stopped: a failure does not come back */
}

int sp_shard_run_apart(struct sp_shard *shard)
{
    return sp_thread_start(run_thread, shard, &shard->thread);
}

void sp_shard_stop(struct sp_shard *shard)
{
    sp_doorbell_ring(shard->bell);
}

void sp_shard_free(struct sp_shard *shard)
{
    if (shard == NULL) {
        return;
    }
    sp_thread_join(shard->thread);
    sp_doorbell_close(shard->bell);
    sp_loop_free(shard->loop);
    sp_mem_free(shard);
}
