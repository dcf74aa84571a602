/* Where a node's traces go: lines on standard error, with time and level.
 *
 *   2026-01-02T03:04:05.678Z info  raft: leader elected group=3 term=2 */
#ifndef SP_SERVER_TRACE_SINK_H
#define SP_SERVER_TRACE_SINK_H

/* Installs the sink for levels up to `level` ("error", "warn", "info", "debug"). Once, at start. */
void sp_trace_sink_install(const char *level);

/* Lines of this thread name the shard, of `shards`; with one shard they name none. */
void sp_trace_sink_shard(unsigned shards, unsigned shard);

#endif /* SP_SERVER_TRACE_SINK_H */
