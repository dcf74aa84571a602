#!/usr/bin/env python3
"""--json of every command against three real nodes: the fields that docs/cli.md promises are there,
with their types, and no command is without a line here or there."""

import json
import os
import re
import unittest

import cluster

DOCUMENT = os.path.join(os.path.dirname(__file__), "../../docs/cli.md")
NUMBER, TEXT, LIST, TRUTH, OBJECT = int, str, list, bool, dict
# Read files of a node that is stopped: test_log_tools looks at their JSON.
OFFLINE = {"log dump", "log verify", "log index-rebuild"}
NO_JSON = {"generate man", "lab", "cluster remove"}  # roff has one reader, a lab writes a report

TOPIC = {"name": TEXT, "partitions": NUMBER, "replicas": NUMBER, "id": NUMBER}
ROW = {
    "topic": TEXT, "partition": NUMBER, "committed": NUMBER, "committed_ms": NUMBER,
    "end_offset": NUMBER, "lag": NUMBER,
}
CONTEXT = {"name": TEXT, "current": TRUTH, "settings": OBJECT}
HEALTH = {
    "healthy": TRUTH, "controller": TRUTH, "groups": TRUTH, "nodes_down": LIST,
    "leaderless": LIST, "under_replicated": LIST, "replicas_opening": NUMBER,
    "refilling": LIST, "damaged": LIST, "stalled": LIST, "now_ms": NUMBER, "down": LIST,
    "draining": LIST, "conditions": LIST, "stuck": LIST, "misplaced": LIST, "moves": NUMBER,
    "voters": {"nodes": LIST, "down": LIST, "wanted": NUMBER, "since_ms": NUMBER},
    "features": {
        "level": NUMBER, "newest": NUMBER, "held": TRUTH, "behind": LIST, "since_ms": NUMBER,
    },
    "controller_since_ms": NUMBER, "opening_since_ms": NUMBER, "node": NUMBER, "lost": LIST,
    "refusing": LIST, "opening": LIST, "silent": LIST, "unhealthy_on": LIST,
}

BENCH = {
    "kind": TEXT, "topic": TEXT, "partitions": NUMBER, "replicas": NUMBER, "durability": TEXT,
    "size_bytes": NUMBER, "clients": NUMBER, "rate": NUMBER, "payload": TEXT, "seconds": float,
    "records": NUMBER, "failed": NUMBER, "unknown": NUMBER, "records_per_s": float,
    "mb_per_s": float, "p50_ms": float, "p99_ms": float, "p999_ms": float, "max_ms": float,
    "longest_gap_ms": float, "client_cpu_s_per_million": float,
    "server_cpu_s_per_million": type(None), "cpu_s_per_gb": type(None), "gaps": LIST,
}
NO_LATENCY = {name: type(None) for name in ("p50_ms", "p99_ms", "p999_ms", "max_ms")}

