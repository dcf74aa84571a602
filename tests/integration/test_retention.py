#!/usr/bin/env python3
"""Retention by size and by time, truncation, and what those find who come too late."""

import os
import subprocess
import threading
import time
import unittest

import cluster
import rpc

SEGMENT = 65536
VALUE = b"v" * 8192


class RetentionTest(unittest.TestCase):
    def begin(self, nodes, *settings):
        options = [word for setting in settings for word in ("-c", setting)]
        nodes.spate("topic", "create", "t", "-r", "3", "-c", f"segment.bytes={SEGMENT}", *options)
        leaders = rpc.Leaders([node.address for node in nodes.nodes])
        self.addCleanup(leaders.close)
        return leaders

    def produce(self, leaders, count, time_ms=1700000000000):
        for _ in range(count):
            batch = rpc.encode_batch([VALUE], time_ms=time_ms)
            offset = leaders.call("produce", topic="t", partition=0, records=batch)["offset"]
        return offset

    def start_of(self, leaders):
        return leaders.call("offsets", topic="t", partition=0, at="earliest")["offset"]

    def settled_start(self, nodes):
        """The start that all nodes agree on, once two looks of retention left it alone."""
        seen = {"start": None, "since": 0.0}

        def agreed():
            starts = set()
            for node in nodes.nodes:
                with rpc.Client(node.address) as client:
                    described = client.call("topic.describe", name="t")
                starts.add(described["partitions"][0]["log_start"])
            now = time.monotonic()
            if starts != {seen["start"]}:
                seen.update(start=starts.pop() if len(starts) == 1 else None, since=now)
            return now - seen["since"] > 1.2

        cluster.wait_for("a start that stays", agreed)
        return seen["start"]

    def log_bytes(self, node):
        """What the largest replica of a node, the topic's, takes on its disk."""
        sizes = []
        replicas = os.path.join(node.data, "replicas")
        for name in os.listdir(replicas):
            folder = os.path.join(replicas, name)
            try:
                files = [os.path.join(folder, file) for file in os.listdir(folder)]
                sizes.append(sum(os.path.getsize(file) for file in files if file.endswith(".log")))
            except FileNotFoundError:
                continue
        return max(sizes)

    def check_below_start(self, leaders, start, end):
        with self.assertRaises(rpc.Refused) as refused:
            leaders.call("fetch", topic="t", partition=0, offset=start - 1)
        self.assertEqual(refused.exception.code, "OFFSET_OUT_OF_RANGE")
        text = f"offset {start - 1} is not in t/0, which has {start} to {end}"
        self.assertIn(text, refused.exception.text)
        answer = leaders.call("fetch", topic="t", partition=0, offset=start, format="records")
        self.assertEqual(answer["log_start"], start)
        self.assertEqual(answer["records"][0]["o"], start)

    def test_retention_by_size_bounds_every_replica(self):
        limit = 4 * SEGMENT
        with cluster.Cluster(3) as nodes:
            leaders = self.begin(nodes, f"retention.bytes={limit}")
            last = self.produce(leaders, 150)  # some 1.2 MB
            bound = limit + 3 * SEGMENT
            for node in nodes.nodes:
                cluster.wait_for("a small log", lambda: self.log_bytes(node) <= bound)
            start = self.settled_start(nodes)
            self.assertGreater(start, 50)
            # what fits below the limit is kept
            self.assertGreaterEqual((last + 1 - start) * len(VALUE), limit - SEGMENT)
            self.check_below_start(leaders, start, last + 1)
            described = nodes.spate_json("topic", "describe", "t")
            self.assertEqual(described["partitions"][0]["log_start"], start)
            self.assertLessEqual(described["size_bytes"], bound)
            self.assertEqual(described["segments"], described["partitions"][0]["segments"])

            # all of it holds behind a restart and another leader
            for node in nodes.nodes:
                node.kill()
            for node in nodes.nodes:
                node.start()
            nodes.wait_healthy()
            nodes.leader("t").kill()
            self.assertGreaterEqual(self.start_of(leaders), start)

    def test_retention_by_time_empties_an_idle_topic(self):
        with cluster.Cluster(3) as nodes:
            leaders = self.begin(nodes, "retention.ms=1500")
            # times that producers write do not count, neither old ones nor those to come
            last = self.produce(leaders, 20, time_ms=1000)
            self.assertEqual(self.start_of(leaders), 0)
            last = self.produce(leaders, 1, time_ms=4 * 10**12)
            cluster.wait_for("an empty log", lambda: self.start_of(leaders) == last + 1)
            answer = leaders.call("fetch", topic="t", partition=0, offset=last + 1)
            self.assertEqual(answer["high_watermark"], last + 1)
            leader = nodes.leader("t")
            cluster.wait_for("no old file", lambda: self.log_bytes(leader) < SEGMENT)
            self.assertEqual(self.produce(leaders, 1), last + 1)

    def test_altered_retention_takes_effect_and_waits_for_nobody(self):
        with cluster.Cluster(3) as nodes:
            leaders = self.begin(nodes)
            self.produce(leaders, 60)
            self.assertEqual(self.start_of(leaders), 0)
            nodes.spate("topic", "alter", "t", "--set", f"retention.bytes={SEGMENT}")
            cluster.wait_for("a later start", lambda: self.start_of(leaders) > 20)

    def test_truncation_by_offset_and_by_time(self):
        with cluster.Cluster(3) as nodes:
            leaders = self.begin(nodes)
            self.produce(leaders, 30, time_ms=1_000_000)
            last = self.produce(leaders, 30, time_ms=2_000_000)
            answer = leaders.call("topic.truncate", topic="t", partition=0, before=17)
            self.assertEqual(answer["log_start"], 17)
            self.check_below_start(leaders, 17, last + 1)
            # never back, and never beyond the end
            answer = leaders.call("topic.truncate", topic="t", partition=0, before=3)
            self.assertEqual(answer["log_start"], 17)
            with self.assertRaises(rpc.Refused) as refused:
                leaders.call("topic.truncate", topic="t", partition=0, before=last + 2)
            self.assertEqual(refused.exception.code, "OFFSET_OUT_OF_RANGE")
            # a time below the start finds the first record that is left, not one that is gone
            found = leaders.call("offsets", topic="t", partition=0, at=500_000)
            self.assertEqual((found["offset"], found["timestamp"]), (17, 1_000_000))

            done = nodes.run("topic", "truncate", "t", "--before", "@1500000")
            self.assertEqual(done.returncode, 2, "without a terminal it insists on --yes")
            nodes.spate("topic", "truncate", "t", "--before", "@1500000", "--yes")
            self.check_below_start(leaders, 30, last + 1)
            for node in nodes.nodes:
                cluster.wait_for("smaller logs", lambda: self.log_bytes(node) < 6 * SEGMENT)
            nodes.spate("topic", "truncate", "t", "--before", "end", "--yes")
            self.assertEqual(self.start_of(leaders), last + 1)

    def test_truncation_of_several_partitions_is_all_or_none(self):
        with cluster.Cluster(1) as nodes:
            nodes.spate("topic", "create", "t", "-p", "3", "-r", "1")
            for partition, count in ((0, 9), (1, 9), (2, 4)):
                nodes.spate("produce", "t", "-p", str(partition), input=b"r\n" * count)

            def starts():
                return [entry["start"] for entry in nodes.spate_json("offsets", "t")["partitions"]]

            done = nodes.run("topic", "truncate", "t", "--before", "5", "--yes")
            self.assertEqual(done.returncode, 1, done)
            self.assertIn(b"t/2: OFFSET_OUT_OF_RANGE: offset 5 is above its end, 4\n", done.stderr)
            self.assertTrue(done.stderr.endswith(b"nothing was truncated\n"), done.stderr)
            self.assertEqual(starts(), [0, 0, 0])
            done = nodes.run("topic", "truncate", "t", "--before", "0", "-p", "3", "--yes")
            self.assertNotEqual(done.returncode, 0)
            nodes.spate("topic", "truncate", "t", "--before", "4", "--yes")
            self.assertEqual(starts(), [4, 4, 4])
            nodes.spate("topic", "truncate", "t", "--before", "5", "-p", "1", "--yes")
            self.assertEqual(starts(), [4, 5, 4])

    def test_truncation_says_what_goes_before_it_goes(self):
        with cluster.Cluster(1) as nodes:
            nodes.spate("topic", "create", "t", "-p", "2", "-r", "1")
            for partition, count in ((0, 9), (1, 3)):
                nodes.spate("produce", "t", "-p", str(partition), input=b"r\n" * count)

            def starts():
                return [entry["start"] for entry in nodes.spate_json("offsets", "t")["partitions"]]

            def truncate(code, *options):
                done = nodes.run("topic", "truncate", "t", *options)
                self.assertEqual(done.returncode, code, done)
                return done.stdout.decode(), done.stderr.decode()

            future = "@2199-01-01"
            shown, errors = truncate(0, "--before", "2", "--dry-run")
            self.assertEqual(shown, "0\t0\t9\t2\t2\n1\t0\t3\t2\t2\n")
            self.assertIn("would delete 4 of 12 records of t: --dry-run", errors)
            _, errors = truncate(2, "--before", "2")
            self.assertIn("this deletes 4 of 12 records of t: add --yes", errors)
            # a moment to come, taken for one that is past: the refusal says what that means
            for where in ((future,), ("end",), (future, "-p", "0")):
                _, errors = truncate(2, "--before", *where)
                words = r"deletes (\d+) of \1 records of t, all there are: add --yes"
                self.assertRegex(errors, words)
            self.assertEqual(starts(), [0, 0], "nothing has been deleted so far")
            plan = nodes.spate_json("topic", "truncate", "t", "--before", future, "--dry-run")
            self.assertEqual((plan["dry_run"], plan["records"]), (True, 12))
            row = {"partition": 1, "start": 0, "end": 3, "log_start": 3, "records": 3}
            self.assertEqual(plan["partitions"][1], row)

            shown, errors = truncate(0, "--before", "2", "--yes")
            self.assertEqual(shown, "")
            self.assertIn("t/0 starts at 2: 2 records deleted", errors)
            self.assertIn("deleted 4 of 12 records of t", errors)
            _, errors = truncate(0, "--before", "3", "-p", "1", "--yes")
            self.assertIn("t/1 starts at 3: 1 record deleted", errors)
            self.assertIn("deleted 1 of 1 record of t, all there are", errors)
            _, errors = truncate(0, "--before", "1")  # nothing to be asked about
            self.assertIn("no record of t is before 1", errors)
            self.assertEqual(starts(), [2, 3])
            done = nodes.spate_json("topic", "truncate", "t", "--before", "end", "--yes")
            self.assertEqual((done["dry_run"], done["records"]), (False, 7))
            self.assertEqual([row["records"] for row in done["partitions"]], [7, 0])
            self.assertEqual(starts(), [9, 3])

    def test_truncation_asks_on_a_terminal(self):
        with cluster.Cluster(1) as nodes:
            nodes.spate("topic", "create", "t", "-r", "1", "-p", "1")
            nodes.spate("produce", "t", input=b"r\n" * 3)
            for answer, code in ((b"n\n", 1), (b"y\n", 0)):
                master, slave = os.openpty()
                asked = nodes.popen(
                    "topic", "truncate", "t", "--before", "end", stdin=slave, stderr=subprocess.PIPE
                )
                os.write(master, answer)
                errors = asked.communicate(timeout=10)[1]
                os.close(master)
                os.close(slave)
                self.assertEqual(asked.returncode, code)
                self.assertIn(b"Delete 3 of 3 records of t, all there are? [y/N] ", errors)
                starts = nodes.spate_json("offsets", "t")["partitions"]
                self.assertEqual(starts[0]["start"], 3 * (1 - code))

    def test_readers_that_come_too_late_are_told(self):
        with cluster.Cluster(1) as nodes:
            nodes.spate("topic", "create", "t", "-r", "1")
            leaders = rpc.Leaders([nodes.node(1).address])
            self.addCleanup(leaders.close)
            last = self.produce(leaders, 20)
            read = ["consume", "t", "-g", "g", "-o", "start", "-n", "5", "-f", "%o\\n"]
            self.assertEqual(nodes.spate(*read).split(), [b"0", b"1", b"2", b"3", b"4"])
            leaders.call("topic.truncate", topic="t", partition=0, before=12)
            expected = [str(offset).encode() for offset in range(12, last + 1)]
            told = b"t/0: offsets %d to 11 were deleted before they were read: goes on at offset 12"
            # one that names an offset, and a group that has committed one
            done = nodes.run("consume", "t", "-o", "3", "-e", "-f", "%o\\n")
            self.assertEqual((done.returncode, done.stdout.split()), (0, expected))
            self.assertIn(told % 3, done.stderr)
            done = nodes.run("consume", "t", "-g", "g", "-e", "-f", "%o\\n")
            self.assertEqual((done.returncode, done.stdout.split()), (0, expected))
            self.assertIn(told % 5, done.stderr)
            # who begins at the start has missed nothing
            done = nodes.run("consume", "t", "-o", "start", "-e", "-f", "%o\\n")
            self.assertEqual((done.stdout.split(), done.stderr), (expected, b""))
            # above the end is an error as before
            done = nodes.run("consume", "t", "-o", "99", "-e")
            self.assertNotEqual(done.returncode, 0)

    def test_replica_below_the_start_is_refilled_while_producing_goes_on(self):
        with cluster.Cluster(3) as nodes:
            leaders = self.begin(nodes, f"retention.bytes={4 * SEGMENT}")
            self.produce(leaders, 20)
            leader = nodes.leader("t")
            absent = next(node for node in nodes.nodes if node is not leader)
            absent.kill()
            self.produce(leaders, 80)
            cluster.wait_for("a later start", lambda: self.start_of(leaders) > 40)
            stop = threading.Event()
            stored = []

            def go_on():
                own = rpc.Leaders([node.address for node in nodes.nodes if node is not absent])
                while not stop.is_set():
                    stored.append(self.produce(own, 1))
                own.close()

            producer = threading.Thread(target=go_on)
            producer.start()
            try:
                absent.start()
                nodes.wait_healthy(30)
                cluster.wait_for(
                    "the checkpoint", lambda: "log replaced by the leader" in absent.trace()
                )
                count = len(stored)
                cluster.wait_for("producing", lambda: len(stored) > count + 20)
            finally:
                stop.set()
                producer.join()
            nodes.wait_healthy()
            # the replica that was refilled has what the others have
            next(n for n in nodes.nodes if n is not absent and n is not leader).kill()
            leader_now = nodes.leader("t")
            self.assertIn(leader_now.number, (absent.number, leader.number))
            last = self.produce(leaders, 1)
            start = self.start_of(leaders)
            text = nodes.spate("consume", "t", "-o", "start", "-e", "-f", "%o\\n").decode()
            offsets = [int(line) for line in text.split()]
            self.assertEqual(offsets, list(range(offsets[0], last + 1)))
            self.assertGreaterEqual(offsets[0], start)

    def test_segments_roll_by_time(self):
        with cluster.Cluster(1) as nodes:
            nodes.spate("topic", "create", "t", "-r", "1", "-c", "segment.ms=1000")
            leaders = rpc.Leaders([nodes.node(1).address])
            self.addCleanup(leaders.close)
            begin = time.monotonic()

            def rolled():
                self.produce(leaders, 1)
                return nodes.spate_json("topic", "describe", "t")["segments"] >= 3

            cluster.wait_for("three segments", rolled, pause=0.1)
            self.assertGreater(time.monotonic() - begin, 1.9)


if __name__ == "__main__":
    cluster.main()
