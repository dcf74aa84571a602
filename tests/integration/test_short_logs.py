#!/usr/bin/env python3
"""Two replicas of a partition, one of which comes back with the end of its log gone: what both had
acknowledged is on the other one, and stays, or the partition says that it cannot go on."""

import os
import re
import unittest

import cluster
from test_damage import quarantined, replicas, segments

WRITES = 8
RECORDS = 25  # of each
SETTINGS = ["storage.segment.bytes=1048576"]  # small enough that a stop leaves the file rest


class ShortLogsTest(unittest.TestCase):
    def begin(self, nodes):
        """Makes the topic and fills it; the nodes that hold it, the leader first, with the names of
        their replicas' directories."""
        before = {node.number: set(replicas(node, "")) for node in nodes.nodes}
        nodes.spate("topic", "create", "t", "-r", "2")
        nodes.wait_healthy(20)
        self.names = {
            node.number: name
            for node in nodes.nodes
            for name in set(replicas(node, "")) - before[node.number]
        }
        self.assertEqual(len(self.names), 2)
        self.acknowledged = 0
        for _ in range(WRITES):
            self.write(nodes)
        nodes.wait_healthy(20)  # both have all of it
        leader = nodes.leader("t")
        (other,) = set(self.names) - {leader.number}
        return leader, nodes.node(other)

    def write(self, nodes):
        numbers = range(self.acknowledged, self.acknowledged + RECORDS)
        text = "".join(f"{number} {'x' * 200}\n" for number in numbers)
        nodes.spate("produce", "t", "--timeout", "60s", input=text.encode())
        self.acknowledged += RECORDS

    def cut(self, node, part):
        """So much is left of its last segment, to the middle of some frame."""
        path = segments(node, self.names[node.number])[-1]
        os.truncate(path, 4096 + int((cluster.frames_end(path) - 4096) * part))

    def start_short(self, node):
        """Starts it; returns when it has cut what was left of the frame."""
        mark = len(node.trace())
        node.start()
        told = rf"torn tail cut log=\S*/{self.names[node.number]} "
        cluster.wait_for("the cut", lambda: re.search(told, node.trace()[mark:]), 20)

    def assert_all_there(self, nodes):
        text = nodes.spate("consume", "t", "-o", "start", "-e", "-f", "%o %v\\n").decode()
        found = [line.split(" ")[:2] for line in text.splitlines()]
        self.assertEqual(found, [[str(n), str(n)] for n in range(self.acknowledged)])

    def assert_both_have_all(self, nodes):
        """Each on its own disk."""
        nodes.wait_healthy(30)
        for number, name in self.names.items():
            node = nodes.node(number)
            self.assertEqual(quarantined(node), [])
            node.stop()
            folder = os.path.join(node.data, "replicas", name)
            files = segments(node, name)
            dump = nodes.spate("log", "dump", "--records", *files).decode()
            self.assertEqual(dump.count("x" * 200), self.acknowledged, folder)
            self.assertEqual(nodes.run("log", "verify", folder).returncode, 0)

    def test_follower_that_has_lost_its_end_is_filled(self):
        with cluster.Cluster(3, SETTINGS) as nodes:
            _, lost = self.begin(nodes)
            lost.kill()
            self.cut(lost, 0.5)
            self.start_short(lost)
            self.write(nodes)  # takes both
            self.assert_all_there(nodes)
            self.assert_both_have_all(nodes)

    def test_leader_that_has_lost_its_end_follows_the_one_that_has_it(self):
        with cluster.Cluster(3, SETTINGS) as nodes:
            leader, other = self.begin(nodes)
            for node in (leader, other):
                node.kill()
            self.cut(leader, 0.3)
            self.start_short(leader)
            refused = nodes.run("consume", "t", "-o", "start", "-e", "--timeout", "2s")
            self.assertEqual(refused.returncode, 6, "it leads alone")
            self.assertEqual(refused.stdout, b"")
            other.start()
            nodes.wait_healthy(30)
            self.assert_all_there(nodes)
            self.write(nodes)
            self.assert_all_there(nodes)
            self.assert_both_have_all(nodes)

    def test_both_start_at_once_and_the_longer_one_wins(self):
        with cluster.Cluster(3, SETTINGS) as nodes:
            both = self.begin(nodes)
            for lost, part in ((both[0], 0.9), (both[1], 0.5), (both[0], 0.1)):
                for node in both:
                    node.kill()
                self.cut(lost, part)
                for node in both:
                    node.start()
                nodes.wait_healthy(30)
                self.assert_all_there(nodes)
                self.write(nodes)
            self.assert_both_have_all(nodes)

    def test_end_that_is_lost_after_a_stop_in_good_order_is_told(self):
        with cluster.Cluster(3, SETTINGS) as nodes:
            leader, lost = self.begin(nodes)
            lost.stop()
            path = segments(lost, self.names[lost.number])[-1]
            with open(path, "rb") as handle:
                whole = handle.read()
            self.cut(lost, 0.5)
            lost.start()
            words = lambda: nodes.run("cluster", "health").stdout.decode()
            row = rf"damaged on node {lost.number}: t/0, replica \d+ \(replicas/"
            cluster.wait_for("its damage", lambda: re.search(row, words()), 20)
            cluster.wait_for("its lack of a leader", lambda: "leaderless: t/0" in words(), 20)
            refused = nodes.run("produce", "t", "--timeout", "1s", input=b"1\n")
            self.assertNotEqual(refused.returncode, 0)
            self.assertTrue(leader.alive and lost.alive)
            # mended by hand
            lost.stop()
            with open(path, "r+b") as handle:
                handle.write(whole)
            os.remove(os.path.join(os.path.dirname(path), "damaged"))
            lost.start()
            nodes.wait_healthy(30)
            self.assert_all_there(nodes)
            self.write(nodes)
            self.assert_both_have_all(nodes)


if __name__ == "__main__":
    cluster.main()
