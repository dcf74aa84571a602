#!/usr/bin/env python3
"""Bad input is refused in words, costs no memory, and disturbs nobody else."""

import os
import random
import re
import socket
import struct
import subprocess
import tempfile
import time
import unittest

import msgpack

import cluster
import rpc

CONNECTIONS = 200
RSS_GROWTH_KIB_MAX = 6 * 1024
BATCH_BYTES_MAX = 1024 * 1024 + 64 * 1024


def lies(rand):
    """(name, bytes) that must make the client port close the connection."""
    return [
        ("noise", bytes([0xC1]) + rand.randbytes(400)),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("TLS", bytes.fromhex("16030100c8010000c40303") + rand.randbytes(200)),
        ("a map", msgpack.packb({"method": "ping"})),
        ("five elements", msgpack.packb([0, 1, "ping", [{}], None])),
        ("type 7", msgpack.packb([7, 1, "ping", [{}]])),
        ("an answer", msgpack.packb([1, 1, None, {}])),
        ("a method that is a number", msgpack.packb([0, 1, 17, [{}]])),
        ("a msgid beyond 32 bits", msgpack.packb([0, 1 << 32, "ping", [{}]])),
        ("array32 of 4 G", bytes.fromhex("940001a470696e67ddffffffff")),
        ("map32 of 4 G", bytes.fromhex("940001a470696e6791dfffffffff")),
        ("bin32 of 4 GiB", bytes.fromhex("940001a770726f6475636591c6ffffffff") + b"x" * 64),
        ("str32 of 4 GiB", bytes.fromhex("940001dbffffffff") + b"x" * 64),
        ("arrays that grow", bytes.fromhex("940001a470696e67") + b"\xdd\x00\xff\xff\xff" * 9),
        ("0xc1 inside", bytes.fromhex("940001a470696e6791c1")),
    ]


def unfinished(rand):
    """(name, bytes) that may stay open for a while, as more could follow."""
    produce = bytes.fromhex("940001a770726f6475636591c600f00000")
    return [
        ("half a message", msgpack.packb([0, 1, "ping", [{}]])[:-2]),
        ("15 MiB announced", produce + rand.randbytes(99)),
        ("deep nesting", bytes.fromhex("940001a470696e67") + b"\x91" * 3000),
    ]


def peer_lies(rand):
    hello = struct.pack("<IIBBHI", 0x60, 0, 1, 1, 72, 0) + bytes(0x50)
    return [
        ("noise", rand.randbytes(400)),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("a request of a client", msgpack.packb([0, 1, "ping", [{}]]) + bytes(64)),
        ("a wrong checksum", hello),
        ("4 GiB announced", struct.pack("<IIBBHI", 0xFFFFFFFF, 0, 1, 16, 104, 0) + bytes(200)),
        ("size 0", bytes(200)),
    ]


