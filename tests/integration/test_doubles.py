#!/usr/bin/env python3
"""A second process with the id of a node, by a mistyped node.id or a copied file: it takes nothing
over, waits, and is named. And disks that are replaced again and again."""

import os
import re
import time
import unittest

import cluster
import rpc
from test_membership import node_rows
from test_old_disks import change_disk, incarnation, refused_row


def doubles(node):
    with rpc.Client(node.address, timeout=5) as client:
        return [row["node"] for row in client.call("cluster.health")["doubles"]]


class DoubleTest(unittest.TestCase):
    def write(self, nodes, topic, partition, names):
        text = "".join(f"{name}\n" for name in names).encode()
        nodes.spate("produce", topic, "-p", str(partition), input=text)

    def records(self, nodes, topic, partition=0):
        text = nodes.spate("consume", topic, "-p", str(partition), "-o", "start", "-e").decode()
        return text.split()

    def fill(self, nodes):
        """A topic that has partitions on node 3 alone."""
        nodes.spate("topic", "create", "s", "-p", "3", "-r", "1")
        names = [str(number) for number in range(100)]
        for partition in range(3):
            self.write(nodes, "s", partition, names)
        return names

    def assert_all_there(self, nodes, names):
        for partition in range(3):
            self.assertEqual(self.records(nodes, "s", partition), names)

    def stranger(self, nodes, name, seeds, join):
        node = cluster.Node(3, os.path.join(nodes.directory, name))
        node.write_config(seeds, join)
        self.addCleanup(lambda: node.alive and node.kill())
        node.start()
        return node

    def wait_refused(self, stranger, count=3):
        words = "not let in, tried again|refused by node"
        refused = lambda: re.search(words, stranger.trace())
        try:
            cluster.wait_for("it to be refused", refused, 20)
        except AssertionError:
            self.fail(f"not refused: {stranger.trace()}")
        deadline = time.monotonic() + count  # what must not happen has no event
        while time.monotonic() < deadline:
            self.assertNotIn("member of the cluster", stranger.trace())
            time.sleep(0.05)

    def test_mistyped_id_takes_nothing_over_while_the_node_runs(self):
        with cluster.Cluster(3) as nodes:
            names = self.fill(nodes)
            known = incarnation(nodes)
            peers = [f"{node.host}:{node.peer_port}" for node in nodes.nodes]
            for asked in ([2], [0], [1], [0, 1, 2]):
                join = [peers[i] for i in asked]
                stranger = self.stranger(nodes, "s" + "".join(map(str, asked)), [], join)
                self.wait_refused(stranger)
                self.assertEqual(incarnation(nodes), known)
                for i in asked:
                    self.assertIn(3, doubles(nodes.nodes[i]))
                    self.assertIn("wants to be this node", nodes.nodes[i].trace())
                run = nodes.run("cluster", "health")
                self.assertNotEqual(run.returncode, 0)
                self.assertIn("a second one wants to be node 3", run.stdout.decode())
                stranger.kill()
            nodes.wait_healthy(20)
            self.assert_all_there(nodes, names)

    def rolling_restart(self, nodes, stranger, names):
        self.wait_refused(stranger, 1)
        known = incarnation(nodes)
        for node in nodes.nodes:
            node.stop()
            time.sleep(1.5)  # in which the stranger has come again, several times
            node.start()
            up = lambda: all(row["alive"] for row in node_rows(nodes).values())
            cluster.wait_for("all to be up", up, 30)
        self.assertEqual(incarnation(nodes), known)
        self.assertNotIn("member of the cluster", stranger.trace())
        stranger.kill()
        nodes.wait_healthy(30)
        self.assertEqual(incarnation(nodes), known)
        self.assert_all_there(nodes, names)

    def test_mistyped_id_waits_through_a_rolling_restart(self):
        with cluster.Cluster(3) as nodes:
            names = self.fill(nodes)
            join = [f"{node.host}:{node.peer_port}" for node in nodes.nodes]
            self.rolling_restart(nodes, self.stranger(nodes, "stranger", [], join), names)

    def test_copied_file_of_a_seed_waits_through_a_rolling_restart(self):
        """Its process tells the address of the right one, as the file does."""
        with cluster.Cluster(3) as nodes:
            names = self.fill(nodes)
            seeds = [f"{node.number}@{node.host}:{node.peer_port}" for node in nodes.nodes]
            self.rolling_restart(nodes, self.stranger(nodes, "stranger", seeds, []), names)

    def test_new_machine_elsewhere_takes_the_place_of_a_drained_node(self):
        with cluster.Cluster(3) as nodes:
            nodes.spate("topic", "create", "t", "-r", "3")
            self.write(nodes, "t", 0, ["kept"])
            known = incarnation(nodes)
            nodes.node(3).kill()
            join = [f"{node.host}:{node.peer_port}" for node in nodes.nodes[:2]]
            new = self.stranger(nodes, "new", [], join)
            self.wait_refused(new, 1)
            self.assertIn("if it is to replace that node: spate cluster drain 3", new.trace())
            nodes.spate("cluster", "drain", "3")
            changed = lambda: incarnation(nodes) not in (None, known)
            cluster.wait_for("it to be let in", changed, 40)
            nodes.spate("cluster", "undrain", "3")
            nodes.nodes[2] = new
            nodes.servers = ",".join(node.address for node in nodes.nodes)
            nodes.wait_healthy(40)
            self.assertEqual(self.records(nodes, "t"), ["kept"])

    def test_disk_of_an_only_replica_is_replaced_again_and_again(self):
        with cluster.Cluster(3) as nodes:
            three = nodes.node(3)
            nodes.spate("topic", "create", "one", "-p", "3", "-r", "1")
            rows = nodes.spate_json("topic", "describe", "one")["partitions"]
            (partition,) = [row["partition"] for row in rows if row["replicas"] == [3]]
            for turn in range(4):
                before = incarnation(nodes)
                three.kill()
                change_disk(three, f"{three.data}.{turn}", None)
                three.start()
                cluster.wait_for("it to join", lambda: incarnation(nodes) not in (None, before), 20)
                nodes.wait_healthy(30)
                self.write(nodes, "one", partition, [f"n{turn}"])
                self.assertEqual(self.records(nodes, "one", partition), [f"n{turn}"])
                for _ in range(turn + 1):
                    mark = len(three.trace())
                    three.stop()
                    three.start()
                    nodes.wait_healthy(30)
                    self.assertEqual(self.records(nodes, "one", partition), [f"n{turn}"])
                    self.assertNotRegex(three.trace()[mark:], "begins anew")

    def test_disk_that_was_replaced_is_put_back_and_its_replicas_go_elsewhere(self):
        with cluster.Cluster(4, settings=["node.replace.after.ms=5000"]) as nodes:
            three = nodes.node(3)
            nodes.spate("topic", "create", "t", "-p", "4", "-r", "3")
            known = incarnation(nodes)
            three.stop()
            change_disk(three, three.data + ".first", None)
            three.start()
            cluster.wait_for("it to join", lambda: incarnation(nodes) not in (None, known), 20)
            nodes.wait_healthy(40)
            three.stop()
            change_disk(three, three.data + ".second", three.data + ".first")
            three.start()
            row = lambda: node_rows(nodes).get(3, {})
            cluster.wait_for("it to be refused", lambda: refused_row(nodes.node(1)), 20)
            self.assertIs(row()["alive"], False)
            text = nodes.run("cluster", "health", "--node", "1").stdout.decode()
            self.assertIn("it runs and is refused by node 1: node 3 has another data dir", text)
            cluster.wait_for("its replicas to go", lambda: row().get("replicas") == 0, 60)
            self.assertIs(row()["alive"], False)

    def test_emptied_seeds_do_not_count_as_up(self):
        with cluster.Cluster(3) as nodes:
            nodes.spate("topic", "create", "t", "-r", "3")
            for node in nodes.nodes[1:]:
                node.kill()
            for node in nodes.nodes[1:]:
                change_disk(node, node.data + ".first", None)
                node.start()
            for node in nodes.nodes[1:]:
                asks = lambda: "directory is empty but the cluster is formed" in node.trace()
                cluster.wait_for("it to ask", asks, 20)
            down = lambda: sorted((nodes.health() or {}).get("nodes_down", [])) == [2, 3]
            cluster.wait_for("node 1 to say so", down, 20)
            text = nodes.run("cluster", "health", "--node", "1").stdout.decode()
            words = "it runs and is refused by node 1: it has another data directory"
            self.assertRegex(text, rf"(?m)^node down: 2.*\n  {words}")
            self.assertNotIn("start it: it catches up", text)


if __name__ == "__main__":
    cluster.main()
