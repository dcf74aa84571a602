#!/usr/bin/env python3
"""A coordinator that somebody has filled: groups that were there before go on."""

import itertools
import unittest

import cluster
import rpc
from members import Member, settle

COORDINATORS = 8
METADATA = "m" * 1024


class FullTest(unittest.TestCase):
    def setUp(self):
        nodes = cluster.Cluster(1)
        nodes.__enter__()
        self.addCleanup(nodes.__exit__, None, None, None)
        self.servers = [node.address for node in nodes.nodes]
        self.calls = rpc.Leaders(self.servers)
        self.addCleanup(self.calls.close)
        self.calls.call("topic.create", name="t", partitions=10, replicas=1)
        self.calls.call("topic.create", name="wide", partitions=1000, replicas=1)
        nodes.wait_healthy()
        self.commit(self.calls, "good", "t", 5, 1, "note")  # once its coordinator leads
        self.direct = rpc.Client(self.servers[0], timeout=20)
        self.addCleanup(self.direct.close)

    def commit(self, calls, group, topic, offset, count, metadata):
        rows = [
            {"topic": topic, "partition": i, "offset": offset, "metadata": metadata}
            for i in range(count)
        ]
        calls.call("group.commit", group=group, offsets=rows)

    def busy(self, *arguments):
        with self.assertRaises(rpc.Refused) as caught:
            self.commit(self.direct, *arguments)
        self.assertEqual(caught.exception.code, "BUSY")

    def fill(self, neighbour):
        """Offsets of groups of the same coordinator, until it takes not one more."""
        place = rpc.crc32c(neighbour.encode()) % COORDINATORS
        names = (f"junk-{i}" for i in itertools.count())
        names = (name for name in names if rpc.crc32c(name.encode()) % COORDINATORS == place)
        count = 1000
        while count > 0:
            try:
                self.commit(self.direct, next(names), "wide", 0, count, METADATA)
            except rpc.Refused as refused:
                self.assertEqual(refused.code, "BUSY")
                count //= 2

    def test_groups_full_known_groups_commit_and_come_back(self):
        self.fill("good")
        self.commit(self.direct, "good", "t", 6, 1, "note")
        self.busy("good", "t", 7, 10, METADATA)
        member = Member(self.servers, "good", ["t"])
        self.addCleanup(member.close)
        settle([member])
        self.assertEqual(len(member.owned), 10)
        rows = self.calls.call("group.committed", group="good")["offsets"]
        self.assertEqual([(row["partition"], row["offset"]) for row in rows], [(0, 6)])


if __name__ == "__main__":
    unittest.main()
