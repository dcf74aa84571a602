#!/usr/bin/env python3
"""Nodes are restarted one after the other, as the same build and as builds of other feature levels:
users see no failed request, and a level that is in use keeps older builds out."""

import contextlib
import json
import os
import re
import subprocess
import threading
import unittest

import cluster
import exposition
import rpc

PREVIOUS = os.environ.get("SPATE_PREVIOUS", "")
LOAD = os.environ.get("SPATE_ROLLING_LOAD", "")
GAP_MS_MAX = 2000


class Load:
    """Users at work; `finish` ends them and returns what they counted."""

    def __init__(self, nodes, topic):
        self.process = subprocess.Popen(
            [LOAD, nodes.servers, topic],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=cluster.die_with_parent,
        )
        self.words = []
        self.reader = threading.Thread(target=self.read_errors)
        self.reader.start()
        assert self.process.stdout.readline() == "running\n", "".join(self.words)

    def read_errors(self):
        for line in self.process.stderr:
            self.words.append(line)

    def finish(self):
        self.process.stdin.close()
        text = self.process.stdout.read()
        code = self.process.wait(120)
        self.reader.join()
        self.process.stdout.close()
        self.process.stderr.close()
        assert code == 0, f"exit {code}: {text}{''.join(self.words[:20])}"
        return json.loads(text)

    def abandon(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class UpgradeTest(unittest.TestCase):
    @contextlib.contextmanager
    def running(self, program=cluster.SPATED):
        """Three nodes of a build."""
        nodes = cluster.Cluster(3)
        for node in nodes.nodes:
            node.program = program
        with nodes:
            yield nodes

    @contextlib.contextmanager
    def load(self, nodes, topic):
        """Users at work meanwhile, who see nothing of it."""
        users = Load(nodes, topic)
        self.addCleanup(users.abandon)
        yield users
        counted = users.finish()
        print(f"{topic}: {json.dumps(counted)}", flush=True)
        self.assertEqual(counted["failed"], 0)
        self.assertEqual(counted["read"], counted["written"])
        self.assertEqual(counted["shared"], counted["written"])
        self.assertGreater(counted["written"], 1000)
        self.assertGreater(counted["admin"], 5)
        self.assertGreater(counted["commits"], 3)
        self.assertLess(counted["gap_ms"], GAP_MS_MAX)

    def restart(self, nodes, node, program):
        code, seconds = node.stop()
        self.assertEqual(code, 0)
        print(f"node {node.number}: stopped in {seconds:.2f} s", flush=True)
        node.program = program
        node.start()
        nodes.wait_healthy()

    def roll(self, nodes, program):
        for node in nodes.nodes:
            self.restart(nodes, node, program)

    def features(self, nodes, *action):
        return nodes.spate_json("cluster", "features", *action)

    def wait_for_level(self, nodes, level):
        cluster.wait_for(f"level {level}", lambda: self.features(nodes)["level"] == level)

    def name_producer(self, nodes, name="loader"):
        """What `producer.init` with a name says: "" or the error."""
        with rpc.Client(nodes.nodes[0].address) as client:
            try:
                client.call("producer.init", name=name)
            except rpc.Refused as refused:
                return str(refused)
        return ""

    def refuses_to_run(self, node, *texts):
        node.program = PREVIOUS
        node.start()
        self.assertEqual(node.wait(30), 1)
        last = "\n".join(node.trace().splitlines()[-4:])
        for text in texts:
            self.assertIn(text, last)
        node.program = cluster.SPATED

    def waits_for_its_build(self, node):
        """Its own directory knows nothing of the level: it talks to nobody, says why, and stops
        for no one's word."""
        node.program = PREVIOUS
        node.start()
        for number, text in ((1, "knows feature levels up to 1, the cluster is at 4, says node 1"),
                             (2, "knows feature levels up to 1, the cluster is at 4, says node 2")):
            cluster.wait_for(f"node 3 refuses node {number}", lambda told=text: re.search(
                rf'node refused.*why="this node {told}: install the newer build on this node"',
                node.trace()), 30)
        cluster.wait_for("the others refuse node 3", lambda: re.search(
            r'refused by node.*why="node 3 knows feature levels up to 1, the cluster is at 4',
            node.trace()), 30)
        self.assertEqual(exposition.get(node, "/readyz")[0], 503)
        self.assertEqual(node.stop()[0], 0)
        node.program = cluster.SPATED

    # ---- the same build -------------------------------------------------------------------------

    def test_upgrade_rolling_restart_fails_no_request(self):
        with self.running() as nodes, self.load(nodes, "restarted"):
            for _ in range(2):
                self.roll(nodes, cluster.SPATED)

    # ---- two builds -----------------------------------------------------------------------------

    def test_upgrade_to_the_next_build_and_back_fails_no_request(self):
        with self.running(PREVIOUS) as nodes:
            with self.load(nodes, "upgraded"):
                self.assertEqual(self.features(nodes, "hold")["held"], True)
                self.roll(nodes, cluster.SPATED)
                self.assertEqual(self.features(nodes)["level"], 1)
                self.assertIn("UNSUPPORTED", self.name_producer(nodes))
                self.assertIn("features release", self.name_producer(nodes))
                self.roll(nodes, PREVIOUS)
            with self.load(nodes, "upgraded-again"):
                self.roll(nodes, cluster.SPATED)
                self.features(nodes, "release")
                self.wait_for_level(nodes, 4)
                self.assertEqual(self.name_producer(nodes), "")

    def test_upgrade_feature_waits_for_the_last_node(self):
        with self.running(PREVIOUS) as nodes:
            one, two, three = nodes.nodes
            for node in (one, two):
                self.restart(nodes, node, cluster.SPATED)
            refused = self.name_producer(nodes)
            self.assertIn("UNSUPPORTED", refused)
            self.assertIn("need feature level 2, the cluster is at 1: upgrade node 3", refused)
            self.restart(nodes, three, cluster.SPATED)
            self.wait_for_level(nodes, 4)
            self.assertEqual(self.name_producer(nodes), "")
            nodes.spate("topic", "create", "t")
            nodes.spate("produce", "t", input=b"one\ntwo\n")

            # From now on the older build is kept out, and harms nothing.
            three.stop()
            self.refuses_to_run(
                three,
                "cannot start: UNSUPPORTED",
                "was written at feature level 4, this build knows levels up to 1: start the newer "
                "build again; nothing was changed",
            )
            three.start()
            nodes.wait_healthy()
            self.assertEqual(nodes.spate("consume", "t", "-o", "start", "-e"), b"one\ntwo\n")
            self.assertEqual(self.name_producer(nodes), "")

    def test_upgrade_node_that_missed_the_rise_hears_of_it(self):
        with self.running(PREVIOUS) as nodes:
            three = nodes.nodes[2]
            self.features(nodes, "hold")
            self.roll(nodes, cluster.SPATED)
            three.stop()
            self.features(nodes, "release")
            self.wait_for_level(nodes, 4)
            self.waits_for_its_build(three)
            three.start()
            nodes.wait_healthy()
            self.assertEqual(self.features(nodes)["level"], 4)

    def test_upgrade_whole_cluster_of_an_older_build_refuses(self):
        with self.running() as nodes:
            self.wait_for_level(nodes, 4)
            for node in nodes.nodes:
                node.stop()
            for node in nodes.nodes:
                self.refuses_to_run(node, "was written at feature level 4")
            for node in nodes.nodes:
                node.start()
            nodes.wait_healthy()


if __name__ == "__main__":
    cluster.main()
