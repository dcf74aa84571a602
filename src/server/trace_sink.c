#include "server/trace_sink.h"

#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/trace.h"
#include "io/clock.h"

static _Thread_local char shard_text[24]; /* " shard=1"; "": there is one, or it is not known */

void sp_trace_sink_shard(unsigned shards, unsigned shard)
{
    shard_text[0] = '\0';
    if (shards > 1) {
        (void)snprintf(shard_text, sizeof shard_text, " shard=%u", shard);
    }
}

static void write_line(void *arg,
                       enum sp_trace_level level,
                       const char *component,
                       const char *message,
                       const char *facts)
{
    int64_t now_ms = sp_clock_wall_ms();
    time_t now_s = now_ms / 1000;
    struct tm parts;
    char line[2048];
    char time_text[32] = "";
    int size;

    (void)arg; /* standard error needs none */
    if (gmtime_r(&now_s, &parts) != NULL) {
        (void)strftime(time_text, sizeof time_text, "%Y-%m-%dT%H:%M:%S", &parts);
    }
    size = snprintf(line,
                    sizeof line,
                    "%s.%03uZ %-5s %s: %s %s%s\n",
                    time_text,
                    (unsigned)(now_ms % 1000),
                    sp_trace_level_name(level),
                    component,
                    message,
                    facts,
                    shard_text);
    if (size > (int)sizeof line - 1) {
        size = (int)sizeof line - 1;
        line[size - 1] = '\n';
    }
    if (size > 0 && write(STDERR_FILENO, line, (size_t)size) < 0) {
        return; /* nobody reads our traces: there is no other place to say so */
    }
}

void sp_trace_sink_install(const char *level)
{
    enum sp_trace_level level_max = SP_TRACE_LEVEL_INFO;

    for (int i = SP_TRACE_LEVEL_ERROR; i <= SP_TRACE_LEVEL_DEBUG; i++) {
        if (strcmp(level, sp_trace_level_name((enum sp_trace_level)i)) == 0) {
            level_max = (enum sp_trace_level)i;
        }
    }
    sp_trace_set_sink(write_line, NULL, level_max);
}
