#!/usr/bin/env python3
"""`spate lab`: a right program passes under faults, wrong ones are found out, each kind of finding
has its plant, and the network it promises is the one that a program sees."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import types
import unittest

sys.dont_write_bytecode = True
import cluster

LAB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../src/cli/lab")
FAULTS = """
# when  what   whom
1s      kill   leader of in/0         for 1s
3s      cut    1,2                    for 1500ms
5500ms  pause  3                      for 500ms
6500ms  slow   clients by 20ms        for 500ms
"""


def lab_module(name):
    """A module of the lab; its `rpc` and ours have the same name."""
    kept = {other: sys.modules.pop(other, None) for other in ("rpc", "tap", "check", "script")}
    sys.path.insert(0, LAB)
    try:
        return __import__(name)
    finally:
        sys.path.remove(LAB)
        for other, module in kept.items():
            sys.modules.pop(other, None)
            if module is not None:
                sys.modules[other] = module


class Whole(unittest.TestCase):
    def lab(self, *words, command, faults=None):
        """Exit code, what was printed, report.json, and the folder's other files."""
        with tempfile.TemporaryDirectory(prefix="spate-test-lab-") as folder:
            words = ["lab", "-o", f"{folder}/out", *words]
            if faults is not None:
                with open(f"{folder}/faults", "w", encoding="ascii") as handle:
                    handle.write(faults)
                words += ["--script", f"{folder}/faults"]
            done = subprocess.run(
                [cluster.SPATE, *words, "--", "bash", "-ec", command],
                env={**os.environ, "SPATE": cluster.SPATE, "XDG_CONFIG_HOME": folder},
                capture_output=True, text=True, check=False, timeout=150,
            )  # fmt: skip
            report, page = None, ""
            if os.path.exists(f"{folder}/out/report.json"):
                with open(f"{folder}/out/report.json", encoding="utf-8") as handle:
                    report = json.load(handle)
                with open(f"{folder}/out/report.html", encoding="utf-8") as handle:
                    page = handle.read()
            return done, report, page

    def kinds(self, report):
        return {row["kind"]: row["count"] for row in report["anomalies"]}

    def test_a_right_program_under_each_fault(self):
        done, report, page = self.lab(
            "-t", "in:2", "--unique", "in", faults=FAULTS,
            command='for i in $(seq 400); do echo "$i,$i"; sleep 0.02; done '
            '| "$SPATE" produce in -K ,',
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done)
        self.assertEqual(report["verdict"], "valid")
        self.assertEqual(report["counts"]["acknowledged"], 400)
        self.assertEqual(report["counts"]["stored"], 400)
        self.assertEqual([f["kind"] for f in report["faults"]], ["kill", "cut", "pause", "slow"])
        cut = report["faults"][1]
        begin, end = cut["begin_s"], cut["end_s"]
        during = {
            gap["partition"]: gap["ms"]
            for gap in report["gaps"]
            if gap["at_s"] <= begin + 0.3 and gap["at_s"] + gap["ms"] / 1000 >= end
        }
        self.assertEqual(len(during), 2, f"two of three were cut off: {cut} {report['gaps']}")
        self.assertIn("<svg", page)
        self.assertNotRegex(page, r"(src|href)=")

    def test_wrong_programs_are_found_out(self):
        copy = (
            'seq 1 50 | "$SPATE" produce in -f "%k\\n"; '
            '(seq 1 10; seq 5 40) | "$SPATE" produce out -f "%k\\n"; '
            '"$SPATE" consume in -g readers -n 10 > /dev/null'
        )
        done, report, _ = self.lab(
            "--topic", "in:1", "--topic", "out:1", "--each", "in:out", "--unique", "out",
            "--drained", "readers", faults="", command=copy,
        )  # fmt: skip
        self.assertEqual(done.returncode, 1, done)
        found = self.kinds(report)
        self.assertEqual(found["copy-missing"], 10)
        self.assertEqual(found["copy-extra"], 6)
        self.assertEqual(found["duplicate"], 6)
        self.assertGreaterEqual(found["not-drained"], 40)
        self.assertEqual(set(found), {"copy-missing", "copy-extra", "duplicate", "not-drained"})

    def test_a_program_that_fails_is_a_failure(self):
        done, report, _ = self.lab("-t", "in:1", faults="", command="exit 3")
        self.assertEqual((done.returncode, report["verdict"]), (1, "unknown"), done)
        self.assertIn("nothing was tested", done.stdout)
        self.assertIn("the program ended with 3", done.stdout)

    def test_it_asks_the_program_to_end(self):
        started = time.monotonic()
        command = 'echo a | "$SPATE" produce in; sleep 100'
        done, report, _ = self.lab("-t", "in:1", "--for", "8s", faults="", command=command)
        self.assertEqual((done.returncode, report["verdict"]), (0, "valid"), done)
        self.assertLess(time.monotonic() - started, 60)

    def test_calls_that_are_wrong(self):
        for words, text in (
            (["-t", "in"], "a COMMAND is needed"),
            (["--", "true"], "name the topics"),
            (["-t", "in:x", "--", "true"], "a number above 0"),
            (["-t", "in:\u00b2", "--", "true"], "a number above 0"),
            (["-t", ":3", "--", "true"], "name of a topic is missing"),
            (["-t", "in", "-f", "/nowhere", "--", "true"], "/nowhere: No such file"),
            (["-t", "in", "-f", "/", "--", "true"], "/: Is a directory"),
            (["-t", "in", "-f", cluster.SPATE, "--", "true"], "this is no text"),
            (["-t", "in", "--", "no-such-program"], "there is no program no-such-program"),
            (["-t", "in", "--", "/etc/passwd"], "chmod +x /etc/passwd"),
            (["-t", "in", "-o", "/dev/null/out", "--", "true"], "/dev/null/out: Not a directory"),
        ):
            done = subprocess.run([cluster.SPATE, "lab", *words], capture_output=True, text=True,
                                  check=False)  # fmt: skip
            self.assertEqual(done.returncode, 2, done)
            self.assertIn(text, done.stderr)
            self.assertNotIn("Traceback", done.stderr)
            self.assertNotIn("nodes at", done.stderr, "nothing was started")

    def test_both_know_the_same_options(self):
        ours = subprocess.run([cluster.SPATE, "lab", "--help"], capture_output=True, text=True,
                              check=True).stdout.partition("Options of every")[0]  # fmt: skip
        theirs = subprocess.run([sys.executable, "-B", f"{LAB}/main.py", "--help"],
                                capture_output=True, text=True, check=True).stdout  # fmt: skip
        ours, theirs = (
            set(re.findall(r"--[a-z]+", text.partition("xamples")[0])) for text in (ours, theirs)
        )
        self.assertEqual(ours | {"--help"}, theirs | {"--help"})