def closes(port, data, seconds=5.0):
    """Sends bytes; True when the other side closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        try:
            connection.sendall(data)
            while connection.recv(65536):
                pass
        except ConnectionError:
            pass
        except TimeoutError:
            return False
    return True


class HostileBytesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cluster.Cluster(1)
        cls.cluster.__enter__()
        cls.addClassCleanup(cls.cluster.__exit__, None, None, None)
        cls.node = cls.cluster.nodes[0]
        cls.rand = random.Random(7)

    def assert_serves(self):
        with rpc.Client(self.node.address, timeout=5) as client:
            self.assertEqual(client.call("ping"), {})

    def assert_bounded(self, port, kinds, close):
        for name, data in kinds:
            if close:
                self.assertTrue(closes(port, data), f"{name}: the connection stayed open")
        self.assert_serves()
        before = self.node.rss_kib()
        held = []
        for number in range(CONNECTIONS):
            name, data = kinds[number % len(kinds)]
            if close:
                closes(port, data)
            else:
                connection = socket.create_connection(("127.0.0.1", port))
                connection.sendall(data)
                held.append(connection)
        self.assert_serves()
        time.sleep(0.2)
        grown = self.node.rss_kib() - before
        for connection in held:
            connection.close()
        self.assertLess(grown, RSS_GROWTH_KIB_MAX, "memory of the node grew")
        self.assert_serves()

    def test_bad_input_lies_to_clients_port_close_the_connection(self):
        self.assert_bounded(self.node.client_port, lies(self.rand), close=True)
        self.assertRegex(self.node.trace(), r"connection closed .*reason")

    def test_bad_input_unfinished_messages_hold_little_memory(self):
        self.assert_bounded(self.node.client_port, unfinished(self.rand), close=False)

    def test_bad_input_lies_to_nodes_port_close_the_connection(self):
        self.assert_bounded(self.node.peer_port, peer_lies(self.rand), close=True)
        peer_lines = [line for line in self.node.trace().splitlines() if "broker:" not in line]
        self.assertRegex("\n".join(peer_lines), r"(?i)(closed|refused).*(reason|why|error)=")

    def test_bad_input_oversized_message_is_refused_at_its_header(self):
        head = bytes.fromhex("940001a770726f6475636591c6") + struct.pack(">I", 17 * 1024 * 1024)
        self.assertTrue(closes(self.node.client_port, head))

    def test_bad_input_random_mutations_leave_the_node_alive(self):
        good = msgpack.packb([0, 1, "produce", [{"topic": "t", "partition": 0, "records": b"x"}]])
        for _ in range(300):
            data = bytearray(good)
            for _ in range(self.rand.randint(1, 4)):
                data[self.rand.randrange(len(data))] = self.rand.randrange(256)
            with socket.create_connection(("127.0.0.1", self.node.client_port)) as connection:
                connection.sendall(data)
        self.assert_serves()


class GreedyClientTest(unittest.TestCase):
    """A client that asks for much and takes nothing costs its share of memory, not more."""

    REQUESTS = 250
    ANSWER_BYTES = 8 << 20
    RSS_GROWTH_KIB_MAX = 100 * 1024  # 250 answers of 8 MiB would be two GiB

    def test_greedy_client_is_bounded_and_others_are_served(self):
        with cluster.Cluster(1) as nodes:
            node = nodes.nodes[0]
            where = {"topic": "t", "partition": 0}
            nodes.spate("topic", "create", "t")
            with rpc.Client(node.address) as client:
                for _ in range(10):
                    client.call("produce", **where, records=[{"v": bytes(1000 * 1000)}])
            before = node.rss_kib()
            with rpc.Client(node.address) as greedy:
                fields = {**where, "offset": 0, "max_bytes": self.ANSWER_BYTES}
                for _ in range(self.REQUESTS):
                    greedy.send("fetch", fields)
                for _ in range(10):
                    with rpc.Client(node.address, timeout=5) as other:
                        self.assertEqual(other.call("ping"), {})
                        answer = other.call("fetch", **where, offset=9)
                        self.assertGreater(len(answer["records"]), 1000 * 1000)
                    self.assertLess(node.rss_kib() - before, self.RSS_GROWTH_KIB_MAX)
                    time.sleep(0.05)
                # Whoever begins to take after all gets everything.
                for _ in range(self.REQUESTS):
                    self.assertIsNone(greedy.receive()[2])


class RefusalsTest(unittest.TestCase):
    """Requests that are messages but ask for what cannot be: `CODE: text`, connection kept."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = cluster.Cluster(1)
        cls.cluster.__enter__()
        cls.addClassCleanup(cls.cluster.__exit__, None, None, None)
        cls.client = rpc.Client(cls.cluster.nodes[0].address)
        cls.addClassCleanup(cls.client.close)
        cls.client.call("topic.create", name="t", partitions=2)
        cls.client.call("topic.create", name="small", config={"max.message.bytes": "2048"})
        leaders = rpc.Leaders([cls.cluster.nodes[0].address])
        for topic, partition in (("t", 0), ("t", 1), ("small", 0)):
            leaders.call("produce", topic=topic, partition=partition, records=[{"v": b"first"}])
        leaders.close()

    def test_refusals_of_parameters_that_make_no_sense_reach_the_client(self):
        """Of every method that has any: nobody waits for an answer that never comes."""
        root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
        header = os.path.join(root, "src/wire/client_api.h")
        with open(header, encoding="utf-8") as handle:
            methods = re.findall(r'^    X\([A-Z_]+, "([a-z.]+)"\)', handle.read(), re.M)
        self.assertIn("group.heartbeat", methods)
        without = {"ping", "group.list", "cluster.info", "cluster.health", "cluster.nodes",
                   "cluster.moves"}
        wrong = ("action", "client", "dry_run", "group", "internal", "name", "node", "topic")
        fields = dict.fromkeys(wrong, [])
        for method in methods:
            if method in without:
                continue
            with self.subTest(method=method):
                self.refused("INVALID", method, **fields)

    def refused(self, code, method, text="", params=None, **fields):
        with self.assertRaises(rpc.Refused) as caught:
            self.client.call_raw(method, [fields] if params is None else params)
        self.assertRegex(str(caught.exception), r"^[A-Z_]+: .+")
        self.assertEqual(caught.exception.code, code, str(caught.exception))
        self.assertIn(text, caught.exception.text)
        self.assertEqual(self.client.call("ping"), {})

    def produce(self, records, **fields):
        return {"topic": "t", "partition": 0, "records": records, **fields}

    def test_refusal_unknown_method(self):
        self.refused("UNKNOWN_METHOD", "topic.paint", "topic.paint")
        self.refused("UNKNOWN_METHOD", "", "docs/protocol.md")
        self.refused("UNKNOWN_METHOD", "x" * 5000)

    def test_refusal_missing_or_mistyped_field(self):
        self.refused("INVALID", "topic.create", "`name` is missing")
        self.refused("INVALID", "topic.create", "`name`", name=5)
        self.refused("INVALID", "topic.create", "`partitions`", name="u", partitions="3")
        self.refused("INVALID", "topic.create", "at least 1", name="u", partitions=0)
        self.refused("INVALID", "topic.create", "10000", name="u", partitions=10001)
        self.refused("INVALID", "topic.create", "replicas", name="u", replicas=8)
        self.refused("INVALID", "topic.create", "max.message.bytes", name="u", config={"a": "b"})
        for number in ("0", "1023", "8388609", "99999999999999999999", "x", ""):
            settings = {"max.message.bytes": number}
            self.refused("INVALID", "topic.create", "1024 to 8388608", name="u", config=settings)
        self.refused("INVALID", "produce", "`records` is missing", topic="t", partition=0)
        self.refused("INVALID", "produce", "`partition`", topic="t", partition=-1, records=b"")
        self.refused("INVALID", "produce", "record 0", **self.produce([{"v": 17}]))
        self.refused("INVALID", "produce", "record 1", **self.produce([{"v": b""}, 3]))
        self.refused("INVALID", "produce", "at least one", **self.produce([]))
        self.refused("INVALID", "fetch", "`offset` is missing", topic="t", partition=0)
        self.refused("INVALID", "fetch", "`format`", topic="t", partition=0, offset=0, format="xml")
        self.refused("INVALID", "offsets", "`at`", topic="t", partition=0, at="noon")
        self.refused("INVALID", "metadata", "`topics`", topics="t")
        self.refused("INVALID", "metadata", "params", params=[1, 2])
        self.refused("INVALID", "metadata", "params", params="t")

    def test_refusal_field_given_twice(self):
        twice = bytes.fromhex("940063ae746f7069632e6465736372696265") + b"\x91\x82"
        twice += msgpack.packb("name") + msgpack.packb("t") + msgpack.packb("name") + b"\xa1u"
        self.client.socket.sendall(twice)
        self.assertIn("given twice", self.client.receive()[2])

    def test_refusal_unknown_topic_or_partition(self):
        for method, fields in (
            ("produce", {"records": [{"v": b"x"}]}),
            ("fetch", {"offset": 0}),
            ("offsets", {}),
        ):
            self.refused("UNKNOWN_TOPIC", method, "no topic", topic="no", partition=0, **fields)
            self.refused("UNKNOWN_PARTITION", method, "0 to 1", topic="t", partition=2, **fields)
        self.refused("UNKNOWN_TOPIC", "topic.describe", name="no")
        self.refused("UNKNOWN_TOPIC", "topic.delete", name="no")
        self.refused("UNKNOWN_TOPIC", "fetch", topic="t", topic_id=999, partition=0, offset=0)
        self.refused("EXISTS", "topic.create", name="t")

    def test_refusal_offset_out_of_range(self):
        for offset in (2, 1 << 40):
            self.refused(
                "OFFSET_OUT_OF_RANGE", "fetch", "0 to 1", topic="t", partition=0, offset=offset
            )

    def test_refusal_topic_names(self):
        for name in ("", ".", "..", "a/b", "a b", "ä", "x\0y", "a\n", "x" * 250):
            self.refused("INVALID", "topic.create", name=name)
        self.assertEqual(self.client.call("topic.create", name="x" * 249)["partitions"], 1)
        self.client.call("topic.delete", name="x" * 249)

    def test_refusal_unsound_batches(self):
        good = rpc.encode_batch([b"one", b"two"])
        wrong_crc = rpc.encode_batch([b"one"], crc=1)
        self.refused("CORRUPT", "produce", "records", **self.produce(wrong_crc))
        self.refused("MALFORMED", "produce", "records", **self.produce(good[:-1]))
        self.refused("MALFORMED", "produce", "records", **self.produce(good + b"x"))
        self.refused("MALFORMED", "produce", "records", **self.produce(b""))
        self.refused("UNSUPPORTED", "produce", **self.produce(good[:16] + b"\x01" + good[17:]))
        zstd = rpc.encode_batch([b"x"], attributes=4)
        self.refused("UNSUPPORTED", "produce", **self.produce(zstd))
        control = rpc.encode_batch([b"x"], attributes=0x20)
        self.refused("INVALID", "produce", **self.produce(control))
        for position in range(21, len(good)):
            changed = bytearray(good)
            changed[position] ^= 0x10
            self.refused("CORRUPT", "produce", **self.produce(bytes(changed)))

    def test_refusal_batch_above_max_message_bytes(self):
        small = {"topic": "small", "partition": 0}
        above = rpc.encode_batch([b"x" * 2000])
        self.refused("TOO_LARGE", "produce", "2048", **small, records=above)
        self.refused("TOO_LARGE", "produce", "record", **small, records=[{"v": b"x" * 2000}])
        self.client.call("produce", **small, records=rpc.encode_batch([b"x" * 1900]))
        large = [{"v": bytes(BATCH_BYTES_MAX)}]
        self.refused("TOO_LARGE", "produce", **self.produce(large))

    def test_refusal_producer_sequences(self):
        def batch(producer, epoch, sequence):
            return self.produce(rpc.encode_batch([b"x"], producer=(producer, epoch, sequence)))

        producer = self.client.call("producer.init")["producer_id"]
        self.refused("UNKNOWN_PRODUCER", "produce", **batch(producer, 1, 7))
        first = self.client.call("produce", **batch(producer, 1, 0))
        again = self.client.call("produce", **batch(producer, 1, 0))
        self.assertEqual(again["offset"], first["offset"])
        self.refused("OUT_OF_ORDER_SEQUENCE", "produce", **batch(producer, 1, 2))
        self.refused("PRODUCER_FENCED", "produce", **batch(producer, 0, 1))
        for sequence in range(1, 7):
            self.client.call("produce", **batch(producer, 1, sequence))
        self.refused("EXISTS", "produce", **batch(producer, 1, 0))


