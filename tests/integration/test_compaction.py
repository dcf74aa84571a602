#!/usr/bin/env python3
"""Compacted topics: the latest record of each key stays, on every replica, whatever is killed."""

import glob
import json
import os
import random
import subprocess
import threading
import time
import unittest
import urllib.request

import cluster
import rpc

SEGMENT = 65536
KEYS = 50
FAST = ["storage.compaction.bytes.per.s=0"]
SLOW = ["storage.compaction.bytes.per.s=300000"]


class CompactionTest(unittest.TestCase):
    def begin(self, nodes, *settings, segment_ms=1000):
        options = ["cleanup.policy=compact", f"segment.bytes={SEGMENT}"]
        options.append(f"segment.ms={segment_ms}")
        words = [word for setting in [*options, *settings] for word in ("-c", setting)]
        nodes.spate("topic", "create", "t", "-r", "3", *words)
        leaders = rpc.Leaders([node.address for node in nodes.nodes])
        self.addCleanup(leaders.close)
        return leaders

    def produce(self, leaders, records):
        answer = leaders.call("produce", topic="t", partition=0, records=records)
        return answer["offset"]

    def write(self, leaders, latest, count, seed):
        """`count` batches of ten records each over few keys; notes what is the latest."""
        chance = random.Random(seed)
        for number in range(count):
            records = []
            for _ in range(10):
                key = f"key{chance.randrange(KEYS)}".encode()
                gone = chance.random() < 0.1
                value = None if gone else b"%d:%d" % (seed, number) + b"v" * chance.randrange(500)
                records.append({"k": key, "v": value})
            base = self.produce(leaders, records)
            for delta, record in enumerate(records):
                latest[record["k"]] = (base + delta, record["v"])
        return base + 9

    def roll(self, leaders, latest):
        """One more record in a segment of its own: what was before is finished. Its end."""
        time.sleep(1.6)  # segment.ms, and a look
        record = {"k": b"roll", "v": b"%d" % time.monotonic_ns()}
        latest[b"roll"] = (self.produce(leaders, [record]), record["v"])
        return latest[b"roll"][0] + 1

    def read(self, leaders, end):
        """Every record from the start to `end` in one pass, with what must hold in any pass."""
        offset, seen = 0, []
        while offset < end:
            answer = leaders.call(
                "fetch", topic="t", partition=0, offset=offset, format="records", max_wait_ms=200
            )
            for record in answer["records"]:
                self.assertGreaterEqual(record["o"], offset)
                seen.append(record)
                offset = record["o"] + 1
        return seen

    def check(self, seen, latest, newer=False):
        """`newer`: later records may have been written meanwhile."""
        found = {record["k"]: (record["o"], record["v"]) for record in seen}
        for key, (offset, value) in latest.items():
            if newer and key in found and found[key][0] > offset:
                continue
            if value is not None:
                self.assertEqual(found.get(key), (offset, value), key)
            elif key in found:
                self.assertEqual(found[key], (offset, None), key)

    def logs(self, node):
        """The directory of the topic's replica: the one with the highest group."""
        replicas = glob.glob(os.path.join(node.data, "replicas", "*"))
        return max(replicas, key=lambda path: int(os.path.basename(path).split(".")[0]))

    def log_bytes(self, node):
        total = 0
        for path in glob.glob(os.path.join(self.logs(node), "*.log")):
            try:
                total += os.path.getsize(path)
            except FileNotFoundError:
                continue
        return total

    def dump(self, nodes, node):
        """All records in the files of a stopped node's replica."""
        records = {}
        for path in sorted(glob.glob(os.path.join(self.logs(node), "*.log"))):
            text = nodes.spate("log", "dump", path, "--records", "--json").decode()
            for line in text.splitlines():
                entry = json.loads(line)
                if entry["kind"] == "record":
                    records[entry["offset"]] = (entry["key"], entry["value"])
        return records

    def test_settings_are_shown_and_records_without_a_key_refused(self):
        with cluster.Cluster(3) as nodes:
            leaders = self.begin(nodes, "delete.retention.ms=5000", "min.compaction.lag.ms=10")
            described = nodes.spate("topic", "describe", "t").decode()
            self.assertIn("cleanup.policy", described)
            self.assertIn("compact", described)
            with rpc.Client(nodes.nodes[0].address) as client:
                config = client.call("topic.describe", name="t")["config"]
            self.assertIn("compact", json.dumps(config))
            self.assertIn("5000", json.dumps(config))
            batch = rpc.encode_batch([b"value"])
            for records in (batch, [{"k": b"a", "v": b"1"}, {"v": b"2"}]):
                with self.assertRaises(rpc.Refused) as refused:
                    self.produce(leaders, records)
                self.assertEqual(refused.exception.code, "INVALID")
                self.assertIn("has no key", refused.exception.text)
            self.assertEqual(self.produce(leaders, [{"k": b"a", "v": b"1"}]), 0)
            # a topic may become one that deletes, and takes such records then
            nodes.spate("topic", "alter", "t", "--set", "cleanup.policy=delete")
            cluster.wait_for("a record without a key", lambda: self.taken(leaders, batch))
            refused = nodes.run("topic", "alter", "t", "--set", "cleanup.policy=shrink")
            self.assertNotEqual(refused.returncode, 0)
            self.assertIn(b"compact,delete", refused.stderr)

    def taken(self, leaders, batch):
        try:
            self.produce(leaders, batch)
            return True
        except rpc.Refused:
            return False

    def test_the_log_shrinks_and_the_latest_stays_on_every_replica(self):
        with cluster.Cluster(3, FAST) as nodes:
            leaders = self.begin(nodes, "delete.retention.ms=500")
            latest = {}
            self.write(leaders, latest, 300, seed=1)
            before = [self.log_bytes(node) for node in nodes.nodes]
            end = self.roll(leaders, latest)
            bound = 5 * SEGMENT
            for node in nodes.nodes:
                cluster.wait_for("a small log", lambda: self.log_bytes(node) < bound, seconds=30)
            after = [self.log_bytes(node) for node in nodes.nodes]
            print(f"bytes before {before}, after {after}")
            seen = self.read(leaders, end)
            self.check(seen, latest)
            self.assertLess(len(seen), 1000)
            # tombstones go at last, when every replica has been compacted
            gone = {key for key, (_, value) in latest.items() if value is None}
            self.assertTrue(gone)
            cluster.wait_for(
                "no tombstones",
                lambda: not gone & {record["k"] for record in self.read(leaders, end)},
                seconds=30,
            )
            metrics = nodes.spate("cluster", "health").decode()  # it answers, whatever runs
            self.assertTrue(metrics)
            text = self.metrics(nodes.nodes[0])
            self.assertGreater(text["spate_compaction_removed_bytes_total"], 0)
            self.assertGreater(text["spate_compaction_last_end_seconds"], 0)
            self.check_replicas(nodes, latest)

    def metrics(self, node):
        url = f"http://127.0.0.1:{node.http_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.split() for line in lines if line.startswith("spate_compaction"))
        return {name: float(value) for name, value in pairs}

    def check_replicas(self, nodes, latest):
        """Every replica is whole and has the same frames, compacted or not, packed or not, and
        shows the same latest records."""
        for node in nodes.nodes:
            if node.alive:
                node.stop()
        compared = subprocess.run(
            [os.path.join(cluster.BIN, "jepsen-replicas"), *(node.data for node in nodes.nodes)],
            stdout=subprocess.PIPE,
            check=False,
        )
        self.assertEqual(compared.returncode, 0, compared.stdout.decode())
        for node in nodes.nodes:
            done = nodes.run("log", "verify", self.logs(node), "--json")
            self.assertEqual(done.returncode, 0, done.stdout)
            found = {}
            for offset, (key, value) in sorted(self.dump(nodes, node).items()):
                found[key] = (offset, value)
            for key, (offset, value) in latest.items():
                if value is not None:
                    self.assertEqual(found[key.decode()], (offset, value.decode()), key)
                elif key.decode() in found:
                    self.assertEqual(found[key.decode()], (offset, None), key)

    def test_of_records_written_one_by_one_little_is_left_and_a_new_replica_gets_it(self):
        count, keys = 2500, 20
        bound = 30 * count + SEGMENT  # the newest segment is left as it is
        with cluster.Cluster(3, FAST) as nodes:
            leaders = self.begin(nodes, "delete.retention.ms=1000", segment_ms=600000)
            latest = {}
            for number in range(count):
                key, value = b"k%d" % (number % keys), b"%d" % number
                latest[key] = (self.produce(leaders, [{"k": key, "v": value}]), value)
            end = count
            for node in nodes.nodes:
                cluster.wait_for("a small log", lambda: self.log_bytes(node) < bound, seconds=60)
            sizes = [self.log_bytes(node) for node in nodes.nodes]
            print(f"{count} records written one by one, {keys} keys: {sizes} bytes are left")
            self.check(self.read(leaders, end), latest)
            # one replica is made anew, from the runs of the others
            victim = nodes.node(2)
            victim.stop()
            old = self.logs(victim)
            open(os.path.join(old, "damaged"), "a").close()
            victim.start()
            cluster.wait_for("its replacement", lambda: not os.path.exists(old), seconds=30)
            nodes.wait_healthy(30)
            cluster.wait_for(
                "a small log",
                lambda: len(os.listdir(self.logs(victim))) > 2
                and self.log_bytes(victim) < bound,
                seconds=60,
            )
            self.check(self.read(leaders, end), latest)
            consumed = nodes.spate("consume", "t", "-o", "start", "-e", "-J").decode()
            lines = [json.loads(line) for line in consumed.splitlines()]
            self.assertEqual(lines[-1]["offset"], end - 1)
            self.check_replicas(nodes, latest)

    def test_kills_during_compaction_lose_nothing(self):
        with cluster.Cluster(3, SLOW) as nodes:
            leaders = self.begin(nodes, "delete.retention.ms=1000")
            latest, passes, stop = {}, [], threading.Event()
            readers = rpc.Leaders([node.address for node in nodes.nodes])
            failures = []

            def read_on():
                while not stop.is_set():
                    try:
                        committed = dict(latest)
                        end = max((offset for offset, _ in committed.values()), default=-1) + 1
                        begun = time.monotonic()
                        seen = self.read(readers, end)
                        slow = time.monotonic() - begun > 0.9
                        newer = dict(latest)
                        still = {k: v for k, v in committed.items() if newer[k] == v}
                        if slow:  # a tombstone may have gone meanwhile
                            still = {k: v for k, v in still.items() if v[1] is not None}
                        self.check(seen, still, newer=True)
                        passes.append(len(seen))
                    except AssertionError as error:
                        failures.append(error)
                        return

            reader = threading.Thread(target=read_on)
            reader.start()
            chance = random.Random(7)
            for turn in range(6):
                self.write(leaders, latest, 60, seed=100 + turn)
                time.sleep(1.1)
                victim = nodes.nodes[chance.randrange(3)]
                time.sleep(chance.random() / 2)
                victim.kill()
                self.write(leaders, latest, 5, seed=200 + turn)
                victim.start()
                nodes.wait_healthy()
            end = self.roll(leaders, latest)
            stop.set()
            reader.join()
            readers.close()
            self.assertEqual(failures, [])
            self.assertGreater(len(passes), 3)
            for node in nodes.nodes:
                cluster.wait_for(
                    "a small log", lambda: self.log_bytes(node) < 6 * SEGMENT, seconds=60
                )
            self.check(self.read(leaders, end), latest)
            # libspate takes gaps of a compacted topic
            consumed = nodes.spate(
                "consume", "t", "-o", "start", "-e", "-J"
            ).decode()
            lines = [json.loads(line) for line in consumed.splitlines()]
            self.assertEqual(lines[-1]["offset"], end - 1)
            self.check_replicas(nodes, latest)


if __name__ == "__main__":
    cluster.main()
