#!/usr/bin/env python3
"""Replicas move, nodes come and go, while records are written: nothing is lost or stored twice."""

import os
import time
import unittest

import cluster
import rpc


def partition_of(nodes, topic, partition=0):
    return nodes.spate_json("topic", "describe", topic)["partitions"][partition]


def ask(nodes, method, **params):
    """The answer of the first node that gives one, or None."""
    for node in nodes.nodes:
        try:
            with rpc.Client(node.address, timeout=2) as client:
                return client.call(method, **params)
        except (OSError, EOFError, rpc.Refused):
            continue
    return None


def moves(nodes):
    answer = ask(nodes, "cluster.moves")
    return None if answer is None else answer["moves"]


def wait_moved(nodes, seconds=30):
    cluster.wait_for("all moves done", lambda: moves(nodes) == [], seconds, 0.05)


def replica_directories(node, group=None):
    """The directories of replicas of partitions on the node's disk."""
    names = os.listdir(os.path.join(node.data, "replicas"))
    return {name for name in names if not name.startswith("0.")}


class MoveTest(unittest.TestCase):
    def fill(self, nodes, topic, count, first=0):
        text = "".join(f"{number}\n" for number in range(first, first + count))
        nodes.spate("produce", topic, input=text.encode())

    def assert_records(self, nodes, topic, count):
        text = nodes.spate("consume", topic, "-o", "start", "-e", "-f", "%v\\n").decode()
        self.assertEqual([int(line) for line in text.split()], list(range(count)))

    def test_move_one_replica_and_back(self):
        with cluster.Cluster(3) as nodes:
            nodes.spate("topic", "create", "t", "-r", "1")
            self.fill(nodes, "t", 1000)
            home = partition_of(nodes, "t")["replicas"][0]
            away = home % 3 + 1
            before = {node.number: replica_directories(node) for node in nodes.nodes}
            nodes.spate("partition", "move", "t", "0", str(away))
            wait_moved(nodes)
            self.assertEqual(partition_of(nodes, "t")["replicas"], [away])
            nodes.leader("t")
            self.fill(nodes, "t", 500, 1000)
            self.assert_records(nodes, "t", 1500)
            gone = lambda: len(replica_directories(nodes.node(home))) == len(before[home]) - 1
            cluster.wait_for("the old replica's data to go", gone)
            nodes.spate("partition", "move", "t", "0", str(home))
            wait_moved(nodes)
            self.assert_records(nodes, "t", 1500)
            nodes.wait_healthy()

    def test_move_all_replicas_under_load_while_nodes_die(self):
        with cluster.Cluster(5) as nodes:
            nodes.spate("topic", "create", "t", "-r", "3")
            stored = 0
            replicas = partition_of(nodes, "t")["replicas"]
            for turn in range(4):
                others = [node.number for node in nodes.nodes if node.number not in replicas]
                target = [replicas[2], others[0], others[1]]
                nodes.spate("partition", "move", "t", "0", ",".join(map(str, target)))
                self.fill(nodes, "t", 2000, stored)
                stored += 2000
                victim = nodes.node(target[turn % 3])
                victim.kill()
                time.sleep(0.3)
                victim.start()
                wait_moved(nodes, 60)
                replicas = target
                self.assertEqual(partition_of(nodes, "t")["replicas"], target)
            nodes.wait_healthy(30)
            self.assert_records(nodes, "t", stored)

    def test_refused_moves_say_why(self):
        with cluster.Cluster(1) as nodes:
            nodes.spate("topic", "create", "t")
            for arguments, words in (
                (["t", "0", "9"], "there is no node 9"),
                (["t", "0", "1,1"], "named twice"),
                (["t", "7", "1"], "partitions"),
                (["u", "0", "1"], "u"),
            ):
                done = nodes.run("partition", "move", *arguments)
                self.assertNotEqual(done.returncode, 0, arguments)
                self.assertIn(words, done.stderr.decode())


def node_rows(nodes):
    answer = ask(nodes, "cluster.nodes")
    return {} if answer is None else {row["id"]: row for row in answer["nodes"]}


class JoinTest(unittest.TestCase):
    def roles(self, nodes):
        return sorted(row["controller"] for row in node_rows(nodes).values())

    def test_join_grows_one_node_to_five(self):
        with cluster.Cluster(1) as nodes:
            nodes.spate("topic", "create", "before", "-r", "1")
            nodes.spate("produce", "before", input=b"kept\n")
            for number in range(2, 6):
                nodes.add(number)
            cluster.wait_for("five nodes", lambda: len(node_rows(nodes)) == 5, 20)
            voters = ["leader"] + 4 * ["voter"]
            cluster.wait_for("five voters", lambda: self.roles(nodes) == voters, 30)
            nodes.spate("topic", "create", "t", "-p", "5", "-r", "3")
            used = {
                node
                for partition in nodes.spate_json("topic", "describe", "t")["partitions"]
                for node in partition["replicas"]
            }
            self.assertLessEqual({2, 3, 4, 5}, used, "new topics use new nodes")
            nodes.wait_healthy(20)
            for node in nodes.nodes:
                node.kill()
            for node in nodes.nodes:
                node.start()
            nodes.wait_healthy(30)
            text = nodes.spate("consume", "before", "-o", "start", "-e").decode()
            self.assertEqual(text, "kept\n")

    def test_join_of_another_cluster_is_refused_on_both_sides(self):
        with cluster.Cluster(1) as nodes, cluster.Cluster(1, first=2) as others:
            stranger = others.nodes[0]
            stranger.kill()
            stranger.write_config([], [f"127.0.0.1:{nodes.nodes[0].peer_port}"])
            stranger.start()
            words = "belongs to another cluster"
            cluster.wait_for("the refusal", lambda: words in stranger.trace(), 15)
            self.assertEqual(list(node_rows(nodes)), [1])

    def test_join_with_a_node_id_in_use_is_refused(self):
        with cluster.Cluster(1) as nodes:
            node = nodes.add(2)
            cluster.wait_for("two nodes", lambda: len(node_rows(nodes)) == 2, 15)
            twin = cluster.Node(2, os.path.join(nodes.directory, "twin"))
            twin.write_config([], [f"127.0.0.1:{nodes.nodes[0].peer_port}"])
            twin.start()
            try:
                words = "another process with node id 2 is connected"
                cluster.wait_for("the refusal", lambda: words in twin.trace(), 15)
            finally:
                twin.kill()
            self.assertTrue(node.alive)


if __name__ == "__main__":
    cluster.main()
