#!/usr/bin/env python3
"""Partitions of which no replica is left: they begin anew, empty, and say so before."""

import os
import shutil
import unittest

import cluster
import rpc

SETTINGS = ["node.replace.after.ms=2000"]


def describe(nodes, topic):
    return nodes.spate_json("topic", "describe", topic)["partitions"][0]


def rows(nodes):
    return {row["id"]: row for row in nodes.spate_json("cluster", "nodes")["nodes"]}


def sizes(nodes):
    """How many replicas the partitions of the groups' topic have, the fewest first."""
    shown = nodes.spate_json("topic", "describe", "__groups")["partitions"]
    return sorted(len(row["replicas"]) for row in shown)


def health_text(nodes):
    return nodes.run("cluster", "health").stdout.decode()


class OnlyReplicaTest(unittest.TestCase):
    def write(self, nodes, topic, count, first=0):
        text = "".join(f"{number}\n" for number in range(first, first + count))
        nodes.spate("produce", topic, input=text.encode())

    def read(self, nodes, topic):
        text = nodes.spate("consume", topic, "-o", "start", "-e", "-f", "%v\\n").decode()
        return [int(line) for line in text.split()]

    def four(self):
        nodes = cluster.Cluster(3, settings=SETTINGS)
        self.addCleanup(nodes.__exit__, None, None, None)
        nodes.__enter__()
        nodes.add(4, SETTINGS)
        cluster.wait_for("four nodes", lambda: len(rows(nodes)) == 4, 15)
        nodes.wait_healthy(30)
        return nodes

    def only(self, nodes, topic="t"):
        """Makes a topic with one replica and ten records; its node."""
        nodes.spate("topic", "create", topic, "-r", "1")
        self.write(nodes, topic, 10)
        return nodes.node(describe(nodes, topic)["replicas"][0])

    def move(self, nodes, topic, node):
        nodes.spate("partition", "move", topic, "0", str(node.number))
        moved = lambda: describe(nodes, topic)["replicas"] == [node.number]
        cluster.wait_for("the move", moved, 30)

    def empty(self, node):
        node.kill()
        shutil.rmtree(node.data)

    def came_back(self, nodes, node, before):
        new = lambda: rows(nodes).get(node.number, {}).get("incarnation", before) != before
        cluster.wait_for("another incarnation", new, 20)

    def assert_usable(self, nodes, topic, node):
        """It has nothing, takes records, and keeps them over a restart of its node."""
        nodes.wait_healthy(40)
        self.assertEqual(self.read(nodes, topic), [])
        self.write(nodes, topic, 5, 100)
        for one in nodes.nodes:
            with rpc.Client(one.address) as client:
                (row,) = client.call("metadata", topics=[topic])["topics"]
                self.assertEqual(row["partitions"][0]["leader"], node.number)
        node.kill()
        node.start()
        nodes.wait_healthy(40)
        self.assertEqual(self.read(nodes, topic), [100, 101, 102, 103, 104])

    def test_its_node_stays_away_and_comes_back_empty(self):
        nodes = self.four()
        home = self.only(nodes)
        nodes.spate("topic", "create", "later", "-r", "3", "-p", "4")  # it is looked at after t
        before = rows(nodes)[home.number]["incarnation"]
        self.empty(home)

        def given_up():
            others = nodes.spate_json("topic", "describe", "later")["partitions"]
            return all(home.number not in row["replicas"] for row in others)

        cluster.wait_for("others to get its replicas", given_up, 60, 0.1)
        text = health_text(nodes)
        self.assertIn(f"leaderless: t/0, replicas on node {home.number}, down: node", text)
        self.assertIn(f"start node {home.number} with an empty data directory", text)
        self.assertNotIn("moves under way", text)  # nobody could make one
        refused = nodes.run("partition", "move", "t", "0", str(home.number % 4 + 1))
        self.assertEqual(refused.returncode, 1)
        self.assertIn(b"and no leader at the moment, which alone could", refused.stderr)
        home.start()
        self.came_back(nodes, home, before)
        self.assert_usable(nodes, "t", home)

    def test_it_is_drained_while_it_is_down_and_comes_back_empty(self):
        nodes = self.four()
        home = self.only(nodes)
        before = rows(nodes)[home.number]["incarnation"]
        self.empty(home)
        nodes.spate("cluster", "drain", str(home.number))
        left = lambda: rows(nodes)[home.number]["replicas"] == 1
        cluster.wait_for("what others have to move", left, 60, 0.1)
        text = health_text(nodes)
        self.assertIn(f"draining: node {home.number}, replicas still to move: 1", text)
        self.assertIn("1 of them wait until their partition has a leader", text)
        watched = nodes.run("cluster", "moves", "-w", seconds=30)
        self.assertEqual(watched.returncode, 0)
        self.assertIn(b"1 replicas wait until their partition has a leader", watched.stderr)
        home.start()
        self.came_back(nodes, home, before)
        gone = lambda: rows(nodes)[home.number]["replicas"] == 0
        cluster.wait_for("it to be moved, empty", gone, 30, 0.1)
        heir = nodes.node(describe(nodes, "t")["replicas"][0])
        self.assertIsNot(heir, home)
        nodes.spate("cluster", "undrain", str(home.number))
        self.assert_usable(nodes, "t", heir)

    def test_it_was_moved_before(self):
        nodes = self.four()
        home = self.only(nodes)
        heir = nodes.node(home.number % 4 + 1)
        self.move(nodes, "t", heir)
        before = rows(nodes)[heir.number]["incarnation"]
        self.empty(heir)
        heir.start()
        self.came_back(nodes, heir, before)
        self.assert_usable(nodes, "t", heir)
        self.assertIn("partition begins anew", heir.trace())
        # it is like any other afterwards
        nodes.spate("topic", "alter", "t", "--replicas", "3")
        grown = lambda: len(describe(nodes, "t")["replicas"]) == 3
        cluster.wait_for("three replicas", grown, 30)
        self.assertEqual(self.read(nodes, "t"), [100, 101, 102, 103, 104])

    def test_all_of_two_are_lost_one_after_the_other(self):
        nodes = self.four()
        nodes.spate("topic", "create", "t", "-r", "2")
        self.write(nodes, "t", 10)
        homes = [nodes.node(number) for number in describe(nodes, "t")["replicas"]]
        for home in homes:
            before = rows(nodes)[home.number]["incarnation"]
            self.empty(home)
            home.start()
            self.came_back(nodes, home, before)
            if home is homes[0]:
                said = lambda: "a person has to decide" in health_text(nodes)
                cluster.wait_for("the other one to be kept", said, 20)

                def voters():
                    roles = [row["controller"] for row in rows(nodes).values()]
                    return roles.count("voter") == 2 and roles.count("leader") == 1

                cluster.wait_for("three voters", voters, 30)
        nodes.wait_healthy(40)
        self.assertEqual(self.read(nodes, "t"), [])
        self.write(nodes, "t", 5, 100)
        cluster.wait_for("two replicas", lambda: len(describe(nodes, "t")["replicas"]) == 2, 20)
        nodes.wait_healthy(40)
        self.assertEqual(self.read(nodes, "t"), [100, 101, 102, 103, 104])

    def test_all_of_three_are_lost_and_their_nodes_come_back_one_by_one(self):
        nodes = self.four()
        nodes.add(5, SETTINGS)
        cluster.wait_for("five nodes", lambda: len(rows(nodes)) == 5, 15)
        nodes.wait_healthy(40)
        nodes.add(6, SETTINGS)
        nodes.add(7, SETTINGS)
        cluster.wait_for("seven nodes", lambda: len(rows(nodes)) == 7, 15)
        voters = lambda: sum(row["controller"] != "standby" for row in rows(nodes).values()) == 5
        cluster.wait_for("five voters", voters, 30, 0.1)
        nodes.wait_healthy(40)
        # the controller and the coordinators of groups, which are on the first three, go on
        roles = {number: row["controller"] for number, row in rows(nodes).items()}
        pick = lambda role, numbers: next(n for n in numbers if roles[n] == role)
        homes = [pick("standby", (6, 7, 5, 4)), pick("voter", (5, 4)), pick("voter", (3, 2))]
        homes = [nodes.node(number) for number in homes]
        nodes.spate("topic", "create", "t", "-r", "3")
        nodes.spate("partition", "move", "t", "0", ",".join(str(home.number) for home in homes))
        there = {home.number for home in homes}
        moved = lambda: set(describe(nodes, "t")["replicas"]) == there
        cluster.wait_for("the move", moved, 30)
        self.write(nodes, "t", 10)
        nodes.wait_healthy(40)
        before = {home: rows(nodes)[home.number]["incarnation"] for home in homes}
        for home in homes:
            self.empty(home)
        for home in homes:
            home.start()
            self.came_back(nodes, home, before[home])
        nodes.wait_healthy(60)
        self.assertEqual(self.read(nodes, "t"), [])
        self.write(nodes, "t", 5, 100)
        self.assertEqual(len(describe(nodes, "t")["replicas"]), 3)
        self.assertEqual(self.read(nodes, "t"), [100, 101, 102, 103, 104])

    def test_damaged_coordinator_of_groups_begins_anew_as_health_says(self):
        with cluster.Cluster(1) as nodes:
            first = nodes.node(1)
            shown = nodes.spate_json("topic", "describe", "__groups")["partitions"]
            first.kill()
            folder = os.path.join(first.data, "replicas")
            start = f"{shown[0]['raft_group']}."
            (name,) = [one for one in os.listdir(folder) if one.startswith(start)]
            open(os.path.join(folder, name, "damaged"), "w").close()
            first.start()
            for number in (2, 3, 4):
                nodes.add(number)
            voters = lambda: sum(r["controller"] != "standby" for r in rows(nodes).values()) == 3
            cluster.wait_for("three voters", lambda: len(rows(nodes)) == 4 and voters(), 30, 0.1)

            grown = lambda: sizes(nodes) == [1] + 7 * [3]
            cluster.wait_for("the whole ones to have three replicas", grown, 60, 0.1)
            text = health_text(nodes)
            self.assertIn("leaderless: __groups/0, replicas on node 1, damaged: node 1", text)
            self.assertIn("give up what only this replica has: spate cluster drain 1, and", text)
            self.assertNotIn("delete the topic", text)
            self.assertNotIn("moves under way", text)
            # as it says
            nodes.spate("cluster", "drain", "1")
            left = lambda: rows(nodes)[1]["replicas"] == 1
            cluster.wait_for("nothing else to be there", left, 60, 0.1)
            before = rows(nodes)[1]["incarnation"]
            first.stop()
            shutil.rmtree(first.data)
            # its own only seed: it would found another cluster
            first.write_config([], [f"127.0.0.1:{node.peer_port}" for node in nodes.nodes[1:]])
            first.start()
            self.came_back(nodes, first, before)
            cluster.wait_for("it to move on", lambda: rows(nodes)[1]["replicas"] == 0, 60, 0.1)
            nodes.spate("cluster", "undrain", "1")
            nodes.wait_healthy(40)
            cluster.wait_for("three replicas of all", lambda: sizes(nodes) == 8 * [3], 60, 0.1)


if __name__ == "__main__":
    cluster.main()
