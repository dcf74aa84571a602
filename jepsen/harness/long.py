"""A long run: rounds of jepsen/run with one seed after the other, and the sums. See jepsen/long."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

INTERRUPTED = 130
JUDGED = (0, 1, 3)  # exit codes of a round that came to its end
ROUND_SECONDS = 420
ROUND_SECONDS_MIN = 60
END_SECONDS = 60  # what heals, reads and judges a round takes about

# From JUDGED_HOURS on a run must have reached this.
JUDGED_HOURS = 1
FAULTS_MIN = 500
EACH_MIN = 20
LEADER_KILLS_MIN = 50
RECORDS_MIN = 10_000_000
COMPACTION_MIN = {"passes": 500, "removed_records": 100_000}

# What is counted of a kind besides the kind itself.
CLASSES = {
    "bit-flip": [f"bit-flip of a {kind}" for kind in ("checkpoint", "index", "meta", "segment")],
    "power-cut": [f"power-cut of {part}" for part in ("a minority", "a majority", "all")],
    "kill": ["kill of a leader"],
}
LINE = re.compile(r"\d+ nemesis (?P<fault>\d+) (?P<event>begin|observed) (?P<kind>\S+) ")
RECORDS = ("sent", "acknowledged", "read_finally")


def fact(line, name):
    found = re.search(rf" {name}=(\S+)", line)
    return found.group(1) if found else ""


def classes_of(line, kind, nodes):
    """What a fault that begins with this line adds to, once it was seen."""
    yield kind
    if kind == "bit-flip":
        yield f"bit-flip of a {fact(line, 'file_kind')}"
    if kind == "power-cut":
        count = len(fact(line, "target").split(","))
        part = "all" if count == nodes else "a majority" if count > nodes // 2 else "a minority"
        yield f"power-cut of {part}"
    if kind == "kill" and fact(line, "partitions") not in ("", "-"):
        yield "kill of a leader"


def count_faults(lines, nodes):
    """{class: faults whose effect was seen} of a nemesis log."""
    begun, seen, counts = {}, set(), {}
    for line in lines:
        found = LINE.match(line)
        if not found or found["fault"] == "0":
            continue
        if found["event"] == "begin":
            begun[found["fault"]] = line
        elif " counts=0" not in line and found["fault"] not in seen:
            seen.add(found["fault"])
            for name in classes_of(begun[found["fault"]], found["kind"], nodes):
                counts[name] = counts.get(name, 0) + 1
    return counts


class Sums:
    """Of all rounds that were judged."""

    def __init__(self):
        self.rounds = []  # (seed, what came of it)
        self.seconds = 0
        self.faults = {}
        self.records = dict.fromkeys(RECORDS, 0)
        self.anomalies = {}
        self.compaction = {}

    def add(self, folder, seed, outcome):
        with open(os.path.join(folder, "run.json"), encoding="utf-8") as handle:
            facts = json.load(handle)
        with open(os.path.join(folder, "check.json"), encoding="utf-8") as handle:
            check = json.load(handle)
        with open(os.path.join(folder, "nemesis.log"), encoding="ascii") as handle:
            faults = count_faults(handle, facts["nodes"])
        for kind in facts["nemesis"]:
            for name in (kind, *CLASSES.get(kind, ())):
                self.faults.setdefault(name, 0)
        for name, number in faults.items():
            self.faults[name] = self.faults.get(name, 0) + number
        for name in RECORDS:
            self.records[name] += check["counts"].get(name, 0)
        for anomaly in check["anomalies"]:
            if anomaly["count"]:
                before = self.anomalies.get(anomaly["kind"], 0)
                self.anomalies[anomaly["kind"]] = before + anomaly["count"]
        for name, number in facts.get("compaction", {}).items():
            self.compaction[name] = self.compaction.get(name, 0) + number
        self.seconds += facts["time"]
        self.rounds.append((seed, outcome))

    @property
    def seen(self):
        return sum(number for name, number in self.faults.items() if " of " not in name)

    def shortfalls(self):
        """What a long run must have reached and has not."""
        wanted = {
            f"{self.seen} faults": (self.seen, FAULTS_MIN),
            f"{self.records['acknowledged']} records": (self.records["acknowledged"], RECORDS_MIN),
        }
        for name, number in sorted(self.faults.items()):
            least = LEADER_KILLS_MIN if name == "kill of a leader" else EACH_MIN
            wanted[f"{number} {name}"] = (number, least)
        for name, least in COMPACTION_MIN.items():
            number = self.compaction.get(name, 0)
            wanted[f"{number} {name} of compaction"] = (number, least)
        return [f"{words}, {least} are the least" for words, (is_, least) in wanted.items()
                if is_ < least]

    def lines(self):
        for name, number in sorted(self.faults.items()):
            yield f"{number:9} {name}"
        yield (
            f"{len(self.rounds)} rounds, {self.seconds / 3600:.2f} h of load: {self.seen} faults "
            f"seen, {self.faults.get('kill of a leader', 0)} kills of leaders"
        )
        records = (f"{self.records[name]} {name.replace('_', ' ')}" for name in RECORDS)
        yield f"records: {', '.join(records)}"
        done = (f"{number} {name.replace('_', ' ')}" for name, number in self.compaction.items())
        yield f"compaction: {', '.join(done) or 'none'}"
        yield f"anomalies: {self.anomalies or 'none'}"

    def write(self, path):
        facts = {"seen": self.seen, **vars(self)}
        with open(path + ".new", "w", encoding="utf-8") as handle:
            json.dump(facts, handle, indent=1)
        os.rename(path + ".new", path)


class Long:
    def __init__(self, run, base, hours, seed, arguments):
        self.run = run  # words of the program that makes one round
        self.base = base
        self.seed = seed
        self.arguments = arguments
        self.deadline = time.monotonic() + hours * 3600
        self.judged = hours >= JUDGED_HOURS
        self.sums = Sums()
        self.child = None
        self.interrupted = False

    def interrupt(self, number, _frame):
        """^C: the round ends its faults and is judged. Once more: it is torn down, and counts
        nothing."""
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(number if self.interrupted else signal.SIGUSR1)
        self.interrupted = True

    def words(self, seed, folder, seconds):
        words = [*self.run, "--seed", str(seed), "--nodes", str(3 if seed % 2 else 5)]
        return words + ["--time", str(seconds), "--dir", folder, *self.arguments]

    def round(self, seed, seconds):
        """(exit code, folder) of one round."""
        folder = os.path.join(self.base, f"long-{seed}")
        shutil.rmtree(folder, ignore_errors=True)
        words = self.words(seed, folder, seconds)
        print(f"long: {' '.join(words)}", flush=True)
        # A session of its own: ^C reaches this program alone, which passes it on.
        with subprocess.Popen(words, start_new_session=True) as self.child:
            if self.interrupted:  # before it was there to be told
                self.child.terminate()
            code = self.child.wait()
        return code, folder

    def keep(self, folder, words):
        """Beside the data, traces and histories: the programs, and how to run it again."""
        binaries = os.path.join(folder, "bin")
        with open(os.path.join(folder, "run.json"), encoding="utf-8") as handle:
            shutil.copytree(json.load(handle)["builds"][0], binaries, dirs_exist_ok=True)
        again = [*words, "--bin", binaries]
        again[again.index("--dir") + 1] = folder + "-again"
        with open(os.path.join(folder, "again.sh"), "w", encoding="utf-8") as handle:
            handle.write(f"#!/bin/sh\nexec {' '.join(again)}\n")
        os.chmod(handle.name, 0o755)

    def go(self):
        """The exit status: see jepsen/long."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.interrupt)
        os.makedirs(self.base, exist_ok=True)
        while not self.interrupted:
            left = self.deadline - time.monotonic() - END_SECONDS
            if left < ROUND_SECONDS_MIN and self.sums.rounds:
                break
            seconds = int(max(ROUND_SECONDS_MIN, min(ROUND_SECONDS, left)))
            code, folder = self.round(self.seed, seconds)
            outcome = {0: "clean", 3: "too few faults"}.get(code, "found")
            if self.interrupted and code not in JUDGED:
                print(f"long: interrupted, seed {self.seed} is not counted", flush=True)
                break
            if not os.path.exists(os.path.join(folder, "check.json")):
                return self.end(f"seed {self.seed} was not judged, exit {code}: see {folder}")
            self.sums.add(folder, self.seed, outcome)
            self.sums.write(os.path.join(self.base, "long.json"))
            if outcome == "found":
                self.keep(folder, self.words(self.seed, folder, seconds))
                return self.end(f"seed {self.seed} found something: see {folder}, again.sh there")
            self.say()
            self.seed += 1
        return self.end(None)

    def say(self):
        print("\n".join(f"long: {line}" for line in self.sums.lines()), flush=True)

    def end(self, found):
        self.say()
        if found:
            print(f"long: {found}", flush=True)
            return 1
        if self.interrupted:
            return INTERRUPTED
        short = self.sums.shortfalls() if self.judged else []
        for words in short:
            print(f"long: too few: {words}", flush=True)
        return 3 if short else 0


def main(root):
    words = sys.argv[1:]
    hours = float(words.pop(0)) if words and not words[0].startswith("-") else 3.0
    seed = int(words.pop(0)) if words and not words[0].startswith("-") else 1
    base = os.path.join(root, "build", "jepsen-runs")
    return Long([os.path.join(root, "jepsen", "run")], base, hours, seed, words).go()
