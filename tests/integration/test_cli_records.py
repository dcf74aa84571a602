#!/usr/bin/env python3
"""`spate produce` and `spate consume` against three real nodes: formats, bounds, several topics,
JSON lines, and what happens when something is missing."""

import contextlib
import json
import os
import random
import signal
import subprocess
import tempfile
import threading
import time
import unittest

import cluster
import rpc
from waiting import wait_for

MIB = 1024 * 1024


class CliRecordsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.nodes = cluster.Cluster(3)
        cls.nodes.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.nodes.__exit__(None, None, None)

    def setUp(self):
        self.topic = self.id().rsplit(".", 1)[-1].replace("test_", "")
        self.nodes.spate("topic", "create", self.topic, "-p", "2", "-r", "3")

    def run_spate(self, code, *arguments, **options):
        done = self.nodes.run(*arguments, **options)
        self.assertEqual(done.returncode, code, done.stderr.decode())
        return done.stdout, done.stderr.decode()

    def produce(self, data, *arguments, topic=None):
        return self.nodes.spate("produce", topic or self.topic, *arguments, input=data)

    def consume(self, *arguments, topic=None):
        return self.nodes.spate("consume", topic or self.topic, *arguments)

    # ---- what the topic takes -------------------------------------------------------------------

    def test_large_records_where_the_topic_takes_them(self):
        topic = self.topic + "-8M"
        self.nodes.spate("topic", "create", topic, "-c", "max.message.bytes=8M")
        values = [random.randbytes(size) for size in (2_000_000, 4 * MIB + 5, 8_000_000)]
        for value in values:
            self.produce(value, "-f", "%v", topic=topic)
        framed = b"".join(len(v).to_bytes(4, "big") + v for v in values)
        self.assertEqual(self.consume("-e", "-f", "%V{big32}%v", topic=topic), framed)
        hexed = values[2].hex().encode() + b"\n"
        self.produce(hexed, "-f", r"%v{hex}\n", topic=topic)
        self.assertEqual(self.consume("-e", "-o", "-1", "-f", r"%v{hex}\n", topic=topic), hexed)

    def test_record_that_is_too_large_names_the_setting(self):
        value = random.randbytes(2_000_000)
        _, errors = self.run_spate(1, "produce", self.topic, "-f", "%v", input=value)
        self.assertIn("batch of 1114112 bytes, the most for topic", errors)
        self.assertIn("raise max.message.bytes of the topic", errors)
        value = random.randbytes(9_000_000)
        _, errors = self.run_spate(1, "produce", self.topic, "-f", "%v", input=value)
        self.assertIn("no key or value may be larger than 8388608 bytes", errors)

    def test_topic_that_takes_little_gets_small_batches(self):
        topic = self.topic + "-16K"
        self.nodes.spate("topic", "create", topic, "-c", "max.message.bytes=16K")
        lines = b"".join(b"%d\n" % i for i in range(1, 2001))
        for compression in ("none", "lz4"):
            self.produce(lines, "-p", "0", "-X", f"compression={compression}", topic=topic)
            self.assertEqual(self.consume("-e", "-o", "-2000", topic=topic), lines)

    def test_limit_lowered_under_a_running_producer(self):
        topic = self.topic + "-1K"
        self.nodes.spate("topic", "create", topic)
        pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
        with self.nodes.popen("produce", topic, "-p", "0", **pipes) as producer:
            for first in range(0, 60_000, 10_000):
                producer.stdin.write(b"".join(b"%05d\n" % i for i in range(first, first + 10_000)))
                producer.stdin.flush()
                if first == 20_000:
                    self.nodes.spate("topic", "alter", topic, "-c", "max.message.bytes=1K")
            producer.stdin.close()
            errors = producer.stderr.read().decode()
            self.assertEqual(producer.wait(60), 0, errors)
        expected = b"".join(b"%05d\n" % i for i in range(60_000))
        self.assertEqual(self.consume("-e", topic=topic), expected)

    # ---- formats --------------------------------------------------------------------------------

    def test_escapes_of_one_record(self):
        self.produce(b"hello", "-p", "1", "-k", "k\x01", "-H", "a:1", "-f", "%v")
        self.assertEqual(
            self.consume("-e", "-f", r"%t %p %o %K %V|%k|%s|%h|%i %%\x41\n"),
            f"{self.topic} 1 0 2 5|k\x01|hello|a=1|1 %A\n".encode(),
        )
        self.assertGreater(int(self.consume("-e", "-f", "%e")), 0)
        self.assertEqual(
            self.consume("-e", "-f", r"%k{hex} %v{base64} %v{json}"), b'6b01 aGVsbG8= "hello"'
        )
        year, stamp = self.consume("-e", "-f", "%d{%Y} %d").split()
        self.assertEqual(year, time.strftime("%Y", time.gmtime()).encode())
        self.assertRegex(stamp.decode(), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")

    def test_json_strings_keep_any_bytes(self):
        values = [b"", b"a\nb", b"\xff\x00\xfe", "ä".encode(), b'"\\', random.randbytes(1000)]
        framed = b"".join(len(v).to_bytes(4, "big") + v for v in values)
        self.produce(framed, "-p", "0", "-f", "%V{big32}%v")
        lines = self.consume("-e", "-f", r"%v{json}\n")
        self.assertEqual(len(lines.splitlines()), len(values))
        self.produce(lines, "-p", "1", "-f", r"%v{json}\n")
        self.assertEqual(self.consume("-e", "-p", "1", "-f", "%V{big32}%v"), framed)
        hexed = self.consume("-e", "-p", "1", "-f", r"%v{hex}\n")
        self.assertEqual(hexed.split(b"\n")[:-1], [value.hex().encode() for value in values])

    def test_headers_and_topics_come_from_the_input(self):
        other = self.topic + "-2"
        self.nodes.spate("topic", "create", other, "-p", "1")
        lines = f"{self.topic} 1 7000 a=1,b=2 one\n{other} 0 8000  two\n"
        self.nodes.spate("produce", "-f", r"%t %p %T %h %v\n", "-H", "c:3", input=lines.encode())
        self.assertEqual(self.consume("-e", "-f", "%p %T %h %v"), b"1 7000 c=3,a=1,b=2 one")
        self.assertEqual(self.consume("-e", "-f", "%p %T %h %v", topic=other), b"0 8000 c=3 two")
        self.run_spate(2, "produce", self.topic, "-f", r"%t %v\n")
        _, errors = self.run_spate(3, "produce", "-f", r"%t %v\n", input=b"nothing x\n")
        self.assertIn("nothing", errors)

    def test_tombstones_have_no_value(self):
        self.nodes.spate("produce", self.topic, "-p", "0", "-k", "anna", "--tombstone")
        self.produce(b"a:\nb:x\n", "-p", "0", "-K", ":", "-Z")
        self.produce(b"c:\n", "-p", "0", "-K", ":")
        records = [json.loads(line) for line in self.consume("-e", "-J").splitlines()]
        self.assertEqual(
            [(record["key"], record["value"]) for record in records],
            [("anna", None), ("a", None), ("b", "x"), ("c", "")],
        )
        self.run_spate(2, "produce", self.topic, "--tombstone")
        self.run_spate(2, "produce", self.topic, "--tombstone", "-k", "a", "-F", "x")

    def test_wrong_input_names_the_record(self):
        _, errors = self.run_spate(
            1, "produce", self.topic, "-f", r"%v{hex}\n", input=b"00\nxyz\n"
        )
        self.assertIn("record 2 does not follow the format", errors)
        self.assertIn("stopped at record 2, the rest of the input was not sent", errors)

    def test_records_behind_one_that_has_no_place_are_sent(self):
        lines = f"{self.topic}|0|a\nnope|0|b\n{self.topic}|0|c\n{self.topic}|7|d\na b|0|e\n"
        lines += f"{self.topic}|1|f\nnope|-|g\n{self.topic}|0|h\n"
        arguments = ("produce", "--json", "-f", r"%t|%p|%v\n")
        out, errors = self.run_spate(7, *arguments, input=lines.encode())
        told = [json.loads(line) for line in out.splitlines()]
        failed = [(line["topic"], line["partition"], line["error"]) for line in told
                  if "error" in line]
        self.assertEqual(failed, [
            ("nope", 0, "UNKNOWN_TOPIC"), (self.topic, 7, "UNKNOWN_PARTITION"),
            ("a b", 0, "INVALID"), (None, -1, "MALFORMED"),
        ])
        self.assertEqual(self.consume("-e", "-p", "0"), b"a\nc\n")
        self.assertEqual(self.consume("-e", "-p", "1"), b"f\n")
        for number, reason in ((2, "no topic `nope`"), (4, "there is no partition 7")):
            self.assertIn(f"record {number}: {reason}" if number == 2 else reason, errors)
        self.assertRegex(errors, "record 5: .*a topic's name has")
        self.assertIn("record 7 does not follow the format", errors)
        self.assertIn("stopped at record 7, the rest of the input was not sent", errors)
        self.assertIn("3 of 6 records failed, 0 of these may be stored", errors)
        lines = b"".join(b"%s|0|a\n" % (b"nope", b"none")[i % 2] for i in range(2000))
        out, errors = self.run_spate(3, *arguments, input=lines, seconds=60)  # asked for once
        self.assertEqual(out.count(b"UNKNOWN_TOPIC"), 2000)
        self.assertEqual(errors.count("no topic `"), 5)
        self.assertIn("2000 of 2000 records failed", errors)
        self.assertNotIn("stopped", errors)

    # ---- JSON -----------------------------------------------------------------------------------

    def test_produce_json_tells_where_each_record_is(self):
        lines = self.produce(b"a\nb\n", "-p", "1", "--json").splitlines()
        self.assertEqual(
            [json.loads(line) for line in lines],
            [{"topic": self.topic, "partition": 1, "offset": offset} for offset in (0, 1)],
        )
        out, errors = self.run_spate(3, "produce", "nothing", "--json", input=b"a\n")
        self.assertEqual(out, b"")
        self.assertIn("UNKNOWN_TOPIC", errors)

    def test_consume_json_and_meta_only(self):
        self.produce(b"\xff", "-p", "0", "-H", "h:1", "-f", "%v")
        record = json.loads(self.consume("-e", "-J"))
        self.assertEqual(record.pop("timestamp") // 100000, int(time.time()) // 100)
        expected = {
            "topic": self.topic, "partition": 0, "offset": 0, "key": None,
            "value": {"$bin": "/w=="}, "headers": [["h", "1"]],
        }
        self.assertEqual(record, expected)
        record = json.loads(self.consume("-e", "-J", "--meta-only"))
        self.assertEqual(record["value_size"], 1)
        self.assertNotIn("value", record)
        columns = self.consume("-e", "--meta-only").decode().rstrip("\n").split("\t")
        self.assertEqual(columns[:3] + columns[4:], [self.topic, "0", "0", "0", "1"])
        self.run_spate(2, "consume", self.topic, "--meta-only", "-f", "%v")

    def test_consume_says_what_does_not_go_together(self):
        self.produce(b"a\n", "-p", "0")
        _, errors = self.run_spate(2, "consume", self.topic, "--json", "-f", "%v")
        self.assertIn("no --json", errors)
        self.assertEqual(self.consume("-e", "-p", "0,0"), b"a\n")  # one that is named twice

    def test_first_interrupt_ends_a_consume_whose_reader_rests(self):
        self.produce(b"x" * 999 + b"\n" + (b"y" * 999 + b"\n") * 1000, "-p", "0")
        for member in ([], ["-g", self.topic]):
            with self.subTest(member=member):
                reader = self.nodes.popen(
                    "consume", self.topic, "-o", "start", *member,
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                )
                self.assertEqual(reader.stdout.readline(), b"x" * 999 + b"\n")

                def blocks():  # in the write of more than the pipe takes
                    with open(f"/proc/{reader.pid}/wchan") as file:
                        return "pipe" in file.read()

                cluster.wait_for("the output blocks", blocks, 10)
                reader.send_signal(signal.SIGINT)
                self.assertEqual(reader.wait(10), 130)
                self.assertEqual(reader.stderr.read(), b"")
                reader.stdout.close()
                reader.stderr.close()

    # ---- bounds and topics ----------------------------------------------------------------------

    def test_until_an_offset_on_every_partition(self):
        self.produce(b"%d\n" * 200000 % tuple(range(200000)), "-p", "0")
        self.produce(b"a\nb\nc\n", "-p", "1")
        out = self.consume("--until", "2", "-f", r"%p:%v\n").split()
        self.assertEqual(sorted(out), [b"0:0", b"0:1", b"1:a", b"1:b"])
        self.assertEqual(self.consume("--until", "2", "-o", "2"), b"")
        self.assertEqual(len(self.consume("--until", "end").split()), 200003)
        self.run_spate(2, "consume", self.topic, "--until", "soon")

    def test_until_an_offset_waits_for_it(self):
        reader = self.nodes.popen(
            "consume", self.topic, "-p", "0", "--until", "3", "-f", "%v", stdout=subprocess.PIPE
        )
        for value in (b"a", b"b"):
            self.produce(value, "-p", "0")
        time.sleep(0.5)
        self.assertIsNone(reader.poll())
        self.produce(b"c\nd\n", "-p", "0")
        self.assertEqual(reader.communicate(timeout=10)[0], b"abc")
        self.assertEqual(reader.returncode, 0)

    def test_many_topics_are_begun_together(self):
        count = 400
        calls = rpc.Leaders([node.address for node in self.nodes.nodes])
        self.addCleanup(calls.close)
        for i in range(count):
            calls.call("topic.create", name=f"crowd{i:03}", partitions=1, replicas=1)
        self.consume("-r", "-e", topic="crowd")  # all of them have leaders
        for options in (["-e"], ["-o", "@-1h", "-e"]):
            started = time.monotonic()
            self.assertEqual(self.consume("-r", *options, topic="crowd"), b"")
            # One after the other takes 20 ms for each, and more for those behind.
            self.assertLess(time.monotonic() - started, count * 0.01)
        _, errors = self.run_spate(1, "consume", "-r", "crowd", "-g", "crowd", seconds=10)
        self.assertIn("256", errors)

    def test_until_ends_where_what_is_below_was_deleted(self):
        self.produce(b"x\n" * 10, "-p", "0")
        self.nodes.spate("topic", "truncate", self.topic, "--before", "end", "-p", "0", "--yes")
        self.produce(b"a\nb\nc\n", "-p", "1")
        # partition 0 is empty from 10 on: below, at its start, and before a moment that is past
        for until in ("5", "10", "@-1h"):
            for options in (["-p", "0"], ["-p", "0", "-o", "3"], ["-p", "0", "-o", "-2"]):
                started = time.monotonic()
                out, errors = self.run_spate(
                    0, "consume", self.topic, *options, "--until", until, seconds=10
                )
                self.assertLess(time.monotonic() - started, 5, (until, options))
                self.assertEqual(out, b"")
                told = "offsets 3 to 9 were deleted" in errors
                self.assertEqual(told, options[-1] == "3", errors)
        # the other partition is read to its own bound, and one behind the end is waited for
        out, _ = self.run_spate(0, "consume", self.topic, "-o", "0", "--until", "2", seconds=10)
        self.assertEqual(out, b"a\nb\n")
        reader = self.nodes.popen(
            "consume", self.topic, "-p", "0", "-o", "0", "--until", "11",
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        self.produce(b"new\nnot this\n", "-p", "0")
        self.assertEqual(reader.communicate(timeout=10)[0], b"new\n")
        # a partition that is not empty but starts behind the bound
        out, _ = self.run_spate(
            0, "consume", self.topic, "-p", "0", "-o", "0", "--until", "5", seconds=10
        )
        self.assertEqual(out, b"")

    def test_until_ends_when_what_it_waits_for_is_deleted(self):
        self.produce(b"a\n", "-p", "0")
        reader = self.nodes.popen(
            "consume", self.topic, "-p", "0", "--until", "3", "-X", "fetch.wait.ms=5",
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
        )
        self.assertEqual(reader.stdout.readline(), b"a\n")
        reader.send_signal(signal.SIGSTOP)
        self.produce(b"b\n" * 7, "-p", "0")
        self.nodes.spate("topic", "truncate", self.topic, "--before", "end", "-p", "0", "--yes")
        reader.send_signal(signal.SIGCONT)
        self.assertIn(reader.communicate(timeout=10)[0], (b"", b"b\nb\n"))
        self.assertEqual(reader.returncode, 0)

    def test_until_a_moment_past_or_to_come(self):
        self.produce(b"1000 a\n2000 b\n3000 c\n", "-p", "0", "-f", r"%T %v\n")
        self.assertEqual(self.consume("--until", "@2000", "-f", "%v"), b"a")
        self.assertEqual(self.consume("--until", "@-1h", "-f", "%v"), b"abc")
        soon = int(time.time() * 1000) + 3000
        started = time.monotonic()
        reader = self.nodes.popen(
            "consume", self.topic, "--until", f"@{soon}", "-f", "%v", stdout=subprocess.PIPE
        )
        self.produce(b"d\n", "-p", "1")
        self.assertEqual(sorted(reader.communicate(timeout=10)[0]), sorted(b"abcd"))
        self.assertGreater(time.monotonic() - started, 2.0)

    def test_several_topics_by_name_or_pattern(self):
        names = [f"{self.topic}-{i}" for i in range(3)]
        self.nodes.spate("topic", "create", *names, "-p", "1")
        for name in names:
            self.produce(b"x\n", topic=name)
        out = self.nodes.spate("consume", *names[:2], names[0], "-e", "-f", r"%t=%v\n").split()
        self.assertEqual(sorted(out), [f"{name}=x".encode() for name in names[:2]])
        out = self.nodes.spate("consume", "-r", f"{self.topic}-[12]$", "-e", "-f", r"%t\n")
        self.assertEqual(sorted(out.split()), [name.encode() for name in names[1:]])
        self.run_spate(3, "consume", "-r", "^nothing$", "-e")
        self.run_spate(2, "consume", "-r", "(", "-e")

    # ---- behaviour ------------------------------------------------------------------------------

    def test_large_records_and_no_records(self):
        value = random.randbytes(MIB)
        self.produce(value, "-p", "0", "-f", "%v")
        self.assertEqual(self.consume("-e", "-f", "%v"), value)
        self.assertEqual(self.nodes.spate("produce", self.topic), b"")
        self.assertEqual(self.consume("-p", "1", "-e"), b"")

    def test_rate_is_kept(self):
        started = time.monotonic()
        self.produce(b"x\n" * 30, "--rate", "20/s")
        self.assertGreater(time.monotonic() - started, 1.3)
        self.run_spate(2, "produce", self.topic, "--rate", "fast")

    def test_closed_pipes_end_consume_silently(self):
        self.produce(b"x\n" * 50000, "-p", "0")
        for options in (["-o", "start"], ["-o", "-1"]):  # more to write, and nothing more
            reader = self.nodes.popen(
                "consume", self.topic, "-p", "0", *options,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
            self.assertEqual(reader.stdout.readline(), b"x\n")
            reader.stdout.close()
            self.assertEqual(reader.wait(10), 0)
            self.assertEqual(reader.stderr.read(), b"")
            reader.stderr.close()

    def test_reports_that_nobody_reads_stop_no_record(self):
        lines = b"".join(b"%d\n" % i for i in range(50000))  # reports for many pipes full
        reader, writer = os.pipe()
        produce = self.nodes.popen(
            "produce", self.topic, "-p", "0", "-J",
            stdin=subprocess.PIPE, stdout=writer, stderr=subprocess.PIPE,
        )
        os.close(writer)
        produce.stdin.write(b"first\n")
        produce.stdin.flush()
        self.assertEqual(os.read(reader, 10), b'{"topic":"')
        os.close(reader)
        _, errors = produce.communicate(lines, timeout=60)
        self.assertEqual((produce.returncode, errors), (0, b""))
        self.assertEqual(self.consume("-o", "start", "-e"), b"first\n" + lines)

    def test_reports_that_cannot_be_written_are_told_of(self):
        lines = b"".join(b"%d\n" % i for i in range(50000))
        with open("/dev/full", "wb") as full:
            done = self.nodes.run(
                "produce", self.topic, "-p", "0", "-J", input=lines, stdout=full
            )
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"cannot write to standard output: No space left on device", done.stderr)
        self.assertEqual(self.consume("-o", "start", "-e"), lines)

    def test_interrupt_ends_consume_with_130(self):
        self.produce(b"x\n", "-p", "0")
        reader = self.nodes.popen(
            "consume", self.topic, "-o", "start", stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.assertEqual(reader.stdout.readline(), b"x\n")
        reader.send_signal(signal.SIGINT)
        self.assertEqual(reader.communicate(timeout=10), (b"", b""))
        self.assertEqual(reader.returncode, 130)

    def test_progress_shows_on_a_terminal_only(self):
        _, errors = self.run_spate(0, "produce", self.topic, input=b"x\n")
        self.assertEqual(errors, "")
        master, slave = os.openpty()
        self.nodes.spate("produce", self.topic, input=b"x\n", stderr=slave)
        self.assertIn(b"acked=1", os.read(master, 65536))
        self.nodes.spate("produce", self.topic, "-q", input=b"x\n", stderr=slave)
        os.write(slave, b"nothing else")
        self.assertEqual(os.read(master, 65536), b"nothing else")
        os.close(master)
        os.close(slave)


class CliLeaderlessTest(unittest.TestCase):
    def test_producer_tells_of_an_outage_and_of_what_failed(self):
        with cluster.Cluster(1) as nodes, tempfile.TemporaryDirectory() as directory:
            nodes.spate("topic", "create", "t", "-p", "1", "-r", "1")
            path = os.path.join(directory, "stats")

            def stats():
                with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
                    return json.load(file)
                return {"acked": 0}

            writer = nodes.popen(
                "produce", "t", "-r", "100", "--timeout", "1s", "-v", "-S", path,
                stdin=subprocess.PIPE, stderr=subprocess.PIPE,
            )
            threading.Thread(target=writer.stdin.write, args=(b"x\n" * 30000,), daemon=True).start()
            wait_for("a record is stored", lambda: stats()["acked"] > 0, 30)
            nodes.nodes[0].kill()
            wait_for("records fail twice", lambda: stats()["failed"] > 150, 60)
            nodes.nodes[0].start()
            before = stats()["acked"]
            wait_for("records are stored again", lambda: stats()["acked"] > before, 60)
            writer.send_signal(signal.SIGINT)
            _, errors = writer.communicate(timeout=20)
            figures, errors = stats(), errors.decode()
        self.assertEqual(writer.returncode, 130)
        self.assertGreater(figures["longest_gap_ms"], 1500)  # the failures did not end the silence
        count = figures["failed"]
        self.assertRegex(errors, rf"stored, {count} failed \(\d+ of these may be stored\), ")
        self.assertIn("a record for t/0 failed: UNREACHABLE: not stored", errors)
        self.assertRegex(errors, r"spate: \d+ records for t/0 are given up")  # the library, by -v

    def test_consume_to_the_end_without_a_leader_times_out(self):
        with cluster.Cluster(3) as nodes:
            nodes.spate("topic", "create", "t", "-p", "2", "-r", "3")
            nodes.spate("produce", "t", input=b"x\n")
            nodes.nodes[0].kill()
            nodes.nodes[1].kill()
            leaders = [0]
            while max(leaders) != -1:  # the node that is left gives leadership up after a moment
                shown = json.loads(nodes.spate("topic", "describe", "t", "--json"))
                leaders = [partition["leader"] for partition in shown["partitions"]]
            for arguments in (["-e"], ["--until", "end", "-o", "end"], ["-o", "@-1h", "-e"]):
                started = time.monotonic()
                done = nodes.run("consume", "t", *arguments, "--timeout", "4s")
                taken = time.monotonic() - started
                self.assertEqual(done.returncode, 6, done.stderr)
                self.assertRegex(done.stderr.decode(), r"t/0.*(no|without a) leader|leader: t/0")
                self.assertLess(taken, 5.0)
                self.assertGreater(taken, 2.0)


if __name__ == "__main__":
    cluster.main()
