#!/usr/bin/env python3
"""Reads near the reader: from a replica in its rack, and from the leader when there is none."""

import os
import signal
import subprocess
import time
import unittest

import cluster
import exposition
import rpc

RACKS = {1: "attic", 2: "cellar", 3: "yard"}
VALUE = "v" * 1000
COUNT = 3000


class RacksTest(unittest.TestCase):
    def setUp(self):
        nodes = cluster.Cluster(3)
        for node in nodes.nodes:
            node.settings = [f"rack={RACKS[node.number]}"]
        nodes.__enter__()
        self.addCleanup(nodes.__exit__, None, None, None)
        self.nodes = nodes
        nodes.spate("topic", "create", "t", "-p", "1", "-r", "3")
        nodes.wait_healthy()
        self.settle()

    def epoch(self):
        topic = self.client(self.nodes.node(1)).call("metadata", topics=["t"])["topics"][0]
        return topic["partitions"][0]["epoch"]

    def settle(self):
        """The first leader of a topic that is new may be followed by another one soon."""
        seen = [None, 0.0]

        def is_steady():
            epoch = self.epoch()
            if seen[0] != epoch:
                seen[:] = [epoch, time.monotonic()]
            return time.monotonic() - seen[1] > 1.5

        cluster.wait_for("a leader that stays", is_steady, 30, pause=0.1)
        self.look()

    def look(self):
        """Who leads, and another node: the reader's."""
        self.leader = self.nodes.leader("t")
        self.near = next(node for node in self.nodes.nodes if node is not self.leader)

    def on_steady_ground(self, test):
        """What `test` returns in a try in which the leader stayed; each has a new topic."""
        for _ in range(5):
            self.nodes.spate("topic", "delete", "t", "--yes")
            self.nodes.spate("topic", "create", "t", "-p", "1", "-r", "3")
            self.nodes.wait_healthy()
            self.settle()
            before = self.epoch()
            try:
                return test()
            except (AssertionError, rpc.Refused):
                if self.epoch() == before:
                    raise
        raise AssertionError("the leader changes all the time")

    def client(self, node):
        client = rpc.Client(node.address)
        self.addCleanup(client.close)
        return client

    def fill(self):
        lines = "".join(f"{number}-{VALUE}\n" for number in range(COUNT))
        self.nodes.spate("produce", "t", input=lines.encode())

    def sent(self):
        """Bytes of batches that each node has given to readers; pages of metrics may be old."""
        seen = [None, 0.0]

        def is_final():
            values = {
                node.number: exposition.scrape(node)["spate_fetched_bytes_total"].value()
                for node in self.nodes.nodes
            }
            if seen[0] != values:
                seen[:] = [values, time.monotonic()]
            return time.monotonic() - seen[1] > 1.5

        cluster.wait_for("the figures", is_final, 30, pause=0.2)
        return seen[0]

    def read_all(self, *arguments):
        """What was read, and how many bytes each node gave for it."""
        before = self.sent()
        out = self.nodes.spate("consume", "t", "-o", "start", "-n", str(COUNT), *arguments)
        numbers = [int(line.split(b"-")[0]) for line in out.splitlines()]
        self.assertEqual(numbers, list(range(COUNT)))
        return {number: value - before[number] for number, value in self.sent().items()}

    def test_reads_racks_bytes_come_from_the_readers_rack(self):
        self.on_steady_ground(self.check_bytes)

    def check_bytes(self):
        self.fill()
        size = COUNT * len(VALUE)
        far = self.read_all()
        near = self.read_near(size)
        nowhere = self.read_all("--rack", "moon")
        linear = self.read_all("--rack", RACKS[self.near.number], "--linearizable")
        print(
            f"read {size} bytes: {far[self.leader.number]:.0f} from the leader's rack"
            f" without a rack, {near[self.leader.number]:.0f} with one"
        )
        self.assertGreaterEqual(far[self.leader.number], size)
        self.assertGreaterEqual(near[self.near.number], size)
        self.assertEqual(near[self.leader.number], 0)
        self.assertGreaterEqual(nowhere[self.leader.number], size)
        self.assertGreaterEqual(linear[self.leader.number], size)

    def read_near(self, size):
        """A busy machine may let the follower fall behind: then the leader is read, once."""
        for _ in range(5):
            cluster.wait_for("the follower to serve", lambda: self.served(0))
            near = self.read_all("--rack", RACKS[self.near.number])
            if near[self.near.number] >= size:
                break
        return near

    def fetch(self, node, offset, **fields):
        return self.client(node).call(
            "fetch", topic="t", partition=0, offset=offset, format="records", **fields
        )

    def refusal(self, node, offset, **fields):
        with self.assertRaises(rpc.Refused) as refused:
            self.fetch(node, offset, **fields)
        return refused.exception.code

    def test_reads_racks_follower_answers_only_what_it_knows(self):
        self.on_steady_ground(self.check_knowledge)

    def check_knowledge(self):
        self.client(self.leader).call("produce", topic="t", partition=0, records=[{"v": b"x"}])

        records = cluster.wait_for("the follower to serve", lambda: self.served(0))
        self.assertEqual([record["v"] for record in records], [b"x"])
        answer = self.fetch(self.near, 1, follower=True)
        self.assertEqual((answer["high_watermark"], answer["records"]), (1, []))
        self.assertNotIn("end_offset", answer)
        self.assertEqual(self.fetch(self.leader, 1, follower=True)["end_offset"], 1)
        # who did not allow it is sent to the leader, and so is who asks for what it does not have
        self.assertEqual(self.refusal(self.near, 0), "NOT_LEADER")
        self.assertEqual(self.refusal(self.near, 0, follower=True, linearizable=True), "NOT_LEADER")
        self.assertEqual(self.refusal(self.near, 2, follower=True), "NOT_LEADER")
        self.assertEqual(self.refusal(self.near, 2, follower=True, max_wait_ms=100), "NOT_LEADER")
        self.assertEqual(self.refusal(self.leader, 2, follower=True), "OFFSET_OUT_OF_RANGE")
        # truncated: below the start it is the leader, too, who says so
        self.client(self.leader).call("topic.truncate", topic="t", partition=0, before=1)

        def told():
            return self.fetch(self.near, 1, follower=True)["log_start"] == 1

        cluster.wait_for("the follower to learn of the start", told)
        self.assertEqual(self.refusal(self.near, 0, follower=True), "NOT_LEADER")

    def test_reads_racks_long_poll_at_a_follower_ends_with_the_record(self):
        self.on_steady_ground(self.check_long_poll)

    def served(self, offset):
        """What the near node answers, None if it sends the reader to the leader."""
        try:
            return self.fetch(self.near, offset, follower=True)["records"]
        except rpc.Refused:
            return None

    def check_long_poll(self):
        cluster.wait_for("the follower to serve", lambda: self.served(0) is not None)
        asked = self.client(self.near)
        fields = {"topic": "t", "partition": 0, "offset": 0, "format": "records"}
        asked.send("fetch", {**fields, "follower": True, "max_wait_ms": 10000})
        time.sleep(0.2)  # it waits by now, or the record is there at once: both are right
        begin = time.monotonic()
        self.client(self.leader).call("produce", topic="t", partition=0, records=[{"v": b"x"}])
        error, result = asked.receive()[2:]
        self.assertIsNone(error)
        self.assertEqual(len(result["records"]), 1)
        took_ms = (time.monotonic() - begin) * 1000
        print(f"a record reached a follower's reader after {took_ms:.0f} ms")
        self.assertLess(time.monotonic() - begin, 5)

    def test_reads_racks_reader_survives_its_replica(self):
        """The near node is paused, killed and back: every record once, in order, without a gap."""
        rack = RACKS[self.near.number]
        arguments = ["t", "-o", "start", "-n", str(COUNT), "--rack", rack]
        consumer = self.nodes.popen("consume", *arguments, stdout=subprocess.PIPE)
        producer = self.nodes.popen("produce", "t", stdin=subprocess.PIPE)
        try:
            for number in range(COUNT):
                if number == COUNT // 4:
                    os.kill(self.near.process.pid, signal.SIGSTOP)
                elif number == COUNT // 2:
                    os.kill(self.near.process.pid, signal.SIGCONT)
                    self.near.kill()
                elif number == COUNT * 3 // 4:
                    self.near.start()
                producer.stdin.write(b"%d\n" % number)
                producer.stdin.flush()
                time.sleep(0.001)
            producer.communicate(timeout=60)
            out, _ = consumer.communicate(timeout=60)
        finally:
            for process in (consumer, producer):
                if process.poll() is None:
                    process.kill()
                    process.wait()
        numbers = [int(line) for line in out.split()]
        self.assertEqual(numbers, list(range(COUNT)))



if __name__ == "__main__":
    cluster.main()
