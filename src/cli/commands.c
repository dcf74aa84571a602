/* The table of commands: names, options, help. */
#include "cli/cli.h"

static const struct command_option create_options[] = {
    { 'p', "partitions", "N", "partitions (the cluster's default)" },
    { 'r', "replicas", "N", "copies of each (the cluster's default)" },
    { 0, "if-not-exists", NULL, "a topic that exists already is fine" },
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
    { 'P', "progress", NULL, "counters on stderr while it runs" },
    { 'S', "stats", "FILE", "figures as JSON into FILE, fresh all the time" },
    { 'j', "stats-json", "FILE", "the same" },
    { 0 },
};

static const struct command_option consume_options[] = {
    { 'p', "partitions", "0,1", "only these partitions (all)" },
    { 'o', "offset", "FROM", "start, end, N, -N (the last N), @TIME; with -e start, else end" },
    { 'n', "count", "N", "stop after N records" },
    { 'e', "exit", NULL, "stop at the end" },
    { 'f', "format", "FORMAT", "how records are printed ('%v\\n')" },
    { 0 },
};

static const struct command_option offsets_options[] = {
    { 'p', "partition", "N", "only this partition (all)" },
    { 'a', "at", "WHERE", "start, end or @TIME (ms, @-1h, @2026-01-31); both ends" },
    { 0 },
};

static const struct command_option health_options[] = {
    { 'w', "watch", NULL, "keep looking, tell changes" },
    { 0, "exit-when-healthy", NULL, "look until it is healthy, or --timeout" },
    { 0 },
};

#define FORMAT_TEXT                                                                                \
    "\n\nFORMAT: %t topic %p partition %o offset %k key %v value %K %V their lengths\n"            \
    "%T timestamp in ms %h headers %% percent; \\n \\t \\xNN; %V{big32}%v with a binary length,\n" \
    "which keeps any bytes apart."

const struct command commands[] = {
    { "topic",
      "create",
      NULL,
      "NAME... [-p N] [-r N] [--if-not-exists]",
      "Creates topics and waits until every partition has a leader.",
      create_options,
      "  spate topic create orders -p 6 -r 3\n"
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
      "NAME",
      "Shows a topic's partitions: leader, replicas, offsets.",
      NULL,
      "  spate topic describe orders\n  spate topic desc orders --json\n",
      command_topic_describe },
    { "topic",
      "delete",
      "rm",
      "NAME... [--yes]",
      "Deletes topics with all their records.",
      delete_options,
      "  spate topic delete orders\n  spate topic rm a b --yes\n",
      command_topic_delete },
    { NULL,
      "produce",
      NULL,
      "TOPIC [-p N] [-k KEY] [-K DELIM] [-H NAME:VALUE]... [-z lz4] [-f FORMAT] [-F FILE]\n"
      "              [-N NAME]",
      "Sends records, one per line of standard input or FILE, each stored exactly "
      "once." FORMAT_TEXT,
      produce_options,
      "  spate produce orders < lines.txt\n"
      "  echo 'k1:hello' | spate produce orders -K :\n"
      "  spate produce orders -z lz4 --progress -F big.log\n"
      "  spate produce orders --name load-7 -F big.log    killed? run it again: it goes on\n"
      "  spate produce blobs -f '%K{big32}%k%V{big32}%v' < framed.bin\n",
      command_produce },
    { NULL,
      "consume",
      NULL,
      "TOPIC [-p 0,1] [-o FROM] [-n COUNT] [-e] [-f FORMAT] [-J]",
      "Prints records: new ones as they come, or from where -o says." FORMAT_TEXT,
      consume_options,
      "  spate consume orders                     follow new records\n"
      "  spate consume orders -o start -e         all there is, then stop\n"
      "  spate consume orders -o -10 -n 10 -J     the last ten as JSON lines\n"
      "  spate consume orders -o @-1h -f '%p:%o %k=%v\\n'\n",
      command_consume },
    { NULL,
      "offsets",
      NULL,
      "TOPIC [-p N] [--at start|end|@TIME]",
      "Shows the first offset and the one behind the last record, or the one at a time.",
      offsets_options,
      "  spate offsets orders\n  spate offsets orders -p 0 --at @-1h\n",
      command_offsets },
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
