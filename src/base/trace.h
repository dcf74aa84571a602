/* Diagnostics: a constant message plus key=value facts, handed to one sink.
 *
 *   SP_TRACE_WARN("storage", "torn tail dropped", "log=%s bytes=%zu", path, size);
 *
 * Error: someone must act. Warn: handled, and how. Info: state changed. Debug: anything. Whatever a
 * peer can trigger goes through a struct sp_trace_limit. The sink adds time and writes the line; it
 * is the one mutable global here (DESIGN D12), set once at start, before threads. */
#ifndef SP_BASE_TRACE_H
#define SP_BASE_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

enum sp_trace_level {
    SP_TRACE_LEVEL_ERROR,
    SP_TRACE_LEVEL_WARN,
    SP_TRACE_LEVEL_INFO,
    SP_TRACE_LEVEL_DEBUG,
};

/* Receives one trace; all strings are borrowed until return. May run on any thread. */
typedef void (*sp_trace_sink)(void *arg,
                              enum sp_trace_level level,
                              const char *component,
                              const char *message,
                              const char *facts);

/* Sets the sink (NULL: traces are dropped) and the most detailed level that reaches it. */
void sp_trace_set_sink(sp_trace_sink sink, void *arg, enum sp_trace_level level_max);

/* True if a trace of this level would reach the sink. */
bool sp_trace_enabled(enum sp_trace_level level);

/* Formats the facts (cut at 1 KiB) and calls the sink. */
void sp_trace(enum sp_trace_level level,
              const char *component,
              const char *message,
              const char *facts_format,
              ...) SP_PRINTF(4, 5);

/* "error", "warn", "info", "debug". */
const char *sp_trace_level_name(enum sp_trace_level level);

#define SP_TRACE_AT(level, component, message, ...)                                                \
    (sp_trace_enabled(level) ? sp_trace(level, component, message, __VA_ARGS__) : (void)0)
#define SP_TRACE_ERROR(component, message, ...)                                                    \
    SP_TRACE_AT(SP_TRACE_LEVEL_ERROR, component, message, __VA_ARGS__)
#define SP_TRACE_WARN(component, message, ...)                                                     \
    SP_TRACE_AT(SP_TRACE_LEVEL_WARN, component, message, __VA_ARGS__)
#define SP_TRACE_INFO(component, message, ...)                                                     \
    SP_TRACE_AT(SP_TRACE_LEVEL_INFO, component, message, __VA_ARGS__)
#define SP_TRACE_DEBUG(component, message, ...)                                                    \
    SP_TRACE_AT(SP_TRACE_LEVEL_DEBUG, component, message, __VA_ARGS__)

/* At most `per_second_max` traces a second; zero-initialise, one per place and connection class. */
struct sp_trace_limit {
    uint64_t second;  /* second that `count` belongs to */
    uint32_t count;   /* traces let through in it */
    uint64_t dropped; /* traces held back since the last one let through */
};

/* True if a trace may be written at `now_ms`; *out_dropped (may be NULL) is how many were held back
 * before it. */
bool sp_trace_allowed(struct sp_trace_limit *limit,
                      uint64_t now_ms,
                      uint32_t per_second_max,
                      uint64_t *out_dropped);

#endif /* SP_BASE_TRACE_H */
