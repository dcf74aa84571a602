#!/usr/bin/env python3
"""What the harness decides by itself, against stand-ins. jepsen/long adds up what its rounds found,
stops at the first that found something, and ends in order on ^C. A node may lose something only
when the one before has it back. What compaction did is added up over the lives of nodes. Run by
ctest, label `jepsen`."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from harness import cluster, compaction, events, long, main, run  # noqa: E402

# Makes the folder of a round as jepsen/run does. Seed 3 finds a lost record, seed 9 never ends.
ROUND = f"""#!{sys.executable} -B
import argparse, json, os, signal, sys, threading
sys.path.insert(0, {HERE!r})
from harness import events
words = argparse.ArgumentParser()
for name in ("--seed", "--nodes", "--time"):
    words.add_argument(name, type=int)
words.add_argument("--dir")
options = words.parse_args()
os.makedirs(options.dir)
log = events.Log(os.path.join(options.dir, "nemesis.log"))
if options.seed == 9:
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    told = threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: told.set())
    print("waits", flush=True)
    told.wait()
    print("told to end", flush=True)
    if os.environ.get("SPATE_TEST_DEAF"):
        threading.Event().wait()
kill = log.begin("kill", [1], 1, partitions=[0, 4])
log.saw(kill, exit_codes=[-9])
log.saw(kill, epochs_changed=2)
log.saw(log.begin("kill", [2], 1, partitions=[]), exit_codes=[-9])
log.saw(log.begin("kill", [2], 1, partitions=[3]), counts=False, epochs_changed=1)
log.saw(log.begin("bit-flip", [2], 1, file="/meta.a", file_kind="meta"), reads=1)
log.begin("bit-flip", [2], 1, file="/meta.a", file_kind="meta")
log.saw(log.begin("power-cut", [2, 3], 1), lost=1)
log.saw(log.begin("power-cut", list(range(1, options.nodes + 1)), 1), lost=1)
lost = options.seed == 3
for name, facts in {{
    "run.json": {{
        "nemesis": ["kill", "pause", "bit-flip", "power-cut"],
        "nodes": options.nodes, "time": options.time,
        "compaction": {{"passes": 5, "removed_records": 70}}}},
    "check.json": {{
        "counts": {{"sent": 30, "acknowledged": 20, "read_finally": 25}},
        "anomalies": [{{"kind": "lost", "count": int(lost)}}, {{"kind": "gap", "count": 0}}],
    }},
}}.items():
    if name == "run.json":
        facts["builds"] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin")]
    with open(os.path.join(options.dir, name), "w") as handle:
        json.dump(facts, handle)