# In order: each may build on what those before it did. Command, arguments, input, fields; a list
# holds the fields of its elements, of which there must be one.
CASES = (
    ("topic create", ["t", "-p", "2"], None, {"topics": [{"name": TEXT}]}),
    ("topic list", [], None, {"current": TRUTH, "topics": [TOPIC]}),
    (
        "topic describe", ["t"], None,
        {
            "name": TEXT, "id": NUMBER,
            "partitions": [
                {
                    "partition": NUMBER, "leader": NUMBER, "leader_address": TEXT,
                    "epoch": NUMBER, "replicas": LIST,
                    "raft_group": NUMBER, "replica_ids": LIST, "log_start": NUMBER,
                    "high_watermark": NUMBER,
                }
            ],
        },
    ),
    ("topic alter", ["t", "--set", "retention.ms=86400000"], None, {}),
    (
        "topic truncate", ["t", "--before", "end", "--yes"], None,
        {
            "topic": TEXT, "dry_run": TRUTH, "records": NUMBER,
            "partitions": [
                {
                    "partition": NUMBER, "start": NUMBER, "end": NUMBER, "log_start": NUMBER,
                    "records": NUMBER,
                }
            ],
        },
    ),
    ("produce", ["t", "-p", "0"], b"a\n", {"topic": TEXT, "partition": NUMBER, "offset": NUMBER}),
    (
        "consume", ["t", "-p", "0", "-e"], None,
        {
            "topic": TEXT, "partition": NUMBER, "offset": NUMBER, "timestamp": NUMBER,
            "key": type(None), "value": TEXT, "headers": LIST,
        },
    ),
    (
        "offsets", ["t"], None,
        {"topic": TEXT, "partitions": [{"partition": NUMBER, "start": NUMBER, "end": NUMBER}]},
    ),
    (
        "offsets", ["t", "--at", "end"], None,
        {"topic": TEXT, "partitions": [{"partition": NUMBER, "offset": NUMBER}]},
    ),
    (
        "group seek", ["g", "--to", "end", "-t", "t:0"], None,
        {
            "group": TEXT, "dry_run": TRUTH,
            "offsets": [
                {"topic": TEXT, "partition": NUMBER, "before": type(None), "after": NUMBER}
            ],
        },
    ),
    (
        "group list", [], None,
        {
            "current": TRUTH,
            "groups": [
                {
                    "group": TEXT, "state": TEXT, "generation": NUMBER, "members": NUMBER,
                    "stalled": NUMBER, "coordinator": NUMBER,
                }
            ],
            "missing": LIST,
        },
    ),
    (
        "group describe", ["g", "--lag"], None,
        {
            "group": TEXT, "state": TEXT, "generation": NUMBER, "members": LIST,
            "partitions": [ROW], "total_lag": NUMBER,
        },
    ),
    ("group delete", ["g", "--yes"], None, {"groups": [{"name": TEXT}]}),
    ("topic alter", ["t", "-r", "3"], None, {"topics": [{"name": TEXT}]}),
    (
        "partition move", ["t", "0", "1,2,3"], None,
        {"topic": TEXT, "partition": NUMBER, "replicas": LIST},
    ),
    ("cluster moves", [], None, {"moves": LIST}),
    ("cluster rebalance", ["--dry-run"], None, {"moves": LIST}),
    ("cluster drain", ["3"], None, {"nodes": [{"name": TEXT}]}),
    ("cluster undrain", ["3"], None, {"nodes": [{"name": TEXT}]}),
    (
        "cluster nodes", [], None,
        {
            "nodes": [
                {
                    "id": NUMBER, "address": TEXT, "alive": TRUTH, "draining": TRUTH,
                    "replicas": NUMBER, "leaders": NUMBER, "controller": TEXT,
                }
            ]
        },
    ),
    ("topic delete", ["t", "--yes"], None, {"topics": [{"name": TEXT}]}),
    (
        "cluster info", [], None,
        {
            "current": TRUTH, "cluster_id": TEXT, "controller": NUMBER,
            "nodes": [{"id": NUMBER, "address": TEXT, "alive": TRUTH}],
        },
    ),
    ("cluster health", [], None, HEALTH),
    ("bench produce", ["-n", "1k", "-w", "0"], None, BENCH),
    ("bench consume", ["-n", "1k"], None, BENCH | NO_LATENCY),
    ("bench e2e", ["-n", "100", "-w", "0"], None, BENCH),
    ("bench latency", ["-n", "100", "-w", "0"], None, BENCH),
    ("bench failover", ["-n", "100", "-w", "0"], None, BENCH),
    (
        "cluster features", ["release"], None,
        {
            "level": NUMBER, "held": TRUTH, "target": NUMBER,
            "nodes": [{"id": NUMBER, "least": NUMBER, "most": NUMBER}],
        },
    ),
    ("context create", ["c", "-s", "h:1"], None, CONTEXT),
    ("context list", [], None, {"file": TEXT, "contexts": [CONTEXT]}),
    ("context use", ["c"], None, {"current": TEXT}),
    ("context show", ["c"], None, CONTEXT),
    (
        "context show", ["--resolved"], None,
        {"settings": [{"key": TEXT, "value": TEXT, "origin": TEXT}]},
    ),
    ("context edit", [], None, {"file": TEXT, "contexts": NUMBER}),
    ("context delete", ["c"], None, {"contexts": [{"name": TEXT}]}),
    ("call", ["ping"], None, {}),
    ("ping", [], None, {"servers": [{"server": TEXT, "ms": float}]}),
    ("version", [], None, {"version": TEXT}),
    (
        "help", ["topic", "create"], None,
        {
            "commands": [
                {"name": TEXT, "arguments": TEXT, "summary": TEXT, "options": LIST}
            ],
            "global_options": LIST, "exit_codes": LIST,
        },
    ),
    ("generate completion", ["bash"], None, {"shell": TEXT, "script": TEXT}),
    ("generate candidates", ["--", "to"], None, {"candidates": [{"word": TEXT, "help": TEXT}]}),
)