class WrongClusterTest(unittest.TestCase):
    def test_wrong_cluster_is_refused_on_the_nodes_port(self):
        with cluster.Cluster(2) as first, cluster.Cluster(2) as second:
            own, stranger = first.node(2), second.node(2)
            own.stop()
            stranger.stop()
            # The stranger has the same node id and is sent to the first cluster.
            stranger.write_config(
                f"{node.number}@127.0.0.1:{node.peer_port}" for node in (first.node(1), stranger)
            )
            stranger.start()

            cluster.wait_for(
                "a refusal in the trace",
                lambda: re.search(r"refused .*another cluster", first.node(1).trace()),
            )
            stranger.kill()
            own.start()
            first.wait_healthy()


class ProgramTest(unittest.TestCase):
    """`spated` itself: configuration, locked directory, ports in use."""

    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="spate-test-")
        self.addCleanup(self.directory.cleanup)

    def check(self, text, *options, environment=None):
        path = os.path.join(self.directory.name, "spated.yaml")
        with open(path, "w", encoding="utf-8") as handle:
            handle.write(text)
        done = subprocess.run(
            [cluster.SPATED, "--check-config", "--config", path, *options],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
            env={**os.environ, **(environment or {})},
        )
        return done.returncode, done.stdout, done.stderr

    def assert_refused(self, text, *words, options=(), environment=None):
        code, _, error = self.check(text, *options, environment=environment)
        self.assertEqual(code, 2, error)
        for word in words:
            self.assertIn(word, error)

    def test_configuration_sound_file_is_printed(self):
        code, out, error = self.check("node:\n  id: 7\ntrace.level: debug\n")
        self.assertEqual((code, error), (0, ""))
        self.assertIn("node.id: 7", out)
        self.assertIn("trace.level: debug", out)

    def test_configuration_error_names_file_line_key_and_allowed_values(self):
        self.assert_refused("node:\n  id: zero\n", "spated.yaml:2:", "node.id", "from 1 to 1023")
        self.assert_refused("node:\n  id: 1024\n", "spated.yaml:2:", "node.id", "from 1 to 1023")
        levels = "error|warn|info|debug"
        self.assert_refused("\n\ntrace.level: loud\n", "yaml:3:", "trace.level", levels)
        near = "did you mean `node.id`"
        self.assert_refused("node:\n  idd: 1\n", "spated.yaml:2:", "node.idd", near)
        self.assert_refused("node:\n  id: \"1\n", "spated.yaml:", "not valid YAML")
        self.assert_refused("cluster.seeds: [x]\n", "cluster.seeds", "ID@HOST:PORT")
        self.assert_refused("- 1\n", "spated.yaml:1:", "key: value")
        self.assert_refused("node:\n  id: 1\n  id: 2\n", "spated.yaml:3:", "node.id", "twice")

    def test_configuration_of_option_and_environment_is_named(self):
        self.assert_refused("", "--set", "node.id", options=["--set", "node.id=x"])
        self.assert_refused("", "--set", "key=value", options=["--set", "node.id"])
        name = "SPATE_NODE_NODE_ID"
        self.assert_refused("", name, "node.id", environment={name: "x"})
        self.assert_refused("", "SPATE_NODE_NO", environment={"SPATE_NODE_NO": "x"})
        code, out, _ = self.check("node.id: 3\n", "--set", "node.id=5", environment={name: "4"})
        self.assertEqual(code, 0)
        self.assertIn("node.id: 5", out)

    def test_configuration_missing_file_is_named(self):
        done = subprocess.run(
            [cluster.SPATED, "--config", "/nonexistent/spated.yaml"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        self.assertEqual(done.returncode, 2)
        self.assertIn("/nonexistent/spated.yaml", done.stderr)

    def test_example_configuration_is_accepted_with_every_line_in_force(self):
        example = subprocess.run(
            [cluster.SPATED, "--example"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
        lines = [line[1:] for line in example.splitlines() if line[:1] == "#" and line[1:2] != " "]
        self.assertGreater(len(lines), 8)
        code, _, error = self.check("\n".join(lines) + "\n")
        self.assertEqual(code, 0, error)

    def test_locked_directory_refuses_a_second_node(self):
        with cluster.Cluster(1) as nodes:
            second = cluster.Node(1, os.path.join(nodes.directory, "second"))
            second.data = nodes.nodes[0].data
            second.write_config([f"1@127.0.0.1:{second.peer_port}"])
            second.start()
            self.assertNotEqual(second.wait(10), 0)
            self.assertIn("LOCKED", second.trace())
            self.assertIn(second.data, second.trace())
            with rpc.Client(nodes.nodes[0].address) as client:
                self.assertEqual(client.call("ping"), {})

    def test_port_in_use_is_named(self):
        with cluster.Cluster(1) as nodes:
            second = cluster.Node(1, os.path.join(nodes.directory, "second"))
            second.client_port = nodes.nodes[0].client_port
            second.address = nodes.nodes[0].address
            second.write_config([f"1@127.0.0.1:{second.peer_port}"])
            second.start()
            self.assertNotEqual(second.wait(10), 0)
            self.assertIn("listen.client", second.trace())


if __name__ == "__main__":
    cluster.main()
