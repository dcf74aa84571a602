/* A sink that counts the traces which say something, for tests. */
#ifndef SP_UNIT_COUNTED_TRACES_H
#define SP_UNIT_COUNTED_TRACES_H

#include <stddef.h>
#include <string.h>

#include "base/trace.h"

struct counted_trace {
    const char *words; /* that its message contains; NULL: the end of the list */
    unsigned *count;
};

/* The sink; its argument is the list. */
static inline void count_traces(void *arg,
                                enum sp_trace_level level,
                                const char *component,
                                const char *message,
                                const char *facts)
{
    (void)level;
    (void)component;
    (void)facts;
    for (const struct counted_trace *row = arg; row->words != NULL; row++) {
        *row->count += strstr(message, row->words) != NULL ? 1 : 0;
    }
}

#endif /* SP_UNIT_COUNTED_TRACES_H */
