#!/usr/bin/env python3
"""Consumer groups and time: members that do not progress are named, groups that nobody uses go."""

import time
import unittest

import cluster
import rpc
from members import Member

RETENTION_MS = 3000
STALLED_MS = 800


class TimeTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        settings = [
            f"groups.offsets.retention.ms={RETENTION_MS}",
            f"groups.stalled.after.ms={STALLED_MS}",
        ]
        cls.nodes = cluster.Cluster(3, settings)
        cls.nodes.__enter__()
        cls.servers = [node.address for node in cls.nodes.nodes]
        cls.calls = rpc.Leaders(cls.servers)
        cls.calls.call("topic.create", name="t", partitions=2)
        cls.nodes.wait_healthy()

    @classmethod
    def tearDownClass(cls):
        cls.calls.close()
        cls.nodes.__exit__(None, None, None)

    def member(self, group, **fields):
        member = Member(self.servers, group, ["t"], **fields)
        self.addCleanup(member.close)
        return member

    def coordinator(self, group):
        return self.nodes.node(self.calls.call("group.find", group=group)["leader"])

    def rows(self, group):
        return self.calls.call("group.describe", group=group)["partitions"]

    def ask(self, node, method):
        with rpc.Client(node.address) as client:
            return client.call(method)

    def commit(self, group, offset=1):
        offsets = [{"topic": "t", "partition": 0, "offset": offset}]
        self.calls.call("group.commit", group=group, offsets=offsets)

    def gone(self, group):
        """The group is waited for to go; returns when it was seen to be gone."""

        def look():
            try:
                self.calls.call("group.describe", group=group)
            except rpc.Refused as refused:
                self.assertEqual(refused.code, "NOT_FOUND")
                return True
            return False

        cluster.wait_for(f"group {group} is gone", look, 10)
        return time.monotonic()

    # ---- stalls ---------------------------------------------------------------------------------

    def test_groups_time_owner_that_does_not_progress_is_named(self):
        self.calls.call("produce", topic="t", partition=0, records=[{"v": b"x"}] * 10)
        member = self.member("slow", session_ms=20000, client="till-9")
        member.commit(4, [("t", 0)])
        node = self.coordinator("slow")
        listed = lambda at: {r["group"]: r["stalled"] for r in self.ask(at, "group.list")["groups"]}
        cluster.wait_for("a time", lambda: self.rows("slow")[0]["stalled_ms"] > 0, 5)
        self.assertEqual(self.rows("slow")[1]["stalled_ms"], 0, "nothing to read there")
        cluster.wait_for("it is counted", lambda: listed(node)["slow"] == 1, 5)
        self.assertGreaterEqual(self.rows("slow")[0]["stalled_ms"], STALLED_MS)
        other = next(each for each in self.nodes.nodes if each is not node)
        self.assertEqual(listed(other)["slow"], -1, "only the leader knows")
        health = self.ask(node, "cluster.health")
        self.assertEqual(health["stalled"], [{"group": "slow", "partitions": 1}])
        self.assertTrue(health["healthy"])
        told = self.nodes.run("cluster", "health", "--servers", node.address)
        self.assertEqual(told.returncode, 0)
        self.assertIn(b"consumer group does not progress: slow, 1 partitions", told.stdout)
        time.sleep(2 * STALLED_MS / 1000)
        lines = [line for line in node.trace().splitlines() if "does not progress" in line]
        self.assertEqual(len(lines), 1, lines)
        for fact in ("group=slow", "topic=t", "partition=0", "client=till-9", "committed=4"):
            self.assertIn(fact, lines[0])
        member.commit(6, [("t", 0)])  # not all, but further
        self.assertLess(self.rows("slow")[0]["stalled_ms"], STALLED_MS)
        member.commit(10, [("t", 0)])
        cluster.wait_for("nothing stalls", lambda: listed(node)["slow"] == 0, 5)
        self.assertEqual(self.rows("slow")[0]["stalled_ms"], 0)
        self.assertEqual(self.ask(node, "cluster.health")["stalled"], [])
        member.leave()

    # ---- retention ------------------------------------------------------------------------------

    def test_groups_time_offsets_without_members_expire(self):
        started = time.monotonic()
        self.commit("once")
        time.sleep(1)
        again = time.monotonic()
        self.commit("once", 2)
        took = self.gone("once") - again
        self.assertGreater(took, RETENTION_MS / 1000 - 0.1)
        self.assertGreater(time.monotonic() - started, RETENTION_MS / 1000 + 0.9)
        self.assertEqual(self.calls.call("group.committed", group="once")["offsets"], [])

    def test_groups_time_members_keep_a_group(self):
        member = self.member("kept", session_ms=20000)
        member.commit(3)
        time.sleep(RETENTION_MS / 1000 + 1)
        member.beat()
        self.assertEqual(len(self.calls.call("group.committed", group="kept")["offsets"]), 2)
        left = time.monotonic()
        member.leave()
        self.assertGreater(self.gone("kept") - left, RETENTION_MS / 1000 - 0.1)

    def test_groups_time_z_failover_and_restart_keep_the_time(self):
        self.commit("failed")
        started = time.monotonic()
        time.sleep(1)
        victim = self.coordinator("failed")
        victim.kill()
        took = self.gone("failed") - started
        self.assertGreater(took, RETENTION_MS / 1000 - 0.1)
        print(f"gone after {took:.1f} s with a failover", end=" ", flush=True)
        self.assertLess(took, RETENTION_MS / 1000 + 2)
        victim.start()
        self.nodes.wait_healthy()
        self.commit("restarted")
        for node in self.nodes.nodes:
            node.kill()
        for node in self.nodes.nodes:
            node.start()
        self.nodes.wait_healthy()
        self.assertEqual(len(self.calls.call("group.committed", group="restarted")["offsets"]), 1)
        self.gone("restarted")


if __name__ == "__main__":
    cluster.main()