class Script(unittest.TestCase):
    def test_what_is_wrong_is_said_with_its_line(self):
        script = lab_module("script")
        for line, words in (
            ("3 kill 1", "is no time"), ("3s burn 1", "none of"), ("3s kill 4", "nodes 1 to 3"),
            ("3s kill", "a line is"), ("3s slow 1", "by how much"), ("3s kill 1 by 3s", "slow"),
            ("3s kill clients", "can be cut"),
            ("3s start 1 for 2s", "undoes"), ("3s kill leader of x", "none of"),
            ("3s kill 1 for 0s", "nothing at all"), ("3s kill 1 for 1s for 2s", "twice"),
            ("3s kill leader of y/0", "no topic of this run"), ("3s kill \u0661", "none of"),
            ("3s kill leader of t/2", "partitions 0 to 1"), ("\u0663s kill 1", "no time"),
        ):  # fmt: skip
            with self.assertRaisesRegex(script.Wrong, words, msg=line) as caught:
                script.parse("# a remark\n" + line, 3, {"t": 2, "u": None})
            self.assertIn("line 2", str(caught.exception))

    def test_a_seed_is_a_script(self):
        script = lab_module("script")
        first, again = (
            [str(step) for step in script.draw(5, 3, 60)] for _ in range(2)
        )
        self.assertEqual(first, again)
        self.assertGreater(len(first), 5)
        self.assertNotEqual(first, [str(step) for step in script.draw(6, 3, 60)])
        parsed = [str(step) for step in script.parse("\n".join(first), 3, {})]
        self.assertEqual(parsed, first)