class CliJsonTest(unittest.TestCase):
    def setUp(self):
        os.environ["EDITOR"] = "true"

    def check(self, value, fields, where):
        self.assertIsInstance(value, dict, where)
        for name, kind in fields.items():
            self.assertIn(name, value, where)
            if isinstance(kind, list):
                self.assertTrue(value[name], f"{where}.{name} is empty")
                for element in value[name]:
                    self.check(element, kind[0], f"{where}.{name}")
            elif isinstance(kind, dict):
                self.check(value[name], kind, f"{where}.{name}")
            else:
                self.assertIs(type(value[name]), kind, f"{where}.{name}")

    def test_every_command_has_its_fields(self):
        with cluster.Cluster(3) as nodes:
            for command, arguments, data, fields in CASES:
                options = {"input": data} if data else {}
                if command == "group list":  # the node that is asked hears of it a moment later
                    cluster.wait_for("g", lambda: nodes.spate_json("group", "list")["groups"], 5)
                done = nodes.run(*command.split(), "-Jq", *arguments, **options)
                self.assertEqual(done.returncode, 0, (command, done.stderr))
                lines = done.stdout.decode().splitlines()
                self.assertEqual(len(lines), 1, command)
                self.check(json.loads(lines[0]), fields, command)
                self.assertEqual(done.stderr, b"", command)
            listed = {entry["name"] for entry in nodes.spate_json("help")["commands"]}
        self.assertEqual({case[0] for case in CASES} | NO_JSON | OFFLINE, listed)

    def test_errors_stay_text_on_stderr(self):
        with cluster.Cluster(1) as nodes:
            for command, code in (
                (["topic", "describe", "none"], 3), (["consume", "none", "-e"], 3),
                (["offsets", "none"], 3), (["group", "describe", "none"], 3),
                (["call", "nothing"], 1), (["topic", "list", "--nothing"], 2),
            ):
                with_json, without = (nodes.run(*command, *more) for more in (["--json"], []))
                self.assertEqual((with_json.returncode, without.returncode), (code, code), command)
                self.assertEqual(with_json.stdout, b"")
                self.assertEqual(with_json.stderr, without.stderr)
                self.assertTrue(with_json.stderr.startswith(b"spate: "), with_json.stderr)

    def test_every_command_says_the_same_of_a_topic_that_is_not_there(self):
        commands = [
            "topic describe none", "topic delete none --yes", "topic alter none -c segment.ms=1h",
            "topic truncate none -b end --yes", "produce none", "produce none --name load",
            "consume none -e", "consume none -e -p 0", "offsets none", "partition move none 0 1",
            "group seek g --to start -t none",
        ]
        with cluster.Cluster(1) as nodes:
            said = {}
            for command in commands:
                done = nodes.run(*command.split(), input=b"a record\n")
                self.assertEqual(done.returncode, 3, (command, done.stderr))
                text = done.stderr.decode().splitlines()[-1]
                text = text.removeprefix("spate: ").removeprefix("none: ")
                said.setdefault(text, []).append(command)
            wanted = "UNKNOWN_TOPIC: no topic `none`: list them with `spate topic list`"
            self.assertEqual(said, {wanted: commands})

    def test_document_names_every_field(self):
        """docs/cli.md, section JSON: | `command` | `{"field": ..., ...}` |"""
        with open(DOCUMENT, encoding="utf-8") as handle:
            section = re.search(r"\n## JSON\n(.*?)\n## ", handle.read(), re.S)[1]
        documented = {}
        for commands, text in re.findall(r"^\| (`[a-z][^|]*) \| (.*) \|$", section, re.M):
            for command in re.findall(r"`([a-z0-9 ]+)[^`]*`", commands):
                names = re.findall(r'"(\w+)"', text)
                documented.setdefault(command.strip(), set()).update(names)
        for command, _, _, fields in CASES:
            self.assertIn(command, documented)
            missing = names_of(fields) - documented[command]
            self.assertFalse(missing, f"{command}: docs/cli.md says nothing of {missing}")


def names_of(fields):
    names = set(fields)
    for kind in fields.values():
        if isinstance(kind, list):
            names |= names_of(kind[0])
    return names


if __name__ == "__main__":
    cluster.main()
