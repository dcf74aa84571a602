#!/usr/bin/env python3
"""docs/protocol.md tells the truth: its bytes, its literals, its programs, against a real node.

The document holds fenced blocks that say what they are:

    ```python request    a literal, followed by   ```hex request   the same as bytes
    ```python answer     likewise                 ```hex answer
    ```hex batch         the RecordBatch of the examples
    ```python example    a program, followed by   ```text output   what it prints (`...`: anything)
    ```python program    likewise
    ```python service    likewise, but it runs until SIGTERM
"""

import ast
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import unittest

import msgpack

import cluster
import rpc

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
DOCUMENT = os.path.join(ROOT, "docs", "protocol.md")
FENCE = re.compile(r"^```(\w+) (\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CLIENT = re.compile(r"^\|.*\]\((\.\./tests/[\w/.-]+)\) \| (\d+) \|$", re.MULTILINE)
METHODS = re.compile(r'X\([A-Z_]+, "([a-z.]+)"\)')


def read(path):
    with open(path, encoding="utf-8") as handle:
        return handle.read()


def unhex(text):
    return bytes.fromhex(re.sub(r"#.*", "", text))


class Section:
    def __init__(self, title, body):
        self.title = title
        self.body = body
        self.blocks = [match.groups() for match in FENCE.finditer(body)]

    def of(self, language, kind):
        return [text for lang, what, text in self.blocks if (lang, what) == (language, kind)]

    def pairs(self, kind):
        literals, bytes_ = self.of("python", kind), self.of("hex", kind)
        assert len(literals) == len(bytes_), f"{self.title}: literals and bytes of {kind}"
        return [(ast.literal_eval(text), unhex(data)) for text, data in zip(literals, bytes_)]

    def programs(self, kinds=("example", "program")):
        """(program, what it prints)"""
        found = []
        for (language, kind, text), following in zip(self.blocks, self.blocks[1:]):
            if language == "python" and kind in kinds:
                assert following[:2] == ("text", "output"), f"{self.title}: no output"
                found.append((text, following[2]))
        return found


def sections():
    parts = re.split(r"^#{2,3} (.*)$", read(DOCUMENT), flags=re.MULTILINE)
    return [Section(title, body) for title, body in zip(parts[1::2], parts[2::2])]


