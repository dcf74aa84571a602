#!/usr/bin/env python3
"""Consumer groups on nodes in racks: members get what is led in their own, if it costs nothing."""

import unittest

import cluster
import rpc
from members import Member, settle

RACKS = {1: "attic", 2: "cellar", 3: "yard"}


def rack_of(node_id):
    return RACKS[node_id % 100]


class RacksTest(unittest.TestCase):
    shards = 1

    def setUp(self):
        nodes = cluster.Cluster(3, shards=self.shards)
        for node in nodes.nodes:
            node.settings = [f"rack={rack_of(node.number)}", f"shards={self.shards}"]
        nodes.__enter__()
        self.addCleanup(nodes.__exit__, None, None, None)
        self.servers = [node.address for node in nodes.nodes]
        self.calls = rpc.Leaders(self.servers)
        self.addCleanup(self.calls.close)
        cluster.wait_for("all shards", lambda: len(self.rows()) == 3 * self.shards)
        nodes.wait_healthy()
        self.calls.call("topic.create", name="t", partitions=60)
        nodes.wait_healthy()

    def rows(self):
        return [row for row in self.calls.call("cluster.nodes")["nodes"] if row["alive"]]

    def member(self, **fields):
        member = Member(self.servers, "racks", ["t"], **fields)
        self.addCleanup(member.close)
        return member

    def led(self):
        """The rack in which each partition is led now."""
        topic = self.calls.call("metadata", topics=["t"])["topics"][0]
        return {part["partition"]: rack_of(part["leader"]) for part in topic["partitions"]}

    def near(self, member, rack):
        led = self.led()
        return sum(led[partition] == rack for _, partition in member.owned)

    def test_groups_racks_members_read_what_is_led_in_their_own(self):
        first = self.member(rack="attic")
        second = self.member(rack="cellar")
        settle([first, second])
        self.assertEqual([len(first.owned), len(second.owned)], [30, 30])
        counts = list(self.led().values())
        for member, rack in ((first, "attic"), (second, "cellar")):
            print(f"{rack}: {self.near(member, rack)} of 30 near,", end=" ", flush=True)
            self.assertEqual(self.near(member, rack), min(30, counts.count(rack)))
        first.lost, second.lost = [], []
        possible = sum(min(10, self.near(member, "yard")) for member in (first, second))
        third = self.member(rack="yard")
        settle([first, second, third])
        self.assertEqual(len(first.lost) + len(second.lost), 20, "as many moves as without racks")
        print(f"yard: {self.near(third, 'yard')} of 20 near", end=" ", flush=True)
        self.assertEqual(self.near(third, "yard"), possible, "each of the two gives up 10")
        rows = self.calls.call("group.describe", group="racks")["members"]
        self.assertEqual({row["rack"] for row in rows}, set(RACKS.values()))


class ShardsTest(RacksTest):
    """The same with two shards a process, which tell their machine behind the rack."""

    shards = 2


if __name__ == "__main__":
    cluster.main()
