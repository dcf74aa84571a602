#!/usr/bin/env python3
"""`spate produce --name` is killed again and again, leaders with it: all is there, once."""

import os
import random
import subprocess
import unittest

import cluster
import rpc

SEED = int(os.environ.get("SPATE_TEST_SEED", "0")) or random.randrange(1 << 32)
PARTITIONS = 3


class NamedTest(unittest.TestCase):
    def setUp(self):
        self.random = random.Random(SEED)

    def lines(self, count):
        """Lines of many lengths, so that batches end in other places in each run."""
        return [f"{number:07d} {'x' * (number * 7919 % 400)}" for number in range(count)]

    def write(self, nodes, lines, name="input"):
        path = os.path.join(nodes.directory, name)
        with open(path, "w", encoding="ascii") as handle:
            handle.writelines(line + "\n" for line in lines)
        return path

    def stored(self, nodes, topic="t"):
        """partition -> lines, in order, at offsets without gaps."""
        text = nodes.spate("consume", topic, "-o", "start", "-e", "-f", "%p %o %v\\n").decode()
        partitions = {}
        for row in text.splitlines():
            partition, offset, line = row.split(" ", 2)
            lines = partitions.setdefault(int(partition), [])
            self.assertEqual(int(offset), len(lines), "offsets have a gap")
            lines.append(line)
        return partitions

    def assert_each_once(self, nodes, lines, partitions=PARTITIONS):
        """Byte for byte: line n is in partition n mod partitions, in order."""
        stored = self.stored(nodes)
        for partition in range(partitions):
            expected = lines[partition::partitions]
            self.assertEqual(len(stored.get(partition, [])), len(expected), f"of {partition}")
            self.assertEqual(stored.get(partition, []), expected)

    def run_until_killed(self, nodes, path, seconds, *more):
        """Runs produce for so long; True if it came to its end."""
        process = nodes.popen(
            "produce", "t", "--name", "load", "-F", path, *more, stderr=subprocess.PIPE
        )
        try:
            _, words = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return False
        self.assertEqual(process.returncode, 0, words.decode())
        return True

    def test_named_killed_at_random_moments_with_leaders_killed_too(self):
        with cluster.Cluster(3) as nodes:
            nodes.spate("topic", "create", "t", "-p", str(PARTITIONS), "-r", "3")
            lines = self.lines(40000)
            path = self.write(nodes, lines)
            kills, leaders, progress, before = 0, 0, 0, 0
            slow = ("--rate", "8000")
            while not self.run_until_killed(nodes, path, self.random.uniform(0.02, 0.5), *slow):
                kills += 1
                self.assertLess(kills, 150, "it does not get on")
                now = sum(map(len, self.stored(nodes).values()))
                self.assertGreaterEqual(now, before)
                progress, before = progress + (now > before), now
                if kills % 4 == 2 and leaders < 4:
                    victim = nodes.leader("t", self.random.randrange(PARTITIONS))
                    victim.kill()
                    self.run_until_killed(nodes, path, self.random.uniform(0.3, 0.8), *slow)
                    kills += 1
                    leaders += 1
                    victim.start()
                    nodes.wait_healthy()
            words = f"seed {SEED}: {kills} kills, {leaders} of leaders, {progress} got on"
            print(words, end=" ", flush=True)
            self.assertGreaterEqual(kills, 10)
            self.assertGreaterEqual(leaders, 1)
            self.assert_each_once(nodes, lines)
            done = nodes.run("produce", "t", "--name", "load", "-F", path)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(b"40000 records are stored already", done.stderr)
            self.assert_each_once(nodes, lines)

    def test_named_restart_of_all_nodes_remembers_the_name(self):
        with cluster.Cluster(3) as nodes:
            nodes.spate("topic", "create", "t", "-p", str(PARTITIONS), "-r", "3")
            lines = self.lines(5000)
            path = self.write(nodes, lines[:3000])
            self.assertTrue(self.run_until_killed(nodes, path, 30))
            for node in nodes.nodes:
                node.kill()
            for node in nodes.nodes:
                node.start()
            nodes.wait_healthy()
            longer = self.write(nodes, lines, "longer")
            self.assertTrue(self.run_until_killed(nodes, longer, 30))
            self.assert_each_once(nodes, lines)

    def test_named_keys_decide_and_standard_input_will_do(self):
        with cluster.Cluster(1) as nodes:
            nodes.spate("topic", "create", "t", "-p", str(PARTITIONS))
            text = "".join(f"key{number % 50}:{number}\n" for number in range(2000)).encode()
            command = ("produce", "t", "--name", "load", "-K", ":")
            nodes.spate(*command, input=text[: len(text) // 2].rsplit(b"\n", 1)[0] + b"\n")
            nodes.spate(*command, input=text)
            stored = self.stored(nodes)
            everything = sorted(int(line) for lines in stored.values() for line in lines)
            self.assertEqual(everything, list(range(2000)))
            for lines in stored.values():
                self.assertEqual(lines, sorted(lines, key=int))

    def test_named_other_numbers_of_partitions_and_other_input_are_refused(self):
        with cluster.Cluster(1) as nodes:
            nodes.spate("topic", "create", "t", "-p", str(PARTITIONS))
            lines = self.lines(100)
            path = self.write(nodes, lines)
            self.assertTrue(self.run_until_killed(nodes, path, 30))
            short = self.write(nodes, lines[:50], "short")
            done = nodes.run("produce", "t", "--name", "load", "-F", short)
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"this is not the same input", done.stderr)
            nodes.spate("topic", "delete", "t", "--yes")
            nodes.spate("topic", "create", "t", "-p", str(PARTITIONS + 1))
            done = nodes.run("produce", "t", "--name", "load", "-F", path)
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"partitions=3", done.stderr)
            self.assertIn(b"use another name", done.stderr)
            self.assertEqual(self.stored(nodes), {})
            done = nodes.run("produce", "t", "--name", "", "-F", path)
            self.assertEqual(done.returncode, 2)

    def test_named_older_run_ends_when_another_one_takes_over(self):
        with cluster.Cluster(1) as nodes:
            nodes.spate("topic", "create", "t", "-p", str(PARTITIONS))
            lines = self.lines(20000)
            path = self.write(nodes, lines)
            slowly = ("--rate", "2000")
            older = nodes.popen(
                "produce", "t", "--name", "load", "-F", path, *slowly, stderr=subprocess.PIPE
            )
            self.addCleanup(lambda: older.poll() is None and older.kill())
            cluster.wait_for("the older run's first records", lambda: self.stored(nodes))
            self.assertTrue(self.run_until_killed(nodes, path, 60))
            _, words = older.communicate(timeout=30)
            self.assertNotEqual(older.returncode, 0)
            self.assertIn(b"PRODUCER_FENCED", words)
            self.assertIn(b"`load`", words)
            self.assertIn(b"took over", words)
            self.assert_each_once(nodes, lines)

    def test_named_protocol_fence_refuses_what_is_older(self):
        """The methods themselves: the count, the fence, the repeat."""
        with cluster.Cluster(1) as nodes, rpc.Client(nodes.nodes[0].address) as client:
            nodes.spate("topic", "create", "t")
            first = client.call("producer.init", name="hand", layout="")
            second = client.call("producer.init", name="hand")
            self.assertEqual(second["producer_id"], first["producer_id"])
            self.assertEqual(second["producer_epoch"], first["producer_epoch"] + 1)
            where = {"topic": "t", "partition": 0}
            fresh = client.call("producer.resume", **where, **first)
            self.assertEqual(fresh, {"known": True, "offset": -1, "sequence": 0, "records": 0})
            again = client.call("producer.resume", **where, **second)
            self.assertEqual(again, fresh)
            with self.assertRaises(rpc.Refused) as refused:
                client.call("producer.resume", **where, **first)
            self.assertIn("PRODUCER_FENCED", str(refused.exception))
            for fields in ({"name": ""}, {"name": "a\nb"}, {"name": "x" * 250}):
                with self.assertRaises(rpc.Refused) as refused:
                    client.call("producer.init", **fields)
                self.assertIn("INVALID", str(refused.exception))


if __name__ == "__main__":
    cluster.main()
