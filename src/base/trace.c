/* Formats traces and hands them to the one sink of the process. */
#include "base/trace.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum {
    FACTS_SIZE_MAX = 1024, /* a trace is a line to read, not a dump */
};

/* Set once at start, before threads; constant afterwards (DESIGN D12). */
static struct {
    sp_trace_sink sink;
    void *arg;
    enum sp_trace_level level_max;
} target;

void sp_trace_set_sink(sp_trace_sink sink, void *arg, enum sp_trace_level level_max)
{
    target.sink = sink;
    target.arg = arg;
    target.level_max = level_max;
}

bool sp_trace_enabled(enum sp_trace_level level)
{
    return target.sink != NULL && level <= target.level_max;
}

void sp_trace(enum sp_trace_level level,
              const char *component,
              const char *message,
              const char *facts_format,
              ...)
{
    static const char cut_mark[] = "...";
    char facts[FACTS_SIZE_MAX];
    va_list args;

    if (!sp_trace_enabled(level)) {
        return;
    }
    va_start(args, facts_format);
    int size = vsnprintf(facts, sizeof facts, facts_format, args);
    va_end(args);
    if (size < 0) {
        facts[0] = '\0';
    } else if ((size_t)size >= sizeof facts) {
        memcpy(facts + sizeof facts - sizeof cut_mark, cut_mark, sizeof cut_mark);
    }
    target.sink(target.arg, level, component, message, facts);
}

const char *sp_trace_level_name(enum sp_trace_level level)
{
    switch (level) {
    case SP_TRACE_LEVEL_ERROR:
        return "error";
    case SP_TRACE_LEVEL_WARN:
        return "warn";
    case SP_TRACE_LEVEL_INFO:
        return "info";
    case SP_TRACE_LEVEL_DEBUG:
        return "debug";
    }
    return "unknown";
}

bool sp_trace_allowed(struct sp_trace_limit *limit,
                      uint64_t now_ms,
                      uint32_t per_second_max,
                      uint64_t *out_dropped)
{
    uint64_t second = now_ms / 1000;

    if (limit->second != second) {
        limit->second = second;
        limit->count = 0;
    }
    if (limit->count >= per_second_max) {
        limit->dropped += 1;
        return false;
    }
    limit->count += 1;
    if (out_dropped != NULL) {
        *out_dropped = limit->dropped;
    }
    limit->dropped = 0;
    return true;
}
