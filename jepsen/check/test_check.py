#!/usr/bin/env python3
"""jepsen-check finds and names each kind of anomaly, agrees with its plain twin on thousands of
small random histories, and is fast. `JEPSEN_CHECK` is the program; `--seeds A..B` compares others,
`--long` takes ten million operations."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import big_history
import random_history
import twin
import twin_compact

CHECK = os.environ.get("JEPSEN_CHECK", "jepsen-check")
SEEDS = range(1, 901)
START = "1 {0} 0 ok start topic=t workload=any group=g commit=hand"

# A history without fault: client 1 sends 4 records and client 2 sends 2, client 9 reads them.
SENDS = {
    1: ["10 1 1 invoke send p=0 v=0+2", "20 1 1 ok send p=0 v=0+2 o=0",
        "30 1 2 invoke send p=0 v=2+2", "40 1 2 ok send p=0 v=2+2 o=2"],
    2: ["50 2 1 invoke send p=0 v=0+2", "60 2 1 ok send p=0 v=0+2 o=4"],
    9: ["100 9 1 ok assign p=0 o=-2", "110 9 2 ok poll p=0 hw=6 final=1 r=0/1:0+4,4/2:0+2",
        "120 9 3 ok final p=0 from=0 end=6"],
}  # fmt: skip


def history(*changes, more=()):
    """SENDS with (client, line, other text) changed; text None: the line is left out."""
    lines = {client: list(some) for client, some in SENDS.items()}
    for client, line, text in changes:
        lines[client][line] = text
    for text in more:
        lines.setdefault(int(text.split()[1]), []).append(text)
    for client, some in lines.items():
        lines[client] = [START.format(client)] + [text for text in some if text is not None]
    return lines


COMPACTED = " keys=1 delete_ms=1"  # of a client all records have one key then


def compacted(*changes, more=()):
    """As history(), of a compacted topic."""
    lines = history(*changes, more=more)
    return {client: [some[0] + COMPACTED, *some[1:]] for client, some in lines.items()}


def tombstones(client, count):
    """Which of a client's first records in partition 0 are tombstones."""
    return [n for n in range(count) if twin_compact.keyed((client, ("t", 0), n), 1)[1]]


FINAL = "110 9 2 ok poll p=0 hw=6 final=1 r="
END = "120 9 3 ok final p=0 from=0 end="

