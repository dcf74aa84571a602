#!/usr/bin/env python3
"""spate log: dump, verify and index-rebuild on the files of a node that is stopped."""

import glob
import json
import os
import unittest

import cluster
import rpc

SEGMENT = 65536


class LogToolsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.nodes = cluster.Cluster(1)
        with_node = cls.nodes.__enter__()
        cls.addClassCleanup(cls.nodes.__exit__, None, None, None)
        with_node.spate("topic", "create", "t", "-r", "1", "-c", f"segment.bytes={SEGMENT}")
        leaders = rpc.Leaders([with_node.node(1).address])
        for number in range(60):
            value = number.to_bytes(4, "big") * 1000
            batch = rpc.encode_batch([value, b"short"], time_ms=1_000_000 + number)
            leaders.call("produce", topic="t", partition=0, records=batch)
        leaders.close()
        cls.node = with_node.node(1)
        cls.node.stop()
        replicas = glob.glob(os.path.join(cls.node.data, "replicas", "*"))
        cls.log = max(replicas, key=lambda path: len(os.listdir(path)))

    def files(self, suffix):
        return sorted(glob.glob(os.path.join(self.log, f"*.{suffix}")))

    def verify(self, command="verify", directory=None):
        done = self.nodes.run("log", command, directory or self.log, "--json")
        return done.returncode, json.loads(done.stdout)

    def test_a_sound_log_is_sound(self):
        before = {path: os.stat(path).st_mtime_ns for path in glob.glob(self.log + "/*")}
        code, report = self.verify()
        self.assertEqual((code, report["damaged"]), (0, False))
        log = report["logs"][0]
        self.assertEqual((log["first_index"], log["first_offset"]), (1, 0))
        self.assertEqual((log["end_offset"], log["records"]), (120, 120))
        self.assertEqual(log["segments"], len(self.files("log")))
        self.assertEqual(log["findings"], [])
        after = {path: os.stat(path).st_mtime_ns for path in glob.glob(self.log + "/*")}
        self.assertEqual(before, after, "verify changes nothing")
        # and so are all logs of the node
        code, report = self.verify(directory=self.node.data)
        self.assertEqual(code, 0, report)
        self.assertGreater(len(report["logs"]), 8)

    def test_verify_ends_with_a_summary(self):
        def last(directory):
            done = self.nodes.run("log", "verify", directory)
            return done.stdout.decode().splitlines()[-1], done.stderr

        logs = len(os.listdir(os.path.join(self.node.data, "replicas")))
        words = f"{logs} logs: {logs} sound, 0 damaged, 0 not readable; 0 torn ends, 0 notes"
        self.assertEqual(last(self.node.data), (words, b""))
        newest = self.files("log")[-1]
        self.flipped(newest, 24)
        try:
            self.assertEqual(last(self.log)[0], "1 log: 0 sound, 1 damaged, 0 not readable; "
                                                "0 torn ends, 0 notes")
        finally:
            self.flipped(newest, 24)
        self.assertEqual(last("/nowhere")[0], "1 log: 0 sound, 0 damaged, 1 not readable; "
                                              "0 torn ends, 0 notes")

    def test_verify_warns_that_a_node_runs(self):
        with cluster.Cluster(1) as nodes:
            node = nodes.nodes[0]
            log = sorted(glob.glob(os.path.join(node.data, "replicas", "*")))[0]
            for directory in (node.data, log):
                done = nodes.run("log", "verify", directory)
                self.assertIn(f"warning: a node runs on {directory}: ".encode(), done.stderr)
                self.assertIn(b"stop the node and verify again", done.stderr)
                self.assertTrue(done.stdout.endswith(
                    b"; a node runs on these files, so findings are not certain\n"), done.stdout)
            self.assertTrue(json.loads(nodes.run("log", "verify", log, "--json").stdout)["running"])
            node.stop()
            self.assertFalse(nodes.spate_json("log", "verify", node.data)["running"])
            node.start()  # nothing holds the lock
            nodes.wait_healthy()

    def test_dump_shows_frames_and_records(self):
        newest = self.files("log")[-1]
        text = self.nodes.spate("log", "dump", newest, "--records", "--json").decode()
        lines = [json.loads(line) for line in text.splitlines()]
        self.assertEqual(lines[0]["kind"], "segment")
        batches = [line for line in lines if line["kind"] == "batch"]
        records = [line for line in lines if line["kind"] == "record"]
        self.assertEqual(batches[0]["offset"], lines[0]["offset"])
        self.assertEqual(batches[-1]["offset"], 118)
        self.assertEqual(batches[-1]["max_timestamp"], 1_000_059)
        self.assertEqual(records[-1]["offset"], 119)
        self.assertEqual(records[-1]["value"], "short")
        plain = self.nodes.spate("log", "dump", newest, "--markers").decode()
        self.assertRegex(plain, r"(?m)^batch position=\d+ index=\d+ term=\d+ .* offset=118 ")
        self.assertRegex(plain, r"(?m)^marker position=\d+")
        done = self.nodes.run("log", "dump", self.files("checkpoint")[0])
        self.assertEqual(done.returncode, 1)

    def flipped(self, path, position):
        with open(path, "r+b") as handle:
            handle.seek(position)
            byte = handle.read(1)
            handle.seek(position)
            handle.write(bytes([byte[0] ^ 0x10]))

    def test_every_flipped_byte_is_found_at_its_place(self):
        older = self.files("log")[1]
        newest = self.files("log")[-1]
        first_batch = self.first_batch(older)
        places = [(older, first_batch + 8), (older, first_batch + 3000), (newest, 24)]
        places += [(self.files("checkpoint")[0], 40)]
        for path, position in places:
            self.flipped(path, position)
            try:
                code, report = self.verify()
            finally:
                self.flipped(path, position)
            self.assertEqual((code, report["damaged"]), (1, True), (path, position))
            finding = report["logs"][0]["findings"][0]
            self.assertEqual(finding["kind"], "DAMAGED")
            self.assertEqual(finding["file"], os.path.basename(path))
            if path == older:
                self.assertEqual(finding["position"], first_batch)
        self.assertEqual(self.verify()[0], 0)

    def first_batch(self, path):
        text = self.nodes.spate("log", "dump", path, "--json").decode()
        lines = [json.loads(line) for line in text.splitlines()]
        return next(line["position"] for line in lines if line["kind"] == "batch")

    def test_a_torn_tail_is_no_damage(self):
        newest = self.files("log")[-1]
        size = os.path.getsize(newest)
        with open(newest, "ab") as handle:
            handle.write(b"\x01\x01" + b"x" * 98)
        try:
            code, report = self.verify()
        finally:
            os.truncate(newest, size)
        self.assertEqual(code, 0)
        finding = report["logs"][0]["findings"][0]
        self.assertEqual((finding["kind"], finding["position"]), ("torn", size))

    def test_index_rebuild_writes_what_the_node_would_have_written(self):
        index = self.files("index")[0]
        with open(index, "rb") as handle:
            before = handle.read()
        os.unlink(index)
        code, report = self.verify()
        self.assertEqual(code, 0, "an index is only a hint")
        self.assertEqual(report["logs"][0]["findings"][0]["kind"], "note")
        self.assertEqual(self.verify("index-rebuild")[0], 0)
        with open(index, "rb") as handle:
            self.assertEqual(handle.read(), before)
        self.flipped(index, 40)
        self.assertEqual(self.verify("index-rebuild", self.node.data)[0], 0)
        with open(index, "rb") as handle:
            self.assertEqual(handle.read(), before)

    def test_index_rebuild_leaves_a_node_that_runs_alone(self):
        with cluster.Cluster(1) as nodes:
            for directory in (nodes.node(1).data, glob.glob(nodes.node(1).data + "/replicas/*")[0]):
                done = nodes.run("log", "index-rebuild", directory)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(b"a node uses this data directory", done.stderr)
        self.assertEqual(self.nodes.run("log", "verify", "/nowhere").returncode, 3)


if __name__ == "__main__":
    cluster.main()