def batch(offset, count, sequence, producer=7, fill=b"x"):
    """A RecordBatch's header and something behind it."""
    body = offset.to_bytes(8, "big") + (49 + len(fill)).to_bytes(4, "big") + bytes(9)
    body += bytes(22) + producer.to_bytes(8, "big", signed=True) + bytes(2)
    return body + sequence.to_bytes(4, "big") + count.to_bytes(4, "big") + fill


class Kinds(unittest.TestCase):
    """One topic of one partition, as the nodes tell it and as it went by."""

    def found(self, stored, sent, records=None, end=None, **options):
        """`sent`: (batch or plain records, time, time of the answer, offset)"""
        check, tap = lab_module("check"), lab_module("tap")
        journal = tap.Journal()
        for data, begun, done, offset in sent:
            row = tap.Sent("t", 0, data, begun)
            row.done, row.offset = done, offset
            journal.sent.append(row)
        journal.commits = options.get("commits", [])
        batches = [check.Batch(data) for data in stored]
        end = end if end is not None else sum(b.count for b in batches)
        if records is None:
            records = [(n, b"k%d" % n, b"v") for n in range(end)]
        reader = types.SimpleNamespace(
            partitions=lambda topic: {0: "leader"},
            read=lambda topic, partition, leader, form: (
                batches if form == "batch" else records, end),
        )  # fmt: skip
        names = {"topics": ["t"], "unique": ["t"], "each": [], "drained": []}
        checks = check.Checks(journal, reader, types.SimpleNamespace(**names)).run()
        return {kind: count for kind, (count, _) in checks.found.items() if count}

    def test_nothing_is_found_where_nothing_is(self):
        one, two = batch(0, 2, 0), batch(2, 1, 2, fill=b"y")
        self.assertEqual(self.found([one, two], [(one, 1, 2, 0), (two, 3, 4, 2)]), {})

    def test_lost(self):
        one, two = batch(0, 2, 0), batch(2, 1, 2, fill=b"y")
        self.assertEqual(self.found([one], [(one, 1, 2, 0), (two, 3, 4, 2)]), {"lost": 1})
        other = batch(0, 2, 0, fill=b"z")
        self.assertEqual(self.found([other], [(one, 1, 2, 0)]), {"lost": 2})
        plain = [{"k": b"k0", "v": b"other"}]
        self.assertEqual(self.found([batch(0, 1, 0)], [(plain, 1, 2, 0)]), {"lost": 1})

    def test_stored_twice(self):
        stored = [batch(0, 2, 0), batch(2, 2, 0)]
        self.assertEqual(self.found(stored, []), {"stored-twice": 2, "producer-order": 2})

    def test_producer_order(self):
        stored = [batch(0, 1, 5), batch(1, 1, 4, fill=b"y"), batch(2, 1, 0, producer=-1)]
        self.assertEqual(self.found(stored, []), {"producer-order": 1})

    def test_duplicate_and_gap(self):
        records = [(0, b"a", b"v"), (2, b"a", b"v")]
        found = self.found([batch(0, 3, 0)], [], records)
        self.assertEqual(found, {"duplicate": 1, "gap": 1})

    def test_ack_order(self):
        one, two = batch(1, 1, 0), batch(0, 1, 0, producer=8, fill=b"y")
        found = self.found([two, one], [(one, 1, 2, 1), (two, 3, 4, 0)])
        self.assertEqual(found, {"ack-order": 1})

    def test_commit_ahead(self):
        found = self.found([batch(0, 2, 0)], [], commits=[(1, "g", "t", 0, 3), (2, "g", "t", 0, 2)])
        self.assertEqual(found, {"commit-ahead": 1})


