#!/usr/bin/env python3
"""Settings of topics: set, altered, described with their source, refused with a clear text."""

import json
import time
import unittest

import cluster
import rpc

DEFAULTS = {
    "max.message.bytes": "1114112",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "segment.bytes": "67108864",
    "segment.ms": "-1",
    "cleanup.policy": "delete",
    "durability": "disk",
    "message.timestamp.type": "CreateTime",
    "compression.type": "producer",
    "delete.retention.ms": "86400000",
    "min.compaction.lag.ms": "0",
}


class TopicConfigTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.nodes = cluster.Cluster(3)
        cls.nodes.__enter__()
        cls.addClassCleanup(cls.nodes.__exit__, None, None, None)

    def client(self, number=1):
        client = rpc.Client(self.nodes.node(number).address)
        self.addCleanup(client.close)
        return client

    def described(self, topic, number=1):
        answer = self.client(number).call("topic.describe", name=topic)
        return answer["config"], answer["sources"]

    def test_settings_are_set_altered_and_described_on_every_node(self):
        spate = self.nodes.spate
        spate("topic", "create", "plain", "-r", "3")
        config, sources = self.described("plain")
        self.assertEqual(config, DEFAULTS)
        self.assertEqual(set(sources.values()), {"default"})
        options = ["-c", "retention.ms=3600000", "-c", "segment.bytes=65536"]
        spate("topic", "create", "set", "-r", "3", *options)
        config, sources = self.described("set")
        expected = {**DEFAULTS, "retention.ms": "3600000", "segment.bytes": "65536"}
        self.assertEqual(config, expected)
        overrides = {key for key, source in sources.items() if source == "override"}
        self.assertEqual(overrides, {"retention.ms", "segment.bytes"})

        spate("topic", "alter", "set", "--set", "retention.bytes=1000", "--unset", "retention.ms")
        expected.update({"retention.bytes": "1000", "retention.ms": "-1"})
        for number in (1, 2, 3):  # each node applies it by itself
            cluster.wait_for("the change", lambda: self.described("set", number)[0] == expected)
        # a value that equals the default is an override all the same
        spate("topic", "alter", "set", "-c", "max.message.bytes=1114112")
        self.assertEqual(self.described("set")[1]["max.message.bytes"], "override")
        spate("topic", "create", "units", "-c", "retention.ms=7d", "-c", "retention.bytes=10G")
        spate("topic", "alter", "units", "--set", "segment.bytes=64MiB", "--set", "segment.ms=90m")
        units = {"retention.ms": "604800000", "retention.bytes": "10737418240",
                 "segment.bytes": "67108864", "segment.ms": "5400000"}
        self.assertEqual(self.described("units")[0], {**DEFAULTS, **units})
        table = spate("topic", "describe", "units").decode()
        self.assertRegex(table, r"(?m)^retention\.ms\t604800000\toverride\t7d$")
        self.assertRegex(table, r"(?m)^segment\.bytes\t67108864\toverride\t64MiB$")
        self.assertRegex(table, r"(?m)^cleanup\.policy\tdelete\tdefault\t-$")
        table = spate("topic", "describe", "set").decode()
        self.assertRegex(table, r"(?m)^retention\.bytes\t1000\toverride\t1000B$")
        self.assertRegex(table, r"(?m)^retention\.ms\t-1\tdefault\tno limit$")

        # they outlive a restart of all nodes
        for node in self.nodes.nodes:
            node.kill()
        for node in self.nodes.nodes:
            node.start()
        self.nodes.wait_healthy()
        self.assertEqual(self.described("set", 2)[0], expected)
        self.assertEqual(self.described("set", 2)[1]["max.message.bytes"], "override")

    def test_a_node_without_a_replica_asks_the_leader(self):
        self.nodes.spate("topic", "create", "one", "-p", "1", "-r", "1")
        self.nodes.spate("produce", "one", input=b"1\n2\n")
        (holder,) = self.nodes.spate_json("topic", "describe", "one")["partitions"][0]["replicas"]
        keys = ("log_start", "high_watermark", "size_bytes", "segments")
        rows = []
        for node in self.nodes.nodes:
            of = ["-s", node.address, "topic", "describe", "one"]
            told = self.nodes.spate_json(*of)
            rows.append([told["partitions"][0][key] for key in keys])
            self.assertEqual(rows[-1][:2], [0, 2])
            row = self.nodes.spate(*of).decode().splitlines()[0].split()
            self.assertEqual(row[-4:], [str(number) for number in rows[-1]])
            if node.number == holder:  # the sums are of its own replicas
                self.assertEqual([told["size_bytes"], told["segments"]], rows[-1][2:])
            else:
                self.assertEqual([told["size_bytes"], told["segments"]], [None, None])
        self.assertEqual(rows[1:], rows[:-1])
        self.assertGreater(rows[0][2], 4096)

    def test_what_no_leader_tells_is_not_described_as_empty(self):
        self.nodes.spate("topic", "create", "shut", "-p", "1", "-r", "1")
        (holder,) = self.nodes.spate_json("topic", "describe", "shut")["partitions"][0]["replicas"]
        leader = self.nodes.nodes[holder - 1]
        other = self.nodes.nodes[holder % len(self.nodes.nodes)]
        leader.kill()
        try:
            done = self.nodes.run("-s", other.address, "topic", "describe", "shut", "--json")
        finally:
            leader.start()
            self.nodes.wait_healthy()
        told = json.loads(done.stdout)["partitions"][0]
        keys = ("log_start", "high_watermark", "size_bytes", "segments")
        self.assertEqual([told[key] for key in keys], [None] * 4)
        self.assertIn(b"where 1 partition begins and ends is not known", done.stderr)

    def refused(self, method, **fields):
        with self.assertRaises(rpc.Refused) as refused:
            self.client().call(method, **fields)
        self.assertEqual(refused.exception.code, "INVALID")
        return refused.exception.text

    def test_a_wrong_setting_is_refused_by_name(self):
        cases = {
            ("no.such", "1"): "no setting `no.such`: known are max.message.bytes, retention.ms",
            ("retention.ms", "0"): "retention.ms cannot be `0`: give a number from 1 to "
                                   "3162240000000 of milliseconds, or 250ms, 30s, 5m, 12h, 5d; "
                                   "or -1 for no limit; for example retention.ms=7d",
            ("retention.ms", "abc"): "retention.ms cannot be `abc`: give a number ",
            ("retention.ms", "7w"): "or -1 for no limit",
            ("retention.bytes", "-2"): "or -1 for no limit",
            ("segment.bytes", "10"): "segment.bytes cannot be `10`: give a number from 65536 "
                                     "to 1073741824 of bytes, or 64K, 64KiB, 64M, 10G (powers ",
            ("segment.bytes", "5d"): "segment.bytes cannot be `5d`: ",
            ("segment.bytes", "-1"): "; for example segment.bytes=1MiB",
            ("max.message.bytes", "9" * 30): "max.message.bytes cannot be",
            ("cleanup.policy", "shrink"): "be delete, compact or compact,delete, not `shrink`",
            ("delete.retention.ms", "-1"): "delete.retention.ms cannot be",
            ("retention.m", "1"): "no setting `retention.m`: did you mean `retention.ms`? known ",
            ("segment.ms", "soon"): "segment.ms cannot be `soon`: ",
            ("durability", "memory"): "durability must be disk, not `memory`: ",
            ("message.timestamp.type", "now"): "must be CreateTime or LogAppendTime",
            ("compression.type", "gzip"): "compression.type must be producer, not `gzip`: ",
        }
        self.nodes.spate("topic", "create", "sound")
        for (key, value), text in cases.items():
            for method, field in (("topic.create", "config"), ("topic.alter", "set")):
                name = "sound" if method == "topic.alter" else "fresh"
                self.assertIn(text, self.refused(method, name=name, **{field: {key: value}}))
        self.assertIn("nothing is set", self.refused("topic.alter", name="sound"))
        self.assertIn("no setting `x`", self.refused("topic.alter", name="sound", unset=["x"]))
        near = self.refused("topic.alter", name="sound", unset=["segment.byte"])
        self.assertIn("no setting `segment.byte`: did you mean `segment.bytes`? known are", near)
        long = self.refused("topic.alter", name="sound", set={"retention.ms": "\u00e4" * 200})
        self.assertIn("cannot be `" + "\u00e4" * 32 + "`", long)
        both = {"set": {"retention.ms": "5"}, "unset": ["retention.ms"]}
        self.assertIn("set and unset", self.refused("topic.alter", name="sound", **both))
        self.assertEqual(self.described("sound")[0], DEFAULTS)
        with self.assertRaises(rpc.Refused) as refused:
            self.client().call("topic.alter", name="absent", set={"retention.ms": "5"})
        self.assertEqual(refused.exception.code, "UNKNOWN_TOPIC")
        done = self.nodes.run("topic", "alter", "sound", "--set", "retention.ms")
        self.assertEqual(done.returncode, 2)

    def test_max_message_bytes_takes_effect_at_once(self):
        self.nodes.spate("topic", "create", "small", "-c", "max.message.bytes=2048")
        leaders = rpc.Leaders([node.address for node in self.nodes.nodes])
        self.addCleanup(leaders.close)
        batch = rpc.encode_batch([b"x" * 4096])
        with self.assertRaises(rpc.Refused) as refused:
            leaders.call("produce", topic="small", partition=0, records=batch)
        self.assertEqual(refused.exception.code, "TOO_LARGE")
        self.nodes.spate("topic", "alter", "small", "--set", "max.message.bytes=8192")

        def stored():
            try:
                return leaders.call("produce", topic="small", partition=0, records=batch)
            except rpc.Refused:
                return None  # the leader has not applied the change yet

        cluster.wait_for("a larger batch", stored)

    def test_log_append_time_is_the_time_of_the_leader(self):
        topic = "stamped"
        option = "message.timestamp.type=LogAppendTime"
        self.nodes.spate("topic", "create", topic, "-c", option)
        leaders = rpc.Leaders([node.address for node in self.nodes.nodes])
        self.addCleanup(leaders.close)
        before_ms = int(time.time() * 1000)
        batch = rpc.encode_batch([b"a", b"b"], time_ms=1000)
        leaders.call("produce", topic=topic, partition=0, records=batch)
        after_ms = int(time.time() * 1000)
        answer = leaders.call("fetch", topic=topic, partition=0, offset=0, format="records")
        for record in answer["records"]:
            self.assertTrue(before_ms <= record["t"] <= after_ms, record)
        self.assertEqual(len(answer["records"]), 2)
        # and the batch is sound: its crc fits what the leader wrote into it
        header, _ = rpc.decode_batch(
            leaders.call("fetch", topic=topic, partition=0, offset=0)["records"]
        )
        self.assertEqual(header["attributes"], 8)
        found = leaders.call("offsets", topic=topic, partition=0, at=before_ms)
        self.assertEqual(found["offset"], 0)

    def test_a_batch_that_lies_about_its_latest_timestamp_is_refused(self):
        self.nodes.spate("topic", "create", "times")
        leaders = rpc.Leaders([node.address for node in self.nodes.nodes])
        self.addCleanup(leaders.close)
        batch = bytearray(rpc.encode_batch([b"x"], time_ms=5000))
        batch[35:43] = (4000).to_bytes(8, "big")
        batch[17:21] = rpc.crc32c(bytes(batch[21:])).to_bytes(4, "big")
        with self.assertRaises(rpc.Refused) as refused:
            leaders.call("produce", topic="times", partition=0, records=bytes(batch))
        self.assertEqual(refused.exception.code, "INVALID")


if __name__ == "__main__":
    cluster.main()
