#!/usr/bin/env python3
"""Reads that must not be stale: a leader that was paused does not know what it has missed."""

import os
import signal
import time
import unittest

import cluster
import rpc

ELECTION_SECONDS = 10


class PausedLeaderTest(unittest.TestCase):
    def client(self, node):
        client = rpc.Client(node.address)
        self.addCleanup(client.close)
        return client

    def end_seen(self, client, **fields):
        """The end as this node answers it, or the code with which it refuses."""
        try:
            return client.call("offsets", topic="t", partition=0, **fields)["offset"]
        except rpc.Refused as refused:
            return refused.code

    def outcome(self, client):
        """Error and result of the request behind the ping."""
        self.assertIsNone(client.receive()[2])
        return client.receive()[2:]

    def successor(self, nodes, old):
        """Who leads now, as another node knows it."""
        other = next(node for node in nodes.nodes if node is not old)
        client = self.client(other)

        def find():
            topics = client.call("metadata", topics=["t"])["topics"]
            leader = topics[0]["partitions"][0]["leader"]
            return None if leader in (-1, old.number) else nodes.node(leader)

        return cluster.wait_for("another leader", find, ELECTION_SECONDS)

    def append(self, node, value):
        client = self.client(node)

        def produced():
            try:
                return client.call("produce", topic="t", partition=0, records=[{"v": value}])
            except rpc.Refused:
                return None

        return cluster.wait_for("a record stored", produced, ELECTION_SECONDS)["offset"]

    def test_reads_paused_leader_never_answers_with_an_old_end(self):
        """The requests lie in its sockets while it is paused, behind a ping that has come before
        anything of the next leader: they are what it reads first."""
        stale = 0
        with cluster.Cluster(3) as nodes:
            nodes.spate("topic", "create", "t", "-p", "1", "-r", "3")
            for turn in range(5):
                old = nodes.leader("t")
                self.append(old, b"before")
                plain, careful, group = self.client(old), self.client(old), self.client(old)
                self.assertIsInstance(self.end_seen(careful, linearizable=True), int)
                os.kill(old.process.pid, signal.SIGSTOP)
                try:
                    for client in (plain, careful, group):
                        client.send("ping", {})
                    acknowledged = self.append(self.successor(nodes, old), b"after %d" % turn)
                    plain.send("offsets", {"topic": "t", "partition": 0})
                    fields = {"topic": "t", "partition": 0, "linearizable": True}
                    careful.send("offsets", fields)
                    fetch = {**fields, "offset": acknowledged, "max_wait_ms": 0}
                    group.send("fetch", {**fetch, "format": "records"})
                finally:
                    os.kill(old.process.pid, signal.SIGCONT)
                error, result = self.outcome(plain)
                stale += error is None and result["offset"] <= acknowledged
                error, result = self.outcome(careful)
                if error is None:
                    self.assertGreater(result["offset"], acknowledged)
                else:
                    self.assertIn(error.partition(":")[0], REFUSALS)
                error, result = self.outcome(group)
                if error is None:
                    self.assertGreater(result["high_watermark"], acknowledged)
                    self.assertEqual(len(result["records"]), 1)
                else:
                    self.assertIn(error.partition(":")[0], REFUSALS)
                cluster.wait_for("a healthy cluster", nodes.is_healthy, 30)
        self.assertGreater(stale, 0)  # else the test could not fail
        print(f"old ends told without `linearizable`: {stale} of 5")

    def test_reads_paused_coordinator_never_answers_with_an_old_commit(self):
        with cluster.Cluster(3) as nodes:
            nodes.spate("topic", "create", "t", "-p", "1", "-r", "3")
            self.append(nodes.leader("t"), b"x")
            place = {"topic": "t", "partition": 0}

            def commit(node, offset):
                """A coordinator is known some time before it serves its groups."""
                offsets = [{**place, "offset": offset}]
                client = self.client(node)

                def committed():
                    try:
                        client.call("group.commit", group="g", offsets=offsets)
                    except rpc.Refused as refused:
                        if refused.code not in rpc.Leaders.AGAIN:
                            raise
                        return False
                    return True

                cluster.wait_for("a commit", committed, ELECTION_SECONDS)

            def coordinator(asked):
                return self.client(asked).call("group.find", group="g").get("leader", -1)

            def coordinator_node():
                number = coordinator(nodes.node(1))
                return nodes.node(number) if number > 0 else None

            old = cluster.wait_for("a coordinator", coordinator_node, ELECTION_SECONDS)
            commit(old, 0)
            committed, described = self.client(old), self.client(old)
            os.kill(old.process.pid, signal.SIGSTOP)
            try:
                for client in (committed, described):
                    client.send("ping", {})
                other = next(node for node in nodes.nodes if node is not old)

                def moved():
                    number = coordinator(other)
                    return nodes.node(number) if number not in (-1, old.number) else None

                commit(cluster.wait_for("another coordinator", moved, ELECTION_SECONDS), 1)
                committed.send("group.committed", {"group": "g"})
                described.send("group.describe", {"group": "g"})
            finally:
                os.kill(old.process.pid, signal.SIGCONT)
            error, result = self.outcome(committed)
            self.check(error, result and result["offsets"][0]["offset"])
            error, result = self.outcome(described)
            self.check(error, result and result["partitions"][0]["committed"])

    def check(self, error, committed):
        if error is None:
            self.assertEqual(committed, 1)
        else:
            self.assertIn(error.partition(":")[0], REFUSALS)

    def test_reads_leader_without_a_majority_confirms_nothing(self):
        with cluster.Cluster(3) as nodes:
            nodes.spate("topic", "create", "t", "-p", "1", "-r", "3")
            leader = nodes.leader("t")
            self.append(leader, b"x")
            client = self.client(leader)
            others = [node.process.pid for node in nodes.nodes if node is not leader]
            for pid in others:
                os.kill(pid, signal.SIGSTOP)
            try:
                self.assertEqual(self.end_seen(client), 1)
                self.assertIn(self.end_seen(client, linearizable=True), REFUSALS)
            finally:
                for pid in others:
                    os.kill(pid, signal.SIGCONT)
            again = lambda: self.end_seen(self.client(nodes.leader("t")), linearizable=True) == 1
            cluster.wait_for("the end to be confirmed", again, ELECTION_SECONDS)

    def test_reads_command_line_and_many_at_once(self):
        with cluster.Cluster(3) as nodes:
            nodes.spate("topic", "create", "t", "-p", "1", "-r", "3")
            leader = nodes.leader("t")
            for value in range(3):
                self.append(leader, b"%d" % value)
            answer = nodes.spate_json("offsets", "t", "--linearizable")
            self.assertEqual(answer["partitions"], [{"partition": 0, "start": 0, "end": 3}])
            out = nodes.spate("consume", "t", "-o", "start", "-e", "--linearizable")
            self.assertEqual(out.split(), [b"0", b"1", b"2"])
            client = self.client(leader)
            begin = time.monotonic()
            with self.assertRaises(rpc.Refused) as refused:
                client.call("fetch", topic="t", partition=0, offset=9, linearizable=True)
            self.assertEqual(refused.exception.code, "OFFSET_OUT_OF_RANGE")
            self.assertLess(time.monotonic() - begin, 1.0)  # else four election timeouts
            begin = time.monotonic()
            asked = [
                client.send("offsets", {"topic": "t", "partition": 0, "linearizable": True})
                for _ in range(200)
            ]
            answered = sorted(client.receive()[1] for _ in asked)
            took_ms = (time.monotonic() - begin) * 1000
            self.assertEqual(answered, asked)
            begin = time.monotonic()
            for _ in range(200):
                self.assertEqual(self.end_seen(client, linearizable=True), 3)
            alone_ms = (time.monotonic() - begin) * 1000
            begin = time.monotonic()
            for _ in range(200):
                self.assertEqual(self.end_seen(client), 3)
            plain_ms = (time.monotonic() - begin) * 1000
            print(
                f"200 confirmed offsets: {took_ms:.1f} ms at once, {alone_ms:.1f} ms one by one;"
                f" not confirmed {plain_ms:.1f} ms"
            )


REFUSALS = ("NOT_LEADER", "LEADER_UNKNOWN", "NOT_READY")

if __name__ == "__main__":
    cluster.main()