# By kind: a history with this fault in it, and what else follows from the same fault.
PLANTED = {
    "lost": (history((9, 1, FINAL + "0/1:0+3,4/2:0+2")), {"int-poll-skip"}),
    "unseen": (history((9, 1, FINAL + "0/1:0+4,4/2:0+1")), set()),
    "duplicate": (
        history((9, 1, FINAL + "0/1:0+4,4/2:0+2,6/2:0+1"), (9, 2, END + "7")),
        {"producer-order"},
    ),
    "inconsistent-offsets": (
        history(more=["70 3 1 invoke send p=0 v=0+1", "90 4 1 ok poll p=0 r=5/3:0+1"]),
        {"lost", "ack-order"},
    ),
    "aborted-read": (
        history((2, 1, "60 2 1 fail send p=0 v=0+2 e=BUSY")),
        set(),
    ),
    "phantom": (history((9, 1, FINAL + "0/1:0+4,4/2:0+2,6/2:2+1")), set()),
    "early-read": (
        history(more=["45 3 1 ok poll p=0 r=4/2:0+1"]),
        {"ack-order", "G1c-realtime"},
    ),
    "corrupt": (history(more=["130 9 4 ok bad p=0 o=6 why=bytes"]), set()),
    "gap": (
        history((2, 1, "60 2 1 ok send p=0 v=0+2 o=5"), (9, 1, FINAL + "0/1:0+4,5/2:0+2")),
        set(),
    ),
    "stale-value": (
        compacted(
            (1, 1, "35 1 1 ok send p=0 v=0+2 o=2"), (1, 3, "40 1 2 ok send p=0 v=2+2 o=0"),
            (9, 1, FINAL + "0/1:2+2,2/1:0+2,4/2:0+2"),
        ),
        {"nonmonotonic-send", "producer-order"},
    ),
    # Client 6 has written three values and a tombstone: the last value is there, the latter gone.
    "deleted-back": (
        compacted(
            (9, 1, FINAL + "0/1:0+4,4/2:0+2,8/6:2+1"), (9, 2, END + "10"),
            more=["70 6 1 invoke send p=0 v=0+4", "71 6 1 ok send p=0 v=0+4 o=6"],
        ),
        set(),
    ),
    "log-start": (
        history(
            (9, 1, "110 9 2 ok poll p=0 hw=6 final=1 r=2/1:2+2,4/2:0+2"),
            (9, 2, "120 9 3 ok final p=0 from=2 end=6"),
            more=["70 3 1 invoke truncate p=0 o=1", "71 3 1 ok truncate p=0 o=1 e=OK"],
        ),
        set(),
    ),
    "poll-skip": (
        history(more=["91 3 1 ok poll p=0 r=0/1:0+1", "92 3 2 ok poll p=0 r=2/1:2+1"]),
        set(),
    ),
    "nonmonotonic-poll": (
        history(more=["91 3 1 ok poll p=0 r=0/1:0+2", "92 3 2 ok poll p=0 r=1/1:1+1"]),
        set(),
    ),
    "int-poll-skip": (history(more=["91 3 1 ok poll p=0 r=0/1:0+1,2/1:2+1"]), set()),
    "int-nonmonotonic-poll": (history(more=["91 3 1 ok poll p=0 r=2/1:2+1,1/1:1+1"]), set()),
    "nonmonotonic-send": (
        history(
            (1, 1, "35 1 1 ok send p=0 v=0+2 o=2"), (1, 3, "40 1 2 ok send p=0 v=2+2 o=0"),
            (9, 1, FINAL + "0/1:2+2,2/1:0+2,4/2:0+2"),
        ),
        {"producer-order"},
    ),
    "int-nonmonotonic-send": (
        history(
            (1, 1, "20 1 1 ok send p=0 v=0+1 o=1"), (1, 2, "20 1 1 ok send p=0 v=1+1 o=0"),
            (1, 3, None), (2, 1, "60 2 1 ok send p=0 v=0+2 o=2"),
            (9, 1, FINAL + "0/1:1+1,1/1:0+1,2/2:0+2"),
        ),
        {"producer-order"},
    ),
    "producer-order": (
        history((9, 1, FINAL + "0/1:0+4,4/2:0+2,6/2:0+2"), (9, 2, END + "8")),
        {"duplicate"},
    ),
    "ack-order": (
        history(
            (1, 3, "40 1 2 ok send p=0 v=2+2 o=4"), (2, 1, "60 2 1 ok send p=0 v=0+2 o=2"),
            (9, 1, FINAL + "0/1:0+2,2/2:0+2,4/1:2+2"),
        ),
        {"G1c-realtime"},
    ),
    "stale-read": (
        history(more=["70 3 1 invoke offsets p=0", "80 3 1 ok offsets p=0 end=5"]),
        set(),
    ),
    "watermark-back": (
        history(more=["91 3 1 ok poll p=0 hw=6 r=0/1:0+2", "92 3 2 ok poll p=0 hw=5 r=2/1:2+1"]),
        set(),
    ),
    "commit-back": (
        history(more=[
            "70 3 1 invoke committed p=0", "71 3 1 ok committed p=0 o=4",
            "72 3 2 invoke committed p=0", "73 3 2 ok committed p=0 o=3",
        ]),
        set(),
    ),
    "commit-lost": (
        history(more=[
            "70 3 1 invoke commit p=0 o=4", "71 3 1 ok commit p=0 o=4 e=OK",
            "72 4 2 invoke committed p=0", "73 4 2 ok committed p=0 o=-1",
        ]),
        set(),
    ),
    "group-skip": (
        history(more=["70 3 1 ok assigned p=0", "71 3 2 ok poll p=0 group=1 r=1/1:1+1"]),
        set(),
    ),
    "group-reread": (
        history(more=[
            "70 3 1 ok assigned p=0", "71 3 2 ok poll p=0 group=1 r=0/1:0+4",
            "72 3 3 invoke commit p=0 o=4", "73 3 3 ok commit p=0 o=4 e=OK",
            "74 4 1 ok assigned p=0", "75 4 2 ok poll p=0 group=1 r=2/1:2+1",
        ]),
        set(),
    ),
    "two-owners": (
        history(more=["70 3 1 ok owns p=0 gen=7", "71 4 1 ok owns p=0 gen=7"]),
        set(),
    ),
    "admin-lost": (
        history(more=[
            "70 3 1 invoke create topic=u", "71 3 1 ok create topic=u e=OK",
            "72 3 2 invoke delete topic=u", "73 3 2 fail delete topic=u e=UNKNOWN_TOPIC",
        ]),
        set(),
    ),
    # An operation before another, and behind it too.
    "G0": (
        history((9, 1, FINAL + "0/1:0+4,4/2:0+2,6/1:3+1"), (9, 2, END + "7")),
        {"duplicate", "producer-order"},
    ),
    # Client 3 has read the last record, then sends the first one.
    "G1c-process": (
        history(more=[
            "65 3 1 ok poll p=1 r=1/4:0+1", "66 3 2 invoke send p=1 v=0+1",
            "67 3 2 ok send p=1 v=0+1 o=0", "51 4 1 invoke send p=1 v=0+1",
            "68 4 1 ok send p=1 v=0+1 o=1", "111 9 4 ok poll p=1 final=1 r=0/3:0+1,1/4:0+1",
            "121 9 5 ok final p=1 from=0 end=2",
        ]),
        {"ack-order"},
    ),
    "G1c-realtime": (
        history(
            (1, 3, "40 1 2 ok send p=0 v=2+2 o=4"), (2, 1, "60 2 1 ok send p=0 v=0+2 o=2"),
            (9, 1, FINAL + "0/1:0+2,2/2:0+2,4/1:2+2"),
        ),
        {"ack-order"},
    ),
}  # fmt: skip


