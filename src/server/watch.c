#include "server/watch.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/metrics.h"
#include "base/trace.h"
#include "io/process.h"
#include "server/http.h"
#include "server/json_text.h"
#include "server/pulse.h"
#include "spate/error.h"
#include "wire/pack.h"

struct sp_watch {
    struct sp_loop *loop;
    const struct sp_config *config;
    const struct sp_node *node;
    struct sp_pulse pulse;
    struct sp_http *http;
    bool (*also_ready)(void *arg, char *text, size_t text_size); /* NULL: nobody else is asked */
    void *also_arg;
};

/* ---- on the loop's thread -------------------------------------------------------------------- */

static void expose_node(const struct sp_watch *watch, struct sp_exposition *exposition)
{
    char id[16];
    const struct sp_metric_label labels[] = { { "version", SPATE_VERSION }, { "node", id } };

    (void)snprintf(id, sizeof id, "%u", watch->config->node_id);
    sp_exposition_family(
        exposition, SP_METRIC_GAUGE, "spate_build_info", "1, with the version and the node's id.");
    sp_exposition_sample(exposition, labels, 2, 1);
    sp_exposition_family(exposition,
                         SP_METRIC_HISTOGRAM,
                         "spate_loop_delay_seconds",
                         "How much later than asked for the loop runs a timer.");
    sp_exposition_histogram(exposition, NULL, 0, &watch->pulse.delays);
    sp_exposition_gauge(exposition,
                        "spate_memory_live_bytes",
                        "Bytes of memory that are in use, without libraries.",
                        sp_mem_live_bytes());
}

static int render_metrics(const struct sp_watch *watch, bool partitions, struct sp_buf *out)
{
    uint64_t begun_us = sp_loop_now_us(watch->loop);
    struct sp_exposition exposition;

    sp_exposition_init(&exposition, out);
    expose_node(watch, &exposition);
    sp_node_expose(watch->node, &exposition, partitions);
    sp_exposition_family(&exposition,
                         SP_METRIC_GAUGE,
                         "spate_metrics_duration_seconds",
                         "Time that the loop needed for these metrics.");
    sp_exposition_seconds(&exposition, NULL, 0, sp_loop_now_us(watch->loop) - begun_us);
    return exposition.status;
}

static int render_ready(const struct sp_watch *watch, struct sp_buf *out, bool *out_good)
{
    char text[512] = "ready\n";

    *out_good = sp_node_is_ready(watch->node, text, sizeof text);
    if (*out_good && watch->also_ready != NULL) {
        *out_good = watch->also_ready(watch->also_arg, text, sizeof text);
    }
    return sp_buf_append(out, *out_good ? "ready\n" : text, strlen(*out_good ? "ready\n" : text));
}

static int render_status(const struct sp_watch *watch, struct sp_buf *out)
{
    struct sp_buf packed;
    struct sp_pack pack;
    int rv;

    sp_buf_init(&packed, SP_HTTP_ANSWER_BYTES_MAX);
    sp_pack_init(&pack, &packed);
    rv = sp_node_pack_status(watch->node, &pack);
    if (rv == 0) {
        rv = sp_json_text(sp_bytes_of(packed.bytes, packed.size), out);
    }
    if (rv == 0) {
        rv = sp_buf_append(out, "\n", 1);
    }
    sp_buf_deinit(&packed);
    return rv;
}

static int render(void *arg, enum sp_http_page page, struct sp_buf *out, bool *out_good)
{
    const struct sp_watch *watch = arg;

    *out_good = true;
    switch (page) {
    case SP_HTTP_METRICS:
    case SP_HTTP_METRICS_PARTITIONS:
        return render_metrics(watch, page == SP_HTTP_METRICS_PARTITIONS, out);
    case SP_HTTP_READY:
        return render_ready(watch, out, out_good);
    case SP_HTTP_STATUS:
        return render_status(watch, out);
    case SP_HTTP_PAGES:
        break;
    }
    return SPATE_ERR_NOT_FOUND;
}

/* ---- on the HTTP thread ---------------------------------------------------------------------- */

