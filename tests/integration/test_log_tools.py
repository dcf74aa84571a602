#!/usr/bin/env python3
"""spate log: dump, verify and index-rebuild on the files of a node that is stopped."""

import glob
import json
import os
import shutil
import tempfile
import struct
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
        words = (f"{logs} logs: {logs} sound, 0 damaged, 0 not readable; 0 torn ends, 0 notes; "
                 "metadata whole")
        self.assertEqual(last(self.node.data), (words, b""))
        newest = self.files("log")[-1]
        self.flipped(newest, 24)
        try:
            self.assertEqual(last(self.log)[0], "1 log: 0 sound, 1 damaged, 0 not readable; "
                                                "0 torn ends, 0 notes")
        finally:
            self.flipped(newest, 24)
        self.assertEqual(self.nodes.run("log", "verify", "/nowhere").stdout, b"")

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

    def test_verify_looks_at_both_copies_of_the_metadata(self):
        copies = [os.path.join(self.node.data, name) for name in ("meta.a", "meta.b")]
        before = {path: os.stat(path).st_mtime_ns for path in copies}
        size = os.path.getsize(copies[0])
        done = self.nodes.run("log", "verify", self.node.data)
        self.assertTrue(done.stdout.startswith(b"meta: copy A whole, copy B whole\n"), done.stdout)
        whole = {"condition": "whole", "position": size}
        self.assertEqual(
            self.verify(directory=self.node.data)[1]["meta"],
            {"copies": [{"file": "meta.a", **whole}, {"file": "meta.b", **whole}], "usable": True},
        )
        self.assertNotIn("meta", self.verify()[1], "of one log there is none")
        self.assertEqual(before, {path: os.stat(path).st_mtime_ns for path in copies})

        def said(code=0):
            words = "; metadata DAMAGED" if code else "; metadata heals at the next start"
            done = self.nodes.run("log", "verify", "-q", self.node.data)
            self.assertEqual(done.returncode, code)
            lines = done.stdout.decode().splitlines()
            self.assertEqual(len(lines), 2, lines)
            self.assertTrue(lines[1].endswith(words), lines)
            found, report = self.verify(directory=self.node.data)
            self.assertEqual(found, code)
            self.assertEqual((report["damaged"], report["heals"]), (code == 1, code == 0))
            return lines[0]

        from_a = ": the next start writes copy B anew from copy A"
        self.flipped(copies[1], 20)
        self.assertEqual(said(), "meta: copy A whole, copy B DAMAGED at byte 16" + from_a)
        self.flipped(copies[0], 3)
        lost = said(1)
        self.assertIn("copy A DAMAGED at byte 0, copy B DAMAGED at byte 16: the node refuses", lost)
        self.assertIn("never put older copies there", lost)
        self.assertNotIn("backup", lost)
        self.flipped(copies[1], 20)
        self.assertEqual(said(), "meta: copy A DAMAGED at byte 0, copy B whole: the next start "
                                 "writes copy A anew from copy B")
        self.flipped(copies[0], 3)
        os.rename(copies[1], copies[1] + ".away")
        try:
            self.assertEqual(said(), "meta: copy A whole, copy B MISSING" + from_a)
        finally:
            os.rename(copies[1] + ".away", copies[1])
        self.assertEqual(self.verify(directory=self.node.data)[0], 0)

    def test_verify_names_topics_as_far_as_the_controllers_log_does(self):
        def named():
            logs = self.verify(directory=self.node.data)[1]["logs"]
            return {(log.get("topic"), log.get("partition")) for log in logs}

        internal = {("__groups", number) for number in range(8)}
        self.assertEqual(named(), internal | {(None, None), ("t", 0)})
        done = self.nodes.run("log", "verify", self.log)
        self.assertIn(b": sound: t/0, group ", done.stdout)
        controller = glob.glob(os.path.join(self.node.data, "replicas", "0.*"))[0]
        done = self.nodes.run("log", "verify", controller)
        self.assertIn(b": sound: controller, group 0, 1 segment, ", done.stdout)
        # without the log of the controller, or the metadata that says which one counts: no names
        away = os.path.join(self.node.data, "replicas-0")
        os.rename(controller, away)
        self.assertEqual(named(), {(None, None)})
        os.rename(away, controller)
        self.assertIn(("t", 0), named())

    def test_of_several_replicas_of_the_controller_the_largest_id_counts(self):
        """While one is replaced, both are on record, in any order."""
        copies = [os.path.join(self.node.data, name) for name in ("meta.a", "meta.b")]
        with open(copies[0], "rb") as handle:
            before = handle.read()
        position, chain, last = 16, before[12:16], 0
        while position < len(before):
            length, = struct.unpack_from("<I", before, position)
            chain = before[position + 4 : position + 8]
            last, = struct.unpack_from("<Q", before, position + 16)
            position += 32 + length
        controller, = glob.glob(os.path.join(self.node.data, "replicas", "0.*"))
        largest = os.path.join(self.node.data, "replicas", "0.900")
        created = lambda replica: struct.pack("<IIQQQQ", 3, 0, 0, replica, 0, 0)
        record = created(900) + created(899)
        head = struct.pack("<QQ", last + 1, last + 1) + chain + bytes(4)
        size = struct.pack("<I", len(record))
        batch = size + struct.pack("<I", rpc.crc32c(size + head + record)) + head + record
        for path in copies:
            with open(path, "ab") as handle:
                handle.write(batch)
        os.rename(controller, largest)
        try:
            code, report = self.verify(directory=self.node.data)
        finally:
            os.rename(largest, controller)
            for path in copies:
                os.truncate(path, len(before))
        self.assertEqual(code, 1)  # two of them have no directory here
        damaged = [os.path.basename(log["directory"]) for log in report["logs"] if log["damaged"]]
        self.assertEqual(damaged, [os.path.basename(controller), "0.899"])
        self.assertEqual(report["meta"]["copies"][1]["condition"], "whole")
        self.assertIn(("t", 0), {(log.get("topic"), log.get("partition"))
                                 for log in report["logs"]})

    def test_quiet_verify_is_short(self):
        done = self.nodes.run("log", "verify", "-q", self.node.data)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(len(done.stdout.splitlines()), 1, done.stdout)
        newest = self.files("log")[-1]
        self.flipped(newest, 24)
        os.rename(self.files("index")[0], self.files("index")[0] + ".away")  # a note or two
        try:
            done = self.nodes.run("log", "verify", "-q", self.node.data)
        finally:
            self.flipped(newest, 24)
            away = glob.glob(self.log + "/*.away")[0]
            os.rename(away, away.removesuffix(".away"))
        lines = done.stdout.decode().splitlines()
        self.assertEqual(done.returncode, 1)
        self.assertTrue(lines[0].startswith(f"DAMAGED {newest}:0: "), lines)
        self.assertTrue(lines[1].startswith(f"{self.log}: DAMAGED: t/0, "), lines)
        self.assertRegex(lines[2], r"^\d+ logs: \d+ sound, 1 damaged, .* 2 notes; metadata whole$")
        self.assertEqual(len(lines), 3)

    def test_quarantine_is_at_rest_and_its_mark_is_known(self):
        with cluster.Cluster(1) as nodes:
            node = nodes.node(1)
            kept = os.path.join(node.data, "quarantine", "9.9.damaged-17")
            shutil.copytree(self.log, kept)
            with open(os.path.join(kept, "damaged"), "w", encoding="utf-8") as handle:
                handle.write("frame 12 is not readable\n")
            for directory in (kept, os.path.dirname(kept)):
                done = nodes.run("log", "verify", directory)
                self.assertEqual((done.returncode, done.stderr), (0, b""))
                self.assertIn(b"/damaged:0: found damaged before: frame 12 is not readable\n",
                              done.stdout)
                self.assertTrue(done.stdout.endswith(b", 1 note\n"), done.stdout)
            self.assertFalse(nodes.spate_json("log", "verify", kept)["running"])

    def test_wrong_operands_are_told_what_is_needed(self):
        segment = self.files("log")[0]
        for arguments, words in (
            (("log", "dump", self.log), f"{self.log} is a directory: the file of a segment"),
            (("log", "dump", segment, self.log), "is a directory"),
            (("log", "verify", segment), f"{segment} is a file: the directory of a log"),
            (("log", "index-rebuild", segment), f"{segment} is a file: the directory of a log"),
            (("log", "verify", "/" + 4000 * "x"), "too long"),
        ):
            done = self.nodes.run(*arguments)
            self.assertEqual((done.returncode, done.stdout), (2, b""))
            self.assertIn(words, done.stderr.decode())
        done = self.nodes.run("log", "dump", "/nowhere")
        self.assertEqual(done.returncode, 3)
        self.assertIn(b"/nowhere: there is no such file\n", done.stderr)
        done = self.nodes.run("log", "verify", "/nowhere")
        self.assertIn(b"/nowhere: there is no such directory\n", done.stderr)
        done = self.nodes.run("log", "verify", self.nodes.directory)
        words = "neither data.dir of a node (no replicas/ is in it) nor a log (no segment is)"
        self.assertEqual(
            (done.returncode, done.stdout, done.stderr.decode()),
            (3, b"", f"spate: {self.nodes.directory}: {words}\n"),
        )

    def copy_of_data(self):
        copy = os.path.join(self.nodes.directory, self._testMethodName)
        shutil.copytree(self.node.data, copy)
        self.addCleanup(shutil.rmtree, copy)
        return copy, os.path.join(copy, "replicas", os.path.basename(self.log))

    def test_a_replica_on_record_that_is_missing_is_damage(self):
        for empty in (False, True):
            with self.subTest(empty=empty):
                copy, log = self.copy_of_data()
                count = len(os.listdir(os.path.dirname(log)))
                shutil.rmtree(log)
                if empty:
                    os.mkdir(log)
                for directory in (copy, os.path.dirname(log)):
                    done = self.nodes.run("log", "verify", "-q", directory)
                    what = "no segment is in it" if empty else "missing"
                    lines = done.stdout.decode().splitlines()
                    self.assertEqual(
                        (done.returncode, lines[0], lines[1]),
                        (
                            1,
                            f"DAMAGED {log}: is on record in the metadata, and {what}: the next "
                            "start takes it for damaged",
                            f"{log}: DAMAGED: t/0, 0 segments, nothing is readable",
                        ),
                    )
                    self.assertIn(f"{count} logs: {count - 1} sound, 1 damaged", lines[2])
                code, report = self.verify(directory=copy)
                self.assertEqual((code, report["damaged"]), (1, True))
                one = [one for one in report["logs"] if one["damaged"]]
                self.assertEqual([(row["directory"], row["topic"]) for row in one], [(log, "t")])
                self.doCleanups()

    def test_what_is_not_on_record_is_named_and_no_damage(self):
        copy, log = self.copy_of_data()
        replicas = os.path.dirname(log)
        os.mkdir(os.path.join(replicas, "foreign"))
        with open(os.path.join(replicas, "file"), "wb"):
            pass
        shutil.copytree(log, os.path.join(replicas, "77.7"))
        done = self.nodes.run("log", "verify", copy)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        words = done.stdout.decode()
        for name in ("foreign", "file", "77.7"):
            told = "is not on record in the metadata: the next start moves it to quarantine/"
            self.assertIn(f"note {replicas}/{name}: {told}\n", words)
        self.assertIn("3 notes; metadata whole\n", words)
        # and without metadata
        for letter in "ab":
            os.unlink(os.path.join(copy, f"meta.{letter}"))
        done = self.nodes.run("log", "verify", copy)
        self.assertEqual(done.returncode, 1)
        words = done.stderr.decode()
        self.assertIn(f"{replicas}/file: is a file, and no log\n", words)
        self.assertIn(f"{replicas}/foreign: no log: no segment is in it\n", words)

    def test_a_directory_in_which_nothing_was_stored_has_no_log(self):
        copy = os.path.join(self.nodes.directory, "fresh")
        os.makedirs(os.path.join(copy, "replicas"))
        self.addCleanup(shutil.rmtree, copy)
        done = self.nodes.run("log", "verify", copy)
        words = "there is no log: nothing was stored here yet, and a node starts afresh"
        self.assertEqual(
            (done.returncode, done.stdout, done.stderr.decode()),
            (3, b"", f"spate: {copy}: {words}\n"),
        )

    def test_a_log_of_which_nothing_is_readable_is_not_taken_for_the_controllers(self):
        _, log = self.copy_of_data()
        for path in glob.glob(log + "/*"):
            with open(path, "wb") as handle:
                handle.write(b"something else")
        told = "segments, nothing is readable\n"
        done = self.nodes.run("log", "verify", log)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout.decode(), rf"{log}: DAMAGED: t/0, \d+ {told}")
        code, report = self.verify(directory=log)
        self.assertEqual((code, report["logs"][0]["topic"]), (1, "t"))
        elsewhere = os.path.join(self.nodes.directory, "elsewhere")
        shutil.move(log, elsewhere)
        self.addCleanup(shutil.rmtree, elsewhere)
        done = self.nodes.run("log", "verify", elsewhere)
        self.assertRegex(done.stdout.decode(), rf"{elsewhere}: DAMAGED: \d+ {told}")
        code, report = self.verify(directory=elsewhere)
        self.assertEqual((code, report["logs"][0]["group"]), (1, None))

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

    def test_dump_ends_where_room_begins(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        copy = os.path.join(folder, "00000000000000000001.log")
        shutil.copyfile(self.files("log")[-1], copy)
        whole = self.nodes.run("log", "dump", copy)
        self.assertEqual((whole.returncode, whole.stderr), (0, b""))
        with open(copy, "ab") as handle:
            handle.write(bytes(300_000))
        room = self.nodes.run("log", "dump", copy)
        self.assertEqual((room.returncode, room.stderr), (0, b""))
        self.assertEqual(room.stdout, whole.stdout)
        with open(copy, "ab") as handle:
            handle.write(b"torn")
        torn = self.nodes.run("log", "dump", copy)
        self.assertEqual(torn.returncode, 1)
        self.assertIn(b"no readable frame at byte", torn.stderr)

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

    def test_a_checkpoint_that_a_node_does_without_is_no_damage(self):
        checkpoints = self.files("checkpoint")
        self.assertGreater(len(checkpoints), 1)
        for number, words in ((0, "a newer one is taken"), (-1, "the next start does without it")):
            path = checkpoints[number]
            self.flipped(path, 40)
            try:
                code, report = self.verify()
                done = self.nodes.run("log", "verify", "-q", self.log)
            finally:
                self.flipped(path, 40)
            self.assertEqual((code, report["damaged"], report["heals"]), (0, False, True), path)
            (finding,) = report["logs"][0]["findings"]
            self.assertEqual(
                (finding["kind"], finding["file"]), ("heals", os.path.basename(path))
            )
            self.assertIn(words, finding["text"])
            lines = done.stdout.decode().splitlines()
            self.assertEqual((done.returncode, len(lines)), (0, 3))
            self.assertTrue(lines[0].startswith(f"heals {path}:0: the checkpoint is not whole"))
            self.assertTrue(lines[1].startswith(f"{self.log}: heals: t/0, "))
            self.assertTrue(lines[2].endswith("; files that heal by themselves: 1"), lines)
        # the log begins with its first frame: it needs none at all
        for path in checkpoints:
            self.flipped(path, 40)
        try:
            self.assertEqual(self.verify()[0], 0)
        finally:
            for path in checkpoints:
                self.flipped(path, 40)

    def test_what_heals_is_healed_by_the_next_start(self):
        with cluster.Cluster(1) as nodes:
            nodes.spate("topic", "create", "t", "-r", "1", "-c", f"segment.bytes={SEGMENT}")
            lines = b"".join(b"%d\n" % number * 50 for number in range(3000))
            nodes.spate("produce", "t", input=lines)
            node = nodes.node(1)
            node.kill()
            logs = glob.glob(os.path.join(node.data, "replicas", "*"))
            log = max(logs, key=lambda path: len(os.listdir(path)))
            checkpoint = sorted(glob.glob(os.path.join(log, "*.checkpoint")))[-1]
            self.flipped(checkpoint, 40)
            self.flipped(os.path.join(node.data, "meta.b"), 20)
            done = nodes.run("log", "verify", "-q", node.data)
            self.assertEqual((done.returncode, len(done.stdout.splitlines())), (0, 4), done.stdout)
            node.start()
            nodes.wait_healthy(20)
            node.stop()
            done = nodes.run("log", "verify", "-q", node.data)
            self.assertEqual((done.returncode, len(done.stdout.splitlines())), (0, 1), done.stdout)
            node.start()
            nodes.wait_healthy(20)
            text = nodes.spate("consume", "t", "-o", "start", "-e", "-f", "%v\\n")
            self.assertEqual(text, lines)

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

    def test_index_rebuild_tells_what_it_could_not_write(self):
        _, log = self.copy_of_data()
        index = self.files("index")[0].replace(self.log, log)
        os.unlink(index)
        os.makedirs(os.path.join(index, "in the way"))
        done = self.nodes.run("log", "index-rebuild", log)
        self.assertEqual(done.returncode, 1)
        told = f"{log}: a file cannot be read, or an index file cannot be written: "
        self.assertIn(told, done.stderr.decode())

    def test_index_rebuild_leaves_a_node_that_runs_alone(self):
        with cluster.Cluster(1) as nodes:
            for directory in (nodes.node(1).data, glob.glob(nodes.node(1).data + "/replicas/*")[0]):
                done = nodes.run("log", "index-rebuild", directory)
                self.assertEqual((done.returncode, done.stdout), (1, b""))
                self.assertIn(b"a node uses this data directory: nothing was done", done.stderr)
        self.assertEqual(self.nodes.run("log", "verify", "/nowhere").returncode, 3)


if __name__ == "__main__":
    cluster.main()
