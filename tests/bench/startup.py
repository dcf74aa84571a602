#!/usr/bin/env python3
"""How long a node with many partitions takes to come back, stopped in good order and killed.

    tests/bench/startup.py [--partitions 1000] [--rounds 3] BUILD

Each partition holds a record. Printed are, for each start, the seconds until the cluster is
healthy, which includes the election of every partition, and the CPU-seconds of the node.
"""

import argparse
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), os.pardir, "integration"))
TICKS = os.sysconf("SC_CLK_TCK")


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--partitions", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def cpu_seconds(node):
    with open(f"/proc/{node.process.pid}/stat", encoding="utf-8") as handle:
        fields = handle.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def main():
    options = arguments()
    os.environ["SPATE_BIN"] = os.path.join(options.build, "bin")
    import cluster
    import rpc

    with cluster.Cluster(1) as nodes:
        node = nodes.node(1)
        count = str(options.partitions)
        nodes.spate("topic", "create", "t", "-p", count, "-r", "1", "--timeout", "120s")
        with rpc.Client(node.address) as client:
            for partition in range(options.partitions):
                batch = rpc.encode_batch([b"x" * 1000])
                client.call("produce", topic="t", partition=partition, records=batch)
        for _ in range(options.rounds):
            for name, end in (("stopped", node.stop), ("killed", node.kill)):
                end()
                started = time.monotonic()
                node.start()
                nodes.wait_healthy(120)
                seconds = time.monotonic() - started
                print(f"{name}: healthy after {seconds:.2f} s, {cpu_seconds(node):.2f} CPU-s")


if __name__ == "__main__":
    main()