class Reading(unittest.TestCase):
    """Leaders change while topics are read, as on a machine with much to do."""

    def reader(self, answers, seconds=60):
        """`answers` by address: what to do at each fetch."""
        check = lab_module("check")
        told, fetched = [None, "b", "a", "b"], []

        class Client:
            def __init__(self, address):
                if address is None:
                    raise KeyError(address)
                self.address = address

            def __enter__(self):
                return self

            def __exit__(self, *_):
                pass

            def call(self, method, **fields):
                if method == "metadata":
                    row = {"partition": 0}
                    leader = told.pop(0) if len(told) > 1 else told[0]
                    row.update({} if leader is None else {"leader_address": leader})
                    return {"topics": [{"name": "t", "partitions": [row]}]}
                if method == "offsets":
                    return {"offset": 4}
                fetched.append((self.address, fields["offset"]))
                answer = answers[self.address].pop(0)
                if isinstance(answer, Exception):
                    raise answer
                return {"records": [{"o": at, "k": b"", "v": b""} for at in answer]}

        check.rpc = types.SimpleNamespace(Client=Client, Refused=check.rpc.Refused)
        check.READ_SECONDS, check.AGAIN_SECONDS = seconds, 0.001
        return check.Reader(["a"], {"a": "a", "b": "b"}), check.rpc.Refused, fetched

    def test_it_goes_on_at_the_next_leader(self):
        refusals = {"a": [], "b": []}
        reader, refused, fetched = self.reader(refusals)
        refusals["b"] += [[0, 1], refused("NOT_LEADER: no"), [3]]
        refusals["a"] += [[2], EOFError("gone"), OSError("gone")]
        leader = reader.partitions("t")[0]
        self.assertIsNone(leader)
        rows, end = reader.read("t", 0, leader, "records")
        self.assertEqual(([row[0] for row in rows], end), ([0, 1, 2, 3], 4))
        self.assertEqual(fetched[0], ("b", 0))
        self.assertEqual(fetched[-1], ("b", 3))

    def test_it_does_not_try_for_ever(self):
        answers = {"a": [], "b": [OSError("gone")] * 10}
        reader, _, _ = self.reader(answers, seconds=0)
        with self.assertRaisesRegex(TimeoutError, "t/0 cannot be read"):
            reader.read("t", 0, "b", "records")


class Taps(unittest.TestCase):
    def test_a_connection_in_any_pieces(self):
        rpc, tap = lab_module("rpc"), lab_module("tap")
        records = [{"k": b"a", "v": b"b"}]
        up = rpc.pack([0, 1, "produce", [{"topic": "t", "partition": 0, "records": records}]])
        down = rpc.pack([1, 1, None, {"offset": 41, "term": 1, "fsynced": 2, "count": 1}])
        for size in (1, 3, 1000):
            journal = tap.Journal()
            one = tap.Tap(journal)
            for direction, data in (("up", up), ("down", down)):
                for at in range(0, len(data), size):
                    one.feed(direction, data[at : at + size])
            self.assertEqual([(s.topic, s.count, s.offset) for s in journal.sent], [("t", 1, 41)])
            self.assertEqual(journal.given_up, 0)

    def test_what_is_no_message_is_not_followed(self):
        tap = lab_module("tap")
        for data in (b"\xc1", b"GET / HTTP/1.1\r\n", b"\x93" + b"\x91" * 100):
            journal = tap.Journal()
            one = tap.Tap(journal)
            one.feed("up", data)
            one.feed("up", data)
            self.assertEqual((journal.given_up, one.dead), (1, True), data)


if __name__ == "__main__":
    cluster.main()