def shape(value):
    """What of an answer must be as documented: keys and types, not numbers."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def matches(documented, real):
    """`real` has the documented shape; an array may be empty on either side."""
    if isinstance(documented, dict):
        return (
            isinstance(real, dict)
            and documented.keys() == real.keys()
            and all(matches(documented[key], real[key]) for key in documented)
        )
    if isinstance(documented, list):
        return isinstance(real, list) and (
            not documented or not real or matches(documented[0], real[0])
        )
    return isinstance(real, type(documented))


class BytesTest(unittest.TestCase):
    """What needs no node."""

    def test_protocol_doc_every_method_has_request_answer_and_program(self):
        header = read(os.path.join(ROOT, "src", "wire", "client_api.h"))
        by_title = {section.title: section for section in sections()}
        methods = METHODS.findall(header)
        self.assertGreater(len(methods), 10)
        for method in methods:
            section = by_title[method]
            self.assertTrue(section.of("hex", "request"), method)
            self.assertTrue(section.of("hex", "answer"), method)
            self.assertTrue(section.programs(), method)
            for program, _ in section.programs():
                self.assertLessEqual(len(program.splitlines()), 10, f"lines of {method}")
            for request, _ in section.pairs("request"):
                self.assertEqual(request[2], method)

    def test_protocol_doc_bytes_are_the_literals(self):
        count = 0
        for section in sections():
            for kind in ("request", "answer"):
                for literal, data in section.pairs(kind):
                    self.assertEqual(msgpack.unpackb(data, raw=False), literal, section.title)
                    count += 1
        self.assertGreater(count, 28)

    def test_protocol_doc_table_of_clients_is_right(self):
        section = next(one for one in sections() if one.title == "Clients in other languages")
        rows = CLIENT.findall(section.body)
        self.assertGreaterEqual(len(rows), 4)
        for path, lines in rows:
            text = read(os.path.normpath(os.path.join(ROOT, "docs", path)))
            self.assertEqual(len(text.splitlines()), int(lines), path)

    def test_protocol_doc_batch_is_a_sound_batch(self):
        texts = [text for section in sections() for text in section.of("hex", "batch")]
        self.assertEqual(len(texts), 1)
        header, records = rpc.decode_batch(unhex(texts[0]))
        self.assertEqual((header["producer_id"], header["base_sequence"]), (1000, 0))
        expected = {"o": 0, "t": 1700000000000, "k": b"k1", "v": b"hello"}
        self.assertEqual(records, [{**expected, "h": [["source", b"till-7"]]}])
        produce = next(section for section in sections() if section.title == "produce")
        sent = [literal[3][0]["records"] for literal, _ in produce.pairs("request")]
        self.assertIn(unhex(texts[0]), sent)


@unittest.skipIf("--bytes" in sys.argv, "only the bytes")
class LiveTest(unittest.TestCase):
    """The same against a node."""

    def fresh(self, client, with_topic):
        """Only the topic that the examples use, with one record, or none; no consumer groups."""
        for group in client.call("group.list")["groups"]:
            for member in client.call("group.describe", group=group["group"])["members"]:
                client.call("group.leave", group=group["group"], member=member["member"])
            client.call("group.delete", group=group["group"])
        for topic in client.call("topic.list")["topics"]:
            client.call("topic.delete", name=topic["name"])
        if with_topic:
            client.call("topic.create", name="orders")
            leader = rpc.Leaders([client_address(client)])
            record = {"k": b"k1", "v": b"hello", "t": 1700000000000}
            leader.call("produce", topic="orders", partition=0, records=[record])
            leader.close()

    def with_group(self, client, title, literal, data):
        """The bytes of a request with the id of a real member in place of the documented one; for
        those that need a group without members, one with an offset."""
        offsets = [{"topic": "orders", "partition": 0, "offset": 1, "metadata": "till-7"}]
        if title in ("group.seek", "group.delete"):
            client.call("group.commit", group="billing", offsets=offsets)
        elif title.startswith("group.") and title not in ("group.find", "group.join"):
            joined = client.call("group.join", group="billing", topics=["orders"])
            fields = {"group": "billing", "member": joined["member"], "offsets": offsets}
            client.call("group.commit", **fields)
            documented = literal[3][0].get("member", "").encode()
            data = data.replace(documented, joined["member"].encode()) if documented else data
        return data

    def test_protocol_doc_requests_are_answered_as_documented(self):
        with cluster.Cluster(1) as nodes, rpc.Client(nodes.nodes[0].address) as client:
            for section in sections():
                for literal, data in section.pairs("request"):
                    self.fresh(client, with_topic=section.title != "topic.create")
                    data = self.with_group(client, section.title, literal, data)
                    client.socket.sendall(data)
                    if literal[0] == 2:
                        continue
                    kind, msgid, error, result = client.receive()
                    documented = [answer for answer, _ in section.pairs("answer")]
                    self.assertEqual((kind, msgid), (1, literal[1]), section.title)
                    codes = [answer[2] and answer[2].split(":")[0] for answer in documented]
                    self.assertIn(error and error.split(":")[0], codes, section.title)
                    answers = [answer[3] for answer in documented]
                    self.assertTrue(
                        any(matches(answer, result) for answer in answers),
                        f"{section.title}: {result} is not like {answers}",
                    )
                    if section.title == "produce":
                        self.check_stored(client, literal[3][0]["records"])

    def check_stored(self, client, records):
        where = {"topic": "orders", "partition": 0, "offset": 1}
        plain = client.call("fetch", **where, format="records")["records"]
        stored = client.call("fetch", **where)["records"]
        self.assertEqual([(r["k"], r["v"]) for r in plain], [(b"k1", b"hello")])
        self.assertEqual(rpc.decode_batch(stored)[1], plain)
        if isinstance(records, bytes):
            self.assertEqual(stored[16:], records[16:], "not the bytes of the producer")

    def test_protocol_doc_programs_print_what_they_should(self):
        with cluster.Cluster(1) as nodes, rpc.Client(nodes.nodes[0].address) as client:
            ran = 0
            for section in sections():
                for program, expected in section.programs():
                    self.fresh(client, with_topic=True)
                    if section.title == "topic.delete":
                        client.call("topic.create", name="invoices")
                    self.run_program(section.title, program, expected, nodes.nodes[0].client_port)
                    ran += 1
            self.assertGreater(ran, 13)

    def start_service(self, *ports):
        """The group consumer. Its output comes line by line, and it dies with the test."""
        (program, expected), *others = [
            pair for section in sections() for pair in section.programs(("service",))
        ]
        self.assertEqual(others, [])
        self.assertIn("7700", program)
        servers = '", "127.0.0.1:'.join(map(str, ports))
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", program.replace("7700", servers)],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=cluster.die_with_parent,
        )
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process, expected

    def stop_service(self, process):
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.communicate(timeout=20)[0], "", "nothing is left to print")
        self.assertEqual(process.returncode, 0)

    def test_protocol_doc_group_consumer_shares_gives_up_and_comes_back(self):
        with cluster.Cluster(1) as nodes, rpc.Client(nodes.nodes[0].address) as client:
            port = nodes.nodes[0].client_port
            self.fresh(client, with_topic=True)
            first, expected = self.start_service(port)
            self.assertEqual(first.stdout.readline(), expected)
            self.stop_service(first)
            self.assertEqual(client.call("group.describe", group="billing")["members"], [])

            client.call("topic.delete", name="orders")
            client.call("group.delete", group="billing")
            client.call("topic.create", name="orders", partitions=2)
            nodes.wait_healthy()
            first, second = self.start_service(port)[0], None
            self.owners(client, 1)
            self.feed(client, 2, b"a")
            read = [first.stdout.readline(), first.stdout.readline()]
            self.assertEqual(sorted(read), ["orders 0 0 b'a'\n", "orders 1 0 b'a'\n"])

            second = self.start_service(port)[0]
            owners = self.owners(client, 2)
            self.feed(client, 2, b"b")
            read = [first.stdout.readline(), second.stdout.readline()]
            self.assertEqual(sorted(read), ["orders 0 1 b'b'\n", "orders 1 1 b'b'\n"])

            # What is not committed is rightly read again by the next owner.
            cluster.wait_for("a commit of both", lambda: self.committed(client) == {0: 2, 1: 2})
            for member in owners:  # unknown now, so each joins again
                client.call("group.leave", group="billing", member=member)
            cluster.wait_for("new members", lambda: not owners & self.owners(client, 2))
            self.feed(client, 2, b"c")
            read = [first.stdout.readline(), second.stdout.readline()]
            self.assertEqual(sorted(read), ["orders 0 2 b'c'\n", "orders 1 2 b'c'\n"])

            self.stop_service(first)
            self.owners(client, 1)
            self.feed(client, 2, b"d")
            read = [second.stdout.readline(), second.stdout.readline()]
            self.assertEqual(sorted(read), ["orders 0 3 b'd'\n", "orders 1 3 b'd'\n"])
            self.stop_service(second)

    def test_protocol_doc_group_consumer_outlives_a_node_that_hangs(self):
        with cluster.Cluster(3) as nodes:
            nodes.spate("topic", "create", "orders", "-r", "3")
            nodes.wait_healthy()
            hangs = nodes.leader("orders")
            others = [node for node in nodes.nodes if node is not hangs]
            ports = [node.client_port for node in (hangs, *others)]
            with contextlib.closing(rpc.Leaders([node.address for node in others])) as client:
                process = self.start_service(*ports)[0]
                owners = self.owners(client, 1)
                limit = threading.Timer(30, process.kill)  # it would print nothing for longer
                limit.start()
                os.kill(hangs.process.pid, signal.SIGSTOP)
                try:
                    nodes.servers = ",".join(node.address for node in others)
                    nodes.spate("produce", "orders", input=b"a\n")
                    self.assertEqual(process.stdout.readline(), "orders 0 0 b'a'\n")
                    self.assertEqual(self.owners(client, 1), owners, "it had to join again")
                finally:
                    os.kill(hangs.process.pid, signal.SIGCONT)
                    limit.cancel()
                self.stop_service(process)

    def feed(self, client, partitions, value):
        for number in range(partitions):
            where = {"topic": "orders", "partition": number}
            client.call("produce", **where, records=[{"v": value}])

    def committed(self, client):
        rows = client.call("group.committed", group="billing")["offsets"]
        return {row["partition"]: row["offset"] for row in rows}

    def owners(self, client, count):
        """The members, once so many own the partitions."""

        def settled():
            try:
                group = client.call("group.describe", group="billing")
            except rpc.Refused:
                return None
            owners = {part["owner"] for part in group["partitions"]}
            members = {member["member"] for member in group["members"] if member["owned"]}
            stable = group["state"] == "stable" and owners == members
            return owners if stable and len(owners) == count else None

        return cluster.wait_for(f"{count} owners", settled)

    def run_program(self, title, program, expected, port):
        self.assertIn("7700", program)
        done = subprocess.run(
            [sys.executable, "-c", program.replace("7700", str(port))],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        self.assertEqual(done.returncode, 0, f"{title}: {done.stderr}")
        pattern = re.escape(expected.rstrip("\n")).replace(r"\.\.\.", ".*")
        self.assertRegex(done.stdout.rstrip("\n"), re.compile(f"^{pattern}$", re.DOTALL), title)


def client_address(client):
    host, port = client.socket.getpeername()
    return f"{host}:{port}"


if __name__ == "__main__":
    if "--bytes" in sys.argv:
        sys.argv.remove("--bytes")
        del LiveTest
        unittest.main(verbosity=2)
    cluster.main()
