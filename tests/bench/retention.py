#!/usr/bin/env python3
"""What retention costs while records come in: disk use, memory, and how long produce takes.

    tests/bench/retention.py [--bytes 10G] [--retention 1G] [--size 16384] [--nodes 3] BUILD

Writes so many bytes into one partition as fast as they are taken, while another client sends a
record at a time to the same partition and measures each answer. Before the limit is reached nothing
is deleted, after that a segment goes for each one that comes: printed are the percentiles of both
parts, the disk use and the resident memory of each node over time. Fails when the disk use goes
beyond the limit and three segments (and what comes in within a second), or memory grows.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), os.pardir, "integration"))
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
SEGMENT = 64 << 20
TOPIC = "bench"


def size_of(text):
    return int(float(text[:-1]) * UNITS[text[-1]]) if text[-1] in UNITS else int(text)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--bytes", type=size_of, default=10 << 30)
    parser.add_argument("--retention", type=size_of, default=1 << 30)
    parser.add_argument("--size", type=int, default=16384)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--directory", help="on the disk that counts")
    return parser.parse_args()


def percentiles(values):
    values = sorted(values)
    if not values:
        return "nothing measured"
    pick = [values[min(len(values) - 1, int(len(values) * part))] for part in (0.5, 0.99, 0.999)]
    return "p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms (%d)" % (*pick, len(values))


class Probe(threading.Thread):
    """Sends one record at a time and notes when each answer came and how long it took."""

    def __init__(self, rpc, addresses):
        super().__init__(daemon=True)
        self.rpc = rpc
        self.addresses = addresses
        self.stop = False
        self.took = []

    def run(self):
        leaders = self.rpc.Leaders(self.addresses)
        batch = self.rpc.encode_batch([b"p" * 1024])
        while not self.stop:
            begun = time.monotonic()
            leaders.call("produce", topic=TOPIC, partition=0, records=batch, seconds=60)
            ended = time.monotonic()
            self.took.append((ended, (ended - begun) * 1000))
            time.sleep(0.005)
        leaders.close()


def disk_bytes(node):
    total = 0
    for folder, _, files in os.walk(os.path.join(node.data, "replicas")):
        for name in files:
            try:
                total += os.stat(os.path.join(folder, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def watch(nodes, writer, started):
    """Samples until the writer ends: (seconds, [disk MiB], [RSS MiB], log start)."""
    rows = []
    while writer.poll() is None:
        described = nodes.spate_json("topic", "describe", TOPIC)["partitions"][0]
        row = (
            time.monotonic() - started,
            [disk_bytes(node) >> 20 for node in nodes.nodes],
            [node.rss_kib() >> 10 for node in nodes.nodes],
            described.get("log_start", 0),
        )
        rows.append(row)
        print("%6.1f s  disk MiB %s  RSS MiB %s  start %d" % row, flush=True)
        time.sleep(1)
    return rows


def report(options, rows, probe, began, seconds):
    first_trim = next((at for at, _, _, start in rows if start > 0), seconds)
    before = [took for at, took in probe.took if at - began < first_trim]
    after = [took for at, took in probe.took if at - began >= first_trim]
    rate = options.bytes / seconds
    peak = max(max(disk) for _, disk, _, _ in rows) << 20
    bound = options.retention + 3 * SEGMENT + int(rate)
    late = [row for row in rows if row[0] >= first_trim]
    if not late:
        sys.exit(f"{rate / 1e6:.0f} MB/s, {percentiles(before)}: nothing was deleted, write more "
                 "(--bytes) or keep less (--retention)")
    half = late[len(late) // 4 :]
    rss_begin, rss_end = max(half[0][2]), max(half[-1][2])
    print(f"{options.bytes >> 20} MiB in {seconds:.1f} s: {rate / 1e6:.0f} MB/s")
    print(f"produce before anything is deleted: {percentiles(before)}")
    print(f"produce while segments are deleted: {percentiles(after)}")
    print(f"disk use of a node: at most {peak >> 20} MiB, bound {bound >> 20} MiB")
    print(f"RSS of a node: {rss_begin} MiB soon after the first deletion, {rss_end} MiB at the end")
    if peak > bound:
        sys.exit("disk use is beyond its bound")
    if rss_end > rss_begin * 1.25 + 16:
        sys.exit("memory grows")


def main():
    options = arguments()
    os.environ["SPATE_BIN"] = os.path.join(options.build, "bin")
    if options.directory:
        tempfile.tempdir = options.directory
    import cluster
    import rpc

    with cluster.Cluster(options.nodes, settings=[f"storage.segment.bytes={SEGMENT}"]) as nodes:
        settings = ["-c", f"retention.bytes={options.retention}"]
        nodes.spate("topic", "create", TOPIC, "-p", "1", "-r", str(options.nodes), *settings)
        probe = Probe(rpc, [node.address for node in nodes.nodes])
        records = options.bytes // options.size
        program = os.path.join(options.build, "tests", "stream")
        began = time.monotonic()
        writer = subprocess.Popen(
            [program, nodes.servers, TOPIC, "produce", str(records), str(options.size)],
            stdout=subprocess.DEVNULL,
            preexec_fn=cluster.die_with_parent,
        )
        probe.start()
        rows = watch(nodes, writer, began)
        seconds = time.monotonic() - began
        probe.stop = True
        probe.join()
        if writer.returncode != 0:
            sys.exit(f"the writer ended with {writer.returncode}")
        report(options, rows, probe, began, seconds)
        print(f"free on the disk: {shutil.disk_usage(nodes.directory).free >> 20} MiB")


if __name__ == "__main__":
    main()