def run(lines, *arguments, text=None):
    """Writes a history, checks it; returns the exit code, counts by kind, and the directory."""
    with tempfile.TemporaryDirectory(prefix="jepsen-check-") as directory:
        for client, some in lines.items():
            with open(f"{directory}/{client:03}.log", "w", encoding="ascii") as handle:
                handle.write("".join(line + "\n" for line in some))
        report = f"{directory}/check.json"
        done = subprocess.run(
            [CHECK, "--histories", directory, "--json", report, *arguments],
            capture_output=True, check=False,
        )  # fmt: skip
        counts = None
        if os.path.exists(report):
            with open(report, encoding="ascii") as handle:
                verdict = json.load(handle)
            counts = {row["kind"]: row["count"] for row in verdict["anomalies"] if row["count"]}
        try:
            other = twin.check(directory)
        except (twin.Refused, ValueError):
            other = None
        return done, counts, other


class Planted(unittest.TestCase):
    def test_nothing_is_found_where_nothing_is(self):
        done, counts, other = run(history())
        self.assertEqual((done.returncode, counts, other), (0, {}, {}), done)

    def test_each_kind_is_found_and_named(self):
        for kind, (lines, others) in PLANTED.items():
            with self.subTest(kind=kind):
                done, counts, other = run(lines)
                self.assertEqual(done.returncode, 1, done)
                self.assertIn(kind, counts)
                self.assertEqual(counts, other)
                self.assertEqual(set(counts) - {kind}, others)

    def test_every_kind_has_its_plant(self):
        done, _, _ = run(history())
        with tempfile.TemporaryDirectory(prefix="jepsen-check-") as directory:
            with open(f"{directory}/1.log", "w", encoding="ascii") as handle:
                handle.write(START.format(1) + "\n")
            report = f"{directory}/check.json"
            empty = subprocess.run([CHECK, "--histories", directory, "--json", report],
                                   check=False, capture_output=True)  # fmt: skip
            self.assertEqual(empty.returncode, 2, "nothing was acknowledged")
            with open(report, encoding="ascii") as handle:
                kinds = {row["kind"] for row in json.load(handle)["anomalies"]}
        elsewhere = {"replicas-differ", "G1c"}
        self.assertEqual(kinds - elsewhere, set(PLANTED) - elsewhere, done)

    def test_replicas_that_differ_are_found(self):
        line = "replica group=1 node=1 replica=5 first=1 last=9 compared=1..9 frames=9 records=7"
        for text, code in (
            (f"{line} hash=00 state=whole\n", 0),
            (f"{line} hash=00 state=torn\n", 0),
            (f"{line} hash=00 state=damaged\n", 1),
            (f"{line} hash=00 state=whole\ndiffer group=1 index=3 nodes=1,2\n", 1),
            (f"{line} hash=00 state=whole\nlacks group=1 offset=3 node=1 has=2\n", 1),
            (f"{line} hash=00 state=whole\nother group=1 offset=3 nodes=1,2\n", 1),
            (f"{line} hash=00 state=whole\nleft group=1 node=1 records=3 of=7\n", 0),
            ("", 2),
        ):
            with tempfile.NamedTemporaryFile("w", suffix=".log") as handle:
                handle.write(text)
                handle.flush()
                done, counts, _ = run(history(), "--replicas", handle.name)
            self.assertEqual(done.returncode, code, done)
            self.assertEqual((counts or {}).get("replicas-differ", 0), int(code == 1))

    def test_a_log_that_is_given_up_from_its_start_is_right(self):
        reader = ["60 3 1 ok assign p=0 o=0", "95 3 2 ok skipped p=0 o=2",
                  "96 3 3 ok poll p=0 r=2/1:2+2"]  # fmt: skip
        cut = ["70 4 1 invoke truncate p=0 o=2", "71 4 1 ok truncate p=0 o=2 e=OK"]
        final = FINAL + "2/1:2+2,4/2:0+2"
        for more, end, wrong in (
            (cut + reader, "120 9 3 ok final p=0 from=2 end=6", set()),
            (cut[:1] + reader, "120 9 3 ok final p=0 from=2 end=6", set()),  # not known
            (reader, "120 9 3 ok final p=0 from=2 end=6 keep=4", set()),
            (reader, "120 9 3 ok final p=0 from=2 end=6 keep=5", {"log-start"}),
            (reader[:1] + reader[2:] + cut, "120 9 3 ok final p=0 from=2 end=6", {"poll-skip"}),
            (["96 4 1 invoke truncate p=0 o=2"] + reader, "120 9 3 ok final p=0 from=2 end=6",
             {"log-start"}),
            (["70 4 1 invoke truncate p=0 o=3", "71 4 1 ok truncate p=0 o=3 e=OK"] + reader,
             "120 9 3 ok final p=0 from=2 end=6", {"log-start"}),
        ):
            done, counts, other = run(history((9, 1, final), (9, 2, end), more=more))
            self.assertEqual(set(counts), wrong, (more, end, done))
            self.assertEqual(counts, other)

    def test_a_compacted_log_lacks_only_what_was_replaced(self):
        self.assertEqual((tombstones(6, 4), tombstones(7, 4)), ([3], []))
        sends = ["70 7 1 invoke send p=0 v=0+3", "71 7 1 ok send p=0 v=0+3 o=6"]
        unknown = ["70 6 1 invoke send p=0 v=0+3", "71 6 1 ok send p=0 v=0+3 o=6",
                   "72 6 2 invoke send p=0 v=3+1"]  # fmt: skip
        last = ["72 7 2 invoke send p=0 v=3+1", "73 7 2 ok send p=0 v=3+1 o=9"]
        for more, final, end, wrong in (
            (sends, "8/7:2+1", 9, set()),  # the latest of three is there
            (sends, "6/7:0+3", 9, set()),  # so are all
            (sends, "6/7:0+2", 9, {"unseen"}),
            (sends + last, "6/7:0+3", 10, {"unseen"}),
            (sends + last, "9/7:3+1", 10, set()),
            (unknown[:2], "6/6:0+1", 9, {"unseen"}),
            (unknown, "6/6:0+1", 9, set()),  # a tombstone nobody saw may have taken all
            # A reader at 72 cannot lack what was replaced at 72 and later.
            (sends + last + ["72 3 1 ok assign p=0 o=8", "72 3 2 ok poll p=0 r=9/7:3+1"],
             "9/7:3+1", 10, {"poll-skip"}),
            (sends + last + ["72 3 1 ok assign p=0 o=8", "74 3 2 ok poll p=0 r=9/7:3+1"],
             "9/7:3+1", 10, set()),
            (sends + last + ["72 3 1 ok assign p=0 o=8", "74 3 2 ok poll p=0 r=7/7:1+1"],
             "9/7:3+1", 10, {"nonmonotonic-poll"}),
            # An offset is never used again.
            (sends + ["74 3 2 ok poll p=0 r=8/7:1+1"], "8/7:2+1", 9,
             {"inconsistent-offsets", "duplicate", "lost"}),
        ):
            with self.subTest(more=more, final=final):
                lines = compacted(
                    (9, 1, FINAL + "0/1:0+4,4/2:0+2," + final), (9, 2, END + str(end)), more=more
                )
                done, counts, other = run(lines)
                self.assertEqual(counts, other, done)
                self.assertEqual(set(counts) - {"ack-order", "G1c-realtime"}, wrong, done)

    def test_tombstones_are_due_to_readers_that_are_quick(self):
        """As the planted one, but the reader takes longer than tombstones stay."""
        lines, _ = PLANTED["deleted-back"]
        slow = {client: [line.replace("120 9 3", "900000 9 3") for line in some]
                for client, some in lines.items()}  # fmt: skip
        for client, some in (("slow", slow), ("unknown", {
            client: [line.replace("delete_ms=1", "delete_ms=0") for line in some]
            for client, some in lines.items()
        })):  # fmt: skip
            done, counts, other = run(some)
            self.assertEqual((counts, other), ({}, {}), (client, done))

    def test_a_run_without_its_final_read_is_not_decided(self):
        done, counts, _ = run(history((9, 2, None)))
        self.assertEqual((done.returncode, counts), (2, {}), done)

    def test_a_line_that_is_none_is_refused(self):
        for line in ("x", "70 1 9 ok send p=0 v=9+1 o=9", "70 1 9 ok poll p=0 r=1/2:3",
                     "70 1 9 done send p=0 v=4+1", "70 1 9 ok final p=0 end=3",
                     "70 1 9 ok send p=0 v=4+99999999999 o=1"):  # fmt: skip
            done, counts, _ = run({1: [START.format(1), line]})
            self.assertEqual((done.returncode, counts), (2, None), line)
            self.assertIn(b"001.log:2", done.stderr)

    def test_the_end_of_a_client_that_was_killed_is_accepted(self):
        with tempfile.TemporaryDirectory(prefix="jepsen-check-") as directory:
            for client, some in history().items():
                with open(f"{directory}/{client}.log", "w", encoding="ascii") as handle:
                    handle.write("\n".join(some) + "\n" + "80 2 2 ok se" * (client == 2))
            done = subprocess.run([CHECK, "--histories", directory], check=False)
        self.assertEqual(done.returncode, 0)

    def test_lines_around_an_anomaly_are_shown(self):
        with tempfile.NamedTemporaryFile("r", suffix=".txt") as handle:
            run(PLANTED["stale-read"][0], "--text", handle.name)
            text = handle.read()
        self.assertIn("==== stale-read: t/0: the end was told as 5 when offset 5 was known", text)
        self.assertIn("3 1 ok offsets p=0 end=5", text)


