/* The table of commands: names, options, help. */
#include "cli/cli.h"

static const struct command_option create_options[] = {
    { 'p', "partitions", "N", "partitions (the cluster's default)" },
    { 'r', "replicas", "N", "copies of each (the cluster's default)" },
    { 0, "if-not-exists", NULL, "a topic that exists already is fine" },
    { 'c', "config", "KEY=VALUE", "a setting, again for more: retention.ms=604800000" },
    { 0 },
};

static const struct command_option alter_options[] = {
    { 0, "set", "KEY=VALUE", "a setting, again for more" },
    { 0, "unset", "KEY", "back to the default, again for more" },
    { 0 },
};

static const struct command_option truncate_options[] = {
    { 'b', "before", "WHERE", "an offset, end, or @TIME (ms, @-1h, @2026-01-31)" },
    { 'p', "partition", "N", "only this partition (all)" },
    { 'y', "yes", NULL, "do not ask" },
    { 0 },
};

static const struct command_option dump_options[] = {
    { 'r', "records", NULL, "what is in the batches, too" },
    { 'm', "markers", NULL, "also what a node writes for itself" },
    { 0 },
};

static const struct command_option delete_options[] = {
    { 'y', "yes", NULL, "do not ask" },
    { 0 },
};

static const struct command_option produce_options[] = {
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

static const struct command_option consume_options[] = {
    { 'g', "group", "GROUP", "as a member of this consumer group, from where it has got to" },
    { 0, "no-commit", NULL, "with -g: the group does not remember what was read" },
    { 'p', "partitions", "0,1", "only these partitions (all)" },
    { 'o', "offset", "FROM", "start, end, N, -N (the last N), @TIME; with -e start, else end" },
    { 'n', "count", "N", "stop after N records" },
    { 'e', "exit", NULL, "stop at the end" },
    { 0, "until", "WHERE", "stop at end, before offset N, or before @TIME" },
    { 'r', "regex", NULL, "topics are regular expressions (POSIX extended)" },
    { 'f', "format", "FORMAT", "how records are printed ('%v\\n')" },
    { 0, "meta-only", NULL, "topic, partition, offset, timestamp, sizes: no values" },
    { 0 },
};

static const struct command_option offsets_options[] = {
    { 'p', "partition", "N", "only this partition (all)" },
    { 'a', "at", "WHERE", "start, end or @TIME (ms, @-1h, @2026-01-31); both ends" },
    { 0 },
};

static const struct command_option describe_group_options[] = {
    { 'l', "lag", NULL, "each partition: committed, end, lag, owner; and sums" },
    { 'w', "watch", NULL, "keep looking, tell changes, until ^C" },
    { 0 },
};

static const struct command_option seek_options[] = {
    { 0, "to", "WHERE", "start, end, @TIME (ms, @-1h, @2026-01-31) or an offset" },
    { 't', "topic", "TOPIC[:P]", "only these, again for more (all that the group has read)" },
    { 'n', "dry-run", NULL, "show what would change, change nothing" },
    { 0 },
};

static const struct command_option bench_options[] = {
    { 't', "topic", "TOPIC", "this topic, made if need be (one of its own, deleted afterwards)" },
    { 'p', "partitions", "N", "of a topic that is made (the cluster's default)" },
    { 0, "replicas", "N", "of a topic that is made (the cluster's default)" },
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

static const struct command_option context_create_options[] = {
    { 0, "replace", NULL, "if there is one of this name" },
    { 0 },
};

static const struct command_option context_show_options[] = {
    { 'r', "resolved", NULL, "all values in effect and where each comes from" },
    { 0 },
};

/* Known to src/cli/lab/main.py, which takes them. */
static const struct command_option lab_options[] = {
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

static const struct command_option health_options[] = {
    { 'w', "watch", NULL, "keep looking, tell changes" },
    { 0, "exit-when-healthy", NULL, "look until it is healthy, or --timeout" },
    { 0 },
};

#define FORMAT_TEXT                                                                                \
    "\n\nFORMAT: %t topic %p partition %o offset %k key %v value %K %V their lengths\n"            \
    "%T timestamp in ms %h headers (a=1,b=2) %% percent; \\n \\t \\xNN; %v{hex} {base64} "         \
    "{json};\n"                                                                                    \
    "%V{big32}%v with a binary length, which keeps any bytes apart"

const struct command commands[] = {
    { "topic",
      "create",
      NULL,
      "NAME... [-p N] [-r N] [-c KEY=VALUE]... [--if-not-exists]",
      "Creates topics and waits until every partition has a leader.",
      create_options,
      "  spate topic create orders -p 6 -r 3\n"
      "  spate topic create clicks -c retention.ms=86400000 -c retention.bytes=1073741824\n"
      "  spate topic create a b c --if-not-exists\n",
      command_topic_create },
    { "topic",
      "list",
      "ls",
      "",
      "Lists the topics.",
      NULL,
      "  spate topic ls\n  spate topic list --json\n",
      command_topic_list },
    { "topic",
      "describe",
      "desc",
      "TOPIC",
      "Shows a topic's partitions (leader, replicas, offsets, size) and its settings.",
      NULL,
      "  spate topic describe orders\n  spate topic desc orders --json\n",
      command_topic_describe },
    { "topic",
      "alter",
      NULL,
      "TOPIC [--set KEY=VALUE]... [--unset KEY]...",
      "Changes the settings of a topic.",
      alter_options,
      "  spate topic alter clicks --set retention.ms=3600000\n"
      "  spate topic alter clicks --unset retention.bytes\n",
      command_topic_alter },
    { "topic",
      "truncate",
      NULL,
      "TOPIC --before WHERE [-p N] [--yes]",
      "Gives up the records before an offset or a time; the space follows file by file.",
      truncate_options,
      "  spate topic truncate clicks --before @-7d\n"
      "  spate topic truncate clicks -p 0 --before 4711 --yes\n",
      command_topic_truncate },
    { "topic",
      "delete",
      "rm",
      "TOPIC... [--yes]",
      "Deletes topics with all their records.",
      delete_options,
      "  spate topic delete orders\n  spate topic rm a b --yes\n",
      command_topic_delete },
    { NULL,
      "produce",
      NULL,
      "TOPIC [-p N] [-k KEY] [--tombstone] [-K DELIM] [-H NAME:VALUE]... [-z lz4] [-f FORMAT] [-F "
      "FILE] [-N NAME]",
      "Sends records, one per line of standard input or FILE, each stored exactly once.\n"
      "With --json a line for each record: where it is, or why not." FORMAT_TEXT ".",
      produce_options,
      "  spate produce orders < lines.txt\n"
      "  echo 'k1:hello' | spate produce orders -K :\n"
      "  spate produce orders -z lz4 --progress -F big.log\n"
      "  spate produce orders --name load-7 -F big.log    killed? run it again: it goes on\n"
      "  spate produce users -k anna --tombstone\n"
      "  spate produce -f '%t %v\\n' < lines-that-name-their-topics.txt\n"
      "  spate produce blobs -f '%K{big32}%k%V{big32}%v' < framed.bin\n",
      command_produce },
    { NULL,
      "consume",
      NULL,
      "TOPIC... [-g GROUP] [-p 0,1] [-o FROM] [-n COUNT] [-e] [--until WHERE] [-r] [-f FORMAT]",
      "Prints records: new ones as they come, or from where -o says." FORMAT_TEXT ";\n"
      "%d date %d{%F %T} strftime %e leader epoch %i number of the record.",
      consume_options,
      "  spate consume orders                     follow new records\n"
      "  spate consume orders -o start -e         all there is, then stop\n"
      "  spate consume orders -o -10 -n 10 -J     the last ten as JSON lines\n"
      "  spate consume orders -g billing          share it with the other members of a group\n"
      "  spate consume orders -o @-1h -f '%p:%o %k=%v\\n'\n"
      "  spate consume -r '^orders' -e -f '%t %d %v\\n'\n"
      "  spate consume orders -o @-2h --until @-1h\n",
      command_consume },
    { NULL,
      "offsets",
      NULL,
      "TOPIC [-p N] [--at start|end|@TIME]",
      "Shows the first offset and the one behind the last record, or the one at a time.",
      offsets_options,
      "  spate offsets orders\n  spate offsets orders -p 0 --at @-1h\n",
      command_offsets },
    { "log",
      "dump",
      NULL,
      "SEGMENT... [--records] [--markers]",
      "Prints the frames of segment files; no node is needed.",
      dump_options,
      "  spate log dump data/replicas/9.1030/00000000000000000001.log\n"
      "  spate log dump -r -J data/replicas/9.1030/*.log\n",
      command_log_dump },
    { "log",
      "verify",
      NULL,
      "DIR",
      "Checks every frame, checkpoint and index of the logs of a stopped node.\n"
      "DIR is one log, or data.dir; nothing is changed. Exit code 0: nothing is damaged, 1: "
      "something "
      "is.",
      NULL,
      "  spate log verify data\n  spate log verify data/replicas/9.1030 --json\n",
      command_log_verify },
    { "log",
      "index-rebuild",
      NULL,
      "DIR",
      "The same, and writes anew the index files that are missing or do not fit.",
      NULL,
      "  spate log index-rebuild data\n",
      command_log_index_rebuild },
    { "group",
      "list",
      "ls",
      "",
      "Lists the consumer groups.",
      NULL,
      "  spate group ls\n  spate group list --json\n",
      command_group_list },
    { "group",
      "describe",
      "desc",
      "GROUP [--lag] [--watch]",
      "Shows the members of a consumer group and what they read, or how far each partition is.",
      describe_group_options,
      "  spate group describe billing\n"
      "  spate group desc billing --lag --watch\n",
      command_group_describe },
    { "group",
      "seek",
      NULL,
      "GROUP --to start|end|@TIME|N [-t TOPIC[:P]]... [--dry-run]",
      "Moves the committed offsets of a consumer group whose members are stopped.",
      seek_options,
      "  spate group seek billing --to start --dry-run\n"
      "  spate group seek billing --to @-1h -t orders\n"
      "  spate group seek billing --to 4711 -t orders:0\n",
      command_group_seek },
    { "group",
      "delete",
      "rm",
      "GROUP... [--yes]",
      "Deletes consumer groups without members, and their committed offsets.",
      delete_options,
      "  spate group delete billing\n  spate group rm a b --yes\n",
      command_group_delete },
    { "cluster",
      "info",
      NULL,
      "",
      "Shows the nodes of the cluster.",
      NULL,
      "  spate cluster info\n",
      command_cluster_info },
    { "cluster",
      "health",
      NULL,
      "[-w] [--exit-when-healthy]",
      "Names what is wrong: nodes down, partitions without a leader or with too few replicas.\n"
      "Exit code 0 healthy, 5 not healthy.",
      health_options,
      "  spate cluster health\n"
      "  spate cluster health -w --exit-when-healthy --timeout 30s\n",
      command_cluster_health },
    { "cluster",
      "features",
      NULL,
      "[hold | release]",
      "Shows the feature level of the cluster and what each node's build knows.\n"
      "`hold` keeps the level where it is, so that nodes can go back to the build before;\n"
      "`release` lets it rise.",
      NULL,
      "  spate cluster features\n"
      "  spate cluster features hold        # before an upgrade\n"
      "  spate cluster features release     # once nobody wants to go back\n",
      command_cluster_features },
    { "bench",
      "produce",
      NULL,
      "[-t TOPIC] [-s BYTES] [-n COUNT | -d TIME] [-r RATE] [-c CLIENTS] [-i N] [--csv FILE] "
      "[--svg FILE]",
      "Sends records as fast as they are stored, or at a rate, and says what it cost.\n"
      "Latencies are counted from when a record was due.",
      bench_options,
      "  spate bench produce -s 100 -n 5M -c 2\n"
      "  spate bench produce -r 2000 -d 30s --server-pids 812,813,814 --svg rate.svg\n",
      command_bench_produce },
    { "bench",
      "consume",
      NULL,
      "[-t TOPIC] [-s BYTES] [-n COUNT | -d TIME] [-r RATE] [-c CLIENTS] [-i N] [--csv FILE] "
      "[--svg FILE]",
      "Reads a topic from its start, again and again until the time or count is reached.",
      bench_options,
      "  spate bench consume -n 1M\n"
      "  spate bench consume -t orders -c 2 -d 10s --json\n",
      command_bench_consume },
    { "bench",
      "e2e",
      NULL,
      "[-t TOPIC] [-s BYTES] [-n COUNT | -d TIME] [-r RATE] [-c CLIENTS] [-i N] [--csv FILE] "
      "[--svg FILE]",
      "Sends records at a rate and reads them: the time from being due to being read.",
      bench_options,
      "  spate bench e2e -r 1000 -d 30s\n",
      command_bench_e2e },
    { "bench",
      "latency",
      NULL,
      "[-t TOPIC] [-s BYTES] [-n COUNT | -d TIME] [-r RATE] [-c CLIENTS] [-i N] [--csv FILE] "
      "[--svg FILE]",
      "Sends one record after the other, or at a rate: the time to its acknowledgement.",
      bench_options,
      "  spate bench latency -n 10k\n"
      "  spate bench latency -r 2000 -d 30s --csv latency.csv\n",
      command_bench_latency },
    { "bench",
      "failover",
      NULL,
      "[-t TOPIC] [-s BYTES] [-n COUNT | -d TIME] [-r RATE] [-c CLIENTS] [-i N] [--csv FILE] "
      "[--svg FILE]",
      "Sends at a rate and lists each time without acknowledgements: kill a node meanwhile.",
      bench_options,
      "  spate bench failover -d 60s\n",
      command_bench_failover },
    { "context",
      "create",
      NULL,
      "NAME [-s SERVERS] [--timeout TIME] [-X KEY=VALUE]... [--replace]",
      "Keeps servers and settings under a name; the first context is in use at once.",
      context_create_options,
      "  spate context create dev -s 127.0.0.1:7700,127.0.0.1:7800\n"
      "  spate context create far -s db.example:7700 --timeout 2m -X compression=lz4\n",
      command_context_create },
    { "context",
      "list",
      "ls",
      "",
      "Lists the contexts.",
      NULL,
      "  spate context ls\n",
      command_context_list },
    { "context",
      "use",
      NULL,
      "CONTEXT",
      "Makes a context the one in use.",
      NULL,
      "  spate context use far\n",
      command_context_use },
    { "context",
      "show",
      NULL,
      "[CONTEXT | --resolved]",
      "Shows what a context holds, or every value in effect and where it comes from.",
      context_show_options,
      "  spate context show dev\n  spate context show --resolved --context far\n",
      command_context_show },
    { "context",
      "edit",
      NULL,
      "",
      "Opens the file of contexts in VISUAL or EDITOR, and checks it.",
      NULL,
      "  EDITOR=nano spate context edit\n",
      command_context_edit },
    { "context",
      "delete",
      "rm",
      "CONTEXT...",
      "Forgets contexts.",
      NULL,
      "  spate context rm dev\n",
      command_context_remove },
    { NULL,
      "call",
      NULL,
      "METHOD [JSON]",
      "Calls any method of the protocol; bytes are {\"$bin\": \"base64\"}.",
      NULL,
      "  spate call topic.list\n"
      "  spate call fetch '{\"topic\":\"orders\",\"partition\":0,\"offset\":0,"
      "\"format\":\"records\"}'\n",
      command_call },
    { NULL,
      "ping",
      NULL,
      "",
      "Asks every server of --servers for a sign of life.",
      NULL,
      "  spate ping -s 127.0.0.1:7700,127.0.0.1:7800\n",
      command_ping },
    { "generate",
      "completion",
      NULL,
      "bash|zsh|fish",
      "Prints a script that completes commands, options, topics and groups in a shell.",
      NULL,
      "  source <(spate generate completion bash)\n"
      "  spate generate completion zsh > ~/.zfunc/_spate\n"
      "  spate generate completion fish > ~/.config/fish/completions/spate.fish\n",
      command_generate_completion },
    { "generate",
      "man",
      NULL,
      "",
      "Prints the manual page spate(1).",
      NULL,
      "  spate generate man > spate.1 && man -l spate.1\n",
      command_generate_man },
    { "generate",
      "candidates",
      NULL,
      "-- WORD...",
      "Prints what may stand in place of the last word; the scripts of completion call it.",
      NULL,
      "  spate generate candidates -- topic describe ''\n",
      command_generate_candidates },
    { NULL,
      "lab",
      NULL,
      "-- COMMAND...",
      "Tests a program under faults.\n"
      "Runs COMMAND against a cluster of this machine while nodes are killed, paused, cut off and\n"
      "slowed down, then checks the topics for loss, duplicates and order. COMMAND finds the\n"
      "cluster in SPATE_SERVERS. docs/lab.md tells the script, and what is checked.",
      lab_options,
      "  spate lab --topic orders:4 --unique orders -- ./my-producer\n"
      "  spate lab --script faults.txt --each orders:bills --drained billing -- ./my-service\n",
      command_lab },
    { NULL, "version", NULL, "", "Prints the version.", NULL, NULL, command_version },
    { NULL,
      "help",
      NULL,
      "[COMMAND]",
      "Shows what there is, or options and examples of a command.",
      NULL,
      "  spate help topic create\n",
      command_help },
};

const size_t command_count = sizeof commands / sizeof commands[0];
