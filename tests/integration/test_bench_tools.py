#!/usr/bin/env python3
"""The programs of tests/bench that compare and give limits: what they print, not how fast it is."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

import cluster

BUILD = os.environ.get("SPATE_BUILD") or os.path.dirname(os.path.abspath(cluster.BIN))
TOOLS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../bench")
FIGURES = {
    "1k": {"records_per_s", "mb_per_s", "cpu_s_per_gb", "server_cpu_s_per_million"},
    "100": {"records_per_s", "mb_per_s", "cpu_s_per_gb"},
    "16k": {"mb_per_s", "cpu_s_per_gb"},
    "one": {"p50_ms", "p99_ms"},
    "paced": {"p50_ms", "p99_ms", "server_cpu_s_per_million"},
    "consume": {"records_per_s", "server_cpu_s_per_million", "client_cpu_s_per_million"},
}


def run_tool(name, *arguments):
    return subprocess.run(
        [sys.executable, "-B", os.path.join(TOOLS, name), "--build", BUILD, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=150, check=False,
        preexec_fn=cluster.die_with_parent,
    )


class BenchToolsTest(unittest.TestCase):
    def test_compare_prints_a_table_and_one_line_of_json(self):
        done = run_tool(
            "compare", "--peer", "none", "--rounds", "1", "--seconds", "0.3", "--warmup", "0.1",
            "--count", "2000",
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        *table, last = done.stdout.splitlines()
        told = json.loads(last)
        self.assertEqual(set(told["medians"]), set(FIGURES))
        for shape, figures in FIGURES.items():
            row = told["medians"][shape]["spate"]
            self.assertGreaterEqual(row["records_per_s"], 0)
            if row["records_per_s"] > 0:  # a busy machine may store nothing in so short a time
                for figure in figures:
                    self.assertGreaterEqual(row[figure], 0, (shape, figure))  # ticks of 10 ms
            self.assertIn(told["shapes"][shape]["title"], table)
        self.assertIn("2 of 3 nodes before each", told["systems"]["spate"]["durability"])
        self.assertEqual(told["ratios"]["1k"], {})
        self.assertGreaterEqual(sum(line.startswith("  Spate ") for line in table), len(FIGURES))

    def test_shards_prints_a_row_of_each_system_two_ratios_and_one_line_of_json(self):
        done = run_tool(
            "shards", "--before", BUILD, "--rounds", "1", "--seconds", "0.3", "--batch", "16384"
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        head, *rows, last = done.stdout.splitlines()
        titles = "system    cores    records/s     MB/s  CPU-s/mio       by CPU   client"
        self.assertEqual(head, titles)
        told = json.loads(last)
        names = [row.split()[0] for row in rows]
        self.assertEqual(names, ["before", "one", "shards", "shards/one:", "one/before:"])
        self.assertEqual(list(told["medians"]), names[:3])
        for row in told["medians"].values():
            for figure in ("records_per_s", "cpu_s_per_million", "by_cpu"):
                self.assertGreater(row[figure], 0, figure)
        self.assertEqual(set(told["ratios"]), {"shards/one", "one/before"})

    def test_spread_prints_a_row_of_each_load_and_one_line_of_json(self):
        done = run_tool("spread", "--partitions", "4", "--rounds", "1", "--seconds", "0.5",
                        "--backlog", "4")
        self.assertEqual(done.returncode, 0, done.stderr)
        *table, last = done.stdout.splitlines()
        medians = json.loads(last)["medians"]
        self.assertEqual(list(medians), ["one", "spread", "half", "base", "backlog"])
        self.assertEqual(len(table), len(medians))
        for row in medians.values():
            self.assertGreater(row["records_per_s"], 0)
            self.assertGreaterEqual(row["p99_ms"], row["p50_ms"])
        self.assertGreater(medians["spread"]["share"], 0)
        self.assertGreater(medians["backlog"]["read_mb_per_s"], 0)

    def test_compare_says_what_is_missing(self):
        done = run_tool("compare", "--peer", "nats=/nowhere/nats-server")
        self.assertEqual(done.returncode, 1)
        self.assertIn("apt-get install nats-server", done.stderr)
        self.assertIn("--peer nats=PROGRAM", done.stderr)
        with tempfile.TemporaryDirectory() as folder:
            old = os.path.join(folder, "nats-server")
            with open(old, "w", encoding="utf-8") as handle:
                handle.write("#!/bin/sh\necho nats-server: v2.9.10\n")
            os.chmod(old, 0o755)
            done = run_tool("compare", "--peer", f"nats={old}")
            self.assertEqual(done.returncode, 1)
            self.assertIn("does not know sync_interval: always", done.stderr)
        done = run_tool("compare", "--peer", "post-office")
        self.assertEqual(done.returncode, 1)
        self.assertIn("nats, rabbitmq and none", done.stderr)

    def test_limit_says_what_is_missing(self):
        done = run_tool("limit", "--build", "/nowhere")
        self.assertEqual(done.returncode, 1)
        self.assertIn("/nowhere/tests/limits is missing", done.stderr)

    def test_limit_gives_shares_of_its_bound(self):
        done = run_tool(
            "limit", "--seconds", "0.3", "--part-seconds", "0.1", "--rounds", "1", "--json"
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        told = json.loads(done.stdout)
        limits, bound = told["limits"], told["bound"]
        self.assertAlmostEqual(
            bound["by_disk"], limits["sync_3_files"]["bytes_per_s"] / 3, delta=1
        )
        self.assertEqual(bound["bytes_per_s"], min(bound["by_cpu"], bound["by_disk"]))
        for name, row in told["spate"].items():
            self.assertGreaterEqual(row["p50_ms"], 0, name)
            self.assertAlmostEqual(
                row["share"], row["mb_per_s"] * 1e6 / bound["bytes_per_s"], delta=0.001
            )


if __name__ == "__main__":
    cluster.main()
