#!/usr/bin/env python3
"""Nodes are killed, stopped and restarted under load: nothing is lost, repeated or out of order."""

import contextlib
import json
import os
import threading
import time
import unittest

import cluster
import rpc

HEALTHY_SECONDS_MAX = 5.0
STOP_SECONDS_MAX = 1.5
GAP_MS_MAX_KILL = 3000
GAP_MS_MAX_TERM = 1500


class FailoverTest(unittest.TestCase):
    @contextlib.contextmanager
    def running(self, partitions=3):
        """Three nodes with a topic of that many partitions."""
        with cluster.Cluster(3) as nodes:
            nodes.spate("topic", "create", "t", "-p", str(partitions), "-r", "3")
            self.stats = os.path.join(nodes.directory, "stats.json")
            yield nodes

    def write_numbers(self, nodes, count):
        path = os.path.join(nodes.directory, "numbers")
        with open(path, "w", encoding="ascii") as handle:
            handle.writelines(f"{number:08d} {'x' * (number % 90)}\n" for number in range(count))
        return path

    def stream(self, nodes, path, rate):
        """`spate produce` of a file in the background."""
        with open(path, "rb") as handle:
            arguments = ["produce", "t", "--rate", str(rate), "--stats-json", self.stats]
            process = nodes.popen(*arguments, stdin=handle)
        self.addCleanup(lambda: process.poll() is None and process.kill())
        cluster.wait_for("the first acknowledgements", lambda: self.acked() > 0)
        return process

    def statistics(self):
        try:
            with open(self.stats, encoding="utf-8") as handle:
                return json.load(handle)
        except (OSError, ValueError):
            return {}

    def acked(self):
        return self.statistics().get("acked", 0)

    def wait_for_progress(self, records=500):
        goal = self.acked() + records
        cluster.wait_for("progress of the stream", lambda: self.acked() >= goal, 15)

    def assert_all_there(self, nodes, count):
        """Every number once; in each partition in order, at offsets without gaps."""
        text = nodes.spate("consume", "t", "-o", "start", "-e", "-f", "%p %o %v\\n").decode()
        partitions = {}
        for line in text.splitlines():
            partition, offset, number = line.split(" ")[:3]
            partitions.setdefault(partition, []).append((int(offset), int(number)))
        for partition, rows in partitions.items():
            offsets = [offset for offset, _ in rows]
            self.assertEqual(offsets, list(range(len(rows))), f"offsets of {partition}")
            numbers = [number for _, number in rows]
            self.assertEqual(numbers, sorted(set(numbers)), f"order in {partition}")
        everything = sorted(number for rows in partitions.values() for _, number in rows)
        lost = sorted(set(range(count)) - set(everything))
        self.assertEqual(lost, [], "lost")
        self.assertEqual(len(everything), count, "duplicated")

    def health(self, nodes, code):
        done = nodes.run("cluster", "health")
        self.assertEqual(done.returncode, code, done.stdout.decode() + done.stderr.decode())
        return done.stdout.decode()

    def test_failover_leader_killed_again_and_again(self):
        with self.running() as nodes:
            count = 40000
            process = self.stream(nodes, self.write_numbers(nodes, count), rate=6000)
            for _ in range(3):
                victim = nodes.leader("t")
                victim.kill()
                nodes.leader("t")
                words = self.health(nodes, 5)
                self.assertRegex(words, r"(?is)under.replicated.*t/0")
                self.assertIn(str(victim.number), words)
                self.wait_for_progress()
                victim.start()
                self.assertLess(nodes.wait_healthy(10), HEALTHY_SECONDS_MAX, "seconds to be green")
                self.health(nodes, 0)
                self.wait_for_progress()
            self.assertEqual(process.wait(60), 0)
            gap = self.statistics()["longest_gap_ms"]
            print(f"longest gap {gap} ms", end=" ", flush=True)
            self.assertLess(gap, GAP_MS_MAX_KILL)
            self.assert_all_there(nodes, count)

    def test_failover_sigterm_hands_leadership_over(self):
        with self.running() as nodes:
            count = 24000
            process = self.stream(nodes, self.write_numbers(nodes, count), rate=6000)
            for _ in range(2):
                leader = nodes.leader("t")
                code, seconds = leader.stop()
                self.assertEqual(code, 0)
                self.assertLess(seconds, STOP_SECONDS_MAX, "seconds to stop")
                self.assertIn("handed over", leader.trace())
                self.wait_for_progress()
                leader.start()
                self.assertLess(nodes.wait_healthy(10), HEALTHY_SECONDS_MAX)
            self.assertEqual(process.wait(60), 0)
            gap = self.statistics()["longest_gap_ms"]
            print(f"longest gap {gap} ms", end=" ", flush=True)
            self.assertLess(gap, GAP_MS_MAX_TERM)
            self.assert_all_there(nodes, count)

    def test_failover_two_nodes_down_names_leaderless_partitions(self):
        with self.running() as nodes:
            path = self.write_numbers(nodes, 3000)
            with open(path, "rb") as handle:
                nodes.spate("produce", "t", stdin=handle)
            for node in nodes.nodes[1:]:
                node.kill()

            def leaderless():
                health = nodes.health()
                rows = health["leaderless"] if health is not None else []
                return len([row for row in rows if row["topic"] == "t"]) == 3 and health

            health = cluster.wait_for("three leaderless partitions", leaderless)
            self.assertEqual(sorted(health["nodes_down"]), [2, 3])
            words = self.health(nodes, 5)
            for partition in range(3):
                self.assertIn(f"t/{partition}", words)
            self.assertIn("elects by itself when 2 of its replicas run: start node 2,3;", words)
            self.assertRegex(words, r"node down: 2, since 20\S+Z \(\d+ s\)\n  start it")
            with rpc.Client(nodes.nodes[0].address) as client:
                with self.assertRaises(rpc.Refused) as caught:
                    client.call("produce", topic="t", partition=0, records=[{"v": b"x"}])
                self.assertEqual(caught.exception.code, "LEADER_UNKNOWN")
            for node in nodes.nodes[1:]:
                node.start()
            self.assertLess(nodes.wait_healthy(10), HEALTHY_SECONDS_MAX)
            self.assert_all_there(nodes, 3000)

    def test_failover_full_stop_and_restart_keeps_everything(self):
        with self.running() as nodes:
            path = self.write_numbers(nodes, 20000)
            with open(path, "rb") as handle:
                nodes.spate("produce", "t", stdin=handle)
            for _ in range(2):
                for node in nodes.nodes:
                    code, seconds = node.stop()
                    self.assertEqual(code, 0)
                    self.assertLess(seconds, STOP_SECONDS_MAX, f"node {node.number} stops")
                for node in nodes.nodes:
                    node.start()
                self.assertLess(nodes.wait_healthy(), HEALTHY_SECONDS_MAX)
                self.assert_all_there(nodes, 20000)

    def test_failover_node_that_missed_much_catches_up(self):
        with self.running() as nodes:
            path = self.write_numbers(nodes, 600000)
            nodes.node(3).kill()
            with open(path, "rb") as handle:
                nodes.spate("produce", "t", stdin=handle)
            nodes.node(3).start()
            self.assertLess(nodes.wait_healthy(10), HEALTHY_SECONDS_MAX)
            nodes.node(1).kill()  # what node 3 has caught up with is needed now
            self.assert_all_there(nodes, 600000)

    def test_failover_all_killed_at_once_keeps_what_was_acknowledged(self):
        with self.running(partitions=1) as nodes:
            acknowledged = {}
            for number in range(3):
                load = Load(nodes, f"round{number}", acknowledged)
                load.start()
                goal = len(acknowledged) + 300
                cluster.wait_for("acknowledgements", lambda: len(acknowledged) > goal, 20)
                for node in nodes.nodes:
                    node.process.kill()
                for node in nodes.nodes:
                    node.kill()
                load.halt()
                for node in nodes.nodes:
                    node.start()
                nodes.wait_healthy()
            stored = {}
            text = nodes.spate("consume", "t", "-o", "start", "-e", "-f", "%o %v\\n").decode()
            for line in text.splitlines():
                offset, value = line.split(" ")
                stored[int(offset)] = value
            print(f"{len(acknowledged)} acknowledged, {len(stored)} stored", end=" ", flush=True)
            self.assertEqual(sorted(stored), list(range(len(stored))), "offsets without gaps")
            missing = {o: v for o, v in acknowledged.items() if stored.get(o) != v}
            self.assertEqual(missing, {}, "acknowledged but not stored at its offset")


class Load(threading.Thread):
    """Produces without pause, 32 requests on the way, and notes what is acknowledged where."""

    DEPTH = 32

    def __init__(self, nodes, name, acknowledged):
        super().__init__(daemon=True)
        self.leader = nodes.leader("t")
        self.label = name
        self.acknowledged = acknowledged
        self.ended = False

    def run(self):
        sent, number = {}, 0
        try:
            with rpc.Client(self.leader.address, timeout=5) as client:
                while not self.ended:
                    while len(sent) < self.DEPTH:
                        value = f"{self.label}-{number}"
                        where = {"topic": "t", "partition": 0}
                        fields = {**where, "records": [{"v": value.encode()}]}
                        sent[client.send("produce", fields)] = value
                        number += 1
                    _, msgid, error, result = client.receive()
                    value = sent.pop(msgid)
                    if error is None:
                        self.acknowledged[result["offset"]] = value
                    else:
                        time.sleep(0.01)
        except (OSError, EOFError):
            pass  # the node was killed

    def halt(self):
        self.ended = True
        self.join(10)
        assert not self.is_alive()


if __name__ == "__main__":
    cluster.main()