static void expose_disk(const struct sp_watch *watch, struct sp_exposition *exposition)
{
    uint64_t free_bytes = 0;
    uint64_t size = 0;

    if (sp_path_space(watch->config->data_dir, &free_bytes, &size) != 0) {
        return; /* a value that is not known is not shown */
    }
    sp_exposition_gauge(exposition,
                        "spate_storage_disk_free_bytes",
                        "Bytes that this node may still use of the disk of its data directory.",
                        free_bytes);
    sp_exposition_gauge(exposition,
                        "spate_storage_disk_size_bytes",
                        "Size of that disk, without what is reserved for root.",
                        size);
}

/* The names that are the same for all programs. */
static void expose_process(struct sp_exposition *exposition)
{
    struct sp_process_usage usage;

    sp_process_usage(&usage);
    sp_exposition_gauge(exposition,
                        "process_resident_memory_bytes",
                        "Resident memory of the process.",
                        usage.resident_bytes);
    sp_exposition_family(exposition,
                         SP_METRIC_COUNTER,
                         "process_cpu_seconds_total",
                         "User and system time of all threads.");
    sp_exposition_seconds(exposition, NULL, 0, usage.cpu_us);
    sp_exposition_gauge(
        exposition, "process_open_fds", "Descriptors that are open.", usage.files_open);
    sp_exposition_gauge(exposition, "process_max_fds", "How many may be open.", usage.files_max);
    sp_exposition_family(exposition,
                         SP_METRIC_GAUGE,
                         "process_start_time_seconds",
                         "When the process started, in seconds since 1970-01-01 UTC.");
    sp_exposition_seconds(exposition, NULL, 0, (uint64_t)usage.started_ms * 1000);
}

static int add(void *arg, enum sp_http_page page, struct sp_buf *out)
{
    struct sp_exposition exposition;

    if (page == SP_HTTP_READY || page == SP_HTTP_STATUS) {
        return 0;
    }
    sp_exposition_init(&exposition, out);
    expose_disk(arg, &exposition);
    expose_process(&exposition);
    return exposition.status;
}

static uint64_t silent_ms(void *arg)
{
    const struct sp_watch *watch = arg;

    return sp_pulse_silent_ms(&watch->pulse);
}

/* ---- life ------------------------------------------------------------------------------------ */

static int open_http(struct sp_watch *watch, const char *address)
{
    static const struct sp_http_handler handler = { render, add, silent_ms };
    const struct sp_http_options options = {
        .loop = watch->loop, .address = address, .handler = &handler, .arg = watch
    };
    int rv = sp_pulse_start(&watch->pulse, watch->loop);

    if (rv == 0) {
        rv = sp_http_open(&options, &watch->http);
    }
    if (rv == 0) {
        SP_TRACE_INFO("http", "listening", "address=%s", address);
    }
    return rv;
}

int sp_watch_open(struct sp_loop *loop,
                  const struct sp_config *config,
                  const struct sp_node *node,
                  struct sp_watch **out_watch)
{
    char address[SP_ADDRESS_SIZE_MAX];
    struct sp_watch *watch;
    int rv;

    *out_watch = NULL;
    if (!sp_config_http_address(config, address)) {
        return 0;
    }
    watch = sp_mem_calloc(1, sizeof *watch);
    if (watch == NULL) {
        return SPATE_ERR_NOMEM;
    }
    watch->loop = loop;
    watch->config = config;
    watch->node = node;
    rv = open_http(watch, address);
    if (rv == 0) {
        *out_watch = watch;
        return 0;
    }
    sp_watch_close(watch);
    if (config->listen_http[0] != '\0') {
        return rv;
    }
    SP_TRACE_WARN("http",
                  "no metrics: the default address cannot be used, set listen.http",
                  "address=%s error=%s",
                  address,
                  spate_error_name(rv));
    return 0;
}

void sp_watch_ask_also(struct sp_watch *watch,
                       bool (*ready)(void *arg, char *text, size_t text_size),
                       void *arg)
{
    if (watch != NULL) {
        watch->also_ready = ready;
        watch->also_arg = arg;
    }
}

void sp_watch_node_stops(struct sp_watch *watch)
{
    if (watch != NULL) {
        sp_http_answer_anew(watch->http);
    }
}

void sp_watch_close(struct sp_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    sp_http_close(watch->http);
    sp_pulse_stop(&watch->pulse);
    sp_mem_free(watch);
}
