#!/usr/bin/env python3
"""Partitions that nobody uses are quiet, and are there at once when somebody does."""

import contextlib
import os
import signal
import time
import unittest

import cluster
import exposition
import rpc

PARTITIONS = 40
QUIET_SECONDS_MAX = 30
# An election timeout of silence, another one until somebody stands, and a busy machine.
GAP_SECONDS_MAX = 5


def metric(node, name):
    return int(exposition.scrape(node)[name].sum())


class QuietTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.nodes = cluster.Cluster(3)
        cls.nodes.__enter__()
        cls.addClassCleanup(cls.nodes.__exit__, None, None, None)
        cls.nodes.spate("topic", "create", "t", "-p", str(PARTITIONS), "-r", "3")

    def wait_quiet(self):
        """Until every replica of every node is quiet."""
        def all_quiet():
            return all(
                metric(node, "spate_raft_replicas_quiet") == metric(node, "spate_raft_replicas")
                for node in self.nodes.nodes
            )

        cluster.wait_for("quiet groups", all_quiet, QUIET_SECONDS_MAX, 0.1)

    def produce(self, partition):
        addresses = [node.address for node in self.nodes.nodes if node.alive]
        with contextlib.closing(rpc.Leaders(addresses)) as client:
            return client.call(
                "produce", topic="t", partition=partition, records=[{"v": b"x"}]
            )["offset"]

    def total(self, name):
        return sum(metric(node, name) for node in self.nodes.nodes)

    def test_quiet_groups_stay_quiet_and_change_no_leader(self):
        self.wait_quiet()
        woken, changes = self.total("spate_raft_woken_total"), self.total(
            "spate_raft_leader_changes_total")
        time.sleep(3)  # nothing shall happen in this time
        self.assertEqual(self.total("spate_raft_woken_total"), woken)
        self.assertEqual(self.total("spate_raft_leader_changes_total"), changes)

    def test_record_wakes_its_own_group_alone_and_it_sleeps_again(self):
        self.wait_quiet()
        woken = self.total("spate_raft_woken_total")
        self.produce(0)
        cluster.wait_for(
            "its three replicas to wake",
            lambda: self.total("spate_raft_woken_total") >= woken + 3,
        )
        self.wait_quiet()
        self.assertEqual(self.total("spate_raft_woken_total"), woken + 3)

    def test_leader_that_stands_still_is_replaced_though_all_were_quiet(self):
        self.wait_quiet()
        leader = self.nodes.leader("t", 1)
        others = [node for node in self.nodes.nodes if node is not leader]
        os.kill(leader.process.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            cluster.wait_for(
                "leaders among the others",
                lambda: sum(metric(node, "spate_raft_leaders") for node in others)
                >= PARTITIONS,
                GAP_SECONDS_MAX * 2,
            )
            self.assertLess(time.monotonic() - started, GAP_SECONDS_MAX)
        finally:
            os.kill(leader.process.pid, signal.SIGCONT)
        self.nodes.wait_healthy(30)
        self.produce(1)
        self.wait_quiet()

    def test_killed_leader_is_replaced_though_all_were_quiet(self):
        self.wait_quiet()
        leader = self.nodes.leader("t", 2)
        leader.kill()
        started = time.monotonic()
        self.produce(2)
        self.assertLess(time.monotonic() - started, GAP_SECONDS_MAX)
        leader.start()
        self.nodes.wait_healthy(30)
        self.wait_quiet()


if __name__ == "__main__":
    cluster.main()
