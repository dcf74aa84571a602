#!/usr/bin/env python3
"""spate bench against three real nodes: what it says is what was stored, what it made is gone."""

import contextlib
import csv
import json
import os
import re
import signal
import tempfile
import time
import unittest
import xml.etree.ElementTree as ElementTree

import cluster


def lines_of(picture):
    """Rate, median and 99th percentile over time."""
    paths = picture.findall("{http://www.w3.org/2000/svg}path")
    return [path for path in paths if path.get("class") == "p"]


class CliBenchTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.nodes = cluster.Cluster(3).__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.nodes.close()

    def bench(self, *arguments):
        done = self.nodes.run("bench", *arguments, "-Jq")
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def stored(self, topic):
        return sum(
            row["end"] - row["start"]
            for row in self.nodes.spate_json("offsets", topic)["partitions"]
        )

    def test_produce_counts_what_is_stored(self):
        pids = ",".join(str(node.process.pid) for node in self.nodes.nodes)
        with tempfile.TemporaryDirectory() as folder:
            table, picture = os.path.join(folder, "t.csv"), os.path.join(folder, "p.svg")
            result = self.bench(
                "produce", "-t", "counted", "-p", "3", "-n", "20k", "-s", "100", "-c", "2",
                "-w", "0", "--keys", "10", "--server-pids", pids, "--interval", "20ms",
                "--csv", table, "--svg", picture,
            )
            with open(table, encoding="ascii") as handle:
                rows = list(csv.DictReader(handle))
            drawn = ElementTree.parse(picture).getroot()
        self.assertEqual(result["records"], 20000)
        self.assertEqual(self.stored("counted"), 20000)
        self.assertEqual((result["replicas"], result["failed"]), (3, 0))
        self.assertEqual(sum(int(row["records"]) for row in rows), 20000)
        self.assertAlmostEqual(result["records_per_s"], 20000 / result["seconds"], delta=1)
        self.assertGreater(result["server_cpu_s_per_million"], 0)
        self.assertGreater(result["cpu_s_per_gb"], 0)
        self.assertLessEqual(0, result["p50_ms"])
        self.assertLessEqual(result["p50_ms"], result["p99_ms"])
        self.assertLessEqual(result["p99_ms"], result["max_ms"])
        points = [line.get("d").count("L") for line in lines_of(drawn)]
        measured = sum(row["records"] != "0" for row in rows)
        self.assertEqual(points, [len(rows), measured, measured])

    def test_time_without_records_has_no_latency(self):
        """In the picture the lines are interrupted, in the table the fields are empty."""
        with tempfile.TemporaryDirectory() as folder:
            table, picture = os.path.join(folder, "t.csv"), os.path.join(folder, "p.svg")
            self.bench(
                "latency", "-r", "20", "-d", "500ms", "-w", "0", "--interval", "10ms",
                "--csv", table, "--svg", picture,
            )
            with open(table, encoding="ascii") as handle:
                rows = list(csv.DictReader(handle))
            _, *latencies = lines_of(ElementTree.parse(picture).getroot())
        empty = [row for row in rows if row["records"] == "0"]
        self.assertTrue(empty)
        for row in rows:
            self.assertEqual(row["p99_ms"] == "", row in empty, row)
        for line in latencies:
            self.assertGreater(line.get("d").count("M"), 1)

    def test_text_says_what_was_measured(self):
        def lines(*arguments):
            return self.nodes.spate("bench", *arguments, "-q").decode().splitlines()

        told = lines("produce", "-t", "told", "-n", "2k", "-s", "100", "-w", "0")
        self.assertEqual(told[0], "produce     2000 records stored, values of 100 bytes (random), "
                                  "1 client, 1 partition")
        self.assertRegex(told[1], r"^measured    \d+\.\d\d s, after 0\.0 s of warming up$")
        self.assertEqual(told[2],
                         "durability  fsync on 2 of 3 replicas before every acknowledgement")
        self.assertRegex(told[3], r"^rate        \d+ records/s, [\d.]+ MB/s of keys and values$")
        self.assertRegex(told[4], r"^latency     half of the records within [\d.]+ ms \(p50\), "
                                  r"99 % within .* ms, 99.9 % within .* ms, all within .* ms$")
        self.assertEqual(told[5], "            from handing a record over to its acknowledgement; "
                                  "with a full queue in front of the cluster, which -i makes "
                                  "shorter")
        self.assertRegex(told[6], r"^CPU time    of this program [\d.]+ s per million records$")
        self.assertRegex(told[7], r"^longest gap ([\d.]+ ms in which a client got no "
                                  r"acknowledgement|below 20 ms without an acknowledgement)$")
        self.assertEqual(len(told), 8)

        told = lines("consume", "-t", "told", "-n", "2k", "-c", "2")
        self.assertEqual(told[0], "consume     2000 records read, 100 bytes of key and value on "
                                  "average, 2 clients, 1 partition")
        self.assertEqual([line.split("  ")[0] for line in told[1:]],
                         ["measured", "rate", "CPU time"])
        told = lines("e2e", "-n", "100", "-w", "0")
        self.assertIn(" 100 records sent and read back, ", told[0])
        self.assertIn("            from when a record was due by the rate to reading it", told)
        told = lines("failover", "-n", "100", "-w", "0")
        self.assertIn("            from when a record was due by the rate to its acknowledgement",
                      told)
        self.assertRegex("\n".join(told), r"(?m)^gaps        \d+ of 20 ms or more")

    def test_rate_is_kept_and_lateness_counts(self):
        """A node that stands still for 300 ms delays records that were due in that time."""
        self.nodes.spate("topic", "create", "paced", "-p", "1")
        leader = self.nodes.leader("paced")
        program = self.nodes.popen(
            "bench", "produce", "-r", "500", "-d", "2s", "-w", "200ms", "-Jq", "-t", "paced",
            stdout=-1,
        )
        cluster.wait_for("records", lambda: self.stored("paced") > 200)
        leader.process.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        leader.process.send_signal(signal.SIGCONT)
        result = json.loads(program.communicate(timeout=60)[0])
        self.assertEqual(program.returncode, 0)
        self.assertAlmostEqual(result["records"], 1000, delta=100)
        self.assertGreater(result["max_ms"], 150)
        self.assertGreater(result["longest_gap_ms"], 150)
        self.assertTrue(result["gaps"])

    def test_own_topic_is_deleted_unless_kept(self):
        def topics():
            listed = self.nodes.spate_json("topic", "list")["topics"]
            return {topic["name"] for topic in listed if topic["name"].startswith("bench-")}

        before = topics()
        result = self.bench("consume", "-n", "3000", "-s", "50", "-c", "2")
        self.assertEqual((result["records"], result["p50_ms"]), (3000, None))
        self.assertEqual(topics(), before)
        result = self.bench("e2e", "-n", "200", "-r", "1000", "--keep")
        self.assertGreaterEqual(result["records"], 200)
        self.assertGreater(result["p50_ms"], 0)
        self.assertEqual(topics(), before | {result["topic"]})

    def test_latency_has_one_record_under_way(self):
        result = self.bench(
            "latency", "-n", "300", "-w", "0", "--acks", "majority", "--durability", "disk"
        )
        self.assertEqual(result["records"], 300)
        # one after the other: the latencies fill the time and no more
        self.assertLessEqual(result["p50_ms"] * 300 / 2, result["seconds"] * 1000)

    def test_a_terminal_is_shown_progress(self):
        """Not a pipe: there the errors stand alone."""
        reader, terminal = os.openpty()
        program = self.nodes.popen(
            "bench", "produce", "-d", "600ms", "-w", "0", "--interval", "100ms", stdout=-3,
            stderr=terminal,
        )
        os.close(terminal)
        shown = b""
        with contextlib.suppress(OSError):  # the end of a terminal
            while part := os.read(reader, 65536):
                shown += part
        os.close(reader)
        self.assertEqual(program.wait(30), 0)
        self.assertRegex(shown.decode(), r"\r +0\.[1-6] s +\d+ records/s +[\d.]+ MB/s  p50 .* ms")
        self.assertTrue(shown.endswith(b"\n"), shown[-80:])
        done = self.nodes.run("bench", "produce", "-n", "10", "-w", "0", "--interval", "10ms")
        self.assertEqual((done.returncode, done.stderr), (0, b""))

    def test_durability_is_the_topics(self):
        done = self.nodes.run("bench", "produce", "-n", "1", "--durability", "memory")
        self.assertEqual(done.returncode, 1)
        self.assertIn("on the disks of a majority", done.stderr.decode())  # so says the cluster

    def test_interrupt_prints_what_there_is(self):
        program = self.nodes.popen(
            "bench", "produce", "-r", "500", "-d", "60s", "-w", "0", "-Jq", "-t", "broken-off",
            stdout=-1,
        )
        cluster.wait_for(
            "records", lambda: b"broken-off" in self.nodes.run("topic", "ls").stdout
            and self.stored("broken-off") > 100,
        )
        program.send_signal(signal.SIGINT)
        result = json.loads(program.communicate(timeout=30)[0])
        self.assertEqual(program.returncode, 130)
        self.assertGreater(result["records"], 50)

    def test_servers_have_their_long_name_beside_a_size(self):
        done = self.nodes.run("bench", "produce", "--servers", self.nodes.servers, "-s", "100",
                              "-n", "10", "-w", "0", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["records"], 10)
        help_text = self.nodes.run("bench", "produce", "--help").stdout.decode()
        self.assertIn("\n      --servers LIST", help_text)

    def test_wrong_options_are_told(self):
        for arguments, words in (
            (["produce", "-s", "2M"], "2M is not what"),
            (["produce", "-c", "1000"], "1000 is not what"),
            (["produce", "topic"], "named by -t"),
            (["produce", "--payload", "zeros"], "random and compressible"),
            (["produce", "-z", "zstd"], "lz4 and none"),
            (["produce", "--linger", "soon"], "linger.ms cannot be soon"),
            (["produce", "--acks", "1"], "on the disks of a majority; there is no other choice"),
            (["e2e", "-s", "4"], "at least 8 bytes"),
            (["produce", "--server-pids", "2147483647"], "no process 2147483647"),
            (["consume", "-t", "nowhere"], "nowhere"),
        ):
            done = self.nodes.run("bench", *arguments)
            self.assertIn(done.returncode, (2, 3), arguments)
            self.assertTrue(re.search(re.escape(words), done.stderr.decode()), done.stderr)


if __name__ == "__main__":
    cluster.main()
