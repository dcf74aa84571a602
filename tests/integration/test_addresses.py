#!/usr/bin/env python3
"""Nodes that come back at other addresses, or find that others have come and lead while they were
away or stood still: all of them find each other again."""

import os
import signal
import time
import unittest

import cluster
import rpc
from test_damage import replicas, segments
from test_membership import node_rows

REPLACED_SOON = ["node.replace.after.ms=3000"]


def seeds_of(nodes):
    return [f"{node.number}@{node.host}:{node.peer_port}" for node in nodes.nodes]


def use(nodes, running):
    """The command line, and whoever asks, turns to these first."""
    nodes.nodes.sort(key=lambda node: node not in running)
    nodes.servers = ",".join(node.address for node in running)


def part_of(nodes, number):
    """Its part in the controller: none, standby, voter or leader."""
    return node_rows(nodes).get(number, {}).get("controller")


def controller_log_size(node):
    (name,) = replicas(node, "0.")
    return sum(cluster.frames_end(path) for path in segments(node, name))


def pause(node):
    os.kill(node.process.pid, signal.SIGSTOP)


def go_on(node):
    os.kill(node.process.pid, signal.SIGCONT)


def knows(node, topic):
    try:
        with rpc.Client(node.address, timeout=2) as client:
            return any(row["name"] == topic for row in client.call("metadata")["topics"])
    except (OSError, EOFError, rpc.Refused):
        return False


class AddressTest(unittest.TestCase):
    def alter(self, nodes, topic="t"):
        """Something further in the controller's log."""
        nodes.spate("topic", "alter", topic, "--set", "retention.ms=86400000")

    def make_lead(self, nodes, newcomer, others):
        """`newcomer` and two others are the voters: of those that are left it alone has it all."""
        first, second = others
        if part_of(nodes, second.number) == "leader":
            first, second = second, first
        if part_of(nodes, newcomer.number) != "leader":
            second.kill()
            use(nodes, [first, newcomer])
            self.alter(nodes)
            first.kill()
            second.start()
            use(nodes, [newcomer, second])
        leads = lambda: part_of(nodes, newcomer.number) == "leader"
        cluster.wait_for("the newcomer to lead the controller", leads, 20)
        for node in others:
            if not node.alive:
                node.start()
        use(nodes, [newcomer, *others])

    def wait_voter_or_standby(self, nodes, number):
        member = lambda: part_of(nodes, number) in ("standby", "voter", "leader")
        cluster.wait_for(f"node {number} to be a member", member, 40)

    def wait_voter(self, nodes, number):
        voter = lambda: part_of(nodes, number) in ("voter", "leader")
        cluster.wait_for(f"node {number} to be a voter", voter, 40)

    def test_addresses_of_all_nodes_change_at_once(self):
        with cluster.Cluster(3) as nodes:
            nodes.spate("topic", "create", "t", "-r", "3")
            nodes.spate("produce", "t", input=b"kept\n")
            for node in nodes.nodes:
                node.stop()
                node.peer_port = cluster.free_port()
            for node in nodes.nodes:
                node.write_config(seeds_of(nodes))
                node.start()
            nodes.wait_healthy(20)
            self.assertEqual(nodes.spate("consume", "t", "-o", "start", "-e"), b"kept\n")

    def test_stood_still_while_another_came_and_leads(self):
        with cluster.Cluster(3, settings=REPLACED_SOON) as nodes:
            one, two, three = nodes.nodes
            nodes.spate("topic", "create", "t", "-r", "3")
            nodes.wait_healthy()
            pause(three)
            use(nodes, [one, two])
            four = nodes.add(4, REPLACED_SOON, start=False)
            four.write_config([], [f"{node.host}:{node.peer_port}" for node in (one, two)])
            four.start()
            use(nodes, [one, two, four])
            self.wait_voter(nodes, 4)
            self.make_lead(nodes, four, [one, two])
            nodes.spate("topic", "create", "later", "-r", "3")  # one of them may be on node 3
            go_on(three)
            nodes.wait_healthy(20)
            cluster.wait_for("node 3 to know the topic", lambda: knows(three, "later"), 10)

    def test_address_of_the_leader_changes_while_another_stands_still(self):
        with cluster.Cluster(3) as nodes:
            one, two, three = nodes.nodes
            nodes.spate("topic", "create", "t", "-r", "3")
            nodes.wait_healthy()
            use(nodes, [one, two])
            pause(three)
            for node in one, two:
                node.stop()
            one.peer_port = cluster.free_port()
            for node in one, two:  # node 3 has the old list
                node.write_config(seeds_of(nodes))
                node.start()
            leader = lambda: next((n for n in (1, 2) if part_of(nodes, n) == "leader"), None)
            while cluster.wait_for("a leader of the controller", leader, 20) != 1:
                two.kill()
                two.start()
            nodes.spate("topic", "create", "later", "-r", "1")
            go_on(three)
            nodes.wait_healthy(20)
            cluster.wait_for("node 3 to know the topic", lambda: knows(three, "later"), 10)

    def test_node_that_was_removed_and_still_runs_costs_the_controller_nothing(self):
        with cluster.Cluster(3) as nodes:
            four = nodes.add(4)
            self.wait_voter_or_standby(nodes, 4)
            nodes.wait_healthy(20)
            nodes.spate("cluster", "drain", "4")
            empty = lambda: node_rows(nodes)[4]["replicas"] == 0
            cluster.wait_for("nothing left on node 4", empty, 30)
            nodes.spate("cluster", "remove", "4")
            use(nodes, nodes.nodes[:3])
            cluster.wait_for("node 4 to be forgotten", lambda: 4 not in node_rows(nodes), 20)
            nodes.nodes.remove(four)
            try:
                nodes.wait_healthy(20)
                members = nodes.nodes
                sizes = lambda: [controller_log_size(node) for node in members]
                before = sizes()
                # it greets all of them, which ask each other who that is, every five seconds
                mark = four.trace().count("is not known here")
                deadline = time.monotonic() + 12
                while time.monotonic() < deadline:
                    self.assertEqual(sizes(), before)
                    time.sleep(0.1)
                self.assertGreater(four.trace().count("is not known here"), mark)
            finally:
                four.kill()

    def test_only_seed_was_away_while_another_came_and_leads(self):
        with cluster.Cluster(1, settings=REPLACED_SOON) as nodes:
            seed = nodes.node(1)
            two, three = (nodes.add(number, REPLACED_SOON) for number in (2, 3))
            for number in 2, 3:
                self.wait_voter(nodes, number)
            nodes.spate("topic", "create", "t", "-r", "3")
            nodes.wait_healthy(30)
            seed.kill()
            use(nodes, [two, three])
            four = nodes.add(4, REPLACED_SOON, start=False)
            four.write_config([], [f"{node.host}:{node.peer_port}" for node in (two, three)])
            four.start()
            use(nodes, [two, three, four])
            self.wait_voter(nodes, 4)
            self.make_lead(nodes, four, [two, three])
            seed.start()
            nodes.wait_healthy(20)


if __name__ == "__main__":
    cluster.main()
