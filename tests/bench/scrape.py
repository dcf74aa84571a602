#!/usr/bin/env python3
"""What a scrape costs a node that has many partitions.

    tests/bench/scrape.py [--partitions 3000] [--topics 10] BUILD

Prints, of the best and the middle of 20 answers, how long the loop needed for it, how long it took
from outside, and its size.
"""

import argparse
import os
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), os.pardir, "integration"))


def measure(node, path, exposition):
    loop, outside, size = [], [], 0
    for _ in range(20):
        time.sleep(0.55)  # longer than an answer is given again
        started = time.monotonic()
        _, _, text = exposition.get(node, path, timeout=60)
        outside.append(time.monotonic() - started)
        loop.append(exposition.parse(text)["spate_metrics_duration_seconds"].value())
        size = len(text)
    print(f"{path:24} loop {min(loop) * 1e3:6.1f} {statistics.median(loop) * 1e3:6.1f} ms"
          f"   outside {min(outside) * 1e3:6.1f} {statistics.median(outside) * 1e3:6.1f} ms"
          f"   {size / 1024:6.0f} KiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--partitions", type=int, default=3000)
    parser.add_argument("--topics", type=int, default=10)
    parser.add_argument("build")
    options = parser.parse_args()
    os.environ["SPATE_BIN"] = os.path.join(options.build, "bin")
    import cluster
    import exposition
    import rpc

    cluster.BIN = os.environ["SPATE_BIN"]
    with cluster.Cluster(1) as nodes:
        node = nodes.nodes[0]
        with rpc.Client(node.address, timeout=120) as client:
            for topic in range(options.topics):
                client.call("topic.create", name=f"topic-{topic}", timeout_ms=60000,
                            partitions=options.partitions // options.topics)
        nodes.wait_healthy(300)
        for path in ("/metrics", "/metrics?partitions=1"):
            measure(node, path, exposition)


if __name__ == "__main__":
    main()
