#!/usr/bin/env python3
"""The cluster of deploy/quickstart without its demonstration: the rolling restart of
docs/operations.md, exactly as it is typed there."""

import os
import re
import tempfile
import unittest

import cluster
import quickstart
import rpc

OPERATIONS = os.path.join(quickstart.ROOT, "docs", "operations.md")


def loop():
    with open(OPERATIONS, encoding="utf-8") as handle:
        blocks = re.findall(r"```\n(for .*?)```", handle.read(), re.DOTALL)
    found = [block for block in blocks if "deploy/quickstart restart" in block]
    assert len(found) == 1, blocks
    return found[0]


class QuickstartTest(unittest.TestCase):
    def setUp(self):
        self.nodes = quickstart.Quickstart(tempfile.mkdtemp(prefix="spate-test-"))
        self.addCleanup(self.nodes.close)
        self.assertEqual(self.nodes.shell("deploy/quickstart start"),
                         "cluster: started node 1 2 3, healthy\n")

    def test_rolling_restart_as_it_is_documented(self):
        variables = self.nodes.variables()
        self.nodes.shell(f"{variables}; spate topic create t -p 6 -r 3; "
                         "seq 1000 | spate produce t")
        before = [self.nodes.pid(node) for node in quickstart.NODES]
        words = self.nodes.shell(f"{variables}\n{loop()}")
        self.assertEqual(re.findall(r"(?m)^node \d: restarted$", words),
                         [f"node {node}: restarted" for node in quickstart.NODES])
        after = [self.nodes.pid(node) for node in quickstart.NODES]
        self.assertFalse(set(before) & set(after))
        for node in quickstart.NODES:
            with rpc.Client(f"127.0.0.1:{self.nodes.client_port(node)}") as client:
                healthy = lambda: client.call("cluster.health")["healthy"]
                cluster.wait_for("leaders that have gone back", healthy, 20)
        read = self.nodes.shell(f"{variables}; spate consume t -o start -e | wc -l")
        self.assertEqual(read, "1000\n")
        self.check_restart_of_no_node()
        self.check_reset_keeps_what_a_node_runs_on()

    def check_restart_of_no_node(self):
        for words in ("restart", "restart 4", "restart '1 2'"):
            with self.assertRaisesRegex(AssertionError, "exit 1: quickstart: restart which"):
                self.nodes.shell(f"deploy/quickstart {words}")

    def check_reset_keeps_what_a_node_runs_on(self):
        pid_file = os.path.join(self.nodes.directory, ".quickstart", "node2", "pid")
        pid = self.nodes.pid(2)
        os.rename(pid_file, pid_file + ".lost")
        with self.assertRaisesRegex(AssertionError, "node 2 still runs on "):
            self.nodes.shell("deploy/quickstart reset")
        os.kill(pid, 0)
        os.rename(pid_file + ".lost", pid_file)
        self.nodes.shell("deploy/quickstart reset")
        self.assertFalse(os.path.exists(os.path.dirname(os.path.dirname(pid_file))))


if __name__ == "__main__":
    cluster.main()