class Random(unittest.TestCase):
    def test_the_twin_finds_the_same(self):
        refused, seen = 0, set()
        for seed in SEEDS:
            done, counts, other = run(random_history.make(seed))
            self.assertEqual(counts, other, f"seed {seed}: {done}")
            refused += counts is None
            seen |= set(counts or {})
        if len(SEEDS) >= 900:
            self.assertLess(refused, len(SEEDS) // 4)
            self.assertEqual(set(PLANTED) - seen, set(), "these kinds never happened")


class Speed(unittest.TestCase):
    def check(self, operations, seconds, bytes_max):
        with tempfile.TemporaryDirectory(prefix="jepsen-check-") as directory:
            big_history.write(directory, operations)
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run([CHECK, "--histories", directory], check=False)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        figures = f"{took:.1f} CPU-seconds, {peak / 1e6:.0f} MB"
        print(f"{operations} operations: {figures}", file=sys.stderr)
        self.assertEqual(done.returncode, 0)
        self.assertLess(took, seconds)
        self.assertLess(peak, bytes_max)

    def test_operations(self):
        if LONG:
            self.check(10_000_000, 30, 2_000_000_000)
        else:
            self.check(200_000, 10, 200_000_000)


LONG = "--long" in sys.argv

if __name__ == "__main__":
    sys.argv = [word for word in sys.argv if word != "--long"]
    if "--seeds" in sys.argv:
        at = sys.argv.index("--seeds")
        first, _, last = sys.argv[at + 1].partition("..")
        SEEDS = range(int(first), int(last) + 1)
        del sys.argv[at : at + 2]
    unittest.main(verbosity=2)