sys.exit(1 if lost else 0)
"""


class LongTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="spate-jepsen-long-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.program = os.path.join(self.folder, "round")
        os.mkdir(os.path.join(self.folder, "bin"))
        with open(os.path.join(self.folder, "bin", "spated"), "w", encoding="ascii") as handle:
            handle.write("a program")
        with open(self.program, "w", encoding="ascii") as handle:
            handle.write(ROUND)
        os.chmod(self.program, 0o755)
        self.base = os.path.join(self.folder, "runs")

    def start(self, hours, seed, **environment):
        code = (
            f"import sys; sys.path.insert(0, {HERE!r}); from harness import long\n"
            f"sys.exit(long.Long([{self.program!r}], {self.base!r}, {hours}, {seed}, []).go())"
        )
        return subprocess.Popen(
            [sys.executable, "-B", "-c", code],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def sums(self):
        with open(os.path.join(self.base, "long.json"), encoding="utf-8") as handle:
            return json.load(handle)

    def test_rounds_are_added_up_until_one_finds_something(self):
        process = self.start(hours=5, seed=1)
        words, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1, words)
        sums = self.sums()
        self.assertEqual(sums["rounds"], [[1, "clean"], [2, "clean"], [3, "found"]])
        self.assertEqual(sums["records"], {"sent": 90, "acknowledged": 60, "read_finally": 75})
        self.assertEqual(sums["anomalies"], {"lost": 1})
        self.assertEqual(sums["compaction"], {"passes": 15, "removed_records": 210})
        self.assertIn("compaction: 15 passes, 210 removed records", words)
        self.assertEqual(
            sums["faults"],
            {
                "kill": 6,
                "kill of a leader": 3,
                "bit-flip": 3,
                "bit-flip of a meta": 3,
                "bit-flip of a segment": 0,
                "bit-flip of a index": 0,
                "bit-flip of a checkpoint": 0,
                "pause": 0,
                "power-cut": 6,
                "power-cut of a majority": 2,  # of three nodes in rounds 1 and 3,
                "power-cut of a minority": 1,  # of five in round 2
                "power-cut of all": 3,
            },
        )
        self.assertEqual(sums["seen"], 15)
        self.assertIn("seed 3 found something", words)
        found = os.path.join(self.base, "long-3")
        self.assertTrue(os.path.exists(os.path.join(found, "bin", "spated")))
        with open(os.path.join(found, "again.sh"), encoding="utf-8") as handle:
            again = handle.read()
        self.assertIn("--seed 3", again)
        self.assertIn(f"--dir {found}-again", again)

    def await_line(self, process, text):
        for line in process.stdout:
            if line == text:
                return

    def test_an_interrupt_ends_the_round_which_is_judged(self):
        process = self.start(hours=5, seed=8)
        self.await_line(process, "waits\n")
        process.send_signal(signal.SIGINT)
        words, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, long.INTERRUPTED, words)
        self.assertIn("2 rounds", words)
        self.assertEqual(self.sums()["rounds"], [[8, "clean"], [9, "clean"]])

    def test_a_second_interrupt_counts_what_was_judged_only(self):
        process = self.start(hours=5, seed=8, SPATE_TEST_DEAF="1")
        self.await_line(process, "waits\n")
        process.send_signal(signal.SIGINT)
        self.await_line(process, "told to end\n")
        process.send_signal(signal.SIGINT)
        words, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, long.INTERRUPTED, words)
        self.assertIn("seed 9 is not counted", words)
        self.assertIn("1 rounds", words)
        self.assertEqual(self.sums()["rounds"], [[8, "clean"]])

    def test_a_round_that_was_not_judged_is_an_error(self):
        with open(self.program, "w", encoding="ascii") as handle:
            handle.write("#!/bin/sh\nexit 0\n")
        process = self.start(hours=5, seed=1)
        words, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1, words)
        self.assertIn("was not judged", words)

    def test_too_little_does_not_count(self):
        sums = long.Sums()
        sums.faults = {"kill": 600, "kill of a leader": 49, "bit-flip of a meta": 19}
        sums.records["acknowledged"] = long.RECORDS_MIN
        sums.compaction = {"passes": 499, "removed_records": 100_000}
        self.assertEqual(
            sums.shortfalls(),
            [
                "19 bit-flip of a meta, 20 are the least",
                "49 kill of a leader, 50 are the least",
                "499 passes of compaction, 500 are the least",
            ],
        )

    def test_what_does_not_count_says_so_in_the_log(self):
        path = os.path.join(self.folder, "log")
        log = events.Log(path)
        self.addCleanup(log.close)
        log.saw(log.begin("kill", [1], 1), counts=False, epochs_changed=1)
        with open(path, encoding="ascii") as handle:
            lines = handle.readlines()
        self.assertEqual(log.counts(), {"kill": (1, 0)})
        self.assertEqual(long.count_faults(lines, 3), {})


class Told:
    """A node that answers what it is told to."""

    def __init__(self, number):
        self.number, self.address = number, f"node{number}"
        self.renew()

    def renew(self):
        self.alive = True
        self.health = {"under_replicated": [], "replicas_opening": 0, "controller": True}
        self.moves = []

    def call(self, method):
        if self.health is None:
            return None
        return self.health if method == "cluster.health" else {"moves": self.moves}


class DamageTest(unittest.TestCase):
    def setUp(self):
        self.nodes = [Told(number) for number in (1, 2, 3)]
        self.cluster = cluster.Cluster.__new__(cluster.Cluster)
        self.cluster.begin(self.nodes, [])

    def damage(self, number):
        begun = self.cluster.begin_damage(self.nodes[number - 1])
        if begun:
            self.cluster.end_damage()
        return begun

    def test_the_next_node_waits_until_the_one_before_has_everything(self):
        one, two, three = self.nodes
        self.assertTrue(self.damage(1))
        for change in (
            lambda: two.health["under_replicated"].append({"missing": [1]}),
            lambda: one.health.update(replicas_opening=1),
            lambda: three.moves.append({"from": [1, 2, 3], "to": [2, 3, 4]}),
            lambda: two.moves.append({"from": [2, 3], "to": [1, 2]}),
            lambda: setattr(one, "health", None),
            lambda: one.health.update(controller=False),
            lambda: setattr(one, "alive", False),
        ):
            change()
            self.assertFalse(self.damage(2))
            self.assertFalse(self.damage(1), "it may not lose the new copy as well")
            self.renew()
        two.moves.append({"from": [2, 3], "to": [3, 2]})
        self.assertTrue(self.damage(2), "a move of others")

    def renew(self):
        for node in self.nodes:
            node.renew()

    def test_a_majority_must_answer(self):
        self.assertTrue(self.damage(1))
        self.nodes[1].health = self.nodes[2].health = None
        self.assertFalse(self.damage(2))
        self.nodes[1].renew()
        self.nodes[1].health["controller"] = False
        self.assertFalse(self.damage(2), "it does not know of what has begun since it started")
        self.nodes[1].health["controller"] = True
        self.assertTrue(self.damage(2))

    def test_who_has_just_started_is_not_asked_who_is_a_member(self):
        one, two, _ = self.nodes
        one.health["controller"] = False
        one.moves, two.moves = ["old"], ["new"]
        answer = self.cluster.ask_informed("cluster.moves", 5)
        self.assertEqual(answer, {"moves": ["new"]})
        for node in self.nodes:
            node.health["controller"] = False
        self.assertIsNone(self.cluster.ask_informed("cluster.moves", 0))

    def test_one_at_a_time(self):
        self.assertTrue(self.cluster.begin_damage(self.nodes[0]))
        self.assertFalse(self.damage(1))
        self.cluster.end_damage()
        self.assertTrue(self.damage(1))


class Counting:
    """A node whose metrics are what they are told to be."""

    def __init__(self, number):
        self.number, self.process, self.page = number, object(), None

    def restart(self):
        self.process = object()

    def counts(self, passes, removed):
        self.page = (
            "# HELP spate_compaction_passes_total Compactions.\n"
            f"spate_compaction_passes_total {passes}\n"
            f"spate_compaction_removed_records_total {removed}\n"
            "spate_compaction_running 1\nspate_produce_total 7\n"
        )


class CompactionTest(unittest.TestCase):
    def setUp(self):
        self.nodes = [Counting(1), Counting(2)]
        self.counts = compaction.Compaction(self)
        self.counts.ask = lambda node: node.page

    def look(self):
        for node in self.nodes:
            self.counts.take(node)
        return self.counts.sums["passes"], self.counts.sums["removed_records"]

    def test_counters_are_added_up_over_the_lives_of_nodes(self):
        one, two = self.nodes
        self.assertEqual(self.look(), (0, 0))
        one.counts(3, 100)
        self.assertEqual(self.look(), (3, 100))
        two.counts(1, 10)
        one.counts(4, 120)
        self.assertEqual(self.look(), (5, 130))
        one.restart()
        one.counts(2, 50)
        self.assertEqual(self.look(), (7, 180))
        two.page = None  # no answer
        one.counts(3, 50)
        self.assertEqual(self.look(), (8, 180))
        two.process = None
        self.assertEqual(self.look(), (8, 180))

    def test_a_run_without_compaction_does_not_count(self):
        one = run.Run.__new__(run.Run)
        for sums, words in (
            ({"passes": 3, "removed_records": 0, "failed": 0}, "compaction: no removed_records"),
            ({"passes": 3, "removed_records": 1, "failed": 0}, None),
            (None, None),  # it has no topic for it
        ):
            one.facts = {} if sums is None else {"compaction": sums}
            self.assertEqual(one.missing_compaction(), words)

    def test_an_upgrade_without_both_builds_does_not_count(self):
        one = run.Run.__new__(run.Run)
        for builds, turns, counts in (
            (["a"], [0], True),
            (["a", "b"], [1, 1], True),
            (["a", "b"], [0, 2], False),
        ):
            one.builds, one.turns = builds, turns
            self.assertEqual(one.missing_turns() is None, counts)


class KindsTest(unittest.TestCase):
    def test_kinds_and_sets_of_them(self):
        streams, sets = {"a": 1, "b": 2, "c": 3}, {"all": ["a", "b", "c"], "none": [], "two": ["b"]}
        self.assertEqual(main.find_kinds("all", streams, sets), ["a", "b", "c"])
        self.assertEqual(main.find_kinds("two,a", streams, sets), ["a", "b"])
        self.assertEqual(main.find_kinds("none", streams, sets), [])
        with self.assertRaisesRegex(ValueError, "no nemesis d"):
            main.find_kinds("a,d", streams, sets)


if __name__ == "__main__":
    unittest.main(verbosity=2)
