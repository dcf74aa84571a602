#!/usr/bin/env python3
"""The figures of docs/operations.md, "Capacity planning", measured on this machine.

    tests/bench/capacity.py [--quick] [--directory DIR] BUILD

One node or three on loopback, with data below DIR (default: where temporary files go). Printed are
the tables as they stand in the document. Memory is resident memory of the process (VmRSS); CPU is
what the kernel has charged the process with. --quick: smaller counts, to see that it works.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), os.pardir, "integration"))
import cluster  # noqa: E402
import rpc  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
SETTLE_SECONDS = 4  # memory that is free again goes back to the system within seconds


def cpu_seconds(node):
    with open(f"/proc/{node.process.pid}/stat", encoding="utf-8") as handle:
        fields = handle.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def settled_kib(node):
    time.sleep(SETTLE_SECONDS)
    return node.rss_kib()


def disk_bytes(node, apparent):
    """Of the whole data directory, as it looks or as it is allocated."""
    total = 0
    for folder, _, names in os.walk(node.data):
        for name in names:
            info = os.stat(os.path.join(folder, name))
            total += info.st_size if apparent else info.st_blocks * 512
    return total


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


class Capacity:
    def __init__(self, options):
        self.options = options
        self.settings = ["trace.level=warn"]

    def scaled(self, count):
        return max(1, count // 20) if self.options.quick else count

    def cluster(self, size):
        return cluster.Cluster(size, settings=self.settings)

    # ---- idle partitions ------------------------------------------------------------------------

    def partitions(self):
        """Memory, descriptors, files and CPU of partitions that nobody uses, and how long a node
        takes to start with them."""
        print("\nidle partitions, three replicas on three nodes\n")
        row("partitions", "memory of a node", "per replica", "disk per replica", "CPU of a node",
            "restart until healthy", "per replica")
        row(*["---"] * 7)
        empty = None
        for count in (0, self.scaled(300), self.scaled(1000)):
            with self.cluster(3) as nodes:
                if count > 0:
                    nodes.spate("topic", "create", "t", "-p", str(count), "-r", "3",
                                "--timeout", "300s", seconds=320)
                    nodes.wait_healthy(300)
                node = nodes.nodes[0]
                kib = settled_kib(node)
                empty = empty or (kib, disk_bytes(node, False))
                cpu = cpu_seconds(node)
                time.sleep(10)
                cpu = (cpu_seconds(node) - cpu) / 10 * 100
                node.stop(60)
                started = time.monotonic()
                node.start()
                nodes.wait_healthy(300)
                seconds = time.monotonic() - started
                self.row_of_partitions(count, kib, disk_bytes(node, False), cpu, seconds, empty)

    def row_of_partitions(self, count, kib, disk, cpu, seconds, empty):
        per = (lambda value, unit: f"{value / count:.1f} {unit}" if count else "")
        row(count, f"{kib / 1024:.0f} MiB", per(kib - empty[0], "KiB"),
            per((disk - empty[1]) / 1024, "KiB"), f"{cpu:.1f} %", f"{seconds:.2f} s",
            per(seconds * 1000, "ms"))

    # ---- connections ----------------------------------------------------------------------------

    def connections(self):
        """Memory of connections that have asked once and wait."""
        print("\nidle connections\n")
        row("connections", "memory of the node", "per connection")
        row(*["---"] * 3)
        count = self.scaled(5000)
        with self.cluster(1) as nodes:
            node = nodes.nodes[0]
            before = settled_kib(node)
            row(0, f"{before / 1024:.0f} MiB", "")
            clients = [rpc.Client(node.address) for _ in range(count)]
            for client in clients:
                client.call("ping")
            after = settled_kib(node)
            row(count, f"{after / 1024:.0f} MiB", f"{(after - before) / count:.1f} KiB")
            for client in clients:
                client.close()

    # ---- records --------------------------------------------------------------------------------

    def records(self):
        """Disk and CPU of records of several sizes, in batches as `spate bench`-like load makes
        them, and one by one."""
        print("\nrecords: one partition, three replicas, acknowledged with fsync on a majority\n")
        row("value", "records", "disk per record", "over the value",
            "CPU-s of all nodes per million", "records/s here")
        row(*["---"] * 6)
        for size, count in ((20, 2000000), (100, 2000000), (1000, 500000), (16000, 40000)):
            self.one_size(size, self.scaled(count))
        self.one_by_one(100, self.scaled(5000))

    def one_size(self, size, count):
        with self.cluster(3) as nodes:
            nodes.spate("topic", "create", "t", "-p", "1", "-r", "3")
            disk = disk_bytes(nodes.nodes[0], True)
            cpu = sum(cpu_seconds(node) for node in nodes.nodes)
            started = time.monotonic()
            subprocess.run(
                [os.path.join(self.options.build, "tests", "stream"), nodes.servers, "t", "produce",
                 str(count), str(size)],
                stdout=subprocess.DEVNULL, check=True, timeout=600,
            )
            seconds = time.monotonic() - started
            self.row_of_records(nodes, f"{size} bytes", size, count, disk, cpu, seconds)

    def one_by_one(self, size, count):
        """The dear end: each record alone in its batch, the next after the last is stored."""
        with self.cluster(3) as nodes:
            nodes.spate("topic", "create", "t", "-p", "1", "-r", "3")
            disk = disk_bytes(nodes.nodes[0], True)
            cpu = sum(cpu_seconds(node) for node in nodes.nodes)
            started = time.monotonic()
            leader = rpc.Leaders([node.address for node in nodes.nodes])
            for _ in range(count):
                leader.call("produce", topic="t", partition=0, records=[{"v": os.urandom(size)}])
            leader.close()
            seconds = time.monotonic() - started
            name = f"{size} bytes, one at a time"
            self.row_of_records(nodes, name, size, count, disk, cpu, seconds)

    def row_of_records(self, nodes, name, size, count, disk, cpu, seconds):
        cpu = sum(cpu_seconds(node) for node in nodes.nodes) - cpu
        per_record = (disk_bytes(nodes.nodes[0], True) - disk) / count
        row(name, count, f"{per_record:.1f} bytes", f"{per_record - size:+.1f} bytes",
            f"{cpu / count * 1e6:.1f}", f"{count / seconds:.0f}")

    # ---- starting -------------------------------------------------------------------------------

    def restart(self):
        """A node that comes back to a log which was being written."""
        print("\nstart of a node with one partition of that size, its process killed\n")
        row("log", "until the node answers", "until the cluster is healthy")
        row(*["---"] * 3)
        for count in (self.scaled(200000), self.scaled(1000000)):
            with self.cluster(3) as nodes:
                nodes.spate("topic", "create", "t", "-p", "1", "-r", "3")
                subprocess.run(
                    [os.path.join(self.options.build, "tests", "stream"), nodes.servers, "t",
                     "produce", str(count), "1000"],
                    stdout=subprocess.DEVNULL, check=True, timeout=600,
                )
                nodes.wait_healthy()
                node = nodes.nodes[0]
                size = disk_bytes(node, True)
                node.kill()
                started = time.monotonic()
                node.start()
                cluster.wait_for("an answer", lambda: answers(node), 60, 0.005)
                first = time.monotonic() - started
                nodes.wait_healthy(60)
                row(f"{size / 1e6:.0f} MB", f"{first:.2f} s", f"{time.monotonic() - started:.2f} s")


def answers(node):
    try:
        with rpc.Client(node.address, timeout=2) as client:
            client.call("ping")
            return True
    except (OSError, EOFError, rpc.Refused, socket.timeout):
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--directory", help="where the data goes")
    parser.add_argument("--only", help="one of partitions, connections, records, restart")
    parser.add_argument("build", metavar="BUILD")
    options = parser.parse_args()
    if options.directory:
        tempfile.tempdir = options.directory
    cluster.SPATED = os.path.join(options.build, "bin", "spated")
    cluster.SPATE = os.path.join(options.build, "bin", "spate")
    capacity = Capacity(options)
    for name in ("partitions", "connections", "records", "restart"):
        if options.only in (None, name):
            getattr(capacity, name)()


if __name__ == "__main__":
    main()
