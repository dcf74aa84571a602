/* The options of each command. */
#include "cli/command_options.h"

const struct command_option options_of_create[] = {
    { 'p', "partitions", "N", "partitions (the cluster's default)" },
    { 'r', "replicas", "N", "copies of each (the cluster's default)" },
    { 0, "if-not-exists", NULL, "a topic that exists already is fine" },
    { 'c', "config", "KEY=VALUE", "a setting, again for more: retention.ms=7d, segment.bytes=64M" },
    { 0 },
};

const struct command_option options_of_alter[] = {
    { 'c',
      "config",
      "KEY=VALUE",
      "a setting, again for more: retention.ms=7d, retention.bytes=10G" },
    { 0, "set", "KEY=VALUE", "the same" },
    { 0, "unset", "KEY", "back to the default, again for more" },
    { 'r', "replicas", "N", "copies of each partition" },
    { 0 },
};

const struct command_option options_of_truncate[] = {
    { 'b', "before", "WHERE", "an offset, end, or @TIME (ms, @-1h, @2026-01-31)" },
    { 'p', "partition", "N", "only this partition (all)" },
    { 'n', "dry-run", NULL, "show how many records would go, delete none" },
    { 'y', "yes", NULL, "do not ask" },
    { 0 },
};

const struct command_option options_of_dump[] = {
    { 'r', "records", NULL, "what is in the batches, too" },
    { 'm', "markers", NULL, "also what a node writes for itself" },
    { 0 },
};

const struct command_option options_of_delete[] = {
    { 'y', "yes", NULL, "do not ask" },
    { 0 },
};

const struct command_option options_of_produce[] = {
    { 'p', "partition", "N", "to this partition (by key, or any)" },
    { 'k', "key", "KEY", "the key of every record" },
    { 'K', "key-delimiter", "TEXT", "the key ends where this begins in the line: , or \\t" },
    { 'H', "header", "NAME:VALUE", "a header of every record; again for more" },
    { 'z', "compression", "lz4|none", "of batches (none)" },
    { 'f', "format", "FORMAT", "how the input is cut into records ('%v\\n')" },
    { 'F', "file", "FILE", "read this instead of standard input" },
    { 'N', "name", "NAME", "go on where an earlier run of this name stopped" },
    { 'r', "rate", "N/s", "at most N records a second" },
    { 'P', "progress", NULL, "counters on stderr even where that is no terminal" },
    { 0, "tombstone", NULL, "one record of the key -k without a value; reads no input" },
    { 'Z', "empty-as-nil", NULL, "empty values are sent as no value" },
    { 'S', "stats", "FILE", "figures as JSON into FILE, fresh all the time" },
    { 'j', "stats-json", "FILE", "the same" },
    { 0 },
};

const struct command_option options_of_consume[] = {
    { 'g', "group", "GROUP", "as a member of this consumer group, from where it has got to" },
    { 0, "no-commit", NULL, "with -g: the group does not remember what was read" },
    { 'p', "partitions", "0,1", "only these partitions (all)" },
    { 'o', "offset", "FROM", "start, end, N, -N (the last N), @TIME; with -e start, else end" },
    { 'n', "count", "N", "stop after N records" },
    { 'e', "exit", NULL, "stop at the end" },
    { 0, "until", "WHERE", "stop at end, before offset N, or before @TIME" },
    { 'r', "regex", NULL, "topics are regular expressions (POSIX extended)" },
    { 0, "rack", "NAME", "read from replicas in this rack where there are some" },
    { 0,
      "linearizable",
      NULL,
      "leave out nothing acknowledged before the start; asks the leaders" },
    { 'f', "format", "FORMAT", "how records are printed ('%v\\n')" },
    { 0, "meta-only", NULL, "topic, partition, offset, timestamp, sizes: no values" },
    { 0 },
};

const struct command_option options_of_offsets[] = {
    { 'p', "partition", "N", "only this partition (all)" },
    { 'a', "at", "WHERE", "start, end or @TIME (ms, @-1h, @2026-01-31); both ends" },
    { 0, "linearizable", NULL, "nothing acknowledged before is left out" },
    { 0 },
};

