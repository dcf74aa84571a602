#!/usr/bin/env python3
"""What streams of records cost, of one build or of several that take turns.

    tests/bench/stream.py [--rounds 7] [--records 3000000] [--size 100] [--set KEY=VALUE] BUILD...

Each round runs, for each build, one node with records in one partition: `spate consume`, and the
program `stream` (stream.c) with io.thread on and off, which reads, and writes. Printed are medians:
records a second, and of client and node each CPU-seconds and page faults for a million records.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), os.pardir, "integration"))
import cluster  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
MEASURED = 0.9  # what stream.c measures of its records


def node_cost(node):
    """CPU-seconds and page faults of a node so far."""
    with open(f"/proc/{node.process.pid}/stat", encoding="utf-8") as handle:
        fields = handle.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS, int(fields[7])


class Round:
    def __init__(self, build, options):
        self.build = build
        self.options = options
        self.results = {}

    def note(self, name, records, seconds, client, node):
        millions = records / 1e6
        row = [records / seconds / 1e6]
        row += [client[0] / millions, client[1] / millions]
        row += [node[0] / (self.options.records / 1e6), node[1] / (self.options.records / 1e6)]
        self.results[name] = row + [client[2]]

    def stream(self, nodes, topic, mode, *settings):
        node = nodes.nodes[0]
        before = node_cost(node)
        done = subprocess.run(
            [os.path.join(self.build, "tests", "stream"), nodes.servers, topic, mode,
             str(self.options.records), str(self.options.size), *self.options.set, *settings],
            stdout=subprocess.PIPE, text=True, check=True, timeout=600,
        )
        seconds, cpu, faults, peak = (float(word) for word in done.stdout.split())
        cost = [after - old for after, old in zip(node_cost(node), before)]
        name = " ".join([mode, *settings])
        self.note(name, self.options.records * MEASURED, seconds, (cpu, faults, peak), cost)

    def command_line(self, nodes):
        node = nodes.nodes[0]
        before = node_cost(node)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.monotonic()
        nodes.spate("consume", "off", "-o", "start", "-n", str(self.options.records), "-f", "%o\\n",
                    stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
        client = (cpu, after.ru_minflt - used.ru_minflt, 0)
        cost = [new - old for new, old in zip(node_cost(node), before)]
        self.note("spate consume", self.options.records, seconds, client, cost)

    def run(self):
        cluster.SPATED = os.path.join(self.build, "bin", "spated")
        cluster.SPATE = os.path.join(self.build, "bin", "spate")
        with cluster.Cluster(1, settings=["trace.level=warn"]) as nodes:
            for topic in ("off", "on"):
                nodes.spate("topic", "create", topic, "-p", "1", "-r", "1")
                self.stream(nodes, topic, "produce", f"io.thread={topic}")
            for thread in ("off", "on"):
                self.stream(nodes, "off", "consume", f"io.thread={thread}")
            self.command_line(nodes)
            self.results["node"] = [nodes.nodes[0].rss_kib() / 1024]
        return self.results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--records", type=int, default=3000000)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("builds", nargs="+", metavar="BUILD")
    options = parser.parse_args()
    rounds = {build: [] for build in options.builds}
    for _ in range(options.rounds):
        for build in options.builds:
            rounds[build].append(Round(build, options).run())
    print(f"{'medians':34}{'M rec/s':>9}{'CPU-s/M':>9}{'faults/M':>10}"
          f"{'node CPU':>10}{'faults/M':>10}{'peak MiB':>10}")
    for name in rounds[options.builds[0]][0]:
        for build in options.builds:
            columns = zip(*(results[name] for results in rounds[build]))
            row = [statistics.median(column) for column in columns]
            if name == "node":
                print(f"{name:18}{build[-16:]:16} resident at the end {row[0]:.0f} MiB")
                continue
            print(f"{name:24}{build[-10:]:10}{row[0]:9.2f}{row[1]:9.3f}{row[2]:10.0f}"
                  f"{row[3]:10.3f}{row[4]:10.0f}{row[5] / 1024:10.1f}")


if __name__ == "__main__":
    main()
