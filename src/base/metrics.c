#include "base/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const uint64_t bounds_us[] = SP_HISTOGRAM_BOUNDS_US;

enum {
    BOUND_COUNT = sizeof bounds_us / sizeof bounds_us[0],
    US_PER_S = 1000000,
};

_Static_assert(BOUND_COUNT + 1 == SP_HISTOGRAM_BUCKETS, "the last bucket has no bound");

void sp_histogram_note(struct sp_histogram *histogram, uint64_t duration_us)
{
    unsigned bucket = 0;

    while (bucket < BOUND_COUNT && duration_us > bounds_us[bucket]) {
        bucket += 1;
    }
    histogram->counts[bucket] += 1;
    histogram->sum_us += duration_us;
}

uint64_t sp_histogram_count(const struct sp_histogram *histogram)
{
    uint64_t count = 0;

    for (unsigned i = 0; i < SP_HISTOGRAM_BUCKETS; i++) {
        count += histogram->counts[i];
    }
    return count;
}

/* ---- exposition ------------------------------------------------------------------------------ */

void sp_exposition_init(struct sp_exposition *exposition, struct sp_buf *out)
{
    *exposition = (struct sp_exposition){ .out = out, .family = "" };
}

static void put(struct sp_exposition *exposition, const char *bytes, size_t size)
{
    if (exposition->status == 0) {
        exposition->status = sp_buf_append(exposition->out, bytes, size);
    }
}

static void put_text(struct sp_exposition *exposition, const char *text)
{
    put(exposition, text, strlen(text));
}

void sp_exposition_family(struct sp_exposition *exposition,
                          enum sp_metric_type type,
                          const char *name,
                          const char *help)
{
    static const char *const types[] = { "counter", "gauge", "histogram" };

    exposition->family = name;
    put_text(exposition, "# HELP ");
    put_text(exposition, name);
    put_text(exposition, " ");
    put_text(exposition, help);
    put_text(exposition, "\n# TYPE ");
    put_text(exposition, name);
    put_text(exposition, " ");
    put_text(exposition, types[type]);
    put_text(exposition, "\n");
}

static void put_value(struct sp_exposition *exposition, const char *value)
{
    while (*value != '\0') {
        size_t plain = strcspn(value, "\\\"\n");

        put(exposition, value, plain);
        value += plain;
        if (*value != '\0') {
            put_text(exposition, *value == '\\' ? "\\\\" : *value == '"' ? "\\\"" : "\\n");
            value += 1;
        }
    }
}

/* NAME{label="value",...,le="..."} and a space. */
static void put_name(struct sp_exposition *exposition,
                     const char *suffix,
                     const struct sp_metric_label *labels,
                     unsigned label_count,
                     const char *bound)
{
    put_text(exposition, exposition->family);
    put_text(exposition, suffix);
    for (unsigned i = 0; i < label_count; i++) {
        put_text(exposition, i == 0 ? "{" : ",");
        put_text(exposition, labels[i].name);
        put_text(exposition, "=\"");
        put_value(exposition, labels[i].value);
        put_text(exposition, "\"");
    }
    if (bound != NULL) {
        put_text(exposition, label_count == 0 ? "{le=\"" : ",le=\"");
        put_text(exposition, bound);
        put_text(exposition, "\"");
    }
    put_text(exposition, label_count > 0 || bound != NULL ? "} " : " ");
}

static void put_number(struct sp_exposition *exposition, uint64_t value)
{
    char text[24];
    size_t at = sizeof text - 1;

    text[at] = '\n';
    do {
        at -= 1;
        text[at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    put(exposition, text + at, sizeof text - at);
}

/* Seconds, without digits that say nothing. */
static void format_seconds(uint64_t value_us, char *text, size_t size)
{
    size_t used;

    (void)snprintf(text, size, "%" PRIu64 ".%06" PRIu64, value_us / US_PER_S, value_us % US_PER_S);
    used = strlen(text);
    while (text[used - 1] == '0') {
        used -= 1;
    }
    used -= text[used - 1] == '.';
    text[used] = '\0';
}

static void put_seconds(struct sp_exposition *exposition, uint64_t value_us)
{
    char text[48];

    format_seconds(value_us, text, sizeof text);
    put_text(exposition, text);
    put_text(exposition, "\n");
}

void sp_exposition_sample(struct sp_exposition *exposition,
                          const struct sp_metric_label *labels,
                          unsigned label_count,
                          uint64_t value)
{
    put_name(exposition, "", labels, label_count, NULL);
    put_number(exposition, value);
}

void sp_exposition_seconds(struct sp_exposition *exposition,
                           const struct sp_metric_label *labels,
                           unsigned label_count,
                           uint64_t value_us)
{
    put_name(exposition, "", labels, label_count, NULL);
    put_seconds(exposition, value_us);
}

void sp_exposition_histogram(struct sp_exposition *exposition,
                             const struct sp_metric_label *labels,
                             unsigned label_count,
                             const struct sp_histogram *histogram)
{
    uint64_t count = 0;

    for (unsigned i = 0; i < SP_HISTOGRAM_BUCKETS; i++) {
        char bound[48] = "+Inf";

        if (i < BOUND_COUNT) {
            format_seconds(bounds_us[i], bound, sizeof bound);
        }
        count += histogram->counts[i];
        put_name(exposition, "_bucket", labels, label_count, bound);
        put_number(exposition, count);
    }
    put_name(exposition, "_sum", labels, label_count, NULL);
    put_seconds(exposition, histogram->sum_us);
    put_name(exposition, "_count", labels, label_count, NULL);
    put_number(exposition, count);
}

void sp_exposition_counter(struct sp_exposition *exposition,
                           const char *name,
                           const char *help,
                           uint64_t value)
{
    sp_exposition_family(exposition, SP_METRIC_COUNTER, name, help);
    sp_exposition_sample(exposition, NULL, 0, value);
}

void sp_exposition_gauge(struct sp_exposition *exposition,
                         const char *name,
                         const char *help,
                         uint64_t value)
{
    sp_exposition_family(exposition, SP_METRIC_GAUGE, name, help);
    sp_exposition_sample(exposition, NULL, 0, value);
}