const struct command_option options_of_describe_group[] = {
    { 'l', "lag", NULL, "each partition: committed, end, lag, owner; and sums" },
    { 'w', "watch", NULL, "keep looking, tell changes, until ^C" },
    { 0 },
};

const struct command_option options_of_seek[] = {
    { 0, "to", "WHERE", "start, end, @TIME (ms, @-1h, @2026-01-31) or an offset" },
    { 't', "topic", "TOPIC[:P]", "only these, again for more (all that the group has read)" },
    { 'n', "dry-run", NULL, "show what would change, change nothing" },
    { 0 },
};

const struct command_option options_of_bench[] = {
    { 't', "topic", "TOPIC", "this topic, made if need be (one of its own, deleted afterwards)" },
    { 'p', "partitions", "N", "of a topic that is made (the cluster's default)" },
    { 0, "replicas", "N", "of a topic that is made (the cluster's default)" },
    { 0, "durability", "disk", "of a topic that is made (the cluster's default)" },
    { 0, "acks", "majority", "what an acknowledgement means; there is no other choice" },
    { 's', "size", "BYTES", "of a value, as 100 or 16k (1k)" },
    { 0, "keys", "N", "records have one of N different keys (none)" },
    { 0, "payload", "random|compressible", "what values are made of (random)" },
    { 'z', "compression", "lz4|none", "of batches (none)" },
    { 0, "batch", "BYTES", "batch.bytes of the library" },
    { 0, "linger", "MS", "linger.ms of the library (e2e, latency, failover: 0)" },
    { 'n', "count", "N", "measure N records, as 500k or 1M" },
    { 'd', "duration", "TIME", "measure for so long (10s, failover 30s)" },
    { 'w', "warmup", "TIME", "before measuring begins (1s, consume 0)" },
    { 'r', "rate", "N/s", "records a second in all (as many as go; e2e, failover 1000)" },
    { 'c', "clients", "N", "connections of their own, a thread each (1)" },
    { 'i', "inflight", "N", "records without an answer per client (latency 1, else no limit)" },
    { 0, "interval", "TIME", "of the figures over time (500ms)" },
    { 0, "server-pids", "PID,PID", "servers on this machine, for their CPU time" },
    { 0, "csv", "FILE", "figures over time" },
    { 0, "svg", "FILE", "a picture of rate and latency over time" },
    { 0, "keep", NULL, "do not delete the topic that was made" },
    { 0 },
};

const struct command_option options_of_context_create[] = {
    { 0, "replace", NULL, "if there is one of this name" },
    { 0 },
};

const struct command_option options_of_context_show[] = {
    { 'r', "resolved", NULL, "all values in effect and where each comes from" },
    { 0 },
};

/* Known to src/cli/lab/main.py, which takes them. */
const struct command_option options_of_lab[] = {
    { 't', "topic", "TOPIC[:N]", "check it; with N partitions it is created first" },
    { 0, "unique", "TOPIC", "a key with its value may be in it once" },
    { 0, "each", "IN:OUT", "each key is in OUT as often as in IN" },
    { 0, "drained", "GROUP", "this group has committed everything in the end" },
    { 'f', "script", "FILE", "the faults (some, drawn by --seed)" },
    { 0, "seed", "N", "of faults that are drawn (1)" },
    { 0, "for", "TIME", "ask COMMAND to end after this; drawn faults last as long (30s)" },
    { 'n', "nodes", "1|3|5", "of the cluster (3)" },
    { 'o', "out", "DIR", "for the report (spate-lab)" },
    { 0, "keep", NULL, "keep the data of the nodes in DIR too" },
    { 0 },
};

const struct command_option options_of_health[] = {
    { 'w', "watch", NULL, "keep looking, tell changes" },
    { 0, "exit-when-healthy", NULL, "look until it is healthy, or --timeout" },
    { 0, "node", "ID", "ask this node alone (all nodes that run)" },
    { 0 },
};

const struct command_option options_of_rebalance[] = {
    { 'n', "dry-run", NULL, "show what would move, move nothing" },
    { 0 },
};

const struct command_option options_of_moves[] = {
    { 'w', "watch", NULL, "keep looking until none is left" },
    { 0 },
};
