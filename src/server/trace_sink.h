/* Where a node's traces go: lines on standard error, with time and level.
 *
 *   2026-01-02T03:04:05.678Z info  raft: leader elected group=3 term=2 */
#ifndef SP_SERVER_TRACE_SINK_H
#define SP_SERVER_TRACE_SINK_H

/* Installs the sink for levels up to `level` ("error", "warn", "info", "debug"). Once, at start. */
void sp_trace_sink_install(const char *level);

#endif /* SP_SERVER_TRACE_SINK_H */
